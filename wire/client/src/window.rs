//! The window of one partition: which batches wait, fly, are sent again, and how each ends.
//!
//! Exactly-once rests on three rules, and the tests try to break each of them:
//!
//! 1. Batches are numbered (*sequences*, counted in records, per session) when they are first sent,
//!    in the order in which they were filled, and an attempt never overtakes an earlier batch:
//!    after any failure the window *drains* (every attempt out there gets its answer, or its
//!    connection is gone) and then sends everything unresolved again, in order, byte for byte the
//!    same.
//! 2. An attempt without an answer taints its batch (`unknown`): its bytes may still arrive
//!    at the server by a dying connection, at any later time. Within the session that is harmless,
//!    because the server knows the sequence.
//! 3. So a batch may leave its session (be *stamped* anew) only if it is not tainted. If the
//!    session is lost, tainted batches end as [`Failure::OutcomeUnknown`], the others go on in a
//!    new one.
//!
//! Rejected: to take a `SequenceGap` as proof that a tainted batch was not appended. It proves that
//! it was not appended *yet*; the old connection's bytes may follow and then a second copy under
//! another session would be a duplicate record.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use pyralog_log::batch::Session;
use pyralog_log::ids::{PartitionId, SessionId};

use crate::backoff::Backoff;
use crate::dispatch::{Answer, Appended, Attempt, Command, Failure, Ordinal, Outcome, Refusal};

/// What a producer's configuration says about windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Batches that may be in flight, 1 to [`crate::limits::IN_FLIGHT_MAX`].
    pub in_flight_max: usize,
    /// How long an open batch waits for company.
    pub linger: Duration,
    /// From the first record of a batch to its outcome.
    pub delivery_timeout: Duration,
    /// From an attempt to its answer; then the connection is given up.
    pub request_timeout: Duration,
    /// Delays between attempts.
    pub backoff: Backoff,
}

/// A batch as the machine knows it: the bytes stay with the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its place among the batches of the partition, counted by the producer from zero.
    pub ordinal: Ordinal,
    /// How many records it has, at least one.
    pub records: u32,
    /// When its first record was pushed.
    pub opened: Duration,
}

/// What a window needs to act: shared by all windows of a producer.
pub(crate) struct Context<'c> {
    pub(crate) policy: &'c Policy,
    pub(crate) rng: &'c mut Rng,
    pub(crate) now: Duration,
    pub(crate) out: &'c mut Vec<Command>,
}

/// A batch without an outcome.
#[derive(Clone, Debug)]
struct Entry {
    sealed: Sealed,
    deadline: Duration,
    /// Session and sequence under which it is sent, once it was.
    stamp: Option<Session>,
    /// The attempt that has no answer yet.
    flight: Option<Flight>,
    /// Attempts made.
    attempts: u32,
    /// Some attempt ended without an answer: the server may have, or get, the batch.
    unknown: bool,
    /// The refusal that is responsible for the last failed attempt, to be reported at the deadline.
    refusal: Option<Refusal>,
}

/// An attempt on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    attempt: Attempt,
    shard: u16,
    sent: Duration,
    /// No earlier batch was unresolved when it was sent: a gap is then not of our making.
    led: bool,
    /// Its connection was already given up.
    reset: bool,
}

/// What the window may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Send.
    Flowing,
    /// Something must be sent again: wait until nothing is in flight.
    Draining,
    /// Nothing is in flight: send everything again at this time.
    Paused { until: Duration },
}

/// A batch that takes records.
#[derive(Clone, Copy, Debug)]
struct OpenBatch {
    ordinal: Ordinal,
    since: Duration,
    /// Somebody waits for it: do not linger.
    urgent: bool,
    /// The shell was told to collect it.
    collecting: bool,
}

