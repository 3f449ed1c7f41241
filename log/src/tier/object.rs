//! A segment in the store, read like a file: by blocks, from memory where they are held, ahead of who goes on.
//!
//! Of each MiB that is read on and on, the core touches what the checksum reads, and nothing else: one message brings a block,
//! the cache holds it as it came, and readers get slices of it. That works because blocks are cut where batches begin, by
//! the index; a batch is copied only if it is longer than two blocks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::task::Poll;

use pyralog_runtime::buffer::{BufferMut, Slice};
use pyralog_runtime::spawn;

use super::Tier;
use super::cache::{Block, BlockKey};
use super::name::ObjectName;
use crate::batch::{HEADER_BYTES, MARK_BYTES};
use crate::index::Index;
use crate::limits::{REMOTE_AHEAD_BLOCKS, REMOTE_BLOCK_BYTES, SMALL_FILE_BYTES_MAX};
use crate::remote::{Operation, RemoteError};
use crate::segment::FilePosition;

/// Reads of fewer bytes are copied, so that who keeps what it read keeps at most four times as much memory: a block has up to twice
/// [`REMOTE_BLOCK_BYTES`].
const SHARED_BYTES_MIN: u64 = REMOTE_BLOCK_BYTES as u64 / 2;

// What lies in so few bytes before a batch is a mark or the end of another batch, and never a batch.
const _: () = assert!(MARK_BYTES < HEADER_BYTES);

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
    /// Where blocks begin, the first at zero. Each has the mark before it, too: see [`Self::range_of`].
    cuts: RefCell<Vec<u64>>,
    /// What was read last, by whom it may be.
    readers: RefCell<VecDeque<Reader>>,
}

impl RemoteFile {
    /// The object of that length below the prefix of its partition. Nothing is asked of the store yet.
    pub(crate) fn new(tier: &Tier, prefix: String, name: ObjectName, bytes: u64) -> Self {
        let key = name.segment(&prefix);
        let cuts = RefCell::new(cuts(bytes, None));
        let (tier, readers) = (tier.clone(), RefCell::default());
        Self { tier, name, prefix, key, bytes, cuts, readers }
    }

    /// Its key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Its length.
    pub(crate) const fn len(&self) -> u64 {
        self.bytes
    }

    /// Blocks begin where batches do from now on, so far as the index knows batches.
    pub(crate) fn cut_by(&self, index: &Index) {
        *self.cuts.borrow_mut() = cuts(self.bytes, Some(index));
    }

    /// Up to `most` bytes at `position`, fewer if the object ends there, in pieces of which the first has at least the first
    /// `least`. They are parts of blocks, as they are held; only what does not lie in one block, and what is so
    /// little that it should not hold a whole block, is copied.
    pub(crate) async fn read(
        &self,
        position: u64,
        (least, most): (usize, usize),
    ) -> Result<Vec<Slice>, RemoteError> {
        let least_end = self.bytes.min(position.saturating_add(least as u64));
        let end = self.bytes.min(position.saturating_add(most as u64)).max(least_end);
        if position >= end {
            return Ok(vec![Slice::empty()]);
        }
        let first = self.number_at(position);
        let behind = self.cuts.borrow().partition_point(|cut| *cut < end);
        // All but the first are fetched beside it.
        self.fetch_ahead(first + 1..behind).await;
        if self.goes_on(position, end) {
            let held = self.tier.shared.cache.borrow().most() / REMOTE_BLOCK_BYTES as u64;
            let ahead = usize::try_from(REMOTE_AHEAD_BLOCKS.min(held / 4)).unwrap_or_default();
            self.fetch_ahead(behind..behind + ahead).await;
        }
        if end - position < SHARED_BYTES_MIN {
            return self.copied(position..end).await;
        }
        if self.range_of(first).end < least_end {
            return self.copied(position..least_end).await;
        }
        let (mut pieces, mut at) = (Vec::with_capacity(behind - first), position);
        for number in first..behind {
            let (range, block) = self.block(number).await?;
            let to = end.min(range.end);
            pieces.push(Slice::of_shared(block, within(at, &range)..within(to, &range)));
            at = to;
        }
        Ok(pieces)
    }

