//! The command line of the benchmark: `pyralog bench ...`.
//!
//! Flags of a scenario are named as its keys and hold the same text: they are laid over the file and read with it.

#![expect(clippy::doc_markdown, reason = "doc comments here are help texts for a terminal")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::scenario::{Compression, Driver, Level, Partitioner, Proofs, Storage, Workload};

/// Arguments of `bench`.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  pyralog bench                                       two minutes, everything, a page
  pyralog bench run single-synced
  pyralog bench run --arrivals poisson:100k --record-size 100B
  pyralog bench compare before.json after.json

Without a command it starts a server in a temporary directory, measures what the machine allows and
what the server reaches, prints a summary, and writes result.json and report.html."
)]
pub struct BenchArgs {
    /// What to do; the two-minute picture if nothing is said.
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Commands of `bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Run one scenario
    Run(Box<RunArgs>),
    /// List the scenarios that come with the program
    List(ListArgs),
    /// Measure only what the machine allows
    Ceiling(CeilingArgs),
    /// Measure what ids and counters cost
    Seq(SeqArgs),
    /// Measure what proofs, compaction and tiers cost
    Life(LifeArgs),
    /// Compare two results
    Compare(CompareArgs),
    /// Draw results as one HTML page
    Report(ReportArgs),
}

/// Where a benchmark runs, and where it writes.
#[derive(Args, Clone, Debug, Default)]
pub struct PlaceArgs {
    /// Directory for results [default: pyralog-bench-results/DATE-TIME]
    #[arg(long, short = 'o', value_name = "DIR", help_heading = "Place")]
    pub out: Option<PathBuf>,
    /// Write the result here as well, in a form to be kept: no seconds, no places of this machine
    #[arg(long, value_name = "FILE.json", help_heading = "Place")]
    pub store: Option<PathBuf>,
    /// Disk to measure: the server's temporary directory is made here [default: the system's]
    #[arg(long, value_name = "DIR", help_heading = "Place")]
    pub data_dir: Option<PathBuf>,
    /// Measure in memory (tmpfs) where a synced write costs nothing
    #[arg(long, help_heading = "Place")]
    pub allow_tmpfs: bool,
    /// CPUs of the server, such as 0,2-3 [default: the first, one for each executor]
    #[arg(long, value_name = "LIST", help_heading = "Place")]
    pub server_cpus: Option<String>,
    /// CPUs of the load [default: those that the server does not have]
    #[arg(long, value_name = "LIST", help_heading = "Place")]
    pub load_cpus: Option<String>,
}

/// Arguments of `bench run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog bench run ingest-1k-synced
  pyralog bench run my-scenario.toml --repetitions 5
  pyralog bench run --arrivals constant:50k --record-size uniform:100..2000 --measure 60s
  pyralog bench run --arrivals search:10k,1.5,5ms --per-arrival 100 --producers 8
  pyralog bench run single-synced --address 10.0.0.7:7400 --repetitions 3

Without a name, a scenario of defaults is changed by the flags. docs/BENCH.md explains every key.")]
pub struct RunArgs {
    /// A scenario of `bench list`, or a TOML file
    #[arg(value_name = "NAME|FILE")]
    pub scenario: Option<String>,
    /// Measure this running server instead of starting one
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["data_dir", "server_cpus"])]
    pub address: Option<String>,
    /// Process of that server, if it runs here: to see what it uses
    #[arg(long, value_name = "PID", requires = "address")]
    pub server_pid: Option<u32>,
    /// Print the scenario with all its keys as TOML, and run nothing
    #[arg(long)]
    pub print: bool,
    /// Measure the ceilings of the machine as well, to show shares of them
    #[arg(long)]
    pub ceilings: bool,
    /// Keys of the scenario.
    #[command(flatten)]
    pub keys: Box<KeyArgs>,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Arguments of `bench seq`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog bench seq
  pyralog bench seq --rounds 11 --data-dir /var/lib/pyralog-bench --json

