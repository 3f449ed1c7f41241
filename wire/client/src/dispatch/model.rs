//! The machine against a model of everything that can go wrong behind it: a server that is busy,
//! forgets sessions, moves partitions, crashes and loses what it had not promised yet; connections
//! that break and whose bytes arrive all the same, later; producers that hand batches over out of
//! order. The properties are those that users rely on, see [`World::check`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quickcheck::{QuickCheck, TestResult};

use super::*;
use crate::backoff::Backoff;

const PARTITIONS: u32 = 2;
const SHARDS: u16 = 2;
const DELIVERY: Duration = Duration::from_secs(4);
/// Batches whose offsets the server remembers per session.
const WINDOW: usize = 16;

fn policy(rng: &mut Rng) -> Policy {
    Policy {
        in_flight_max: rng.usize(1..=8),
        linger: Duration::from_millis(rng.u64(0..3)),
        delivery_timeout: DELIVERY,
        request_timeout: Duration::from_secs(rng.u64(1..30)),
        backoff: Backoff { min: Duration::from_millis(10), max: Duration::from_secs(1) },
    }
}

/// A batch on its way to the server.
#[derive(Clone, Copy, Debug)]
struct Frame {
    partition: u32,
    ordinal: u64,
    attempt: u64,
    stamp: Session,
    records: u32,
}

/// A connection: what the server has not read, and what the client has not.
#[derive(Debug, Default)]
struct Wire {
    there: VecDeque<Frame>,
    back: VecDeque<(Frame, Answer)>,
}

/// A batch in the log of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    ordinal: u64,
    base: u64,
    records: u32,
    session: u64,
    sequence: u64,
}

/// A partition of the model server.
#[derive(Debug, Default)]
struct Partition {
    owner: u16,
    log: Vec<Stored>,
    /// Batches that are acknowledged: they survive a crash.
    promised: usize,
    forgotten: BTreeSet<u64>,
}

impl Partition {
    fn end(&self) -> u64 {
        self.log.last().map_or(0, |last| last.base + u64::from(last.records))
    }

    /// As `pyralog_log::sessions`, but that a forgotten session stays forgotten: real servers
    /// forget sessions only after thousands of younger ones.
    fn append(&mut self, frame: &Frame) -> Answer {
        let (session, sequence) = (frame.stamp.id.get(), frame.stamp.first_sequence);
        let of_session = |stored: &&Stored| stored.session == session;
        let known: Vec<Stored> = self.log.iter().filter(of_session).copied().collect();
        let expected = known.last().map_or(0, |last| last.sequence + u64::from(last.records));
        if self.forgotten.contains(&session) || (known.is_empty() && sequence > 0) {
            return Answer::Refused(ErrorReply::from(ErrorCode::UnknownSession).into());
        }
        if sequence > expected {
            return Answer::Refused(Refusal::Gap { expected });
        }
        if sequence < expected {
            let remembered = &known[known.len().saturating_sub(WINDOW)..];
            let found = remembered.iter().find(|stored| stored.sequence == sequence);
            return match found {
                Some(stored) => Answer::Appended(at(stored.base, true)),
                None => Answer::Refused(ErrorReply::from(ErrorCode::DuplicateTooOld).into()),
            };
        }
        let (ordinal, base, records) = (frame.ordinal, self.end(), frame.records);
        self.log.push(Stored { ordinal, base, records, session, sequence });
        Answer::Appended(at(base, false))
    }
}

fn at(base: u64, duplicate: bool) -> Appended {
    let base_offset = Offset::new(base);
    Appended { base_offset, append_time: Timestamp::ZERO, duplicate }
}

/// A batch as the producer knows it.
#[derive(Debug)]
struct Made {
    sealed: Sealed,
    stamp: Option<Session>,
    outcome: Option<Outcome>,
}

