//! The machine of a producer: routes, windows and timers of all partitions of one log.
//!
//! It decides and the shell (`producer`) does. It has no clock, no randomness of its own and no
//! bytes: batches are known by partition and [`Ordinal`], time is the time since the producer
//! began, the generator comes seeded.
//!
//! ```
//! use std::time::Duration;
//! use pyralog_client::backoff::Backoff;
//! use pyralog_client::dispatch::{Command, Dispatcher, Event, Ordinal};
//! use pyralog_client::window::{Policy, Sealed};
//! use pyralog_log::ids::PartitionId;
//!
//! let policy = Policy {
//!     in_flight_max: 8,
//!     linger: Duration::from_millis(1),
//!     delivery_timeout: Duration::from_secs(120),
//!     request_timeout: Duration::from_secs(30),
//!     backoff: Backoff { min: Duration::from_millis(10), max: Duration::from_secs(1) },
//! };
//! let mut dispatcher = Dispatcher::new(policy, &[3], fastrand::Rng::with_seed(1));
//! let (partition, ordinal, now) = (PartitionId::ZERO, Ordinal(0), Duration::from_millis(5));
//! let mut commands = Vec::new();
//! dispatcher.handle(now, Event::Opened { partition, ordinal, since: now }, &mut commands);
//! assert_eq!(commands, []);
//! assert_eq!(dispatcher.due(), Some(Duration::from_millis(6)), "it lingers");
//!
//! dispatcher.handle(Duration::from_millis(6), Event::Tick, &mut commands);
//! assert_eq!(commands, [Command::Collect { partition, ordinal }]);
//!
//! commands.clear();
//! let batch = Sealed { ordinal, records: 10, opened: now };
//! dispatcher.handle(Duration::from_millis(6), Event::Sealed { partition, batch }, &mut commands);
//! assert!(matches!(commands[..], [Command::Send { shard: 3, stamp: Some(_), .. }]));
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use pyralog_log::batch::Session;
use pyralog_log::ids::{Offset, PartitionId, Timestamp};
use pyralog_wire::message::{Reply, Response};
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply, Retry};

use crate::window::{Context, Policy, Sealed, Window, session_id};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// The place of a batch among those of its partition, counted by the producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u64);

impl Ordinal {
    /// The next one.
    ///
    /// # Panics
    /// After 2^64 batches: never.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("nobody sends 2^64 batches"))
    }
}

/// One sending of a batch, unique within its partition: tells late answers from current ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u64);

/// Where an acknowledged batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// When the owner of the partition took it.
    pub append_time: Timestamp,
    /// An earlier attempt had already succeeded; the offset is that one's.
    pub duplicate: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Acknowledged.
    Appended(Appended),
    /// Refused.
    Refused(Refusal),
    /// Its connection ended first: the server may have it, or get it later.
    Lost,
    /// It never left this process as a whole.
    Unsent,
}

impl From<Reply> for Answer {
    /// What the server's answer to an append means.
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Done(Response::Append(appended)) => Self::Appended(Appended {
                base_offset: appended.base_offset,
                append_time: appended.append_time,
                duplicate: appended.duplicate,
            }),
            Reply::Refused(reply) => Self::Refused(Refusal::from(reply)),
            Reply::Done(_) => {
                let text = "the server answered an append with something else";
                let reply = ErrorReply::new(ErrorCode::Internal, text);
                Self::Refused(Refusal::MaybeAppended(reply))
            }
        }
    }
}

/// Why a server refused an append, sorted by what is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Not appended; may work later.
    Later {
        /// Not before this has passed.
        after: Duration,
    },
    /// Not appended; may work once somebody has made room on the server's disk.
    NoSpace(ErrorReply),
    /// Not appended; ask for the routes, then send again.
    Elsewhere,
    /// Not appended; an earlier batch of the session is missing.
    Gap {
        /// The sequence that the server takes next.
        expected: u64,
    },
    /// Not appended by this attempt; the server knows nothing (or no more) of the session.
    SessionLost,
    /// The server does not know whether it was appended.
    MaybeAppended(ErrorReply),
    /// Not appended, and never will be.
    Final(ErrorReply),
}

