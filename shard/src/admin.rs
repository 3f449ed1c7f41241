//! What the admin listener answers: snapshots of all cores, asked for with messages and a deadline.

use pyralog_http::{AdminSource, Readiness, Unavailable};
use pyralog_log::merkle::Hash;
use pyralog_log::partition::TreeStatus;
use pyralog_log::proof::PublicKey;
use pyralog_runtime::mesh::Outside;
use pyralog_runtime::time::{self, Monotonic};
use pyralog_seq::pharaoh::Role;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::config::{DataConfig, ServerConfig};
use crate::data_dir::Identity;
use crate::limits::SNAPSHOT_WAIT;
use crate::message::{Message, SnapshotReply};
use crate::metrics::{Counter, IdsSnapshot, NodeSnapshot, PartitionSnapshot, ShardSnapshot, text};

/// The admin listener's view of the node; lives on the admin listener's thread.
#[derive(Debug)]
pub(crate) struct Admin {
    outside: Outside<Message>,
    identity: Identity,
    key: PublicKey,
    node: String,
    role: Role,
    data: String,
    started: Monotonic,
}

impl Admin {
    pub(crate) fn new(
        config: &ServerConfig,
        (identity, key): (Identity, PublicKey),
        outside: Outside<Message>,
    ) -> Self {
        let data = match &config.data {
            DataConfig::Dir(path) => path.display().to_string(),
            DataConfig::MemoryOnly { .. } => "memory only".into(),
        };
        let node = config.node_name.clone();
        Self { outside, identity, key, node, role: config.role, data, started: time::now() }
    }

    /// Asks all cores at once, and waits for each.
    async fn snapshot(&self) -> Result<NodeSnapshot, Unavailable> {
        let asked = (0..self.outside.shards()).map(|shard| {
            let (sender, receiver) = oneshot::channel();
            // Err: full or ended; the receiver then sees the sender dropped.
            let posted = self.outside.post(shard, Message::Snapshot(SnapshotReply(sender)));
            (shard, posted.is_ok(), receiver)
        });
        let asked: Vec<_> = asked.collect();
        let mut shards = Vec::with_capacity(asked.len());
        for (shard, posted, receiver) in asked {
            let silent = || Unavailable(format!("shard {shard} does not answer"));
            if !posted {
                return Err(silent());
            }
            let answer = tokio::time::timeout(SNAPSHOT_WAIT, receiver).await;
            shards.push(answer.ok().and_then(Result::ok).ok_or_else(silent)?);
        }
        Ok(NodeSnapshot {
            node: self.node.clone(),
            node_id: self.identity.node_id,
            cluster_id: self.identity.cluster_id,
            uptime_seconds: time::now().since(self.started).as_secs(),
            shards,
        })
    }
}

impl AdminSource for Admin {
    async fn metrics(&self) -> Result<String, Unavailable> {
        Ok(text::render(self.snapshot().await?))
    }

    async fn readiness(&self) -> Readiness {
        match self.snapshot().await.map(|snapshot| snapshot.problems()) {
            Ok(problems) if problems.is_empty() => Readiness::Ready,
            Ok(problems) => Readiness::NotReady(problems),
            Err(Unavailable(problem)) => Readiness::NotReady(vec![problem]),
        }
    }

    async fn status(&self) -> Result<String, Unavailable> {
        let snapshot = self.snapshot().await?;
        let status = Status::of(&snapshot, (&self.data, self.role), self.key);
        serde_json::to_string_pretty(&status).map_err(|error| Unavailable(error.to_string()))
    }
}

/// `/status`: field names are part of the interface.
#[derive(Debug, Serialize)]
struct Status<'s> {
    version: &'static str,
    node: &'s str,
    node_id: u64,
    cluster_id: u64,
    public_key: String,
    role: String,
    data: &'s str,
    uptime_seconds: u64,
    ready: bool,
    problems: Vec<String>,
    logs: u64,
    catalog_version: u64,
    shards: Vec<ShardStatus<'s>>,
    partitions: Vec<PartitionStatus<'s>>,
}

#[derive(Debug, Serialize)]
struct ShardStatus<'s> {
    shard: usize,
    connections: u64,
    partitions: usize,
    requests: u64,
    records_written: u64,
    bytes_written: u64,
    bytes_read: u64,
    in_flight_bytes: u64,
    ids: IdsStatus<'s>,
}

/// What the shard deals ids from. `pyralog obelisk stat` reads this.
#[derive(Debug, Serialize)]
struct IdsStatus<'s> {
    slots: u64,
    dealt: u64,
    ahead_ms: u64,
    high_water_unix_ms: u64,
    clock_astray_ms: i64,
    problem: &'s str,
}

