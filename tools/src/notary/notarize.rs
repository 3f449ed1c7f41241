//! `pyralog notarize`: a commitment to a file goes into a log, a receipt comes back.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyralog_client::blocking::Client;
use pyralog_client::{
    ClientError, Codec, ErrorCode, LogConfig, Offset, PartitionId, ProducerConfig, Record, Stored,
};
use pyralog_log::batch::{Item, Items};
use pyralog_log::merkle::ConsistencyProof;
use pyralog_log::proof::{Committed, Receipt, RecordProof, SignedCheckpoint};
use pyralog_runtime::file::blocking;
use pyralog_runtime::rng;
use pyralog_wire::Integrity;
use serde_json::json;

use super::{hash_file, receipt};
use crate::args::NotarizeArgs;
use crate::connect::{connect, explain};
use crate::exit::Failure;
use crate::limits::RECEIPT_TEXT_BYTES_MAX;
use crate::session::Session;
use crate::stopwatch::{Stopwatch, pause};

/// How often it is asked whether a checkpoint covers the record.
const POLL: Duration = Duration::from_millis(50);

/// Runs `notarize`. When it returns, the receipt is on stable storage.
///
/// # Errors
/// If the file cannot be read, the log is not signed, or no checkpoint covers the record in time.
pub(crate) fn notarize(session: &Session, args: &NotarizeArgs) -> Result<(), Failure> {
    let out = args.out.clone().unwrap_or_else(|| with_suffix(&args.file));
    if out.exists() {
        return Err(Failure::usage(format!("{} is there already", out.display()))
            .hint("receipts are not replaced: --out FILE writes another"));
    }
    let committed = committed(args)?;
    let connected = connect(session, &args.client)?;
    let client = &connected.client;
    let partitions = prepare(client, &args.log)?;
    let partition = partition_for(&committed, partitions);
    let newest = || client.checkpoint(&args.log, partition).map_err(|error| explain(&error));
    let before = newest()?.signed;
    let offset = append(client, &args.log, (partition, &committed.value()))?;
    let clock = Stopwatch::start();
    let checkpoint = loop {
        let state = newest()?;
        if let Some(signed) = state.signed.filter(|signed| signed.checkpoint().end_offset > offset)
        {
            break signed;
        }
        if clock.elapsed() > connected.config.request_timeout {
            let why = state.fault.unwrap_or_else(|| "try again later".to_owned());
            return Err(Failure::failed(format!(
                "the commitment is in the log at offset {offset}, but no checkpoint covers it yet: {why}"
            ))
            .hint("--timeout 30s waits longer; notarizing again makes another record, which does no harm"));
        }
        pause(POLL);
    };
    let proof = prove(client, (&args.log, partition, offset), &checkpoint)?;
    let before = earlier(client, (&args.log, partition), (before, &checkpoint))?;
    let receipt = Receipt { committed, proof, checkpoint, before };
    // A server that lies is found now, and not when the receipt is needed.
    receipt
        .verify()
        .map_err(|error| Failure::failed(format!("the server's proof does not hold: {error}")))?;
    write_new(&out, receipt::render(&receipt).as_bytes())
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", out.display())))?;
    let key = receipt.checkpoint.key();
    if session.output.json() {
        return session.output.document(&json!({
            "receipt": out.display().to_string(),
            "log": args.log,
            "partition": partition.get(),
            "offset": offset.get(),
            "public_key": key.to_string(),
        }));
    }
    session.output.line(&format!(
        "{}  `{}` partition {partition} offset {offset}, signed by {}",
        out.display(),
        args.log,
        key.fingerprint()
    ))
}

/// Where the commitment goes. It must tell nobody anything of the file, so it follows from the salt and not from the hash.
fn partition_for(committed: &Committed, partitions: u32) -> PartitionId {
    let salt = &committed.salt;
    let word = u32::from_le_bytes([salt[0], salt[1], salt[2], salt[3]]);
    PartitionId::new(word % partitions.max(1))
}

/// `FILE.receipt`.
fn with_suffix(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".receipt");
    PathBuf::from(name)
}

/// What is committed to.
fn committed(args: &NotarizeArgs) -> Result<Committed, Failure> {
    let (hash, length) = hash_file(&args.file)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.len() > RECEIPT_TEXT_BYTES_MAX || args.note.len() > RECEIPT_TEXT_BYTES_MAX {
        return Err(Failure::usage(format!(
            "a name and a note have at most {RECEIPT_TEXT_BYTES_MAX} bytes"
        )));
    }
    let mut salt = [0; 32];
    for word in salt.as_chunks_mut().0 {
        *word = rng::entropy_u64().to_le_bytes();
    }
    Ok(Committed { salt, hash, length, name, note: args.note.clone() })
}

