//! How a command lies in the catalog's partition: the value of a record in a control batch.
//!
//! ```text
//! 0 version u8 = 3 | 1.. rkyv archive of the command, unaligned, little-endian
//! ```
//!
//! Enums are numbers of their own here, not those of a library or of the wire, so that neither can change what an old
//! catalog means. Golden bytes are in the tests and stay for good.

use std::fmt;

use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Timestamp};
use pyralog_wire::config::{Compaction, Integrity, Retention};
use pyralog_wire::{LogConfig, LogStorage};
use rkyv::api::high::{HighDeserializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::{Archive, Deserialize, Serialize};

use super::Command;

/// The version of the encoding that this build writes.
const VERSION: u8 = 3;
/// The version before logs had a life: retention, compaction, tiers and proofs. It is still read.
const VERSION_WITHOUT_LIFE: u8 = 2;
/// The version before logs had an index of keys. It is still read: such logs have none.
const VERSION_WITHOUT_KEYS: u8 = 1;

const DURABLE: u8 = 0;
const MEMORY: u8 = 1;

const NO_PROOFS: u8 = 0;
const HASHED: u8 = 1;
const SIGNED: u8 = 2;

/// A command with the configuration `C` of its version.
#[derive(Archive, Serialize, Deserialize)]
enum StoredCommand<C> {
    Create { name: String, created_us: i64, config: C },
    Alter { id: u64, config: C },
    Delete { id: u64 },
}

#[derive(Archive, Serialize, Deserialize)]
struct StoredConfig {
    without_life: ConfigWithoutLife,
    segment_age_ms: u64,
    retention_ms: u64,
    retention_bytes: u64,
    local_retention_ms: u64,
    local_retention_bytes: u64,
    compaction: bool,
    compaction_lag_ms: u64,
    tombstone_ms: u64,
    tiered: bool,
    integrity: u8,
}

#[derive(Archive, Serialize, Deserialize)]
struct ConfigWithoutLife {
    without_keys: ConfigWithoutKeys,
    key_index: bool,
}

#[derive(Archive, Serialize, Deserialize)]
struct ConfigWithoutKeys {
    partitions: u32,
    durability: u8,
    storage: u8,
    segment_bytes: u64,
    memory_bytes_max: u64,
    ttl_ms: u64,
}

/// Bytes that are no command of this build. The record's checksums were right, so another version wrote it.
#[derive(Debug)]
#[non_exhaustive]
pub enum MalformedCommand {
    /// The first byte names no version that this build knows.
    UnknownVersion {
        /// It, if there is one.
        found: Option<u8>,
    },
    /// A field holds a number that stands for nothing.
    UnknownNumber {
        /// The field.
        field: &'static str,
        /// The number.
        found: u8,
    },
    /// The rest is no archive of a command.
    Archive(rancor::Error),
}

impl fmt::Display for MalformedCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion { found } => write!(
                formatter,
                "catalog command of version {found:?}, this build reads version {VERSION}: run the build that wrote it"
            ),
            Self::UnknownNumber { field, found } => {
                write!(formatter, "catalog command with {field} {found}, which stands for nothing")
            }
            Self::Archive(cause) => write!(formatter, "malformed catalog command: {cause}"),
        }
    }
}

impl std::error::Error for MalformedCommand {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Archive(cause) => Some(cause),
            _ => None,
        }
    }
}

/// The stored form of a command.
///
/// # Errors
/// [`MalformedCommand::Archive`] if rkyv cannot write it, for which there is no reason.
pub fn encode(command: &Command) -> Result<Vec<u8>, MalformedCommand> {
    let stored: StoredCommand<StoredConfig> = match command {
        Command::Create { name, config, created } => StoredCommand::Create {
            name: name.clone(),
            created_us: created.get(),
            config: config.into(),
        },
        Command::Alter { id, config } => {
            StoredCommand::Alter { id: id.get(), config: config.into() }
        }
        Command::Delete { id } => StoredCommand::Delete { id: id.get() },
    };
    rkyv::api::high::to_bytes_in::<_, rancor::Error>(&stored, vec![VERSION])
        .map_err(MalformedCommand::Archive)
}

/// The command that these bytes store. Never panics, whatever the bytes are.
///
/// # Errors
/// [`MalformedCommand`] if they store none.
pub fn decode(bytes: &[u8]) -> Result<Command, MalformedCommand> {
    let Some((version, archive)) = bytes.split_first() else {
        return Err(MalformedCommand::UnknownVersion { found: None });
    };
    match *version {
        VERSION => read::<StoredConfig>(archive),
        VERSION_WITHOUT_LIFE => read::<ConfigWithoutLife>(archive),
        VERSION_WITHOUT_KEYS => read::<ConfigWithoutKeys>(archive),
        other => Err(MalformedCommand::UnknownVersion { found: Some(other) }),
    }
}

