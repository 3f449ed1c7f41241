//! Files for recovery: reading ahead, the advisory ones, and those that nobody needs any more.

use std::path::{Path, PathBuf};

use pyralog_runtime::buffer::Slice;
use pyralog_runtime::file::{self, DirectFile, Entry};
use pyralog_runtime::{IoError, IoErrorKind};

use crate::checkpoint::{CHECKPOINT_NAME, Checkpoint, DAMAGED_NAME, decode_damages};
use crate::ids::Offset;
use crate::index::Index;
use crate::limits::{READ_BYTES_MAX, SMALL_FILE_BYTES_MAX};
use crate::partition::OpenError;
use crate::recovery::Damage;
use crate::segment::{FilePosition, index_name};

/// Bytes of a file that were read ahead, so that marks and small groups cost no read of their own.
#[derive(Debug, Default)]
pub(crate) struct Window {
    start: FilePosition,
    bytes: Option<Slice>,
    pub(crate) read_bytes: u64,
}

impl Window {
    /// The `len` bytes at `position`; fewer if the file ends there.
    pub(crate) async fn fetch(
        &mut self,
        file: &DirectFile,
        position: FilePosition,
        len: usize,
    ) -> Result<Slice, IoError> {
        if let Some(bytes) = &self.bytes
            && position >= self.start
            && let Ok(at) = usize::try_from(position.since(self.start))
            && at + len <= bytes.len()
        {
            return Ok(bytes.slice(at..at + len));
        }
        let bytes = file.read(position.get(), len.max(READ_BYTES_MAX)).await?;
        self.read_bytes += bytes.len() as u64;
        let part = bytes.slice(0..len.min(bytes.len()));
        (self.start, self.bytes) = (position, Some(bytes));
        Ok(part)
    }
}

pub(super) async fn read_checkpoint(dir: &Path) -> Result<Option<Checkpoint>, OpenError> {
    let Some(bytes) = read_advisory(&dir.join(CHECKPOINT_NAME)).await? else { return Ok(None) };
    match Checkpoint::decode(&bytes) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "checkpoint not used, scanning all");
            Ok(None)
        }
    }
}

pub(super) async fn read_damages(dir: &Path) -> Result<Vec<Damage>, OpenError> {
    let Some(bytes) = read_advisory(&dir.join(DAMAGED_NAME)).await? else { return Ok(Vec::new()) };
    match decode_damages(&bytes) {
        Ok(damages) => Ok(damages),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "list of damages not used");
            Ok(Vec::new())
        }
    }
}

/// The index file of the segment of `generation` at `base`, if it can be used.
pub(crate) async fn read_index(dir: &Path, generation: u64, base: Offset) -> Option<Index> {
    let path: PathBuf = dir.join(index_name(base));
    let bytes = file::read_small(&path, SMALL_FILE_BYTES_MAX).await.ok()?;
    match Index::decode(&bytes, generation, base) {
        Ok(index) => Some(index),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "index not used, made again");
            None
        }
    }
}

/// Removes what an earlier process made in the directory for a moment and left behind. The lock of
/// the data directory says that there is no other now.
pub(super) async fn remove_temporary(dir: &Path, entries: &[Entry]) {
    for entry in entries.iter().filter(|entry| !entry.is_dir && file::is_temporary(&entry.name)) {
        let path = dir.join(&entry.name);
        if let Err(error) = file::remove_file(&path).await {
            // Nobody reads it; the next opening tries again.
            tracing::warn!(path = %path.display(), %error, "left behind, and not removed");
        }
    }
}

/// A file that may be missing, or unreadable without harm.
async fn read_advisory(path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    match file::read_small(path, SMALL_FILE_BYTES_MAX).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == IoErrorKind::PermissionDenied => Err(error.into()),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "advisory file not readable");
            Ok(None)
        }
    }
}
