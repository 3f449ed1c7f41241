//! Every maximum of this crate, with its unit and derivation; what the protocol fixes is in `wire::limits`.

use std::time::Duration;

use pyralog_log::limits::Limit;
use pyralog_wire::limits as wire;

/// Cores that one process drives. 256: lanes between cores grow with the square (65 536 of them), and machines with
/// more cores run several nodes.
pub const SHARDS_MAX: usize = 256;

/// Connections of one shard unless set otherwise: 1024 receive buffers of 64 KiB are 64 MiB.
pub const CONNECTIONS_PER_SHARD: usize = 1024;
/// Connections of one shard that settings may allow: what one process gets as file descriptors at most, by default.
pub const CONNECTIONS_PER_SHARD_MAX: usize = 65_536;

/// First receive buffer of a connection, and what it returns to: large enough that 64 requests of 1 KiB come in one
/// receive, small enough for a thousand connections.
pub const RECEIVE_BYTES: usize = 64 << 10;
/// Frames that must fit [`RECEIVE_BYTES`] in a row before a grown receive buffer is given back.
pub const SMALL_FRAMES_TO_SHRINK: u32 = 64;

/// Bytes of appends and forwarded requests held by one core before it answers `Busy`: four connections at full credit.
pub const IN_FLIGHT_BYTES: u64 = 4 * wire::CREDIT_BYTES;
/// Bytes of fetched records held by one core for sockets that have not taken them yet.
pub const FETCHED_BYTES: u64 = 4 * wire::OUTBOX_BYTES_MAX;
/// A fetch that is granted less than this waits for room instead: below it the per-request work dominates.
pub const FETCH_GRANT_BYTES_MIN: u64 = 64 << 10;
/// Share of the free room of a core that one fetch may take, as a divisor: slow readers then take ever smaller shares
/// and never all of it.
pub const FETCH_GRANT_SHARE: u64 = 8;
/// Share of these bytes that blocks read ahead may hold together, as a divisor: four blocks of the largest reads, and three
/// quarters stay for what was asked for.
pub const AHEAD_SHARE: u64 = 4;
/// How long a block that was read ahead waits for its reader: a client that reads on comes within milliseconds.
pub const AHEAD_IDLE: Duration = Duration::from_secs(1);
/// Places of one core at which readers of files may go on: more of them than blocks, because a reader comes back later.
pub const SEQUENTIAL_READERS_MAX: usize = 64;
/// Bytes of a fetch that crosses cores: it is copied, and its room is held while it waits at the tail.
pub const FORWARDED_FETCH_BYTES_MAX: u32 = 1 << 20;
/// How long a fetch waits for the core to have room for it before it is answered `Busy`.
pub const GRANT_WAIT: Duration = Duration::from_secs(5);
/// Slices up to this length are copied next to their header, which saves a system call and a packet, and lets go of the
/// group buffer behind them; longer ones are sent from where they lie.
pub const COPY_BYTES_MAX: usize = 16 << 10;

/// How long the reader of a connection waits for a full partition before it answers `Busy`: some group commits.
pub const APPEND_WAIT: Duration = Duration::from_millis(50);
/// What a `Busy` answer tells the client to wait.
pub const BUSY_RETRY: Duration = Duration::from_millis(20);

/// Messages in a lane between two cores: a connection at full credit, twice; 256 x 256 lanes of it stay below 1 GiB.
pub const LANE_MESSAGES: usize = 512;
/// Administrative requests (create, alter, delete) waiting on shard 0.
pub const ADMIN_WAITING_MAX: usize = 256;
/// Questions from one core to others under way.
pub const CALLS_IN_FLIGHT_MAX: usize = 1024;

/// How often a core without a mint tries to open one while it is asked for ids.
pub const IDS_RETRY: Duration = Duration::from_secs(1);
/// Counters of one core: their names are held in memory, at most 16 MiB of them.
pub const COUNTERS_PER_SHARD_MAX: usize = 65_536;
/// Counters of one core that are open: each costs a descriptor, of which a process has 1024 by default.
pub const COUNTERS_OPEN_MAX: usize = 128;

