//! Writes whole segments from batches that are sealed already: what compaction leaves, what a backup or a store gives back.
//!
//! The file is made under a name that nobody takes for a segment's. It has a header with a generation of its own, groups of
//! about [`SEGMENT_WRITER_GROUP_BYTES`], each with a mark that promises what lies before it, and a clean mark at the end; it
//! is on stable storage, and so is its name, before [`SegmentWriter::finish`] resolves. Whoever has it renamed to
//! [`segment_name`](crate::segment::segment_name) of its base has a segment as the writer of a partition makes one.
//!
//! A batch of n bytes is copied twice, into the gather and into the buffer of the write, and hashed for its header alone: that
//! its body is sound is for the caller to know.

use std::fmt;
use std::path::Path;

use pyralog_runtime::buffer::BufferMut;
use pyralog_runtime::file::{self, DirectFile, Sync};
use pyralog_runtime::{IoError, rng, time};

use crate::batch::{Batch, BatchError, MARK_BYTES, verify_header};
use crate::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
use crate::index::Index;
use crate::limits::{READ_BYTES_MAX, SEGMENT_WRITER_GROUP_BYTES};
use crate::mark::{Incarnation, Mark, MarkFlags};
use crate::partition::Closed;
use crate::segment::{BLOCK_BYTES, FilePosition, SegmentHeader};
use crate::segment_file::header_block;

/// What a new segment is.
#[derive(Clone, Copy, Debug)]
pub struct NewSegment {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: PartitionId,
    /// Epoch for the header of the segment; the batches have their own.
    pub epoch: Epoch,
    /// Where the offsets begin that the first batch covers.
    pub base: Offset,
    /// The life that its marks are of.
    pub incarnation: Incarnation,
    /// Length at which the partition rolls, for the header.
    pub segment_bytes: u64,
}

/// A segment that is complete.
#[derive(Clone, Debug)]
pub struct Written {
    /// What the partition remembers of it.
    pub(crate) closed: Closed,
    /// Where its batches lie.
    pub index: Index,
}

impl Written {
    /// Offset after its last record.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.closed.end
    }

    /// Its generation.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.closed.generation
    }

    /// Largest append time of its batches; [`Timestamp::MIN`] without any.
    #[must_use]
    pub const fn append_max(&self) -> Timestamp {
        self.closed.append_max
    }
}

/// Why a batch cannot be written. The file is to be thrown away.
#[derive(Debug)]
#[non_exhaustive]
pub enum SegmentWriteError {
    /// The file system fails.
    Io(IoError),
    /// These bytes are not a sealed batch.
    Batch(BatchError),
    /// The batch does not cover from where the one before it ended.
    Chain {
        /// Where the one before it ended.
        expected: Offset,
        /// Where it covers from.
        found: Offset,
    },
}

impl fmt::Display for SegmentWriteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::Batch(error) => write!(formatter, "not a sealed batch: {error}"),
            Self::Chain { expected, found } => {
                write!(
                    formatter,
                    "a batch of offsets from {found} where those from {expected} belong"
                )
            }
        }
    }
}

impl std::error::Error for SegmentWriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Batch(error) => Some(error),
            Self::Chain { .. } => None,
        }
    }
}

impl From<IoError> for SegmentWriteError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<BatchError> for SegmentWriteError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

/// The group that gathers.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Where its mark goes.
    position: FilePosition,
    base: Offset,
    batches_crc: u32,
    len: u32,
}

/// A segment that is being written. Dropped midway it leaves a file that is no segment.
///
/// Invariant: `gathered` lies at `written`, a block boundary, and ends where the next batch goes.
#[derive(Debug)]
pub struct SegmentWriter {
    file: DirectFile,
    header: SegmentHeader,
    base: Offset,
    incarnation: Incarnation,
    written: FilePosition,
    gathered: Vec<u8>,
    group: Option<Group>,
    index: Index,
    end: Offset,
    append_max: Timestamp,
    opened: bool,
}

