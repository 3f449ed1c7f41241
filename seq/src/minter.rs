//! Deals the ticks of a core's slots: each at most once, in this life and in every later one.
//!
//! A slot counts in ticks ([`crate::scarab`]): the next run of ids begins at the tick after the last one, or at the clock's if
//! that is later. So within a life no clock can make a slot repeat itself. Between lives only time is remembered: one
//! *high-water mark* for all slots of the core, in milliseconds, is on disk ahead of every id that is dealt, and
//! all slots begin the next life there. That costs one sync a second while ids are dealt, however many, and none otherwise.
//!
//! ```text
//!  dealt so far         durable = everything below may be dealt
//! ─────────────┤····················├──────────────────> time
//!              newest               └ extended before less than a second is left
//! ```
//!
//! A slot gives 8192 ids a millisecond; asked for more it runs ahead of the clock. Once it is [`TURN_MS`] ahead the next slot
//! takes over, and only if that is [`AHEAD_MS_MAX`] ahead as well has the caller to wait. Dealing is a comparison and an
//! addition, for one id and for a million.
//!
//! Rejected: a mark for each slot (a thousand files that say nearly the same), and a durable sequence instead of a durable
//! time (after the clock has gone back the same sequence in the same millisecond is one accident away).

use std::fmt;
use std::ops::Range;

use crate::limits::{AHEAD_MS_MAX, DEAL_COUNT_MAX, READY_COUNT_MAX};
use crate::pharaoh::{Block, SlotSet};
use crate::scarab::{IDS_PER_MS, SEQUENCE_BITS, ScarabId, Slot, TIME_MS_END, Tick};

/// How far a slot runs ahead of the clock before the next one takes over: what clocks of different nodes differ by anyway.
pub const TURN_MS: u64 = 10;
/// How far the high-water mark is set ahead of clock and ids: a sync every second, half of this, while ids are dealt.
///
/// A life that begins ahead of the clock reserves only as much as it has lived, see [`RESERVE_MS_MIN`].
pub const RESERVE_MS: u64 = 2_000;
/// How far it is set ahead by a life that has just begun where the mark of the last one was, ahead of the clock: a server that
/// is started again and again must not run away from its clock.
pub const RESERVE_MS_MIN: u64 = 50;
/// How long the mark is kept ahead after the last id, so that whoever asks every few seconds need not wait for the disk.
pub const KEEP_MS: u64 = 10_000;

const _: () = assert!(TURN_MS < AHEAD_MS_MAX);
const _: () = assert!(
    READY_COUNT_MAX / IDS_PER_MS < RESERVE_MS / 2,
    "the longest run fits what is left when the next extension begins"
);

/// Why there are no ids at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// All slots are as far ahead of the clock as they may be.
    Ahead {
        /// Milliseconds until one is not.
        wait_ms: u64,
    },
    /// The high-water mark must move first: see [`Minter::poll_extend`].
    NotDurable,
    /// The time that ids can say has ended.
    Exhausted,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead { wait_ms } => {
                write!(f, "the slots have dealt all ids of the next seconds: wait {wait_ms} ms")
            }
            Self::NotDurable => f.write_str("the high-water mark of ids is being written"),
            Self::Exhausted => f.write_str("the time that ids can say has ended"),
        }
    }
}

impl std::error::Error for NotReady {}

/// A slot and the number of its next tick.
#[derive(Clone, Copy, Debug)]
struct Lane {
    slot: Slot,
    next: u64,
}