/// Logs in the catalog: the replicas on all cores hold it in memory, at about 400 bytes a log.
pub const LOGS_MAX: usize = 100_000;
/// Largest id of a log that is restored: every id below it is made and deleted again, two commands of the catalog, which takes
/// a minute. A backup that says more was changed by hand.
pub const RESTORED_LOG_ID_MAX: u64 = 1 << 20;
/// Partitions of all logs: each open one costs file handles and buffers on its core.
pub const PARTITIONS_TOTAL_MAX: u64 = 100_000;
/// Partitions that one core opens at the same time at boot: enough to keep a disk busy with scans.
pub const OPENING_AT_ONCE: usize = 8;
/// Partitions with metrics of their own on `/metrics` before only sums are shown (cardinality guard).
pub const LABELLED_PARTITIONS_MAX: usize = 1000;

/// Smallest tail cache of a partition, however many there are: one usual batch.
pub const TAIL_BYTES_MIN: u64 = 1 << 20;
/// Largest tail cache of a partition, however few there are.
pub const TAIL_BYTES_MAX: u64 = 64 << 20;

/// How long a stop waits for clients to take their last answers unless set otherwise.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// How long one request for a snapshot waits for a core.
pub const SNAPSHOT_WAIT: Duration = Duration::from_secs(2);
/// How long a socket may refuse every byte before its connection is closed: a reader that slow has stopped.
pub const SEND_STALL_MAX: Duration = Duration::from_mins(1);
/// How long one core waits for another's answer to an administrative question.
pub const CALL_WAIT: Duration = Duration::from_secs(30);

/// Largest id of a node or cluster: integers up to 2^53 - 1 survive TOML, JSON and spreadsheets.
pub const NODE_ID_MAX: u64 = (1 << 53) - 1;
/// How long a start waits for a shard to open its partitions: recovery reads at disk speed, so a day is never.
pub const BOOT_WAIT: Duration = Duration::from_hours(24);
/// How long each step of a stop waits for the other shards: what is in memory reaches a slow disk within it.
pub const STOP_WAIT: Duration = Duration::from_mins(1);
/// How long a closed connection is still read, so that the close does not destroy the last answer on its way.
pub const LINGER: Duration = Duration::from_millis(250);
/// How long accepting pauses when the process has no descriptors left.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long a start waits for its ports. When a process is killed, the kernel takes a moment more to release the
/// sockets that its `io_uring` still refers to: 5 to 100 ms were seen after the process was gone.
pub const PORT_RELEASE_WAIT: Duration = Duration::from_secs(2);
/// Buffers for direct I/O of a core that has no disk to write to: the records of memory logs live elsewhere, and whoever
/// sizes a machine by `max_memory` should not find a second pool beside it.
pub const MEMORY_ONLY_IO_BYTES: usize = 8 << 20;
/// How often it looks meanwhile.
pub const PORT_RELEASE_STEP: Duration = Duration::from_millis(10);
/// Refused connections that are told why at the same time; more are closed without a word.
pub const REFUSING_AT_ONCE: usize = 64;
/// How often connections are looked at: four times within the shortest of their deadlines, within these bounds.
pub const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// The shortest of these periods, which tests with short deadlines use.
pub const WATCH_PERIOD_MIN: Duration = Duration::from_millis(10);
/// Silence after which a connection gives its grown receive buffer back.
pub const RECEIVE_SILENCE: Duration = Duration::from_secs(2);

/// Time between two rounds of housekeeping: what a bound in time is late by, and little work where nothing is due.
pub const HOUSEKEEPING_INTERVAL: Duration = Duration::from_mins(1);
/// A wall clock that is further ahead than this of what it should show is not believed about the age of records.
///
/// 1 h: as for ids; less than that is a clock that is set right.
pub const CLOCK_LEAP_MAX: Duration = Duration::from_hours(1);
/// The shortest of these, for tests: below it a core with many partitions would do nothing else.
pub const HOUSEKEEPING_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Bytes per second that the background reads and writes on each core: a thirtieth of what a disk of 2 GB/s does, and
/// 5 TiB a day.
pub const HOUSEKEEPING_IO_BYTES: u64 = 64 << 20;
/// The least of these: a segment of 1 GiB then takes a quarter of an hour.
pub const HOUSEKEEPING_IO_BYTES_MIN: u64 = 1 << 20;
/// Bytes per second that the scrubber reads on each core: 675 GiB a day, and nothing that a disk notices.
pub const SCRUB_BYTES: u64 = 8 << 20;
/// The least memory of compaction: 32 thousand keys a pass.
pub const COMPACTION_MEMORY_MIN: u64 = 1 << 20;

