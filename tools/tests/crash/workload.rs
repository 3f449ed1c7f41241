//! Writers that number their records, and the reader that checks the numbers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pyralog_client::blocking::{Client, Delivery, Producer};
use pyralog_client::{
    ClientConfig, ClientError, ConsumerConfig, Durability, LogConfig, PartitionId, Partitioner,
    ProducerConfig, Record, RecordMetadata, Stop,
};

/// Records that a writer has in flight.
const IN_FLIGHT_MAX: usize = 64;

#[expect(clippy::disallowed_types, reason = "a test's main thread may block")]
type Receiver = std::sync::mpsc::Receiver<()>;

/// Writers that send until they are stopped.
pub(crate) struct Workload {
    stopping: Arc<AtomicBool>,
    acknowledged: Receiver,
    /// How many records of each writer were acknowledged.
    counts: Arc<[AtomicU64]>,
    writers: Vec<JoinHandle<u64>>,
}

/// Who writes what to which partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    pub(crate) partition: u32,
    /// The number of its first record.
    pub(crate) first: u64,
    /// What its acknowledgements mean, if not what the log says.
    pub(crate) durability: Option<Durability>,
    pub(crate) failures: Failures,
    /// How many keys its records have, 0 for none.
    pub(crate) keys: u64,
}

/// What a writer makes of a record that it cannot deliver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failures {
    /// It panics: the client has to get every record through.
    Fatal,
    /// It goes on: the level does not survive what is done to the log.
    Expected,
}

impl Writer {
    /// One that numbers from zero and writes at the level of the log, and whose every record has to get through.
    pub(crate) fn of(partition: u32) -> Self {
        Self { partition, first: 0, durability: None, failures: Failures::Fatal, keys: 0 }
    }

    /// The same, of records with so many keys.
    pub(crate) fn keyed(partition: u32, keys: u64) -> Self {
        Self { keys, ..Self::of(partition) }
    }
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
        let writers: Vec<_> = (0..config.partitions).map(Writer::of).collect();
        Self::with_writers(address, log, &writers)
    }

    /// Starts writers of a log that is there.
    pub(crate) fn with_writers(address: &str, log: &str, writers: &[Writer]) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let counts: Arc<[_]> = writers.iter().map(|_| AtomicU64::new(0)).collect();
        let (reports, acknowledged) = std::sync::mpsc::channel();
        let writers = writers.iter().enumerate().map(|(index, &writer)| {
            let (stopping, reports) = (Arc::clone(&stopping), reports.clone());
            let counts = Arc::clone(&counts);
            let producer = writer.producer(address, log);
            std::thread::spawn(move || {
                write(producer, writer, &stopping, |outcome| {
                    if outcome.is_ok() {
                        counts[index].fetch_add(1, Ordering::Relaxed);
                        // The main thread counts only while it waits.
                        reports.send(()).ok();
                    } else if writer.failures == Failures::Fatal {
                        panic!("{writer:?}: {outcome:?}");
                    }
                })
            })
        });
        let writers = writers.collect();
        Self { stopping, acknowledged, counts, writers }
    }

    /// Returns when `count` more records were acknowledged.
    pub(crate) fn wait_for_acknowledgements(&self, count: u64) {
        while self.acknowledged.try_recv().is_ok() {}
        for _ in 0..count {
            self.acknowledged.recv_timeout(Duration::from_mins(1)).expect("writers make progress");
        }
    }

    /// How many records of each writer were acknowledged so far, at least.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Stops the writers once all they sent has its outcome; how many records each sent.
    pub(crate) fn stop(self) -> Vec<u64> {
        self.stopping.store(true, Ordering::Relaxed);
        self.writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    }
}

pub(crate) fn connect(address: &str) -> Client {
    Client::connect([address], ClientConfig::default()).unwrap()
}

impl Writer {
    fn producer(self, address: &str, log: &str) -> Producer {
        let config = ProducerConfig {
            partitioner: Partitioner::Fixed(PartitionId::new(self.partition)),
            durability: self.durability,
            linger: Duration::ZERO,
            ..ProducerConfig::default()
        };
        connect(address).producer(log, config).unwrap()
    }
}

