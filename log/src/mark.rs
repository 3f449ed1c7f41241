//! The commit mark: 64 bytes at the start of every group, by which recovery knows its own.
//!
//! One group is one disk write. Its mark tells how long it is, what its batches must be, which
//! records were on stable storage when it was written, and in whose life of the file it was
//! written. A mark is taken for ours only if all of these agree: the magic, its checksum, its own
//! position, and the *stamp*.
//!
//! ```text
//!   0       4     8       16         24          28            32            40
//!   | magic | crc | stamp | position | group_len | batches_crc | base_offset | synced_offset
//!   48            52      56     64
//!   | incarnation | flags | time |
//! ```
//!
//! The stamp is SipHash-2-4 of (position, incarnation) under the generation of the segment file, a
//! random number of its header that never leaves the node. Content of an earlier life of the file
//! has another generation, so its stamps are wrong; and a producer, who sees the marks of what was
//! written but no key, cannot put a record on disk that recovery would take for a mark.
//! Rejected: the bare generation in the mark. Fetched streams hold marks, so every reader would
//! learn it, and could then append records full of marks for positions to come.

use std::fmt;

use crate::batch::{MARK_BYTES, MARK_MAGIC};
use crate::ids::{LogId, Offset, PartitionId, Timestamp};
use crate::layout::{i64_at, put, u32_at, u64_at};
use crate::segment::FilePosition;

const CRC: usize = 4;
const STAMP: usize = 8;
const POSITION: usize = 16;
const GROUP_LEN: usize = 24;
const BATCHES_CRC: usize = 28;
const BASE_OFFSET: usize = 32;
const SYNCED_OFFSET: usize = 40;
const INCARNATION: usize = 48;
const FLAGS: usize = 52;
const TIME: usize = 56;

/// A life of a partition, from one recovery to the next. Marks of an earlier life that lie beyond
/// the point where it was cut have a lower one than the mark at the cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u32);

impl Incarnation {
    /// Wraps a raw number.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The incarnation of the next recovery.
    ///
    /// # Panics
    /// After 2^32 recoveries: one a second takes 136 years.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^32 recoveries of one partition"))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A set of the flags of a mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MarkFlags(u32);

impl MarkFlags {
    /// An ordinary group.
    pub const NONE: Self = Self(0);
    /// First mark of an incarnation or of a segment: the incarnation may rise here and only here.
    pub const OPENING: Self = Self(1);
    /// The partition was closed after this mark, with everything below it on stable storage.
    pub const CLEAN: Self = Self(2);
    /// Written because nothing else was: it says how far the records before it were synced.
    pub const IDLE: Self = Self(4);

    /// The bits used in the format.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The flags of bits used in the format, or `None` if a bit stands for nothing.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits <= 7 { Some(Self(bits)) } else { None }
    }

    /// These flags and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The key that stamps the marks of one life of a segment file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StampKey {
    generation: u64,
    owner: u64,
}

impl StampKey {
    /// The key of a file's generation in a partition.
    #[must_use]
    pub const fn new(generation: u64, log: LogId, partition: PartitionId) -> Self {
        let owner = log.get().rotate_left(32) ^ partition.get() as u64;
        Self { generation, owner }
    }

    /// The stamp of a mark.
    fn stamp(self, position: FilePosition, incarnation: Incarnation) -> u64 {
        sip_2_4([self.generation, self.owner], position.get(), u64::from(incarnation.get()))
    }
}

impl fmt::Debug for StampKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StampKey(..)") // Logs are read by more people than disks.
    }
}

/// A commit mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where it lies in its file, a multiple of 64.
    pub position: FilePosition,
    /// Bytes of the group after the mark, a multiple of 64; zero for a mark alone.
    pub group_len: u32,
    /// CRC32C over the 128-byte headers of the group's batches, in order.
    pub batches_crc: u32,
    /// Offset of the group's first record, or of the next one if the group is empty.
    pub base_offset: Offset,
    /// Every record below it was on stable storage when this mark was written.
    pub synced_offset: Offset,
    /// The life of the partition that wrote it.
    pub incarnation: Incarnation,
    /// Opening, clean, idle.
    pub flags: MarkFlags,
    /// When it was written.
    pub time: Timestamp,
}

/// Why 64 bytes are not a mark of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// No mark: zeros, the middle of something, or a damaged magic.
    Magic,
    /// The checksum does not match.
    Checksum,
    /// A sound mark of another position: the medium misplaced it, or a record contains it.
    Position,
    /// A sound mark of another life of the file, or of another file.
    Stamp,
    /// A sound mark with flags or offsets that no mark has.
    Fields,
}

impl Mark {
    /// The mark as stored.
    ///
    /// # Panics
    /// If the mark claims that records at or above its own were synced, or lengths or positions
    /// are not multiples of 64: the caller miscounted.
    #[must_use]
    pub fn encode(&self, key: StampKey) -> [u8; MARK_BYTES] {
        let (synced, base) = (self.synced_offset, self.base_offset);
        assert!(synced <= base, "synced {synced} above the mark's own {base}");
        assert!(self.position.get().is_multiple_of(64), "mark at {}", self.position);
        assert!(self.group_len.is_multiple_of(64), "group of {} bytes", self.group_len);
        let mut bytes = [0; MARK_BYTES];
        put(&mut bytes, 0, MARK_MAGIC.to_le_bytes());
        put(&mut bytes, STAMP, key.stamp(self.position, self.incarnation).to_le_bytes());
        put(&mut bytes, POSITION, self.position.get().to_le_bytes());
        put(&mut bytes, GROUP_LEN, self.group_len.to_le_bytes());
        put(&mut bytes, BATCHES_CRC, self.batches_crc.to_le_bytes());
        put(&mut bytes, BASE_OFFSET, base.get().to_le_bytes());
        put(&mut bytes, SYNCED_OFFSET, synced.get().to_le_bytes());
        put(&mut bytes, INCARNATION, self.incarnation.get().to_le_bytes());
        put(&mut bytes, FLAGS, self.flags.bits().to_le_bytes());
        put(&mut bytes, TIME, self.time.get().to_le_bytes());
        let crc = crc32c::crc32c(&bytes[STAMP..]);
        put(&mut bytes, CRC, crc.to_le_bytes());
        bytes
    }

