//! Writing a file partition by partition, in memory for one.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use super::format::{Directory, HEADER_BYTES, Header, Part};
use super::{blob, partition_of};

/// An entry of the map: a key without its like, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// [`hash`](super::hash) of the key by the seed of the file.
    pub hash: u64,
    /// The key; not looked at if the map is by fingerprint.
    pub key: &'a [u8],
    /// The value.
    pub value: u64,
}

/// Makes a file, in order: header, each partition, directory. What it appends to a buffer is the next
/// part of the file; the buffer may be written out and cleared in between.
#[derive(Debug)]
pub struct Writer {
    header: Header,
    parts: Vec<Part>,
    position: u64,
    file: blake3::Hasher,
}

impl Writer {
    /// Begins a file: appends its header to `out`.
    pub fn begin(header: Header, out: &mut Vec<u8>) -> Self {
        let bytes = header.encode();
        let mut file = blake3::Hasher::new();
        file.update(&bytes);
        out.extend_from_slice(&bytes);
        let parts = Vec::with_capacity(header.partitions());
        Self { header, parts, position: HEADER_BYTES as u64, file }
    }

    /// Appends the next partition, of these entries, to `out`.
    ///
    /// # Errors
    /// If they have no function; then the file cannot be made.
    ///
    /// # Panics
    /// If their hashes do not rise strictly, or are those of another partition: the caller lost track of
    /// its entries.
    pub fn partition(
        &mut self,
        entries: &[Entry<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        let (number, start) = (self.parts.len(), out.len());
        assert!(entries.is_sorted_by(|one, other| one.hash < other.hash), "hashes rise");
        let ours = |entry: &Entry<'_>| partition_of(entry.hash, self.header.partition_bits);
        for entry in [entries.first(), entries.last()].into_iter().flatten() {
            assert_eq!(ours(entry), number, "the partition of {:#018x}", entry.hash);
        }
        blob::encode(self.header.mode, entries, out)?;
        let bytes = &out[start..];
        self.file.update(bytes);
        let len = u32::try_from(bytes.len()).map_err(|_| BuildError::TooLarge)?;
        let keys = u32::try_from(entries.len()).map_err(|_| BuildError::TooLarge)?;
        self.parts.push(Part { start: self.position, len, keys, checksum: xxh3_64(bytes) });
        self.position += u64::from(len);
        Ok(())
    }

    /// Ends the file: appends directory and trailer to `out`.
    ///
    /// # Panics
    /// If a partition is missing.
    pub fn finish(self, out: &mut Vec<u8>) {
        assert_eq!(self.parts.len(), self.header.partitions(), "partitions written");
        out.extend_from_slice(&Directory::encode(&self.parts, self.file));
    }
}

/// Why there is no map of these entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The entries take more memory than the builder may have. Nothing was added.
    Full {
        /// What it may have, in bytes.
        bytes_max: usize,
    },
    /// A key is longer than keys may be. Nothing was added.
    KeyTooLong {
        /// The limit, in bytes.
        max: usize,
        /// The length.
        found: usize,
    },
    /// A key has two values, and the reducer allows one.
    Duplicate {
        /// One of them.
        first: u64,
        /// The other.
        second: u64,
    },
    /// A sum passes 2^64.
    Overflow,
    /// So many keys share the high bits of their hash that it is no accident.
    Crowded {
        /// How many.
        found: usize,
    },
    /// A partition has more bytes than its format counts.
    TooLarge,
    /// No seed gave a function, or different hashes.
    NoFunction,
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { bytes_max } => {
                write!(formatter, "the entries take over {bytes_max} bytes")
            }
            Self::KeyTooLong { max, found } => {
                write!(formatter, "a key of {found} bytes, at most {max}")
            }
            Self::Duplicate { first, second } => {
                write!(formatter, "a key has the values {first} and {second}")
            }
            Self::Overflow => formatter.write_str("the sum of a key's values passes 2^64"),
            Self::Crowded { found } => write!(formatter, "{found} keys in one partition"),
            Self::TooLarge => formatter.write_str("a partition passes 4 GiB"),
            Self::NoFunction => formatter.write_str("no seed gives a perfect hash function"),
        }
    }
}

impl std::error::Error for BuildError {}
