//! What users may set, with defaults, ranges and one check each.

use std::path::PathBuf;
use std::time::Duration;

use pyralog_log::batch::{BuilderConfig, Codec};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{Offset, PartitionId, Timestamp};
use pyralog_log::proof::PublicKey;
use pyralog_wire::limits::{FETCH_BYTES_MAX, WAIT_MS_MAX};
use pyralog_wire::message::FetchFrom;

use crate::backoff::Backoff;
use crate::error::ClientError;
use crate::limits::{
    BACKOFF_MAX_DEFAULT, BACKOFF_MIN_DEFAULT, BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX,
    BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MAX, CONNECT_TIMEOUT_DEFAULT, DELIVERY_TIMEOUT_DEFAULT,
    FETCH_BYTES_DEFAULT, FETCH_WAIT_DEFAULT, IN_FLIGHT_MAX, KEYS_MAX, LINGER_DEFAULT, LINGER_MAX,
    RECORDS_PER_BATCH_MAX, REQUEST_TIMEOUT_DEFAULT, SAMPLED_ONE_OF_MAX, TIMEOUT_MAX,
};
use crate::partitioner::Partitioner;
use crate::window::Policy;

/// Settings of a client: identity, timeouts, delays. Shared by all that is made from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Name of the program, for the server's logs.
    pub name: String,
    /// Time to connect and greet one address.
    pub connect_timeout: Duration,
    /// Time for a request of administration, and for one attempt of an append. Waiting at the tail
    /// comes on top of it.
    pub request_timeout: Duration,
    /// First delay between attempts.
    pub backoff_min: Duration,
    /// Longest delay between attempts.
    pub backoff_max: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name: "pyralog-client".to_owned(),
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            request_timeout: REQUEST_TIMEOUT_DEFAULT,
            backoff_min: BACKOFF_MIN_DEFAULT,
            backoff_max: BACKOFF_MAX_DEFAULT,
        }
    }
}

impl ClientConfig {
    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// [`ClientError::Config`] with the first that is not.
    pub fn check(&self) -> Result<(), ClientError> {
        timeout("connect_timeout", self.connect_timeout)?;
        timeout("request_timeout", self.request_timeout)?;
        timeout("backoff_min", self.backoff_min)?;
        timeout("backoff_max", self.backoff_max)?;
        if self.backoff_min > self.backoff_max {
            return Err(ClientError::config("backoff_min", "it is above `backoff_max`"));
        }
        Ok(())
    }

    /// The delays between attempts.
    pub(crate) const fn backoff(&self) -> Backoff {
        Backoff { min: self.backoff_min, max: self.backoff_max }
    }
}

/// Settings of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// What an acknowledgement shall mean; `None` is the log's own level.
    pub durability: Option<Durability>,
    /// How long an open batch waits for company. Zero sends at once while nothing of the partition
    /// is in flight, and what gathers during a flight right after it.
    pub linger: Duration,
    /// Length from which a batch is full, in bytes.
    pub batch_bytes: usize,
    /// Records from which a batch is full.
    pub records_max: usize,
    /// How batches are compressed.
    pub codec: Codec,
    /// Batches of one partition that may be in flight, at most [`IN_FLIGHT_MAX`].
    pub in_flight: usize,
    /// Bytes of batches without outcome from which sending waits.
    pub buffer_bytes: usize,
    /// From the first record of a batch to its outcome, retries included.
    pub delivery_timeout: Duration,
    /// How the partition of a record is chosen.
    pub partitioner: Partitioner,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            durability: None,
            linger: LINGER_DEFAULT,
            batch_bytes: BATCH_BYTES_DEFAULT,
            records_max: RECORDS_PER_BATCH_MAX,
            codec: Codec::None,
            in_flight: IN_FLIGHT_MAX,
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            delivery_timeout: DELIVERY_TIMEOUT_DEFAULT,
            partitioner: Partitioner::KeyHash,
        }
    }
}

