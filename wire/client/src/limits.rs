//! Every maximum and default of the client, with unit and derivation.

use std::time::Duration;

pub use pyralog_log::limits::{BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX, Limit, RECORDS_PER_BATCH_MAX};

/// Batches of one partition that may be in flight. A server remembers the offsets of 16 batches of
/// a session; half of that is in flight, so that a batch that is sent again is always remembered.
pub const IN_FLIGHT_MAX: usize = 8;

/// Batches per session whose offsets a server remembers (`pyralog_log`'s window).
const SERVER_WINDOW_BATCHES: usize = 16;

/// Bytes of records that a producer holds until their outcome is known, unless configured: at
/// 1 GB/s and 20 ms to an acknowledgement 20 MB are under way; three times that, rounded up.
pub const BUFFER_BYTES_DEFAULT: usize = 64 << 20;

/// Largest budget of a producer: beyond 4 GiB a queue is no buffer but a store.
pub const BUFFER_BYTES_MAX: usize = 4 << 30;

/// How long a batch waits for company unless configured: a batch of 1 MiB fills in 1 ms at the
/// speed of one core, so waiting longer gains nothing under load and costs latency otherwise.
pub const LINGER_DEFAULT: Duration = Duration::from_millis(1);

/// Longest linger: beyond a minute records only grow old.
pub const LINGER_MAX: Duration = Duration::from_mins(1);

/// From the first record of a batch to its outcome, unless configured: a server that restarts and
/// recovers is back within it.
pub const DELIVERY_TIMEOUT_DEFAULT: Duration = Duration::from_mins(2);

/// One attempt of a request, unless configured: above the longest group commit on a slow disk.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Connecting and the handshake together, unless configured.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// First delay between attempts: some round trips, so that a busy server gets a breath.
pub const BACKOFF_MIN_DEFAULT: Duration = Duration::from_millis(10);

/// Longest delay between attempts: a server that came back is noticed within a second.
pub const BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(1);

/// Failures of the server to read records, one after another, that a reader which is to end at the end of the log puts up with.
///
/// 8: some 2 s of delays at the default backoff, and whatever the server takes to find out, at most 10 s each.
pub const READ_FAILURES_MAX: u32 = 8;

/// Longest of any configured timeout: a day. Keeps sums of durations far from overflow.
pub const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// Bytes that one fetch asks for unless configured: one batch of the default size fits, and the two
/// fetches that a consumer holds per partition stay small.
pub const FETCH_BYTES_DEFAULT: u32 = 1 << 20;

/// Bytes that a [`crate::StoredReader`] asks for at a time: the smallest answer that can hold every batch.
pub const STORED_BYTES: u32 = 8 << 20;

/// Samples that wait for a checkpoint; then reading waits for it too: 64 KiB a partition.
pub const SAMPLES_DUE_MAX: usize = 1024;

/// Batches of which one is verified, at most: rarer is never.
pub const SAMPLED_ONE_OF_MAX: u32 = 1_000_000;

/// Public keys that a consumer is given: those of a cluster, and their predecessors.
pub const KEYS_MAX: usize = 64;

/// How often it is asked for a checkpoint that covers what is held back: ten times per interval of the server's default.
pub const VERIFY_POLL: Duration = Duration::from_millis(100);

/// Partitions that a trust file remembers: four logs with as many partitions as there can be.
pub const TRUST_PARTITIONS_MAX: usize = 16_384;

/// Checkpoints that are written to a trust file at once.
pub const TRUST_SAVES_MAX: usize = 1024;

/// Bytes of a trust file: 448 digits and a line for people, below 640, for each partition.
pub const TRUST_FILE_BYTES_MAX: u64 = 640 * TRUST_PARTITIONS_MAX as u64;

/// How long a fetch waits at the tail unless configured.
pub const FETCH_WAIT_DEFAULT: Duration = Duration::from_secs(5);

/// Requests that wait in the queue of one connection. What is over it is answered as unsent and
/// tried again after a delay; 4096 is 512 partitions with a full window each.
pub const LINK_QUEUE_REQUESTS_MAX: usize = 4096;

/// Frames that one connection holds encoded but unwritten: enough for one vectored write.
pub const LINK_UNWRITTEN_FRAMES_MAX: usize = 32;

