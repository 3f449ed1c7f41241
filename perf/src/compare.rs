//! Compares two results, pair by pair, and says what that shows and what speaks against believing it.
//!
//! Repetition k of a scenario in one file is paired with repetition k of the same scenario in the other: run alternately,
//! the two met the same mood of the machine. Each measure of each scenario gets a median ratio with its interval and a
//! verdict ([`crate::statistics`]); with fewer than [`PAIRS_MIN`] pairs there is no verdict. Ceilings are compared too. Where
//! they moved by more than the results did, the machine changed and not the program.

mod doubts;
mod measure;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::result::{CeilingName, ResultFile, Run};
use crate::statistics::{PAIRS_MIN, Paired, Shown, median, spread};

pub use measure::{Kind, Measure, Quantile};

/// What two results show beside each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What the first was built from, for people.
    pub first: String,
    /// What the second was built from.
    pub second: String,
    /// Reasons not to believe the rest, in sentences.
    pub warnings: Vec<String>,
    /// One for each scenario that both have, in the order of the first.
    pub scenarios: Vec<Scenario>,
    /// One for each ceiling that both have, in the order of the first.
    pub ceilings: Vec<CeilingMoved>,
}

/// One scenario in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Every measure that both have, in the order of [`Measure`].
    pub measures: Vec<Compared>,
}

/// One measure of one scenario in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Which.
    pub measure: Measure,
    /// Median of the first over all pairs, in the unit of the measure.
    pub first: f64,
    /// Median of the second.
    pub second: f64,
    /// What the pairs show; ratios are second / first.
    pub paired: Paired,
    /// In one word.
    pub verdict: Verdict,
}

/// What may be said of a measure. "Faster" and "slower" are of rates and latencies, "less" and "more" of what was used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The second is faster.
    Faster,
    /// The second is slower.
    Slower,
    /// The second uses less.
    Less,
    /// The second uses more.
    More,
    /// The pairs show no difference. There may be one.
    NoDifferenceShown,
    /// There are fewer than [`PAIRS_MIN`] pairs.
    TooFewRepetitions,
}

/// A ceiling in both. Its samples are no pairs, so there is no interval, only how they scatter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CeilingMoved {
    /// Which.
    pub name: CeilingName,
    /// Median of the first, in the unit of the ceiling.
    pub first: f64,
    /// Median of the second.
    pub second: f64,
    /// Second / first.
    pub ratio: f64,
    /// The larger spread of the two (half the quartile distance as a share of the median); `None` with single samples.
    pub spread: Option<f64>,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Less => "less",
            Self::More => "more",
            Self::NoDifferenceShown => "no difference shown",
            Self::TooFewRepetitions => "too few repetitions",
        }
    }

    /// Whether the second is better (`Some(true)`) or worse.
    #[must_use]
    pub fn better(self) -> Option<bool> {
        match self {
            Self::Faster | Self::Less => Some(true),
            Self::Slower | Self::More => Some(false),
            Self::NoDifferenceShown | Self::TooFewRepetitions => None,
        }
    }

    fn of(shown: Shown, kind: Kind) -> Self {
        match (shown, kind) {
            (Shown::TooFew, _) => Self::TooFewRepetitions,
            (Shown::Nothing, _) => Self::NoDifferenceShown,
            (Shown::Larger, Kind::Rate) | (Shown::Smaller, Kind::Latency) => Self::Faster,
            (Shown::Smaller, Kind::Rate) | (Shown::Larger, Kind::Latency) => Self::Slower,
            (Shown::Smaller, Kind::Used) => Self::Less,
            (Shown::Larger, Kind::Used) => Self::More,
        }
    }
}

/// Compares `second` with `first`.
#[must_use]
pub fn compare(first: &ResultFile, second: &ResultFile) -> Comparison {
    let mut comparison = Comparison {
        first: doubts::origin(first),
        second: doubts::origin(second),
        warnings: doubts::of_files(first, second),
        scenarios: Vec::new(),
        ceilings: ceilings(first, second),
    };
    for (name, pairs) in paired_runs(first, second) {
        if pairs.is_empty() {
            continue;
        }
        comparison.warnings.extend(doubts::of_pairs(name, &pairs));
        let measures = Measure::of(&pairs)
            .into_iter()
            .filter_map(|measure| compared(measure, &pairs))
            .collect();
        comparison.scenarios.push(Scenario { name: name.to_owned(), measures });
    }
    let doubts = doubts::of_outcome(&comparison);
    comparison.warnings.extend(doubts);
    comparison
}

/// Valid runs of both with the same scenario and repetition, by scenario in the order of the first file.
fn paired_runs<'a>(
    first: &'a ResultFile,
    second: &'a ResultFile,
) -> Vec<(&'a str, Vec<(&'a Run, &'a Run)>)> {
    let valid = |run: &&Run| run.invalid.is_none();
    let others: BTreeMap<_, _> = second
        .runs
        .iter()
        .filter(valid)
        .map(|run| ((run.scenario.as_str(), run.repetition), run))
        .collect();
    let mut scenarios: Vec<(&str, Vec<_>)> = Vec::new();
    for run in first.runs.iter().filter(valid) {
        let name = run.scenario.as_str();
        let Some(other) = others.get(&(name, run.repetition)) else { continue };
        match scenarios.iter_mut().find(|(known, _)| *known == name) {
            Some((_, pairs)) => pairs.push((run, *other)),
            None => scenarios.push((name, vec![(run, *other)])),
        }
    }
    scenarios
}

/// Only pairs in which both have a positive value have a ratio; without any there is nothing to say.
fn compared(measure: Measure, runs: &[(&Run, &Run)]) -> Option<Compared> {
    let pairs: Vec<(f64, f64)> = runs
        .iter()
        .filter_map(|(first, second)| Some((measure.value(first)?, measure.value(second)?)))
        .collect();
    let paired = Paired::of(&pairs)?;
    let (first, second): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    Some(Compared {
        first: median(&first)?,
        second: median(&second)?,
        verdict: Verdict::of(paired.shows(), measure.kind()),
        measure,
        paired,
    })
}

fn ceilings(first: &ResultFile, second: &ResultFile) -> Vec<CeilingMoved> {
    let mut moved = Vec::new();
    for ceiling in &first.ceilings {
        let Some(other) = second.ceilings.iter().find(|other| other.name == ceiling.name) else {
            continue;
        };
        let medians = (median(&ceiling.samples), median(&other.samples));
        let (Some(before), Some(after)) = medians else { continue };
        let spread = spread(&ceiling.samples).into_iter().chain(spread(&other.samples));
        moved.push(CeilingMoved {
            name: ceiling.name,
            first: before,
            second: after,
            ratio: after / before,
            spread: spread.max_by(f64::total_cmp),
        });
    }
    moved
}

impl Comparison {
    /// Measures of all scenarios.
    fn measures(&self) -> impl Iterator<Item = &Compared> {
        self.scenarios.iter().flat_map(|scenario| &scenario.measures)
    }
}

impl Scenario {
    /// Whether a measure has too few pairs for a verdict.
    #[must_use]
    pub fn lacks_pairs(&self) -> bool {
        self.measures.iter().any(|compared| compared.paired.pairs < PAIRS_MIN)
    }
}
