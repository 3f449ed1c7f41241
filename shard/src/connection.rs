//! One client's connection: the protocol machine, what waits for its socket, and its deadlines.
//!
//! Three tasks share it on its core: a reader ([`crate::reader`]), a writer ([`crate::writer`]), and whoever answers a
//! request. They meet in [`Connection`]: answers are encoded into the outbox at once, and the writer is woken, which
//! costs one wake-up and one system call for all the answers of a group commit.
//!
//! Deadlines need no timer per request: a watchdog of the core looks at all connections some times a second
//! ([`Connection::overdue`]).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use pyralog_runtime::channel::{Event, Listener};
use pyralog_runtime::time::{self, Monotonic};
use pyralog_wire::message::Welcome;
use pyralog_wire::server::{
    RequestToken, ServerConfig as ProtocolConfig, ServerConnection, ServerStep,
};
use pyralog_wire::{ErrorCode, ErrorReply, Response};

use crate::admission::Hold;
use crate::asked::Payload;
use crate::config::ServerLimits;
use crate::limits::{COPY_BYTES_MAX, SEND_STALL_MAX};
use crate::outbox::{Outbox, Piece};

/// Whether the connection lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It does.
    Open,
    /// It closes when everything owed was sent.
    Finishing,
    /// It closes now.
    Cut,
}

/// A connection on the core that accepted it.
#[derive(Debug)]
pub(crate) struct Connection {
    peer: Option<SocketAddr>,
    protocol: RefCell<Protocol>,
    /// There is something to send, or nothing ever again.
    outgoing: Event,
    /// Something was answered or sent: there may be credit or room.
    relief: Event,
    /// Look at `end` and `shrink` now.
    nudge: Event,
    end: Cell<End>,
    accepted: Monotonic,
    received: Cell<Monotonic>,
    frame_since: Cell<Option<Monotonic>>,
    sending_since: Cell<Option<Monotonic>>,
    grown: Cell<bool>,
    shrink: Cell<bool>,
}

#[derive(Debug)]
struct Protocol {
    machine: ServerConnection,
    outbox: Outbox,
}

/// Why a connection is overdue, and what its client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// No complete Hello in time.
    Handshake,
    /// A frame was begun and not finished in time.
    Frame,
    /// Nothing for too long, with nothing in flight.
    Idle,
    /// The client takes none of its answers.
    Stalled,
}

impl Connection {
    pub(crate) fn new(peer: Option<SocketAddr>, config: ProtocolConfig) -> Self {
        let now = time::now();
        let machine = ServerConnection::new(config);
        Self {
            peer,
            protocol: RefCell::new(Protocol { machine, outbox: Outbox::default() }),
            outgoing: Event::new(),
            relief: Event::new(),
            nudge: Event::new(),
            end: Cell::new(End::Open),
            accepted: now,
            received: Cell::new(now),
            frame_since: Cell::new(None),
            sending_since: Cell::new(None),
            grown: Cell::new(false),
            shrink: Cell::new(false),
        }
    }

    /// The client's address, for the log.
    pub(crate) fn peer(&self) -> String {
        self.peer.map_or_else(|| "a client".to_string(), |peer| peer.to_string())
    }

