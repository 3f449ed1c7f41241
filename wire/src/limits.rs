//! Every maximum of the native protocol, with unit and derivation, and their fingerprint.
//!
//! A number read from a peer is compared with one of these before anything is sized by it.

pub use pyralog_log::limits::{BATCH_BYTES_MAX, Limit};
use pyralog_log::limits::{
    HEADER_BYTES_PER_RECORD_MAX, HEADERS_PER_RECORD_MAX, KEY_BYTES_MAX, RECORDS_PER_BATCH_MAX,
    VALUE_BYTES_MAX,
};

/// Oldest protocol version that this build speaks.
pub const PROTOCOL_VERSION_MIN: u16 = 1;
/// Newest protocol version that this build speaks.
pub const PROTOCOL_VERSION_MAX: u16 = 1;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = HEADER_LEN as usize;
const HEADER_LEN: u32 = 32;
/// Bytes of a frame's body at most: a listing page of 1024 logs with the longest names fits
/// three times.
pub const BODY_BYTES_MAX: u32 = 1 << 20;
/// Bytes of a frame's payload at most: two of the largest batches, so one fetch can always return
/// the batch asked for and a full one after it.
pub const PAYLOAD_BYTES_MAX: u32 = 16 << 20;
/// Bytes of a body before the handshake: a Hello holds two short strings, a refusal one message.
/// A stranger who never says Hello can so hold at most this much of a server's memory.
pub const HELLO_BODY_BYTES_MAX: u32 = 4 << 10;

/// Bytes of the name of a log: 255 (a file name) less room for a suffix, as Kafka has it.
pub const NAME_BYTES_MAX: usize = 249;
/// Bytes of a client's name and of a version text.
pub const CLIENT_TEXT_BYTES_MAX: usize = 256;
/// Bytes of an error's text: longer ones are cut at a character.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// Names in one Metadata request: 1024 names of 249 bytes are a quarter of a body.
pub const NAMES_PER_REQUEST_MAX: usize = 1024;
/// Logs in one page of a listing, for the same reason.
pub const LIST_PAGE_LOGS_MAX: u32 = 1024;

/// Damaged ranges that the answer to a scrub names: 24 KiB of them, and more than anybody looks at one by one.
pub const SCRUB_RANGES_MAX: usize = 1024;

/// Scarab ids in one request: at a thousand requests a second a billion ids, and an eighth of a second of one slot.
pub const IDS_PER_REQUEST_MAX: u32 = 1 << 20;
/// Numbers of a counter in one request, for the same reason.
pub const NUMBERS_PER_REQUEST_MAX: u32 = 1 << 20;
/// Bytes of the name of a counter: it becomes a file name with a generation and a suffix.
pub const COUNTER_NAME_BYTES_MAX: usize = 200;
/// Numbers that an extension of a counter reserves unless its creator says otherwise: at a sync of 1 ms, half of it lasts
/// for 30 million numbers a second.
pub const COUNTER_BLOCK_DEFAULT: u64 = 65_536;
/// Numbers that an extension may reserve: what a crash may skip stays far below what a file can hold.
pub const COUNTER_BLOCK_MAX: u64 = 1 << 32;
/// Milliseconds between extensions of an `unsafe-interval` counter unless its creator says otherwise.
pub const COUNTER_INTERVAL_MS_DEFAULT: u32 = 100;
/// Milliseconds between extensions of an `unsafe-interval` counter at most: a minute.
pub const COUNTER_INTERVAL_MS_MAX: u32 = 60_000;
/// Counters in one page of a listing: 1024 of the longest names and problems are more than a body, 512 fit.
pub const LIST_PAGE_COUNTERS_MAX: u32 = 512;

