//! The machine that leases blocks of Scarab ids from a fleet of nodes: whom to ask, when to ask a second one as well, whom
//! to leave alone, and which answers to believe. It has no I/O and no clock; the shell is `ids`.
//!
//! Any node of a fleet deals ids, so the machine needs one answer from anybody:
//!
//! - It keeps a connection to every node, so that another one can be asked at once. A node that failed rests: exponential
//!   delays with jitter, then one request to see (a circuit breaker of one step). Among those that do not rest it asks one
//!   with the fewest requests without an answer, by lot.
//! - A request that takes longer than 99 of 100 of the node's last answers goes to a second node as well (*hedge*; Dean and
//!   Barroso, *The Tail at Scale*, 2013), and after twice that to a third. Every answer is used: blocks never meet.
//! - Nothing is ever asked for again: a request that is lost has lost its ids, and the next one brings others. So no
//!   answer, repeated or late, makes a duplicate here.
//!
//! What could make one is an operator: two nodes that were given one slot, or nodes of two clusters. The machine remembers
//! which node dealt from which slot and which cluster it began with, and when they do not fit it gives up for good
//! ([`Conflict`]): ids that others hold may be duplicates already, and no answer says which.
//!
//! ```
//! use std::time::Duration;
//! use pyralog_client::backoff::Backoff;
//! use pyralog_client::directory::ClusterId;
//! use pyralog_client::fleet::{Answer, Attempt, Command, Event, Fleet, Identity, Member, Policy};
//! use pyralog_wire::message::IdsDealt;
//!
//! let policy = Policy {
//!     block: 100,
//!     low_water: 100,
//!     lease_timeout: Duration::from_secs(2),
//!     backoff: Backoff { min: Duration::from_millis(10), max: Duration::from_secs(1) },
//! };
//! let mut fleet = Fleet::new(policy, 1, fastrand::Rng::with_seed(1));
//! let (member, connection, now) = (Member(0), 1, Duration::ZERO);
//! let mut commands = Vec::new();
//! fleet.handle(now, Event::Tick, &mut commands);
//! assert_eq!(commands, [Command::Connect { member, connection }]);
//!
//! commands.clear();
//! let identity = Identity { node: 7, cluster: ClusterId(9) };
//! fleet.handle(now, Event::Connected { member, connection, identity }, &mut commands);
//! let attempt = Attempt(0);
//! assert_eq!(commands, [Command::Send { member, connection, attempt, count: 100 }]);
//!
//! commands.clear();
//! let answer = Answer::Dealt(IdsDealt { slot: 3, first_tick: 8192, count: 100 });
//! fleet.handle(now, Event::Answered { attempt, answer }, &mut commands);
//! assert!(matches!(&commands[..], [Command::Store(block)] if block.count() == 100));
//! assert_eq!(fleet.due(), None, "there is enough");
//! ```

mod latency;
mod ledger;

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use pyralog_seq::pharaoh::Block;
use pyralog_seq::scarab::{Slot, Tick};
use pyralog_wire::limits::IDS_PER_REQUEST_MAX;
use pyralog_wire::message::IdsDealt;
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply, Retry};

use crate::backoff::Backoff;
use crate::limits::{
    FRESH_LEASES_MAX, HEDGES_MAX, LEASES_PER_NODE_MAX, MISFIT_REST, RETRY_AFTER_MAX,
};

use latency::Latencies;
use ledger::Ledger;
pub use ledger::{Claim, Conflict, Identity};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// What the machine is told to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Ids of one lease.
    pub block: u32,
    /// Leases more when fewer ids than this lie ready.
    pub low_water: u64,
    /// After this time without an answer a connection is given up.
    pub lease_timeout: Duration,
    /// How long a node rests that failed so often in a row.
    pub backoff: Backoff,
}

/// A configured address, by its place. Several may lead to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member(pub usize);

/// One request for ids, never repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u64);

/// One who waits for a block that was dealt after it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the shell tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many ids lie ready, and so many more are waited for.
    Stock {
        /// Ids that nobody has taken.
        ids: u64,
        /// Ids that would be taken if they were there.
        wanted: u64,
    },
    /// Somebody wants ids that are dealt from now on.
    Fresh {
        /// Who.
        ticket: Ticket,
        /// How many, in one block.
        count: u32,
        /// When they give up.
        until: Duration,
    },
    /// A connection was made.
    Connected {
        /// To whom.
        member: Member,
        /// As the command called it.
        connection: u64,
        /// What the node said about itself.
        identity: Identity,
    },
    /// A connection could not be made, or has ended.
    Disconnected {
        /// To whom.
        member: Member,
        /// As the command called it.
        connection: u64,
    },
    /// A request has ended.
    Answered {
        /// Which.
        attempt: Attempt,
        /// How.
        answer: Answer,
    },
    /// Time has passed.
    Tick,
}

