//! Messages about reading what is stored again, to find damage.

use pyralog_log::ids::{LogId, Offset, PartitionId};
use rkyv::{Archive, Deserialize, Serialize};

use crate::raw::Plain;

/// Asks for every closed segment of a partition whose file is with the server to be read and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Scrub {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
}

/// The answer to a [`Scrub`], when all were read once.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Scrubbed {
    /// Segments that were read.
    pub segments: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// How many ranges of them are damaged.
    pub damaged_ranges: u64,
    /// The first of these, in order of offset: at most [`crate::limits::SCRUB_RANGES_MAX`].
    pub damaged: Vec<DamagedRange>,
}

/// Records of a segment that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DamagedRange {
    /// Base offset of the segment, as in its file name.
    #[rkyv(with = Plain)]
    pub segment: Offset,
    /// The first record; the next one if only marks between records are damaged.
    #[rkyv(with = Plain)]
    pub first: Offset,
    /// Offset after the last record.
    #[rkyv(with = Plain)]
    pub next: Offset,
}
