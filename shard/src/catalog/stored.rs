//! How a command lies in the catalog's partition: the value of a record in a control batch.
//!
//! ```text
//! 0 version u8 = 1 | 1.. rkyv archive of the command, unaligned, little-endian
//! ```
//!
//! Enums are numbers of their own here, not those of a library or of the wire, so that neither can change what an old
//! catalog means. Golden bytes are in the tests and stay for good.

use std::fmt;

use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Timestamp};
use pyralog_wire::{LogConfig, LogStorage};
use rkyv::rancor;
use rkyv::{Archive, Deserialize, Serialize};

use super::Command;

/// The version of the encoding that this build writes, and the only one it reads.
const VERSION: u8 = 1;

const DURABLE: u8 = 0;
const MEMORY: u8 = 1;

#[derive(Archive, Serialize, Deserialize)]
enum StoredCommand {
    Create { name: String, created_us: i64, config: StoredConfig },
    Alter { id: u64, config: StoredConfig },
    Delete { id: u64 },
}

#[derive(Archive, Serialize, Deserialize)]
struct StoredConfig {
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
    let stored = match command {
        Command::Create { name, config, created } => StoredCommand::Create {
            name: name.clone(),
            created_us: created.get(),
            config: StoredConfig::of(config),
        },
        Command::Alter { id, config } => {
            StoredCommand::Alter { id: id.get(), config: StoredConfig::of(config) }
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
    let Some((&VERSION, archive)) = bytes.split_first() else {
        return Err(MalformedCommand::UnknownVersion { found: bytes.first().copied() });
    };
    let stored = rkyv::from_bytes::<StoredCommand, rancor::Error>(archive)
        .map_err(MalformedCommand::Archive)?;
    Ok(match stored {
        StoredCommand::Create { name, created_us, config } => {
            Command::Create { name, config: config.config()?, created: Timestamp::new(created_us) }
        }
        StoredCommand::Alter { id, config } => {
            Command::Alter { id: LogId::new(id), config: config.config()? }
        }
        StoredCommand::Delete { id } => Command::Delete { id: LogId::new(id) },
    })
}

impl StoredConfig {
    fn of(config: &LogConfig) -> Self {
        Self {
            partitions: config.partitions,
            durability: config.durability.code(),
            storage: match config.storage {
                LogStorage::Durable => DURABLE,
                LogStorage::Memory => MEMORY,
            },
            segment_bytes: config.segment_bytes,
            memory_bytes_max: config.memory_bytes_max,
            ttl_ms: config.ttl_ms,
        }
    }

    fn config(self) -> Result<LogConfig, MalformedCommand> {
        let unknown = |field, found| MalformedCommand::UnknownNumber { field, found };
        Ok(LogConfig {
            partitions: self.partitions,
            durability: Durability::from_code(self.durability)
                .ok_or(unknown("durability", self.durability))?,
            storage: match self.storage {
                DURABLE => LogStorage::Durable,
                MEMORY => LogStorage::Memory,
                other => return Err(unknown("storage", other)),
            },
            segment_bytes: self.segment_bytes,
            memory_bytes_max: self.memory_bytes_max,
            ttl_ms: self.ttl_ms,
        })
    }
}
