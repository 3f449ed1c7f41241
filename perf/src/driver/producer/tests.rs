//! A server that stands for a second, in virtual time: an open loop shows it in full, a closed one hides it.

use std::pin::Pin;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::*;
use crate::clock::Clock;
use crate::driver::{Progress, Taken};
use crate::quantity::nanoseconds;
use crate::recorder::{Recorded, Recorder};
use crate::scenario::Scenario;
use crate::schedule::Part;

const SECOND: u64 = 1_000_000_000;

/// What every request takes that does not meet the stall.
const SERVICE: Duration = Duration::from_millis(1);

/// Waits by Tokio's clock, which moves when nothing else can happen.
struct Virtual;

impl Pacer for Virtual {
    async fn until(&mut self, clock: Clock, due_ns: u64) {
        sleep_until(clock.at(due_ns)).await;
    }
}

/// The outcome of a record.
type Outcome = Pin<Box<dyn Future<Output = Result<(), &'static str>>>>;

/// A server that answers after [`SERVICE`], but nothing during a stall, and has room for so many records.
struct Fake {
    stall: std::ops::Range<Instant>,
    room: Option<usize>,
    /// When the records are done that take up room.
    busy: Vec<Instant>,
    /// What its answer is.
    answer: Result<(), &'static str>,
}

impl Fake {
    fn done_at(&self) -> Instant {
        let begun = Instant::now();
        if self.stall.contains(&begun) { self.stall.end + SERVICE } else { begun + SERVICE }
    }

    fn take(&mut self, record: Outgoing<'_>) -> Taken<Outcome> {
        let (done_at, answer) = (self.done_at(), self.answer);
        self.busy.push(done_at);
        let delivery = async move {
            sleep_until(done_at).await;
            answer
        };
        record.tracked.then(|| (record.partition.unwrap_or(0), Box::pin(delivery) as _))
    }

    fn full(&mut self) -> bool {
        let now = Instant::now();
        self.busy.retain(|done| *done > now);
        self.room.is_some_and(|room| self.busy.len() >= room)
    }
}

impl Target for Fake {
    type Delivery = Outcome;