struct World {
    rng: Rng,
    now: Duration,
    machine: Dispatcher,
    wires: BTreeMap<u16, Wire>,
    /// Frames of broken connections that may still arrive.
    zombies: Vec<Frame>,
    partitions: Vec<Partition>,
    made: Vec<Vec<Made>>,
    /// Sealed batches that are still on their way to the machine.
    handed: Vec<(u32, Sealed)>,
    refreshing: bool,
    faults: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let machine = Dispatcher::new(policy(&mut rng), &[0, 1], rng.fork());
        let partition = |owner| Partition { owner, ..Partition::default() };
        Self {
            rng,
            now: Duration::ZERO,
            machine,
            wires: BTreeMap::new(),
            zombies: Vec::new(),
            partitions: (0..SHARDS).map(partition).collect(),
            made: (0..PARTITIONS).map(|_| Vec::new()).collect(),
            handed: Vec::new(),
            refreshing: false,
            faults: true,
        }
    }

    fn feed(&mut self, event: Event) {
        let mut commands = Vec::new();
        self.machine.handle(self.now, event, &mut commands);
        for command in commands {
            self.obey(command);
        }
        assert!(self.machine.due().is_none_or(|due| due > self.now), "it would spin");
    }

    fn obey(&mut self, command: Command) {
        match command {
            // The open batches of this world are sealed by themselves.
            Command::Collect { .. } => {}
            Command::Send { partition, ordinal, attempt, shard, stamp } => {
                let made = &mut self.made[index(partition)][usize::try_from(ordinal.0).unwrap()];
                assert_eq!(made.outcome, None, "sent after its outcome");
                if stamp.is_some() {
                    made.stamp = stamp;
                }
                let stamp = made.stamp.expect("stamped when it is first sent");
                let records = made.sealed.records;
                let (partition, ordinal) = (partition.get(), ordinal.0);
                let frame = Frame { partition, ordinal, attempt: attempt.0, stamp, records };
                self.wires.entry(shard).or_default().there.push_back(frame);
            }
            Command::Resolve { partition, ordinal, outcome } => {
                let made = &mut self.made[index(partition)][usize::try_from(ordinal.0).unwrap()];
                let deadline = made.sealed.opened + DELIVERY;
                assert!(self.now <= deadline, "{outcome:?} at {:?}, after {deadline:?}", self.now);
                assert_eq!(made.outcome.replace(outcome), None, "two outcomes");
            }
            Command::Reset { shard } => self.break_wire(shard),
            Command::Refresh => {
                assert!(!self.refreshing, "two refreshes at once");
                self.refreshing = true;
            }
        }
    }

    fn make(&mut self) {
        let partition = self.rng.u32(..PARTITIONS);
        let made = &mut self.made[partition as usize];
        let ordinal = Ordinal(made.len() as u64);
        let sealed = Sealed { ordinal, records: self.rng.u32(1..5), opened: self.now };
        made.push(Made { sealed, stamp: None, outcome: None });
        self.handed.push((partition, sealed));
    }

    /// One of the batches on their way arrives, in any order.
    fn hand_over(&mut self) {
        if !self.handed.is_empty() {
            let pick = self.rng.usize(..self.handed.len());
            let (partition, batch) = self.handed.remove(pick);
            self.feed(Event::Sealed { partition: PartitionId::new(partition), batch });
        }
    }

    /// The server reads the next frame of a connection.
    fn serve(&mut self) {
        let shard = self.rng.u16(..SHARDS);
        let Some(frame) = self.wires.get_mut(&shard).and_then(|wire| wire.there.pop_front()) else {
            return;
        };
        let partition = &mut self.partitions[frame.partition as usize];
        let dice = if self.faults { self.rng.u32(..20) } else { 20 };
        let answer = match dice {
            _ if partition.owner != shard => Answer::Refused(Refusal::Elsewhere),
            0 => Answer::Refused(Refusal::Later { after: Duration::ZERO }),
            1 => Answer::Refused(Refusal::MaybeAppended(ErrorReply::from(ErrorCode::Internal))),
            2 => {
                partition.append(&frame);
                Answer::Refused(Refusal::MaybeAppended(ErrorReply::from(ErrorCode::Internal)))
            }
            3 if partition.append_is_new(&frame) => {
                Answer::Refused(Refusal::Final(ErrorReply::from(ErrorCode::BatchTooLarge)))
            }
            _ => partition.append(&frame),
        };
        let wire = self.wires.get_mut(&shard).expect("it was read from");
        // Answers may overtake each other.
        let place = wire.back.len() - self.rng.usize(..=wire.back.len().min(2));
        wire.back.insert(place, (frame, answer));
    }

    /// The client reads the next answer of a connection.
    fn answer(&mut self) {
        let shard = self.rng.u16(..SHARDS);
        let wire = self.wires.get_mut(&shard);
        let Some((frame, answer)) = wire.and_then(|wire| wire.back.pop_front()) else { return };
        if let Answer::Appended(appended) = answer {
            let partition = &mut self.partitions[frame.partition as usize];
            let base = appended.base_offset.get();
            let place = partition.log.iter().position(|stored| stored.base == base).unwrap();
            partition.promised = partition.promised.max(place + 1);
        }
        self.tell(frame, answer);
    }

    fn tell(&mut self, frame: Frame, answer: Answer) {
        let (partition, ordinal) = (PartitionId::new(frame.partition), Ordinal(frame.ordinal));
        let attempt = Attempt(frame.attempt);
        self.feed(Event::Answered { partition, ordinal, attempt, answer });
    }

    /// A connection breaks: the last frames may never have left, the others may arrive yet.
    fn break_wire(&mut self, shard: u16) {
        let Some(wire) = self.wires.remove(&shard) else { return };
        let unsent = self.rng.usize(..=wire.there.len());
        let left = wire.there.len() - unsent;
        let mut lost: Vec<Frame> = wire.back.into_iter().map(|(frame, _)| frame).collect();
        for (place, frame) in wire.there.into_iter().enumerate() {
            if place >= left {
                self.tell(frame, Answer::Unsent);
                continue;
            }
            if self.faults && self.rng.bool() {
                self.zombies.push(frame);
            }
            lost.push(frame);
        }
        for frame in lost {
            self.tell(frame, Answer::Lost);
        }
    }

    /// Bytes of a broken connection arrive; nobody waits for the answer.
    fn rise(&mut self) {
        if !self.zombies.is_empty() {
            let pick = self.rng.usize(..self.zombies.len());
            let frame = self.zombies.remove(pick);
            self.partitions[frame.partition as usize].append(&frame);
        }
    }

    /// The server crashes: what was not promised may be gone, and all connections are.
    fn crash(&mut self) {
        for partition in &mut self.partitions {
            let kept = self.rng.usize(partition.promised..=partition.log.len());
            partition.log.truncate(kept);
        }
        (0..SHARDS).for_each(|shard| self.break_wire(shard));
    }

    fn refreshed(&mut self) {
        if std::mem::take(&mut self.refreshing) {
            let fails = self.faults && self.rng.u32(..4) == 0;
            let shards = self.partitions.iter().map(|partition| partition.owner).collect();
            self.feed(if fails { Event::Unrouted } else { Event::Routed { shards } });
        }
    }

    /// Time passes, to the machine's timer at most. What the producer sealed is there by then.
    fn pass(&mut self) {
        while !self.handed.is_empty() {
            self.hand_over();
        }
        let step = Duration::from_millis(self.rng.u64(1..300));
        self.now = self.machine.due().map_or(self.now + step, |due| due.min(self.now + step));
        self.feed(Event::Tick);
    }

    fn fault(&mut self) {
        let partition = self.rng.usize(..self.partitions.len());
        match self.rng.u32(..8) {
            0 | 1 => {
                let shard = self.rng.u16(..SHARDS);
                self.break_wire(shard);
            }
            2 | 3 => self.rise(),
            4 => self.crash(),
            5 => self.partitions[partition].owner = self.rng.u16(..SHARDS),
            6 if self.rng.u32(..4) == 0 => {
                let sessions = self.partitions[partition].log.iter().map(|stored| stored.session);
                let sessions: BTreeSet<u64> = sessions.collect();
                self.partitions[partition].forgotten.extend(sessions);
            }
            _ => self.pass(),
        }
    }

    fn step(&mut self) {
        match self.rng.u32(..32) {
            0..4 if self.faults => self.make(),
            0..9 => self.hand_over(),
            9..17 => self.serve(),
            17..25 => self.answer(),
            25..27 => self.refreshed(),
            27..30 => self.pass(),
            _ if self.faults => self.fault(),
            _ => self.pass(),
        }
    }

    /// Safety: no record twice, whatever became of it; what is acknowledged is where the
    /// acknowledgement says, in order; what is said to be absent is absent.
    fn check(&self) {
        for (made, partition) in self.made.iter().zip(&self.partitions) {
            let mut places: BTreeMap<u64, &Stored> = BTreeMap::new();
            for stored in &partition.log {
                let again = places.insert(stored.ordinal, stored);
                assert_eq!(again, None, "batch {} is there twice", stored.ordinal);
            }
            let mut end = 0;
            for made in made {
                let ordinal = made.sealed.ordinal.0;
                match &made.outcome {
                    Some(Outcome::Appended(appended)) => {
                        let stored = places.get(&ordinal).expect("acknowledged and not there");
                        assert_eq!(stored.base, appended.base_offset.get());
                        assert!(stored.base >= end, "batch {ordinal} is before an earlier one");
                        end = stored.base + u64::from(stored.records);
                    }
                    Some(Outcome::Failed(
                        Failure::TimedOut { maybe_appended: false, .. } | Failure::Refused(_),
                    )) => assert!(!places.contains_key(&ordinal), "{ordinal} is there after all"),
                    Some(Outcome::Failed(_)) | None => {}
                }
            }
        }
    }
}

