//! That the batch with an offset is in a tree.

use std::ops::Range;

use super::frontier::Frontier;
use super::hash::{HASH_BYTES, Hash, Node, Root, join, leaf};
use super::numbering::split;
use super::{ProofError, STEP_BYTES};
use crate::ids::Offset;
use crate::limits::MERKLE_STEPS_MAX;

/// One step from the root down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Hash of the child that the way does not take.
    pub sibling: Hash,
    /// Records below the left child, whichever the way takes. The offset decides.
    pub left_records: u64,
}

/// The way from the root of a tree down to the leaf that holds an offset.
///
/// It says nowhere which leaf that is or which offsets it holds: [`InclusionProof::verify`] finds out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InclusionProof {
    /// The steps, that below the root first.
    pub steps: Vec<Step>,
}

/// Where a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Batches before it.
    pub index: u64,
    /// The offsets of its records.
    pub offsets: Range<Offset>,
}

/// A subtree on the way down.
struct Part {
    leaves: Range<u64>,
    records: Range<u64>,
}

impl InclusionProof {
    /// Checks that the batch that holds `offset` in the tree of `root` has the hash `batch`, and tells its place.
    ///
    /// Hashes once per step, and once for the leaf.
    ///
    /// # Errors
    /// If this does not prove it.
    pub fn verify(&self, root: &Root, offset: Offset, batch: Hash) -> Result<Place, ProofError> {
        let records = root.node.records;
        if root.is_impossible() {
            return Err(ProofError::Size);
        }
        if offset.get() >= records {
            return Err(ProofError::Beyond { offset, end: Offset::new(records) });
        }
        let whole = Part { leaves: 0..root.size, records: 0..records };
        let (node, place) =
            self.climb(&whole, &self.steps, (offset, &|records| leaf(batch, records)))?;
        if node == root.node { Ok(place) } else { Err(ProofError::Root) }
    }

    /// As [`Self::verify`], of a leaf whose batch is not at hand.
    #[must_use]
    pub fn leads(&self, root: &Root, offset: Offset, leaf: Node) -> bool {
        let whole = Part { leaves: 0..root.size, records: 0..root.node.records };
        if root.is_impossible() || offset.get() >= root.node.records {
            return false;
        }
        let climbed = self.climb(&whole, &self.steps, (offset, &|_| leaf));
        climbed.is_ok_and(|(node, _)| node == root.node)
    }

    /// The tree of the leaves before the one that holds `offset`: the left siblings of the way are its peaks, so whoever
    /// reads on from there needs nothing else. It is as true as the proof: [`Self::verify`] it. `None` if the steps or the
    /// counts are not those of a way in the tree of `root`.
    #[must_use]
    pub fn before(&self, root: &Root, offset: Offset) -> Option<Frontier> {
        let (mut size, mut index, mut start, mut peaks) = (root.size, 0, 0_u64, Vec::new());
        for step in &self.steps {
            if size < 2 {
                return None;
            }
            let left = split(size);
            let middle = start.checked_add(step.left_records)?;
            if offset.get() < middle {
                size = left;
            } else {
                peaks.push(Node { hash: step.sibling, records: step.left_records });
                (size, index, start) = (size - left, index + left, middle);
            }
        }
        if size != 1 {
            return None;
        }
        Frontier::from_peaks(index, peaks)
    }

    /// Goes down to the leaf by the counts, and comes back with hashes: the node over `part`.
    fn climb(
        &self,
        part: &Part,
        steps: &[Step],
        wanted: (Offset, &dyn Fn(u64) -> Node),
    ) -> Result<(Node, Place), ProofError> {
        let size = part.leaves.end - part.leaves.start;
        let records = part.records.end - part.records.start;
        let Some((step, below)) = steps.split_first() else {
            if size != 1 {
                return Err(ProofError::Steps { found: self.steps.len() });
            }
            let offsets = Offset::new(part.records.start)..Offset::new(part.records.end);
            return Ok(((wanted.1)(records), Place { index: part.leaves.start, offsets }));
        };
        if size == 1 {
            return Err(ProofError::Steps { found: self.steps.len() });
        }
        let left_size = split(size);
        let right_records = records.checked_sub(step.left_records).ok_or(ProofError::Counts)?;
        // Every batch has a record.
        if step.left_records < left_size || right_records < size - left_size {
            return Err(ProofError::Counts);
        }
        let leaf_split = part.leaves.start + left_size;
        let record_split = part.records.start + step.left_records;
        if wanted.0.get() < record_split {
            let left = Part {
                leaves: part.leaves.start..leaf_split,
                records: part.records.start..record_split,
            };
            let (node, place) = self.climb(&left, below, wanted)?;
            let right = Node { hash: step.sibling, records: right_records };
            Ok((join(node, right), place))
        } else {
            let right = Part {
                leaves: leaf_split..part.leaves.end,
                records: record_split..part.records.end,
            };
            let (node, place) = self.climb(&right, below, wanted)?;
            let left = Node { hash: step.sibling, records: step.left_records };
            Ok((join(left, node), place))
        }
    }

    /// As sent: the number of steps, then per step the hash of the sibling and the records on the left.
    ///
    /// # Panics
    /// If it has more steps than any tree.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.steps.len() <= MERKLE_STEPS_MAX, "{} steps", self.steps.len());
        let mut bytes = Vec::with_capacity(1 + self.steps.len() * STEP_BYTES);
        bytes.push(u8::try_from(self.steps.len()).expect("checked above"));
        for step in &self.steps {
            let Step { sibling, left_records } = *step;
            bytes.extend_from_slice(&Node { hash: sibling, records: left_records }.encode());
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are not that.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let nodes = decode_nodes(bytes)?;
        let step = |node: Node| Step { sibling: node.hash, left_records: node.records };
        Ok(Self { steps: nodes.into_iter().map(step).collect() })
    }
}

/// A number of nodes and so many of them, nothing after.
pub(super) fn decode_nodes(bytes: &[u8]) -> Result<Vec<Node>, ProofError> {
    let (&count, rest) = bytes.split_first().ok_or(ProofError::Malformed)?;
    let count = usize::from(count);
    let (nodes, after) = rest.as_chunks::<STEP_BYTES>();
    if count > MERKLE_STEPS_MAX || nodes.len() != count || !after.is_empty() {
        return Err(ProofError::Malformed);
    }
    Ok(nodes.iter().map(Node::decode).collect())
}

const _: () = assert!(STEP_BYTES == HASH_BYTES + 8 && MERKLE_STEPS_MAX <= u8::MAX as usize);