/// Bytes of `node.toml`: five short lines.
pub const NODE_FILE_BYTES_MAX: usize = 4096;
/// Bytes of the lock that are looked at for the holder's process id: more than it can have.
pub const LOCK_FILE_BYTES_MAX: usize = 32;
/// Bytes of buffers of the core that works on a directory without a server: one partition at a time, whose largest group has
/// 16 MiB and is read while another is written.
pub const OFFLINE_BUFFER_BYTES: usize = 64 << 20;
/// Bytes of a file of a backup that are read at a time when it is restored; a batch that is longer is read whole.
pub const RESTORE_READ_BYTES: u64 = 4 << 20;
/// Bytes of a node's or host's name in settings.
pub const NODE_NAME_BYTES_MAX: usize = 255;

const _: () = assert!(RECEIVE_BYTES > wire::HELLO_BODY_BYTES_MAX as usize + wire::HEADER_BYTES);
const _: () = assert!(IN_FLIGHT_BYTES >= 2 * wire::FRAME_BYTES_MAX as u64, "one request fits");
const _: () = assert!(FETCHED_BYTES >= wire::OUTBOX_BYTES_MAX);
const _: () = assert!(LANE_MESSAGES >= wire::CREDIT_REQUESTS as usize);
const _: () = assert!(PARTITIONS_TOTAL_MAX >= wire::PARTITIONS_MAX as u64);
const _: () = assert!(CONNECTIONS_PER_SHARD <= CONNECTIONS_PER_SHARD_MAX);

/// Segments of one partition that are uploaded before the next partition has its turn.
///
/// 4: a partition with a backlog of days does not keep the others from theirs.
pub const TIER_ROUNDS_MAX: u32 = 4;

/// So long after the last look at the objects of a deleted log there is another one; or after `housekeeping.interval`, if
/// that is less.
///
/// 1 min: a store that is away comes back, and nobody waits for it.
pub const OBJECTS_RETRY_AFTER: Duration = Duration::from_mins(1);

/// For so long no object of a deleted log must have been found for it to be forgotten.
///
/// 5 min: the client of the store gives a call up after less than half of that.
pub const OBJECTS_LATE_MAX: Duration = Duration::from_mins(5);

/// All limits, in the order in which they are printed.
#[must_use]
pub fn limits() -> Vec<Limit> {
    let mut limits = on_the_way();
    limits.extend(in_all());
    limits
}

