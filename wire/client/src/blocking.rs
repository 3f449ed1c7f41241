//! The client for programs without an async runtime: the same machine and the same tasks, on one
//! background thread of its own.
//!
//! Every method does what the async one of the same name does and waits for it. None may be called
//! on a thread of a Tokio runtime, which it would block: they return [`ClientError::InsideRuntime`]
//! there. The background thread lives as long as the client or anything made from it; when the last
//! is dropped, what is in flight is abandoned. So [`Producer::close`] or [`Producer::flush`] first.

mod sequences;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use pyralog_wire::message::{LogDescription, LogRoute, NodeStats, OffsetFound, Scrubbed};
use pyralog_wire::{LogChanges, LogConfig};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::config::{ClientConfig, ConsumerConfig, ProducerConfig, StartFrom};
use crate::directory::ClusterId;
use crate::error::ClientError;
use crate::record::Record;
use crate::{FetchedBatch, LatestRecord, ProducerStats, RecordMetadata, ServerInfo, Stored};

pub use sequences::{Counter, IdSource};

/// The background thread.
#[derive(Debug)]
struct Engine {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Engine {
    fn start() -> Result<Arc<Self>, ClientError> {
        outside()?;
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("pyralog-client").enable_io().enable_time();
        let runtime = builder.build().map_err(|source| ClientError::Connect {
            address: "the background thread".to_owned(),
            source: Arc::new(source),
        })?;
        Ok(Arc::new(Self { runtime: Some(runtime) }))
    }

    /// Waits for `work`, on this thread.
    fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        outside()?;
        self.runtime.as_ref().ok_or(ClientError::Closed)?.block_on(work)
    }
}

impl Drop for Engine {
    /// Without waiting: the last handle may be dropped on a thread that must not block.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Refuses to block a thread of a runtime.
fn outside() -> Result<(), ClientError> {
    if Handle::try_current().is_ok() { Err(ClientError::InsideRuntime) } else { Ok(()) }
}

/// See [`crate::Client`].
#[derive(Clone, Debug)]
pub struct Client {
    inner: crate::Client,
    engine: Arc<Engine>,
}

impl Client {
    /// See [`crate::Client::connect`].
    ///
    /// # Errors
    /// As there, and [`ClientError::InsideRuntime`], as for every method here.
    pub fn connect<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        config: ClientConfig,
    ) -> Result<Self, ClientError> {
        let engine = Engine::start()?;
        let inner = engine.wait(crate::Client::connect(addresses, config))?;
        Ok(Self { inner, engine })
    }

    /// See [`crate::Client::server`].
    #[must_use]
    pub fn server(&self) -> ServerInfo {
        self.inner.server()
    }