/// Partitions of a log: a description (43 bytes a partition) fits a body twenty times.
pub const PARTITIONS_MAX: u32 = 1024;
/// Smallest segment: below it, a file per few batches costs more than it holds.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Largest segment: recovery scans one segment, 8 GiB takes some seconds.
pub const SEGMENT_BYTES_MAX: u64 = 8 << 30;
/// Segments are a whole number of these: the block of direct I/O.
pub const SEGMENT_BYTES_UNIT: u64 = 4096;
/// Segment size unless the creator says otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 1 << 30;
/// Smallest byte budget of a partition in memory.
pub const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Largest byte budget of a partition in memory: 1 TiB, above any machine we know.
pub const MEMORY_BYTES_MAX: u64 = 1 << 40;
/// Byte budget of a partition in memory unless the creator says otherwise.
pub const MEMORY_BYTES_DEFAULT: u64 = 256 << 20;
/// Longest time to live: 100 years in milliseconds, so that sums with a clock cannot overflow.
pub const TTL_MS_MAX: u64 = 100 * 365 * 24 * 3600 * 1000;
/// Longest age in the life of a log, in milliseconds: 100 years.
pub const LIFE_MS_MAX: u64 = TTL_MS_MAX;
/// Age at which a segment is closed, unless the log says otherwise: seven days.
pub const SEGMENT_AGE_MS_DEFAULT: u64 = 7 * 24 * 3600 * 1000;
/// Least age at which a segment is closed: more often, files cost more than their records.
pub const SEGMENT_AGE_MS_MIN: u64 = 100;
/// Most bytes that a partition may be told to keep: 1 EiB.
pub const RETENTION_BYTES_MAX: u64 = 1 << 60;

/// Bytes that one fetch may ask for: what fits a payload.
pub const FETCH_BYTES_MAX: u32 = PAYLOAD_BYTES_MAX;
/// Milliseconds that one fetch may wait at the tail: below the idle timeout of usual middleboxes.
pub const WAIT_MS_MAX: u32 = 60_000;

/// Milliseconds from accept to a complete Hello.
pub const HANDSHAKE_TIMEOUT_MS: u32 = 10_000;
/// Milliseconds without any byte from the client and without a request in work, after which the
/// server closes. A client that has nothing to say pings three times within it.
pub const IDLE_TIMEOUT_MS: u32 = 300_000;
/// Milliseconds that a started frame may take to arrive whole.
pub const FRAME_TIMEOUT_MS: u32 = 60_000;

/// Requests in flight that a server grants to a connection unless set otherwise: 8 partitions with
/// 8 batches each in flight, four times over.
pub const CREDIT_REQUESTS: u32 = 256;
/// Requests in flight that a server may be set to grant.
pub const CREDIT_REQUESTS_MAX: u32 = 4096;
/// Frame bytes in flight that a server grants: at 2 GB/s and 5 ms to an acknowledgement, 10 MB are
/// in flight; three times that.
pub const CREDIT_BYTES: u64 = 32 << 20;
/// Reply bytes that may wait for one slow reader: two of the largest replies, so that one is
/// prepared while one is sent.
pub const OUTBOX_BYTES_MAX: u64 = 2 * (FRAME_BYTES_MAX as u64);

/// Bytes of the largest frame.
pub const FRAME_BYTES_MAX: u32 = HEADER_LEN + BODY_BYTES_MAX + PAYLOAD_BYTES_MAX;
/// Bytes that an answer without lists takes at most: a header and an error with its longest text.
pub const SMALL_REPLY_BYTES_MAX: u32 = 2048;

const _: () =
    assert!(BATCH_BYTES_MAX <= PAYLOAD_BYTES_MAX as usize / 2, "a fetch returns a whole batch");
const _: () = assert!(MESSAGE_BYTES_MAX + 256 <= SMALL_REPLY_BYTES_MAX as usize);
const _: () = assert!(
    LIST_PAGE_COUNTERS_MAX as usize * (COUNTER_NAME_BYTES_MAX + MESSAGE_BYTES_MAX + 128)
        <= BODY_BYTES_MAX as usize
);
const _: () = assert!(COUNTER_NAME_BYTES_MAX <= NAME_BYTES_MAX);
const _: () = assert!(NAMES_PER_REQUEST_MAX * (NAME_BYTES_MAX + 8) <= BODY_BYTES_MAX as usize);
const _: () = assert!(SEGMENT_BYTES_DEFAULT.is_multiple_of(SEGMENT_BYTES_UNIT));
const _: () = assert!(SEGMENT_BYTES_MAX.is_multiple_of(SEGMENT_BYTES_UNIT));
const _: () = assert!(SEGMENT_BYTES_MIN >= pyralog_log::limits::SEGMENT_BYTES_MIN);
const _: () = assert!(SEGMENT_BYTES_MAX <= pyralog_log::limits::SEGMENT_BYTES_MAX);
const _: () = assert!(IDLE_TIMEOUT_MS >= 5 * WAIT_MS_MAX, "a waiting fetch is not idleness");
const _: () = assert!(OUTBOX_BYTES_MAX >= FRAME_BYTES_MAX as u64, "any one reply fits");
const _: () = assert!(CREDIT_BYTES >= FRAME_BYTES_MAX as u64, "any one request fits");

