//! Messages of the data path: append, fetch, find an offset. Fixed size, no pointers.

use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use rkyv::{Archive, Deserialize, Serialize};

use crate::raw::{OptionalLevel, Plain};

/// Appends the batches in the payload to one partition, all or none.
///
/// The payload is one or more unsealed batches, each padded to 64 bytes (`docs/FORMATS.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Append {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
    /// What the acknowledgement shall mean; `None` is the log's own level.
    #[rkyv(with = OptionalLevel)]
    pub durability: Option<Durability>,
}

/// Where the batches of an [`Append`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Appended {
    /// Offset of the first record.
    #[rkyv(with = Plain)]
    pub base_offset: Offset,
    /// Offset after the last record.
    #[rkyv(with = Plain)]
    pub next_offset: Offset,
    /// When the owner of the partition took them.
    #[rkyv(with = Plain)]
    pub append_time: Timestamp,
    /// Whether they had been appended before: the offsets are those of the first time.
    pub duplicate: bool,
}

/// A position in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum FetchFrom {
    /// The low watermark: the oldest record there is.
    Earliest,
    /// The high watermark: the next record to come.
    Latest,
    /// This offset.
    Offset(#[rkyv(with = Plain)] Offset),
    /// The first batch that holds a record created at or after this time.
    Time(#[rkyv(with = Plain)] Timestamp),
}

/// Reads batches from one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Fetch {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
    /// Where to begin. The answer starts with the batch that *contains* this position.
    pub from: FetchFrom,
    /// Answer once this many bytes are there, or `wait_ms` passed. 0 answers at once.
    pub bytes_min: u32,
    /// Answer with at most this many bytes, but with one whole batch if there is any.
    pub bytes_max: u32,
    /// How long to wait for `bytes_min`, in milliseconds.
    pub wait_ms: u32,
}

/// Where the payload of the answer to a [`Fetch`] lies in its partition.
///
/// The payload is a stream of sealed batches and commit marks; readers skip marks by their magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Fetched {
    /// Offset of the first record in the payload; what was asked for if the payload is empty. May
    /// be lower than asked for: batches are sent whole.
    #[rkyv(with = Plain)]
    pub first_offset: Offset,
    /// Where to fetch next.
    #[rkyv(with = Plain)]
    pub next_offset: Offset,
    /// Oldest offset of the partition.
    #[rkyv(with = Plain)]
    pub low: Offset,
    /// Offset after the last committed record of the partition.
    #[rkyv(with = Plain)]
    pub high: Offset,
}

/// Asks for the offset of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct FindOffset {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
    /// The position.
    pub at: FetchFrom,
}

/// The answer to a [`FindOffset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct OffsetFound {
    /// The offset; `high` if the position lies in the future.
    #[rkyv(with = Plain)]
    pub offset: Offset,
    /// Oldest offset of the partition.
    #[rkyv(with = Plain)]
    pub low: Offset,
    /// Offset after the last committed record of the partition.
    #[rkyv(with = Plain)]
    pub high: Offset,
}
