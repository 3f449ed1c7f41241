//! The limits of partitions: groups, segments, caches, sessions.

use std::time::Duration;

use super::{BATCH_BYTES_MAX, Limit, RECORDS_PER_BATCH_MAX};

/// Smallest length at which a partition may be told to roll.
///
/// 1 MiB: below it the header, the preparation and the index of a segment cost more than the data.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// Length at which a partition rolls unless configured otherwise.
///
/// 1 GiB: at 1 GB/s one roll a second, and one segment is scanned by a recovery in half a second.
pub const SEGMENT_BYTES_DEFAULT: u64 = 1 << 30;

/// Largest length at which a partition may be told to roll.
///
/// 64 GiB: a recovery without checkpoint then reads for half a minute; ext4 and xfs take far more.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 30;

/// Most bytes in one append, all batches together.
///
/// 16 MiB: two of the largest batches, and the largest payload of a frame.
pub const APPEND_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// Most records in one append, all batches together: what is compressed could otherwise be any number.
///
/// 2^21: two of the largest batches.
pub const APPEND_RECORDS_MAX: u64 = 2 * RECORDS_PER_BATCH_MAX as u64;

/// Capacity of the first buffer of a gather while the recent groups are small.
///
/// 64 KiB: room for 64 records of 1 KiB, which is more than arrives during one sync of 100 us
/// unless load is high; a thousand partitions with a trickle each then hold 64 MiB.
pub const GATHER_SMALL_BYTES: usize = 64 << 10;

/// Capacity of a gather under load: the longest group, unless one append is longer.
///
/// 2 MiB: measured, a synced write of 1 MiB takes 420 us at 2.2 GB/s; twice that holds two batches of
/// a thousand 1 KiB records and still answers within a millisecond.
pub const GATHER_LARGE_BYTES: usize = 2 << 20;

/// Most bytes gathered behind the group in flight; further appends are answered `Busy`.
///
/// 16 MiB: one largest append, or 7 ms of a disk that takes 2.2 GB/s. More would only be latency.
pub const GATHERED_BYTES_MAX: usize = 16 << 20;

/// Most repeated appends that wait for their originals; further ones are answered `Busy`.
///
/// 1024: a producer repeats at most its window of 8 in flight; so 128 producers may at once.
pub const REPEATS_WAITING_MAX: usize = 1024;

/// Longest group of which the tail cache keeps a copy instead of the group's own buffer.
///
/// 16 KiB: copying it costs 2 us, sharing it would hold a buffer of 64 KiB.
pub const TAIL_COPY_BYTES_MAX: usize = 16 << 10;

/// Capacity of the chunks into which the tail cache copies small groups.
///
/// 64 KiB: a small gather; four of the largest copied groups.
pub const TAIL_CHUNK_BYTES: usize = 64 << 10;

/// What the tail cache keeps of a partition that has been idle for [`TAIL_IDLE_AFTER`].
pub const TAIL_IDLE_BYTES: usize = 64 << 10;

/// When an idle partition gives up its tail cache but for [`TAIL_IDLE_BYTES`].
///
/// 30 s: consumers that follow the tail have long read it.
pub const TAIL_IDLE_AFTER: Duration = Duration::from_secs(30);

/// Bytes of batches from which on a segment that is written as a whole begins another group.
///
/// 1 MiB: one write at full speed; what a reader that lost its way skips at most.
pub const SEGMENT_WRITER_GROUP_BYTES: usize = 1 << 20;

/// Most bytes read from a file at once.
///
/// 1 MiB: what one direct read moves at full speed; smaller requests read less.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// Most bytes that one fetch reads from a file at once, unless a single batch is larger.
///
/// 8 MiB less a block: several batches of the default size, so that little of a read is thrown away
/// for ending within one, and the time of a transfer is small against its own bytes; verified in the
/// time of one largest batch; and with the blocks around it a power of two, which is what the buffers
/// of direct I/O are.
pub const FETCH_READ_BYTES_MAX: usize = (8 << 20) - 4096;

/// Stream bytes between two entries of a sparse index.
///
/// 64 KiB: a read starts at most that far before its record; the index of 1 GiB is 384 KiB.
pub const INDEX_INTERVAL_BYTES: u64 = 64 << 10;

/// Most sessions that a partition remembers; the least recently used are forgotten first.
///
/// 4096: of 570 bytes each, so below 3 MiB. A producer that is forgotten is told so.
pub const SESSIONS_MAX: usize = 4096;

