//! Makes a failing scenario smaller: faults off, fewer clients, fewer logs, less time, as long as it still fails.

use std::time::Duration;

use crate::scenario::{Fault, Scenario};

/// Most runs that one shrinking may take.
pub const RUNS_MAX: usize = 150;

/// The smallest scenario found that `fails` still, beginning with one that does. Every candidate is one run.
pub fn shrink(scenario: &Scenario, mut fails: impl FnMut(&Scenario) -> bool) -> Scenario {
    let mut best = scenario.clone();
    // Goes round through the steps, staying at one for as long as it helps, until none has helped for a round.
    let (mut step, mut in_vain) = (0, 0);
    for _ in 0..RUNS_MAX {
        let mut smaller = candidates(&best);
        if in_vain >= smaller.len() {
            break;
        }
        step %= smaller.len();
        let candidate = smaller.swap_remove(step);
        if fails(&candidate) {
            (best, in_vain) = (candidate, 0);
        } else {
            (step, in_vain) = (step + 1, in_vain + 1);
        }
    }
    best
}

/// Scenarios that are one step smaller, the largest steps first.
fn candidates(from: &Scenario) -> Vec<Scenario> {
    let mut found = Vec::new();
    let mut offer = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = from.clone();
        change(&mut candidate);
        if candidate != *from {
            found.push(candidate);
        }
    };
    offer(&|candidate| candidate.faults.clear());
    let faults: Vec<Fault> = from.faults.iter().copied().collect();
    for half in faults.chunks(faults.len().div_ceil(2).max(1)) {
        offer(&|candidate| candidate.faults.retain(|fault| !half.contains(fault)));
    }
    if from.safety > Duration::from_millis(10) {
        offer(&|candidate| candidate.safety /= 2);
        offer(&|candidate| candidate.safety = candidate.safety * 3 / 4);
    }
    offer(&|candidate| candidate.churn = false);
    offer(&|candidate| candidate.ids = false);
    offer(&|candidate| candidate.counters.clear());
    offer(&|candidate| candidate.clients = 1);
    offer(&|candidate| candidate.shards = 1);
    if from.logs.len() > 1 {
        for index in 0..from.logs.len() {
            offer(&|candidate| drop(candidate.logs.remove(index)));
        }
    }
    if from.counters.len() > 1 {
        for index in 0..from.counters.len() {
            offer(&|candidate| drop(candidate.counters.remove(index)));
        }
    }
    for fault in &faults {
        offer(&|candidate| candidate.faults.retain(|kept| kept != fault));
    }
    offer(&|candidate| candidate.clients = candidate.clients.max(2) - 1);
    for index in 0..from.logs.len() {
        offer(&|candidate| candidate.logs[index].config.partitions = 1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_needs_is_all_that_is_left() {
        let seed = (0..10_000).find(|seed| {
            let scenario = Scenario::draw(*seed);
            scenario.has(Fault::Kill) && scenario.has(Fault::NetCut) && scenario.logs.len() > 1
        });
        let scenario = Scenario::draw(seed.unwrap());
        let least = shrink(&scenario, |candidate| candidate.has(Fault::Kill));
        assert_eq!(least.faults.iter().copied().collect::<Vec<_>>(), [Fault::Kill]);
        assert_eq!((least.clients, least.shards, least.logs.len()), (1, 1, 1));
        assert!(!least.churn && !least.ids && least.counters.is_empty());
        assert!(least.safety <= Duration::from_millis(10));
    }

    #[test]
    fn what_always_fails_ends_at_nothing_within_its_runs() {
        let mut runs = 0;
        let least = shrink(&Scenario::draw(11), |_| {
            runs += 1;
            true
        });
        assert!(least.faults.is_empty());
        assert!(runs <= RUNS_MAX);
    }

    #[test]
    fn a_failure_that_does_not_come_again_leaves_the_scenario_as_it_was() {
        let scenario = Scenario::draw(12);
        assert_eq!(shrink(&scenario, |_| false), scenario);
    }
}
