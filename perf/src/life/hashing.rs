//! What hashing costs synced ingest: the same load on logs with and without proofs, in turn, on one server.
//!
//! The server's core has the first CPU. The thread that hashes has the others, unless `--server-cpus` names one alone: then the
//! core hashes, when it has nothing else to do. The load has the others as well, so with two CPUs none is free for the
//! thread. Two things are measured besides for that: a load that leaves most of its CPU idle, and a core without any load.
//! The server's core does not spin: what it uses is work.

mod alone;

use std::time::Duration;

use pyralog_client::PartitionId;

use super::Bench;
use crate::clock::Clock;
use crate::driver::client::{connect, explain};
use crate::failure::Failure;
use crate::quantity::to_f64;
use crate::result::Run;
use crate::run::{self, Setting, administer};
use crate::scenario::{Arrivals, Proofs, Scenario, built_in};
use crate::usage::disk_read_bytes;

/// The figures of a level.
struct Names {
    rate: &'static str,
    ack: &'static str,
    /// Processor time of the server's core, and of all its threads.
    core: &'static str,
    threads: &'static str,
    /// What the server had from the disk.
    read: &'static str,
    paced_core: &'static str,
    paced_ack: &'static str,
}

const LEVELS: [(Proofs, Names); 3] = [
    (
        Proofs::None,
        Names {
            rate: "ingest, none",
            ack: "ack p99, none",
            core: "core, none",
            threads: "all threads, none",
            read: "disk reads, none",
            paced_core: "core, paced, none",
            paced_ack: "ack p99, paced, none",
        },
    ),
    (
        Proofs::Hash,
        Names {
            rate: "ingest, hash",
            ack: "ack p99, hash",
            core: "core, hash",
            threads: "all threads, hash",
            read: "disk reads, hash",
            paced_core: "core, paced, hash",
            paced_ack: "ack p99, paced, hash",
        },
    ),
    (
        Proofs::Signed,
        Names {
            rate: "ingest, signed",
            ack: "ack p99, signed",
            core: "core, signed",
            threads: "all threads, signed",
            read: "disk reads, signed",
            paced_core: "core, paced, signed",
            paced_ack: "ack p99, paced, signed",
        },
    ),
];
const LAG: &str = "lag when the load ends";
const CAUGHT_UP: &str = "all of it hashed after";
const COVERED: &str = "checkpoint over all after";

/// Records a second of the load that leaves most of its CPU idle: an eighth of what the server takes.
const PACED: f64 = 200_000.0;
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
    let spin = Duration::ZERO;
    Ok(Scenario { integrity, warm_up, measure, measure_bytes: 0, spin, ..frames })
}

pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let server = bench.grounds.serve_on_all(&scenario(bench, Proofs::None)?)?;
    // Each log is written over the blocks of the one before; the first has none.
    for round in 0..=bench.rounds {
        for turn in 0..LEVELS.len() {
            let (level, names) = &LEVELS[(turn + round as usize) % LEVELS.len()];
            bench.live.title(&format!("{} {round}/{}", names.rate, bench.rounds));
            let full = scenario(bench, *level)?;
            let paced = Scenario { arrivals: Arrivals::Constant { rate: PACED }, ..full.clone() };
            let setting = bench.grounds.setting(&server);
            let (run, read, lag) = loaded(bench, &setting, &full, round)?;
            let (quiet, _, _) = loaded(bench, &setting, &paced, round)?;
            if round == 0 {
                continue;
            }
            note(bench, names, (&run, &quiet));
            bench.figures.add(names.read, "MB", to_f64(read) / 1e6);
            if let Some(lag) = lag.filter(|_| *level == Proofs::Signed) {
                bench.figures.add(LAG, "records", to_f64(lag.records));
                bench.figures.add(CAUGHT_UP, "ms", lag.caught_up.as_secs_f64() * 1e3);
                bench.figures.add(COVERED, "ms", lag.covered.as_secs_f64() * 1e3);
            }
        }
    }
    server.stop()?;
    let [(_, none), (_, hash), (_, signed)] = &LEVELS;
    for names in [hash, signed] {
        bench.figures.judge(names.rate, Some(none.rate), Some("at least 0.97 x"));
        for (name, none) in [
            (names.ack, none.ack),
            (names.core, none.core),
            (names.threads, none.threads),
            (names.paced_core, none.paced_core),
            (names.paced_ack, none.paced_ack),
        ] {
            bench.figures.judge(name, Some(none), None);
        }
    }
    alone::measure(bench)
}

/// A load; bytes that the server had from the disk meanwhile, and how its tree came after it.
fn loaded(
    bench: &mut Bench<'_>,
    setting: &Setting,
    scenario: &Scenario,
    round: u32,
) -> Result<(Run, u64, Option<Lag>), Failure> {
    let read_bytes = || setting.server_pid.map_or(0, disk_read_bytes);
    let before = read_bytes();
    let look = |log: &str| {
        let read = read_bytes() - before;
        match scenario.integrity {
            Proofs::None => Ok((read, None)),
            _ => Ok((read, Some(administer(lag(&setting.address, log))?))),
        }
    };
    let (run, (read, lag)) = run::scenario_then(scenario, round, (setting, &mut bench.live), look)?;
    Ok((run, read, lag))
}

fn note(bench: &mut Bench<'_>, names: &Names, (full, paced): (&Run, &Run)) {
    let figures = &mut bench.figures;
    let gigabytes = |run: &Run| to_f64(run.totals.bytes) / 1e9;
    let used = |run: &Run| run.server.clone().unwrap_or_default();
    let core = |run: &Run| used(run).busiest_thread * run.measured_seconds / gigabytes(run);
    let ack = |run: &Run| run.latency.get("ack").map_or(0, |latency| latency.at(0.99));
    figures.add(names.rate, "GB/s", gigabytes(full) / full.measured_seconds);
    figures.add(names.ack, "ms", to_f64(ack(full)) / 1e6);
    figures.add(names.core, "s per GB", core(full));
    figures.add(names.threads, "s per GB", used(full).cpu_seconds / gigabytes(full));
    figures.add(names.paced_core, "s per GB", core(paced));
    figures.add(names.paced_ack, "ms", to_f64(ack(paced)) / 1e6);
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
