//! The tier of a core: the object store, the blocks of it that are held, and what was moved.
//!
//! A closed segment becomes two objects: the segment file up to its end, byte for byte, and its index. The manifest of the
//! partition says which there are; nothing is believed because it lies in the store. Objects have the generation of the
//! segment in their name, so another life of the same offsets, or another node that thinks it owns them, writes others.

mod cache;
mod name;
mod object;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use pyralog_runtime::channel::Event;
use pyralog_runtime::time::{self, Monotonic};

use crate::ids::{LogId, PartitionId};
use crate::limits::{REMOTE_READ_WAIT, REMOTE_WAIT, TIER_PAUSE_MAX, TIER_PAUSE_MIN};
use crate::remote::{Operation, RemoteError, RemoteErrorKind, RemoteObject, RemoteStore};
use cache::{Block, BlockKey, Cache};
pub(crate) use name::ObjectName;
pub use name::object_keys;
pub(crate) use object::RemoteFile;

/// Counters of a core's tier since it was made, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    /// Segments uploaded.
    pub uploads: u64,
    /// Bytes of them and of their indexes.
    pub uploaded_bytes: u64,
    /// Reads of objects.
    pub downloads: u64,
    /// Bytes that they brought.
    pub downloaded_bytes: u64,
    /// Objects deleted.
    pub deleted: u64,
    /// Those among them that no manifest named.
    pub orphans: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Times that what came from the store was not what went there.
    pub unsound: u64,
    /// Blocks that were in memory.
    pub cache_hits: u64,
    /// Blocks that were not.
    pub cache_misses: u64,
    /// Bytes of blocks in memory.
    pub cached_bytes: u64,
}

/// The tier of a core. Clones are the same tier.
#[derive(Clone)]
pub struct Tier {
    shared: Rc<Shared>,
}

struct Shared {
    store: Rc<dyn RemoteStore>,
    cluster: u64,
    cache: RefCell<Cache>,
    /// Blocks on their way, and who waits for them.
    coming: RefCell<BTreeMap<BlockKey, Rc<Event>>>,
    stats: Cell<TierStats>,
    /// No work in the background before that; and how long the pause was.
    pause: Cell<(Monotonic, Duration)>,
    /// The last read of the store failed.
    reads_fail: Cell<bool>,
}

/// The place of a block that is being fetched; also given back if that is dropped.
struct Fetching<'a> {
    tier: &'a Tier,
    key: BlockKey,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        if let Some(event) = self.tier.shared.coming.borrow_mut().remove(&self.key) {
            event.notify_all();
        }
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tier({})", self.shared.store.name())
    }
}

impl Tier {
    /// A tier in this store, below the name of the cluster, with so much memory for blocks.
    #[must_use]
    pub fn new(store: Rc<dyn RemoteStore>, cluster: u64, cache_bytes: u64) -> Self {
        let shared = Shared {
            store,
            cluster,
            cache: RefCell::new(Cache::new(cache_bytes)),
            coming: RefCell::default(),
            stats: Cell::default(),
            pause: Cell::new((Monotonic::ZERO, TIER_PAUSE_MIN)),
            reads_fail: Cell::default(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> TierStats {
        let cached_bytes = self.shared.cache.borrow().held();
        TierStats { cached_bytes, ..self.shared.stats.get() }
    }

    /// What the store is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.store.name()
    }

    /// Whether the background may try now: the store did not fail a moment ago.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        time::now() >= self.shared.pause.get().0
    }

    /// The background met a failure, or none.
    pub(crate) fn note_work(&self, failed: bool) {
        let (_, pause) = self.shared.pause.get();
        let next = if failed {
            (time::now() + pause, (pause * 2).min(TIER_PAUSE_MAX))
        } else {
            (Monotonic::ZERO, TIER_PAUSE_MIN)
        };
        self.shared.pause.set(next);
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut TierStats)) {
        let mut stats = self.shared.stats.get();
        change(&mut stats);
        self.shared.stats.set(stats);
    }

    /// Below which the objects of a partition lie.
    pub(crate) fn prefix(&self, log: LogId, partition: PartitionId) -> String {
        format!("{}{partition}/", self.log_prefix(log))
    }

    fn log_prefix(&self, log: LogId) -> String {
        name::log_prefix(self.shared.cluster, log)
    }

