//! The machine of reading one partition: where it is, what to do after each answer.
//!
//! ```
//! use std::time::Duration;
//! use pyralog_client::backoff::Backoff;
//! use pyralog_client::cursor::{Cursor, Next};
//! use pyralog_client::{OnOutOfRange, StartFrom, Stop};
//! use pyralog_log::ids::Offset;
//! use pyralog_wire::message::{Fetched, FetchFrom};
//!
//! let backoff = Backoff { min: Duration::from_millis(10), max: Duration::from_secs(1) };
//! let mut cursor = Cursor::new(StartFrom::Earliest, Stop::AtEnd, OnOutOfRange::Error, backoff);
//! assert_eq!(cursor.from(), FetchFrom::Earliest);
//! let (low, high) = (Offset::new(5), Offset::new(9));
//! let fetched = Fetched { first_offset: low, next_offset: high, low, high };
//! assert_eq!(cursor.fetched(&fetched), Next::Finish, "it has all there was");
//! ```

use std::time::Duration;

use fastrand::Rng;
use pyralog_log::batch::BatchError;
use pyralog_log::ids::{Offset, Timestamp};
use pyralog_wire::message::{FetchFrom, Fetched};
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply, Retry};

use crate::backoff::Backoff;
use crate::config::{OnOutOfRange, StartFrom, Stop};
use crate::limits::READ_FAILURES_MAX;

#[cfg(test)]
mod tests;

/// What to do after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Hand out what came, then fetch again.
    Go,
    /// Hand out what came; it was the last.
    Finish,
    /// Fetch again after this delay, over the same connection.
    Retry(Duration),
    /// Ask for the route, then fetch again, both after this delay.
    Reroute(Duration),
    /// The position lies outside the partition; wait for another.
    OutOfRange {
        /// Oldest offset.
        low: Offset,
        /// Offset after the last committed record.
        high: Offset,
    },
    /// These records are damaged; wait to be told to skip them.
    Damaged {
        /// The first of them.
        first: Offset,
        /// The offset after the last.
        next: Offset,
    },
    /// These records arrived damaged, twice; wait to be told to skip them. Said by
    /// [`crate::reading::Reading`], which sees the bytes.
    Corrupt {
        /// The first that is not readable.
        first: Offset,
        /// The offset after the last that was fetched.
        next: Offset,
        /// What is wrong.
        source: BatchError,
    },
    /// The server says no, for good; wait for another position.
    Refused(ErrorReply),
    /// The server's answer leads nowhere.
    Nonsense,
}

/// The position in one partition. Invariant: it never goes back by itself.
#[derive(Clone, Debug)]
pub struct Cursor {
    at: StartFrom,
    stop: Stop,
    /// Where to end, once the first answer said so.
    end: Option<Offset>,
    on_out_of_range: OnOutOfRange,
    backoff: Backoff,
    failures: u32,
}

impl Cursor {
    /// A cursor that begins at `at`.
    #[must_use]
    pub const fn new(
        at: StartFrom,
        stop: Stop,
        on_out_of_range: OnOutOfRange,
        backoff: Backoff,
    ) -> Self {
        Self { at, stop, end: None, on_out_of_range, backoff, failures: 0 }
    }

    /// Where to fetch.
    #[must_use]
    pub fn from(&self) -> FetchFrom {
        self.at.into()
    }

    /// The offset to fetch, if it is known.
    #[must_use]
    pub const fn offset(&self) -> Option<Offset> {
        match self.at {
            StartFrom::Offset(offset) => Some(offset),
            StartFrom::Earliest | StartFrom::Latest | StartFrom::Time(_) => None,
        }
    }

    /// Where reading ends, once that is known.
    #[must_use]
    pub const fn end(&self) -> Option<Offset> {
        self.end
    }

    /// Goes to another position.
    pub fn seek(&mut self, at: StartFrom) {
        self.at = at;
        self.failures = 0;
    }

    /// Whether a batch with these offsets is to be handed out. The answer to a fetch starts with the
    /// batch that contains the position, so some may come too early; and what came after the end was
    /// fixed is not waited for.
    #[must_use]
    pub fn wants(&self, (base, next): (Offset, Offset)) -> bool {
        self.offset().is_none_or(|offset| next > offset) && self.end.is_none_or(|end| base < end)
    }

