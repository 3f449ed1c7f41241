//! Scarab ids for a program: minted here, from blocks that a fleet of nodes leases.
//!
//! An id costs 10 to 20 ns (measured on a loaded machine, without LTO): it is cut off a block that this handle holds. Behind
//! the handles lies a stock of blocks, shared by all clones of a source, and a task keeps it filled (`ids/task.rs`, which obeys
//! the machine `fleet`). The handles and the task share a bounded queue of blocks and two counts; nobody waits for a lock.
//!
//! Rejected: one counter that all threads add to. It would cost a contended cache line per id, where a block per handle costs
//! one queue operation per ten thousand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use pyralog_seq::pharaoh::Block;
use pyralog_seq::scarab::{ScarabId, Slot, Tick};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::backoff::Backoff;
use crate::config::{range, timeout};
use crate::error::ClientError;
use crate::fleet::Policy;
use crate::limits::{
    ADDRESSES_MAX, BACKOFF_MAX_DEFAULT, BACKOFF_MIN_DEFAULT, CONNECT_TIMEOUT_DEFAULT,
    FRESH_LEASES_MAX, ID_BLOCK_DEFAULT, ID_BLOCK_MAX, ID_LOW_WATER_BLOCKS_MAX,
    ID_LOW_WATER_DEFAULT, ID_STOCK_BLOCKS_MAX, ID_WAIT_DEFAULT, IDS_PER_CALL_MAX,
    LEASE_TIMEOUT_DEFAULT,
};

mod task;

/// Settings of an [`IdSource`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdConfig {
    /// Name of the program, for the servers' logs.
    pub name: String,
    /// Ids of one lease: how long the source goes on alone, against how many a program wastes that ends.
    pub block: u32,
    /// With fewer ids than this lying ready, beside those that handles hold, the source leases more.
    pub low_water: u32,
    /// How long a call waits for ids if there are none.
    pub wait: Duration,
    /// Time to connect and greet one address.
    pub connect_timeout: Duration,
    /// Time for one lease, after which its connection is given up. Another node is asked long before.
    pub lease_timeout: Duration,
    /// How long a node is left alone after its first failure.
    pub backoff_min: Duration,
    /// How long it is left alone after many.
    pub backoff_max: Duration,
}

impl Default for IdConfig {
    fn default() -> Self {
        Self {
            name: "pyralog-client".to_owned(),
            block: ID_BLOCK_DEFAULT,
            low_water: ID_LOW_WATER_DEFAULT,
            wait: ID_WAIT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            lease_timeout: LEASE_TIMEOUT_DEFAULT,
            backoff_min: BACKOFF_MIN_DEFAULT,
            backoff_max: BACKOFF_MAX_DEFAULT,
        }
    }
}

impl IdConfig {
    /// Whether every setting is in its range, and they agree.
    ///
    /// # Errors
    /// [`ClientError::Config`] with the first that is not.
    pub fn check(&self) -> Result<(), ClientError> {
        range("block", self.block as usize, 1..=ID_BLOCK_MAX as usize)?;
        let most = u64::from(self.block) * u64::from(ID_LOW_WATER_BLOCKS_MAX);
        if self.low_water == 0 || u64::from(self.low_water) > most {
            let problem = format!("from 1 to {ID_LOW_WATER_BLOCKS_MAX} times `block`");
            return Err(ClientError::config("low_water", problem));
        }
        timeout("wait", self.wait)?;
        timeout("connect_timeout", self.connect_timeout)?;
        timeout("lease_timeout", self.lease_timeout)?;
        timeout("backoff_min", self.backoff_min)?;
        timeout("backoff_max", self.backoff_max)?;
        if self.backoff_min > self.backoff_max {
            return Err(ClientError::config("backoff_min", "it is above `backoff_max`"));
        }
        Ok(())
    }

    /// What the machine (`crate::fleet`) has to know.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            block: self.block,
            low_water: self.low_water.into(),
            lease_timeout: self.lease_timeout,
            backoff: Backoff { min: self.backoff_min, max: self.backoff_max },
        }
    }
}

