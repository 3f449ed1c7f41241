//! Watching the checkpoints of a log, each of which must be proven to continue the ones before, and having records proven.

use std::rc::Rc;
use std::time::Duration;

use pyralog_log::ids::PartitionId;
use pyralog_runtime::rng::Rng;
use pyralog_runtime::time;

use super::Shared;
use crate::client::{Believed, SimClient};

/// Asks for checkpoints and proofs of the partitions of a log, until it is dropped.
pub(super) async fn run(shared: Rc<Shared>, client: SimClient, (log, mut rng): (usize, Rng)) {
    let (plan, mut believed) = (&shared.logs[log], Believed::default());
    loop {
        time::sleep(Duration::from_millis(rng.below(300))).await;
        let partition = u32::try_from(rng.below(plan.config.partitions.into()));
        let partition = PartitionId::new(partition.expect("a partition"));
        // Err: there is no answer, and what is believed stays what it was.
        client.follow_checkpoints((&plan.name, partition), &mut believed).await.ok();
        // Of an old checkpoint as well, if the newest was not told.
        for _ in 0..rng.below(3) {
            let pick = |end| rng.below(end);
            client.prove_record((&plan.name, partition), &believed, pick).await.ok();
        }
    }
}
