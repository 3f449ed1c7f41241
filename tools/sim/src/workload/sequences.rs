//! Taking ids and numbers of counters, with many at once, over any shard.

use std::rc::Rc;
use std::time::Duration;

use pyralog_runtime::rng::Rng;
use pyralog_runtime::time;
use pyralog_wire::ErrorCode;
use pyralog_wire::limits::{IDS_PER_REQUEST_MAX, NUMBERS_PER_REQUEST_MAX};
use pyralog_wire::message::CounterConfig;

use super::{GLANCE, Shared};
use crate::client::{CallError, SimClient};
use crate::scenario::{CounterPlan, below};

/// Asks for ids until it is to finish.
pub(super) async fn ids(shared: Rc<Shared>, client: SimClient, mut rng: Rng) {
    while !shared.is_finishing() {
        // Errors: the client has noted what was asked and answered, and the next question comes anyway.
        drop(client.deal_ids(shard(&mut rng), count(&mut rng, IDS_PER_REQUEST_MAX)).await);
        rest(&mut rng).await;
    }
}

/// Takes from counters, looks at them and raises them, until it is to finish.
pub(super) async fn counters(shared: Rc<Shared>, client: SimClient, mut rng: Rng) {
    for plan in &shared.counters {
        create(&shared, &client, plan).await;
    }
    while !shared.is_finishing() {
        let plan = &shared.counters[below(&mut rng, shared.counters.len())];
        let done = match rng.below(40) {
            0 => raise(&shared, &client, plan, &mut rng).await,
            1 => roll(&client, plan, &mut rng).await,
            2 => client.create_counter(&plan.name, other(plan.config)).await.map(drop),
            3 => client.list_counters(u32::try_from(1 + rng.below(3)).unwrap_or(1)).await.map(drop),
            4..8 => client.describe_counter(&plan.name).await.map(drop),
            _ => {
                let count = count(&mut rng, NUMBERS_PER_REQUEST_MAX);
                client.take_numbers(shard(&mut rng), &plan.name, count).await.map(drop)
            }
        };
        match done {
            // A wiped server has forgotten it.
            Err(error) if error.is(ErrorCode::UnknownCounter) => {
                create(&shared, &client, plan).await;
            }
            Err(error) if error.is(ErrorCode::CounterBehind) => {
                // An operator needs some time to notice.
                time::sleep(Duration::from_millis(rng.below(500))).await;
                drop(answer_for(&shared, &client, plan).await);
            }
            _ => {}
        }
        rest(&mut rng).await;
    }
}

/// Sees to it that a counter is there.
async fn create(shared: &Shared, client: &SimClient, plan: &CounterPlan) {
    while !shared.is_finishing() {
        match client.create_counter(&plan.name, plan.config).await {
            Ok(_) => return,
            // Whoever takes from it raises it.
            Err(error) if error.is(ErrorCode::CounterBehind) => return,
            Err(_) => time::sleep(GLANCE).await,
        }
    }
}

/// What an operator does whose counter came back shorter: it goes on above every number that anybody knows of.
pub(super) async fn answer_for(
    shared: &Shared,
    client: &SimClient,
    plan: &CounterPlan,
) -> Result<(), CallError> {
    let highest = shared.history.borrow().highest_number(&plan.name);
    client.raise_counter(&plan.name, highest).await.map(drop)
}

/// Raises a counter a little, perhaps to where it has been long since if nobody has to answer for it.
async fn raise(
    shared: &Shared,
    client: &SimClient,
    plan: &CounterPlan,
    rng: &mut Rng,
) -> Result<(), CallError> {
    let highest = shared.history.borrow().highest_number(&plan.name);
    let below = if shared.damaged_counters { 0 } else { 1_000 };
    let value = (highest + rng.below(3_000)).saturating_sub(below);
    client.raise_counter(&plan.name, value).await.map(drop)
}

/// Raises a counter to shortly before its file ends, so that the next numbers come from a new one.
async fn roll(client: &SimClient, plan: &CounterPlan, rng: &mut Rng) -> Result<(), CallError> {
    let info = client.describe_counter(&plan.name).await?;
    if info.stride == 0 || info.last >> 62 > 0 {
        return Ok(()); // In memory, or nearly at its end.
    }
    let before = rng.below(plan.config.block.min(1_000) * 2);
    let value = (info.last / info.stride + 1) * info.stride - before;
    client.raise_counter(&plan.name, value).await.map(drop)
}

/// The configuration of another counter.
fn other(config: CounterConfig) -> CounterConfig {
    CounterConfig { block: config.block + 1, interval_ms: config.interval_ms + 1, ..config }
}

/// The shard that is connected to; mostly any.
fn shard(rng: &mut Rng) -> Option<u16> {
    u16::try_from(rng.below(8)).ok().filter(|shard| *shard < 4)
}

/// Mostly a few, sometimes as many as one request may ask for.
fn count(rng: &mut Rng, most: u32) -> u32 {
    let bound = match rng.below(20) {
        0 => u64::from(most),
        1 | 2 => 10_000,
        3..8 => 100,
        _ => 3,
    };
    u32::try_from(1 + rng.below(bound)).expect("at most a request's")
}

/// Mostly a moment, sometimes so long that everything is idle.
async fn rest(rng: &mut Rng) {
    let most = match rng.below(60) {
        0 => 15_000_000,
        1..4 => 1_500_000,
        _ => 30_000,
    };
    time::sleep(Duration::from_micros(rng.below(most))).await;
}
