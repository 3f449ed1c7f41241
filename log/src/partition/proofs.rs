//! What a partition needs to be provable, and how far its tree has come.

use std::fmt;
use std::time::Duration;

use pyralog_runtime::IoError;

use super::Fault;
use crate::FormatError;
use crate::ids::Offset;
use crate::merkle::{Hash, ProofError};
use crate::proof::{Checkpoint, NodeKey, SignedCheckpoint};

/// What a partition needs to have a Merkle tree.
#[derive(Clone, Debug)]
pub struct Proofs {
    /// The cluster, which checkpoints name.
    pub cluster: u64,
    /// How often a checkpoint is made, if the tree has grown.
    pub interval: Duration,
    /// Signs the checkpoints; without one they are not signed.
    pub key: Option<NodeKey>,
}

impl PartialEq for Proofs {
    fn eq(&self, other: &Self) -> bool {
        let public = |proofs: &Self| proofs.key.as_ref().map(NodeKey::public);
        (self.cluster, self.interval, public(self))
            == (other.cluster, other.interval, public(other))
    }
}

impl Eq for Proofs {}

/// The newest checkpoint of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// What it states.
    pub checkpoint: Checkpoint,
    /// The same with a signature, if the log is `signed`.
    pub signed: Option<SignedCheckpoint>,
}

/// How far the tree of a partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeStatus {
    /// Batches that were hashed.
    pub batches: u64,
    /// Offset after the last record that was hashed.
    pub hashed: Offset,
    /// Records on stable storage that were not hashed yet.
    pub lag_records: u64,
    /// Bytes that were read to be hashed, where they still were in memory.
    pub memory_bytes: u64,
    /// Those that were read back, because the memory had been given up.
    pub file_bytes: u64,
    /// The newest checkpoint was read, if there is one: until then nobody knows it.
    pub is_open: bool,
    /// The newest checkpoint: everything below it can be proven.
    pub published: Option<Published>,
    /// Nodes were found damaged or missing when it was opened, and are or were made again from the records.
    pub was_rebuilt: bool,
    /// Why the tree stands still, if it does.
    pub fault: Option<TreeFault>,
}

/// Why a tree stands still. Nothing is served wrong: what was published is still provable, nothing is added, and retention
/// removes nothing more, because it may be evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeFault {
    /// The file with the newest checkpoint is damaged.
    State(FormatError),
    /// It is another partition's.
    Foreign,
    /// The nodes are missing or damaged, and so is the beginning of the log: they cannot be made again.
    NodesGone {
        /// First offset of the log that is left.
        low: Offset,
    },
    /// The log ends before its own checkpoint.
    Ahead {
        /// Where the checkpoint ends.
        tree: Offset,
        /// Where the log ends.
        log: Offset,
    },
    /// The records are not those of the checkpoint any more: somebody altered them.
    Differs {
        /// Where the checkpoint ends.
        end: Offset,
        /// Its root.
        expected: Hash,
        /// The root of the records.
        found: Hash,
    },
    /// Records cannot be read that have no leaf yet.
    Unreadable {
        /// The first of them.
        from: Offset,
    },
    /// The file with the nodes, or that with the checkpoint, could not be written.
    Io(Fault),
}

impl fmt::Display for TreeFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => write!(
                formatter,
                "the newest checkpoint is damaged: {error}. Restore `tree.state` of the partition from a backup"
            ),
            Self::Foreign => {
                formatter.write_str("the tree in this directory is another partition's")
            }
            Self::NodesGone { low } => write!(
                formatter,
                "the nodes of the tree are damaged, and as the log begins at offset {low} they cannot be made again. \
                 Restore `tree` of the partition from a backup"
            ),
            Self::Ahead { tree, log } => write!(
                formatter,
                "the log ends at offset {log}, but its checkpoint covers the offsets below {tree}: records were dropped"
            ),
            Self::Differs { end, expected, found } => write!(
                formatter,
                "the records below offset {end} have the root {found}, but {expected} was published: they were altered"
            ),
            Self::Unreadable { from } => {
                write!(
                    formatter,
                    "the records from offset {from} on have no hash yet and cannot be read"
                )
            }
            Self::Io(fault) => write!(formatter, "the tree could not be written: {fault}"),
        }
    }
}

/// Why there is no proof.
#[derive(Debug)]
#[non_exhaustive]
pub enum TreeError {
    /// The log has no proofs.
    NoTree,
    /// There is no checkpoint of that size, or none yet.
    Size {
        /// What was asked for.
        asked: u64,
        /// Size of the newest checkpoint.
        published: u64,
    },
    /// The tree of that size does not hold the offset.
    Beyond {
        /// What was asked for.
        offset: Offset,
        /// Size of the tree.
        size: u64,
    },
    /// It has not been opened yet, so nobody knows what was published: try later.
    Opening,
    /// The nodes are being made again: try later.
    Rebuilding,
    /// The nodes do not lead to the root that was published.
    Damaged,
    /// The nodes could not be read.
    Io(IoError),
}

impl fmt::Display for TreeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTree => formatter.write_str(
                "the log has no proofs: they are chosen when a log is created (`log create --integrity signed`)",
            ),
            Self::Size { asked, published } => write!(
                formatter,
                "no tree of {asked} batches was published: sizes go from 1 to {published}"
            ),
            Self::Beyond { offset, size } => {
                write!(formatter, "the tree of {size} batches ends before offset {offset}")
            }
            Self::Opening => {
                formatter.write_str("the tree of the partition is being opened: try later")
            }
            Self::Rebuilding => {
                formatter.write_str("the tree of the partition is being made again: try later")
            }
            Self::Damaged => formatter.write_str(
                "the nodes of the tree are damaged on disk: restart the server, which makes them again",
            ),
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for TreeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<IoError> for TreeError {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl TreeError {
    /// What it means that a descent for `offset` in the tree of `size` failed.
    pub(crate) const fn of_descent(error: ProofError, offset: Offset, size: u64) -> Self {
        match error {
            ProofError::Beyond { .. } => Self::Beyond { offset, size },
            _ => Self::Damaged,
        }
    }
}
