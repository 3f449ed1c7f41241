//! Keeps the tiered logs of a core in the object store: one task per core, a partition after the other.
//!
//! A task of its own, because a store that does not answer holds up whoever asks it, and retention and compaction do not
//! wait for that. Reading and sending share the pace of the background.

use std::rc::Rc;

use pyralog_log::tier::Tier;
use pyralog_runtime::{Class, spawn_into, time};

use crate::limits::TIER_ROUNDS_MAX;
use crate::partitions::Owned;
use crate::shard::{Phase, Shard};

/// Starts the task, if the server has an object store. It ends when the core is quiet.
pub(crate) fn start(shard: &Rc<Shard>) {
    let Some(tier) = shard.tier.clone() else { return };
    let (interval, shard) = (shard.config.housekeeping.interval, Rc::clone(shard));
    spawn_into(Class::Background, async move {
        while shard.phase() < Phase::Quiet {
            if !round(&shard, &tier).await {
                let quiet = shard.reached(Phase::Quiet);
                time::timeout(interval, quiet).await.ok(); // Err: the next round is due
            }
        }
    })
    .detach(); // ends when the core is quiet
}

/// Some steps for each partition. Whether there is more to do at once.
async fn round(shard: &Rc<Shard>, tier: &Tier) -> bool {
    let mut has_more = false;
    for owned in shard.partitions.all() {
        let mut rounds = 0;
        while tier.is_ready() && shard.phase() < Phase::Quiet {
            match step(shard, &owned).await {
                false => break,
                true if rounds == TIER_ROUNDS_MAX => {
                    has_more = true;
                    break;
                }
                true => rounds += 1,
            }
        }
    }
    has_more
}

async fn step(shard: &Shard, owned: &Owned) -> bool {
    let Ok(partition) = owned.partition() else { return false };
    match partition.tier(&shard.pace).await {
        Ok(has_more) => has_more,
        Err(error) => {
            tracing::warn!(log = owned.name(), partition = %owned.number(), %error, "not tiered");
            false
        }
    }
}
