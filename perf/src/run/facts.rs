//! A run's settings, and what else there is to say, in words.

use super::outcome::Outcome;
use crate::driver::client::client_facts;
use crate::quantity::{bytes_exact, duration_exact, to_f64};
use crate::scenario::{Driver, Level, Proofs, Scenario, Storage, Workload};
use crate::words;

/// Pairs of a name and a text.
pub(super) fn facts(scenario: &Scenario, outcome: &Outcome) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, text: String| facts.push((name.to_owned(), text));
    if !scenario.about.is_empty() {
        fact("about", scenario.about.clone());
    }
    let driver = match scenario.driver {
        Driver::Client => "the client that applications use".to_owned(),
        Driver::Frames => {
            "frames built before, without a session: the server without the client's work"
                .to_owned()
        }
    };
    fact("driver", driver);
    if scenario.appends() {
        fact("arrivals", arrivals(scenario));
    }
    fact(
        "record",
        format!("{}, {}, keys {}", scenario.record_size, scenario.payload, scenario.keys),
    );
    fact("log", log(scenario));
    if scenario.driver == Driver::Client && scenario.appends() {
        fact("client", client_facts(scenario));
    }
    fact("server", format!("{} shards, spin {}", scenario.shards, duration_exact(scenario.spin)));
    if scenario.workload == Workload::Mixed {
        let rate = to_f64(outcome.recorded.read.1) / outcome.measured_seconds;
        fact("read from the beginning", format!("{}/s", words::bytes(rate)));
    }
    if let Some((connections, bytes)) = outcome.idle {
        fact("idle connections", connections.to_string());
        fact("server memory per connection", words::bytes(to_f64(bytes)));
    }
    facts
}

fn arrivals(scenario: &Scenario) -> String {
    format!(
        "{} by {} producers over {} connections, {} records each",
        scenario.arrivals,
        scenario.producers,
        scenario.clients(),
        scenario.per_arrival
    )
}

fn log(scenario: &Scenario) -> String {
    let level = match scenario.durability {
        Level::Memory => "acknowledged from memory",
        Level::Written => "acknowledged when written",
        Level::Synced => "acknowledged when synced",
    };
    let place = match scenario.storage {
        Storage::Durable => {
            let proofs = match scenario.integrity {
                Proofs::None => "",
                Proofs::Hash => ", hashed",
                Proofs::Signed => ", hashed and signed",
            };
            format!("segments of {}{proofs}", bytes_exact(scenario.segment_bytes))
        }
        Storage::Memory => format!("in memory, {} each", bytes_exact(scenario.memory_bytes)),
    };
    format!("{} partitions, {level}, {place}", scenario.partitions)
}
