//! What hashing costs synced ingest: the same load on logs with and without proofs, in turn, on one server.
//!
//! The server's core has the first CPU. The thread that hashes has the others, unless `--server-cpus` names one alone: then the
//! core hashes, when it has nothing else to do.

use std::time::Duration;

use pyralog_client::PartitionId;

use super::Bench;
use crate::clock::Clock;
use crate::driver::client::{connect, explain};
use crate::failure::Failure;
use crate::quantity::to_f64;
use crate::run::{self, administer};
use crate::scenario::{Proofs, Scenario, built_in};

/// Names of the figures of a level: rate, 99th percentile of acknowledgements, processor time of the server's core alone and
/// of all its threads.
type Names = [&'static str; 4];

const LEVELS: [(Proofs, Names); 3] = [
    (Proofs::None, ["ingest, none", "ack p99, none", "core, none", "all threads, none"]),
    (Proofs::Hash, ["ingest, hash", "ack p99, hash", "core, hash", "all threads, hash"]),
    (Proofs::Signed, ["ingest, signed", "ack p99, signed", "core, signed", "all threads, signed"]),
];
const LAG: &str = "lag when the load ends";
const CAUGHT_UP: &str = "all of it hashed after";
const COVERED: &str = "checkpoint over all after";

/// How long each level is loaded in a round.
const SLICE: Duration = Duration::from_secs(3);
/// Between two looks at the tree.
const LOOK: Duration = Duration::from_millis(2);
/// Longest time for a tree to catch up.
const PATIENCE: Duration = Duration::from_mins(1);

/// How the tree came after the load.
struct Lag {
    records: u64,
    caught_up: Duration,
    covered: Duration,
}

/// The load: batches built before, so that the load's CPU is not what is measured.
fn scenario(bench: &Bench<'_>, integrity: Proofs) -> Result<Scenario, Failure> {
    let name = "ingest-1k-synced-frames";
    let frames = built_in(name).expect("it comes with the program")?;
    let (warm_up, measure) = (bench.span(Duration::from_millis(500)), bench.span(SLICE));
    Ok(Scenario { integrity, warm_up, measure, measure_bytes: 0, ..frames })
}

pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let server = bench.grounds.serve_on_all(&scenario(bench, Proofs::None)?)?;
    // Each log is written over the blocks of the one before; the first has none.
    for round in 0..=bench.rounds {
        for turn in 0..LEVELS.len() {
            let (level, names) = LEVELS[(turn + round as usize) % LEVELS.len()];
            let scenario = scenario(bench, level)?;
            bench.live.title(&format!("{} {round}/{}", names[0], bench.rounds));
            let setting = bench.grounds.setting(&server);
            let address = setting.address.clone();
            let look = |log: &str| match level {
                Proofs::None => Ok(None),
                _ => administer(lag(&address, log)).map(Some),
            };
            let (run, lag) =
                run::scenario_then(&scenario, round, (&setting, &mut bench.live), look)?;
            if round == 0 {
                continue;
            }
            let gigabytes = to_f64(run.totals.bytes) / 1e9;
            let figures = &mut bench.figures;
            figures.add(names[0], "GB/s", gigabytes / run.measured_seconds);
            let ack = run.latency.get("ack").map_or(0, |latency| latency.at(0.99));
            figures.add(names[1], "ms", to_f64(ack) / 1e6);
            let used = run.server.unwrap_or_default();
            let core = used.busiest_thread * run.measured_seconds;
            figures.add(names[2], "s per GB", core / gigabytes);
            figures.add(names[3], "s per GB", used.cpu_seconds / gigabytes);
            if let Some(lag) = lag.filter(|_| level == Proofs::Signed) {
                figures.add(LAG, "records", to_f64(lag.records));
                figures.add(CAUGHT_UP, "ms", lag.caught_up.as_secs_f64() * 1e3);
                figures.add(COVERED, "ms", lag.covered.as_secs_f64() * 1e3);
            }
        }
    }
    server.stop()?;
    let [none, hash, signed] = LEVELS.map(|(_, names)| names);
    for names in [hash, signed] {
        bench.figures.judge(names[0], Some(none[0]), Some("at least 0.97 x"));
        for (name, none) in names.into_iter().zip(none).skip(1) {
            bench.figures.judge(name, Some(none), None);
        }
    }
    Ok(())
}

/// Waits until everything is hashed, and then until a checkpoint says so.
async fn lag(address: &str, log: &str) -> Result<Lag, Failure> {
    let client = connect(address).await?;
    let (clock, mut caught_up, mut first) = (Clock::start(), None, None);
    loop {
        let state = client.checkpoint(log, PartitionId::new(0)).await;
        let state = state.map_err(|error| explain(&error))?;
        let passed = clock.elapsed();
        if let Some(fault) = state.fault {
            return Err(anyhow::anyhow!("the tree stands still: {fault}").into());
        }
        let records = *first.get_or_insert(state.lag_records);
        if state.lag_records == 0 {
            let caught_up = *caught_up.get_or_insert(passed);
            let covered = state.checkpoint.is_some_and(|made| made.end_offset == state.hashed);
            if covered {
                return Ok(Lag { records, caught_up, covered: passed });
            }
        }
        if passed > PATIENCE {
            return Err(anyhow::anyhow!("the tree did not catch up within a minute").into());
        }
        tokio::time::sleep(LOOK).await;
    }
}
