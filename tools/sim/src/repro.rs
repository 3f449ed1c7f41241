//! The command that shows a scenario again.

use std::fmt::Write;

use crate::scenario::Scenario;

/// One line for a shell, from the root of the repository.
#[must_use]
pub fn line(scenario: &Scenario) -> String {
    let mut line = format!("cargo run --release -p pyralog-sim -- --seed {}", scenario.seed);
    let drawn = Scenario::draw(scenario.seed);
    if scenario.faults != drawn.faults {
        let names: Vec<_> = scenario.faults.iter().map(ToString::to_string).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(",") };
        // Faults that the seed does not have were put there by hand.
        let flag = if scenario.faults.is_subset(&drawn.faults) { "faults" } else { "force-faults" };
        put(&mut line, format_args!(" --{flag} {names}"));
    }
    if scenario.clients != drawn.clients {
        put(&mut line, format_args!(" --clients {}", scenario.clients));
    }
    if scenario.shards != drawn.shards {
        put(&mut line, format_args!(" --shards {}", scenario.shards));
    }
    if scenario.logs != drawn.logs {
        let logs: Vec<_> = scenario
            .logs
            .iter()
            .map(|log| format!("{}:{}", log.name, log.config.partitions))
            .collect();
        put(&mut line, format_args!(" --logs {}", logs.join(",")));
    }
    if scenario.churn != drawn.churn {
        line.push_str(" --no-churn");
    }
    if scenario.ids != drawn.ids {
        line.push_str(" --no-ids");
    }
    if scenario.counters != drawn.counters {
        let names: Vec<_> = scenario.counters.iter().map(|counter| &*counter.name).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(",") };
        put(&mut line, format_args!(" --counters {names}"));
    }
    if scenario.safety != drawn.safety {
        put(&mut line, format_args!(" --safety-ms {}", scenario.safety.as_millis()));
    }
    line
}

fn put(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_scenario_needs_its_seed_only() {
        let line = line(&Scenario::draw(5));
        assert_eq!(line, "cargo run --release -p pyralog-sim -- --seed 5");
    }

    #[test]
    fn what_was_narrowed_is_in_the_line() {
        let mut drawn = (0..1_000).map(Scenario::draw);
        let wide =
            |drawn: &Scenario| drawn.ids && !drawn.counters.is_empty() && !drawn.faults.is_empty();
        let mut scenario = drawn.find(wide).unwrap();
        scenario.faults.clear();
        scenario.clients += 1;
        scenario.logs[0].config.partitions = 9;
        scenario.ids = false;
        scenario.counters.clear();
        let line = line(&scenario);
        for part in
            [" --faults none", " --clients ", " --logs log-0:9", " --no-ids", " --counters none"]
        {
            assert!(line.contains(part), "{line}");
        }
    }
}
