//! A toy: clients and a log server in a few hundred lines, which does at random whatever a server may do, and with a bug
//! one thing more. It writes the history that oracles are tried on.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::disk::{Batch, Disk};
use crate::history::{
    CatalogAnswer, CatalogAsk, End, FinalRead, History, Kind, Level, LogChanges, LogSettings, Mark,
    Outcome, Place, Read, ReadRefused, RecordId, Refusal, Seen, SessionUse, Storage, Target, WORLD,
    Watermarks,
};
use crate::oracle::story::{durable, in_memory};

/// What the toy does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    AckBeforeSync,
    CutTooMuch,
    StopIsACrash,
    TornIsDamage,
    HalfAnAppend,
    SessionsAreForgotten,
    DamageIsATornTail,
    DamageIsNotReported,
    DuplicateIsTaken,
    OffsetIsReused,
    UncommittedIsRead,
    HighGoesBack,
    LowGoesBack,
    EvictsTooMuch,
    EvictsTooLate,
    RefusedIsTaken,
    AckIsOffByOne,
    CreationIsLost,
    DeletionIsLost,
    IdIsReused,
    BytesAreWrong,
    ReadSkips,
}

/// Budget of a log in memory.
const BUDGET: u64 = 1 << 20;

/// A log of the server.
#[derive(Clone, Debug)]
struct Log {
    name: String,
    disk: Disk,
}

/// A client's append.
#[derive(Clone, Debug)]
struct Append {
    number: u64,
    log: u64,
    level: Option<Level>,
    idempotent: bool,
    records: Vec<RecordId>,
    attempts: u32,
    session: Option<(u64, u64)>,
    bytes: u64,
    over: bool,
}

/// Something on its way to the server. It ends with the process.
#[derive(Clone, Debug)]
enum Asked {
    Append { append: usize, attempt: u32 },
    Read { log: u64, begun: Mark },
    Marks { log: u64, begun: Mark },
}

/// An append that waits for its level.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    append: usize,
    attempt: u32,
    log: u64,
    end: u64,
    base: u64,
    level: Level,
    duplicate: bool,
}

/// See the module.
pub(super) struct Toy {
    rng: Rng,
    bug: Option<Bug>,
    history: History,
    now: u64,
    logs: BTreeMap<u64, Log>,
    next_id: u64,
    names: u64,
    /// The process ends rarely.
    calm: bool,
    /// Size of the largest append.
    bytes_max: u64,
    next_record: u64,
    appends: Vec<Append>,
    /// The client's session for a log, and its next sequence.
    sessions: BTreeMap<u64, (u64, u64)>,
    asked: Vec<Asked>,
    waiting: Vec<Waiting>,
    /// Answers on their way: what the client will note, and which append it ends.
    answers: Vec<(Option<usize>, Kind)>,
}

impl Toy {
    /// A run of so many steps.
    pub(super) fn run(seed: u64, bug: Option<Bug>, steps: usize) -> History {
        let mut toy = Self {
            rng: Rng::with_seed(seed),
            bug,
            history: History::new(),
            now: 0,
            logs: BTreeMap::new(),
            next_id: 1,
            names: 0,
            calm: seed.is_multiple_of(3),
            bytes_max: if seed.is_multiple_of(2) { 1_000 } else { BUDGET / 4 },
            next_record: 0,
            appends: Vec::new(),
            sessions: BTreeMap::new(),
            asked: Vec::new(),
            waiting: Vec::new(),
            answers: Vec::new(),
        };
        let harm = toy.rng.u32(0..4) == 0;
        for _ in 0..=toy.rng.usize(0..3) {
            toy.create();
        }
        for _ in 0..steps {
            toy.step(harm);
        }
        toy.finish();
        toy.history
    }

    fn note(&mut self, client: u32, kind: Kind) {
        self.now += self.rng.u64(1..1_000_000);
        self.history.push(self.now, client, kind);
    }

