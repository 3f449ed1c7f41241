//! Several programs take ids, numbers and records' offsets from a server that is killed under them: nothing comes twice, and
//! what promises to be dense is, but for lost answers.
//!
//! The kills follow from what the programs report. They report over a bounded queue that is only read between a start
//! and a kill: so they have requests under way when a kill comes, and do not run ahead of the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use pyralog_client::blocking::{Client, IdSource, Producer};
use pyralog_client::{
    ClientConfig, CounterConfig, CounterLease, Gaps, IdConfig, LogConfig, ProducerConfig, Record,
};

use super::oracle::{BLOCK, COUNTERS, Dealt, Oracle};
use super::server::{Ports, ServerProcess};
use super::workload::connect;
use super::{rounds, seed};

/// Reports that nobody has read.
const REPORTS_MAX: usize = 16;

/// Reports between a start and a kill, far above what it takes until everybody has told something.
const REPORTS_PER_ROUND_MAX: u32 = 200_000;

/// How long the programs keep trying, far above a start.
const PATIENCE: Duration = Duration::from_mins(2);

/// Rounds between two readings of all records.
const ROUNDS_PER_READING: u32 = 10;

const LOG: &str = "records";

#[expect(clippy::disallowed_types, reason = "threads of a test may block")]
type Receiver<T> = std::sync::mpsc::Receiver<T>;
type Sender<T> = std::sync::mpsc::SyncSender<T>;

/// Something that one of the programs was given.
struct Report {
    program: usize,
    dealt: Dealt,
}

