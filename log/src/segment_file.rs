//! Runs segment files: making, preparing, recycling, preallocating, initialising ahead.
//!
//! A file is made, or taken from the recycle directory, under the name [`NEXT_NAME`], which recovery
//! never scans. It gets a header with a new generation, synced, and only then, when the partition
//! rolls into it, its base offset and its name. So at no moment is there a file under a segment's
//! name whose old content could be read with its old generation.

use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pyralog_runtime::buffer::{Buffer, BufferMut};
use pyralog_runtime::channel::Event;
use pyralog_runtime::file::{self, DirectFile, Entry, Sync};
use pyralog_runtime::{IoError, IoErrorKind, rng, time};

use crate::ids::{Offset, Timestamp};
use crate::limits::{
    INITIALISE_BYTES_MAX, INITIALISE_BYTES_MIN, PREALLOCATE_STEP_MAX, PREALLOCATE_STEP_MIN,
    READ_BYTES_MAX, RECYCLED_FILES_MAX,
};
use crate::reserve::RESERVE_NAME;
use crate::segment::{BLOCK_BYTES, FilePosition, SegmentHeader, segment_name};

/// Name of a file that is prepared and not yet a segment.
pub(crate) const NEXT_NAME: &str = "next.tmp";

/// Stream bytes after which initialising ahead begins: a partition of a few records never pays.
const INITIALISE_AFTER: u64 = 64 << 10;

/// Bytes before the writer that are left to it, so that it does not run into the zeros at once and
/// wait for the background.
const INITIALISE_GAP: u64 = 64 << 10;

/// A segment file that is open. Belongs to one core.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    file: DirectFile,
    header: SegmentHeader,
    /// Bytes reserved.
    allocated: Cell<u64>,
    /// Blocks below it were written before, so writing them changes no metadata.
    initialised: Cell<u64>,
    /// Blocks that are being initialised: no group may be written there meanwhile.
    initialising: Cell<Option<(u64, u64)>>,
    initialised_event: Event,
}

