//! Makes the directory of a partition from batches that somebody has kept.
//!
//! Batches keep every byte, and with them offsets, epochs, times and ids. Segments begin anew, of the length that the log is
//! configured with; where offsets are missing another segment begins, and the first recovery reports them as damaged, as it
//! does when a file is gone. There is no index and no checkpoint: whoever restores opens the partition once, which reads
//! everything, makes both, and brings the sessions back. That is a second look at every byte that was written.

use std::fmt;
use std::path::{Path, PathBuf};

use pyralog_runtime::{IoError, file, rng};

use crate::batch::{Batch, BatchError, seal_behind_gap};
use crate::ids::{Epoch, LogId, Offset, PartitionId};
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::mark::Incarnation;
use crate::merkle::ProofError;
use crate::segment::{BLOCK_BYTES, segment_name};
use crate::segment_writer::{NewSegment, SegmentWriteError, SegmentWriter};

/// Why a partition cannot be restored. The directory is to be thrown away.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The file system fails.
    Io(IoError),
    /// A batch cannot be written.
    Write(SegmentWriteError),
    /// These bytes are no batch.
    Batch(BatchError),
    /// A batch begins before the end of the one before it.
    Order {
        /// Where the one before it ended.
        expected: Offset,
        /// Where it begins.
        found: Offset,
    },
    /// The nodes that were kept are not those of the tree that was signed.
    Tree(ProofError),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::Write(error) => error.fmt(formatter),
            Self::Batch(error) => error.fmt(formatter),
            Self::Tree(error) => write!(formatter, "the tree: {error}"),
            Self::Order { expected, found } => {
                write!(formatter, "a batch at offset {found} where {expected} is the earliest")
            }
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Write(error) => Some(error),
            Self::Batch(error) => Some(error),
            Self::Tree(error) => Some(error),
            Self::Order { .. } => None,
        }
    }
}

impl From<IoError> for RestoreError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<SegmentWriteError> for RestoreError {
    fn from(error: SegmentWriteError) -> Self {
        Self::Write(error)
    }
}

impl From<BatchError> for RestoreError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

/// What is restored.
#[derive(Clone, Debug)]
pub struct RestoredPartition {
    /// The log.
    pub log: LogId,
    /// The partition within it.
    pub partition: PartitionId,
    /// The directory to make. It must be missing or empty.
    pub dir: PathBuf,
    /// Length at which a segment ends and the next begins.
    pub segment_bytes: u64,
}

/// A partition that is being restored, on a core. Dropped midway, it leaves a directory that is to be thrown away.
#[derive(Debug)]
pub struct PartitionRestore {
    what: RestoredPartition,
    /// The segment that is being written, and the name of its file meanwhile.
    writer: Option<(SegmentWriter, PathBuf)>,
    base: Offset,
    /// Base of the first segment.
    first: Option<Offset>,
    next: Offset,
}

impl PartitionRestore {
    /// Makes the directory, durably.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn begin(what: RestoredPartition) -> Result<Self, IoError> {
        file::create_dir_all(&what.dir).await?;
        let zero = Offset::ZERO;
        Ok(Self { what, writer: None, base: zero, first: None, next: zero })
    }

    /// Takes the next batch, sealed and sound. Offsets between the last one and this one that it does not account for are
    /// missing from now on.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let header = *Batch::parse(bytes)?.header();
        let (base, from) = (header.owner.base_offset, header.covered_from());
        let begun = self.first.is_some();
        if begun && base < self.next {
            return Err(RestoreError::Order { expected: self.next, found: base });
        }
        let is_full = self.writer.as_ref().is_some_and(|(writer, _)| {
            writer.bytes() + bytes.len() as u64 + 2 * BLOCK_BYTES as u64 > self.what.segment_bytes
        });
        if is_full || (begun && self.next < from) {
            self.end_segment().await?;
        }
        // Compaction may have gone on after a part was copied: then this one accounts for offsets that are there.
        let overlaps = begun && from < self.next;
        if self.writer.is_none() {
            self.begin_segment(if overlaps { self.next } else { from }).await?;
        }
        if let Some((writer, _)) = &mut self.writer {
            if overlaps {
                let mut sealed = bytes.to_vec();
                seal_behind_gap(&mut sealed, header.owner, base.since(self.next));
                writer.push(&sealed).await?;
            } else {
                writer.push(bytes).await?;
            }
        }
        self.next = header.next_offset();
        Ok(())
    }

    /// Ends the partition at `high`, with `low` as its low watermark. Durable when it resolves.
    ///
    /// # Errors
    /// If the file system fails.
    ///
    /// # Panics
    /// If `low` lies above `high`: the caller has checked what it restores.
    pub async fn finish(mut self, low: Offset, high: Offset) -> Result<(), RestoreError> {
        assert!(low <= high, "the low watermark {low} lies above {high}");
        self.end_segment().await?;
        if self.first.is_none() || self.next < high {
            self.begin_segment(high).await?;
            self.end_segment().await?;
        }
        let mut manifest = Manifest::new(self.what.log, self.what.partition);
        manifest.low = low;
        file::write_small_atomic(&self.what.dir.join(MANIFEST_NAME), manifest.encode()).await?;
        Ok(())
    }

    async fn begin_segment(&mut self, base: Offset) -> Result<(), RestoreError> {
        let RestoredPartition { log, partition, ref dir, segment_bytes } = self.what;
        let segment = NewSegment {
            log,
            partition,
            epoch: Epoch::ZERO,
            base,
            incarnation: Incarnation::default().next(),
            segment_bytes,
        };
        let path = staged(dir, base);
        self.writer = Some((SegmentWriter::create(&path, &segment).await?, path));
        self.base = base;
        self.first = self.first.or(Some(base));
        self.next = base;
        Ok(())
    }

    /// Completes the segment that is being written, if there is one, and gives it its name.
    async fn end_segment(&mut self) -> Result<(), RestoreError> {
        let Some((writer, path)) = self.writer.take() else { return Ok(()) };
        let dir = &self.what.dir;
        writer.finish(dir).await?;
        file::rename(path, dir.join(segment_name(self.base))).await?;
        file::sync_dir(dir).await?;
        Ok(())
    }
}

/// A name that recovery removes.
fn staged(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{}.{:016x}.tmp", segment_name(base), rng::entropy_u64()))
}
