//! What a history proves, gathered once for all oracles: which appends were seen where, and when that was true.
//!
//! A question and its answer are a [`Window`]: what the answer says was true at some moment between them. An oracle may
//! only complain if there is *no* choice of these moments that makes the history a lawful one; that is what keeps the
//! oracles free of false alarms. Everything else here only makes that fast: records are grouped into appends, appends
//! into partitions, and partitions keep running bounds (see `partition`).

use std::collections::BTreeMap;

use super::Violation;
use crate::history::{
    End, Event, FinalRead, History, Key, Kind, Level, Outcome, Place, Proven, Read, ReadRefused,
    RecordId, Seen, SessionUse,
};

mod harm;
mod logs;
mod partition;

pub(super) use logs::{Ask, Bounds, Logs};
use partition::Recovery;
pub(super) use partition::{Bound, Fact, Pair, Partition, Range};

/// Offsets of a partition.
pub(super) type Offsets = std::ops::Range<u64>;

/// The code of a refusal because of damage.
pub(super) const DATA_DAMAGED: u16 = 602;
/// The code of a refusal because the offset lies outside.
pub(super) const OFFSET_OUT_OF_RANGE: u16 = 304;

/// The moments at which something may have been true: after every event before `since`, before the event `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) since: usize,
    pub(super) until: usize,
}

impl Window {
    /// Whether an event may lie on either side of the moment.
    pub(super) const fn contains(self, event: usize) -> bool {
        self.since <= event && event < self.until
    }
}

/// An attempt of an append.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) event: usize,
    pub(super) attempt: u32,
    pub(super) session: Option<SessionUse>,
    pub(super) bytes: u64,
}

/// An append with all that is known of it.
#[derive(Clone, Debug)]
pub(super) struct Append<'h> {
    pub(super) begun: usize,
    pub(super) place: Place,
    pub(super) level: Option<Level>,
    pub(super) idempotent: bool,
    pub(super) records: &'h [RecordId],
    /// What each of them is to compaction; empty if none has a key.
    pub(super) keys: &'h [Option<Key>],
    pub(super) sent: Vec<Sent>,
    pub(super) end: Option<(usize, Outcome)>,
}

impl Append<'_> {
    /// What its record at `index` is to compaction.
    pub(super) fn key(&self, index: u64) -> Option<Key> {
        *self.keys.get(to_usize(index))?
    }

    /// How many records it has.
    pub(super) const fn len(&self) -> u64 {
        self.records.len() as u64
    }

    /// Whose it is; `None` if it has no records.
    pub(super) fn client(&self) -> Option<u32> {
        self.records.first().map(|record| record.client)
    }

    /// Before this event nothing of it can have been at the server.
    pub(super) fn first_sent(&self) -> usize {
        self.sent.first().map_or(self.begun, |sent| sent.event)
    }

    /// The event at which it was acknowledged.
    pub(super) fn acked(&self) -> Option<usize> {
        self.end.filter(|(_, outcome)| matches!(outcome, Outcome::Acked { .. })).map(|(at, _)| at)
    }

    /// The window of an acknowledgement of `attempt` at `event`.
    pub(super) fn window(&self, attempt: u32, event: usize) -> Window {
        let sent = self.sent.iter().find(|sent| sent.attempt == attempt);
        Window { since: sent.map_or(self.begun, |sent| sent.event) + 1, until: event }
    }
}

/// Consecutive records of one append, as a read has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) append: usize,
    /// The first of them, counted within the append.
    pub(super) first: u64,
    /// Its offset.
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Sighting {
    /// The offset of the append's first record; `None` if there is no room for the records before these.
    pub(super) const fn base(&self) -> Option<u64> {
        self.offset.checked_sub(self.first)
    }
}

/// Records that a read should not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strange {
    pub(super) event: usize,
    pub(super) what: String,
    /// The event at which the record was begun, if it ever was.
    pub(super) begun: Option<usize>,
}

