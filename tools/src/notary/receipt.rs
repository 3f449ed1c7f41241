//! The file of a receipt: JSON with the parts as hexadecimal digits, read strictly and within a limit.

use std::io::Read;
use std::path::Path;

use pyralog_log::merkle::{ConsistencyProof, Hash};
use pyralog_log::proof::key::hex;
use pyralog_log::proof::{Committed, Receipt, RecordProof, SignedCheckpoint};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::limits::{RECEIPT_BYTES_MAX, RECEIPT_TEXT_BYTES_MAX};

/// What the file calls its format.
const FORMAT: &str = "pyralog receipt 1";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptFile {
    format: String,
    name: String,
    note: String,
    length: u64,
    blake3: String,
    salt: String,
    record_proof: String,
    checkpoint: String,
    #[serde(default)]
    before: Option<BeforeFile>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BeforeFile {
    checkpoint: String,
    consistency: String,
}

/// The receipt in the file at `path`; nothing of it is verified but the signatures of checkpoints.
///
/// # Errors
/// If the file is no receipt.
pub(super) fn read(path: &Path) -> Result<Receipt, Failure> {
    let shown = path.display();
    let mut text = String::new();
    let file = std::fs::OpenOptions::new().read(true).open(path);
    let read = file.and_then(|file| file.take(RECEIPT_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| Failure::failed(format!("cannot read {shown}: {error}")))?;
    if text.len() as u64 > RECEIPT_BYTES_MAX {
        return Err(Failure::failed(format!("{shown} is too long to be a receipt")));
    }
    parse(&text).map_err(|problem| Failure::failed(format!("{shown} is not a receipt: {problem}")))
}

/// The receipt that `text` is.
fn parse(text: &str) -> Result<Receipt, String> {
    let file: ReceiptFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if file.format != FORMAT {
        return Err(format!("its format is `{}`, this program reads `{FORMAT}`", file.format));
    }
    if file.name.len() > RECEIPT_TEXT_BYTES_MAX || file.note.len() > RECEIPT_TEXT_BYTES_MAX {
        return Err("its name or its note is too long".to_owned());
    }
    let committed = Committed {
        salt: hash("salt", &file.salt)?,
        hash: hash("blake3", &file.blake3)?,
        length: file.length,
        name: file.name,
        note: file.note,
    };
    let proof = RecordProof::decode(&bytes("record_proof", &file.record_proof)?);
    let before = match &file.before {
        None => None,
        Some(before) => {
            let proof = ConsistencyProof::decode(&bytes("consistency", &before.consistency)?);
            let proof = proof.map_err(|error| format!("consistency: {error}"))?;
            Some((checkpoint(&before.checkpoint)?, proof))
        }
    };
    Ok(Receipt {
        committed,
        proof: proof.map_err(|error| format!("record_proof: {error}"))?,
        checkpoint: checkpoint(&file.checkpoint)?,
        before,
    })
}

/// The file of a receipt.
pub(super) fn render(receipt: &Receipt) -> String {
    let before = receipt.before.as_ref().map(|(before, proof)| BeforeFile {
        checkpoint: hex(&before.encode()),
        consistency: hex(&proof.encode()),
    });
    let file = ReceiptFile {
        format: FORMAT.to_owned(),
        name: receipt.committed.name.clone(),
        note: receipt.committed.note.clone(),
        length: receipt.committed.length,
        blake3: hex(&receipt.committed.hash),
        salt: hex(&receipt.committed.salt),
        record_proof: hex(&receipt.proof.encode()),
        checkpoint: hex(&receipt.checkpoint.encode()),
        before,
    };
    let mut text = serde_json::to_string_pretty(&file).expect("texts and numbers are always JSON");
    text.push('\n');
    text
}

/// The checkpoint of these digits.
fn checkpoint(digits: &str) -> Result<SignedCheckpoint, String> {
    SignedCheckpoint::decode(&bytes("checkpoint", digits)?).map_err(|error| error.to_string())
}

/// The 32 bytes of 64 hexadecimal digits.
fn hash(field: &str, digits: &str) -> Result<[u8; 32], String> {
    let hash =
        Hash::from_hex(digits).ok_or_else(|| format!("{field} is not 64 hexadecimal digits"))?;
    Ok(*hash.as_bytes())
}

/// The bytes of hexadecimal digits.
fn bytes(field: &str, digits: &str) -> Result<Vec<u8>, String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes
        .filter(|_| rest.is_empty())
        .ok_or_else(|| format!("{field} is not pairs of hexadecimal digits"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use pyralog_log::batch::{BuilderConfig, Owner, Record, RowsBuilder, seal};
    use pyralog_log::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
    use pyralog_log::merkle::{Frontier, InclusionProof, Step, batch_hash, leaf};
    use pyralog_log::proof::{Checkpoint, NodeKey, ReceiptError};

    /// A receipt for `content`, from a log of two batches that a test made.
    pub(in crate::notary) fn receipt_for(content: &[u8]) -> Receipt {
        let (hash, length) = pyralog_log::proof::notary::hash_of(content).unwrap();
        let (name, note) = ("report.pdf".to_owned(), "the second draft".to_owned());
        let committed = Committed { salt: [7; 32], hash, length, name, note };
        let mut builder = RowsBuilder::new(BuilderConfig::default());
        let (mut frontier, mut leaves, mut batches) = (Frontier::new(), Vec::new(), Vec::new());
        let mut checkpoints = Vec::new();
        for (base, value) in [(0, b"earlier".to_vec()), (1, committed.value())] {
            builder.push(&Record { value: Some(&value), ..Record::default() }).unwrap();
            let mut batch = builder.finish(None).unwrap();
            seal(&mut batch, Owner { base_offset: Offset::new(base), ..Owner::default() });
            let hashed = leaf(batch_hash(&batch).unwrap(), 1);
            frontier.append(hashed, &mut Vec::new());
            leaves.push(hashed);
            batches.push(batch);
            let checkpoint = Checkpoint {
                cluster: 77,
                log: LogId::new(5),
                partition: PartitionId::ZERO,
                epoch: Epoch::ZERO,
                tree_size: base + 1,
                end_offset: Offset::new(base + 1),
                root: *frontier.root().node.hash.as_bytes(),
                time: Timestamp::new(
                    1_700_000_000_000_000 + i64::try_from(base).unwrap() * 1_000_000,
                ),
                previous: [0; 32],
            };
            checkpoints.push(checkpoint.sign(&NodeKey::from_seed(&[3; 32])));
        }
        let way = InclusionProof { steps: vec![Step { sibling: leaves[0].hash, left_records: 1 }] };
        let proof = RecordProof::new(&batches[1], Offset::new(1), way).unwrap();
        let before = Some((checkpoints[0], ConsistencyProof { nodes: vec![leaves[1]] }));
        Receipt { committed, proof, checkpoint: checkpoints[1], before }
    }

    #[test]
    fn a_receipt_is_read_as_it_was_written() {
        let receipt = receipt_for(b"content");
        receipt.verify().unwrap();
        assert_eq!(parse(&render(&receipt)), Ok(receipt));
    }

    #[test]
    fn an_earlier_checkpoint_that_is_not_earlier_is_refused() {
        let sound = receipt_for(b"content");
        let (before, proof) = sound.before.clone().unwrap();
        for later in [0, 1] {
            let time = Timestamp::new(sound.checkpoint.checkpoint().time.get() + later);
            let other =
                Checkpoint { time, ..*before.checkpoint() }.sign(&NodeKey::from_seed(&[3; 32]));
            let receipt = Receipt { before: Some((other, proof.clone())), ..sound.clone() };
            assert_eq!(receipt.verify(), Err(ReceiptError::Before), "{later} later");
        }
    }

    #[test]
    fn none_of_ten_thousand_mutations_of_a_receipt_verifies() {
        let receipt = receipt_for(b"content");
        let text = render(&receipt);
        let mut dice = fastrand::Rng::with_seed(6);
        let mut parsed = 0;
        for round in 0..10_000 {
            let mut other = text.clone().into_bytes();
            let at = dice.usize(..other.len());
            match dice.u8(..6) {
                0 => drop(other.remove(at)),
                1 => other.insert(at, dice.u8(b' '..b'~')),
                _ => other[at] = *dice.choice(b"0123456789abcdef\" ,x").unwrap(),
            }
            let Ok(other) = String::from_utf8(other) else { continue };
            let Ok(other) = parse(&other) else { continue };
            // White space and the case of digits may differ; what it says may not.
            if other != receipt {
                parsed += 1;
                assert!(other.verify().is_err(), "round {round}");
            }
        }
        assert!(parsed > 1000, "only {parsed} mutations came as far as the proof");
    }

    #[test]
    fn what_is_no_receipt_is_named() {
        let text = render(&receipt_for(b"content"));
        for (from, to, expected) in [
            (FORMAT, "pyralog receipt 9", "its format is `pyralog receipt 9`"),
            ("\"salt\"", "\"pepper\"", "unknown field `pepper`"),
            ("\"salt\": \"07", "\"salt\": \"x7", "salt is not 64"),
            ("\"record_proof\": \"50", "\"record_proof\": \"5", "record_proof is not pairs"),
        ] {
            let found = parse(&text.replacen(from, to, 1)).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }
}
