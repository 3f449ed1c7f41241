//! The task behind the handles of an id source: carries out what the machine (`fleet`) says.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use fastrand::Rng;
use pyralog_seq::pharaoh::Block;
use pyralog_wire::message::{DealIds, Reply, Response, Welcome};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep};

use super::{Ask, IdConfig, Shared, Trouble};
use crate::directory::ClusterId;
use crate::error::ClientError;
use crate::fleet::{
    Answer, Attempt, Claim, Command, Conflict, Event, Fleet, Identity, Member, Ticket,
};
use crate::limits::{ADDRESSES_MAX, FRESH_LEASES_MAX};
use crate::link::{self, Ending, Link, Outgoing, ReplyTo, Token, Undone};
use crate::producer::entropy;

/// A connection was made, or not.
struct Dialled {
    member: Member,
    connection: u64,
    result: Result<(Link, Welcome), ClientError>,
}

/// Who waits for a fresh block.
type Waiting = oneshot::Sender<Result<Block, ClientError>>;

/// An open connection, and its end.
struct Line {
    connection: u64,
    link: Link,
    /// Polled by the task itself: what waits elsewhere would keep the connection open.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Starts the task. It ends when the last handle is dropped, or with a conflict.
pub(super) fn start(
    (addresses, config): (Vec<String>, IdConfig),
    (shared, trouble): (Arc<Shared>, watch::Sender<Trouble>),
    (nudges, asks): (mpsc::Receiver<()>, mpsc::Receiver<Ask>),
) {
    let (dialling, dialled) = mpsc::channel(ADDRESSES_MAX);
    let (answer, answers) = mpsc::unbounded_channel();
    // Jitter and lots: programs that start together should not choose alike.
    let fleet = Fleet::new(config.policy(), addresses.len(), Rng::with_seed(entropy()));
    let keeper = Keeper {
        lines: addresses.iter().map(|_| None).collect(),
        addresses,
        config,
        fleet,
        shared,
        trouble,
        began: Instant::now(),
        waiting: BTreeMap::new(),
        tickets: 0,
        dialling,
        answer,
        commands: Vec::new(),
    };
    tokio::spawn(keeper.run(Inbox { nudges, asks, dialled, answers, alarm: None }));
}

/// Everything the task waits for, but for the ends of connections.
struct Inbox {
    nudges: mpsc::Receiver<()>,
    asks: mpsc::Receiver<Ask>,
    dialled: mpsc::Receiver<Dialled>,
    /// Unbounded, but the machine bounds the requests of each connection.
    answers: mpsc::UnboundedReceiver<(Token, Ending)>,
    alarm: Option<(Duration, Pin<Box<Sleep>>)>,
}

enum Wake {
    Answer(Token, Ending),
    Dialled(Dialled),
    Ended(Member, u64),
    Ask(Ask),
    /// Blocks were taken, or are waited for.
    Nudge,
    /// Every handle is gone.
    Unwanted,
    Alarm,
}

impl Inbox {
    fn arm(&mut self, due: Option<Duration>, began: Instant) {
        let armed = self.alarm.as_ref().map(|(armed, _)| *armed);
        if armed != due {
            self.alarm = due.map(|due| (due, Box::pin(tokio::time::sleep_until(began + due))));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, asking: bool) -> Poll<Wake> {
        if let Poll::Ready(Some((token, ending))) = self.answers.poll_recv(cx) {
            return Poll::Ready(Wake::Answer(token, ending));
        }
        if let Poll::Ready(Some(dialled)) = self.dialled.poll_recv(cx) {
            return Poll::Ready(Wake::Dialled(dialled));
        }
        if let Poll::Ready(nudge) = self.nudges.poll_recv(cx) {
            return Poll::Ready(nudge.map_or(Wake::Unwanted, |()| Wake::Nudge));
        }
        if asking && let Poll::Ready(Some(ask)) = self.asks.poll_recv(cx) {
            return Poll::Ready(Wake::Ask(ask));
        }
        if let Some((_, sleep)) = &mut self.alarm
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.alarm = None;
            return Poll::Ready(Wake::Alarm);
        }
        Poll::Pending
    }
}

/// The task. Invariant: `waiting` holds those whose tickets the machine has.
struct Keeper {
    addresses: Vec<String>,
    config: IdConfig,
    fleet: Fleet,
    lines: Vec<Option<Line>>,
    shared: Arc<Shared>,
    trouble: watch::Sender<Trouble>,
    began: Instant,
    waiting: BTreeMap<Ticket, Waiting>,
    tickets: u64,
    dialling: mpsc::Sender<Dialled>,
    answer: mpsc::UnboundedSender<(Token, Ending)>,
    commands: Vec<Command>,
}

impl Keeper {
    async fn run(mut self, mut inbox: Inbox) {
        self.handle(Event::Tick);
        while !self.shared.failed() {
            inbox.arm(self.fleet.due(), self.began);
            let wake = self.next(&mut inbox).await;
            // What handles took meanwhile.
            self.count();
            match wake {
                Wake::Answer((_, attempt, _), ending) => {
                    let (attempt, answer) = (Attempt(attempt), self.answer_of(ending));
                    self.handle(Event::Answered { attempt, answer });
                }
                Wake::Dialled(dialled) => self.dialled(dialled),
                Wake::Ended(member, connection) => {
                    self.handle(Event::Disconnected { member, connection });
                }
                Wake::Ask(ask) => self.asked(ask),
                Wake::Nudge => {}
                Wake::Alarm => self.handle(Event::Tick),
                Wake::Unwanted => return,
            }
        }
    }