/// Receive buffer of a connection for heads and small frames: one large read.
pub const RECEIVE_BYTES: usize = 64 << 10;

/// Receive buffers for payloads that a connection keeps for use again.
pub const SPARE_PAYLOADS_MAX: usize = 8;

/// Batches on their way from a producer to its task. Each is full or was asked for, so the queue is
/// short unless records are huge or lonely; 1024 notices cost 64 KiB.
pub const HANDOFF_MAX: usize = 1024;

/// Emptied batch builders that a producer keeps for use again: a window of one partition.
pub const SPARE_BUILDERS_MAX: usize = IN_FLIGHT_MAX;

/// Batches whose memory a producer's task keeps for use again: two windows.
pub const SPARE_BATCHES_MAX: usize = 2 * IN_FLIGHT_MAX;

/// Addresses that a client is given to find the cluster.
pub const ADDRESSES_MAX: usize = 64;

/// Messages in the queue to the task that keeps the connections.
pub const HUB_QUEUE_MAX: usize = 1024;

/// Ids that one lease of an id source asks for, unless configured: at a million ids a second a lease lasts for 10 ms, far
/// above a round trip, and a program that ends wastes little.
pub const ID_BLOCK_DEFAULT: u32 = 10_000;

/// Ids that a lease may ask for: what a request may.
pub const ID_BLOCK_MAX: u32 = pyralog_wire::limits::IDS_PER_REQUEST_MAX;

/// Ids that lie ready, below which an id source leases more, unless configured: a whole block ahead of the one in use.
pub const ID_LOW_WATER_DEFAULT: u32 = ID_BLOCK_DEFAULT;

/// Blocks that the low water may amount to: an hour of outage is bridged by larger blocks, not by more of them.
pub const ID_LOW_WATER_BLOCKS_MAX: u32 = 64;

/// Blocks that lie ready at most. The low water is 64; above it come late answers and what hedges of fresh ids brought,
/// which are kept as far as 24 KiB go. What is over it is lost, which ids may be.
pub const ID_STOCK_BLOCKS_MAX: usize = 1024;

/// How long an id source waits for ids that are not there, unless configured: a node that restarts is back within it.
pub const ID_WAIT_DEFAULT: Duration = Duration::from_secs(5);

/// Time for one lease, after which its connection is given up, unless configured: a node answers from memory in under a
/// millisecond and extends its reservation in some more; 2 s is no answer.
pub const LEASE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// A lease is not hedged before this: below it, a hop between threads of a busy machine counts as slow, and timers have a
/// resolution of 1 ms.
pub const HEDGE_DELAY_MIN: Duration = Duration::from_millis(2);

/// A lease is hedged after this at the latest, and while a node is not known: one whose usual answer takes longer is
/// worth a second opinion.
pub const HEDGE_DELAY_MAX: Duration = Duration::from_millis(100);

/// Further nodes that are asked for one lease: the first two may both be lost, and more would be load in an overload.
pub const HEDGES_MAX: usize = 2;

/// Answers of a node that its usual time is taken of: the second largest is the 99th percentile.
pub const LATENCY_SAMPLES_MAX: usize = 128;

/// Answers below which a node has no usual time yet.
pub const LATENCY_SAMPLES_MIN: usize = 8;

/// Requests for ids without an answer at one node: far above what one stock needs, and a bound on what late answers bring.
pub const LEASES_PER_NODE_MAX: usize = 64;

/// Those who wait for fresh ids of one source at once; others wait for them.
pub const FRESH_LEASES_MAX: usize = 64;

/// Ids that one call may ask for: what a request may.
pub const IDS_PER_CALL_MAX: u32 = pyralog_wire::limits::IDS_PER_REQUEST_MAX;

/// How long a node of the wrong role or version is left alone: only a restart changes it, which ends its connection.
pub const MISFIT_REST: Duration = Duration::from_secs(30);

/// Longest wait that a node may ask for: a minute, so that a wrong number does not silence it for good.
pub const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// Numbers that a counter's handle takes at once, unless configured: a round trip for a thousand, and a dropped handle skips
/// less than a crash of the server does.
pub const COUNTER_LEASE_DEFAULT: u32 = 1000;

