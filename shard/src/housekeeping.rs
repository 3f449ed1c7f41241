//! Housekeeping: what keeps the partitions of a core within their bounds, one task per core.
//!
//! Two tasks per core, each of which goes through the partitions one after another: one rolls segments and removes the
//! oldest, which takes a moment, and one compacts. A run of compaction may take hours, and a disk that fills up does not
//! wait for it. The work of the background is never more than that of one partition, however many there are; and all that
//! reads or writes records asks the core's [`Pace`] first. Then they sleep for `housekeeping.interval`, or until a log was
//! altered.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::select;
use pyralog_log::compaction::Policy;
use pyralog_log::ids::Timestamp;
use pyralog_log::pace::Pace;
use pyralog_log::partition::TruncateError;
use pyralog_log::partition_file::Partition;
use pyralog_runtime::channel::Listener;
use pyralog_runtime::time::{self, Monotonic};
use pyralog_runtime::{Class, spawn_into};

use crate::limits::CLOCK_LEAP_MAX;
use crate::metrics::Counter;
use crate::partitions::Owned;
use crate::shard::{Phase, Shard};

/// Starts to keep the partitions of this core, until it stops serving.
pub(crate) fn start(shard: &Rc<Shard>) {
    // Both end when the core is quiet.
    spawn_into(Class::Background, bound(Rc::clone(shard))).detach();
    spawn_into(Class::Background, compact_all(Rc::clone(shard))).detach();
}

/// Keeps the partitions within their bounds.
async fn bound(shard: Rc<Shard>) {
    let mut clock = AgingClock::new(shard.wall(), time::now());
    while shard.phase() < Phase::Quiet {
        let due = shard.housekeeping_due.listen();
        for (owned, partition) in open_ones(&shard) {
            let now = clock.now(shard.wall(), time::now());
            partition.roll_if_older(now).await;
            retain(&owned, &partition, now).await;
            pyralog_runtime::yield_if_needed().await;
            if shard.phase() >= Phase::Quiet {
                return;
            }
        }
        shard.keep_reserve().await;
        shard.metrics.add(Counter::HousekeepingRounds, 1);
        rest(&shard, due).await;
    }
}

/// Compacts the partitions of compacted logs.
async fn compact_all(shard: Rc<Shard>) {
    let pace = Rc::clone(&shard.pace);
    while shard.phase() < Phase::Quiet {
        let due = shard.housekeeping_due.listen();
        for (owned, partition) in open_ones(&shard) {
            compact(&shard, &owned, &partition, &pace).await;
            pyralog_runtime::yield_if_needed().await;
            if shard.phase() >= Phase::Quiet {
                return;
            }
        }
        rest(&shard, due).await;
    }
}

/// The partitions that could be opened; the requests of others are told.
fn open_ones(shard: &Shard) -> impl Iterator<Item = (Rc<Owned>, Partition)> + use<> {
    let all = shard.partitions.all().into_iter();
    all.filter_map(|owned| owned.partition().ok().map(|partition| (owned, partition)))
}

/// Resolves when the next round is due, or the core stops.
async fn rest(shard: &Shard, due: Listener) {
    let woken = select(due, shard.phase_changed());
    // Err: the time is over.
    time::timeout(shard.config.housekeeping.interval, woken).await.ok();
}

/// The clock that records age by: the wall clock, unless it leaps ahead by more than [`CLOCK_LEAP_MAX`] while the server runs.
/// Then it goes on by the monotonic clock, until the wall clock comes back or the server is started again: a clock that was set
/// wrong by a year would take every log with an age at once, and that cannot be taken back.
#[derive(Debug)]
struct AgingClock {
    /// The last reading that was believed, and when.
    shown: Timestamp,
    at: Monotonic,
    has_leapt: bool,
}

impl AgingClock {
    const fn new(shown: Timestamp, at: Monotonic) -> Self {
        Self { shown, at, has_leapt: false }
    }

    fn now(&mut self, wall: Timestamp, now: Monotonic) -> Timestamp {
        let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let expected = self.shown.get().saturating_add(us(now.since(self.at)));
        let ahead = wall.get().saturating_sub(expected);
        let leaps = ahead > us(CLOCK_LEAP_MAX);
        if leaps && !self.has_leapt {
            tracing::error!(
                ahead_seconds = ahead / 1_000_000,
                "the clock leapt: records age as if it had not; set it right, or restart the server if it is right"
            );
        }
        self.has_leapt = leaps;
        if leaps {
            return Timestamp::new(expected);
        }
        (self.shown, self.at) = (wall, now);
        wall
    }
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
async fn retain(owned: &Owned, partition: &Partition, now: Timestamp) {
    match partition.retain(now).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_leaps_ages_nothing_until_it_comes_back_and_small_steps_are_followed() {
        let hour = 3_600_000_000;
        let monotonic = |us: i64| Monotonic::ZERO + Duration::from_micros(us.unsigned_abs());
        let mut clock = AgingClock::new(Timestamp::new(5 * hour), monotonic(0));
        let mut at = |wall: i64, us: i64| clock.now(Timestamp::new(wall), monotonic(us)).get();
        assert_eq!(at(6 * hour, hour), 6 * hour);
        assert_eq!(at(7 * hour + hour / 2, 2 * hour), 7 * hour + hour / 2, "half an hour ahead");
        let year = 8766 * hour;
        assert_eq!(at(year, 3 * hour), 8 * hour + hour / 2, "a year ahead");
        assert_eq!(at(year + hour, 4 * hour), 9 * hour + hour / 2, "time goes on");
        assert_eq!(at(9 * hour, 5 * hour), 9 * hour, "it came back");
        assert_eq!(at(hour, 6 * hour), hour, "going back ages nothing");
    }
}
