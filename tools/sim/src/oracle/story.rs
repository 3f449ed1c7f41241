//! Histories written by hand, for tests.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ids::id;
use super::{all, judge};
use crate::history::{
    CatalogAnswer, CatalogAsk, Content, CounterAnswer, CounterAsk, CounterMode, CounterState, End,
    FinalRead, History, IdRun, IdsDealt, Key, Kind, Level, Life, LogChanges, LogSettings, Mark,
    Outcome, Place, Read, ReadRefused, RecordId, Refusal, Seen, SessionUse, Storage, WORLD,
    Watermarks,
};

/// Nanoseconds between two events.
const STEP: u64 = 1_000;

/// A history in the making. What is said about a partition is said about [`Story::place`], which is of a log that exists
/// from the beginning.
#[derive(Clone, Debug)]
pub(super) struct Story {
    history: History,
    now: u64,
    settings: LogSettings,
    place: Place,
    records: BTreeMap<u64, Vec<RecordId>>,
    attempts: BTreeMap<u64, u32>,
    next: u64,
}

/// A durable log.
pub(super) fn durable(level: Level) -> LogSettings {
    let storage = Storage::Durable;
    let life = Life::default();
    LogSettings { partitions: 1, level, storage, memory_bytes_max: 0, ttl_ms: 0, life }
}

/// A log in memory.
pub(super) fn in_memory(memory_bytes_max: u64) -> LogSettings {
    let (level, storage) = (Level::Memory, Storage::Memory);
    LogSettings { level, storage, memory_bytes_max, ..durable(level) }
}

impl Story {
    /// With a synced log.
    pub(super) fn new() -> Self {
        Self::of(Level::Synced)
    }

    /// With a durable log of this level.
    pub(super) fn of(level: Level) -> Self {
        Self::with(durable(level))
    }

    /// With a log in memory.
    pub(super) fn in_memory(budget: u64) -> Self {
        Self::with(in_memory(budget))
    }

    pub(super) fn with(settings: LogSettings) -> Self {
        let mut story = Self {
            history: History::new(),
            now: 0,
            settings,
            place: Place { log: 7, partition: 0 },
            records: BTreeMap::new(),
            attempts: BTreeMap::new(),
            next: 0,
        };
        story.create();
        story
    }

    pub(super) const fn history(&self) -> &History {
        &self.history
    }

    pub(super) const fn place(&self) -> Place {
        self.place
    }

    pub(super) fn mark(&self) -> Mark {
        self.history.mark()
    }

    pub(super) fn push(&mut self, kind: Kind) {
        self.now += STEP;
        self.history.push(self.now, 1, kind);
    }

    fn world(&mut self, kind: Kind) {
        self.now += STEP;
        self.history.push(self.now, WORLD, kind);
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, ns: u64) {
        self.now += ns;
    }

