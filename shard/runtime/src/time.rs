//! Monotonic time, wall time, timers and deadlines.

use crate::{body, clock};
use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// A point in monotonic time: nanoseconds since the process started to look at the clock.
///
/// The same scale on every core and every thread of the process; means nothing in another process.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Monotonic(u64);

impl Monotonic {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);
    /// A point that never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero if it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point plus `duration`, at most [`Monotonic::MAX`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    /// Same as [`Monotonic::after`].
    fn add(self, duration: Duration) -> Self {
        self.after(duration)
    }
}

impl Sub for Monotonic {
    type Output = Duration;

    /// Same as [`Monotonic::since`].
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The deadline passed first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline passed")
    }
}

impl std::error::Error for Elapsed {}

/// The time now. Works on any thread.
#[must_use]
pub fn now() -> Monotonic {
    Monotonic(nanos(clock::monotonic()))
}

/// Wall time in microseconds since the Unix epoch. It may jump, also backwards. Works on any thread.
#[must_use]
pub fn unix_us() -> i64 {
    i64::try_from(clock::wall().as_micros()).unwrap_or(i64::MAX)
}

/// A future that is ready once its time has come; dropping it forgets the timer.
#[derive(Debug)]
#[must_use = "a timer does nothing until it is awaited"]
pub struct Sleep {
    body: body::Timer,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.body).poll(context)
    }
}

/// Waits for `duration`, never shorter.
///
/// # Panics
/// Outside a core.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { body: body::Timer::after(duration) }
}

/// Waits until `deadline`; at once if it has passed.
///
/// # Panics
/// Outside a core.
pub fn sleep_until(deadline: Monotonic) -> Sleep {
    sleep(deadline.since(now()))
}

/// Runs `future` for at most `duration`.
///
/// # Errors
/// [`Elapsed`] when the time ran out first; `future` was then dropped where it stood.
///
/// # Panics
/// Outside a core.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut timer = sleep(duration);
    std::future::poll_fn(move |context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut timer).poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// Runs `future` until `deadline` at most; see [`timeout`].
///
/// # Errors
/// [`Elapsed`] when the time ran out first.
///
/// # Panics
/// Outside a core.
pub async fn timeout_at<F: Future>(deadline: Monotonic, future: F) -> Result<F::Output, Elapsed> {
    timeout(deadline.since(now()), future).await
}

/// Whole nanoseconds, at most `u64::MAX` (584 years).
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
