//! Obelisk: a counter whose value is the length of a file. This is the machine; [`counter`](crate::counter) is its shell
//! and [`obelisk_file`](crate::obelisk_file) its file.
//!
//! Numbers are reserved before they are dealt: what is dealt lies below what is durable, so no crash makes the counter
//! forget that it dealt it. How far ahead it reserves is its [`Mode`].
//!
//! ```text
//!       dealt        reserved, durable      asked for, in flight
//!   0 ..........| next ..............| durable ............| requested
//! ```
//!
//! | mode | no number twice | numbers skipped by a crash | durable work |
//! |---|---|---|---|
//! | `Always` | ever | those whose answer was on its way | a sync per request |
//! | `Group` | ever | those whose answer was on its way | a sync for all that wait |
//! | `Reserve` | ever | at most a block, and those whose answer was on its way | a sync per half block, ahead of need |
//! | `UnsafeInterval` | until a crash: then those of the last interval again | none | a sync per interval, in the background |
//! | `Memory` | until the process ends | none | none |
//!
//! `Group` does not wait for a group to form: what arrives during one sync shares the next. A timer would only delay the
//! first of them, for the sync itself takes longer than any wait that one would choose.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ops::Range;
use std::time::Duration;

use pyralog_runtime::time::Monotonic;

use crate::limits::{
    BLOCK_DEFAULT, BLOCK_MAX, INTERVAL_MAX, REFUSED_PAUSE, TAKE_COUNT_MAX, VALUE_MAX, WAITING_MAX,
};

#[cfg(test)]
mod tests;

/// What a counter does before a number leaves it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mode {
    /// Each request is made durable on its own.
    Always,
    /// All requests that wait are made durable together.
    Group,
    /// Numbers come from a durable reservation.
    Reserve {
        /// Numbers of a reservation, 1 to [`BLOCK_MAX`].
        block: u64,
        /// With fewer left than so many the next is made; at most `block`.
        low_water: u64,
    },
    /// Numbers are dealt at once and made durable in the background: **a crash repeats some**.
    UnsafeInterval {
        /// Time between two extensions, whole milliseconds, 1 ms to [`INTERVAL_MAX`].
        interval: Duration,
    },
    /// Nothing is durable: the counter begins again with the process.
    Memory,
}

impl Default for Mode {
    fn default() -> Self {
        Self::reserve(BLOCK_DEFAULT)
    }
}

impl Mode {
    /// Reservations of `block` numbers, the next made when less than half of one is left.
    #[must_use]
    pub const fn reserve(block: u64) -> Self {
        Self::Reserve { block, low_water: block.div_ceil(2) }
    }

    /// Whether its numbers are within their ranges.
    #[must_use]
    pub fn is_valid(self) -> bool {
        match self {
            Self::Always | Self::Group | Self::Memory => true,
            Self::Reserve { block, low_water } => {
                (1..=BLOCK_MAX).contains(&block) && low_water <= block
            }
            Self::UnsafeInterval { interval } => {
                let whole = interval.subsec_nanos().is_multiple_of(1_000_000);
                whole && !interval.is_zero() && interval <= INTERVAL_MAX
            }
        }
    }
}

/// Why a request was not put in line. It is handed back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unqueued<W> {
    /// [`WAITING_MAX`] wait already.
    Busy(W),
    /// There are not so many numbers left.
    Exhausted(W),
}

/// The counter. `W` stands for who waits: a place to answer to.
///
/// Invariants: `durable <= requested`; `next <= durable` in the modes that repeat nothing; `asked` is the sum of `line`,
/// and as many numbers are left above `next` and `floor`.
#[derive(Debug)]
pub struct Obelisk<W> {
    mode: Mode,
    /// First number not dealt yet.
    next: u64,
    /// Every number below this is on disk.
    durable: u64,
    /// Every number below this was asked for: above `durable` while an extension is in flight.
    requested: u64,
    /// Numbers below this may be dealt: `durable`, or all of them in the modes that do not care.
    dealable: u64,
    /// While `next` is not above this, nothing needs to be done for those who take without waiting.
    calm_until: u64,
    /// Where to go on as soon as that is durable: raised by an operator.
    floor: u64,
    /// Who waits, in the order of arrival, and for how many.
    line: VecDeque<(NonZeroU64, W)>,
    /// Numbers that they wait for.
    asked: u64,
    /// No extension before this that nobody waits for.
    not_before: Monotonic,
    /// Nothing was extended yet: a counter that nobody asks for a number costs nothing.
    is_fresh: bool,
}

