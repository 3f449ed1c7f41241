//! The stream of the quickstart: sending the access log, and reading it back.

use std::time::Duration;

use hdrhistogram::Histogram;
use pyralog_client::blocking::{Client, Producer};
use pyralog_client::{ConsumerConfig, ProducerConfig, Record, Stop, partition_of_key};

use super::access_log::AccessLog;
use super::digest::Digest;
use super::{LOG, SINGLE, Show};
use crate::args::QuickstartArgs;
use crate::connect::explain;
use crate::exit::{Failure, Status};
use crate::progress::{Progress, rates};
use crate::quantity::{bytes_human, count_human, seconds_human};
use crate::stopwatch::{Stopwatch, latencies};

/// Records between two looks at progress and signals.
const RECORDS_PER_LOOK: u64 = 2048;

/// How long a batch may wait for more records: bulk loading wants full batches, not early ones.
const INGEST_LINGER: Duration = Duration::from_millis(10);

/// Appends that are sent one at a time, and how long that may take.
const ALONE_RECORDS: u64 = 1000;
const ALONE_TIME_MAX: Duration = Duration::from_secs(2);

/// One pass over the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pass {
    /// Records of it.
    pub(super) records: u64,
    /// Bytes of their keys and values.
    pub(super) bytes: u64,
    /// How long it took.
    pub(super) elapsed: Duration,
}

impl Pass {
    /// `3,000,000 records, 512 MB in 4.20 s (…)`.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} records, {} in {} ({})",
            count_human(self.records),
            bytes_human(self.bytes),
            seconds_human(self.elapsed),
            rates(self.records, self.bytes, self.elapsed)
        )
    }
}

/// The access log, and what was sent of it to each partition.
#[derive(Debug)]
pub(super) struct Stream {
    log: AccessLog,
    records: u64,
    digests: Vec<Digest>,
    single: Digest,
}

impl Stream {
    /// The stream that `args` ask for.
    pub(super) fn new(args: &QuickstartArgs) -> Self {
        let partitions = usize::try_from(args.partitions).expect("a handful");
        Self {
            log: AccessLog::new(args.seed),
            records: args.records,
            digests: vec![Digest::default(); partitions],
            single: Digest::default(),
        }
    }

    /// What was sent one at a time.
    pub(super) fn single(&self) -> Digest {
        self.single
    }

    /// What was sent to each partition so far.
    pub(super) fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Sends all records and waits until every one is acknowledged.
    ///
    /// # Errors
    /// If one of them is not, or somebody interrupts.
    pub(super) fn ingest(&mut self, show: &Show, client: &Client) -> Result<Pass, Failure> {
        let config = ProducerConfig { linger: INGEST_LINGER, ..ProducerConfig::default() };
        let mut producer = client.producer(LOG, config).map_err(|error| explain(&error))?;
        let mut progress = Progress::start(show.output, "ingest", Some(self.records), false);
        let watch = Stopwatch::start();
        let mut bytes = 0;
        for sent in 0..self.records {
            bytes += self.send(&mut producer)?;
            if sent.is_multiple_of(RECORDS_PER_LOOK) {
                progress.at(sent, sent, bytes);
                show.check()?;
            }
        }
        producer.flush().map_err(|error| explain(&error))?;
        let pass = Pass { records: self.records, bytes, elapsed: watch.elapsed() };
        progress.finish();
        producer.close().map_err(|error| explain(&error))?;
        Ok(pass)
    }

    /// Sends records one by one, each when the one before is acknowledged, and returns how long
    /// each took: what a client sees that cannot batch.
    ///
    /// # Errors
    /// As [`Stream::ingest`].
    pub(super) fn one_at_a_time(
        &mut self,
        show: &Show,
        client: &Client,
    ) -> Result<Histogram<u64>, Failure> {
        let config = ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() };
        let mut producer = client.producer(SINGLE, config).map_err(|error| explain(&error))?;
        let mut times = latencies();
        let all = Stopwatch::start();
        for _ in 0..ALONE_RECORDS {
            let line = self.log.next_line();
            self.single.add(Some(line.client), Some(line.line));
            let one = Stopwatch::start();
            producer
                .send_detached(Record::keyed(line.client, line.line))
                .map_err(|error| explain(&error))?;
            producer.flush().map_err(|error| explain(&error))?;
            let nanos = u64::try_from(one.elapsed().as_nanos()).unwrap_or(u64::MAX);
            times.saturating_record(nanos.max(1));
            show.check()?;
            if all.elapsed() > ALONE_TIME_MAX {
                break;
            }
        }
        producer.close().map_err(|error| explain(&error))?;
        Ok(times)
    }

    /// Hands the next line to the producer and remembers it; returns its bytes.
    fn send(&mut self, producer: &mut Producer) -> Result<u64, Failure> {
        let line = self.log.next_line();
        let partitions = u32::try_from(self.digests.len()).expect("a handful");
        let partition = partition_of_key(line.client, partitions);
        let index = usize::try_from(partition.get()).expect("a handful");
        self.digests[index].add(Some(line.client), Some(line.line));
        producer
            .send_detached(Record::keyed(line.client, line.line))
            .map_err(|error| explain(&error))?;
        Ok((line.client.len() + line.line.len()) as u64)
    }
}

/// What to read back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    /// The connection.
    pub(super) client: &'a Client,
    /// Name of the log.
    pub(super) log: &'a str,
    /// What the progress is called.
    pub(super) title: &'a str,
}

/// Reads a log from its beginning to its end: how long it took, and what each partition held.
///
/// # Errors
/// If an offset is missing or repeated (exit code 4), the server fails, or somebody interrupts.
pub(super) fn read_back(show: &Show, read: &Read<'_>) -> Result<(Pass, Vec<Digest>), Failure> {
    let Read { client, log, title } = *read;
    let route = client.metadata(log).map_err(|error| explain(&error))?;
    let partitions = route.shards.len();
    let config = ConsumerConfig { stop: Stop::AtEnd, ..ConsumerConfig::default() };
    let mut consumer = client.consumer(log, config).map_err(|error| explain(&error))?;
    let mut progress = Progress::start(show.output, title, None, false);
    let watch = Stopwatch::start();
    let mut digests = vec![Digest::default(); partitions];
    let (mut records, mut bytes) = (0, 0);
    while let Some(batch) = consumer.next().map_err(|error| explain(&error))? {
        let partition = batch.partition().get();
        let digest = usize::try_from(partition).ok().and_then(|index| digests.get_mut(index));
        let Some(digest) = digest else {
            return Err(Failure::failed(format!("there is no partition {partition}")));
        };
        let (records_before, bytes_before) = (digest.records(), digest.bytes());
        for record in batch.records() {
            let (expected, found) = (digest.records(), record.offset.get());
            if expected != found {
                let message =
                    format!("partition {partition}: offset {found} where {expected} was due");
                return Err(Failure::new(Status::VerificationFailed, message));
            }
            digest.add(record.key, record.value);
        }
        records += digest.records() - records_before;
        bytes += digest.bytes() - bytes_before;
        progress.at(records, records, bytes);
        show.check()?;
    }
    let pass = Pass { records, bytes, elapsed: watch.elapsed() };
    progress.finish();
    Ok((pass, digests))
}
