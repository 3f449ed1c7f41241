//! The task of a producer: carries out what the machine (`pyralog_client::dispatch`) decides. The
//! counterpart of the client's `driver` on Tokio.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pyralog_client::directory::{ClusterId, LogIdentity, Target};
use pyralog_client::dispatch::{
    Answer, Attempt, Command, Dispatcher, Event, Failure, Ordinal, Outcome, Refusal as Reason,
};
use pyralog_client::stage::Stage;
use pyralog_client::window::Sealed;
use pyralog_client::{ErrorReply, LogRoute, PartitionId};
use pyralog_log::batch::{RowsBuilder, Session};
use pyralog_runtime::channel::OnceSender;
use pyralog_runtime::spawn;
use pyralog_runtime::time::{Sleep, sleep_until};
use pyralog_wire::message::Append;

use super::inbox::Inbox;
use super::journal::{Begun, place, refusal};
use super::link::{Cause, Ending, Link, Outgoing, ReplyTo, Token, Undone};
use super::producer::{Open, Workshop};
use super::{CallError, SimClient};
use crate::history::{self, Refusal};

/// What a producer tells its task.
pub(super) enum Handoff {
    /// A batch was begun.
    Opened(PartitionId, Ordinal, Duration),
    /// A batch takes no more records.
    Sealed(PartitionId, Box<Open>),
    /// Send everything, and tell when all have their outcome.
    Flush(OnceSender<()>),
    /// The producer was dropped.
    Orphaned,
}

/// What helper tasks tell.
enum Notice {
    Linked(u16, Result<Link, Cause>),
    Routed(Result<(ClusterId, Option<LogRoute>), CallError>),
}

/// A connection, or those who wait for it, in order.
enum Road {
    Open(Link),
    Building(Vec<Outgoing>),
}

/// A batch without an outcome.
struct Batch {
    stage: Stage<RowsBuilder>,
    /// Its number in the history.
    append: u64,
    /// As it was stamped last.
    session: Option<Session>,
    charged: usize,
}

enum Wake {
    Answer(Token, Ending),
    Notice(Notice),
    Handoff(Handoff),
    Alarm,
}

/// The task. Invariant: `batches` holds what the machine has sealed and not resolved.
pub(super) struct Driver {
    client: SimClient,
    name: String,
    identity: LogIdentity,
    workshop: Rc<Workshop>,
    dispatcher: Dispatcher,
    /// Events that carrying out commands has caused.
    todo: VecDeque<Event>,
    batches: BTreeMap<(PartitionId, Ordinal), Batch>,
    roads: BTreeMap<u16, Road>,
    handoffs: Inbox<Handoff>,
    answers: Inbox<(Token, Ending)>,
    notices: Inbox<Notice>,
    alarm: Option<(Duration, Pin<Box<Sleep>>)>,
    flushes: Vec<OnceSender<()>>,
    orphaned: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.workshop.end();
    }
}

impl Driver {
    pub(super) fn new(
        client: SimClient,
        (cluster, route): (ClusterId, &LogRoute),
        (workshop, handoffs): (Rc<Workshop>, Inbox<Handoff>),
        dispatcher: Dispatcher,
    ) -> Self {
        Self {
            client,
            name: route.name.clone(),
            identity: LogIdentity { cluster, log: route.id },
            workshop,
            dispatcher,
            todo: VecDeque::new(),
            batches: BTreeMap::new(),
            roads: BTreeMap::new(),
            handoffs,
            answers: Inbox::new(),
            notices: Inbox::new(),
            alarm: None,
            flushes: Vec::new(),
            orphaned: false,
        }
    }

    /// Ends when the producer is dropped and every batch has its outcome.
    pub(super) async fn run(mut self) {
        while !(self.orphaned && self.dispatcher.is_idle()) {
            self.arm();
            match self.next().await {
                Wake::Handoff(handoff) => self.handed(handoff),
                Wake::Answer(token, ending) => self.answered(token, ending),
                Wake::Notice(notice) => self.noticed(notice),
                Wake::Alarm => self.todo.push_back(Event::Tick),
            }
            self.work();
        }
    }

    /// Arms the alarm. An earlier one stays: it does no harm.
    fn arm(&mut self) {
        let Some(due) = self.dispatcher.due() else { return };
        if self.alarm.as_ref().is_none_or(|(armed, _)| due < *armed) {
            self.alarm = Some((due, Box::pin(sleep_until(self.workshop.clock(due)))));
        }
    }