/// Most batches of a session that a repeat is recognised among.
///
/// 16: twice the 8 that a client keeps in flight per partition.
pub const SESSION_WINDOW_BATCHES: usize = 16;

/// Memory of a run of compaction for the newest offset of each key, unless configured otherwise.
///
/// 64 MiB: two million keys of 32 bytes. One partition of a core is compacted at a time.
pub const COMPACTION_MEMORY_BYTES_DEFAULT: usize = 64 << 20;

/// How much of the closed segments must be new before they are compacted, unless configured otherwise.
///
/// 50 percent: so each byte that is appended costs two that are read and one that is written again, for ever.
pub const COMPACTION_DIRTY_PERCENT_DEFAULT: u32 = 50;

/// Most keys of which a run of compaction remembers that a value stays which is not the newest; beyond them no tombstone goes.
///
/// 131072: every batch that every session remembers, and as many segments. 3 MiB.
pub const COMPACTION_LINGERING_MAX: usize = 2 * SESSIONS_MAX * SESSION_WINDOW_BATCHES;

/// How long a record stays written but not synced in a log below `synced`.
pub const UNSYNCED_AGE_MAX: Duration = Duration::from_secs(1);

/// Bytes written but not synced that start a sync at once.
///
/// 256 MiB: a tenth of a second of disk, so that no roll and no close waits longer.
pub const UNSYNCED_BYTES_MAX: u64 = 256 << 20;

/// When a partition without appends writes an idle mark, so that even its last group is known to
/// have been synced.
pub const IDLE_MARK_AFTER: Duration = Duration::from_secs(1);

/// How long a partition that found no space waits before it tries again by itself.
pub const NO_SPACE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Most files kept for reuse in one recycle directory. Eight segments of 1 GiB: what one core fills
/// while its background class makes the next.
pub const RECYCLED_FILES_MAX: usize = 8;

/// Bytes of a disk that a core keeps for opening its partitions, so that a server with a full disk starts: a block of the
/// segment and a checkpoint of 4 KiB for each of 500 partitions, all of which may be written at once.
pub const RESERVE_BYTES: u64 = 4 << 20;

/// Least bytes of such a reserve: a smaller one opens no partition.
pub const RESERVE_BYTES_MIN: u64 = 64 << 10;

/// First step of preallocation; each is twice the last, up to [`PREALLOCATE_STEP_MAX`].
///
/// 1 MiB: an idle partition takes no more of the disk than that.
pub const PREALLOCATE_STEP_MIN: u64 = 1 << 20;

/// Largest step of preallocation: 64 MiB, allocated in a few milliseconds.
pub const PREALLOCATE_STEP_MAX: u64 = 64 << 20;

/// Groups below it make initialising ahead worthwhile.
///
/// 256 KiB: measured, 4 KiB synced over initialised blocks is twice as fast; at 1 MiB nothing is won.
pub const INITIALISE_GROUP_BYTES: u64 = 256 << 10;

/// Least bytes that are initialised ahead at once.
pub const INITIALISE_BYTES_MIN: u64 = 256 << 10;

/// Most bytes that are initialised ahead at once.
///
/// 16 MiB: 4096 groups of one block; more would be written in vain when a partition stops.
pub const INITIALISE_BYTES_MAX: u64 = 16 << 20;

/// Stream bytes after which a new checkpoint is written, so the most a recovery scans twice over.
pub const CHECKPOINT_BYTES: u64 = 256 << 20;

/// Most closed segments of a partition whose file and index are kept open for readers.
pub const CLOSED_SEGMENTS_OPEN_MAX: usize = 4;

/// Most keys of one segment of which a key index holds the hashes in memory, unless configured
/// otherwise.
///
/// 2^20: 20 to 39 bytes each, so at most 41 MiB for the segment being written, as much for the one
/// before it until its index is written, and as much for one that is indexed anew. A segment with more
/// keys is read once more for as many when it is closed; until then, a key beyond them is scanned for.
pub const KEY_INDEX_KEYS_DEFAULT: usize = 1 << 20;

/// Most bytes that an index of keys lets gather behind it before it reads them; a lookup reads what is
/// left.
///
/// 256 KiB: some thousand records of 100 bytes, half a millisecond before an answer.
pub const KEY_INDEX_LAG_BYTES: u64 = 256 << 10;

/// Most index files of keys that a partition keeps open.
///
/// 16: of a million keys each, 400 KiB of directories.
pub const KEY_FILES_OPEN_MAX: usize = 16;