impl From<ErrorReply> for Refusal {
    fn from(reply: ErrorReply) -> Self {
        match (reply.code(), reply.detail) {
            (Some(ErrorCode::SequenceGap), ErrorDetail::SequenceGap { expected }) => {
                Self::Gap { expected }
            }
            (Some(ErrorCode::SequenceGap), _) => Self::Gap { expected: 0 },
            (
                Some(
                    ErrorCode::UnknownSession
                    | ErrorCode::SessionFenced
                    | ErrorCode::DuplicateTooOld,
                ),
                _,
            ) => Self::SessionLost,
            (Some(ErrorCode::NoSpace), _) => Self::NoSpace(reply),
            (_, ErrorDetail::RetryAfter { ms }) => Self::Later { after: Duration::from_millis(ms) },
            _ => match reply.retry {
                Retry::Never => Self::Final(reply),
                Retry::Same | Retry::AfterDelay => Self::Later { after: Duration::ZERO },
                Retry::AfterRefresh => Self::Elsewhere,
                Retry::UnknownOutcome => Self::MaybeAppended(reply),
            },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later { .. } => formatter.write_str("the server was busy"),
            Self::Elsewhere => formatter.write_str("the owner of the partition was not found"),
            Self::Gap { expected } => write!(formatter, "the server expected sequence {expected}"),
            Self::SessionLost => formatter.write_str("the server had forgotten the session"),
            Self::NoSpace(reply) | Self::MaybeAppended(reply) | Self::Final(reply) => {
                reply.fmt(formatter)
            }
        }
    }
}

/// How a batch ends: exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its records are in the log, each once.
    Appended(Appended),
    /// It is given up.
    Failed(Failure),
}

/// Why a batch was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Its deadline passed.
    TimedOut {
        /// How often it was sent.
        attempts: u32,
        /// Whether its records may be, or come, in the log.
        maybe_appended: bool,
        /// The last refusal, if there was one.
        refusal: Option<Refusal>,
    },
    /// The server lost the session after an attempt without an answer: to send the batch again
    /// could make a second copy of its records.
    OutcomeUnknown {
        /// How often it was sent.
        attempts: u32,
    },
    /// The server refused it for good; its records are not in the log.
    Refused(ErrorReply),
    /// The log does not exist any more.
    LogGone,
    /// The log of this name is another one now.
    LogReplaced,
}

impl Failure {
    /// Whether the records of the batch may be, or come, in the log.
    #[must_use]
    pub const fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::TimedOut { maybe_appended, .. } => *maybe_appended,
            Self::OutcomeUnknown { .. } => true,
            Self::Refused(_) | Self::LogGone | Self::LogReplaced => false,
        }
    }
}

