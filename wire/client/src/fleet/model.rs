//! The machine against a model of everything that can go wrong behind it: nodes that crash and come back, hang, refuse, and
//! deal what nobody hears of; connections that break; operators that give one slot to two nodes. The property is the one that
//! users rely on: no id is handed out twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quickcheck::{QuickCheck, TestResult};

use super::*;
use crate::directory::ClusterId;

const MS: Duration = Duration::from_millis(1);

/// How a node treats requests.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Requests lie there.
    Hung,
    Refusing(ErrorCode),
}

/// What a configured address leads to: a shard of a node, with its slots.
#[derive(Debug)]
struct Server {
    node: u64,
    /// The next tick of each of its slots: it survives crashes, and may jump.
    slots: Vec<(u16, u64)>,
    up: bool,
    mood: Mood,
    /// The connection that is open, and what is on it.
    connection: Option<u64>,
    there: VecDeque<(Attempt, u32)>,
    back: VecDeque<(Attempt, Answer)>,
}

struct World {
    rng: Rng,
    now: Duration,
    fleet: Fleet,
    servers: Vec<Server>,
    dialling: Vec<(Member, u64)>,
    /// Ends of requests and connections that the machine will hear of.
    ends: Vec<Event>,
    stock: VecDeque<Block>,
    wanted: u64,
    /// Every id that the machine handed out: from and to of each slot.
    handed: BTreeMap<u16, BTreeMap<u64, u64>>,
    /// Every block that a node dealt.
    dealt: BTreeSet<(u16, u64, u32)>,
    waiting: BTreeMap<Ticket, Duration>,
    tickets: u64,
    conflict: bool,
    faults: bool,
    /// What happened, for the question whether the model meets everything.
    seen: BTreeMap<&'static str, u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let members = rng.usize(1..=4);
        // Two addresses may lead to one node, whose shards keep to their slots; two nodes may have been given one slot.
        let shards = rng.bool();
        let theft = !shards && rng.u32(..2) == 0;
        let server = |index: usize| {
            let place = index as u64;
            let node = 100 + if shards { place / 2 } else { place };
            let own = u16::try_from(index).unwrap() * 2;
            let slots = if theft { vec![(own, 0), (1, 0)] } else { vec![(own, 0), (own + 1, 0)] };
            let (there, back) = (VecDeque::new(), VecDeque::new());
            Server { node, slots, up: true, mood: Mood::Well, connection: None, there, back }
        };
        let policy = Policy {
            block: rng.u32(1..=200),
            low_water: rng.u64(1..=400),
            lease_timeout: rng.u32(50..3000) * MS,
            backoff: Backoff { min: 10 * MS, max: 1000 * MS },
        };
        let mut world = Self {
            fleet: Fleet::new(policy, members, rng.fork()),
            rng,
            now: Duration::ZERO,
            servers: (0..members).map(server).collect(),
            dialling: Vec::new(),
            ends: Vec::new(),
            stock: VecDeque::new(),
            wanted: 0,
            handed: BTreeMap::new(),
            dealt: BTreeSet::new(),
            waiting: BTreeMap::new(),
            tickets: 0,
            conflict: false,
            faults: true,
            seen: BTreeMap::new(),
        };
        world.feed(Event::Tick);
        world
    }

    fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn feed(&mut self, event: Event) {
        let mut commands = Vec::new();
        self.fleet.handle(self.now, event, &mut commands);
        for command in commands {
            self.obey(command);
        }
        assert!(self.fleet.due().is_none_or(|due| due > self.now), "it would spin");
        let stocking = |lease: &&Lease| lease.purpose == Purpose::Stock;
        assert!(self.fleet.leases.iter().filter(stocking).count() <= 1);
        assert_eq!(
            self.fleet.fresh(),
            if self.conflict { self.fleet.fresh() } else { self.waiting.len() }
        );
        for index in 0..self.servers.len() {
            let owed = self.fleet.out_at(Member(index)).count();
            assert!(owed <= LEASES_PER_NODE_MAX, "{owed} requests at one node");
        }
    }

    fn obey(&mut self, command: Command) {
        assert!(!self.conflict, "it does something after the end: {command:?}");
        match command {
            Command::Connect { member, connection } => self.dialling.push((member, connection)),
            Command::Send { member, connection, attempt, count } => {
                let server = &mut self.servers[member.0];
                if server.connection == Some(connection) {
                    server.there.push_back((attempt, count));
                    if server.there.len() + server.back.len() > 1 {
                        self.note("several at one node");
                    }
                } else {
                    self.ends.push(Event::Answered { attempt, answer: Answer::Lost });
                }
            }
            Command::Reset { member, connection } => {
                self.note("reset");
                assert_eq!(self.fleet.nodes[member.0].connection, connection);
                self.break_line(member.0);
            }
            Command::Store(block) => {
                self.hand_out(&block);
                self.stock.push_back(block);
            }
            Command::Deliver(ticket, block) => {
                self.note("fresh");
                let until = self.waiting.remove(&ticket).expect("it waits");
                assert!(self.now < until, "late");
                self.hand_out(&block);
            }
            Command::Expire(ticket) => {
                self.note("expired");
                let until = self.waiting.remove(&ticket).expect("it waits");
                assert!(self.now >= until, "early");
            }
            Command::Fail(_) => {
                self.note("conflict");
                self.conflict = true;
            }
        }
    }

    /// The oracle: no id twice, and none that no node has dealt.
    fn hand_out(&mut self, block: &Block) {
        let (slot, from) = (block.slot().get(), block.first().get());
        let to = from + u64::from(block.count());
        assert!(self.dealt.contains(&(slot, from, block.count())), "nobody dealt {block:?}");
        let handed = self.handed.entry(slot).or_default();
        let before = handed.range(..to).next_back();
        assert!(before.is_none_or(|(_, end)| *end <= from), "{block:?} again, after {before:?}");
        handed.insert(from, to);
        self.note("blocks");
    }

    /// A connection attempt ends.
    fn dial(&mut self) {
        if self.dialling.is_empty() {
            return;
        }
        let pick = self.rng.usize(..self.dialling.len());
        let (member, connection) = self.dialling.remove(pick);
        let server = &mut self.servers[member.0];
        if server.up && !(self.faults && self.rng.u32(..8) == 0) {
            server.connection = Some(connection);
            let identity = Identity { node: server.node, cluster: ClusterId(9) };
            self.feed(Event::Connected { member, connection, identity });
        } else {
            self.feed(Event::Disconnected { member, connection });
        }
    }

    /// A node reads its next request.
    fn serve(&mut self) {
        let index = self.rng.usize(..self.servers.len());
        let server = &mut self.servers[index];
        if server.mood == Mood::Hung {
            return;
        }
        let Some((attempt, count)) = server.there.pop_front() else { return };
        let answer = if let Mood::Refusing(code) = &server.mood {
            Answer::Refused(ErrorReply::from(*code))
        } else {
            let pick = self.rng.usize(..server.slots.len());
            let (slot, tick) = &mut server.slots[pick];
            let first = *tick + self.rng.u64(..3);
            *tick = first + u64::from(count);
            self.dealt.insert((*slot, first, count));
            Answer::Dealt(IdsDealt { slot: *slot, first_tick: first, count })
        };
        // Answers may overtake each other.
        let place = server.back.len() - self.rng.usize(..=server.back.len().min(2));
        server.back.insert(place, (attempt, answer));
    }

    /// The client reads the next answer of a connection.
    fn answer(&mut self) {
        let index = self.rng.usize(..self.servers.len());
        if let Some((attempt, answer)) = self.servers[index].back.pop_front() {
            if !self.fleet.leases.iter().any(|lease| lease.out.contains(&attempt)) {
                self.note("late answers");
            }
            self.feed(Event::Answered { attempt, answer });
        }
    }

    /// A connection breaks. What lies there may be carried out all the same; nobody hears of it.
    fn break_line(&mut self, index: usize) {
        let server = &mut self.servers[index];
        let Some(connection) = server.connection.take() else { return };
        while let Some((_, count)) = server.there.pop_front() {
            if self.rng.bool() {
                server.slots[0].1 += u64::from(count);
            }
        }
        for (attempt, answer) in server.back.drain(..) {
            // Some answers were received before the end and are told after it.
            let answer = if self.rng.bool() { answer } else { Answer::Lost };
            self.ends.push(Event::Answered { attempt, answer });
        }
        self.ends.push(Event::Disconnected { member: Member(index), connection });
    }

    fn end(&mut self) {
        if !self.ends.is_empty() {
            let pick = self.rng.usize(..self.ends.len());
            let event = self.ends.remove(pick);
            self.feed(event);
        }
    }

    /// Somebody takes ids, or wants more than there are.
    fn take(&mut self, most: u64) {
        let mut missing = most;
        while missing > 0
            && let Some(block) = self.stock.front_mut()
        {
            let some = u64::from(block.count()).min(missing);
            let cut = block.cut(u32::try_from(some).unwrap()).expect("it has so many");
            missing -= u64::from(cut.count());
            if block.count() == 0 {
                self.stock.pop_front();
            }
        }
        self.wanted = missing;
        let ids = self.ready();
        self.feed(Event::Stock { ids, wanted: missing });
    }

    fn ready(&self) -> u64 {
        self.stock.iter().map(|block| u64::from(block.count())).sum()
    }

    fn ask(&mut self) {
        if self.fleet.fresh() == FRESH_LEASES_MAX || self.conflict {
            return;
        }
        let (ticket, count) = (Ticket(self.tickets), self.rng.u32(1..50));
        self.tickets += 1;
        let until = self.now + self.rng.u32(1..2000) * MS;
        self.waiting.insert(ticket, until);
        self.feed(Event::Fresh { ticket, count, until });
    }

    fn pass(&mut self) {
        let step = self.rng.u32(1..60) * MS;
        self.now = self.fleet.due().map_or(self.now + step, |due| due.min(self.now + step));
        self.feed(Event::Tick);
    }

    fn fault(&mut self) {
        let index = self.rng.usize(..self.servers.len());
        match self.rng.u32(..7) {
            0 => self.break_line(index),
            1 => {
                self.break_line(index);
                let server = &mut self.servers[index];
                server.up = !server.up;
                // What was reserved and not dealt is skipped.
                server.slots.iter_mut().for_each(|(_, tick)| *tick += 1000);
            }
            2 => self.servers[index].mood = Mood::Hung,
            3 => {
                let codes = [ErrorCode::Busy, ErrorCode::ClockAstray, ErrorCode::WrongRole];
                let code = codes[self.rng.usize(..codes.len())];
                self.servers[index].mood = Mood::Refusing(code);
            }
            4 if self.rng.u32(..4) == 0 => {
                (0..self.servers.len()).for_each(|index| self.break_line(index));
                self.servers.iter_mut().for_each(|server| server.up = false);
            }
            _ => {
                let server = &mut self.servers[index];
                (server.up, server.mood) = (true, Mood::Well);
            }
        }
    }

    fn step(&mut self) {
        match self.rng.u32(..32) {
            0..4 => self.dial(),
            4..10 => self.serve(),
            10..16 => self.answer(),
            16..20 => self.end(),
            20..24 if self.faults => {
                let most = self.rng.u64(1..300);
                self.take(most);
            }
            24..26 if self.faults => self.ask(),
            26..28 if self.faults => self.fault(),
            _ => self.pass(),
        }
    }

    /// Every node is well again. Whoever wants ids gets them soon.
    fn recover(&mut self) {
        self.faults = false;
        self.servers.iter_mut().for_each(|server| (server.up, server.mood) = (true, Mood::Well));
        let already = self.ready();
        self.take(already + 5000);
        // A node that refused for its role is not asked for so long, a request that hangs for less.
        let until = self.now + MISFIT_REST + 5000 * MS;
        while self.ready() < self.wanted && self.now < until && !self.conflict {
            self.step();
        }
        assert!(
            self.conflict || self.ready() >= self.wanted,
            "{} of {}",
            self.ready(),
            self.wanted
        );
        while !self.waiting.is_empty() && !self.conflict {
            self.pass();
        }
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

fn run(seed: u64, steps: usize) -> World {
    let _named = Named(seed);
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    // Every node is gone for good: what is leased is dealt to the last id.
    if !world.conflict {
        for index in 0..world.servers.len() {
            world.servers[index].up = false;
            world.break_line(index);
        }
        let ready = world.ready();
        world.take(ready);
        assert_eq!((world.ready(), world.wanted), (0, 0));
        world.recover();
    }
    world
}

#[test]
fn no_id_is_handed_out_twice_and_whoever_wants_ids_gets_them_in_the_end() {
    fn property(seed: u64) -> TestResult {
        run(seed, 400);
        TestResult::passed()
    }
    QuickCheck::new().tests(300).quickcheck(property as fn(u64) -> TestResult);
}

#[test]
fn the_model_meets_everything() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..200 {
        for (what, times) in run(seed, 400).seen {
            *seen.entry(what).or_default() += times;
        }
    }
    let all =
        ["blocks", "conflict", "expired", "fresh", "late answers", "reset", "several at one node"];
    for what in all {
        assert!(seen.get(what).is_some_and(|times| *times >= 10), "{what}: {seen:?}");
    }
}
