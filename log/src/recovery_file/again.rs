//! Making durable what an earlier life left: the end of the log, and the name of its directory.

use std::path::Path;

use pyralog_runtime::buffer::BufferMut;
use pyralog_runtime::file::{self, Sync};
use pyralog_runtime::{IoError, IoErrorKind, yield_if_needed};

use super::{Recovery, Window};
use crate::limits::READ_BYTES_MAX;
use crate::partition::OpenError;
use crate::recovery::adoption::{Adoption, Piece};
use crate::recovery::scan::{End, Subject};
use crate::segment_file::SegmentFile;

impl Recovery<'_> {
    /// Writes what lies before the end and nobody vouches for again, so that it is on stable storage
    /// when this resolves. Dropped or failed midway, nothing has changed that can be read.
    pub(super) async fn write_again(
        &mut self,
        head: &SegmentFile,
        subject: Subject,
        end: &End,
    ) -> Result<(), OpenError> {
        let segment = subject.segment;
        let Some(mut adoption) = Adoption::new(subject, end) else { return Ok(()) };
        let mut window = Window::default();
        while let Some(need) = adoption.need() {
            let bytes = window.fetch(head.file(), need.position, need.len).await?;
            adoption.supply(&bytes).map_err(|_| OpenError::Changed { segment })?;
            if let Some(piece) = adoption.piece() {
                self.rewritten_bytes += piece.bytes.len() as u64;
                write_synced(head, &piece).await?;
            }
            yield_if_needed().await;
        }
        Ok(())
    }
}

/// Writes the piece in writes of bounded length, each on stable storage before the next.
async fn write_synced(head: &SegmentFile, piece: &Piece) -> Result<(), IoError> {
    let mut position = piece.position;
    for part in piece.bytes.chunks(READ_BYTES_MAX) {
        let mut buffer = BufferMut::with_capacity(part.len());
        buffer.extend_from_slice(part);
        head.write(position, &buffer.freeze(), Sync::Data).await?;
        position = position.plus(part.len() as u64);
        yield_if_needed().await;
    }
    Ok(())
}

/// Makes the name of a directory durable, as [`file::create_dir_all`] does for one that it makes.
pub(super) async fn keep_name(dir: &Path) -> Result<(), IoError> {
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    match file::sync_dir(above.unwrap_or(Path::new("."))).await {
        // Then it cannot be synced either, and the name is left to the file system.
        Err(error) if error.kind() == IoErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}
