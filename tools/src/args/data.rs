//! Arguments of `pyralog produce` and `pyralog consume`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pyralog_client::Verify;
use pyralog_client::limits::SAMPLED_ONE_OF_MAX;

use super::log::size;
use super::{ClientArgs, DurabilityArg};
use crate::consume::{Start, Template};
use crate::limits::RATE_RECORDS_MAX;
use crate::produce::KeyPath;

/// How the input of `produce` is cut into records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// One record per line, taken as it is, without the newline
    #[default]
    Lines,
    /// One JSON document per line, checked; empty lines are skipped
    Ndjson,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// Not at all
    #[default]
    None,
    /// LZ4: cheap
    Lz4,
    /// Zstandard: smaller
    Zstd,
}

/// How `consume` writes records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// The value and a newline, byte for byte
    #[default]
    Raw,
    /// One JSON object per record: partition, offset, id, time, key, value as text, headers
    Json,
    /// The same with the value embedded as JSON where it is JSON
    #[value(alias = "ndjson")]
    NdjsonWithMetadata,
    /// Whatever --template says
    Template,
}

/// Arguments of `produce`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog produce access access.log access.log.1
  tail -F access.log | pyralog produce access
  pyralog produce orders --format ndjson --key-field customer.id < orders.ndjson
  pyralog produce access access.log --rate 10000 --durability written")]
pub(crate) struct ProduceArgs {
    /// Name of the log
    pub(crate) log: String,
    /// Files to read, one after the other; none or '-' is standard input
    pub(crate) files: Vec<PathBuf>,
    /// How the input is cut into records
    #[arg(long, short = 'f', value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: InputFormat,
    /// Take the key from this field of each JSON document, for example user.id
    #[arg(long, value_name = "PATH", conflicts_with = "key_separator")]
    pub(crate) key_field: Option<KeyPath>,
    /// Take the key from the start of each line, up to this text
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) key_separator: Option<String>,
    /// Append to this partition instead of choosing by key, or by batch without a key
    #[arg(long, short = 'p', value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// Send at most this many records per second
    #[arg(
        long,
        value_name = "RECORDS",
        value_parser = clap::value_parser!(u64).range(1..=RATE_RECORDS_MAX)
    )]
    pub(crate) rate: Option<u64>,
    /// When an append is acknowledged [default: what the log says]
    #[arg(long, short = 'd', value_name = "LEVEL", value_enum)]
    pub(crate) durability: Option<DurabilityArg>,
    /// Bytes gathered for a partition before they are sent
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size)]
    pub(crate) batch_bytes: u64,
    /// How long a record may wait for others to fill a batch
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = duration)]
    pub(crate) linger: Duration,
    /// How long to keep trying to deliver a record, for example while the server restarts
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) delivery_timeout: Duration,
    /// How batches are compressed
    #[arg(long, short = 'z', value_name = "CODEC", value_enum, default_value_t)]
    pub(crate) compression: Compression,
    /// No progress and no summary; errors are still printed
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `consume`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog consume access --from earliest > copy.log
  pyralog consume access --follow
  pyralog consume access --from time:2026-11-22T10:00:00Z --max 100 --format json
  pyralog consume access --from offset:1000 --partition 0
  pyralog consume access --template '{partition}/{offset} {value}\\n'
  pyralog consume ledger --verify every --key febf32c7eaac0bd70a0c5b67e1362e38c1409f8a03ea18c9473bfc73d1a0c7bf --trust ledger.trust

It ends with 4 if what the server sends is not what it has stated in its checkpoints: docs/PROOFS.md.")]
pub(crate) struct ConsumeArgs {
    /// Name of the log
    pub(crate) log: String,
    /// Where to begin: earliest, latest, offset:N, time:RFC3339 or time:UNIX_MS (when records were created)
    /// [default: earliest, or latest with --follow]
    #[arg(long, value_name = "WHERE", verbatim_doc_comment)]
    pub(crate) from: Option<Start>,
    /// Read these partitions only (repeatable)
    #[arg(long, short = 'p', value_name = "N", value_delimiter = ',')]
    pub(crate) partition: Vec<u32>,
    /// Wait for new records instead of stopping at the end; Ctrl-C stops it
    #[arg(long, short = 'F')]
    pub(crate) follow: bool,
    /// Stop after this many records
    #[arg(long, short = 'n', value_name = "RECORDS")]
    pub(crate) max: Option<u64>,
    /// How records are written
    #[arg(
        long,
        short = 'f',
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        default_value_if("template", clap::builder::ArgPredicate::IsPresent, "template")
    )]
    pub(crate) format: OutputFormat,
    /// Text per record with {partition} {offset} {id} {time} {time_ms} {key} {value} {size}; \n, \t
    /// and \\ are escapes, {{ is a brace
    #[arg(long, value_name = "TEXT", required_if_eq("format", "template"))]
    pub(crate) template: Option<Template>,
    /// Check that what is read is in the Merkle tree of the log: every batch before it is written, which holds back what no
    /// checkpoint covers yet, or one of N batches afterwards; the log needs --integrity
    #[arg(long, value_name = "off|sampled[:N]|every", default_value = "off", value_parser = verify, hide_default_value = true)]
    pub(crate) verify: Verify,
    /// Public key that must have signed, as `pyralog key` shows it on the server; several if it was changed. Without one the
    /// first that is seen is believed
    #[arg(long, value_name = "HEX")]
    pub(crate) key: Vec<String>,
    /// File that remembers what was believed, so that a log is refused that was rolled back or forked since; made if it is
    /// not there
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Batches of which `--verify sampled` takes one: a server that alters a hundred is found two times out of three.
const SAMPLED_ONE_OF_DEFAULT: u32 = 100;

/// What `--verify` takes.
fn verify(text: &str) -> Result<Verify, String> {
    match text.split_once(':') {
        None if text == "off" => Ok(Verify::Off),
        None if text == "every" => Ok(Verify::Every),
        None if text == "sampled" => Ok(Verify::Sampled(SAMPLED_ONE_OF_DEFAULT)),
        Some(("sampled", number)) => match number.parse() {
            Ok(one_of) if (1..=SAMPLED_ONE_OF_MAX).contains(&one_of) => Ok(Verify::Sampled(one_of)),
            _ => Err(format!("one of 1 to {SAMPLED_ONE_OF_MAX} batches, such as sampled:20")),
        },
        _ => Err("expected off, sampled, sampled:N or every".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, crate::quantity::QuantityError> {
    crate::quantity::parse_duration(text)
}
