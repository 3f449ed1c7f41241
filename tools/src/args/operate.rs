//! Arguments of the commands that run or look after a server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DurabilityArg;
use crate::limits::{QUICKSTART_PARTITIONS_MAX, QUICKSTART_RECORDS_MAX};

/// Arguments of `serve`.
#[derive(Args, Debug, Default)]
#[command(after_help = "\
Examples:
  pyralog serve
  pyralog serve --data-dir /var/lib/pyralog --shards 4
  pyralog serve --memory-only --max-memory 4GiB
  pyralog serve --role obelisk --data-dir /var/lib/pyralog-ids --set ids.slots=512-1023
  pyralog serve --config pyralog.toml --set observability.log_format=json

Ctrl-C or SIGTERM drains and closes cleanly; a second one stops at once.")]
pub(crate) struct ServeArgs {
    /// Where data is kept, made if missing [setting server.data_dir]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Address of the native protocol; port 0 takes free ports [setting server.listen]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,
    /// Address of metrics and health, or `off` [setting http.listen]
    #[arg(long, value_name = "IP:PORT|off")]
    pub(crate) http: Option<String>,
    /// Executors, 0 for one per processor [setting server.shards]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<String>,
    /// Keep everything in memory and write nothing [setting server.memory_only]
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) memory_only: bool,
    /// Bytes of records that a memory-only server keeps [setting server.max_memory]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_memory: Option<String>,
    /// What this node is for: all, pyramid or obelisk [setting server.role]
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// Name of this node [setting server.node_name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// error, warn, info, debug or trace [setting observability.log_level]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// text or json [setting observability.log_format]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Write the bound addresses as JSON to this file once the server is ready
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// Arguments of `quickstart`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog quickstart
  pyralog quickstart --records 100000 --durability written
  pyralog quickstart --json")]
pub(crate) struct QuickstartArgs {
    /// Records to ingest (about 180 bytes each)
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value = "3000000",
        value_parser = clap::value_parser!(u64).range(1..=QUICKSTART_RECORDS_MAX)
    )]
    pub(crate) records: u64,
    /// Partitions of the log
    #[arg(
        long,
        short = 'p',
        value_name = "N",
        default_value = "4",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(QUICKSTART_PARTITIONS_MAX))
    )]
    pub(crate) partitions: u32,
    /// When an append is acknowledged
    #[arg(long, short = 'd', value_name = "LEVEL", value_enum, default_value = "synced")]
    pub(crate) durability: DurabilityArg,
    /// Seed of the access log: the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Executors, 0 for one per processor
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    pub(crate) shards: u16,
    /// Where to make the temporary directory [default: the system's]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Keep the data directory and say where it is
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Arguments of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog doctor
  pyralog doctor --data-dir /var/lib/pyralog --json")]
pub(crate) struct DoctorArgs {
    /// Directory to probe; it, or the nearest parent that exists [setting server.data_dir]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Do not write anything: skips the direct I/O and latency probes
    #[arg(long)]
    pub(crate) read_only: bool,
}

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting at its default, commented, as a TOML file
    #[command(after_help = "\
Examples:
  pyralog config print-default > pyralog.toml")]
    PrintDefault(PrintDefaultArgs),
    /// Print the effective settings and where each of them comes from
    #[command(after_help = "\
Examples:
  pyralog config show --config pyralog.toml
  pyralog config show --set server.shards=2 --json")]
    Show,
    /// Check a settings file, also against this machine
    Validate(ValidateArgs),
}

/// Arguments of `config print-default`.
#[derive(Args, Debug)]
pub(crate) struct PrintDefaultArgs {
    /// Print the reference table of docs/CONFIG.md instead
    #[arg(long, hide = true)]
    pub(crate) markdown: bool,
}

/// Arguments of `config validate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog config validate pyralog.toml
  pyralog config validate pyralog.toml --set server.shards=64")]
pub(crate) struct ValidateArgs {
    /// The file to check; `-` is standard input
    pub(crate) file: PathBuf,
    /// Treat warnings as errors
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Arguments of `completions`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog completions bash > ~/.local/share/bash-completion/completions/pyralog
  pyralog completions zsh > ~/.zfunc/_pyralog
  pyralog completions fish > ~/.config/fish/completions/pyralog.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