impl<W> Obelisk<W> {
    /// A counter that has dealt every number below `value`. In the modes that repeat nothing it deals none before its
    /// first extension, whatever is on disk: see [`obelisk_file`](crate::obelisk_file).
    ///
    /// # Panics
    /// If the mode is not [valid](Mode::is_valid).
    #[must_use]
    pub fn new(mode: Mode, value: u64) -> Self {
        assert!(mode.is_valid(), "{mode:?}");
        let mut obelisk = Self {
            mode,
            next: value,
            durable: value,
            requested: value,
            dealable: value,
            calm_until: value,
            floor: value,
            line: VecDeque::new(),
            asked: 0,
            not_before: Monotonic::ZERO,
            is_fresh: true,
        };
        obelisk.settle(value);
        obelisk
    }

    /// Deals `count` consecutive numbers if nobody waits before and so many may be dealt: the way of every request but
    /// one in a block, and all that it costs.
    ///
    /// # Panics
    /// If `count` exceeds [`TAKE_COUNT_MAX`]: `wire` refuses such a request first.
    #[inline]
    pub fn try_take(&mut self, count: NonZeroU64) -> Option<Range<u64>> {
        assert!(count.get() <= TAKE_COUNT_MAX, "a take of {count}, at most {TAKE_COUNT_MAX}");
        if self.line.is_empty() { self.deal(count) } else { None }
    }

    #[inline]
    fn deal(&mut self, count: NonZeroU64) -> Option<Range<u64>> {
        let end = self.next.checked_add(count.get())?;
        if end > self.dealable {
            return None;
        }
        let dealt = self.next..end;
        self.next = end;
        Some(dealt)
    }

    /// Whether [`poll_extend`](Self::poll_extend) has something to say because of what was taken since it was asked.
    #[inline]
    #[must_use]
    pub fn is_stirred(&self) -> bool {
        self.next > self.calm_until
    }

    /// Puts a request in line. [`pop_dealt`](Self::pop_dealt) gives it back, or [`pop_waiting`](Self::pop_waiting).
    ///
    /// # Errors
    /// Hands `waiter` back if the line is full or the numbers are used up.
    ///
    /// # Panics
    /// If `count` exceeds [`TAKE_COUNT_MAX`].
    pub fn wait(&mut self, count: NonZeroU64, waiter: W) -> Result<(), Unqueued<W>> {
        assert!(count.get() <= TAKE_COUNT_MAX, "a take of {count}, at most {TAKE_COUNT_MAX}");
        if self.line.len() == WAITING_MAX {
            return Err(Unqueued::Busy(waiter));
        }
        let asked = self.asked + count.get();
        if self.next.max(self.floor).checked_add(asked).is_none() {
            return Err(Unqueued::Exhausted(waiter));
        }
        self.asked = asked;
        self.line.push_back((count, waiter));
        Ok(())
    }

    /// No number below `value` is to be dealt any more: true as soon as [`next`](Self::next) says so. Nothing happens to
    /// a counter that is above.
    ///
    /// # Panics
    /// If `value` exceeds [`VALUE_MAX`].
    pub fn raise(&mut self, value: u64) {
        assert!(value <= VALUE_MAX, "a raise to {value}, at most {VALUE_MAX}");
        if value <= self.dealable {
            self.next = self.next.max(value);
        }
        self.floor = self.floor.max(value);
    }

