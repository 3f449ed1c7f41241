//! The frame of a file: its header, its directory and its trailer.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::blob::Blob;
use super::{PARTITION_BITS_MAX, PARTITION_KEYS_MAX, hash, partition_of};
use crate::layout::{FormatError, put, u32_at, u64_at};

/// Magic at the start of a file.
pub const PPHM_MAGIC: [u8; 8] = *b"PYPHM001";

/// Version of the format.
pub const PPHM_VERSION: u32 = 1;

/// Length of the header.
pub const HEADER_BYTES: usize = 64;

const VERSION: usize = 8;
const MODE: usize = 12;
const BITS: usize = 13;
const ZERO: Range<usize> = 14..16;
const SEED: usize = 16;
const TAG: Range<usize> = 24..56;
const HEADER_CHECKSUM: usize = 56;

/// Length of what the directory says of a partition.
const PART_BYTES: usize = 16;

/// Length of the trailer: keys, BLAKE3, XXH3-64.
const TRAILER_BYTES: usize = 48;

/// What a slot says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of it.
    Exact,
    /// Its 64-bit hash.
    Fingerprint,
}

impl Mode {
    const fn code(self) -> u8 {
        match self {
            Self::Exact => 1,
            Self::Fingerprint => 2,
        }
    }
}

/// What a file says before its first partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What its slots say of their keys.
    pub mode: Mode,
    /// Bits of a hash that choose the partition; at most [`PARTITION_BITS_MAX`].
    pub partition_bits: u8,
    /// Seed of the hash of keys.
    pub seed: u64,
    /// Whatever its maker recognises it by.
    pub tag: [u8; 32],
}

impl Header {
    /// The first bytes of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, PPHM_MAGIC);
        put(&mut bytes, VERSION, PPHM_VERSION.to_le_bytes());
        (bytes[MODE], bytes[BITS]) = (self.mode.code(), self.partition_bits);
        put(&mut bytes, SEED, self.seed.to_le_bytes());
        put(&mut bytes, TAG.start, self.tag);
        let checksum = xxh3_64(&bytes[..HEADER_CHECKSUM]);
        put(&mut bytes, HEADER_CHECKSUM, checksum.to_le_bytes());
        bytes
    }

    /// Reads the first bytes of a file; more may follow.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(FormatError::Length)?;
        if bytes[..VERSION] != PPHM_MAGIC {
            return Err(FormatError::Magic);
        }
        let found = u32_at(bytes, VERSION);
        if found != PPHM_VERSION {
            return Err(FormatError::Version { found });
        }
        if xxh3_64(&bytes[..HEADER_CHECKSUM]) != u64_at(bytes, HEADER_CHECKSUM) {
            return Err(FormatError::Checksum);
        }
        let mode = match bytes[MODE] {
            1 => Mode::Exact,
            2 => Mode::Fingerprint,
            _ => return Err(FormatError::Field { field: "mode" }),
        };
        let partition_bits = bytes[BITS];
        if partition_bits > PARTITION_BITS_MAX || bytes[ZERO] != [0, 0] {
            return Err(FormatError::Field { field: "partition bits" });
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(&bytes[TAG]);
        Ok(Self { mode, partition_bits, seed: u64_at(bytes, SEED), tag })
    }

    /// Number of partitions.
    #[must_use]
    pub const fn partitions(&self) -> usize {
        1 << self.partition_bits
    }

    /// Length of directory and trailer.
    const fn tail_bytes(&self) -> usize {
        self.partitions() * PART_BYTES + TRAILER_BYTES
    }

    /// Where directory and trailer are in a file of `file_len` bytes.
    ///
    /// # Errors
    /// If it is too short for them.
    pub fn tail(&self, file_len: u64) -> Result<Range<u64>, FormatError> {
        let start = file_len.checked_sub(self.tail_bytes() as u64);
        let start = start.filter(|start| *start >= HEADER_BYTES as u64);
        Ok(start.ok_or(FormatError::Length)?..file_len)
    }
}

/// A partition, as the directory has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it starts in the file; not stored, for partitions follow each other.
    pub(super) start: u64,
    pub(super) len: u32,
    pub(super) keys: u32,
    pub(super) checksum: u64,
}

