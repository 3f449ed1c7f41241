//! Everything that one core owns, and how its tasks reach it.
//!
//! There is one [`Shard`] per core, shared by the core's tasks and by nobody else. Its parts have interior mutability,
//! are borrowed for a moment, and never across an `await`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use pyralog_log::ids::Timestamp;
use pyralog_log::pace::Pace;
use pyralog_log::proof::NodeKey;
use pyralog_log::tier::Tier;
use pyralog_runtime::buffer;
use pyralog_runtime::channel::{Event, Listener, OnceReceiver, OnceSender, Sender, oneshot};
use pyralog_runtime::mesh::{Lanes, Refused};
use pyralog_runtime::net;
use pyralog_runtime::time::{self, Monotonic};
use pyralog_wire::message::{ConnectionLimits, ShardAddress, Welcome};
use pyralog_wire::server::ServerConfig as ProtocolConfig;
use pyralog_wire::{ErrorCode, Request, Response};

use crate::admission::{Budget, Hold};
use crate::asked::Asked;
use crate::catalog::Catalog;
use crate::config::ServerConfig;
use crate::connection::Connection;
use crate::counters::Counters;
use crate::data_dir::Identity;
use crate::flight::Flight;
use crate::ids::Ids;
use crate::limits::{CALL_WAIT, CALLS_IN_FLIGHT_MAX};
use crate::message::{Answer, Forward, Message, Question};
use crate::metrics::{Counter, Metrics, ShardSnapshot};
use crate::partitions::Partitions;
use crate::request::{ReadAhead, busy};
use crate::slab::Slab;

/// Where a core is in its life. Only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Opening partitions; nothing is accepted yet.
    Booting,
    /// Serving.
    Serving,
    /// Nothing new is accepted or read.
    Quiet,
    /// Partitions are synced and closed, connections finish.
    Draining,
    /// Over.
    Closed,
}

/// A change of the catalog, waiting for its turn on shard 0.
#[derive(Debug)]
pub(crate) struct AdminJob {
    pub(crate) asked: Asked,
    pub(crate) request: Request,
}

/// The state of a core.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) shards: usize,
    pub(crate) config: Rc<ServerConfig>,
    pub(crate) identity: Identity,
    /// What it signs checkpoints with.
    pub(crate) key: NodeKey,
    pub(crate) started: Monotonic,
    pub(crate) metrics: Metrics,
    /// Bytes of requests in flight.
    pub(crate) in_flight: Budget,
    /// Bytes of records on their way to sockets.
    pub(crate) fetched: Budget,
    /// Part of these, for readers that go on.
    pub(crate) ahead: ReadAhead,
    pub(crate) catalog: RefCell<Catalog>,
    pub(crate) partitions: Partitions,
    pub(crate) ids: Ids,
    pub(crate) counters: Counters,
    /// A log was altered: housekeeping need not wait for its time.
    pub(crate) housekeeping_due: Event,
    pub(crate) connections: RefCell<Slab<Rc<Connection>>>,
    pub(crate) flights: RefCell<Slab<Flight>>,
    pub(crate) addresses: RefCell<Vec<ShardAddress>>,
    /// Bound at boot, until they accept.
    pub(crate) listeners: RefCell<Vec<net::Listener>>,
    /// Of all that the background reads and writes.
    pub(crate) pace: Rc<Pace>,
    /// The object store, if the server has one.
    pub(crate) tier: Option<Tier>,
    /// Shard 0 only: objects of a deleted log are to go.
    pub(crate) objects_left: Event,
    /// Shard 0 only: where changes of the catalog wait.
    pub(crate) admin: RefCell<Option<Sender<AdminJob>>>,
    lanes: Lanes<Message>,
    calls: RefCell<Slab<OnceSender<Answer>>>,
    /// Replies that found their lane full. Bounded by the requests that other cores may forward.
    late: RefCell<VecDeque<(usize, Message)>>,
    late_added: Event,
    relief: Event,
    phase: Cell<Phase>,
    phase_changed: Event,
}

