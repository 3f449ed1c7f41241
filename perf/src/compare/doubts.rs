//! What speaks against believing a comparison.

use std::collections::BTreeSet;

use super::{CeilingMoved, Comparison, Measure};
use crate::result::{Environment, ResultFile, Run};
use crate::statistics::{PAIRS_MAX, PAIRS_MIN, level};
use crate::words;

/// A ceiling that moved by less than this is a machine in its usual mood.
const DRIFT_MIN: f64 = 0.03;

/// What a file was built from, and when it was measured.
pub(super) fn origin(file: &ResultFile) -> String {
    let environment = &file.environment;
    let commit = environment.commit.as_deref().unwrap_or("unknown commit");
    format!("{} {commit}, {}", environment.version, words::date(file.began_us))
}

/// Before anything is compared: other machines, invalid runs, scenarios and repetitions of one side only.
pub(super) fn of_files(first: &ResultFile, second: &ResultFile) -> Vec<String> {
    let mut doubts = environments(&first.environment, &second.environment);
    for (side, file) in [("first", first), ("second", second)] {
        if file.environment.profile != "release" {
            doubts.push(format!(
                "the {side} was built as {:?}: its numbers say nothing about a release build",
                file.environment.profile
            ));
        }
        for run in &file.runs {
            if let Some(reason) = &run.invalid {
                doubts.push(format!(
                    "{}, repetition {} of the {side}, is invalid and left out: {reason}",
                    run.scenario,
                    u64::from(run.repetition) + 1
                ));
            }
        }
    }
    let keys = |file: &ResultFile| -> BTreeSet<(String, u32)> {
        file.runs.iter().map(|run| (run.scenario.clone(), run.repetition)).collect()
    };
    let (of_first, of_second) = (keys(first), keys(second));
    for (side, alone) in [("first", &of_first - &of_second), ("second", &of_second - &of_first)] {
        if !alone.is_empty() {
            let names: Vec<_> = alone
                .iter()
                .map(|(name, repetition)| {
                    format!("{name}, repetition {}", u64::from(*repetition) + 1)
                })
                .collect();
            doubts.push(format!("only in the {side}: {}", names.join("; ")));
        }
    }
    doubts
}

/// Differences that make machines incomparable.
fn environments(first: &Environment, second: &Environment) -> Vec<String> {
    let list = |cpus: &[u32]| format!("{cpus:?}");
    [
        ("kernel", first.kernel.clone(), second.kernel.clone()),
        ("processor", first.cpu.clone(), second.cpu.clone()),
        ("number of processors", first.cpus.to_string(), second.cpus.to_string()),
        ("server's processors", list(&first.server_cpus), list(&second.server_cpus)),
        ("load's processors", list(&first.load_cpus), list(&second.load_cpus)),
        ("memory", first.memory_bytes.to_string(), second.memory_bytes.to_string()),
        ("file system", first.filesystem.clone(), second.filesystem.clone()),
        ("build profile", first.profile.clone(), second.profile.clone()),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(what, before, after)| format!("the {what} differs: {before} and {after}"))
    .collect()
}

/// Doubts about one scenario.
pub(super) fn of_pairs(name: &str, pairs: &[(&Run, &Run)]) -> Vec<String> {
    let mut doubts = Vec::new();
    let differs = pairs.iter().find(|(first, second)| first.toml != second.toml);
    if let Some((first, second)) = differs {
        let lines = first.toml.lines().map(Some).chain(std::iter::repeat(None));
        let others = second.toml.lines().map(Some).chain(std::iter::repeat(None));
        let longest = first.toml.lines().count().max(second.toml.lines().count());
        let line = lines.zip(others).take(longest).find(|(one, other)| one != other);
        let (one, other) = line.unwrap_or_default();
        doubts.push(format!(
            "the scenarios called {name} are not the same: {:?} and {:?}",
            one.unwrap_or("(nothing)"),
            other.unwrap_or("(nothing)")
        ));
    }
    if pairs.len() > PAIRS_MAX {
        doubts.push(format!("{name}: only the first {PAIRS_MAX} repetitions are compared"));
    }
    doubts
}

/// After all is compared: how many claims chance alone would make, and whether the machine moved more than the results.
pub(super) fn of_outcome(comparison: &Comparison) -> Vec<String> {
    let mut doubts = Vec::new();
    if comparison.scenarios.is_empty() {
        doubts.push("no scenario has a valid repetition in both: nothing is compared".to_owned());
    }
    let lacking: Vec<_> = comparison
        .scenarios
        .iter()
        .filter(|scenario| scenario.lacks_pairs())
        .map(|scenario| scenario.name.as_str())
        .collect();
    if !lacking.is_empty() {
        doubts.push(format!(
            "too few repetitions of {}: run with --repetitions {PAIRS_MIN} or more",
            lacking.join(", ")
        ));
    }
    let chances = comparison.measures().map(|compared| level(compared.paired.pairs));
    let by_chance: f64 = chances.filter(|chance| *chance < 0.1).sum();
    let claims =
        comparison.measures().filter(|compared| compared.verdict.better().is_some()).count();
    if claims > 0 && by_chance >= 0.5 {
        doubts.push(format!(
            "{claims} of {} measures differ; about {by_chance:.0} would by chance alone: believe what repeats",
            comparison.measures().count()
        ));
    }
    for moved in &comparison.ceilings {
        let by = moved.ratio.ln().abs();
        if by > DRIFT_MIN.max(moved.spread.unwrap_or(0.0)) {
            doubts.extend(drift(comparison, moved, by));
        }
    }
    doubts
}

/// Says of a ceiling that moved which results moved less.
fn drift(comparison: &Comparison, moved: &CeilingMoved, by: f64) -> Option<String> {
    let share = Measure::Share(moved.name);
    let less: Vec<_> = comparison
        .scenarios
        .iter()
        .filter(|scenario| {
            let of_share = scenario.measures.iter().find(|compared| compared.measure == share);
            // A share is result / ceiling, so the result moved by what the share and the ceiling did together.
            of_share
                .is_some_and(|compared| (compared.paired.ratio.ln() + moved.ratio.ln()).abs() < by)
        })
        .map(|scenario| scenario.name.as_str())
        .collect();
    (!less.is_empty()).then(|| {
        format!(
            "a noisy machine: the ceiling of {} moved by {}, more than {} did; look at the shares",
            words::ceiling(moved.name),
            words::change(moved.ratio),
            less.join(", ")
        )
    })
}
