//! The loop of one producer: hands arrivals over when they are due, and knows whose fault it is if that is late.
//!
//! An arrival counts from when it was due. If it is handed over late because the target had no room (backpressure), that
//! is the server's doing and stays so until the producer has caught up: it is *excused*. Otherwise the generator itself
//! was late, and its lateness is recorded, so that a run whose generator was too slow can be thrown away.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::acks::{Acks, Ended, Sent};
use super::{Counters, Local, NotTaken, Outgoing, Target};
use crate::clock::Pacer;
use crate::limits::{TURN_ARRIVALS, TURN_BYTES};
use crate::payload::Records;
use crate::recorder::Kind;
use crate::schedule::{Arrival, Schedule};

/// How long a closed loop waits for an acknowledgement before it looks at the clock.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// When a producer sends.
pub(crate) enum Plan {
    /// At these moments.
    Open(Schedule),
    /// When fewer than so many arrivals of so many records are in flight.
    Closed { in_flight: u32, per_arrival: u32 },
}

/// Where arrivals go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    /// All to one partition, which the target knows.
    One,
    /// Each arrival to the next of so many partitions, from this one on.
    Spread { next: u32, of: u32 },
    /// Wherever the target puts them.
    Any,
}

/// One producer.
pub(crate) struct Producer<T: Target, P> {
    pub(crate) target: T,
    pub(crate) pacer: P,
    pub(crate) records: Records,
    pub(crate) route: Route,
    /// Bytes after which it ends; 0 for no such end.
    pub(crate) bytes_max: u64,
    pub(crate) local: Rc<Local>,
}

/// What happened to an arrival on its way to the target.
struct Handed {
    sent: Sent,
    waited: bool,
}

/// State of the loop.
#[derive(Default)]
struct Turn {
    /// Handed over since the client's tasks last ran.
    bytes: u64,
    arrivals: u32,
    /// What the target had counted when the measured part began.
    before: Option<Counters>,
    /// Bytes due in the measured part so far.
    measured_bytes: u64,
}

impl<T: Target, P: Pacer> Producer<T, P> {
    /// Sends everything and waits for it.
    pub(crate) async fn run(mut self, plan: Plan) {
        let mut turn = Turn::default();
        let ended = match plan {
            Plan::Open(schedule) => self.open(schedule, &mut turn).await,
            Plan::Closed { in_flight, per_arrival } => {
                self.closed((in_flight, per_arrival), &mut turn).await
            }
        };
        let (before, after) = (turn.before.unwrap_or_default(), self.target.counters());
        let mut recorder = self.local.recorder.borrow_mut();
        recorder.client(after.batches - before.batches, after.retries - before.retries);
        // Records that nobody waited for, because a later one of their arrival stood for them.
        let unseen = after.failed.saturating_sub(ended.failed);
        if unseen > 0 {
            let due_ns = recorder.window().end.saturating_sub(1);
            recorder.failed(due_ns, ("Undelivered", unseen));
        }
        drop(recorder);
        self.local.progress.producer_ended(ended.appended);
    }

    async fn open(&mut self, mut schedule: Schedule, turn: &mut Turn) -> Ended {
        let local = Rc::clone(&self.local);
        let mut acks = Acks::new(Rc::clone(&local), None);
        let (end_ns, mut excused) = (local.end_ns(), false);
        let due_before_end = |arrival: &Arrival| arrival.due_ns < end_ns;
        while let Some(arrival) = schedule.next().filter(due_before_end) {
            if self.ended(turn) {
                break;
            }
            let due_ns = arrival.due_ns;
            local.recorder.borrow_mut().offered(due_ns, arrival.records.into());
            if local.clock.now_ns() < due_ns {
                self.pacer.until(local.clock, due_ns).await;
                (excused, turn.bytes, turn.arrivals) = (false, 0, 0);
            }
            let handed_ns = local.clock.now_ns();
            if handed_ns > local.give_up_ns {
                self.not_sent(arrival, schedule);
                break;
            }
            let handed = self.hand(arrival, handed_ns, &mut acks).await;
            acks.sent(handed.sent);
            excused |= handed.waited;
            self.note(&handed, excused);
            self.turn(turn, &handed).await;
        }
        acks.finish().await
    }