    /// The mark at the start of `bytes`, which lie at `position` of the file that `key` stamps.
    ///
    /// # Errors
    /// Why it is not a mark of ours at that place.
    pub fn decode(bytes: &[u8], position: FilePosition, key: StampKey) -> Result<Self, NotOurs> {
        let bytes: &[u8; MARK_BYTES] = bytes.first_chunk().ok_or(NotOurs::Magic)?;
        if u32_at(bytes, 0) != MARK_MAGIC {
            return Err(NotOurs::Magic);
        }
        if u32_at(bytes, CRC) != crc32c::crc32c(&bytes[STAMP..]) {
            return Err(NotOurs::Checksum);
        }
        if u64_at(bytes, POSITION) != position.get() {
            return Err(NotOurs::Position);
        }
        let incarnation = Incarnation::new(u32_at(bytes, INCARNATION));
        if u64_at(bytes, STAMP) != key.stamp(position, incarnation) {
            return Err(NotOurs::Stamp);
        }
        let mark = Self {
            position,
            group_len: u32_at(bytes, GROUP_LEN),
            batches_crc: u32_at(bytes, BATCHES_CRC),
            base_offset: Offset::new(u64_at(bytes, BASE_OFFSET)),
            synced_offset: Offset::new(u64_at(bytes, SYNCED_OFFSET)),
            incarnation,
            flags: MarkFlags::from_bits(u32_at(bytes, FLAGS)).ok_or(NotOurs::Fields)?,
            time: Timestamp::new(i64_at(bytes, TIME)),
        };
        let sound = mark.synced_offset <= mark.base_offset && mark.group_len.is_multiple_of(64);
        if sound { Ok(mark) } else { Err(NotOurs::Fields) }
    }

    /// Where the next mark lies.
    #[must_use]
    pub fn next_position(&self) -> FilePosition {
        self.position.plus(MARK_BYTES as u64 + u64::from(self.group_len))
    }
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) of two words: a keyed function that nobody without
/// the key predicts, which a checksum is not.
fn sip_2_4(key: [u64; 2], first: u64, second: u64) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    for word in [first, second, 16 << 56] {
        state[3] ^= word;
        sip_round(&mut state);
        sip_round(&mut state);
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    for _ in 0..4 {
        sip_round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn sip_round(state: &mut [u64; 4]) {
    let [a, b, c, d] = state;
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use quickcheck::QuickCheck;

    use super::*;

    fn key(generation: u64) -> StampKey {
        StampKey::new(generation, LogId::new(7), PartitionId::new(1))
    }

    fn mark() -> Mark {
        Mark {
            position: FilePosition::new(4160),
            group_len: 192,
            batches_crc: 0x0102_0304,
            base_offset: Offset::new(1000),
            synced_offset: Offset::new(990),
            incarnation: Incarnation::new(3),
            flags: MarkFlags::OPENING,
            time: Timestamp::new(1_700_000_000_000_000),
        }
    }

    #[test]
    fn the_stamp_is_siphash_2_4() {
        // Reference vector: key 00..0f, message 00..0f, from the authors' vectors.h, entry 16.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let found = sip_2_4(key, 0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(found, 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn a_mark_is_ours_only_in_its_own_place_and_generation() {
        let bytes = mark().encode(key(5));
        assert_eq!(Mark::decode(&bytes, FilePosition::new(4160), key(5)), Ok(mark()));
        let elsewhere = Mark::decode(&bytes, FilePosition::new(4224), key(5));
        assert_eq!(elsewhere, Err(NotOurs::Position));
        let earlier_life = Mark::decode(&bytes, FilePosition::new(4160), key(6));
        assert_eq!(earlier_life, Err(NotOurs::Stamp));
        let other_partition = StampKey::new(5, LogId::new(7), PartitionId::new(2));
        let found = Mark::decode(&bytes, FilePosition::new(4160), other_partition);
        assert_eq!(found, Err(NotOurs::Stamp));
    }

    #[test]
    fn a_flipped_bit_is_never_a_mark() {
        let bytes = mark().encode(key(5));
        for bit in 0..MARK_BYTES * 8 {
            let mut broken = bytes;
            broken[bit / 8] ^= 1 << (bit % 8);
            let found = Mark::decode(&broken, FilePosition::new(4160), key(5));
            assert!(found.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_forged_mark_without_the_key_is_not_ours() {
        // The forger knows everything but the generation, and fixes the checksum.
        let mut bytes = mark().encode(key(5));
        let next = FilePosition::new(8256);
        put(&mut bytes, POSITION, next.get().to_le_bytes());
        let crc = crc32c::crc32c(&bytes[STAMP..]);
        put(&mut bytes, CRC, crc.to_le_bytes());
        assert_eq!(Mark::decode(&bytes, next, key(5)), Err(NotOurs::Stamp));
    }

    #[test]
    fn random_bytes_are_never_a_mark() {
        #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
        fn property(bytes: Vec<u8>, position: u32) -> bool {
            Mark::decode(&bytes, FilePosition::new(u64::from(position)), key(5)).is_err()
        }
        QuickCheck::new().tests(5_000).quickcheck(property as fn(_, _) -> _);
    }
}
