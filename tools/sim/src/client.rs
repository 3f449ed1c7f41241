//! The client as it ships, on `pyralog_runtime` instead of Tokio, so that it runs inside a simulation.
//!
//! What decides is the shipped code: `pyralog_client`'s machines `dispatch`, `window`, `stage`,
//! `exchange`, `directory`, `cursor`, `reading` and `backoff`. Here is only what does: tasks of one
//! core that own sockets and timers and obey those machines, as `link`, `hub`, `driver`, `fetch` and
//! `client` do on Tokio. Whoever changes one of these changes its counterpart here.
//!
//! Everything that is asked, answered or unknown goes into a [`History`] by itself; a workload only
//! says what is to be done. Nothing here draws entropy or looks at a clock other than the
//! runtime's, so a seed repeats a run.
//!
//! ```text
//! Producer --(batches)--> driver --(requests)--> link --> socket
//! Reader, raw appends, catalog requests ---------^ one per shard, kept by the hub
//! ```
//!
//! A future of a client may be dropped at any time. What was under way then has no end in the
//! history, which means that its outcome is unknown. When everything made from a client is dropped,
//! its connections finish what is in flight and close.

mod admin;
mod driver;
mod hub;
mod inbox;
mod journal;
mod link;
mod lives;
mod producer;
mod raw;
mod reader;
mod sequences;
#[cfg(test)]
mod tests;

pub use lives::Believed;
pub use producer::Producer;
pub use raw::RawAppend;
pub use reader::{Batches, ReadEnd, ReadStep, Reader};

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use fastrand::Rng;
use pyralog_client::ClientConfig;
use pyralog_client::backoff::Backoff;
use pyralog_client::directory::{ClusterId, Target};
use pyralog_runtime::channel::oneshot;
use pyralog_runtime::time;
use pyralog_wire::message::Reply;
use pyralog_wire::{ErrorCode, ErrorReply, Request, Response, Retry};

use crate::history::{History, RecordId};
use hub::Hub;
use journal::Journal;
use link::{Cause, Link, Outgoing, ReplyTo, Undone};

/// Who a client is, and what its random choices repeat from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number in the history. No two clients of a history have the same, because the records
    /// of a client are counted.
    pub number: u32,
    /// Seed of its sessions, its jitter and the lengths of its records.
    pub seed: u64,
}

/// A client of one database: cheap to clone, shared by all tasks of one core.
#[derive(Clone, Debug)]
pub struct SimClient {
    shared: Rc<Shared>,
}

struct Shared {
    number: u32,
    addresses: Vec<SocketAddr>,
    config: ClientConfig,
    hub: Hub,
    journal: Journal,
    rng: RefCell<Rng>,
    records: Cell<u64>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Shared");
        debug.field("number", &self.number).field("records", &self.records);
        debug.finish_non_exhaustive()
    }
}

/// Whether a request may be repeated if its outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It changes nothing, or changes it to the same twice.
    Harmless,
    /// It changes something.
    Harmful,
}

/// Why a request has no answer of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The server's words, if it said something.
    pub reply: Option<ErrorReply>,
    /// What happened, for people.
    pub cause: String,
    /// Whether what was asked for may have been done, or may yet be, by any attempt.
    pub maybe_done: bool,
}

impl CallError {
    /// Whether the server refused with this error.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.is(code))
    }

    /// The server refused.
    fn refused(reply: ErrorReply, maybe_done: bool) -> Self {
        let maybe_done = maybe_done || reply.retry == Retry::UnknownOutcome;
        Self { cause: reply.to_string(), reply: Some(reply), maybe_done }
    }

    /// There was no answer, or none that makes sense.
    fn without_reply(cause: impl Into<String>, maybe_done: bool) -> Self {
        Self { reply: None, cause: cause.into(), maybe_done }
    }

    /// The server answered something else than it was asked for.
    fn unexpected(response: &Response) -> Self {
        Self::without_reply(format!("an answer of kind {} came", response.kind()), true)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let maybe = if self.maybe_done { " (it may have been done)" } else { "" };
        write!(f, "{}{maybe}", self.cause)
    }
}

impl std::error::Error for CallError {}

