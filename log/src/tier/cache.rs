//! Blocks of objects in memory; the one that was not used for longest goes.

use std::collections::BTreeMap;
use std::rc::Rc;

/// The bytes of a block, as they came: readers get parts of them, and may hold them for longer than the cache does.
pub(super) type Block = Rc<Vec<u8>>;

/// Names a block: the segment by its generation, and which bytes of the object it has. Blocks that were cut in other ways
/// have other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlockKey {
    pub(super) generation: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The blocks. Invariant: `held` is the memory of all of them, and at most `most` unless there is one alone.
#[derive(Debug)]
pub(super) struct Cache {
    blocks: BTreeMap<BlockKey, (Block, u64)>,
    /// By the moment of their last use.
    uses: BTreeMap<u64, BlockKey>,
    moment: u64,
    held: u64,
    most: u64,
}

impl Cache {
    pub(super) const fn new(most: u64) -> Self {
        Self { blocks: BTreeMap::new(), uses: BTreeMap::new(), moment: 0, held: 0, most }
    }

    pub(super) const fn held(&self) -> u64 {
        self.held
    }

    pub(super) const fn most(&self) -> u64 {
        self.most
    }

    pub(super) fn has(&self, key: &BlockKey) -> bool {
        self.blocks.contains_key(key)
    }

    pub(super) fn find(&mut self, key: BlockKey) -> Option<Block> {
        let (block, used) = self.blocks.get_mut(&key)?;
        self.moment += 1;
        self.uses.remove(used);
        self.uses.insert(self.moment, key);
        *used = self.moment;
        Some(block.clone())
    }

    pub(super) fn keep(&mut self, key: BlockKey, block: Block) {
        self.drop_block(key);
        self.held += block.capacity() as u64;
        self.moment += 1;
        self.uses.insert(self.moment, key);
        self.blocks.insert(key, (block, self.moment));
        while self.held > self.most
            && self.uses.len() > 1
            && let Some((_, oldest)) = self.uses.first_key_value()
        {
            self.drop_block(*oldest);
        }
    }

    /// Makes room for a block of so many bytes that is about to come, and gives the memory of one that goes for it, if that is enough
    /// and nobody else holds it: the system gives and takes memory by the page.
    pub(super) fn make_room(&mut self, bytes: u64) -> Vec<u8> {
        let mut memory = Vec::new();
        while self.held + bytes > self.most
            && let Some((_, oldest)) = self.uses.first_key_value()
        {
            let block = self.drop_block(*oldest).and_then(|block| Rc::try_unwrap(block).ok());
            if let Some(block) = block.filter(|block| block.capacity() as u64 >= bytes) {
                memory = block;
            }
        }
        memory
    }

    /// Lets go of the blocks of a segment.
    pub(super) fn forget(&mut self, generation: u64) {
        let of = |place| BlockKey { generation, start: place, end: place };
        let keys: Vec<_> = self.blocks.range(of(0)..=of(u64::MAX)).map(|(key, _)| *key).collect();
        for key in keys {
            self.drop_block(key);
        }
    }

    fn drop_block(&mut self, key: BlockKey) -> Option<Block> {
        let (block, used) = self.blocks.remove(&key)?;
        self.held -= block.capacity() as u64;
        self.uses.remove(&used);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(len: usize) -> Block {
        Rc::new(vec![7; len])
    }

    const fn key(generation: u64, start: u64) -> BlockKey {
        BlockKey { generation, start, end: start + 1 }
    }

    #[test]
    fn the_block_that_was_not_used_for_longest_goes_and_bytes_are_counted() {
        let mut cache = Cache::new(300);
        for number in 0..3 {
            cache.keep(key(1, number), block(100));
        }
        assert!(cache.find(key(1, 0)).is_some());
        cache.keep(key(2, 0), block(100));
        let has = [key(1, 0), key(1, 1), key(1, 2), key(2, 0)].map(|key| cache.has(&key));
        assert_eq!((has, cache.held()), ([true, false, true, true], 300));
        cache.keep(key(2, 0), block(40));
        assert_eq!(cache.held(), 240, "kept again is kept once");
        cache.forget(1);
        let has = [key(1, 0), key(1, 2), key(2, 0)].map(|key| cache.has(&key));
        assert_eq!((has, cache.held()), ([false, false, true], 40));
        cache.keep(key(3, 0), block(1000));
        assert_eq!(cache.held(), 1000, "one alone may be larger");
    }

    #[test]
    fn room_is_made_of_the_oldest_blocks_and_memory_that_nobody_holds_is_used_again() {
        let mut cache = Cache::new(300);
        let blocks = [0, 1, 2].map(|number| (key(1, number), block(100)));
        let [first, second, third] = blocks;
        let reader = Rc::clone(&first.1);
        for (key, block) in [first, second, third] {
            cache.keep(key, block);
        }
        assert_eq!(cache.make_room(0).capacity(), 0, "there is room");
        assert_eq!(cache.make_room(100).capacity(), 0, "a reader holds the first");
        assert_eq!((reader.as_slice(), cache.held()), ([7; 100].as_slice(), 200));
        let memory = cache.make_room(150);
        assert_eq!((memory.capacity(), cache.held()), (0, 100), "too little");
        let memory = cache.make_room(300);
        assert_eq!((memory.capacity(), cache.held()), (0, 0));
        cache.keep(key(2, 0), block(200));
        let place = cache.find(key(2, 0)).map(|block| block.as_ptr());
        let memory = cache.make_room(150);
        assert_eq!((Some(memory.as_ptr()), cache.held()), (place, 0));
    }
}
