//! Arguments of the commands about keys and proofs.

use std::path::PathBuf;

use clap::Args;

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
