//! The segment: one file of a partition, a header block and then the stream of groups.
//!
//! The header is one 4 KiB block, written twice within it (at 0 and at 2048), so that a rotten
//! sector does not take the generation with it, without which no mark of the file can be told from
//! what the file held in its former life. A file that is prepared before it is needed has no base
//! offset yet; it gets one, and its name, when the partition rolls into it.

use std::fmt;

use crate::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
use crate::layout::{i64_at, put, u32_at, u64_at};
use crate::mark::StampKey;

/// Unit of direct I/O: every write starts and ends at a multiple of it.
pub const BLOCK_BYTES: usize = 4096;

/// The block before the stream.
pub const SEGMENT_HEADER_BYTES: usize = BLOCK_BYTES;

/// Magic at the start of a segment file.
pub const SEGMENT_MAGIC: [u8; 8] = *b"PYSEG001";

/// Version of the segment format.
pub const SEGMENT_VERSION: u32 = 1;

const COPIES: [usize; 2] = [0, 2048];
const COPY_BYTES: usize = 96;
const VERSION: usize = 8;
const CRC: usize = 12;
const GENERATION: usize = 16;
const LOG: usize = 24;
const PARTITION: usize = 32;
const BASE_OFFSET: usize = 40;
const EPOCH: usize = 48;
const CREATED: usize = 56;
const SEGMENT_BYTES: usize = 64;
const NO_BASE: u64 = u64::MAX;

/// A place in a segment file, in bytes from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePosition(u64);

impl FilePosition {
    /// Where the stream starts.
    pub const STREAM_START: Self = Self(SEGMENT_HEADER_BYTES as u64);

    /// Wraps a number of bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes from the start of the file.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The place `bytes` further on.
    ///
    /// # Panics
    /// Beyond 2^64 bytes: no file is that long.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0.checked_add(bytes).expect("a file position below 2^64"))
    }

    /// Bytes from `earlier` to here, zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Start of the block that contains this place.
    #[must_use]
    pub const fn block_start(self) -> Self {
        Self(self.0 - self.0 % BLOCK_BYTES as u64)
    }

    /// The first block boundary at or after this place.
    #[must_use]
    pub const fn block_end(self) -> Self {
        Self(self.0.next_multiple_of(BLOCK_BYTES as u64))
    }

    /// Bytes from the start of the block to here.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 4096")]
    pub const fn in_block(self) -> usize {
        (self.0 % BLOCK_BYTES as u64) as usize
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What the header block of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Random number of this life of the file; secret to the node.
    pub generation: u64,
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: PartitionId,
    /// Offset of the first record; `None` in a file that is prepared but not yet in use.
    pub base_offset: Option<Offset>,
    /// Epoch of the partition when the segment was begun.
    pub epoch: Epoch,
    /// When the file was prepared.
    pub created: Timestamp,
    /// Length at which the partition rolls to the next segment.
    pub segment_bytes: u64,
}

impl SegmentHeader {
    /// The header block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        let mut copy = [0; COPY_BYTES];
        put(&mut copy, 0, SEGMENT_MAGIC);
        put(&mut copy, VERSION, SEGMENT_VERSION.to_le_bytes());
        put(&mut copy, GENERATION, self.generation.to_le_bytes());
        put(&mut copy, LOG, self.log.get().to_le_bytes());
        put(&mut copy, PARTITION, self.partition.get().to_le_bytes());
        let base = self.base_offset.map_or(NO_BASE, Offset::get);
        put(&mut copy, BASE_OFFSET, base.to_le_bytes());
        put(&mut copy, EPOCH, self.epoch.get().to_le_bytes());
        put(&mut copy, CREATED, self.created.get().to_le_bytes());
        put(&mut copy, SEGMENT_BYTES, self.segment_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&copy[GENERATION..]);
        put(&mut copy, CRC, crc.to_le_bytes());
        for at in COPIES {
            block[at..at + COPY_BYTES].copy_from_slice(&copy);
        }
        block
    }

    /// The header in `block`, from whichever copy is sound; `None` if neither is.
    #[must_use]
    pub fn decode(block: &[u8]) -> Option<Self> {
        COPIES.iter().find_map(|at| Self::decode_copy(block.get(*at..at + COPY_BYTES)?))
    }

    fn decode_copy(copy: &[u8]) -> Option<Self> {
        let sound = copy[..VERSION] == SEGMENT_MAGIC
            && u32_at(copy, VERSION) == SEGMENT_VERSION
            && u32_at(copy, CRC) == crc32c::crc32c(&copy[GENERATION..]);
        if !sound {
            return None;
        }
        let base = u64_at(copy, BASE_OFFSET);
        Some(Self {
            generation: u64_at(copy, GENERATION),
            log: LogId::new(u64_at(copy, LOG)),
            partition: PartitionId::new(u32_at(copy, PARTITION)),
            base_offset: (base != NO_BASE).then_some(Offset::new(base)),
            epoch: Epoch::new(u64_at(copy, EPOCH)),
            created: Timestamp::new(i64_at(copy, CREATED)),
            segment_bytes: u64_at(copy, SEGMENT_BYTES),
        })
    }

    /// The key that stamps the marks of this life of the file.
    #[must_use]
    pub const fn key(&self) -> StampKey {
        StampKey::new(self.generation, self.log, self.partition)
    }
}

