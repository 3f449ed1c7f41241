//! A partition over one life of its disk: where appends were seen, and what the ends of the process may have cut.
//!
//! Between two ends of the process a partition only grows at its end. What a recovery may do is to cut: everything at
//! and behind some offset goes, everything before it stays, and offsets from there on are dealt again. Where it cut is
//! not seen. But there is a lowest offset at which it may have: no append may be cut
//!
//! - that was promised to survive this kind of end and was certainly there before (the *promise*), or
//! - that was acknowledged before the end and is seen at its place after it (the *evidence*): nobody sends it again, so
//!   it was never away.
//!
//! That bound is [`Cut::keeps`]. A loss is lawful if and only if some end of the process lies between the last moment at
//! which the append was there and the moment at which it was not, whose kind the promise does not cover and which keeps
//! nothing behind the append. Taking the lowest possible cut at every end satisfies all such demands at once, so they can
//! be judged one by one.
//!
//! **Silent damage** may take away what was promised without a trace in one case only: if it hits the end of the log, where
//! nothing that was written later vouches for it. Each group that reaches the disk vouches for all groups that were synced
//! before it was sent. So of synced appends that followed each other, each sent after the one before was acknowledged, a
//! recovery may cut as many as writes were damaged, and no more: for the next one the evidence is still there, and the
//! loss has to be reported. A misdirected write damages what it hits besides, and a rotten page what it holds, which may
//! be any number of groups. What was
//! written but not yet synced has no such witness: behind a damaged write all of it may go.

use std::collections::BTreeMap;

use super::{Append, Window};
use crate::files::ROT;
use crate::history::{End, Level, Place, Storage};

/// An append was at these offsets, at some moment of a window.
#[derive(Clone, Copy, Debug)]
pub(in crate::oracle) struct Fact {
    pub(in crate::oracle) append: usize,
    pub(in crate::oracle) base: u64,
    /// The offset after its last record.
    pub(in crate::oracle) end: u64,
    pub(in crate::oracle) window: Window,
    /// What it was promised to survive.
    pub(in crate::oracle) level: Level,
    /// Readers could see it.
    pub(in crate::oracle) visible: bool,
}

impl Fact {
    /// The event that tells it.
    pub(in crate::oracle) const fn event(&self) -> usize {
        self.window.until
    }

    /// Append and place.
    pub(in crate::oracle) const fn pair(&self) -> Pair {
        (self.append, self.base)
    }
}

/// An append at a place.
pub(in crate::oracle) type Pair = (usize, u64);

/// Watermarks at some moment of a window.
#[derive(Clone, Copy, Debug)]
pub(in crate::oracle) struct Range {
    pub(in crate::oracle) window: Window,
    pub(in crate::oracle) low: u64,
    pub(in crate::oracle) high: u64,
    /// What everything below `high` was promised to survive.
    pub(in crate::oracle) level: Level,
}

/// An end of the process, and the event by which the recovery after it is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    pub(super) event: usize,
    pub(super) end: End,
    pub(super) over: usize,
}

/// An end of the process, and what a recovery after it may have cut.
#[derive(Clone, Copy, Debug)]
pub(in crate::oracle) struct Cut {
    pub(in crate::oracle) event: usize,
    /// Everything below stays.
    pub(in crate::oracle) keeps: u64,
    /// Whether silent damage came before the recovery was over.
    struck: bool,
    survives: [bool; 3],
}

impl Cut {
    /// Whether everything that was promised this level, and was there before, is there after.
    const fn spares(&self, level: Level) -> bool {
        !self.struck && self.survives[level as usize]
    }

    /// Whether it may take an append with this promise at this offset.
    pub(in crate::oracle) const fn takes(&self, level: Level, base: u64) -> bool {
        (self.struck || !self.survives[level as usize]) && self.keeps <= base
    }
}

/// A bound that rises with what is seen and falls only at the ends of the process: by event, the bound from then on.
#[derive(Clone, Debug, Default)]
pub(in crate::oracle) struct Bound {
    steps: Vec<(usize, u64)>,
}

