//! How long records live: retention, compaction, tiers and proofs of a log.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use super::{ConfigError, LogChanges, LogConfig, LogStorage, range};
use crate::limits::{LIFE_MS_MAX, RETENTION_BYTES_MAX, SEGMENT_AGE_MS_MIN};

/// When a partition lets its oldest segments go. Zero is no bound; of two bounds, the one that is reached first counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Retention {
    /// Milliseconds since the newest record of a segment was appended.
    pub age_ms: u64,
    /// Bytes of a partition, in all tiers.
    pub bytes: u64,
    /// Milliseconds after which the file of a segment goes that lies in the object store, too.
    pub local_age_ms: u64,
    /// Bytes of a partition in files, beyond which those go that lie in the object store, too.
    pub local_bytes: u64,
}

/// Whether and how a partition keeps only the newest record of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Compaction {
    /// Whether it does.
    pub is_on: bool,
    /// Milliseconds after its append in which a record is not touched.
    pub lag_ms: u64,
    /// Milliseconds for which a tombstone stays, so that readers see what was deleted.
    pub tombstone_ms: u64,
}

impl Retention {
    pub(super) fn changed(self, changes: &LogChanges) -> Self {
        // Without the store nothing may go early: the bounds of the files go with it.
        let (local_age_ms, local_bytes) = match changes.is_tiered {
            Some(false) => (0, 0),
            _ => (self.local_age_ms, self.local_bytes),
        };
        Self {
            age_ms: changes.retention_ms.unwrap_or(self.age_ms),
            bytes: changes.retention_bytes.unwrap_or(self.bytes),
            local_age_ms: changes.local_retention_ms.unwrap_or(local_age_ms),
            local_bytes: changes.local_retention_bytes.unwrap_or(local_bytes),
        }
    }
}

impl Compaction {
    pub(super) fn changed(self, changes: &LogChanges) -> Self {
        Self {
            is_on: changes.compaction.unwrap_or(self.is_on),
            lag_ms: changes.compaction_lag_ms.unwrap_or(self.lag_ms),
            tombstone_ms: changes.tombstone_ms.unwrap_or(self.tombstone_ms),
        }
    }
}

impl Default for Compaction {
    /// Off; once on, without lag, with tombstones of a day.
    fn default() -> Self {
        Self { is_on: false, lag_ms: 0, tombstone_ms: 24 * 3600 * 1000 }
    }
}

/// What can be proven of the records of a log.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Archive,
    Serialize,
    Deserialize,
)]
pub enum Integrity {
    /// Nothing beyond checksums.
    #[default]
    None,
    /// A Merkle tree over the batches: finds damage, does not stop a forger.
    Hash,
    /// The tree, and checkpoints of it signed with the key of the node.
    Signed,
}

impl Integrity {
    /// Every level, from the weakest.
    pub const ALL: [Self; 3] = [Self::None, Self::Hash, Self::Signed];
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Hash => "hash",
            Self::Signed => "signed",
        })
    }
}

/// Checks the fields of this page.
pub(super) fn check(config: &LogConfig) -> Result<(), ConfigError> {
    let LogConfig { segment_age_ms, retention, compaction, .. } = *config;
    if segment_age_ms > 0 {
        range("segment_age_ms", segment_age_ms, SEGMENT_AGE_MS_MIN, LIFE_MS_MAX)?;
    }
    range("retention_ms", retention.age_ms, 0, LIFE_MS_MAX)?;
    range("retention_bytes", retention.bytes, 0, RETENTION_BYTES_MAX)?;
    range("local_retention_ms", retention.local_age_ms, 0, LIFE_MS_MAX)?;
    range("local_retention_bytes", retention.local_bytes, 0, RETENTION_BYTES_MAX)?;
    range("compaction_lag_ms", compaction.lag_ms, 0, LIFE_MS_MAX)?;
    range("tombstone_ms", compaction.tombstone_ms, 0, LIFE_MS_MAX)?;
    if config.storage == LogStorage::Memory {
        let needing = [
            ("compaction", compaction.is_on),
            ("tiered", config.is_tiered),
            ("integrity", config.integrity != Integrity::None),
            ("retention", retention != Retention::default()),
        ];
        if let Some((field, _)) = needing.into_iter().find(|(_, is_set)| *is_set) {
            return Err(ConfigError::NeedsFiles { field });
        }
    }
    if compaction.is_on && config.integrity != Integrity::None {
        return Err(ConfigError::CompactionWithProofs { integrity: config.integrity });
    }
    let is_local = retention.local_age_ms > 0 || retention.local_bytes > 0;
    if is_local && !config.is_tiered {
        return Err(ConfigError::LocalWithoutTier);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_retention_goes_when_tiering_is_switched_off_and_cannot_be_set_without() {
        let retention = Retention { age_ms: 9, bytes: 8, local_age_ms: 7, local_bytes: 6 };
        let config = LogConfig { is_tiered: true, retention, ..LogConfig::default() };
        let off = LogChanges { is_tiered: Some(false), ..LogChanges::default() };
        let retention = Retention { local_age_ms: 0, local_bytes: 0, ..retention };
        let untiered = LogConfig { is_tiered: false, retention, ..config };
        assert_eq!(config.changed(&off), Ok(untiered));
        for changes in [
            LogChanges { local_retention_ms: Some(7), ..off },
            LogChanges { local_retention_bytes: Some(6), ..off },
        ] {
            assert_eq!(config.changed(&changes), Err(ConfigError::LocalWithoutTier));
        }
    }
}