/// What handles and the task share.
#[derive(Debug)]
struct Shared {
    /// Blocks that nobody has taken.
    stock: ArrayQueue<Block>,
    /// Their ids. Raised before a block is put there and lowered after one was taken: never too low.
    ready: AtomicU64,
    /// Ids that handles wait for.
    wanted: AtomicU64,
    /// Nothing is dealt any more.
    failed: AtomicBool,
    /// Blocks came, or the end did.
    arrived: Notify,
}

impl Shared {
    fn new() -> Self {
        Self {
            stock: ArrayQueue::new(ID_STOCK_BLOCKS_MAX),
            ready: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            arrived: Notify::new(),
        }
    }

    /// Adds a block to those that lie ready. Its ids are lost if there is no room.
    fn put(&self, block: Block) {
        let count = u64::from(block.count());
        if count == 0 {
            return;
        }
        self.ready.fetch_add(count, Ordering::Relaxed);
        if let Err(block) = self.stock.push(block) {
            self.ready.fetch_sub(count, Ordering::Relaxed);
            tracing::debug!(ids = block.count(), "the stock of ids is full: a block is lost");
        }
        self.arrived.notify_waiters();
    }

    fn take(&self) -> Option<Block> {
        let block = self.stock.pop()?;
        self.ready.fetch_sub(block.count().into(), Ordering::Relaxed);
        Some(block)
    }

    fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// What went wrong.
#[derive(Clone, Debug, Default)]
struct Trouble {
    /// Last, if anything.
    last: Option<ClientError>,
    /// For good.
    conflict: Option<ClientError>,
}

/// Somebody wants ids that are dealt from now on.
#[derive(Debug)]
struct Ask {
    count: u32,
    reply: oneshot::Sender<Result<Block, ClientError>>,
}

/// A source of ids that are unique within a cluster: one of these per program, cloned for every thread or task that mints.
///
/// Each handle holds a block of its own and mints from it without talking to anybody, so minting goes on while every node is
/// down until the blocks run out. What a handle holds goes back to the others when it is dropped; what the last one holds is
/// lost, which ids may be.
///
/// Ids of one slot rise in the order in which the node dealt them. Blocks come from several slots and several nodes, so the
/// ids of a source, and even of one handle, need not rise, and their time is that of their lease.
///
/// ```no_run
/// # async fn example() -> Result<(), pyralog_client::ClientError> {
/// use pyralog_client::{IdConfig, IdSource};
///
/// let mut ids = IdSource::connect(["a:7400", "b:7400", "c:7400"], IdConfig::default()).await?;
/// let id = ids.next().await?;
/// println!("{id} was leased at {} from slot {}", id.time_unix_ms(), id.slot());
/// let page: Vec<_> = ids.next_many(500).await?.collect();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct IdSource {
    shared: Arc<Shared>,
    /// What it mints from: the first of them, then the others.
    held: VecDeque<Block>,
    wait: Duration,
    /// Wakes the task. It ends when the last of these is gone.
    nudge: mpsc::Sender<()>,
    asks: mpsc::Sender<Ask>,
    trouble: watch::Receiver<Trouble>,
}

