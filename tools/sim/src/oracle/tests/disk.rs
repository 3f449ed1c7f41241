//! The toy's partition: groups, what of them is written and synced, and a recovery as decision 3 describes it.

use std::ops::Range;

use fastrand::Rng;

use super::toy::Bug;
use crate::history::{End, Level, LogSettings, Storage};

/// An append at its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) append: usize,
    pub(super) base: u64,
    pub(super) len: u64,
    pub(super) bytes: u64,
    /// Session and first sequence.
    pub(super) session: Option<(u64, u64)>,
}

impl Batch {
    pub(super) const fn end(&self) -> u64 {
        self.base + self.len
    }
}

/// What is written at once.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) batches: Vec<Batch>,
    pub(super) base: u64,
    pub(super) level: Level,
    /// What its mark says was synced.
    promise: u64,
    /// Its bytes on disk are not what was written.
    pub(super) bad: bool,
}

impl Group {
    pub(super) fn end(&self) -> u64 {
        self.batches.last().map_or(self.base, Batch::end)
    }
}

/// A partition. Groups before `written` are in the file, those before `synced` on stable storage; the last may gather.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) settings: LogSettings,
    pub(super) groups: Vec<Group>,
    pub(super) written: usize,
    pub(super) synced: usize,
    pub(super) low: u64,
    pub(super) damage: Vec<Range<u64>>,
    /// Batches that a session would be recognised by.
    pub(super) known: Vec<Batch>,
}

impl Disk {
    pub(super) const fn new(settings: LogSettings) -> Self {
        Self {
            settings,
            groups: Vec::new(),
            written: 0,
            synced: 0,
            low: 0,
            damage: Vec::new(),
            known: Vec::new(),
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.groups.last().map_or(self.low, Group::end)
    }

    fn end_of(&self, groups: usize) -> u64 {
        groups.checked_sub(1).map_or(self.low, |last| self.groups[last].end())
    }

    /// The offset below which everything has reached a level.
    pub(super) fn reached(&self, level: Level) -> u64 {
        match level {
            Level::Memory => self.end(),
            _ if self.settings.storage == Storage::Memory => self.end(),
            Level::Written => self.end_of(self.written),
            Level::Synced => self.end_of(self.synced),
        }
    }

    pub(super) fn high(&self) -> u64 {
        self.reached(self.settings.level)
    }

    /// Takes a batch at the end, to be written with those that gather.
    pub(super) fn take(&mut self, batch: Batch, level: Level) {
        if self.groups.len() == self.written {
            let (base, promise) = (batch.base, 0);
            let level = self.settings.level;
            self.groups.push(Group { batches: Vec::new(), base, level, promise, bad: false });
        }
        let group = self.groups.last_mut().expect("one gathers");
        group.batches.push(batch);
        group.level = group.level.max(level);
        self.known.push(batch);
        if self.settings.storage == Storage::Memory {
            self.written = self.groups.len();
        }
    }

    /// Writes what gathers; syncs it if somebody asked for that.
    pub(super) fn write(&mut self) -> bool {
        if self.settings.storage == Storage::Memory || self.written == self.groups.len() {
            return false;
        }
        let promise = self.reached(Level::Synced);
        let group = self.groups.last_mut().expect("one gathers");
        group.promise = promise;
        let synced = group.level == Level::Synced;
        self.written = self.groups.len();
        if synced {
            self.synced = self.written;
        }
        true
    }

    pub(super) const fn sync(&mut self) {
        self.synced = self.written;
    }

    /// Drops the oldest groups of a log in memory that are over its budget.
    pub(super) fn evict(&mut self, budget: u64) {
        while self.groups.len() > 1 && self.held() > budget {
            let gone = self.groups.remove(0);
            self.low = gone.end();
            self.written -= 1;
        }
    }

    pub(super) fn held(&self) -> u64 {
        self.groups.iter().flat_map(|group| &group.batches).map(|batch| batch.bytes).sum()
    }

    /// What is left after an end of the process. Returns what is reported as damaged.
    pub(super) fn recover(&mut self, end: End, rng: &mut Rng, bug: Option<Bug>) -> Vec<Range<u64>> {
        if self.settings.storage == Storage::Memory {
            *self = Self::new(self.settings);
            return Vec::new();
        }
        if end == End::Stopped && bug != Some(Bug::StopIsACrash) {
            self.write();
            self.sync();
        }
        let least = if end == End::Power { self.synced } else { self.written };
        let mut kept = rng.usize(least..=self.groups.len());
        if bug == Some(Bug::CutTooMuch) {
            kept = kept.min(least.saturating_sub(1));
        }
        let torn = self.end_of(kept)..self.end();
        self.groups.truncate(kept);
        let before = self.damage.len();
        if bug == Some(Bug::TornIsDamage) && !torn.is_empty() {
            self.damage.push(torn);
        }
        self.scan(bug);
        if bug == Some(Bug::HalfAnAppend)
            && let Some(last) = self.groups.last_mut().and_then(|group| group.batches.last_mut())
        {
            last.len -= u64::from(last.len > 1);
        }
        self.open();
        self.known = self.groups.iter().flat_map(|group| group.batches.clone()).collect();
        if bug == Some(Bug::SessionsAreForgotten) {
            self.known.clear();
        }
        self.damage[before..].to_vec()
    }

    /// Goes from group to group; where one is not as written, later marks decide.
    fn scan(&mut self, bug: Option<Bug>) {
        let mut at = 0;
        while let Some(bad) = (at..self.groups.len()).find(|at| self.groups[*at].bad) {
            let good = (bad..self.groups.len()).filter(|at| !self.groups[*at].bad);
            let promise = good.clone().map(|at| self.groups[at].promise).max().unwrap_or(0);
            let next = good.min().filter(|_| promise > self.groups[bad].base);
            match next.filter(|_| bug != Some(Bug::DamageIsATornTail)) {
                Some(next) => {
                    let range = self.groups[bad].base..self.groups[next].base;
                    if bug != Some(Bug::DamageIsNotReported) && !range.is_empty() {
                        self.damage.push(range);
                    }
                    self.groups.drain(bad..next);
                    at = bad;
                }
                None => self.groups.truncate(bad),
            }
        }
    }

    /// Writes the mark that opens the new life: an empty group that vouches for all before it.
    fn open(&mut self) {
        let (base, level) = (self.end(), Level::Synced);
        let (batches, promise, bad) = (Vec::new(), base, false);
        self.groups.push(Group { batches, base, level, promise, bad });
        self.written = self.groups.len();
        self.synced = self.written;
    }
}