impl SegmentFile {
    /// Opens a segment whose stream ends at `end`.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn new(file: DirectFile, header: SegmentHeader, end: u64) -> Result<Self, IoError> {
        let allocated = Cell::new(file.len()?);
        let initialised = Cell::new(end);
        let initialising = Cell::new(None);
        let initialised_event = Event::new();
        Ok(Self { file, header, allocated, initialised, initialising, initialised_event })
    }

    pub(crate) const fn file(&self) -> &DirectFile {
        &self.file
    }

    pub(crate) const fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Writes whole blocks at `position`, which are reserved first if they are not yet.
    ///
    /// # Errors
    /// `NoSpace` or `FileTooLarge`: they may be written in part. Anything else: what they hold is
    /// unknown.
    pub(crate) async fn write(
        &self,
        position: FilePosition,
        buffer: &Buffer,
        sync: Sync,
    ) -> Result<(), IoError> {
        let (start, end) = (position.get(), position.get() + buffer.len() as u64);
        self.reserve(end).await?;
        while self.initialising.get().is_some_and(|(from, to)| start < to && from < end) {
            self.initialised_event.listen().await;
        }
        self.file.write(start, buffer, sync).await?;
        self.initialised.set(self.initialised.get().max(end));
        self.allocated.set(self.allocated.get().max(end));
        Ok(())
    }

    /// Reserves the blocks below `end` and a step more.
    async fn reserve(&self, end: u64) -> Result<(), IoError> {
        let allocated = self.allocated.get();
        if end <= allocated {
            return Ok(());
        }
        let target = self.reservation(end);
        let reserved = match self.file.preallocate(target).await {
            Err(error) if is_full(&error) && target > end => {
                self.file.preallocate(end).await.map(|()| end)
            }
            other => other.map(|()| target),
        };
        match reserved {
            Ok(reserved) => self.allocated.set(reserved.max(self.allocated.get())),
            Err(error) if is_full(&error) => return Err(error),
            // This file system cannot reserve: writes allocate.
            Err(_) => self.allocated.set(end),
        }
        Ok(())
    }

    /// How much to reserve so that `end` is included.
    fn reservation(&self, end: u64) -> u64 {
        let step = end.clamp(PREALLOCATE_STEP_MIN, PREALLOCATE_STEP_MAX);
        let whole = self.header.segment_bytes.next_multiple_of(BLOCK_BYTES as u64);
        (end + step).next_multiple_of(PREALLOCATE_STEP_MIN).min(whole).max(end)
    }

    /// Whether more should be reserved before a writer at `position` has to wait for it.
    pub(crate) fn wants_reserve(&self, position: FilePosition) -> bool {
        let allocated = self.allocated.get();
        let step = allocated.clamp(PREALLOCATE_STEP_MIN, PREALLOCATE_STEP_MAX);
        allocated < self.header.segment_bytes && position.get() + step / 2 > allocated
    }

    /// Reserves the next step ahead of a writer; what fails here fails again, and loudly, there.
    pub(crate) async fn reserve_ahead(&self) {
        let end = self.allocated.get() + BLOCK_BYTES as u64;
        if let Err(error) = self.reserve(end.min(self.header.segment_bytes)).await {
            tracing::debug!(%error, "nothing reserved ahead");
        }
    }

    /// The blocks to initialise now, if a writer of small groups at `position`, behind everything in
    /// flight, would profit. From here on no group is written there until [`Self::initialise`] is
    /// done, which the caller has to start.
    pub(crate) fn begin_initialise(&self, position: FilePosition) -> Option<Range<u64>> {
        let used = position.since(FilePosition::STREAM_START);
        if self.initialising.get().is_some() || used < INITIALISE_AFTER {
            return None;
        }
        let window = used.clamp(INITIALISE_BYTES_MIN, INITIALISE_BYTES_MAX);
        let window = window.next_multiple_of(BLOCK_BYTES as u64);
        let start = self.initialised.get().max(position.block_end().get() + INITIALISE_GAP);
        let end = (position.block_end().get() + window).min(self.allocated.get());
        let end = end - end % BLOCK_BYTES as u64;
        let due = start.saturating_sub(position.get()) < window / 2 && start < end;
        if !due {
            return None;
        }
        self.initialising.set(Some((start, end)));
        Some(start..end)
    }

    /// Writes zeros over the blocks that [`Self::begin_initialise`] returned.
    ///
    /// # Errors
    /// The file is then no more to be trusted than after a group that failed: the sync that these
    /// writes carry is one of the file.
    pub(crate) async fn initialise(&self, blocks: Range<u64>) -> Result<(), IoError> {
        let piece = usize::try_from(blocks.end - blocks.start).unwrap_or(READ_BYTES_MAX);
        let piece = piece.min(READ_BYTES_MAX);
        let mut zeros = BufferMut::with_capacity(piece);
        zeros.extend_with(piece, 0);
        let zeros = zeros.freeze();
        let (mut at, mut result) = (blocks.start, Ok(()));
        while at + piece as u64 <= blocks.end {
            result = self.file.write(at, &zeros, Sync::Data).await;
            if result.is_err() {
                break;
            }
            at += piece as u64;
            self.initialised.set(self.initialised.get().max(at));
            self.initialising.set(Some((at, blocks.end)));
            self.initialised_event.notify_all();
            pyralog_runtime::yield_if_needed().await;
        }
        self.initialising.set(None);
        self.initialised_event.notify_all();
        result
    }
}

/// Whether the failure is lack of space, after which the file is known.
pub(crate) fn is_full(error: &IoError) -> bool {
    matches!(error.kind(), IoErrorKind::NoSpace | IoErrorKind::FileTooLarge)
}

