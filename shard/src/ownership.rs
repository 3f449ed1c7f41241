//! Which core owns a partition: a pure function of log, partition and number of cores.
//!
//! Directories are named by log and partition only, so a restart with another number of cores moves ownership and
//! nothing else. The catalog partition (log 0) belongs to shard 0 for every number of cores. Neighbouring partitions of
//! a log land on different cores, and logs start at different cores, so that many logs of one partition spread too. A
//! ring over cores replaces the remainder when shards come and go without a restart.

use pyralog_log::ids::{LogId, PartitionId};

/// The log that holds the catalog's commands.
pub const CATALOG_LOG: LogId = LogId::ZERO;
/// The core that owns the catalog.
pub const CATALOG_SHARD: usize = 0;

/// The shard in `0..shards` that owns a partition.
///
/// # Panics
/// If `shards` is zero: a machine has at least one core.
#[must_use]
pub fn owner(log: LogId, partition: PartitionId, shards: usize) -> usize {
    assert!(shards > 0, "no shards");
    let place = u128::from(log.get()) + u128::from(partition.get());
    usize::try_from(place % shards as u128).expect("a remainder is below its divisor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_log_spread_evenly_over_the_cores() {
        for shards in 1..=9 {
            let mut owned = vec![0_usize; shards];
            for partition in 0..u32::try_from(shards * 3).unwrap() {
                owned[owner(LogId::new(u64::MAX), PartitionId::new(partition), shards)] += 1;
            }
            assert_eq!(owned, vec![3; shards]);
        }
    }

    #[test]
    fn the_catalog_stays_on_shard_zero() {
        assert!(
            (1..=256).all(|shards| owner(CATALOG_LOG, PartitionId::ZERO, shards) == CATALOG_SHARD)
        );
    }
}
