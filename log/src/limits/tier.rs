//! The limits of tiering: blocks, read-ahead, waiting, sweeping.

use std::time::Duration;

use super::{Limit, READ_BYTES_MAX};

/// Unit in which objects are read and cached, give or take the batch that begins there.
///
/// 1 MiB: a store that answers after 30 ms then gives 33 MB/s per read in flight, and a point read fetches a thousandth of
/// the default segment.
pub const REMOTE_BLOCK_BYTES: usize = READ_BYTES_MAX;

/// Blocks read ahead of a reader that goes on.
///
/// 8: with the one that is waited for, 300 MB/s of a store that answers after 30 ms.
pub const REMOTE_AHEAD_BLOCKS: u64 = 8;

/// Memory of a core for blocks of objects unless configured otherwise.
///
/// 64 MiB: the read-ahead of four readers, twice.
pub const TIER_CACHE_BYTES_DEFAULT: u64 = 64 << 20;

/// Least memory of a core for blocks of objects.
///
/// 4 MiB: two of the longest blocks, of which a batch may need both.
pub const TIER_CACHE_BYTES_MIN: u64 = 4 << 20;

/// Time in which a store answers one call of a core; what takes longer counts as away.
///
/// 120 s: longer than the client of the store tries by itself.
pub const REMOTE_WAIT: Duration = Duration::from_mins(2);

/// Time in which a store gives some bytes to a reader; then the reader is told that it is away, and may ask again.
///
/// 10 s: a block at 100 KB/s, and a third of what clients wait for an answer unless told otherwise.
pub const REMOTE_READ_WAIT: Duration = Duration::from_secs(10);

/// After a failure of the store a core uploads nothing for this long, twice as long after each further one.
///
/// 1 s: a hiccup costs no more than that.
pub const TIER_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest such pause.
///
/// 5 min: a store that was away for a night is found again before anybody notices.
pub const TIER_PAUSE_MAX: Duration = Duration::from_mins(5);

/// How old an object must be, by the clock of the store, to be removed if no manifest names it.
///
/// 1 h: clocks may differ by minutes, and an upload is finished only after its bytes have gone.
pub const ORPHAN_AGE_MIN: Duration = Duration::from_hours(1);

/// Time between two sweeps of a partition's objects, besides the first after a start.
///
/// 24 h: orphans cost money, not correctness; and so do lists.
pub const SWEEP_INTERVAL: Duration = Duration::from_hours(24);

const _: () = assert!(REMOTE_READ_WAIT.as_secs() < REMOTE_WAIT.as_secs());

#[rustfmt::skip]
pub(super) const fn tier_limits() -> [Limit; 10] {
    [
        limit("REMOTE_BLOCK_BYTES", REMOTE_BLOCK_BYTES as u64, "bytes", "a thousandth of a segment, 33 MB/s at 30 ms"),
        limit("REMOTE_AHEAD_BLOCKS", REMOTE_AHEAD_BLOCKS, "blocks", "300 MB/s at 30 ms"),
        limit("TIER_CACHE_BYTES_DEFAULT", TIER_CACHE_BYTES_DEFAULT, "bytes", "the read-ahead of four readers, twice"),
        limit("TIER_CACHE_BYTES_MIN", TIER_CACHE_BYTES_MIN, "bytes", "two of the longest blocks"),
        limit("REMOTE_WAIT", REMOTE_WAIT.as_secs(), "seconds", "longer than the store's client tries by itself"),
        limit("REMOTE_READ_WAIT", REMOTE_READ_WAIT.as_secs(), "seconds", "a block at 100 KB/s, and clients still wait"),
        limit("TIER_PAUSE_MIN", TIER_PAUSE_MIN.as_secs(), "seconds", "what a hiccup of the store costs"),
        limit("TIER_PAUSE_MAX", TIER_PAUSE_MAX.as_secs(), "seconds", "a store that was away is found again"),
        limit("ORPHAN_AGE_MIN", ORPHAN_AGE_MIN.as_secs(), "seconds", "clocks differ, uploads take time"),
        limit("SWEEP_INTERVAL", SWEEP_INTERVAL.as_secs(), "seconds", "orphans cost money, and so do lists"),
    ]
}

const fn limit(name: &'static str, value: u64, unit: &'static str, why: &'static str) -> Limit {
    Limit { name, value, unit, why }
}
