//! Administration: looking at logs, and creating, changing and deleting some.

use std::rc::Rc;
use std::time::Duration;

use pyralog_client::LogChanges;
use pyralog_log::durability::Durability;
use pyralog_log::ids::{Offset, PartitionId};
use pyralog_runtime::rng::Rng;
use pyralog_runtime::time;
use pyralog_wire::{Integrity, LogConfig, LogStorage};

use super::Shared;
use crate::client::{RawAppend, SimClient};
use crate::record::Recipe;
use crate::scenario::{LogPlan, below, draw_life, draw_tiered_life};

/// Looks and changes until it is to finish.
pub(super) async fn run(shared: Rc<Shared>, client: SimClient, (number, mut rng): (u32, Rng)) {
    let mut created = 0;
    while !shared.is_finishing() {
        time::sleep(Duration::from_millis(rng.below(150))).await;
        let plan = &shared.logs[below(&mut rng, shared.logs.len())];
        if shared.truncation && rng.below(12) == 0 {
            truncate(&client, plan, &mut rng).await;
            continue;
        }
        // Errors: the client has noted what was asked and answered, and the next look comes anyway.
        match rng.below(if shared.churn { 8 } else { 4 }) {
            0 => drop(client.describe_log(&plan.name).await),
            1 => drop(client.list_logs().await),
            2 => drop(client.metadata(&plan.name).await),
            3 => drop(client.stats().await),
            4 => {
                let changes = changes(&shared, plan, &mut rng);
                drop(client.alter_log(&plan.name, changes).await);
            }
            _ => {
                created += 1;
                // Names come again, so that a new log of an old name is among what is tried.
                let name = format!("churn-{number}-{}", created % 3);
                passing_log(&shared, &client, (&name, &mut rng)).await;
            }
        }
    }
}

/// Lets some of the beginning of a log go: mostly a little, sometimes all, rarely more than there is.
async fn truncate(client: &SimClient, plan: &LogPlan, rng: &mut Rng) {
    let Ok(described) = client.describe_log(&plan.name).await else { return };
    let partition = &described.partitions[below(rng, described.partitions.len())];
    let (low, high) = (partition.low.get(), partition.high.get());
    let there = high.saturating_sub(low);
    let before = match rng.below(8) {
        0 => high,
        1 => high + 1,
        2 => low + rng.below(there + 1),
        _ => low + rng.below(there / 4 + 1),
    };
    // Errors: it is refused, or nobody knows, which the client has noted.
    drop(client.truncate_log((&plan.name, partition.partition), Offset::new(before)).await);
}

/// Another level, or another life of the records.
fn changes(shared: &Shared, plan: &LogPlan, rng: &mut Rng) -> LogChanges {
    let in_memory = plan_in_memory(plan);
    if in_memory || rng.below(2) == 0 {
        return LogChanges {
            durability: Some(Durability::Synced).filter(|_| !in_memory),
            ttl_ms: Some(rng.below(5_000)).filter(|_| in_memory),
            ..LogChanges::default()
        };
    }
    let drawn = life(shared, rng);
    let tier = Some(drawn.retention).filter(|_| shared.store);
    LogChanges {
        is_tiered: tier.map(|_| drawn.is_tiered),
        local_retention_ms: tier.map(|local| local.local_age_ms),
        local_retention_bytes: tier.map(|local| local.local_bytes),
        segment_age_ms: Some(drawn.segment_age_ms),
        retention_ms: Some(drawn.retention.age_ms),
        retention_bytes: Some(drawn.retention.bytes),
        compaction: Some(drawn.compaction.is_on)
            .filter(|_| plan.config.integrity == Integrity::None),
        compaction_lag_ms: Some(drawn.compaction.lag_ms),
        tombstone_ms: Some(drawn.compaction.tombstone_ms),
        ..LogChanges::default()
    }
}

/// How long records live, by what the server has.
fn life(shared: &Shared, rng: &mut Rng) -> LogConfig {
    if shared.store { draw_tiered_life(rng) } else { draw_life(rng) }
}

fn plan_in_memory(plan: &LogPlan) -> bool {
    plan.config.storage == LogStorage::Memory
}

/// A log that comes, holds something, and goes, or stays until the next of its name.
async fn passing_log(shared: &Shared, client: &SimClient, (name, rng): (&str, &mut Rng)) {
    let config = LogConfig {
        partitions: u32::try_from(1 + rng.below(3)).expect("at most 3"),
        segment_bytes: pyralog_log::limits::SEGMENT_BYTES_MIN,
        ..life(shared, rng)
    };
    if let Ok(log) = client.create_log(name, config).await {
        for _ in 0..rng.below(4) {
            let append = RawAppend {
                log: log.id,
                partition: PartitionId::ZERO,
                shard: None,
                level: None,
                batches: vec![1 + below(rng, 20)],
                recipe: Recipe::default(),
                attempts: 1,
            };
            client.append_raw(append).await;
        }
    }
    if rng.below(3) > 0 {
        drop(client.delete_log(name).await);
    }
}
