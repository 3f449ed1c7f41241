//! Elapsed time for progress, rates and pauses of the command line.
//!
//! The command line runs on ordinary threads outside the shards, so it may read the monotonic clock
//! and sleep; it does both here and nowhere else.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longest time that [`latencies`] tells apart: nothing we measure is allowed to take longer.
const LATENCY_NANOS_MAX: u64 = 100_000_000_000;

/// An empty histogram of nanoseconds, precise to three digits; record with `saturating_record`.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3).expect("the bounds and precision are valid")
}

/// A running stopwatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one now.
    #[expect(clippy::disallowed_methods, reason = "the only clock of this crate")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since it was started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Blocks this ordinary thread for `duration`.
#[expect(clippy::disallowed_methods, reason = "an ordinary thread, not a shard")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