    /// Lets the machine look at received bytes.
    pub(crate) fn receive<'b>(&self, bytes: &'b [u8]) -> ServerStep<'b> {
        self.step(|protocol| protocol.machine.receive(bytes, protocol.outbox.tail()))
    }

    /// Lets the machine look at header and body only; the payload will be dropped.
    pub(crate) fn receive_head<'b>(&self, bytes: &'b [u8]) -> ServerStep<'b> {
        self.step(|protocol| protocol.machine.receive_head(bytes, protocol.outbox.tail()))
    }

    fn step<'b>(&self, step: impl FnOnce(&mut Protocol) -> ServerStep<'b>) -> ServerStep<'b> {
        let mut protocol = self.protocol.borrow_mut();
        let before = protocol.machine.outbox_bytes();
        let step = step(&mut protocol);
        let answered = protocol.machine.outbox_bytes() > before;
        drop(protocol);
        if answered {
            self.outgoing.notify_all();
        }
        step
    }

    /// Answers the Hello.
    pub(crate) fn welcome(&self, welcome: Welcome) {
        let mut protocol = self.protocol.borrow_mut();
        let Protocol { machine, outbox } = &mut *protocol;
        machine.welcome(welcome, outbox.tail());
        drop(protocol);
        self.outgoing.notify_all();
    }

    /// Answers a request. `held` is given back when the socket has taken the answer. Without effect if the connection
    /// has failed meanwhile.
    pub(crate) fn reply(
        &self,
        token: RequestToken,
        response: &Response,
        payload: Payload,
        held: Option<Hold>,
    ) {
        let mut protocol = self.protocol.borrow_mut();
        let Protocol { machine, outbox } = &mut *protocol;
        // A payload beyond 32 bits is refused by the encoder, as one beyond the limit is.
        let payload_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let replied = machine.reply(token, response, payload_len, outbox.tail());
        if replied == Ok(true) {
            push_payload(outbox, payload);
        }
        if let Some(held) = held {
            outbox.push(Piece::Release { _held: held });
        }
        drop(protocol);
        self.outgoing.notify_all();
        self.relief.notify_all();
    }

    /// Answers a request with an error. Without effect if the connection has failed meanwhile.
    pub(crate) fn refuse(&self, token: RequestToken, error: &ErrorReply) {
        let mut protocol = self.protocol.borrow_mut();
        let Protocol { machine, outbox } = &mut *protocol;
        // Err: the connection has failed, nobody waits for the answer.
        machine.refuse(token, error, outbox.tail()).ok();
        drop(protocol);
        self.outgoing.notify_all();
        self.relief.notify_all();
    }

    /// Room in the outbox for an answer with `bytes` of records: `None` if nobody waits for it any more.
    pub(crate) fn reserve(&self, token: RequestToken, bytes: u32) -> Option<bool> {
        self.protocol.borrow_mut().machine.reserve_reply(token, bytes).ok()
    }

    /// Ends the connection with an error that the client still gets.
    pub(crate) fn fail(&self, error: &ErrorReply) {
        let mut protocol = self.protocol.borrow_mut();
        let Protocol { machine, outbox } = &mut *protocol;
        machine.fail(error, outbox.tail());
        drop(protocol);
        self.finish();
    }

    /// From now on new requests are refused; those in flight are answered.
    pub(crate) fn drain(&self) {
        self.protocol.borrow_mut().machine.drain();
    }

    /// Closes when everything owed was sent.
    pub(crate) fn finish(&self) {
        if self.end.get() == End::Open {
            self.end.set(End::Finishing);
        }
        self.wake_all();
    }

    /// Closes now.
    pub(crate) fn cut(&self) {
        self.end.set(End::Cut);
        self.protocol.borrow_mut().outbox.clear();
        self.wake_all();
    }

    fn wake_all(&self) {
        self.outgoing.notify_all();
        self.relief.notify_all();
        self.nudge.notify_all();
    }

    pub(crate) fn end(&self) -> End {
        self.end.get()
    }

    /// Whether the writer has nothing left to do.
    pub(crate) fn is_over(&self) -> bool {
        match self.end.get() {
            End::Open => false,
            End::Finishing => self.protocol.borrow().machine.is_drained(),
            End::Cut => true,
        }
    }

    pub(crate) fn may_read(&self) -> bool {
        self.protocol.borrow().machine.may_read()
    }

    /// Whether a reader at the tail should be answered with what there is: also when the client has closed its
    /// direction, because then nobody may be there any more.
    pub(crate) fn is_leaving(&self) -> bool {
        self.end.get() != End::Open
    }

    pub(crate) fn relief(&self) -> Listener {
        self.relief.listen()
    }

    pub(crate) fn nudged(&self) -> Listener {
        self.nudge.listen()
    }

    pub(crate) fn outgoing(&self) -> Listener {
        self.outgoing.listen()
    }

    /// Moves the next pieces for the socket into `pieces`.
    pub(crate) fn take_pieces(&self, pieces: &mut Vec<Piece>) {
        self.protocol.borrow_mut().outbox.take(pieces);
    }

    /// Gives sent pieces back: their memory for the next answers, what they held to the core. Whether there was such.
    pub(crate) fn recycle(&self, pieces: &mut Vec<Piece>) -> bool {
        let mut protocol = self.protocol.borrow_mut();
        let mut released = false;
        for piece in pieces.drain(..) {
            match piece {
                Piece::Bytes(bytes) => protocol.outbox.recycle(bytes),
                Piece::Records(_) => {}
                Piece::Release { .. } => released = true,
            }
        }
        released
    }

    /// The writer hands bytes to the socket (`true`), or has nothing to hand over.
    pub(crate) fn set_sending(&self, since: Option<Monotonic>) {
        self.sending_since.set(since);
    }

    /// The socket has taken so many bytes.
    pub(crate) fn sent(&self, bytes: usize) {
        self.protocol.borrow_mut().machine.flushed(bytes as u64);
        self.relief.notify_all();
    }

    /// Bytes came from the client.
    pub(crate) fn note_received(&self, now: Monotonic) {
        self.received.set(now);
    }

    /// The buffer holds the beginning of a frame, or does not.
    pub(crate) fn note_partial(&self, partial: bool) {
        match (partial, self.frame_since.get()) {
            (true, None) => self.frame_since.set(Some(self.received.get())),
            (false, Some(_)) => self.frame_since.set(None),
            _ => {}
        }
    }

    pub(crate) fn note_grown(&self, grown: bool) {
        self.grown.set(grown);
    }

    /// Whether the watchdog asks for the large receive buffer of a connection that has fallen silent.
    pub(crate) fn take_shrink(&self) -> bool {
        self.shrink.replace(false)
    }

    /// The deadline that has passed, if one has.
    pub(crate) fn overdue(&self, now: Monotonic, limits: &ServerLimits) -> Option<Overdue> {
        let protocol = self.protocol.borrow();
        let past = |since: Monotonic, most: Duration| now.since(since) > most;
        if self.sending_since.get().is_some_and(|since| past(since, SEND_STALL_MAX)) {
            return Some(Overdue::Stalled);
        }
        if !protocol.machine.is_open() {
            return past(self.accepted, limits.handshake_timeout).then_some(Overdue::Handshake);
        }
        // A frame that waits for credit is not late: we are.
        let reading = protocol.machine.may_read();
        if reading && self.frame_since.get().is_some_and(|since| past(since, limits.frame_timeout))
        {
            return Some(Overdue::Frame);
        }
        let idle = protocol.machine.is_drained() && past(self.received.get(), limits.idle_timeout);
        idle.then_some(Overdue::Idle)
    }

    /// Asks for the large receive buffer if the connection has one and was silent for `silence`.
    pub(crate) fn shrink_if_silent(&self, now: Monotonic, silence: Duration) {
        if self.grown.get() && now.since(self.received.get()) > silence {
            self.shrink.set(true);
            self.nudge.notify_all();
        }
    }
}

