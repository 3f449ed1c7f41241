//! The producer: fills batches. What becomes of them is its task's business (`driver`).
//!
//! Cost of a record: its partition, one copy of its bytes into the columns of the open batch, some
//! 30 ns to take the batch and put it back, one relaxed load for the budget. No allocation, no
//! message. Cost of a batch: two messages to the task, and a yield so that the task gets to run on
//! a runtime of one thread.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use fastrand::Rng;
use pyralog_log::batch::{PushError, Record as Row, RowsBuilder};
use pyralog_log::ids::{LogId, PartitionId};
use pyralog_wire::message::LogRoute;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::client::{Client, Clock};
use crate::config::ProducerConfig;
use crate::delivery::{Delivery, Promise};
use crate::directory::ClusterId;
use crate::dispatch::{Dispatcher, Ordinal};
use crate::driver::{self, Handoff};
use crate::error::ClientError;
use crate::ledger::{Ledger, ProducerStats};
use crate::limits::SPARE_BUILDERS_MAX;
use crate::partitioner::{Partitioner, partition_of_key};
use crate::record::Record;
use crate::slot::{Open, Slot};

/// Messages that one record may cause: two full batches (of its partition, and of the one it moves
/// on to), the beginning of the next one, and its end if the task is in a hurry.
const HANDOFFS_PER_RECORD: usize = 4;

/// What a producer shares with its task.
pub(crate) struct Workshop {
    /// The open batches, by partition.
    pub(crate) slots: Vec<Slot>,
    /// Emptied builders for use again.
    pub(crate) spares: ArrayQueue<Box<Open>>,
    /// Budget and counters.
    pub(crate) ledger: Ledger,
    /// The beginning of the machine's time.
    pub(crate) began: Instant,
    pub(crate) config: ProducerConfig,
}

impl Workshop {
    /// The time of the machine.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Sends records to one log: each exactly once, in order per partition.
///
/// Every record gets exactly one outcome: by its [`Delivery`], and by [`Producer::flush`] for all.
/// Batches go out by themselves; `flush` waits for them. A producer that is
/// dropped without a flush goes on delivering in the background as long as its runtime lives, and
/// logs a warning: nobody learns then what failed.
///
/// One producer has one owner. For more, make more: they share connections.
pub struct Producer {
    route: LogRoute,
    partitions: u32,
    workshop: Arc<Workshop>,
    handoff: mpsc::Sender<Handoff>,
    clock: Clock,
    /// The next ordinal of each partition.
    ordinals: Vec<Ordinal>,
    /// Where records without a partition of their own go, until that batch is gone.
    sticky: u32,
    /// A batch was begun there by such a record.
    stuck: bool,
    /// Bytes taken from the budget since the beginning.
    charged: usize,
}

/// A record found its place.
struct Pushed {
    delivery: Option<Delivery>,
    /// A batch was completed: give its task a turn.
    sealed: bool,
}

impl Producer {
    /// Starts the task.
    pub(crate) fn start(
        client: Client,
        (cluster, route): (ClusterId, LogRoute),
        config: ProducerConfig,
    ) -> Result<Self, ClientError> {
        let partitions = u32::try_from(route.shards.len()).unwrap_or(u32::MAX);
        if let Partitioner::Fixed(partition) = config.partitioner
            && partition.get() >= partitions
        {
            return Err(ClientError::Partition { partition, partitions });
        }
        if partitions == 0 {
            return Err(ClientError::Unexpected { expected: "a log with partitions" });
        }
        let mut rng = Rng::with_seed(entropy());
        let policy = config.policy(client.config());
        let dispatcher = Dispatcher::new(policy, &route.shards, rng.fork());
        let workshop = Arc::new(Workshop {
            slots: route.shards.iter().map(|_| Slot::new()).collect(),
            spares: ArrayQueue::new(SPARE_BUILDERS_MAX),
            ledger: Ledger::default(),
            began: Instant::now(),
            config,
        });
        let clock = client.clock();
        let parts = (Arc::clone(&workshop), dispatcher);
        let handoff = driver::start(client, (cluster, route.clone()), parts);
        Ok(Self {
            ordinals: vec![Ordinal::default(); route.shards.len()],
            sticky: rng.u32(..partitions),
            stuck: false,
            charged: 0,
            partitions,
            route,
            workshop,
            handoff,
            clock,
        })
    }