impl Partition {
    /// Whether this attempt would append the batch: only then may the model refuse it for good, for
    /// a real server says the same of a batch every time.
    fn append_is_new(&mut self, frame: &Frame) -> bool {
        let before = self.log.len();
        self.append(frame);
        let new = self.log.len() > before;
        self.log.truncate(before);
        new
    }
}

/// Names the seed if its world fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// Runs a world: faults first, then peace. Returns it for other questions.
fn run(seed: u64, steps: usize) -> World {
    let _named = Named(seed);
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
        world.check();
    }
    // Liveness: faults stop, and everything ends before its deadline.
    world.faults = false;
    for _ in 0..200 * steps {
        if world.handed.is_empty() && world.machine.is_idle() {
            break;
        }
        world.step();
    }
    while !world.zombies.is_empty() {
        world.rise();
    }
    world.check();
    let open = world.made.iter().flatten().filter(|made| made.outcome.is_none()).count();
    assert_eq!(open, 0, "batches without outcome");
    world
}

#[test]
fn every_batch_has_one_outcome_and_every_record_is_there_at_most_once() {
    fn property(seed: u64) -> TestResult {
        run(seed, 300);
        TestResult::passed()
    }
    QuickCheck::new().tests(600).quickcheck(property as fn(u64) -> TestResult);
}

#[test]
fn the_model_meets_every_kind_of_end() {
    let mut ends = BTreeMap::new();
    for seed in 0..300 {
        for made in run(seed, 300).made.iter().flatten() {
            let end = match made.outcome.as_ref().unwrap() {
                Outcome::Appended(Appended { duplicate: false, .. }) => "appended",
                Outcome::Appended(Appended { duplicate: true, .. }) => "duplicate",
                Outcome::Failed(Failure::OutcomeUnknown { .. }) => "unknown",
                Outcome::Failed(Failure::Refused(_)) => "refused",
                Outcome::Failed(Failure::TimedOut { .. }) => "timed out",
                Outcome::Failed(other) => panic!("{other:?}"),
            };
            *ends.entry(end).or_insert(0_u32) += 1;
        }
    }
    for end in ["appended", "duplicate", "unknown", "refused", "timed out"] {
        assert!(ends.contains_key(end), "no batch ended as {end}: {ends:?}");
    }
    assert!(ends["appended"] > ends.values().sum::<u32>() / 2, "mostly it works: {ends:?}");
}