/// Key of record `number` where there are so many keys: some come all the time, some almost never.
pub(crate) fn key(number: u64, keys: u64) -> Option<u64> {
    (keys > 0).then(|| {
        let mut rng = fastrand::Rng::with_seed(!number);
        let most = rng.u64(1..=keys);
        rng.u64(..most)
    })
}

/// Content of record `number`: the number, and what nobody makes of another one, a different length each.
pub(crate) fn value(number: u64) -> Vec<u8> {
    let mut value = vec![0; 8 + usize::try_from(number * 37 % 1000).unwrap()];
    fastrand::Rng::with_seed(number).fill(&mut value[8..]);
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// Sends its first record and what follows until told to stop, and waits for every outcome. Returns how many that were.
fn write(
    mut producer: Producer,
    writer: Writer,
    stopping: &AtomicBool,
    mut settled: impl FnMut(Result<RecordMetadata, ClientError>),
) -> u64 {
    let mut in_flight = VecDeque::new();
    let mut next = writer.first;
    loop {
        let stop = stopping.load(Ordering::Relaxed);
        if !stop {
            let (value, key) = (value(next), key(next, writer.keys).map(u64::to_le_bytes));
            let key = key.as_ref().map(|key| &key[..]);
            in_flight.push_back(producer.send(Record { key, ..Record::new(&value) }).unwrap());
            next += 1;
        }
        let mut full = in_flight.len() >= IN_FLIGHT_MAX;
        while let Some(delivery) = in_flight
            .pop_front_if(|oldest: &mut Delivery| stop || full || oldest.outcome().is_some())
        {
            settled(delivery.wait());
            full = false;
        }
        if stop {
            return next - writer.first;
        }
    }
}

/// Appends records 0, 1, 2, … to the first partition; all are acknowledged when it returns.
pub(crate) fn append(address: &str, log: &str, count: u64) {
    let mut producer = Writer::of(0).producer(address, log);
    for number in 0..count {
        producer.send_detached(Record::new(&value(number))).unwrap();
    }
    producer.close().unwrap();
}

/// The numbers of the records in each partition, in order of offset. Every record is whole, and offsets have no gaps.
pub(crate) fn numbers(address: &str, log: &str, partitions: usize) -> Vec<Vec<u64>> {
    let config = ConsumerConfig { stop: Stop::AtEnd, ..ConsumerConfig::default() };
    let mut consumer = connect(address).consumer(log, config).unwrap();
    let mut found = vec![Vec::new(); partitions];
    while let Some(batch) = consumer.next().unwrap() {
        let partition = batch.partition();
        let numbers: &mut Vec<u64> = &mut found[partition.get() as usize];
        for record in batch.records() {
            let (offset, bytes) = (record.offset.get(), record.value.unwrap());
            assert_eq!(offset, numbers.len() as u64, "an offset of {log} partition {partition}");
            let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert!(bytes == value(number), "{log} partition {partition} offset {offset} is torn");
            numbers.push(number);
        }
    }
    found
}

/// Reads every partition to its end and compares it with what was sent.
pub(crate) fn verify(address: &str, log: &str, sent: &[u64]) -> Verdict {
    let found = numbers(address, log, sent.len());
    let wrong = found.iter().zip(sent).zip(0..).find_map(|((found, &sent), partition)| {
        let misplaced = found.iter().zip(0..).find(|&(&number, expected)| number != expected);
        let end = found.len() as u64;
        match misplaced {
            Some((&number, expected)) => Some((partition, expected, Some(number))),
            None if end < sent => Some((partition, end, None)),
            None if end > sent => Some((partition, sent, Some(sent))),
            None => None,
        }
    });
    match wrong {
        None => Verdict::Exact,
        Some((partition, expected, found)) => Verdict::Wrong { partition, expected, found },
    }
}