    async fn next(&mut self) -> Wake {
        poll_fn(|cx| {
            if let Poll::Ready((token, ending)) = self.answers.poll_next(cx) {
                return Poll::Ready(Wake::Answer(token, ending));
            }
            if let Poll::Ready(notice) = self.notices.poll_next(cx) {
                return Poll::Ready(Wake::Notice(notice));
            }
            if let Poll::Ready(handoff) = self.handoffs.poll_next(cx) {
                return Poll::Ready(Wake::Handoff(handoff));
            }
            if let Some((_, timer)) = &mut self.alarm
                && timer.as_mut().poll(cx).is_ready()
            {
                self.alarm = None;
                return Poll::Ready(Wake::Alarm);
            }
            Poll::Pending
        })
        .await
    }

    /// Feeds the machine and does what it says, until there is nothing more to do now.
    fn work(&mut self) {
        while let Some(event) = self.todo.pop_front() {
            let answering = match &event {
                Event::Answered { attempt, .. } => Some(*attempt),
                _ => None,
            };
            let mut commands = Vec::new();
            self.dispatcher.handle(self.workshop.now(), event, &mut commands);
            for command in commands {
                self.carry_out(command, answering);
            }
        }
        if !self.flushes.is_empty() && self.dispatcher.is_idle() {
            for flush in self.flushes.drain(..) {
                // Whoever stopped waiting does not need it.
                flush.send(()).ok();
            }
        }
    }

    fn handed(&mut self, handoff: Handoff) {
        match handoff {
            Handoff::Opened(partition, ordinal, since) => {
                self.todo.push_back(Event::Opened { partition, ordinal, since });
            }
            Handoff::Sealed(partition, open) => self.sealed(partition, open),
            Handoff::Flush(reply) => {
                self.flushes.push(reply);
                self.todo.push_back(Event::Flush);
            }
            Handoff::Orphaned => {
                self.orphaned = true;
                self.todo.push_back(Event::Flush);
            }
        }
    }

    fn sealed(&mut self, partition: PartitionId, open: Box<Open>) {
        let Open { builder, ordinal, opened, records, keys, charged } = *open;
        let count = u32::try_from(records.len()).expect("at most 2^20 records in a batch");
        let append = self.client.shared.journal.begun(Begun {
            place: place(self.identity.log, partition),
            level: self.workshop.config.durability,
            idempotent: true,
            records,
            keys,
        });
        let batch = Batch { stage: Stage::Built(builder), append, session: None, charged };
        self.batches.insert((partition, ordinal), batch);
        let batch = Sealed { ordinal, records: count, opened };
        self.todo.push_back(Event::Sealed { partition, batch });
    }

    fn answered(&mut self, (partition, ordinal, attempt): Token, ending: Ending) {
        let answer = match ending {
            Ok(answered) => Answer::from(answered.reply),
            Err(Undone::Unsent(_)) => Answer::Unsent,
            Err(Undone::Lost(_)) => Answer::Lost,
        };
        self.todo.push_back(Event::Answered { partition, ordinal, attempt, answer });
    }

    fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Linked(shard, result) => self.linked(shard, result),
            Notice::Routed(Ok((cluster, Some(route)))) => {
                let same = self.identity == LogIdentity { cluster, log: route.id };
                self.todo.push_back(if same {
                    Event::Routed { shards: route.shards }
                } else {
                    Event::LogReplaced
                });
            }
            Notice::Routed(Ok((_, None))) => self.todo.push_back(Event::LogGone),
            Notice::Routed(Err(error)) => {
                tracing::debug!(log = %self.name, %error, "no routes");
                self.todo.push_back(Event::Unrouted);
            }
        }
    }

    fn linked(&mut self, shard: u16, result: Result<Link, Cause>) {
        let waiting = match self.roads.remove(&shard) {
            Some(Road::Building(waiting)) => waiting,
            // What was given up while it was being made comes late.
            Some(open) => {
                self.roads.insert(shard, open);
                return;
            }
            None => return,
        };
        match result {
            Ok(link) => {
                for outgoing in waiting {
                    link.send(outgoing);
                }
                self.roads.insert(shard, Road::Open(link));
            }
            Err(cause) => {
                tracing::debug!(log = %self.name, shard, %cause, "no connection");
                unsent(waiting, &cause);
            }
        }
    }

    fn carry_out(&mut self, command: Command, answering: Option<Attempt>) {
        match command {
            Command::Collect { partition, .. } => {
                // A younger batch than the one that is wanted goes out a little early.
                let open = self.workshop.slots.borrow_mut()[partition.get() as usize].take();
                if let Some(open) = open {
                    self.sealed(partition, open);
                }
            }
            Command::Send { partition, ordinal, attempt, shard, stamp } => {
                let payload = self.stamped((partition, ordinal, attempt), stamp);
                let durability = self.workshop.config.durability;
                let request = Append { log: self.identity.log, partition, durability }.into();
                let token = (partition, ordinal, attempt);
                let reply_to = ReplyTo::Queue(token, self.answers.clone());
                self.send(shard, Outgoing { request, payload: Some(payload), reply_to });
            }
            Command::Resolve { partition, ordinal, outcome } => {
                self.resolved((partition, ordinal), outcome, answering);
            }
            Command::Reset { shard } => self.reset(shard),
            Command::Refresh => {
                let (client, notices) = (self.client.clone(), self.notices.clone());
                let name = self.name.clone();
                // It ends with its answer or its timeout.
                spawn(async move { notices.push(Notice::Routed(client.route(&name).await)) })
                    .detach();
            }
        }
    }

    /// Gives up what owes an answer for too long: a connection, whose requests end as lost, or one
    /// that is still being made, whose requests never left.
    fn reset(&mut self, shard: u16) {
        tracing::debug!(log = %self.name, shard, "no answer in time");
        match self.roads.remove(&shard) {
            Some(Road::Open(link)) => link.reset(),
            Some(Road::Building(waiting)) => unsent(waiting, &"no connection in time".into()),
            None => {}
        }
    }

    /// The bytes of a batch for an attempt, stamped as told, and the attempt noted in the history.
    fn stamped(
        &mut self,
        (partition, ordinal, attempt): Token,
        stamp: Option<Session>,
    ) -> Arc<Vec<u8>> {
        let batch = self.batches.get_mut(&(partition, ordinal));
        let batch = batch.expect("the machine knows only batches that are here");
        batch.session = stamp.or(batch.session);
        let bytes = batch.stage.bytes(stamp, |mut builder, session| {
            let finished = builder.finish(Some(session));
            finished.expect("a batch with records and a session can be finished")
        });
        let sent = (batch.session, bytes.len());
        self.client.shared.journal.sent(batch.append, number(attempt), sent);
        bytes
    }

    /// Sends in order: over the connection, or behind those that wait for it.
    fn send(&mut self, shard: u16, outgoing: Outgoing) {
        match self.roads.get_mut(&shard) {
            Some(Road::Open(link)) if !link.is_closed() => link.send(outgoing),
            Some(Road::Building(waiting)) => waiting.push(outgoing),
            Some(Road::Open(_)) | None => {
                self.roads.insert(shard, Road::Building(vec![outgoing]));
                let (hub, notices) = (self.client.shared.hub.clone(), self.notices.clone());
                let cluster = self.identity.cluster;
                // It ends with the connection or the timeouts of making it.
                spawn(async move {
                    let result = hub.link_to(Target::Shard(shard), cluster).await;
                    notices.push(Notice::Linked(shard, result));
                })
                .detach();
            }
        }
    }

    fn resolved(
        &mut self,
        key: (PartitionId, Ordinal),
        outcome: Outcome,
        answering: Option<Attempt>,
    ) {
        let batch = self.batches.remove(&key).expect("the machine resolves a batch once");
        let outcome = match outcome {
            Outcome::Appended(appended) => {
                let attempt = answering.expect("only an answer acknowledges a batch");
                history::Outcome::Acked {
                    attempt: number(attempt),
                    base_offset: appended.base_offset.get(),
                    duplicate: appended.duplicate,
                }
            }
            Outcome::Failed(failure) => {
                tracing::debug!(log = %self.name, ?key, ?failure, "not delivered");
                failed(&failure)
            }
        };
        self.client.shared.journal.ended(batch.append, outcome);
        self.workshop.release(batch.charged);
    }
}

/// Tells that requests never left.
fn unsent(waiting: Vec<Outgoing>, cause: &Cause) {
    for outgoing in waiting {
        outgoing.reply_to.tell(Err(Undone::Unsent(Rc::clone(cause))));
    }
}

/// How a failure reads in the history.
fn failed(failure: &Failure) -> history::Outcome {
    let reply: Option<&ErrorReply> = match failure {
        _ if failure.is_outcome_unknown() => return history::Outcome::Unknown,
        Failure::Refused(reply)
        | Failure::TimedOut {
            refusal: Some(Reason::Final(reply) | Reason::NoSpace(reply)), ..
        } => Some(reply),
        _ => None,
    };
    history::Outcome::Refused(reply.map_or_else(Refusal::default, refusal))
}

/// The number of an attempt in the history.
fn number(attempt: Attempt) -> u32 {
    u32::try_from(attempt.0).expect("no run makes 2^32 attempts")
}
