//! What a kernel does with the segments that reach it.

use rustix::io::Errno;

use super::StreamId;
use super::connection::{Connection, Side};
use super::end::State;
use super::hosts::{Answer, Hosts};
use super::lane::{Fate, Segment};
use super::medium::Medium;
use crate::sim::trace::TraceKind;

/// After this many nanoseconds a host asks again for a connection whose request was dropped: Linux's first timeout.
const ASK_AGAIN_NANOS: u64 = 1_000_000_000;

impl Connection {
    /// Everything that a side has sent and that has arrived by now.
    pub(super) fn arrived(&mut self, medium: &mut Medium, hosts: &mut Hosts, sender: Side) {
        self.lane_mut(sender).arrival = None;
        while let Some(segment) = self.lane_mut(sender).pop_arrived(medium.now) {
            match segment {
                Segment::Syn(fate) => self.asked(medium, hosts, fate),
                Segment::SynAck => self.agreed(medium),
                Segment::Ack => self.made(medium, hosts),
                Segment::Data(bytes) => self.received(medium, sender.other(), bytes),
                Segment::Fin => self.finished(medium, sender.other()),
                Segment::Reset => self.was_reset(medium, sender.other()),
            }
        }
        self.expect_arrival(medium, sender);
    }

    /// At the server: somebody asks for a connection.
    fn asked(&mut self, medium: &mut Medium, hosts: &Hosts, fate: Fate) {
        let (node, address) = (self.end(Side::Server).node, self.end(Side::Server).address);
        let answer = match fate {
            Fate::Refused => Answer::Nobody,
            Fate::Made | Fate::Broken => hosts.answer(node, address, medium),
        };
        match answer {
            Answer::Nobody => self.reject(medium, Side::Server),
            Answer::Full => {
                let again = medium.now + ASK_AGAIN_NANOS;
                self.lane_mut(Side::Client).push_first(Segment::Syn(fate), again);
            }
            Answer::By(listener) => {
                self.end_mut(Side::Server).state = State::Answered(listener);
                self.send(medium, Side::Server, Segment::SynAck);
                if fate == Fate::Broken {
                    self.send_reset(medium, Side::Server);
                    self.send_reset(medium, Side::Client);
                }
            }
        }
    }

    /// At the client: the server agrees.
    fn agreed(&mut self, medium: &mut Medium) {
        if self.end(Side::Client).state != State::Connecting {
            self.answer_reset(medium, Side::Client);
            return;
        }
        medium.cancel(&mut self.deadline);
        let end = self.end_mut(Side::Client);
        end.state = State::Open;
        medium.wake(&mut end.opener);
        self.send(medium, Side::Client, Segment::Ack);
    }

    /// At the server: the client knows that we agree. Somebody may accept it now.
    fn made(&mut self, medium: &mut Medium, hosts: &mut Hosts) {
        let stream = StreamId { connection: self.number, side: Side::Server };
        let queued = match self.end(Side::Server).state {
            State::Answered(listener) => hosts.push(listener, stream, medium),
            _ => false,
        };
        if queued {
            self.end_mut(Side::Server).state = State::Open;
        } else {
            self.answer_reset(medium, Side::Server);
        }
    }

    fn received(&mut self, medium: &mut Medium, side: Side, bytes: Vec<u8>) {
        let (number, from) = (self.number, self.end(side.other()).node);
        let end = self.end_mut(side);
        if end.state != State::Open || (end.read_shut && end.write_shut) {
            self.answer_reset(medium, side);
            return;
        }
        if bytes.is_empty() {
            return;
        }
        let kind = TraceKind::Receive { connection: number, from, bytes: bytes.len() };
        medium.note(Some(end.node), kind);
        end.receive(bytes);
        medium.wake(&mut end.reader);
    }

    fn finished(&mut self, medium: &mut Medium, side: Side) {
        let end = self.end_mut(side);
        match end.state {
            State::Open => {
                end.finished = true;
                medium.wake(&mut end.reader);
            }
            State::Orphan => {}
            _ => self.answer_reset(medium, side),
        }
    }

    fn was_reset(&mut self, medium: &mut Medium, side: Side) {
        let end = self.end(side);
        let error = match end.state {
            State::Connecting => Errno::CONNREFUSED,
            _ if end.finished => Errno::PIPE,
            _ => Errno::CONNRESET,
        };
        self.fail(medium, side, error);
    }
}
