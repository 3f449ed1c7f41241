//! The partitions that a core owns: opened at boot or at creation, closed at the stop, removed at deletion.
//!
//! A partition that cannot be opened, or whose file failed, stays in the list with its cause: its requests are answered
//! with that, the node is not ready, and everything else is served.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use hashbrown::HashMap;
use pyralog_log::compaction::CompactionStats;
use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use pyralog_log::partition::{Changes, PartitionConfig, Proofs, Storage, Tiering, TreeStatus};
use pyralog_log::partition_file::{Partition, TierUse};
use pyralog_log::recovery::RecoveryReport;
use pyralog_log::reserve;
use pyralog_log::retention::{Bounds, Life};
use pyralog_wire::message::{CompactionInfo, PartitionInfo, StoreInfo, TreeInfo};
use pyralog_wire::{ErrorCode, ErrorReply, Integrity, LogConfig, LogStorage};

use crate::catalog::LogEntry;
use crate::config::DataConfig;
use crate::flight::Landing;
use crate::limits::{OPENING_AT_ONCE, TAIL_BYTES_MAX, TAIL_BYTES_MIN};
use crate::metrics::{Counter, PartitionSnapshot};
use crate::ownership;
use crate::shard::{Shard, shard_number};

type Key = (LogId, PartitionId);

/// The partitions of a core, by log and number.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    owned: RefCell<HashMap<Key, Rc<Owned>>>,
}

/// A partition that this core owns.
#[derive(Debug)]
pub(crate) struct Owned {
    log: LogId,
    partition: PartitionId,
    name: String,
    config: Cell<LogConfig>,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(Partition),
    /// It could not be opened, and why.
    Failed(String),
}

impl Owned {
    /// The name of its log.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its number within the log.
    pub(crate) const fn number(&self) -> PartitionId {
        self.partition
    }

    /// The configuration of its log.
    pub(crate) fn config(&self) -> LogConfig {
        self.config.get()
    }

    /// The partition itself, or what its requests are answered if it could not be opened.
    pub(crate) fn partition(&self) -> Result<Partition, ErrorReply> {
        match &self.state {
            State::Open(partition) => Ok(partition.clone()),
            State::Failed(cause) => Err(ErrorReply::new(
                ErrorCode::StorageFailed,
                format!(
                    "the partition could not be opened: {cause}; repair the cause and restart the server"
                ),
            )),
        }
    }

    /// Why it takes no appends, if so.
    fn failure(&self) -> Option<String> {
        match &self.state {
            State::Open(partition) => {
                let stats = partition.stats();
                stats.fault.filter(|_| stats.poisoned).map(|fault| fault.to_string())
            }
            State::Failed(cause) => Some(cause.clone()),
        }
    }

    /// What it found no space for, if it refuses appends until there is some.
    fn starvation(&self) -> Option<String> {
        let State::Open(partition) = &self.state else { return None };
        let stats = partition.stats();
        stats.fault.filter(|_| stats.no_space).map(|fault| fault.to_string())
    }

    /// Its state, for clients.
    pub(crate) fn info(&self, shard: usize) -> PartitionInfo {
        let snapshot = self.snapshot(shard);
        PartitionInfo {
            partition: snapshot.partition,
            shard: shard_number(shard),
            failed: snapshot.failed.is_some(),
            segments: u32::try_from(snapshot.segments).unwrap_or(u32::MAX),
            low: snapshot.low,
            high: snapshot.high,
            end: snapshot.end,
            bytes: snapshot.bytes,
            compaction: compaction_info(&snapshot.compaction),
            store: store_info(&snapshot.tier),
            tree: snapshot.tree.as_ref().map(tree_info),
        }
    }

    /// Its state, for metrics and status.
    pub(crate) fn snapshot(&self, shard: usize) -> PartitionSnapshot {
        let empty = PartitionSnapshot {
            log: self.log,
            name: self.name.clone(),
            partition: self.partition,
            shard,
            failed: self.failure(),
            starved: self.starvation(),
            ..PartitionSnapshot::default()
        };
        let State::Open(partition) = &self.state else { return empty };
        let (watermarks, stats) = (partition.watermarks(), partition.stats());
        PartitionSnapshot {
            low: watermarks.low,
            high: watermarks.high,
            end: watermarks.end,
            bytes: stats.file_bytes.max(stats.memory_bytes),
            segments: stats.segments,
            sessions: stats.sessions,
            evicted: stats.evicted_records,
            removed: stats.removed_records,
            removed_bytes: stats.removed_bytes,
            damaged: partition
                .damaged_ranges()
                .into_iter()
                .map(|offsets| (offsets.start.get(), offsets.end.get()))
                .collect(),
            tier: partition.tier_use(),
            compaction: partition.compaction_stats(),
            tree: partition.tree_status(),
            ..empty
        }
    }
}

