//! The pace of the background: how many bytes a second it may read and write on a core.
//!
//! A token bucket, kept as the moment at which it will be full again: taking bytes moves that moment on, and
//! whoever moved it beyond now waits until it has come. So a large piece may be taken at any time, and the
//! pieces after it wait for it; over any second at most the rate and a tenth of it is taken.

use std::cell::Cell;
use std::time::Duration;

use pyralog_runtime::time::{self, Monotonic};

/// What may be taken at once after a rest: this long of the rate.
const BURST: Duration = Duration::from_millis(100);

/// The bucket. Invariant: everything taken is paid for at `paid_at`.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    bytes_per_second: u64,
    paid_at: Monotonic,
}

impl Bucket {
    /// Takes `bytes`; returns how long to wait before they are used.
    fn take(&mut self, now: Monotonic, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid_at = self.paid_at.max(now) + cost;
        self.paid_at.since(now).saturating_sub(BURST)
    }
}

/// The pace of all background work of one core.
#[derive(Debug)]
pub struct Pace {
    bucket: Cell<Bucket>,
}

impl Pace {
    /// At most `bytes_per_second`, but for a tenth of a second at once.
    ///
    /// # Panics
    /// If that is zero.
    #[must_use]
    pub const fn new(bytes_per_second: u64) -> Self {
        assert!(bytes_per_second > 0, "a pace of nothing never ends");
        Self { bucket: Cell::new(Bucket { bytes_per_second, paid_at: Monotonic::ZERO }) }
    }

    /// Takes `bytes`, which are about to be read or written; resolves when it is their turn. Whoever drops it has taken
    /// them all the same.
    pub async fn take(&self, bytes: u64) {
        let mut bucket = self.bucket.get();
        let wait = bucket.take(time::now(), bytes);
        self.bucket.set(bucket);
        if !wait.is_zero() {
            time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::QuickCheck;

    use super::*;

    #[test]
    fn over_any_time_no_more_than_the_rate_and_a_burst_is_taken() {
        fn property(pieces: Vec<(u16, u16)>) {
            let mut bucket = Bucket { bytes_per_second: 1_000_000, paid_at: Monotonic::ZERO };
            let start = Monotonic::from_nanos(1 << 40);
            let (mut now, mut used) = (start, Vec::new());
            for (bytes, rest_us) in pieces {
                now = now + Duration::from_micros(u64::from(rest_us));
                now = now + bucket.take(now, u64::from(bytes));
                used.push((now, u64::from(bytes)));
            }
            for first in 0..used.len() {
                let mut sum = 0;
                for (at, bytes) in &used[first..] {
                    sum += bytes;
                    let micros = at.since(used[first].0).as_micros();
                    // The last piece may be longer than what was left, and is paid for afterwards.
                    assert!(
                        u128::from(sum - bytes) <= micros + 100_000 + 65_535,
                        "{sum} in {micros}"
                    );
                }
            }
        }
        QuickCheck::new().quickcheck(property as fn(_));
    }

    #[test]
    fn a_piece_after_a_large_one_waits_for_it_and_a_rest_buys_no_more_than_a_burst() {
        let mut bucket = Bucket { bytes_per_second: 1 << 20, paid_at: Monotonic::ZERO };
        let now = Monotonic::from_nanos(1 << 50);
        assert_eq!(bucket.take(now, 2 << 20), Duration::from_millis(1900));
        let later = now + Duration::from_secs(2);
        assert_eq!(bucket.take(later, 0), Duration::ZERO);
        assert_eq!(
            bucket.take(later + Duration::from_hours(1), 1 << 20),
            Duration::from_millis(900)
        );
    }
}