impl ProducerConfig {
    /// Whether every setting is in its range, and they agree.
    ///
    /// # Errors
    /// [`ClientError::Config`] with the first that is not.
    pub fn check(&self) -> Result<(), ClientError> {
        timeout("delivery_timeout", self.delivery_timeout)?;
        if self.linger > LINGER_MAX {
            return Err(ClientError::config("linger", format!("at most {LINGER_MAX:?}")));
        }
        range("batch_bytes", self.batch_bytes, 1..=BATCH_BYTES_MAX)?;
        range("records_max", self.records_max, 1..=RECORDS_PER_BATCH_MAX)?;
        range("in_flight", self.in_flight, 1..=IN_FLIGHT_MAX)?;
        // One batch fills while another is sent.
        range("buffer_bytes", self.buffer_bytes, self.batch_bytes * 2..=BUFFER_BYTES_MAX)
    }

    /// These settings for a log that keeps at most `memory_bytes_max` bytes of a partition in memory:
    /// its batches are smaller. A partition in memory takes a quarter of its budget in one append;
    /// half of that leaves room for headers.
    #[must_use]
    pub fn for_memory(self, memory_bytes_max: u64) -> Self {
        let most = usize::try_from(memory_bytes_max / 8).unwrap_or(usize::MAX);
        Self { batch_bytes: self.batch_bytes.min(most), ..self }
    }

    /// What batches are built like.
    #[must_use]
    pub fn builder(&self) -> BuilderConfig {
        BuilderConfig {
            codec: self.codec,
            batch_bytes_max: self.batch_bytes,
            records_max: self.records_max,
            ..BuilderConfig::default()
        }
    }

    /// What the machine (`crate::dispatch`) has to know.
    #[must_use]
    pub fn policy(&self, client: &ClientConfig) -> Policy {
        Policy {
            in_flight_max: self.in_flight,
            linger: self.linger,
            delivery_timeout: self.delivery_timeout,
            request_timeout: client.request_timeout,
            backoff: client.backoff(),
        }
    }
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// At the oldest record.
    #[default]
    Earliest,
    /// At the next record to come.
    Latest,
    /// At this offset.
    Offset(Offset),
    /// At the first batch that has a record created at or after this time, by the clocks of the
    /// producers; everything behind it follows, whenever it was created.
    Time(Timestamp),
}

impl From<StartFrom> for FetchFrom {
    fn from(from: StartFrom) -> Self {
        match from {
            StartFrom::Earliest => Self::Earliest,
            StartFrom::Latest => Self::Latest,
            StartFrom::Offset(offset) => Self::Offset(offset),
            StartFrom::Time(time) => Self::Time(time),
        }
    }
}

/// What a consumer does if its position lies outside what the partition has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOutOfRange {
    /// Tell: [`ClientError::OutOfRange`].
    #[default]
    Error,
    /// Go on at the oldest record.
    Earliest,
    /// Go on at the next record to come.
    Latest,
}

/// When a consumer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// Never: it waits for new records.
    #[default]
    Never,
    /// At the end that each partition had when it was first read.
    AtEnd,
}

/// What a consumer verifies against the checkpoints of the server: `docs/PROOFS.md`. The log has to have them
/// ([`crate::Integrity`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Checksums only, which find accidents.
    #[default]
    Off,
    /// Every batch, before it is handed out. Records that no checkpoint covers yet are held back until one does: with the
    /// server's defaults for half a second on average.
    Every,
    /// One batch of so many, chosen at random, after it was handed out: nothing is held back. A server that alters one
    /// batch is found with a chance of one in so many.
    Sampled(u32),
}

/// Settings of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Where to begin, in each partition.
    pub from: StartFrom,
    /// The partitions to read; empty for all.
    pub partitions: Vec<PartitionId>,
    /// Bytes that a fetch waits for, at most `wait`.
    pub bytes_min: u32,
    /// Bytes of a fetch at most, unless a single batch is larger. A consumer holds two fetches per
    /// partition and two more.
    pub bytes_max: u32,
    /// How long a fetch waits at the tail.
    pub wait: Duration,
    /// What to do at a position outside the partition.
    pub on_out_of_range: OnOutOfRange,
    /// When to end.
    pub stop: Stop,
    /// What to verify.
    pub verify: Verify,
    /// Public keys that may have signed the checkpoints, as `pyralog key` shows them. Without any, the first that is seen is
    /// believed from then on: that finds a change, and not a server that lies from the beginning.
    pub keys: Vec<PublicKey>,
    /// File in which the last checkpoints are kept, so that a log is refused that was rolled back or forked since the
    /// last run; it is made if it is not there. For one program at a time, out of the server's reach.
    pub trust_file: Option<PathBuf>,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            from: StartFrom::Earliest,
            partitions: Vec::new(),
            bytes_min: 1,
            bytes_max: FETCH_BYTES_DEFAULT,
            wait: FETCH_WAIT_DEFAULT,
            on_out_of_range: OnOutOfRange::Error,
            stop: Stop::Never,
            verify: Verify::Off,
            keys: Vec::new(),
            trust_file: None,
        }
    }
}

