//! Every maximum of the command line, with its unit and derivation.
//!
//! Limits of the protocol and of the log are not repeated here: they belong to `pyralog_wire::limits`
//! and `pyralog_log::limits`, and this crate uses theirs.

/// Largest configuration file that is read, in bytes. The commented default is under 8 KiB; a file a
/// hundred times that size is not a configuration file.
pub(crate) const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;

/// Edit distance up to which an unknown key is answered with the known key nearest to it. Three covers
/// a transposed pair plus a forgotten letter; at four, short keys start to resemble each other.
pub(crate) const SUGGESTION_DISTANCE_MAX: usize = 3;

/// Bytes read from an input file or standard input at a time: large enough that the copy out of the
/// page cache dominates the system call, small enough to stay in the second-level cache.
pub(crate) const READ_BYTES: usize = 256 * 1024;

/// Bytes gathered for standard output before they are written, for the same reason.
pub(crate) const WRITE_BYTES: usize = 256 * 1024;

/// Most records per second that `produce --rate` accepts. Above it a pause between records is below
/// a nanosecond and the flag has no meaning.
pub(crate) const RATE_RECORDS_MAX: u64 = 1_000_000_000;

/// Most records that `quickstart --records` accepts: at 180 bytes a record it is 90 GB, a job for
/// the load generator and not for a first look.
pub(crate) const QUICKSTART_RECORDS_MAX: u64 = 500_000_000;

/// Most partitions that `quickstart` makes: one per core of a small machine.
pub(crate) const QUICKSTART_PARTITIONS_MAX: u32 = 4;

/// Seconds between two progress lines when standard error is not a terminal: a log of a long run
/// stays short, and a person who watches it sees that something moves.
pub(crate) const PROGRESS_LINE_SECONDS: u64 = 2;

/// Deepest path that `produce --key-field` follows into a JSON document, in fields.
pub(crate) const KEY_PATH_DEPTH_MAX: usize = 16;

/// Longest time that the write probe of `doctor` runs, in milliseconds: long enough for some thousand
/// samples on a fast disk and for some dozen on a slow one.
pub(crate) const DOCTOR_PROBE_MS_MAX: u64 = 800;

/// Most samples that the write probe of `doctor` takes: p99 over 1000 rests on ten values.
pub(crate) const DOCTOR_PROBE_SAMPLES_MAX: usize = 1000;

/// Ids that `id next` deals at once: what one call of the client may ask for.
pub(crate) const IDS_MAX: u32 = pyralog_client::limits::IDS_PER_CALL_MAX;

/// Numbers that `obelisk next` deals at once: what one request may ask for.
pub(crate) const NUMBERS_MAX: u32 = pyralog_client::limits::COUNTER_LEASE_MAX;

/// Highest value that `obelisk raise` takes: 2^63, so that as many numbers are left above it.
pub(crate) const COUNTER_VALUE_MAX: u64 = pyralog_seq::limits::VALUE_MAX;

/// Largest answer of the HTTP listener that `obelisk stat` reads, in bytes: 256 shards take some 100 KiB, and 4096
/// partitions some 1 MiB.
pub(crate) const STATUS_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a segment that `inspect` reads at a time: marks and small groups then cost no call of their own.
pub(crate) const INSPECT_READ_BYTES: usize = 1 << 20;

/// Largest checkpoint, list, index or index of keys that `inspect` reads, in bytes. The largest that there can be is the
/// index of the keys of a segment: 16 bytes for each of 64 million keys.
pub(crate) const SMALL_FILE_BYTES_MAX: usize = 1 << 30;

/// Longest file of a receipt, in bytes: a notary record is disclosed with some 4 KiB, twice that as digits; the rest is room
/// for batches of many records.
pub(crate) const RECEIPT_BYTES_MAX: u64 = 1 << 20;

/// Longest name or note in a receipt, in bytes: a path, or a few sentences.
pub(crate) const RECEIPT_TEXT_BYTES_MAX: usize = 4096;

/// Bytes after which a backup begins another file: few files for a large partition, and little is read again when a backup
/// that was cut short goes on.
pub(crate) const BACKUP_FILE_BYTES: u64 = 256 << 20;

/// Largest manifest of a backup, in bytes: 180 for each file, so a million of them.
pub(crate) const BACKUP_MANIFEST_BYTES_MAX: usize = 192 << 20;

/// Milliseconds behind the end of a backup up to which ids may have been dealt: a slot runs so far ahead of the time that ids
/// go by, and that so far ahead of a clock that was set back and is still followed. Less could deal an id twice.
pub(crate) const BACKUP_ID_MARGIN_MS: u64 =
    pyralog_seq::limits::AHEAD_MS_MAX + pyralog_seq::clock::BACK_MS_MAX;

/// Bytes of a lock file that are looked at.
pub(crate) const LOCK_BYTES_MAX: usize = 32;

const _: () = assert!(READ_BYTES.is_power_of_two() && WRITE_BYTES.is_power_of_two());
const _: () = assert!(DOCTOR_PROBE_SAMPLES_MAX >= 100, "a p99 needs a hundred samples");
