//! Evidence that a node broke its word: two checkpoints of one partition, signed by one key, that cannot both be true.
//!
//! It convinces anybody who knows the key, without the server and without whoever found it.
//!
//! - Same size, other tree: a fork.
//! - The later one (by the signer's own clock) is smaller: a rollback.
//! - The larger one had another root when it was as small as the other: a fork. That it had is a consistency proof from
//!   that other root.
//!
//! ```text
//! | magic 8 | first checkpoint 224 | second checkpoint 224 | has a past u32 | 0 u32 | [past root 40 | proof] |
//! ```

use std::fmt;

use super::checkpoint::{CHECKPOINT_BYTES, SignedCheckpoint};
use super::trust::Subject;
use crate::layout::u32_at;
use crate::merkle::{ConsistencyProof, NODE_BYTES, Node, Root};

const MAGIC: [u8; 8] = *b"PYEQV001";
const FIXED_BYTES: usize = 8 + 2 * CHECKPOINT_BYTES + 8;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Two histories were signed.
    Fork,
    /// A history was signed that is shorter than one signed before.
    Rollback,
}

/// Why bytes are no evidence, or evidence of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEvidence;

impl fmt::Display for NoEvidence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("this is not evidence of two checkpoints that contradict each other")
    }
}

impl std::error::Error for NoEvidence {}

/// Two signed checkpoints that may contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivocation {
    first: SignedCheckpoint,
    second: SignedCheckpoint,
    /// What the tree of the second was at the size of the first, and the proof of that.
    past: Option<(Node, ConsistencyProof)>,
}

impl Equivocation {
    /// Two checkpoints in the order in which they were seen.
    #[must_use]
    pub const fn pair(first: SignedCheckpoint, second: SignedCheckpoint) -> Self {
        Self { first, second, past: None }
    }

    /// A checkpoint, a larger one, and the root that the larger one's tree had at the size of the other.
    #[must_use]
    pub const fn with_past(
        first: SignedCheckpoint,
        second: SignedCheckpoint,
        past: (Node, ConsistencyProof),
    ) -> Self {
        Self { first, second, past: Some(past) }
    }

    /// The checkpoints.
    #[must_use]
    pub const fn checkpoints(&self) -> [&SignedCheckpoint; 2] {
        [&self.first, &self.second]
    }