/// How a request for ids ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With ids.
    Dealt(IdsDealt),
    /// With a refusal.
    Refused(ErrorReply),
    /// Without an answer: whatever was dealt is lost.
    Lost,
    /// With something else: the node is not what it should be.
    Nonsense,
}

/// What the shell is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect.
    Connect {
        /// To whom.
        member: Member,
        /// What to call it: unique for the member.
        connection: u64,
    },
    /// Ask for ids.
    Send {
        /// Whom.
        member: Member,
        /// Over this connection.
        connection: u64,
        /// What to call the request.
        attempt: Attempt,
        /// How many.
        count: u32,
    },
    /// End the connection: it owes an answer for too long.
    Reset {
        /// To whom.
        member: Member,
        /// Which.
        connection: u64,
    },
    /// Put these ids to those that lie ready.
    Store(Block),
    /// Give these ids to the one who waits for them.
    Deliver(Ticket, Block),
    /// Tell the one who waits that time is up.
    Expire(Ticket),
    /// Deal nothing any more. The machine does nothing from here on.
    Fail(Conflict),
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Down,
    Connecting,
    Up,
}

/// A configured address.
#[derive(Debug)]
struct Node {
    line: Line,
    /// The connection that is or was made last.
    connection: u64,
    /// Failures since ids came from it.
    failures: u32,
    /// Neither asked nor connected to before this.
    rest_until: Duration,
    latencies: Latencies,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
struct Out {
    member: Member,
    count: u32,
    sent: Duration,
}

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Stock,
    Fresh { ticket: Ticket, until: Duration },
}

/// A block that is wanted.
#[derive(Debug)]
struct Lease {
    purpose: Purpose,
    count: u32,
    /// Requests for it without an answer, in the order sent.
    out: Vec<Attempt>,
}

/// The machine. Invariants: at most one lease is for the stock; a request is in `out` until it has ended, and no longer.
#[derive(Debug)]
pub struct Fleet {
    policy: Policy,
    rng: Rng,
    now: Duration,
    nodes: Vec<Node>,
    leases: Vec<Lease>,
    /// Also of leases that were served: their answers are used too.
    out: BTreeMap<Attempt, Out>,
    attempts: u64,
    stock: u64,
    wanted: u64,
    ledger: Ledger,
    failed: bool,
}

impl Fleet {
    /// A machine for so many addresses, with nothing leased.
    ///
    /// # Panics
    /// Without addresses, or if a block has no ids.
    #[must_use]
    pub fn new(policy: Policy, members: usize, rng: Rng) -> Self {
        assert!(members > 0, "a fleet has nodes");
        assert!((1..=IDS_PER_REQUEST_MAX).contains(&policy.block), "a block of {}", policy.block);
        let node = || Node {
            line: Line::Down,
            connection: 0,
            failures: 0,
            rest_until: Duration::ZERO,
            latencies: Latencies::default(),
        };
        Self {
            policy,
            rng,
            now: Duration::ZERO,
            nodes: std::iter::repeat_with(node).take(members).collect(),
            leases: Vec::new(),
            out: BTreeMap::new(),
            attempts: 0,
            stock: 0,
            wanted: 0,
            ledger: Ledger::new(members),
            failed: false,
        }
    }

    /// How many wait for fresh ids. The shell hands over no more than [`FRESH_LEASES_MAX`].
    #[must_use]
    pub fn fresh(&self) -> usize {
        self.leases.iter().filter(|lease| lease.purpose != Purpose::Stock).count()
    }