impl Bound {
    /// From an event on it is at least this.
    pub(in crate::oracle) fn raise(&mut self, event: usize, to: u64) {
        if self.steps.last().is_none_or(|(_, now)| *now < to) {
            self.steps.push((event, to));
        }
    }

    /// From an event on it is this.
    pub(in crate::oracle) fn set(&mut self, event: usize, to: u64) {
        self.steps.push((event, to));
    }

    /// The lowest it may have been at the moment of a window: it cannot fall but at an end of the process.
    pub(in crate::oracle) fn least(&self, window: Window, cuts: &[Cut]) -> u64 {
        let after = self.steps.partition_point(|step| step.0 < window.since);
        let before = after.checked_sub(1).map_or(0, |at| self.steps[at].1);
        let fallen = cuts_in(cuts, window).iter().map(|cut| cut.keeps).min();
        fallen.map_or(before, |fallen| fallen.min(before))
    }
}

/// The ends of the process within a window.
fn cuts_in(cuts: &[Cut], window: Window) -> &[Cut] {
    let from = cuts.partition_point(|cut| cut.event < window.since);
    let to = cuts.partition_point(|cut| cut.event < window.until);
    &cuts[from..to.max(from)]
}

/// See the module.
#[derive(Debug)]
pub(in crate::oracle) struct Partition {
    pub(in crate::oracle) life: usize,
    pub(in crate::oracle) place: Place,
    pub(in crate::oracle) storage: Option<Storage>,
    /// By the event that tells them.
    pub(in crate::oracle) facts: Vec<Fact>,
    /// By the event that tells them.
    pub(in crate::oracle) ranges: Vec<Range>,
    /// Final reads, by event.
    pub(in crate::oracle) finals: Vec<usize>,
    /// Offsets that were reported as damaged, and the events that did.
    pub(in crate::oracle) reports: Vec<(usize, std::ops::Range<u64>)>,
    /// Truncations that were asked for: the event, and the first offset that was to stay.
    pub(in crate::oracle) truncations: Vec<(usize, u64)>,
    /// Truncations that were acknowledged: the event, and the low watermark.
    pub(in crate::oracle) truncated: Vec<(usize, u64)>,
    /// Calls on its files that failed.
    pub(in crate::oracle) failed: Vec<usize>,
    /// Silent damage, and how many writes it damaged.
    strikes: Vec<(usize, usize)>,
    /// Ends of the process, in order.
    pub(in crate::oracle) cuts: Vec<Cut>,
    /// Below it everything is certainly there, or was and has been evicted.
    pub(in crate::oracle) certain: Bound,
    /// Below it everything was certainly visible to readers.
    pub(in crate::oracle) visible: Bound,
}

impl Partition {
    pub(super) fn new(life: usize, place: Place, storage: Option<Storage>) -> Self {
        Self {
            life,
            place,
            storage,
            facts: Vec::new(),
            ranges: Vec::new(),
            finals: Vec::new(),
            reports: Vec::new(),
            truncations: Vec::new(),
            truncated: Vec::new(),
            failed: Vec::new(),
            strikes: Vec::new(),
            cuts: Vec::new(),
            certain: Bound::default(),
            visible: Bound::default(),
        }
    }

    pub(super) fn strike(&mut self, event: usize, fault: &str) {
        let bounded = fault == ROT || fault.starts_with("lost");
        self.strikes.push((event, if bounded { 1 } else { usize::MAX }));
    }

    /// Whether silent damage was done to it before an event.
    pub(in crate::oracle) fn struck_before(&self, event: usize) -> bool {
        self.strikes.first().is_some_and(|(at, _)| *at < event)
    }

    /// The ends of the process within a window.
    pub(in crate::oracle) fn cuts_in(&self, window: Window) -> &[Cut] {
        cuts_in(&self.cuts, window)
    }

    /// Whether what `fact` tells may have come to an end before the moment of `later`.
    pub(in crate::oracle) fn may_be_lost(&self, fact: &Fact, later: Window) -> bool {
        let between = Window { since: fact.window.since, until: later.until };
        self.cuts_in(between).iter().any(|cut| cut.takes(fact.level, fact.base))
    }