/// The window. Invariant: entries in order of ordinal; those in flight come first while flowing.
#[derive(Debug)]
pub(crate) struct Window {
    partition: PartitionId,
    entries: VecDeque<Entry>,
    /// Batches that arrived before an earlier one: collected here, handed over there.
    early: BTreeMap<Ordinal, Sealed>,
    next_ordinal: Ordinal,
    open: Option<OpenBatch>,
    session: SessionId,
    next_sequence: u64,
    next_attempt: u64,
    phase: Phase,
    in_flight: usize,
    /// Failed rounds since the last acknowledgement.
    failures: u32,
    /// The longest delay that an answer of this round asks for; `None` if it asks for none.
    delay: Option<Duration>,
    /// The session is over: begin another before anything is sent again.
    renew: bool,
}

impl Window {
    pub(crate) fn new(partition: PartitionId, session: SessionId) -> Self {
        assert_ne!(session, SessionId::ZERO, "zero stands for no session");
        Self {
            partition,
            entries: VecDeque::new(),
            early: BTreeMap::new(),
            next_ordinal: Ordinal(0),
            open: None,
            session,
            next_sequence: 0,
            next_attempt: 0,
            phase: Phase::Flowing,
            in_flight: 0,
            failures: 0,
            delay: None,
            renew: false,
        }
    }

