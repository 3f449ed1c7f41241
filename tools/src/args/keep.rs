//! Arguments of the commands that keep data safe: `inspect`, `backup`, `restore`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ClientArgs;

/// Arguments of `inspect`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog inspect /var/lib/pyralog
  pyralog inspect /var/lib/pyralog --verify
  pyralog inspect /var/lib/pyralog/logs/1/0 --json
  pyralog inspect /var/lib/pyralog/logs/1/0/00000000000000000000.seg --batches
  pyralog inspect /var/lib/pyralog --repair

Reads only, with ordinary reads, and without --repair writes nothing: it may run beside a server, and says so where
files change while it reads. It ends with 1 if something is damaged.")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct InspectArgs {
    /// A segment file, the directory of a partition, or a whole data directory
    pub(crate) path: PathBuf,
    /// Read everything and check every checksum
    #[arg(long)]
    pub(crate) verify: bool,
    /// Print a line for each batch; implies --verify
    #[arg(long)]
    pub(crate) batches: bool,
    /// Make indexes and checkpoints again and move what is damaged to quarantine, as a recovery that
    /// reads everything would; refused while a server has the directory
    #[arg(long, conflicts_with = "batches")]
    pub(crate) repair: bool,
    /// Do not ask before a repair
    #[arg(long, requires = "repair")]
    pub(crate) yes: bool,
}

/// Arguments of `backup`.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  pyralog backup /srv/backup/pyralog
  pyralog backup /srv/backup/pyralog --server 10.0.0.7:7400 --prune
  pyralog backup /srv/backup/orders --log orders --log payments
  pyralog backup verify /srv/backup/pyralog

A second backup into the same directory copies only what is new; one that was cut short goes on where it
was. Files never change once they are complete, so `cp -al DIR DIR.monday` keeps a state for the price of
its names."
)]
pub(crate) struct BackupArgs {
    /// What else to do with a backup
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,
    /// Directory of the backup, made if missing
    #[arg(required = true)]
    pub(crate) dir: Option<PathBuf>,
    /// Only these logs (repeatable); others in the directory stay as they were
    #[arg(long, value_name = "NAME")]
    pub(crate) log: Vec<String>,
    /// Remove files of records, and of logs, that the server has deleted since
    #[arg(long)]
    pub(crate) prune: bool,
    /// Show no progress
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// What to do with a backup.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Check every byte of a backup, without a server
    #[command(after_help = "\
Examples:
  pyralog backup verify /srv/backup/pyralog
  pyralog backup verify /srv/backup/pyralog --json")]
    Verify {
        /// Directory of the backup
        dir: PathBuf,
    },
}

/// Arguments of `restore`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog restore /srv/backup/pyralog --data-dir /var/lib/pyralog

The directory must be empty or missing. Records keep offsets, times and ids, batches every byte; the
cluster gets a new id, so that no client takes it for the one that it knew.")]
pub(crate) struct RestoreArgs {
    /// Directory of the backup
    pub(crate) dir: PathBuf,
    /// The data directory to make
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}