/// Numbers that a counter's handle takes at once, at most: what a request may.
pub const COUNTER_LEASE_MAX: u32 = pyralog_wire::limits::NUMBERS_PER_REQUEST_MAX;

const _: () = assert!(HEDGE_DELAY_MIN.as_millis() < HEDGE_DELAY_MAX.as_millis());
const _: () = assert!(LATENCY_SAMPLES_MIN < LATENCY_SAMPLES_MAX);
const _: () = assert!(LATENCY_SAMPLES_MAX >= 100, "a 99th percentile is not the maximum");
const _: () = assert!(ID_BLOCK_DEFAULT <= ID_BLOCK_MAX);
const _: () = assert!(COUNTER_LEASE_DEFAULT <= COUNTER_LEASE_MAX);
const _: () = assert!(ID_STOCK_BLOCKS_MAX > ID_LOW_WATER_BLOCKS_MAX as usize);
const _: () = assert!(IN_FLIGHT_MAX * 2 <= SERVER_WINDOW_BATCHES, "a resent batch is remembered");
const _: () = assert!(BUFFER_BYTES_DEFAULT >= 2 * BATCH_BYTES_MAX, "one fills while one is sent");
const _: () = assert!(BUFFER_BYTES_DEFAULT <= BUFFER_BYTES_MAX);

/// A count or length, as a number to print.
const fn number(value: usize) -> u64 {
    value as u64
}

/// Milliseconds of a default, as a number to print.
fn ms(value: Duration) -> u64 {
    u64::try_from(value.as_millis()).unwrap_or(u64::MAX)
}

/// All limits of the client, in the order in which they are printed.
#[must_use]
pub fn limits() -> Vec<Limit> {
    let limit = |name, value, unit, why| Limit { name, value, unit, why };
    let batches = number(IN_FLIGHT_MAX);
    let mut limits = vec![
        limit("IN_FLIGHT_MAX", batches, "batches", "half of what a server remembers per session"),
        limit("BUFFER_BYTES_DEFAULT", number(BUFFER_BYTES_DEFAULT), "bytes", "1 GB/s for 60 ms"),
        limit(
            "BUFFER_BYTES_MAX",
            number(BUFFER_BYTES_MAX),
            "bytes",
            "more is a store, not a buffer",
        ),
        limit("LINGER_DEFAULT", ms(LINGER_DEFAULT), "ms", "a core fills 1 MiB in that time"),
        limit("LINGER_MAX", ms(LINGER_MAX), "ms", "records only grow old"),
        limit("DELIVERY_TIMEOUT_DEFAULT", ms(DELIVERY_TIMEOUT_DEFAULT), "ms", "a restart fits"),
        limit("REQUEST_TIMEOUT_DEFAULT", ms(REQUEST_TIMEOUT_DEFAULT), "ms", "a slow disk's commit"),
        limit("CONNECT_TIMEOUT_DEFAULT", ms(CONNECT_TIMEOUT_DEFAULT), "ms", "some lost packets"),
        limit("BACKOFF_MIN_DEFAULT", ms(BACKOFF_MIN_DEFAULT), "ms", "some round trips"),
        limit("BACKOFF_MAX_DEFAULT", ms(BACKOFF_MAX_DEFAULT), "ms", "a return is soon noticed"),
        limit(
            "READ_FAILURES_MAX",
            u64::from(READ_FAILURES_MAX),
            "failures",
            "a hiccup passes, an outage is told",
        ),
        limit("TIMEOUT_MAX", ms(TIMEOUT_MAX), "ms", "sums cannot overflow"),
        limit("FETCH_BYTES_DEFAULT", FETCH_BYTES_DEFAULT.into(), "bytes", "one default batch"),
        limit("STORED_BYTES", STORED_BYTES.into(), "bytes", "the largest batch"),
        limit("SAMPLES_DUE_MAX", number(SAMPLES_DUE_MAX), "samples", "64 KiB a partition"),
        limit("SAMPLED_ONE_OF_MAX", SAMPLED_ONE_OF_MAX.into(), "batches", "rarer is never"),
        limit("KEYS_MAX", number(KEYS_MAX), "keys", "of the nodes of a cluster"),
        limit("VERIFY_POLL", ms(VERIFY_POLL), "ms", "ten times per checkpoint"),
        limit("TRUST_PARTITIONS_MAX", number(TRUST_PARTITIONS_MAX), "partitions", "10 MiB"),
        limit("TRUST_SAVES_MAX", number(TRUST_SAVES_MAX), "checkpoints", "one write for all"),
        limit("TRUST_FILE_BYTES_MAX", TRUST_FILE_BYTES_MAX, "bytes", "640 per partition"),
        limit("FETCH_WAIT_DEFAULT", ms(FETCH_WAIT_DEFAULT), "ms", "few empty answers at the tail"),
        limit(
            "LINK_QUEUE_REQUESTS_MAX",
            number(LINK_QUEUE_REQUESTS_MAX),
            "requests",
            "512 windows",
        ),
        limit("SPARE_PAYLOADS_MAX", number(SPARE_PAYLOADS_MAX), "buffers", "per connection"),
        limit("HANDOFF_MAX", number(HANDOFF_MAX), "batches", "64 KiB of notices"),
        limit("ADDRESSES_MAX", number(ADDRESSES_MAX), "addresses", "a cluster's first contacts"),
    ];
    limits.extend(id_limits());
    limits
}

