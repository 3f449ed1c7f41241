//! What a partition is asked and what it answers: settings, tickets, results, errors.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use pyralog_runtime::buffer::Slice;
use pyralog_runtime::{IoError, IoErrorKind};

use super::tiering::Tiering;
use crate::FormatError;
use crate::batch::BatchError;
use crate::durability::Durability;
use crate::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
use crate::limits::{
    KEY_INDEX_KEYS_DEFAULT, MEMORY_BYTES_MIN, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
};
use crate::recovery::Extent;
use crate::retention::{Bounds, Life};
use crate::sessions::SessionError;

use super::Proofs;

/// Where the records of a partition live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In segment files.
    Durable {
        /// Directory of this partition alone; made if it is missing.
        dir: PathBuf,
        /// Directory of this core for files that may be written over, on the same file system.
        recycle: PathBuf,
    },
    /// In memory only: lost with the process, the oldest records make room for the newest.
    Memory {
        /// Most bytes of buffers that the partition holds.
        bytes_max: u64,
        /// How long a record stays at most.
        ttl: Option<Duration>,
    },
}

/// What a partition is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionConfig {
    /// The log.
    pub log: LogId,
    /// The partition within it.
    pub partition: PartitionId,
    /// Epoch of the ownership; stamped on every batch.
    pub epoch: Epoch,
    /// What every record of the log reaches, and what it must have reached before readers see it.
    pub durability: Durability,
    /// Length at which a segment is closed and the next begun.
    pub segment_bytes: u64,
    /// Memory for recent records, which readers at the tail are served from.
    pub tail_bytes: usize,
    /// Keep an index from keys to their latest records, so that the latest record of a key is found
    /// without a scan.
    pub key_index: bool,
    /// Most keys of one segment of which that index holds the hashes in memory at a time.
    pub key_index_keys_max: usize,
    /// How much of it is read when it is opened.
    pub extent: Extent,
    /// What its Merkle tree needs, if it has one. A partition in memory has none.
    pub proofs: Option<Proofs>,
    /// How its records age; nothing of it is for a partition in memory.
    pub life: Life,
    /// What goes to the object store, if it has one.
    pub tiering: Tiering,
    /// Disk or memory.
    pub storage: Storage,
}

/// What of a partition's configuration can be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes {
    /// [`PartitionConfig::durability`].
    pub durability: Durability,
    /// [`PartitionConfig::segment_bytes`], of segments begun from now on.
    pub segment_bytes: u64,
    /// Most bytes of buffers, and how long a record stays, of a partition in memory. One with files has neither.
    pub memory: Option<(u64, Option<Duration>)>,
    /// [`PartitionConfig::life`].
    pub life: Life,
    /// [`PartitionConfig::tiering`].
    pub tiering: Tiering,
}

impl PartitionConfig {
    /// A partition with the defaults: synced (memory: as durable as memory is), segments of 1 GiB, a
    /// tail of 8 MiB, epoch zero, no index of keys.
    #[must_use]
    pub const fn new(log: LogId, partition: PartitionId, storage: Storage) -> Self {
        let durability = match storage {
            Storage::Durable { .. } => Durability::Synced,
            Storage::Memory { .. } => Durability::Memory,
        };
        Self {
            log,
            partition,
            epoch: Epoch::ZERO,
            durability,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            tail_bytes: 8 << 20,
            key_index: false,
            key_index_keys_max: KEY_INDEX_KEYS_DEFAULT,
            extent: Extent::Unvouched,
            proofs: None,
            life: Life { segment_age: None, retention: Bounds { age: None, bytes: None } },
            tiering: Tiering { is_on: false, local_age: Duration::ZERO, local_bytes: 0 },
            storage,
        }
    }