    /// See [`crate::Client::now`].
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.now()
    }

    /// See [`crate::Client::create_log`].
    ///
    /// # Errors
    /// As there.
    pub fn create_log(&self, log: &str, config: LogConfig) -> Result<LogDescription, ClientError> {
        self.engine.wait(self.inner.create_log(log, config))
    }

    /// See [`crate::Client::describe_log`].
    ///
    /// # Errors
    /// As there.
    pub fn describe_log(&self, log: &str) -> Result<LogDescription, ClientError> {
        self.engine.wait(self.inner.describe_log(log))
    }

    /// See [`crate::Client::list_logs`].
    ///
    /// # Errors
    /// As there.
    pub fn list_logs(&self, prefix: &str) -> Result<Vec<LogDescription>, ClientError> {
        self.engine.wait(self.inner.list_logs(prefix))
    }

    /// See [`crate::Client::alter_log`].
    ///
    /// # Errors
    /// As there.
    pub fn alter_log(&self, log: &str, changes: LogChanges) -> Result<LogDescription, ClientError> {
        self.engine.wait(self.inner.alter_log(log, changes))
    }

    /// See [`crate::Client::delete_log`].
    ///
    /// # Errors
    /// As there.
    pub fn delete_log(&self, log: &str) -> Result<LogId, ClientError> {
        self.engine.wait(self.inner.delete_log(log))
    }

    /// See [`crate::Client::stats`].
    ///
    /// # Errors
    /// As there.
    pub fn stats(&self) -> Result<NodeStats, ClientError> {
        self.engine.wait(self.inner.stats())
    }

    /// See [`crate::Client::ping`].
    ///
    /// # Errors
    /// As there.
    pub fn ping(&self) -> Result<Duration, ClientError> {
        self.engine.wait(self.inner.ping())
    }

    /// See [`crate::Client::metadata`].
    ///
    /// # Errors
    /// As there.
    pub fn metadata(&self, log: &str) -> Result<LogRoute, ClientError> {
        self.engine.wait(self.inner.metadata(log))
    }

    /// See [`crate::Client::find_offset`].
    ///
    /// # Errors
    /// As there.
    pub fn find_offset(
        &self,
        log: &str,
        partition: PartitionId,
        at: StartFrom,
    ) -> Result<OffsetFound, ClientError> {
        self.engine.wait(self.inner.find_offset(log, partition, at))
    }

    /// See [`crate::Client::truncate_before`].
    ///
    /// # Errors
    /// As there.
    pub fn truncate_before(
        &self,
        log: &str,
        partition: PartitionId,
        before: Offset,
    ) -> Result<Offset, ClientError> {
        self.engine.wait(self.inner.truncate_before(log, partition, before))
    }

    /// See [`crate::Client::scrub`].
    ///
    /// # Errors
    /// As there.
    pub fn scrub(&self, log: &str, partition: PartitionId) -> Result<Scrubbed, ClientError> {
        self.engine.wait(self.inner.scrub(log, partition))
    }

    /// See [`crate::Client::latest`].
    ///
    /// # Errors
    /// As there.
    pub fn latest(&self, log: &str, key: &[u8]) -> Result<Option<LatestRecord>, ClientError> {
        self.engine.wait(self.inner.latest(log, key))
    }

    /// See [`crate::Client::keys`].
    ///
    /// # Errors
    /// As there.
    pub fn keys(&self, log: &str) -> Result<KeyReader, ClientError> {
        let inner = self.engine.wait(self.inner.keys(log))?;
        Ok(KeyReader { inner, engine: Arc::clone(&self.engine) })
    }

    /// See [`crate::Client::stored`].
    ///
    /// # Errors
    /// As there.
    pub fn stored(
        &self,
        log: &str,
        partition: PartitionId,
        from: Offset,
    ) -> Result<StoredReader, ClientError> {
        let inner = self.engine.wait(self.inner.stored(log, partition, from))?;
        Ok(StoredReader { inner, engine: Arc::clone(&self.engine) })
    }

    /// See [`crate::Client::producer`].
    ///
    /// # Errors
    /// As there.
    pub fn producer(&self, log: &str, config: ProducerConfig) -> Result<Producer, ClientError> {
        let inner = self.engine.wait(self.inner.producer(log, config))?;
        Ok(Producer { inner, engine: Arc::clone(&self.engine) })
    }

    /// See [`crate::Client::consumer`].
    ///
    /// # Errors
    /// As there.
    pub fn consumer(&self, log: &str, config: ConsumerConfig) -> Result<Consumer, ClientError> {
        let inner = self.engine.wait(self.inner.consumer(log, config))?;
        Ok(Consumer { inner, engine: Arc::clone(&self.engine) })
    }
}

/// See [`crate::KeyReader`].
#[derive(Debug)]
pub struct KeyReader {
    inner: crate::KeyReader,
    engine: Arc<Engine>,
}

impl KeyReader {
    /// See [`crate::KeyReader::latest`].
    ///
    /// # Errors
    /// As there.
    pub fn latest(&mut self, key: &[u8]) -> Result<Option<LatestRecord>, ClientError> {
        self.engine.wait(self.inner.latest(key))
    }

    /// See [`crate::KeyReader::latest_in`].
    ///
    /// # Errors
    /// As there.
    pub fn latest_in(
        &mut self,
        partition: PartitionId,
        key: &[u8],
    ) -> Result<Option<LatestRecord>, ClientError> {
        self.engine.wait(self.inner.latest_in(partition, key))
    }
}

/// See [`crate::Producer`]. Batches go out by the background thread while this one fills others.
#[derive(Debug)]
pub struct Producer {
    inner: crate::Producer,
    engine: Arc<Engine>,
}

