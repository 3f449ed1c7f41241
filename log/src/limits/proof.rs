//! The limits of proofs.

use super::{BATCH_BYTES_MAX, Limit};

/// Most runs of chunks that a slice discloses.
///
/// 32: one record needs one for header and directory and at most one for each of the 14 columns; the rest is room for
/// formats to come.
pub const SLICE_RUNS_MAX: usize = 32;

/// Longest proof of a record.
///
/// The largest batch, which is disclosed as a whole if it is compressed, and 32 KiB: 32 runs have two edges of at most 13
/// chaining values each, 26 KiB; a way of 64 steps of 40 bytes; lengths.
pub const RECORD_PROOF_BYTES_MAX: usize = BATCH_BYTES_MAX + (32 << 10);

/// The limits of proofs, in the order in which they are printed.
pub(super) fn proof_limits() -> [Limit; 2] {
    let limit = |name, value: usize, unit, why| Limit { name, value: value as u64, unit, why };
    [
        limit(
            "SLICE_RUNS_MAX",
            SLICE_RUNS_MAX,
            "runs",
            "header, directory and 14 columns of one record, twice",
        ),
        limit(
            "RECORD_PROOF_BYTES_MAX",
            RECORD_PROOF_BYTES_MAX,
            "bytes",
            "the largest batch, its chaining values and the way to the root",
        ),
    ]
}