#[derive(Debug, Serialize)]
struct PartitionStatus<'s> {
    log: &'s str,
    log_id: u64,
    partition: u32,
    shard: usize,
    low: u64,
    high: u64,
    end: u64,
    bytes: u64,
    segments: u64,
    /// In the object store, and those of them that are only there.
    store_segments: u64,
    store_only_segments: u64,
    store_bytes: u64,
    /// Closed segments that are not there yet.
    store_lag_bytes: u64,
    tree: Option<TreeStatusText>,
    failed: Option<&'s str>,
    damaged: &'s [(u64, u64)],
}

/// The Merkle tree of a partition of a log with proofs.
#[derive(Debug, Serialize)]
struct TreeStatusText {
    batches: u64,
    hashed: u64,
    lag_records: u64,
    nodes_made_again: bool,
    checkpoint: Option<CheckpointStatus>,
    fault: Option<String>,
}

/// The newest checkpoint.
#[derive(Debug, Serialize)]
struct CheckpointStatus {
    tree_size: u64,
    end_offset: u64,
    root: String,
    time_unix_us: i64,
    signed: bool,
}

impl TreeStatusText {
    fn of(status: &TreeStatus) -> Self {
        let checkpoint = status.published.map(|published| CheckpointStatus {
            tree_size: published.checkpoint.tree_size,
            end_offset: published.checkpoint.end_offset.get(),
            root: Hash::new(published.checkpoint.root).to_string(),
            time_unix_us: published.checkpoint.time.get(),
            signed: published.signed.is_some(),
        });
        Self {
            batches: status.batches,
            hashed: status.hashed.get(),
            lag_records: status.lag_records,
            nodes_made_again: status.was_rebuilt,
            checkpoint,
            fault: status.fault.map(|fault| fault.to_string()),
        }
    }
}

impl<'s> Status<'s> {
    fn of(snapshot: &'s NodeSnapshot, (data, role): (&'s str, Role), key: PublicKey) -> Self {
        let problems = snapshot.problems();
        let first = snapshot.shards.first();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            node: &snapshot.node,
            node_id: snapshot.node_id,
            cluster_id: snapshot.cluster_id,
            public_key: key.to_string(),
            role: role.to_string(),
            data,
            uptime_seconds: snapshot.uptime_seconds,
            ready: problems.is_empty(),
            problems,
            logs: first.map_or(0, |shard| shard.logs),
            catalog_version: first.map_or(0, |shard| shard.catalog_version),
            shards: snapshot.shards.iter().map(ShardStatus::of).collect(),
            partitions: snapshot.partitions().into_iter().map(PartitionStatus::of).collect(),
        }
    }
}

impl<'s> ShardStatus<'s> {
    fn of(shard: &'s ShardSnapshot) -> Self {
        let counter = |counter: Counter| shard.counters[counter as usize];
        Self {
            shard: shard.shard,
            connections: shard.connections,
            partitions: shard.partitions.len(),
            requests: counter(Counter::Requests),
            records_written: counter(Counter::RecordsWritten),
            bytes_written: counter(Counter::WriteBytes),
            bytes_read: counter(Counter::ReadBytes),
            in_flight_bytes: shard.in_flight_bytes,
            ids: IdsStatus::of(&shard.ids),
        }
    }
}

impl<'s> IdsStatus<'s> {
    fn of(ids: &'s IdsSnapshot) -> Self {
        Self {
            slots: ids.slots,
            dealt: ids.dealt,
            ahead_ms: ids.ahead_ms,
            high_water_unix_ms: ids.high_water_unix_ms,
            clock_astray_ms: ids.clock_astray_ms,
            problem: &ids.problem,
        }
    }
}

impl<'s> PartitionStatus<'s> {
    fn of(partition: &'s PartitionSnapshot) -> Self {
        Self {
            log: &partition.name,
            log_id: partition.log.get(),
            partition: partition.partition.get(),
            shard: partition.shard,
            low: partition.low.get(),
            high: partition.high.get(),
            end: partition.end.get(),
            bytes: partition.bytes,
            segments: partition.segments,
            store_segments: partition.tier.segments,
            store_only_segments: partition.tier.remote_only,
            store_bytes: partition.tier.bytes,
            store_lag_bytes: partition.tier.waiting_bytes,
            tree: partition.tree.as_ref().map(TreeStatusText::of),
            failed: partition.failed.as_deref(),
            damaged: &partition.damaged,
        }
    }
}
