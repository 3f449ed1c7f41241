//! `pyralog produce`: lines or JSON documents from standard input or files become records.
//!
//! The value of a record is the line as it stands, byte for byte. Records go to the client's batches
//! without waiting for each other; a failed one is reported at the end, or as soon as it is known,
//! because there is no sense in pouring in the rest of a large file behind it.

mod input;
mod json_key;
mod pace;
mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pyralog_client::blocking::Producer;
use pyralog_client::{ClientError, Codec, PartitionId, Partitioner, ProducerConfig, Record};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::{Compression, InputFormat, ProduceArgs};
use crate::connect::{connect, explain};
use crate::exit::{Failure, Status};
use crate::output::{Output, Tone};
use crate::progress::{Progress, rates};
use crate::quantity::{bytes_human, count_human, seconds_human};
use crate::session::Session;
use crate::stopwatch::{Stopwatch, pause};

pub(crate) use json_key::KeyPath;

use input::LineReader;
use pace::Pace;
use source::Source;

/// Records between two looks at progress, failures and signals: a fraction of a millisecond of work.
const RECORDS_PER_LOOK: u64 = 1024;

/// How long a Ctrl-C waits for input that does not come before it ends the process.
const INTERRUPT_GRACE: Duration = Duration::from_millis(500);

/// Runs the command.
///
/// # Errors
/// If the input cannot be read, a record is refused, or the server cannot be reached.
pub(crate) fn run(session: &Session, args: &ProduceArgs) -> Result<(), Failure> {
    let sources = Source::all(&args.files)?;
    let total_bytes = Source::total_bytes(&sources);
    let connected = connect(session, &args.client)?;
    let config = producer_config(args)?;
    let producer = connected.client.producer(&args.log, config).map_err(|error| explain(&error))?;
    let mut work = Work {
        args,
        producer,
        progress: Progress::start(session.output, "produce", total_bytes, args.quiet),
        watch: Stopwatch::start(),
        sent: Sent::default(),
        interrupt: Interrupt::install()?,
    };
    let outcome = sources.into_iter().try_for_each(|source| work.pour(source));
    work.finish(session.output, outcome)
}

fn producer_config(args: &ProduceArgs) -> Result<ProducerConfig, Failure> {
    let defaults = ProducerConfig::default();
    let batch_bytes = usize::try_from(args.batch_bytes).unwrap_or(usize::MAX);
    let config = ProducerConfig {
        durability: args.durability.map(Into::into),
        linger: args.linger,
        batch_bytes,
        buffer_bytes: defaults.buffer_bytes.max(batch_bytes.saturating_mul(2)),
        codec: match args.compression {
            Compression::None => Codec::None,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        },
        delivery_timeout: args.delivery_timeout,
        partitioner: match args.partition {
            Some(partition) => Partitioner::Fixed(PartitionId::new(partition)),
            None => Partitioner::KeyHash,
        },
        ..defaults
    };
    config.check().map_err(|error| explain(&error))?;
    Ok(config)
}

/// What was handed to the client so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    records: u64,
    bytes: u64,
    keyless: u64,
    input_bytes: u64,
}

struct Work<'a> {
    args: &'a ProduceArgs,
    producer: Producer,
    progress: Progress,
    watch: Stopwatch,
    sent: Sent,
    interrupt: Interrupt,
}

