//! Where a node lies: complete subtrees in post-order, so that appending never moves what is there.
//!
//! ```text
//!          6              14
//!       /     \         /     \
//!      2       5      10      13
//!     / \     / \     / \     / \
//!    0   1   3   4   7   8  11  12  15      leaf i is node 2 i - (ones in i)
//! ```

use std::ops::Range;

/// A complete subtree: `2^height` leaves, the `index`-th such from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId {
    /// Levels above the leaves.
    pub height: u32,
    /// Subtrees of that height to its left.
    pub index: u64,
}

impl NodeId {
    /// The leaf of a batch.
    #[must_use]
    pub const fn leaf(index: u64) -> Self {
        Self { height: 0, index }
    }

    /// The leaves below it.
    #[must_use]
    pub const fn leaves(self) -> Range<u64> {
        self.index << self.height..(self.index + 1) << self.height
    }

    /// Its number: nodes that are complete before it is.
    #[must_use]
    pub const fn number(self) -> u64 {
        // It is complete when its last leaf is there, `height` joins after that.
        nodes_before(self.leaves().end - 1) + self.height as u64
    }

    /// Its two children.
    ///
    /// # Panics
    /// For a leaf.
    #[must_use]
    pub const fn children(self) -> [Self; 2] {
        assert!(self.height > 0, "a leaf has no children");
        let height = self.height - 1;
        [Self { height, index: 2 * self.index }, Self { height, index: 2 * self.index + 1 }]
    }
}

/// Nodes of a tree of `leaves` leaves that are complete; also the number of leaf `leaves`.
#[must_use]
pub const fn nodes_before(leaves: u64) -> u64 {
    2 * leaves - leaves.count_ones() as u64
}

/// The fewest complete subtrees that make up a range of leaves, from left to right. For `0..size` the peaks of the tree.
#[must_use]
pub fn cover(leaves: Range<u64>) -> Vec<NodeId> {
    let Range { mut start, end } = leaves;
    let mut nodes = Vec::new();
    while start < end {
        let height = start.trailing_zeros().min((end - start).ilog2());
        nodes.push(NodeId { height, index: start >> height });
        start += 1 << height;
    }
    nodes
}

/// Leaves of the left part of a tree of `size` leaves: the largest power of two below.
///
/// # Panics
/// If there are fewer than two.
pub(super) const fn split(size: u64) -> u64 {
    assert!(size > 1, "a tree of one leaf is a leaf");
    1 << (size - 1).ilog2()
}
