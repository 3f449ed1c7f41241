//! Arguments of the commands that keep data safe: `inspect`, `backup`, `restore`.

use std::path::PathBuf;

use clap::Args;

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
