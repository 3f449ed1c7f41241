//! One direction of a connection: what is on its way, in order, and how much more its window takes.

use std::collections::VecDeque;

use super::medium::{Medium, Token};

/// What one end sends to the other.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Segment {
    /// Asks for a connection.
    Syn(Fate),
    /// Agrees.
    SynAck,
    /// Agrees to that.
    Ack,
    /// Bytes; none of them are a probe, which only asks whether somebody is there.
    Data(Vec<u8>),
    /// Nothing more will be sent.
    Fin,
    /// There is no such connection. Nothing follows it.
    Reset,
}

/// What becomes of a connection that is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It is made if somebody listens.
    Made,
    /// Refused, whoever listens.
    Refused,
    /// Broken as soon as it is made.
    Broken,
}

/// A segment on its way.
#[derive(Debug)]
struct Flight {
    /// Means nothing while the lane is held.
    arrives: u64,
    segment: Segment,
}

/// See the module. Segments arrive in order: a late one delays those behind it.
///
/// Invariant: `used` is the bytes in flight, those unread at the receiver, and those read of which the sender does not
/// know yet; until something is lost, which the sender does not outlive.
#[derive(Debug, Default)]
pub(super) struct Lane {
    flights: VecDeque<Flight>,
    /// When the last of them arrives: none that follows may arrive before.
    last_arrival: u64,
    /// The arrival of the first of them.
    pub(super) arrival: Option<Token>,
    /// Whether the network keeps all of them back.
    pub(super) held: bool,
    /// Until when it may.
    pub(super) timeout: Option<Token>,
    /// How much of the window is taken.
    pub(super) used: usize,
    /// Whether something of it was answered with a reset.
    pub(super) is_rejected: bool,
    /// Whether the sender waits for room.
    pub(super) is_full: bool,
    /// Bytes read, but not told to the sender.
    pub(super) read: usize,
    /// Bytes read, and being told.
    pub(super) told: usize,
    /// When they are known, or when waiting for a way to tell ends.
    pub(super) credit: Option<Token>,
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether it ends with a reset: whatever followed would arrive nowhere.
    pub(super) fn is_reset(&self) -> bool {
        self.flights.back().is_some_and(|last| last.segment == Segment::Reset)
    }

    /// Appends a segment that takes `delay`, and returns when it arrives if nothing holds it.
    pub(super) fn push(&mut self, segment: Segment, now: u64, delay: u64) -> u64 {
        let arrives = self.last_arrival.max(now + delay);
        self.last_arrival = arrives;
        self.flights.push_back(Flight { arrives, segment });
        arrives
    }

    /// Puts a segment before all others.
    pub(super) fn push_first(&mut self, segment: Segment, arrives: u64) {
        self.last_arrival = self.last_arrival.max(arrives);
        self.flights.push_front(Flight { arrives, segment });
    }

    /// When the first segment arrives.
    pub(super) fn first_arrival(&self) -> Option<u64> {
        self.flights.front().map(|flight| flight.arrives)
    }

    /// The first segment, if it has arrived.
    pub(super) fn pop_arrived(&mut self, now: u64) -> Option<Segment> {
        assert!(!self.held, "what is held does not arrive");
        let flight = self.flights.pop_front_if(|flight| flight.arrives <= now)?;
        Some(flight.segment)
    }

    /// Sends all segments anew: each takes another `delay`.
    pub(super) fn restart(&mut self, now: u64, mut delay: impl FnMut() -> u64) {
        let mut last = now;
        for flight in &mut self.flights {
            last = last.max(now + delay());
            flight.arrives = last;
        }
        self.last_arrival = last;
    }

    /// Loses everything.
    pub(super) fn clear(&mut self, medium: &mut Medium) {
        self.flights.clear();
        self.held = false;
        medium.cancel(&mut self.arrival);
        medium.cancel(&mut self.timeout);
    }

    /// Loses everything behind a random byte. Handshakes, which come before all bytes, stay; the end, which comes
    /// after, stays by chance if all bytes do.
    pub(super) fn truncate(&mut self, medium: &mut Medium) {
        let bytes: usize = self.flights.iter().map(Flight::len).sum();
        let kept = medium.below(bytes + 1);
        self.cut_off(kept);
        if medium.coin() {
            self.flights.pop_back_if(|flight| flight.segment == Segment::Fin);
        }
        if self.flights.is_empty() {
            self.clear(medium);
        }
    }

    /// Loses all bytes behind the first `kept`, and the end if there was one such byte.
    fn cut_off(&mut self, mut kept: usize) {
        let mut whole = true;
        self.flights.retain_mut(|flight| match &mut flight.segment {
            Segment::Data(bytes) => {
                let keep = bytes.len().min(kept);
                whole &= keep == bytes.len();
                kept -= keep;
                bytes.truncate(keep);
                keep > 0
            }
            Segment::Fin => whole,
            Segment::Syn(_) | Segment::SynAck | Segment::Ack | Segment::Reset => true,
        });
    }

    /// Takes back all that is due.
    pub(super) fn cancel(&mut self, medium: &mut Medium) {
        for token in [&mut self.arrival, &mut self.timeout, &mut self.credit] {
            medium.cancel(token);
        }
    }
}

impl Flight {
    /// Its bytes.
    fn len(&self) -> usize {
        if let Segment::Data(bytes) = &self.segment { bytes.len() } else { 0 }
    }
}