/// Where the entry of a key is, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    key: &'a [u8],
    /// The bytes of the file to give to [`Directory::get`]; none if there is no such key.
    pub bytes: Range<u64>,
    hash: u64,
    partition: usize,
}

/// What one keeps of a file to look keys up in it: 24 bytes per partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    header: Header,
    parts: Vec<Part>,
    keys: u64,
}

impl Directory {
    /// Reads the bytes at [`Header::tail`].
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn decode(header: Header, tail: &[u8], file_len: u64) -> Result<Self, FormatError> {
        let range = header.tail(file_len)?;
        if tail.len() != header.tail_bytes() {
            return Err(FormatError::Length);
        }
        let checked = tail.len() - 8;
        if xxh3_64(&tail[..checked]) != u64_at(tail, checked) {
            return Err(FormatError::Checksum);
        }
        let (directory, trailer) = tail.split_at(tail.len() - TRAILER_BYTES);
        let (mut start, mut total) = (HEADER_BYTES as u64, 0);
        let parts = directory.chunks_exact(PART_BYTES).map(|bytes| {
            let (len, keys, checksum) = (u32_at(bytes, 0), u32_at(bytes, 4), u64_at(bytes, 8));
            let part = Part { start, len, keys, checksum };
            (start, total) = (start + u64::from(len), total + u64::from(keys));
            part
        });
        let parts: Vec<Part> = parts.collect();
        if start != range.start {
            return Err(FormatError::Length);
        }
        let crowded = parts.iter().any(|part| part.keys as usize > PARTITION_KEYS_MAX);
        if crowded || total != u64_at(trailer, 0) {
            return Err(FormatError::Field { field: "keys" });
        }
        Ok(Self { header, parts, keys: total })
    }

    /// The directory and the trailer of a file whose other bytes went through `file`.
    pub(super) fn encode(parts: &[Part], mut file: blake3::Hasher) -> Vec<u8> {
        let mut tail = Vec::with_capacity(parts.len() * PART_BYTES + TRAILER_BYTES);
        for part in parts {
            tail.extend_from_slice(&part.len.to_le_bytes());
            tail.extend_from_slice(&part.keys.to_le_bytes());
            tail.extend_from_slice(&part.checksum.to_le_bytes());
        }
        let keys: u64 = parts.iter().map(|part| u64::from(part.keys)).sum();
        tail.extend_from_slice(&keys.to_le_bytes());
        tail.extend_from_slice(file.update(&tail).finalize().as_bytes());
        tail.extend_from_slice(&xxh3_64(&tail).to_le_bytes());
        tail
    }

    /// Whether the whole file is what its BLAKE3 says.
    pub(super) fn vouches_for(bytes: &[u8]) -> bool {
        let Some((file, tail)) = bytes.split_last_chunk::<40>() else { return false };
        tail[..32] == *blake3::hash(file).as_bytes()
    }

    /// What the file says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Number of keys.
    #[must_use]
    pub const fn keys(&self) -> u64 {
        self.keys
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Where to look for `key`.
    #[must_use]
    pub fn place<'a>(&self, key: &'a [u8]) -> Place<'a> {
        let hash = hash(self.header.seed, key);
        let partition = partition_of(hash, self.header.partition_bits);
        let Part { start, len, .. } = self.parts[partition];
        Place { key, bytes: start..start + u64::from(len), hash, partition }
    }

    /// The value of the key in the bytes of its place. By fingerprint it may be that of another key.
    ///
    /// # Errors
    /// If the bytes are not those that were written there.
    pub fn get(&self, place: &Place<'_>, bytes: &[u8]) -> Result<Option<u64>, FormatError> {
        let part = &self.parts[place.partition];
        if bytes.len() != part.len as usize {
            return Err(FormatError::Length);
        }
        if xxh3_64(bytes) != part.checksum {
            return Err(FormatError::Checksum);
        }
        self.find(place, bytes)
    }

    /// The same, of bytes that were checked.
    pub(super) fn find(&self, place: &Place<'_>, bytes: &[u8]) -> Result<Option<u64>, FormatError> {
        let keys = self.parts[place.partition].keys;
        Blob::parse(self.header.mode, keys, bytes)?.find(place.hash, place.key)
    }
}
