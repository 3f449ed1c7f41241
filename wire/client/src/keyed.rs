//! Reading the newest record with a key: one request to the shard that owns the key's partition, and a judgement of its
//! answer that believes nothing.

use fastrand::Rng;
use pyralog_log::batch::{ArrowRows, BatchError, Buffer, Decoder, Flags, Item, Items};
use pyralog_log::ids::{Offset, PartitionId, Timestamp};
use pyralog_wire::message::{FetchKey, KeyFetched, LogRoute, Reply, Response};
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply, Retry};
use tokio::sync::oneshot;

use crate::client::{Client, partition_of};
use crate::directory::{ClusterId, LogIdentity, Target};
use crate::error::ClientError;
use crate::exchange::Answered;
use crate::fetched::{FetchedBatch, FetchedRecord};
use crate::limits::RETRY_AFTER_MAX;
use crate::link::{Link, Outgoing, ReplyTo};
use crate::partitioner::partition_of_key;
use crate::producer::entropy;

/// The newest record with a key. It holds a share of the buffer that its batch was received into.
#[derive(Clone, Debug)]
pub struct LatestRecord {
    /// Begins with the record.
    batch: FetchedBatch,
}

impl LatestRecord {
    /// The record. One without a value says that the key has none any more.
    ///
    /// # Panics
    /// Never: it was found.
    #[must_use]
    pub fn record(&self) -> FetchedRecord<'_> {
        self.batch.records().next().expect("the record was found in the batch")
    }

    /// Its partition.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        self.batch.partition()
    }

    /// When the owner of the partition took it.
    #[must_use]
    pub const fn append_time(&self) -> Timestamp {
        self.batch.append_time()
    }

    /// The answer holds for the records of the partition before this offset.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.batch.high_watermark()
    }
}

impl Client {
    /// The newest record of a log with this key, or `None`, among those that readers see. The log has to index its keys
    /// (`key_index`), and its producers to choose partitions by key ([`crate::Partitioner::KeyHash`]). Asks for the route
    /// first: for many keys, use [`Client::keys`].
    ///
    /// # Errors
    /// As [`Client::keys`] and [`KeyReader::latest`].
    pub async fn latest(&self, log: &str, key: &[u8]) -> Result<Option<LatestRecord>, ClientError> {
        self.keys(log).await?.latest(key).await
    }

    /// Reads a log by key.
    ///
    /// # Errors
    /// [`ClientError::UnknownLog`], or what any call can meet.
    pub async fn keys(&self, log: &str) -> Result<KeyReader, ClientError> {
        let (cluster, route) = self.route(log).await?;
        let identity = LogIdentity { cluster, log: route.id };
        let client = self.clone();
        Ok(KeyReader {
            client,
            identity,
            route,
            decoder: Decoder::new(),
            rng: Rng::with_seed(entropy()),
        })
    }
}

/// Reads one log by key. It is made for that log: when another one has its name, it ends.
pub struct KeyReader {
    client: Client,
    identity: LogIdentity,
    route: LogRoute,
    decoder: Decoder,
    rng: Rng,
}

impl std::fmt::Debug for KeyReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyReader").field("log", &self.route.name).finish_non_exhaustive()
    }
}

/// What to do after an answer.
#[derive(Debug)]
enum Judged {
    Found(Option<Box<LatestRecord>>),
    /// It arrived damaged.
    Corrupt {
        offset: Offset,
        source: BatchError,
    },
    /// Ask for the route, then again.
    Reroute,
    /// Ask again, not before this.
    Later(std::time::Duration),
    Failed(ClientError),
}

