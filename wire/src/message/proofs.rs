//! Messages about what can be proven: checkpoints, proofs, nodes of the Merkle tree of a partition.

use pyralog_log::ids::{LogId, Offset, PartitionId};
use rkyv::{Archive, Deserialize, Serialize};

use crate::raw::Plain;

/// Asks for the newest checkpoint of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct GetCheckpoint {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
}

/// The answer to a [`GetCheckpoint`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CheckpointGot {
    /// The checkpoint as `FORMATS.md` has it: 224 bytes if it is signed, the 128 bytes of its statement if the log signs
    /// none, empty if there is none yet.
    pub checkpoint: Vec<u8>,
    /// Offset after the last record that was hashed.
    #[rkyv(with = Plain)]
    pub hashed: Offset,
    /// Records on stable storage that were not hashed yet.
    pub lag_records: u64,
    /// Why the tree stands still; empty if it does not.
    pub fault: String,
}

/// Asks for the proof that the batch with an offset is in the tree of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ProveRecord {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
    /// The offset, which may be that of any record of the batch.
    #[rkyv(with = Plain)]
    pub offset: Offset,
    /// Batches of the tree: at most those of the newest checkpoint.
    pub tree_size: u64,
}

/// Asks for the proof that the tree of one size is the beginning of that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ProveConsistency {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
    /// Batches of the smaller tree.
    pub first: u64,
    /// Batches of the larger one: at most those of the newest checkpoint.
    pub second: u64,
}

/// The answer to a [`ProveRecord`] or a [`ProveConsistency`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Proven {
    /// The proof as `FORMATS.md` has it.
    pub proof: Vec<u8>,
}

/// Asks for nodes of the tree of a partition, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ReadTree {
    /// The log.
    #[rkyv(with = Plain)]
    pub log: LogId,
    /// The partition within it.
    #[rkyv(with = Plain)]
    pub partition: PartitionId,
    /// Number of the first node.
    pub from_node: u64,
    /// How many at most: 1 to [`pyralog_log::limits::MERKLE_NODES_READ_MAX`].
    pub count: u32,
}

/// The answer to a [`ReadTree`].
///
/// The payload is the nodes, 40 bytes each; fewer than were asked for at the end of the newest checkpoint's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TreeRead {
    /// Batches of the newest checkpoint.
    pub tree_size: u64,
}
