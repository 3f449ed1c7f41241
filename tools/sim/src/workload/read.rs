//! Reading and tailing, fast and slow.

use std::rc::Rc;
use std::time::Duration;

use pyralog_client::{ConsumerConfig, OnOutOfRange, StartFrom};
use pyralog_log::ids::{PartitionId, Timestamp};
use pyralog_runtime::rng::Rng;
use pyralog_runtime::time;

use super::{GLANCE, Shared};
use crate::client::{ReadEnd, ReadStep, Reader, SimClient};

/// Reads partitions of a log, one reader after the other, until it is dropped.
pub(super) async fn run(shared: Rc<Shared>, client: SimClient, (log, mut rng): (usize, Rng)) {
    let plan = &shared.logs[log];
    loop {
        let partition = u32::try_from(rng.below(plan.config.partitions.into()));
        let partition = PartitionId::new(partition.expect("a partition"));
        let config = ConsumerConfig {
            from: start(&mut rng),
            bytes_max: 1 << (12 + rng.below(8)),
            wait: Duration::from_millis(rng.below(1_000)),
            on_out_of_range: OnOutOfRange::Earliest,
            ..ConsumerConfig::default()
        };
        match Reader::open(&client, (&plan.name, partition), config).await {
            Ok(reader) => follow(reader, &mut rng).await,
            Err(_) => time::sleep(GLANCE).await,
        }
    }
}

/// Where a reader begins.
fn start(rng: &mut Rng) -> StartFrom {
    match rng.below(6) {
        0 | 1 => StartFrom::Latest,
        // By the clock of the client, which may be wrong.
        2 => StartFrom::Time(Timestamp::new(time::unix_us() - ago(rng))),
        _ => StartFrom::Earliest,
    }
}

/// Microseconds, up to two seconds.
fn ago(rng: &mut Rng) -> i64 {
    i64::try_from(rng.below(2_000_000)).expect("a few seconds")
}

/// The life of one reader.
async fn follow(mut reader: Reader, rng: &mut Rng) {
    let slow = rng.below(4) == 0;
    for _ in 0..=rng.below(300) {
        match reader.next().await {
            ReadStep::Batches(_) if slow => {
                time::sleep(Duration::from_millis(rng.below(400))).await;
            }
            ReadStep::Batches(_) => {}
            ReadStep::End(ReadEnd::Damaged(range) | ReadEnd::Corrupt(range, _)) => {
                reader.seek(StartFrom::Offset(range.end));
            }
            ReadStep::End(ReadEnd::OutOfRange { low, .. }) => {
                reader.seek(StartFrom::Offset(low));
                time::sleep(GLANCE).await;
            }
            ReadStep::End(_) => {
                time::sleep(GLANCE).await;
                return;
            }
        }
    }
}
