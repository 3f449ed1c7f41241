//! Commitments into a signed log with one partition, until a signed checkpoint holds them all.
//!
//! A commitment is what `pyralog notarize` writes: 40 bytes that bind a salt and the hash, length and name of a file.
//! The hash of the file itself is not counted: it is whatever BLAKE3 takes for it.

use std::hint::black_box;
use std::time::Duration;

use pyralog_client::{Client, LogConfig, PartitionId, ProducerConfig, Record};
use pyralog_log::proof::notary::Committed;
use pyralog_wire::config::Integrity;

use super::Bench;
use crate::clock::Clock;
use crate::driver::client::{connect, explain, remove};
use crate::failure::Failure;
use crate::quantity::to_f64;
use crate::run::administer;
use crate::scenario::Scenario;

const LOG: &str = "pyralog-bench";
const MADE: &str = "commitments made alone";
const ACKNOWLEDGED: &str = "notarised, acknowledged";
const COVERED: &str = "notarised, in a signed root";

/// Commitments of a round.
const COUNT: u64 = 10_000_000;
/// Commitments until the client's tasks may run.
const TURN: u64 = 1024;
/// Between two looks at the checkpoint.
const LOOK: Duration = Duration::from_millis(2);
/// Longest time for a checkpoint over all of them.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let server = bench.grounds.serve_on_all(&Scenario::default())?;
    let count = bench.amount(COUNT);
    for round in 0..=bench.rounds {
        bench.live.title(&format!("notary {round}/{}", bench.rounds));
        bench.grounds.check()?;
        let made = made(count);
        let (acknowledged, covered) = administer(notarise(server.address(), count))?;
        if round > 0 {
            let rate = |taken: Duration| to_f64(count) / taken.as_secs_f64();
            bench.figures.add(MADE, "1/s", rate(made));
            bench.figures.add(ACKNOWLEDGED, "1/s", rate(acknowledged));
            bench.figures.add(COVERED, "1/s", rate(covered));
        }
    }
    server.stop()?;
    bench.figures.judge(COVERED, None, Some("at least 1 M/s"));
    Ok(())
}

/// The value of a record about a file that nobody has.
fn commitment(rng: &mut fastrand::Rng, number: u64) -> Vec<u8> {
    let (mut salt, mut hash) = ([0; 32], [0; 32]);
    rng.fill(&mut salt);
    rng.fill(&mut hash);
    let (name, note) = (String::new(), String::new());
    Committed { salt, hash, length: number, name, note }.value()
}

fn made(count: u64) -> Duration {
    let (mut rng, clock) = (fastrand::Rng::with_seed(1), Clock::start());
    for number in 0..count {
        black_box(commitment(&mut rng, number));
    }
    clock.elapsed()
}

/// Time until all were acknowledged, and until a signed checkpoint holds them.
async fn notarise(address: &str, count: u64) -> Result<(Duration, Duration), Failure> {
    let client = connect(address).await?;
    remove(&client, LOG).await?;
    let config = LogConfig { integrity: Integrity::Signed, ..LogConfig::default() };
    let said = |error| explain(&error);
    client.create_log(LOG, config).await.map_err(said)?;
    let mut producer = client.producer(LOG, ProducerConfig::default()).await.map_err(said)?;
    let mut rng = fastrand::Rng::with_seed(count);
    let clock = Clock::start();
    for number in 0..count {
        let value = commitment(&mut rng, number);
        producer.send_detached(Record::new(&value)).await.map_err(said)?;
        if number % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    producer.flush().await.map_err(said)?;
    let acknowledged = clock.elapsed();
    until_signed(&client, count, clock).await?;
    let covered = clock.elapsed();
    producer.close().await.map_err(said)?;
    remove(&client, LOG).await?;
    Ok((acknowledged, covered))
}

async fn until_signed(client: &Client, count: u64, clock: Clock) -> Result<(), Failure> {
    let began = clock.elapsed();
    loop {
        let state = client.checkpoint(LOG, PartitionId::new(0)).await;
        let state = state.map_err(|error| explain(&error))?;
        // Its signature was checked when it was read.
        if state.signed.is_some_and(|signed| signed.checkpoint().end_offset.get() >= count) {
            return Ok(());
        }
        if clock.elapsed().saturating_sub(began) > PATIENCE {
            return Err(
                anyhow::anyhow!("no checkpoint over {count} records within a minute").into()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}
