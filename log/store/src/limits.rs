//! Every maximum of this crate, with its unit and derivation.

use std::time::Duration;

pub use pyralog_log::limits::Limit;

/// Threads that talk to the store: TLS and checksums of some hundred MB/s fit one; two let a large part not hold up small ones.
pub const THREADS: usize = 2;

/// Jobs of one core that are out at a time; further ones wait.
///
/// 64: 16 blocks of read-ahead for four readers of a core; at a latency of 50 ms that is 1280 blocks of 1 MiB a second.
pub const CALLS_IN_FLIGHT_MAX: usize = 64;

/// Bytes of one part of an upload, all but the last.
///
/// 8 MiB: S3 wants at least 5 MiB and takes 10,000 parts, which is 80 GiB, more than the largest segment.
pub const PART_BYTES: usize = 8 << 20;

/// Parts of one upload on their way at a time; the core that uploads fills one more.
///
/// 3: hides a latency of 100 ms at 240 MB/s, which is above the pace of a core's background; 32 MiB of memory.
pub const PARTS_IN_FLIGHT_MAX: usize = 3;

/// Bytes that memory for a range of an object in a directory is a multiple of.
///
/// 64 KiB: blocks of one unit differ by what the index of a segment tells apart, so one fits where the other was.
pub const MEMORY_UNIT: usize = 64 << 10;

/// Objects of one page of a list: what S3 gives.
pub const LIST_PAGE: usize = 1000;

/// Time in which a connection is made.
pub const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Time in which one request is answered: a part of [`PART_BYTES`] at 280 KB/s.
pub const REQUEST_WAIT: Duration = Duration::from_secs(30);

/// Tries of one request after the first; what fails then is told, and tried again by whoever asked.
pub const RETRIES: usize = 2;

/// Longest text of a failure that is passed on.
pub const PROBLEM_BYTES_MAX: usize = 400;

/// All limits of this crate, for the printed list.
#[must_use]
pub fn limits() -> Vec<Limit> {
    let limit = |name, value, unit, why| Limit { name, value, unit, why };
    vec![
        limit(
            "store.threads",
            THREADS as u64,
            "threads",
            "TLS of some hundred MB/s, and one to spare",
        ),
        limit(
            "store.calls_in_flight_max",
            CALLS_IN_FLIGHT_MAX as u64,
            "calls per core",
            "1280 blocks a second at a latency of 50 ms",
        ),
        limit(
            "store.part_bytes",
            PART_BYTES as u64,
            "bytes",
            "10,000 of them are more than the largest segment",
        ),
        limit(
            "store.parts_in_flight_max",
            PARTS_IN_FLIGHT_MAX as u64,
            "parts per upload",
            "hides a latency of 100 ms at 240 MB/s",
        ),
        limit(
            "store.memory_unit",
            MEMORY_UNIT as u64,
            "bytes",
            "a block of a segment fits where another was",
        ),
        limit("store.list_page", LIST_PAGE as u64, "objects", "what S3 gives"),
        limit(
            "store.connect_wait",
            CONNECT_WAIT.as_secs(),
            "seconds",
            "a store that is there answers sooner",
        ),
        limit("store.request_wait", REQUEST_WAIT.as_secs(), "seconds", "a part at 280 KB/s"),
        limit("store.retries", RETRIES as u64, "tries", "whoever asked tries again later"),
        limit(
            "store.problem_bytes_max",
            PROBLEM_BYTES_MAX as u64,
            "bytes",
            "a few lines of a message",
        ),
    ]
}

const _: () = assert!(PART_BYTES as u64 * 10_000 >= pyralog_log::limits::SEGMENT_BYTES_MAX);
