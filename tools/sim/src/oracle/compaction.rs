//! Compaction takes nothing but what a newer record of the same key has replaced.
//!
//! What is promised of a log that is compacted:
//!
//! - **A record goes for a reason only.** It has a key, it is older than the lag, and there is a newer record of its key; or it
//!   is a tombstone itself, and older than tombstones stay. A record without a key stays.
//! - **The newest value of each key can be read.** A whole read has, for every key of which a value is missing, a newer
//!   record; only an expired tombstone may be missing as well.
//! - **What was deleted stays deleted.** Once an answer has shown that a record is gone, no read that begins later shows an
//!   older value of its key, unless a newer record of that key may still be there. So a tombstone goes together with all
//!   older values or after them, and a crash in between brings none of them back.
//!
//! That offsets stay, and that what is at them is what was appended there, is judged by `offsets`; that a repetition is still
//! known when the first copy was removed, by `duplicates`.
//!
//! How it is judged: a record is *certainly there* if it was told before the read began, and no end of the process since may
//! have cut it. If a read passes over its offset without it, it is gone. The first and the last demand are exact but for
//! records whose fate nobody knows: those may be the newer ones. The second is asked of whole reads that took less time than
//! it takes [to close a segment](QUICK): what is appended during such a read is in no segment that could be compacted. Ages
//! are judged from the moment at which a record was first sent, with one part in a hundred for clocks that run fast, and
//! not at all once the wall clock has jumped.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::evidence::{Bounds, Evidence, Fact, Partition, Window, covers, merged};
use super::{Violation, violation};
use crate::history::{FinalRead, Key, Kind, Place, Read, Seen, Storage};

/// Nanoseconds in which no segment is closed because of its age: `SEGMENT_AGE_MS_MIN` of `wire`.
const QUICK: u64 = 100 * MS;
/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for ((life, place), partition) in &evidence.partitions {
        let log = (*life, place.log);
        let bounds = evidence.logs.life(log, evidence.span_of(*life));
        let is_compacted = bounds.is_some_and(|bounds| bounds.is_compacted);
        if is_compacted && partition.storage == Some(Storage::Durable) {
            Judge::new(evidence, partition).judge(&mut violations);
        }
    }
    violations
}

/// Whether a log may have been compacted before an answer of a window. One that comes after the server's data went may tell of
/// the life before.
pub(super) fn is_possible(evidence: &Evidence<'_>, place: Place, window: Window) -> bool {
    evidence.lives_of(window).into_iter().any(|life| {
        let window = Window { since: evidence.span_of(life).since, until: window.until };
        let bounds = evidence.logs.life((life, place.log), window);
        bounds.is_none_or(|bounds| bounds.is_compacted)
    })
}

/// A record of a key that was sent to a partition.
#[derive(Debug)]
struct Candidate {
    append: usize,
    /// The event before which it was not there.
    sent: usize,
    /// The highest offset at which it was told to be; `None` if it never was.
    offset: Option<u64>,
    is_tombstone: bool,
}

/// Answers about a range of offsets.
#[derive(Clone, Copy, Debug)]
struct Reading<'h> {
    window: Window,
    from: u64,
    next: u64,
    records: &'h [Seen],
    damaged: &'h [Range<u64>],
    is_whole: bool,
}

/// A record that is missing where it was certainly there.
#[derive(Clone, Copy, Debug)]
struct Missing {
    fact: Fact,
    offset: u64,
    key: Option<Key>,
}

struct Judge<'a, 'h> {
    evidence: &'a Evidence<'h>,
    partition: &'a Partition,
    /// The records of each key, those of unknown place first, then from the highest offset down.
    keys: BTreeMap<u16, Vec<Candidate>>,
    /// What was told, by the first offset and the level.
    known: BTreeMap<u64, [Option<Fact>; 3]>,
    /// Records that are gone, by their offset and their append, and the event that showed it. An offset alone names no record:
    /// one that was lost with the end of a process leaves its offset to another.
    gone: BTreeMap<(u64, usize), usize>,
    /// Damaged, or said to be.
    reported: Vec<Range<u64>>,
}

