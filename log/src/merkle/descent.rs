//! Finds the batch that holds an offset in a tree, and the proof of it: says which nodes it needs next and takes them.

use super::ProofError;
use super::hash::{Node, bag};
use super::inclusion::{InclusionProof, Place, Step};
use super::numbering::{NodeId, cover};
use crate::ids::Offset;

/// A way down that is being looked for. Invariant: the offset lies at or above `first`, and below the wanted nodes unless
/// the tree ends before it.
#[derive(Clone, Debug)]
pub struct Descent {
    offset: Offset,
    /// What to read next, from left to right. None: found.
    wanted: Vec<NodeId>,
    /// Offset of the first record below the wanted nodes.
    first: u64,
    steps: Vec<Step>,
    found: Option<Found>,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    index: u64,
    leaf: Node,
}

/// A batch in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where it is.
    pub place: Place,
    /// Its leaf.
    pub leaf: Node,
    /// That it is there.
    pub proof: InclusionProof,
}

impl Descent {
    /// Looks for `offset` in the tree of the first `size` leaves.
    ///
    /// # Errors
    /// If that tree is empty.
    pub fn new(size: u64, offset: Offset) -> Result<Self, ProofError> {
        let wanted = cover(0..size);
        if wanted.is_empty() {
            return Err(ProofError::Beyond { offset, end: Offset::ZERO });
        }
        Ok(Self { offset, wanted, first: 0, steps: Vec::new(), found: None })
    }

    /// The nodes to take next. First the peaks, then two at a time.
    #[must_use]
    pub fn wanted(&self) -> &[NodeId] {
        &self.wanted
    }

    /// Takes the wanted nodes, in their order.
    ///
    /// # Errors
    /// If the offset lies beyond the tree.
    ///
    /// # Panics
    /// If there are fewer than were wanted.
    pub fn take(&mut self, nodes: &[Node]) -> Result<(), ProofError> {
        let ids = std::mem::take(&mut self.wanted);
        assert_eq!(ids.len(), nodes.len(), "as many nodes as were wanted");
        let last = nodes.len() - 1;
        for (at, (id, node)) in ids.into_iter().zip(nodes).enumerate() {
            let is_below = self.offset.get() - self.first < node.records;
            if is_below {
                if at < last {
                    // A step to the left: everything that follows is the sibling.
                    let sibling = bag(&nodes[at + 1..]).hash;
                    self.steps.push(Step { sibling, left_records: node.records });
                }
                self.enter(id, *node);
                return Ok(());
            }
            self.first += node.records;
            self.steps.push(Step { sibling: node.hash, left_records: node.records });
        }
        let end = Offset::new(self.first);
        Err(ProofError::Beyond { offset: self.offset, end })
    }

    fn enter(&mut self, id: NodeId, node: Node) {
        if id.height == 0 {
            self.found = Some(Found { index: id.index, leaf: node });
        } else {
            self.wanted.extend(id.children());
        }
    }

    /// What was found, or `None` as long as nodes are wanted.
    #[must_use]
    pub fn finish(self) -> Option<Located> {
        let Found { index, leaf } = self.found?;
        let offsets = Offset::new(self.first)..Offset::new(self.first + leaf.records);
        let proof = InclusionProof { steps: self.steps };
        Some(Located { place: Place { index, offsets }, leaf, proof })
    }
}
