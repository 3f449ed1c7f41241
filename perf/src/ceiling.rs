//! Ceilings: what the machine and the kernel allow, with nothing of Pyralog's protocol in the way.
//!
//! Every rate is taken where the server takes it: on a core of our runtime, bound to the server's processor, through
//! the sockets, files and lanes that the server uses. The other side of a connection is a plain thread with blocking
//! calls on the load's processor.
//!
//! A machine drifts: its host gives it more or less processor, disk and memory bandwidth from second to second. So the
//! ceilings are measured in rounds, each of them for a short time in every round, and a drift meets all of them alike.
//! Rejected: one ceiling after the other, which compares the first minute of one with the second of another. Before the
//! rounds comes a shorter one that is thrown away.

mod disk;
mod lane;
mod load;
mod memory;
mod tcp;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use pyralog_runtime::{MachineConfig, Pin, probe, start, time};

use crate::result::{Ceiling, CeilingName, Latency};
use disk::Ground;
pub use text::{label, table};

/// A budget for all ceilings that is enough for a picture.
pub const QUICK: Duration = Duration::from_secs(10);
/// A budget for all ceilings that is enough for a comparison.
pub const FULL: Duration = Duration::from_mins(1);

/// How long the runtime's core looks for work before it sleeps: what a server does by default.
pub const SPIN: Duration = Duration::from_micros(50);

/// All of them, in the order in which a round measures them.
pub const ALL: [CeilingName; 13] = [
    CeilingName::TcpReceive,
    CeilingName::TcpSend,
    CeilingName::TcpEcho,
    CeilingName::DiskWriteFresh,
    CeilingName::DiskWriteInitialised,
    CeilingName::DiskWriteSynced,
    CeilingName::DiskSync,
    CeilingName::DiskRead,
    CeilingName::MemoryCopy,
    CeilingName::MemoryTouch,
    CeilingName::Crc32c,
    CeilingName::Blake3,
    CeilingName::Lane,
];

/// Rounds of a budget that allows for them: an odd number, so that a median is one of the samples.
const ROUNDS_MAX: u32 = 11;
/// Fewer say nothing about the spread.
const ROUNDS_MIN: u32 = 3;
/// A sample that is shorter is mostly the start of a connection.
const SLICE_MIN: Duration = Duration::from_millis(150);
/// However small the budget, a sample is that long: one answer of every kind fits in.
const SLICE_LEAST: Duration = Duration::from_millis(5);
/// What a sample takes beyond its slice: connections, threads, reserving a file again.
const OVERHEAD: Duration = Duration::from_millis(15);
/// Share of a slice that the round before the first takes.
const WARM_UP: u32 = 5;
/// A sample that takes this much longer than its slice hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to measure, where, and for how long.
#[derive(Clone, Debug)]
pub struct CeilingOptions {
    /// The directory whose file system is measured. Nothing is left in it, however the measurement ends.
    pub directory: PathBuf,
    /// Processor of the runtime's core: the server's.
    pub server_cpu: usize,
    /// Processor of the other side. May be the same where there is only one.
    pub load_cpu: usize,
    /// How long the runtime's core looks for work before it sleeps: the server's setting.
    pub spin: Duration,
    /// How long all of it may take, about.
    pub budget: Duration,
    /// Which ceilings; all if empty.
    pub only: Vec<CeilingName>,
}

impl CeilingOptions {
    /// All ceilings: the core on the first processor that the process may use, the load on the second.
    #[must_use]
    pub fn new(directory: PathBuf, budget: Duration) -> Self {
        let cpus = probe::cpus();
        let server_cpu = cpus.first().copied().unwrap_or(0);
        let load_cpu = cpus.get(1).copied().unwrap_or(server_cpu);
        Self { directory, server_cpu, load_cpu, spin: SPIN, budget, only: Vec::new() }
    }
}

