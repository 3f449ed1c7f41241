//! How long records live: what a log is told about it, and the keys that compaction goes by.

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
}

/// What a record is to compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which of the few keys of its log.
    pub number: u16,
    /// Whether it says that the key is gone.
    pub is_tombstone: bool,
}