/// What happens to a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A batch was begun.
    Opened {
        /// Its partition.
        partition: PartitionId,
        /// Its place.
        ordinal: Ordinal,
        /// When.
        since: Duration,
    },
    /// A batch takes no more records: it was full, or collected.
    Sealed {
        /// Its partition.
        partition: PartitionId,
        /// What it is.
        batch: Sealed,
    },
    /// An attempt ended.
    Answered {
        /// The partition of the batch.
        partition: PartitionId,
        /// The batch.
        ordinal: Ordinal,
        /// The attempt.
        attempt: Attempt,
        /// How.
        answer: Answer,
    },
    /// The routes asked for: the shard of each partition.
    Routed {
        /// Indexed by partition. Partitions beyond its end have no owner for now.
        shards: Vec<u16>,
    },
    /// Asking for the routes failed; ask again later.
    Unrouted,
    /// The log does not exist any more.
    LogGone,
    /// The log of this name has another identity now.
    LogReplaced,
    /// Somebody waits for everything sent so far.
    Flush,
    /// Time passed.
    Tick,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take the open batch from the producer and seal it; if it is just in use, as soon as it is
    /// not.
    Collect {
        /// Its partition.
        partition: PartitionId,
        /// Its place; nothing is to be done if it is sealed already.
        ordinal: Ordinal,
    },
    /// Send a batch. Attempts of a partition go out in the order of their commands.
    Send {
        /// Its partition.
        partition: PartitionId,
        /// Its place.
        ordinal: Ordinal,
        /// The attempt, for the answer.
        attempt: Attempt,
        /// To this shard.
        shard: u16,
        /// Write this into the batch first; otherwise its bytes stay as they are.
        stamp: Option<Session>,
    },
    /// The batch has its outcome and may be forgotten.
    Resolve {
        /// Its partition.
        partition: PartitionId,
        /// Its place.
        ordinal: Ordinal,
        /// The outcome.
        outcome: Outcome,
    },
    /// Give up the connection to this shard: it owes an answer for too long.
    Reset {
        /// The shard.
        shard: u16,
    },
    /// Ask for the routes of the log.
    Refresh,
}

/// Whether the routes are being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refresh {
    No,
    Asked,
    /// Not before this time.
    Later(Duration),
}

/// The machine. Invariant: every batch that was sealed is resolved exactly once.
#[derive(Debug)]
pub struct Dispatcher {
    policy: Policy,
    rng: Rng,
    windows: Vec<Window>,
    /// The shard of each partition, if it is known and not in doubt.
    routes: Vec<Option<u16>>,
    /// When each window wants to be looked at, and the same sorted.
    due: Vec<Option<Duration>>,
    timers: BTreeSet<(Duration, PartitionId)>,
    refresh: Refresh,
    refresh_failures: u32,
    /// The log is not there any more, and why.
    gone: Option<Failure>,
}

impl Dispatcher {
    /// A machine for a log whose partition `i` is owned by `shards[i]`. The session ids and the
    /// jitter come from `rng`, which has to be seeded with entropy by whoever wants exactly-once.
    ///
    /// # Panics
    /// If there are more partitions than a `u32` counts: no log has so many.
    #[must_use]
    pub fn new(policy: Policy, shards: &[u16], mut rng: Rng) -> Self {
        let session = session_id(&mut rng);
        let partitions = u32::try_from(shards.len()).expect("a log has at most 1024 partitions");
        let window = |partition| Window::new(PartitionId::new(partition), session);
        Self {
            policy,
            rng,
            windows: (0..partitions).map(window).collect(),
            routes: shards.iter().copied().map(Some).collect(),
            due: vec![None; shards.len()],
            timers: BTreeSet::new(),
            refresh: Refresh::No,
            refresh_failures: 0,
            gone: None,
        }
    }