    async fn closed(&mut self, (in_flight, records): (u32, u32), turn: &mut Turn) -> Ended {
        let local = Rc::clone(&self.local);
        let permits = Rc::new(Semaphore::new(in_flight as usize));
        let mut acks = Acks::new(Rc::clone(&local), Some(Rc::clone(&permits)));
        let end_ns = local.end_ns();
        loop {
            let now_ns = local.clock.now_ns();
            if now_ns >= end_ns || self.ended(turn) {
                break;
            }
            // In vain if the server stands: look whether it is time to end, and wait on.
            let wait = timeout(LOOK_AGAIN, permits.acquire());
            let Ok(Ok(permit)) = wait.await else { continue };
            // It comes back with the acknowledgement.
            permit.forget();
            let now_ns = local.clock.now_ns();
            if now_ns >= end_ns {
                break;
            }
            let arrival = Arrival { due_ns: now_ns, records };
            local.recorder.borrow_mut().offered(now_ns, records.into());
            let handed = self.hand(arrival, now_ns, &mut acks).await;
            acks.sent(handed.sent);
            if handed.waited {
                local.recorder.borrow_mut().waited(now_ns);
            }
            self.turn(turn, &handed).await;
        }
        acks.finish().await
    }

    /// Counts a wait, and how late the arrival was if that is the generator's own fault.
    fn note(&self, handed: &Handed, excused: bool) {
        let Sent { due_ns, handed_ns, records, .. } = handed.sent;
        let mut recorder = self.local.recorder.borrow_mut();
        if handed.waited {
            recorder.waited(due_ns);
        }
        if !excused && recorder.window().contains(&due_ns) {
            recorder.latency(Kind::Late, handed_ns.saturating_sub(due_ns), records);
        }
    }

    fn ended(&self, turn: &Turn) -> bool {
        let enough = self.bytes_max > 0 && turn.measured_bytes >= self.bytes_max;
        enough || self.local.progress.stopped()
    }

    /// Hands the records of an arrival over, waiting for room where there is none.
    async fn hand(
        &mut self,
        arrival: Arrival,
        handed_ns: u64,
        acks: &mut Acks<T::Delivery>,
    ) -> Handed {
        let Arrival { due_ns, records } = arrival;
        let (partition, all_tracked) = match &mut self.route {
            Route::One => (None, false),
            Route::Any => (None, true),
            Route::Spread { next, of } => {
                let partition = *next;
                *next = (partition + 1) % *of;
                (Some(partition), false)
            }
        };
        let mut sent = Sent { due_ns, handed_ns, records: 0, bytes: 0 };
        let mut waited = false;
        for index in 0..records {
            let made = self.records.next(due_ns);
            let (key, value, bytes) = (made.key, made.value, made.bytes());
            let tracked = all_tracked || index + 1 == records;
            let record = Outgoing { key, value, partition, tracked };
            let mut taken = self.target.try_send(record);
            if taken.as_ref().is_err_and(|why| *why == NotTaken::Full) {
                waited = true;
                taken = self.target.send(record).await;
            }
            match taken {
                Ok(delivery) => {
                    sent.records += 1;
                    sent.bytes += bytes;
                    if let Some((partition, delivery)) = delivery {
                        acks.tracked(partition, delivery);
                    }
                }
                Err(NotTaken::Failed(code)) => {
                    self.local.recorder.borrow_mut().failed(due_ns, (code, 1));
                }
                Err(NotTaken::Full) => unreachable!("sending waits for room"),
            }
        }
        Handed { sent, waited }
    }

    /// Lets the client's tasks run after a while: on a runtime of one thread nothing is sent otherwise.
    async fn turn(&self, turn: &mut Turn, handed: &Handed) {
        if self.local.recorder.borrow().window().contains(&handed.sent.due_ns) {
            turn.before.get_or_insert_with(|| self.target.counters());
            turn.measured_bytes += handed.sent.bytes;
        }
        turn.bytes += handed.sent.bytes;
        turn.arrivals += 1;
        if turn.bytes >= TURN_BYTES || turn.arrivals >= TURN_ARRIVALS {
            (turn.bytes, turn.arrivals) = (0, 0);
            tokio::task::yield_now().await;
        }
    }

    /// There is no time left for this arrival and those behind it: they were due, and they failed.
    fn not_sent(&self, first: Arrival, rest: Schedule) {
        let mut recorder = self.local.recorder.borrow_mut();
        let end_ns = recorder.window().end;
        recorder.failed(first.due_ns, ("NotSent", first.records.into()));
        for arrival in rest.take_while(|arrival| arrival.due_ns < end_ns) {
            recorder.offered(arrival.due_ns, arrival.records.into());
            recorder.failed(arrival.due_ns, ("NotSent", arrival.records.into()));
        }
    }
}

#[cfg(test)]
mod tests;