impl<'a, 'h> Judge<'a, 'h> {
    fn new(evidence: &'a Evidence<'h>, partition: &'a Partition) -> Self {
        let mut places: BTreeMap<usize, u64> = BTreeMap::new();
        for fact in &partition.facts {
            let place = places.entry(fact.append).or_default();
            *place = fact.base.max(*place);
        }
        let mut keys: BTreeMap<u16, Vec<Candidate>> = BTreeMap::new();
        let appends = evidence.appends.iter().enumerate();
        for (at, append) in appends.filter(|(_, append)| append.place == partition.place) {
            for (index, key) in (0..).zip(append.keys).filter(|_| !append.sent.is_empty()) {
                let Some(Key { number, is_tombstone }) = *key else { continue };
                let offset = places.get(&at).map(|base| base + index);
                let sent = append.first_sent();
                let candidate = Candidate { append: at, sent, offset, is_tombstone };
                keys.entry(number).or_default().push(candidate);
            }
        }
        for candidates in keys.values_mut() {
            candidates.sort_by_key(|candidate| u64::MAX - candidate.offset.unwrap_or(u64::MAX));
        }
        let reported = merged(partition.reports.iter().map(|(_, range)| range.clone()));
        let (known, gone) = (BTreeMap::new(), BTreeMap::new());
        Self { evidence, partition, keys, known, gone, reported }
    }

    fn judge(mut self, violations: &mut Vec<Violation>) {
        let mut readings: Vec<_> = self.readings().collect();
        readings.sort_by_key(|reading| reading.window.since);
        let mut facts = self.partition.facts.iter().peekable();
        let mut lawful: BTreeSet<u64> = BTreeSet::new();
        for reading in &readings {
            while let Some(fact) = facts.next_if(|fact| fact.event() < reading.window.since) {
                self.learn(fact);
            }
            for missing in self.missing(reading) {
                let (offset, until) = (missing.offset, reading.window.until);
                let record = (offset, missing.fact.append);
                self.gone.entry(record).and_modify(|at| *at = until.min(*at)).or_insert(until);
                // What was lawful once stays so: there are more reasons with time.
                if !reading.is_whole && lawful.contains(&offset) {
                    continue;
                }
                match self.wrong_with(&missing, reading) {
                    None => drop(lawful.insert(offset)),
                    Some(wrong) => violations.push(self.complain(&missing, reading, &wrong)),
                }
            }
            self.resurrected(reading, violations);
        }
    }

    fn readings(&self) -> impl Iterator<Item = Reading<'h>> + use<'h> {
        let (place, span) = (self.partition.place, self.evidence.span_of(self.partition.life));
        self.evidence.of_life(self.partition.life).filter_map(move |(event, entry)| {
            let reading = match &entry.kind {
                Kind::Read(Read { begun, place: of, from, records, next, .. }) if *of == place => {
                    let window = Window { since: begun.0, until: event };
                    let (from, next, damaged) = (*from, *next, &[][..]);
                    Reading { window, from, next, records, damaged, is_whole: false }
                }
                Kind::FinalRead(FinalRead { begun, place: of, low, high, records, damaged })
                    if *of == place =>
                {
                    let window = Window { since: begun.0, until: event };
                    let (from, next) = (*low, *high);
                    Reading { window, from, next, records, damaged, is_whole: true }
                }
                _ => return None,
            };
            (reading.window.since >= span.since).then_some(reading)
        })
    }

    fn learn(&mut self, fact: &Fact) {
        let last = &mut self.known.entry(fact.base).or_default()[fact.level as usize];
        if last.is_none_or(|last| last.window.since < fact.window.since) {
            *last = Some(*fact);
        }
    }

    /// What a reading passes over although it was certainly there before.
    fn missing(&self, reading: &Reading<'_>) -> Vec<Missing> {
        let ends = reading.records.iter().map(|seen| seen.offset..seen.offset + 1);
        let ends = ends.chain(std::iter::once(reading.next..reading.next));
        let (mut missing, mut expected) = (Vec::new(), reading.from);
        for seen in ends {
            for offset in expected..seen.start {
                missing.extend(self.certainly_at(offset, reading));
            }
            expected = seen.end.max(expected);
        }
        missing
    }

    /// The record that was certainly at an offset before a reading.
    fn certainly_at(&self, offset: u64, reading: &Reading<'_>) -> Option<Missing> {
        let one = offset..offset + 1;
        if covers(&self.reported, &one) || reading.damaged.iter().any(|bad| bad.contains(&offset)) {
            return None;
        }
        let (_, facts) = self.known.range(..=offset).next_back()?;
        let facts = facts.iter().flatten().filter(|fact| offset < fact.end);
        let mut facts = facts.filter(|fact| !self.partition.may_be_lost(fact, reading.window));
        let fact = *facts.next()?;
        let key = self.evidence.appends[fact.append].key(offset - fact.base);
        Some(Missing { fact, offset, key })
    }