    /// Whether both may be true, at their own moments, of one partition: in some order the first gave way to the second.
    pub(in crate::oracle) fn may_follow_in_some_order(&self, one: &Fact, other: &Fact) -> bool {
        self.may_be_lost(one, other.window) || self.may_be_lost(other, one.window)
    }

    /// Whether the process ended at all between two facts.
    pub(in crate::oracle) fn ended_between(&self, one: &Fact, other: &Fact) -> bool {
        let (one, other) = (one.window, other.window);
        let between =
            Window { since: one.since.min(other.since), until: one.until.max(other.until) };
        !self.cuts_in(between).is_empty()
    }

    /// Facts of different appends at the same offset, where one was told next after the other.
    pub(in crate::oracle) fn conflicts(&self) -> Vec<(Fact, Fact)> {
        // Who holds which offsets, by the first of them, as told last. They never overlap.
        let mut holders: BTreeMap<u64, Fact> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for fact in &self.facts {
            let overlapped = holders.range(..fact.end).rev();
            let overlapped = overlapped.take_while(|(_, holder)| holder.end > fact.base);
            let overlapped: Vec<Fact> = overlapped.map(|(_, holder)| *holder).collect();
            for holder in overlapped {
                if holder.append != fact.append {
                    conflicts.push((holder, *fact));
                }
                holders.remove(&holder.base);
            }
            holders.insert(fact.base, *fact);
        }
        conflicts
    }