impl SimClient {
    /// A client that finds the database at `addresses` and writes what happens into `history`.
    /// Connections are made when they are first needed.
    #[must_use]
    pub fn new(
        addresses: &[SocketAddr],
        config: ClientConfig,
        identity: Identity,
        history: Rc<RefCell<History>>,
    ) -> Self {
        let known = addresses.iter().map(ToString::to_string).collect();
        let hub = Hub::new(known, &config.name, config.connect_timeout);
        Self {
            shared: Rc::new(Shared {
                number: identity.number,
                addresses: addresses.to_vec(),
                config,
                hub,
                journal: Journal::new(history, identity.number),
                rng: RefCell::new(Rng::with_seed(identity.seed)),
                records: Cell::new(0),
            }),
        }
    }

    /// Its number in the history.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.shared.number
    }

    /// Where it was told to look for the database.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.shared.addresses
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// The identity of a record that nobody has made before.
    #[must_use]
    pub fn new_record(&self) -> RecordId {
        let sequence = self.shared.records.get();
        self.shared.records.set(sequence + 1);
        RecordId { client: self.shared.number, sequence }
    }

    /// Ends all connections at once, as a failing network would; what is in flight is lost. New
    /// ones are made when they are needed.
    pub fn reset_connections(&self) {
        self.shared.hub.reset();
    }

    /// Sends a request over any connection and waits for its answer, at most the request timeout of
    /// the settings. It is asked twice if a connection was lost and `repeat` allows it. Nothing of
    /// it goes into the history.
    ///
    /// # Errors
    /// If there was no answer, or a refusal.
    pub async fn call(&self, request: Request, repeat: Repeat) -> Result<Response, CallError> {
        self.call_cluster(request, repeat, None).await.map(|(_, response)| response)
    }

    /// [`SimClient::call`] that returns which cluster answered. A request that names a log by id
    /// needs `known`: the cluster of that id.
    async fn call_cluster(
        &self,
        request: Request,
        repeat: Repeat,
        known: Option<ClusterId>,
    ) -> Result<(ClusterId, Response), CallError> {
        let after = self.shared.config.request_timeout;
        let kind = request.kind();
        let mut asked = None;
        let answered = self.call_twice((request, repeat), known, &mut asked);
        let outcome = time::timeout(after, answered).await;
        outcome.unwrap_or_else(|_| {
            // Nobody may be at the other end any more: the next request gets another connection.
            if let Some(link) = asked {
                link.reset();
            }
            Err(CallError::without_reply(format!("{kind}: no answer within {after:?}"), true))
        })
    }

    /// A connection that died unnoticed is worth a second try. `asked` is the one that owes the
    /// answer.
    async fn call_twice(
        &self,
        (request, repeat): (Request, Repeat),
        known: Option<ClusterId>,
        asked: &mut Option<Link>,
    ) -> Result<(ClusterId, Response), CallError> {
        let (mut tries, mut lost) = (0, false);
        loop {
            tries += 1;
            let undone = match self.ask(request.clone(), known, asked).await {
                Ok((cluster, Reply::Done(response))) => return Ok((cluster, response)),
                Ok((_, Reply::Refused(reply))) => return Err(CallError::refused(reply, lost)),
                Err(undone) => undone,
            };
            let cause = match undone {
                Undone::Unsent(cause) => cause,
                Undone::Lost(cause) => {
                    lost = true;
                    cause
                }
            };
            if tries == 2 || (lost && repeat == Repeat::Harmful) {
                return Err(CallError::without_reply(cause.to_string(), lost));
            }
        }
    }

    /// One request without a payload, over one connection.
    async fn ask(
        &self,
        request: Request,
        known: Option<ClusterId>,
        asked: &mut Option<Link>,
    ) -> Result<(ClusterId, Reply), Undone> {
        let hub = &self.shared.hub;
        let link = match known {
            Some(cluster) => hub.link_to(Target::Any, cluster).await,
            None => hub.link(Target::Any).await,
        };
        let link = asked.insert(link.map_err(Undone::Unsent)?);
        let (reply, answer) = oneshot();
        link.send(Outgoing { request, payload: None, reply_to: ReplyTo::One(reply) });
        match answer.await {
            Ok(ending) => ending.map(|answered| (link.cluster(), answered.reply)),
            Err(_dropped) => Err(Undone::Lost(Cause::from("the connection's task has ended"))),
        }
    }

    /// Delays between attempts.
    fn backoff(&self) -> Backoff {
        let config = &self.shared.config;
        Backoff { min: config.backoff_min, max: config.backoff_max }
    }

    /// A generator of its own for a part of the client.
    fn fork_rng(&self) -> Rng {
        self.shared.rng.borrow_mut().fork()
    }
}
