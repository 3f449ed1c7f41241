//! Messages of named durable counters.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::config::ConfigError;
use crate::limits::{
    COUNTER_BLOCK_DEFAULT, COUNTER_BLOCK_MAX, COUNTER_INTERVAL_MS_DEFAULT, COUNTER_INTERVAL_MS_MAX,
};

/// What a counter does before a number leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum CounterMode {
    /// Numbers come from a durable reservation: none repeats, at most one block is skipped by a crash.
    #[default]
    Reserve,
    /// Each request is made durable before its answer: none repeats, and only numbers whose answer was lost are skipped.
    Always,
    /// As [`CounterMode::Always`], with one sync for all requests that wait.
    Group,
    /// Made durable in the background: a crash repeats what was dealt since. For caches only.
    UnsafeInterval,
    /// Kept in memory only: begins again with the process.
    Memory,
}

impl CounterMode {
    /// Every mode with its name, as the command line and the documentation have it.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::Reserve, "reserve"),
        (Self::Always, "always"),
        (Self::Group, "group"),
        (Self::UnsafeInterval, "unsafe-interval"),
        (Self::Memory, "memory"),
    ];
}

impl fmt::Display for CounterMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES.iter().find(|(mode, _)| mode == self);
        f.pad(named.expect("every mode has a name").1)
    }
}

/// How a counter works. Fixed at its creation.
///
/// Every field has a value whatever the mode is; those of other modes have no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct CounterConfig {
    /// What happens before a number leaves it.
    pub mode: CounterMode,
    /// Numbers that one durable extension reserves, with [`CounterMode::Reserve`].
    pub block: u64,
    /// Milliseconds between extensions, with [`CounterMode::UnsafeInterval`].
    pub interval_ms: u32,
}

impl Default for CounterConfig {
    /// Reservations of the default size.
    fn default() -> Self {
        Self {
            mode: CounterMode::Reserve,
            block: COUNTER_BLOCK_DEFAULT,
            interval_ms: COUNTER_INTERVAL_MS_DEFAULT,
        }
    }
}

impl CounterConfig {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |field, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::OutOfRange { field, value, min: 1, max })
            }
        };
        range("block", self.block, COUNTER_BLOCK_MAX)?;
        range("interval_ms", self.interval_ms.into(), COUNTER_INTERVAL_MS_MAX.into())
    }
}

/// Creates a counter at zero; the first number that it deals is 1. Answered by its [`CounterInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateCounter {
    /// Its name: the rules of a log's name, and at most [`crate::limits::COUNTER_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// How it works.
    pub config: CounterConfig,
}

/// Takes numbers from a counter.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TakeNumbers {
    /// Name of the counter.
    pub name: String,
    /// How many, 1 to [`crate::limits::NUMBERS_PER_REQUEST_MAX`].
    pub count: u32,
}

/// The answer to a [`TakeNumbers`]: `first` and the `count - 1` numbers after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct NumbersTaken {
    /// The first number.
    pub first: u64,
    /// How many, as asked for.
    pub count: u32,
}

/// Asks for a [`CounterInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DescribeCounter {
    /// Name of the counter.
    pub name: String,
}

/// Makes a counter go on above a value; the numbers up to it are skipped. Nothing happens to one that is above it. The way
/// out for a counter whose file came back shorter than it was. Answered by its [`CounterInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RaiseCounter {
    /// Name of the counter.
    pub name: String,
    /// No number up to this one will be dealt any more.
    pub value: u64,
}

/// Asks for a page of the counters, ordered by the bytes of their names.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ListCounters {
    /// Only names that begin so; empty for all.
    pub prefix: String,
    /// Only names after this one; empty for the first page.
    pub after: String,
    /// Counters in the page, 1 to [`crate::limits::LIST_PAGE_COUNTERS_MAX`].
    pub limit: u32,
}

/// The answer to a [`ListCounters`].
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CounterPage {
    /// The counters, ordered by name.
    pub counters: Vec<CounterInfo>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// State of a counter when the answer was made.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CounterInfo {
    /// Its name.
    pub name: String,
    /// How it works.
    pub config: CounterConfig,
    /// The shard that owns it.
    pub shard: u16,
    /// The last number dealt, 0 before the first. After a restart, what may have been dealt at most.
    pub last: u64,
    /// No number up to this one is dealt twice, whatever happens; what lies above `last` is reserved.
    pub durable: u64,
    /// How often its file was begun anew because file systems end.
    pub generation: u32,
    /// Values that one file can hold; 0 in memory.
    pub stride: u64,
    /// Bytes that its file takes on the disk; 0 in memory.
    pub disk_bytes: u64,
    /// Why it deals nothing and what to do; empty while it does.
    pub problem: String,
}
