//! Counters and histograms of one core, and what all cores say together at a scrape.
//!
//! The data path increments plain numbers of its own core: no atomic, no lock, no label lookup. A scrape asks every
//! core for a [`ShardSnapshot`] with a message, merges them on the admin listener's thread and prints them there
//! ([`text`]). Histograms are HDR histograms of microseconds, so that merging loses nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use pyralog_log::durability::Durability;
use pyralog_wire::{ErrorCode, Kind};

mod sequencers;
mod snapshot;
pub mod text;

pub use sequencers::{CountersSnapshot, IdsSnapshot};
pub use snapshot::{NodeSnapshot, PartitionSnapshot, ShardSnapshot};

/// Longest time that a histogram tells apart, in microseconds: a minute. Longer ones count as this.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Most records of a batch that the histogram tells apart.
const BATCH_RECORDS_MAX: u64 = pyralog_log::limits::RECORDS_PER_BATCH_MAX as u64;
/// Two significant digits: one percent of error, 20 KiB a histogram.
const DIGITS: u8 = 2;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident = $metric:literal,)+) => {
        /// The counters of a core. They only grow, from zero at the start of the process.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter { $($(#[doc = $doc])+ $name,)+ }

        impl Counter {
            /// Every counter, in the order in which they are printed.
            pub const ALL: &'static [Counter] = &[$(Counter::$name,)+];

            /// Name without the prefix `pyralog_` and the suffix `_total`.
            #[must_use]
            pub const fn metric(self) -> &'static str {
                match self { $(Self::$name => $metric,)+ }
            }

            /// One sentence for people, without its full stop.
            #[must_use]
            pub fn help(self) -> &'static str {
                let doc = match self { $(Self::$name => concat!($($doc),+),)+ };
                doc.trim().trim_end_matches('.')
            }
        }
    };
}

counters! {
    /// Append requests acknowledged.
    Writes = "writes",
    /// Bytes of batches appended.
    WriteBytes = "write_bytes",
    /// Records appended.
    RecordsWritten = "records_written",
    /// Fetch requests answered.
    Reads = "reads",
    /// Fetches whose records had been read from the disk before they were asked for.
    ReadsAhead = "reads_ahead",
    /// Bytes of batches sent to readers.
    ReadBytes = "read_bytes",
    /// Requests answered, refusals included.
    Requests = "requests",
    /// Requests handed to another core of this node.
    Forwarded = "requests_forwarded",
    /// Connections accepted.
    Connections = "connections_accepted",
    /// Connections refused because there were too many.
    ConnectionsRefused = "connections_refused",
    /// Connections closed because the peer broke the protocol or a deadline.
    ConnectionsFailed = "connections_failed",
    /// Tasks of connections that panicked; each closed its own connection.
    ConnectionPanics = "connection_panics",
    /// Groups written to segment files.
    Groups = "group_writes",
    /// Bytes of groups written to segment files, padding included.
    GroupBytes = "wal_bytes",
    /// Appends that were recognised as repeated and not appended again.
    DedupHits = "dedup_hits",
    /// Partitions opened whose torn tail was cut.
    TornTails = "recovery_torn_tails",
    /// Damaged ranges found while opening partitions.
    DamagedRanges = "recovery_damaged_ranges",
    /// Rounds of the background through the partitions of a core.
    HousekeepingRounds = "housekeeping_rounds",
    /// Bytes of closed segments that were read again and checked.
    ScrubbedBytes = "scrub_bytes",
    /// Records that a scrub found damaged and nobody knew of.
    ScrubDamagedRecords = "scrub_damaged_records",
}

const COUNTERS: usize = Counter::ALL.len();
const KINDS: usize = Kind::ALL.len();
const LEVELS: usize = Durability::ALL.len();

/// The numbers of one core, touched by that core only.
#[derive(Debug)]
pub struct Metrics {
    counters: [Cell<u64>; COUNTERS],
    failures: RefCell<BTreeMap<(u16, u16), u64>>,
    histograms: RefCell<Histograms>,
}

/// The histograms of one core, or of several after a merge.
#[derive(Debug, Clone)]
pub struct Histograms {
    /// From the arrival of an append to its acknowledgement, by level asked for, in microseconds.
    pub write_latency_us: [Histogram<u64>; LEVELS],
    /// From the start of a read to its last byte handed to the socket's queue, in microseconds.
    pub read_latency_us: Histogram<u64>,
    /// From the arrival of a request to its answer, by kind (as in [`Kind::ALL`]), in microseconds.
    pub request_us: [Histogram<u64>; KINDS],
    /// From the start of a synced write to its end, in microseconds.
    pub fsync_us: Histogram<u64>,
    /// Records of each batch appended.
    pub batch_records: Histogram<u64>,
}