Dealing from memory, mode always against ftruncate + fdatasync, mode group against always, opening
10,000 counters; then requests to a server of its own against pings. docs/SEQUENCERS.md explains them.")]
pub struct SeqArgs {
    /// Rounds; each figure is a median over them
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: u32,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Arguments of `bench life`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog bench life
  pyralog bench life hashing --rounds 11
  pyralog bench life tier compaction --data-dir /var/lib/pyralog-bench --json

hashing     synced ingest with integrity none, hash and signed in turn, and how far the tree lags
notary      commitments into a signed log, until a signed checkpoint holds them all
compaction  1 GiB with 10 million keys within two budgets of memory
foreground  ingest beside a compaction and without one in turn
tier        segments in an object store (a directory), read by the log and directly in turn

Without a part all of them run, some ten minutes at five rounds. Every round measures each subject
right after what it is compared with. It takes 4 GiB of disk. docs/BENCH.md explains them.")]
pub struct LifeArgs {
    /// What to measure [default: everything]
    #[arg(value_name = "PART", value_enum, hide_possible_values = true)]
    pub parts: Vec<LifePart>,
    /// Rounds; each figure is a median over them
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: u32,
    /// Divide amounts of data by this, to try it: the figures then mean nothing
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub divide: u64,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// A part of `bench life`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum LifePart {
    /// What hashing costs synced ingest.
    Hashing,
    /// Commitments into a signed log.
    Notary,
    /// How fast a compaction is, and how much memory it takes.
    Compaction,
    /// What a compaction costs the foreground.
    Foreground,
    /// Reads of segments in the object store.
    Tier,
}

/// Keys of a scenario as flags.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Scenario")]
pub struct KeyArgs {
    /// Name in the result
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Seed of arrivals, sizes, keys and payloads
    #[arg(long, value_name = "N")]
    pub seed: Option<i64>,
    /// What speaks to the server
    #[arg(long, value_name = "DRIVER", value_enum, hide_possible_values = true)]
    pub driver: Option<Driver>,
    /// append, tail, catch-up, mixed or idle
    #[arg(long, short = 'w', value_name = "WORKLOAD", value_enum, hide_possible_values = true)]
    pub workload: Option<Workload>,
    /// closed:IN_FLIGHT, constant:RATE, poisson:RATE, bursts:RATE,BURST,PERIOD, ramp:FROM..TO or
    /// search:FROM,FACTOR,P99; rates are records a second
    #[arg(long, short = 'a', value_name = "PROCESS")]
    pub arrivals: Option<String>,
    /// Records of one arrival
    #[arg(long, value_name = "N")]
    pub per_arrival: Option<u32>,
    /// Bytes of a value: SIZE, uniform:MIN..MAX or lognormal:MEDIAN,SIGMA,MAX
    #[arg(long, value_name = "SIZE")]
    pub record_size: Option<String>,
    /// none, uniform:COUNT or zipf:COUNT,S
    #[arg(long, value_name = "KEYS")]
    pub keys: Option<String>,
    /// incompressible or compressible:RATIO
    #[arg(long, value_name = "PAYLOAD")]
    pub payload: Option<String>,
    /// Producers
    #[arg(long, value_name = "N")]
    pub producers: Option<u32>,
    /// Consumers of tail, catch-up and mixed
    #[arg(long, value_name = "N")]
    pub consumers: Option<u32>,
    /// Client instances that the producers share; 0 is one each
    #[arg(long, value_name = "N")]
    pub connections: Option<u32>,
    /// Connections that do nothing (workload idle)
    #[arg(long, value_name = "N")]
    pub idle_connections: Option<u32>,
    /// Partitions of the log
    #[arg(long, short = 'p', value_name = "N")]
    pub partitions: Option<u32>,
    /// Where records without a key go: sticky, fixed or spread
    #[arg(long, value_name = "WAY", value_enum, hide_possible_values = true)]
    pub partitioner: Option<Partitioner>,
    /// When an append is acknowledged: memory, written or synced
    #[arg(long, short = 'd', value_name = "LEVEL", value_enum, hide_possible_values = true)]
    pub durability: Option<Level>,
    /// Where the log lives: durable or memory
    #[arg(long, value_name = "PLACE", value_enum, hide_possible_values = true)]
    pub storage: Option<Storage>,
    /// What can be proven of the records: none, hash or signed
    #[arg(long, value_name = "LEVEL", value_enum, hide_possible_values = true)]
    pub integrity: Option<Proofs>,
    /// Size of segment files
    #[arg(long, value_name = "SIZE")]
    pub segment_bytes: Option<String>,
    /// Budget of each partition of a log in memory
    #[arg(long, value_name = "SIZE")]
    pub memory_bytes: Option<String>,
    /// Bytes from which the client's batch is full
    #[arg(long, value_name = "SIZE")]
    pub batch_bytes: Option<String>,
    /// How long the client's batch waits for company
    #[arg(long, value_name = "DURATION")]
    pub linger: Option<String>,
    /// Batches of a partition in flight
    #[arg(long, value_name = "N")]
    pub in_flight: Option<u32>,
    /// Bytes without outcome from which the client makes its caller wait
    #[arg(long, value_name = "SIZE")]
    pub buffer_bytes: Option<String>,
    /// Compression of batches: none, lz4 or zstd
    #[arg(long, short = 'z', value_name = "CODEC", value_enum, hide_possible_values = true)]
    pub codec: Option<Compression>,
    /// Bytes that a consumer's fetch asks for
    #[arg(long, value_name = "SIZE")]
    pub fetch_bytes: Option<String>,
    /// Bytes written before catch-up and mixed begin
    #[arg(long, value_name = "SIZE")]
    pub fill: Option<String>,
    /// Time before counting begins
    #[arg(long, value_name = "DURATION")]
    pub warm_up: Option<String>,
    /// Time that is counted
    #[arg(long, short = 'm', value_name = "DURATION")]
    pub measure: Option<String>,
    /// Bytes after which it ends, if they come first
    #[arg(long, value_name = "SIZE")]
    pub measure_bytes: Option<String>,
    /// How often to run it
    #[arg(long, short = 'n', value_name = "N")]
    pub repetitions: Option<u32>,
    /// Executors of the server
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// How long an idle executor looks for work before it sleeps
    #[arg(long, value_name = "DURATION")]
    pub spin: Option<String>,
    /// Another setting of the server (repeatable)
    #[arg(long = "server-set", value_name = "SECTION.KEY=VALUE")]
    pub settings: Vec<String>,
}

/// Arguments of `bench list`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog bench list
  pyralog bench list --json")]
pub struct ListArgs {}

/// Arguments of `bench ceiling`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog bench ceiling
  pyralog bench ceiling --data-dir /var/lib --seconds 60")]
pub struct CeilingArgs {
    /// How long all of it may take
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Arguments of `bench compare`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog bench compare before.json after.json
  pyralog bench compare before.json after.json --json")]
pub struct CompareArgs {
    /// The result to compare with
    #[arg(value_name = "A.json")]
    pub first: PathBuf,
    /// The result that is compared
    #[arg(value_name = "B.json")]
    pub second: PathBuf,
}

/// Arguments of `bench report`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog bench report result.json -o report.html
  pyralog bench report before.json after.json -o both.html")]
pub struct ReportArgs {
    /// Results to draw
    #[arg(value_name = "FILE.json", required = true)]
    pub files: Vec<PathBuf>,
    /// The page to write
    #[arg(long, short = 'o', value_name = "FILE.html", default_value = "report.html")]
    pub out: PathBuf,
}

impl KeyArgs {
    /// The flags that were given, as keys of a scenario.
    #[must_use]
    pub fn table(&self) -> toml::Table {
        let mut table = toml::Table::new();
        self.add_words(&mut table);
        self.add_texts(&mut table);
        self.add_numbers(&mut table);
        if !self.settings.is_empty() {
            let settings = self.settings.iter().cloned().map(toml::Value::String);
            table.insert("settings".to_owned(), toml::Value::Array(settings.collect()));
        }
        table
    }

