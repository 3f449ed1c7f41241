//! The signed checkpoint: what a node states about a partition, in bytes that can only be read one way.
//!
//! ```text
//!       0          8         16     24           28  32      40          48           56     88     96              128
//!       | magic    | cluster | log  | partition  | 0 | epoch | tree_size | end_offset | root | time | previous 32   |
//!     128          160             224
//!       | public key | signature of 0..128 |
//! ```
//!
//! The magic is in what is signed, and the key signs nothing else than checkpoints, so that no other bytes of Pyralog can
//! be passed off as one. `previous` is the hash of the checkpoint before it: a node that shows two histories has to sign
//! two checkpoints after one. A time is the signer's word and nothing more.
//!
//! Rejected: a structure of a library (CBOR, rkyv) around it. A canonical form would have to be proven, 224 fixed bytes are
//! their own.

use std::fmt;

use super::key::{KEY_BYTES, NodeKey, PublicKey, SIGNATURE_BYTES};
use crate::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
use crate::layout::{i64_at, put, u32_at, u64_at};
use crate::merkle::{Hash, Node, Root};

/// Length of a signed checkpoint.
pub const CHECKPOINT_BYTES: usize = STATEMENT_BYTES + KEY_BYTES + SIGNATURE_BYTES;

/// Length of what is signed.
pub const STATEMENT_BYTES: usize = 128;

const MAGIC: [u8; 8] = *b"PYSCP001";
const CONTEXT: &str = "pyralog 2026 checkpoint";

const CLUSTER: usize = 8;
const LOG: usize = 16;
const PARTITION: usize = 24;
const RESERVED: usize = 28;
const EPOCH: usize = 32;
const TREE_SIZE: usize = 40;
const END_OFFSET: usize = 48;
const ROOT: usize = 56;
const TIME: usize = 88;
const PREVIOUS: usize = 96;

/// What a node states about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The cluster.
    pub cluster: u64,
    /// The log, by its id: a name can be given to another log.
    pub log: LogId,
    /// The partition.
    pub partition: PartitionId,
    /// Under which ownership it was signed.
    pub epoch: Epoch,
    /// Batches in the tree.
    pub tree_size: u64,
    /// The offset after the last record of the tree, which begins at offset 0: how many offsets it commits to.
    pub end_offset: Offset,
    /// The root of the tree.
    pub root: [u8; 32],
    /// When it was signed, by the signer's clock.
    pub time: Timestamp,
    /// [`Checkpoint::hash`] of the checkpoint of this partition that was signed before; zeros for the first.
    pub previous: [u8; 32],
}

/// Why bytes are not a signed checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointError {
    /// They are not [`CHECKPOINT_BYTES`] long.
    Length {
        /// How many there are.
        found: usize,
    },
    /// The magic is another, a reserved byte is not zero, or no tree has that size and that end.
    Format,
    /// The public key is none.
    Key,
    /// The signature does not fit the statement and the key.
    Signature,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => {
                write!(formatter, "a signed checkpoint has {CHECKPOINT_BYTES} bytes, not {found}")
            }
            Self::Format => formatter.write_str("these bytes are not a signed checkpoint"),
            Self::Key => {
                formatter.write_str("the key of the checkpoint is not an Ed25519 public key")
            }
            Self::Signature => formatter.write_str("the signature of the checkpoint is false"),
        }
    }
}

impl std::error::Error for CheckpointError {}

