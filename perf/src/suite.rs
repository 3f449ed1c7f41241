//! `pyralog bench` without a command: a picture of everything in about two minutes.
//!
//! Ceilings first, then each scenario in a short form, on a server and a directory of its own. The rate of the open loop
//! is half of what the first scenario reached.

use std::time::Duration;

use crate::args::{CeilingArgs, PlaceArgs};
use crate::bench::{Form, Grounds, file, on_own_server};
use crate::ceiling::{self, CeilingOptions};
use crate::clock::unix_us;
use crate::failure::Failure;
use crate::limits::RATE_MIN;
use crate::live::Live;
use crate::quantity::to_f64;
use crate::result::{Ceiling, Run};
use crate::scenario::{Arrivals, Scenario, built_in};
use crate::server::pin;
use crate::summary;

/// Time for all ceilings within the two minutes.
pub(crate) const CEILINGS: Duration = Duration::from_secs(20);

/// A scenario in its short form: seconds of warm-up and measurement.
struct Short {
    name: &'static str,
    warm_up: u64,
    measure: u64,
}

const HALF_RATE: &str = "half-rate-synced";

/// In the order in which they run; together 80 seconds, and about a second for each server.
const PICTURE: [Short; 9] = [
    Short { name: "ingest-1k-synced", warm_up: 2, measure: 8 },
    Short { name: "ingest-100b-synced", warm_up: 1, measure: 6 },
    Short { name: "single-synced", warm_up: 1, measure: 5 },
    Short { name: HALF_RATE, warm_up: 2, measure: 15 },
    Short { name: "tail", warm_up: 1, measure: 8 },
    Short { name: "catch-up", warm_up: 1, measure: 6 },
    Short { name: "catch-up-memory", warm_up: 1, measure: 4 },
    Short { name: "ingest-1k-memory", warm_up: 2, measure: 6 },
    Short { name: "single-memory", warm_up: 1, measure: 4 },
];

/// Bytes that the short form reads: twice what the server's caches hold.
const FILL_BYTES: u64 = 2 << 30;

/// Runs it.
pub(crate) fn run(place: &PlaceArgs, form: Form) -> Result<(), Failure> {
    let grounds = Grounds::new(place, 1)?;
    let mut live = Live::new(form == Form::Json);
    live.title("bench");
    if let Some(warning) = grounds.warning(1) {
        live.note(&warning);
    }
    let began_us = unix_us();
    live.note("measuring what the machine allows (20 s)");
    let ceilings = ceilings(&grounds, CEILINGS)?;
    let mut runs: Vec<Run> = Vec::new();
    for short in &PICTURE {
        let scenario = short.scenario(runs.first())?;
        runs.extend(on_own_server(&scenario, &grounds, &mut live)?);
    }
    let file = file((began_us, ceilings, runs), &grounds, &grounds.server_cpus(1));
    summary::write(&file, place, form)
}

impl Short {
    /// The scenario, given the first run of the picture.
    fn scenario(&self, first: Option<&Run>) -> Result<Scenario, Failure> {
        let full =
            built_in(self.name).ok_or_else(|| anyhow::anyhow!("no scenario {}", self.name))??;
        let mut scenario = Scenario {
            warm_up: Duration::from_secs(self.warm_up),
            measure: Duration::from_secs(self.measure),
            measure_bytes: 0,
            fill: full.fill.min(FILL_BYTES),
            ..full
        };
        if let (HALF_RATE, Some(first)) = (self.name, first) {
            let most = to_f64(first.totals.records) / first.measured_seconds;
            scenario.arrivals = Arrivals::Poisson { rate: (most / 2.0).round().max(RATE_MIN) };
        }
        Ok(scenario)
    }
}

/// The ceilings of the machine, on the CPUs that server and load will have.
pub(crate) fn ceilings(grounds: &Grounds, budget: Duration) -> Result<Vec<Ceiling>, Failure> {
    grounds.check()?;
    // What the watching thread was bound to for a run is too little here.
    pin(grounds.all_cpus())?;
    let first = |cpus: &[u32]| cpus.first().map_or(0, |cpu| *cpu as usize);
    let options = CeilingOptions {
        server_cpu: first(&grounds.server_cpus(1)),
        load_cpu: first(&grounds.load_cpus),
        ..CeilingOptions::new(grounds.parent.clone(), budget)
    };
    let ceilings = ceiling::measure(&options)?;
    grounds.check()?;
    Ok(ceilings)
}

/// `bench ceiling`.
pub(crate) fn ceilings_alone(args: &CeilingArgs, form: Form) -> Result<(), Failure> {
    let grounds = Grounds::new(&args.place, 1)?;
    let began_us = unix_us();
    let ceilings = ceilings(&grounds, Duration::from_secs(args.seconds))?;
    let file = file((began_us, ceilings, Vec::new()), &grounds, &grounds.server_cpus(1));
    if form == Form::Json || args.place.out.is_some() || args.place.store.is_some() {
        return summary::write(&file, &args.place, form);
    }
    summary::print(&ceiling::table(&file.ceilings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_takes_two_minutes() {
        let seconds: u64 = PICTURE.iter().map(|short| short.warm_up + short.measure).sum();
        // A server starts and stops within a second, and the log is filled at 0.5 GB/s at least.
        let all =
            seconds + PICTURE.len() as u64 * 2 + FILL_BYTES / 500_000_000 + CEILINGS.as_secs();
        assert!((90..=130).contains(&all), "{all} s");
    }

    #[test]
    fn every_scenario_of_the_picture_is_sound() {
        for short in &PICTURE {
            let scenario = short.scenario(None).unwrap();
            assert_eq!(Scenario::read(&scenario.to_toml(), toml::Table::new()).unwrap(), scenario);
        }
    }
}