impl IdSource {
    /// A source that leases from these addresses (`host:port`): nodes of one cluster, or several shards of one node.
    /// Resolves when the first block is there.
    ///
    /// # Errors
    /// [`ClientError::NoIds`] if no node dealt any in [`IdConfig::wait`]; [`ClientError::SlotConflict`] and
    /// [`ClientError::MixedClusters`] if ids of these nodes would not be unique; [`ClientError::Config`].
    ///
    /// # Panics
    /// Outside a Tokio runtime with time and I/O: its task lives there.
    pub async fn connect<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        config: IdConfig,
    ) -> Result<Self, ClientError> {
        config.check()?;
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        if !(1..=ADDRESSES_MAX).contains(&addresses.len()) {
            let problem = format!("give 1 to {ADDRESSES_MAX} addresses, as `host:port`");
            return Err(ClientError::config("addresses", problem));
        }
        let shared = Arc::new(Shared::new());
        let (nudge, nudges) = mpsc::channel(1);
        let (asks, asked) = mpsc::channel(FRESH_LEASES_MAX);
        let (troubles, trouble) = watch::channel(Trouble::default());
        let wait = config.wait;
        task::start((addresses, config), (Arc::clone(&shared), troubles), (nudges, asked));
        let mut source = Self { shared, held: VecDeque::new(), wait, nudge, asks, trouble };
        source.gather(1).await?;
        Ok(source)
    }

    /// The next id, if one is leased: some ten nanoseconds, no message, never waits. `None` if none is, and after
    /// [`ClientError::SlotConflict`] or [`ClientError::MixedClusters`]; [`IdSource::next`] waits for more, or says why not.
    pub fn try_next(&mut self) -> Option<ScarabId> {
        if self.shared.failed() {
            return None;
        }
        loop {
            if let Some(id) = self.held.front_mut().and_then(Block::next) {
                return Some(id);
            }
            self.held.pop_front();
            if self.held.is_empty() && !self.take_block() {
                return None;
            }
        }
    }

    /// The next id. Waits only if none is leased, [`IdConfig::wait`] at most. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ClientError::NoIds`] if none came in time: ask again; after [`ClientError::SlotConflict`] or
    /// [`ClientError::MixedClusters`] this source deals nothing any more.
    pub async fn next(&mut self) -> Result<ScarabId, ClientError> {
        if let Some(id) = self.try_next() {
            return Ok(id);
        }
        self.gather(1).await?;
        self.try_next().ok_or_else(|| self.failure())
    }

    /// The next `count` ids, at most [`IDS_PER_CALL_MAX`]; from one block or several. Waits as [`IdSource::next`], and
    /// keeps what it has gathered if that is not enough in time.
    ///
    /// # Errors
    /// As [`IdSource::next`]; [`ClientError::Config`] if they are too many.
    ///
    /// # Panics
    /// Never: so many were gathered.
    pub async fn next_many(&mut self, count: u32) -> Result<Ids, ClientError> {
        range("count", count as usize, 0..=IDS_PER_CALL_MAX as usize)?;
        self.gather(count.into()).await?;
        let (mut blocks, mut missing) = (VecDeque::new(), count);
        while missing > 0 {
            let front = self.held.front_mut().expect("so many were gathered");
            let some = missing.min(front.count());
            blocks.extend(front.cut(some));
            missing -= some;
            if front.count() == 0 {
                self.held.pop_front();
            }
        }
        Ok(Ids { blocks, left: count as usize })
    }

    /// The time parts of `count` fresh ids, 1 to [`IDS_PER_CALL_MAX`]: asks a node each time, because a block tells when it
    /// was leased, not what time it is.
    ///
    /// What they are: ticks of one slot, dealt to nobody else, rising within the answer, and later than all that the slot
    /// dealt before; near the time by the clock of the node that answered. What they are not: an order of events. Ticks of
    /// two slots may be equal and say nothing about which came first, so this is no oracle for snapshot isolation. What is
    /// unique is a tick with its slot, which is the id.
    ///
    /// # Errors
    /// As [`IdSource::next_many`]. Leased blocks do not help here: it needs a node.
    pub async fn timestamps(&self, count: u32) -> Result<Timestamps, ClientError> {
        range("count", count as usize, 1..=IDS_PER_CALL_MAX as usize)?;
        let (reply, answer) = oneshot::channel();
        let asking = async {
            // The task ends only with a conflict, which is told below, or with its runtime.
            self.asks.send(Ask { count, reply }).await.ok();
            answer.await.unwrap_or(Err(ClientError::Closed))
        };
        match tokio::time::timeout(self.wait, asking).await {
            Ok(Ok(block)) => Ok(Timestamps { block }),
            Ok(Err(ClientError::Closed)) | Err(_) => Err(self.failure()),
            Ok(Err(error)) => Err(error),
        }
    }

    /// How many ids it can deal without any node: those that this handle holds and those that lie ready for all.
    #[must_use]
    pub fn leased(&self) -> u64 {
        self.here() + self.shared.ready.load(Ordering::Relaxed)
    }

    /// Ids that this handle holds.
    fn here(&self) -> u64 {
        self.held.iter().map(|block| u64::from(block.count())).sum()
    }

    /// Takes a block from the stock.
    fn take_block(&mut self) -> bool {
        let block = self.shared.take();
        let taken = block.is_some();
        self.held.extend(block);
        // Full: the task will look anyway. Closed: it has ended, which `failure` tells.
        self.nudge.try_send(()).ok();
        taken
    }

    /// Waits until this handle holds `count` ids.
    async fn gather(&mut self, count: u64) -> Result<(), ClientError> {
        let shared = Arc::clone(&self.shared);
        let gathered = tokio::time::timeout(self.wait, async {
            let mut want = Want { wanted: &shared.wanted, count: 0 };
            loop {
                // Before looking: what comes afterwards is not missed.
                let mut arrived = std::pin::pin!(shared.arrived.notified());
                arrived.as_mut().enable();
                while self.here() < count && self.take_block() {}
                let missing = count.saturating_sub(self.here());
                if shared.failed() || missing == 0 || self.nudge.is_closed() {
                    return;
                }
                want.set(missing);
                // See `take_block`.
                self.nudge.try_send(()).ok();
                arrived.await;
            }
        });
        // Whether time was up or not: what counts is what is here.
        gathered.await.ok();
        if self.here() >= count && !self.shared.failed() { Ok(()) } else { Err(self.failure()) }
    }

    /// Why there are no ids.
    fn failure(&self) -> ClientError {
        let trouble = self.trouble.borrow();
        match (&trouble.conflict, self.nudge.is_closed()) {
            (Some(conflict), _) => conflict.clone(),
            (None, true) => ClientError::Closed,
            (None, false) => {
                ClientError::NoIds { after: self.wait, last: trouble.last.clone().map(Box::new) }
            }
        }
    }
}