impl Checkpoint {
    /// The bytes that are signed.
    #[must_use]
    pub fn encode(&self) -> [u8; STATEMENT_BYTES] {
        let mut bytes = [0; STATEMENT_BYTES];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, CLUSTER, self.cluster.to_le_bytes());
        put(&mut bytes, LOG, self.log.get().to_le_bytes());
        put(&mut bytes, PARTITION, self.partition.get().to_le_bytes());
        put(&mut bytes, EPOCH, self.epoch.get().to_le_bytes());
        put(&mut bytes, TREE_SIZE, self.tree_size.to_le_bytes());
        put(&mut bytes, END_OFFSET, self.end_offset.get().to_le_bytes());
        put(&mut bytes, ROOT, self.root);
        put(&mut bytes, TIME, self.time.get().to_le_bytes());
        put(&mut bytes, PREVIOUS, self.previous);
        bytes
    }

    /// The tree that it is about.
    #[must_use]
    pub fn tree(&self) -> Root {
        let records = self.end_offset.get();
        Root { size: self.tree_size, node: Node { hash: Hash::new(self.root), records } }
    }

    /// Its name: a hash of what is signed, without key and signature.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key(CONTEXT, &self.encode())
    }

    /// Signs it.
    #[must_use]
    pub fn sign(self, key: &NodeKey) -> SignedCheckpoint {
        SignedCheckpoint {
            checkpoint: self,
            key: key.public(),
            signature: key.sign(&self.encode()),
        }
    }

    /// Reads what [`Self::encode`] wrote: a statement without a signature, which is worth what its bearer is.
    ///
    /// # Errors
    /// [`CheckpointError::Format`].
    pub fn decode(bytes: &[u8; STATEMENT_BYTES]) -> Result<Self, CheckpointError> {
        if bytes[..CLUSTER] != MAGIC || bytes[RESERVED..EPOCH] != [0; EPOCH - RESERVED] {
            return Err(CheckpointError::Format);
        }
        let found = Self {
            cluster: u64_at(bytes, CLUSTER),
            log: LogId::new(u64_at(bytes, LOG)),
            partition: PartitionId::new(u32_at(bytes, PARTITION)),
            epoch: Epoch::new(u64_at(bytes, EPOCH)),
            tree_size: u64_at(bytes, TREE_SIZE),
            end_offset: Offset::new(u64_at(bytes, END_OFFSET)),
            root: array_at(bytes, ROOT),
            time: Timestamp::new(i64_at(bytes, TIME)),
            previous: array_at(bytes, PREVIOUS),
        };
        // Whoever trusts a key on first sight computes with what its holder says.
        if found.tree().is_impossible() { Err(CheckpointError::Format) } else { Ok(found) }
    }
}

/// A checkpoint with a signature that holds. Invariant: it holds for the key that is named here, and whether that key is to
/// be trusted is the reader's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    key: PublicKey,
    signature: [u8; SIGNATURE_BYTES],
}

impl SignedCheckpoint {
    /// What was signed.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Who signed it.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; CHECKPOINT_BYTES] {
        let mut bytes = [0; CHECKPOINT_BYTES];
        put(&mut bytes, 0, self.checkpoint.encode());
        put(&mut bytes, STATEMENT_BYTES, self.key.to_bytes());
        put(&mut bytes, STATEMENT_BYTES + KEY_BYTES, self.signature);
        bytes
    }

    /// Reads a signed checkpoint and checks its signature, strictly: no bytes but those that were signed are accepted.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        if bytes.len() != CHECKPOINT_BYTES {
            return Err(CheckpointError::Length { found: bytes.len() });
        }
        let statement = array_at::<STATEMENT_BYTES>(bytes, 0);
        let key = array_at::<KEY_BYTES>(bytes, STATEMENT_BYTES);
        let signature = array_at::<SIGNATURE_BYTES>(bytes, STATEMENT_BYTES + KEY_BYTES);
        let checkpoint = Checkpoint::decode(&statement)?;
        let key = PublicKey::from_bytes(&key).map_err(|_| CheckpointError::Key)?;
        if !key.verifies(&statement, &signature) {
            return Err(CheckpointError::Signature);
        }
        Ok(Self { checkpoint, key, signature })
    }
}

/// What a server states about a partition: with its signature, or on its word alone if the log is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stated {
    /// Without a signature.
    Plain(Checkpoint),
    /// With one that holds.
    Signed(SignedCheckpoint),
}

impl Stated {
    /// What is stated.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        match self {
            Self::Plain(checkpoint) => checkpoint,
            Self::Signed(signed) => signed.checkpoint(),
        }
    }

    /// The same with its signature, if it has one.
    #[must_use]
    pub const fn signed(&self) -> Option<&SignedCheckpoint> {
        match self {
            Self::Plain(_) => None,
            Self::Signed(signed) => Some(signed),
        }
    }

    /// Its bytes: [`CHECKPOINT_BYTES`] with a signature, [`STATEMENT_BYTES`] without.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Plain(checkpoint) => checkpoint.encode().to_vec(),
            Self::Signed(signed) => signed.encode().to_vec(),
        }
    }

    /// Reads either, and checks the signature of what has one.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        match <&[u8; STATEMENT_BYTES]>::try_from(bytes) {
            Ok(statement) => Checkpoint::decode(statement).map(Self::Plain),
            Err(_) => SignedCheckpoint::decode(bytes).map(Self::Signed),
        }
    }
}

