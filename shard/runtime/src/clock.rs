//! The only reader of clocks, and of the clocks of a simulated world.

use crate::sim;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The instant that is zero of the monotonic clock of this process.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// Time since the first call in this process.
#[expect(clippy::disallowed_methods, reason = "this module is the one that reads the clock")]
pub(crate) fn monotonic() -> Duration {
    if let Some(now) = sim::monotonic() {
        return now;
    }
    let now = Instant::now();
    now.saturating_duration_since(*ORIGIN.get_or_init(|| now))
}

/// Time since the Unix epoch, zero if the clock of the machine stands before it.
#[expect(clippy::disallowed_methods, reason = "this module is the one that reads the clock")]
pub(crate) fn wall() -> Duration {
    if let Some(now) = sim::wall() {
        return now;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
