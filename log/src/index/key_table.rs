//! The latest offset of each key of one segment, in memory, by hash.
//!
//! Keys are known by their 64-bit hash alone: whoever finds an offset here looks at the record. If two
//! keys have the same hash, the table has the newer one, and whoever looks for the older one finds
//! another key at the record and scans the segment.
//!
//! The table is cut into 256 shards by the high bits of the hash. Each grows by itself, so no insertion
//! moves more than a 256th of it, and each is sorted by itself when the table becomes a file. A table
//! that is full gives up the upper half of the shards that it covers, which is the same half whatever
//! the order of the keys: a file of more keys than fit is made in several passes over the segment,
//! each of which takes the shards from where the one before gave up.

use std::ops::Range;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::ids::Offset;

/// Number of shards: a power of two.
pub(crate) const SHARDS: usize = 256;

/// What a table knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its latest record is here, or that of another key with the same hash.
    At(Offset),
    /// It has no record.
    Absent,
    /// Nothing: only the segment tells.
    Unknown,
}

/// The table. Invariant: of every key of the records from `segment` to `end`, but for those in `unread`,
/// whose hash falls into a covered shard, that shard has the latest offset.
#[derive(Debug)]
pub(crate) struct KeyTable {
    segment: Offset,
    end: Offset,
    shards: Vec<HashMap<u64, Offset>>,
    covered: Range<usize>,
    len: usize,
    keys_max: usize,
    /// The last records that could not be read.
    unread: Option<Range<Offset>>,
}

impl KeyTable {
    /// An empty table of the segment at `segment`, for keys of the shards from `first` on.
    pub(crate) fn new(segment: Offset, first: usize, keys_max: usize) -> Self {
        assert!(first < SHARDS, "shard {first} of {SHARDS}");
        let shards = vec![HashMap::new(); SHARDS];
        Self {
            segment,
            end: segment,
            shards,
            covered: first..SHARDS,
            len: 0,
            keys_max,
            unread: None,
        }
    }

    /// Base offset of the segment.
    pub(crate) const fn segment(&self) -> Offset {
        self.segment
    }

    /// Offset after the last record noted.
    pub(crate) const fn end(&self) -> Offset {
        self.end
    }

    /// The shards of which it knows all keys.
    pub(crate) fn covered(&self) -> Range<usize> {
        self.covered.clone()
    }

    /// Number of keys held.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The last records that could not be read.
    pub(crate) const fn unread(&self) -> Option<&Range<Offset>> {
        self.unread.as_ref()
    }

    /// Whether it knows every key of the segment.
    pub(crate) fn is_whole(&self) -> bool {
        self.covered == (0..SHARDS) && self.unread.is_none()
    }

    /// Notes a record.
    pub(crate) fn insert(&mut self, hash: u64, offset: Offset) {
        let shard = shard_of(hash);
        if !self.covered.contains(&shard) {
            return;
        }
        match self.shards[shard].entry(hash) {
            Entry::Occupied(mut found) => {
                let latest = (*found.get()).max(offset);
                found.insert(latest);
            }
            Entry::Vacant(place) if self.len < self.keys_max => {
                place.insert(offset);
                self.len += 1;
            }
            Entry::Vacant(_) => {
                self.narrow();
                self.insert(hash, offset);
            }
        }
    }

