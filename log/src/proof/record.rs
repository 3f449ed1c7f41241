//! The proof of one record: the chunks of its batch that hold it, and the way from the batch to the root.
//!
//! ```text
//! | magic 8 | offset u64 | bytes of the way u32 | bytes of the slice u32 | the way | the slice |
//! ```
//!
//! Of a batch that is not compressed the chunks with header, directory, the record's entries in the columns and its bytes
//! are disclosed; of any other the whole batch. Neighbours in the same chunks are disclosed too: 1 KiB is the grain.
//!
//! What a verifier takes from the proof is never a place. The way says how many records lie on its left, the root says how
//! many there are, both are hashed; so the offset that was asked for decides which leaf it is, and the header in the
//! disclosed chunk has to agree with what follows from the tree.

use std::fmt;
use std::ops::Range;

use super::checkpoint::Checkpoint;
use super::slice::{self, Slice, SliceError};
use crate::batch::lone::{self, LoneError, LoneRecord};
use crate::batch::{
    Batch, BatchError, BatchHeader, BodyKind, Codec, Decoder, HEADER_BYTES, total_len,
};
use crate::ids::{Epoch, Offset, Timestamp};
use crate::layout::{u32_at, u64_at};
use crate::limits::RECORD_PROOF_BYTES_MAX;
use crate::merkle::{Hash, InclusionProof, ProofError};

const MAGIC: [u8; 8] = *b"PYRPF001";
const FIXED_BYTES: usize = 24;

/// Why a record is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordProofError {
    /// The bytes are no proof of a record.
    Format,
    /// The slice of the batch is none.
    Slice(SliceError),
    /// The way does not lead from the batch to the root.
    Tree(ProofError),
    /// The disclosed chunks are not those of a batch with this record.
    Batch(BatchError),
    /// The header of the batch says other offsets than the tree.
    Place {
        /// What follows from the tree: the first and the offset after the last.
        tree: (Offset, Offset),
        /// What the header says.
        header: (Offset, Offset),
    },
    /// A part of the record is not disclosed.
    Hidden,
    /// The batch holds a table of Arrow, not rows: it is proven as a whole, and has no single records.
    NotRows,
}

impl fmt::Display for RecordProofError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => formatter.write_str("these bytes are not the proof of a record"),
            Self::Slice(error) => error.fmt(formatter),
            Self::Tree(error) => error.fmt(formatter),
            Self::Batch(error) => error.fmt(formatter),
            Self::Place { tree, header } => write!(
                formatter,
                "the batch says that it holds offsets {} to {}, in the tree it holds {} to {} (exclusive)",
                header.0, header.1, tree.0, tree.1
            ),
            Self::Hidden => formatter.write_str("a part of the record is not disclosed"),
            Self::NotRows => {
                formatter.write_str("the batch is a table of Arrow, it has no single records")
            }
        }
    }
}

impl std::error::Error for RecordProofError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Slice(error) => Some(error),
            Self::Tree(error) => Some(error),
            Self::Batch(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BatchError> for RecordProofError {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl From<LoneError> for RecordProofError {
    fn from(error: LoneError) -> Self {
        match error {
            LoneError::Batch(error) => Self::Batch(error),
            LoneError::Hidden => Self::Hidden,
        }
    }
}

/// A record that is in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenRecord {
    /// Its offset.
    pub offset: Offset,
    /// Its key, or `None` without one.
    pub key: Option<Vec<u8>>,
    /// Its value, or `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in the producer's order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// When its producer made it, by the producer's clock.
    pub create_time: Timestamp,
    /// When the owner of the partition took its batch, by the owner's clock.
    pub append_time: Timestamp,
    /// Under which ownership it was taken.
    pub epoch: Epoch,
    /// The Scarab id of the first record of its batch, or zero.
    pub scarab_base: u64,
    /// Its place in the batch: its id is so many ticks after `scarab_base`.
    pub index: u32,
    /// The hash of its batch.
    pub batch_hash: Hash,
}

/// Proof that a record is in the tree of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProof {
    offset: Offset,
    inclusion: InclusionProof,
    /// As [`slice::disclose`] makes it.
    slice: Vec<u8>,
}

impl RecordProof {
    /// Discloses record `offset` of `batch`, a whole batch as it is stored, to which `inclusion` leads. Hashes the batch.
    ///
    /// # Errors
    /// If it is not a sound batch of rows.
    ///
    /// # Panics
    /// If the batch does not hold the offset.
    pub fn new(
        batch: &[u8],
        offset: Offset,
        inclusion: InclusionProof,
    ) -> Result<Self, RecordProofError> {
        let batch = Batch::parse(batch)?.verify()?;
        let header = *batch.header();
        let offsets = header.owner.base_offset..header.next_offset();
        assert!(offsets.contains(&offset), "offset {offset} is not in {offsets:?}");
        let content = &batch.bytes()[..HEADER_BYTES + header.body_len as usize];
        let index = index_of(&header, offset)?;
        let header_place = 0..HEADER_BYTES;
        let mut ranges = vec![header_place];
        if header.codec == Codec::None {
            let mut body = |range: Range<usize>| {
                ranges.push(HEADER_BYTES + range.start..HEADER_BYTES + range.end);
                content[HEADER_BYTES..].get(range)
            };
            lone::read(&header, index, &mut body)?;
        } else {
            let mut decoder = Decoder::new();
            decoder.rows(&batch)?;
            ranges.push(0..content.len());
        }
        Ok(Self { offset, inclusion, slice: slice::disclose(content, &ranges) })
    }

