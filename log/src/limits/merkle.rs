//! The limits of the Merkle tree of a partition.

use super::Limit;

/// Most leaves of a tree, which are batches.
///
/// 2^62: nodes are numbered with 64 bits, and there are two per leaf; at a million batches a second 146,000 years.
pub const MERKLE_LEAVES_MAX: u64 = 1 << 62;

/// Most steps of an inclusion proof, or nodes of a consistency proof.
///
/// 63: a tree of 2^62 leaves has a way of 62 steps; a consistency proof has the node below as well. 2.5 KiB.
pub const MERKLE_STEPS_MAX: usize = 63;

const _: () = assert!(MERKLE_LEAVES_MAX.ilog2() as usize + 1 == MERKLE_STEPS_MAX);

/// The limits of trees, in the order in which they are printed.
pub(super) const fn merkle_limits() -> [Limit; 2] {
    [
        Limit {
            name: "MERKLE_LEAVES_MAX",
            value: MERKLE_LEAVES_MAX,
            unit: "batches",
            why: "nodes are numbered with 64 bits, two per leaf",
        },
        Limit {
            name: "MERKLE_STEPS_MAX",
            value: MERKLE_STEPS_MAX as u64,
            unit: "hashes",
            why: "the longest way in the largest tree, 2.5 KiB",
        },
    ]
}