impl From<Checkpoint> for Stated {
    fn from(checkpoint: Checkpoint) -> Self {
        Self::Plain(checkpoint)
    }
}

impl From<SignedCheckpoint> for Stated {
    fn from(signed: SignedCheckpoint) -> Self {
        Self::Signed(signed)
    }
}

/// The bytes at `at`.
fn array_at<const LEN: usize>(bytes: &[u8], at: usize) -> [u8; LEN] {
    let mut array = [0; LEN];
    array.copy_from_slice(&bytes[at..at + LEN]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::key::hex;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            cluster: 0x11,
            log: LogId::new(0x22),
            partition: PartitionId::new(0x33),
            epoch: Epoch::new(0x44),
            tree_size: 0x55,
            end_offset: Offset::new(0x66),
            root: [0x77; 32],
            time: Timestamp::new(0x88),
            previous: [0x99; 32],
        }
    }

    fn key(seed: u8) -> NodeKey {
        NodeKey::from_seed(&[seed; KEY_BYTES])
    }

    #[test]
    fn a_checkpoint_has_these_bytes() {
        let statement = "5059534350303031 1100000000000000 2200000000000000 33000000 00000000 \
            4400000000000000 5500000000000000 6600000000000000 \
            7777777777777777777777777777777777777777777777777777777777777777 8800000000000000 \
            9999999999999999999999999999999999999999999999999999999999999999";
        assert_eq!(hex(&checkpoint().encode()), statement.replace(' ', ""));
        let signed = checkpoint().sign(&key(7));
        let bytes = signed.encode();
        assert_eq!(
            hex(&bytes[128..160]),
            "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"
        );
        assert_eq!(SignedCheckpoint::decode(&bytes), Ok(signed));
    }

    #[test]
    fn none_of_ten_thousand_mutations_of_a_checkpoint_is_accepted() {
        let signed = checkpoint().sign(&key(7)).encode();
        for bit in 0..signed.len() * 8 {
            let mut other = signed;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(SignedCheckpoint::decode(&other).is_err(), "bit {bit}");
        }
        let mut dice = fastrand::Rng::with_seed(1);
        for round in 0..10_000 {
            let mut other = signed.to_vec();
            for _ in 0..dice.usize(1..8) {
                let at = dice.usize(..other.len());
                other[at] = dice.u8(..);
            }
            if dice.u8(..) < 32 {
                other.truncate(dice.usize(..other.len()));
            }
            if other != signed {
                assert!(SignedCheckpoint::decode(&other).is_err(), "round {round}");
            }
        }
    }

    #[test]
    fn a_checkpoint_of_a_tree_that_cannot_be_is_refused_whoever_signed_it() {
        for (size, end) in [(0, 5), (5, 4), (u64::MAX, u64::MAX)] {
            let absurd =
                Checkpoint { tree_size: size, end_offset: Offset::new(end), ..checkpoint() };
            let bytes = absurd.sign(&key(7)).encode();
            assert_eq!(
                SignedCheckpoint::decode(&bytes),
                Err(CheckpointError::Format),
                "{size} {end}"
            );
        }
    }

    #[test]
    fn a_signature_is_not_another_keys() {
        let (ours, theirs) = (checkpoint().sign(&key(7)), checkpoint().sign(&key(8)));
        let mut mixed = ours.encode();
        mixed[128..160].copy_from_slice(&theirs.encode()[128..160]);
        assert_eq!(SignedCheckpoint::decode(&mixed), Err(CheckpointError::Signature));
    }

    #[test]
    fn a_signature_with_another_encoding_of_its_number_is_refused() {
        // s + L is the same number modulo the order of the group: without the strict check one statement would have two
        // signatures.
        let order: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut bytes = checkpoint().sign(&key(7)).encode();
        let mut carry = 0;
        for (byte, add) in bytes[192..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        assert_eq!(SignedCheckpoint::decode(&bytes), Err(CheckpointError::Signature));
    }
}
