//! A connection: two ends, and a lane from each to the other.
//!
//! ```text
//!             lane of the client: Syn .. Ack, Data, Data, Fin ->
//!  end of the client                                     end of the server
//!             <- lane of the server: SynAck .. Data, Data, Reset
//! ```
//!
//! An end speaks only through its lane, so whatever happens to one is known to the other no earlier than a segment can
//! tell it, and never if the network is cut or the power has failed.

use rustix::io::Errno;

use super::end::{End, State};
use super::lane::{Lane, Segment};
use super::medium::{Due, Medium, Token};
use crate::sim::faults::NetFault;
use crate::sim::trace::{NodeId, TraceKind};

/// Longest time in nanoseconds that a sender goes on repeating what does not get through. A kernel takes 15 minutes
/// by default; 1 minute keeps simulated partitions short.
const HELD_NANOS_MAX: u64 = 60_000_000_000;

/// One end of a connection, or the lane from it to the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// Asked for the connection.
    Client,
    /// Accepted it.
    Server,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    /// The same at both ends, and never that of another.
    pub(super) number: u64,
    ends: [End; 2],
    lanes: [Lane; 2],
    /// When waiting for an answer ends.
    pub(super) deadline: Option<Token>,
}

impl Connection {
    pub(super) fn new(number: u64, client: End, server: End) -> Self {
        let lanes = [Lane::default(), Lane::default()];
        Self { number, ends: [client, server], lanes, deadline: None }
    }

    pub(super) fn end(&self, side: Side) -> &End {
        &self.ends[side.index()]
    }

