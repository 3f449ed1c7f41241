//! What a benchmark writes down: the file that `bench report` draws and `bench compare` compares.
//!
//! One JSON document ([`ResultFile`]). Times are nanoseconds and rates are per second unless a name says otherwise.
//! A field that a reader does not know is an error, and so is another [`FORMAT`]: a comparison of things that only
//! look alike is worse than none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the document.
pub const FORMAT: &str = "pyralog-bench/2";

/// Everything that one call of `pyralog bench` measured.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ResultFile {
    /// [`FORMAT`].
    pub format: String,
    /// When it began: microseconds since the Unix epoch.
    pub began_us: i64,
    /// The command line that makes such a file again.
    pub command: String,
    /// Where it was measured.
    pub environment: Environment,
    /// What the machine allows, measured in the same call. Empty if that was not asked for.
    pub ceilings: Vec<Ceiling>,
    /// One for each scenario and repetition, in the order in which they ran.
    pub runs: Vec<Run>,
}

/// The machine and the program.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of Pyralog.
    pub version: String,
    /// Commit that it was built from, where that is known; "+" behind it if the tree was changed.
    pub commit: Option<String>,
    /// "release" or "debug".
    pub profile: String,
    /// Name and version of the kernel.
    pub kernel: String,
    /// Model of the processor.
    pub cpu: String,
    /// Processors online.
    pub cpus: u32,
    /// Processors of the server, if it was started by the benchmark or said so.
    pub server_cpus: Vec<u32>,
    /// Processors of the load.
    pub load_cpus: Vec<u32>,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Type of the file system of the data directory ("ext4").
    pub filesystem: String,
    /// Anything else that a reader must know: limits, virtualisation, clock source. Shown as it is.
    pub notes: Vec<(String, String)>,
}

/// What physics and the kernel allow, on this machine, with nothing of Pyralog's protocol in the way.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// Which.
    pub name: CeilingName,
    /// How it was measured, for people: sizes, depth, processors.
    pub detail: String,
    /// Every repetition, in the unit of [`CeilingName::unit`].
    pub samples: Vec<f64>,
    /// For latencies: how they are distributed.
    pub latency: Option<Latency>,
}

/// The ceilings that there are.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CeilingName {
    /// One loopback TCP stream into a sink on our runtime that reads and drops.
    TcpReceive,
    /// One loopback TCP stream out of a source on our runtime.
    TcpSend,
    /// A frame-sized echo over loopback TCP, one at a time.
    TcpEcho,
    /// Sequential direct writes to fresh space of the data directory.
    DiskWriteFresh,
    /// The same over blocks that were written before.
    DiskWriteInitialised,
    /// 1 MiB written with `O_DSYNC`, one at a time, over initialised blocks.
    DiskWriteSynced,
    /// 4 KiB written with `O_DSYNC`, one at a time, over initialised blocks.
    DiskSync,
    /// Sequential direct reads of the data directory, in the blocks in which the server reads for readers far behind.
    DiskRead,
    /// Copies of 1 MiB from memory that is warm.
    MemoryCopy,
    /// First touch of fresh memory.
    MemoryTouch,
    /// CRC32C over 1 MiB.
    Crc32c,
    /// BLAKE3 over 1 MiB.
    Blake3,
    /// Messages of 64 bytes through a lane between two cores.
    Lane,
}

impl CeilingName {
    /// What its samples are in.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::TcpEcho | Self::DiskSync => Unit::Nanoseconds,
            Self::Lane => Unit::PerSecond,
            _ => Unit::BytesPerSecond,
        }
    }
}

/// What a number counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes a second; more is better.
    BytesPerSecond,
    /// Things a second; more is better.
    PerSecond,
    /// Nanoseconds; less is better.
    Nanoseconds,
}

/// One scenario, once.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Name of the scenario.
    pub scenario: String,
    /// The scenario in full, as the TOML that repeats it, with its seed.
    pub toml: String,
    /// Its settings in words, for people: ("record", "1 KiB, incompressible").
    pub facts: Vec<(String, String)>,
    /// Which repetition of the scenario this is, from 0. `bench compare` pairs equal numbers.
    pub repetition: u32,
    /// Whether latency counts from the intended start of an arrival process (true) or from the request (closed loop).
    pub open_loop: bool,
    /// Why the numbers must not be used, if they must not: the generator fell behind its schedule, the server failed.
    pub invalid: Option<String>,
    /// Length of the measured part, without the warm-up.
    pub measured_seconds: f64,
    /// What was counted in it.
    pub totals: Totals,
    /// Latencies by what they measure: "ack" (intended start to acknowledgement), "service" (request to acknowledgement),
    /// "end-to-end" (intended start to consumer), "fetch", "generator-late" (intended start to the client, by the generator's
    /// own fault).
    pub latency: BTreeMap<String, Latency>,
    /// One for every second of the measured part.
    pub series: Vec<Second>,
    /// One for every step of a ramp or a search, in order; empty otherwise.
    pub steps: Vec<Step>,
    /// What the generator used.
    pub generator: Use,
    /// What the server used, if its process could be seen.
    pub server: Option<Use>,
    /// What the server was told it may hold in memory, if it was started by the benchmark.
    pub memory: Option<MemoryBudget>,
    /// What it comes to beside the ceilings of the same call.
    pub shares: Vec<Share>,
}

