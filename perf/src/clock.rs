//! The time of the generator: nanoseconds since a run began, and waiting for one of them.
//!
//! Tokio's timers tick in milliseconds, so arrivals wait on a `timerfd` instead. The clock is Tokio's, which in
//! production is the monotonic clock and in tests one that a test moves.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context as _;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::limits::SPIN_BELOW;
use crate::quantity::nanoseconds;

/// Counts from the beginning of a run. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// One that begins so much later.
    pub(crate) fn later(self, by: Duration) -> Self {
        Self(self.0 + by)
    }

    /// Nanoseconds since the beginning, 0 before it.
    pub(crate) fn now_ns(self) -> u64 {
        nanoseconds(self.0.elapsed())
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// When that moment is; for Tokio's timers.
    pub(crate) fn at(self, ns: u64) -> Instant {
        self.0 + Duration::from_nanos(ns)
    }
}

/// Blocks this ordinary thread.
#[expect(clippy::disallowed_methods, reason = "a thread of the generator, not a shard")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Microseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "a result says when it was measured")]
pub(crate) fn unix_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Waits for a moment of a clock.
pub(crate) trait Pacer {
    /// Resolves at `due_ns` of `clock`, or a little later.
    async fn until(&mut self, clock: Clock, due_ns: u64);
}

/// Waits on a `timerfd`: to the microsecond, and the thread sleeps meanwhile.
pub(crate) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Makes one, in a Tokio runtime.
    #[expect(deprecated, reason = "what replaces it is unsafe; an OwnedFd keeps what it asks for")]
    pub(crate) fn new() -> anyhow::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("no timer")?;
        Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
    }

    /// Whether it was set; if not, the caller looks at the clock instead.
    fn set(&self, after_ns: u64) -> bool {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(after_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(after_ns % 1_000_000_000).unwrap_or(0),
        };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &spec).is_ok()
    }
}

impl Pacer for Timer {
    async fn until(&mut self, clock: Clock, due_ns: u64) {
        loop {
            let left = due_ns.saturating_sub(clock.now_ns());
            if left == 0 {
                return;
            }
            if left < nanoseconds(SPIN_BELOW) || !self.set(left) {
                tokio::task::yield_now().await;
                continue;
            }
            if let Ok(mut guard) = self.0.readable().await {
                // A read that finds nothing, because the event was an old one, is as good.
                rustix::io::read(self.0.get_ref(), &mut [0_u8; 8]).ok();
                guard.clear_ready();
            }
        }
    }
}