/// Measures the ceilings, in the order of [`ALL`]. From an ordinary thread.
///
/// # Errors
/// If the processors are not ours, the machine has no usable `io_uring`, or the directory's file system is too full, or
/// cannot do direct I/O.
pub fn measure(options: &CeilingOptions) -> anyhow::Result<Vec<Ceiling>> {
    let allowed = probe::cpus();
    for cpu in [options.server_cpu, options.load_cpu] {
        anyhow::ensure!(
            allowed.contains(&cpu),
            "this process may not use CPU {cpu}, only {allowed:?}"
        );
    }
    let plan = Plan::new(options);
    let scratch = plan.needs_disk().then(|| disk::scratch(&options.directory)).transpose()?;
    let place = scratch.as_ref().map(|scratch| scratch.path().to_owned());
    let config = MachineConfig {
        shards: 1,
        pin: Pin::List(vec![plan.server_cpu]),
        spin: plan.spin,
        name: "ceiling".to_owned(),
        // As a server has it: reads into memory that is touched for the first time would measure that.
        buffer_bytes: disk::BUFFER_BYTES,
        ..MachineConfig::default()
    };
    let (sender, receiver) = mpsc::channel();
    let machine = start(&config, move |_core| {
        let (plan, place, sender) = (plan.clone(), place.clone(), sender.clone());
        async move {
            let result = Box::pin(run(&plan, place)).await;
            // Err: the receiver is gone, and with it who asked.
            sender.send(result).ok();
        }
    })?;
    machine.join()?;
    receiver.try_recv().context("the measurement ended without a result")?
}

/// The schedule, and what every measurement needs to know.
#[derive(Clone, Debug)]
struct Plan {
    names: Vec<CeilingName>,
    server_cpu: usize,
    load_cpu: usize,
    spin: Duration,
    rounds: u32,
    /// Length of one sample.
    slice: Duration,
    /// Length of each file on the disk.
    file_bytes: u64,
}

impl Plan {
    fn new(options: &CeilingOptions) -> Self {
        let wanted = |name: &CeilingName| options.only.is_empty() || options.only.contains(name);
        let names: Vec<_> = ALL.into_iter().filter(wanted).collect();
        let each = options.budget / u32::try_from(names.len().max(1)).unwrap_or(1);
        let affordable = each.as_millis() / (SLICE_MIN + OVERHEAD).as_millis();
        let affordable = u32::try_from(affordable).unwrap_or(ROUNDS_MAX);
        let rounds = affordable.clamp(ROUNDS_MIN, ROUNDS_MAX).saturating_sub(1) | 1;
        // The round that is thrown away counts as one of the pieces.
        let slice = (each / (rounds + 1)).saturating_sub(OVERHEAD).max(SLICE_LEAST);
        let &CeilingOptions { server_cpu, load_cpu, spin, .. } = options;
        let file_bytes =
            if options.budget < QUICK { disk::FILE_BYTES_SHORT } else { disk::FILE_BYTES };
        Self { names, server_cpu, load_cpu, spin, rounds, slice, file_bytes }
    }

    fn needs_disk(&self) -> bool {
        self.names.iter().any(|name| disk::MEASURED.contains(name))
    }

    fn one_cpu(&self) -> bool {
        self.server_cpu == self.load_cpu
    }

    /// Where the two sides of something are, for people.
    fn sides(&self, ours: &str, other: &str) -> String {
        if self.one_cpu() {
            return format!(
                "{ours} and {other} share CPU {}: there is no second one",
                self.server_cpu
            );
        }
        format!("{ours} on CPU {}, {other} on CPU {}", self.server_cpu, self.load_cpu)
    }
}

/// One repetition of one ceiling.
struct Sample {
    /// In the unit of the ceiling.
    value: f64,
    /// The same in another setting, which goes into the detail.
    beside: Option<f64>,
    /// Every latency of it.
    latencies: Option<Histogram<u64>>,
}

impl Sample {
    fn rate(value: f64) -> Self {
        Self { value, beside: None, latencies: None }
    }