/// The command in an archive of the version whose configuration is `C`.
fn read<C>(archive: &[u8]) -> Result<Command, MalformedCommand>
where
    C: Archive + TryInto<LogConfig, Error = MalformedCommand>,
    C::Archived: for<'a> CheckBytes<HighValidator<'a, rancor::Error>>
        + Deserialize<C, HighDeserializer<rancor::Error>>,
{
    let stored = rkyv::from_bytes::<StoredCommand<C>, rancor::Error>(archive)
        .map_err(MalformedCommand::Archive)?;
    Ok(match stored {
        StoredCommand::Create { name, created_us, config } => Command::Create {
            name,
            config: config.try_into()?,
            created: Timestamp::new(created_us),
        },
        StoredCommand::Alter { id, config } => {
            Command::Alter { id: LogId::new(id), config: config.try_into()? }
        }
        StoredCommand::Delete { id } => Command::Delete { id: LogId::new(id) },
    })
}

impl From<&LogConfig> for StoredConfig {
    fn from(config: &LogConfig) -> Self {
        let without_keys = ConfigWithoutKeys {
            partitions: config.partitions,
            durability: config.durability.code(),
            storage: match config.storage {
                LogStorage::Durable => DURABLE,
                LogStorage::Memory => MEMORY,
            },
            segment_bytes: config.segment_bytes,
            memory_bytes_max: config.memory_bytes_max,
            ttl_ms: config.ttl_ms,
        };
        let LogConfig { retention, compaction, .. } = *config;
        Self {
            without_life: ConfigWithoutLife { without_keys, key_index: config.key_index },
            segment_age_ms: config.segment_age_ms,
            retention_ms: retention.age_ms,
            retention_bytes: retention.bytes,
            local_retention_ms: retention.local_age_ms,
            local_retention_bytes: retention.local_bytes,
            compaction: compaction.is_on,
            compaction_lag_ms: compaction.lag_ms,
            tombstone_ms: compaction.tombstone_ms,
            tiered: config.is_tiered,
            integrity: match config.integrity {
                Integrity::None => NO_PROOFS,
                Integrity::Hash => HASHED,
                Integrity::Signed => SIGNED,
            },
        }
    }
}

impl TryFrom<StoredConfig> for LogConfig {
    type Error = MalformedCommand;

    fn try_from(stored: StoredConfig) -> Result<Self, MalformedCommand> {
        Ok(Self {
            segment_age_ms: stored.segment_age_ms,
            retention: Retention {
                age_ms: stored.retention_ms,
                bytes: stored.retention_bytes,
                local_age_ms: stored.local_retention_ms,
                local_bytes: stored.local_retention_bytes,
            },
            compaction: Compaction {
                is_on: stored.compaction,
                lag_ms: stored.compaction_lag_ms,
                tombstone_ms: stored.tombstone_ms,
            },
            is_tiered: stored.tiered,
            integrity: match stored.integrity {
                NO_PROOFS => Integrity::None,
                HASHED => Integrity::Hash,
                SIGNED => Integrity::Signed,
                found => return Err(MalformedCommand::UnknownNumber { field: "integrity", found }),
            },
            ..stored.without_life.try_into()?
        })
    }
}

impl TryFrom<ConfigWithoutLife> for LogConfig {
    type Error = MalformedCommand;

    fn try_from(stored: ConfigWithoutLife) -> Result<Self, MalformedCommand> {
        let key_index = stored.key_index;
        Ok(Self { key_index, ..stored.without_keys.try_into()? })
    }
}

impl TryFrom<ConfigWithoutKeys> for LogConfig {
    type Error = MalformedCommand;

    fn try_from(stored: ConfigWithoutKeys) -> Result<Self, MalformedCommand> {
        let unknown = |field, found| MalformedCommand::UnknownNumber { field, found };
        Ok(Self {
            partitions: stored.partitions,
            durability: Durability::from_code(stored.durability)
                .ok_or(unknown("durability", stored.durability))?,
            storage: match stored.storage {
                DURABLE => LogStorage::Durable,
                MEMORY => LogStorage::Memory,
                other => return Err(unknown("storage", other)),
            },
            segment_bytes: stored.segment_bytes,
            memory_bytes_max: stored.memory_bytes_max,
            ttl_ms: stored.ttl_ms,
            ..Self::default()
        })
    }
}