    async fn next(&mut self, inbox: &mut Inbox) -> Wake {
        let asking = self.fleet.fresh() < FRESH_LEASES_MAX;
        std::future::poll_fn(|cx| {
            for (place, slot) in self.lines.iter_mut().enumerate() {
                if let Some(line) = slot
                    && line.end.as_mut().poll(cx).is_ready()
                {
                    let connection = line.connection;
                    *slot = None;
                    return Poll::Ready(Wake::Ended(Member(place), connection));
                }
            }
            inbox.poll(cx, asking)
        })
        .await
    }

    /// Tells the machine what lies ready.
    fn count(&mut self) {
        let ids = self.shared.ready.load(Ordering::Relaxed);
        let wanted = self.shared.wanted.load(Ordering::Relaxed);
        self.handle(Event::Stock { ids, wanted });
    }

    fn handle(&mut self, event: Event) {
        let mut commands = std::mem::take(&mut self.commands);
        self.fleet.handle(self.began.elapsed(), event, &mut commands);
        for command in commands.drain(..) {
            self.carry_out(command);
        }
        self.commands = commands;
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Connect { member, connection } => self.dial(member, connection),
            Command::Send { member, connection, attempt, count } => {
                let reply_to = ReplyTo::Queue((0, attempt.0, 0), self.answer.clone());
                let request = DealIds { count }.into();
                match &self.lines[member.0] {
                    Some(line) if line.connection == connection => {
                        line.link.send(Outgoing { request, payload: None, reply_to });
                    }
                    _ => reply_to.tell(Err(Undone::Unsent(ClientError::Closed))),
                }
            }
            Command::Reset { member, .. } => {
                let address = &self.addresses[member.0];
                tracing::warn!(address, "no ids in time: connecting again");
                let after = self.config.lease_timeout;
                self.note(ClientError::Timeout { operation: "DealIds", after });
                if let Some(line) = self.lines[member.0].take() {
                    line.link.reset();
                }
            }
            Command::Store(block) => self.shared.put(block),
            Command::Deliver(ticket, block) => {
                let waiting = self.waiting.remove(&ticket);
                let unwanted = waiting.and_then(|waiting| waiting.send(Ok(block)).err());
                if let Some(Ok(block)) = unwanted {
                    self.shared.put(block);
                }
            }
            Command::Expire(ticket) => {
                let last = self.trouble.borrow().last.clone().map(Box::new);
                let error = ClientError::NoIds { after: self.config.wait, last };
                if let Some(waiting) = self.waiting.remove(&ticket) {
                    // Whoever stopped waiting does not need it.
                    waiting.send(Err(error)).ok();
                }
            }
            Command::Fail(conflict) => self.fail(conflict),
        }
    }