/// Most damaged ranges that a partition lists. A disk that breaks more often is beyond listing: the
/// last ranges are merged.
pub const DAMAGES_MAX: usize = 1024;

/// Most segments of a partition that the object store holds.
///
/// 131,072: 128 TiB in segments of 1 GiB; the manifest that lists them then has 23 MiB.
pub const REMOTE_SEGMENTS_MAX: usize = 1 << 17;

/// Smallest byte budget of a memory-only log: sixteen of the smallest buffers. An append may take a
/// quarter of the budget, so that it never evicts itself.
pub const MEMORY_BYTES_MIN: u64 = 1 << 20;

/// Largest small file that is read: checkpoint, index, list of damages.
///
/// 64 MiB: the index of the largest segment has 24 MiB, a full session table 3 MiB.
pub const SMALL_FILE_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(GATHERED_BYTES_MAX >= APPEND_BYTES_MAX, "the largest append is possible");
const _: () = assert!(MEMORY_BYTES_MIN >= 16 * GATHER_SMALL_BYTES as u64);
const _: () = assert!(TAIL_COPY_BYTES_MAX <= TAIL_CHUNK_BYTES, "a copied group fits a chunk");
const _: () = assert!(GATHER_SMALL_BYTES < GATHER_LARGE_BYTES);
const _: () = assert!(INITIALISE_BYTES_MIN <= INITIALISE_BYTES_MAX);
const _: () = assert!(2 * (REMOTE_SEGMENTS_MAX * 88 + 8192) < SMALL_FILE_BYTES_MAX);
const _: () = assert!(SEGMENT_BYTES_MAX / INDEX_INTERVAL_BYTES * 24 < SMALL_FILE_BYTES_MAX as u64);

/// The limits of partitions, in the order in which they are printed.
pub(super) fn partition_limits() -> Vec<Limit> {
    let mut limits = segment_limits().to_vec();
    limits.extend(memory_limits());
    limits.extend(time_limits());
    limits
}

const fn limit(name: &'static str, value: u64, unit: &'static str, why: &'static str) -> Limit {
    Limit { name, value, unit, why }
}

#[rustfmt::skip]
const fn segment_limits() -> [Limit; 16] {
    [
        limit("SEGMENT_BYTES_MIN", SEGMENT_BYTES_MIN, "bytes", "below it a segment costs more than its data"),
        limit("SEGMENT_BYTES_DEFAULT", SEGMENT_BYTES_DEFAULT, "bytes", "scanned by a recovery in half a second"),
        limit("SEGMENT_BYTES_MAX", SEGMENT_BYTES_MAX, "bytes", "scanned by a recovery in half a minute"),
        limit("INDEX_INTERVAL_BYTES", INDEX_INTERVAL_BYTES, "bytes", "a read starts at most that far before its record"),
        limit("CHECKPOINT_BYTES", CHECKPOINT_BYTES, "bytes", "what a recovery scans after a crash"),
        limit("PREALLOCATE_STEP_MIN", PREALLOCATE_STEP_MIN, "bytes", "what an idle partition takes of the disk"),
        limit("PREALLOCATE_STEP_MAX", PREALLOCATE_STEP_MAX, "bytes", "allocated in a few milliseconds"),
        limit("INITIALISE_GROUP_BYTES", INITIALISE_GROUP_BYTES, "bytes", "above it initialised blocks win nothing"),
        limit("INITIALISE_BYTES_MIN", INITIALISE_BYTES_MIN, "bytes", "64 groups of one block"),
        limit("INITIALISE_BYTES_MAX", INITIALISE_BYTES_MAX, "bytes", "4096 groups of one block"),
        limit("UNSYNCED_BYTES_MAX", UNSYNCED_BYTES_MAX, "bytes", "a tenth of a second of disk"),
        limit("RECYCLED_FILES_MAX", RECYCLED_FILES_MAX as u64, "files", "what a core fills while it makes the next"),
        limit("RESERVE_BYTES", RESERVE_BYTES, "bytes", "a block and a checkpoint for each of 500 partitions of a core"),
        limit("RESERVE_BYTES_MIN", RESERVE_BYTES_MIN, "bytes", "a smaller one opens no partition"),
        limit("REMOTE_SEGMENTS_MAX", REMOTE_SEGMENTS_MAX as u64, "segments", "128 TiB of 1 GiB each; the manifest has 23 MiB"),
        limit("DAMAGES_MAX", DAMAGES_MAX as u64, "ranges", "a disk that breaks more often is beyond listing"),
    ]
}

