//! The limits of proofs.

use super::Limit;

/// Most runs of chunks that a slice discloses.
///
/// 32: one record needs one for header and directory and at most one for each of the 14 columns; the rest is room for
/// formats to come.
pub const SLICE_RUNS_MAX: usize = 32;

/// The limits of proofs, in the order in which they are printed.
pub(super) fn proof_limits() -> [Limit; 1] {
    let limit = |name, value: usize, unit, why| Limit { name, value: value as u64, unit, why };
    [limit(
        "SLICE_RUNS_MAX",
        SLICE_RUNS_MAX,
        "runs",
        "header, directory and 14 columns of one record, twice",
    )]
}
