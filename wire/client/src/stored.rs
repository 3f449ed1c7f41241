//! Reading the batches of one partition as they are stored: for whoever keeps them, and not for what is in them.
//!
//! A consumer opens every batch and hands out records. A backup, a mirror or an auditor wants the bytes, those of the log's own
//! batches too, and wants to hear of everything that is not there. So this is the machine of a consumer's position
//! ([`cursor`](crate::cursor)) with the checksums of batches, and without rows. One fetch is under way at a time: the memory
//! that it takes is one answer.

use fastrand::Rng;
use pyralog_log::batch::{BatchError, Buffer, Item, Items};
use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_wire::message::{Fetch, Fetched, LogRoute, Reply, Response};
use tokio::sync::oneshot;

use crate::client::{Client, partition_of};
use crate::config::{OnOutOfRange, StartFrom, Stop};
use crate::cursor::{Cursor, Next};
use crate::directory::{ClusterId, LogIdentity, Target};
use crate::error::ClientError;
use crate::exchange::Answered;
use crate::limits::STORED_BYTES;
use crate::link::{Outgoing, ReplyTo};
use crate::producer::entropy;

/// What a read of a [`StoredReader`] came to.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Batches, each sound, in order.
    Batches(StoredBatches),
    /// There is nothing (more) at the position: it is the high watermark.
    End,
    /// The position is not in the partition: what was there has been deleted, or never was there.
    OutOfRange {
        /// Oldest offset.
        low: Offset,
        /// Offset after the last committed record.
        high: Offset,
    },
    /// The server cannot read these records. The position stays: seek behind them.
    Damaged {
        /// The first of them.
        first: Offset,
        /// The offset after the last.
        next: Offset,
    },
}

/// Batches as they are stored.
#[derive(Clone, Debug)]
pub struct StoredBatches {
    /// A stream of sealed batches and commit marks.
    pub bytes: Buffer,
    /// Oldest offset of the partition when they were read.
    pub low: Offset,
    /// Offset after the last committed record then.
    pub high: Offset,
}

/// Reads one partition of one log. It is made for that log: when another one has its name, it ends.
#[derive(Debug)]
pub struct StoredReader {
    client: Client,
    identity: LogIdentity,
    route: LogRoute,
    partition: PartitionId,
    cursor: Cursor,
    rng: Rng,
    /// The last answer arrived damaged. Twice is a failure.
    corrupt: bool,
}

impl Client {
    /// Reads a partition of a log from an offset on, batch by batch as they are stored. The first batch may begin before the
    /// offset: it is the one that holds it.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], [`ClientError::Partition`], or what any call can meet.
    pub async fn stored(
        &self,
        log: &str,
        partition: PartitionId,
        from: Offset,
    ) -> Result<StoredReader, ClientError> {
        let (cluster, route) = self.route(log).await?;
        partition_of(&route, partition)?;
        let backoff = self.config().backoff();
        let at = StartFrom::Offset(from);
        Ok(StoredReader {
            client: self.clone(),
            identity: LogIdentity { cluster, log: route.id },
            route,
            partition,
            cursor: Cursor::new(at, Stop::Never, OnOutOfRange::Error, backoff),
            rng: Rng::with_seed(entropy()),
            corrupt: false,
        })
    }
}

impl StoredReader {
    /// The cluster that the log is of, and its id there.
    #[must_use]
    pub const fn log(&self) -> (ClusterId, LogId) {
        (self.identity.cluster, self.identity.log)
    }