    fn add_words(&self, table: &mut toml::Table) {
        add_word(table, "driver", self.driver);
        add_word(table, "workload", self.workload);
        add_word(table, "partitioner", self.partitioner);
        add_word(table, "durability", self.durability);
        add_word(table, "storage", self.storage);
        add_word(table, "integrity", self.integrity);
        add_word(table, "codec", self.codec);
    }

    fn add_texts(&self, table: &mut toml::Table) {
        let texts = [
            ("name", &self.name),
            ("arrivals", &self.arrivals),
            ("record_size", &self.record_size),
            ("keys", &self.keys),
            ("payload", &self.payload),
            ("segment_bytes", &self.segment_bytes),
            ("memory_bytes", &self.memory_bytes),
            ("batch_bytes", &self.batch_bytes),
            ("linger", &self.linger),
            ("buffer_bytes", &self.buffer_bytes),
            ("fetch_bytes", &self.fetch_bytes),
            ("fill", &self.fill),
            ("warm_up", &self.warm_up),
            ("measure", &self.measure),
            ("measure_bytes", &self.measure_bytes),
            ("spin", &self.spin),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                table.insert(key.to_owned(), toml::Value::String(text.clone()));
            }
        }
    }

    fn add_numbers(&self, table: &mut toml::Table) {
        let numbers = [
            ("seed", self.seed),
            ("per_arrival", self.per_arrival.map(i64::from)),
            ("producers", self.producers.map(i64::from)),
            ("consumers", self.consumers.map(i64::from)),
            ("connections", self.connections.map(i64::from)),
            ("idle_connections", self.idle_connections.map(i64::from)),
            ("partitions", self.partitions.map(i64::from)),
            ("in_flight", self.in_flight.map(i64::from)),
            ("repetitions", self.repetitions.map(i64::from)),
            ("shards", self.shards.map(i64::from)),
        ];
        for (key, number) in numbers {
            if let Some(number) = number {
                table.insert(key.to_owned(), toml::Value::Integer(number));
            }
        }
    }
}

fn add_word<W: clap::ValueEnum>(table: &mut toml::Table, key: &str, word: Option<W>) {
    if let Some(value) = word.and_then(|word| word.to_possible_value()) {
        table.insert(key.to_owned(), toml::Value::String(value.get_name().to_owned()));
    }
}

/// Reads a list of CPUs: `0,2-3`.
///
/// # Errors
/// [`Failure::Usage`] if it is none, or one of them is not among `allowed`.
pub(crate) fn cpu_list(flag: &str, text: &str, allowed: &[u32]) -> Result<Vec<u32>, Failure> {
    let wrong = |why: String| Failure::Usage(format!("--{flag} {text}: {why}"));
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let read = |cpu: &str| {
            cpu.parse::<u32>().map_err(|_| wrong("a list such as 0,2-3 is wanted".to_owned()))
        };
        let range = read(first)?..=read(last)?;
        let absent = range.clone().find(|cpu| !allowed.contains(cpu));
        if let Some(cpu) = absent.or_else(|| range.is_empty().then_some(*range.start())) {
            return Err(wrong(format!("CPU {cpu} is not one of this process's {allowed:?}")));
        }
        cpus.extend(range);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::scenario::{Arrivals, Scenario};

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        run: RunArgs,
    }

