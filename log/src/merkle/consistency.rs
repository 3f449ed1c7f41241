//! That one tree is the beginning of another: nothing was altered, removed or moved between two roots.

use std::ops::Range;

use super::hash::{Node, Root, join};
use super::inclusion::decode_nodes;
use super::numbering::split;
use super::{ProofError, STEP_BYTES};
use crate::limits::MERKLE_STEPS_MAX;

/// The nodes from which both roots follow, in the order of RFC 9162.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// The nodes, the deepest first.
    pub nodes: Vec<Node>,
}

/// Ranges of leaves of which a proof holds the nodes, in its order: the proof is the [`bag`](super::bag) of the
/// [`cover`](super::cover) of each. None if `first` is zero, is `second` or is beyond it.
#[must_use]
pub fn consistency_ranges(first: u64, second: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    if first == 0 || first >= second {
        return ranges;
    }
    let (mut start, mut end, mut is_whole) = (0, second, true);
    // From the root down, then turned round.
    while end > first {
        let middle = start + split(end - start);
        if first <= middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            (start, is_whole) = (middle, false);
        }
    }
    if !is_whole {
        ranges.push(start..end);
    }
    ranges.reverse();
    ranges
}

impl ConsistencyProof {
    /// Checks that the tree of `first` is the beginning of the tree of `second`.
    ///
    /// A tree without leaves is the beginning of every tree.
    ///
    /// # Errors
    /// If this does not prove it. If both are of one size and differ, that alone proves that history was forked.
    pub fn verify(&self, first: &Root, second: &Root) -> Result<(), ProofError> {
        if first.size > second.size || first.is_impossible() || second.is_impossible() {
            return Err(ProofError::Size);
        }
        if first.size == 0 {
            let is_empty = first.node == Node::empty() && self.nodes.is_empty();
            return if is_empty { Ok(()) } else { Err(ProofError::Root) };
        }
        let (old, new) = self.rebuild(first, second)?;
        if old == first.node && new == second.node { Ok(()) } else { Err(ProofError::Root) }
    }

    /// The two roots that follow from the nodes.
    fn rebuild(&self, first: &Root, second: &Root) -> Result<(Node, Node), ProofError> {
        let ranges = consistency_ranges(first.size, second.size);
        if ranges.len() != self.nodes.len() {
            return Err(self.wrong_steps());
        }
        let mut pairs = self.nodes.iter().copied().zip(ranges);
        // What is below both: all of the first tree, or the last part of it that is complete in the second.
        let is_whole = first.size == second.size || first.size.is_power_of_two();
        let below = if is_whole { Some((first.node, 0..first.size)) } else { pairs.next() };
        let (node, mut part) = below.ok_or_else(|| self.wrong_steps())?;
        let (mut old, mut new) = (node, node);
        for (node, range) in pairs {
            if range.start == part.end {
                new = join(new, node);
                part.end = range.end;
            } else {
                assert_eq!(range.end, part.start, "the ranges are neighbours");
                (old, new) = (join(node, old), join(node, new));
                part.start = range.start;
            }
        }
        assert_eq!(part, 0..second.size, "the ranges are the second tree");
        Ok((old, new))
    }

    fn wrong_steps(&self) -> ProofError {
        ProofError::Steps { found: self.nodes.len() }
    }

    /// As sent: the number of nodes, then the nodes.
    ///
    /// # Panics
    /// If it has more nodes than any proof.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.nodes.len() <= MERKLE_STEPS_MAX, "{} nodes", self.nodes.len());
        let mut bytes = Vec::with_capacity(1 + self.nodes.len() * STEP_BYTES);
        bytes.push(u8::try_from(self.nodes.len()).expect("checked above"));
        for node in &self.nodes {
            bytes.extend_from_slice(&node.encode());
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are not that.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        Ok(Self { nodes: decode_nodes(bytes)? })
    }
}