/// From one disk to the next.
#[derive(Clone, Copy, Debug)]
struct Life {
    start: usize,
    end: usize,
}

/// Consecutive records of one client in one append.
#[derive(Clone, Copy, Debug)]
struct Run {
    append: usize,
    first: u64,
    len: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Evidence<'h> {
    history: &'h History,
    lives: Vec<Life>,
    runs: BTreeMap<RecordId, Run>,
    pub(super) appends: Vec<Append<'h>>,
    pub(super) logs: Logs<'h>,
    /// Partitions by life and place.
    pub(super) partitions: BTreeMap<(usize, Place), Partition>,
    /// What each read and final read saw, by event.
    pub(super) sightings: BTreeMap<usize, Vec<Sighting>>,
    pub(super) strange: Vec<Strange>,
    /// The first event at which the wall clock of the database jumped.
    jumped: Option<usize>,
    /// The history itself is not one.
    pub(super) malformed: Vec<Violation>,
}

impl<'h> Evidence<'h> {
    /// Gathers what `history` proves.
    pub(crate) fn of(history: &'h History) -> Self {
        let mut evidence = Self {
            history,
            lives: lives(history),
            runs: BTreeMap::new(),
            appends: Vec::new(),
            logs: Logs::default(),
            partitions: BTreeMap::new(),
            sightings: BTreeMap::new(),
            strange: Vec::new(),
            jumped: None,
            malformed: Vec::new(),
        };
        let jumps = |event: &Event| matches!(event.kind, Kind::ClockJumped { .. });
        evidence.jumped = history.events().iter().position(jumps);
        evidence.gather_appends();
        evidence.logs = Logs::of(&evidence);
        evidence.gather_facts();
        evidence.gather_harm();
        let ends = evidence.recoveries();
        for ((life, _), partition) in &mut evidence.partitions {
            let Life { start, end } = evidence.lives[*life];
            // The end that wipes the disk ends the life, and nothing is asked of it.
            let ends =
                ends.iter().filter(|recovery| start <= recovery.event && recovery.event < end);
            partition.settle(&evidence.appends, ends.copied());
        }
        evidence
    }