    #[test]
    fn a_flag_is_a_key_of_the_scenario() {
        let words = "x --arrivals poisson:2k --workload catch-up --producers 3 --record-size 64B --warm-up 0 \
                     --driver client --durability written --codec lz4 --server-set server.pin=false";
        let alone = Alone::try_parse_from(words.split_whitespace()).unwrap();
        let scenario = Scenario::read("", alone.run.keys.table()).unwrap();
        let expected = Scenario {
            arrivals: Arrivals::Poisson { rate: 2000.0 },
            workload: Workload::CatchUp,
            producers: 3,
            record_size: "64B".parse().unwrap(),
            warm_up: std::time::Duration::ZERO,
            durability: Level::Written,
            codec: Compression::Lz4,
            settings: vec!["server.pin=false".to_owned()],
            ..Scenario::default()
        };
        assert_eq!(scenario, expected);
    }

    #[test]
    fn a_list_of_cpus_is_checked_against_those_there_are() {
        assert_eq!(cpu_list("load-cpus", "3,0-1", &[0, 1, 2, 3]).unwrap(), [0, 1, 3]);
        for wrong in ["4", "0-4", "x", "", "2-1"] {
            assert!(cpu_list("load-cpus", wrong, &[0, 1, 2, 3]).is_err(), "{wrong}");
        }
    }
}
