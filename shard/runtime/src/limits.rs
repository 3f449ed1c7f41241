//! Every maximum of the runtime, with unit and derivation.

use std::time::Duration;

/// Alignment in bytes of buffers, file positions and lengths of direct I/O.
///
/// The page size: a multiple of the logical block size of every device sold (512 or 4096).
pub const ALIGNMENT_BYTES: usize = 4096;

/// Most shards of one machine. Lanes are `shards²`; 1024 shards of one-slot lanes are still tens
/// of MiB, and no machine on sale has more hardware threads than a few hundred.
pub const SHARDS_MAX: usize = 1024;

/// How often the pulse thread wakes every executor.
///
/// It bounds how long the parking defect of glommio can delay a core. Each pulse costs a core a
/// wake-up and a round of its reactor: two idle cores with their pulse thread used 1.9 % of a cpu
/// each (debug build, on a machine at a load of 10; 2.6 % with 50 us of spinning). Half the period
/// would double that, twice the period would let a request wait for 20 ms.
pub const PULSE_PERIOD: Duration = Duration::from_millis(10);

/// Preemption timer of every executor. Shorter than 2 ms hangs were reproduced within seconds,
/// none at 2 ms or more in minutes; this keeps a factor of five.
pub const PREEMPT_TIMER: Duration = Duration::from_millis(10);

/// A task that ran longer than this gives way at its next [`yield_if_needed`](crate::yield_if_needed).
///
/// Half a millisecond is far above a task switch (microseconds) and below what a p99 of an append
/// is made of.
pub const RUN_TIME_MAX: Duration = Duration::from_micros(500);

/// Same for a background task: the longest that a request waits behind background work.
pub const BACKGROUND_RUN_TIME_MAX: Duration = Duration::from_micros(200);

/// After running for a time, a background task rests for this many times as long while others have
/// work: it then gets at most 1 in 21 of a busy core, and all of an idle one.
pub const BACKGROUND_REST_FACTOR: u32 = 20;

/// Threads per core for calls that block. Two, so that one slow call (removal of a large file) does
/// not hold up the small ones behind it.
pub const BLOCKING_THREADS: usize = 2;

/// Depth of the submission queue of each of the three rings of a core, in entries.
pub const RING_DEPTH: usize = 256;

/// Most messages one [`recv_many`](crate::mesh::Inbox::recv_many) returns, so that a full set of
/// lanes cannot keep a core from its sockets.
pub const RECEIVE_BATCH_MAX: usize = 1024;

/// Largest file, in bytes, that [`read_small`](crate::file::read_small) may be asked for: metadata
/// is kilobytes, and the whole content is held in memory.
pub const SMALL_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest single read of a direct file in bytes: the kernel cuts a transfer at 2 GiB less a page;
/// 1 GiB leaves no room for that case.
pub const READ_BYTES_MAX: usize = 1 << 30;

/// Least `RLIMIT_MEMLOCK` in bytes with which glommio starts an executor at all.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Least registered memory in bytes per core that glommio makes by itself.
pub const BUFFER_BYTES_MIN: usize = 64 * 1024;

/// Length of the probe file in bytes: one block that holds data.
pub(crate) const PROBE_FILE_BYTES: usize = ALIGNMENT_BYTES;

/// Connections waiting to be accepted, when nothing else is asked for; the kernel cuts it at
/// `net.core.somaxconn` (4096 since 5.4).
pub const BACKLOG_DEFAULT: u32 = 1024;

const _: () = assert!(ALIGNMENT_BYTES.is_power_of_two());
const _: () = assert!(PREEMPT_TIMER.as_millis() >= 10);
const _: () = assert!(PULSE_PERIOD.as_millis() >= 1);
const _: () = assert!(BACKGROUND_RUN_TIME_MAX.as_nanos() <= RUN_TIME_MAX.as_nanos());
const _: () = assert!(READ_BYTES_MAX.is_multiple_of(ALIGNMENT_BYTES));
const _: () = assert!(BLOCKING_THREADS >= 2);

/// One maximum as the printed list of limits shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// Name, `crate.thing`.
    pub name: &'static str,
    /// Value in `unit`.
    pub value: u64,
    /// Unit of the value.
    pub unit: &'static str,
    /// Why this number.
    pub why: &'static str,
}

/// The list of this crate's limits, in the order of this page.
#[must_use]
pub fn limits() -> Vec<Limit> {
    let row = |name, value: usize, unit, why| Limit { name, value: value as u64, unit, why };
    let ms = |name, value: Duration, why| Limit {
        name,
        value: u64::try_from(value.as_micros()).unwrap_or(u64::MAX),
        unit: "us",
        why,
    };
    vec![
        row("runtime.alignment", ALIGNMENT_BYTES, "bytes", "direct I/O on any device"),
        row("runtime.shards_max", SHARDS_MAX, "shards", "lanes are shards squared"),
        ms("runtime.pulse_period", PULSE_PERIOD, "bounds the parking defect of glommio 0.9"),
        ms("runtime.preempt_timer", PREEMPT_TIMER, "shorter provokes the parking defect"),
        ms("runtime.run_time_max", RUN_TIME_MAX, "a task gives way after this long"),
        ms("runtime.background_run_time_max", BACKGROUND_RUN_TIME_MAX, "a request waits as long"),
        row("runtime.background_rest_factor", BACKGROUND_REST_FACTOR as usize, "times", "1 in 21"),
        row("runtime.blocking_threads", BLOCKING_THREADS, "threads per core", "a slow call alone"),
        row("runtime.ring_depth", RING_DEPTH, "entries", "submissions of one reactor round"),
        row("runtime.receive_batch_max", RECEIVE_BATCH_MAX, "messages", "sockets get their turn"),
        row("runtime.small_file_bytes_max", SMALL_FILE_BYTES_MAX, "bytes", "held in memory"),
        row("runtime.read_bytes_max", READ_BYTES_MAX, "bytes", "the kernel cuts at 2 GiB"),
    ]
}
