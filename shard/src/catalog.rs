//! The catalog of logs: a state machine fed by a command log, the same on every core.
//!
//! Shard 0 proposes a command, appends it to the catalog's partition, and once it is synced sends it to all cores,
//! which [`Catalog::apply`] it in order. Nothing but the commands decides the state: no clock, no randomness, no
//! setting of the node. So a restart replays to the same state, and consensus can take the place of "append and sync"
//! without a change here. A command that no longer fits when it is applied is refused by all in the same way and
//! changes nothing but the version.
//!
//! Log ids are dealt in order and never again, also after a deletion, so a directory or a session of a deleted log is
//! never taken for the new log of the same name. Id 0 is the catalog itself.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use pyralog_log::ids::{LogId, Timestamp};
use pyralog_wire::config::ConfigError;
use pyralog_wire::name::{self, NameError};
use pyralog_wire::{LogConfig, limits as wire};

use crate::limits::{LOGS_MAX, PARTITIONS_TOTAL_MAX};

mod stored;

pub use stored::{MalformedCommand, decode, encode};

/// A change of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Creates a log; it gets the next id.
    Create {
        /// Its name.
        name: String,
        /// Its configuration.
        config: LogConfig,
        /// When the proposer took the request.
        created: Timestamp,
    },
    /// Gives a log another configuration.
    Alter {
        /// The log.
        id: LogId,
        /// The whole new configuration.
        config: LogConfig,
    },
    /// Removes a log for good.
    Delete {
        /// The log.
        id: LogId,
    },
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// This log is new.
    Created(LogEntry),
    /// This log has a new configuration.
    Altered(LogEntry),
    /// This log is gone.
    Deleted(LogEntry),
}

/// Why a command changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The name breaks a rule.
    Name(NameError),
    /// The configuration breaks a rule.
    Config(ConfigError),
    /// Another log has the name.
    NameTaken {
        /// That log.
        id: LogId,
    },
    /// No log has this id.
    UnknownLog {
        /// The id.
        id: LogId,
    },
    /// Partitions and storage are fixed at creation.
    Fixed {
        /// The field that would change.
        field: &'static str,
    },
    /// The node has as many logs as it may.
    TooManyLogs,
    /// The node would have more partitions than it may.
    TooManyPartitions {
        /// How many more it may have.
        free: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(formatter),
            Self::Config(error) => error.fmt(formatter),
            Self::NameTaken { id } => {
                write!(formatter, "a log of this name exists already (id {id})")
            }
            Self::UnknownLog { id } => write!(formatter, "there is no log with id {id}"),
            Self::Fixed { field } => {
                write!(formatter, "{field} is fixed at creation: create another log")
            }
            Self::TooManyLogs => {
                write!(formatter, "there are {LOGS_MAX} logs already: delete some first")
            }
            Self::TooManyPartitions { free } => write!(
                formatter,
                "a node holds at most {PARTITIONS_TOTAL_MAX} partitions, {free} more are possible: use fewer partitions or delete logs"
            ),
        }
    }
}

impl std::error::Error for Refusal {}

/// A log as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its identity.
    pub id: LogId,
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: LogConfig,
    /// When it was created.
    pub created: Timestamp,
}

/// The logs of the cluster. Every core holds a replica; shard 0's is the first to know.
///
/// Invariant: `names` and `logs` describe the same logs, all ids are below `next_id`, and `partitions` is the sum over
/// `logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    logs: BTreeMap<LogId, LogEntry>,
    names: BTreeMap<String, LogId>,
    next_id: u64,
    partitions: u64,
    version: u64,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            logs: BTreeMap::new(),
            names: BTreeMap::new(),
            next_id: 1,
            partitions: 0,
            version: 0,
        }
    }
}

impl Catalog {
    /// Applies the next command. Deterministic: same commands, same state and same results, on every core.
    ///
    /// # Errors
    /// [`Refusal`] if the command does not fit; only [`Catalog::version`] has changed then.
    ///
    /// # Panics
    /// Never, unless the invariant of the catalog is broken.
    pub fn apply(&mut self, command: &Command) -> Result<Applied, Refusal> {
        self.version += 1;
        self.check(command)?;
        let applied = match command {
            Command::Create { name, config, created } => self.create(name, *config, *created),
            Command::Alter { id, config } => {
                let entry = self.logs.get_mut(id).expect("checked above");
                entry.config = *config;
                Applied::Altered(entry.clone())
            }
            Command::Delete { id } => {
                let entry = self.logs.remove(id).expect("checked above");
                self.names.remove(&entry.name).expect("names and logs describe the same logs");
                self.partitions -= u64::from(entry.config.partitions);
                Applied::Deleted(entry)
            }
        };
        assert_eq!(self.names.len(), self.logs.len(), "names and logs describe the same logs");
        Ok(applied)
    }