    /// Takes a record and returns the future of its outcome. Waits only while the buffer is full.
    /// Dropped midway, the record was not taken.
    ///
    /// # Errors
    /// If the record was not taken: [`ClientError::Record`], [`ClientError::Partition`],
    /// [`ClientError::Closed`].
    pub async fn send(&mut self, record: Record<'_>) -> Result<Delivery, ClientError> {
        self.room().await?;
        let pushed = self.push(record, true)?;
        let delivery = pushed.delivery.ok_or(ClientError::Closed)?;
        if pushed.sealed {
            tokio::task::yield_now().await;
        }
        Ok(delivery)
    }

    /// Takes a record; its outcome is counted by [`Producer::flush`] and [`Producer::stats`]. The
    /// fastest way. Waits only while the buffer is full.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_detached(&mut self, record: Record<'_>) -> Result<(), ClientError> {
        self.room().await?;
        if self.push(record, false)?.sealed {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// As [`Producer::send_detached`], without waiting. In a loop on a runtime of one thread, yield
    /// now and then, or nothing is sent.
    ///
    /// # Errors
    /// As [`Producer::send`], and [`ClientError::BufferFull`].
    pub fn try_send_detached(&mut self, record: Record<'_>) -> Result<(), ClientError> {
        if self.handoff.is_closed() {
            return Err(ClientError::Closed);
        }
        if !self.has_room() {
            return Err(ClientError::BufferFull);
        }
        self.push(record, false).map(|_| ())
    }

    /// As [`Producer::send`], without waiting.
    ///
    /// # Errors
    /// As [`Producer::send`], and [`ClientError::BufferFull`].
    pub fn try_send(&mut self, record: Record<'_>) -> Result<Delivery, ClientError> {
        if self.handoff.is_closed() {
            return Err(ClientError::Closed);
        }
        if !self.has_room() {
            return Err(ClientError::BufferFull);
        }
        self.push(record, true)?.delivery.ok_or(ClientError::Closed)
    }

    /// [`Producer::send_detached`] for all of them, in order.
    ///
    /// # Errors
    /// At the first record that is not taken; those before it are.
    pub async fn send_all<'r>(
        &mut self,
        records: impl IntoIterator<Item = Record<'r>>,
    ) -> Result<(), ClientError> {
        for record in records {
            self.send_detached(record).await?;
        }
        Ok(())
    }

    /// Sends what is open at once, and resolves when every record so far has its outcome.
    ///
    /// # Errors
    /// [`ClientError::Undelivered`] if records failed since the last flush that was awaited,
    /// [`ClientError::Closed`].
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let (reply, done) = oneshot::channel();
        let handed = self.handoff.send(Handoff::Flush(reply)).await;
        handed.map_err(|_| ClientError::Closed)?;
        done.await.map_err(|_| ClientError::Closed)?
    }