    /// Everything before `end` is noted.
    pub(crate) fn advance(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// The records in `offsets` cannot be read: what keys they have is not known.
    pub(crate) fn skip(&mut self, offsets: Range<Offset>) {
        self.advance(offsets.end);
        self.unread = Some(offsets);
    }

    /// Whether there is no room for a key that is not in it.
    pub(crate) const fn is_full(&self) -> bool {
        self.len >= self.keys_max
    }

    /// Forgets records below `low`, which nobody can read any more.
    pub(crate) fn forget_below(&mut self, low: Offset) {
        for shard in &mut self.shards[self.covered.clone()] {
            let before = shard.len();
            shard.retain(|_, offset| *offset >= low);
            self.len -= before - shard.len();
        }
    }

    /// Gives up the upper half of the covered shards, or the only one.
    pub(crate) fn narrow(&mut self) {
        let kept = self.covered.start..self.covered.start + self.covered.len() / 2;
        for shard in &mut self.shards[kept.end..self.covered.end] {
            self.len -= shard.len();
            *shard = HashMap::new();
        }
        self.covered = kept;
    }

    /// What it knows of the key with this hash.
    pub(crate) fn find(&self, hash: u64) -> Found {
        let shard = shard_of(hash);
        if !self.covered.contains(&shard) {
            return Found::Unknown;
        }
        self.shards[shard].get(&hash).map_or(Found::Absent, |offset| Found::At(*offset))
    }

    /// Hashes and offsets of some shards, in order of the hashes.
    pub(crate) fn sorted(&self, shards: Range<usize>) -> Vec<(u64, Offset)> {
        let mut all: Vec<_> = self.shards[shards].iter().flatten().map(|(h, o)| (*h, *o)).collect();
        all.sort_unstable();
        all
    }
}

/// The shard of a hash: its high bits.
#[expect(clippy::cast_possible_truncation, reason = "8 bits are left")]
const fn shard_of(hash: u64) -> usize {
    (hash >> (u64::BITS - SHARDS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use quickcheck::QuickCheck;

    use super::*;
    use crate::index::pphm;

    fn table(keys_max: usize) -> KeyTable {
        KeyTable::new(Offset::new(100), 0, keys_max)
    }

    #[test]
    fn a_table_knows_the_latest_offset_of_what_it_covers_and_says_what_it_does_not() {
        #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
        fn property(records: Vec<(u8, u64)>, keys_max: u8) {
            let keys_max = usize::from(keys_max) + 1;
            let (mut table, mut model) = (table(keys_max), HashMap::new());
            for (at, (spread, hash)) in records.iter().enumerate() {
                let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (spread % 3);
                let offset = Offset::new(100 + at as u64);
                table.insert(hash, offset);
                model.insert(hash, offset);
                assert!(table.len() <= keys_max);
            }
            for (hash, offset) in &model {
                match table.find(*hash) {
                    Found::Unknown => assert!(!table.covered().contains(&shard_of(*hash))),
                    found => assert_eq!(found, Found::At(*offset)),
                }
            }
            let held = table.sorted(table.covered());
            assert_eq!(held.len(), table.len());
            assert!(held.is_sorted_by(|one, other| one.0 < other.0));
        }
        QuickCheck::new().tests(500).quickcheck(property as fn(_, _));
    }

    #[test]
    fn what_a_full_table_covers_does_not_depend_on_the_order_of_the_keys() {
        fn property(mut hashes: Vec<u64>, keys_max: u8) {
            let keys_max = usize::from(keys_max % 16) + 1;
            let cover = |hashes: &[u64]| {
                let mut table = table(keys_max);
                for hash in hashes {
                    table.insert(*hash, Offset::new(100));
                }
                table.covered()
            };
            let first = cover(&hashes);
            hashes.sort_unstable();
            assert_eq!(cover(&hashes), first);
            hashes.reverse();
            assert_eq!(cover(&hashes), first);
        }
        QuickCheck::new().tests(500).quickcheck(property as fn(_, _));
    }

    #[test]
    fn passes_over_a_segment_cover_every_key_once() {
        let hashes: Vec<u64> =
            (0..5000_u64).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let (mut first, mut seen, mut passes) = (0, Vec::new(), 0);
        while first < SHARDS {
            let mut pass = KeyTable::new(Offset::ZERO, first, 700);
            for hash in &hashes {
                pass.insert(*hash, Offset::ZERO);
            }
            assert!(!pass.covered().is_empty());
            seen.extend(pass.sorted(pass.covered()).into_iter().map(|(hash, _)| hash));
            (first, passes) = (pass.covered().end, passes + 1);
        }
        let mut expected = hashes;
        expected.sort_unstable();
        assert!(seen == expected && passes >= 8, "{} keys in {passes} passes", seen.len());
    }

    #[test]
    fn a_table_of_keys_that_all_share_a_shard_gives_up_and_says_so() {
        let mut table = table(3);
        (0..10).for_each(|hash| table.insert(hash, Offset::new(100)));
        assert_eq!((table.len(), table.covered().len()), (0, 0));
        assert_eq!((table.find(1), table.is_whole()), (Found::Unknown, false));
    }

    #[test]
    fn a_full_table_takes_the_memory_that_its_limit_says() {
        let mut table = table(1 << 18);
        for at in 0..1 << 18 {
            table.insert(pphm::hash(1, &u64::to_le_bytes(at)), Offset::new(at));
        }
        assert_eq!((table.len(), table.covered()), (1 << 18, 0..SHARDS));
        // Seven of eight buckets are used at most; each has 16 bytes and one of control.
        let buckets: usize = table.shards.iter().map(|shard| shard.capacity() / 7 * 8).sum();
        let bytes = buckets * 17 / table.len();
        assert!((19..=39).contains(&bytes), "{bytes} bytes per key");
    }

    #[test]
    fn records_that_are_gone_make_room() {
        let mut table = table(4);
        (0..4_u64).for_each(|at| table.insert(at << 60, Offset::new(100 + at)));
        assert!(table.is_full());
        table.forget_below(Offset::new(102));
        assert_eq!((table.len(), table.find(0)), (2, Found::Absent));
        assert_eq!(table.find(3 << 60), Found::At(Offset::new(103)));
    }
}