/// Makes the log if there is none; returns its partitions.
fn prepare(client: &Client, log: &str) -> Result<u32, Failure> {
    let described = match client.describe_log(log) {
        Err(ClientError::UnknownLog { .. }) => {
            let config = LogConfig { integrity: Integrity::Signed, ..LogConfig::default() };
            match client.create_log(log, config) {
                // Somebody else was faster.
                Err(ClientError::Server(reply)) if reply.is(ErrorCode::LogExists) => {
                    client.describe_log(log)
                }
                created => created,
            }
        }
        described => described,
    };
    let config = described.map_err(|error| explain(&error))?.config;
    if config.integrity == Integrity::Signed {
        return Ok(config.partitions);
    }
    Err(Failure::failed(format!(
        "the log `{log}` is not signed: nothing in it can be proven to others"
    ))
    .hint("`pyralog log create NAME --integrity signed` makes one, --log NAME uses it"))
}

/// Appends the commitment; returns its offset.
fn append(
    client: &Client,
    log: &str,
    (partition, value): (PartitionId, &[u8]),
) -> Result<Offset, Failure> {
    let config =
        ProducerConfig { codec: Codec::None, linger: Duration::ZERO, ..ProducerConfig::default() };
    let send = || {
        let mut producer = client.producer(log, config)?;
        let delivery =
            producer.send(Record { partition: Some(partition), ..Record::new(value) })?;
        producer.flush()?;
        delivery.wait()
    };
    send().map(|delivered| delivered.offset).map_err(|error| explain(&error))
}

/// The proof of the record at `offset`, made here from its batch and the server's way to the root.
fn prove(
    client: &Client,
    (log, partition, offset): (&str, PartitionId, Offset),
    checkpoint: &SignedCheckpoint,
) -> Result<RecordProof, Failure> {
    let size = checkpoint.checkpoint().tree_size;
    let way = client.prove(log, (partition, offset), size).map_err(|error| explain(&error))?;
    let mut reader = client.stored(log, partition, offset).map_err(|error| explain(&error))?;
    let gone = || Failure::failed(format!("the record at offset {offset} cannot be read back"));
    let Stored::Batches(batches) = reader.next().map_err(|error| explain(&error))? else {
        return Err(gone());
    };
    for item in Items::new(&batches.bytes) {
        if let Ok(Item::Batch(batch)) = item
            && (batch.header().owner.base_offset..batch.header().next_offset()).contains(&offset)
        {
            let proof = RecordProof::new(batch.bytes(), offset, way);
            return proof.map_err(|error| Failure::failed(error.to_string()));
        }
    }
    Err(gone())
}

/// The earlier checkpoint, with the proof that the other one continues it.
fn earlier(
    client: &Client,
    (log, partition): (&str, PartitionId),
    (before, checkpoint): (Option<SignedCheckpoint>, &SignedCheckpoint),
) -> Result<Option<(SignedCheckpoint, ConsistencyProof)>, Failure> {
    let Some(before) = before else { return Ok(None) };
    let sizes = (before.checkpoint().tree_size, checkpoint.checkpoint().tree_size);
    if sizes.0 == 0 {
        return Ok(None);
    }
    let proof = client.prove_consistency(log, partition, sizes).map_err(|error| explain(&error))?;
    Ok(Some((before, proof)))
}

/// Writes a file that is not there yet, durably. One that could not be written whole is not left in the way.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // The first error is the one to tell.
        blocking::remove_file(path).ok();
        return Err(error);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    blocking::sync_dir(parent.unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_commitment_goes_tells_nothing_of_the_file() {
        let committed = |salt, hash| Committed {
            salt: [salt; 32],
            hash: [hash; 32],
            length: 1,
            name: String::new(),
            note: String::new(),
        };
        for salt in [0, 7, 255] {
            let one = partition_for(&committed(salt, 0), 64);
            assert!(one.get() < 64);
            assert!((1..=255).all(|hash| partition_for(&committed(salt, hash), 64) == one));
        }
        assert_ne!(partition_for(&committed(1, 0), 64), partition_for(&committed(2, 0), 64));
    }
}
