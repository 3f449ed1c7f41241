//! Choices of a scenario that are one word.

use clap::ValueEnum;
use pyralog_client::{Codec, Durability, LogStorage};
use pyralog_wire::config::Integrity;
use serde::{Deserialize, Serialize};

/// What is done to the server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Records are appended.
    Append,
    /// Records are appended, and read as they come: latency from producer to consumer.
    Tail,
    /// Records that are there already are read from the beginning.
    CatchUp,
    /// All three at once.
    Mixed,
    /// Many connections do nothing while the producers append.
    Idle,
}

/// What speaks to the server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// The client that applications use.
    Client,
    /// Batches that were built before, in raw frames, without a session: the server alone.
    Frames,
}

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// In the server's memory.
    Memory,
    /// Written to the file.
    Written,
    /// On stable storage.
    Synced,
}

/// Where the log lives.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// In files.
    Durable,
    /// In memory, within a budget.
    Memory,
}

/// Where records without a key go.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioner {
    /// To one partition until its batch is sent, then to the next: the client's default.
    Sticky,
    /// Producer i to partition i, modulo their number.
    Fixed,
    /// Each arrival to the next partition.
    Spread,
}

/// How the client compresses batches.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// What can be proven of the records.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Proofs {
    /// Nothing.
    None,
    /// Every batch is hashed into a Merkle tree.
    Hash,
    /// The same, and the node signs the roots.
    Signed,
}

impl From<Proofs> for Integrity {
    fn from(proofs: Proofs) -> Self {
        match proofs {
            Proofs::None => Self::None,
            Proofs::Hash => Self::Hash,
            Proofs::Signed => Self::Signed,
        }
    }
}

impl From<Level> for Durability {
    fn from(level: Level) -> Self {
        match level {
            Level::Memory => Self::Memory,
            Level::Written => Self::Written,
            Level::Synced => Self::Synced,
        }
    }
}

impl From<Storage> for LogStorage {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::Durable => Self::Durable,
            Storage::Memory => Self::Memory,
        }
    }
}

impl From<Compression> for Codec {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}