impl Producer {
    /// See [`crate::Producer::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&mut self, record: Record<'_>) -> Result<Delivery, ClientError> {
        loop {
            match self.inner.try_send(record) {
                Ok(inner) => return Ok(Delivery { inner, engine: Arc::clone(&self.engine) }),
                Err(ClientError::BufferFull) => self.engine.wait(self.inner.room())?,
                Err(error) => return Err(error),
            }
        }
    }

    /// See [`crate::Producer::send_detached`].
    ///
    /// # Errors
    /// As there.
    pub fn send_detached(&mut self, record: Record<'_>) -> Result<(), ClientError> {
        loop {
            match self.inner.try_send_detached(record) {
                Err(ClientError::BufferFull) => self.engine.wait(self.inner.room())?,
                outcome => return outcome,
            }
        }
    }

    /// See [`crate::Producer::try_send_detached`]: never waits.
    ///
    /// # Errors
    /// As there.
    pub fn try_send_detached(&mut self, record: Record<'_>) -> Result<(), ClientError> {
        self.inner.try_send_detached(record)
    }

    /// See [`crate::Producer::send_all`].
    ///
    /// # Errors
    /// As there.
    pub fn send_all<'r>(
        &mut self,
        records: impl IntoIterator<Item = Record<'r>>,
    ) -> Result<(), ClientError> {
        records.into_iter().try_for_each(|record| self.send_detached(record))
    }

    /// See [`crate::Producer::flush`].
    ///
    /// # Errors
    /// As there.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.engine.wait(self.inner.flush())
    }

    /// See [`crate::Producer::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(mut self) -> Result<(), ClientError> {
        self.flush()
    }

    /// See [`crate::Producer::log`].
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.inner.log()
    }

    /// See [`crate::Producer::partitions`].
    #[must_use]
    pub const fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    /// See [`crate::Producer::stats`].
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        self.inner.stats()
    }
}

/// See [`crate::Delivery`].
#[derive(Debug)]
#[must_use = "the outcome of the record is known only here and to `flush`"]
pub struct Delivery {
    inner: crate::Delivery,
    engine: Arc<Engine>,
}

impl Delivery {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// Why the record was not delivered.
    pub fn wait(self) -> Result<RecordMetadata, ClientError> {
        match self.inner.outcome() {
            Some(outcome) => outcome,
            None => self.engine.wait(self.inner),
        }
    }

    /// See [`crate::Delivery::outcome`].
    #[must_use]
    pub fn outcome(&self) -> Option<Result<RecordMetadata, ClientError>> {
        self.inner.outcome()
    }
}

/// See [`crate::StoredReader`].
#[derive(Debug)]
pub struct StoredReader {
    inner: crate::StoredReader,
    engine: Arc<Engine>,
}

impl StoredReader {
    /// See [`crate::StoredReader::log`].
    #[must_use]
    pub const fn log(&self) -> (ClusterId, LogId) {
        self.inner.log()
    }

    /// See [`crate::StoredReader::next`].
    ///
    /// # Errors
    /// As there.
    #[expect(clippy::should_implement_trait, reason = "the async reader has the same name")]
    pub fn next(&mut self) -> Result<Stored, ClientError> {
        self.engine.wait(self.inner.next())
    }

    /// See [`crate::StoredReader::seek`].
    pub fn seek(&mut self, to: Offset) {
        self.inner.seek(to);
    }

    /// See [`crate::StoredReader::position`].
    #[must_use]
    pub fn position(&self) -> Offset {
        self.inner.position()
    }
}

/// See [`crate::Consumer`].
#[derive(Debug)]
pub struct Consumer {
    inner: crate::Consumer,
    engine: Arc<Engine>,
}

impl Consumer {
    /// See [`crate::Consumer::next`]. Waits for as long as it takes.
    ///
    /// # Errors
    /// As there.
    #[expect(clippy::should_implement_trait, reason = "the async consumer has the same name")]
    pub fn next(&mut self) -> Result<Option<FetchedBatch>, ClientError> {
        self.engine.wait(self.inner.next())
    }

    /// See [`crate::Consumer::next`]. Waits no longer than `after`; nothing is lost then.
    ///
    /// # Errors
    /// As there, and [`ClientError::Timeout`].
    pub fn next_timeout(&mut self, after: Duration) -> Result<Option<FetchedBatch>, ClientError> {
        let next = self.inner.next();
        self.engine.wait(async {
            let timeout = ClientError::Timeout { operation: "next", after };
            tokio::time::timeout(after, next).await.map_err(|_elapsed| timeout)?
        })
    }

    /// See [`crate::Consumer::positions`].
    #[must_use]
    pub fn positions(&self) -> Vec<(PartitionId, Offset)> {
        self.inner.positions()
    }

    /// See [`crate::Consumer::seek`].
    ///
    /// # Errors
    /// As there.
    pub fn seek(&mut self, partition: PartitionId, to: StartFrom) -> Result<(), ClientError> {
        self.engine.wait(self.inner.seek(partition, to))
    }

    /// See [`crate::Consumer::skip`].
    ///
    /// # Errors
    /// As there.
    pub fn skip(&mut self, failure: &ClientError) -> Result<(), ClientError> {
        self.engine.wait(self.inner.skip(failure))
    }
}
