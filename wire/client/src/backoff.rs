//! Delays between attempts: exponential, capped, with jitter.

use std::time::Duration;

use fastrand::Rng;

/// How delays grow. Attempt `n` waits between half and all of `min * 2^(n-1)`, at most `max`.
///
/// The jitter keeps clients that lost the same server apart when it returns (Brooker, *Exponential
/// Backoff and Jitter*, 2015: "equal jitter", chosen because a floor matters more to a server that
/// said `Busy` than the last bit of spread).
///
/// ```
/// use std::time::Duration;
/// use pyralog_client::backoff::Backoff;
///
/// let backoff = Backoff { min: Duration::from_millis(10), max: Duration::from_secs(1) };
/// let mut rng = fastrand::Rng::with_seed(7);
/// let delay = backoff.delay(3, &mut rng);
/// assert!((Duration::from_millis(20)..=Duration::from_millis(40)).contains(&delay));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay before the second attempt, before jitter.
    pub min: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row; none after none.
    #[must_use]
    pub fn delay(&self, failures: u32, rng: &mut Rng) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        // From 2^31 on every `min` of at least a nanosecond is over any `max` we allow.
        let factor = 1_u32.checked_shl(failures - 1).unwrap_or(1 << 31);
        let whole = self.min.saturating_mul(factor).min(self.max);
        let half = whole / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(rng.u64(0..=spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { min: Duration::from_millis(10), max: Duration::from_millis(100) };

    #[test]
    fn delays_double_up_to_the_cap_and_keep_half_of_themselves() {
        let mut rng = Rng::with_seed(1);
        for (failures, whole) in [(1, 10), (2, 20), (3, 40), (4, 80), (5, 100), (40, 100)] {
            let whole = Duration::from_millis(whole);
            for _ in 0..100 {
                let delay = BACKOFF.delay(failures, &mut rng);
                assert!((whole / 2..=whole).contains(&delay), "{failures}: {delay:?}");
            }
        }
    }

    #[test]
    fn the_first_attempt_waits_for_nothing_and_seeds_decide_the_rest() {
        assert_eq!(BACKOFF.delay(0, &mut Rng::with_seed(1)), Duration::ZERO);
        let delays = |seed| -> Vec<_> {
            let mut rng = Rng::with_seed(seed);
            (1..10).map(|failures| BACKOFF.delay(failures, &mut rng)).collect()
        };
        assert_eq!(delays(9), delays(9));
        assert_ne!(delays(9), delays(10));
    }
}
