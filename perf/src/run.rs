//! A run: threads on the CPUs of the load that do what a scenario says, at the same time, and what comes of it.
//!
//! One thread for each CPU of the load, each with a Tokio runtime of its own: nothing is shared but a few counters. The
//! calling thread watches: it samples what the processes use, shows the seconds as they pass, and ends the run early if
//! somebody interrupts it or the server dies.

mod drive;
mod facts;
mod frames_load;
mod judge;
mod outcome;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::driver::client::{connect, recreate, remove};
use crate::failure::Failure;
use crate::limits::{MEASURE_MAX, STEP_DRAIN_MAX, STEPS_MAX};
use crate::live::Live;
use crate::quantity::{nanoseconds, to_f64};
use crate::result::{Run, Step};
use crate::scenario::{Arrivals, Driver, Scenario, Workload};
use crate::words;

use drive::{Job, drive};
use outcome::Outcome;

/// Name of the log of a benchmark.
const LOG: &str = "pyralog-bench";

/// Where a scenario runs.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The server.
    pub(crate) address: String,
    /// Its process, if that is on this machine.
    pub(crate) server_pid: Option<u32>,
    /// CPUs of the load.
    pub(crate) load_cpus: Vec<u32>,
    /// Set by a signal.
    pub(crate) interrupted: Arc<AtomicBool>,
}

impl Setting {
    fn check(&self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

/// Runs one repetition of a scenario and removes its log.
///
/// # Errors
/// If the server cannot be reached, or the run is interrupted. A run that went wrong is not an error but a result that
/// says so.
pub(crate) fn scenario(
    scenario: &Scenario,
    repetition: u32,
    setting: &Setting,
    live: &mut Live,
) -> Result<Run, Failure> {
    let (run, ()) = scenario_then(scenario, repetition, (setting, live), |_| Ok(()))?;
    Ok(run)
}

/// As [`scenario`]; before the log is removed, `after` may look at it by its name.
///
/// # Errors
/// As [`scenario`], and what `after` says.
pub(crate) fn scenario_then<T>(
    scenario: &Scenario,
    repetition: u32,
    (setting, live): (&Setting, &mut Live),
    after: impl FnOnce(&str) -> Result<T, Failure>,
) -> Result<(Run, T), Failure> {
    setting.check()?;
    administer(async {
        let client = connect(&setting.address).await?;
        recreate(&client, LOG, scenario).await
    })?;
    if scenario.readers() > 0 {
        live.note(&format!("filling the log with {}", words::bytes(to_f64(scenario.fill))));
        fill(scenario, setting)?;
    }
    let mut outcome = match scenario.arrivals {
        Arrivals::Search { .. } if scenario.appends() => search(scenario, setting, live)?,
        _ => drive(&job(scenario, setting), live)?,
    };
    setting.check()?;
    outcome.judge(scenario);
    let seen = after(LOG)?;
    // A server that has ended has no log to remove, and the result says that it did.
    administer(async { remove(&connect(&setting.address).await?, LOG).await }).ok();
    Ok((outcome.into_run(scenario, repetition), seen))
}

fn job(scenario: &Scenario, setting: &Setting) -> Job {
    Job {
        scenario: scenario.clone(),
        setting: setting.clone(),
        log: LOG.to_owned(),
        drain: crate::limits::DRAIN_MAX,
    }
}

/// Runs a few calls of the client on this thread.
pub(crate) fn administer<T>(calls: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(calls)
}

/// Writes what will be read: as fast as it goes, in large batches.
fn fill(scenario: &Scenario, setting: &Setting) -> Result<(), Failure> {
    let filling = Scenario {
        driver: Driver::Client,
        workload: Workload::Append,
        arrivals: Arrivals::Closed { in_flight: 4 },
        per_arrival: scenario.per_arrival.max(100),
        producers: scenario.producers.max(1),
        batch_bytes: 1 << 20,
        linger: Duration::from_millis(1),
        in_flight: 8,
        warm_up: Duration::ZERO,
        measure: MEASURE_MAX,
        measure_bytes: scenario.fill,
        ..scenario.clone()
    };
    let outcome = drive(&job(&filling, setting), &mut Live::silent())?;
    let errors: u64 = outcome.recorded.totals.errors.values().sum();
    if errors > 0 {
        let names: Vec<&str> = outcome.recorded.totals.errors.keys().map(String::as_str).collect();
        return Err(anyhow::anyhow!("filling the log failed: {}", names.join(", ")).into());
    }
    setting.check()
}

/// Constant rates, one after the other, until one is too much.
fn search(scenario: &Scenario, setting: &Setting, live: &mut Live) -> Result<Outcome, Failure> {
    let Arrivals::Search { from, factor, p99 } = scenario.arrivals else {
        return drive(&job(scenario, setting), live);
    };
    let mut all: Option<Outcome> = None;
    let mut rate = from;
    for number in 0..STEPS_MAX {
        let step = Scenario {
            arrivals: Arrivals::Constant { rate },
            seed: scenario.seed.wrapping_add(number.into()),
            ..scenario.clone()
        };
        let mut outcome = drive(&Job { drain: STEP_DRAIN_MAX, ..job(&step, setting) }, live)?;
        let found = outcome.step(rate);
        let enough = !found.kept_up || found.latency.at(0.99) > nanoseconds(p99);
        live.note(&step_line(&found));
        outcome.steps = vec![found];
        all = Some(match all {
            Some(mut all) => {
                all.add(outcome);
                all
            }
            None => outcome,
        });
        setting.check()?;
        rate *= factor;
        if enough {
            break;
        }
    }
    all.ok_or_else(|| anyhow::anyhow!("a search has steps").into())
}

fn step_line(step: &Step) -> String {
    format!(
        "step {}/s: did {}/s, p50 {}, p99 {}{}",
        words::many(step.offered_rate),
        words::many(step.rate),
        words::duration(step.latency.at(0.5)),
        words::duration(step.latency.at(0.99)),
        if step.kept_up { "" } else { ", did not keep up" }
    )
}
