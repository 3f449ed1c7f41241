//! The task of a producer: carries out what the machine (`dispatch`) decides.
//!
//! It owns the batches between the producer and the connections: an open builder becomes bytes when
//! it is first sent (the columns become the batch without a copy), the bytes stay until the
//! outcome, and their memory serves the next batch.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hashbrown::HashMap;
use pyralog_log::batch::Session;
use pyralog_log::ids::PartitionId;
use pyralog_wire::message::{Append, LogRoute};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;

use crate::client::Client;
use crate::delivery::Promise;
use crate::directory::{ClusterId, LogIdentity, Target};
use crate::dispatch::{Answer, Attempt, Command, Dispatcher, Event, Ordinal, Outcome};
use crate::error::ClientError;
use crate::limits::{HANDOFF_MAX, SPARE_BATCHES_MAX};
use crate::link::{Ending, Link, Outgoing, ReplyTo, Token, Undone};
use crate::producer::Workshop;
use crate::slot::Open;
use crate::stage::Stage;
use crate::window::Sealed;

/// Notices from helper tasks: one per shard and one of the routes at most, all awaited.
const NOTICES_MAX: usize = 64;

/// What a producer tells its task.
pub(crate) enum Handoff {
    /// A batch was begun.
    Opened(u32, Ordinal, Duration),
    /// A batch takes no more records.
    Sealed(u32, Box<Open>),
    /// Send everything, and tell when all have their outcome.
    Flush(oneshot::Sender<Result<(), ClientError>>),
}

/// What helper tasks tell.
enum Notice {
    Linked(u16, Result<Link, ClientError>),
    Routed(Result<(ClusterId, LogRoute), ClientError>),
}

/// A connection, or those who wait for it, in order.
enum Road {
    Open(Link),
    Building(Vec<Outgoing>),
}

/// A batch without an outcome.
struct Batch {
    stage: Stage<Box<Open>>,
    promise: Option<Promise>,
    records: u32,
    charged: usize,
}

/// Starts the task. It ends when the producer is dropped and every batch has its outcome.
pub(crate) fn start(
    client: Client,
    (cluster, route): (ClusterId, LogRoute),
    (workshop, dispatcher): (Arc<Workshop>, Dispatcher),
) -> mpsc::Sender<Handoff> {
    let (handoff, handoffs) = mpsc::channel(HANDOFF_MAX);
    let (answer, answers) = mpsc::unbounded_channel();
    let (notice, notices) = mpsc::channel(NOTICES_MAX);
    let driver = Driver {
        client,
        name: route.name,
        identity: LogIdentity { cluster, log: route.id },
        workshop,
        dispatcher,
        todo: VecDeque::new(),
        commands: Vec::new(),
        batches: HashMap::new(),
        spares: Vec::new(),
        roads: HashMap::new(),
        answer,
        notice,
        flushes: Vec::new(),
        failed: 0,
        first_failure: None,
    };
    let inbox = Inbox { handoffs, answers, notices, alarm: None };
    tokio::spawn(driver.run(inbox));
    handoff
}

/// Everything the task waits for.
struct Inbox {
    handoffs: mpsc::Receiver<Handoff>,
    /// Unbounded, but a connection has at most as many requests as its queue and its credit allow.
    answers: mpsc::UnboundedReceiver<(Token, Ending)>,
    notices: mpsc::Receiver<Notice>,
    alarm: Option<(Duration, Pin<Box<Sleep>>)>,
}

enum Wake {
    Handoff(Handoff),
    /// The producer was dropped.
    Orphaned,
    Answer(Token, Ending),
    Notice(Notice),
    Alarm,
}

impl Inbox {
    /// Arms the alarm for `due`. An earlier one stays: it does no harm.
    fn arm(&mut self, due: Option<Duration>, workshop: &Workshop) {
        let Some(due) = due else { return };
        let at = workshop.began + due;
        match &mut self.alarm {
            Some((armed, sleep)) if due < *armed => {
                sleep.as_mut().reset(at);
                *armed = due;
            }
            Some(_) => {}
            None => self.alarm = Some((due, Box::pin(tokio::time::sleep_until(at)))),
        }
    }

    async fn next(&mut self, orphaned: bool) -> Wake {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Some((token, ending))) = self.answers.poll_recv(cx) {
                return Poll::Ready(Wake::Answer(token, ending));
            }
            if let Poll::Ready(Some(notice)) = self.notices.poll_recv(cx) {
                return Poll::Ready(Wake::Notice(notice));
            }
            if !orphaned && let Poll::Ready(handoff) = self.handoffs.poll_recv(cx) {
                return Poll::Ready(handoff.map_or(Wake::Orphaned, Wake::Handoff));
            }
            if let Some((_, sleep)) = &mut self.alarm
                && sleep.as_mut().poll(cx).is_ready()
            {
                self.alarm = None;
                return Poll::Ready(Wake::Alarm);
            }
            Poll::Pending
        })
        .await
    }
}