const fn limit(name: &'static str, value: u64, unit: &'static str, why: &'static str) -> Limit {
    Limit { name, value, unit, why }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What one core holds and waits for on the way of requests.
fn on_the_way() -> Vec<Limit> {
    vec![
        limit("SHARDS_MAX", SHARDS_MAX as u64, "cores", "lanes grow with the square"),
        limit(
            "CONNECTIONS_PER_SHARD",
            CONNECTIONS_PER_SHARD as u64,
            "connections",
            "64 MiB of receive buffers",
        ),
        limit("RECEIVE_BYTES", RECEIVE_BYTES as u64, "bytes", "64 requests of 1 KiB per receive"),
        limit("IN_FLIGHT_BYTES", IN_FLIGHT_BYTES, "bytes", "four connections at full credit"),
        limit("FETCHED_BYTES", FETCHED_BYTES, "bytes", "four connections with full outboxes"),
        limit(
            "AHEAD_BYTES",
            FETCHED_BYTES / AHEAD_SHARE,
            "bytes",
            "read ahead of readers of files: four of the largest reads",
        ),
        limit("AHEAD_IDLE", ms(AHEAD_IDLE), "ms", "a reader that goes on comes sooner"),
        limit(
            "SEQUENTIAL_READERS_MAX",
            SEQUENTIAL_READERS_MAX as u64,
            "readers",
            "places at which one may go on",
        ),
        limit("COPY_BYTES_MAX", COPY_BYTES_MAX as u64, "bytes", "saves a call and a packet"),
        limit("APPEND_WAIT", ms(APPEND_WAIT), "ms", "some group commits"),
        limit("BUSY_RETRY", ms(BUSY_RETRY), "ms", "a few group commits"),
        limit("LANE_MESSAGES", LANE_MESSAGES as u64, "messages", "a connection's credit, twice"),
        limit("ADMIN_WAITING_MAX", ADMIN_WAITING_MAX as u64, "requests", "people, not programs"),
    ]
}

/// What there may be of each kind, and how long the node waits for others.
fn in_all() -> Vec<Limit> {
    vec![
        limit("IDS_RETRY", ms(IDS_RETRY), "ms", "a core without a mint looks again"),
        limit(
            "COUNTERS_PER_SHARD_MAX",
            COUNTERS_PER_SHARD_MAX as u64,
            "counters",
            "names in memory",
        ),
        limit("COUNTERS_OPEN_MAX", COUNTERS_OPEN_MAX as u64, "counters", "descriptors"),
        limit("RESTORE_READ_BYTES", RESTORE_READ_BYTES, "bytes", "calls cost nothing beside it"),
        limit(
            "RESTORED_LOG_ID_MAX",
            RESTORED_LOG_ID_MAX,
            "id",
            "all ids below are made and deleted again",
        ),
        limit("LOGS_MAX", LOGS_MAX as u64, "logs", "a replica of the catalog on every core"),
        limit(
            "PARTITIONS_TOTAL_MAX",
            PARTITIONS_TOTAL_MAX,
            "partitions",
            "file handles and buffers of one node",
        ),
        limit("OPENING_AT_ONCE", OPENING_AT_ONCE as u64, "partitions", "keeps a disk busy"),
        limit(
            "LABELLED_PARTITIONS_MAX",
            LABELLED_PARTITIONS_MAX as u64,
            "partitions",
            "cardinality of /metrics",
        ),
        limit(
            "OFFLINE_BUFFER_BYTES",
            OFFLINE_BUFFER_BYTES as u64,
            "bytes",
            "one partition at a time, two groups",
        ),
        limit("HOUSEKEEPING_INTERVAL", ms(HOUSEKEEPING_INTERVAL), "ms", "what a bound is late by"),
        limit("CLOCK_LEAP_MAX", ms(CLOCK_LEAP_MAX), "ms", "nothing ages by a clock set wrong"),
        limit("HOUSEKEEPING_IO_BYTES", HOUSEKEEPING_IO_BYTES, "bytes", "a second: 5 TiB a day"),
        limit("COMPACTION_MEMORY_MIN", COMPACTION_MEMORY_MIN, "bytes", "32 thousand keys a pass"),
        limit("SCRUB_BYTES", SCRUB_BYTES, "bytes", "a second: 675 GiB a day"),
        limit("TIER_ROUNDS_MAX", TIER_ROUNDS_MAX.into(), "segments", "the others have their turn"),
        limit(
            "OBJECTS_RETRY_AFTER",
            ms(OBJECTS_RETRY_AFTER),
            "ms",
            "a store that is away comes back",
        ),
        limit("OBJECTS_LATE_MAX", ms(OBJECTS_LATE_MAX), "ms", "an upload under way has ended"),
        limit("SHUTDOWN_GRACE", ms(SHUTDOWN_GRACE), "ms", "clients take their last answers"),
        limit("SEND_STALL_MAX", ms(SEND_STALL_MAX), "ms", "a reader that slow has stopped"),
        limit(
            "HTTP_CONNECTIONS_MAX",
            pyralog_http::limits::CONNECTIONS_MAX as u64,
            "connections",
            "scrapers, probes and a few people",
        ),
        limit(
            "HTTP_IDLE_MAX",
            ms(pyralog_http::limits::IDLE_MAX),
            "ms",
            "twice the usual scrape interval",
        ),
        limit(
            "HTTP_ANSWER_MAX",
            ms(pyralog_http::limits::ANSWER_MAX),
            "ms",
            "half of a scrape's usual timeout",
        ),
    ]
}
