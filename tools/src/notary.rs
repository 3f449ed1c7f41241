//! `pyralog notarize` and `pyralog verify`: a receipt for a file, and what it proves, without a server.

mod notarize;
mod receipt;

pub(crate) use notarize::notarize;

use std::fs::OpenOptions;
use std::path::Path;

use pyralog_log::proof::notary::hash_of;
use pyralog_log::proof::{ProvenRecord, PublicKey, Receipt};
use serde_json::json;

use crate::args::VerifyArgs;
use crate::exit::Failure;
use crate::output::{Output, Tone, plain};
use crate::timestamp::rfc3339;

/// Runs `verify`.
///
/// # Errors
/// If the receipt does not prove that the file was committed to (exit code 1).
pub(crate) fn verify(output: Output, args: &VerifyArgs) -> Result<(), Failure> {
    let pinned = args.key.as_deref().map(PublicKey::parse).transpose();
    let pinned = pinned.map_err(|error| Failure::usage(format!("--key: {error}")))?;
    let receipt = receipt::read(&args.receipt)?;
    let refused = |what: String| Failure::failed(format!("{}: {what}", args.receipt.display()));
    let record = receipt.verify().map_err(|error| refused(error.to_string()))?;
    let key = receipt.checkpoint.key();
    if let Some(pinned) = pinned.filter(|pinned| *pinned != key) {
        return Err(refused(format!("it is signed by {key}, not by {pinned}"))
            .hint("whoever holds another key can make receipts of their own"));
    }
    let (hash, length) = hash_file(&args.file)?;
    if (hash, length) != (receipt.committed.hash, receipt.committed.length) {
        return Err(Failure::failed(format!(
            "{} is not the file of the receipt: it has {length} bytes, the receipt is about `{}` of {} bytes",
            args.file.display(),
            plain(&receipt.committed.name),
            receipt.committed.length
        )));
    }
    tell(output, (&receipt, &record), pinned.is_some())
}

/// BLAKE3 and length of a file.
fn hash_file(path: &Path) -> Result<([u8; 32], u64), Failure> {
    let read = || OpenOptions::new().read(true).open(path).and_then(hash_of);
    read().map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))
}

/// Says what was proven, by whom, and what was not.
fn tell(
    output: Output,
    (receipt, record): (&Receipt, &ProvenRecord),
    is_pinned: bool,
) -> Result<(), Failure> {
    let (checkpoint, key) = (receipt.checkpoint.checkpoint(), receipt.checkpoint.key());
    let before = receipt.before.as_ref().map(|(before, _)| before.checkpoint().time.get());
    if output.json() {
        return output.document(&json!({
            "verified": true,
            "name": receipt.committed.name,
            "note": receipt.committed.note,
            "length": receipt.committed.length,
            "blake3": blake3_hex(&receipt.committed.hash),
            "cluster": checkpoint.cluster,
            "log_id": checkpoint.log.get(),
            "partition": checkpoint.partition.get(),
            "offset": record.offset.get(),
            "append_time": rfc3339(record.append_time.get()),
            "not_before": before.map(rfc3339),
            "not_after": rfc3339(checkpoint.time.get()),
            "public_key": key.to_string(),
            "key_pinned": is_pinned,
        }));
    }
    let strong = output.paint(Tone::Good, "verified");
    output.line(&format!(
        "{strong}   `{}`, {} bytes, unchanged",
        plain(&receipt.committed.name),
        receipt.committed.length
    ))?;
    if !receipt.committed.note.is_empty() {
        output.line(&format!("note       {}", plain(&receipt.committed.note)))?;
    }
    output.line(&format!(
        "recorded   log {} partition {} offset {} of cluster {}",
        checkpoint.log, checkpoint.partition, record.offset, checkpoint.cluster
    ))?;
    let until = rfc3339(checkpoint.time.get());
    output.line(&match before {
        Some(before) => {
            format!("time       after {} and by {until}, by the signer's clock", rfc3339(before))
        }
        None => format!(
            "time       by {until}, by the signer's clock; the receipt names no earlier checkpoint"
        ),
    })?;
    output.line(&format!("signed by  {key} (fingerprint {})", key.fingerprint()))?;
    let warning = if is_pinned {
        "           the key that you named with --key"
    } else {
        "           the receipt's own word: anybody can sign with a key of their own. Compare it, or name it with --key"
    };
    output.line(&output.paint(if is_pinned { Tone::Faint } else { Tone::Caution }, warning))?;
    let not = "not proven that the signer's clock was right, who made the file, or that nobody had it before";
    output.line(&output.paint(Tone::Faint, not))
}

fn blake3_hex(hash: &[u8; 32]) -> String {
    pyralog_log::proof::key::hex(hash)
}
