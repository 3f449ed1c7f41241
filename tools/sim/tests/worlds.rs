//! A few hundred worlds per run of the tests, other ones for every commit, and what must be true of the world itself.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyralog_sim::repro;
use pyralog_sim::run::run;
use pyralog_sim::scenario::Scenario;

/// Worlds per run of the tests. `PYRALOG_SIM_SEEDS` takes another number.
const SEEDS: u64 = 300;

/// The first seed: `PYRALOG_SIM_FROM`, or a number that comes of the commit that is checked out, so that every commit
/// explores worlds that none before it did. Without git, always the same.
fn first_seed() -> u64 {
    if let Some(from) = number_of("PYRALOG_SIM_FROM") {
        return from;
    }
    let commit = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let commit = commit.ok().filter(|output| output.status.success());
    let hex = commit.and_then(|output| String::from_utf8(output.stdout).ok());
    // 40 bits: far apart from each other and from those that people type.
    hex.and_then(|hex| u64::from_str_radix(hex.get(..10)?, 16).ok()).unwrap_or(1)
}

fn number_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_is_promised_holds_in_every_world_of_this_commit() {
    let (first, count) = (first_seed(), number_of("PYRALOG_SIM_SEEDS").unwrap_or(SEEDS));
    let next = AtomicU64::new(first);
    let work = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - first >= count || failed.len() == 3 {
                return failed;
            }
            let scenario = Scenario::draw(seed);
            let outcome = run(&scenario, false);
            if let Some(violation) = outcome.violations.first() {
                failed.push(format!("{violation}\n  {scenario}\n  {}", repro::line(&scenario)));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "worlds from seed {first} on fail:\n{}", failed.join("\n"));
}

#[test]
fn one_seed_always_makes_the_same_world() {
    for seed in [1, 2, 3, 7, 11, 19, 23, 42] {
        let scenario = Scenario::draw(seed);
        let (first, second) = (run(&scenario, false), run(&scenario, true));
        assert_eq!(first.hash, second.hash, "{scenario}");
        assert_eq!(first.polls, second.polls, "{scenario}");
        assert_eq!(first.history, second.history, "{scenario}");
    }
}

#[test]
fn other_seeds_make_other_worlds() {
    let hash = |seed| run(&Scenario::draw(seed), false).hash;
    assert_ne!(hash(1), hash(2));
}

#[test]
fn worlds_do_what_they_are_for() {
    let mut acked = 0;
    let mut boots = 0;
    for seed in 100..110 {
        let outcome = run(&Scenario::draw(seed), false);
        acked += outcome.acked;
        boots += outcome.boots;
        assert!(outcome.elapsed > Duration::from_millis(100));
    }
    assert!(acked > 2_000, "{acked} records acknowledged in ten worlds");
    assert!(boots >= 30, "{boots} boots in ten worlds");
}