    /// Where the next read begins.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.cursor.offset().unwrap_or_default()
    }

    /// Goes to another position.
    pub fn seek(&mut self, to: Offset) {
        self.corrupt = false;
        self.cursor.seek(StartFrom::Offset(to));
    }

    /// The next batches, as many as fit [`STORED_BYTES`]; at least one. Does not wait for records to come.
    /// Dropped midway, nothing is lost: the position moves with the answer.
    ///
    /// # Errors
    /// [`ClientError::Corrupt`] if they arrived damaged twice; [`ClientError::LogReplaced`] and [`ClientError::UnknownLog`];
    /// [`ClientError::Server`]; [`ClientError::Timeout`]. What may pass is tried again for the client's `request_timeout`.
    pub async fn next(&mut self) -> Result<Stored, ClientError> {
        let after = self.client.config().request_timeout;
        match tokio::time::timeout(after, self.read()).await {
            Ok(stored) => stored,
            Err(_elapsed) => Err(ClientError::Timeout { operation: "Fetch", after }),
        }
    }

    async fn read(&mut self) -> Result<Stored, ClientError> {
        loop {
            let next = match self.ask().await {
                Ok(Answered { reply: Reply::Done(Response::Fetch(fetched)), payload }) => {
                    match self.answered(&fetched, payload.unwrap_or_default())? {
                        Some(stored) => return Ok(stored),
                        None => self.cursor.failed(&mut self.rng),
                    }
                }
                Ok(Answered { reply: Reply::Refused(reply), .. }) => {
                    self.cursor.refused(reply, &mut self.rng)
                }
                Ok(_) => return Err(ClientError::Unexpected { expected: "batches" }),
                Err(error @ (ClientError::LogReplaced { .. } | ClientError::Closed)) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(log = self.route.name, partition = %self.partition, %error, "no answer");
                    self.cursor.failed(&mut self.rng)
                }
            };
            match next {
                Next::Retry(delay) => tokio::time::sleep(delay).await,
                Next::Reroute(delay) => {
                    tokio::time::sleep(delay).await;
                    self.reroute().await?;
                }
                Next::OutOfRange { low, high } => return Ok(Stored::OutOfRange { low, high }),
                Next::Damaged { first, next } => return Ok(Stored::Damaged { first, next }),
                Next::Refused(reply) => return Err(ClientError::Server(reply)),
                Next::Go | Next::Finish | Next::Corrupt { .. } | Next::Nonsense => {
                    return Err(ClientError::Unexpected { expected: "later batches" });
                }
            }
        }
    }

    async fn ask(&self) -> Result<Answered, ClientError> {
        let shard = self.route.shards.get(self.partition.get() as usize).copied().unwrap_or(0);
        let known = (self.identity.cluster, self.route.name.as_str());
        let link = self.client.hub().link_to(Target::Shard(shard), known).await?;
        let request = Fetch {
            log: self.identity.log,
            partition: self.partition,
            from: self.cursor.from(),
            bytes_min: 0,
            bytes_max: STORED_BYTES,
            wait_ms: 0,
        };
        let (reply, answer) = oneshot::channel();
        let reply_to = ReplyTo::One(reply);
        link.send(Outgoing { request: request.into(), payload: None, reply_to });
        answer.await.map_err(|_dropped| ClientError::Closed)?.map_err(ClientError::from)
    }

    /// What an answer brings; `None` if it arrived damaged for the first time.
    fn answered(
        &mut self,
        fetched: &Fetched,
        bytes: Buffer,
    ) -> Result<Option<Stored>, ClientError> {
        if let Err(source) = check(&bytes) {
            if std::mem::replace(&mut self.corrupt, true) {
                let offsets = fetched.first_offset..fetched.next_offset;
                let partition = self.partition;
                return Err(ClientError::Corrupt { partition, offsets, source });
            }
            return Ok(None);
        }
        self.corrupt = false;
        let before = self.position();
        if self.cursor.fetched(fetched) == Next::Nonsense {
            return Err(ClientError::Unexpected { expected: "later batches" });
        }
        let Fetched { low, high, .. } = *fetched;
        if self.position() == before {
            return Ok(Some(Stored::End));
        }
        Ok(Some(Stored::Batches(StoredBatches { bytes, low, high })))
    }

    /// Asks which shard owns the partition.
    async fn reroute(&mut self) -> Result<(), ClientError> {
        match self.client.route(&self.route.name).await {
            Ok((cluster, route)) if self.identity == LogIdentity { cluster, log: route.id } => {
                self.route = route;
                Ok(())
            }
            Ok(_) => Err(ClientError::LogReplaced { name: self.route.name.clone() }),
            Err(error @ ClientError::UnknownLog { .. }) => Err(error),
            // The next request will fail too, and the delay grow.
            Err(_) => Ok(()),
        }
    }
}

/// Checks every batch of a payload.
fn check(bytes: &Buffer) -> Result<(), BatchError> {
    for item in Items::new(bytes) {
        if let Item::Batch(batch) = item? {
            batch.verify()?;
        }
    }
    Ok(())
}
