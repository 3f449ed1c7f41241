//! The producer: makes records and fills batches. What becomes of them is its task's business
//! (`driver`). The counterpart of the client's `producer` on Tokio, for one core.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use pyralog_client::dispatch::{Dispatcher, Ordinal};
use pyralog_client::{LogId, LogRoute, LogStorage, PartitionId, ProducerConfig, Timestamp};
use pyralog_log::batch::{PushError, Record, RowsBuilder};
use pyralog_runtime::channel::{Event, oneshot};
use pyralog_runtime::time::{self, Monotonic};
use pyralog_runtime::{Task, spawn};

use super::driver::{Driver, Handoff};
use super::inbox::Inbox;
use super::{CallError, SimClient};
use crate::history::{Key, RecordId};
use crate::record::{Made, Recipe};

/// A batch that takes records.
pub(super) struct Open {
    pub(super) builder: RowsBuilder,
    pub(super) ordinal: Ordinal,
    /// When its first record was pushed, since the producer began.
    pub(super) opened: Duration,
    pub(super) records: Vec<RecordId>,
    /// What each of them is to compaction.
    pub(super) keys: Vec<Option<Key>>,
    /// What it takes of the producer's budget, in bytes.
    pub(super) charged: usize,
}

/// What a producer shares with its task.
pub(super) struct Workshop {
    /// The open batches, by partition.
    pub(super) slots: RefCell<Vec<Option<Box<Open>>>>,
    /// Bytes of batches without outcome.
    buffered: Cell<usize>,
    /// The task released some, or ended.
    released: Event,
    ended: Cell<bool>,
    /// The beginning of the machine's time.
    began: Monotonic,
    pub(super) config: ProducerConfig,
}

impl Workshop {
    /// The time of the machine.
    pub(super) fn now(&self) -> Duration {
        time::now().since(self.began)
    }

    /// The machine's time as the clock's.
    pub(super) fn clock(&self, at: Duration) -> Monotonic {
        self.began.after(at)
    }

    /// A batch has its outcome.
    pub(super) fn release(&self, bytes: usize) {
        self.buffered.set(self.buffered.get() - bytes);
        self.released.notify_all();
    }

    /// The task is over: nothing will be released any more.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.released.notify_all();
    }
}

/// Sends records to one log: each exactly once, in order per partition.
///
/// Every batch and its outcome go into the history. A producer that is dropped goes on delivering
/// what it was given; one that is [abandoned](Producer::abandon) does not.
pub struct Producer {
    client: SimClient,
    route: LogRoute,
    workshop: Rc<Workshop>,
    handoff: Inbox<Handoff>,
    task: Option<Task<()>>,
    rng: Rng,
    /// The next ordinal of each partition.
    ordinals: Vec<Ordinal>,
}

/// The producer's task has ended: its core is ending, or it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the producer's task has ended")
    }
}

impl std::error::Error for Closed {}

impl Producer {
    /// A producer for a log.
    ///
    /// # Errors
    /// If the settings are out of range, there is no such log, or asking for it failed.
    pub async fn open(
        client: &SimClient,
        log: &str,
        mut config: ProducerConfig,
    ) -> Result<Self, CallError> {
        config.check().map_err(|error| CallError::without_reply(error.to_string(), false))?;
        let (cluster, route) = client.route(log).await?;
        let gone = || CallError::without_reply(format!("there is no log {log}"), false);
        let route = route.ok_or_else(gone)?;
        if route.config.storage == LogStorage::Memory {
            config = config.for_memory(route.config.memory_bytes_max);
        }
        let mut rng = client.fork_rng();
        let policy = config.policy(client.config());
        let dispatcher = Dispatcher::new(policy, &route.shards, rng.fork());
        let workshop = Rc::new(Workshop {
            slots: RefCell::new(route.shards.iter().map(|_| None).collect()),
            buffered: Cell::new(0),
            released: Event::new(),
            ended: Cell::new(false),
            began: time::now(),
            config,
        });
        let handoff = Inbox::new();
        let driver = Driver::new(
            client.clone(),
            (cluster, &route),
            (Rc::clone(&workshop), handoff.clone()),
            dispatcher,
        );
        let task = Some(spawn(driver.run()));
        let ordinals = vec![Ordinal::default(); route.shards.len()];
        Ok(Self { client: client.clone(), route, workshop, handoff, task, rng, ordinals })
    }

