//! A machine, its disk and the log as it should be.
//!
//! The disk keeps, per segment, what is on stable storage and the writes that are not. A kill keeps
//! all finished writes and any sectors of the one in flight, no more durable than they were; a power
//! cut keeps any sectors of every write since the last sync. What a sync that fails should have taken
//! stays readable, and no later sync takes it. Recovery is the scan and the adoption that ship, over
//! these bytes, and may itself be cut off by the power.

mod life;

use std::collections::BTreeMap;

use super::disk::{File, Random, Taken};
use super::walk::{Known, Target, Walk, Walked};
use super::*;
use crate::batch::{BatchHeader, Items};
use crate::index::Start;
use crate::recovery::scan::Opening;
use crate::testing::segment_header;

/// How a piece of work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Full,
    Failed,
}

/// A batch that should be in the log: its bytes from the producer's line on.
#[derive(Clone, Debug)]
struct Expected {
    base: Offset,
    end: Offset,
    body: Vec<u8>,
    session: Option<Session>,
}

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) now: Now,
    settings: Settings,
    files: BTreeMap<Offset, File>,
    /// Write in flight, and what the sync in flight takes.
    flight: Option<Write>,
    sync: Option<Taken>,
    log: Vec<Expected>,
    /// By ticket: where an append ends and what it was promised.
    pending: BTreeMap<u64, (Offset, Durability)>,
    tickets: u64,
    /// Below it everything was acknowledged at the level of the index.
    acknowledged: [Offset; 3],
    /// Highest high watermark that readers saw.
    seen: Offset,
    generations: u64,
    /// Where this life began.
    opening: Opening,
}

impl World {
    pub(super) fn new(level: Durability) -> Self {
        Self::with_segments(level, 64 << 10)
    }

    pub(super) fn with_segments(level: Durability, segment_bytes: u64) -> Self {
        Self::with(level, segment_bytes, |_| ())
    }

    pub(super) fn with(
        level: Durability,
        segment_bytes: u64,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings {
            epoch: Epoch::new(3),
            durability: level,
            segment_bytes,
            // Readers depend on the tail only for what is not on disk yet.
            tail_bytes: if segment_bytes == 64 << 10 { 0 } else { 100 << 10 },
            unhashed_bytes: 0,
            memory: None,
            life: crate::retention::Life::default(),
            tiering: crate::partition::Tiering::default(),
        };
        change(&mut settings);
        let now = Now { wall: Timestamp::new(1 << 40), monotonic: Monotonic::from_nanos(1 << 40) };
        let file = File::recycled(1, Vec::new());
        let files = BTreeMap::from([(Offset::ZERO, file)]);
        let header = segment_header(1, Offset::ZERO);
        let recovered = Recovered {
            head: Head::new(Offset::ZERO),
            generation: 1,
            key: header.key(),
            end: Offset::ZERO,
            carry: Vec::new(),
            closed: Vec::new(),
            damages: Vec::new(),
            sessions: Sessions::default(),
            incarnation: Incarnation::new(1),
            append_time: Timestamp::MIN,
            clean: false,
            low: Offset::ZERO,
        };
        Self {
            machine: Machine::new(settings, recovered),
            now,
            settings,
            files,
            flight: None,
            sync: None,
            log: Vec::new(),
            pending: BTreeMap::new(),
            tickets: 100,
            acknowledged: [Offset::ZERO; 3],
            seen: Offset::ZERO,
            generations: 1,
            opening: Opening {
                segment: Offset::ZERO,
                position: FilePosition::STREAM_START,
                incarnation: Incarnation::new(1),
            },
        }
    }

    /// Appends what must be taken and answered later.
    pub(super) fn take(&mut self, batches: &[u8], level: Durability, ticket: u64) {
        let answer = self.machine.append_plain(batches, level, Ticket(ticket, 0), self.now);
        assert_eq!(answer, AppendNow::Pending);
    }

    pub(super) fn start_work(&mut self) -> Work {
        self.machine.poll(self.now).expect("there is work")
    }