impl Work<'_> {
    /// Sends every record of `source`.
    fn pour(&mut self, source: Source) -> Result<(), Failure> {
        let name = source.name().to_owned();
        let mut lines = LineReader::new(source.open()?, pyralog_log::limits::RECORD_BYTES_MAX);
        let pace = self.args.rate.map(Pace::new);
        loop {
            let waits = lines.would_read();
            self.interrupt.reading.store(waits, Ordering::Relaxed);
            let next = lines.next_line();
            self.interrupt.reading.store(false, Ordering::Relaxed);
            let line = match next {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(error) => return Err(Failure::failed(format!("{name}: {error}"))),
            };
            self.sent.input_bytes += line.len() as u64 + 1;
            let (key, value) = match split(self.args, line) {
                Ok(Split::Record { key, value }) => (key, value),
                Ok(Split::Skip) => continue,
                Err(problem) => {
                    let number = lines.line();
                    return Err(Failure::failed(format!("{name}: line {number}: {problem}")));
                }
            };
            let record = Record { key: key.as_deref(), ..Record::new(value) };
            let bytes = (value.len() + key.as_ref().map_or(0, |key| key.len())) as u64;
            let sent = self.producer.send_detached(record);
            if let Err(error) = sent {
                let number = lines.line();
                let failure = explain(&error);
                let message = format!("{name}: line {number}: {}", failure.message());
                return Err(Failure::new(failure.status(), message));
            }
            self.sent.records += 1;
            self.sent.bytes += bytes;
            self.sent.keyless += u64::from(key.is_none());
            self.look(pace)?;
        }
    }

    /// Now and then: progress, failures, signals; and the pause of `--rate`.
    fn look(&mut self, pace: Option<Pace>) -> Result<(), Failure> {
        let sent = self.sent;
        if let Some(wait) = pace.and_then(|pace| pace.wait(sent.records, self.watch.elapsed())) {
            pause(wait);
        } else if !sent.records.is_multiple_of(RECORDS_PER_LOOK) {
            return Ok(());
        }
        self.interrupt.records.store(sent.records, Ordering::Relaxed);
        self.progress.at(sent.input_bytes, sent.records, sent.bytes);
        if self.interrupt.asked.load(Ordering::Relaxed) {
            return Err(Failure::new(Status::Interrupted, "interrupted"));
        }
        if self.producer.stats().records_failed > 0 {
            return Err(Failure::failed("stopped at the first record that failed"));
        }
        Ok(())
    }

    /// Waits for every outcome and prints what happened.
    fn finish(mut self, output: Output, outcome: Result<(), Failure>) -> Result<(), Failure> {
        let flushed = self.producer.flush();
        let elapsed = self.watch.elapsed();
        self.progress.finish();
        let stats = self.producer.stats();
        let delivered = stats.records_delivered;
        if !self.args.quiet || output.json() {
            let sent = self.sent;
            if output.json() {
                let rate = crate::quantity::rate_human(delivered, elapsed);
                output.document(&json!({
                    "log": self.args.log,
                    "records": delivered,
                    "failed": stats.records_failed,
                    "bytes": sent.bytes,
                    "keyless": sent.keyless,
                    "batches": stats.batches_delivered,
                    "retries": stats.retries,
                    "duplicates": stats.duplicates,
                    "seconds": elapsed.as_secs_f64(),
                    "records_per_second": rate,
                    "partitions": self.producer.partitions(),
                }))?;
            } else {
                output.line(&format!(
                    "{} {} records, {} in {} ({}) to {} of {}",
                    output.paint(Tone::Good, "produced"),
                    count_human(delivered),
                    bytes_human(sent.bytes),
                    seconds_human(elapsed),
                    rates(delivered, sent.bytes, elapsed),
                    match (self.args.partition, self.producer.partitions()) {
                        (Some(partition), _) => format!("partition {partition}"),
                        (None, 1) => "1 partition".to_owned(),
                        (None, count) => format!("{count} partitions"),
                    },
                    self.args.log
                ))?;
            }
        }
        match (flushed, outcome) {
            (Err(error), _) => Err(undelivered(&error)),
            (Ok(()), outcome) => outcome,
        }
    }
}

/// Failed records are a failure (1), unless not one attempt reached a server (3).
fn undelivered(error: &ClientError) -> Failure {
    let failure = explain(error);
    if error.is_outcome_unknown() {
        return failure
            .hint("some of these records may be in the log: read them back before resending");
    }
    failure
}

/// What a line is.
enum Split<'a> {
    Record { key: Option<std::borrow::Cow<'a, [u8]>>, value: &'a [u8] },
    Skip,
}