    pub(super) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side.index()]
    }

    pub(super) fn lane(&self, side: Side) -> &Lane {
        &self.lanes[side.index()]
    }

    pub(super) fn lane_mut(&mut self, side: Side) -> &mut Lane {
        &mut self.lanes[side.index()]
    }

    /// Sender and receiver of a lane.
    pub(super) fn nodes(&self, side: Side) -> (NodeId, NodeId) {
        (self.end(side).node, self.end(side.other()).node)
    }

    /// Whether anybody will ever look at either end again.
    pub(super) fn is_wanted(&self) -> bool {
        self.ends.iter().any(End::is_wanted)
    }

    /// Takes back all that is due.
    pub(super) fn cancel(&mut self, medium: &mut Medium) {
        medium.cancel(&mut self.deadline);
        for lane in &mut self.lanes {
            lane.cancel(medium);
        }
    }

    // Lanes.

    /// Sends a segment, and returns when it arrives; `None` if the network holds it.
    pub(super) fn send(
        &mut self,
        medium: &mut Medium,
        side: Side,
        segment: Segment,
    ) -> Option<u64> {
        if self.lane(side).is_reset() {
            return None;
        }
        let (from, to) = self.nodes(side);
        let number = self.number;
        let delay = medium.delay_of_segment(from, to, number);
        let lane = self.lane_mut(side);
        let arrives = lane.push(segment, medium.now, delay);
        if lane.held {
            Self::note_held(medium, number, (from, to));
            None
        } else if medium.is_blocked(from, to) {
            self.hold(medium, side);
            None
        } else {
            self.expect_arrival(medium, side);
            Some(arrives)
        }
    }

    /// Has the first segment of a lane arrive in its time.
    pub(super) fn expect_arrival(&mut self, medium: &mut Medium, side: Side) {
        let number = self.number;
        let lane = self.lane_mut(side);
        if lane.held || lane.arrival.is_some() {
            return;
        }
        if let Some(at) = lane.first_arrival() {
            lane.arrival = Some(medium.schedule(at, number, Due::Arrival(side)));
        }
    }

    fn note_held(medium: &mut Medium, number: u64, (from, to): (NodeId, NodeId)) {
        // Not if the host is off: that has other names.
        if medium.is_cut(from, to) {
            medium.strike(NetFault::Held, from, Some(number));
        }
    }

    /// The network does not carry what is in a lane; its sender repeats it in vain, for a time.
    pub(super) fn hold(&mut self, medium: &mut Medium, side: Side) {
        let (number, nodes) = (self.number, self.nodes(side));
        let lane = self.lane_mut(side);
        if lane.held || lane.is_empty() {
            return;
        }
        lane.held = true;
        medium.cancel(&mut lane.arrival);
        let until = medium.now + HELD_NANOS_MAX;
        lane.timeout = Some(medium.schedule(until, number, Due::HeldTooLong(side)));
        Self::note_held(medium, number, nodes);
    }

    /// The network carries the lane again, if nothing else holds it.
    pub(super) fn release(&mut self, medium: &mut Medium, side: Side) {
        let (from, to) = self.nodes(side);
        let now = medium.now;
        let lane = self.lane_mut(side);
        if !lane.held || medium.is_blocked(from, to) {
            return;
        }
        lane.held = false;
        medium.cancel(&mut lane.timeout);
        lane.restart(now, || medium.delay(from, to));
        self.expect_arrival(medium, side);
    }

    /// Loses what is in a lane.
    pub(super) fn clear(&mut self, medium: &mut Medium, side: Side) {
        self.lane_mut(side).clear(medium);
        let receiver = self.end_mut(side.other());
        if matches!(receiver.state, State::Answered(_)) {
            // What it waits for will not come.
            receiver.state = State::Gone;
        }
    }

    // Windows.

    /// How many more bytes a side may send: its own buffer and the peer's hold them.
    pub(super) fn room(&self, side: Side) -> usize {
        self.capacity(side).saturating_sub(self.lane(side).used)
    }

    fn capacity(&self, side: Side) -> usize {
        self.end(side).send_buffer + self.end(side.other()).receive_buffer
    }

    /// `reader` has read `count` bytes. The sender is told when it waits for that, or when much was read: as a kernel
    /// does, and most reads then cost nothing.
    pub(super) fn has_read(&mut self, medium: &mut Medium, reader: Side, count: usize) {
        let sender = reader.other();
        let quarter = self.capacity(sender) / 4;
        let lane = self.lane_mut(sender);
        lane.read += count;
        if lane.is_full || lane.read >= quarter {
            self.tell(medium, sender);
        }
    }

    /// Begins to tell `sender` what was read.
    pub(super) fn tell(&mut self, medium: &mut Medium, sender: Side) {
        // The news travel against the data.
        let (from, to) = self.nodes(sender.other());
        let number = self.number;
        let lane = self.lane_mut(sender);
        if lane.read == 0 || lane.credit.is_some() {
            return;
        }
        let wait = if medium.is_blocked(from, to) {
            HELD_NANOS_MAX
        } else {
            lane.told = std::mem::take(&mut lane.read);
            medium.delay(from, to)
        };
        lane.credit = Some(medium.schedule(medium.now + wait, number, Due::Credit(sender)));
    }

    /// The network can tell `sender` again.
    pub(super) fn retell(&mut self, medium: &mut Medium, sender: Side) {
        let (from, to) = self.nodes(sender.other());
        let lane = self.lane_mut(sender);
        if lane.told == 0 && lane.credit.is_some() && !medium.is_blocked(from, to) {
            medium.cancel(&mut lane.credit);
            self.tell(medium, sender);
        }
    }

    /// What was on its way to `sender` is there, or has not found a way.
    pub(super) fn told(&mut self, medium: &mut Medium, sender: Side) {
        let lane = self.lane_mut(sender);
        lane.credit = None;
        if lane.told == 0 {
            self.give_up(medium, sender);
            return;
        }
        lane.used -= std::mem::take(&mut lane.told);
        if lane.is_full {
            self.admit(medium, sender);
            self.tell(medium, sender);
        }
    }

    /// Lets a sender that waits for room try again.
    pub(super) fn admit(&mut self, medium: &mut Medium, sender: Side) {
        self.lane_mut(sender).is_full = false;
        medium.wake(&mut self.end_mut(sender).writer);
    }

    /// A sender that waits for room asks whether somebody is there, if nothing else of it is on its way: a reader that
    /// lost its power will never make room.
    pub(super) fn probe(&mut self, medium: &mut Medium, side: Side) {
        let sender_waits = self.lane(side).is_full && self.end(side).state == State::Open;
        if sender_waits
            && self.lane(side).is_empty()
            && matches!(self.end(side.other()).state, State::Gone | State::Broken)
        {
            self.send(medium, side, Segment::Data(Vec::new()));
        }
    }

    // Ends without order.

    /// Sends a reset behind an arbitrary part of what is in the lane of `side`.
    pub(super) fn send_reset(&mut self, medium: &mut Medium, side: Side) {
        if !self.lane(side).is_reset() {
            self.lane_mut(side).truncate(medium);
            self.send(medium, side, Segment::Reset);
        }
    }

    /// Something has reached the end of `side`, which does not know the connection or wants no more of it.
    pub(super) fn answer_reset(&mut self, medium: &mut Medium, side: Side) {
        self.lane_mut(side.other()).is_rejected = true;
        self.reject(medium, side);
    }

    /// The end of `side` does not know the connection, or wants no more of it, and says so.
    pub(super) fn reject(&mut self, medium: &mut Medium, side: Side) {
        let number = self.number;
        let end = self.end_mut(side);
        match end.state {
            State::Open => {
                // The application has shut both directions: nobody waits.
                end.state = State::Broken;
            }
            State::Broken => {}
            _ => end.let_go(State::Gone),
        }
        let node = end.node;
        medium.note(Some(node), TraceKind::Reset { connection: number });
        self.send_reset(medium, side);
    }

    /// The kernel of `side` forgets the connection because of `error`, and says nothing to its peer.
    pub(super) fn fail(&mut self, medium: &mut Medium, side: Side, error: Errno) {
        let number = self.number;
        let end = self.end_mut(side);
        match end.state {
            State::Connecting | State::Open => {
                end.state = State::Broken;
                end.error = Some(error);
                end.wake_all(medium);
            }
            State::Answered(_) | State::Orphan => end.let_go(State::Gone),
            State::Unborn | State::Broken | State::Gone => return,
        }
        let node = end.node;
        medium.note(Some(node), TraceKind::Reset { connection: number });
        medium.cancel(&mut self.deadline);
        // What it has not sent yet nobody sends. A reset in the lane is not its own, but the network's.
        if !self.lane(side).is_reset() {
            self.clear(medium, side);
        }
        self.probe(medium, side.other());
    }

    /// `side` has repeated itself in vain for too long.
    pub(super) fn give_up(&mut self, medium: &mut Medium, side: Side) {
        match self.end(side).state {
            // The client has a deadline of its own, and until then asks and is answered again and again.
            State::Connecting | State::Answered(_) => {}
            State::Open | State::Orphan => self.fail(medium, side, Errno::TIMEDOUT),
            State::Unborn | State::Broken | State::Gone => {
                // A reset is lost. Who made it necessary has repeated itself for as long and not been heard; who has
                // sent nothing since does not know.
                self.clear(medium, side);
                if self.lane(side.other()).is_rejected {
                    self.fail(medium, side.other(), Errno::TIMEDOUT);
                } else {
                    self.probe(medium, side.other());
                }
            }
        }
    }
}