/// File name of the segment that starts at `base`.
#[must_use]
pub fn segment_name(base: Offset) -> String {
    format!("{base:020}.seg")
}

/// File name of the index of the segment that starts at `base`.
#[must_use]
pub fn index_name(base: Offset) -> String {
    format!("{base:020}.idx")
}

/// File name of the index of keys of the segment that starts at `base`.
#[must_use]
pub fn keys_name(base: Offset) -> String {
    format!("{base:020}.keys")
}

/// File name of the root of the segment that starts at `base`.
#[must_use]
pub fn root_name(base: Offset) -> String {
    format!("{base:020}.root")
}

/// The names of what is made of the segment that starts at `base`, and can be made again.
pub(crate) fn advisory_names(base: Offset) -> [String; 3] {
    [index_name(base), keys_name(base), root_name(base)]
}

/// The base offset in the name of a segment file, or `None` if it is no such name.
#[must_use]
pub fn parse_segment_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".seg")?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { digits.parse().ok().map(Offset::new) } else { None }
}

/// The base offset in the name of a file that was made of a segment, or `None` if it is no such name.
pub(crate) fn parse_advisory_name(name: &str) -> Option<Offset> {
    let suffixes = [".idx", ".keys", ".root"];
    let stem = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix))?;
    parse_segment_name(&format!("{stem}.seg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            generation: 0x1122_3344_5566_7788,
            log: LogId::new(9),
            partition: PartitionId::new(2),
            base_offset: Some(Offset::new(42)),
            epoch: Epoch::new(1),
            created: Timestamp::new(1_700_000_000_000_000),
            segment_bytes: 1 << 30,
        }
    }

    #[test]
    fn a_header_survives_the_loss_of_either_copy_but_not_of_both() {
        let block = header().encode();
        assert_eq!(block.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&block), Some(header()));
        for at in COPIES {
            let mut rotten = block.clone();
            rotten[at..at + 512].fill(0xaa);
            assert_eq!(SegmentHeader::decode(&rotten), Some(header()));
        }
        assert_eq!(SegmentHeader::decode(&vec![0xaa; SEGMENT_HEADER_BYTES]), None);
        assert_eq!(SegmentHeader::decode(&[]), None);
    }

    #[test]
    fn a_prepared_file_has_no_base_offset() {
        let prepared = SegmentHeader { base_offset: None, ..header() };
        assert_eq!(SegmentHeader::decode(&prepared.encode()), Some(prepared));
    }

    #[test]
    fn names_are_twenty_digits_and_nothing_else() {
        let name = segment_name(Offset::new(42));
        assert_eq!(name, "00000000000000000042.seg");
        assert_eq!(parse_segment_name(&name), Some(Offset::new(42)));
        for other in ["42.seg", "00000000000000000042.idx", "+0000000000000000042.seg", "next.seg"]
        {
            assert_eq!(parse_segment_name(other), None, "{other}");
        }
        assert_eq!(parse_segment_name("99999999999999999999.seg"), None);
    }

    #[test]
    fn positions_know_their_block() {
        let position = FilePosition::new(4160);
        assert_eq!((position.block_start().get(), position.in_block()), (4096, 64));
        assert_eq!(position.block_end().get(), 8192);
        assert_eq!(FilePosition::new(8192).block_end().get(), 8192);
    }
}