/// The task. Invariant: `batches` holds what the machine has sealed and not resolved.
struct Driver {
    client: Client,
    name: String,
    identity: LogIdentity,
    workshop: Arc<Workshop>,
    dispatcher: Dispatcher,
    /// Events that carrying out commands has caused.
    todo: VecDeque<Event>,
    commands: Vec<Command>,
    batches: HashMap<(u32, Ordinal), Batch>,
    /// Memory of batches for use again.
    spares: Vec<Vec<u8>>,
    roads: HashMap<u16, Road>,
    answer: mpsc::UnboundedSender<(Token, Ending)>,
    notice: mpsc::Sender<Notice>,
    flushes: Vec<oneshot::Sender<Result<(), ClientError>>>,
    /// Records given up since the last flush, and why the first was.
    failed: u64,
    first_failure: Option<ClientError>,
}

impl Drop for Driver {
    /// With its runtime, or at its end.
    fn drop(&mut self) {
        self.workshop.ledger.end();
    }
}

impl Driver {
    async fn run(mut self, mut inbox: Inbox) {
        let mut orphaned = false;
        while !(orphaned && self.dispatcher.is_idle()) {
            inbox.arm(self.dispatcher.due(), &self.workshop);
            match inbox.next(orphaned).await {
                Wake::Handoff(handoff) => self.handed(handoff),
                Wake::Orphaned => {
                    orphaned = true;
                    self.todo.push_back(Event::Flush);
                }
                Wake::Answer(token, ending) => self.answered(token, ending),
                Wake::Notice(notice) => self.noticed(notice),
                Wake::Alarm => self.todo.push_back(Event::Tick),
            }
            self.work();
        }
    }

    /// Feeds the machine and does what it says, until there is nothing more to do now.
    fn work(&mut self) {
        while let Some(event) = self.todo.pop_front() {
            let mut commands = std::mem::take(&mut self.commands);
            self.dispatcher.handle(self.workshop.now(), event, &mut commands);
            for command in commands.drain(..) {
                self.carry_out(command);
            }
            self.commands = commands;
        }
        if !self.flushes.is_empty() && self.dispatcher.is_idle() {
            let outcome = match self.first_failure.take() {
                Some(first) => {
                    let records = std::mem::take(&mut self.failed);
                    Err(ClientError::Undelivered { records, first: Box::new(first) })
                }
                None => Ok(()),
            };
            for flush in self.flushes.drain(..) {
                // Whoever stopped waiting does not need it.
                drop(flush.send(outcome.clone()));
            }
        }
    }

    fn handed(&mut self, handoff: Handoff) {
        match handoff {
            Handoff::Opened(partition, ordinal, since) => {
                let partition = PartitionId::new(partition);
                self.todo.push_back(Event::Opened { partition, ordinal, since });
            }
            Handoff::Sealed(partition, open) => self.sealed(partition, open),
            Handoff::Flush(reply) => {
                self.flushes.push(reply);
                self.todo.push_back(Event::Flush);
            }
        }
    }

    fn sealed(&mut self, partition: u32, mut open: Box<Open>) {
        let (ordinal, opened) = (open.ordinal, open.opened);
        let records = u32::try_from(open.builder.len()).expect("at most 2^20 records in a batch");
        let (promise, charged) = (open.promise.take(), std::mem::take(&mut open.charged));
        let batch = Batch { stage: Stage::Built(open), promise, records, charged };
        self.batches.insert((partition, ordinal), batch);
        let batch = Sealed { ordinal, records, opened };
        self.todo.push_back(Event::Sealed { partition: PartitionId::new(partition), batch });
    }

    fn answered(&mut self, (partition, ordinal, attempt): Token, ending: Ending) {
        self.todo.push_back(Event::Answered {
            partition: PartitionId::new(partition),
            ordinal: Ordinal(ordinal),
            attempt: Attempt(attempt),
            answer: answer_of(ending),
        });
    }

    fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Linked(shard, result) => self.linked(shard, result),
            Notice::Routed(Ok((cluster, route))) => {
                let same = self.identity == LogIdentity { cluster, log: route.id };
                self.todo.push_back(if same {
                    Event::Routed { shards: route.shards }
                } else {
                    Event::LogReplaced
                });
            }
            Notice::Routed(Err(ClientError::UnknownLog { .. })) => {
                self.todo.push_back(Event::LogGone);
            }
            Notice::Routed(Err(error)) => {
                tracing::debug!(log = %self.name, %error, "no routes");
                self.todo.push_back(Event::Unrouted);
            }
        }
    }

    fn linked(&mut self, shard: u16, result: Result<Link, ClientError>) {
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
            Err(error) => {
                tracing::debug!(log = %self.name, shard, %error, "no connection");
                unsent(waiting, &error);
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Collect { partition, ordinal } => {
                let slot = &self.workshop.slots[partition.get() as usize];
                if let Some(open) = slot.collect(ordinal) {
                    self.sealed(partition.get(), open);
                }
            }
            Command::Send { partition, ordinal, attempt, shard, stamp } => {
                let payload = self.bytes(partition, ordinal, stamp);
                let request = Append {
                    log: self.identity.log,
                    partition,
                    durability: self.workshop.config.durability,
                };
                if stamp.is_none() {
                    self.workshop.ledger.retried();
                }
                let token = (partition.get(), ordinal.0, attempt.0);
                let reply_to = ReplyTo::Queue(token, self.answer.clone());
                let payload = Some(payload);
                self.send(shard, Outgoing { request: request.into(), payload, reply_to });
            }
            Command::Resolve { partition, ordinal, outcome } => {
                self.resolved(partition, ordinal, outcome);
            }
            Command::Reset { shard } => self.reset(shard),
            Command::Refresh => self.refresh(),
        }
    }

    /// Gives up what owes an answer for too long: a connection, whose requests end as lost, or one
    /// that is still being made, whose requests never left.
    fn reset(&mut self, shard: u16) {
        tracing::warn!(log = %self.name, shard, "no answer in time: connecting again");
        match self.roads.remove(&shard) {
            Some(Road::Open(link)) => link.reset(),
            Some(Road::Building(waiting)) => unsent(waiting, &ClientError::Closed),
            None => {}
        }
    }

    /// The bytes of a batch, stamped as told.
    fn bytes(
        &mut self,
        partition: PartitionId,
        ordinal: Ordinal,
        stamp: Option<Session>,
    ) -> Arc<Vec<u8>> {
        let batch = self.batches.get_mut(&(partition.get(), ordinal));
        let batch = batch.expect("the machine knows only batches that are here");
        let (spares, builders) = (&mut self.spares, &self.workshop.spares);
        batch.stage.bytes(stamp, |mut open, session| {
            let mut bytes = spares.pop().unwrap_or_default();
            let finished = open.builder.finish_into(&mut bytes, Some(session));
            finished.expect("a batch with records and a session can be finished");
            // Full: there are spares enough.
            builders.push(open).ok();
            bytes
        })
    }

    /// Sends in order: over the connection, or behind those that wait for it.
    fn send(&mut self, shard: u16, outgoing: Outgoing) {
        match self.roads.get_mut(&shard) {
            Some(Road::Open(link)) if !link.is_closed() => link.send(outgoing),
            Some(Road::Building(waiting)) => waiting.push(outgoing),
            Some(Road::Open(_)) | None => {
                self.roads.insert(shard, Road::Building(vec![outgoing]));
                let (client, notice) = (self.client.clone(), self.notice.clone());
                let (cluster, name) = (self.identity.cluster, self.name.clone());
                tokio::spawn(async move {
                    let target = Target::Shard(shard);
                    let result = client.hub().link_to(target, (cluster, &name)).await;
                    // If the producer's task has ended, nobody needs it.
                    notice.send(Notice::Linked(shard, result)).await.ok();
                });
            }
        }
    }

    fn refresh(&self) {
        let (client, notice) = (self.client.clone(), self.notice.clone());
        let name = self.name.clone();
        tokio::spawn(async move {
            let result = client.route(&name).await;
            // If the producer's task has ended, nobody needs it.
            notice.send(Notice::Routed(result)).await.ok();
        });
    }

    fn resolved(&mut self, partition: PartitionId, ordinal: Ordinal, outcome: Outcome) {
        let batch = self.batches.remove(&(partition.get(), ordinal));
        let batch = batch.expect("the machine resolves a batch once");
        let records = u64::from(batch.records);
        let outcome = match outcome {
            Outcome::Appended(appended) => {
                let bytes = match &batch.stage {
                    Stage::Stamped(bytes) => bytes.len() as u64,
                    Stage::Built(_) | Stage::Nothing => 0,
                };
                self.workshop.ledger.delivered(records, bytes, appended.duplicate);
                Ok(appended)
            }
            Outcome::Failed(failure) => {
                let after = self.workshop.config.delivery_timeout;
                let error = ClientError::from_failure(failure, &self.name, after);
                tracing::warn!(log = %self.name, %partition, records, %error, "not delivered");
                self.workshop.ledger.failed(records);
                self.failed += records;
                self.first_failure.get_or_insert_with(|| error.clone());
                Err(error)
            }
        };
        if let Some(promise) = batch.promise {
            promise.settle(outcome);
        }
        match batch.stage {
            Stage::Stamped(bytes) if self.spares.len() < SPARE_BATCHES_MAX => {
                // Still being written by a connection that is given up: it is not ours alone.
                self.spares.extend(Arc::into_inner(bytes));
            }
            Stage::Built(mut open) => {
                open.builder.clear();
                // Full: there are spares enough.
                self.workshop.spares.push(open).ok();
            }
            Stage::Stamped(_) | Stage::Nothing => {}
        }
        self.workshop.ledger.release(batch.charged);
    }
}

/// Tells that requests never left.
fn unsent(waiting: Vec<Outgoing>, cause: &ClientError) {
    for outgoing in waiting {
        outgoing.reply_to.tell(Err(Undone::Unsent(cause.clone())));
    }
}

/// What an ending means to the machine.
fn answer_of(ending: Ending) -> Answer {
    match ending {
        Ok(answered) => Answer::from(answered.reply),
        Err(Undone::Unsent(_)) => Answer::Unsent,
        Err(Undone::Lost(_)) => Answer::Lost,
    }
}
