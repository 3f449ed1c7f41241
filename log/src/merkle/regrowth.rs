//! A tree that is grown once more from its nodes: in the order of their numbers, each checked against those before it.
//!
//! Whoever has kept the nodes of a tree, or gets them from somebody, knows with two hashes per leaf that they are those of a
//! tree and what its root is. That the root is the right one says a checkpoint, and that the leaves are those of some batches say
//! the batches.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Frontier, Node, ProofError, nodes_before};
use crate::ids::Offset;

/// A tree that grows from nodes. Invariant: `expected` are the nodes that the last leaf has completed and that were not taken yet.
#[derive(Clone, Debug, Default)]
pub struct Regrowth {
    frontier: Frontier,
    expected: VecDeque<Node>,
    /// Room for what a leaf completes.
    completed: Vec<Node>,
}

/// A leaf that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrownLeaf {
    /// The offsets of its batch.
    pub offsets: Range<Offset>,
    /// The leaf.
    pub node: Node,
}

impl Regrowth {
    /// Goes on with the nodes behind those of a tree with this right edge.
    #[must_use]
    pub fn behind(frontier: Frontier) -> Self {
        Self { frontier, ..Self::default() }
    }

    /// Number of the node to take next.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        nodes_before(self.frontier.size()) - self.expected.len() as u64
    }

    /// Takes the next node. Returns it with its offsets if it is a leaf.
    ///
    /// # Errors
    /// If it is not the node over those before it, or there are more records than offsets. Nothing more can be taken then.
    pub fn take(&mut self, node: Node) -> Result<Option<GrownLeaf>, ProofError> {
        if let Some(expected) = self.expected.pop_front() {
            return if expected == node { Ok(None) } else { Err(ProofError::Root) };
        }
        let first = self.frontier.records();
        let next = first.checked_add(node.records).ok_or(ProofError::Counts)?;
        if node.records == 0 {
            return Err(ProofError::Counts);
        }
        self.completed.clear();
        self.frontier.append(node, &mut self.completed);
        self.expected.extend(&self.completed[1..]);
        Ok(Some(GrownLeaf { offsets: Offset::new(first)..Offset::new(next), node }))
    }

    /// The right edge of the tree.
    ///
    /// # Errors
    /// If nodes of the last leaf are missing.
    pub fn finish(self) -> Result<Frontier, ProofError> {
        if self.expected.is_empty() { Ok(self.frontier) } else { Err(ProofError::Size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{Hash, leaf};

    /// The tree of so many batches, and its nodes.
    fn tree(size: u8) -> (Frontier, Vec<Node>) {
        let (mut frontier, mut nodes) = (Frontier::new(), Vec::new());
        for number in 0..size {
            frontier.append(leaf(Hash::new([number; 32]), u64::from(number) + 1), &mut nodes);
        }
        (frontier, nodes)
    }

    fn regrown(mut growth: Regrowth, nodes: &[Node]) -> Result<Frontier, ProofError> {
        for node in nodes {
            growth.take(*node)?;
        }
        growth.finish()
    }

    #[test]
    fn every_tree_grows_again_from_its_nodes_and_from_any_tree_before_it() {
        let (_, all) = tree(40);
        for size in 0..=40 {
            let (frontier, nodes) = tree(size);
            assert_eq!(regrown(Regrowth::default(), &nodes), Ok(frontier.clone()));
            let growth = Regrowth::behind(frontier);
            assert_eq!(growth.next_number(), nodes.len() as u64);
            assert_eq!(regrown(growth, &all[nodes.len()..]), Ok(tree(40).0));
        }
    }

    #[test]
    fn leaves_come_with_their_offsets() {
        let mut growth = Regrowth::default();
        let leaves = tree(5).1.into_iter().filter_map(|node| growth.take(node).unwrap());
        let offsets: Vec<_> =
            leaves.map(|leaf| leaf.offsets.start.get()..leaf.offsets.end.get()).collect();
        assert_eq!(offsets, [0..1, 1..3, 3..6, 6..10, 10..15]);
    }

    #[test]
    fn nodes_of_which_one_is_changed_missing_or_too_many_lead_nowhere_or_to_another_root() {
        let (frontier, nodes) = tree(13);
        for at in 0..nodes.len() {
            let mut changed = nodes.clone();
            changed[at].records += 1;
            let mut missing = nodes.clone();
            missing.remove(at);
            let mut doubled = nodes.clone();
            doubled.insert(at, nodes[at]);
            for nodes in [changed, missing, doubled] {
                let grown = regrown(Regrowth::default(), &nodes);
                assert_ne!(grown.map(|grown| grown.root()), Ok(frontier.root()), "node {at}");
            }
        }
        let vast = Node { hash: Hash::new([1; 32]), records: u64::MAX };
        let mut growth = Regrowth::default();
        growth.take(nodes[0]).unwrap();
        assert_eq!(growth.take(vast), Err(ProofError::Counts));
    }
}