    fn try_send(&mut self, record: Outgoing<'_>) -> Result<Taken<Self::Delivery>, NotTaken> {
        if self.full() { Err(NotTaken::Full) } else { Ok(self.take(record)) }
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    async fn send(&mut self, record: Outgoing<'_>) -> Result<Taken<Self::Delivery>, NotTaken> {
        while self.full() {
            sleep(Duration::from_micros(100)).await;
        }
        Ok(self.take(record))
    }
}

/// What a run of five seconds recorded, on a server that stands for the third.
fn run(scenario: &str, room: Option<usize>, stall: Duration) -> Recorded {
    run_with(scenario, (room, Ok(())), stall)
}

fn run_with(
    text: &str,
    (room, answer): (Option<usize>, Result<(), &'static str>),
    stall: Duration,
) -> Recorded {
    let scenario = Scenario::read(text, toml::Table::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let clock = Clock::start();
        let recorder = Recorder::new(0..5 * SECOND, Kind::Ack, 0);
        let local = Local::new(recorder, clock, Progress::new(1), 10 * SECOND);
        let stalls = clock.at(2 * SECOND);
        let producer = Producer {
            target: Fake { stall: stalls..stalls + stall, room, busy: Vec::new(), answer },
            pacer: Virtual,
            records: Records::new(&scenario, 0),
            route: Route::Spread { next: 0, of: scenario.partitions },
            bytes_max: scenario.measure_bytes,
            local: Rc::clone(&local),
        };
        let (part, over) = (Part { index: 0, of: 1 }, Duration::from_secs(5));
        let plan = match Schedule::new(scenario.arrivals, scenario.per_arrival, (part, over), 1) {
            Some(schedule) => Plan::Open(schedule),
            None => Plan::Closed { in_flight: 1, per_arrival: scenario.per_arrival },
        };
        producer.run(plan).await;
        let empty = Recorder::new(0..1, Kind::Ack, 0);
        local.recorder.replace(empty).finish()
    })
}

const OPEN: &str = "arrivals = 'constant:1k'";

#[test]
fn an_open_loop_shows_a_stall_in_full() {
    let recorded = run(OPEN, None, Duration::from_secs(1));
    let ack = recorded.latency(Kind::Ack);
    assert_eq!((ack.count, recorded.totals.offered_records), (5000, 5000));
    // One second of five: each of its 1000 records waited for what was left of it.
    assert!(ack.at(0.99) > 900 * SECOND / 1000, "p99 {}", ack.at(0.99));
    assert!((280..420).contains(&(ack.at(0.87) / 1_000_000)), "p87 {}", ack.at(0.87));
    assert!(ack.at(0.79) < 5 * SECOND / 1000, "p79 {}", ack.at(0.79));
    // What was due just before it was done at its first moment; after that nothing was.
    let stalled = recorded.slices.iter().find(|slice| slice.second == 2);
    assert_eq!(stalled.map(|slice| slice.counts.records), Some(1));
}

#[test]
fn an_open_loop_shows_it_also_when_the_buffer_made_the_generator_wait() {
    let recorded = run(OPEN, Some(10), Duration::from_secs(1));
    let (ack, service) = (recorded.latency(Kind::Ack), recorded.latency(Kind::Service));
    assert_eq!(ack.count, 5000);
    assert!(ack.at(0.99) > 900 * SECOND / 1000, "p99 {}", ack.at(0.99));
    assert!(recorded.totals.waits > 0);
    // Only ten were on their way when it stood.
    assert!(service.at(0.99) < 900 * SECOND / 1000, "service p99 {}", service.at(0.99));
    // The server made it wait, so the generator was not late.
    assert!(recorded.latency(Kind::Late).max < 5 * SECOND / 1000);
}

#[test]
fn a_closed_loop_hides_a_stall() {
    let recorded = run("arrivals = 'closed:1'", None, Duration::from_secs(1));
    let ack = recorded.latency(Kind::Ack);
    assert!(ack.at(0.99) < 10 * SECOND / 1000, "p99 {}", ack.at(0.99));
    assert!(ack.max > 900 * SECOND / 1000, "max {}", ack.max);
}

#[test]
fn what_a_server_never_answers_is_counted_not_forgotten() {
    let recorded = run(OPEN, None, Duration::from_secs(100));
    let totals = &recorded.totals;
    assert_eq!(totals.offered_records, 5000);
    assert_eq!(totals.records + totals.errors["Unfinished"], 5000);
    assert!(totals.errors["Unfinished"] >= 3000, "{totals:?}");

    let stuck = run(OPEN, Some(10), Duration::from_secs(100)).totals;
    assert_eq!(stuck.offered_records, 5000);
    let failed: u64 = stuck.errors.values().sum();
    assert_eq!(stuck.records + failed, 5000, "{stuck:?}");
}

#[test]
fn failures_are_counted_by_name_and_have_no_latency() {
    let recorded = run_with(OPEN, (None, Err("Busy")), Duration::ZERO);
    assert_eq!(recorded.totals.errors["Busy"], 5000);
    assert_eq!((recorded.totals.records, recorded.latency(Kind::Ack).count), (0, 0));
}

#[test]
fn an_arrival_ends_with_its_last_record() {
    let recorded =
        run("arrivals = 'constant:10k'\nper_arrival = 10\npartitions = 3", None, Duration::ZERO);
    // The last one was due within the measured time and done a moment after it.
    assert_eq!((recorded.totals.offered_records, recorded.totals.records), (50_000, 49_990));
    let ack = recorded.latency(Kind::Ack);
    assert_eq!((ack.count, ack.max / 1_000_000), (50_000, 1));
}

#[test]
fn a_limit_of_bytes_ends_the_run() {
    let text = "arrivals = 'closed:1'\nrecord_size = '1000B'\nmeasure_bytes = '100kB'";
    let recorded = run(text, None, Duration::ZERO);
    assert_eq!(recorded.totals.bytes, 100_000);
    assert!(recorded.last_ns < SECOND && recorded.last_ns >= 100 * nanoseconds(SERVICE));
}
