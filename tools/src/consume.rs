//! `pyralog consume`: records to standard output, byte for byte or in a form for programs.

mod format;
mod start;
mod template;

use std::io::{self, Write};

use pyralog_client::blocking::{Client, Consumer};
use pyralog_client::{
    ClientError, ConsumerConfig, FetchedBatch, FetchedRecord, Integrity, Offset, PartitionId,
    PublicKey, StartFrom, Stop, Timestamp, Verify,
};

use crate::args::{ConsumeArgs, OutputFormat};
use crate::connect::{connect, explain};
use crate::exit::Failure;
use crate::limits::WRITE_BYTES;
use crate::output::{Output, Tone};
use crate::session::Session;

use format::{Formatter, OutRecord};
pub(crate) use start::Start;
pub(crate) use template::Template;

/// Runs the command.
///
/// # Errors
/// If the server cannot be reached, the start does not exist, or records were damaged and skipped; with exit code 4 if what
/// the server sends is not what it has stated.
pub(crate) fn run(session: &Session, args: ConsumeArgs) -> Result<(), Failure> {
    let keys = keys(&args)?;
    let connected = connect(session, &args.client)?;
    if args.verify != Verify::Off && keys.is_empty() {
        warn_of_first_use(session.output, &connected.client, &args)?;
    }
    let consumer = open(&connected.client, &args, keys)?;
    let mut work = Work {
        output: session.output,
        consumer,
        formatter: Formatter::new(args.format, args.template),
        left: args.max.unwrap_or(u64::MAX),
        follow: args.follow,
        buffer: Vec::with_capacity(WRITE_BYTES + WRITE_BYTES / 4),
        damages: 0,
    };
    work.pour()?;
    match work.damages {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} damaged ranges were skipped"))
            .hint("the ranges are listed above; everything else was written")),
    }
}

/// The keys that may have signed.
fn keys(args: &ConsumeArgs) -> Result<Vec<PublicKey>, Failure> {
    if args.verify == Verify::Off && (!args.key.is_empty() || args.trust.is_some()) {
        return Err(Failure::usage("--key and --trust are of use only if something is verified")
            .hint("add --verify every, or --verify sampled"));
    }
    let keys = args.key.iter().map(|key| PublicKey::parse(key)).collect::<Result<_, _>>();
    keys.map_err(|error| Failure::usage(format!("--key: {error}")))
}

/// Says what is believed without a key.
fn warn_of_first_use(output: Output, client: &Client, args: &ConsumeArgs) -> Result<(), Failure> {
    let route = client.metadata(&args.log).map_err(|error| explain(&error))?;
    let what = match route.config.integrity {
        Integrity::None => return Ok(()), // The consumer will say what to do.
        Integrity::Hash => {
            "the log is not signed: what is checked is that the server does not contradict itself"
        }
        Integrity::Signed => {
            "no --key: the first key that is seen is believed, which finds changes, and not a server that lies from the \
             beginning; `pyralog key` shows it on the server"
        }
    };
    output.note(&format!("{} {what}", output.paint_note(Tone::Caution, "note:")));
    Ok(())
}

fn open(client: &Client, args: &ConsumeArgs, keys: Vec<PublicKey>) -> Result<Consumer, Failure> {
    let default = if args.follow { Start::Latest } else { Start::Earliest };
    let config = ConsumerConfig {
        from: match args.from.unwrap_or(default) {
            Start::Earliest => StartFrom::Earliest,
            Start::Latest => StartFrom::Latest,
            Start::Offset(offset) => StartFrom::Offset(Offset::new(offset)),
            Start::Time(us) => StartFrom::Time(Timestamp::new(us)),
        },
        partitions: args.partition.iter().copied().map(PartitionId::new).collect(),
        stop: if args.follow { Stop::Never } else { Stop::AtEnd },
        verify: args.verify,
        keys,
        trust_file: args.trust.clone(),
        ..ConsumerConfig::default()
    };
    client.consumer(&args.log, config).map_err(|error| explain(&error))
}

/// Appends one record to `out`.
fn write_record(
    formatter: &Formatter,
    partition: u32,
    record: &FetchedRecord<'_>,
    out: &mut Vec<u8>,
) {
    let headers: Vec<(&str, Option<&[u8]>)> = record.headers.iter().collect();
    let record = OutRecord {
        partition,
        offset: record.offset.get(),
        id: record.scarab(),
        time_us: record.create_time.get(),
        key: record.key,
        value: record.value,
        headers: &headers,
    };
    formatter.write(&record, out);
}

/// One record as `consume` writes it in this form.
pub(crate) fn written(format: OutputFormat, partition: u32, record: &FetchedRecord<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_record(&Formatter::new(format, None), partition, record, &mut out);
    out
}

struct Work {
    output: Output,
    consumer: Consumer,
    formatter: Formatter,
    /// Records that may still be written.
    left: u64,
    follow: bool,
    buffer: Vec<u8>,
    damages: u64,
}

impl Work {
    fn pour(&mut self) -> Result<(), Failure> {
        while self.left > 0 {
            match self.consumer.next() {
                Ok(Some(batch)) => self.write(&batch)?,
                Ok(None) => break,
                Err(error) => self.skip(&error)?,
            }
        }
        self.flush()
    }

    fn write(&mut self, batch: &FetchedBatch) -> Result<(), Failure> {
        let partition = batch.partition().get();
        for record in batch.records() {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            write_record(&self.formatter, partition, &record, &mut self.buffer);
            if self.buffer.len() >= WRITE_BYTES {
                self.flush()?;
            }
        }
        // Who follows wants to see a record when it is there, not when a buffer is full.
        if self.follow { self.flush() } else { Ok(()) }
    }

    /// Goes on behind records that are damaged; any other error ends the command.
    fn skip(&mut self, error: &ClientError) -> Result<(), Failure> {
        if !matches!(error, ClientError::Damaged { .. } | ClientError::Corrupt { .. }) {
            self.flush()?;
            return Err(explain(error));
        }
        self.damages += 1;
        self.output.note(&format!("{} {error}", self.output.paint_note(Tone::Caution, "skipped:")));
        self.consumer.skip(error).map_err(|error| explain(&error))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.buffer).and_then(|()| stdout.flush());
        self.buffer.clear();
        written.map_err(|error| Failure::output(&error))
    }
}
