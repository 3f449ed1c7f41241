//! Pacing of `produce --rate`: how long to wait before the next record may go.
//!
//! Record *n* is due at `n / rate` after the start, so a stall is caught up instead of being added to
//! every later record. Waits below a millisecond are saved up: sleeping costs more than that.

use std::time::Duration;

/// Shortest wait that is worth a sleep.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// A constant rate. Invariant: the rate is at least one record per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    records_per_second: u64,
}

impl Pace {
    /// A pace of that many records per second, at least one.
    pub(crate) fn new(records_per_second: u64) -> Self {
        Self { records_per_second: records_per_second.max(1) }
    }

    /// How long to wait before record number `sent` (from 0), `elapsed` after the start. `None` if
    /// it is due already, or so soon that a sleep would overshoot.
    pub(crate) fn wait(self, sent: u64, elapsed: Duration) -> Option<Duration> {
        let due_ns = u128::from(sent) * 1_000_000_000 / u128::from(self.records_per_second);
        let due = Duration::from_nanos(u64::try_from(due_ns).unwrap_or(u64::MAX));
        due.checked_sub(elapsed).filter(|wait| *wait >= WAIT_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_ahead_of_its_time_waits_and_a_late_one_does_not() {
        let pace = Pace::new(100);
        assert_eq!(pace.wait(0, Duration::ZERO), None);
        assert_eq!(pace.wait(10, Duration::from_millis(60)), Some(Duration::from_millis(40)));
        assert_eq!(pace.wait(10, Duration::from_millis(160)), None);
    }

    #[test]
    fn waits_below_a_millisecond_are_saved_up() {
        let pace = Pace::new(10_000);
        assert_eq!(pace.wait(5, Duration::ZERO), None);
        assert_eq!(pace.wait(10, Duration::ZERO), Some(Duration::from_millis(1)));
    }

    #[test]
    fn a_huge_count_does_not_overflow() {
        assert!(Pace::new(1).wait(u64::MAX, Duration::ZERO).is_some());
    }
}
