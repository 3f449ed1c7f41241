//! Medians, spreads, and what pairs of measurements show about a ratio.
//!
//! Machines are noisy and noise of a machine is not normal: a neighbour wakes up and a minute is lost. So everything here
//! goes by rank. Two programs are compared pair by pair, where a pair was measured under the same conditions, and by the
//! logarithms of the ratios, so that twice as fast and half as fast are equally far from the same: exchanging the sides
//! gives the reciprocal of every number.
//!
//! | what | how |
//! |---|---|
//! | ratio | median of the pairs' ratios |
//! | interval | 95 %, percentiles of the medians of [`RESAMPLES`] bootstrap samples of the pairs, seeded |
//! | p | exact two-sided Wilcoxon signed-rank test of the logarithms (Wilcoxon 1945), ties by their mean rank |
//!
//! Few pairs cannot show much: five that all agree have p = 1/16. [`Paired::shows`] asks for that and no less.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use serde::Serialize;

/// Fewer pairs than this show nothing: four that all agree happen by chance in one case of eight.
pub const PAIRS_MIN: usize = 5;

/// Pairs that are looked at; the exact test takes time that grows with the cube of their number.
pub const PAIRS_MAX: usize = 200;

/// Bootstrap samples. With one less than 2,000 the 2.5 % and 97.5 % points are whole ranks. A median of few
/// pairs takes few values, so more samples change nothing that is shown.
const RESAMPLES: usize = 1_999;

/// Rank, from 0, of the lower end of the interval among the [`RESAMPLES`] medians: 2.5 % of 2,000, less one.
const LOW_RANK: usize = 49;

/// The same pairs give the same interval, whoever asks.
const SEED: u64 = 0x5079_7261_6c6f_6721;

/// Chance of a false claim that is accepted, where the number of pairs can go below it.
const LEVEL: f64 = 0.05;

/// What pairs of measurements say about the ratio of their second to their first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// How many.
    pub pairs: usize,
    /// Median of second / first.
    pub ratio: f64,
    /// Lower end of the 95 % interval of `ratio`. Invariant: `low <= ratio <= high`.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// Chance of ranks this far apart, or farther, if there were no difference.
    pub p: f64,
}

/// What a comparison shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// There are fewer than [`PAIRS_MIN`] pairs.
    TooFew,
    /// Nothing: there may be a difference, these pairs do not show it.
    Nothing,
    /// The second is smaller.
    Smaller,
    /// The second is larger.
    Larger,
}

impl Paired {
    /// Compares pairs of positive numbers, at most the first [`PAIRS_MAX`]. `None` without any, or if one is not positive
    /// and finite.
    #[must_use]
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let pairs = &pairs[..pairs.len().min(PAIRS_MAX)];
        let usable = |value: f64| value.is_finite() && value > 0.0;
        if !pairs.iter().all(|&(first, second)| usable(first) && usable(second)) {
            return None;
        }
        let logs: Vec<f64> = pairs.iter().map(|(first, second)| second.ln() - first.ln()).collect();
        let middle = median(&logs)?;
        let (low, high) = interval(&logs, middle);
        let ratio = middle.exp();
        Some(Self {
            pairs: pairs.len(),
            ratio,
            low: low.exp().min(ratio),
            high: high.exp().max(ratio),
            p: signed_rank(&logs),
        })
    }

    /// What may be said: a difference only if the interval leaves out 1 and the test agrees.
    #[must_use]
    pub fn shows(&self) -> Shown {
        if self.pairs < PAIRS_MIN {
            Shown::TooFew
        } else if self.p > level(self.pairs) {
            Shown::Nothing
        } else if self.high < 1.0 {
            Shown::Smaller
        } else if self.low > 1.0 {
            Shown::Larger
        } else {
            Shown::Nothing
        }
    }
}

/// Chance of a false claim that is accepted with so many pairs: one in twenty, or if they cannot reach that, the least that
/// they can show, which is that all of them agree.
#[must_use]
pub fn level(pairs: usize) -> f64 {
    LEVEL.max(2.0 * 0.5_f64.powi(i32::try_from(pairs).unwrap_or(i32::MAX)))
}

/// The middle one, the mean of the middle two; `None` without any.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    middle_of(&mut sorted)
}

/// First and third quartile, between neighbours by their distance; `None` without any.
#[must_use]
pub fn quartiles(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    // The place of a quarter is a whole number of quarters of a step.
    let place = |quarters: usize| {
        let (index, rest) = (quarters / 4, [0.0, 0.25, 0.5, 0.75][quarters % 4]);
        let next = sorted[(index + 1).min(last)];
        sorted[index] + (next - sorted[index]) * rest
    };
    Some((place(last), place(3 * last)))
}

/// Half the distance of the quartiles as a share of the median: how far a value may be from the next by noise alone.
/// `None` with fewer than two values, or around 0.
#[must_use]
pub fn spread(values: &[f64]) -> Option<f64> {
    let (low, high) = quartiles(values).filter(|_| values.len() > 1)?;
    let middle = median(values).filter(|middle| *middle != 0.0)?;
    Some((high - low) / 2.0 / middle.abs())
}

fn middle_of(values: &mut [f64]) -> Option<f64> {
    let half = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let (_, &mut upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values[..half].iter().copied().max_by(f64::total_cmp)?;
    Some(f64::midpoint(lower, upper))
}

/// The interval of the median of `logs`, which is `middle`.
fn interval(logs: &[f64], middle: f64) -> (f64, f64) {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut sample = vec![0.0; logs.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            sample.fill_with(|| logs[rng.usize(..logs.len())]);
            middle_of(&mut sample)
        })
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    let (low, high) = (medians[LOW_RANK], medians[RESAMPLES - 1 - LOW_RANK]);
    // A bootstrap sample leaves values out, so nothing but chance puts the median of all inside.
    (low.min(middle), high.max(middle))
}

/// Exact two-sided p of the signed-rank test. Zeros say nothing and are left out, as Wilcoxon does.
fn signed_rank(differences: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = differences.iter().copied().filter(|value| *value != 0.0).collect();
    sorted.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the rank, from 1: the mean rank of equal ones is then whole.
    let mut ranks = Vec::with_capacity(sorted.len());
    for equals in sorted.chunk_by(|a, b| a.abs().total_cmp(&b.abs()) == Ordering::Equal) {
        let before = ranks.len();
        ranks.extend(std::iter::repeat_n(2 * before + 1 + equals.len(), equals.len()));
    }
    let total: usize = ranks.iter().sum();
    let positive: usize =
        ranks.iter().zip(&sorted).filter(|(_, value)| **value > 0.0).map(|(rank, _)| rank).sum();
    // chance[sum]: that the ranks which fell on the positive side have this sum, if each falls there as by a coin.
    let mut chance = vec![0.0_f64; total + 1];
    chance[0] = 1.0;
    let mut reached = 0;
    for rank in ranks {
        reached += rank;
        for sum in (0..=reached).rev() {
            let before = if sum >= rank { chance[sum - rank] } else { 0.0 };
            chance[sum] = f64::midpoint(chance[sum], before);
        }
    }
    let extreme = positive.min(total - positive);
    (2.0 * chance[..=extreme].iter().sum::<f64>()).min(1.0)
}