    /// [`Producer::flush`], then the end.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.flush().await
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.route.id
    }

    /// How many partitions the log has.
    #[must_use]
    pub const fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Counters since the producer began.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        self.workshop.ledger.stats(self.charged)
    }

    fn has_room(&self) -> bool {
        let buffered = self.workshop.ledger.buffered(self.charged);
        buffered < self.workshop.config.buffer_bytes
            && self.handoff.capacity() >= HANDOFFS_PER_RECORD
    }

    /// Waits for room for a record.
    pub(crate) async fn room(&mut self) -> Result<(), ClientError> {
        loop {
            if self.handoff.is_closed() {
                return Err(ClientError::Closed);
            }
            let (ledger, max) = (&self.workshop.ledger, self.workshop.config.buffer_bytes);
            if ledger.buffered(self.charged) >= max {
                ledger.released().await;
            } else if self.handoff.capacity() < HANDOFFS_PER_RECORD {
                let room = self.handoff.reserve_many(HANDOFFS_PER_RECORD).await;
                drop(room.map_err(|_| ClientError::Closed)?);
            } else {
                return Ok(());
            }
        }
    }

    /// Puts a record into the open batch of its partition. There is room for the messages.
    fn push(&mut self, record: Record<'_>, tracked: bool) -> Result<Pushed, ClientError> {
        let (mut partition, sticks) = self.place(&record)?;
        let row = Row {
            key: record.key,
            value: record.value,
            create_time: record.create_time.unwrap_or_else(|| self.clock.now()),
            headers: record.headers,
        };
        let mut sealed = false;
        loop {
            let (mut batch, fresh) = match self.slot(partition).take() {
                Some(batch) => (batch, false),
                None if sticks && self.stuck => {
                    partition = self.move_on();
                    continue;
                }
                None => (self.fresh(partition), true),
            };
            let before = batch.builder.bytes();
            match batch.builder.push(&row) {
                Ok(()) => {
                    let charge = batch.builder.bytes() - before;
                    batch.charged += charge;
                    self.charged = self.charged.wrapping_add(charge);
                    self.stuck |= sticks;
                    let delivery = tracked.then(|| track(&mut batch, partition));
                    self.put(partition, batch, fresh);
                    return Ok(Pushed { delivery, sealed });
                }
                Err(PushError::Full) => {
                    assert!(!fresh, "an empty builder is never full");
                    self.hand(Handoff::Sealed(partition, batch));
                    if sticks && !sealed {
                        partition = self.move_on();
                    }
                    sealed = true;
                }
                Err(error) => {
                    if fresh {
                        // Full: there are spares enough.
                        self.workshop.spares.push(batch).ok();
                    } else {
                        self.put(partition, batch, false);
                    }
                    return Err(ClientError::Record(error));
                }
            }
        }
    }

    /// The partition of a record, and whether it goes there only because of its predecessors.
    fn place(&self, record: &Record<'_>) -> Result<(u32, bool), ClientError> {
        let partitions = self.partitions();
        let named = record.partition.map(|partition| (partition, false));
        let (partition, sticks) =
            named.unwrap_or_else(|| match (self.workshop.config.partitioner, record.key) {
                (Partitioner::Fixed(partition), _) => (partition, false),
                (Partitioner::KeyHash, Some(key)) => (partition_of_key(key, partitions), false),
                _ => (PartitionId::new(self.sticky), true),
            });
        if partition.get() >= partitions {
            return Err(ClientError::Partition { partition, partitions });
        }
        Ok((partition.get(), sticks))
    }

    /// The next partition for records without one.
    fn move_on(&mut self) -> u32 {
        self.sticky = (self.sticky + 1) % self.partitions();
        self.stuck = false;
        self.sticky
    }

    fn slot(&self, partition: u32) -> &Slot {
        &self.workshop.slots[partition as usize]
    }

    /// An empty batch, not yet known to the task.
    fn fresh(&self, partition: u32) -> Box<Open> {
        let (ordinal, opened) = (self.ordinals[partition as usize], self.workshop.now());
        if let Some(mut open) = self.workshop.spares.pop() {
            (open.ordinal, open.opened) = (ordinal, opened);
            return open;
        }
        let builder = RowsBuilder::new(self.workshop.config.builder());
        Box::new(Open { builder, ordinal, opened, charged: 0, promise: None })
    }

    /// Puts a batch back, or hands it over if the task wants it.
    fn put(&mut self, partition: u32, batch: Box<Open>, fresh: bool) {
        if fresh {
            let (ordinal, since) = (batch.ordinal, batch.opened);
            self.ordinals[partition as usize] = ordinal.next();
            self.hand(Handoff::Opened(partition, ordinal, since));
        }
        if let Some(batch) = self.slot(partition).put(batch) {
            self.hand(Handoff::Sealed(partition, batch));
        }
    }

    fn hand(&self, handoff: Handoff) {
        match self.handoff.try_send(handoff) {
            // Closed: the task is gone with its runtime; the batch settles as closed.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                panic!("room for {HANDOFFS_PER_RECORD} messages was seen, and nobody else sends")
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let bytes = self.workshop.ledger.buffered(self.charged);
        if bytes > 0 {
            tracing::warn!(
                log = %self.route.name,
                bytes,
                "producer dropped with undelivered records: they go on in the background, flush to \
                 learn their outcome"
            );
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Producer");
        debug.field("log", &self.route.name).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The delivery of the record that was pushed last.
fn track(batch: &mut Open, partition: u32) -> Delivery {
    let index = u32::try_from(batch.builder.len() - 1).expect("at most 2^20 records in a batch");
    let promise = batch.promise.get_or_insert_with(Promise::default);
    promise.delivery(PartitionId::new(partition), index)
}

/// A number that nobody can guess or repeat, from the keys that the standard library gets from the
/// operating system for its hash maps. Session ids come from it: two producers with the same one
/// would take each other's records for duplicates.
pub(crate) fn entropy() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_does_not_repeat() {
        let mut seen: Vec<u64> = (0..1000).map(|_| entropy()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }
}