    /// Whether reading begins with a batch whose last created record was created then, unless it has
    /// begun before: records need not be in the order of their times.
    #[must_use]
    pub fn begins_with(&self, created: Timestamp) -> bool {
        match self.at {
            StartFrom::Time(time) => created >= time,
            StartFrom::Earliest | StartFrom::Latest | StartFrom::Offset(_) => true,
        }
    }

    /// An answer has the first batch that [begins](Cursor::begins_with) the reading, at this offset.
    pub fn begun(&mut self, base: Offset) {
        if matches!(self.at, StartFrom::Time(_)) {
            self.at = StartFrom::Offset(base);
        }
    }

    /// Fixes the end, when the first answer is here and before its batches are looked at.
    pub fn note_end(&mut self, fetched: &Fetched) {
        if self.stop == Stop::AtEnd && self.end.is_none() {
            self.end = Some(fetched.high);
        }
    }

    /// A fetch was answered, and all its batches were looked at.
    pub fn fetched(&mut self, fetched: &Fetched) -> Next {
        self.note_end(fetched);
        self.failures = 0;
        if self.offset().is_some_and(|offset| fetched.next_offset < offset) {
            return Next::Nonsense;
        }
        // A time in the future stands for the high watermark for now: keep waiting for the time.
        if !matches!(self.at, StartFrom::Time(_)) {
            self.at = StartFrom::Offset(fetched.next_offset);
        }
        match self.end {
            Some(end) if fetched.next_offset >= end => Next::Finish,
            _ => Next::Go,
        }
    }

    /// An answer begins to arrive: where to fetch next if its records prove sound, so that it can be
    /// asked for before they are here. `None` if that shows only then.
    #[must_use]
    pub fn ahead(&self, fetched: &Fetched) -> Option<FetchFrom> {
        let Fetched { first_offset, next_offset, high, .. } = *fetched;
        if matches!(self.at, StartFrom::Time(_)) {
            return None; // Its records say whether the time has come.
        }
        let reached = self.offset().unwrap_or(first_offset).max(first_offset);
        let end = self.end.or((self.stop == Stop::AtEnd).then_some(high));
        let goes_on = next_offset > reached && end.is_none_or(|end| next_offset < end);
        goes_on.then_some(FetchFrom::Offset(next_offset))
    }

    /// A fetch was refused.
    pub fn refused(&mut self, reply: ErrorReply, rng: &mut Rng) -> Next {
        match (reply.code(), reply.detail) {
            (Some(ErrorCode::OffsetOutOfRange), ErrorDetail::OffsetOutOfRange { low, high }) => {
                self.at = match self.on_out_of_range {
                    OnOutOfRange::Error => return Next::OutOfRange { low, high },
                    OnOutOfRange::Earliest => StartFrom::Earliest,
                    OnOutOfRange::Latest => StartFrom::Latest,
                };
                // At once, but not in a loop: the range may move on while we ask.
                self.failures += 1;
                Next::Retry(self.backoff.delay(self.failures - 1, rng))
            }
            (Some(ErrorCode::DataDamaged), ErrorDetail::DataDamaged { first, next }) => {
                Next::Damaged { first, next }
            }
            // The disk, or the object store behind the log, is away. Who follows the log waits until it is back; who reads to
            // its end wants to hear of it.
            (Some(ErrorCode::ReadFailed), _)
                if self.stop == Stop::AtEnd && self.failures >= READ_FAILURES_MAX =>
            {
                Next::Refused(reply)
            }
            (_, ErrorDetail::RetryAfter { ms }) => {
                Next::Retry(self.delay(rng).max(Duration::from_millis(ms)))
            }
            _ => match reply.retry {
                Retry::Never => Next::Refused(reply),
                Retry::AfterRefresh => Next::Reroute(self.delay(rng)),
                Retry::Same | Retry::AfterDelay | Retry::UnknownOutcome => {
                    Next::Retry(self.delay(rng))
                }
            },
        }
    }

    /// A fetch had no answer, or its batches arrived damaged.
    pub fn failed(&mut self, rng: &mut Rng) -> Next {
        Next::Reroute(self.delay(rng))
    }

    fn delay(&mut self, rng: &mut Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.delay(self.failures, rng)
    }
}