    /// Asks the store, for so long as a call may take, and counts what fails.
    pub(crate) async fn ask<T>(
        &self,
        of: (Operation, &str),
        asked: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        self.ask_within(REMOTE_WAIT, of, asked).await
    }

    async fn ask_within<T>(
        &self,
        wait: Duration,
        (operation, key): (Operation, &str),
        asked: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let answer = time::timeout(wait, asked).await.unwrap_or_else(|_| {
            let problem = format!("no answer for {} s", wait.as_secs());
            Err(RemoteError::new(operation, key, RemoteErrorKind::Away, problem))
        });
        if answer.is_err() {
            self.count(|stats| stats.errors += 1);
        }
        answer
    }

    pub(crate) fn store(&self) -> &dyn RemoteStore {
        &*self.shared.store
    }

    /// Notes whether the store gave what a reader wanted, and says so when that changes.
    fn note_read(&self, failure: Option<&RemoteError>) {
        let failed_before = self.shared.reads_fail.replace(failure.is_some());
        match failure {
            Some(error) if !failed_before => {
                tracing::warn!(%error, "the object store fails: records that are only there cannot be read");
            }
            None if failed_before => {
                tracing::info!("the object store gives what readers want again");
            }
            _ => {}
        }
    }

    /// Bytes of an object, from the store, for somebody who waits for them; in this memory if the store can use it.
    pub(crate) async fn get(
        &self,
        key: &str,
        (range, memory): (std::ops::Range<u64>, Vec<u8>),
    ) -> Result<Vec<u8>, RemoteError> {
        let wanted = range.end - range.start;
        let asked = self.store().get_into(key, range, memory);
        let answer = self.ask_within(REMOTE_READ_WAIT, (Operation::Get, key), asked).await;
        self.note_read(answer.as_ref().err());
        let bytes = answer?;
        if bytes.len() as u64 != wanted {
            let problem = format!("{} bytes instead of {wanted}", bytes.len());
            return Err(RemoteError::new(Operation::Get, key, RemoteErrorKind::Short, problem));
        }
        self.count(|stats| {
            stats.downloads += 1;
            stats.downloaded_bytes += wanted;
        });
        Ok(bytes)
    }

    /// A block of an object, from memory or the store; whoever else wants it at the same time gets the same.
    async fn block(&self, key: BlockKey, name: &str) -> Result<Block, RemoteError> {
        let shared = &*self.shared;
        loop {
            let found = shared.cache.borrow_mut().find(key);
            if let Some(block) = found {
                self.count(|stats| stats.cache_hits += 1);
                return Ok(block);
            }
            let coming = shared.coming.borrow().get(&key).cloned();
            let Some(coming) = coming else { break };
            coming.listen().await;
        }
        shared.coming.borrow_mut().insert(key, Rc::default());
        let fetching = Fetching { tier: self, key };
        self.count(|stats| stats.cache_misses += 1);
        // A store that is away takes nobody's block.
        let memory = if shared.reads_fail.get() {
            Vec::new()
        } else {
            shared.cache.borrow_mut().make_room(key.end - key.start)
        };
        let block = Block::new(self.get(name, (key.start..key.end, memory)).await?);
        shared.cache.borrow_mut().keep(key, Block::clone(&block));
        drop(fetching);
        Ok(block)
    }

    /// Lists the objects below a prefix, page by page, and lets `each` look at every one.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        mut each: impl FnMut(RemoteObject),
    ) -> Result<(), RemoteError> {
        let of = (Operation::List, prefix);
        let mut listing = self.ask(of, self.store().list(prefix)).await?;
        loop {
            let page = self.ask(of, listing.next()).await?;
            if page.is_empty() {
                return Ok(());
            }
            page.into_iter().for_each(&mut each);
        }
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), RemoteError> {
        self.ask((Operation::Delete, key), self.store().delete(key)).await?;
        self.count(|stats| stats.deleted += 1);
        Ok(())
    }

    /// Deletes every object of a log that is gone. May be broken off and begun again.
    ///
    /// # Errors
    /// What the store said; some may be deleted.
    pub async fn delete_log(&self, log: LogId) -> Result<u64, RemoteError> {
        let (prefix, mut keys) = (self.log_prefix(log), Vec::new());
        self.list(&prefix, |object| keys.push(object.key)).await?;
        for key in &keys {
            self.delete(key).await?;
        }
        Ok(keys.len() as u64)
    }
}
