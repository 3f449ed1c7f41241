//! Arguments of `pyralog log`.

use clap::{Args, Subcommand, ValueEnum};

use super::life::{IntegrityArg, LifeArgs};
use super::{ClientArgs, DurabilityArg};

/// What to do with logs.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Create a log
    Create(CreateArgs),
    /// List logs
    List(ListArgs),
    /// Show one log and its partitions
    Describe(DescribeArgs),
    /// Print the newest record with a key, of a log that indexes its keys
    Get(GetArgs),
    /// Change settings of a log
    Alter(AlterArgs),
    /// Remove the oldest records of a partition
    Truncate(TruncateArgs),
    /// Let the server read closed segments again, to find damage
    Scrub(ScrubArgs),
    /// Delete a log and its data
    Delete(DeleteArgs),
}

/// Arguments of `log create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog log create access
  pyralog log create orders --partitions 8 --durability synced
  pyralog log create users --key-index
  pyralog log create access --retention 7d --retention-size 100GiB
  pyralog log create users --compact on
  pyralog log create ledger --integrity signed
  pyralog log create cache --memory --max-bytes 512MiB --ttl 1h")]
pub(crate) struct CreateArgs {
    /// Name of the log: letters, digits, '.', '_' and '-'
    pub(crate) name: String,
    /// Partitions: how many cores can work on it at once [default: setting logs.partitions]
    #[arg(long, short = 'p', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partitions: Option<u32>,
    /// When an append is acknowledged [default: setting logs.durability]
    #[arg(long, short = 'd', value_name = "LEVEL", value_enum)]
    pub(crate) durability: Option<DurabilityArg>,
    /// Keep it in memory only; the oldest records are dropped when --max-bytes is reached
    #[arg(long)]
    pub(crate) memory: bool,
    /// Most bytes of records each partition of a memory log keeps
    #[arg(long, value_name = "SIZE", requires = "memory", value_parser = size)]
    pub(crate) max_bytes: Option<u64>,
    /// Drop records of a memory log after this time
    #[arg(long, value_name = "DURATION", requires = "memory", value_parser = millis)]
    pub(crate) ttl: Option<u64>,
    /// Size of the files a partition is cut into [default: setting logs.segment_bytes]
    #[arg(long, value_name = "SIZE", conflicts_with = "memory", value_parser = size)]
    pub(crate) segment_size: Option<u64>,
    /// Index keys, so that `log get` finds the newest record with a key without a scan
    #[arg(long)]
    pub(crate) key_index: bool,
    /// How long its records live.
    #[command(flatten, next_help_heading = "Life of records")]
    pub(crate) life: LifeArgs,
    /// What can be proven of its records; fixed for good
    #[arg(
        long,
        value_name = "LEVEL",
        value_enum,
        default_value = "none",
        help_heading = "Life of records"
    )]
    pub(crate) integrity: IntegrityArg,
    /// Succeed if a log of that name exists already
    #[arg(long)]
    pub(crate) if_not_exists: bool,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `log list`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog log list
  pyralog log list --prefix web. --json")]
pub(crate) struct ListArgs {
    /// Only logs whose name starts with this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `log describe`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog log describe access
  pyralog log describe access --json | jq .partitions")]
pub(crate) struct DescribeArgs {
    /// Name of the log
    pub(crate) name: String,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `log get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog log get users alice
  pyralog log get users alice --json | jq -r .id
  pyralog log get users alice --partition 3   if producers choose partitions themselves

Prints the value and a newline, byte for byte. Ends with exit code 5 if no record has the key, or
if the newest one has no value, which marks it as deleted.")]
pub(crate) struct GetArgs {
    /// Name of the log; it must index its keys
    pub(crate) log: String,
    /// The key, as text
    pub(crate) key: String,
    /// Look in this partition instead of the one that the key belongs to
    #[arg(long, short = 'p', value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// From now on
    On,
    /// Not any more
    Off,
}

/// Arguments of `log alter`.
#[derive(Args, Debug)]
#[command(
    override_usage = "pyralog log alter [OPTIONS] <NAME> <CHANGE>...",
    after_help = "\
Examples:
  pyralog log alter access --durability written
  pyralog log alter cache --max-bytes 1GiB --ttl 30min
  pyralog log alter users --key-index on
  pyralog log alter access --retention 30d --retention-size none"
)]
pub(crate) struct AlterArgs {
    /// Name of the log
    pub(crate) name: String,
    /// When an append is acknowledged, from now on
    #[arg(long, short = 'd', value_name = "LEVEL", value_enum)]
    pub(crate) durability: Option<DurabilityArg>,
    /// Most bytes of records each partition of a memory log keeps
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_bytes: Option<u64>,
    /// Drop records of a memory log after this time
    #[arg(long, value_name = "DURATION", value_parser = millis)]
    pub(crate) ttl: Option<u64>,
    /// Size of segment files made from now on
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) segment_size: Option<u64>,
    /// Whether keys are indexed
    #[arg(long, value_name = "on|off", value_enum)]
    pub(crate) key_index: Option<Switch>,
    /// How long its records live.
    #[command(flatten, next_help_heading = "Life of records")]
    pub(crate) life: LifeArgs,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `log delete`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog log delete access        asks first
  pyralog log delete access --yes  for scripts")]
pub(crate) struct DeleteArgs {
    /// Name of the log
    pub(crate) name: String,
    /// Do not ask; needed when standard input is not a terminal
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Succeed if there is no log of that name
    #[arg(long)]
    pub(crate) if_exists: bool,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `log truncate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Whole segments are removed from the disk at once; what is left before the offset cannot be read any more.

Examples:
  pyralog log truncate access --before 1000                      asks first
  pyralog log truncate orders --partition 3 --before 1000 --yes  for scripts")]
pub(crate) struct TruncateArgs {
    /// Name of the log
    pub(crate) name: String,
    /// First offset that stays
    #[arg(long, short = 'b', value_name = "OFFSET")]
    pub(crate) before: u64,
    /// Partition; needed if the log has several
    #[arg(long, short = 'p', value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// Do not ask; needed when standard input is not a terminal
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `log scrub`.
#[derive(Args, Debug)]
#[command(after_help = "\
The server reads at the pace of its background work (setting housekeeping.io_bytes_per_second). Ends
with exit code 4 if something is damaged.

Examples:
  pyralog log scrub access
  pyralog log scrub orders --partition 3 --json")]
pub(crate) struct ScrubArgs {
    /// Name of the log
    pub(crate) name: String,
    /// Only this partition [default: all of them]
    #[arg(long, short = 'p', value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Bytes from a text such as `64MiB`.
pub(super) fn size(text: &str) -> Result<u64, crate::quantity::QuantityError> {
    crate::quantity::parse_size(text)
}

/// Whole milliseconds from a text such as `1h`, at least one.
pub(super) fn millis(text: &str) -> Result<u64, String> {
    let duration = crate::quantity::parse_duration(text).map_err(|error| error.to_string())?;
    match u64::try_from(duration.as_millis()) {
        Ok(ms) if ms > 0 => Ok(ms),
        _ => Err("expected at least 1ms".to_owned()),
    }
}
