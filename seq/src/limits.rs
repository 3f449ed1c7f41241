//! Every maximum of the sequencers, with unit and derivation.

use std::time::Duration;

pub use pyralog_runtime::limits::Limit;

/// Most values of one generation of an obelisk, and so the longest of its files in bytes: half of what ext4 with blocks
/// of 4 KiB takes (2^44 - 4096). At a million numbers a second it lasts 101 days.
pub const STRIDE_MAX: u64 = 1 << 43;

/// Least of the same: with it, 2^32 generations are all there are numbers. A file system that cannot have files of 4 GiB
/// is FAT, which has no holes either.
pub const STRIDE_MIN: u64 = 1 << 32;

/// Longest name of a counter in bytes: it is the name of a directory (255), with room for a suffix.
pub const NAME_BYTES_MAX: usize = 200;

/// Tries to find the files of an obelisk at rest while others open or roll it: each of those ends within a few system
/// calls, so what still moves after so many is no accident.
pub const OPEN_TRIES_MAX: u32 = 8;

/// Extensions between two notes of how far an obelisk has come. One costs three syncs, so this is 0.3 % of an obelisk
/// that syncs for every number.
pub const EXTENSIONS_PER_NOTE: u32 = 1024;

/// Most numbers of one request: what `wire` takes as well.
pub const TAKE_COUNT_MAX: u64 = 1 << 20;

/// Highest value that a counter can be raised to: so many numbers are left above it that none of them runs out.
pub const VALUE_MAX: u64 = 1 << 63;

/// Numbers of one reservation, if nothing else is asked for: a sync of a millisecond then allows 65 million numbers a
/// second, and a crash skips less than a thousandth of what a second at that pace deals.
pub const BLOCK_DEFAULT: u64 = 65_536;

/// Most numbers of one reservation: what a crash may skip. With it, a generation is still 2048 blocks.
pub const BLOCK_MAX: u64 = 1 << 32;

/// Longest time between two extensions of a counter that may repeat.
pub const INTERVAL_MAX: Duration = Duration::from_mins(1);

/// Time between two tries to make a reservation that nobody waits for yet, after the system has refused one: a disk does
/// not become empty within less, and who does wait is answered at once.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Requests that wait for one counter: 64 connections with 16 requests each. The next is told that it is busy.
pub const WAITING_MAX: usize = 1024;

/// Ids in one block that is dealt to a client.
///
/// 2^20: 128 ms of a slot. A client that mints a million ids a second asks once a second.
pub const DEAL_COUNT_MAX: u32 = 1 << 20;

/// Ids that a minter makes sure of at once: one for each record of the largest append.
///
/// 2^21: an append is at most two of the largest batches, and each has at most 2^20 records.
pub const READY_COUNT_MAX: u64 = 2 * DEAL_COUNT_MAX as u64;

/// Milliseconds that a slot runs ahead of the clock at most.
///
/// 5 s: what a clock may be set back without an id noticing. It is 40 million ids of every slot.
pub const AHEAD_MS_MAX: u64 = 5_000;

/// Weights of all members of an Ankh ring together.
///
/// 4096 members of weight one, four for each slot: 655,360 points, 10 MiB.
pub const RING_WEIGHT_MAX: u64 = 4_096;

const _: () = assert!(STRIDE_MAX.is_power_of_two() && STRIDE_MIN.is_power_of_two());
const _: () = assert!(STRIDE_MIN >= 1 << 32, "a generation is a u32");
const _: () = assert!(STRIDE_MAX < (1 << 44) - 4096, "ext4 with blocks of 4 KiB");
const _: () = assert!(BLOCK_DEFAULT <= BLOCK_MAX && BLOCK_MAX <= STRIDE_MAX / 1024);

/// The list of this crate's limits, in the order of this page.
#[must_use]
pub fn limits() -> Vec<Limit> {
    let row = |name, value, unit, why| Limit { name, value, unit, why };
    let interval_ms = u64::try_from(INTERVAL_MAX.as_millis()).unwrap_or(u64::MAX);
    vec![
        row("seq.stride_max", STRIDE_MAX, "values", "half of the longest file of ext4"),
        row("seq.stride_min", STRIDE_MIN, "values", "a generation is a number of 32 bits"),
        row("seq.name_bytes_max", NAME_BYTES_MAX as u64, "bytes", "the name of a directory"),
        row("seq.open_tries_max", OPEN_TRIES_MAX.into(), "tries", "what moves longer is stuck"),
        row("seq.extensions_per_note", EXTENSIONS_PER_NOTE.into(), "extensions", "0.3 % of them"),
        row("seq.take_count_max", TAKE_COUNT_MAX, "numbers", "as in a request"),
        row("seq.block_default", BLOCK_DEFAULT, "numbers", "65 M/s at a sync of 1 ms"),
        row("seq.block_max", BLOCK_MAX, "numbers", "what a crash may skip"),
        row("seq.interval_max", interval_ms, "ms", "what a crash may repeat"),
        row("seq.waiting_max", WAITING_MAX as u64, "requests", "64 connections with 16 each"),
        row("seq.deal_count_max", DEAL_COUNT_MAX.into(), "ids", "an eighth of a second of a slot"),
        row("seq.ready_count_max", READY_COUNT_MAX, "ids", "one for each record of an append"),
        row("seq.ahead_ms_max", AHEAD_MS_MAX, "ms", "what a clock may be set back"),
        row("seq.ring_weight_max", RING_WEIGHT_MAX, "members", "four for each slot"),
    ]
}