    /// The median of `latencies`.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
    fn of(latencies: Histogram<u64>) -> anyhow::Result<Self> {
        anyhow::ensure!(!latencies.is_empty(), "not one answer came within the time of a sample");
        let value = latencies.value_at_quantile(0.5) as f64;
        Ok(Self { value, beside: None, latencies: Some(latencies) })
    }
}

/// All rounds, on the runtime's core.
async fn run(plan: &Plan, place: Option<PathBuf>) -> anyhow::Result<Vec<Ceiling>> {
    let ground = match &place {
        Some(place) => Some(Ground::prepare(place, plan.file_bytes).await?),
        None => None,
    };
    let mut taken: BTreeMap<CeilingName, Vec<Sample>> = BTreeMap::new();
    for round in 0..=plan.rounds {
        let slice = if round == 0 { (plan.slice / WARM_UP).max(SLICE_LEAST) } else { plan.slice };
        for &name in &plan.names {
            let sampling = Box::pin(sample(plan, name, slice, ground.as_ref()));
            let sample = time::timeout(slice + PATIENCE, sampling)
                .await
                .unwrap_or_else(|_| Err(anyhow::anyhow!("it hangs")))
                .with_context(|| format!("measuring {}", label(name)))?;
            if round > 0 {
                taken.entry(name).or_default().push(sample);
            }
        }
    }
    if let Some(ground) = ground {
        ground.close().await?;
    }
    Ok(taken.into_iter().map(|(name, samples)| ceiling(plan, name, &samples)).collect())
}

/// One sample of `name`.
async fn sample(
    plan: &Plan,
    name: CeilingName,
    slice: Duration,
    ground: Option<&Ground>,
) -> anyhow::Result<Sample> {
    let ground = || ground.context("the disk was not prepared");
    match name {
        CeilingName::TcpReceive => tcp::receive(plan, slice).await,
        CeilingName::TcpSend => tcp::send(plan, slice).await,
        CeilingName::TcpEcho => tcp::echo(plan, slice).await,
        CeilingName::DiskWriteFresh => ground()?.write_fresh(slice).await,
        CeilingName::DiskWriteInitialised => ground()?.write_again(slice).await,
        CeilingName::DiskWriteSynced => ground()?.write_synced(slice).await,
        CeilingName::DiskSync => ground()?.sync(slice).await,
        CeilingName::DiskRead => ground()?.read(slice).await,
        CeilingName::MemoryCopy => Ok(memory::copy(slice)),
        CeilingName::MemoryTouch => Ok(memory::touch(slice)),
        CeilingName::Crc32c => Ok(memory::crc32c(slice)),
        CeilingName::Blake3 => Ok(memory::blake3(slice)),
        CeilingName::Lane => lane::messages(plan, slice).await,
    }
}

/// What the samples come to.
fn ceiling(plan: &Plan, name: CeilingName, samples: &[Sample]) -> Ceiling {
    let mut all: Option<Histogram<u64>> = None;
    for latencies in samples.iter().filter_map(|sample| sample.latencies.as_ref()) {
        let gathered = all.get_or_insert_with(load::histogram);
        gathered.add(latencies).expect("all histograms are made alike");
    }
    let beside: Vec<_> = samples.iter().filter_map(|sample| sample.beside).collect();
    Ceiling {
        name,
        detail: text::detail(plan, name, median(&beside)),
        samples: samples.iter().map(|sample| sample.value).collect(),
        latency: all.as_ref().map(latency),
    }
}

/// The distribution in a histogram, in the form of the result file.
fn latency(histogram: &Histogram<u64>) -> Latency {
    Latency {
        count: histogram.len(),
        min: histogram.min(),
        max: histogram.max(),
        mean: histogram.mean(),
        buckets: histogram
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
            .collect(),
    }
}

/// The middle one; the mean of the two in the middle if their number is even.
fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (below, above) =
        (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(below.midpoint(*above))
}

/// How many a second `count` in `elapsed` are.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.max(Duration::from_nanos(1)).as_secs_f64()
}

#[cfg(test)]
mod tests;
