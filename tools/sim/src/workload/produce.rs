//! Appending: with a producer, and by hand.

use std::rc::Rc;
use std::time::Duration;

use pyralog_client::ProducerConfig;
use pyralog_log::durability::Durability;
use pyralog_log::ids::PartitionId;
use pyralog_runtime::rng::Rng;
use pyralog_runtime::time;

use super::{GLANCE, Shared, create_log};
use crate::client::{Producer, RawAppend, SimClient};
use crate::scenario::below;

/// Virtual time from the first record of a batch to its outcome.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Appends with producers, one after the other, until it is to finish; then waits for all outcomes.
pub(super) async fn run(shared: Rc<Shared>, client: SimClient, (log, mut rng): (usize, Rng)) {
    while !shared.is_finishing() {
        let config = config(&mut rng, &shared, log);
        let name = &shared.logs[log].name;
        if let Ok(producer) = Producer::open(&client, name, config).await {
            produce(&shared, (&client, producer), (log, &mut rng)).await;
        } else {
            time::sleep(GLANCE).await;
            // A wiped server has forgotten it.
            create_log(&shared, &client, log).await;
        }
    }
}

fn config(rng: &mut Rng, shared: &Shared, log: usize) -> ProducerConfig {
    let own = shared.logs[log].config.durability;
    let durability = match rng.below(4) {
        0 if own < Durability::Written && !shared.in_memory(log) => Some(Durability::Written),
        1 if own < Durability::Synced && !shared.in_memory(log) => Some(Durability::Synced),
        _ => None,
    };
    ProducerConfig {
        durability,
        linger: Duration::from_micros(rng.below(3) * 1_000),
        batch_bytes: 4096 << rng.below(5),
        in_flight: 1 + below(rng, 5),
        delivery_timeout: DELIVERY_TIMEOUT,
        ..ProducerConfig::default()
    }
}

/// The life of one producer.
async fn produce(
    shared: &Shared,
    (client, mut producer): (&SimClient, Producer),
    (log, rng): (usize, &mut Rng),
) {
    let (partitions, recipe) = (producer.partitions() as u64, shared.logs[log].recipe);
    // Some live long, some are gone after a few batches.
    let most = if rng.below(2) == 0 { 20 } else { 2_000 };
    let mut left = 1 + rng.below(most);
    while left > 0 && !shared.is_finishing() {
        left -= 1;
        let partition = u32::try_from(rng.below(partitions)).expect("a partition");
        let count = 1 + below(rng, 8);
        if producer.append(PartitionId::new(partition), (count, recipe)).await.is_err() {
            return;
        }
        if rng.below(10) == 0 && producer.flush().await.is_err() {
            return;
        }
        if rng.below(16) == 0
            && let Ok(route) = client.metadata(&shared.logs[log].name).await
            && route.is_none_or(|route| route.id != producer.log())
        {
            return;
        }
        rest(rng).await;
    }
    if !shared.is_finishing() && rng.below(4) == 0 {
        producer.abandon();
        return;
    }
    // Err: its core is ending.
    producer.flush().await.ok();
}

/// Mostly a moment, sometimes so long that everything is idle.
async fn rest(rng: &mut Rng) {
    let most = if rng.below(20) == 0 { 1_000_000 } else { 40_000 };
    time::sleep(Duration::from_micros(rng.below(most))).await;
}

/// Appends without sessions, one request after the other, until it is to finish.
pub(super) async fn run_raw(shared: Rc<Shared>, client: SimClient, (log, mut rng): (usize, Rng)) {
    let plan = &shared.logs[log];
    while !shared.is_finishing() {
        let Ok(Some(route)) = client.metadata(&plan.name).await else {
            time::sleep(GLANCE).await;
            create_log(&shared, &client, log).await;
            continue;
        };
        for _ in 0..rng.below(40) {
            if shared.is_finishing() {
                return;
            }
            let partition = u32::try_from(rng.below(plan.config.partitions.into()));
            let level = if rng.below(3) == 0 && !shared.in_memory(log) {
                Some(Durability::Synced)
            } else {
                None
            };
            let append = RawAppend {
                log: route.id,
                partition: PartitionId::new(partition.expect("a partition")),
                // Any shard may be asked: it forwards.
                shard: None,
                level,
                batches: (0..=rng.below(3)).map(|_| 1 + below(&mut rng, 8)).collect(),
                recipe: plan.recipe,
                attempts: u32::try_from(1 + rng.below(2)).expect("at most 2"),
            };
            client.append_raw(append).await;
            rest(&mut rng).await;
        }
    }
}