    fn bounds(&self, since: usize, until: usize) -> Bounds {
        let log = (self.partition.life, self.partition.place.log);
        self.evidence.logs.life(log, Window { since, until }).unwrap_or_default()
    }

    /// Why a record should not be missing.
    fn wrong_with(&self, missing: &Missing, reading: &Reading<'_>) -> Option<String> {
        let Missing { fact, offset, key } = *missing;
        let (sent, until) = (self.evidence.appends[fact.append].first_sent(), reading.window.until);
        let bounds = self.bounds(sent, until);
        if !bounds.is_compacted {
            return Some("and the log was not compacted".to_owned());
        }
        let Some(Key { number, is_tombstone }) = key else {
            return Some("which has no key".to_owned());
        };
        if self.evidence.is_younger(sent, until, bounds.lag_ms) {
            return Some(format!("within the lag of {} ms", bounds.lag_ms));
        }
        if is_tombstone && !self.evidence.is_younger(sent, until, bounds.tombstone_ms) {
            return None;
        }
        let newer = |candidate: &&Candidate| {
            candidate.sent < until && candidate.offset.is_none_or(|at| at > offset)
        };
        let mut newer = self.keys.get(&number).into_iter().flatten().filter(newer);
        let took = self.evidence.at(until) - self.evidence.at(reading.window.since);
        if reading.is_whole && took < QUICK {
            // Whatever replaced it is there, or was a tombstone.
            let shown = reading.records.iter().filter(|seen| seen.offset > offset);
            let mut shown = shown.filter_map(|seen| self.key_of(seen));
            let expired = |candidate: &Candidate| {
                let bounds = self.bounds(candidate.sent, until);
                candidate.is_tombstone
                    && !self.evidence.is_younger(candidate.sent, until, bounds.tombstone_ms)
            };
            let why = || format!("and nothing newer of its key {number} is there");
            return (!shown.any(|key| key.number == number) && !newer.any(expired)).then(why);
        }
        newer.next().is_none().then(|| format!("and nothing newer of its key {number} was sent"))
    }

    fn key_of(&self, seen: &Seen) -> Option<Key> {
        let (append, index) = self.evidence.owner(*seen.content.as_ref().ok()?)?;
        self.evidence.appends[append].key(index)
    }

    /// Values that are shown although something newer of their key is gone, and nothing newer may be there.
    fn resurrected(&self, reading: &Reading<'_>, violations: &mut Vec<Violation>) {
        let Window { since, until } = reading.window;
        let is_gone = |record| self.gone.get(&record).filter(|at| **at < since);
        for seen in reading.records {
            let Some(Key { number, is_tombstone: false }) = self.key_of(seen) else { continue };
            let candidates = self.keys.get(&number).into_iter().flatten();
            let newer = candidates.take_while(|c| c.offset.is_none_or(|at| at > seen.offset));
            let mut newer = newer.filter(|candidate| candidate.sent < until).peekable();
            if newer.peek().is_none() {
                continue;
            }
            let Some((last, event)) = newer
                .try_fold(None, |found, candidate| {
                    let offset = candidate.offset?;
                    let event = *is_gone((offset, candidate.append))?;
                    Some(found.or(Some((offset, event))))
                })
                .flatten()
            else {
                continue;
            };
            let what = format!(
                "the value at {} of {} is there, although what was newer of its key {number} up to {last} is gone",
                seen.offset, self.partition.place
            );
            violations.push(violation("compaction", self.evidence, [event, until], what));
        }
    }

    fn complain(&self, missing: &Missing, reading: &Reading<'_>, wrong: &str) -> Violation {
        let Missing { fact, offset, .. } = missing;
        let record = self.evidence.appends[fact.append].records
            [usize::try_from(offset - fact.base).unwrap_or(0)];
        let what = format!("{record} at {offset} of {} is gone, {wrong}", self.partition.place);
        let events = [fact.event(), reading.window.until];
        violation("compaction", self.evidence, events, what)
    }
}

#[cfg(test)]
mod tests;
