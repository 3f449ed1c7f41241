//! Reads the closed segments of a core again and again, slowly: one task per core, a partition after the other.
//!
//! A task of its own with a pace of its own: a pass over all that a core has takes hours or days, and retention and compaction
//! do not wait for that. Where it is, is where the task is; after a restart it begins again.

use std::rc::Rc;

use pyralog_log::pace::Pace;
use pyralog_log::partition_file::Scrubbed;
use pyralog_runtime::{Class, spawn_into, time};

use crate::metrics::Counter;
use crate::shard::{Phase, Shard};

/// Starts the task, unless it is switched off. It ends when the core is quiet.
pub(crate) fn start(shard: &Rc<Shard>) {
    let settings = shard.config.housekeeping;
    if settings.scrub_bytes_per_second == 0 {
        return;
    }
    let (pace, shard) = (Pace::new(settings.scrub_bytes_per_second), Rc::clone(shard));
    spawn_into(Class::Background, async move {
        while shard.phase() < Phase::Quiet {
            let quiet = shard.reached(Phase::Quiet);
            time::timeout(settings.interval, quiet).await.ok(); // Err: the next pass is due
            pass(&shard, &pace).await;
        }
    })
    .detach(); // ends when the core is quiet
}

/// Every partition once.
async fn pass(shard: &Rc<Shard>, pace: &Pace) {
    for owned in shard.partitions.all() {
        if shard.phase() >= Phase::Quiet {
            return;
        }
        // Err: it could not be opened, or it is closing; its requests are told.
        if let Ok(partition) = owned.partition()
            && let Ok(scrubbed) = partition.scrub(pace).await
        {
            count(shard, &scrubbed);
        }
        pyralog_runtime::yield_if_needed().await;
    }
}

/// Counts what a pass over a partition has read and found.
pub(crate) fn count(shard: &Shard, scrubbed: &Scrubbed) {
    shard.metrics.add(Counter::ScrubbedBytes, scrubbed.bytes);
    shard.metrics.add(Counter::ScrubDamagedRecords, scrubbed.new_records);
}
