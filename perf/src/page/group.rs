//! The runs of one scenario in one file, and what they come to together.

use std::collections::BTreeMap;

use crate::compare::Measure;
use crate::result::{Latency, ResultFile, Run};
use crate::statistics::{median, spread};

/// Valid runs of one scenario of one file, in the order in which they ran.
pub(super) struct Group<'a> {
    /// Index of the file.
    pub(super) file: usize,
    /// Name of the scenario.
    pub(super) scenario: &'a str,
    /// Its runs; at least one.
    pub(super) runs: Vec<&'a Run>,
}

/// A number of several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Value {
    /// The median.
    pub(super) median: f64,
    /// Half the distance of the quartiles as a share of the median; `None` of one.
    pub(super) spread: Option<f64>,
    /// Of how many.
    pub(super) runs: usize,
}

/// Names of all scenarios, in the order in which they ran, those of the first file first.
pub(super) fn scenarios(files: &[ResultFile]) -> Vec<&str> {
    let mut scenarios: Vec<&str> = Vec::new();
    for run in files.iter().flat_map(|file| &file.runs) {
        if !scenarios.contains(&run.scenario.as_str()) {
            scenarios.push(&run.scenario);
        }
    }
    scenarios
}

/// All groups, by scenario in the order of the first file that has it, then by file.
pub(super) fn groups(files: &[ResultFile]) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    for scenario in scenarios(files) {
        for (file, result) in files.iter().enumerate() {
            let of_it = |run: &&Run| run.scenario == scenario && run.invalid.is_none();
            let runs: Vec<_> = result.runs.iter().filter(of_it).collect();
            if !runs.is_empty() {
                groups.push(Group { file, scenario, runs });
            }
        }
    }
    groups
}

impl Group<'_> {
    /// A measure over the runs that have it.
    pub(super) fn value(&self, measure: &Measure) -> Option<Value> {
        let values: Vec<_> = self.runs.iter().filter_map(|run| measure.value(run)).collect();
        Some(Value { median: median(&values)?, spread: spread(&values), runs: values.len() })
    }

    /// The latency that a reader asks for first: of an append to its acknowledgement, of a record to its consumer.
    pub(super) fn main_latency(&self) -> Option<&str> {
        let names = &self.runs.first()?.latency;
        ["ack", "end-to-end", "fetch"]
            .into_iter()
            .find(|name| names.contains_key(*name))
            .or_else(|| names.keys().next().map(String::as_str))
    }

    /// Names of all its latencies, the main one first.
    pub(super) fn latencies(&self) -> Vec<&str> {
        let main = self.main_latency();
        let all = self.runs.first().into_iter().flat_map(|run| run.latency.keys());
        let others = all.map(String::as_str).filter(|name| Some(*name) != main);
        main.into_iter().chain(others).collect()
    }

    /// A latency of all runs together.
    pub(super) fn pooled(&self, name: &str) -> Latency {
        pool(self.runs.iter().filter_map(|run| run.latency.get(name)))
    }
}

/// Several histograms as one.
#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn pool<'a>(all: impl Iterator<Item = &'a Latency>) -> Latency {
    let mut buckets = BTreeMap::<u64, u64>::new();
    let mut pooled = Latency { min: u64::MAX, ..Latency::default() };
    let mut sum = 0.0;
    for latency in all.filter(|latency| latency.count > 0) {
        for &(value, count) in &latency.buckets {
            let total = buckets.entry(value).or_default();
            *total = total.saturating_add(count);
        }
        pooled.count = pooled.count.saturating_add(latency.count);
        pooled.min = pooled.min.min(latency.min);
        pooled.max = pooled.max.max(latency.max);
        sum += latency.mean * latency.count as f64;
    }
    pooled.min = pooled.min.min(pooled.max);
    pooled.mean = sum / pooled.count.max(1) as f64;
    pooled.buckets = buckets.into_iter().collect();
    pooled
}
