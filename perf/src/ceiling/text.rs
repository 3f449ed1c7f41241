//! Ceilings for people: their names, how they were measured, a table.

use super::{Plan, disk, median, memory, tcp};
use crate::result::{Ceiling, CeilingName, Unit};

/// Its name, as in the result file.
#[must_use]
pub fn label(name: CeilingName) -> &'static str {
    match name {
        CeilingName::TcpReceive => "tcp-receive",
        CeilingName::TcpSend => "tcp-send",
        CeilingName::TcpEcho => "tcp-echo",
        CeilingName::DiskWriteFresh => "disk-write-fresh",
        CeilingName::DiskWriteInitialised => "disk-write-initialised",
        CeilingName::DiskWriteSynced => "disk-write-synced",
        CeilingName::DiskSync => "disk-sync",
        CeilingName::DiskRead => "disk-read",
        CeilingName::MemoryCopy => "memory-copy",
        CeilingName::MemoryTouch => "memory-touch",
        CeilingName::Crc32c => "crc32c",
        CeilingName::Blake3 => "blake3",
        CeilingName::Lane => "lane",
    }
}

/// How `name` is measured, and what it comes to in its other setting.
pub(super) fn detail(plan: &Plan, name: CeilingName, beside: Option<f64>) -> String {
    let beside = |setting: &str| {
        let shown = beside.map(|value| show(name.unit(), value));
        shown.map(|shown| format!("; {setting} {shown}")).unwrap_or_default()
    };
    let spin = format!("core spins {} us", plan.spin.as_micros());
    let cpu = plan.server_cpu;
    let (kib, mib) = (1 << 10, 1 << 20);
    match name {
        CeilingName::TcpReceive => {
            let sides = plan.sides("sink of the runtime", "blocking sender");
            format!("one stream, read {} KiB at a time, {sides}", tcp::RECEIVE_BYTES / kib)
        }
        CeilingName::TcpSend => {
            let sides = plan.sides("source of the runtime", "blocking receiver");
            format!("one stream, written {} MiB at a time, {sides}", tcp::SEND_BYTES / mib)
        }
        CeilingName::TcpEcho => {
            let sides = plan.sides("echo of the runtime", "blocking client");
            let spinning = beside("with a client that spins:");
            format!("{} bytes each way, one at a time, {sides}, {spin}{spinning}", tcp::ECHO_BYTES)
        }
        CeilingName::DiskWriteFresh | CeilingName::DiskWriteInitialised => {
            let fresh = name == CeilingName::DiskWriteFresh;
            let blocks = if fresh { "reserved, never written" } else { "written before" };
            let (each, file) = (disk::STREAM_BYTES / kib, plan.file_bytes >> 20);
            format!(
                "direct writes of {each} KiB, {} at a time, blocks {blocks}, file of {file} MiB",
                disk::DEPTH
            )
        }
        CeilingName::DiskWriteSynced => {
            format!(
                "{} MiB with O_DSYNC, one at a time, blocks written before",
                disk::SYNCED_BYTES / mib
            )
        }
        CeilingName::DiskSync => {
            let each = disk::BLOCK_BYTES / kib;
            format!("{each} KiB with O_DSYNC, one at a time, blocks written before, {spin}")
        }
        CeilingName::DiskRead => {
            let (each, file) = (disk::READ_BYTES / mib, plan.file_bytes >> 20);
            format!(
                "direct reads of {each} MiB, {} at a time, file of {file} MiB, written just before",
                disk::READ_DEPTH
            )
        }
        CeilingName::MemoryCopy => {
            format!("{} MiB at a time, CPU {cpu}", memory::LARGE_BYTES / mib)
        }
        CeilingName::MemoryTouch => {
            let each = memory::FRESH_BYTES / mib;
            format!("first write to each page of {each} MiB new from the kernel, CPU {cpu}")
        }
        CeilingName::Crc32c | CeilingName::Blake3 => {
            let (large, small) = (memory::LARGE_BYTES / mib, memory::SMALL_BYTES / kib);
            let small = beside(&format!("{small} KiB at a time:"));
            format!("{large} MiB at a time, CPU {cpu}{small}")
        }
        CeilingName::Lane => {
            let sides = plan.sides("receiving core", "sending core");
            format!("64 bytes each, {sides}, {spin}")
        }
    }
}

/// The ceilings as a table of text: name, median, lowest and highest sample, how it was measured.
#[must_use]
pub fn table(ceilings: &[Ceiling]) -> String {
    let head = ["ceiling", "median", "lowest to highest", "measured with"].map(str::to_owned);
    std::iter::once(head).chain(ceilings.iter().map(row)).map(line).collect()
}

fn line([name, middle, spread, detail]: [String; 4]) -> String {
    format!("{name:<22}  {middle:>11}  {spread:>24}  {detail}\n")
}

fn row(ceiling: &Ceiling) -> [String; 4] {
    let unit = ceiling.name.unit();
    let lowest = ceiling.samples.iter().copied().min_by(f64::total_cmp);
    let highest = ceiling.samples.iter().copied().max_by(f64::total_cmp);
    let spread = match (lowest, highest) {
        (Some(lowest), Some(highest)) => {
            format!("{} to {}", show(unit, lowest), show(unit, highest))
        }
        _ => "-".to_owned(),
    };
    let middle = median(&ceiling.samples).map_or("-".to_owned(), |middle| show(unit, middle));
    let tail = ceiling.latency.as_ref().map(|latency| {
        let at = |quantile| show(unit, as_f64(latency.at(quantile)));
        format!("p99 {}, p99.9 {}; ", at(0.99), at(0.999))
    });
    let detail = format!("{}{}", tail.unwrap_or_default(), ceiling.detail);
    [label(ceiling.name).to_owned(), middle, spread, detail]
}

/// A number with its unit, three digits of it.
fn show(unit: Unit, value: f64) -> String {
    match unit {
        Unit::BytesPerSecond => format!("{} GB/s", digits(value / 1e9)),
        Unit::PerSecond => format!("{} M/s", digits(value / 1e6)),
        Unit::Nanoseconds if value < 1e6 => format!("{} us", digits(value / 1e3)),
        Unit::Nanoseconds => format!("{} ms", digits(value / 1e6)),
    }
}

fn digits(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds for people")]
fn as_f64(value: u64) -> f64 {
    value as f64
}
