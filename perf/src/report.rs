//! Clock, histogram and the printed result.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Time since a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a generator measures real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// What one connection, or all of them together, saw.
pub(crate) struct Tally {
    /// Nanoseconds from request to answer.
    latency: Histogram<u64>,
    /// Requests answered.
    pub(crate) answers: u64,
    /// Requests refused; they are not in the histogram.
    pub(crate) refused: u64,
    /// Text of the first refusal.
    pub(crate) first_refusal: Option<String>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds are sound");
        Self { latency, answers: 0, refused: 0, first_refusal: None }
    }

    pub(crate) fn answered(&mut self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record(nanoseconds);
        self.answers += 1;
    }

    pub(crate) fn refused(&mut self, message: String) {
        self.refused += 1;
        self.first_refusal.get_or_insert(message);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.latency.add(&other.latency).expect("bounds are the same");
        self.answers += other.answers;
        self.refused += other.refused;
        self.first_refusal = self.first_refusal.take().or(other.first_refusal);
    }

    /// Percentiles in microseconds, one line.
    #[expect(clippy::cast_precision_loss, reason = "microseconds for people")]
    pub(crate) fn percentiles(&self) -> String {
        let at = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        format!(
            "p50 {:.1} us, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, p99.99 {:.1}, max {:.1}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(0.9999),
            at(1.0)
        )
    }
}