    fn is(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether a bug shows now.
    fn slips(&mut self, bug: Bug) -> bool {
        self.is(bug) && self.rng.u32(0..20) == 0
    }

    fn some_log(&mut self) -> Option<u64> {
        let at = self.rng.usize(0..self.logs.len().max(1));
        self.logs.keys().nth(at).copied()
    }

    fn step(&mut self, harm: bool) {
        let Some(log) = self.some_log() else { return self.create() };
        match self.rng.u32(0..1000) {
            0..150 => self.append(log),
            150..200 => self.append_again(),
            200..450 => self.serve(),
            450..600 => self.write(log, harm),
            600..640 => self.logs.get_mut(&log).expect("it is there").disk.sync(),
            640..840 => self.deliver(),
            840..900 => {
                let begun = self.history.mark();
                self.asked.push(Asked::Read { log, begun });
            }
            900..940 => {
                let begun = self.history.mark();
                self.asked.push(Asked::Marks { log, begun });
            }
            940..960 => self.give_up(),
            960..964 => self.end(false, harm),
            964..975 if !self.calm => self.end(false, harm),
            975..980 => self.change_catalog(log),
            980..984 => self.alter(log),
            984..985 => self.end(true, harm),
            985..990 if harm => self.strike(log, "bit rot"),
            _ => {}
        }
    }

    // Clients.

    fn append(&mut self, log: u64) {
        let (len, idempotent) = (self.rng.u64(1..6), self.rng.u32(0..4) > 0);
        let number = self.history.next_append();
        let sequences = self.next_record..self.next_record + len;
        self.next_record += len;
        let records: Vec<_> = sequences.map(|sequence| RecordId { client: 1, sequence }).collect();
        let memory = self.logs[&log].disk.settings.storage == Storage::Memory;
        let level = match self.rng.u32(0..6) {
            0 => Some(Level::Memory),
            1 if !memory => Some(Level::Written),
            2 if !memory => Some(Level::Synced),
            _ => None,
        };
        let session = idempotent.then(|| {
            let fresh = (self.rng.u64(1..), 0);
            let (id, next) = self.sessions.entry(log).or_insert(fresh);
            *next += len;
            (*id, *next - len)
        });
        let (bytes, over) = (self.rng.u64(100..self.bytes_max), false);
        let place = Place { log, partition: 0 };
        let kind = Kind::AppendBegun {
            append: number,
            place,
            level,
            idempotent,
            records: records.clone(),
        };
        self.note(1, kind);
        let append =
            Append { number, log, level, idempotent, records, attempts: 0, session, bytes, over };
        self.appends.push(append);
        self.send(self.appends.len() - 1);
    }

    fn send(&mut self, at: usize) {
        let append = &mut self.appends[at];
        append.attempts += 1;
        let attempt = append.attempts;
        let session = append.session.map(|(id, sequence)| SessionUse { id, epoch: 0, sequence });
        let (append, bytes) = (append.number, append.bytes);
        self.note(1, Kind::AppendSent { append, attempt, session, bytes });
        self.asked.push(Asked::Append { append: at, attempt });
    }

    fn append_again(&mut self) {
        let open: Vec<_> = (0..self.appends.len()).filter(|at| !self.appends[*at].over).collect();
        if !open.is_empty() {
            let at = self.rng.usize(0..open.len());
            self.send(open[at]);
        }
    }

    fn give_up(&mut self) {
        let open = (0..self.appends.len()).find(|at| !self.appends[*at].over);
        if let Some(at) = open {
            self.finish_append(at, Outcome::Unknown);
        }
    }

    fn finish_append(&mut self, at: usize, outcome: Outcome) {
        if !self.appends[at].over {
            self.appends[at].over = true;
            let append = self.appends[at].number;
            self.note(1, Kind::AppendEnded { append, outcome });
        }
    }

    /// An answer reaches its client, any of them.
    fn deliver(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.answers.len());
        let (append, kind) = self.answers.swap_remove(at);
        match (append, kind) {
            (Some(append), Kind::AppendEnded { outcome, .. }) => {
                self.finish_append(append, outcome);
            }
            (_, kind) => self.note(2, kind),
        }
    }

    // The server.