    /// How many addresses are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.nodes.iter().filter(|node| node.line == Line::Up).count()
    }

    /// Takes an event; appends what is to be done.
    ///
    /// # Panics
    /// If time goes backwards, or more wait for fresh ids than may.
    pub fn handle(&mut self, now: Duration, event: Event, commands: &mut Vec<Command>) {
        assert!(now >= self.now, "time goes from {:?} to {now:?}", self.now);
        self.now = now;
        if self.failed {
            return;
        }
        match event {
            Event::Stock { ids, wanted } => (self.stock, self.wanted) = (ids, wanted),
            Event::Fresh { ticket, count, until } => {
                assert!(self.fresh() < FRESH_LEASES_MAX, "too many wait for fresh ids");
                let purpose = Purpose::Fresh { ticket, until };
                self.leases.push(Lease { purpose, count, out: Vec::new() });
            }
            Event::Connected { member, connection, identity } => {
                self.connected_to((member, connection), identity, commands);
            }
            Event::Disconnected { member, connection } => {
                let node = &self.nodes[member.0];
                // One that was given up is down already.
                if node.connection == connection && node.line != Line::Down {
                    self.down(member);
                }
            }
            Event::Answered { attempt, answer } => self.answered(attempt, answer, commands),
            Event::Tick => {}
        }
        if !self.failed {
            self.advance(commands);
        }
    }

    /// When the machine wants to be told the time, if nothing else happens before.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        if self.failed {
            return None;
        }
        let overdue = self.out.values().map(|out| out.sent + self.policy.lease_timeout);
        let redials = self.nodes.iter().filter(|node| node.line == Line::Down);
        let redials = redials.map(|node| node.rest_until);
        let late = self.leases.iter().filter_map(|lease| match lease.purpose {
            Purpose::Fresh { until, .. } => Some(until),
            Purpose::Stock => None,
        });
        let sends = self.leases.iter().filter_map(|lease| {
            let at = self.send_at(lease)?;
            if at > self.now {
                return Some(at);
            }
            // Nobody can be asked now: when the first has rested. Other changes are events.
            let resting = self.nodes.iter().filter(|node| node.line == Line::Up);
            resting.map(|node| node.rest_until).filter(|until| *until > self.now).min()
        });
        overdue.chain(redials).chain(late).chain(sends).min()
    }

    fn connected_to(
        &mut self,
        (member, connection): (Member, u64),
        identity: Identity,
        commands: &mut Vec<Command>,
    ) {
        let node = &mut self.nodes[member.0];
        if node.connection != connection || node.line != Line::Connecting {
            return;
        }
        node.line = Line::Up;
        // One request will show whether it deals ids: `failures` stays until then.
        node.rest_until = self.now;
        if let Err(conflict) = self.ledger.greeted(member, identity) {
            self.fail(conflict, commands);
        }
    }

    fn answered(&mut self, attempt: Attempt, answer: Answer, commands: &mut Vec<Command>) {
        // Those of a connection that was given up have ended already.
        let Some(out) = self.out.remove(&attempt) else { return };
        match answer {
            Answer::Dealt(dealt) => self.dealt((attempt, out), dealt, commands),
            Answer::Refused(reply) => {
                self.ended(attempt);
                let rest = rest_after(&reply);
                self.failed_at(out.member, rest);
            }
            Answer::Lost => {
                self.ended(attempt);
                // The end of the connection follows and counts. Until then nothing else goes there.
                let node = &mut self.nodes[out.member.0];
                let rest = self.policy.backoff.delay(node.failures.max(1), &mut self.rng);
                node.rest_until = node.rest_until.max(self.now + rest);
            }
            Answer::Nonsense => {
                self.ended(attempt);
                self.failed_at(out.member, MISFIT_REST);
            }
        }
    }

    fn dealt(
        &mut self,
        (attempt, out): (Attempt, Out),
        dealt: IdsDealt,
        commands: &mut Vec<Command>,
    ) {
        let sound = (dealt.count == out.count).then(|| {
            let (slot, first) = (Slot::new(dealt.slot)?, Tick::new(dealt.first_tick)?);
            Block::new(slot, first, dealt.count)
        });
        let Some(block) = sound.flatten() else {
            self.ended(attempt);
            self.failed_at(out.member, MISFIT_REST);
            return;
        };
        if let Err(conflict) = self.ledger.dealt(out.member, &block) {
            self.fail(conflict, commands);
            return;
        }
        let node = &mut self.nodes[out.member.0];
        node.latencies.record(self.now.saturating_sub(out.sent));
        node.failures = 0;
        // The block serves the lease it was asked for; if another one has, it is stock.
        let served = self.leases.iter().position(|lease| lease.out.contains(&attempt));
        let purpose = served.map_or(Purpose::Stock, |index| self.leases.remove(index).purpose);
        match purpose {
            Purpose::Fresh { ticket, .. } => commands.push(Command::Deliver(ticket, block)),
            Purpose::Stock => {
                self.stock += u64::from(block.count());
                self.wanted = self.wanted.saturating_sub(u64::from(block.count()));
                commands.push(Command::Store(block));
            }
        }
    }

    /// An attempt has ended without ids.
    fn ended(&mut self, attempt: Attempt) {
        for lease in &mut self.leases {
            lease.out.retain(|out| *out != attempt);
        }
    }

    /// A node failed: it rests as its failures say, and at least so long.
    fn failed_at(&mut self, member: Member, at_least: Duration) {
        let node = &mut self.nodes[member.0];
        node.failures = node.failures.saturating_add(1);
        let rest = self.policy.backoff.delay(node.failures, &mut self.rng).max(at_least);
        node.rest_until = node.rest_until.max(self.now + rest);
    }

    /// The connection to a node has ended.
    fn down(&mut self, member: Member) {
        self.nodes[member.0].line = Line::Down;
        self.failed_at(member, Duration::ZERO);
        let lost: Vec<Attempt> = self.out_at(member).map(|(attempt, _)| *attempt).collect();
        for attempt in lost {
            self.out.remove(&attempt);
            self.ended(attempt);
        }
    }

    fn fail(&mut self, conflict: Conflict, commands: &mut Vec<Command>) {
        self.failed = true;
        commands.push(Command::Fail(conflict));
    }

    fn out_at(&self, member: Member) -> impl Iterator<Item = (&Attempt, &Out)> {
        self.out.iter().filter(move |(_, out)| out.member == member)
    }

    /// Everything that is to be done now.
    fn advance(&mut self, commands: &mut Vec<Command>) {
        self.give_up(commands);
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.line == Line::Down && node.rest_until <= self.now {
                node.line = Line::Connecting;
                node.connection += 1;
                let (member, connection) = (Member(index), node.connection);
                commands.push(Command::Connect { member, connection });
            }
        }
        // What nobody was asked for yet is decided anew: more may be wanted now, or nothing.
        self.leases.retain(|lease| lease.purpose != Purpose::Stock || !lease.out.is_empty());
        let stocking = self.leases.iter().any(|lease| lease.purpose == Purpose::Stock);
        if !stocking && (self.stock < self.policy.low_water || self.wanted > 0) {
            let wanted = u32::try_from(self.wanted).unwrap_or(u32::MAX);
            let count = wanted.clamp(self.policy.block, IDS_PER_REQUEST_MAX);
            self.leases.push(Lease { purpose: Purpose::Stock, count, out: Vec::new() });
        }
        for index in 0..self.leases.len() {
            self.send(index, commands);
        }
    }

    /// Connections that owe an answer for too long, and those who have waited for too long.
    fn give_up(&mut self, commands: &mut Vec<Command>) {
        let (now, after) = (self.now, self.policy.lease_timeout);
        while let Some(out) = self.out.values().find(|out| out.sent + after <= now).copied() {
            let (member, connection) = (out.member, self.nodes[out.member.0].connection);
            commands.push(Command::Reset { member, connection });
            self.down(member);
        }
        self.leases.retain(|lease| match lease.purpose {
            Purpose::Fresh { ticket, until } if until <= now => {
                commands.push(Command::Expire(ticket));
                false
            }
            _ => true,
        });
    }

    /// When the next request for a lease is to go out, if there may be one.
    fn send_at(&self, lease: &Lease) -> Option<Duration> {
        let Some(last) = lease.out.last() else { return Some(self.now) };
        let hedges = lease.out.len() - 1;
        if hedges >= HEDGES_MAX {
            return None;
        }
        let out = &self.out[last];
        Some(out.sent + self.nodes[out.member.0].latencies.hedge_delay() * (1 << hedges))
    }

    fn send(&mut self, index: usize, commands: &mut Vec<Command>) {
        let lease = &self.leases[index];
        if self.send_at(lease).is_none_or(|at| at > self.now) {
            return;
        }
        let Some(member) = self.choose(index) else { return };
        let (attempt, count) = (Attempt(self.attempts), self.leases[index].count);
        self.attempts += 1;
        self.leases[index].out.push(attempt);
        self.out.insert(attempt, Out { member, count, sent: self.now });
        let connection = self.nodes[member.0].connection;
        commands.push(Command::Send { member, connection, attempt, count });
    }

    /// Whom to ask for a lease: one that is there, does not rest and was not asked for it yet. Those that owe no answer for
    /// longer than usual come first, then those that owe fewer; equals by lot.
    fn choose(&mut self, index: usize) -> Option<Member> {
        let asked: Vec<Member> =
            self.leases[index].out.iter().map(|a| self.out[a].member).collect();
        let rank = |member: Member| {
            let (node, owed) = (&self.nodes[member.0], self.out_at(member).count());
            // One that failed last time gets one request, to see.
            let most = if node.failures > 0 { 1 } else { LEASES_PER_NODE_MAX };
            let free = node.line == Line::Up && node.rest_until <= self.now && owed < most;
            if !free || asked.contains(&member) {
                return None;
            }
            let usual = node.latencies.hedge_delay();
            let slow = self.out_at(member).any(|(_, out)| out.sent + usual <= self.now);
            Some(((slow, owed), member))
        };
        let mut free: Vec<_> = (0..self.nodes.len()).map(Member).filter_map(rank).collect();
        let best = free.iter().map(|(rank, _)| *rank).min()?;
        free.retain(|(rank, _)| *rank == best);
        Some(free[self.rng.usize(..free.len())].1)
    }
}

/// How long a node is at least left alone that answered this.
pub(crate) fn rest_after(reply: &ErrorReply) -> Duration {
    match reply.detail {
        ErrorDetail::RetryAfter { ms } => Duration::from_millis(ms).min(RETRY_AFTER_MAX),
        // Its role, or its version: another start of the node may change it, and that ends the connection.
        _ if reply.is(ErrorCode::WrongRole) || reply.retry == Retry::Never => MISFIT_REST,
        _ => Duration::ZERO,
    }
}