    fn dial(&self, member: Member, connection: u64) {
        let address = self.addresses[member.0].clone();
        let (name, limit) = (self.config.name.clone(), self.config.connect_timeout);
        let dialling = self.dialling.clone();
        tokio::spawn(async move {
            let dialled = tokio::time::timeout(limit, link::connect(&address, &name)).await;
            let result = dialled.unwrap_or_else(|_elapsed| {
                let source = Arc::new(std::io::ErrorKind::TimedOut.into());
                Err(ClientError::Connect { address, source })
            });
            // If the task has ended, nobody needs it.
            dialling.send(Dialled { member, connection, result }).await.ok();
        });
    }

    fn dialled(&mut self, dialled: Dialled) {
        let Dialled { member, connection, result } = dialled;
        match result {
            Ok((link, welcome)) => {
                let watched = link.clone();
                let end = Box::pin(async move { watched.closed().await });
                self.lines[member.0] = Some(Line { connection, link, end });
                let cluster = ClusterId(welcome.cluster);
                let identity = Identity { node: welcome.node, cluster };
                self.handle(Event::Connected { member, connection, identity });
            }
            Err(error) => {
                tracing::debug!(address = self.addresses[member.0], %error, "no connection");
                self.note(error);
                self.handle(Event::Disconnected { member, connection });
            }
        }
    }

    fn asked(&mut self, ask: Ask) {
        if ask.reply.is_closed() {
            return;
        }
        let (ticket, count) = (Ticket(self.tickets), ask.count);
        self.tickets += 1;
        self.waiting.insert(ticket, ask.reply);
        let until = self.began.elapsed() + self.config.wait;
        self.handle(Event::Fresh { ticket, count, until });
    }

    fn answer_of(&self, ending: Ending) -> Answer {
        let error = match ending {
            Ok(answered) => match answered.reply {
                Reply::Done(Response::DealIds(dealt)) => return Answer::Dealt(dealt),
                Reply::Done(_) => {
                    self.note(ClientError::Unexpected { expected: "ids" });
                    return Answer::Nonsense;
                }
                Reply::Refused(reply) => {
                    self.note(ClientError::Server(reply.clone()));
                    return Answer::Refused(reply);
                }
            },
            Err(undone) => undone.into(),
        };
        self.note(error);
        Answer::Lost
    }

    /// Keeps what went wrong, for those who wait in vain.
    fn note(&self, error: ClientError) {
        self.trouble.send_modify(|trouble| trouble.last = Some(error));
    }

    /// The end.
    fn fail(&mut self, conflict: Conflict) {
        let error = self.conflict(conflict);
        tracing::error!(%error, "no more ids");
        self.trouble.send_modify(|trouble| trouble.conflict = Some(error.clone()));
        self.shared.failed.store(true, Ordering::Relaxed);
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            // Whoever stopped waiting does not need it.
            waiting.send(Err(error.clone())).ok();
        }
    }

    fn conflict(&self, conflict: Conflict) -> ClientError {
        let at = |claim: Claim| self.addresses[claim.member.0].clone();
        let node = |claim: Claim| (claim.identity.node, at(claim));
        let cluster = |claim: Claim| (claim.identity.cluster.0, at(claim));
        match conflict {
            Conflict::Slot { slot, first, second } => {
                ClientError::SlotConflict { slot: slot.get(), nodes: [node(first), node(second)] }
            }
            Conflict::Clusters { first, second } => {
                ClientError::MixedClusters { clusters: [cluster(first), cluster(second)] }
            }
        }
    }
}

impl Drop for Inbox {
    /// With the runtime, with a conflict, or because nobody is left.
    fn drop(&mut self) {
        self.nudges.close();
    }
}

impl Drop for Keeper {
    /// Whoever waits shall look: after the inbox, which is dropped first.
    fn drop(&mut self) {
        self.shared.arrived.notify_waiters();
    }
}
