//! Arguments of the commands about keys and proofs.

use std::path::PathBuf;

use clap::Args;

use super::ClientArgs;

/// Arguments of `key`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog key
  pyralog key --data-dir /var/lib/pyralog --json

The server makes the key at its first start. Clients pin the public half; the secret stays in DIR/keys/node.ed25519.")]
pub(crate) struct KeyArgs {
    /// Data directory of the server, which may be running [setting server.data_dir]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog verify report.pdf.receipt report.pdf
  pyralog verify report.pdf.receipt report.pdf --key febf32c7eaac0bd70a0c5b67e1362e38c1409f8a03ea18c9473bfc73d1a0c7bf

Needs no server. It ends with 0 if the receipt proves that the file was recorded, else with 1.")]
pub(crate) struct VerifyArgs {
    /// The receipt, as `pyralog notarize` wrote it
    pub(crate) receipt: PathBuf,
    /// The file that it is about
    pub(crate) file: PathBuf,
    /// Public key that must have signed it, as `pyralog key` shows it on the server
    #[arg(long, value_name = "HEX")]
    pub(crate) key: Option<String>,
}

/// Arguments of `notarize`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog notarize report.pdf
  pyralog notarize report.pdf --note 'the second draft' --out draft-2.receipt

Sends a commitment, never the file or its name. The log is made if there is none; it has to be signed.")]
pub(crate) struct NotarizeArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// Log that the commitment goes to
    #[arg(long, value_name = "LOG", default_value = "notary")]
    pub(crate) log: String,
    /// Where the receipt goes; a file that is there is not replaced [default: FILE.receipt]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// A few words that the receipt is to say, and to prove
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) note: String,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Arguments of `audit`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pyralog audit --state /var/lib/pyralog-audit --once
  pyralog audit orders payments --state /var/lib/pyralog-audit --follow
  pyralog audit --state /var/lib/pyralog-audit --full --json

Reads what is new, recomputes the root of every partition and compares it with what the server signed. It ends with 4 if it
raised an alarm: altered_record, dropped_record, reordered_records, rolled_back_log, forked_history, bad_signature.

A log that was audited before and is gone, or has come again under another id, is an alarm too, until its files in the
directory of --state are removed: so a directory is for one server.")]
pub(crate) struct AuditArgs {
    /// Logs to audit; none is every signed log
    pub(crate) log: Vec<String>,
    /// Directory of what the auditor remembers; keep it away from the server
    #[arg(long, value_name = "DIR")]
    pub(crate) state: PathBuf,
    /// Audit up to the newest checkpoint and stop; what it does unless told to follow
    #[arg(long, conflicts_with = "follow")]
    pub(crate) once: bool,
    /// Go on auditing; Ctrl-C stops it
    #[arg(long, short = 'F')]
    pub(crate) follow: bool,
    /// Read again what was audited before, from the first record that is left
    #[arg(long)]
    pub(crate) full: bool,
    /// Public key that must have signed, as `pyralog key` shows it; several if it was changed. Without one the first that is
    /// seen is remembered
    #[arg(long, value_name = "HEX")]
    pub(crate) key: Vec<String>,
    /// Where to find a server.
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
