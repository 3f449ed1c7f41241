//! Arguments of `pyralog id` and `pyralog obelisk`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use pyralog_client::{CounterMode, ScarabId};

use super::ClientArgs;
use crate::limits::{COUNTER_VALUE_MAX, IDS_MAX, NUMBERS_MAX};

/// What to do with ids.
#[derive(Debug, Subcommand)]
pub(crate) enum IdCommand {
    /// Deal ids that nobody else has or will get
    Next(IdNextArgs),
    /// Take ids apart: time, slot and sequence; asks no server
    Decode(IdDecodeArgs),
}

/// How an id is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IdFormat {
    /// 13 characters that sort as the numbers do
    #[default]
    Text,
    /// A decimal number of 64 bits
    Number,
}

/// Arguments of `id next`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog id next
  pyralog id next -n 1000 --format number
  pyralog id next --server ids-a:7400,ids-b:7400   asks one, and another if that is slow or gone

Ids rise within a slot only: there is no order between nodes. A lost answer loses its ids.")]
pub(crate) struct IdNextArgs {
    /// How many, one a line
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(IDS_MAX))
    )]
    pub(crate) count: u32,
    /// How they are written
    #[arg(long, short = 'f', value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: IdFormat,
    /// Where to find servers.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `id decode`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog id decode 0DV3QY9J80G00
  pyralog id decode 499979331575808001 --json

13 characters are read as the text form, anything else as a number.")]
pub(crate) struct IdDecodeArgs {
    /// Ids, as text or as number
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<ScarabId>,
}

/// What to do with counters.
#[derive(Debug, Subcommand)]
pub(crate) enum ObeliskCommand {
    /// Create a counter; its first number is 1
    Create(CounterCreateArgs),
    /// List counters
    List(CounterListArgs),
    /// Print the last number dealt, and deal none
    Get(CounterGetArgs),
    /// Deal numbers that nobody else has or will get
    Next(CounterNextArgs),
    /// Show how a counter stands, or what the node deals ids from
    Stat(CounterStatArgs),
    /// Go on above a value, for example after restoring a backup
    Raise(CounterRaiseArgs),
}

/// What a counter does before a number leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CounterModeArg {
    /// From a durable reservation: none repeats, a crash skips at most one block
    #[default]
    Reserve,
    /// Synced for each request: none repeats, none is skipped but with a lost answer
    Always,
    /// The same, with one sync for all requests that wait
    Group,
    /// Synced in the background: a crash REPEATS numbers
    UnsafeInterval,
    /// Kept in memory: begins again with every start
    Memory,
}

impl From<CounterModeArg> for CounterMode {
    fn from(mode: CounterModeArg) -> Self {
        match mode {
            CounterModeArg::Reserve => Self::Reserve,
            CounterModeArg::Always => Self::Always,
            CounterModeArg::Group => Self::Group,
            CounterModeArg::UnsafeInterval => Self::UnsafeInterval,
            CounterModeArg::Memory => Self::Memory,
        }
    }
}

/// Arguments of `obelisk create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog obelisk create orders
  pyralog obelisk create invoices --mode always
  pyralog obelisk create visits --mode reserve --block 1000000

A counter lives on the server that it was created on. Mode, block and interval are fixed.
To create one that is there with the same configuration changes nothing.")]
pub(crate) struct CounterCreateArgs {
    /// Name of the counter: letters, digits, '.', '_' and '-'
    pub(crate) name: String,
    /// What it does before a number leaves it
    #[arg(long, short = 'm', value_name = "MODE", value_enum, default_value_t)]
    pub(crate) mode: CounterModeArg,
    /// Numbers that one reservation adds, with --mode reserve [default: 65536]
    #[arg(long, value_name = "N")]
    pub(crate) block: Option<u64>,
    /// Time between two syncs, with --mode unsafe-interval [default: 100ms]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    pub(crate) interval: Option<Duration>,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `obelisk list`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog obelisk list
  pyralog obelisk list shop. --json")]
pub(crate) struct CounterListArgs {
    /// Only counters whose name starts with this
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `obelisk get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog obelisk get orders
  pyralog obelisk get orders --json

0 before the first number. After a restart it is what may have been dealt at most.")]
pub(crate) struct CounterGetArgs {
    /// Name of the counter
    pub(crate) name: String,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `obelisk next`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog obelisk next orders
  pyralog obelisk next orders -n 100 --json

A lost answer has used its numbers up; asking again gives others.")]
pub(crate) struct CounterNextArgs {
    /// Name of the counter
    pub(crate) name: String,
    /// How many, one a line
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(NUMBERS_MAX))
    )]
    pub(crate) count: u32,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `obelisk stat`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog obelisk stat orders
  pyralog obelisk stat --http 10.0.0.7:7480
  pyralog obelisk stat --data-dir /mnt/disk-of-the-dead-node --json

Without a name it shows what the node deals ids from. --data-dir reads the high-water mark of ids
off a disk, also while no server runs there: the mark is what ids.not_before must be set to on
the server that takes its slots over.")]
pub(crate) struct CounterStatArgs {
    /// Name of the counter; without it, the node's ids
    #[arg(conflicts_with_all = ["http", "data_dir"])]
    pub(crate) name: Option<String>,
    /// Where a running server tells about its ids [default: setting http.listen]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "data_dir")]
    pub(crate) http: Option<String>,
    /// Read the high-water mark of ids from this data directory and ask no server
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `obelisk raise`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog obelisk raise orders 200000   the next number is 200001

Give a value that no number dealt was above. A counter that is above it stays where it is.")]
pub(crate) struct CounterRaiseArgs {
    /// Name of the counter
    pub(crate) name: String,
    /// No number up to this one is dealt any more
    #[arg(value_parser = clap::value_parser!(u64).range(1..=COUNTER_VALUE_MAX))]
    pub(crate) value: u64,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

fn interval(text: &str) -> Result<Duration, crate::quantity::QuantityError> {
    crate::quantity::parse_duration(text)
}