    /// The value to extend the file to now, if it is to be extended and is not already.
    pub fn poll_extend(&mut self, now: Monotonic) -> Option<u64> {
        self.calm_until = u64::MAX;
        if self.requested > self.durable {
            return None;
        }
        let is_needed = !self.line.is_empty() || self.floor > self.dealable;
        if !is_needed && !self.is_low() {
            self.calm_until = self.calm_level();
            return None;
        }
        if !is_needed && now < self.not_before {
            return None;
        }
        let from = self.next.max(self.floor);
        let value = match self.mode {
            Mode::Always => from + self.line.front().map_or(0, |(count, _)| count.get()),
            Mode::Group => from + self.asked,
            Mode::Reserve { block, .. } => from.saturating_add(self.asked).saturating_add(block),
            Mode::UnsafeInterval { interval } => {
                self.not_before = now.after(interval);
                from
            }
            Mode::Memory => return None,
        };
        if value <= self.durable {
            return None;
        }
        self.requested = value;
        Some(value)
    }

    /// When [`poll_extend`](Self::poll_extend) is to be asked again, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        let is_idle = self.requested == self.durable;
        (is_idle && self.is_low()).then_some(self.not_before)
    }

    /// Whether an extension that nobody waits for is due.
    fn is_low(&self) -> bool {
        self.next > self.calm_level()
    }

    /// How far the numbers may be dealt before the next extension is due.
    fn calm_level(&self) -> u64 {
        match self.mode {
            // The last reservation that there can be is the last.
            _ if self.durable == u64::MAX => u64::MAX,
            Mode::Reserve { .. } if self.is_fresh => u64::MAX,
            Mode::Reserve { low_water, .. } => self.durable.saturating_sub(low_water),
            Mode::UnsafeInterval { .. } => self.durable,
            Mode::Always | Mode::Group | Mode::Memory => u64::MAX,
        }
    }

    /// The extension has landed: every number below `value` is durable.
    ///
    /// # Panics
    /// If none was asked for, or it is less than what was.
    pub fn extended(&mut self, value: u64) {
        assert!(self.requested > self.durable, "nobody asked for an extension to {value}");
        assert!(value >= self.requested, "{} was asked for, not {value}", self.requested);
        self.is_fresh = false;
        self.settle(value);
    }

    /// The extension was refused: nothing has changed. Without a need it is not tried again for a while.
    ///
    /// # Panics
    /// If none was asked for.
    pub fn refused(&mut self, now: Monotonic) {
        assert!(self.requested > self.durable, "nobody asked for an extension");
        self.not_before = now.after(REFUSED_PAUSE);
        self.settle(self.durable);
        self.calm_until = u64::MAX;
        // A floor that cannot be made durable is given up: its operator is told.
        self.floor = self.next;
    }

    /// So much is durable and nothing is in flight.
    fn settle(&mut self, durable: u64) {
        self.durable = durable;
        self.requested = durable;
        self.dealable = match self.mode {
            Mode::Always | Mode::Group | Mode::Reserve { .. } => durable,
            Mode::UnsafeInterval { .. } | Mode::Memory => u64::MAX,
        };
        if self.floor <= self.dealable {
            self.next = self.next.max(self.floor);
        }
        self.calm_until = self.calm_level();
        assert!(self.next <= self.dealable, "{} dealt of {}", self.next, self.dealable);
    }

    /// The first in line with its numbers, if they may be dealt.
    pub fn pop_dealt(&mut self) -> Option<(W, Range<u64>)> {
        let (count, _) = self.line.front()?;
        let dealt = self.deal(*count)?;
        let (count, waiter) = self.line.pop_front()?;
        self.asked -= count.get();
        Some((waiter, dealt))
    }

    /// The first in line, who goes without.
    pub fn pop_waiting(&mut self) -> Option<W> {
        let (count, waiter) = self.line.pop_front()?;
        self.asked -= count.get();
        Some(waiter)
    }

    /// Deals nothing any more: what is durable has become unknown.
    pub fn stop(&mut self) {
        self.dealable = 0;
        self.calm_until = u64::MAX;
    }

    /// First number that was not dealt.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Every number below this is on disk.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// How its numbers are dealt.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
}