    /// What it is evidence of.
    ///
    /// # Errors
    /// If it is none: the checkpoints may both be true, or are not one key's about one partition.
    pub fn verify(&self) -> Result<Misdeed, NoEvidence> {
        let (first, second) = (self.first.checkpoint(), self.second.checkpoint());
        if self.first.key() != self.second.key() || Subject::of(first) != Subject::of(second) {
            return Err(NoEvidence);
        }
        if first.tree_size == second.tree_size {
            return if first.tree() == second.tree() { Err(NoEvidence) } else { Ok(Misdeed::Fork) };
        }
        if let Some((past, proof)) = &self.past {
            let was = Root { size: first.tree_size, node: *past };
            let is_fork = *past != first.tree().node && proof.verify(&was, &second.tree()).is_ok();
            return if is_fork { Ok(Misdeed::Fork) } else { Err(NoEvidence) };
        }
        let (larger, smaller) =
            if first.tree_size > second.tree_size { (first, second) } else { (second, first) };
        if smaller.time > larger.time || smaller.end_offset >= larger.end_offset {
            Ok(Misdeed::Rollback)
        } else {
            Err(NoEvidence)
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.first.encode());
        bytes.extend_from_slice(&self.second.encode());
        bytes.extend_from_slice(&u32::from(self.past.is_some()).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        if let Some((node, proof)) = &self.past {
            bytes.extend_from_slice(&node.encode());
            bytes.extend_from_slice(&proof.encode());
        }
        bytes
    }

    /// Reads what [`Equivocation::encode`] wrote; both signatures hold then.
    ///
    /// # Errors
    /// If the bytes are not that.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoEvidence> {
        if bytes.len() < FIXED_BYTES || bytes[..8] != MAGIC {
            return Err(NoEvidence);
        }
        let (fixed, rest) = bytes.split_at(FIXED_BYTES);
        let checkpoint = |at: usize| {
            SignedCheckpoint::decode(&fixed[at..at + CHECKPOINT_BYTES]).map_err(|_| NoEvidence)
        };
        let (first, second) = (checkpoint(8)?, checkpoint(8 + CHECKPOINT_BYTES)?);
        let at = FIXED_BYTES - 8;
        let past = match (u32_at(fixed, at), u32_at(fixed, at + 4), rest) {
            (0, 0, []) => None,
            (1, 0, rest) => {
                let (node, proof) = rest.split_first_chunk::<NODE_BYTES>().ok_or(NoEvidence)?;
                let proof = ConsistencyProof::decode(proof).map_err(|_| NoEvidence)?;
                Some((Node::decode(node), proof))
            }
            _ => return Err(NoEvidence),
        };
        Ok(Self { first, second, past })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
    use crate::merkle::{Frontier, Hash, leaf};
    use crate::proof::{Checkpoint, NodeKey};

    /// A tree of batches with these marks, one record each, signed at `time`.
    fn signed(marks: &[u8], time: i64) -> SignedCheckpoint {
        let mut frontier = Frontier::new();
        for mark in marks {
            frontier.append(leaf(Hash::new([*mark; 32]), 1), &mut Vec::new());
        }
        let checkpoint = Checkpoint {
            cluster: 1,
            log: LogId::new(2),
            partition: PartitionId::new(3),
            epoch: Epoch::ZERO,
            tree_size: marks.len() as u64,
            end_offset: Offset::new(marks.len() as u64),
            root: *frontier.root().node.hash.as_bytes(),
            time: Timestamp::new(time),
            previous: [0; 32],
        };
        checkpoint.sign(&NodeKey::from_seed(&[7; 32]))
    }

    fn node(mark: u8) -> Node {
        leaf(Hash::new([mark; 32]), 1)
    }

    #[test]
    fn two_checkpoints_that_can_both_be_true_are_no_evidence() {
        let (short, long) = (signed(&[1, 2], 10), signed(&[1, 2, 3], 20));
        assert_eq!(Equivocation::pair(short, long).verify(), Err(NoEvidence));
        assert_eq!(
            Equivocation::pair(long, short).verify(),
            Err(NoEvidence),
            "seen in another order"
        );
        let past =
            (crate::merkle::join(node(1), node(2)), ConsistencyProof { nodes: vec![node(3)] });
        assert_eq!(Equivocation::with_past(short, long, past).verify(), Err(NoEvidence));
    }

    #[test]
    fn what_contradicts_itself_is_evidence_and_no_mutation_of_it_is_other_evidence() {
        let fork = Equivocation::pair(signed(&[1, 2], 10), signed(&[1, 9], 20));
        assert_eq!(fork.verify(), Ok(Misdeed::Fork));
        let rollback = Equivocation::pair(signed(&[1, 2, 3], 10), signed(&[1, 2], 20));
        assert_eq!(rollback.verify(), Ok(Misdeed::Rollback));
        let past =
            (crate::merkle::join(node(1), node(9)), ConsistencyProof { nodes: vec![node(3)] });
        let hidden = Equivocation::with_past(signed(&[1, 2], 10), signed(&[1, 9, 3], 20), past);
        assert_eq!(hidden.verify(), Ok(Misdeed::Fork));
        let mut dice = fastrand::Rng::with_seed(4);
        for evidence in [fork, rollback, hidden] {
            let bytes = evidence.encode();
            assert_eq!(Equivocation::decode(&bytes), Ok(evidence));
            for _ in 0..3_000 {
                let mut other = bytes.clone();
                let at = dice.usize(..other.len());
                other[at] ^= 1 << dice.u8(..8);
                let found = Equivocation::decode(&other).and_then(|evidence| evidence.verify());
                assert_eq!(found, Err(NoEvidence), "byte {at}");
            }
        }
    }
}