    /// These bytes in one piece of their own.
    async fn copied(&self, bytes: Range<u64>) -> Result<Vec<Slice>, RemoteError> {
        // From the pool, as reads of files: memory that is touched for the first time costs four times the copy.
        let mut copy = BufferMut::with_capacity(within(bytes.end, &bytes));
        let mut at = bytes.start;
        while at < bytes.end {
            let (range, block) = self.block(self.number_at(at)).await?;
            let to = bytes.end.min(range.end);
            copy.extend_from_slice(&block[within(at, &range)..within(to, &range)]);
            at = to;
        }
        Ok(vec![copy.freeze().into()])
    }

    /// The block in which a read at `position` begins.
    fn number_at(&self, position: u64) -> usize {
        let cuts = self.cuts.borrow();
        cuts.partition_point(|cut| cut.saturating_sub(MARK_BYTES as u64) <= position) - 1
    }

    /// The bytes of a block: from the mark that may lie before its first batch to the first batch of the next block. Whoever
    /// has read a block to the end of its last batch goes on at the mark behind, and does not need that block for it.
    fn range_of(&self, number: usize) -> Range<u64> {
        let cuts = self.cuts.borrow();
        let start = cuts[number].saturating_sub(MARK_BYTES as u64);
        start..cuts.get(number + 1).copied().unwrap_or(self.bytes)
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

    /// Begins to fetch blocks, if they are not held and not on their way; tasks of their own take them in. The store is asked before
    /// this resolves: who reads on may keep the core for a millisecond, and the store would have nothing to do meanwhile.
    async fn fetch_ahead(&self, blocks: Range<usize>) {
        let count = self.cuts.borrow().len();
        for number in blocks.start..blocks.end.min(count) {
            let (tier, key) = (self.tier.clone(), self.block_key(number));
            let shared = &self.tier.shared;
            if shared.cache.borrow().has(&key) || shared.coming.borrow().contains_key(&key) {
                continue;
            }
            let name = self.key.clone();
            // What fails here fails again, and loudly, for whoever needs it.
            let mut fetching = Box::pin(async move { drop(tier.block(key, &name).await) });
            let begun = poll_fn(|context| Poll::Ready(fetching.as_mut().poll(context))).await;
            if begun.is_pending() {
                spawn(fetching).detach();
            }
        }
    }

    fn block_key(&self, number: usize) -> BlockKey {
        let Range { start, end } = self.range_of(number);
        BlockKey { generation: self.name.generation, start, end }
    }

    /// A block, and which bytes it has.
    async fn block(&self, number: usize) -> Result<(Range<u64>, Block), RemoteError> {
        let key = self.block_key(number);
        Ok((key.start..key.end, self.tier.block(key, &self.key).await?))
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
        let bytes = tier.get(&key, (0..len, Vec::new())).await.ok()?;
        let index = Index::decode(&bytes, self.name.generation, self.name.base);
        if let Err(error) = &index {
            tracing::warn!(key, %error, "an index in the object store is not used");
            self.note_unsound();
        }
        index.ok()
    }
}

/// Where a place lies in a range of bytes that are in memory.
fn within(place: u64, range: &Range<u64>) -> usize {
    usize::try_from(place - range.start).expect("a place in a block or a read")
}

/// Where the blocks of an object of that many bytes begin: at batches that the index knows, if it has one. A block has from a half
/// to the whole of [`REMOTE_BLOCK_BYTES`], or up to twice as many if no batch begins there; if none begins there either, it ends
/// anywhere.
fn cuts(bytes: u64, index: Option<&Index>) -> Vec<u64> {
    let unit = REMOTE_BLOCK_BYTES as u64;
    let (mut cuts, mut last) = (vec![0], 0);
    while bytes - last > unit {
        let at = index.and_then(|index| batch_near(index, last, bytes)).unwrap_or(last + unit);
        if at >= bytes {
            break;
        }
        cuts.push(at);
        last = at;
    }
    cuts
}

/// Where a block that begins at `last` should end, in an object of that many bytes.
fn batch_near(index: &Index, last: u64, bytes: u64) -> Option<u64> {
    let unit = REMOTE_BLOCK_BYTES as u64;
    let before = index.entry_before(FilePosition::new(last + unit + 1));
    let before = before.map(|entry| entry.position.get()).filter(|before| *before > last);
    if before.is_some_and(|before| before - last >= unit / 2) {
        return before;
    }
    let after = index.entry_after(FilePosition::new(last + unit));
    let after = after.map_or(bytes, |entry| entry.position.get());
    if after <= last + 2 * unit { Some(after) } else { before }
}

#[cfg(test)]
mod tests;
