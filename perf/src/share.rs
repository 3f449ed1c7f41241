//! A result beside what the machine allows.

use crate::quantity::to_f64;
use crate::result::{Ceiling, CeilingName, Run, Share, Unit};
use crate::scenario::{Arrivals, Level, Scenario, Storage, Workload};
use crate::statistics::median;

/// The shares of a run, the lowest ceiling first: that is the one it cannot pass.
pub(crate) fn shares(run: &Run, ceilings: &[Ceiling]) -> Vec<Share> {
    let Ok(scenario) = Scenario::read(&run.toml, toml::Table::new()) else { return Vec::new() };
    let value = |name: CeilingName| {
        let ceiling = ceilings.iter().find(|ceiling| ceiling.name == name)?;
        median(&ceiling.samples).filter(|value| *value > 0.0)
    };
    let Some((names, result)) = compared(run, &scenario) else { return Vec::new() };
    let mut known: Vec<(CeilingName, f64)> =
        names.iter().filter_map(|name| Some((*name, value(*name)?))).collect();
    // Rates only: of latencies there is one.
    known.sort_by(|one, other| one.1.total_cmp(&other.1));
    known.into_iter().map(|(ceiling, value)| Share { ceiling, ratio: result / value }).collect()
}

/// What a run is compared with, and its value in that unit.
fn compared(run: &Run, scenario: &Scenario) -> Option<(&'static [CeilingName], f64)> {
    use CeilingName::{
        DiskRead, DiskSync, DiskWriteFresh, DiskWriteInitialised, TcpEcho, TcpReceive, TcpSend,
    };
    let rate = to_f64(run.totals.bytes) / run.measured_seconds;
    let names: &[CeilingName] = match scenario.workload {
        Workload::CatchUp => match scenario.storage {
            Storage::Memory => &[TcpSend],
            Storage::Durable => &[TcpSend, DiskRead],
        },
        Workload::Append if single(scenario) => match (scenario.storage, scenario.durability) {
            (Storage::Memory, _) => &[TcpEcho],
            (Storage::Durable, Level::Synced) => &[DiskSync],
            (Storage::Durable, _) => return None,
        },
        Workload::Append if !run.open_loop => match scenario.storage {
            Storage::Memory => &[TcpReceive],
            Storage::Durable => &[TcpReceive, DiskWriteInitialised, DiskWriteFresh],
        },
        _ => return None,
    };
    if names.iter().any(|name| name.unit() == Unit::Nanoseconds) {
        let latency = run.latency.get("ack")?;
        return (latency.count > 0).then(|| (names, to_f64(latency.at(0.5))));
    }
    Some((names, rate))
}

/// Whether one record is on its way at a time.
fn single(scenario: &Scenario) -> bool {
    let alone = scenario.producers == 1 && scenario.per_arrival == 1;
    alone && scenario.arrivals == Arrivals::Closed { in_flight: 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::result::{Latency, Totals, Use};

    fn run(toml: &str) -> Run {
        let scenario = Scenario::read(toml, toml::Table::new()).unwrap();
        let ack = Latency { count: 1, min: 150, max: 150, mean: 150.0, buckets: vec![(150, 1)] };
        Run {
            scenario: scenario.name.clone(),
            toml: scenario.to_toml(),
            facts: Vec::new(),
            repetition: 0,
            open_loop: scenario.open_loop(),
            invalid: None,
            measured_seconds: 2.0,
            totals: Totals { bytes: 2000, ..Totals::default() },
            latency: BTreeMap::from([("ack".to_owned(), ack)]),
            series: Vec::new(),
            steps: Vec::new(),
            generator: Use::default(),
            server: None,
            memory: None,
            shares: Vec::new(),
        }
    }

    fn ceiling(name: CeilingName, sample: f64) -> Ceiling {
        Ceiling { name, detail: String::new(), samples: vec![sample], latency: None }
    }

    fn found(toml: &str) -> Vec<(CeilingName, f64)> {
        let ceilings = [
            ceiling(CeilingName::TcpReceive, 4000.0),
            ceiling(CeilingName::TcpSend, 5000.0),
            ceiling(CeilingName::DiskRead, 1250.0),
            ceiling(CeilingName::DiskWriteFresh, 2000.0),
            ceiling(CeilingName::DiskSync, 100.0),
            ceiling(CeilingName::TcpEcho, 50.0),
        ];
        shares(&run(toml), &ceilings).iter().map(|share| (share.ceiling, share.ratio)).collect()
    }

    #[test]
    fn ingest_is_held_against_the_lower_of_network_and_disk_first() {
        let expected = [(CeilingName::DiskWriteFresh, 0.5), (CeilingName::TcpReceive, 0.25)];
        assert_eq!(found("producers = 8"), expected);
        let memory = "producers = 8\nstorage = 'memory'\ndurability = 'memory'";
        assert_eq!(found(memory), [(CeilingName::TcpReceive, 0.25)]);
    }

    #[test]
    fn a_single_record_is_held_against_a_sync_or_an_echo() {
        assert_eq!(found("arrivals = 'closed:1'"), [(CeilingName::DiskSync, 1.5)]);
        let memory = "arrivals = 'closed:1'\nstorage = 'memory'\ndurability = 'memory'";
        assert_eq!(found(memory), [(CeilingName::TcpEcho, 3.0)]);
    }

    #[test]
    fn reads_are_held_against_the_lower_of_disk_and_network_first_and_a_paced_load_against_nothing()
    {
        let both = [(CeilingName::DiskRead, 0.8), (CeilingName::TcpSend, 0.2)];
        assert_eq!(found("workload = 'catch-up'"), both);
        let memory = "workload = 'catch-up'\nstorage = 'memory'\ndurability = 'memory'";
        assert_eq!(found(memory), [(CeilingName::TcpSend, 0.2)], "no disk is in the way");
        assert_eq!(found("arrivals = 'poisson:1k'"), []);
    }
}
