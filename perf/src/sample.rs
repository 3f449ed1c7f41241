//! Results that nobody measured, shaped like real ones, for the tests of what draws and compares them.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::result::{
    Ceiling, CeilingName, Environment, FORMAT, Latency, MemoryBudget, ResultFile, Run, Second,
    Share, Step, Totals, Use,
};

/// Seconds of every run.
const SECONDS: u32 = 20;

/// How a latency is distributed: most values around `typical`, one in `rare` at up to `tail` times that.
#[derive(Clone, Copy)]
struct Shape {
    typical: f64,
    tail: f64,
    rare: usize,
}

/// What a scenario comes to.
struct Kind {
    scenario: &'static str,
    latency: &'static str,
    record_bytes: u64,
    records_per_batch: u64,
    records_per_second: f64,
    open_loop: bool,
    shape: Shape,
    busy: f64,
    shares: &'static [CeilingName],
}

/// A result with every scenario, each repeated so often; the same for the same arguments.
pub(crate) fn file(seed: u64, repetitions: u32) -> ResultFile {
    faster(seed, repetitions, 1.0)
}

/// The same from a server that does `factor` times as much.
pub(crate) fn faster(seed: u64, repetitions: u32, factor: f64) -> ResultFile {
    let mut rng = Rng::with_seed(seed);
    let ceilings = ceilings(&mut rng);
    let mut runs = Vec::new();
    for repetition in 0..repetitions {
        for kind in &kinds() {
            runs.push(run(&mut rng, kind, &ceilings, (repetition, factor)));
        }
        runs.push(search(&mut rng, repetition, factor));
    }
    ResultFile {
        format: FORMAT.to_owned(),
        began_us: 1_795_357_200_000_000,
        command: format!("pyralog bench --repetitions {repetitions} --seed {seed}"),
        environment: environment(),
        ceilings,
        runs,
    }
}

fn environment() -> Environment {
    Environment {
        version: "0.1.0".to_owned(),
        commit: Some("b93a2e7c41d0".to_owned()),
        profile: "release".to_owned(),
        kernel: "Linux 6.18.5".to_owned(),
        cpu: "AMD EPYC 9B14".to_owned(),
        cpus: 2,
        server_cpus: vec![0],
        load_cpus: vec![1],
        memory_bytes: 25_769_803_776,
        filesystem: "ext4".to_owned(),
        notes: vec![
            ("virtual machine".to_owned(), "KVM".to_owned()),
            ("clock source".to_owned(), "tsc".to_owned()),
            ("open files".to_owned(), "1 048 576".to_owned()),
        ],
    }
}

fn kinds() -> [Kind; 6] {
    use CeilingName::{DiskRead, DiskSync, DiskWriteFresh, TcpReceive, TcpSend};
    let base = Kind {
        scenario: "ingest-1k-synced",
        latency: "ack",
        record_bytes: 1024,
        records_per_batch: 1000,
        records_per_second: 1_650_000.0,
        open_loop: false,
        shape: Shape { typical: 4.6e6, tail: 6.0, rare: 300 },
        busy: 0.97,
        shares: &[TcpReceive, DiskWriteFresh],
    };
    let single = Shape { typical: 151e3, tail: 9.0, rare: 220 };
    [
        Kind { ..base },
        Kind {
            scenario: "ingest-100b-synced",
            record_bytes: 100,
            records_per_second: 5_900_000.0,
            shape: Shape { typical: 1.3e6, tail: 7.0, rare: 250 },
            busy: 0.99,
            ..base
        },
        Kind {
            scenario: "single-synced",
            records_per_batch: 1,
            records_per_second: 6_400.0,
            shape: single,
            busy: 0.31,
            shares: &[DiskSync],
            ..base
        },
        Kind {
            scenario: "half-rate-synced",
            records_per_batch: 200,
            records_per_second: 800_000.0,
            open_loop: true,
            shape: Shape { typical: 310e3, tail: 14.0, rare: 400 },
            busy: 0.52,
            ..base
        },
        Kind {
            scenario: "tail",
            latency: "end-to-end",
            records_per_batch: 20,
            records_per_second: 100_000.0,
            open_loop: true,
            shape: Shape { typical: 260e3, tail: 12.0, rare: 300 },
            busy: 0.22,
            shares: &[],
            ..base
        },
        Kind {
            scenario: "catch-up",
            latency: "fetch",
            records_per_second: 2_150_000.0,
            shape: Shape { typical: 0.9e6, tail: 4.0, rare: 500 },
            busy: 0.88,
            shares: &[DiskRead, TcpSend],
            ..base
        },
    ]
}