    /// Whether every batch has its outcome and none is open.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.windows.iter().all(Window::is_idle)
    }

    /// When to send [`Event::Tick`] if nothing else happens before.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let refresh = match self.refresh {
            Refresh::Later(at) => Some(at),
            Refresh::No | Refresh::Asked => None,
        };
        let window = self.timers.first().map(|(at, _)| *at);
        refresh.into_iter().chain(window).min()
    }

    /// Takes an event at `now`, the time since the producer began, and appends what is to be done.
    ///
    /// # Panics
    /// If the event names a partition that the log does not have, or seals a batch twice.
    pub fn handle(&mut self, now: Duration, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Opened { partition, ordinal, since } => {
                self.windows[index(partition)].opened(ordinal, since);
                self.advance(now, partition, out);
            }
            Event::Sealed { partition, batch } => {
                let (window, cx) = self.window(now, partition, out);
                window.sealed(&cx, batch);
                self.advance(now, partition, out);
            }
            Event::Answered { partition, ordinal, attempt, answer } => {
                let (window, mut cx) = self.window(now, partition, out);
                if window.answered(&mut cx, (ordinal, attempt), answer) {
                    self.doubt(partition, out);
                }
                self.advance(now, partition, out);
            }
            Event::Routed { shards } => self.routed(now, &shards, out),
            Event::Unrouted => self.unrouted(now),
            Event::LogGone => self.gone(now, Failure::LogGone, out),
            Event::LogReplaced => self.gone(now, Failure::LogReplaced, out),
            Event::Flush => {
                self.windows.iter_mut().for_each(Window::hurry);
                self.advance_all(now, out);
            }
            Event::Tick => {}
        }
        self.run_timers(now, out);
    }

    fn window<'m>(
        &'m mut self,
        now: Duration,
        partition: PartitionId,
        out: &'m mut Vec<Command>,
    ) -> (&'m mut Window, Context<'m>) {
        let cx = Context { policy: &self.policy, rng: &mut self.rng, now, out };
        (&mut self.windows[index(partition)], cx)
    }

    /// The route of a partition may be wrong: do not send until it is confirmed.
    fn doubt(&mut self, partition: PartitionId, out: &mut Vec<Command>) {
        self.routes[index(partition)] = None;
        if self.refresh == Refresh::No && self.gone.is_none() {
            self.refresh = Refresh::Asked;
            out.push(Command::Refresh);
        }
    }

    fn routed(&mut self, now: Duration, shards: &[u16], out: &mut Vec<Command>) {
        for (route, shard) in self.routes.iter_mut().zip(shards) {
            *route = Some(*shard);
        }
        if shards.len() < self.routes.len() {
            self.unrouted(now);
        } else {
            self.refresh = Refresh::No;
            self.refresh_failures = 0;
        }
        self.advance_all(now, out);
    }

    /// The log is not there any more: everything ends, now and later.
    fn gone(&mut self, now: Duration, failure: Failure, out: &mut Vec<Command>) {
        self.gone = Some(failure);
        self.refresh = Refresh::No;
        self.advance_all(now, out);
    }

    fn unrouted(&mut self, now: Duration) {
        self.refresh_failures = self.refresh_failures.saturating_add(1);
        let delay = self.policy.backoff.delay(self.refresh_failures, &mut self.rng);
        self.refresh = Refresh::Later(now + delay);
    }

    fn advance_all(&mut self, now: Duration, out: &mut Vec<Command>) {
        for partition in 0..self.windows.len() {
            let partition = u32::try_from(partition).expect("a log has at most 1024 partitions");
            self.advance(now, PartitionId::new(partition), out);
        }
    }

    /// Lets a window act, then notes when it wants to be looked at again.
    fn advance(&mut self, now: Duration, partition: PartitionId, out: &mut Vec<Command>) {
        let at = index(partition);
        let (gone, route) = (self.gone.clone(), self.routes[at]);
        let (window, mut cx) = self.window(now, partition, out);
        if let Some(failure) = &gone {
            window.fail_all(&mut cx, failure);
            // There is nothing to wait for: what is open is to fail as well.
            window.hurry();
        }
        window.advance(&mut cx, route);
        let due = self.windows[at].due(&self.policy, now);
        if self.due[at] != due {
            if let Some(old) = self.due[at] {
                self.timers.remove(&(old, partition));
            }
            if let Some(new) = due {
                self.timers.insert((new, partition));
            }
            self.due[at] = due;
        }
    }

    fn run_timers(&mut self, now: Duration, out: &mut Vec<Command>) {
        if let Refresh::Later(at) = self.refresh
            && at <= now
        {
            self.refresh = Refresh::Asked;
            out.push(Command::Refresh);
        }
        // Windows due now, each once: one that stays due at `now` must not keep us here.
        let mut looked_at = 0;
        while let Some((at, partition)) = self.timers.first().copied()
            && at <= now
            && looked_at <= self.windows.len()
        {
            looked_at += 1;
            self.advance(now, partition, out);
        }
    }
}

fn index(partition: PartitionId) -> usize {
    partition.get() as usize
}
