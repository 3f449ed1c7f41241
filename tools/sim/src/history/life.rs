//! How long records live: what a log is told about it, and the keys that compaction goes by.

use super::{Mark, Place, Seen};

/// What a log is told about the life of its records. Zero is no bound, and never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Milliseconds after which a segment goes whose newest record is that old.
    pub retention_ms: u64,
    /// Bytes of a partition beyond which its oldest segments go.
    pub retention_bytes: u64,
    /// Whether only the newest record of each key is kept.
    pub is_compacted: bool,
    /// Milliseconds after its append in which compaction does not touch a record.
    pub lag_ms: u64,
    /// Milliseconds for which a tombstone stays.
    pub tombstone_ms: u64,
    /// Whether closed segments go to the object store.
    pub is_tiered: bool,
    /// Whether its records can be proven.
    pub is_proven: bool,
}

/// Changes of a [`Life`]; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifeChanges {
    /// Another [`Life::retention_ms`].
    pub retention_ms: Option<u64>,
    /// Another [`Life::retention_bytes`].
    pub retention_bytes: Option<u64>,
    /// Another [`Life::is_compacted`].
    pub is_compacted: Option<bool>,
    /// Another [`Life::lag_ms`].
    pub lag_ms: Option<u64>,
    /// Another [`Life::tombstone_ms`].
    pub tombstone_ms: Option<u64>,
    /// Another [`Life::is_tiered`].
    pub is_tiered: Option<bool>,
}

/// An object in the object store that no manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its key.
    pub key: String,
    /// The partition that it is of.
    pub place: Place,
    /// Whether the manifest of its partition names nothing at all: then nobody sweeps unless the log is tiered.
    pub is_bare: bool,
}

/// The beginning of a partition went because somebody asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Taken before it was asked for.
    pub begun: Mark,
    /// The partition.
    pub place: Place,
    /// The offset that was asked for.
    pub before: u64,
    /// The oldest offset, as the answer says.
    pub low: u64,
}

/// A checkpoint of the tree of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSeen {
    /// Taken before it was asked for.
    pub begun: Mark,
    /// The partition.
    pub place: Place,
    /// The cluster that it names.
    pub cluster: u64,
    /// Batches in the tree.
    pub tree_size: u64,
    /// The offset after the last record of the tree.
    pub end: u64,
    /// The root.
    pub root: [u8; 32],
}

/// A record was proven to be in a tree of which a client believes the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Taken before it was asked for.
    pub begun: Mark,
    /// The partition.
    pub place: Place,
    /// The record.
    pub seen: Seen,
}

/// What a record is to compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which of the few keys of its log.
    pub number: u16,
    /// Whether it says that the key is gone.
    pub is_tombstone: bool,
}