impl Partitions {
    pub(crate) fn get(&self, log: LogId, partition: PartitionId) -> Option<Rc<Owned>> {
        self.owned.borrow().get(&(log, partition)).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.owned.borrow().len()
    }

    /// Lets go of all of them, so that nothing holds the core's state in a circle.
    pub(crate) fn clear(&self) {
        self.owned.borrow_mut().clear();
    }

    /// All of them, by log and number.
    pub(crate) fn all(&self) -> Vec<Rc<Owned>> {
        let owned = self.owned.borrow();
        let ordered: BTreeMap<Key, Rc<Owned>> =
            owned.iter().map(|(key, owned)| (*key, Rc::clone(owned))).collect();
        ordered.into_values().collect()
    }

    /// Those of a log, by number.
    pub(crate) fn of_log(&self, log: LogId) -> Vec<Rc<Owned>> {
        self.all().into_iter().filter(|owned| owned.log == log).collect()
    }

    fn insert(&self, owned: Owned) {
        let key = (owned.log, owned.partition);
        let before = self.owned.borrow_mut().insert(key, Rc::new(owned));
        assert!(before.is_none(), "partition {key:?} is opened once");
    }

    fn remove(&self, log: LogId, partition: PartitionId) {
        self.owned.borrow_mut().remove(&(log, partition));
    }

    pub(crate) fn remove_log(&self, log: LogId) -> Vec<Rc<Owned>> {
        let removed = self.of_log(log);
        self.owned.borrow_mut().retain(|(of, _), _| *of != log);
        removed
    }
}

fn compaction_info(stats: &CompactionStats) -> CompactionInfo {
    CompactionInfo {
        ran: stats.ran,
        clean: stats.clean,
        bytes: stats.bytes,
        dirty_bytes: stats.dirty_bytes,
        removed_records: stats.removed_records,
        removed_tombstones: stats.removed_tombstones,
    }
}

fn store_info(tier: &TierUse) -> StoreInfo {
    let count = |segments: u64| u32::try_from(segments).unwrap_or(u32::MAX);
    StoreInfo {
        segments: count(tier.segments),
        bytes: tier.bytes,
        remote_only_segments: count(tier.remote_only),
        remote_only_bytes: tier.remote_only_bytes,
        waiting_segments: count(tier.waiting),
        waiting_bytes: tier.waiting_bytes,
    }
}

fn tree_info(status: &TreeStatus) -> TreeInfo {
    let checkpoint = status.published.map(|published| published.checkpoint);
    TreeInfo {
        batches: status.batches,
        lag_records: status.lag_records,
        checkpoint_end: checkpoint.map_or(Offset::ZERO, |checkpoint| checkpoint.end_offset),
        checkpoint_time: checkpoint.map_or(Timestamp::ZERO, |checkpoint| checkpoint.time),
        is_failed: status.fault.is_some(),
    }
}

