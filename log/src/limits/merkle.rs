//! The limits of the Merkle tree of a partition.

use std::time::Duration;

use super::Limit;

/// Most leaves of a tree, which are batches.
///
/// 2^62: nodes are numbered with 64 bits, and there are two per leaf; at a million batches a second 146,000 years.
pub const MERKLE_LEAVES_MAX: u64 = 1 << 62;

/// Most steps of an inclusion proof, or nodes of a consistency proof.
///
/// 63: a tree of 2^62 leaves has a way of 62 steps; a consistency proof has the node below as well. 2.5 KiB.
pub const MERKLE_STEPS_MAX: usize = 63;

/// Bytes of a batch that are hashed before others may run.
///
/// 128 KiB: 30 to 60 us, as long as an append of a group that size.
pub const MERKLE_HASH_BYTES: usize = 128 << 10;

/// Bytes that must be there to be hashed for a thread to be asked to.
///
/// 64 KiB: 15 us of hashing; asking a thread and hearing from it takes the core about as long.
pub const MERKLE_AWAY_BYTES_MIN: u64 = 64 << 10;

/// Bytes that gather for a thread before it is asked to hash, unless a checkpoint is due.
///
/// 4 MiB: 3 ms at 1.4 GB/s, hashed in one. A trip costs the core the same whatever is hashed on it.
pub const MERKLE_TRIP_BYTES: u64 = 4 << 20;

/// Memory of the tail that a partition keeps beyond its share for what is not hashed yet.
///
/// 16 MiB: one trip under way and one that gathers, in buffers that may be half empty. What lags further behind is given up and
/// read back from the file, and under pressure of memory all of it is.
pub const MERKLE_KEPT_BYTES: u64 = 4 * MERKLE_TRIP_BYTES;

/// Nodes that are kept in memory before they go to their file without waiting for a checkpoint.
///
/// 2^16: 2.5 MiB, the nodes of 32,768 batches.
pub const MERKLE_PENDING_NODES_MAX: usize = 1 << 16;

/// Bytes of nodes in one write, at most.
///
/// 255 KiB: 6,528 nodes; with what is left of a block before them, a buffer of 256 KiB.
pub const MERKLE_WRITE_BYTES: usize = 255 << 10;

/// Nodes in one read of the file with the nodes, and in one answer.
///
/// 2^14: 640 KiB, the nodes of 8,192 batches.
pub const MERKLE_NODES_READ_MAX: usize = 1 << 14;

/// How often a checkpoint is made by default, if the tree has grown.
///
/// 1 s: two syncs and a signature (20 us) per partition and second; who waits for a final receipt waits half a second.
pub const CHECKPOINT_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

const _: () = assert!(MERKLE_LEAVES_MAX.ilog2() as usize + 1 == MERKLE_STEPS_MAX);

/// The limits of trees, in the order in which they are printed.
#[rustfmt::skip]
pub(super) const fn merkle_limits() -> [Limit; 10] {
    let ms = CHECKPOINT_INTERVAL_DEFAULT.as_secs() * 1000;
    [
        limit("MERKLE_LEAVES_MAX", MERKLE_LEAVES_MAX, "batches", "nodes are numbered with 64 bits, two per leaf"),
        limit("MERKLE_STEPS_MAX", MERKLE_STEPS_MAX as u64, "hashes", "the longest way in the largest tree, 2.5 KiB"),
        limit("MERKLE_HASH_BYTES", MERKLE_HASH_BYTES as u64, "bytes", "hashed in 60 us, then others may run"),
        limit("MERKLE_AWAY_BYTES_MIN", MERKLE_AWAY_BYTES_MIN, "bytes", "hashed in the time that a trip to a thread takes"),
        limit("MERKLE_TRIP_BYTES", MERKLE_TRIP_BYTES, "bytes", "3 ms at 1.4 GB/s; a trip costs the same whatever is hashed"),
        limit("MERKLE_KEPT_BYTES", MERKLE_KEPT_BYTES, "bytes", "a trip under way, one that gathers, buffers half empty"),
        limit("MERKLE_PENDING_NODES_MAX", MERKLE_PENDING_NODES_MAX as u64, "nodes", "2.5 MiB between two checkpoints"),
        limit("MERKLE_WRITE_BYTES", MERKLE_WRITE_BYTES as u64, "bytes", "a buffer of 256 KiB with what is left of a block"),
        limit("MERKLE_NODES_READ_MAX", MERKLE_NODES_READ_MAX as u64, "nodes", "640 KiB in one read and one answer"),
        limit("CHECKPOINT_INTERVAL_DEFAULT", ms, "ms", "two syncs and a signature per partition that grew"),
    ]
}

const fn limit(name: &'static str, value: u64, unit: &'static str, why: &'static str) -> Limit {
    Limit { name, value, unit, why }
}