impl Overdue {
    /// What the client is told.
    pub(crate) fn error(self, limits: &ServerLimits) -> ErrorReply {
        let text = match self {
            Self::Handshake => format!("no complete Hello within {:?}", limits.handshake_timeout),
            Self::Frame => format!("a frame was not complete within {:?}", limits.frame_timeout),
            Self::Idle => format!("nothing was sent for {:?}: ping when idle", limits.idle_timeout),
            Self::Stalled => format!("no answer was read for {SEND_STALL_MAX:?}"),
        };
        ErrorReply::new(ErrorCode::TimedOut, text)
    }
}

/// Short slices are copied next to their header: one piece, and the group buffer behind them is let go.
fn push_payload(outbox: &mut Outbox, payload: Payload) {
    match payload {
        Payload::Slices(slices) => {
            for slice in slices {
                if slice.len() <= COPY_BYTES_MAX {
                    outbox.tail().extend_from_slice(&slice);
                } else {
                    outbox.push(Piece::Records(slice));
                }
            }
        }
        Payload::Bytes(bytes) if bytes.is_empty() => {}
        Payload::Bytes(bytes) => outbox.push(Piece::Bytes(bytes)),
    }
}

/// Runs `future` until `interrupt` comes, which drops it where it stands.
pub(crate) async fn unless<F: Future>(interrupt: Listener, future: F) -> Option<F::Output> {
    let (mut interrupt, mut future) = (pin!(interrupt), pin!(future));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        interrupt.as_mut().poll(context).map(|()| None)
    })
    .await
}