    /// Makes `count` records and puts them into the open batch of a partition, in order. Waits only
    /// while the producer holds as many bytes as its settings allow. Dropped midway, some were
    /// taken.
    ///
    /// # Errors
    /// If the task has ended.
    ///
    /// # Panics
    /// If the log has no such partition.
    pub async fn append(
        &mut self,
        partition: PartitionId,
        (count, recipe): (usize, impl Into<Recipe>),
    ) -> Result<Vec<RecordId>, Closed> {
        assert!((partition.get() as usize) < self.ordinals.len(), "no partition {partition}");
        let (mut records, recipe) = (Vec::with_capacity(count), recipe.into());
        for _ in 0..count {
            self.room().await?;
            let id = self.client.new_record();
            self.push(partition, id, recipe);
            records.push(id);
        }
        Ok(records)
    }

    /// Sends what is open at once, and resolves when every record so far has its outcome.
    ///
    /// # Errors
    /// If the task has ended.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        if self.workshop.ended.get() {
            return Err(Closed);
        }
        let (reply, done) = oneshot();
        self.handoff.push(Handoff::Flush(reply));
        done.await.map_err(|_| Closed)
    }

    /// Ends the producer as the death of its process would: nothing more is sent, nobody learns
    /// what becomes of what was.
    pub fn abandon(mut self) {
        drop(self.task.take());
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.route.id
    }

    /// How many partitions the log has.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.ordinals.len()
    }

    /// Bytes of records without outcome.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.workshop.buffered.get()
    }

    /// Waits for room for a record.
    async fn room(&self) -> Result<(), Closed> {
        loop {
            let released = self.workshop.released.listen();
            if self.workshop.ended.get() {
                return Err(Closed);
            }
            if self.workshop.buffered.get() < self.workshop.config.buffer_bytes {
                return Ok(());
            }
            released.await;
        }
    }

    /// Puts a record into the open batch of its partition.
    fn push(&mut self, partition: PartitionId, id: RecordId, recipe: Recipe) {
        let made = Made::draw(id, recipe, &mut self.rng);
        let headers = made.headers();
        let row = Record {
            key: made.name(),
            value: made.value(),
            create_time: Timestamp::new(time::unix_us()),
            headers: &headers,
        };
        loop {
            let taken = self.workshop.slots.borrow_mut()[partition.get() as usize].take();
            let (mut open, fresh) = match taken {
                Some(open) => (open, false),
                None => (self.fresh(partition), true),
            };
            let before = open.builder.bytes();
            match open.builder.push(&row) {
                Ok(()) => {
                    let charge = open.builder.bytes() - before;
                    open.charged += charge;
                    open.records.push(id);
                    open.keys.push(made.key);
                    self.workshop.buffered.set(self.workshop.buffered.get() + charge);
                    let (ordinal, since) = (open.ordinal, open.opened);
                    self.workshop.slots.borrow_mut()[partition.get() as usize] = Some(open);
                    if fresh {
                        self.ordinals[partition.get() as usize] = ordinal.next();
                        self.handoff.push(Handoff::Opened(partition, ordinal, since));
                    }
                    return;
                }
                Err(PushError::Full) => {
                    assert!(!fresh, "an empty builder is never full");
                    self.handoff.push(Handoff::Sealed(partition, open));
                }
                Err(error) => panic!("record {id} fits no batch: {error}"),
            }
        }
    }

    /// An empty batch, not yet known to the task.
    fn fresh(&self, partition: PartitionId) -> Box<Open> {
        Box::new(Open {
            builder: RowsBuilder::new(self.workshop.config.builder()),
            ordinal: self.ordinals[partition.get() as usize],
            opened: self.workshop.now(),
            records: Vec::new(),
            keys: Vec::new(),
            charged: 0,
        })
    }
}

impl Drop for Producer {
    /// The task goes on until every batch has its outcome.
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.handoff.push(Handoff::Orphaned);
            task.detach();
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Producer");
        debug.field("log", &self.route.name).field("buffered_bytes", &self.buffered_bytes());
        debug.finish_non_exhaustive()
    }
}
