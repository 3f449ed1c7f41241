//! `pyralog key`: the public half of the key that a node signs with.

use std::path::Path;

use pyralog_shard::{DataConfig, node_key};
use serde_json::json;

use crate::args::KeyArgs;
use crate::exit::Failure;
use crate::output::Tone;
use crate::session::Session;

/// Runs the command.
///
/// # Errors
/// If the directory has no key, or one that cannot be used.
pub(crate) fn run(mut session: Session, args: KeyArgs) -> Result<(), Failure> {
    session.flag("data-dir", "server.data_dir", args.data_dir);
    let DataConfig::Dir(data) = session.settings()?.server.data else {
        return Err(Failure::usage("a server that keeps nothing on disk has no key that lasts"));
    };
    let key = node_key::read(&data).map_err(|error| Failure::failed(error.to_string()))?;
    let key = key.ok_or_else(|| none(&data))?.public();
    let output = session.output;
    if output.json() {
        let file = data.join(node_key::KEY_FOLDER).join(node_key::KEY_FILE);
        return output.document(&json!({
            "public_key": key.to_string(),
            "fingerprint": key.fingerprint(),
            "file": file.display().to_string(),
        }));
    }
    output.line(&key.to_string())?;
    output.line(&output.paint(Tone::Faint, &format!("fingerprint {}", key.fingerprint())))
}

fn none(data: &Path) -> Failure {
    Failure::failed(format!("{} has no key", data.display()))
        .hint("`pyralog serve` makes it at its first start; --data-dir DIR names another directory")
}
