//! What a loss of power keeps of the changes that nobody had synced.
//!
//! A disk may keep any of them, but uniform chance rarely shows the interesting cases. So a crash first draws a
//! manner: everything is kept, or nothing, or what came before some moment, or a mix; and in a mix each file draws its
//! own, from whole writes in any order down to single sectors.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{Length, index};
use crate::rng::Rng;

/// What becomes of one write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Kept,
    Lost,
    /// Each sector is kept or lost.
    Torn,
}

/// How a crash treats what was not synced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keep {
    Everything,
    Nothing,
    /// What came before this change; it is torn itself.
    Before(u64),
    /// Every file as it comes.
    Mix,
}

impl Keep {
    /// Draws one; `unsynced` are the changes that may be lost.
    pub(super) fn draw(rng: &mut Rng, unsynced: &BTreeSet<u64>) -> Self {
        match rng.below(20) {
            0..2 => Self::Everything,
            2..6 => Self::Nothing,
            6..10 if !unsynced.is_empty() => {
                let nth = index(rng.below(unsynced.len() as u64));
                Self::Before(unsynced.iter().nth(nth).copied().unwrap_or(0))
            }
            _ => Self::Mix,
        }
    }
}

/// How a mix treats one file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Style {
    /// Each write is kept or lost as a whole: reordered, not torn.
    Writes,
    /// Each write is kept, lost or torn.
    TornWrites,
    /// Each page of each write is kept or lost.
    Pages,
    /// Each sector of each write is kept or lost.
    Sectors,
}

/// The fates of one crash.
#[derive(Debug)]
pub(super) struct Fates<'a> {
    keep: Keep,
    rng: &'a mut Rng,
    style: Style,
    /// Eighths of what a mix keeps.
    kept_eighths: u64,
    /// What became of writes that are treated as a whole.
    decided: BTreeMap<u64, Fate>,
}

impl<'a> Fates<'a> {
    pub(super) fn new(keep: Keep, rng: &'a mut Rng) -> Self {
        Self { keep, rng, style: Style::Sectors, kept_eighths: 4, decided: BTreeMap::new() }
    }

    /// Draws how the next file is treated.
    pub(super) fn next_file(&mut self) {
        self.decided.clear();
        let styles = [Style::Writes, Style::TornWrites, Style::Pages, Style::Sectors];
        self.style = styles[index(self.rng.below(4))];
        self.kept_eighths = [1, 4, 7][index(self.rng.below(3))];
    }

    /// What becomes of a page of the write that was change `seq`. Most of what a failed sync has forsaken is lost
    /// whatever becomes of the rest: the system believes that it is clean and never writes it.
    pub(super) fn of(&mut self, seq: u64, forsaken: bool) -> Fate {
        if forsaken && self.rng.below(4) > 0 {
            return Fate::Lost;
        }
        match self.keep {
            Keep::Everything => Fate::Kept,
            Keep::Before(moment) if seq == moment => Fate::Torn,
            Keep::Before(moment) if seq < moment => Fate::Kept,
            Keep::Nothing | Keep::Before(_) => Fate::Lost,
            Keep::Mix => self.mixed(seq),
        }
    }

    fn mixed(&mut self, seq: u64) -> Fate {
        match self.style {
            Style::Sectors => Fate::Torn,
            Style::Pages => self.kept_or_lost(),
            Style::Writes | Style::TornWrites => {
                if let Some(fate) = self.decided.get(&seq) {
                    return *fate;
                }
                let torn = self.style == Style::TornWrites && self.rng.below(3) == 0;
                let fate = if torn { Fate::Torn } else { self.kept_or_lost() };
                self.decided.insert(seq, fate);
                fate
            }
        }
    }

    fn kept_or_lost(&mut self) -> Fate {
        if self.rng.below(8) < self.kept_eighths { Fate::Kept } else { Fate::Lost }
    }

    /// Whether a sector of a write with this fate is kept.
    pub(super) fn keeps_sector(&mut self, fate: Fate) -> bool {
        fate == Fate::Kept || fate == Fate::Torn && self.kept_or_lost() == Fate::Kept
    }

    /// One of the lengths that a file has had since its durable one, oldest first.
    pub(super) fn length(&mut self, durable: Length, since: &[Length]) -> Length {
        let kept = match self.keep {
            Keep::Everything => since.len(),
            Keep::Nothing => 0,
            Keep::Before(moment) => since.partition_point(|len| len.seq <= moment),
            Keep::Mix if since.is_empty() || self.rng.below(2) == 0 => since.len(),
            Keep::Mix => index(self.rng.below(since.len() as u64 + 1)),
        };
        kept.checked_sub(1).map_or(durable, |newest| since[newest])
    }

    /// Which of the changes of names, given as their places in the order of changes, are kept: mostly the first so
    /// many, as a journal does it, sometimes any.
    pub(super) fn names(&mut self, changes: &[u64]) -> Vec<bool> {
        match self.keep {
            Keep::Everything => vec![true; changes.len()],
            Keep::Nothing => vec![false; changes.len()],
            Keep::Before(moment) => changes.iter().map(|seq| *seq <= moment).collect(),
            Keep::Mix if self.rng.below(4) > 0 => {
                let kept = self.rng.below(changes.len() as u64 + 1);
                (0..changes.len() as u64).map(|at| at < kept).collect()
            }
            Keep::Mix => changes.iter().map(|_| self.rng.below(2) == 0).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_a_moment_is_kept_and_that_moment_is_torn() {
        let mut rng = Rng::with_seed(1);
        let mut fates = Fates::new(Keep::Before(5), &mut rng);
        assert_eq!([4, 5, 6].map(|seq| fates.of(seq, false)), [Fate::Kept, Fate::Torn, Fate::Lost]);
        assert_eq!(fates.names(&[4, 5, 6]), [true, true, false]);
        let length = |seq| Length { seq, bytes: seq * 10 };
        assert_eq!(fates.length(length(1), &[length(4), length(5), length(6)]), length(5));
        assert_eq!(fates.length(length(1), &[length(6)]), length(1));
    }

    #[test]
    fn one_crash_in_ten_keeps_everything_and_one_in_five_nothing() {
        let mut rng = Rng::with_seed(1);
        let unsynced = BTreeSet::from([3, 4]);
        let drawn: Vec<Keep> = (0..1000).map(|_| Keep::draw(&mut rng, &unsynced)).collect();
        let share = |keep: Keep| drawn.iter().filter(|drawn| **drawn == keep).count();
        assert!((70..130).contains(&share(Keep::Everything)));
        assert!((150..250).contains(&share(Keep::Nothing)));
        assert!((60..140).contains(&share(Keep::Before(3))));
        assert!((60..140).contains(&share(Keep::Before(4))));
        let drawn: Vec<Keep> = (0..100).map(|_| Keep::draw(&mut rng, &BTreeSet::new())).collect();
        assert!(!drawn.iter().any(|keep| matches!(keep, Keep::Before(_))));
    }

    #[test]
    fn whole_writes_are_decided_once_per_file() {
        let mut rng = Rng::with_seed(1);
        let mut fates = Fates::new(Keep::Mix, &mut rng);
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            fates.next_file();
            if matches!(fates.style, Style::Writes | Style::TornWrites) {
                let first = fates.of(1, false);
                assert!((0..10).all(|_| fates.of(1, false) == first));
                seen.insert((fates.style == Style::Writes, first as u8));
            }
        }
        assert_eq!(seen.len(), 5, "whole writes are not torn: {seen:?}");
    }
}
