//! How long a node usually takes to answer: the last answers, and the time that 99 of 100 of them came within.
//!
//! A window of exact samples, not a sketch. Leases are rare (one per block), so sorting a copy of 128 numbers per lease
//! costs nothing, the window forgets a bad hour after 128 answers, and the figure is exact: the second largest of 128.
//! A histogram (HDR) remembers everything alike and would have to be aged; a streaming estimate (P2, frugal) needs hundreds
//! of samples before its tail is worth anything.

use std::time::Duration;

use crate::limits::{HEDGE_DELAY_MAX, HEDGE_DELAY_MIN, LATENCY_SAMPLES_MAX, LATENCY_SAMPLES_MIN};

/// The last answers of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    /// At most [`LATENCY_SAMPLES_MAX`], a ring once it is full.
    samples: Vec<Duration>,
    /// Where the next one goes.
    next: usize,
}

impl Latencies {
    /// An answer took this long.
    pub(super) fn record(&mut self, took: Duration) {
        if self.samples.len() < LATENCY_SAMPLES_MAX {
            self.samples.push(took);
        } else {
            self.samples[self.next] = took;
        }
        self.next = (self.next + 1) % LATENCY_SAMPLES_MAX;
    }

    /// The time that 99 of 100 answers came within, if there were enough to say.
    fn p99(&self) -> Option<Duration> {
        if self.samples.len() < LATENCY_SAMPLES_MIN {
            return None;
        }
        let mut sorted = self.samples.clone();
        let rank = (sorted.len() * 99).div_ceil(100) - 1;
        let (_, p99, _) = sorted.select_nth_unstable(rank);
        Some(*p99)
    }

    /// How long to wait for an answer before another node is asked as well.
    pub(super) fn hedge_delay(&self) -> Duration {
        let usual = self.p99().unwrap_or(HEDGE_DELAY_MAX);
        usual.clamp(HEDGE_DELAY_MIN, HEDGE_DELAY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        samples.into_iter().for_each(|ms| latencies.record(Duration::from_millis(ms)));
        latencies
    }

    #[test]
    fn a_node_that_is_not_known_yet_gets_the_longest_delay() {
        assert_eq!(after([]).hedge_delay(), HEDGE_DELAY_MAX);
        assert_eq!(after([5; LATENCY_SAMPLES_MIN - 1]).hedge_delay(), HEDGE_DELAY_MAX);
        assert_eq!(after([5; LATENCY_SAMPLES_MIN]).hedge_delay(), Duration::from_millis(5));
    }

    #[test]
    fn one_slow_answer_of_a_hundred_does_not_move_the_delay_and_two_do() {
        let quick = LATENCY_SAMPLES_MAX - 2;
        let one = after([5; 127].into_iter().chain([60]));
        assert_eq!(one.hedge_delay(), Duration::from_millis(5));
        let two = after(std::iter::repeat_n(5, quick).chain([60, 60]));
        assert_eq!(two.hedge_delay(), Duration::from_millis(60));
    }

    #[test]
    fn a_bad_hour_is_forgotten_and_the_delay_has_a_floor_and_a_ceiling() {
        let mut latencies = after([5000; LATENCY_SAMPLES_MAX]);
        assert_eq!(latencies.hedge_delay(), HEDGE_DELAY_MAX);
        (0..LATENCY_SAMPLES_MAX).for_each(|_| latencies.record(Duration::from_micros(50)));
        assert_eq!(latencies.hedge_delay(), HEDGE_DELAY_MIN);
        assert_eq!(latencies.samples.len(), LATENCY_SAMPLES_MAX);
    }
}
