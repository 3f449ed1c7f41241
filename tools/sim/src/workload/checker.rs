//! The checker: when nothing is broken any more, reads everything and tries everything.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use pyralog_log::ids::PartitionId;
use pyralog_runtime::time;
use pyralog_wire::{ErrorCode, Integrity};

use super::{Shared, sequences};
use crate::client::{Believed, RawAppend, SimClient};
use crate::history::{Kind, Outcome};
use crate::record::Recipe;
use crate::server::record;

/// How often something is tried, a second apart, before it counts as not working.
const TRIES: usize = 5;

/// Takes ids and numbers, reads every partition of every log, then appends to each.
pub(super) async fn check(shared: &Shared, client: SimClient) {
    check_sequences(shared, &client).await;
    let listed = tried(|| client.list_logs()).await;
    let logs = match listed {
        Ok(logs) => logs,
        Err(problem) => {
            note(shared, "list the logs".to_owned(), Err(problem));
            return;
        }
    };
    for plan in &shared.logs {
        // A log that was never acknowledged need not be there; then its creation must work now.
        if !logs.iter().any(|log| log.name == plan.name) {
            let created = tried(|| client.create_log(&plan.name, plan.config)).await;
            note(shared, format!("create {}", plan.name), created.map(drop));
        }
    }
    for log in &logs {
        for partition in (0..log.config.partitions).map(PartitionId::new) {
            let read = tried(|| client.read_all(&log.name, partition)).await;
            note(
                shared,
                format!("read {}/{partition} of log {}", log.name, log.id),
                read.map(drop),
            );
        }
    }
    for log in logs.iter().filter(|log| log.config.integrity != Integrity::None) {
        for partition in (0..log.config.partitions).map(PartitionId::new) {
            let mut believed = Believed::default();
            let seen = client.follow_checkpoints((&log.name, partition), &mut believed).await;
            seen.ok(); // Err: the tree may be damaged, and be made again.
        }
    }
    for log in &logs {
        for partition in (0..log.config.partitions).map(PartitionId::new) {
            let append = RawAppend {
                log: log.id,
                partition,
                shard: None,
                level: None,
                batches: vec![2, 1],
                recipe: Recipe::default(),
                attempts: 3,
            };
            let result = match client.append_raw(append).await {
                Outcome::Acked { .. } => Ok(()),
                other => Err(format!("{other:?}")),
            };
            note(shared, format!("append to {}/{partition} of log {}", log.name, log.id), result);
        }
    }
}

/// Asks every shard for ids, and every counter for numbers. Both have to be dealt, but for what an operator has to answer for
/// first: counters, which it does, and the clock, which says so as long as it cannot be believed.
async fn check_sequences(shared: &Shared, client: &SimClient) {
    for shard in 0..4 {
        let dealt = tried(|| async {
            match client.deal_ids(Some(shard), 3).await {
                Err(error) if !error.is(ErrorCode::ClockAstray) => Err(error),
                _ => Ok(()),
            }
        });
        let dealt = dealt.await;
        note(shared, "ids".to_owned(), dealt);
    }
    for plan in &shared.counters {
        let taken = tried(|| async {
            let created = client.create_counter(&plan.name, plan.config).await;
            let created = match created {
                Err(error) if error.is(ErrorCode::CounterBehind) => {
                    sequences::answer_for(shared, client, plan).await
                }
                // Raised when nobody could tell how it worked: `counter_states` says whether that may be.
                Err(error) if error.is(ErrorCode::CounterExists) => Ok(()),
                created => created.map(drop),
            };
            created?;
            client.take_numbers(None, &plan.name, 2).await.map(drop)
        });
        let taken = taken.await;
        note(shared, format!("take from {}", plan.name), taken);
    }
}

/// Tries something a few times.
async fn tried<T, E: Display, F: Future<Output = Result<T, E>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, String> {
    let mut last = String::new();
    for _ in 0..TRIES {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => last = error.to_string(),
        }
        time::sleep(Duration::from_secs(1)).await;
    }
    Err(last)
}

fn note(shared: &Shared, what: String, result: Result<(), String>) {
    record(&shared.history, Kind::Probed { what, result });
}
