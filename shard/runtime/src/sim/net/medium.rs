//! What all connections of a network share: its time, what is due, the cuts, and the dice.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use super::connection::Side;
use crate::rng::Rng;
use crate::sim::faults::{NetFault, NetFaults};
use crate::sim::trace::{NodeId, TraceKind};

/// By how much the delays within a host are shorter than those between hosts: microseconds rather than tens of them.
const LOOPBACK_DIVISOR: u64 = 10;

/// Rates of faults are per this many operations.
const MILLION: u64 = 1_000_000;

/// What happens to a connection at a point in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// The first segment that this side has sent arrives.
    Arrival(Side),
    /// What this side has sent was held for too long.
    HeldTooLong(Side),
    /// This side learns that its peer has read, or has waited for that too long.
    Credit(Side),
    /// Nobody has answered the client.
    Deadline,
}

/// A thing that is due, to take it back: its time and a number.
pub(super) type Token = (u64, u64);

/// See the module.
pub(super) struct Medium {
    /// The latest time that anybody has told.
    pub(super) now: u64,
    pub(super) faults: NetFaults,
    /// Tasks to wake.
    pub(super) woken: Vec<Waker>,
    due: BTreeMap<Token, (u64, Due)>,
    next_due: u64,
    cuts: BTreeSet<(NodeId, NodeId)>,
    off: BTreeSet<NodeId>,
    events: Vec<(Option<NodeId>, TraceKind)>,
    struck: BTreeMap<NetFault, u64>,
    delays: Rng,
    details: Rng,
    /// One stream per fault: a fault that never struck may be switched off, and the run stays the same.
    strikes: Strikes,
}

/// The dice of the faults that strike at random.
struct Strikes {
    delayed: Rng,
    reset: Rng,
    connect_failed: Rng,
    short_read: Rng,
    short_write: Rng,
}

impl Medium {
    pub(super) fn new(seed: u64) -> Self {
        let mut root = Rng::with_seed(seed);
        let mut stream = || Rng::with_seed(root.next_u64());
        Self {
            now: 0,
            faults: NetFaults::default(),
            woken: Vec::new(),
            due: BTreeMap::new(),
            next_due: 0,
            cuts: BTreeSet::new(),
            off: BTreeSet::new(),
            events: Vec::new(),
            struck: BTreeMap::new(),
            delays: stream(),
            details: stream(),
            strikes: Strikes {
                delayed: stream(),
                reset: stream(),
                connect_failed: stream(),
                short_read: stream(),
                short_write: stream(),
            },
        }
    }

    /// Time goes on; never back.
    pub(super) fn reach(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    // What is due.

    /// Has `due` happen to a connection at `at`.
    pub(super) fn schedule(&mut self, at: u64, connection: u64, due: Due) -> Token {
        let token = (at, self.next_due);
        self.next_due += 1;
        self.due.insert(token, (connection, due));
        token
    }

    /// Takes back what is due, if it is.
    pub(super) fn cancel(&mut self, token: &mut Option<Token>) {
        if let Some(token) = token.take() {
            self.due.remove(&token);
        }
    }

    /// When the first thing is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next thing that is due by `now`. Time is then when it was due.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<(u64, Due)> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let at = entry.key().0;
        let due = entry.remove();
        self.reach(at);
        Some(due)
    }

    // Cuts and hosts without power.

    /// Returns false if it was so already.
    pub(super) fn cut(&mut self, from: NodeId, to: NodeId) -> bool {
        let new = self.cuts.insert((from, to));
        if new {
            self.note(None, TraceKind::Cut { from, to });
        }
        new
    }

    /// Returns false if it was so already.
    pub(super) fn heal(&mut self, from: NodeId, to: NodeId) -> bool {
        let healed = self.cuts.remove(&(from, to));
        if healed {
            self.note(None, TraceKind::Healed { from, to });
        }
        healed
    }

    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Returns false if it was so already.
    pub(super) fn set_off(&mut self, node: NodeId, off: bool) -> bool {
        if off { self.off.insert(node) } else { self.off.remove(&node) }
    }