impl ConsumerConfig {
    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// [`ClientError::Config`] with the first that is not.
    pub fn check(&self) -> Result<(), ClientError> {
        range("bytes_max", self.bytes_max as usize, 1..=FETCH_BYTES_MAX as usize)?;
        range("bytes_min", self.bytes_min as usize, 0..=self.bytes_max as usize)?;
        let wait_max = Duration::from_millis(WAIT_MS_MAX.into());
        if self.wait > wait_max {
            return Err(ClientError::config("wait", format!("at most {wait_max:?}")));
        }
        if let Verify::Sampled(one_of) = self.verify {
            range("verify", one_of as usize, 1..=SAMPLED_ONE_OF_MAX as usize)?;
        }
        range("keys", self.keys.len(), 0..=KEYS_MAX)?;
        if self.verify == Verify::Off && (!self.keys.is_empty() || self.trust_file.is_some()) {
            let problem = "keys and a trust file are of use only if something is verified";
            return Err(ClientError::config("verify", problem));
        }
        let mut sorted = self.partitions.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                let problem = format!("partition {} is named twice", pair[0]);
                Err(ClientError::config("partitions", problem))
            }
            None => Ok(()),
        }
    }
}

/// Refuses a time that is none, or too long.
pub(crate) fn timeout(setting: &'static str, value: Duration) -> Result<(), ClientError> {
    if value.is_zero() || value > TIMEOUT_MAX {
        return Err(ClientError::config(setting, format!("above 0, at most {TIMEOUT_MAX:?}")));
    }
    Ok(())
}

/// Refuses a number that is not in its range.
pub(crate) fn range(
    setting: &'static str,
    value: usize,
    allowed: std::ops::RangeInclusive<usize>,
) -> Result<(), ClientError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let problem = format!("{value} is not from {} to {}", allowed.start(), allowed.end());
    Err(ClientError::config(setting, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The setting that a check complains about.
    fn complaint(checked: Result<(), ClientError>) -> &'static str {
        match checked {
            Ok(()) => "",
            Err(ClientError::Config { setting, .. }) => setting,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn defaults_are_in_range() {
        assert_eq!(complaint(ClientConfig::default().check()), "");
        assert_eq!(complaint(ProducerConfig::default().check()), "");
        assert_eq!(complaint(ConsumerConfig::default().check()), "");
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let client = ClientConfig::default();
        let zero = ClientConfig { request_timeout: Duration::ZERO, ..client.clone() };
        assert_eq!(complaint(zero.check()), "request_timeout");
        let crossed = ClientConfig { backoff_min: Duration::from_secs(9), ..client };
        assert_eq!(complaint(crossed.check()), "backoff_min");

        let producer = ProducerConfig::default();
        let nine = ProducerConfig { in_flight: 9, ..producer.clone() };
        assert_eq!(complaint(nine.check()), "in_flight");
        let tight = ProducerConfig { buffer_bytes: 1 << 20, ..producer.clone() };
        assert_eq!(complaint(tight.check()), "buffer_bytes");
        let endless = ProducerConfig { delivery_timeout: Duration::MAX, ..producer };
        assert_eq!(complaint(endless.check()), "delivery_timeout");

        let consumer = ConsumerConfig::default();
        let crossed = ConsumerConfig { bytes_min: 2, bytes_max: 1, ..consumer.clone() };
        assert_eq!(complaint(crossed.check()), "bytes_min");
        let twice = vec![PartitionId::new(1), PartitionId::ZERO, PartitionId::new(1)];
        let twice = ConsumerConfig { partitions: twice, ..consumer.clone() };
        assert_eq!(complaint(twice.check()), "partitions");
        let rarely = ConsumerConfig { verify: Verify::Sampled(0), ..consumer.clone() };
        assert_eq!(complaint(rarely.check()), "verify");
        let idle = ConsumerConfig { trust_file: Some("trust".into()), ..consumer };
        assert_eq!(complaint(idle.check()), "verify");
    }
}
