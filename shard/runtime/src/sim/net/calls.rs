//! What a kernel does with a connection when its application, or the lack of one, calls.

use std::io::IoSlice;

use super::SEGMENT_BYTES_MAX;
use super::connection::{Connection, Side};
use super::end::State;
use super::lane::{Fate, Segment};
use super::medium::Medium;
use crate::sim::faults::NetFault;
use crate::sim::trace::TraceKind;

impl Connection {
    /// Sends the first `count` bytes of `parts`.
    pub(super) fn write(
        &mut self,
        medium: &mut Medium,
        side: Side,
        parts: &[IoSlice<'_>],
        count: usize,
    ) {
        let mut rest = count;
        let mut bytes = Vec::with_capacity(count.min(SEGMENT_BYTES_MAX));
        for part in parts {
            let mut part = &part[..part.len().min(rest)];
            rest -= part.len();
            while !part.is_empty() {
                let (first, after) = part.split_at(part.len().min(SEGMENT_BYTES_MAX - bytes.len()));
                bytes.extend_from_slice(first);
                part = after;
                if bytes.len() == SEGMENT_BYTES_MAX {
                    let left = count.min(SEGMENT_BYTES_MAX);
                    let full = std::mem::replace(&mut bytes, Vec::with_capacity(left));
                    self.send_bytes(medium, side, full);
                }
            }
        }
        if !bytes.is_empty() {
            self.send_bytes(medium, side, bytes);
        }
    }

    fn send_bytes(&mut self, medium: &mut Medium, side: Side, bytes: Vec<u8>) {
        let (node, to) = self.nodes(side);
        let (connection, len) = (self.number, bytes.len());
        if self.lane(side).is_reset() {
            // Taken, but they arrive nowhere: the sender will hear of it.
            return;
        }
        self.lane_mut(side).used += len;
        let arrives = self.send(medium, side, Segment::Data(bytes));
        medium.note(Some(node), TraceKind::Send { connection, to, bytes: len, arrives });
        if medium.resets(node, connection) {
            for side in Side::BOTH {
                self.send_reset(medium, side);
            }
        }
    }

    /// Sends nothing more.
    pub(super) fn finish(&mut self, medium: &mut Medium, side: Side) {
        let connection = self.number;
        let end = self.end_mut(side);
        if end.write_shut {
            return;
        }
        end.write_shut = true;
        medium.wake(&mut end.writer);
        medium.note(Some(end.node), TraceKind::Closed { connection });
        self.send(medium, side, Segment::Fin);
    }

    /// The application lets go.
    pub(super) fn close(&mut self, medium: &mut Medium, side: Side) {
        match self.end(side).state {
            State::Open if self.end(side).unread() > 0 => {
                self.end_mut(side).let_go(State::Gone);
                self.reject(medium, side);
            }
            State::Open => {
                self.finish(medium, side);
                self.end_mut(side).let_go(State::Orphan);
            }
            State::Connecting => self.abandon(side),
            State::Broken => self.end_mut(side).let_go(State::Gone),
            State::Unborn | State::Answered(_) | State::Orphan | State::Gone => {}
        }
    }

    /// The process ends without order.
    pub(super) fn lose_process(&mut self, medium: &mut Medium, side: Side) {
        match self.end(side).state {
            State::Open if medium.coin() => {
                self.end_mut(side).let_go(State::Gone);
                self.reject(medium, side);
            }
            _ => self.close(medium, side),
        }
    }

    /// The host loses its power: what it has not put on the wire is lost, and nobody says so.
    pub(super) fn lose_power(&mut self, medium: &mut Medium, side: Side) {
        match self.end(side).state {
            State::Unborn | State::Gone => return,
            State::Connecting => self.abandon(side),
            State::Answered(_) | State::Open | State::Broken | State::Orphan => {
                self.end_mut(side).let_go(State::Gone);
            }
        }
        if self.lane(side).held {
            self.clear(medium, side);
        } else {
            self.lane_mut(side).truncate(medium);
        }
        let (node, peer) = self.nodes(side);
        match self.end(side.other()).state {
            // Within a host both die.
            State::Open if peer != node => {
                medium.strike(NetFault::HalfOpen, peer, Some(self.number));
                self.probe(medium, side.other());
            }
            State::Connecting => {
                // It goes on asking, and whoever is there then answers.
                self.clear(medium, side);
                if self.lane(side.other()).is_empty() {
                    self.send(medium, side.other(), Segment::Syn(Fate::Made));
                }
            }
            _ => {}
        }
    }

    /// Does not wait for the connection any more: nobody will ever use its other end.
    fn abandon(&mut self, client: Side) {
        self.end_mut(client).let_go(State::Gone);
        self.end_mut(client.other()).let_go(State::Gone);
    }
}