/// What recovery had to do, in one line; `None` after a clean open.
pub(crate) fn recovery_line(report: &RecoveryReport) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(cut) = &report.cut {
        parts.push(format!("unfinished writes were cut off at offset {}", cut.offset));
        if cut.dropped_below > cut.offset {
            parts.push(format!("records up to {} behind them were dropped", cut.dropped_below));
        }
    }
    parts.extend(report.damaged.iter().map(|damage| format!("damaged: {damage}")));
    if parts.is_empty() && !report.clean && report.end > report.low {
        let bytes = report.scanned_bytes;
        parts.push(format!("not closed cleanly: {bytes} bytes were scanned, nothing is missing"));
    }
    if report.rewritten_bytes > 0 {
        parts.push(format!("{} bytes at the end were written again", report.rewritten_bytes));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The folder of files that the partitions of a core may write over. One per core: nothing is shared.
pub(crate) fn recycle_folder(data: &Path, shard: usize) -> PathBuf {
    data.join("recycle").join(shard.to_string())
}

fn ttl(config: &LogConfig) -> Option<Duration> {
    (config.ttl_ms > 0).then(|| Duration::from_millis(config.ttl_ms))
}

/// How the records of a log age.
fn life(config: &LogConfig) -> Life {
    let bound = |value: u64| (value > 0).then_some(value);
    let time = |ms: u64| bound(ms).map(Duration::from_millis);
    let retention =
        Bounds { age: time(config.retention.age_ms), bytes: bound(config.retention.bytes) };
    Life { segment_age: time(config.segment_age_ms), retention }
}

/// A partition as its log is configured, with the tail cache of one that nobody reads.
pub(crate) fn partition_config(
    entry: &LogEntry,
    partition: PartitionId,
    storage: Storage,
) -> PartitionConfig {
    PartitionConfig {
        durability: entry.config.durability,
        segment_bytes: entry.config.segment_bytes,
        key_index: entry.config.key_index,
        life: life(&entry.config),
        tiering: tiering(&entry.config),
        ..PartitionConfig::new(entry.id, partition, storage)
    }
}

/// The folder of a log's partitions.
pub(crate) fn log_folder(data: &Path, log: LogId) -> PathBuf {
    data.join("logs").join(log.to_string())
}

impl Shard {
    /// Opens what this core owns of these logs, some at a time. Returns one line for each partition that needed more
    /// than a clean open.
    pub(crate) async fn open_logs(self: &Rc<Self>, logs: &[LogEntry]) -> Vec<String> {
        let mine = logs.iter().flat_map(|entry| {
            (0..entry.config.partitions)
                .map(PartitionId::new)
                .filter(|partition| {
                    ownership::owner(entry.id, *partition, self.shards) == self.index
                })
                .map(move |partition| (entry, partition))
        });
        let mine: Vec<_> = mine.collect();
        let tail_bytes = self.tail_bytes(self.partitions.len() + mine.len());
        let lines: Vec<Option<String>> = stream::iter(mine)
            .map(|(entry, partition)| self.open_one(entry, partition, tail_bytes))
            .buffered(OPENING_AT_ONCE)
            .collect()
            .await;
        lines.into_iter().flatten().collect()
    }

    /// The tail cache of one of `partitions` partitions.
    fn tail_bytes(&self, partitions: usize) -> usize {
        let share = self.config.memory.tail_bytes / (partitions.max(1) as u64);
        usize::try_from(share.clamp(TAIL_BYTES_MIN, TAIL_BYTES_MAX)).unwrap_or(usize::MAX)
    }

    async fn open_one(
        self: &Rc<Self>,
        entry: &LogEntry,
        partition: PartitionId,
        tail_bytes: usize,
    ) -> Option<String> {
        let storage = self.storage(entry, partition);
        let proofs = self.proofs(&entry.config);
        let config =
            PartitionConfig { tail_bytes, proofs, ..partition_config(entry, partition, storage) };
        let opened =
            Partition::open_in(config, Rc::new(Landing::new(self)), self.tier.clone()).await;
        let place = format!("log {} partition {partition}", entry.name);
        let (state, line) = match opened {
            Ok((partition, report)) => {
                self.count_recovery(&report);
                let line = recovery_line(&report).map(|line| format!("{place}: {line}"));
                (State::Open(partition), line)
            }
            Err(error) => {
                let cause = error.to_string();
                let line = Some(format!("{place} could not be opened: {cause}"));
                (State::Failed(cause), line)
            }
        };
        match (&line, &state) {
            (Some(line), State::Failed(_)) => tracing::error!(shard = self.index, "{line}"),
            (Some(line), State::Open(_)) => tracing::warn!(shard = self.index, "{line}"),
            (None, _) => tracing::debug!(shard = self.index, "{place} is open"),
        }
        self.partitions.insert(Owned {
            log: entry.id,
            partition,
            name: entry.name.clone(),
            config: Cell::new(entry.config),
            state,
        });
        line
    }

    /// What a partition of the log needs to be provable. A server in memory proves nothing.
    fn proofs(&self, config: &LogConfig) -> Option<Proofs> {
        let key = match config.integrity {
            Integrity::None => return None,
            Integrity::Hash => None,
            Integrity::Signed => Some(self.key.clone()),
        };
        let interval = self.config.checkpoint_interval;
        Some(Proofs { cluster: self.identity.cluster_id, interval, key })
    }

    fn storage(&self, entry: &LogEntry, partition: PartitionId) -> Storage {
        match (&self.config.data, entry.config.storage) {
            (DataConfig::Dir(data), LogStorage::Durable) => Storage::Durable {
                dir: log_folder(data, entry.id).join(partition.to_string()),
                recycle: recycle_folder(data, self.index),
            },
            _ => Storage::Memory {
                bytes_max: entry.config.memory_bytes_max,
                ttl: ttl(&entry.config),
            },
        }
    }

    /// Sees to it that the partitions of this core can be opened on a full disk.
    pub(crate) async fn keep_reserve(&self) {
        if let DataConfig::Dir(data) = &self.config.data {
            reserve::keep(&recycle_folder(data, self.index)).await;
        }
    }

    /// Counts what recovery had to do.
    fn count_recovery(&self, report: &RecoveryReport) {
        if report.cut.is_some() {
            self.metrics.add(Counter::TornTails, 1);
        }
        self.metrics.add(Counter::DamagedRanges, report.damaged.len() as u64);
    }

    /// Gives the partitions of a log its new configuration; returns what did not go as it should. One that could not be
    /// opened is tried again.
    pub(crate) async fn alter_log(self: &Rc<Self>, entry: &LogEntry) -> Vec<String> {
        let mut problems = Vec::new();
        let memory = match entry.config.storage {
            LogStorage::Durable => None,
            LogStorage::Memory => Some((entry.config.memory_bytes_max, ttl(&entry.config))),
        };
        let LogConfig { durability, segment_bytes, .. } = entry.config;
        let (life, tiering) = (life(&entry.config), tiering(&entry.config));
        let changes = Changes { durability, segment_bytes, memory, life, tiering };
        for owned in self.partitions.of_log(entry.id) {
            if let State::Open(partition) = &owned.state {
                let before = owned.config.replace(entry.config).compaction;
                if before != entry.config.compaction {
                    // A run may take hours. If it is still wanted, the next one goes by what was altered.
                    partition.stop_compaction();
                }
                partition.index_keys(entry.config.key_index);
                if let Err(error) = partition.alter(changes).await {
                    let place = format!("log {} partition {}", entry.name, owned.partition);
                    problems.push(format!("{place}: {error}"));
                }
            } else {
                self.partitions.remove(entry.id, owned.partition);
                let tail_bytes = self.tail_bytes(self.partitions.len() + 1);
                problems.extend(self.open_one(entry, owned.partition, tail_bytes).await);
            }
        }
        self.housekeeping_due.notify_all();
        problems
    }

    /// Removes what this core owns of a log; returns what did not go as it should.
    pub(crate) async fn delete_log(&self, entry: &LogEntry) -> Vec<String> {
        let mut problems = Vec::new();
        for owned in self.partitions.remove_log(entry.id) {
            if let State::Open(partition) = &owned.state
                && let Err(error) = partition.delete().await
            {
                let place = format!("log {} partition {}", entry.name, owned.partition);
                problems.push(format!("the files of {place} could not be removed: {error}"));
            }
        }
        for problem in &problems {
            tracing::error!(shard = self.index, "{problem}");
        }
        problems
    }

    /// Brings everything to stable storage and closes all files, whatever the logs' levels are.
    pub(crate) async fn close_partitions(&self) {
        let all = self.partitions.all();
        let closing = stream::iter(all).map(|owned| async move {
            if let State::Open(partition) = &owned.state {
                partition.close().await;
                if let Some(fault) = partition.stats().fault {
                    tracing::error!(
                        log = owned.name,
                        partition = owned.partition.get(),
                        %fault,
                        "a partition did not close cleanly; recovery will look at it"
                    );
                }
            }
        });
        closing.buffer_unordered(OPENING_AT_ONCE).collect::<Vec<()>>().await;
    }
}

/// What of a log goes to the object store.
const fn tiering(config: &LogConfig) -> Tiering {
    Tiering {
        is_on: config.is_tiered,
        local_age: Duration::from_millis(config.retention.local_age_ms),
        local_bytes: config.retention.local_bytes,
    }
}

#[cfg(test)]
mod tests {
    use pyralog_log::ids::Offset;

    use super::*;

    #[test]
    fn the_line_of_a_recovery_says_how_much_it_read_and_wrote_again() {
        assert_eq!(
            recovery_line(&RecoveryReport { clean: true, ..RecoveryReport::default() }),
            None
        );
        let end = Offset::new(7);
        let report = RecoveryReport {
            scanned_bytes: 8192,
            rewritten_bytes: 4096,
            end,
            ..RecoveryReport::default()
        };
        let line = "not closed cleanly: 8192 bytes were scanned, nothing is missing; \
                    4096 bytes at the end were written again";
        assert_eq!(recovery_line(&report).as_deref(), Some(line));
    }
}