impl Clone for IdSource {
    /// Another handle to the same stock, which holds nothing yet.
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            held: VecDeque::new(),
            wait: self.wait,
            nudge: self.nudge.clone(),
            asks: self.asks.clone(),
            trouble: self.trouble.clone(),
        }
    }
}

impl Drop for IdSource {
    fn drop(&mut self) {
        self.held.drain(..).for_each(|block| self.shared.put(block));
    }
}

/// A part of what is waited for, until it is dropped.
struct Want<'a> {
    wanted: &'a AtomicU64,
    count: u64,
}

impl Want<'_> {
    fn set(&mut self, count: u64) {
        self.wanted.fetch_add(count, Ordering::Relaxed);
        self.wanted.fetch_sub(self.count, Ordering::Relaxed);
        self.count = count;
    }
}

impl Drop for Want<'_> {
    fn drop(&mut self) {
        self.wanted.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// Ids of [`IdSource::next_many`]. What is not taken from it is lost.
#[derive(Debug)]
pub struct Ids {
    blocks: VecDeque<Block>,
    left: usize,
}

impl Iterator for Ids {
    type Item = ScarabId;

    fn next(&mut self) -> Option<ScarabId> {
        loop {
            if let Some(id) = self.blocks.front_mut()?.next() {
                self.left -= 1;
                return Some(id);
            }
            self.blocks.pop_front();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Ids {}

/// Ticks of [`IdSource::timestamps`], rising.
#[derive(Debug)]
pub struct Timestamps {
    block: Block,
}

impl Timestamps {
    /// The slot that dealt them.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.block.slot()
    }
}

impl Iterator for Timestamps {
    type Item = Tick;

    fn next(&mut self) -> Option<Tick> {
        self.block.next().map(ScarabId::tick)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.block.count() as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Timestamps {}