/// All limits of this crate, in the order in which they are printed: first those that peers share.
#[must_use]
pub fn limits() -> Vec<Limit> {
    SHARED.iter().chain(LOCAL).copied().collect()
}

/// Fingerprint of the limits that two peers must mean the same by: CRC32C over lines
/// `name=value unit\n`, of the batch format's limits and then of the protocol's shared ones, in the
/// order of `FORMAT` and `SHARED` below.
///
/// Compared in the handshake, where a difference is *reported*, not refused: every number that a
/// client must heed is spelled out in the Welcome, so a refusal would only forbid upgrading servers
/// and clients one by one. Nodes of a cluster, who are not told each other's limits, refuse.
#[must_use]
pub fn fingerprint() -> u32 {
    crc32c::crc32c(shared_text().as_bytes())
}

/// The text that [`fingerprint`] is taken of, to print where two differ.
#[must_use]
pub fn shared_text() -> String {
    let line = |limit: &Limit| format!("{}={} {}\n", limit.name, limit.value, limit.unit);
    FORMAT.iter().chain(SHARED).map(line).collect()
}

const fn limit(name: &'static str, value: u64, unit: &'static str, why: &'static str) -> Limit {
    Limit { name, value, unit, why }
}

/// Limits of the batch format, printed by `pyralog-log`.
const FORMAT: &[Limit] = &[
    limit("BATCH_BYTES_MAX", BATCH_BYTES_MAX as u64, "bytes", ""),
    limit("RECORDS_PER_BATCH_MAX", RECORDS_PER_BATCH_MAX as u64, "records", ""),
    limit("KEY_BYTES_MAX", KEY_BYTES_MAX as u64, "bytes", ""),
    limit("VALUE_BYTES_MAX", VALUE_BYTES_MAX as u64, "bytes", ""),
    limit("HEADERS_PER_RECORD_MAX", HEADERS_PER_RECORD_MAX as u64, "headers", ""),
    limit("HEADER_BYTES_PER_RECORD_MAX", HEADER_BYTES_PER_RECORD_MAX as u64, "bytes", ""),
];