    /// Ends work well, without a disk.
    #[expect(clippy::needless_pass_by_value, reason = "work is done once")]
    pub(super) fn complete(&mut self, work: Work) -> Vec<Answer> {
        match work {
            Work::Write(_) => self.machine.written(self.now),
            Work::Sync => self.machine.synced(),
            Work::Roll(base) => {
                self.generations += 1;
                let header = segment_header(self.generations, base);
                self.machine.rolled(self.generations, header.key());
            }
        }
        let mut answers = Vec::new();
        self.machine.take_answers(&mut answers);
        answers
    }

    /// Appends one to three batches of some session or none.
    pub(super) fn append(&mut self, argument: u16, seed: u8) {
        let level = Durability::ALL[usize::from(argument % 3)];
        let id = u64::from(argument / 3 % 4);
        let count = 1 + usize::from(seed % 3);
        let mut batches: Vec<Vec<u8>> = Vec::new();
        let mut next_sequence = self.next_sequence(id);
        for at in 0..count {
            let records = u32::from(seed % 5) + 1;
            let body_len = usize::from(argument) % (if seed > 250 { 9000 } else { 700 });
            let session = (id > 0).then_some(Session {
                id: SessionId::new(id),
                epoch: 0,
                first_sequence: next_sequence,
            });
            next_sequence += u64::from(records);
            let number = u64::from(seed) * 256 + at as u64;
            batches.push(unsealed(number, body_len, records, session));
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let base = self.machine.watermarks().end;
        let answer =
            self.machine.append_plain(&batches.concat(), level, Ticket(ticket, 0), self.now);
        match answer {
            AppendNow::Done(appended) => {
                assert_eq!((appended.base_offset, level), (base, Durability::Memory));
                self.expect(&batches, base);
                self.promise(Durability::Memory, appended.next_offset);
            }
            AppendNow::Pending => {
                self.expect(&batches, base);
                let end = self.machine.watermarks().end;
                self.pending.insert(ticket, (end, level));
            }
            AppendNow::Refused(error) => {
                let known = matches!(
                    error,
                    AppendError::NoSpace(_) | AppendError::Poisoned(_) | AppendError::Busy
                );
                assert!(known, "{error}");
                assert_eq!(self.machine.watermarks().end, base, "refused, so unchanged");
            }
        }
        if id > 0 && seed.is_multiple_of(7) {
            self.repeat(id);
        }
    }

    /// What session `id` should continue with, by the log.
    fn next_sequence(&self, id: u64) -> u64 {
        let of_session = |batch: &&Expected| {
            batch.session.is_some_and(|session| session.id == SessionId::new(id))
        };
        self.log.iter().rev().find(of_session).map_or(0, |batch| {
            let first = batch.session.map_or(0, |session| session.first_sequence);
            first + batch.end.since(batch.base)
        })
    }

    /// Sends the last batch of session `id` again.
    fn repeat(&mut self, id: u64) {
        let wanted = SessionId::new(id);
        let of_session =
            |batch: &&Expected| batch.session.is_some_and(|session| session.id == wanted);
        let Some(original) = self.log.iter().rev().find(of_session).cloned() else { return };
        let mut bytes = vec![0; 64];
        bytes[..4].copy_from_slice(b"PYB1");
        bytes.extend_from_slice(&original.body);
        self.tickets += 1;
        let ticket = self.tickets;
        let end = self.machine.watermarks().end;
        match self.machine.append_plain(&bytes, Durability::Synced, Ticket(ticket, 0), self.now) {
            AppendNow::Done(appended) => {
                assert_eq!((appended.base_offset, appended.duplicate), (original.base, true));
                self.promise(Durability::Synced, original.end);
            }
            AppendNow::Pending => {
                self.pending.insert(ticket, (original.end, Durability::Synced));
            }
            AppendNow::Refused(error) => {
                let known = matches!(error, AppendError::NoSpace(_) | AppendError::Poisoned(_));
                assert!(known || error == AppendError::Busy, "{error}");
            }
        }
        assert_eq!(self.machine.watermarks().end, end, "a repeat adds nothing");
    }

    fn expect(&mut self, batches: &[Vec<u8>], mut base: Offset) {
        for batch in batches {
            let header = BatchHeader::parse(batch).unwrap();
            let end = base.checked_add(u64::from(header.record_count)).unwrap();
            let (body, session) = (batch[64..].to_vec(), header.session);
            self.log.push(Expected { base, end, body, session });
            base = end;
        }
        assert_eq!(base, self.machine.watermarks().end);
    }

    fn promise(&mut self, level: Durability, end: Offset) {
        for level in 0..=usize::from(level.code()) {
            self.acknowledged[level] = self.acknowledged[level].max(end);
        }
    }

    /// Lets the machine do one piece of work, which ends like this.
    pub(super) fn work(&mut self, outcome: Outcome) {
        if self.flight.is_none() {
            match self.machine.poll(self.now) {
                Some(Work::Write(write)) => self.flight = Some(write),
                Some(Work::Sync) => {
                    let head = self.machine.head().segment;
                    self.sync = Some(self.files[&head].begin_sync());
                }
                Some(Work::Roll(base)) => self.roll(base, outcome),
                None => {}
            }
            return;
        }
        let Some(write) = self.flight.take() else { return };
        let at = usize::try_from(write.position.get()).unwrap();
        let head = self.machine.head().segment;
        let file = self.files.get_mut(&head).expect("the head is there");
        if matches!(self.machine.phase(), Phase::Poisoned(_)) {
            file.write(at, &write.buffer); // A sync beside it has failed: nobody waits for it.
            return;
        }
        match outcome {
            Outcome::Done => {
                match write.mode {
                    Mode::Plain => file.write(at, &write.buffer),
                    Mode::Synced => {
                        assert!(file.is_stable(at), "unsynced before");
                        file.write_synced(at, &write.buffer);
                    }
                    Mode::PlainThenSync => {
                        file.write(at, &write.buffer);
                        file.finish_sync(file.begin_sync());
                    }
                }
                self.machine.written(self.now);
            }
            Outcome::Full => {
                // The last block is missing at least.
                let bytes = write.buffer[..write.buffer.len() - 4096].to_vec();
                file.tear(at, &bytes, &mut Random(at as u64 + 99));
                self.machine.starve(FULL, self.now);
            }
            Outcome::Failed => {
                let mut random = Random(at as u64 + 77);
                if write.mode == Mode::Plain || at % 8192 == 0 {
                    file.tear(at, &write.buffer, &mut random);
                } else {
                    file.write(at, &write.buffer);
                    file.fail_sync(file.begin_sync());
                }
                self.machine.poison(BROKEN);
            }
        }
        self.answers();
    }

    fn roll(&mut self, base: Offset, outcome: Outcome) {
        if outcome != Outcome::Done {
            self.machine.starve(FULL, self.now);
            self.answers();
            return;
        }
        self.generations += 1;
        // Recycled: it still holds what the last segment holds, of another generation.
        let head = self.machine.head().segment;
        let stable = self.files[&head].content();
        let end = usize::try_from(self.machine.head().position.get()).unwrap();
        assert!(self.files[&head].is_stable(end), "the segment before is on stable storage");
        self.files.insert(base, File::recycled(self.generations, stable));
        let header = segment_header(self.generations, base);
        self.machine.rolled(self.generations, header.key());
    }

    /// The sync in flight ends.
    pub(super) fn finish_sync(&mut self, outcome: Outcome) {
        let Some(taken) = self.sync.take() else { return };
        let head = self.machine.head().segment;
        let file = self.files.get_mut(&head).expect("the head is there");
        if outcome == Outcome::Failed {
            file.fail_sync(taken);
            self.machine.poison(BROKEN);
        } else {
            file.finish_sync(taken);
            if matches!(self.machine.phase(), Phase::Poisoned(_)) {
                return;
            }
            self.machine.synced();
        }
        self.answers();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.monotonic = self.now.monotonic + time;
        let us = i64::try_from(time.as_micros()).unwrap();
        self.now.wall = Timestamp::new(self.now.wall.get() + us);
    }

    fn answers(&mut self) {
        let mut answers = Vec::new();
        self.machine.take_answers(&mut answers);
        for (ticket, outcome) in answers {
            let (end, level) = self.pending.remove(&ticket.0).expect("answered once");
            match outcome {
                Ok(appended) => {
                    assert_eq!(appended.next_offset, end);
                    self.promise(level, end);
                }
                Err(AppendError::NoSpace(_)) => {
                    let log_end = self.machine.watermarks().end;
                    assert!(end > log_end, "refused, so not in the log");
                }
                Err(AppendError::Poisoned(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        if matches!(self.machine.phase(), Phase::Starved(..)) {
            let end = self.machine.watermarks().end;
            self.log.retain(|batch| batch.end <= end);
        }
    }

    /// What readers get is what was appended, whole batches, up to the high watermark.
    pub(super) fn read(&mut self, argument: u16) {
        let marks = self.machine.watermarks();
        if marks.low >= marks.high {
            return;
        }
        let span = marks.high.since(marks.low);
        let from = Offset::new(marks.low.get() + u64::from(argument) % span);
        let mut slices = Vec::new();
        let (bytes, first, next) = match self.machine.locate(from, 2000, &mut slices) {
            Located::InTail(first, next) => {
                (slices.iter().flat_map(|slice| slice.to_vec()).collect(), first, next)
            }
            Located::InFile(plan) => self.read_file(&plan),
            other => panic!("{other:?}"),
        };
        assert!(first <= from && from < next && next <= marks.high);
        let mut base = first;
        for batch in Items::new(&bytes).batches() {
            let batch = batch.unwrap().verify().unwrap();
            let expected = self.log.iter().find(|expected| expected.base == base).unwrap();
            assert_eq!(batch.bytes()[64..], expected.body);
            base = expected.end;
        }
        assert_eq!(base, next);
        self.seen = self.seen.max(marks.high);
    }

    /// Walks the file of a plan as the shell does, a few bytes at a time.
    fn read_file(&self, plan: &FilePlan) -> (Vec<u8>, Offset, Offset) {
        assert!(plan.from < plan.limit, "{plan:?}: nothing of it is on disk");
        let file = &self.files[&plan.segment];
        let content = file.content();
        let beginning = Start { position: FilePosition::STREAM_START, offset: plan.segment };
        let start = plan.start.unwrap_or(beginning);
        let key = segment_header(file.generation, plan.segment).key();
        let known = Known { key, opening: self.opening, holes: Vec::new() };
        let mut walk = Walk::new(plan, start, Target::Offset(2000), known);
        let mut wanted = 256;
        loop {
            let at = usize::try_from(walk.position().get()).unwrap();
            let bytes = &content[at..content.len().min(at + wanted)];
            match walk.step(bytes, bytes.len() < wanted) {
                Walked::Need(_, len) => wanted = len.max(256),
                Walked::Found { bytes: range, offsets, .. } => {
                    return (bytes[range].to_vec(), offsets.start, offsets.end);
                }
                other => panic!("{other:?} of {plan:?}"),
            }
        }
    }

    pub(super) fn check(&mut self) {
        let marks = self.machine.watermarks();
        self.seen = self.seen.max(marks.high);
        let (synced, written) =
            (self.machine.reached(Durability::Synced), self.machine.reached(Durability::Written));
        assert!(synced <= written && written <= marks.end);
        assert!(self.acknowledged[2] <= synced, "acknowledged as synced and is not");
        assert!(self.acknowledged[1] <= written, "acknowledged as written and is not");
        assert!(self.acknowledged[0] <= marks.end, "acknowledged in memory and taken back");
        assert_eq!(self.log.last().map_or(Offset::ZERO, |batch| batch.end), marks.end);
    }

    /// The faults stop: everything pending is answered and reaches the disk.
    pub(super) fn settle(&mut self) {
        if matches!(self.machine.phase(), Phase::Poisoned(_)) {
            self.crash(0, 1);
        }
        self.pass(Duration::from_secs(2));
        self.machine.close();
        for _ in 0..200 {
            if self.machine.phase() == Phase::Closed {
                break;
            }
            self.finish_sync(Outcome::Done);
            self.work(Outcome::Done);
            self.pass(Duration::from_secs(2));
        }
        assert_eq!(self.machine.phase(), Phase::Closed, "it closes once the disk works");
        assert!(self.pending.is_empty(), "all are answered");
        let marks = self.machine.watermarks();
        assert_eq!(self.machine.reached(Durability::Synced), marks.end, "all is synced");
    }
}
