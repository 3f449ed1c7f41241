//! The command line: every command and flag, with its help.
//!
//! Flags that are also settings are kept as text here and parsed by `settings`, so that `--shards x`
//! and `server.shards = "x"` in a file are refused with the same words.

#![expect(clippy::doc_markdown, reason = "doc comments here are help texts for a terminal")]

mod data;
mod keep;
mod life;
mod log;
mod operate;
mod proof;
mod sequence;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pyralog_perf::BenchArgs;

pub(crate) use data::{Compression, ConsumeArgs, InputFormat, OutputFormat, ProduceArgs};
pub(crate) use keep::{BackupArgs, BackupCommand, InspectArgs, RestoreArgs};
pub(crate) use log::{
    AlterArgs, CreateArgs, DeleteArgs, GetArgs, ListArgs, LogCommand, ScrubArgs, Switch,
    TruncateArgs,
};
pub(crate) use operate::{
    CompletionsArgs, ConfigCommand, DoctorArgs, QuickstartArgs, ServeArgs, ValidateArgs,
};
pub(crate) use proof::{AuditArgs, KeyArgs, NotarizeArgs, VerifyArgs};
pub(crate) use sequence::{
    CounterCreateArgs, CounterListArgs, CounterModeArg, CounterNextArgs, CounterRaiseArgs,
    CounterStatArgs, IdCommand, IdDecodeArgs, IdFormat, IdNextArgs, ObeliskCommand,
};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    something failed
  2    wrong usage or settings; nothing was attempted
  3    no server answered
  4    verification failed: what was read differs from what was written
  5    no record has the key (log get)
  130  stopped by Ctrl-C";

const FIRST_STEPS: &str = "\
First steps:
  pyralog quickstart                      see it work: ingest, read back, restart, verify
  pyralog serve                           start a server on 127.0.0.1:7400
  pyralog log create access               make a log
  pyralog produce access access.log       pour a file in, one record per line
  pyralog consume access --from earliest  read it back";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A distributed log database: one binary, one executor per core, durable by default.
#[derive(Debug, Parser)]
#[command(
    name = "pyralog",
    version,
    styles = STYLES,
    max_term_width = 100,
    after_help = FIRST_STEPS,
    after_long_help = format!("{FIRST_STEPS}\n\n{EXIT_CODES}"),
    propagate_version = true,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Flags that every command takes.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

/// Flags that every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct GlobalArgs {
    /// Settings file (TOML); see `pyralog config print-default`
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// Override one setting, for example --set logs.segment_bytes=64MiB (repeatable)
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", help_heading = "Global options")]
    pub(crate) set: Vec<String>,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// When to use colours; `auto` respects NO_COLOR and whether the output is a terminal
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = false,
        help_heading = "Global options"
    )]
    pub(crate) color: ColorWhen,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always, also into a pipe.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server
    Serve(ServeArgs),
    /// Create, list, describe, change and delete logs, and look keys up
    #[command(subcommand)]
    Log(LogCommand),
    /// Append records from standard input or files
    Produce(ProduceArgs),
    /// Read records to standard output
    Consume(ConsumeArgs),
    /// Deal unique ids, and take them apart
    #[command(subcommand)]
    Id(IdCommand),
    /// Named durable counters
    #[command(subcommand)]
    Obelisk(ObeliskCommand),
    /// Show the public key that a server signs checkpoints with
    Key(KeyArgs),
    /// Put a commitment to a file into a log and get a receipt
    Notarize(NotarizeArgs),
    /// Check a receipt and its file, without a server
    Verify(VerifyArgs),
    /// Recompute what a server signed and raise an alarm where it does not hold
    Audit(AuditArgs),
    /// Show what a running server does
    Status(StatusArgs),
    /// Copy the logs and counters of a running server
    Backup(BackupArgs),
    /// Make a data directory from a backup
    Restore(RestoreArgs),
    /// Look at segments, partitions and data directories on disk, and repair them
    Inspect(InspectArgs),
    /// See it work: ingest, read back, restart and verify in a temporary directory
    Quickstart(QuickstartArgs),
    /// Measure what this machine allows and what the server reaches
    Bench(BenchArgs),
    /// Check this machine and say what to change
    Doctor(DoctorArgs),
    /// Print, show and check settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// Where to find a server.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClientArgs {
    /// Server to talk to, host:port; several are tried in order [default: setting client.servers]
    #[arg(long, short = 's', value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) server: Vec<String>,
    /// How long to wait for a server and for each answer [default: setting client.timeout]
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog status
  pyralog status --server 10.0.0.7:7400 --json")]
pub(crate) struct StatusArgs {
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// On stable storage: survives power loss
    Synced,
    /// Written to the file: survives the process
    Written,
    /// In the server's memory
    Memory,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_argument_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_every_leaf_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no help");
            let mut leaf = true;
            for inner in command.get_subcommands() {
                leaf = false;
                visit(inner, &format!("{path} {}", inner.get_name()));
            }
            if leaf {
                let examples = command.get_after_help().map(ToString::to_string);
                let found = examples.is_some_and(|text| text.contains("Examples:\n  pyralog "));
                assert!(found, "{path} has no example");
            }
        }
        visit(&Cli::command(), "pyralog");
    }

    #[test]
    fn every_example_in_the_help_parses() {
        fn visit(command: &clap::Command, seen: &mut usize) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines() {
                let Some(start) = line.find("pyralog ") else { continue };
                let words = example_words(&line[start..]);
                let parsed = Cli::try_parse_from(&words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                *seen += 1;
            }
            command.get_subcommands().for_each(|inner| visit(inner, seen));
        }
        let mut seen = 0;
        visit(&Cli::command(), &mut seen);
        assert!(seen > 20, "only {seen} examples were found");
    }

    /// Words of an example up to a pipe, redirection or its explanation (two spaces).
    fn example_words(line: &str) -> Vec<String> {
        let end = [" | ", " > ", " < ", "  ", " &&"]
            .iter()
            .filter_map(|stop| line.find(stop))
            .min()
            .unwrap_or(line.len());
        let mut words = Vec::new();
        for (index, piece) in line[..end].split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(piece.to_owned());
            } else {
                words.extend(piece.split_whitespace().map(str::to_owned));
            }
        }
        words
    }
}