impl KeyReader {
    /// The newest record with this key, in the partition that [`crate::partition_of_key`] says.
    ///
    /// Everything is checked here: the checksums of the batch, that the record has the key, and that no record behind it in
    /// the batch has it.
    ///
    /// # Errors
    /// [`ClientError::Server`] with [`ErrorCode::KeysNotIndexed`]; [`ClientError::Damaged`] if the server's copy is;
    /// [`ClientError::Corrupt`] if the batch arrived damaged twice; [`ClientError::LogReplaced`] and
    /// [`ClientError::UnknownLog`]; [`ClientError::Timeout`]. What may pass is tried again for the client's
    /// `request_timeout`.
    pub async fn latest(&mut self, key: &[u8]) -> Result<Option<LatestRecord>, ClientError> {
        let partitions = u32::try_from(self.route.shards.len()).unwrap_or(u32::MAX);
        if partitions == 0 {
            return Err(ClientError::Unexpected { expected: "a log with partitions" });
        }
        self.latest_in(partition_of_key(key, partitions), key).await
    }

    /// The newest record with this key in this partition, for producers that choose it themselves.
    ///
    /// # Errors
    /// As [`KeyReader::latest`], and [`ClientError::Partition`].
    pub async fn latest_in(
        &mut self,
        partition: PartitionId,
        key: &[u8],
    ) -> Result<Option<LatestRecord>, ClientError> {
        partition_of(&self.route, partition)?;
        let after = self.client.config().request_timeout;
        let mut asked = None;
        match tokio::time::timeout(after, self.seek(partition, key, &mut asked)).await {
            Ok(found) => found,
            Err(_elapsed) => {
                // Nobody may be at the other end any more: the next request gets another connection.
                if let Some(link) = asked {
                    link.reset();
                }
                Err(ClientError::Timeout { operation: "FetchKey", after })
            }
        }
    }

