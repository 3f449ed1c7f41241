//! What one core says at a scrape, and what all of them say together.

use std::collections::BTreeMap;

use pyralog_log::compaction::CompactionStats;
use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_log::partition::TreeStatus;
use pyralog_log::partition_file::TierUse;
use pyralog_log::tier::TierStats;

use super::{COUNTERS, Counter, CountersSnapshot, Histograms, IdsSnapshot};

/// The numbers of one core at one moment: owned, so that it can leave the core.
#[derive(Debug, Clone, Default)]
pub struct ShardSnapshot {
    /// Which core.
    pub shard: usize,
    /// As in [`Counter::ALL`].
    pub counters: [u64; COUNTERS],
    /// Refused or failed requests by number of kind (0: connections) and of error.
    pub failures: BTreeMap<(u16, u16), u64>,
    /// All histograms.
    pub histograms: Box<Histograms>,
    /// Connections open.
    pub connections: u64,
    /// Bytes of requests in flight.
    pub in_flight_bytes: u64,
    /// Bytes of fetched records waiting for sockets.
    pub fetched_bytes: u64,
    /// Bytes of direct-I/O buffers in use.
    pub memory_used_bytes: u64,
    /// Bytes the core may use.
    pub memory_limit_bytes: u64,
    /// Logs in the core's replica of the catalog.
    pub logs: u64,
    /// Version of that replica.
    pub catalog_version: u64,
    /// The partitions that the core owns, by log and partition.
    pub partitions: Vec<PartitionSnapshot>,
    /// Its ids.
    pub ids: IdsSnapshot,
    /// Its named counters.
    pub sequencers: CountersSnapshot,
    /// What it moved to and from the object store.
    pub tier: TierStats,
    /// Whether the core is draining for a stop.
    pub draining: bool,
}

/// The state of a partition at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionSnapshot {
    /// Its log.
    pub log: LogId,
    /// The name of its log.
    pub name: String,
    /// Its number within the log.
    pub partition: PartitionId,
    /// The core that owns it.
    pub shard: usize,
    /// Oldest offset.
    pub low: Offset,
    /// Offset after the last committed record.
    pub high: Offset,
    /// Offset after the last record taken.
    pub end: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Its segments.
    pub segments: u64,
    /// Sessions that it remembers.
    pub sessions: u64,
    /// What it has in the object store.
    pub tier: TierUse,
    /// Records evicted from a memory log so far.
    pub evicted: u64,
    /// Records that retention and truncation removed since it was opened.
    pub removed: u64,
    /// Bytes of the segments that went with them.
    pub removed_bytes: u64,
    /// What compaction did since it was opened, and what there is to do.
    pub compaction: CompactionStats,
    /// How far its Merkle tree has come, if its log has proofs.
    pub tree: Option<TreeStatus>,
    /// Why it takes no appends any more, if so.
    pub failed: Option<String>,
    /// Why it takes no appends for now, if its disk is full: it goes on by itself.
    pub starved: Option<String>,
    /// Offsets of its damaged ranges, first and after the last.
    pub damaged: Vec<(u64, u64)>,
}

/// All cores together.
#[derive(Debug, Clone, Default)]
pub struct NodeSnapshot {
    /// The node's name.
    pub node: String,
    /// The node's id.
    pub node_id: u64,
    /// The cluster's id.
    pub cluster_id: u64,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// In order of index.
    pub shards: Vec<ShardSnapshot>,
}

impl NodeSnapshot {
    /// The sum of a counter over the cores.
    #[must_use]
    pub fn total(&self, counter: Counter) -> u64 {
        self.shards.iter().map(|shard| shard.counters[counter as usize]).sum()
    }

    /// The histograms of all cores as one.
    #[must_use]
    pub fn histograms(&self) -> Histograms {
        let mut all = Histograms::default();
        for shard in &self.shards {
            all.merge(&shard.histograms);
        }
        all
    }

    /// Refused or failed requests of all cores.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<(u16, u16), u64> {
        let mut all = BTreeMap::new();
        for (key, count) in self.shards.iter().flat_map(|shard| &shard.failures) {
            *all.entry(*key).or_default() += count;
        }
        all
    }

    /// All partitions, by log and partition.
    #[must_use]
    pub fn partitions(&self) -> Vec<&PartitionSnapshot> {
        let mut all: Vec<_> = self.shards.iter().flat_map(|shard| &shard.partitions).collect();
        all.sort_by_key(|partition| (partition.log, partition.partition));
        all
    }

    /// Why the node does not serve all that it should: one sentence each, none if it does.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.shards.iter().any(|shard| shard.draining) {
            problems.push("the server is going down".to_string());
        }
        for shard in &self.shards {
            if !shard.ids.problem.is_empty() {
                let (index, cause) = (shard.shard, &shard.ids.problem);
                problems.push(format!("shard {index} deals no ids and takes no appends: {cause}"));
            }
            for name in &shard.sequencers.failed {
                problems.push(format!(
                    "counter {name} deals nothing: `pyralog obelisk stat {name}` says why"
                ));
            }
        }
        for partition in self.partitions() {
            if let Some(cause) = &partition.failed {
                problems.push(format!(
                    "log {} partition {} takes no appends: {cause}; repair the cause, then restart the server",
                    partition.name, partition.partition
                ));
            }
            if let Some(fault) = partition.tree.and_then(|tree| tree.fault) {
                problems.push(format!(
                    "log {} partition {} has no new checkpoints: {fault}",
                    partition.name, partition.partition
                ));
            }
            if let Some(cause) = &partition.starved {
                problems.push(format!(
                    "log {} partition {} has no space for appends: {cause}; free some and it goes on by itself",
                    partition.name, partition.partition
                ));
            }
        }
        problems
    }
}
