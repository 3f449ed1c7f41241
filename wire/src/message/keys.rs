//! Messages about keys: the newest record that has one.

use pyralog_log::ids::{LogId, Offset, PartitionId};
use rkyv::{Archive, Deserialize, Serialize};

use crate::raw::Plain;

/// Reads the newest record with a key from one partition of a log that indexes its keys.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct FetchKey {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it: the one that the producer's partitioner chose for the key.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
    /// The key, at most [`pyralog_log::limits::KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
}

/// The answer to a [`FetchKey`].
///
/// The payload is the sealed batch that holds the record, empty if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct KeyFetched {
    /// Whether there is a record with the key.
    pub found: bool,
    /// Offset of the newest one; zero if there is none.
    #[rkyv(with = Plain)]
    pub offset: Offset,
    /// Oldest offset of the partition.
    #[rkyv(with = Plain)]
    pub low: Offset,
    /// Offset after the last committed record of the partition: the answer holds for the records before it.
    #[rkyv(with = Plain)]
    pub high: Offset,
}
