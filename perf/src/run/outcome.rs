//! What came of a run, on its way into a result.

use super::judge::{self, Asked, Facts};
use super::{facts, judge::Verdict};
use crate::limits::KEPT_UP_MIN;
use crate::quantity::to_f64;
use crate::recorder::{Kind, Recorded, latency_of};
use crate::result::{Run, Second, Step, Use};
use crate::scenario::{Arrivals, Scenario};

/// Numbers of a run.
pub(super) struct Outcome {
    pub(super) shown: Kind,
    pub(super) recorded: Recorded,
    pub(super) measured_seconds: f64,
    pub(super) series: Vec<Second>,
    pub(super) steps: Vec<Step>,
    pub(super) generator: Use,
    pub(super) server: Option<Use>,
    pub(super) server_ended: bool,
    /// Idle connections, and bytes of the server's memory for each.
    pub(super) idle: Option<(u32, u64)>,
    /// Why the numbers must not be used.
    pub(super) invalid: Option<String>,
}

impl Outcome {
    /// The outcome of one constant rate as a step of a search.
    pub(super) fn step(&self, offered_rate: f64) -> Step {
        let totals = &self.recorded.totals;
        let rate = to_f64(totals.records) / self.measured_seconds;
        let offered = to_f64(totals.offered_records) / self.measured_seconds;
        Step {
            offered_rate,
            rate,
            bytes_rate: to_f64(totals.bytes) / self.measured_seconds,
            kept_up: rate >= offered * KEPT_UP_MIN && totals.errors.is_empty(),
            latency: self.recorded.latency(self.shown),
        }
    }

    /// Appends the next step of a search. What counts as the run is their sum.
    pub(super) fn add(&mut self, next: Self) {
        let weight = |used: &Use, seconds: f64| used.busiest_thread * seconds;
        let seconds = self.measured_seconds + next.measured_seconds;
        let sum = |one: &Use, other: &Use| Use {
            cpu_seconds: one.cpu_seconds + other.cpu_seconds,
            busiest_thread: (weight(one, self.measured_seconds)
                + weight(other, next.measured_seconds))
                / seconds,
            rss_bytes_max: one.rss_bytes_max.max(other.rss_bytes_max),
            context_switches: one.context_switches + other.context_switches,
        };
        self.generator = sum(&self.generator, &next.generator);
        self.server = match (&self.server, &next.server) {
            (Some(one), Some(other)) => Some(sum(one, other)),
            _ => None,
        };
        self.measured_seconds = seconds;
        self.series.extend(next.series);
        self.steps.extend(next.steps);
        self.server_ended |= next.server_ended;
        self.recorded.add(next.recorded);
    }

    /// Decides whether the numbers may be used.
    pub(super) fn judge(&mut self, scenario: &Scenario) {
        let facts = Facts {
            asked: asked(scenario),
            late: self.recorded.latency(Kind::Late),
            latency: self.recorded.latency(self.shown),
            totals: &self.recorded.totals,
            busiest_thread: self.generator.busiest_thread,
            server_ended: self.server_ended,
        };
        self.invalid = match judge::judge(&facts) {
            Verdict::Valid => None,
            Verdict::Invalid(why) => Some(why),
        };
        self.ramp(scenario);
    }

    /// The parts of a ramp as steps.
    fn ramp(&mut self, scenario: &Scenario) {
        let count = self.recorded.parts.len();
        if count == 0 {
            return;
        }
        let seconds = self.measured_seconds / to_f64(count as u64);
        let step = |(histogram, totals): &(_, crate::result::Totals)| Step {
            offered_rate: to_f64(totals.offered_records) / seconds,
            rate: to_f64(totals.records) / seconds,
            bytes_rate: to_f64(totals.bytes) / seconds,
            kept_up: to_f64(totals.records) >= to_f64(totals.offered_records) * KEPT_UP_MIN,
            latency: latency_of(histogram),
        };
        if matches!(scenario.arrivals, Arrivals::Ramp { .. }) {
            self.steps = self.recorded.parts.iter().map(step).collect();
        }
    }

    /// As a result has it; shares of ceilings and the memory budget come later.
    pub(super) fn into_run(self, scenario: &Scenario, repetition: u32) -> Run {
        Run {
            scenario: scenario.name.clone(),
            toml: scenario.to_toml(),
            facts: facts::facts(scenario, &self),
            repetition,
            open_loop: scenario.open_loop(),
            invalid: self.invalid,
            measured_seconds: self.measured_seconds,
            latency: self.recorded.latencies(),
            totals: self.recorded.totals,
            series: self.series,
            steps: self.steps,
            generator: self.generator,
            server: self.server,
            memory: None,
            shares: Vec::new(),
        }
    }
}

fn asked(scenario: &Scenario) -> Asked {
    match scenario.arrivals {
        _ if !scenario.appends() && scenario.readers() == 0 => Asked::Nothing,
        _ if !scenario.open_loop() => Asked::Closed,
        Arrivals::Search { .. } => Asked::Searched,
        _ => Asked::Scheduled,
    }
}