    /// Asks until there is an answer. `asked` is the connection that owes one.
    async fn seek(
        &mut self,
        partition: PartitionId,
        key: &[u8],
        asked: &mut Option<Link>,
    ) -> Result<Option<LatestRecord>, ClientError> {
        let (backoff, mut failures, mut corrupt) = (self.client.config().backoff(), 0, false);
        loop {
            let judged = match self.ask(partition, key, asked).await {
                Ok(answered) => judge((partition, key), answered, &mut self.decoder),
                Err(error @ (ClientError::LogReplaced { .. } | ClientError::Closed)) => {
                    Judged::Failed(error)
                }
                Err(error) => {
                    tracing::debug!(log = self.route.name, %partition, %error, "no answer");
                    Judged::Reroute
                }
            };
            *asked = None;
            failures += 1;
            let mut delay = backoff.delay(failures, &mut self.rng);
            match judged {
                Judged::Found(found) => return Ok(found.map(|found| *found)),
                Judged::Failed(error) => return Err(error),
                Judged::Corrupt { offset, source } if corrupt => {
                    let next = offset.checked_add(1).unwrap_or(offset);
                    let offsets = offset..next;
                    return Err(ClientError::Corrupt { partition, offsets, source });
                }
                Judged::Corrupt { .. } => corrupt = true,
                Judged::Later(after) => delay = delay.max(after),
                Judged::Reroute => {
                    tokio::time::sleep(delay).await;
                    self.reroute().await?;
                    continue;
                }
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn ask(
        &self,
        partition: PartitionId,
        key: &[u8],
        asked: &mut Option<Link>,
    ) -> Result<Answered, ClientError> {
        let shard = self.route.shards.get(partition.get() as usize).copied().unwrap_or(0);
        let known = (self.identity.cluster, self.route.name.as_str());
        let link = self.client.hub().link_to(Target::Shard(shard), known).await?;
        let link = asked.insert(link);
        let request = FetchKey { log: self.identity.log, partition, key: key.to_vec() };
        let (reply, answer) = oneshot::channel();
        let reply_to = ReplyTo::One(reply);
        link.send(Outgoing { request: request.into(), payload: None, reply_to });
        answer.await.map_err(|_dropped| ClientError::Closed)?.map_err(ClientError::from)
    }

    /// Asks which shard owns the partitions.
    async fn reroute(&mut self) -> Result<(), ClientError> {
        match self.client.route(&self.route.name).await {
            Ok((cluster, route)) if self.is(cluster, &route) => {
                self.route = route;
                Ok(())
            }
            Ok(_) => Err(ClientError::LogReplaced { name: self.route.name.clone() }),
            Err(error @ ClientError::UnknownLog { .. }) => Err(error),
            // The next request will fail too, and the delay grow.
            Err(_) => Ok(()),
        }
    }

    fn is(&self, cluster: ClusterId, route: &LogRoute) -> bool {
        let same = self.identity == LogIdentity { cluster, log: route.id };
        same && route.shards.len() == self.route.shards.len()
    }
}

/// What an answer means.
fn judge(
    (partition, key): (PartitionId, &[u8]),
    Answered { reply, payload }: Answered,
    decoder: &mut Decoder,
) -> Judged {
    match reply {
        Reply::Done(Response::FetchKey(fetched)) => {
            let payload = payload.unwrap_or_default();
            found((partition, key), (&fetched, &payload), decoder)
        }
        Reply::Done(_) => Judged::Failed(ClientError::Unexpected { expected: "a record" }),
        Reply::Refused(reply) => refused(partition, reply),
    }
}

fn refused(partition: PartitionId, reply: ErrorReply) -> Judged {
    match (reply.detail, reply.retry) {
        (ErrorDetail::DataDamaged { first, next }, _) => {
            Judged::Failed(ClientError::Damaged { partition, offsets: first..next })
        }
        (ErrorDetail::RetryAfter { ms }, _) => {
            Judged::Later(std::time::Duration::from_millis(ms).min(RETRY_AFTER_MAX))
        }
        (_, Retry::AfterDelay | Retry::Same) => Judged::Later(std::time::Duration::ZERO),
        (_, Retry::AfterRefresh) if !reply.is(ErrorCode::WrongRole) => Judged::Reroute,
        _ => Judged::Failed(ClientError::Server(reply)),
    }
}

/// Finds the record in the batch, and that there is no newer one in it.
fn found(
    (partition, key): (PartitionId, &[u8]),
    (fetched, payload): (&KeyFetched, &Buffer),
    decoder: &mut Decoder,
) -> Judged {
    let wrong =
        || Judged::Failed(ClientError::Unexpected { expected: "the newest record with the key" });
    if !fetched.found {
        return if payload.is_empty() { Judged::Found(None) } else { wrong() };
    }
    if !(fetched.low..fetched.high).contains(&fetched.offset) {
        return wrong();
    }
    let batch = match only_batch(partition, (fetched, payload), decoder) {
        Ok(Some(batch)) => batch,
        Ok(None) => return wrong(),
        Err(source) => return Judged::Corrupt { offset: fetched.offset, source },
    };
    let mut records = batch.records();
    let first = records.next().is_some_and(|record| record.key == Some(key));
    // Those behind it are in the same batch, and so is their end: committed with it.
    if !first || records.any(|record| record.key == Some(key)) {
        return wrong();
    }
    drop(records);
    Judged::Found(Some(Box::new(LatestRecord { batch })))
}

/// The one batch of the payload, from the record on; `None` if it does not have the record, is the log's own, or if there
/// are more or none.
fn only_batch(
    partition: PartitionId,
    (fetched, payload): (&KeyFetched, &Buffer),
    decoder: &mut Decoder,
) -> Result<Option<FetchedBatch>, BatchError> {
    let mut only = None;
    let mut items = Items::new(payload);
    loop {
        let position = items.position();
        let batch = match items.next() {
            None => return Ok(only),
            Some(Ok(Item::Mark(_))) => continue,
            Some(Ok(Item::Batch(batch))) => batch,
            Some(Err(error)) => return Err(error),
        };
        let bytes = payload.slice_with_length(position, batch.bytes().len());
        let header = *batch.verify()?.header();
        let offsets = header.owner.base_offset..header.next_offset();
        let theirs = header.flags.contains(Flags::CONTROL);
        if only.is_some() || theirs || !offsets.contains(&fetched.offset) {
            return Ok(None);
        }
        let rows = ArrowRows::open(&bytes, decoder)?;
        let batch = FetchedBatch::new((partition, fetched.offset), rows, fetched.high);
        // Compaction may have taken the record between the lookup and the read.
        if batch.rows().at(fetched.offset).is_none() {
            return Ok(None);
        }
        only = Some(batch);
    }
}

#[cfg(test)]
mod tests;
