//! The newest offset of each key, in memory of a fixed size.
//!
//! An open table of hashes with linear probing, at most three quarters full. Keys come from strangers, so the hash is BLAKE3
//! keyed with a random key of the run, cut to 128 bits: two of 2^32 keys agree with a chance of 2^-65, and nobody can make
//! two that do. 24 bytes a slot, so 32 bytes a key when it is full.

use crate::ids::Offset;

/// Bytes of a slot.
const SLOT_BYTES: usize = 16 + 8;

/// A slot without a key.
const FREE: Offset = Offset::MAX;

/// Hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyHash(u128);

/// The map. Invariant: an offset in it is that of a record with the key, and no later record was offered with it.
pub(crate) struct OffsetMap {
    key: [u8; 32],
    hashes: Vec<u128>,
    offsets: Vec<Offset>,
    len: usize,
    len_max: usize,
}

impl OffsetMap {
    /// An empty map in at most `bytes_max` bytes, no larger than `keys` keys need, and with room for one key at least. `key`: random, of this run.
    pub(crate) fn new(key: [u8; 32], bytes_max: usize, keys: u64) -> Self {
        let keys = usize::try_from(keys).unwrap_or(usize::MAX).max(1);
        let slots = (bytes_max / SLOT_BYTES).min(keys.saturating_mul(4) / 3 + 4).max(4);
        let (hashes, offsets) = (vec![0; slots], vec![FREE; slots]);
        Self { key, hashes, offsets, len: 0, len_max: slots / 4 * 3 }
    }

    /// The hash of a key.
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        let hash = blake3::keyed_hash(&self.key, key);
        let mut cut = [0; 16];
        cut.copy_from_slice(&hash.as_bytes()[..16]);
        KeyHash(u128::from_le_bytes(cut))
    }

    /// Keys in it.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Most keys that it takes.
    pub(crate) const fn len_max(&self) -> usize {
        self.len_max
    }

    /// Takes note of a record; those of a key come in order. False if there is no room: nothing changed.
    pub(crate) fn insert(&mut self, hash: KeyHash, offset: Offset) -> bool {
        assert_ne!(offset, FREE, "an offset that no record has");
        let slot = self.slot_of(hash);
        if self.offsets[slot] == FREE {
            if self.len == self.len_max {
                return false;
            }
            self.len += 1;
            self.hashes[slot] = hash.0;
        }
        self.offsets[slot] = offset;
        true
    }

    /// Offset of the newest record with the key that was noted.
    pub(crate) fn newest(&self, hash: KeyHash) -> Option<Offset> {
        let newest = self.offsets[self.slot_of(hash)];
        (newest != FREE).then_some(newest)
    }

    /// The slot of the key, or the free one where it goes.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the product is below slots * 2^64, and its upper half below slots"
    )]
    fn slot_of(&self, hash: KeyHash) -> usize {
        let slots = self.offsets.len();
        let mut slot = (((hash.0 >> 64) * slots as u128) >> 64) as usize;
        while self.offsets[slot] != FREE && self.hashes[slot] != hash.0 {
            slot = if slot + 1 == slots { 0 } else { slot + 1 };
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use hashbrown::HashMap;
    use quickcheck::QuickCheck;

    use super::*;

    #[test]
    fn it_knows_the_newest_offset_of_every_key_that_it_took() {
        #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
        fn property(keys: Vec<u8>, bytes_max: u16) {
            let mut map = OffsetMap::new([9; 32], bytes_max.into(), keys.len() as u64);
            assert!(map.hashes.len() * SLOT_BYTES <= usize::from(bytes_max).max(4 * SLOT_BYTES));
            let mut model = HashMap::new();
            for (at, key) in keys.iter().enumerate() {
                let offset = Offset::new(70 + at as u64);
                let hash = map.hash(&[*key]);
                if map.insert(hash, offset) {
                    model.insert(*key, offset);
                } else {
                    assert!(!model.contains_key(key), "a key that is there has room");
                    assert_eq!(map.len(), map.len_max());
                }
            }
            for key in 0..=u8::MAX {
                assert_eq!(map.newest(map.hash(&[key])), model.get(&key).copied());
            }
            assert_eq!(map.len(), model.len());
        }
        QuickCheck::new().tests(1000).quickcheck(property as fn(_, _));
    }

    #[test]
    fn it_has_room_for_the_keys_that_were_expected_and_for_one_at_least() {
        let mut map = OffsetMap::new([0; 32], 1 << 20, 1000);
        for at in 0..1000_u64 {
            assert!(map.insert(map.hash(&at.to_le_bytes()), Offset::new(at)), "{at}");
        }
        let mut least = OffsetMap::new([0; 32], 0, 1000);
        assert!(least.insert(least.hash(b"one"), Offset::ZERO));
    }
}