    /// Whether a command would be applied now: what the proposer asks before it writes one down.
    ///
    /// # Errors
    /// The [`Refusal`] that [`Catalog::apply`] would return.
    pub fn check(&self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Create { name, config, .. } => self.check_create(name, config),
            Command::Alter { id, config } => {
                config.check().map_err(Refusal::Config)?;
                let now = self.get(*id).ok_or(Refusal::UnknownLog { id: *id })?.config;
                if now.partitions != config.partitions {
                    return Err(Refusal::Fixed { field: "partitions" });
                }
                if now.storage != config.storage {
                    return Err(Refusal::Fixed { field: "storage" });
                }
                if now.integrity != config.integrity {
                    return Err(Refusal::Fixed { field: "integrity" });
                }
                Ok(())
            }
            Command::Delete { id } => match self.get(*id) {
                Some(_) => Ok(()),
                None => Err(Refusal::UnknownLog { id: *id }),
            },
        }
    }

    fn check_create(&self, name: &str, config: &LogConfig) -> Result<(), Refusal> {
        name::check(name).map_err(Refusal::Name)?;
        config.check().map_err(Refusal::Config)?;
        if let Some(id) = self.names.get(name) {
            return Err(Refusal::NameTaken { id: *id });
        }
        if self.logs.len() >= LOGS_MAX {
            return Err(Refusal::TooManyLogs);
        }
        let free = PARTITIONS_TOTAL_MAX - self.partitions;
        if u64::from(config.partitions) > free {
            return Err(Refusal::TooManyPartitions { free });
        }
        Ok(())
    }

    fn create(&mut self, name: &str, config: LogConfig, created: Timestamp) -> Applied {
        let id = LogId::new(self.next_id);
        let entry = LogEntry { id, name: name.to_string(), config, created };
        self.next_id += 1;
        self.partitions += u64::from(config.partitions);
        self.names.insert(entry.name.clone(), id);
        let replaced = self.logs.insert(id, entry.clone());
        assert!(replaced.is_none(), "id {id} was dealt twice");
        Applied::Created(entry)
    }

    /// Whether this id was dealt: there is such a log, or there was.
    #[must_use]
    pub fn has_dealt(&self, id: LogId) -> bool {
        id.get() < self.next_id
    }

    /// The log with this id.
    #[must_use]
    pub fn get(&self, id: LogId) -> Option<&LogEntry> {
        self.logs.get(&id)
    }

    /// The log of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&LogEntry> {
        self.names.get(name).and_then(|id| self.logs.get(id))
    }

    /// All logs, by id.
    pub fn iter(&self) -> impl Iterator<Item = &LogEntry> {
        self.logs.values()
    }

    /// A page of the logs whose names begin with `prefix` and come after `after`, by the bytes of their names, and
    /// whether there are more. At most [`wire::LIST_PAGE_LOGS_MAX`] logs.
    #[must_use]
    pub fn page(&self, prefix: &str, after: &str, limit: u32) -> (Vec<&LogEntry>, bool) {
        let limit = usize::try_from(limit.clamp(1, wire::LIST_PAGE_LOGS_MAX)).unwrap_or(1);
        let start = if after >= prefix && !after.is_empty() {
            Bound::Excluded(after)
        } else {
            Bound::Included(prefix)
        };
        let mut found = self
            .names
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix));
        let page: Vec<_> = found.by_ref().take(limit).map(|(_, id)| &self.logs[id]).collect();
        let more = found.next().is_some();
        (page, more)
    }

    /// Number of logs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.logs.len()
    }

    /// Whether there is no log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Number of partitions of all logs.
    #[must_use]
    pub fn partitions(&self) -> u64 {
        self.partitions
    }

    /// Commands applied or refused so far. Clients compare it to see which of two views is older.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests;