fn histogram(most: u64) -> Histogram<u64> {
    Histogram::new_with_max(most, DIGITS).expect("the bounds are constants that fit")
}

impl Default for Histograms {
    fn default() -> Self {
        let latency = || histogram(LATENCY_US_MAX);
        Self {
            write_latency_us: std::array::from_fn(|_| latency()),
            read_latency_us: latency(),
            request_us: std::array::from_fn(|_| latency()),
            fsync_us: latency(),
            batch_records: histogram(BATCH_RECORDS_MAX),
        }
    }
}

impl Histograms {
    fn merge(&mut self, other: &Self) {
        let pairs = self.write_latency_us.iter_mut().zip(&other.write_latency_us);
        let pairs = pairs.chain(self.request_us.iter_mut().zip(&other.request_us));
        let pairs = pairs.chain([
            (&mut self.read_latency_us, &other.read_latency_us),
            (&mut self.fsync_us, &other.fsync_us),
            (&mut self.batch_records, &other.batch_records),
        ]);
        for (ours, theirs) in pairs {
            ours.add(theirs).expect("all cores use the same bounds");
        }
    }

    /// All write latencies as one histogram.
    ///
    /// # Panics
    /// Never: all levels have the same bounds.
    #[must_use]
    pub fn write_latency_all(&self) -> Histogram<u64> {
        let mut all = histogram(LATENCY_US_MAX);
        for level in &self.write_latency_us {
            all.add(level).expect("all levels use the same bounds");
        }
        all
    }
}

fn place_of(kind: Kind) -> usize {
    Kind::ALL.iter().position(|known| *known == kind).expect("ALL lists every kind")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            counters: std::array::from_fn(|_| Cell::new(0)),
            failures: RefCell::default(),
            histograms: RefCell::default(),
        }
    }
}

impl Metrics {
    /// Adds to a counter.
    pub fn add(&self, counter: Counter, count: u64) {
        let cell = &self.counters[counter as usize];
        cell.set(cell.get().wrapping_add(count));
    }

    /// The value of a counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].get()
    }

    /// An append was acknowledged at `level`, `took` after it arrived.
    pub fn wrote(&self, level: Durability, records: u64, bytes: u64, took: Duration) {
        self.add(Counter::Writes, 1);
        self.add(Counter::RecordsWritten, records);
        self.add(Counter::WriteBytes, bytes);
        let mut histograms = self.histograms.borrow_mut();
        histograms.write_latency_us[usize::from(level.code())].saturating_record(micros(took));
        histograms.batch_records.saturating_record(records);
    }

    /// A group of `bytes` was written to a segment file, and to stable storage if `synced`.
    pub fn wrote_group(&self, bytes: u64, took: Duration, synced: bool) {
        self.add(Counter::Groups, 1);
        self.add(Counter::GroupBytes, bytes);
        if synced {
            self.histograms.borrow_mut().fsync_us.saturating_record(micros(took));
        }
    }

    /// A fetch was answered with `bytes`, `took` after its data was there.
    pub fn read(&self, bytes: u64, took: Duration) {
        self.add(Counter::Reads, 1);
        self.add(Counter::ReadBytes, bytes);
        self.histograms.borrow_mut().read_latency_us.saturating_record(micros(took));
    }

    /// A request was answered, `took` after it arrived.
    pub fn answered(&self, kind: Kind, took: Duration) {
        self.add(Counter::Requests, 1);
        let place = place_of(kind);
        self.histograms.borrow_mut().request_us[place].saturating_record(micros(took));
    }

    /// A request, or with `None` a connection, was refused or failed.
    pub fn failed(&self, kind: Option<Kind>, code: u16) {
        let key = (kind.map_or(0, Kind::number), code);
        // Bounded by kinds times codes; both are ours, not the peer's.
        *self.failures.borrow_mut().entry(key).or_default() += 1;
    }

    /// Answers so far that carried this error.
    #[must_use]
    pub fn failures(&self, code: ErrorCode) -> u64 {
        let failures = self.failures.borrow();
        failures.iter().filter(|((_, found), _)| *found == code.number()).map(|(_, n)| n).sum()
    }

    /// All answers so far that carried an error.
    #[must_use]
    pub fn failures_all(&self) -> u64 {
        self.failures.borrow().values().sum()
    }

    /// A copy of the histograms.
    #[must_use]
    pub fn histograms(&self) -> Histograms {
        self.histograms.borrow().clone()
    }

    /// Copies the counters and histograms into a snapshot; what else it holds, the caller fills in.
    #[must_use]
    pub fn snapshot(&self) -> ShardSnapshot {
        ShardSnapshot {
            counters: std::array::from_fn(|place| self.counters[place].get()),
            failures: self.failures.borrow().clone(),
            histograms: Box::new(self.histograms()),
            ..ShardSnapshot::default()
        }
    }
}

#[cfg(test)]
mod tests;