impl SegmentWriter {
    /// Makes the file `path`, which must not be there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn create(path: &Path, segment: &NewSegment) -> Result<Self, IoError> {
        let header = SegmentHeader {
            generation: rng::entropy_u64(),
            log: segment.log,
            partition: segment.partition,
            base_offset: Some(segment.base),
            epoch: segment.epoch,
            created: Timestamp::new(time::unix_us()),
            segment_bytes: segment.segment_bytes,
        };
        let file = DirectFile::create_new(path, BLOCK_BYTES as u64).await?;
        file.write(0, &header_block(&header), Sync::No).await?;
        Ok(Self {
            file,
            header,
            base: segment.base,
            incarnation: segment.incarnation,
            written: FilePosition::STREAM_START,
            gathered: Vec::new(),
            group: None,
            index: Index::new(segment.base),
            end: segment.base,
            append_max: Timestamp::MIN,
            opened: false,
        })
    }

    /// Its generation.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Offset after the last batch so far.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// Bytes of the file so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.position().get()
    }

    /// Takes the next batch, which is sealed and covers from where the one before it ended.
    ///
    /// # Errors
    /// Why it cannot; then the file is to be thrown away.
    ///
    /// # Panics
    /// Never: a batch is at most `BATCH_BYTES_MAX` long.
    pub async fn push(&mut self, batch: &[u8]) -> Result<(), SegmentWriteError> {
        let batch = Batch::parse(batch)?;
        verify_header(batch.header_bytes())?;
        let (header, bytes) = (batch.header(), batch.bytes());
        let (expected, found) = (self.end, header.covered_from());
        if expected != found {
            return Err(SegmentWriteError::Chain { expected, found });
        }
        if self
            .group
            .is_some_and(|group| group.len as usize + bytes.len() > SEGMENT_WRITER_GROUP_BYTES)
        {
            self.end_group();
            self.write_blocks().await?;
        }
        let group = match &mut self.group {
            Some(group) => group,
            none => {
                let position = self.written.plus(self.gathered.len() as u64);
                self.gathered.resize(self.gathered.len() + MARK_BYTES, 0);
                none.insert(Group { position, base: expected, batches_crc: 0, len: 0 })
            }
        };
        group.batches_crc = crc32c::crc32c_append(group.batches_crc, batch.header_bytes());
        group.len += u32::try_from(bytes.len()).expect("a batch is at most BATCH_BYTES_MAX");
        let position = self.position();
        self.gathered.extend_from_slice(bytes);
        self.index.observe(header, position);
        self.end = header.next_offset();
        self.append_max = self.append_max.max(header.owner.append_time);
        Ok(())
    }

    /// Ends the segment. When it resolves file and name are on stable storage.
    ///
    /// # Errors
    /// If the file system fails; then the file is to be thrown away.
    pub async fn finish(mut self, dir: &Path) -> Result<Written, IoError> {
        self.end_group();
        let position = self.position();
        self.gathered.resize(self.gathered.len() + MARK_BYTES, 0);
        let group = Group { position, base: self.end, batches_crc: 0, len: 0 };
        self.put_mark(&group, MarkFlags::CLEAN);
        let end_position = self.position();
        self.gathered.resize(self.gathered.len().next_multiple_of(BLOCK_BYTES), 0);
        self.write_blocks().await?;
        self.file.sync_data().await?;
        self.file.close().await?;
        file::sync_dir(dir).await?;
        let closed = Closed {
            base: self.base,
            generation: self.header.generation,
            end: self.end,
            end_position,
            time_max: self.index.time_max(),
            append_max: self.append_max,
        };
        Ok(Written { closed, index: self.index })
    }

    /// Where the next byte goes.
    fn position(&self) -> FilePosition {
        self.written.plus(self.gathered.len() as u64)
    }

    /// Writes the mark of the group that gathers, if one does.
    fn end_group(&mut self) {
        if let Some(group) = self.group.take() {
            self.put_mark(&group, MarkFlags::NONE);
        }
    }

    /// Writes a mark into the room that was left for it.
    fn put_mark(&mut self, group: &Group, flags: MarkFlags) {
        let opened = std::mem::replace(&mut self.opened, true);
        let mark = Mark {
            position: group.position,
            group_len: group.len,
            batches_crc: group.batches_crc,
            base_offset: group.base,
            // Nothing of it is read before all of it is on stable storage.
            synced_offset: group.base,
            incarnation: self.incarnation,
            flags: if opened { flags } else { flags.with(MarkFlags::OPENING) },
            time: self.append_max.max(Timestamp::ZERO),
        };
        let at = usize::try_from(group.position.since(self.written));
        let at = at.expect("the mark is still gathered");
        self.gathered[at..at + MARK_BYTES].copy_from_slice(&mark.encode(self.header.key()));
    }

    /// Writes what is whole blocks.
    async fn write_blocks(&mut self) -> Result<(), IoError> {
        let whole = self.gathered.len() - self.gathered.len() % BLOCK_BYTES;
        for piece in self.gathered[..whole].chunks(READ_BYTES_MAX) {
            let mut buffer = BufferMut::with_capacity(piece.len());
            buffer.extend_from_slice(piece);
            self.file.write(self.written.get(), &buffer.freeze(), Sync::No).await?;
            self.written = self.written.plus(piece.len() as u64);
            pyralog_runtime::yield_if_needed().await;
        }
        self.gathered.drain(..whole);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
