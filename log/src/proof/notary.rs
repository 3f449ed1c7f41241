//! The notary: a commitment to a file in a record, and the receipt that proves when it was there.
//!
//! The record holds `magic 8 | commitment 32`, the commitment is a hash of a salt, the file's hash and length, and what the
//! receipt says about the file. Without the receipt the commitment tells nobody anything: the salt is 32 bytes of entropy.
//! With it, every word of the receipt is bound.
//!
//! What a receipt proves: whoever holds the key stated that a record with this commitment was in this log when the
//! checkpoint was signed. If it brings an earlier checkpoint that ends before the record, then also that it was not yet
//! there then, by the same signer's clock. It does not prove that the signer's clock was right, who made the file, or that
//! nobody else had it before.

use std::fmt;
use std::io::{self, Read};

use super::checkpoint::SignedCheckpoint;
use super::record::{ProvenRecord, RecordProof, RecordProofError};
use super::trust::Subject;
use crate::ids::Offset;
use crate::merkle::{ConsistencyProof, ProofError};

/// What begins the value of a notary record.
pub const NOTARY_MAGIC: [u8; 8] = *b"PYNOT001";

const COMMITMENT_CONTEXT: &str = "pyralog 2026 notary commitment";

/// What a commitment is about. Every part of it is hashed, with its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Entropy, so that a file cannot be guessed from its commitment.
    pub salt: [u8; 32],
    /// BLAKE3 of the file.
    pub hash: [u8; 32],
    /// Its length in bytes.
    pub length: u64,
    /// Its name, as it was given.
    pub name: String,
    /// What the notarizer wanted to say about it.
    pub note: String,
}

/// BLAKE3 and length of what `input` has, read to its end, 256 KiB at a time.
///
/// # Errors
/// If it cannot be read.
pub fn hash_of(mut input: impl Read) -> io::Result<([u8; 32], u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok((*hasher.finalize().as_bytes(), hasher.count())),
            Ok(count) => _ = hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Committed {
    /// The value of the record.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new_derive_key(COMMITMENT_CONTEXT);
        hasher.update(&self.salt).update(&self.hash).update(&self.length.to_le_bytes());
        for text in [&self.name, &self.note] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        let mut value = NOTARY_MAGIC.to_vec();
        value.extend_from_slice(hasher.finalize().as_bytes());
        value
    }
}

/// A receipt: everything that is needed to verify it, but the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What was committed to.
    pub committed: Committed,
    /// The record with the commitment.
    pub proof: RecordProof,
    /// The checkpoint that it is proven against.
    pub checkpoint: SignedCheckpoint,
    /// An earlier checkpoint, and that the other one continues it.
    pub before: Option<(SignedCheckpoint, ConsistencyProof)>,
}

/// Why a receipt proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The record is not in the tree of the checkpoint.
    Record(RecordProofError),
    /// The record holds another commitment, or none: the receipt was altered, or is about another record.
    Commitment,
    /// The earlier checkpoint is another partition's or another key's, or covers the record too, or is not earlier.
    Before,
    /// The earlier checkpoint is not the beginning of the other.
    Consistency(ProofError),
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => write!(formatter, "the record is not proven: {error}"),
            Self::Commitment => formatter
                .write_str("the record holds another commitment than the receipt describes"),
            Self::Before => {
                formatter.write_str("the earlier checkpoint of the receipt does not belong to it")
            }
            Self::Consistency(error) => {
                write!(
                    formatter,
                    "the checkpoint does not continue the earlier one of the receipt: {error}"
                )
            }
        }
    }
}

impl std::error::Error for ReceiptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Record(error) => Some(error),
            Self::Consistency(error) => Some(error),
            Self::Commitment | Self::Before => None,
        }
    }
}

impl Receipt {
    /// The offset of the record.
    #[must_use]
    pub const fn offset(&self) -> Offset {
        self.proof.offset()
    }

    /// Checks all of the receipt but the file, and returns the record. Whether the key of the checkpoint is to be trusted,
    /// and whether the file has the hash, is the caller's matter.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn verify(&self) -> Result<ProvenRecord, ReceiptError> {
        let checkpoint = self.checkpoint.checkpoint();
        let record = self.proof.verify(checkpoint, self.offset()).map_err(ReceiptError::Record)?;
        if record.value.as_deref() != Some(&self.committed.value()) {
            return Err(ReceiptError::Commitment);
        }
        if let Some((before, proof)) = &self.before {
            let earlier = before.checkpoint();
            let fits = before.key() == self.checkpoint.key()
                && Subject::of(earlier) == Subject::of(checkpoint)
                && earlier.end_offset <= self.offset()
                && earlier.time < checkpoint.time;
            if !fits {
                return Err(ReceiptError::Before);
            }
            proof.verify(&earlier.tree(), &checkpoint.tree()).map_err(ReceiptError::Consistency)?;
        }
        Ok(record)
    }
}