    /// All events.
    pub(super) fn events(&self) -> &'h [Event] {
        self.history.events()
    }

    /// The events with their places.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, &'h Event)> + use<'h> {
        self.events().iter().enumerate()
    }

    /// When an event happened.
    pub(super) fn at(&self, event: usize) -> u64 {
        self.events().get(event).map_or(0, |event| event.at)
    }

    /// Every end of the process, in order.
    pub(super) fn ends(&self) -> Vec<(usize, End)> {
        let end = |(at, event): (usize, &Event)| match event.kind {
            Kind::Ended { end, .. } => Some((at, end)),
            _ => None,
        };
        self.numbered().filter_map(end).collect()
    }

    /// Every end of the process with the recovery after it.
    fn recoveries(&self) -> Vec<Recovery> {
        let boots = self.numbered().filter(|(_, event)| matches!(event.kind, Kind::Booted { .. }));
        let boots: Vec<usize> = boots.map(|(event, _)| event).collect();
        let recovery = |(event, end)| {
            let next = boots.partition_point(|boot| *boot < event);
            Recovery { event, end, over: boots.get(next).copied().unwrap_or(usize::MAX) }
        };
        self.ends().into_iter().map(recovery).collect()
    }

    /// Whether the wall clock of the database jumped before an event: then ages say nothing.
    pub(super) fn clock_jumped_before(&self, event: usize) -> bool {
        self.jumped.is_some_and(|at| at < event)
    }

    /// Whether what was sent at an event is certainly younger than this at another, clocks that run a hundredth fast included.
    pub(super) fn is_younger(&self, sent: usize, until: usize, ms: u64) -> bool {
        let age = self.at(until).saturating_sub(self.at(sent));
        let most = age.saturating_add(age / 100);
        most < ms.saturating_mul(1_000_000) && !self.clock_jumped_before(until)
    }

    /// How many disks there were.
    pub(super) fn lives(&self) -> usize {
        self.lives.len()
    }

    /// The life in which the whole window lies.
    pub(super) fn life_of(&self, window: Window) -> Option<usize> {
        let life = self.lives.partition_point(|life| life.end < window.until);
        self.lives.get(life).filter(|life| life.start <= window.since).map(|_| life)
    }

    /// The life in which something happened.
    pub(super) fn life_at(&self, event: usize) -> Option<usize> {
        self.life_of(Window { since: event, until: event })
    }

    /// The events of a life, with the one that ended it.
    pub(super) fn of_life(
        &self,
        life: usize,
    ) -> impl Iterator<Item = (usize, &'h Event)> + use<'h> {
        let Life { start, end } = self.lives[life];
        self.numbered().take(end + 1).skip(start)
    }

    /// The lives in which a window lies in part.
    pub(super) fn lives_of(&self, window: Window) -> std::ops::RangeInclusive<usize> {
        let last = self.lives.len() - 1;
        let of = |event| self.lives.partition_point(|life| life.end < event).min(last);
        of(window.since)..=of(window.until)
    }

    /// A window as long as a life.
    pub(super) fn span_of(&self, life: usize) -> Window {
        let Life { start, end } = self.lives[life];
        Window { since: start, until: end }
    }

    /// The append of a record, and its place there.
    pub(super) fn owner(&self, id: RecordId) -> Option<(usize, u64)> {
        let (start, run) = self.runs.range(..=id).next_back()?;
        let behind = id.sequence.wrapping_sub(start.sequence);
        (start.client == id.client && behind < run.len).then(|| (run.append, run.first + behind))
    }

    fn malformed(&mut self, event: usize, what: impl Into<String>) {
        let at = self.at(event);
        let violation = Violation { oracle: "history", at, what: what.into(), events: vec![event] };
        self.malformed.push(violation);
    }

    fn gather_appends(&mut self) {
        let mut numbers = BTreeMap::new();
        for (event, Event { kind, .. }) in self.numbered() {
            match kind {
                Kind::AppendBegun { append, place, level, idempotent, records } => {
                    let at = self.appends.len();
                    if numbers.insert(*append, at).is_some() {
                        self.malformed(event, format!("append {append} begins twice"));
                    }
                    self.appends.push(Append {
                        begun: event,
                        place: *place,
                        level: *level,
                        idempotent: *idempotent,
                        records,
                        keys: &[],
                        sent: Vec::new(),
                        end: None,
                    });
                    self.note_records(event, at, records);
                }
                Kind::Keyed { append, keys } => {
                    if let Some(append) = self.open_append(event, &numbers, *append) {
                        append.keys = keys;
                    }
                }
                Kind::AppendSent { append, attempt, session, bytes } => {
                    let sent = Sent { event, attempt: *attempt, session: *session, bytes: *bytes };
                    if let Some(append) = self.open_append(event, &numbers, *append) {
                        append.sent.push(sent);
                    }
                }
                Kind::AppendEnded { append, outcome } => {
                    if let Some(append) = self.open_append(event, &numbers, *append) {
                        append.end = Some((event, *outcome));
                    }
                }
                _ => {}
            }
        }
    }

    /// The append of this number, which has to have begun and not to be over.
    fn open_append(
        &mut self,
        event: usize,
        numbers: &BTreeMap<u64, usize>,
        number: u64,
    ) -> Option<&mut Append<'h>> {
        let Some(at) = numbers.get(&number).copied() else {
            self.malformed(event, format!("append {number} did not begin"));
            return None;
        };
        if self.appends[at].end.is_some() {
            self.malformed(event, format!("append {number} is over"));
            return None;
        }
        Some(&mut self.appends[at])
    }

    /// Notes which records belong to an append, run by run.
    fn note_records(&mut self, event: usize, append: usize, records: &'h [RecordId]) {
        if records.is_empty() {
            self.malformed(event, "an append without a record");
        }
        let follows = |one: &RecordId, next: &RecordId| {
            one.client == next.client && Some(next.sequence) == one.sequence.checked_add(1)
        };
        let mut first = 0;
        for run in records.chunk_by(follows) {
            let (start, len) = (run[0], run.len() as u64);
            let last = RecordId { sequence: start.sequence + (len - 1), ..start };
            let taken = self.runs.range(..=last).next_back().filter(|(found, run)| {
                found.client == start.client && found.sequence + run.len > start.sequence
            });
            if taken.is_some() {
                self.malformed(event, format!("{start} or one after it belongs to another append"));
            }
            self.runs.insert(start, Run { append, first, len });
            first += len;
        }
    }

    fn gather_facts(&mut self) {
        for append in 0..self.appends.len() {
            self.note_ack(append);
        }
        for (event, Event { kind, .. }) in self.numbered() {
            match kind {
                Kind::Read(Read { begun, place, records, low, high, .. })
                | Kind::FinalRead(FinalRead { begun, place, records, low, high, .. }) => {
                    let window = Window { since: begun.0, until: event };
                    self.note_sightings(window, *place, records);
                    self.note_range(window, *place, (*low, *high));
                    if let (Some(life), Kind::FinalRead(_)) = (self.life_of(window), kind) {
                        self.partition(life, *place).finals.push(event);
                    }
                }
                Kind::Watermarks(found) => {
                    let window = Window { since: found.begun.0, until: event };
                    self.note_range(window, found.place, (found.low, found.high));
                }
                Kind::Proven(Proven { begun, place, seen }) => {
                    self.note_proven(Window { since: begun.0, until: event }, *place, seen);
                }
                Kind::ReadRefused(ReadRefused { begun, place, refusal, .. }) => {
                    let window = Window { since: begun.0, until: event };
                    if refusal.code == OFFSET_OUT_OF_RANGE {
                        self.note_range(window, *place, (refusal.a, refusal.b));
                    }
                }
                _ => {}
            }
        }
    }

    /// Notes where an acknowledged append is.
    fn note_ack(&mut self, at: usize) {
        let append = &self.appends[at];
        let Some((event, Outcome::Acked { attempt, base_offset, .. })) = append.end else { return };
        if !append.sent.iter().any(|sent| sent.attempt == attempt) {
            self.malformed(event, format!("attempt {attempt} was never sent"));
            return;
        }
        let (place, asked, end) = (append.place, append.level, base_offset + append.len());
        let window = append.window(attempt, event);
        // Between two disks: which of them it speaks of is not known.
        let Some(life) = self.life_of(window) else { return };
        let (weakest, strongest) = self.logs.levels((life, place.log), window);
        let level = asked.unwrap_or(weakest);
        let visible = level >= strongest;
        let fact = Fact { append: at, base: base_offset, end, window, level, visible };
        self.partition(life, place).facts.push(fact);
    }

    /// Notes which appends a read saw.
    fn note_sightings(&mut self, window: Window, place: Place, records: &[Seen]) {
        let sightings = self.sight(window, place, records);
        if let Some(life) = self.life_of(window) {
            let (level, _) = self.logs.levels((life, place.log), window);
            let facts = sightings.iter().filter_map(|sighting| {
                let (append, base) = (sighting.append, sighting.base()?);
                let end = base + self.appends[append].len();
                Some(Fact { append, base, end, window, level, visible: true })
            });
            let facts: Vec<_> = facts.collect();
            self.partition(life, place).facts.extend(facts);
        }
        self.sightings.insert(window.until, sightings);
    }

    /// Notes which append a proven record is of: it is on stable storage.
    fn note_proven(&mut self, window: Window, place: Place, seen: &Seen) {
        let sightings = self.sight(window, place, std::slice::from_ref(seen));
        let Some((sighting, life)) = sightings.first().zip(self.life_of(window)) else { return };
        let append = sighting.append;
        let Some(base) = sighting.base() else {
            let what = format!("a record proven at {} of {place} is too near zero", seen.offset);
            let begun = Some(self.appends[append].begun);
            self.strange.push(Strange { event: window.until, what, begun });
            return;
        };
        let end = base + self.appends[append].len();
        let fact = Fact { append, base, end, window, level: Level::Synced, visible: true };
        self.partition(life, place).facts.push(fact);
    }

    fn sight(&mut self, window: Window, place: Place, records: &[Seen]) -> Vec<Sighting> {
        let mut sightings: Vec<Sighting> = Vec::new();
        for seen in records {
            let id = match &seen.content {
                Ok(id) => *id,
                Err(wrong) => {
                    let what =
                        format!("the record at {} of {place} is wrong: {wrong}", seen.offset);
                    self.strange.push(Strange { event: window.until, what, begun: None });
                    continue;
                }
            };
            if let Some(last) = sightings.last_mut()
                && seen.offset == last.offset + last.len
                && self.appends[last.append].records.get(to_usize(last.first + last.len))
                    == Some(&id)
            {
                last.len += 1;
                continue;
            }
            match self.place_of(id, window, place) {
                Ok((append, first)) => {
                    sightings.push(Sighting { append, first, offset: seen.offset, len: 1 });
                }
                Err((why, begun)) => {
                    let what = format!("{id}, seen at {} of {place}, {why}", seen.offset);
                    self.strange.push(Strange { event: window.until, what, begun });
                }
            }
        }
        sightings
    }

    /// The append of a record that was seen in `place`, or why it cannot have been.
    fn place_of(
        &self,
        id: RecordId,
        window: Window,
        place: Place,
    ) -> Result<(usize, u64), (&'static str, Option<usize>)> {
        let (at, first) = self.owner(id).ok_or(("was never appended", None))?;
        let append = &self.appends[at];
        if append.place != place {
            return Err(("was appended to another partition", Some(append.begun)));
        }
        if append.first_sent() >= window.until {
            return Err(("had not been sent yet", Some(append.begun)));
        }
        // An append that had its answer before the disk was replaced is on the old disk or nowhere.
        let born = self.lives[*self.lives_of(window).start()].start;
        let answered = append.end.filter(|(_, outcome)| *outcome != Outcome::Unknown);
        if answered.is_some_and(|(end, _)| end < born) {
            return Err(("had its answer before the disk was replaced", Some(append.begun)));
        }
        Ok((at, first))
    }

    fn note_range(&mut self, window: Window, place: Place, (low, high): (u64, u64)) {
        let Some(life) = self.life_of(window) else { return };
        let (level, _) = self.logs.levels((life, place.log), window);
        self.partition(life, place).ranges.push(Range { window, low, high, level });
    }

    fn partition(&mut self, life: usize, place: Place) -> &mut Partition {
        let storage = self.logs.storage((life, place.log));
        self.partitions.entry((life, place)).or_insert_with(|| Partition::new(life, place, storage))
    }
}

/// The lives of a history: each but the last ends with the event that wiped the disk.
fn lives(history: &History) -> Vec<Life> {
    let events = history.events();
    let ends_life = |event: &Event| matches!(event.kind, Kind::Ended { wiped: true, .. });
    let wipes = events.iter().enumerate().filter(|(_, event)| ends_life(event)).map(|(at, _)| at);
    let ends: Vec<usize> = wipes.chain([events.len()]).collect();
    let starts = std::iter::once(0).chain(ends.iter().map(|end| end + 1));
    starts.zip(&ends).map(|(start, end)| Life { start, end: *end }).collect()
}

/// Ranges in order and apart from each other, with the same offsets in them.
pub(super) fn merged(ranges: impl Iterator<Item = Offsets>) -> Vec<Offsets> {
    let mut ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Offsets> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Whether all of `wanted`, which is not empty, is in `ranges`, which are [`merged`].
pub(super) fn covers(ranges: &[Offsets], wanted: &Offsets) -> bool {
    let after = ranges.partition_point(|range| range.start <= wanted.start);
    after.checked_sub(1).is_some_and(|at| wanted.end <= ranges[at].end)
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
