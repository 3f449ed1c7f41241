//! Writers that number their records, and the reader that checks the numbers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pyralog_client::blocking::Client;
use pyralog_client::{
    ClientConfig, ConsumerConfig, LogConfig, PartitionId, Partitioner, ProducerConfig, Record, Stop,
};

/// Records that a writer has in flight.
const IN_FLIGHT_MAX: usize = 64;

#[expect(clippy::disallowed_types, reason = "a test's main thread may block")]
type Receiver = std::sync::mpsc::Receiver<()>;

/// One writer per partition, sending until it is stopped.
pub(crate) struct Workload {
    stopping: Arc<AtomicBool>,
    acknowledged: Receiver,
    writers: Vec<JoinHandle<u64>>,
}

/// What a reader found.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Every record once, in order.
    Exact,
    /// The first record that is not what it should be.
    Wrong {
        /// Where.
        partition: u32,
        /// The number that was due.
        expected: u64,
        /// The number that came, if any did.
        found: Option<u64>,
    },
}

impl Workload {
    /// Makes the log and starts a writer for each of its partitions.
    pub(crate) fn start(address: &str, log: &str, config: LogConfig) -> Self {
        connect(address).create_log(log, config).unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let (reports, acknowledged) = std::sync::mpsc::channel();
        let writers = (0..config.partitions)
            .map(|partition| {
                let (stopping, reports) = (Arc::clone(&stopping), reports.clone());
                let (address, log) = (address.to_owned(), log.to_owned());
                std::thread::spawn(move || {
                    write(&address, &log, PartitionId::new(partition), &stopping, &|| {
                        // The main thread counts only while it waits.
                        reports.send(()).ok();
                    })
                })
            })
            .collect();
        Self { stopping, acknowledged, writers }
    }

    /// Returns when `count` more records were acknowledged.
    pub(crate) fn wait_for_acknowledgements(&self, count: u64) {
        while self.acknowledged.try_recv().is_ok() {}
        for _ in 0..count {
            self.acknowledged.recv_timeout(Duration::from_mins(1)).expect("writers make progress");
        }
    }

    /// Stops the writers once all they sent is acknowledged; how many records each sent.
    pub(crate) fn stop(self) -> Vec<u64> {
        self.stopping.store(true, Ordering::Relaxed);
        self.writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    }
}

fn connect(address: &str) -> Client {
    Client::connect([address], ClientConfig::default()).unwrap()
}

/// Sends 0, 1, 2, … until told to stop, and waits for every acknowledgement.
fn write(
    address: &str,
    log: &str,
    partition: PartitionId,
    stopping: &AtomicBool,
    acknowledged: &dyn Fn(),
) -> u64 {
    let config = ProducerConfig {
        partitioner: Partitioner::Fixed(partition),
        linger: Duration::ZERO,
        ..ProducerConfig::default()
    };
    let mut producer = connect(address).producer(log, config).unwrap();
    let mut in_flight = VecDeque::new();
    let mut value = vec![0; 1024];
    let mut next: u64 = 0;
    loop {
        let stop = stopping.load(Ordering::Relaxed);
        if !stop {
            value[..8].copy_from_slice(&next.to_le_bytes());
            let len = 8 + usize::try_from(next * 37 % 1000).unwrap();
            in_flight.push_back(producer.send(Record::new(&value[..len])).unwrap());
            next += 1;
        }
        while in_flight.len() >= IN_FLIGHT_MAX || (stop && !in_flight.is_empty()) {
            let delivery = in_flight.pop_front().expect("it is not empty");
            delivery.wait().unwrap();
            acknowledged();
        }
        if stop {
            return next;
        }
    }
}

/// Reads every partition to its end and compares it with what was sent.
pub(crate) fn verify(address: &str, log: &str, sent: &[u64]) -> Verdict {
    let client = connect(address);
    let config = ConsumerConfig { stop: Stop::AtEnd, ..ConsumerConfig::default() };
    let mut consumer = client.consumer(log, config).unwrap();
    let mut due = vec![0; sent.len()];
    while let Some(batch) = consumer.next().unwrap() {
        let partition = batch.partition().get();
        let expected: &mut u64 = &mut due[partition as usize];
        for record in batch.records() {
            let number = u64::from_le_bytes(record.value.unwrap()[..8].try_into().unwrap());
            if number != *expected || record.offset.get() != *expected {
                return Verdict::Wrong { partition, expected: *expected, found: Some(number) };
            }
            *expected += 1;
        }
    }
    let short = due.iter().zip(sent).position(|(found, sent)| found != sent);
    match short {
        None => Verdict::Exact,
        Some(partition) => Verdict::Wrong {
            partition: u32::try_from(partition).unwrap(),
            expected: due[partition],
            found: None,
        },
    }
}