fn ceilings(rng: &mut Rng) -> Vec<Ceiling> {
    use CeilingName::{
        Blake3, Crc32c, DiskRead, DiskSync, DiskWriteFresh, DiskWriteInitialised, DiskWriteSynced,
        Lane, MemoryCopy, MemoryTouch, TcpEcho, TcpReceive, TcpSend,
    };
    let mut ceiling = |name, detail: &str, value: f64, shape: Option<Shape>| Ceiling {
        name,
        detail: detail.to_owned(),
        samples: (0..5).map(|_| (value * (0.97 + 0.06 * rng.f64())).round()).collect(),
        latency: shape.map(|shape| latency(rng, shape, 4_000)),
    };
    let echo = Shape { typical: 57e3, tail: 4.0, rare: 150 };
    let sync = Shape { typical: 93e3, tail: 5.0, rare: 120 };
    vec![
        ceiling(TcpReceive, "one stream, 128 KiB reads, CPU 1 to CPU 0", 2.81e9, None),
        ceiling(TcpSend, "one stream, 128 KiB writes, CPU 0 to CPU 1", 2.74e9, None),
        ceiling(TcpEcho, "64 bytes, both sides block", 57e3, Some(echo)),
        ceiling(DiskWriteFresh, "128 KiB, depth 4, direct", 2.15e9, None),
        ceiling(DiskWriteInitialised, "128 KiB, depth 4, direct", 2.52e9, None),
        ceiling(DiskWriteSynced, "1 MiB, O_DSYNC, depth 1", 2.1e9, None),
        ceiling(DiskSync, "4 KiB, O_DSYNC, depth 1", 93e3, Some(sync)),
        Ceiling {
            name: DiskRead,
            detail: "8 MiB, depth 2, direct".to_owned(),
            samples: vec![1.31e9, 1.35e9, 1.4e9],
            latency: None,
        },
        ceiling(MemoryCopy, "1 MiB, warm", 11.8e9, None),
        ceiling(MemoryTouch, "4 KiB pages", 0.71e9, None),
        ceiling(Crc32c, "1 MiB, one core", 14.1e9, None),
        ceiling(Blake3, "1 MiB, one core", 6.2e9, None),
        ceiling(Lane, "64 bytes, core 0 to core 1", 31e6, None),
    ]
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "small, positive"
)]
fn run(rng: &mut Rng, kind: &Kind, ceilings: &[Ceiling], (repetition, factor): (u32, f64)) -> Run {
    let noise = 0.98 + 0.04 * rng.f64();
    // A paced server is as fast as it is asked to be; what changes is how long it takes.
    let paced = if kind.open_loop { 1.0 } else { factor * noise };
    let shape = Shape { typical: kind.shape.typical / factor / noise, ..kind.shape };
    let rate = kind.records_per_second * paced;
    let series: Vec<_> = (0..SECONDS).map(|_| second(rng, kind, rate, shape)).collect();
    let records: u64 = series.iter().map(|second| second.records).sum();
    let totals = Totals {
        offered_records: series.iter().map(|second| second.offered_records).sum(),
        records,
        bytes: records * kind.record_bytes,
        batches: records / kind.records_per_batch,
        errors: BTreeMap::new(),
        retries: 0,
        waits: if kind.open_loop { 0 } else { 113 },
    };
    let samples = totals.batches.min(3_000) as usize;
    let mut latencies = BTreeMap::from([(kind.latency.to_owned(), latency(rng, shape, samples))]);
    if kind.open_loop {
        let service = Shape { typical: shape.typical * 0.8, tail: 4.0, rare: 300 };
        latencies.insert("service".to_owned(), latency(rng, service, samples));
    }
    let byte_rate = totals.bytes as f64 / f64::from(SECONDS);
    let typical = latencies[kind.latency].at(0.5) as f64;
    let beside = |name: &CeilingName| {
        let samples = &ceilings.iter().find(|ceiling| ceiling.name == *name).unwrap().samples;
        let result = if *name == CeilingName::DiskSync { typical } else { byte_rate };
        Share { ceiling: *name, ratio: (result / samples[0] * 1000.0).round() / 1000.0 }
    };
    Run {
        scenario: kind.scenario.to_owned(),
        toml: toml(kind),
        facts: vec![
            ("record".to_owned(), format!("{} B, incompressible", kind.record_bytes)),
            ("durability".to_owned(), "synced".to_owned()),
            ("producers".to_owned(), "8".to_owned()),
        ],
        repetition,
        open_loop: kind.open_loop,
        invalid: None,
        measured_seconds: f64::from(SECONDS),
        totals,
        latency: latencies,
        series,
        steps: Vec::new(),
        generator: used(0.71, 410 << 20),
        memory: Some(memory()),
        server: Some(used(kind.busy, (300.0 + 40.0 * rng.f64()) as u64 * (1 << 20))),
        shares: kind.shares.iter().map(beside).collect(),
    }
}