/// Counts of a run. Nothing in `errors`, `retries` or `waits` is part of a latency's count unless it ended well.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Records that the schedule asked for; in a closed loop those that were sent.
    pub offered_records: u64,
    /// Records acknowledged, or read.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Batches that carried them.
    pub batches: u64,
    /// Failures by the name of their code; beside those of the protocol: `Unfinished` (no outcome 30 seconds after the
    /// end), `NotSent` (due, and never handed over), `NotReceived` (appended, and no consumer saw it), `Undelivered` (the
    /// client gave it up without anybody waiting for it).
    pub errors: BTreeMap<String, u64>,
    /// Attempts after the first.
    pub retries: u64,
    /// Times the generator had to wait because the client's buffers were full (backpressure).
    pub waits: u64,
}

/// How latencies are distributed, in nanoseconds, from a histogram with three significant digits.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// How many were recorded.
    pub count: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// Their mean.
    pub mean: f64,
    /// Every value that occurred (the upper end of its bucket) and how often, in ascending order. Percentiles come from it.
    pub buckets: Vec<(u64, u64)>,
}

/// One second of a run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// Records that the schedule asked for.
    pub offered_records: u64,
    /// Records done.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Failures.
    pub errors: u64,
    /// Median latency of what was done in this second ("ack", else what the workload measures), 0 without any.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

/// One rate of a ramp or a search.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Records a second that were asked for.
    pub offered_rate: f64,
    /// Records a second that were done.
    pub rate: f64,
    /// Bytes a second that were done.
    pub bytes_rate: f64,
    /// Whether the server (true) kept up with the rate.
    pub kept_up: bool,
    /// Latency from the intended start.
    pub latency: Latency,
}

/// What a process used during the measured part.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// Seconds of processor time, user and system.
    pub cpu_seconds: f64,
    /// Share of the busiest of its threads, 0 to 1: near 1 it is a bottleneck.
    pub busiest_thread: f64,
    /// Largest resident set seen, in bytes.
    pub rss_bytes_max: u64,
    /// Context switches, voluntary and not.
    pub context_switches: u64,
}

/// What a server may hold in memory, in bytes of all its executors together.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryBudget {
    /// Buffers for direct I/O, taken at the start (`memory.io_bytes`).
    pub buffers: u64,
    /// Appends in flight (`memory.in_flight_bytes_max`).
    pub in_flight: u64,
    /// Fetched records on their way, and blocks read ahead (`memory.fetched_bytes_max`).
    pub fetched: u64,
    /// Tail caches (`memory.tail_bytes`).
    pub tails: u64,
    /// Records of logs in memory.
    pub records: u64,
    /// No settings: what each open partition and each connection takes at rest, and the process itself.
    pub fixed: u64,
}

impl MemoryBudget {
    /// All of it: what the resident set must not exceed.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { buffers, in_flight, fetched, tails, records, fixed } = *self;
        [buffers, in_flight, fetched, tails, records, fixed]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

impl Run {
    /// Bytes of the server's resident set at most, and of its budget, where both are known.
    #[must_use]
    pub fn memory_of_budget(&self) -> Option<(u64, u64)> {
        Some((self.server.as_ref()?.rss_bytes_max, self.memory.as_ref()?.total()))
    }
}

/// A result as a share of what the machine allows.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The ceiling.
    pub ceiling: CeilingName,
    /// Rate: result / ceiling, 1 is all that is possible. Latency: result / ceiling, 1 is the best possible.
    pub ratio: f64,
}

impl Latency {
    /// The value at or below which `quantile` (0 to 1) of all values are; 0 without any.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank from 1 to count"
    )]
    pub fn at(&self, quantile: f64) -> u64 {
        let rank = ((quantile.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for &(value, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return value.min(self.max);
            }
        }
        self.max
    }
}
