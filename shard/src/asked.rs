//! A request that owes an answer, and where the answer goes.
//!
//! Whatever happens to a request, exactly one answer leaves: a value that is dropped without one (its task panicked)
//! answers with an internal error by itself. The answer gives back the credit and the bytes that the request held.

use std::rc::Rc;

use pyralog_runtime::buffer::Slice;
use pyralog_runtime::time::{self, Monotonic};
use pyralog_wire::server::RequestToken;
use pyralog_wire::{ErrorCode, ErrorReply, Kind, Response};

use crate::admission::Hold;
use crate::connection::Connection;
use crate::message::{Message, Replied};
use crate::metrics::Counter;
use crate::shard::Shard;

/// Where an answer goes.
#[derive(Debug)]
enum ReplyTo {
    /// To a connection of this core.
    Connection(Rc<Connection>, RequestToken),
    /// To another core, which forwarded the request under this number.
    Shard { to: usize, flight: u64 },
    /// It was sent.
    Nobody,
}

/// A request on the core that carries it out. Dropping it unanswered answers with [`ErrorCode::Internal`].
#[derive(Debug)]
pub(crate) struct Asked {
    shard: Rc<Shard>,
    to: ReplyTo,
    kind: Kind,
    started: Monotonic,
    /// What the request holds of the core's budget until it is answered.
    hold: Option<Hold>,
}

/// The records of an answer to a fetch.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Where the log has them.
    Slices(Vec<Slice>),
    /// Copied, on the way from one core to another.
    Bytes(Vec<u8>),
}

impl Payload {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Slices(slices) => slices.iter().map(|slice| slice.len()).sum(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Slices(slices) => {
                let mut bytes = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
                for slice in &slices {
                    bytes.extend_from_slice(slice);
                }
                bytes
            }
        }
    }
}

impl Asked {
    /// A request that came over a connection of this core.
    pub(crate) fn local(
        shard: &Rc<Shard>,
        connection: &Rc<Connection>,
        token: RequestToken,
        kind: Kind,
    ) -> Self {
        let to = ReplyTo::Connection(Rc::clone(connection), token);
        Self { shard: Rc::clone(shard), to, kind, started: time::now(), hold: None }
    }

    /// A request that another core forwarded.
    pub(crate) fn remote(shard: &Rc<Shard>, to: usize, flight: u64, kind: Kind) -> Self {
        let to = ReplyTo::Shard { to, flight };
        Self { shard: Rc::clone(shard), to, kind, started: time::now(), hold: None }
    }

    /// The core that carries the request out.
    pub(crate) fn shard(&self) -> &Rc<Shard> {
        &self.shard
    }

    /// The connection, if it is one of this core.
    pub(crate) fn connection(&self) -> Option<(&Rc<Connection>, RequestToken)> {
        match &self.to {
            ReplyTo::Connection(connection, token) => Some((connection, *token)),
            ReplyTo::Shard { .. } | ReplyTo::Nobody => None,
        }
    }

    /// Whether the request was forwarded to this core: it is not forwarded again.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.to, ReplyTo::Shard { .. })
    }

    /// When the request arrived.
    pub(crate) fn started(&self) -> Monotonic {
        self.started
    }

    /// Keeps `hold` until the answer.
    pub(crate) fn hold(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    /// Whether it holds a part of the core's budget.
    pub(crate) fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Answers with a message without records.
    pub(crate) fn reply(self, response: Response) {
        self.deliver(response, Payload::Bytes(Vec::new()), None);
    }

    /// Answers with a message and its records; `held` is given back when the socket has taken them.
    pub(crate) fn deliver(mut self, response: Response, payload: Payload, held: Option<Hold>) {
        match std::mem::replace(&mut self.to, ReplyTo::Nobody) {
            ReplyTo::Connection(connection, token) => {
                let took = time::now().since(self.started);
                self.shard.metrics.answered(self.kind, took);
                connection.reply(token, &response, payload, held);
            }
            ReplyTo::Shard { to, flight } => {
                let payload = payload.into_bytes();
                // The records are copied; what they held here is free for others.
                drop(held);
                self.shard.relieve();
                let replied = Replied { flight, outcome: Ok(response), payload };
                self.shard.post(to, Message::Replied(replied));
            }
            ReplyTo::Nobody => {}
        }
    }

    /// Answers with an error.
    pub(crate) fn refuse(mut self, error: impl Into<ErrorReply>) {
        self.refuse_now(error.into());
    }

    fn refuse_now(&mut self, error: ErrorReply) {
        match std::mem::replace(&mut self.to, ReplyTo::Nobody) {
            ReplyTo::Connection(connection, token) => {
                self.shard.metrics.add(Counter::Requests, 1);
                self.shard.metrics.failed(Some(self.kind), error.number);
                connection.refuse(token, &error);
            }
            ReplyTo::Shard { to, flight } => {
                let replied = Replied { flight, outcome: Err(error), payload: Vec::new() };
                self.shard.post(to, Message::Replied(replied));
            }
            ReplyTo::Nobody => {}
        }
    }

    /// Answers with the outcome of a request that another core carried out.
    pub(crate) fn settle(self, replied: Replied, held: Option<Hold>) {
        match replied.outcome {
            Ok(response) => self.deliver(response, Payload::Bytes(replied.payload), held),
            Err(error) => self.refuse(error),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.refuse_now(ErrorCode::Internal.into());
    }
}
