//! A segment in the store, read like a file: by blocks, from memory where they are held, ahead of who goes on.

use std::cell::RefCell;
use std::collections::VecDeque;

use pyralog_runtime::buffer::{BufferMut, Slice};
use pyralog_runtime::spawn;

use super::Tier;
use super::cache::{Block, BlockKey};
use super::name::ObjectName;
use crate::index::Index;
use crate::limits::{REMOTE_AHEAD_BLOCKS, REMOTE_BLOCK_BYTES, SMALL_FILE_BYTES_MAX};
use crate::remote::{Operation, RemoteError};

/// Readers of one segment that are remembered to tell who goes on.
const READERS_MAX: usize = 8;

/// From this read on the next blocks are fetched ahead: one record may take two, from the entry of the index and from there.
const RUN_MIN: u32 = 3;

/// Reads of which each began where the one before it had been.
#[derive(Clone, Copy, Debug)]
struct Reader {
    start: u64,
    end: u64,
    /// How many.
    run: u32,
}

/// A segment in the store.
#[derive(Debug)]
pub(crate) struct RemoteFile {
    tier: Tier,
    name: ObjectName,
    prefix: String,
    key: String,
    bytes: u64,
    /// What was read last, by whom it may be.
    readers: RefCell<VecDeque<Reader>>,
}

impl RemoteFile {
    /// The object of that length below the prefix of its partition. Nothing is asked of the store yet.
    pub(crate) fn new(tier: &Tier, prefix: String, name: ObjectName, bytes: u64) -> Self {
        let key = name.segment(&prefix);
        Self { tier: tier.clone(), name, prefix, key, bytes, readers: RefCell::default() }
    }

    /// Its key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The `len` bytes at `position`; fewer if the object ends there.
    pub(crate) async fn read(&self, position: u64, len: usize) -> Result<Slice, RemoteError> {
        let end = self.bytes.min(position.saturating_add(len as u64));
        if position >= end {
            return Ok(Slice::empty());
        }
        let unit = REMOTE_BLOCK_BYTES as u64;
        let (first, last) = (position / unit, (end - 1) / unit);
        // All but the first are fetched beside it.
        self.fetch_ahead(first + 1..last + 1);
        if self.goes_on(position, end) {
            let most = self.tier.shared.cache.borrow().most() / unit / 4;
            self.fetch_ahead(last + 1..last + 1 + REMOTE_AHEAD_BLOCKS.min(most));
        }
        let within = |at: u64| usize::try_from(at).expect("a place in a read");
        // From the pool, as reads of files: memory that is touched for the first time costs four times the copy.
        let mut bytes = BufferMut::with_capacity(within(end - position));
        for number in first..=last {
            let block = self.block(number).await?;
            let from = within(position.saturating_sub(number * unit));
            let to = block.len().min(within(end - number * unit));
            bytes.extend_from_slice(&block[from..to]);
        }
        Ok(bytes.freeze().into())
    }

    /// Whether a read is one more of somebody who goes on. A reader begins where the last whole batch of its read before
    /// ended.
    fn goes_on(&self, start: u64, end: u64) -> bool {
        let mut readers = self.readers.borrow_mut();
        let before = readers.iter().position(|before| before.start < start && start <= before.end);
        let run = before.and_then(|before| readers.remove(before)).map_or(0, |before| before.run);
        if readers.len() >= READERS_MAX {
            readers.pop_front();
        }
        readers.push_back(Reader { start, end, run: run + 1 });
        run + 1 >= RUN_MIN
    }

    /// Fetches blocks in tasks of their own, if they are not held and not on their way.
    fn fetch_ahead(&self, blocks: std::ops::Range<u64>) {
        let count = self.bytes.div_ceil(REMOTE_BLOCK_BYTES as u64);
        for number in blocks.start..blocks.end.min(count) {
            let (tier, key) = (self.tier.clone(), self.block_key(number));
            let shared = &self.tier.shared;
            if shared.cache.borrow().has(key) || shared.coming.borrow().contains_key(&key) {
                continue;
            }
            let (name, bytes) = (self.key.clone(), self.bytes);
            // What fails here fails again, and loudly, for whoever needs it.
            spawn(async move { drop(tier.block(key, (&name, bytes)).await) }).detach();
        }
    }

    const fn block_key(&self, block: u64) -> BlockKey {
        BlockKey { generation: self.name.generation, block }
    }

    async fn block(&self, number: u64) -> Result<Block, RemoteError> {
        self.tier.block(self.block_key(number), (&self.key, self.bytes)).await
    }

    /// Lets go of what is held of it: the next read is of the store.
    pub(crate) fn forget(&self) {
        self.tier.shared.cache.borrow_mut().forget(self.name.generation);
    }

    /// What was read of it is not what was written.
    pub(crate) fn note_unsound(&self) {
        self.tier.count(|stats| stats.unsound += 1);
    }

    /// Its index, if that is in the store, too, and sound.
    pub(crate) async fn index(&self) -> Option<Index> {
        let key = self.name.index(&self.prefix);
        let tier = &self.tier;
        let asked = tier.ask((Operation::Length, &key), tier.store().length(&key)).await;
        let len = asked.ok().flatten().filter(|len| *len <= SMALL_FILE_BYTES_MAX as u64)?;
        let bytes = tier.get(&key, 0..len).await.ok()?;
        let index = Index::decode(&bytes, self.name.generation, self.name.base);
        if let Err(error) = &index {
            tracing::warn!(key, %error, "an index in the object store is not used");
            self.note_unsound();
        }
        index.ok()
    }
}