    /// Finds out what each end of the process keeps, once all facts are there.
    pub(super) fn settle(&mut self, appends: &[Append<'_>], ends: impl Iterator<Item = Recovery>) {
        self.facts.sort_by_key(|fact| (fact.event(), fact.base));
        self.ranges.sort_by_key(|range| range.window.until);
        let ends: Vec<_> = ends.collect();
        let seen_after = self.seen_after(appends, &ends);
        let told = self.told(appends);
        let (mut told, mut sweep, mut before) = (told.iter().peekable(), Sweep::default(), 0);
        for (Recovery { event, end, over }, seen_after) in ends.into_iter().zip(seen_after) {
            while let Some(told) = told.next_if(|told| told.window.until < event) {
                self.take_in(&mut sweep, told);
            }
            // A recovery meets what was done to the files until it is over, by its own reads as well.
            let strikes = self.strikes.iter().filter(|(at, _)| *at < over);
            let strikes = strikes.fold(0_usize, |sum, (_, count)| sum.saturating_add(*count));
            let failed = self.failed.iter().any(|at| before <= *at && *at < event);
            let survives = survives(self.storage, end, failed);
            let keeps = sweep.promised(survives, strikes).max(seen_after);
            self.cuts.push(Cut { event, keeps, struck: strikes > 0, survives });
            // Who stops in order syncs everything first.
            sweep.cut(keeps, end == End::Stopped && survives[Level::Memory as usize]);
            self.certain.set(event, keeps);
            self.visible.set(event, keeps);
            before = event;
        }
        for told in told {
            self.take_in(&mut sweep, told);
        }
    }

    /// All that is told, by event.
    fn told(&self, appends: &[Append<'_>]) -> Vec<Told> {
        let facts = self.facts.iter().map(|fact| Told {
            window: fact.window,
            end: fact.end,
            level: fact.level,
            visible: fact.visible,
            sent: Some(appends[fact.append].first_sent()),
        });
        let ranges = self.ranges.iter().map(|range| Told {
            window: range.window,
            end: range.high,
            level: range.level,
            visible: true,
            sent: None,
        });
        let mut told: Vec<_> = facts.chain(ranges).collect();
        told.sort_by_key(|told| told.window.until);
        told
    }

    fn take_in(&mut self, sweep: &mut Sweep, told: &Told) {
        // Told after an end of the process that may have taken it: it may be gone already.
        if self.cuts_in(told.window).iter().any(|cut| !cut.spares(told.level)) {
            return;
        }
        sweep.note(told);
        self.certain.raise(told.window.until, told.end);
        if told.visible {
            self.visible.raise(told.window.until, told.end);
        }
    }

    /// For each end of the process, the offset after the last append that is seen at its place before and after, with
    /// nobody to send it again in between.
    fn seen_after(&self, appends: &[Append<'_>], ends: &[Recovery]) -> Vec<u64> {
        let mut spans: BTreeMap<Pair, (usize, usize, u64)> = BTreeMap::new();
        for fact in &self.facts {
            let Window { since, until } = fact.window;
            let span = spans.entry(fact.pair()).or_insert((until, since, fact.end));
            (span.0, span.1) = (span.0.min(until), span.1.max(since));
        }
        let mut seen = vec![0; ends.len()];
        for ((append, _), (first, last, end)) in spans {
            let Some(acked) = appends[append].acked() else { continue };
            let from = ends.partition_point(|end| end.event < first.max(acked));
            let between = ends[from..].iter().take_while(|end| end.event < last).count();
            for seen in &mut seen[from..from + between] {
                *seen = end.max(*seen);
            }
        }
        seen
    }
}

/// Whether each level survives an end of the process.
const fn survives(storage: Option<Storage>, end: End, failed: bool) -> [bool; 3] {
    match (storage, end) {
        (None | Some(Storage::Memory), _) => [false; 3],
        // What cannot be written or synced cannot be brought to safety either.
        (Some(Storage::Durable), End::Stopped) => [!failed, true, true],
        (Some(Storage::Durable), End::Process) => [false, true, true],
        (Some(Storage::Durable), End::Power) => [false, false, true],
    }
}

/// Something that was there at some moment of a window.
#[derive(Clone, Copy, Debug)]
struct Told {
    window: Window,
    /// Everything below.
    end: u64,
    level: Level,
    visible: bool,
    /// Before this event it was not there, if it is known.
    sent: Option<usize>,
}

/// What stands at a moment, while a partition is gone through in order of time.
#[derive(Debug, Default)]
struct Sweep {
    /// For each level, the offset below which everything is promised to survive what it says.
    promises: [u64; 3],
    /// Synced appends by the offset after their last record: when each was first sent, and first known to be synced.
    synced: BTreeMap<u64, (usize, usize)>,
}

impl Sweep {
    fn note(&mut self, told: &Told) {
        let promise = &mut self.promises[told.level as usize];
        *promise = told.end.max(*promise);
        if let (Level::Synced, Some(sent)) = (told.level, told.sent) {
            self.synced.entry(told.end).or_insert((sent, told.window.until));
        }
    }

    /// The offset below which nothing may be cut at an end that `survives` says, after so many damaged writes.
    fn promised(&self, survives: [bool; 3], strikes: usize) -> u64 {
        if strikes > 0 {
            return if survives[Level::Synced as usize] { self.vouched_for(strikes) } else { 0 };
        }
        let promises = self.promises.iter().zip(survives).filter(|(_, survives)| *survives);
        promises.map(|(promise, _)| *promise).max().unwrap_or(0)
    }

    /// The lowest cut by which no more than `strikes` synced appends go that followed each other: from the end back, the
    /// longest chain of appends that were each known to be synced before the next was sent.
    fn vouched_for(&self, strikes: usize) -> u64 {
        let (mut chain, mut last, mut last_but_one) = (0_usize, usize::MAX, usize::MAX);
        for (end, (sent, known)) in self.synced.iter().rev() {
            if *known < last {
                chain += 1;
                if chain > strikes {
                    return *end;
                }
                (last, last_but_one) = (*sent, last);
            } else if *known < last_but_one && *sent > last {
                last = *sent; // As good as the one before, and leaves more room.
            }
        }
        0
    }

    /// The process ended: what lies behind `keeps` may be gone.
    fn cut(&mut self, keeps: u64, synced: bool) {
        self.promises = self.promises.map(|promise| promise.min(keeps));
        if synced {
            self.promises[Level::Synced as usize] = keeps;
        }
        // What ends behind `keeps` may be gone.
        self.synced.split_off(&keeps.saturating_add(1));
    }
}
