//! Arguments of the commands about keys and proofs.

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
