//! Running one world or many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pyralog_runtime::time;
use pyralog_sim::repro;
use pyralog_sim::run::{Outcome, run};
use pyralog_sim::scenario::Scenario;
use pyralog_sim::shrink::shrink;

use crate::args::Args;
use crate::report;

/// Runs one world. Says whether nothing is wrong.
pub(crate) fn one(args: &Args, seed: u64) -> Result<bool, String> {
    let scenario = args.scenario(seed)?;
    println!("{scenario}");
    let keep = args.trace || args.timeline.is_some();
    if keep {
        report::notes_from_tracing();
    }
    let outcome = run(&scenario, keep);
    if args.trace {
        report::print_trace(&outcome);
    }
    if args.history {
        report::print_history(&outcome);
    }
    if let Some(path) = &args.timeline {
        report::write_timeline(path, &scenario, &outcome)?;
    }
    report::print_summary(&outcome);
    report::print_violations(&outcome);
    if !outcome.violations.is_empty() && !args.no_shrink {
        narrow(&scenario, &outcome);
    }
    Ok(outcome.violations.is_empty())
}

/// Makes a failing scenario smaller and prints how to run it again.
fn narrow(scenario: &Scenario, outcome: &Outcome) {
    let oracle = outcome.violations.first().map(|violation| violation.oracle);
    let fails = |candidate: &Scenario| {
        let outcome = run(candidate, false);
        outcome.violations.iter().any(|violation| Some(violation.oracle) == oracle)
    };
    let least = shrink(scenario, fails);
    println!("smallest that fails the same way: {least}");
    println!("again: {}", repro::line(&least));
}

/// What all worlds of a hunt came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    polls: u64,
    acked: u64,
    boots: u64,
    elapsed: Duration,
    struck: BTreeMap<String, u64>,
    failed: Vec<(Scenario, Outcome)>,
}

impl Sum {
    fn add(&mut self, scenario: Scenario, outcome: Outcome) {
        self.seeds += 1;
        self.polls += outcome.polls;
        self.acked += outcome.acked;
        self.boots += outcome.boots;
        self.elapsed += outcome.elapsed;
        for (name, count) in &outcome.struck {
            *self.struck.entry(name.clone()).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            self.failed.push((scenario, outcome));
        }
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.polls += other.polls;
        self.acked += other.acked;
        self.boots += other.boots;
        self.elapsed += other.elapsed;
        for (name, count) in other.struck {
            *self.struck.entry(name).or_default() += count;
        }
        self.failed.extend(other.failed);
    }
}

/// Says which world it was that panicked.
struct NamedIfItPanics(u64);

impl Drop for NamedIfItPanics {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {} brings its thread down", self.0);
        }
    }
}

/// Runs many worlds. Says whether nothing is wrong with any.
pub(crate) fn many(args: &Args) -> Result<bool, String> {
    args.scenario(args.from)?; // Before any thread finds out that a flag is wrong.
    let started = time::now();
    let next = AtomicU64::new(args.from);
    let enough = AtomicBool::new(false);
    let failures = AtomicU64::new(0);
    let work = || {
        let mut sum = Sum::default();
        while !enough.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if args.count().is_some_and(|count| seed - args.from >= count)
                || args.time().is_some_and(|most| time::now().since(started) >= most)
            {
                break;
            }
            let Ok(scenario) = args.scenario(seed) else { continue };
            let named = NamedIfItPanics(seed);
            let outcome = run(&scenario, false);
            drop(named);
            if !outcome.violations.is_empty() {
                let failed = failures.fetch_add(1, Ordering::Relaxed) + 1;
                println!("seed {seed} fails: {}", outcome.violations[0]);
                enough.fetch_or(failed >= args.failures as u64, Ordering::Relaxed);
            }
            sum.add(scenario, outcome);
        }
        sum
    };
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads()).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(part) => sum.merge(part),
                Err(_) => return Err("a world brought its thread down: see above".to_owned()),
            }
        }
        Ok(())
    })?;
    print_sum(&sum, time::now().since(started));
    for (scenario, outcome) in &sum.failed {
        println!("\n{scenario}");
        report::print_violations(outcome);
        if !args.no_shrink {
            narrow(scenario, outcome);
        }
    }
    Ok(sum.failed.is_empty())
}

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
fn print_sum(sum: &Sum, took: Duration) {
    let seconds = took.as_secs_f64().max(0.001);
    println!(
        "{} seeds in {seconds:.1} s: {:.1} seeds/s, {:.0} times real time, {} records acknowledged, {} boots, {} polls",
        sum.seeds,
        sum.seeds as f64 / seconds,
        sum.elapsed.as_secs_f64() / seconds,
        sum.acked,
        sum.boots,
        sum.polls
    );
    for (name, count) in &sum.struck {
        println!("  {name:<28} {count:>9}");
    }
    if sum.failed.is_empty() {
        println!("nothing is wrong");
    } else {
        println!("{} seeds fail", sum.failed.len());
    }
}