/// What a server of one executor is told by default.
fn memory() -> MemoryBudget {
    MemoryBudget {
        buffers: 256 << 20,
        in_flight: 128 << 20,
        fetched: 144 << 20,
        tails: 128 << 20,
        records: 0,
        fixed: 50 << 20,
    }
}

fn toml(kind: &Kind) -> String {
    format!(
        "name = \"{}\"\nseed = 42\n\n[workload]\nrecord_bytes = {}\nrecords_per_batch = {}\ndurability = \"synced\"\n\n\
         [schedule]\narrivals = \"{}\"\nrate = {}\n",
        kind.scenario,
        kind.record_bytes,
        kind.records_per_batch,
        if kind.open_loop { "constant" } else { "closed" },
        kind.records_per_second
    )
}

/// A search for the highest rate: latency grows as the queue does, until the server no longer keeps up.
fn search(rng: &mut Rng, repetition: u32, factor: f64) -> Run {
    let capacity = (1_600_000.0 * factor * (0.98 + 0.04 * rng.f64())).round();
    let mut steps = Vec::new();
    for number in 1..=11 {
        let offered_rate = (160_000.0 * f64::from(number) * factor).round();
        let kept_up = offered_rate < capacity;
        let rate = offered_rate.min(capacity);
        let typical = 240e3 / (1.02 - (rate / capacity).min(1.0)).sqrt() / factor;
        let shape = Shape { typical, tail: if kept_up { 10.0 } else { 90.0 }, rare: 200 };
        steps.push(Step { offered_rate, kept_up, ..step_of(rate, latency(rng, shape, 1_500)) });
    }
    let kind =
        Kind { scenario: "rate-latency-synced", records_per_batch: 200, shares: &[], ..kinds()[3] };
    let mut run = run(rng, &kind, &[], (repetition, factor));
    run.steps = steps;
    run
}

/// A step whose latencies are all about `typical` nanoseconds.
pub(crate) fn step(offered_rate: f64, rate: f64, typical: u64) -> Step {
    let latency = exact(&[typical]);
    Step { offered_rate, ..step_of(rate, latency) }
}

fn step_of(rate: f64, latency: Latency) -> Step {
    Step { offered_rate: rate, rate, bytes_rate: rate * 1024.0, kept_up: true, latency }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
fn second(rng: &mut Rng, kind: &Kind, rate: f64, shape: Shape) -> Second {
    let wobble = if kind.open_loop { 1.0 } else { 0.96 + 0.08 * rng.f64() };
    let records = (rate * wobble) as u64 / kind.records_per_batch * kind.records_per_batch;
    let now = latency(rng, shape, 100);
    Second {
        offered_records: if kind.open_loop { kind.records_per_second as u64 } else { records },
        records,
        bytes: records * kind.record_bytes,
        errors: 0,
        p50: now.at(0.5),
        p99: now.at(0.99),
        max: now.max,
    }
}

fn used(busy: f64, rss_bytes_max: u64) -> Use {
    Use {
        cpu_seconds: (busy * f64::from(SECONDS) * 100.0).round() / 100.0,
        busiest_thread: busy,
        rss_bytes_max,
        context_switches: 51_200,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
fn latency(rng: &mut Rng, shape: Shape, count: usize) -> Latency {
    let values: Vec<u64> = (0..count.max(1))
        .map(|_| {
            let bell = (0..6).map(|_| rng.f64()).sum::<f64>() / 3.0 - 1.0;
            let slow = if rng.usize(..shape.rare) == 0 { shape.tail.powf(rng.f64()) } else { 1.0 };
            (shape.typical * (bell * 0.35).exp() * slow) as u64
        })
        .collect();
    exact(&values)
}

/// The histogram of exactly these, to three digits.
#[expect(clippy::cast_precision_loss, reason = "a mean")]
pub(crate) fn exact(values: &[u64]) -> Latency {
    let mut buckets = BTreeMap::new();
    for &value in values {
        let shift = (64 - value.leading_zeros()).saturating_sub(11);
        *buckets.entry(((value >> shift) << shift) | ((1 << shift) - 1)).or_insert(0) += 1;
    }
    let count = values.len() as u64;
    Latency {
        count,
        min: values.iter().copied().min().unwrap_or(0),
        max: values.iter().copied().max().unwrap_or(0),
        mean: (values.iter().sum::<u64>() / count.max(1)) as f64,
        buckets: buckets.into_iter().collect(),
    }
}