    /// The offset of the record.
    #[must_use]
    pub const fn offset(&self) -> Offset {
        self.offset
    }

    /// Its bytes.
    ///
    /// # Panics
    /// Never: what a proof is made of is limited.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let inclusion = self.inclusion.encode();
        let number = |len: usize| u32::try_from(len).expect("proofs are short").to_le_bytes();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.offset.get().to_le_bytes());
        bytes.extend_from_slice(&number(inclusion.len()));
        bytes.extend_from_slice(&number(self.slice.len()));
        bytes.extend_from_slice(&inclusion);
        bytes.extend_from_slice(&self.slice);
        bytes
    }

    /// Reads what [`RecordProof::encode`] wrote. It is proven by [`RecordProof::verify`] only.
    ///
    /// # Errors
    /// If the bytes are not that.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordProofError> {
        if bytes.len() > RECORD_PROOF_BYTES_MAX || bytes.len() < FIXED_BYTES || bytes[..8] != MAGIC
        {
            return Err(RecordProofError::Format);
        }
        let (fixed, rest) = bytes.split_at(FIXED_BYTES);
        let (way, slice) = (u32_at(fixed, 16) as usize, u32_at(fixed, 20) as usize);
        if rest.len() != way.saturating_add(slice) {
            return Err(RecordProofError::Format);
        }
        let (way, slice) = rest.split_at(way);
        let inclusion = InclusionProof::decode(way).map_err(RecordProofError::Tree)?;
        Ok(Self { offset: Offset::new(u64_at(fixed, 8)), inclusion, slice: slice.to_vec() })
    }

    /// Checks that the record at `offset`, which is what the caller wants proven, is in the tree of `checkpoint`, and returns
    /// it. Who signed the checkpoint, and for which log, is the caller's matter.
    ///
    /// # Errors
    /// [`RecordProofError`]: then nothing is proven.
    pub fn verify(
        &self,
        checkpoint: &Checkpoint,
        offset: Offset,
    ) -> Result<ProvenRecord, RecordProofError> {
        let slice = Slice::open(&self.slice).map_err(RecordProofError::Slice)?;
        let batch_hash = Hash::new(*slice.hash().as_bytes());
        let place = self.inclusion.verify(&checkpoint.tree(), offset, batch_hash);
        let place = place.map_err(RecordProofError::Tree)?;
        let header = slice.read(0..HEADER_BYTES).ok_or(RecordProofError::Hidden)?;
        let header = BatchHeader::parse(header)?;
        let content_len = HEADER_BYTES + header.body_len as usize;
        let stated = (header.owner.base_offset, header.next_offset());
        let tree = (place.offsets.start, place.offsets.end);
        if stated != tree {
            return Err(RecordProofError::Place { tree, header: stated });
        }
        if slice.content_len() != content_len {
            let (expected, found) = (content_len, slice.content_len());
            return Err(BatchError::Length { expected, found }.into());
        }
        let index = index_of(&header, offset)?;
        if header.codec == Codec::None {
            let mut body = |range: Range<usize>| {
                slice.read(HEADER_BYTES + range.start..HEADER_BYTES + range.end)
            };
            let record = lone::read(&header, index, &mut body)?;
            return Ok(proven(&record, &header, (index, batch_hash)));
        }
        let content = slice.read(0..content_len).ok_or(RecordProofError::Hidden)?;
        let mut padded = content.to_vec();
        padded.resize(total_len(header.body_len), 0);
        let batch = Batch::parse(&padded)?;
        let mut decoder = Decoder::new();
        let rows = decoder.rows(&batch)?;
        let row = rows.get(index).ok_or(RecordProofError::Format)?;
        let record = LoneRecord {
            key: row.key,
            value: row.value,
            create_time: row.create_time,
            headers: row.headers.iter().collect(),
        };
        Ok(proven(&record, &header, (index, batch_hash)))
    }
}

/// The place of `offset` in the batch with this header, which holds it, if it has rows and no gaps.
fn index_of(header: &BatchHeader, offset: Offset) -> Result<usize, RecordProofError> {
    let base = header.owner.base_offset;
    if header.body_kind != BodyKind::Rows {
        return Err(RecordProofError::NotRows);
    }
    if header.next_offset().since(base) != u64::from(header.record_count) {
        // Compaction left gaps. Logs with proofs are not compacted.
        return Err(RecordProofError::Format);
    }
    usize::try_from(offset.since(base)).map_err(|_| RecordProofError::Format)
}

/// The record, with what the header of its batch says of it.
fn proven(
    record: &LoneRecord<'_>,
    header: &BatchHeader,
    (index, batch_hash): (usize, Hash),
) -> ProvenRecord {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    ProvenRecord {
        offset: Offset::new(header.owner.base_offset.get() + index as u64),
        key: owned(record.key),
        value: owned(record.value),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| ((*key).to_owned(), owned(*value)))
            .collect(),
        create_time: record.create_time,
        append_time: header.owner.append_time,
        epoch: header.owner.epoch,
        scarab_base: header.owner.scarab_base,
        index: u32::try_from(index).expect("it is below the records of a batch"),
        batch_hash,
    }
}

#[cfg(test)]
mod tests;
