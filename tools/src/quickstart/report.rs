//! What the quickstart found out, and what to type next.

use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use pyralog_client::Durability;
use serde_json::{Value, json};

use super::digest::Digest;
use super::stream::Pass;
use crate::args::QuickstartArgs;
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::quantity::{bytes_human, count_human, duration_human, rate_human, seconds_human};
use crate::stopwatch::latencies;

/// Samples below which a p99.9 would be the largest of a few.
const SAMPLES_FOR_P999: u64 = 1000;

/// The results.
#[derive(Debug)]
pub(super) struct Report {
    seed: u64,
    shards: usize,
    durability: Durability,
    pub(super) ingest: Pass,
    /// p50, p99 and p99.9 from the arrival of an append to its acknowledgement, on the server.
    pub(super) under_load: [Duration; 3],
    /// Nanoseconds from send to acknowledgement of single records, in the client.
    pub(super) alone: Histogram<u64>,
    pub(super) batch_bytes: u64,
    pub(super) digests: Vec<Digest>,
    pub(super) read: Pass,
    pub(super) restart: Duration,
    pub(super) reread: Pass,
}

impl Report {
    /// An empty report.
    pub(super) fn new(args: &QuickstartArgs, shards: usize) -> Self {
        Self {
            seed: args.seed,
            shards,
            durability: args.durability.into(),
            ingest: Pass::default(),
            under_load: [Duration::ZERO; 3],
            alone: latencies(),
            batch_bytes: 0,
            digests: Vec::new(),
            read: Pass::default(),
            restart: Duration::ZERO,
            reread: Pass::default(),
        }
    }

    /// How long the restart took, for people.
    pub(super) fn restart_human(&self) -> String {
        seconds_human(self.restart)
    }

    fn alone_quantiles(&self) -> [Duration; 3] {
        [0.5, 0.99, 0.999].map(|q| Duration::from_nanos(self.alone.value_at_quantile(q)))
    }

    fn records(&self) -> u64 {
        self.digests.iter().map(Digest::records).sum()
    }

    fn payload_bytes(&self) -> u64 {
        self.digests.iter().map(Digest::bytes).sum()
    }

    /// Prints the tables.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(super) fn print(&self, output: Output) -> Result<(), Failure> {
        let pass = |title: String, pass: &Pass| {
            vec![
                title,
                count_human(rate_human(pass.records, pass.elapsed)),
                bytes_human(rate_human(pass.bytes, pass.elapsed)),
                seconds_human(pass.elapsed),
            ]
        };
        let rows = [
            pass(format!("ingest ({})", self.durability), &self.ingest),
            pass("read back".to_owned(), &self.read),
            pass("read after restart".to_owned(), &self.reread),
        ];
        output.line("")?;
        output.table(&["THROUGHPUT", "RECORDS/S", "PER SECOND", "TIME"], &rows)?;
        let latency = |title: &str, quantiles: [Duration; 3]| {
            let mut row = vec![title.to_owned()];
            row.extend(quantiles.map(duration_human));
            row
        };
        let mut rows = [
            latency("batches under full load (server)", self.under_load),
            latency("one record at a time (client)", self.alone_quantiles()),
        ];
        if self.alone.len() < SAMPLES_FOR_P999 {
            "-".clone_into(&mut rows[1][3]);
        }
        output.line("")?;
        output.table(&["ACKNOWLEDGED AFTER", "P50", "P99", "P99.9"], &rows)?;

        let (records, payload) = (self.records(), self.payload_bytes());
        output.line("")?;
        output.line(&format!(
            "{}  {} records in {} partitions, and {} sent one by one: count, order and\n          \
             content are equal, before and after the restart",
            output.paint(Tone::Good, "verified"),
            count_human(records),
            self.digests.len(),
            count_human(self.alone.len())
        ))?;
        let overhead = self.batch_bytes.saturating_sub(payload);
        output.line(&format!(
            "{}   {} of records in {} of batches on disk ({} bytes of overhead per record)",
            output.paint(Tone::Strong, "storage"),
            bytes_human(payload),
            bytes_human(self.batch_bytes),
            tenths(overhead, records)
        ))?;
        output.line(&output.paint(
            Tone::Faint,
            &format!(
                "{} executors, client and server on the same processors; seed {}",
                self.shards, self.seed
            ),
        ))
    }

    /// The results for programs.
    pub(super) fn json(&self) -> Value {
        let pass = |pass: &Pass| {
            json!({
                "records": pass.records,
                "bytes": pass.bytes,
                "seconds": pass.elapsed.as_secs_f64(),
                "records_per_second": rate_human(pass.records, pass.elapsed),
                "bytes_per_second": rate_human(pass.bytes, pass.elapsed),
            })
        };
        let latency = |quantiles: [Duration; 3]| {
            let [p50, p99, p999] = quantiles.map(|q| q.as_secs_f64() * 1e6);
            json!({ "p50_us": p50, "p99_us": p99, "p999_us": p999 })
        };
        let partitions: Vec<Value> = self
            .digests
            .iter()
            .enumerate()
            .map(|(partition, digest)| {
                json!({
                    "partition": partition,
                    "records": digest.records(),
                    "digest": digest.to_string(),
                })
            })
            .collect();
        json!({
            "verified": true,
            "seed": self.seed,
            "shards": self.shards,
            "durability": self.durability.to_string(),
            "records": self.records(),
            "payload_bytes": self.payload_bytes(),
            "batch_bytes": self.batch_bytes,
            "ingest": pass(&self.ingest),
            "read": pass(&self.read),
            "read_after_restart": pass(&self.reread),
            "restart_seconds": self.restart.as_secs_f64(),
            "ack_under_load": latency(self.under_load),
            "ack_one_at_a_time": latency(self.alone_quantiles()),
            "partitions": partitions,
        })
    }
}

/// `total / count` with one decimal.
fn tenths(total: u64, count: u64) -> String {
    let tenths = total.saturating_mul(10) / count.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Commands that work as they stand.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn next_steps(output: Output) -> Result<(), Failure> {
    let program = program();
    let steps = [
        ("", "serve", "a server on 127.0.0.1:7400 that stays"),
        ("", "log create hello", "then, in another terminal: a log"),
        ("seq 1 100000 | ", "produce hello", "a record per line"),
        ("", "consume hello", "and back"),
        ("", "status", "what the server does"),
    ];
    output.line(&format!("\n{}", output.paint(Tone::Strong, "Next")))?;
    for (before, command, what) in steps {
        let typed = format!("{before}{program} {command}");
        let pad = " ".repeat(52_usize.saturating_sub(typed.len()));
        let what = output.paint(Tone::Faint, what);
        output.line(&format!("  {}{pad} {what}", output.paint(Tone::Code, &typed)))?;
    }
    Ok(())
}

/// How this program can be called again from here: by name if that finds it, else by its path.
fn program() -> String {
    let Ok(this) = std::env::current_exe() else { return "pyralog".to_owned() };
    let search = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&search)
        .map(|directory| directory.join("pyralog"))
        .find(|candidate| candidate.is_file());
    if on_path.is_some_and(|found| found == this) {
        return "pyralog".to_owned();
    }
    let relative: Option<PathBuf> = std::env::current_dir()
        .ok()
        .and_then(|current| this.strip_prefix(current).ok().map(PathBuf::from));
    relative.unwrap_or(this).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_has_one_decimal() {
        assert_eq!(tenths(84, 10), "8.4");
        assert_eq!(tenths(0, 0), "0.0");
    }
}