/// Those of id sources and counters.
fn id_limits() -> Vec<Limit> {
    let limit = |name, value, unit, why| Limit { name, value, unit, why };
    let blocks = number(ID_STOCK_BLOCKS_MAX);
    let (samples, few) = (number(LATENCY_SAMPLES_MAX), number(LATENCY_SAMPLES_MIN));
    vec![
        limit("ID_BLOCK_DEFAULT", ID_BLOCK_DEFAULT.into(), "ids", "10 ms at a million a second"),
        limit("ID_BLOCK_MAX", ID_BLOCK_MAX.into(), "ids", "what a request may ask for"),
        limit("ID_LOW_WATER_DEFAULT", ID_LOW_WATER_DEFAULT.into(), "ids", "a whole block ahead"),
        limit(
            "ID_LOW_WATER_BLOCKS_MAX",
            ID_LOW_WATER_BLOCKS_MAX.into(),
            "blocks",
            "more ids are larger blocks",
        ),
        limit("ID_STOCK_BLOCKS_MAX", blocks, "blocks", "24 KiB of late answers"),
        limit("ID_WAIT_DEFAULT", ms(ID_WAIT_DEFAULT), "ms", "a restart fits"),
        limit("LEASE_TIMEOUT_DEFAULT", ms(LEASE_TIMEOUT_DEFAULT), "ms", "2 s is no answer"),
        limit("HEDGE_DELAY_MIN", ms(HEDGE_DELAY_MIN), "ms", "above the resolution of timers"),
        limit("HEDGE_DELAY_MAX", ms(HEDGE_DELAY_MAX), "ms", "slower is worth a second opinion"),
        limit("HEDGES_MAX", number(HEDGES_MAX), "requests", "two nodes may be lost"),
        limit("LATENCY_SAMPLES_MAX", samples, "answers", "the second largest is the p99"),
        limit("LATENCY_SAMPLES_MIN", few, "answers", "fewer say nothing"),
        limit(
            "LEASES_PER_NODE_MAX",
            number(LEASES_PER_NODE_MAX),
            "requests",
            "bounds late answers",
        ),
        limit("FRESH_LEASES_MAX", number(FRESH_LEASES_MAX), "requests", "others wait for them"),
        limit("IDS_PER_CALL_MAX", IDS_PER_CALL_MAX.into(), "ids", "what a request may ask for"),
        limit("MISFIT_REST", ms(MISFIT_REST), "ms", "a restart changes a role"),
        limit("RETRY_AFTER_MAX", ms(RETRY_AFTER_MAX), "ms", "no wrong number silences a node"),
        limit(
            "COUNTER_LEASE_DEFAULT",
            COUNTER_LEASE_DEFAULT.into(),
            "numbers",
            "a round trip each",
        ),
        limit("COUNTER_LEASE_MAX", COUNTER_LEASE_MAX.into(), "numbers", "what a request may take"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_listed_once_and_positive() {
        let limits = limits();
        let mut names: Vec<_> = limits.iter().map(|limit| limit.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), limits.len());
        assert!(limits.iter().all(|limit| limit.value > 0));
    }
}