    /// Whether nothing gets through, and senders repeat themselves.
    pub(super) fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.off.contains(&to) || self.is_cut(from, to)
    }

    // Dice.

    /// How long a segment is on its way: at least a nanosecond.
    pub(super) fn delay(&mut self, from: NodeId, to: NodeId) -> u64 {
        let divisor = if from == to { LOOPBACK_DIVISOR } else { 1 };
        let low = (self.faults.delay_min / divisor).max(1);
        let high = (self.faults.delay_max / divisor).max(low);
        low + self.delays.below(high - low + 1)
    }

    /// Same, and sometimes much longer.
    pub(super) fn delay_of_segment(&mut self, from: NodeId, to: NodeId, connection: u64) -> u64 {
        let usual = self.delay(from, to);
        if !chance(&mut self.strikes.delayed, self.faults.delayed) {
            return usual;
        }
        self.strike(NetFault::Delayed, from, Some(connection));
        let longer = self.faults.delayed_max.saturating_sub(usual);
        usual + self.details.below(longer.saturating_add(1).max(1))
    }

    /// Whether a connection breaks with this segment of `node`.
    pub(super) fn resets(&mut self, node: NodeId, connection: u64) -> bool {
        let struck = chance(&mut self.strikes.reset, self.faults.reset);
        if struck {
            self.strike(NetFault::Reset, node, Some(connection));
        }
        struck
    }

    /// Whether a connection that `node` asks for cannot be made.
    pub(super) fn fails_to_connect(&mut self, node: NodeId, connection: u64) -> bool {
        let struck = chance(&mut self.strikes.connect_failed, self.faults.connect_failed);
        if struck {
            self.strike(NetFault::ConnectFailed, node, Some(connection));
        }
        struck
    }

    /// How many of `len` bytes a read gives.
    pub(super) fn short_read(&mut self, len: usize, node: NodeId, connection: u64) -> usize {
        if len < 2 || !chance(&mut self.strikes.short_read, self.faults.short_read) {
            return len;
        }
        self.strike(NetFault::ShortRead, node, Some(connection));
        1 + self.below(len - 1)
    }

    /// How many of `len` bytes a write takes.
    pub(super) fn short_write(&mut self, len: usize, node: NodeId, connection: u64) -> usize {
        if len < 2 || !chance(&mut self.strikes.short_write, self.faults.short_write) {
            return len;
        }
        self.strike(NetFault::ShortWrite, node, Some(connection));
        1 + self.below(len - 1)
    }

    /// A number uniform in `0..bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let drawn = self.details.below(bound as u64);
        usize::try_from(drawn).expect("below a usize")
    }

    /// One side of a coin.
    pub(super) fn coin(&mut self) -> bool {
        self.details.below(2) == 0
    }

    // Notes.

    /// Counts and notes a fault.
    pub(super) fn strike(&mut self, fault: NetFault, node: NodeId, connection: Option<u64>) {
        *self.struck.entry(fault).or_default() += 1;
        self.note(Some(node), TraceKind::NetFault { fault, connection });
    }

    pub(super) fn struck(&self) -> &BTreeMap<NetFault, u64> {
        &self.struck
    }

    pub(super) fn note(&mut self, node: Option<NodeId>, kind: TraceKind) {
        self.events.push((node, kind));
    }

    pub(super) fn drain_events(&mut self) -> Vec<(Option<NodeId>, TraceKind)> {
        std::mem::take(&mut self.events)
    }

    /// Wakes who waits there.
    pub(super) fn wake(&mut self, waker: &mut Option<Waker>) {
        self.woken.extend(waker.take());
    }
}

/// Throws a die that shows a strike `rate` times in a million; none is thrown at a rate of zero.
fn chance(rng: &mut Rng, rate: u32) -> bool {
    rate > 0 && rng.below(MILLION) < u64::from(rate)
}
