//! A wall clock that is followed only as far as it can be believed.
//!
//! The time in an id never guards its uniqueness: the ticks of a slot rise whatever the clock does ([`crate::minter`]). It is
//! there for people and for order across slots. Two things it must not do: run backwards, and run so far ahead that a
//! mistaken clock uses up years of ids. So each reading is compared with the one before plus what the monotonic clock
//! says has passed since, and a clock that strays too far is no longer followed:
//!
//! | wall clock against what is expected | reading | state |
//! |---|---|---|
//! | more than [`BACK_MS_MAX`] behind | the monotonic clock at half its pace | [`Regressed`](State::Regressed) |
//! | behind | stays until the wall clock has caught up | [`Steady`](State::Steady) |
//! | ahead | the wall clock | [`Steady`](State::Steady) |
//! | more than [`LEAP_MS_MAX`] ahead | the monotonic clock | [`Leapt`](State::Leapt) |
//!
//! Nobody can tell whether the clock is wrong now or was wrong before. At half its pace the reading does not stand still, and
//! a wall clock that was put right meets it again; if it is the wall clock that is wrong, then it is expected, once mended,
//! where the monotonic clock says. A leap is not approached: it is the one mistake that cannot be taken back.
//!
//! Records are taken whatever the state, with ids by these readings. The id *service* refuses unless the state is steady:
//! its clients have other nodes to ask.

use std::fmt;
use std::time::Duration;

use pyralog_runtime::time::Monotonic;

use crate::scarab::{EPOCH_UNIX_MS, EXHAUSTED_UNIX_MS, TIME_MS_END};

/// How far a wall clock may step back and still be followed: what a time daemon corrects at once, and the most that a slot
/// may run ahead of its clock.
pub const BACK_MS_MAX: u64 = 5_000;
/// How far a wall clock may step forward and still be followed: an hour, so that a zone set wrong by one passes; at worst
/// a burnt hour in the seventy years that ids last.
pub const LEAP_MS_MAX: u64 = 3_600_000;
/// How long a server may have been down without being asked whether its clock is right: 30 days.
pub const DOWN_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// A regressed clock is followed at one part in so many of the pace of the monotonic one.
const REGRESSED_PACE: u64 = 2;

/// Whether the clock is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Steady,
    /// No: it shows less than it has shown.
    Regressed {
        /// By how many milliseconds.
        by_ms: u64,
    },
    /// No: it shows more than can have passed.
    Leapt {
        /// By how many milliseconds.
        by_ms: u64,
    },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady => f.write_str("steady"),
            Self::Regressed { by_ms } => write!(f, "regressed by {by_ms} ms"),
            Self::Leapt { by_ms } => write!(f, "leapt by {by_ms} ms"),
        }
    }
}

/// What time it is for ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds since the Scarab epoch. Never less than in an earlier reading.
    pub time_ms: u64,
    /// Whether the clock was followed.
    pub state: State,
}

/// What is known of a clock that shows a time long after the last one on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Nothing: it is not followed.
    #[default]
    Bounded,
    /// It is right: an operator says so, or there is nothing on record to compare it with.
    Vouched,
}

/// The clock shows a time for which there are no ids, so it was never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockUnset {
    /// What it shows.
    pub wall_unix_ms: u64,
}

impl fmt::Display for ClockUnset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the clock shows {} ms since 1970, and ids exist from {EPOCH_UNIX_MS} (2025-01-01) to \
             {EXHAUSTED_UNIX_MS} (2094-09-07): set the clock",
            self.wall_unix_ms
        )
    }
}

impl std::error::Error for ClockUnset {}

/// Reads a clock as far as it can be believed. Invariant: readings never run backwards, and none is below the floor.
#[derive(Clone, Debug)]
pub struct Discipline {
    /// The last reading.
    last_ms: u64,
    /// A reading from which the monotonic clock counts on: the last steady one, or one after a leap.
    anchor: (u64, Monotonic),
}

impl Discipline {
    /// Begins to read at a start, when ids with times below `floor_ms` (since the Scarab epoch) may have been dealt.
    ///
    /// A clock that shows more than [`DOWN_MS_MAX`] after the floor has leapt, unless the operator vouches for it.
    ///
    /// # Errors
    /// If the clock was never set.
    pub fn start(
        floor_ms: u64,
        trust: Trust,
        wall_unix_ms: u64,
        now: Monotonic,
    ) -> Result<Self, ClockUnset> {
        if !(EPOCH_UNIX_MS..EXHAUSTED_UNIX_MS).contains(&wall_unix_ms) {
            return Err(ClockUnset { wall_unix_ms });
        }
        let wall_ms = wall_unix_ms - EPOCH_UNIX_MS;
        let down_ms = wall_ms.saturating_sub(floor_ms);
        let believed = down_ms <= DOWN_MS_MAX || trust == Trust::Vouched;
        let start_ms = if believed { floor_ms.max(wall_ms) } else { floor_ms };
        Ok(Self { last_ms: start_ms, anchor: (start_ms, now) })
    }

    /// What time it is, when the machine's clocks show this.
    pub fn observe(&mut self, wall_unix_ms: u64, now: Monotonic) -> Reading {
        let (anchor_ms, anchored_at) = self.anchor;
        let passed_ms = now.as_nanos().saturating_sub(anchored_at.as_nanos()) / 1_000_000;
        let expected_ms = anchor_ms + passed_ms;
        let slowed_ms = anchor_ms + passed_ms / REGRESSED_PACE;
        // Before the epoch is far behind whatever was read since.
        let wall_ms = wall_unix_ms.saturating_sub(EPOCH_UNIX_MS);
        let behind_ms = self.last_ms.max(slowed_ms).saturating_sub(wall_ms);
        let ahead_ms = wall_ms.saturating_sub(expected_ms);
        let (time_ms, state) = if behind_ms > BACK_MS_MAX {
            (slowed_ms, State::Regressed { by_ms: behind_ms })
        } else if ahead_ms > LEAP_MS_MAX {
            (expected_ms, State::Leapt { by_ms: ahead_ms })
        } else {
            (wall_ms, State::Steady)
        };
        self.last_ms = self.last_ms.max(time_ms).min(TIME_MS_END);
        match state {
            State::Steady => self.anchor = (self.last_ms, now),
            // Whole milliseconds only: the rest of one counts the next time.
            State::Leapt { .. } => {
                self.anchor = (expected_ms, anchored_at + Duration::from_millis(passed_ms));
            }
            // Both the slowed and the expected time are counted from where the clock was last believed.
            State::Regressed { .. } => {}
        }
        Reading { time_ms: self.last_ms, state }
    }
}

#[cfg(test)]
mod tests;