    /// Whether a partition can be made of this.
    ///
    /// # Errors
    /// What is wrong, with the limit.
    pub fn check(&self) -> Result<(), OpenError> {
        match &self.storage {
            Storage::Memory { bytes_max, .. } if *bytes_max < MEMORY_BYTES_MIN => {
                Err(OpenError::MemoryBytes { min: MEMORY_BYTES_MIN, found: *bytes_max })
            }
            Storage::Memory { .. } if self.durability != Durability::Memory => {
                Err(OpenError::Durability { found: self.durability })
            }
            Storage::Memory { .. } => Ok(()),
            Storage::Durable { .. } => {
                let (min, max) = (SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
                if (min..=max).contains(&self.segment_bytes) {
                    Ok(())
                } else {
                    Err(OpenError::SegmentBytes { min, max, found: self.segment_bytes })
                }
            }
        }
    }
}

/// Why a partition could not be opened. Nothing was changed on disk unless it says so.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The segment length is out of range.
    SegmentBytes {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
        /// What was asked for.
        found: u64,
    },
    /// The byte budget of a memory-only log is too small.
    MemoryBytes {
        /// Smallest.
        min: u64,
        /// What was asked for.
        found: u64,
    },
    /// A memory-only log promises no more than memory.
    Durability {
        /// What was asked for.
        found: Durability,
    },
    /// The directory belongs to another partition.
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// Both copies of the manifest are damaged: nothing says where the log begins.
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: FormatError,
    },
    /// A segment was read twice and was not the same. Opening again looks at it anew.
    Changed {
        /// Its base offset.
        segment: Offset,
    },
    /// The file system failed. Recovery may have moved damaged bytes to quarantine; opening again
    /// continues where it failed.
    Io(IoError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentBytes { min, max, found } => {
                write!(formatter, "segments of {found} bytes: at least {min}, at most {max}")
            }
            Self::MemoryBytes { min, found } => {
                write!(formatter, "a memory-only log of {found} bytes: at least {min}")
            }
            Self::Durability { found } => {
                write!(formatter, "a memory-only log cannot promise `{found}`, only `memory`")
            }
            Self::Foreign { dir } => {
                write!(formatter, "{} holds segments of another partition", dir.display())
            }
            Self::Manifest { path, error } => write!(
                formatter,
                "{}: {error}, in both of its copies. Restore the partition from a backup; or, if its log was never \
                 tiered, move the file away: then what retention removed last may be there again",
                path.display()
            ),
            Self::Changed { segment } => {
                write!(formatter, "segment {segment:020} was read twice and was not the same")
            }
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Manifest { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<IoError> for OpenError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

/// What the caller of an append recognises its answer by. The partition does not look inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64, pub u64);

/// Where an append is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset after its last record.
    pub next_offset: Offset,
    /// When it was appended; never goes back within a partition.
    pub append_time: Timestamp,
    /// It was there already: these are the offsets of the original.
    pub duplicate: bool,
}

/// Why the file of a partition takes no more writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of failure.
    pub kind: IoErrorKind,
    /// What was being done.
    pub operation: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} failed: {:?}", self.operation, self.kind)
    }
}

impl From<&IoError> for Fault {
    fn from(error: &IoError) -> Self {
        Self { kind: error.kind(), operation: error.operation() }
    }
}

/// Why an append was refused, or will never be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// The bytes are not batches as producers send them.
    Invalid(BatchError),
    /// No batch at all.
    Empty,
    /// More bytes than one append may have.
    TooLarge {
        /// The limit, in bytes.
        max: usize,
        /// The length.
        found: usize,
    },
    /// More records than one append may have.
    TooManyRecords {
        /// The limit.
        max: u64,
        /// How many there are.
        found: u64,
    },
    /// Batches before this one are missing; nothing of the append was taken.
    SequenceGap {
        /// The sequence number that comes next.
        expected: u64,
    },
    /// The session is not known here: it was never begun, or forgotten after long silence.
    UnknownSession,
    /// The session was taken over.
    SessionFenced {
        /// The epoch of the session now.
        epoch: u32,
    },
    /// A repeat of something so old that nobody remembers where it is.
    DuplicateTooOld {
        /// The sequence number that comes next.
        expected: u64,
    },
    /// Some batches of the append are repeats and some are new: send them one at a time.
    PartlyDuplicate,
    /// The log cannot give what was asked for: it is memory-only.
    Unsupported {
        /// The level asked for.
        requested: Durability,
    },
    /// The disk is behind and the buffers are full: try again soon. Nothing was taken.
    Busy,
    /// The device, the quota or the file-size limit is full. Nothing was taken; the partition goes on
    /// as soon as there is space.
    NoSpace(Fault),
    /// A write or sync failed: what is on disk is unknown, and nothing is acknowledged any more until
    /// the partition is opened again. The append may or may not be found then.
    Poisoned(Fault),
    /// The partition is closed or closing. A pending append may or may not be found later.
    Closed,
}

impl fmt::Display for AppendError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => write!(formatter, "not a valid batch: {error}"),
            Self::Empty => formatter.write_str("an append without a batch"),
            Self::TooLarge { max, found } => {
                write!(formatter, "an append of {found} bytes, at most {max}")
            }
            Self::TooManyRecords { max, found } => {
                write!(formatter, "an append of {found} records, at most {max}")
            }
            Self::SequenceGap { expected } => {
                write!(formatter, "sequence gap: {expected} comes next")
            }
            Self::UnknownSession => formatter.write_str("unknown session: begin at sequence 0"),
            Self::SessionFenced { epoch } => {
                write!(formatter, "the session was taken over: it is at epoch {epoch}")
            }
            Self::DuplicateTooOld { expected } => {
                write!(formatter, "a repeat below the window: sequence {expected} comes next")
            }
            Self::PartlyDuplicate => {
                formatter.write_str("some batches are repeats and some are new: send them singly")
            }
            Self::Unsupported { requested } => {
                write!(formatter, "a memory-only log cannot promise `{requested}`")
            }
            Self::Busy => formatter.write_str("the partition's buffers are full: try again"),
            Self::NoSpace(fault) => write!(formatter, "no space: {fault}"),
            Self::Poisoned(fault) => {
                write!(formatter, "the partition stopped after an error of its disk: {fault}")
            }
            Self::Closed => formatter.write_str("the partition is closed"),
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BatchError> for AppendError {
    fn from(error: BatchError) -> Self {
        Self::Invalid(error)
    }
}