    /// Whether every batch has its outcome and none is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_none() && self.entries.is_empty() && self.early.is_empty()
    }

    /// The producer began a batch at `since`.
    pub(crate) fn opened(&mut self, ordinal: Ordinal, since: Duration) {
        if ordinal >= self.next_ordinal && !self.early.contains_key(&ordinal) {
            let open = OpenBatch { ordinal, since, urgent: false, collecting: false };
            self.open = Some(open);
        }
    }

    /// A batch takes no more records.
    pub(crate) fn sealed(&mut self, cx: &Context<'_>, sealed: Sealed) {
        assert!(sealed.records > 0, "an empty batch of {}", self.partition);
        assert!(sealed.ordinal >= self.next_ordinal, "{sealed:?} was already there");
        if self.open.is_some_and(|open| open.ordinal <= sealed.ordinal) {
            self.open = None;
        }
        self.early.insert(sealed.ordinal, sealed);
        while let Some(next) = self.early.remove(&self.next_ordinal) {
            self.next_ordinal = self.next_ordinal.next();
            self.entries.push_back(Entry {
                sealed: next,
                deadline: next.opened + cx.policy.delivery_timeout,
                stamp: None,
                flight: None,
                attempts: 0,
                unknown: false,
                refusal: None,
            });
        }
    }

    /// Somebody waits for all that was sent so far.
    pub(crate) fn hurry(&mut self) {
        if let Some(open) = &mut self.open {
            open.urgent = true;
        }
    }

    /// An attempt ended. Returns whether the route of the partition is doubtful. Answers to
    /// attempts whose batch already has its outcome are late and ignored.
    pub(crate) fn answered(
        &mut self,
        cx: &mut Context<'_>,
        (ordinal, attempt): (Ordinal, Attempt),
        answer: Answer,
    ) -> bool {
        let expected = |entry: &Entry| entry.sealed.ordinal == ordinal;
        let Some(index) = self.entries.iter().position(expected) else { return false };
        let flight = match self.entries[index].flight {
            Some(flight) if flight.attempt == attempt => flight,
            _ => return false,
        };
        self.entries[index].flight = None;
        self.in_flight -= 1;
        match answer {
            Answer::Appended(appended) => {
                self.delivered(cx, index, appended);
                false
            }
            Answer::Lost => {
                self.entries[index].unknown = true;
                self.again(cx.policy.backoff.min);
                true
            }
            Answer::Unsent => {
                self.again(cx.policy.backoff.min);
                true
            }
            Answer::Refused(refusal) => self.refused(cx, index, (flight.led, refusal)),
        }
    }

    fn delivered(&mut self, cx: &mut Context<'_>, index: usize, appended: Appended) {
        self.failures = 0;
        self.resolve(cx, index, Outcome::Appended(appended));
    }

    /// The server said no. See the table in `docs/CLIENT.md`.
    fn refused(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        (led, refusal): (bool, Refusal),
    ) -> bool {
        let mut stale = false;
        match &refusal {
            Refusal::Later { after } => self.again(cx.policy.backoff.min.max(*after)),
            Refusal::NoSpace(_) => self.again(cx.policy.backoff.min),
            Refusal::Elsewhere => {
                stale = true;
                self.again(Duration::ZERO);
            }
            Refusal::Gap { .. } => {
                self.renew |= led;
                self.again(Duration::ZERO);
            }
            Refusal::SessionLost => {
                self.renew = true;
                self.again(Duration::ZERO);
            }
            Refusal::MaybeAppended(_) => {
                self.entries[index].unknown = true;
                self.again(cx.policy.backoff.min);
            }
            Refusal::Final(reply) => {
                // It speaks of this attempt. An earlier one without an answer may have been taken.
                let entry = &self.entries[index];
                let failure = if entry.unknown {
                    Failure::OutcomeUnknown { attempts: entry.attempts }
                } else {
                    Failure::Refused(reply.clone())
                };
                self.resolve(cx, index, Outcome::Failed(failure));
                return false;
            }
        }
        self.entries[index].refusal = Some(refusal);
        stale
    }

    /// Everything unresolved is to be sent again, not before `delay` (before it grows).
    fn again(&mut self, delay: Duration) {
        self.phase = Phase::Draining;
        if !delay.is_zero() {
            self.delay = Some(self.delay.map_or(delay, |known| known.max(delay)));
        }
    }

    /// The partition is gone for good: everything unresolved ends.
    pub(crate) fn fail_all(&mut self, cx: &mut Context<'_>, failure: &Failure) {
        while !self.entries.is_empty() {
            let entry = &mut self.entries[0];
            let flying = entry.flight.take().is_some();
            let ends = if entry.unknown || flying {
                Failure::OutcomeUnknown { attempts: entry.attempts }
            } else {
                failure.clone()
            };
            self.in_flight -= usize::from(flying);
            self.resolve(cx, 0, Outcome::Failed(ends));
        }
    }

    fn resolve(&mut self, cx: &mut Context<'_>, index: usize, outcome: Outcome) {
        let entry = self.entries.remove(index).expect("the caller looked it up");
        assert!(entry.flight.is_none(), "{:?} ends in flight", entry.sealed);
        let (partition, ordinal) = (self.partition, entry.sealed.ordinal);
        cx.out.push(Command::Resolve { partition, ordinal, outcome });
    }

    /// Does what can be done now: ends what is overdue, sends, asks for the open batch.
    pub(crate) fn advance(&mut self, cx: &mut Context<'_>, route: Option<u16>) {
        self.expire(cx);
        self.give_up_connections(cx);
        if self.phase == Phase::Draining && self.in_flight == 0 {
            self.drained(cx);
        }
        if let Phase::Paused { until } = self.phase
            && cx.now >= until
        {
            self.phase = Phase::Flowing;
        }
        let flowing = self.phase == Phase::Flowing;
        if let Some(shard) = route
            && flowing
        {
            self.send(cx, shard);
        }
        self.collect(cx, flowing && route.is_some());
        assert!(self.in_flight <= cx.policy.in_flight_max, "{} in flight", self.in_flight);
    }

    /// Ends batches at their deadline. An attempt in flight is abandoned: its answer comes late.
    fn expire(&mut self, cx: &mut Context<'_>) {
        while let Some(entry) = self.entries.front_mut()
            && entry.deadline <= cx.now
        {
            let flying = entry.flight.take().is_some();
            let failure = Failure::TimedOut {
                attempts: entry.attempts,
                maybe_appended: flying || entry.unknown,
                refusal: entry.refusal.take(),
            };
            self.in_flight -= usize::from(flying);
            self.resolve(cx, 0, Outcome::Failed(failure));
        }
    }

    /// Asks to reset connections that owe an answer for too long; their attempts end as lost.
    fn give_up_connections(&mut self, cx: &mut Context<'_>) {
        let near = self.entries.iter_mut().take(cx.policy.in_flight_max);
        for flight in near.filter_map(|entry| entry.flight.as_mut()) {
            if !flight.reset && flight.sent + cx.policy.request_timeout <= cx.now {
                flight.reset = true;
                cx.out.push(Command::Reset { shard: flight.shard });
            }
        }
    }

    /// Nothing is in flight and something failed: begin a new session if need be, then pause.
    fn drained(&mut self, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.renew) {
            self.begin_session(cx);
        }
        // The first failure of a row that asks for no delay is a matter of order: repair it at
        // once.
        let wanted = self.delay.take();
        let grown = cx.policy.backoff.delay(self.failures, cx.rng);
        let first = wanted
            .map_or(Duration::ZERO, |delay| Backoff { min: delay, max: delay }.delay(1, cx.rng));
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Paused { until: cx.now + grown.max(first) };
    }

    /// Rule 3: what may lie at the server ends here, the rest forgets its number.
    fn begin_session(&mut self, cx: &mut Context<'_>) {
        assert_eq!(self.in_flight, 0, "a session ends when nothing is in flight");
        self.session = session_id(cx.rng);
        self.next_sequence = 0;
        let mut index = 0;
        while let Some(entry) = self.entries.get_mut(index) {
            if entry.unknown {
                let failure = Failure::OutcomeUnknown { attempts: entry.attempts };
                self.resolve(cx, index, Outcome::Failed(failure));
            } else {
                entry.stamp = None;
                index += 1;
            }
        }
    }

    /// Sends what the window has room for, in order.
    fn send(&mut self, cx: &mut Context<'_>, shard: u16) {
        let mut led = true;
        for entry in &mut self.entries {
            if self.in_flight == cx.policy.in_flight_max {
                return;
            }
            if entry.flight.is_none() {
                let fresh = entry.stamp.is_none();
                let session = *entry.stamp.get_or_insert(Session {
                    id: self.session,
                    epoch: 0,
                    first_sequence: self.next_sequence,
                });
                if fresh {
                    self.next_sequence += u64::from(entry.sealed.records);
                }
                let attempt = Attempt(self.next_attempt);
                self.next_attempt += 1;
                entry.attempts += 1;
                entry.flight = Some(Flight { attempt, shard, sent: cx.now, led, reset: false });
                self.in_flight += 1;
                cx.out.push(Command::Send {
                    partition: self.partition,
                    ordinal: entry.sealed.ordinal,
                    attempt,
                    shard,
                    stamp: fresh.then_some(session),
                });
            }
            led = false;
        }
    }

    /// Asks for the open batch once waiting longer gains nothing.
    fn collect(&mut self, cx: &mut Context<'_>, can_send: bool) {
        let unsent = self.entries.len() > self.in_flight || !self.early.is_empty();
        let room = can_send && !unsent && self.in_flight < cx.policy.in_flight_max;
        let quiet = self.in_flight == 0;
        let Some(open) = &mut self.open else { return };
        let waited = match cx.policy.linger {
            Duration::ZERO => quiet,
            linger => cx.now >= open.since + linger,
        };
        let overdue = cx.now >= open.since + cx.policy.delivery_timeout;
        if !open.collecting && (overdue || open.urgent || (room && waited)) {
            open.collecting = true;
            let (partition, ordinal) = (self.partition, open.ordinal);
            cx.out.push(Command::Collect { partition, ordinal });
        }
    }

    /// When [`Window::advance`] has to be called again if nothing happens before.
    pub(crate) fn due(&self, policy: &Policy, now: Duration) -> Option<Duration> {
        let deadline = self.entries.front().map(|entry| entry.deadline);
        let overdue = self
            .entries
            .iter()
            .take(policy.in_flight_max)
            .filter_map(|entry| entry.flight.as_ref())
            .filter(|flight| !flight.reset)
            .map(|flight| flight.sent + policy.request_timeout)
            .min();
        let paused = match self.phase {
            Phase::Paused { until } => Some(until),
            Phase::Flowing | Phase::Draining => None,
        };
        let linger = self.open.filter(|open| !open.collecting).map(|open| {
            // If it lingered already, something else holds it back, and that will be an event.
            let lingered = open.since + policy.linger;
            if lingered > now { lingered } else { open.since + policy.delivery_timeout }
        });
        [deadline, overdue, paused, linger].into_iter().flatten().min()
    }
}

/// A session id from the producer's generator: any number but zero.
pub(crate) fn session_id(rng: &mut Rng) -> SessionId {
    SessionId::new(rng.u64(1..))
}