/// The minter of one core. All times are milliseconds since the Scarab epoch.
///
/// Invariants: a lane's `next` never falls; every tick dealt lies below `durable_ms`; `durable_ms <= requested_ms`.
#[derive(Debug)]
pub struct Minter {
    lanes: Vec<Lane>,
    /// The lane whose turn it is.
    turn: usize,
    /// Ticks of that lane that [`take`](Self::take) may deal.
    promised: Range<u64>,
    /// The tick after the newest one dealt, over all lanes.
    newest: u64,
    /// Everything below is reserved on disk.
    durable_ms: u64,
    /// Everything below was asked to be: above `durable_ms` while an extension is in flight.
    requested_ms: u64,
    /// Up to where the mark must reach for the run that was asked for and not dealt.
    wanted_ms: u64,
    /// When it was made, or so long before that it may reserve all at once.
    started_ms: u64,
    /// When ids were last asked for.
    asked_ms: u64,
    /// How many ids were dealt.
    dealt: u64,
}

impl Minter {
    /// A minter that deals nothing from before `floor_ms`, the highest mark of all former lives, and nothing at all until the
    /// mark was moved. Being made at `now_ms` counts as being asked for ids.
    ///
    /// # Panics
    /// If there is no slot.
    #[must_use]
    pub fn new(slots: &SlotSet, floor_ms: u64, now_ms: u64) -> Self {
        assert!(!slots.is_empty(), "a minter without slots");
        let floor = floor_ms << SEQUENCE_BITS;
        Self {
            lanes: slots.iter().map(|slot| Lane { slot, next: floor }).collect(),
            turn: 0,
            promised: floor..floor,
            newest: floor,
            durable_ms: floor_ms,
            requested_ms: floor_ms,
            wanted_ms: floor_ms,
            started_ms: if now_ms > floor_ms { now_ms.saturating_sub(RESERVE_MS) } else { now_ms },
            asked_ms: now_ms,
            dealt: 0,
        }
    }

    /// A minter without a disk: as long as it lives it repeats nothing, from `floor_ms` on.
    ///
    /// # Panics
    /// If there is no slot.
    #[must_use]
    pub fn in_memory(slots: &SlotSet, floor_ms: u64) -> Self {
        let boundless = TIME_MS_END;
        Self {
            durable_ms: boundless,
            requested_ms: boundless,
            ..Self::new(slots, floor_ms, floor_ms)
        }
    }

    /// Makes sure that [`take`](Self::take) can deal `count` ids, all of one slot; that replaces what an earlier call made sure
    /// of. What is not taken is not lost.
    ///
    /// # Errors
    /// If they cannot be dealt yet.
    ///
    /// # Panics
    /// If `count` is over [`READY_COUNT_MAX`].
    #[inline]
    pub fn ready(&mut self, count: u64, now_ms: u64) -> Result<(), NotReady> {
        assert!(count <= READY_COUNT_MAX, "{count} ids, at most {READY_COUNT_MAX}");
        self.asked_ms = self.asked_ms.max(now_ms);
        self.promised.end = self.promised.start;
        if self.ahead_ms(now_ms) > TURN_MS {
            self.turn = (self.turn + 1) % self.lanes.len();
            let ahead_ms = self.ahead_ms(now_ms);
            if ahead_ms > AHEAD_MS_MAX {
                return Err(NotReady::Ahead { wait_ms: ahead_ms - AHEAD_MS_MAX });
            }
        }
        let now = now_ms.min(TIME_MS_END) << SEQUENCE_BITS;
        let first = self.lanes[self.turn].next.max(now);
        let end = first + count;
        if end > self.durable_ms << SEQUENCE_BITS {
            if end > TIME_MS_END << SEQUENCE_BITS {
                return Err(NotReady::Exhausted);
            }
            self.wanted_ms = end.div_ceil(IDS_PER_MS);
            return Err(NotReady::NotDurable);
        }
        self.promised = first..end;
        Ok(())
    }

    /// Deals the next `count` of the ids that [`ready`](Self::ready) made sure of, and returns the first; the others follow it
    /// tick by tick ([`ScarabId::nth`]). No other call may come between.
    ///
    /// # Panics
    /// If `count` is zero or more than that.
    #[inline]
    pub fn take(&mut self, count: u32) -> ScarabId {
        let Range { start: first, end } = self.promised;
        assert!(count > 0, "a run of no ids");
        assert!(u64::from(count) <= end - first, "{count} ids of {} that are ready", end - first);
        let lane = &mut self.lanes[self.turn];
        assert!(lane.next <= first, "tick {first} after {}", lane.next);
        lane.next = first + u64::from(count);
        self.promised.start = lane.next;
        self.newest = self.newest.max(lane.next);
        self.dealt += u64::from(count);
        ScarabId::new(lane.slot, Tick::new(first).expect("it lies below the high-water mark"))
    }