impl Shard {
    pub(crate) fn new(
        lanes: Lanes<Message>,
        (config, tier): (ServerConfig, Option<Tier>),
        (identity, key): (Identity, NodeKey),
    ) -> Self {
        let memory = config.memory;
        let pace = Rc::new(Pace::new(config.housekeeping.io_bytes_per_second));
        Self {
            index: lanes.shard(),
            shards: lanes.shards(),
            config: Rc::new(config),
            identity,
            key,
            started: time::now(),
            metrics: Metrics::default(),
            in_flight: Budget::new(memory.in_flight_bytes_max),
            fetched: Budget::new(memory.fetched_bytes_max),
            ahead: ReadAhead::default(),
            catalog: RefCell::default(),
            partitions: Partitions::default(),
            ids: Ids::default(),
            counters: Counters::default(),
            housekeeping_due: Event::new(),
            connections: RefCell::default(),
            flights: RefCell::default(),
            addresses: RefCell::default(),
            listeners: RefCell::default(),
            pace,
            tier,
            objects_left: Event::new(),
            admin: RefCell::default(),
            lanes,
            calls: RefCell::default(),
            late: RefCell::default(),
            late_added: Event::new(),
            relief: Event::new(),
            phase: Cell::new(Phase::Booting),
            phase_changed: Event::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Moves on to `phase`, never back.
    pub(crate) fn advance(&self, phase: Phase) {
        if phase > self.phase.get() {
            self.phase.set(phase);
            self.phase_changed.notify_all();
        }
    }

    pub(crate) fn phase_changed(&self) -> Listener {
        self.phase_changed.listen()
    }

    /// Resolves once the core has reached `phase`.
    pub(crate) async fn reached(&self, phase: Phase) {
        loop {
            let changed = self.phase_changed();
            if self.phase() >= phase {
                return;
            }
            changed.await;
        }
    }

    /// Resolves after something was finished that may have made room.
    pub(crate) fn relief(&self) -> Listener {
        self.relief.listen()
    }

    /// Something was finished that may have made room.
    pub(crate) fn relieve(&self) {
        self.relief.notify_all();
    }

    /// Tries `take` now and after each relief, for at most `most`.
    pub(crate) async fn wait_for(
        &self,
        most: Duration,
        take: impl Fn() -> Option<Hold>,
    ) -> Option<Hold> {
        let deadline = time::now() + most;
        loop {
            let relief = self.relief();
            if let Some(hold) = take() {
                return Some(hold);
            }
            if time::timeout_at(deadline, relief).await.is_err() {
                return None;
            }
        }
    }

    /// Sends to another core. If its lane is full the message waits its turn in a queue of this core, so only what is
    /// bounded elsewhere goes this way: answers, and changes of the catalog.
    pub(crate) fn post(&self, to: usize, message: Message) {
        if !self.late.borrow().is_empty() {
            self.late.borrow_mut().push_back((to, message));
            return;
        }
        match self.lanes.try_send(to, message) {
            Ok(()) => {}
            Err(Refused::Full(message)) => {
                self.late.borrow_mut().push_back((to, message));
                self.late_added.notify_all();
            }
            Err(Refused::Closed(_)) => tracing::debug!(to, "a core that has ended gets no answer"),
        }
    }

    /// Sends what [`Shard::post`] could not, for as long as the core lives.
    pub(crate) async fn post_late(&self) {
        loop {
            let added = self.late_added.listen();
            let next = self.late.borrow_mut().pop_front();
            let Some((to, message)) = next else {
                added.await;
                continue;
            };
            if self.lanes.send(to, message).await.is_err() {
                tracing::debug!(to, "a core that has ended gets no answer");
            }
        }
    }

    /// Hands a request to the core that owns what it is about; its answer will come by itself. `held` is given back
    /// when the socket has taken the answer. Answers `Busy` if the lane is full.
    pub(crate) fn forward(
        &self,
        to: usize,
        asked: Asked,
        (request, payload): (Request, Vec<u8>),
        held: Option<Hold>,
    ) {
        let flight = self.flights.borrow_mut().insert(Flight::Forwarded { asked, held });
        let message = Message::Forward(Forward { flight, request, payload });
        match self.lanes.try_send(to, message) {
            Ok(()) => self.metrics.add(Counter::Forwarded, 1),
            Err(refused) => {
                let flight = self.flights.borrow_mut().remove(flight);
                if let Some(Flight::Forwarded { asked, .. }) = flight {
                    asked.refuse(if refused.is_full() {
                        busy("the core that owns the partition is behind")
                    } else {
                        ErrorCode::ShuttingDown.into()
                    });
                }
            }
        }
    }

    /// Asks another core. `None` if it has ended or does not answer within [`CALL_WAIT`].
    pub(crate) async fn ask(&self, to: usize, question: Question) -> Option<Answer> {
        self.ask_within(to, question, CALL_WAIT).await
    }

    /// As [`Shard::ask`], with another deadline.
    pub(crate) async fn ask_within(
        &self,
        to: usize,
        question: Question,
        most: Duration,
    ) -> Option<Answer> {
        let (sender, receiver) = oneshot();
        if self.calls.borrow().len() >= CALLS_IN_FLIGHT_MAX {
            return None;
        }
        let call = self.calls.borrow_mut().insert(sender);
        let question = Box::new(question);
        let exchange = async {
            self.lanes.send(to, Message::Ask { call, question }).await.ok()?; // Err: it has ended
            receiver.await.ok()
        };
        let answer = time::timeout(most, exchange).await;
        drop(self.calls.borrow_mut().remove(call));
        answer.ok().flatten()
    }

    /// Tells another core something that it must not miss, after everything it was told before. The answer may take as
    /// long as it takes; `Err` when the core has ended. Only for what is bounded elsewhere, as [`Shard::post`].
    pub(crate) fn tell(&self, to: usize, question: Question) -> OnceReceiver<Answer> {
        let (sender, receiver) = oneshot();
        let call = self.calls.borrow_mut().insert(sender);
        self.post(to, Message::Ask { call, question: Box::new(question) });
        receiver
    }

    /// An answer came.
    pub(crate) fn answered(&self, call: u64, answer: Answer) {
        let waiting = self.calls.borrow_mut().remove(call);
        if let Some(sender) = waiting {
            // Err: nobody waits any more.
            sender.send(answer).ok();
        }
    }

    /// What a connection is granted.
    pub(crate) fn protocol_config(&self) -> ProtocolConfig {
        let limits = &self.config.limits;
        let granted = ProtocolConfig::default();
        let idle_ms_max = u32::try_from(limits.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        ProtocolConfig {
            limits: ConnectionLimits {
                credit_requests: limits.credit_requests,
                credit_bytes: limits.credit_bytes,
                idle_ms_max,
                ..granted.limits
            },
            outbox_bytes_max: limits.outbox_bytes_max,
        }
    }

    /// The numbers of this core.
    pub(crate) fn snapshot(&self) -> ShardSnapshot {
        let catalog = self.catalog.borrow();
        let partitions = self.partitions.all();
        ShardSnapshot {
            shard: self.index,
            connections: self.connections.borrow().len() as u64,
            in_flight_bytes: self.in_flight.held(),
            fetched_bytes: self.fetched.held(),
            memory_used_bytes: buffer::in_use_bytes() as u64,
            memory_limit_bytes: self.config.memory.io_bytes as u64,
            logs: catalog.len() as u64,
            catalog_version: catalog.version(),
            partitions: partitions.iter().map(|owned| owned.snapshot(self.index)).collect(),
            ids: self.ids.snapshot(),
            sequencers: self.counters.snapshot(),
            tier: self.tier.as_ref().map(Tier::stats).unwrap_or_default(),
            draining: self.phase() >= Phase::Quiet,
            ..self.metrics.snapshot()
        }
    }

    /// The answer to a Hello; the machine fills in what it has agreed on.
    pub(crate) fn welcome(&self) -> Welcome {
        Welcome {
            protocol: 0,
            shard: shard_number(self.index),
            limits_fingerprint: 0,
            node: self.identity.node_id,
            cluster: self.identity.cluster_id,
            server_time: self.wall(),
            limits: self.protocol_config().limits,
            server_version: env!("CARGO_PKG_VERSION").into(),
            shards: self.addresses.borrow().clone(),
        }
    }

    /// The wall clock.
    #[expect(clippy::unused_self, reason = "a core's clock, also when it is simulated")]
    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp::new(time::unix_us())
    }

    /// An answer of one kind, made now: keeps the callers of [`Response`] short.
    pub(crate) fn pong(&self, token: u64) -> Response {
        Response::Ping(pyralog_wire::message::Pong { token, server_time: self.wall() })
    }
}

/// The number of a shard on the wire.
pub(crate) fn shard_number(index: usize) -> u16 {
    u16::try_from(index).expect("SHARDS_MAX is far below 65536")
}