/// Key and value of a line.
fn split<'a>(args: &ProduceArgs, line: &'a [u8]) -> Result<Split<'a>, String> {
    use std::borrow::Cow;
    match (args.format, &args.key_field, &args.key_separator) {
        (InputFormat::Ndjson, _, _) if line.trim_ascii().is_empty() => Ok(Split::Skip),
        (InputFormat::Ndjson, Some(path), _) => {
            let key = path.extract(line).map_err(|error| error.to_string())?;
            Ok(Split::Record { key: key.map(Cow::Owned), value: line })
        }
        (InputFormat::Ndjson, None, _) => {
            json_key::check(line).map_err(|error| error.to_string())?;
            Ok(Split::Record { key: None, value: line })
        }
        (InputFormat::Lines, _, Some(separator)) => {
            let separator = separator.as_bytes();
            match line.windows(separator.len()).position(|part| part == separator) {
                Some(at) => Ok(Split::Record {
                    key: Some(Cow::Borrowed(&line[..at])),
                    value: &line[at + separator.len()..],
                }),
                None => Err(format!(
                    "no {:?} between key and value",
                    String::from_utf8_lossy(separator)
                )),
            }
        }
        (InputFormat::Lines, _, None) => Ok(Split::Record { key: None, value: line }),
    }
}

/// Ctrl-C and SIGTERM: stop reading, deliver what was read, say how much. A second one, or one while
/// the input says nothing (reading cannot be interrupted), ends the process at once.
struct Interrupt {
    asked: Arc<AtomicBool>,
    reading: Arc<AtomicBool>,
    records: Arc<AtomicU64>,
}

impl Interrupt {
    fn install() -> Result<Self, Failure> {
        let ours = Self {
            asked: Arc::new(AtomicBool::new(false)),
            reading: Arc::new(AtomicBool::new(false)),
            records: Arc::new(AtomicU64::new(0)),
        };
        let failed = |error| Failure::failed(format!("cannot handle signals: {error}"));
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
        let (asked, reading, records) =
            (Arc::clone(&ours.asked), Arc::clone(&ours.reading), Arc::clone(&ours.records));
        let watch = move || {
            for _ in signals.forever() {
                let again = asked.swap(true, Ordering::Relaxed);
                if !again {
                    // Enough for what was read to be sent and for the input to end by itself, as it
                    // does when the same Ctrl-C stops the other end of the pipe.
                    pause(INTERRUPT_GRACE);
                }
                if again || reading.load(Ordering::Relaxed) {
                    let records = records.load(Ordering::Relaxed);
                    eprintln!(
                        "interrupted while waiting for input, after {records} records or more"
                    );
                    std::process::exit(Status::Interrupted as i32);
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
        Ok(ours)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    /// Key and value.
    type Owned = (Option<Vec<u8>>, Vec<u8>);

    fn split_with(flags: &[&str], line: &[u8]) -> Result<Option<Owned>, String> {
        let mut words = vec!["pyralog", "produce", "log"];
        words.extend(flags);
        let Command::Produce(args) = Cli::parse_from(words).command else {
            panic!("not a produce command");
        };
        match split(&args, line)? {
            Split::Record { key, value } => {
                Ok(Some((key.map(std::borrow::Cow::into_owned), value.to_vec())))
            }
            Split::Skip => Ok(None),
        }
    }

    #[test]
    fn a_line_is_its_own_value() {
        assert_eq!(split_with(&[], b""), Ok(Some((None, vec![]))));
        assert_eq!(split_with(&[], b"a\tb\r"), Ok(Some((None, b"a\tb\r".to_vec()))));
    }

    #[test]
    fn a_separator_cuts_at_its_first_occurrence() {
        let flags = ["--key-separator", "::"];
        let expected = Some((Some(b"k".to_vec()), b"v::w".to_vec()));
        assert_eq!(split_with(&flags, b"k::v::w"), Ok(expected));
        assert_eq!(split_with(&flags, b"::v"), Ok(Some((Some(vec![]), b"v".to_vec()))));
        assert_eq!(split_with(&flags, b"k:v"), Err("no \"::\" between key and value".to_owned()));
    }

    #[test]
    fn a_document_keeps_its_bytes_and_empty_lines_are_skipped() {
        let flags = ["--format", "ndjson", "--key-field", "a.b"];
        let line = br#" {"a": {"b": 7}} "#;
        assert_eq!(split_with(&flags, line), Ok(Some((Some(b"7".to_vec()), line.to_vec()))));
        assert_eq!(split_with(&flags, b"{}"), Ok(Some((None, b"{}".to_vec()))));
        assert_eq!(split_with(&flags, b" \r"), Ok(None));
        assert!(split_with(&flags, b"{").unwrap_err().starts_with("not a JSON document"));
        assert!(split_with(&["--format", "ndjson"], b"[1").is_err());
    }
}
