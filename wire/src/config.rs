//! The configuration of a log: what may be set, in which range, and changed to what.

mod life;

use core::fmt;

use pyralog_log::durability::Durability;
use rkyv::{Archive, Deserialize, Serialize};

use crate::limits::{
    MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, PARTITIONS_MAX,
    SEGMENT_AGE_MS_DEFAULT, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    SEGMENT_BYTES_UNIT, TTL_MS_MAX,
};
use crate::raw::{Level, OptionalLevel};
pub use life::{Compaction, Integrity, Retention};

/// Where the records of a log live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum LogStorage {
    /// In files.
    #[default]
    Durable,
    /// In memory, within a budget; the oldest go first.
    Memory,
}

impl fmt::Display for LogStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Durable => "durable",
            Self::Memory => "memory",
        })
    }
}

/// The configuration of a log.
///
/// Every field has a value whatever the storage is, so that a log's configuration prints and
/// compares as a whole; those of the other storage have no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct LogConfig {
    /// How many partitions, 1 to [`PARTITIONS_MAX`]. Fixed at creation.
    pub partitions: u32,
    /// What an acknowledgement means unless a request says otherwise, and when readers see records.
    #[rkyv(with = Level)]
    pub durability: Durability,
    /// Where records live. Fixed at creation.
    pub storage: LogStorage,
    /// Size of a segment file in bytes.
    pub segment_bytes: u64,
    /// Budget of each partition in memory, in bytes.
    pub memory_bytes_max: u64,
    /// Milliseconds after which a record in memory may go, 0 for never.
    pub ttl_ms: u64,
    /// Whether keys are indexed, so that the newest record with a key is found without a scan.
    pub key_index: bool,
    /// Milliseconds after which a segment is closed, however small; 0 for never.
    pub segment_age_ms: u64,
    /// When the oldest segments go.
    pub retention: Retention,
    /// Whether only the newest record of each key is kept.
    pub compaction: Compaction,
    /// Whether closed segments go to the object store of the server.
    pub is_tiered: bool,
    /// What can be proven of its records. Fixed at creation.
    pub integrity: Integrity,
}

impl Default for LogConfig {
    /// One durable partition, `synced`, segments of 1 GiB.
    fn default() -> Self {
        Self {
            partitions: 1,
            durability: Durability::Synced,
            storage: LogStorage::Durable,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            memory_bytes_max: MEMORY_BYTES_DEFAULT,
            ttl_ms: 0,
            key_index: false,
            segment_age_ms: SEGMENT_AGE_MS_DEFAULT,
            retention: Retention::default(),
            compaction: Compaction::default(),
            is_tiered: false,
            integrity: Integrity::None,
        }
    }
}

impl LogConfig {
    /// One partition in memory with the default budget; acknowledgements mean `memory`.
    #[must_use]
    pub fn memory() -> Self {
        Self { durability: Durability::Memory, storage: LogStorage::Memory, ..Self::default() }
    }

    /// Whether every field is in its range and they agree.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        range("partitions", self.partitions.into(), 1, PARTITIONS_MAX.into())?;
        range("segment_bytes", self.segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)?;
        if !self.segment_bytes.is_multiple_of(SEGMENT_BYTES_UNIT) {
            return Err(ConfigError::NotMultiple {
                field: "segment_bytes",
                value: self.segment_bytes,
                unit: SEGMENT_BYTES_UNIT,
            });
        }
        range("memory_bytes_max", self.memory_bytes_max, MEMORY_BYTES_MIN, MEMORY_BYTES_MAX)?;
        range("ttl_ms", self.ttl_ms, 0, TTL_MS_MAX)?;
        if self.storage == LogStorage::Memory && self.durability > Durability::Memory {
            return Err(ConfigError::DurabilityInMemory { durability: self.durability });
        }
        life::check(self)
    }

    /// This configuration with changes made.
    ///
    /// # Errors
    /// If nothing is to be changed, or the result breaks a rule.
    pub fn changed(&self, changes: &LogChanges) -> Result<Self, ConfigError> {
        if *changes == LogChanges::default() {
            return Err(ConfigError::NoChange);
        }
        let result = Self {
            durability: changes.durability.unwrap_or(self.durability),
            segment_bytes: changes.segment_bytes.unwrap_or(self.segment_bytes),
            memory_bytes_max: changes.memory_bytes_max.unwrap_or(self.memory_bytes_max),
            ttl_ms: changes.ttl_ms.unwrap_or(self.ttl_ms),
            key_index: changes.key_index.unwrap_or(self.key_index),
            segment_age_ms: changes.segment_age_ms.unwrap_or(self.segment_age_ms),
            retention: self.retention.changed(changes),
            compaction: self.compaction.changed(changes),
            is_tiered: changes.is_tiered.unwrap_or(self.is_tiered),
            ..*self
        };
        result.check()?;
        Ok(result)
    }
}

