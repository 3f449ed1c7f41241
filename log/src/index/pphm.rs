//! PPHM, a partitioned perfect hash map: an immutable map from byte strings to `u64`, in one file.
//!
//! Every key is hashed once, by XXH3-64 with the seed of the file. The high bits of the hash choose
//! one of 2^k partitions of about a thousand keys. Within one, a minimal perfect hash function of the
//! kind of `PTHash` (Pibiri and Trani, SIGIR 2021) gives each key a slot of its own: keys fall into
//! buckets of four, and each bucket has a *pilot*, the first number that sends all of its keys to slots
//! that are free. The function works on a second hash, which is the first one mixed with another
//! seed: high bits and slots are independent.
//!
//! A perfect hash function sends a key that is not in the set to the slot of one that is. So a slot
//! says whose it is: the whole key ([`Mode::Exact`], absent keys are never found) or its 64-bit hash
//! ([`Mode::Fingerprint`], an absent key is taken for another once in 2^64 lookups per key of the
//! map, and the caller has to look at what the value points to).
//!
//! ```text
//! header 64 | partition 0 | partition 1 | ... | directory, 16 per partition | trailer 48
//!
//! partition: head 16 | pilots, 2 per bucket | hashes, 8 per key | values, 0 to 8 per key
//!            exact mode has, instead of hashes, the ends of the keys, 4 per key, and the keys at the end
//! ```
//!
//! **Bytes per key.** Half a byte of pilots, 8 of hash or 4 and the key, as many for the value as the
//! largest difference of values in a partition needs, and of head and directory 32 per partition of 512
//! to 1024 keys, at most 0.07: 8.57 and the value by fingerprint, 4.57 and the value and the key itself
//! if exact. Offsets of a segment of 16 million records take 3 bytes: **11.6 bytes per key**. The 2 to
//! 4 bits that papers on perfect hashing speak of are the pilots alone.
//!
//! Bytes come from a set of entries and options alone: neither order of arrival nor time, memory or
//! machine reaches them. Whoever reads one partition needs the 64 bytes in front, the directory and
//! that partition; each has a checksum (XXH3-64), and the file as a whole has one that no rot and no
//! mistake outwits (BLAKE3). Nothing here panics or allocates beyond the file, whatever the bytes are.
//!
//! Rejected: `ptr_hash`, `boomphf` and `ph`, the crates for this. Each makes the function alone; they
//! bring rayon, random seeds and ways of storing that belong to a version of the crate and decode
//! without checks (`epserde` maps memory, `serde` rebuilds private fields). Here the function is a
//! hundred lines, and the format is what counts. Rejected, too: `RecSplit`, half the bits of pilots for
//! ten times the work, of which a file with hashes saves two hundredths.

mod blob;
mod builder;
mod format;
mod function;
mod map;
mod writer;

pub use builder::{Builder, Options, Reducer};
pub use format::{Directory, HEADER_BYTES, Header, Mode, PPHM_MAGIC, PPHM_VERSION, Place};
pub use map::{Key, Map};
pub use writer::{BuildError, Entry, Writer};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Keys per partition that the number of partitions is chosen for: between half of it and all of it.
///
/// 1024: a lookup reads one partition, 12 KiB of offsets, at the price of one block; its function is
/// built within the time that a background task may run.
pub const PARTITION_KEYS: u64 = 1024;

/// Most keys in a partition.
///
/// 4096: four times what is aimed at, ninety standard deviations off. More are no accident, and the
/// function of so many may need pilots beyond 16 bits.
pub const PARTITION_KEYS_MAX: usize = 4096;

/// Most bits that choose a partition: 2^20 partitions, so a thousand million keys, whose directory has
/// 16 MiB.
pub const PARTITION_BITS_MAX: u8 = 20;

/// Most seeds tried, of the file and of each function, before a build fails. One in a million needs a
/// second; sixteen in a row are a defect.
pub const ATTEMPTS_MAX: u32 = 16;

/// The hash of a key that everything else is computed from.
#[must_use]
pub fn hash(seed: u64, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, seed)
}

/// The partition of a hash among 2^`bits`.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "at most 20 bits are left")]
pub const fn partition_of(hash: u64, bits: u8) -> usize {
    // Shifting by 64 would overflow: no bit chooses the only partition.
    hash.unbounded_shr(u64::BITS - bits as u32) as usize
}

/// Bits that choose among so many partitions that `keys` keys are about [`PARTITION_KEYS`] in each.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "at most 64")]
pub const fn partition_bits(keys: u64) -> u8 {
    let partitions = keys.div_ceil(PARTITION_KEYS);
    let bits = if partitions == 0 { 0 } else { partitions.next_power_of_two().ilog2() };
    if bits as u8 > PARTITION_BITS_MAX { PARTITION_BITS_MAX } else { bits as u8 }
}

#[cfg(test)]
mod tests;
