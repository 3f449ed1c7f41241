//! Every maximum of this crate, with its unit and derivation.
//!
//! Sizes are `usize` where code compares lengths with them; all fit `u32`, which formats use.

mod merkle;
mod partition;
mod proof;
mod tier;

pub use merkle::*;
pub use partition::*;
pub use proof::*;
pub use tier::*;

/// One line of the printed list of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Name of the constant.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// What is counted: `bytes`, `records`, ...
    pub unit: &'static str,
    /// Where the value comes from.
    pub why: &'static str,
}

/// Longest stored batch, header and padding included, and longest uncompressed form of one.
///
/// 8 MiB: twice the largest value, so a record of every legal size fits a batch with all its
/// columns; a thousandth of a second at 8 GB/s of checksum, so verifying one never holds a core for
/// long; and 2^8 below 2 GiB, so the `i32` offsets of Arrow columns cannot overflow.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Most records in a batch.
///
/// 2^20: records that carry anything besides an offset and a create time, 8 bytes, fill a batch
/// before they are so many; the limit bounds the work of opening a batch of empty ones.
pub const RECORDS_PER_BATCH_MAX: usize = 1 << 20;

/// Longest key.
///
/// 64 KiB: keys are hashed, indexed and compared by compaction; what is larger is a value.
pub const KEY_BYTES_MAX: usize = 64 << 10;

/// Longest value.
///
/// 4 MiB: half a batch; larger objects belong into external files that a record refers to.
pub const VALUE_BYTES_MAX: usize = 4 << 20;

/// Most headers of one record. Tracing and routing use a handful; 64 leaves room without letting a
/// record become a table.
pub const HEADERS_PER_RECORD_MAX: usize = 64;

/// Bytes of all header keys and values of one record together.
///
/// 256 KiB: four of the largest keys; [`BATCH_BYTES_MAX`] has room for it beside the largest value.
pub const HEADER_BYTES_PER_RECORD_MAX: usize = 256 << 10;

/// Longest archived directory of a rows body.
///
/// 124 bytes: what stays of the two lines that a builder reserves for it after its 4-byte length;
/// all 14 columns take 122.
pub const DIRECTORY_BYTES_MAX: usize = 124;

/// Bytes of payload after which a builder calls a batch full unless configured otherwise.
///
/// 1 MiB: large enough that per-batch work is noise (measured sync of 1 MiB: 420 us), small enough
/// that eight in flight per partition stay below 8 MiB.
pub const BATCH_BYTES_DEFAULT: usize = 1 << 20;

/// What [`RECORD_BYTES_MAX`] adds to the payload of a record: offsets, validity, create time of a
/// lone record, the offsets of its headers, and the padding of every column.
const RECORD_OVERHEAD_BYTES_MAX: usize = 14 * 64 + 4 + 64 + HEADERS_PER_RECORD_MAX * 9;

/// Most bytes that one record can take in the body of a batch of its own.
pub const RECORD_BYTES_MAX: usize =
    KEY_BYTES_MAX + VALUE_BYTES_MAX + HEADER_BYTES_PER_RECORD_MAX + RECORD_OVERHEAD_BYTES_MAX;

const _: () = assert!(RECORD_BYTES_MAX + 256 <= BATCH_BYTES_MAX, "a legal record fits a batch");
const _: () = assert!(BATCH_BYTES_MAX <= i32::MAX as usize, "Arrow offsets are i32");
const _: () = assert!(BATCH_BYTES_MAX.is_multiple_of(64), "batches are padded to 64 bytes");
const _: () = assert!(BATCH_BYTES_DEFAULT <= BATCH_BYTES_MAX);

/// All limits, in the order in which they are printed.
#[must_use]
pub fn limits() -> Vec<Limit> {
    let mut limits = batch_limits().to_vec();
    limits.extend(partition::partition_limits());
    limits.extend(tier::tier_limits());
    limits.extend(proof::proof_limits());
    limits.extend(merkle::merkle_limits());
    limits
}

/// The limits of batches.
fn batch_limits() -> [Limit; 9] {
    let limit = |name, value: usize, unit, why| Limit { name, value: value as u64, unit, why };
    [
        limit(
            "BATCH_BYTES_MAX",
            BATCH_BYTES_MAX,
            "bytes",
            "twice the largest value; i32 column offsets cannot overflow",
        ),
        limit(
            "RECORDS_PER_BATCH_MAX",
            RECORDS_PER_BATCH_MAX,
            "records",
            "an offset and a create time are 8 bytes: a batch of empty records is full",
        ),
        limit("KEY_BYTES_MAX", KEY_BYTES_MAX, "bytes", "keys are hashed, indexed and compared"),
        limit("VALUE_BYTES_MAX", VALUE_BYTES_MAX, "bytes", "half a batch"),
        limit(
            "HEADERS_PER_RECORD_MAX",
            HEADERS_PER_RECORD_MAX,
            "headers",
            "tracing and routing use a handful",
        ),
        limit(
            "HEADER_BYTES_PER_RECORD_MAX",
            HEADER_BYTES_PER_RECORD_MAX,
            "bytes",
            "four of the largest keys; fits a batch beside the largest value",
        ),
        limit(
            "DIRECTORY_BYTES_MAX",
            DIRECTORY_BYTES_MAX,
            "bytes",
            "two lines without the length before it; all 14 columns take 122",
        ),
        limit(
            "BATCH_BYTES_DEFAULT",
            BATCH_BYTES_DEFAULT,
            "bytes",
            "per-batch work is noise, and eight in flight stay below BATCH_BYTES_MAX",
        ),
        limit(
            "RECORD_BYTES_MAX",
            RECORD_BYTES_MAX,
            "bytes",
            "largest key, value and headers, and the columns of a lone record",
        ),
    ]
}