/// Prepares a file in `dir` for a segment to come: recycled if there is one of the right length.
///
/// # Errors
/// If it cannot be made; then there is none.
pub(crate) async fn prepare(
    dir: &Path,
    recycle: &Path,
    header: &SegmentHeader,
) -> Result<SegmentFile, IoError> {
    assert_eq!(header.base_offset, None, "a prepared file has no base offset yet");
    let path = dir.join(NEXT_NAME);
    remove_if_there(&path).await?;
    let recycled = take_recycled(recycle, &path, header.segment_bytes).await;
    let file = if recycled {
        DirectFile::open(&path).await?
    } else {
        DirectFile::create_new(&path, PREALLOCATE_STEP_MIN.min(header.segment_bytes)).await?
    };
    file.write(0, &header_block(header), Sync::Data).await?;
    let initialised = if recycled { file.len()? } else { FilePosition::STREAM_START.get() };
    SegmentFile::new(file, *header, initialised)
}

/// Gives the prepared file its base offset and its name. Durable when it resolves.
///
/// # Errors
/// If that fails; the prepared file is to be thrown away then.
pub(crate) async fn name(
    dir: &Path,
    mut prepared: SegmentFile,
    base: Offset,
) -> Result<SegmentFile, IoError> {
    prepared.header.base_offset = Some(base);
    // It may have waited long; its age counts from here.
    prepared.header.created = Timestamp::new(time::unix_us());
    prepared.file.write(0, &header_block(&prepared.header), Sync::Data).await?;
    file::rename(dir.join(NEXT_NAME), dir.join(segment_name(base))).await?;
    file::sync_dir(dir).await?;
    Ok(prepared)
}

/// The header as a buffer for direct I/O.
pub(crate) fn header_block(header: &SegmentHeader) -> Buffer {
    let mut block = BufferMut::with_capacity(BLOCK_BYTES);
    block.extend_from_slice(&header.encode());
    block.freeze()
}

/// Renames some recycled file of `len` bytes to `path`. Other partitions of the core may be faster.
async fn take_recycled(recycle: &Path, path: &Path, len: u64) -> bool {
    let Ok(entries) = file::list_dir(recycle).await else { return false };
    let is_free = |entry: &&Entry| !entry.is_dir && entry.len == len && entry.name != RESERVE_NAME;
    for entry in entries.iter().filter(is_free) {
        if file::rename(recycle.join(&entry.name), path).await.is_ok() {
            return true;
        }
    }
    false
}

/// Moves a segment file to the recycle directory, or removes it if that has enough.
///
/// # Errors
/// If it can be neither moved nor removed.
pub(crate) async fn discard(path: &Path, recycle: &Path) -> Result<(), IoError> {
    let kept = file::list_dir(recycle).await.map_or(usize::MAX, |entries| entries.len());
    if kept < RECYCLED_FILES_MAX {
        let to: PathBuf = recycle.join(format!("{:016x}.seg", rng::entropy_u64()));
        if file::rename(path, &to).await.is_ok() {
            return Ok(());
        }
    }
    remove_if_there(path).await
}

/// Whether there is no space on the disk, which other files may give back.
pub(crate) fn lacks_space(error: &IoError) -> bool {
    error.kind() == IoErrorKind::NoSpace
}

/// Removes the files that wait to be used again: somebody needs their space. Whether any went. The reserve stays.
pub(crate) async fn give_back(recycle: &Path) -> bool {
    let entries = file::list_dir(recycle).await.unwrap_or_default();
    let mut has_given = false;
    for entry in entries.iter().filter(|entry| !entry.is_dir && entry.name != RESERVE_NAME) {
        has_given |= file::remove_file(recycle.join(&entry.name)).await.is_ok();
    }
    has_given
}

/// Removes a file that may not exist.
///
/// # Errors
/// If it exists and cannot be removed.
pub(crate) async fn remove_if_there(path: &Path) -> Result<(), IoError> {
    match file::remove_file(path).await {
        Err(error) if error.kind() != IoErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
