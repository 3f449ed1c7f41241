//! Which records of a batch stay.
//!
//! A record goes if the map knows a later one of its key. A tombstone goes if its time is over, the map knows it as the newest
//! of its key, and no older value of the key stays. The batches of the prefix are shown from its start, each once and in
//! order, so when a tombstone comes every older record of its key was judged in this run, by the same map: those that went are
//! gone for good before the tombstone goes, and those that had to stay are remembered as lingering.

use hashbrown::HashSet;

use super::map::{KeyHash, OffsetMap};
use crate::batch::{BatchHeader, Flags, RecordView, Rows};
use crate::ids::{Offset, Timestamp};
use crate::limits::COMPACTION_LINGERING_MAX;

/// What one pass over the prefix judges by.
pub(crate) struct Sift<'a> {
    map: &'a OffsetMap,
    /// The map knows of nothing from here on.
    end: Offset,
    /// Tombstones that were appended before it may go.
    expires: Timestamp,
    /// Where the batches start that sessions remember: of each a record stays.
    remembered: &'a HashSet<Offset>,
    lingering: Lingering,
    keep: Vec<bool>,
    /// What was found so far.
    pub(crate) tally: Tally,
}

/// What a pass has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Records that went because there are later ones.
    pub(crate) superseded: u64,
    /// Tombstones that went.
    pub(crate) tombstones: u64,
    /// Append time of the oldest tombstone that stays.
    pub(crate) oldest_tombstone: Option<Timestamp>,
}

/// Keys of which a value stays that is not the newest.
#[derive(Debug, Default)]
struct Lingering {
    keys: HashSet<KeyHash>,
    /// There were more than are remembered: any key may be one.
    any: bool,
}

/// What stays of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays<'a> {
    /// All of it.
    Whole,
    /// The rows that are true.
    Some(&'a [bool]),
    /// Nothing.
    Nothing,
}

impl Lingering {
    fn note(&mut self, hash: KeyHash) {
        if self.keys.len() < COMPACTION_LINGERING_MAX {
            self.keys.insert(hash);
        } else {
            self.any = true;
        }
    }

    fn has(&self, hash: KeyHash) -> bool {
        self.any || self.keys.contains(&hash)
    }
}

impl<'a> Sift<'a> {
    /// A pass with a map that knows what lies below `end`.
    pub(crate) fn new(
        (map, end): (&'a OffsetMap, Offset),
        expires: Timestamp,
        remembered: &'a HashSet<Offset>,
    ) -> Self {
        let (lingering, tally) = (Lingering::default(), Tally::default());
        Self { map, end, expires, remembered, lingering, keep: Vec::new(), tally }
    }

    /// What stays of the next batch, in order of offset. `last`: the record that has to, because the segment ends with it.
    pub(crate) fn judge(
        &mut self,
        header: &BatchHeader,
        rows: &Rows<'_>,
        last: Offset,
    ) -> Stays<'_> {
        if header.flags != Flags::NONE {
            // Nobody knows yet whether they count, and what for.
            self.stays_whole(header, rows);
            return Stays::Whole;
        }
        self.keep.clear();
        let before = self.tally;
        let mut kept = 0;
        for row in rows.iter() {
            let stays = self.stays(header, &row);
            self.keep.push(stays);
            kept += usize::from(stays);
        }
        let index = rows.len() - 1;
        let has_last = header.next_offset().get() == last.get() + 1;
        let must = has_last || kept == 0 && self.remembered.contains(&header.owner.base_offset);
        if must && !self.keep[index] {
            self.keep[index] = true;
            kept += 1;
            self.tally = before;
            self.count_again(header, rows);
        }
        match kept {
            0 => Stays::Nothing,
            _ if kept == rows.len() => Stays::Whole,
            _ => Stays::Some(&self.keep),
        }
    }

    /// Notes that a batch stays as it is, with values that should have gone.
    pub(crate) fn stays_whole(&mut self, header: &BatchHeader, rows: &Rows<'_>) {
        for row in rows.iter() {
            if let Some(key) = row.key {
                self.note_kept(header, &row, self.map.hash(key));
            }
        }
    }

    /// Whether a record stays for its own sake.
    fn stays(&mut self, header: &BatchHeader, row: &RecordView<'_>) -> bool {
        let Some(key) = row.key.filter(|_| row.offset < self.end) else { return true };
        let hash = self.map.hash(key);
        let newest = self.map.newest(hash);
        if newest > Some(row.offset) {
            self.tally.superseded += 1;
            return false;
        }
        let goes = row.value.is_none()
            && newest == Some(row.offset)
            && header.owner.append_time < self.expires
            && !self.lingering.has(hash);
        if goes {
            self.tally.tombstones += 1;
        } else if row.value.is_none() {
            self.note_tombstone(header);
        }
        !goes
    }

    /// Counts what goes once more, after a row was kept that should have gone.
    fn count_again(&mut self, header: &BatchHeader, rows: &Rows<'_>) {
        for (index, row) in rows.iter().enumerate() {
            let Some(key) = row.key else { continue };
            let hash = self.map.hash(key);
            let is_superseded = row.offset < self.end && self.map.newest(hash) > Some(row.offset);
            match (self.keep[index], is_superseded) {
                (false, true) => self.tally.superseded += 1,
                (false, false) => self.tally.tombstones += 1,
                (true, _) => self.note_kept(header, &row, hash),
            }
        }
    }

    /// A record with a key stays: a value that is not the newest lingers.
    fn note_kept(&mut self, header: &BatchHeader, row: &RecordView<'_>, hash: KeyHash) {
        if row.value.is_none() {
            self.note_tombstone(header);
        } else if self.map.newest(hash) != Some(row.offset) {
            self.lingering.note(hash);
        }
    }

    fn note_tombstone(&mut self, header: &BatchHeader) {
        let time = header.owner.append_time;
        let oldest = self.tally.oldest_tombstone.unwrap_or(time);
        self.tally.oldest_tombstone = Some(oldest.min(time));
    }
}