/// Limits that a peer can run into.
const SHARED: &[Limit] = &[
    limit("HEADER_BYTES", HEADER_BYTES as u64, "bytes", "the frame header"),
    limit("BODY_BYTES_MAX", BODY_BYTES_MAX as u64, "bytes", "a page of 1024 logs, three times"),
    limit("PAYLOAD_BYTES_MAX", PAYLOAD_BYTES_MAX as u64, "bytes", "two of the largest batches"),
    limit("HELLO_BODY_BYTES_MAX", HELLO_BODY_BYTES_MAX as u64, "bytes", "two short strings"),
    limit("NAME_BYTES_MAX", NAME_BYTES_MAX as u64, "bytes", "a file name, less a suffix"),
    limit("CLIENT_TEXT_BYTES_MAX", CLIENT_TEXT_BYTES_MAX as u64, "bytes", "a name or a version"),
    limit("MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX as u64, "bytes", "an error text is a sentence"),
    limit("NAMES_PER_REQUEST_MAX", NAMES_PER_REQUEST_MAX as u64, "names", "a quarter of a body"),
    limit("LIST_PAGE_LOGS_MAX", LIST_PAGE_LOGS_MAX as u64, "logs", "a third of a body"),
    limit("SCRUB_RANGES_MAX", SCRUB_RANGES_MAX as u64, "ranges", "24 KiB of an answer"),
    limit(
        "IDS_PER_REQUEST_MAX",
        IDS_PER_REQUEST_MAX as u64,
        "ids",
        "an eighth of a second of a slot",
    ),
    limit("NUMBERS_PER_REQUEST_MAX", NUMBERS_PER_REQUEST_MAX as u64, "numbers", "as for ids"),
    limit(
        "COUNTER_NAME_BYTES_MAX",
        COUNTER_NAME_BYTES_MAX as u64,
        "bytes",
        "a file name, less generation and suffix",
    ),
    limit("COUNTER_BLOCK_MAX", COUNTER_BLOCK_MAX, "numbers", "what a crash may skip"),
    limit("COUNTER_INTERVAL_MS_MAX", COUNTER_INTERVAL_MS_MAX as u64, "milliseconds", "a minute"),
    limit("LIST_PAGE_COUNTERS_MAX", LIST_PAGE_COUNTERS_MAX as u64, "counters", "fit a body"),
    limit("PARTITIONS_MAX", PARTITIONS_MAX as u64, "partitions", "descriptions fit a body"),
    limit("SEGMENT_BYTES_MIN", SEGMENT_BYTES_MIN, "bytes", "a file for more than a few batches"),
    limit("SEGMENT_BYTES_MAX", SEGMENT_BYTES_MAX, "bytes", "recovery scans one in seconds"),
    limit("SEGMENT_BYTES_UNIT", SEGMENT_BYTES_UNIT, "bytes", "the block of direct I/O"),
    limit("MEMORY_BYTES_MIN", MEMORY_BYTES_MIN, "bytes", "some batches"),
    limit("MEMORY_BYTES_MAX", MEMORY_BYTES_MAX, "bytes", "above any machine we know"),
    limit("TTL_MS_MAX", TTL_MS_MAX, "milliseconds", "100 years; sums cannot overflow"),
    limit("LIFE_MS_MAX", LIFE_MS_MAX, "milliseconds", "retention, lag, tombstones: 100 years"),
    limit("SEGMENT_AGE_MS_DEFAULT", SEGMENT_AGE_MS_DEFAULT, "milliseconds", "seven days"),
    limit(
        "SEGMENT_AGE_MS_MIN",
        SEGMENT_AGE_MS_MIN,
        "milliseconds",
        "files that cost more than their records",
    ),
    limit("RETENTION_BYTES_MAX", RETENTION_BYTES_MAX, "bytes", "1 EiB; sums cannot overflow"),
    limit("FETCH_BYTES_MAX", FETCH_BYTES_MAX as u64, "bytes", "what fits a payload"),
    limit("WAIT_MS_MAX", WAIT_MS_MAX as u64, "milliseconds", "below timeouts of middleboxes"),
    limit("CREDIT_REQUESTS_MAX", CREDIT_REQUESTS_MAX as u64, "requests", "bounds a connection"),
];

/// Limits and defaults of one end, which Welcome tells where the other has to know.
const LOCAL: &[Limit] = &[
    limit("SEGMENT_BYTES_DEFAULT", SEGMENT_BYTES_DEFAULT, "bytes", "a second at full speed"),
    limit("COUNTER_BLOCK_DEFAULT", COUNTER_BLOCK_DEFAULT, "numbers", "30 M/s at a sync of 1 ms"),
    limit(
        "COUNTER_INTERVAL_MS_DEFAULT",
        COUNTER_INTERVAL_MS_DEFAULT as u64,
        "milliseconds",
        "what a crash may repeat",
    ),
    limit("MEMORY_BYTES_DEFAULT", MEMORY_BYTES_DEFAULT, "bytes", "a laptop has it to spare"),
    limit("HANDSHAKE_TIMEOUT_MS", HANDSHAKE_TIMEOUT_MS as u64, "milliseconds", "a slow link"),
    limit("IDLE_TIMEOUT_MS", IDLE_TIMEOUT_MS as u64, "milliseconds", "five of the longest waits"),
    limit("FRAME_TIMEOUT_MS", FRAME_TIMEOUT_MS as u64, "milliseconds", "17 MiB at 300 KB/s"),
    limit("CREDIT_REQUESTS", CREDIT_REQUESTS as u64, "requests", "8 partitions x 8, four times"),
    limit("CREDIT_BYTES", CREDIT_BYTES, "bytes", "three times 2 GB/s for 5 ms"),
    limit("OUTBOX_BYTES_MAX", OUTBOX_BYTES_MAX, "bytes", "one reply prepared while one is sent"),
    limit("SMALL_REPLY_BYTES_MAX", SMALL_REPLY_BYTES_MAX as u64, "bytes", "the longest error"),
];
