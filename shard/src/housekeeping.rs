//! Housekeeping: what keeps the partitions of a core within their bounds, one task per core.
//!
//! It goes through the partitions one after another and does for each what is due, one thing at a time, so the work of
//! the background is never more than that of one partition, however many there are; and all that reads or writes records
//! asks the core's [`Pace`] first. Then it sleeps for `housekeeping.interval`, or until a log was altered.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::select;
use pyralog_log::compaction::Policy;
use pyralog_log::pace::Pace;
use pyralog_log::partition::TruncateError;
use pyralog_log::partition_file::Partition;
use pyralog_runtime::time;

use crate::metrics::Counter;
use crate::partitions::Owned;
use crate::shard::{Phase, Shard};

/// Keeps the partitions of this core, until it stops serving.
pub(crate) async fn run(shard: Rc<Shard>) {
    let pace = Rc::clone(&shard.pace);
    loop {
        let due = shard.housekeeping_due.listen();
        for owned in shard.partitions.all() {
            if shard.phase() >= Phase::Quiet {
                return;
            }
            // Err: it could not be opened; its requests are told.
            if let Ok(partition) = owned.partition() {
                keep(&shard, &owned, &partition, &pace).await;
            }
            pyralog_runtime::yield_if_needed().await;
        }
        shard.metrics.add(Counter::HousekeepingRounds, 1);
        // Elapsed or not: a round is due, or the core stops.
        let woken = select(due, shard.phase_changed());
        time::timeout(shard.config.housekeeping.interval, woken).await.ok();
        if shard.phase() >= Phase::Quiet {
            return;
        }
    }
}

/// Does for one partition what is due, in this order. Each step logs what goes wrong and leaves it to the next round.
async fn keep(shard: &Shard, owned: &Owned, partition: &Partition, pace: &Rc<Pace>) {
    partition.roll_if_older(shard.wall()).await;
    retain(shard, owned, partition).await;
    compact(shard, owned, partition, pace).await;
}

/// Takes out the records of a compacted log of which there are newer ones, if it is worth it.
async fn compact(shard: &Shard, owned: &Owned, partition: &Partition, pace: &Pace) {
    let (config, settings) = (owned.config().compaction, shard.config.housekeeping);
    if !config.is_on {
        return;
    }
    let policy = Policy {
        lag: Duration::from_millis(config.lag_ms),
        tombstones: Duration::from_millis(config.tombstone_ms),
        dirty_percent: settings.compaction_dirty_percent,
        memory_bytes: usize::try_from(settings.compaction_memory_bytes).unwrap_or(usize::MAX),
    };
    let before = partition.compaction_stats();
    let outcome = Box::pin(partition.compact(&policy, pace)).await;
    let after = partition.compaction_stats();
    let (log, number) = (owned.name(), owned.number().get());
    if after.passes > before.passes {
        let records = after.removed_records - before.removed_records;
        let tombstones = after.removed_tombstones - before.removed_tombstones;
        let (passes, clean) = (after.passes - before.passes, after.clean);
        tracing::info!(log, partition = number, records, tombstones, passes, %clean, "compaction");
    }
    if let Err(error) = outcome {
        tracing::warn!(log, partition = number, %error, "compaction failed");
    }
}

/// Removes the segments that are beyond the retention of the log.
async fn retain(shard: &Shard, owned: &Owned, partition: &Partition) {
    match partition.retain(shard.wall()).await {
        // Or it is closing: with the server, or because the log is deleted.
        Ok(0) | Err(TruncateError::Unsynced(_)) => {}
        Ok(records) => {
            let low = partition.watermarks().low;
            tracing::info!(log = owned.name(), partition = owned.number().get(), records, %low, "retention");
        }
        Err(error) => {
            tracing::warn!(log = owned.name(), partition = owned.number().get(), %error, "retention failed");
        }
    }
}