    /// Deals `count` ids to whoever will mint them.
    ///
    /// # Errors
    /// If they cannot be dealt yet.
    ///
    /// # Panics
    /// If `count` is zero or over [`DEAL_COUNT_MAX`].
    #[inline]
    pub fn deal(&mut self, count: u32, now_ms: u64) -> Result<Block, NotReady> {
        assert!(count <= DEAL_COUNT_MAX, "a block of {count} ids, at most {DEAL_COUNT_MAX}");
        self.ready(u64::from(count), now_ms)?;
        let first = self.take(count);
        Ok(Block::new(first.slot(), first.tick(), count).expect("its ticks were dealt"))
    }

    /// The high-water mark to write now, if less than half of the reserve is left, ids were asked for lately and no other
    /// is being written. Answer with [`extended`](Self::extended) or [`not_extended`](Self::not_extended).
    pub fn poll_extend(&mut self, now_ms: u64) -> Option<u64> {
        if self.extend_in_ms(now_ms)? > 0 {
            return None;
        }
        let mark_ms = self.needed_ms(now_ms) + self.reserve_ms(now_ms);
        self.requested_ms = mark_ms.min(TIME_MS_END);
        Some(self.requested_ms)
    }

    /// Milliseconds until [`poll_extend`](Self::poll_extend) has something to write, unless ids are dealt meanwhile; `None` if
    /// only being asked for ids, or the end of a write, can change that.
    #[must_use]
    pub fn extend_in_ms(&self, now_ms: u64) -> Option<u64> {
        let idle = now_ms.saturating_sub(self.asked_ms) > KEEP_MS;
        if self.is_extending() || idle || self.durable_ms == TIME_MS_END {
            return None;
        }
        let left_ms = self.durable_ms.saturating_sub(self.needed_ms(now_ms));
        Some((left_ms + 1).saturating_sub(self.reserve_ms(now_ms) / 2))
    }

    /// The mark that was to be written is durable.
    ///
    /// # Panics
    /// If none was being written.
    pub fn extended(&mut self) {
        assert!(self.is_extending(), "no extension in flight");
        self.durable_ms = self.requested_ms;
    }

    /// The mark that was to be written was not: as if it had not been asked for.
    pub fn not_extended(&mut self) {
        self.requested_ms = self.durable_ms;
    }

    /// Whether a mark is being written.
    #[must_use]
    pub const fn is_extending(&self) -> bool {
        self.requested_ms > self.durable_ms
    }

    /// How far the lane whose turn it is runs ahead of the clock.
    #[must_use]
    pub fn ahead_ms(&self, now_ms: u64) -> u64 {
        (self.lanes[self.turn].next >> SEQUENCE_BITS).saturating_sub(now_ms)
    }

    /// The high-water mark: later lives deal nothing from before it.
    #[must_use]
    pub const fn high_water_ms(&self) -> u64 {
        self.durable_ms
    }

    /// How many slots it deals.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.lanes.len()
    }

    /// How many ids were dealt since it was made.
    #[must_use]
    pub const fn dealt(&self) -> u64 {
        self.dealt
    }

    /// How far ahead of need the mark is set.
    fn reserve_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.started_ms).clamp(RESERVE_MS_MIN, RESERVE_MS)
    }

    /// Up to where the mark is needed at the least.
    fn needed_ms(&self, now_ms: u64) -> u64 {
        now_ms.max(self.newest >> SEQUENCE_BITS).max(self.wanted_ms)
    }
}

#[cfg(test)]
mod tests;
