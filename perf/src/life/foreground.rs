//! What a compaction costs the foreground: ingest beside one that runs and beside none, in turn, on one server.
//!
//! The server is at its defaults: compaction is of the background class and reads and writes no more than
//! `housekeeping.io_bytes_per_second`. Both loads find a second log with the same records; only that its compaction was
//! switched on tells them apart. What the server's process wrote beside the load says that the compaction did run.

use std::time::Duration;

use pyralog_client::{LogChanges, LogConfig, ProducerConfig, Record};

use super::Bench;
use crate::clock::pause;
use crate::driver::client::{connect, explain, remove};
use crate::failure::Failure;
use crate::quantity::to_f64;
use crate::result::Run;
use crate::run::{self, Setting, administer};
use crate::scenario::{Arrivals, Scenario, built_in};
use crate::usage::disk_read_bytes;

/// The log that is compacted.
const LOG: &str = "pyralog-bench-keys";
/// Records of it, of some 50 bytes: 256 MiB, which at 64 MiB/s are read twice and written half in ten seconds.
const RECORDS: u64 = 5_000_000;
const VALUE_BYTES: usize = 26;
/// Each key is there five times.
const KEYS: u64 = RECORDS / 5;
/// Records until the client's tasks may run.
const TURN: u64 = 1024;
/// How long each load lasts.
const SLICE: Duration = Duration::from_secs(3);
/// From the switch until it is measured.
const SETTLE: Duration = Duration::from_millis(300);
/// About half of what a core takes.
const PACED: f64 = 400_000.0;

/// Figures of a load: without and with a compaction.
struct Names {
    rate: [&'static str; 2],
    p50: [&'static str; 2],
    p99: [&'static str; 2],
    cpu: [&'static str; 2],
}

const CLOSED: Names = Names {
    rate: ["ingest, full", "ingest, full, compacting"],
    p50: ["p50, full", "p50, full, compacting"],
    p99: ["p99, full", "p99, full, compacting"],
    cpu: ["server's core, full", "server's core, full, c."],
};
const OPEN: Names = Names {
    rate: ["ingest, paced", "ingest, paced, compacting"],
    p50: ["p50, paced", "p50, paced, compacting"],
    p99: ["p99, paced", "p99, paced, compacting"],
    cpu: ["server's core, paced", "server's core, paced, c."],
};
const READ: &str = "compaction reads meanwhile";

/// A load of frames that were built before: as much as goes, or at a rate.
fn scenario(bench: &Bench<'_>, is_paced: bool) -> Result<Scenario, Failure> {
    let frames = built_in("ingest-1k-synced-frames").expect("it comes with the program")?;
    let arrivals = if is_paced { Arrivals::Poisson { rate: PACED } } else { frames.arrivals };
    let per_arrival = if is_paced { 100 } else { frames.per_arrival };
    let (warm_up, measure) = (bench.span(SETTLE), bench.span(SLICE));
    Ok(Scenario { arrivals, per_arrival, warm_up, measure, measure_bytes: 0, ..frames })
}

pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let server = bench.grounds.serve(&scenario(bench, false)?)?;
    let setting = bench.grounds.setting(&server);
    for round in 0..=bench.rounds {
        for (is_paced, names) in [(false, CLOSED), (true, OPEN)] {
            for turn in 0..2 {
                let side = (turn + round as usize) % 2;
                bench.live.title(&format!("{} {round}/{}", names.rate[side], bench.rounds));
                let scenario = scenario(bench, is_paced)?;
                let (run, read) = beside(bench, &scenario, &setting, side == 1)?;
                if round == 0 {
                    continue;
                }
                note(bench, &names, side, &run);
                if side == 1 {
                    bench.figures.add(READ, "MB/s", read);
                }
            }
        }
    }
    server.stop()?;
    for names in [CLOSED, OPEN] {
        for [without, with] in [names.rate, names.p50, names.p99, names.cpu] {
            bench.figures.judge(with, Some(without), None);
        }
    }
    Ok(())
}

fn note(bench: &mut Bench<'_>, names: &Names, side: usize, run: &Run) {
    let rate = to_f64(run.totals.bytes) / 1e9 / run.measured_seconds;
    bench.figures.add(names.rate[side], "GB/s", rate);
    for (name, quantile) in [(names.p50[side], 0.5), (names.p99[side], 0.99)] {
        let ack = run.latency.get("ack").map_or(0, |latency| latency.at(quantile));
        bench.figures.add(name, "ms", to_f64(ack) / 1e6);
    }
    let busy = run.server.as_ref().map_or(0.0, |used| used.busiest_thread);
    bench.figures.add(names.cpu[side], "%", busy * 100.0);
}

/// One load beside the other log, compacted or not, and megabytes a second that the server read from the disk.
fn beside(
    bench: &mut Bench<'_>,
    scenario: &Scenario,
    setting: &Setting,
    is_compacted: bool,
) -> Result<(Run, f64), Failure> {
    let records = bench.amount(RECORDS);
    administer(fill(&setting.address, records))?;
    if is_compacted {
        administer(switch_on(&setting.address))?;
        pause(SETTLE);
    }
    let read_bytes = || setting.server_pid.map_or(0, disk_read_bytes);
    let before = read_bytes();
    let run = run::scenario(scenario, 0, setting, &mut bench.live)?;
    // The load reads nothing.
    let read = read_bytes().saturating_sub(before);
    administer(async { remove(&connect(&setting.address).await?, LOG).await })?;
    let seconds = (scenario.warm_up + scenario.measure).as_secs_f64();
    Ok((run, to_f64(read) / 1e6 / seconds))
}

async fn fill(address: &str, records: u64) -> Result<(), Failure> {
    let client = connect(address).await?;
    remove(&client, LOG).await?;
    let said = |error| explain(&error);
    let config = LogConfig { segment_bytes: 32 << 20, ..LogConfig::default() };
    client.create_log(LOG, config).await.map_err(said)?;
    let mut producer = client.producer(LOG, ProducerConfig::default()).await.map_err(said)?;
    for number in 0..records {
        let (key, value) = ((number % KEYS).to_be_bytes(), [7; VALUE_BYTES]);
        let record = Record { key: Some(&key), ..Record::new(&value) };
        producer.send_detached(record).await.map_err(said)?;
        if number % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    producer.flush().await.map_err(said)?;
    producer.close().await.map_err(said)
}

/// Has the log compacted from now on.
async fn switch_on(address: &str) -> Result<(), Failure> {
    let changes = LogChanges { compaction: Some(true), ..LogChanges::default() };
    let altered = connect(address).await?.alter_log(LOG, changes).await;
    altered.map(drop).map_err(|error| explain(&error))
}