#[rustfmt::skip]
const fn memory_limits() -> [Limit; 23] {
    [
        limit("APPEND_BYTES_MAX", APPEND_BYTES_MAX as u64, "bytes", "two of the largest batches"),
        limit("APPEND_RECORDS_MAX", APPEND_RECORDS_MAX, "records", "two of the largest batches"),
        limit("GATHER_SMALL_BYTES", GATHER_SMALL_BYTES as u64, "bytes", "more than arrives during one quick sync"),
        limit("GATHER_LARGE_BYTES", GATHER_LARGE_BYTES as u64, "bytes", "a synced write below a millisecond"),
        limit("GATHERED_BYTES_MAX", GATHERED_BYTES_MAX as u64, "bytes", "one largest append; more would be latency"),
        limit("REPEATS_WAITING_MAX", REPEATS_WAITING_MAX as u64, "appends", "128 producers that repeat 8 each"),
        limit("TAIL_COPY_BYTES_MAX", TAIL_COPY_BYTES_MAX as u64, "bytes", "sharing would hold 64 KiB"),
        limit("TAIL_CHUNK_BYTES", TAIL_CHUNK_BYTES as u64, "bytes", "four of the largest copied groups"),
        limit("TAIL_IDLE_BYTES", TAIL_IDLE_BYTES as u64, "bytes", "what an idle partition keeps"),
        limit("READ_BYTES_MAX", READ_BYTES_MAX as u64, "bytes", "one direct read at full speed"),
        limit("SEGMENT_WRITER_GROUP_BYTES", SEGMENT_WRITER_GROUP_BYTES as u64, "bytes", "one write at full speed"),
        limit("FETCH_READ_BYTES_MAX", FETCH_READ_BYTES_MAX as u64, "bytes", "several batches, verified as fast as the largest"),
        limit("SESSIONS_MAX", SESSIONS_MAX as u64, "sessions", "570 bytes each, below 3 MiB"),
        limit("SESSION_WINDOW_BATCHES", SESSION_WINDOW_BATCHES as u64, "batches", "twice what a client keeps in flight"),
        limit("COMPACTION_MEMORY_BYTES_DEFAULT", COMPACTION_MEMORY_BYTES_DEFAULT as u64, "bytes", "two million keys of 32 bytes"),
        limit("COMPACTION_DIRTY_PERCENT_DEFAULT", COMPACTION_DIRTY_PERCENT_DEFAULT as u64, "percent", "each byte is read twice and written once more"),
        limit("COMPACTION_LINGERING_MAX", COMPACTION_LINGERING_MAX as u64, "keys", "every batch that a session remembers, twice; 3 MiB"),
        limit("CLOSED_SEGMENTS_OPEN_MAX", CLOSED_SEGMENTS_OPEN_MAX as u64, "segments", "readers far behind are few"),
        limit("KEY_INDEX_KEYS_DEFAULT", KEY_INDEX_KEYS_DEFAULT as u64, "keys", "20 to 39 bytes each, for three segments at most"),
        limit("KEY_INDEX_LAG_BYTES", KEY_INDEX_LAG_BYTES, "bytes", "half a millisecond before an answer"),
        limit("KEY_FILES_OPEN_MAX", KEY_FILES_OPEN_MAX as u64, "files", "400 KiB of directories of a million keys each"),
        limit("MEMORY_BYTES_MIN", MEMORY_BYTES_MIN, "bytes", "sixteen small buffers; an append takes a quarter at most"),
        limit("SMALL_FILE_BYTES_MAX", SMALL_FILE_BYTES_MAX as u64, "bytes", "the index of the largest segment has 24 MiB"),
    ]
}

#[rustfmt::skip]
const fn time_limits() -> [Limit; 4] {
    [
        limit("UNSYNCED_AGE_MAX", UNSYNCED_AGE_MAX.as_secs(), "seconds", "what a power cut costs a log below synced"),
        limit("IDLE_MARK_AFTER", IDLE_MARK_AFTER.as_secs(), "seconds", "then even the last group is known to be synced"),
        limit("TAIL_IDLE_AFTER", TAIL_IDLE_AFTER.as_secs(), "seconds", "followers have long read it"),
        limit("NO_SPACE_RETRY_AFTER", NO_SPACE_RETRY_AFTER.as_secs(), "seconds", "space returns by hand"),
    ]
}
