//! Taking records from the front: the low watermark and what lies before it.

use super::{Closed, Head, Machine, Phase};
use crate::ids::{Offset, Timestamp};
use crate::retention::{Piece, age_of};

impl Machine {
    /// Asks for the segment of the head to be closed, if its records are old enough. Returns whether they are.
    pub(crate) fn roll_if_older(&mut self, now: Timestamp) -> bool {
        let due = match (self.settings.life.roll_age(), self.head.times) {
            (Some(age), Some(times)) => age_of(times.first, now) > age,
            _ => false,
        };
        let due = due && !self.is_memory() && self.phase == Phase::Open;
        self.roll_wanted |= due && self.upcoming.is_none();
        due
    }

    /// Whether the next group goes to a new segment because that was asked for.
    pub(super) fn rolls_now(&self) -> bool {
        self.roll_wanted && self.upcoming.is_none() && self.head.segment < self.end
    }

    /// Where the next segment begins, if one was asked for and nothing gathers.
    pub(super) fn idle_roll(&mut self) -> Option<Offset> {
        let is_closing = self.phase == Phase::Closing;
        if self.rolls_now() && !is_closing {
            self.upcoming = Some(Head::new(self.end));
        }
        self.roll_wanted = false;
        if is_closing {
            self.upcoming = None; // The mark that ends the log goes to the segment that there is.
        }
        self.upcoming.as_ref().map(|head| head.segment)
    }

    /// Whether a roll was asked for and has not come yet.
    pub(crate) const fn is_rolling(&self) -> bool {
        self.roll_wanted || self.upcoming.is_some()
    }

    /// Nothing at or above it may be removed: what is not synced, and the segment that is written.
    pub(crate) fn removable_until(&self) -> Offset {
        self.head.segment.min(self.synced)
    }

    /// The low watermark that retention asks for, if it asks for any, at most `until`. A closed segment counts once, whether
    /// it is in the directory, in the object store, or in both.
    pub(crate) fn retention_cut(&self, until: Offset, now: Timestamp) -> Option<Offset> {
        let closed = self.closed.iter().map(|closed| Piece {
            end: closed.end,
            bytes: closed.end_position.get(),
            append_max: closed.append_max,
        });
        let head = self.head.position.get();
        self.settings.life.retention.cut(closed, head, until, now)
    }

    /// Whether a closed segment has no record any more: it was written when the log was truncated behind all of it.
    pub(crate) fn holds_gone(&self) -> bool {
        self.closed.first().is_some_and(|oldest| oldest.end <= self.low)
    }

    /// The closed segments that have no record at or above an offset, by their base.
    pub(crate) fn ending_by(&self, offset: Offset) -> Vec<Offset> {
        let gone = self.closed.partition_point(|closed| closed.end <= offset);
        self.closed[..gone].iter().map(|closed| closed.base).collect()
    }

    /// Makes `low` the first offset that can be read, unless it is that far already. Returns the segments that have no
    /// record any more: they are forgotten, and their files are to be removed.
    ///
    /// # Panics
    /// If it is not synced: offsets below the low watermark are never dealt again.
    pub(crate) fn raise_low(&mut self, low: Offset) -> Vec<Closed> {
        assert!(
            low <= self.synced,
            "a low watermark of {low} in a log that is synced to {}",
            self.synced
        );
        let before = self.low;
        self.low = self.low.max(low);
        let gone = self.closed.partition_point(|closed| closed.end <= self.low);
        let gone: Vec<Closed> = self.closed.drain(..gone).collect();
        let first = self.closed.first().map_or(self.head.segment, |closed| closed.base);
        self.damages.retain(|damage| first <= damage.segment || first < damage.offsets.end);
        self.stats.removed_records += self.low.since(before);
        self.stats.removed_segments += gone.len() as u64;
        self.stats.removed_bytes +=
            gone.iter().map(|closed| closed.end_position.get()).sum::<u64>();
        gone
    }

    /// Makes `low` the first offset of a log in memory that can be read, and lets go of the groups before it.
    pub(crate) fn truncate_memory(&mut self, low: Offset) {
        let before = self.low;
        if self.tail.end() < low {
            self.seal_memory_group();
        }
        while self.tail.oldest_end().is_some_and(|end| end <= low) {
            self.tail.evict();
        }
        self.low = self.low.max(low);
        self.stats.removed_records += self.low.since(before);
    }
}