/// What to change in a [`LogConfig`]; `None` leaves a field as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct LogChanges {
    /// The new level.
    #[rkyv(with = OptionalLevel)]
    pub durability: Option<Durability>,
    /// The size of segments begun from now on.
    pub segment_bytes: Option<u64>,
    /// The new budget of each partition in memory.
    pub memory_bytes_max: Option<u64>,
    /// The new time to live in milliseconds; `Some(0)` for never.
    pub ttl_ms: Option<u64>,
    /// Whether keys are indexed from now on.
    pub key_index: Option<bool>,
    /// The new age at which segments are closed; `Some(0)` for never.
    pub segment_age_ms: Option<u64>,
    /// The new [`Retention::age_ms`].
    pub retention_ms: Option<u64>,
    /// The new [`Retention::bytes`].
    pub retention_bytes: Option<u64>,
    /// The new [`Retention::local_age_ms`].
    pub local_retention_ms: Option<u64>,
    /// The new [`Retention::local_bytes`].
    pub local_retention_bytes: Option<u64>,
    /// The new [`Compaction::is_on`].
    pub compaction: Option<bool>,
    /// The new [`Compaction::lag_ms`].
    pub compaction_lag_ms: Option<u64>,
    /// The new [`Compaction::tombstone_ms`].
    pub tombstone_ms: Option<u64>,
    /// Whether segments go to the object store from now on. Those that are there stay. Without, there is no local retention
    /// any more.
    pub is_tiered: Option<bool>,
}

/// Why a configuration cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number outside its range.
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// What it was.
        value: u64,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
    /// A number that must be a multiple of another.
    NotMultiple {
        /// Name of the field.
        field: &'static str,
        /// What it was.
        value: u64,
        /// What it must be a multiple of.
        unit: u64,
    },
    /// A log in memory cannot promise that records survive the process.
    DurabilityInMemory {
        /// What was asked for.
        durability: Durability,
    },
    /// A log in memory has no segments to keep, compact, move or prove.
    NeedsFiles {
        /// Name of the field.
        field: &'static str,
    },
    /// Compaction takes records out of batches that were signed for.
    CompactionWithProofs {
        /// What the log promises.
        integrity: Integrity,
    },
    /// Files of a log may go early only if there is a copy in the object store.
    LocalWithoutTier,
    /// A change that changes nothing.
    NoChange,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { field, value, min, max } => {
                write!(f, "{field} is {value}: allowed are {min} to {max}")
            }
            Self::NotMultiple { field, value, unit } => {
                write!(f, "{field} is {value}: it must be a multiple of {unit}")
            }
            Self::DurabilityInMemory { durability } => write!(
                f,
                "durability {durability} cannot be kept by a log in memory: use memory, or durable \
                 storage"
            ),
            Self::NeedsFiles { field } => write!(
                f,
                "{field} is for logs in files: create the log with durable storage (a log in memory has ttl_ms and \
                 memory_bytes_max)"
            ),
            Self::CompactionWithProofs { integrity } => write!(
                f,
                "a log with integrity {integrity} keeps every batch as it was hashed and cannot be compacted in place: \
                 set retention, or write the newest values to another log that is compacted"
            ),
            Self::LocalWithoutTier => f.write_str(
                "local retention is for tiered logs: set tiered too, or use retention_ms and retention_bytes",
            ),
            Self::NoChange => f.write_str("no change is given: set at least one field"),
        }
    }
}

impl core::error::Error for ConfigError {}

fn range(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::OutOfRange { field, value, min, max })
    }
}