/// What a program ends with: how many numbers of which counter it may have lost.
type Lost = Option<(&'static str, u64)>;

/// The programs.
struct Programs {
    stopping: Arc<AtomicBool>,
    reports: Receiver<Report>,
    /// To those that write records: how many.
    orders: Vec<Sender<u32>>,
    threads: Vec<JoinHandle<Lost>>,
}

/// What a program needs to run.
#[derive(Clone)]
struct Place {
    program: usize,
    stopping: Arc<AtomicBool>,
    reports: Sender<Report>,
}

impl Place {
    /// Tells what was dealt, until nobody wants to know.
    fn tell(&self, dealt: Dealt) {
        let report = Report { program: self.program, dealt };
        self.reports.send(report).expect("reports are read to their end");
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl Programs {
    fn start(address: &str) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let (sender, reports) = std::sync::mpsc::sync_channel(REPORTS_MAX);
        let mut programs = Self { stopping, reports, orders: Vec::new(), threads: Vec::new() };
        // Two that share a source, and one of its own.
        let shared = source(address);
        for ids in [shared.clone(), shared, source(address)] {
            programs.spawn(&sender, |place| {
                mint(&place, ids);
                None
            });
        }
        for (counter, _) in COUNTERS {
            for block in [1, 7] {
                let client = patient(address);
                programs.spawn(&sender, move |place| {
                    let lost = take(&place, (&client, counter), block);
                    Some((counter, lost))
                });
            }
        }
        for _ in 0..2 {
            let producer = patient(address).producer(LOG, producer_config()).unwrap();
            let (order, orders) = std::sync::mpsc::sync_channel(1);
            programs.orders.push(order);
            programs.spawn(&sender, move |place| {
                append(&place, producer, orders);
                None
            });
        }
        programs
    }

    fn spawn(
        &mut self,
        reports: &Sender<Report>,
        work: impl FnOnce(Place) -> Lost + Send + 'static,
    ) {
        let (program, stopping) = (self.threads.len(), Arc::clone(&self.stopping));
        let place = Place { program, stopping, reports: reports.clone() };
        self.threads.push(std::thread::spawn(move || work(place)));
    }

    /// Reads reports until every program that deals has told of something: it has found the server, and its counter.
    fn watch_all(&self, oracle: &mut Oracle) {
        self.watch_until(oracle, |told| told.iter().all(|&count| count > 0));
    }

    /// Reads reports until every program that deals has told of so many, or all together of one: a kill may as well come
    /// before some of them have found the server again.
    fn watch(&self, oracle: &mut Oracle, rng: &mut Rng) {
        for order in &self.orders {
            // Full: it has not done what it was told before.
            order.try_send(rng.u32(1..64)).ok();
        }
        let (each, any) = (rng.u32(1..4), rng.u8(..4) == 0);
        self.watch_until(oracle, |told| any || told.iter().all(|&count| count >= each));
    }

    /// Reads at least one report, and more until it is enough, by what every program that deals has told of.
    fn watch_until(&self, oracle: &mut Oracle, is_enough: impl Fn(&[u32]) -> bool) {
        let dealing = self.threads.len() - self.orders.len();
        let mut told: Vec<u32> = vec![0; self.threads.len()];
        loop {
            let report = self.reports.recv_timeout(PATIENCE).expect("programs make progress");
            let failed = self.threads.iter().any(JoinHandle::is_finished);
            assert!(!failed, "a program has failed, see above");
            oracle.note(&report.dealt);
            told[report.program] += 1;
            let stuck = told.iter().sum::<u32>() > REPORTS_PER_ROUND_MAX;
            assert!(!stuck, "some program gets nowhere: {told:?}");
            if is_enough(&told[..dealing]) {
                return;
            }
        }
    }

    /// Stops them and reads what they still have to tell. What each counter may have lost.
    fn stop(self, oracle: &mut Oracle) -> BTreeMap<&'static str, u64> {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.orders);
        for report in self.reports {
            oracle.note(&report.dealt);
        }
        let mut lost = BTreeMap::new();
        for thread in self.threads {
            if let Some((counter, numbers)) = thread.join().unwrap() {
                *lost.entry(counter).or_default() += numbers;
            }
        }
        lost
    }
}

fn source(address: &str) -> IdSource {
    // Small leases, so that there are many.
    let config = IdConfig { block: 50, low_water: 50, wait: PATIENCE, ..IdConfig::default() };
    IdSource::connect([address], config).unwrap()
}

fn patient(address: &str) -> Client {
    let config = ClientConfig { request_timeout: PATIENCE, ..ClientConfig::default() };
    Client::connect([address], config).unwrap()
}

fn producer_config() -> ProducerConfig {
    ProducerConfig {
        linger: Duration::ZERO,
        delivery_timeout: PATIENCE,
        ..ProducerConfig::default()
    }
}

fn mint(place: &Place, mut ids: IdSource) {
    while !place.is_stopping() {
        let some = ids.next_many(20).unwrap();
        place.tell(Dealt::Ids(some.collect()));
    }
}

/// Takes `block` numbers at a time. How many were lost with answers at most.
fn take(place: &Place, (client, name): (&Client, &'static str), block: u32) -> u64 {
    let lease = CounterLease { block: Some(block), gaps: Gaps::Accept };
    let mut counter = client.counter(name, lease).unwrap();
    while !place.is_stopping() {
        let first = counter.next().unwrap();
        let mut end = first + 1;
        while let Some(number) = counter.try_next() {
            assert_eq!(number, end, "a lease is a range");
            end += 1;
        }
        place.tell(Dealt::Numbers(name, first..end));
    }
    counter.lost()
}

/// Appends as many records as it is told to, some at a time.
fn append(place: &Place, mut producer: Producer, orders: Receiver<u32>) {
    for count in orders {
        let deliveries: Vec<_> =
            (0..count).map(|_| producer.send(Record::new(b"a record")).unwrap()).collect();
        for delivery in deliveries {
            delivery.wait().unwrap();
            place.tell(Dealt::Record);
        }
    }
}

fn make(client: &Client) {
    for (name, mode) in COUNTERS {
        let config = CounterConfig { mode, block: BLOCK, ..CounterConfig::default() };
        client.create_counter(name, config).unwrap();
    }
    let config = LogConfig { partitions: 3, segment_bytes: 1 << 20, ..LogConfig::default() };
    client.create_log(LOG, config).unwrap();
}

#[test]
fn no_id_and_no_number_comes_twice_through_sigkills() {
    let mut rng = Rng::with_seed(seed());
    let directory = tempfile::tempdir().unwrap();
    let ports = Ports::reserve();
    let mut server = ServerProcess::start(directory.path(), ports, 2);
    let address = server.address();
    make(&connect(&address));
    let mut oracle = Oracle::default();
    let programs = Programs::start(&address);
    let kills = rounds(15);
    programs.watch_all(&mut oracle);
    for round in 0..kills {
        programs.watch(&mut oracle, &mut rng);
        server.kill();
        server = ServerProcess::start(directory.path(), ports, rng.u32(1..=3));
        oracle.check_told(&connect(&address));
        if round % ROUNDS_PER_READING == 0 {
            oracle.read(&connect(&address), LOG);
        }
    }
    programs.watch(&mut oracle, &mut rng);
    let lost = programs.stop(&mut oracle);
    oracle.read(&connect(&address), LOG);
    server.terminate();
    for (counter, _) in COUNTERS {
        let (skipped, lost) = (oracle.skipped(counter), lost[counter]);
        let crashes = if counter == "reserved" { u64::from(kills) * BLOCK } else { 0 };
        println!("{counter}: {skipped} skipped, {lost} lost with answers");
        assert!(
            skipped <= lost + crashes,
            "{counter}: {skipped} skipped, {lost} lost with answers"
        );
    }
    let (ids, numbers, records) = oracle.tally();
    println!("{kills} kills: {ids} ids, those of {records} records among them, {numbers} numbers");
    assert!(records > 0 && ids > records && numbers > 0, "everybody got somewhere");
}