impl From<SessionError> for AppendError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Unknown => Self::UnknownSession,
            SessionError::Fenced { epoch } => Self::SessionFenced { epoch },
            SessionError::Gap { expected } => Self::SequenceGap { expected },
            SessionError::TooOld { expected } => Self::DuplicateTooOld { expected },
        }
    }
}

/// What an append came to, as far as it is known at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused append is reported nowhere else"]
pub enum AppendNow {
    /// It has reached the level already.
    Done(Appended),
    /// It was taken; [`Completions::completed`] will be called once with its ticket.
    Pending,
    /// It was not taken; nothing changed.
    Refused(AppendError),
}

/// Where the answers to pending appends go.
pub trait Completions {
    /// The append of `ticket` reached its level, or never will. Called on the owning core, by the
    /// partition's own task, never from within `Partition::append`.
    fn completed(&self, ticket: Ticket, outcome: Result<Appended, AppendError>);

    /// A group of `bytes` was written in `sample`; for histograms.
    fn wrote(&self, sample: WriteSample) {
        let _ = sample;
    }

    /// Whether the core holds more in buffers than it should. Then a partition that has written a
    /// group keeps next to nothing of it in memory; who reads at its end reads the file.
    fn is_short(&self) -> bool {
        false
    }
}

/// One write to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteSample {
    /// Bytes written, whole blocks.
    pub bytes: usize,
    /// How long it took.
    pub duration: Duration,
    /// Whether it was on stable storage at the end.
    pub synced: bool,
}

/// How far a partition has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// First offset that can be read.
    pub low: Offset,
    /// Offset after the last record that readers see: all below reached the log's level.
    pub high: Offset,
    /// The next offset to be dealt.
    pub end: Offset,
}

/// What a read returns.
#[derive(Clone, Debug)]
pub struct Read {
    /// The bytes, in order: whole batches and, where files were read, commit marks between them.
    pub slices: Vec<Slice>,
    /// Offset of the first record in them; the offset asked for if there is none.
    pub first_offset: Offset,
    /// Where to read on.
    pub next_offset: Offset,
    /// How far the partition had come.
    pub watermarks: Watermarks,
    /// They were read from a file, or the object store: the tail had given them up.
    pub is_from_file: bool,
}

impl Read {
    /// Bytes of all slices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
}

/// Counters of a partition since it was opened, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionStats {
    /// Appends taken.
    pub appends: u64,
    /// Appends answered as duplicates.
    pub duplicates: u64,
    /// Appends refused.
    pub refused: u64,
    /// Batches taken.
    pub batches: u64,
    /// Records taken.
    pub records: u64,
    /// Bytes of batches taken.
    pub bytes: u64,
    /// Groups written.
    pub groups: u64,
    /// Bytes written to disk, padding and rewritten blocks included.
    pub written_bytes: u64,
    /// Syncs besides the writes that carry their own.
    pub syncs: u64,
    /// Reads served from memory.
    pub tail_reads: u64,
    /// Reads served from files.
    pub file_reads: u64,
    /// Bytes handed to readers.
    pub read_bytes: u64,
    /// Records evicted from a memory-only log.
    pub evicted_records: u64,
    /// Records that went from the front by retention or truncation.
    pub removed_records: u64,
    /// Segments that went with them.
    pub removed_segments: u64,
    /// Bytes of these segments.
    pub removed_bytes: u64,
    /// Bytes of buffers held: tail cache or memory-only log, and what is being gathered.
    pub memory_bytes: u64,
    /// Bytes of segment files up to their ends.
    pub file_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Segments in the object store.
    pub remote_segments: u64,
    /// Bytes of these.
    pub remote_bytes: u64,
    /// Sessions known.
    pub sessions: u64,
    /// Records known to be damaged.
    pub damaged_records: u64,
    /// Nothing is acknowledged any more: a write or sync failed.
    pub poisoned: bool,
    /// There was no space at the last try.
    pub no_space: bool,
    /// What it was that failed, or had no space.
    pub fault: Option<Fault>,
}