    /// Tells something about another partition.
    pub(super) fn at<T>(&mut self, place: Place, tell: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.place, place);
        let told = tell(self);
        self.place = before;
        told
    }

    // The catalog.

    pub(super) fn ask(&mut self, ask: CatalogAsk, answer: CatalogAnswer) {
        let request = self.history.next_request();
        self.push(Kind::CatalogAsked { request, ask });
        self.push(Kind::CatalogAnswered { request, answer });
    }

    /// The log of the story comes to be.
    pub(super) fn create(&mut self) {
        self.create_as("log", self.place.log);
    }

    pub(super) fn create_as(&mut self, name: &str, log: u64) {
        let ask = CatalogAsk::Create { name: name.to_owned(), settings: self.settings };
        self.ask(ask, CatalogAnswer::Done { log });
    }

    pub(super) fn alter(&mut self, changes: LogChanges) {
        let ask = CatalogAsk::Alter { name: "log".to_owned(), changes };
        self.ask(ask, CatalogAnswer::Done { log: self.place.log });
    }

    pub(super) fn alter_without_answer(&mut self, changes: LogChanges) {
        let ask = CatalogAsk::Alter { name: "log".to_owned(), changes };
        self.ask(ask, CatalogAnswer::Unknown);
    }

    pub(super) fn seen_logs(&mut self, names: Option<&[&str]>, present: &[(&str, u64)]) {
        let begun = self.mark();
        let names = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let present = present.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect();
        self.push(Kind::CatalogSeen { begun, names, present });
    }

    // Appends.

    fn begin(
        &mut self,
        (client, records): (u32, u64),
        level: Option<Level>,
        idempotent: bool,
    ) -> u64 {
        let append = self.history.next_append();
        let first = self.next;
        self.next += records;
        let ids = (first..self.next).map(|sequence| RecordId { client, sequence });
        let records: Vec<_> = ids.collect();
        self.records.insert(append, records.clone());
        let place = self.place;
        self.push(Kind::AppendBegun { append, place, level, idempotent, records });
        append
    }

    /// An append with these keys that was acknowledged: a negative one is a tombstone of its number, `None` no key.
    pub(super) fn wrote_keys(&mut self, base: u64, keys: &[Option<i32>]) -> u64 {
        let append = self.sent_keys(keys);
        self.acked(append, base);
        append
    }

    /// The same, not acknowledged yet.
    pub(super) fn sent_keys(&mut self, keys: &[Option<i32>]) -> u64 {
        let append = self.begun(keys.len() as u64);
        let key = |key: i32| Key {
            number: u16::try_from(key.unsigned_abs()).expect("a small number"),
            is_tombstone: key < 0,
        };
        let keys = keys.iter().map(|number| number.map(key)).collect();
        self.push(Kind::Keyed { append, keys });
        self.sent(append);
        append
    }

    /// A final read of these offsets of appends that lie next to each other from 0 on.
    pub(super) fn final_read_of(&mut self, appends: &[u64], offsets: &[u64]) {
        let (begun, place) = (self.mark(), self.place);
        let records = self.dense(appends, offsets);
        let high = appends.iter().map(|append| self.records(*append).len() as u64).sum();
        let damaged = Vec::new();
        self.push(Kind::FinalRead(FinalRead { begun, place, low: 0, high, records, damaged }));
    }

    /// A read of these offsets of appends that lie next to each other from 0 on.
    pub(super) fn read_of(&mut self, appends: &[u64], offsets: &[u64]) {
        self.read_begun(self.mark(), appends, offsets);
    }

    /// The same, asked for at an earlier mark.
    pub(super) fn read_begun(&mut self, begun: Mark, appends: &[u64], offsets: &[u64]) {
        let place = self.place;
        let records = self.dense(appends, offsets);
        let (next, ids) = (records.last().map_or(0, |seen| seen.offset + 1), Vec::new());
        let high = appends.iter().map(|append| self.records(*append).len() as u64).sum();
        self.push(Kind::Read(Read { begun, place, from: 0, records, ids, next, low: 0, high }));
    }

    fn dense(&self, appends: &[u64], offsets: &[u64]) -> Vec<Seen> {
        let all = appends.iter().flat_map(|append| self.records(*append));
        let all = (0..).zip(all).filter(|(offset, _)| offsets.contains(offset));
        all.map(|(offset, id)| Seen { offset, content: Ok(*id) }).collect()
    }

    pub(super) fn truncate(&mut self, before: u64) {
        let (request, place) = (self.history.next_request(), self.place);
        self.push(Kind::TruncateAsked { request, place, before });
    }

    pub(super) fn begun(&mut self, records: u64) -> u64 {
        self.begin((1, records), None, true)
    }

    /// The same, of a client: others are of client 1.
    pub(super) fn begun_by(&mut self, client: u32, records: u64) -> u64 {
        self.begin((client, records), None, true)
    }

    /// An append with a session that was sent once.
    pub(super) fn append(&mut self, records: u64) -> u64 {
        let append = self.begun(records);
        self.sent(append);
        append
    }

    /// The same, of a level.
    pub(super) fn leveled(&mut self, level: Level, records: u64) -> u64 {
        let append = self.begin((1, records), Some(level), true);
        self.sent(append);
        append
    }

    /// The same, without a session.
    pub(super) fn raw(&mut self, records: u64) -> u64 {
        let append = self.begin((1, records), None, false);
        self.sent(append);
        append
    }

    pub(super) fn sent(&mut self, append: u64) {
        self.sent_bytes(append, 100);
    }

    pub(super) fn sent_bytes(&mut self, append: u64, bytes: u64) {
        self.send(append, None, bytes);
    }

    pub(super) fn sent_in(&mut self, append: u64, session: u64, sequence: u64) {
        self.send(append, Some(SessionUse { id: session, epoch: 0, sequence }), 100);
    }

    fn send(&mut self, append: u64, session: Option<SessionUse>, bytes: u64) {
        let attempts = self.attempts.entry(append).or_default();
        *attempts += 1;
        let attempt = *attempts;
        self.push(Kind::AppendSent { append, attempt, session, bytes });
    }

    fn ended(&mut self, append: u64, outcome: Outcome) {
        self.push(Kind::AppendEnded { append, outcome });
    }

    /// The last attempt was acknowledged.
    pub(super) fn acked(&mut self, append: u64, base_offset: u64) {
        let attempt = self.attempts.get(&append).copied().unwrap_or_default();
        self.ended(append, Outcome::Acked { attempt, base_offset, duplicate: false });
    }

    /// The last attempt was acknowledged as a repetition.
    pub(super) fn duplicate(&mut self, append: u64, base_offset: u64) {
        let attempt = self.attempts.get(&append).copied().unwrap_or_default();
        self.ended(append, Outcome::Acked { attempt, base_offset, duplicate: true });
    }

    pub(super) fn refused(&mut self, append: u64, code: u16) {
        self.ended(append, Outcome::Refused(Refusal { code, ..Refusal::default() }));
    }

    pub(super) fn unknown(&mut self, append: u64) {
        self.ended(append, Outcome::Unknown);
    }

    /// An append that was acknowledged.
    pub(super) fn wrote(&mut self, records: u64, base: u64) -> u64 {
        let append = self.append(records);
        self.acked(append, base);
        append
    }

    /// The same, of so many bytes.
    pub(super) fn wrote_bytes(&mut self, records: u64, base: u64, bytes: u64) -> u64 {
        let append = self.begun(records);
        self.sent_bytes(append, bytes);
        self.acked(append, base);
        append
    }

    /// The records of an append.
    pub(super) fn records(&self, append: u64) -> &[RecordId] {
        &self.records[&append]
    }

    // Reads.

    /// Some records of an append, to be read.
    pub(super) fn seen(&self, append: u64, records: Range<usize>) -> Vec<Content> {
        self.records(append)[records].iter().map(|id| Ok(*id)).collect()
    }

    /// Some records of an append that is at `base`, as read.
    pub(super) fn final_seen(&self, append: u64, records: Range<usize>, base: u64) -> Vec<Seen> {
        let first = base + records.start as u64;
        let contents = self.seen(append, records);
        (first..).zip(contents).map(|(offset, content)| Seen { offset, content }).collect()
    }

    /// Whole appends at their places, as read.
    fn whole(&self, appends: &[(u64, u64)]) -> Vec<Seen> {
        let seen = appends.iter();
        seen.flat_map(|(append, base)| {
            self.final_seen(*append, 0..self.records(*append).len(), *base)
        })
        .collect()
    }

    /// A read of whole appends that lie next to each other.
    pub(super) fn read(&mut self, appends: &[(u64, u64)]) {
        let begun = self.mark();
        self.read_since(begun, appends);
    }

    pub(super) fn read_since(&mut self, begun: Mark, appends: &[(u64, u64)]) {
        let (records, place) = (self.whole(appends), self.place);
        let from = records.first().map_or(0, |seen| seen.offset);
        let next = from + records.len() as u64;
        self.push(Kind::Read(Read {
            begun,
            place,
            from,
            records,
            ids: Vec::new(),
            next,
            low: 0,
            high: next,
        }));
    }

    /// A read of records from an offset on.
    pub(super) fn read_seen(&mut self, begun: Mark, from: u64, contents: Vec<Content>) {
        let (next, place) = (from + contents.len() as u64, self.place);
        let records = (from..).zip(contents).map(|(offset, content)| Seen { offset, content });
        let records = records.collect();
        self.push(Kind::Read(Read {
            begun,
            place,
            from,
            records,
            ids: Vec::new(),
            next,
            low: 0,
            high: next,
        }));
    }

    pub(super) fn read_refused(&mut self, from: Option<u64>, refusal: Refusal) {
        let (begun, place) = (self.mark(), self.place);
        self.push(Kind::ReadRefused(ReadRefused { begun, place, from, refusal }));
    }

    /// A final read that has these appends, from 0 to the end of the last.
    pub(super) fn final_read(&mut self, appends: &[(u64, u64)]) {
        self.final_read_without(appends, &[]);
    }

    /// The same, with ranges that were refused as damaged.
    pub(super) fn final_read_without(&mut self, appends: &[(u64, u64)], damaged: &[(u64, u64)]) {
        let (begun, place, records) = (self.mark(), self.place, self.whole(appends));
        let seen = records.last().map_or(0, |seen| seen.offset + 1);
        let high = damaged.iter().map(|range| range.1).max().unwrap_or(0).max(seen);
        let damaged = damaged.iter().map(|(start, end)| *start..*end).collect();
        self.push(Kind::FinalRead(FinalRead { begun, place, low: 0, high, records, damaged }));
    }

    pub(super) fn watermarks(&mut self, low: u64, high: u64) {
        let begun = self.mark();
        self.watermarks_since(begun, low, high);
    }

    pub(super) fn watermarks_since(&mut self, begun: Mark, low: u64, high: u64) {
        let place = self.place;
        self.push(Kind::Watermarks(Watermarks { begun, place, low, high, end: None }));
    }

    // Sequencers.

    /// A run of ids that a client got.
    pub(super) fn dealt(&mut self, slot: u16, first: u64, count: u64) {
        let begun = self.mark();
        self.push(Kind::IdsDealt(IdsDealt { begun, slot, first, count }));
    }

    /// A read of a whole append with ids from a tick of a slot on; tick 0 of slot 0 is none.
    pub(super) fn read_ids(&mut self, append: u64, base: u64, first: (u16, u64)) {
        let begun = self.mark();
        self.read_with_ids(begun, &[(append, base)], &[first]);
    }

    /// A read of two appends, one after the other from 0 on, each with its ids.
    pub(super) fn read_both(&mut self, one: (u64, (u16, u64)), other: (u64, (u16, u64))) {
        let begun = self.mark();
        let base = self.records(one.0).len() as u64;
        self.read_with_ids(begun, &[(one.0, 0), (other.0, base)], &[one.1, other.1]);
    }

    fn read_with_ids(&mut self, begun: Mark, appends: &[(u64, u64)], firsts: &[(u16, u64)]) {
        let (records, place) = (self.whole(appends), self.place);
        let ids = appends.iter().zip(firsts).map(|((append, base), (slot, tick))| IdRun {
            offset: *base,
            len: self.records(*append).len() as u64,
            id: id(*slot, *tick),
        });
        let ids = ids.collect();
        let from = records.first().map_or(0, |seen| seen.offset);
        let next = from + records.len() as u64;
        self.push(Kind::Read(Read { begun, place, from, records, ids, next, low: 0, high: next }));
    }

    /// The counter of the story comes to be.
    pub(super) fn counter(&mut self, mode: CounterMode) {
        let state = CounterState { mode, last: 0, durable: 0 };
        self.counter_asked(CounterAsk::Create { mode }, CounterAnswer::State(state));
    }

    pub(super) fn counter_asked(&mut self, ask: CounterAsk, answer: CounterAnswer) {
        let request = self.history.next_request();
        self.push(Kind::CounterAsked { request, name: "counter".to_owned(), ask });
        self.push(Kind::CounterAnswered { request, answer });
    }

    /// Numbers of it were taken.
    pub(super) fn took(&mut self, first: u64, count: u64) {
        self.counter_asked(CounterAsk::Take { count }, CounterAnswer::Taken { first, count });
    }

    /// It was described.
    pub(super) fn counter_state(&mut self, mode: CounterMode, last: u64, durable: u64) {
        let state = CounterState { mode, last, durable };
        self.counter_asked(CounterAsk::Describe, CounterAnswer::State(state));
    }

    pub(super) fn strike_counters(&mut self) {
        let target = crate::history::Target::Counters;
        self.world(Kind::Struck { target, fault: "an old file" });
    }

    // The world.

    pub(super) fn end(&mut self, end: End) {
        self.world(Kind::Ended { end, wiped: false });
    }

    pub(super) fn wipe(&mut self) {
        self.world(Kind::Ended { end: End::Power, wiped: true });
    }

    pub(super) fn strike(&mut self, fault: &'static str) {
        let target = crate::history::Target::Partition(self.place);
        self.world(Kind::Struck { target, fault });
    }

    pub(super) fn call_failed(&mut self) {
        let target = crate::history::Target::Partition(self.place);
        self.world(Kind::CallFailed { target, fault: "sync error" });
    }

    pub(super) fn probe(&mut self, result: Result<(), String>) {
        self.world(Kind::Probed { what: "probe".to_owned(), result });
    }

    // The judgement.

    /// What an oracle says.
    pub(super) fn judge(&self, name: &str) -> Vec<String> {
        let oracle = all().iter().find(|oracle| oracle.name == name).expect("an oracle");
        (oracle.judge)(&self.history).into_iter().map(|violation| violation.what).collect()
    }

    /// No oracle says anything.
    pub(super) fn assert_clean(&self) {
        let violations: Vec<_> = judge(&self.history).iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "{violations:#?}\nof {:#?}", self.history.events());
    }

    /// An oracle says this, in part.
    pub(super) fn assert_guilty(&self, name: &str, what: &str) {
        let violations = self.judge(name);
        let found = violations.iter().any(|violation| violation.contains(what));
        assert!(found, "{what:?} is not in {violations:#?} of {:#?}", self.history.events());
    }

    /// No other oracle says anything.
    pub(super) fn assert_guilty_only(&self, name: &str) {
        let others: Vec<_> =
            judge(&self.history).into_iter().filter(|violation| violation.oracle != name).collect();
        assert_eq!(others, []);
    }
}
