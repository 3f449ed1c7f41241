//! Arguments about how long the records of a log live.

use clap::{Args, ValueEnum};
use pyralog_client::{Compaction, Integrity, LogChanges, LogConfig, Retention};

use super::log::{Switch, size};

/// Retention, compaction and tiers, for `log create` and `log alter`.
#[derive(Args, Debug, Default)]
pub(crate) struct LifeArgs {
    /// Close a segment at this age, however small it is
    #[arg(long, value_name = "DURATION|none", value_parser = millis_or_none)]
    pub(crate) segment_age: Option<u64>,
    /// Drop segments whose newest record is older than this
    #[arg(long, value_name = "DURATION|none", value_parser = millis_or_none)]
    pub(crate) retention: Option<u64>,
    /// Drop the oldest segments of a partition beyond so many bytes
    #[arg(long, value_name = "SIZE|none", value_parser = size_or_none)]
    pub(crate) retention_size: Option<u64>,
    /// Drop the local file of a segment of this age that is in the object store
    #[arg(long, value_name = "DURATION|none", value_parser = millis_or_none)]
    pub(crate) local_retention: Option<u64>,
    /// Drop the oldest local files that are in the object store, beyond so many bytes of a partition
    #[arg(long, value_name = "SIZE|none", value_parser = size_or_none)]
    pub(crate) local_retention_size: Option<u64>,
    /// Keep only the newest record of each key; what has gone to the object store is not compacted any more
    #[arg(long, value_name = "on|off", value_enum)]
    pub(crate) compact: Option<Switch>,
    /// Do not compact records younger than this
    #[arg(long, value_name = "DURATION|none", value_parser = millis_or_none)]
    pub(crate) compaction_lag: Option<u64>,
    /// Keep a tombstone for at least so long
    #[arg(long, value_name = "DURATION|none", value_parser = millis_or_none)]
    pub(crate) tombstone_retention: Option<u64>,
    /// Move closed segments to the object store of the server, after which they are not compacted any more
    #[arg(long, value_name = "on|off", value_enum)]
    pub(crate) tiered: Option<Switch>,
}

/// What can be proven of the records of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IntegrityArg {
    /// Nothing beyond checksums
    None,
    /// A Merkle tree over the batches
    Hash,
    /// The tree, and checkpoints signed by the node
    Signed,
}

impl From<IntegrityArg> for Integrity {
    fn from(arg: IntegrityArg) -> Self {
        match arg {
            IntegrityArg::None => Self::None,
            IntegrityArg::Hash => Self::Hash,
            IntegrityArg::Signed => Self::Signed,
        }
    }
}

impl LifeArgs {
    /// `base` with what was given.
    pub(crate) fn over(&self, base: LogConfig) -> LogConfig {
        let on = |switch: Option<Switch>, base| switch.map_or(base, |switch| switch == Switch::On);
        LogConfig {
            segment_age_ms: self.segment_age.unwrap_or(base.segment_age_ms),
            retention: Retention {
                age_ms: self.retention.unwrap_or(base.retention.age_ms),
                bytes: self.retention_size.unwrap_or(base.retention.bytes),
                local_age_ms: self.local_retention.unwrap_or(base.retention.local_age_ms),
                local_bytes: self.local_retention_size.unwrap_or(base.retention.local_bytes),
            },
            compaction: Compaction {
                is_on: on(self.compact, base.compaction.is_on),
                lag_ms: self.compaction_lag.unwrap_or(base.compaction.lag_ms),
                tombstone_ms: self.tombstone_retention.unwrap_or(base.compaction.tombstone_ms),
            },
            is_tiered: on(self.tiered, base.is_tiered),
            ..base
        }
    }

    /// `changes` and what was given.
    pub(crate) fn changing(&self, changes: LogChanges) -> LogChanges {
        let on = |switch: Option<Switch>| switch.map(|switch| switch == Switch::On);
        LogChanges {
            segment_age_ms: self.segment_age,
            retention_ms: self.retention,
            retention_bytes: self.retention_size,
            local_retention_ms: self.local_retention,
            local_retention_bytes: self.local_retention_size,
            compaction: on(self.compact),
            compaction_lag_ms: self.compaction_lag,
            tombstone_ms: self.tombstone_retention,
            is_tiered: on(self.tiered),
            ..changes
        }
    }
}

/// Whole milliseconds from a text such as `7d`; `none` is zero, which is no bound.
fn millis_or_none(text: &str) -> Result<u64, String> {
    if text == "none" { Ok(0) } else { super::log::millis(text) }
}

/// Bytes from a text such as `64GiB`; `none` is zero, which is no bound.
fn size_or_none(text: &str) -> Result<u64, String> {
    match text {
        "none" => Ok(0),
        text => size(text).map_err(|error| error.to_string()),
    }
}