    /// Carries out something that was asked, any of it.
    fn serve(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.asked.len());
        match self.asked.swap_remove(at) {
            Asked::Append { append, attempt } => self.take(append, attempt),
            Asked::Read { log, begun } => self.read(log, begun),
            Asked::Marks { log, begun } => self.marks(log, begun),
        }
        self.answer_reached();
    }

    fn take(&mut self, at: usize, attempt: u32) {
        let append = self.appends[at].clone();
        let (bug, refuses) = (self.bug, self.slips(Bug::RefusedIsTaken));
        let overlaps = self.slips(Bug::OffsetIsReused);
        let Some(log) = self.logs.get_mut(&append.log) else { return };
        let disk = &mut log.disk;
        let level = append.level.unwrap_or(disk.settings.level);
        let known = disk.known.iter().find(|batch| batch.append == at && append.idempotent);
        let known = known.copied().filter(|_| bug != Some(Bug::DuplicateIsTaken));
        let expected = append.session.map(|(id, _)| next_sequence(disk, id));
        let found = append.session.map(|(_, sequence)| sequence);
        let (duplicate, base) = match known {
            Some(batch) => (true, batch.base),
            None if found != expected && bug != Some(Bug::DuplicateIsTaken) => {
                // A gap: the session is over, what was sent in it has no known outcome.
                self.sessions.remove(&append.log);
                return;
            }
            None => {
                let base = disk.end() - u64::from(overlaps && disk.end() > 0);
                let (len, bytes) = (append.records.len() as u64, append.bytes);
                let session = append.session;
                disk.take(Batch { append: at, base, len, bytes, session }, level);
                let late = u64::from(bug == Some(Bug::EvictsTooLate));
                let early = if bug == Some(Bug::EvictsTooMuch) { 256 } else { 1 };
                if disk.settings.storage == Storage::Memory {
                    disk.evict(disk.settings.memory_bytes_max * (1 + 2 * late) / early);
                }
                (false, base)
            }
        };
        if refuses && !duplicate && attempt == 1 && append.attempts == 1 {
            let outcome = Outcome::Refused(Refusal { code: 500, a: 0, b: 0 });
            self.answers.push((Some(at), Kind::AppendEnded { append: append.number, outcome }));
            return;
        }
        let end = base + append.records.len() as u64;
        let log = append.log;
        self.waiting.push(Waiting { append: at, attempt, log, end, base, level, duplicate });
    }

    fn answer_reached(&mut self) {
        let early = self.is(Bug::AckBeforeSync);
        let wrong = self.slips(Bug::AckIsOffByOne);
        let logs = &self.logs;
        let (reached, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| {
                let level = if early { Level::Memory } else { waiting.level };
                logs.get(&waiting.log).is_some_and(|log| log.disk.reached(level) >= waiting.end)
            });
        self.waiting = waiting;
        let reached: Vec<Waiting> = reached;
        for Waiting { append, attempt, base, duplicate, .. } in reached {
            let base_offset = base + u64::from(wrong);
            let outcome = Outcome::Acked { attempt, base_offset, duplicate };
            let number = self.appends[append].number;
            self.answers.push((Some(append), Kind::AppendEnded { append: number, outcome }));
        }
    }

    fn read(&mut self, log: u64, begun: Mark) {
        let (wrong, skips) = (self.slips(Bug::BytesAreWrong), self.slips(Bug::ReadSkips));
        let uncommitted = self.is(Bug::UncommittedIsRead);
        let Some(Log { disk, .. }) = self.logs.get(&log) else { return };
        let place = Place { log, partition: 0 };
        let (low, high) = (disk.low, if uncommitted { disk.end() } else { disk.high() });
        let from = self.rng.u64(low..=high);
        let hole = disk.damage.iter().find(|range| range.contains(&from));
        let hole = hole.cloned().or_else(|| {
            let mut bad = disk.groups.iter().filter(|group| group.bad);
            bad.find(|group| group.base <= from && from < group.end()).map(|g| g.base..g.end())
        });
        if let Some(range) = hole {
            let refusal = Refusal { code: 602, a: range.start, b: range.end };
            let refused = ReadRefused { begun, place, from: Some(from), refusal };
            self.answers.push((None, Kind::ReadRefused(refused)));
            return;
        }
        let damaged: Vec<_> = disk.damage.iter().map(|range| range.start).collect();
        let bad = disk.groups.iter().filter(|group| group.bad).map(|group| group.base);
        let stop = damaged.into_iter().chain(bad).filter(|at| *at > from).min();
        let until = stop.unwrap_or(u64::MAX).min(high);
        let mut records = self.visible(log, from..until);
        if wrong && let Some(seen) = records.last_mut() {
            seen.content = Err("wrong".to_owned());
        }
        let next = from + records.len() as u64;
        if skips && records.len() > 1 {
            records.remove(0);
        }
        let read = Read { begun, place, from, records, ids: Vec::new(), next, low, high };
        self.answers.push((None, Kind::Read(read)));
    }

    /// The records of some offsets.
    fn visible(&self, log: u64, offsets: std::ops::Range<u64>) -> Vec<Seen> {
        let batches = self.logs[&log].disk.groups.iter().flat_map(|group| &group.batches);
        let all = batches.flat_map(|batch| {
            let ids = self.appends[batch.append].records.iter();
            (batch.base..batch.end()).zip(ids).map(|(offset, id)| Seen { offset, content: Ok(*id) })
        });
        all.filter(|seen| offsets.contains(&seen.offset)).collect()
    }

    fn marks(&mut self, log: u64, begun: Mark) {
        let (back, low_back) = (self.slips(Bug::HighGoesBack), self.is(Bug::LowGoesBack));
        let Some(Log { disk, .. }) = self.logs.get(&log) else { return };
        let place = Place { log, partition: 0 };
        let (low, high) = (disk.low, disk.high());
        let low = if low_back { low / 2 } else { low };
        let high = if back { high.saturating_sub(2).max(low) } else { high };
        let (end, bytes) = (Some(disk.end()), disk.held());
        let memory = disk.settings.storage == Storage::Memory;
        self.answers.push((None, Kind::Watermarks(Watermarks { begun, place, low, high, end })));
        if memory {
            self.answers.push((None, Kind::MemoryObserved { begun, place, bytes }));
        }
    }

    fn write(&mut self, log: u64, harm: bool) {
        let disk = &mut self.logs.get_mut(&log).expect("it is there").disk;
        let wrote = disk.write();
        if wrote && harm && self.rng.u32(0..40) == 0 {
            disk.groups.last_mut().expect("it was written").bad = true;
            let target = Target::Partition(Place { log, partition: 0 });
            self.note(WORLD, Kind::Struck { target, fault: "lost write" });
        }
        self.answer_reached();
    }

    fn strike(&mut self, log: u64, fault: &'static str) {
        let disk = &mut self.logs.get_mut(&log).expect("it is there").disk;
        let written = disk.written;
        if disk.settings.storage == Storage::Durable && written > 0 {
            disk.groups[self.rng.usize(0..written)].bad = true;
            let target = Target::Partition(Place { log, partition: 0 });
            self.note(WORLD, Kind::Struck { target, fault });
        }
    }

    /// The process ends and starts again.
    fn end(&mut self, wiped: bool, harm: bool) {
        let ends = [End::Stopped, End::Process, End::Power];
        let end = if wiped { End::Power } else { ends[self.rng.usize(0..3)] };
        self.note(WORLD, Kind::Ended { end, wiped });
        // What was asked is lost with its connection, and so are some of the answers.
        self.asked.clear();
        self.waiting.clear();
        let rng = &mut self.rng;
        self.answers.retain(|_| rng.bool());
        if wiped {
            self.logs.clear();
            self.sessions.clear();
            self.next_id = 1;
            return;
        }
        if harm && self.rng.bool() {
            // Files rot while nobody looks.
            let log = self.some_log().expect("there is one");
            self.strike(log, "bit rot");
        }
        let (rng, mut reports) = (&mut self.rng, Vec::new());
        for (id, log) in &mut self.logs {
            let damaged = log.disk.recover(end, rng, self.bug);
            let place = Place { log: *id, partition: 0 };
            reports.extend(damaged.into_iter().map(|range| Kind::DamageReported { place, range }));
        }
        for report in reports {
            self.note(WORLD, report);
        }
        self.note(WORLD, Kind::Booted { shards: 1, lines: Vec::new() });
        if self.is(Bug::CreationIsLost) {
            self.logs.pop_last();
        }
    }

    // The catalog.

    fn ask(&mut self, ask: CatalogAsk, answer: CatalogAnswer) {
        let request = self.history.next_request();
        self.note(3, Kind::CatalogAsked { request, ask });
        let lost = self.rng.u32(0..10) == 0;
        let answer = if lost { CatalogAnswer::Unknown } else { answer };
        self.note(3, Kind::CatalogAnswered { request, answer });
    }

    fn create(&mut self) {
        let settings = match self.rng.u32(0..6) {
            0 | 1 => in_memory(BUDGET),
            2 => durable(Level::Memory),
            3 => durable(Level::Written),
            _ => durable(Level::Synced),
        };
        let (id, name) = (self.next_id, format!("log-{}", self.names));
        self.names += 1;
        self.next_id += u64::from(!self.slips(Bug::IdIsReused));
        self.logs.insert(id, Log { name: name.clone(), disk: Disk::new(settings) });
        self.ask(CatalogAsk::Create { name, settings }, CatalogAnswer::Done { log: id });
        self.list();
    }

    fn list(&mut self) {
        let begun = self.history.mark();
        let present = self.logs.iter().map(|(id, log)| (log.name.clone(), *id)).collect();
        self.note(3, Kind::CatalogSeen { begun, names: None, present });
    }

    fn change_catalog(&mut self, log: u64) {
        match self.rng.u32(0..4) {
            0 => self.create(),
            1 if self.logs.len() > 1 => {
                let Log { name, .. } = self.logs[&log].clone();
                if !self.is(Bug::DeletionIsLost) {
                    self.logs.remove(&log);
                }
                self.sessions.remove(&log);
                self.ask(CatalogAsk::Delete { name }, CatalogAnswer::Done { log });
            }
            _ => self.list(),
        }
    }

    fn alter(&mut self, log: u64) {
        let it = self.logs.get_mut(&log).expect("it is there");
        let LogSettings { storage, .. } = it.disk.settings;
        let mut changes = LogChanges::default();
        if storage == Storage::Memory {
            changes.memory_bytes_max = Some(BUDGET * self.rng.u64(1..3));
            it.disk.settings.memory_bytes_max = changes.memory_bytes_max.unwrap_or(BUDGET);
        } else {
            let levels = [Level::Memory, Level::Written, Level::Synced];
            let level = levels[self.rng.usize(0..3)];
            changes.level = Some(level);
            // The partition is closed, which syncs it, and opened again.
            it.disk.write();
            it.disk.sync();
            it.disk.settings.level = level;
        }
        let name = it.name.clone();
        // The change is made between question and answer, and so is all that happens meanwhile.
        let request = self.history.next_request();
        let ask = CatalogAsk::Alter { name, changes };
        self.note(3, Kind::CatalogAsked { request, ask });
        self.note(3, Kind::CatalogAnswered { request, answer: CatalogAnswer::Done { log } });
        self.answer_reached();
    }

    // The end.

    fn finish(&mut self) {
        for at in 0..self.appends.len() {
            self.finish_append(at, Outcome::Unknown);
        }
        self.answers.clear();
        self.note(WORLD, Kind::FaultsStopped);
        self.end(false, false);
        self.note(WORLD, Kind::Probed { what: "the end".to_owned(), result: Ok(()) });
        self.list();
        for log in self.logs.keys().copied().collect::<Vec<_>>() {
            let disk = &mut self.logs.get_mut(&log).expect("it is there").disk;
            disk.write();
            disk.sync();
            let (low, high, damaged) = (disk.low, disk.end(), disk.damage.clone());
            let (begun, place) = (self.history.mark(), Place { log, partition: 0 });
            let records = self.visible(log, low..high);
            let read = FinalRead { begun, place, low, high, records, damaged };
            self.note(4, Kind::FinalRead(read));
        }
    }
}

/// The sequence that a session goes on with.
fn next_sequence(disk: &Disk, session: u64) -> u64 {
    let of = disk.known.iter().filter_map(|batch| {
        let (id, sequence) = batch.session?;
        (id == session).then_some(sequence + batch.len)
    });
    of.max().unwrap_or(0)
}
