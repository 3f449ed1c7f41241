//! The right edge of a tree: all that appending needs, at most one node per level.

use super::hash::{Node, Root, bag, join};
use super::numbering::cover;

/// The peaks of a tree: its complete subtrees, the largest first. Invariant: as many as the size has ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Node>,
}

impl Frontier {
    /// That of a tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// That of a tree of `size` leaves with these peaks, or `None` if a tree of that size has another number of them.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Node>) -> Option<Self> {
        (peaks.len() == cover(0..size).len()).then_some(Self { size, peaks })
    }

    /// Appends a leaf; the nodes that this completes, the leaf first, go to `completed` in the order of their numbers.
    /// Two hashes on average.
    pub fn append(&mut self, leaf: Node, completed: &mut Vec<Node>) {
        let mut node = leaf;
        completed.push(node);
        let kept = self.peaks.len() - self.size.trailing_ones() as usize;
        for left in self.peaks.drain(kept..).rev() {
            node = join(left, node);
            completed.push(node);
        }
        self.peaks.push(node);
        self.size += 1;
        debug_assert_eq!(self.peaks.len(), self.size.count_ones() as usize);
    }

    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Records below all leaves: the offset of the next.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.peaks.iter().map(|peak| peak.records).sum()
    }

    /// The peaks, the largest subtree first.
    #[must_use]
    pub fn peaks(&self) -> &[Node] {
        &self.peaks
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Root {
        Root { size: self.size, node: bag(&self.peaks) }
    }
}
