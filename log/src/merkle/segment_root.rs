//! The root of a closed segment: the part of the tree that its batches are, and the small file that says it.
//!
//! It is written once the batches are in a tree that was published, and lies beside the segment. So who has the segment can see
//! whether its records are still those that the tree was made of, without the tree: the scrubber, and `inspect`. It is no
//! proof: who can change a segment can change the file. The signed checkpoint is, and where a root differs from the bytes,
//! the nodes that lead to the checkpoint say which of them is wrong.

use std::ops::Range;

use super::hash::{NODE_BYTES, Node, bag, join};
use super::numbering::NodeId;
use crate::ids::Offset;
use crate::layout::{Builder, Fields, FormatError};
use crate::limits::MERKLE_LEAVES_MAX;

const MAGIC: [u8; 8] = *b"PYROT001";
const VERSION: u32 = 1;

/// Most bytes of the file.
pub(crate) const SEGMENT_ROOT_BYTES_MAX: usize = 256;

/// The part of a tree that a closed segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRoot {
    /// Its offsets.
    pub offsets: Range<Offset>,
    /// Its batches, counted from the beginning of the log.
    pub batches: Range<u64>,
    /// The node over them: the fewest complete subtrees that cover them, joined from the right.
    pub node: Node,
}

impl SegmentRoot {
    /// The file beside the segment of `generation`.
    #[must_use]
    pub fn encode(&self, generation: u64) -> Vec<u8> {
        let mut builder = Builder::new(MAGIC, VERSION);
        builder.u64(generation).u64(self.offsets.start.get()).u64(self.offsets.end.get());
        builder.u64(self.batches.start).u64(self.batches.end).bytes(&self.node.encode());
        builder.finish()
    }

    /// Reads the file beside the segment of `generation` that starts at `base`.
    ///
    /// # Errors
    /// Why it cannot be used; the tree has the root, too.
    pub fn decode(bytes: &[u8], generation: u64, base: Offset) -> Result<Self, FormatError> {
        let mut fields = Fields::open(bytes, MAGIC, VERSION)?;
        if (fields.u64()?, fields.u64()?) != (generation, base.get()) {
            return Err(FormatError::Foreign);
        }
        let offsets = base..Offset::new(fields.u64()?);
        let batches = fields.u64()?..fields.u64()?;
        let node = Node::decode(&fields.bytes::<NODE_BYTES>()?);
        fields.end()?;
        if batches.is_empty() || batches.end > MERKLE_LEAVES_MAX {
            return Err(FormatError::Field { field: "batches" });
        }
        let is_right = offsets.start < offsets.end && offsets.end.since(base) == node.records;
        if is_right {
            Ok(Self { offsets, batches, node })
        } else {
            Err(FormatError::Field { field: "records" })
        }
    }
}

/// Makes the root of a segment from its leaves, in order.
#[derive(Clone, Debug)]
pub struct SegmentFold {
    /// Number of the next leaf.
    next: u64,
    /// The complete subtrees so far, from left to right.
    subtrees: Vec<(NodeId, Node)>,
}

impl SegmentFold {
    /// Of the segment whose first batch has this number.
    #[must_use]
    pub const fn new(first: u64) -> Self {
        Self { next: first, subtrees: Vec::new() }
    }

    /// Takes the next leaf.
    pub fn push(&mut self, leaf: Node) {
        let (mut id, mut node) = (NodeId::leaf(self.next), leaf);
        self.next += 1;
        // The left sibling is there unless it begins before the segment does.
        while id.index % 2 == 1
            && let Some((_, left)) = self.subtrees.pop_if(|(left, _)| is_sibling(*left, id))
        {
            node = join(left, node);
            id = NodeId { height: id.height + 1, index: id.index / 2 };
        }
        self.subtrees.push((id, node));
    }

    /// Number of the leaf that comes next.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The node over all leaves so far.
    #[must_use]
    pub fn node(&self) -> Node {
        let nodes: Vec<Node> = self.subtrees.iter().map(|(_, node)| *node).collect();
        bag(&nodes)
    }
}

fn is_sibling(left: NodeId, right: NodeId) -> bool {
    (left.height, left.index + 1) == (right.height, right.index)
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;
    use crate::merkle::{Frontier, Hash, cover, leaf};

    fn leaves(count: u64) -> Vec<Node> {
        (0..count)
            .map(|at| leaf(Hash::new([u8::try_from(at % 251).unwrap(); 32]), at + 1))
            .collect()
    }

    quickcheck! {
        fn the_fold_of_a_segment_is_the_node_that_the_tree_has_over_it(first: u16, count: u16) -> bool {
            let (first, count) = (u64::from(first % 500), u64::from(count % 500) + 1);
            let (mut frontier, mut nodes) = (Frontier::new(), Vec::new());
            let mut fold = SegmentFold::new(first);
            for (at, leaf) in (0..).zip(leaves(first + count)) {
                frontier.append(leaf, &mut nodes);
                if at >= first {
                    fold.push(leaf);
                }
            }
            let over = cover(first..first + count);
            let over = over.iter().map(|id| nodes[usize::try_from(id.number()).unwrap()]);
            fold.node() == bag(&over.collect::<Vec<_>>()) && fold.next() == first + count
        }
    }

    fn root() -> SegmentRoot {
        let mut fold = SegmentFold::new(5);
        for leaf in leaves(3) {
            fold.push(leaf);
        }
        let offsets = Offset::new(40)..Offset::new(46);
        SegmentRoot { offsets, batches: 5..8, node: fold.node() }
    }

    #[test]
    fn a_root_is_read_as_it_was_written_and_not_if_a_byte_is_another() {
        let bytes = root().encode(9);
        assert!(bytes.len() <= SEGMENT_ROOT_BYTES_MAX);
        assert_eq!(SegmentRoot::decode(&bytes, 9, Offset::new(40)), Ok(root()));
        let foreign = Err(FormatError::Foreign);
        assert_eq!(SegmentRoot::decode(&bytes, 8, Offset::new(40)), foreign);
        assert_eq!(SegmentRoot::decode(&bytes, 9, Offset::new(41)), foreign);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(SegmentRoot::decode(&other, 9, Offset::new(40)).is_err(), "byte {at}");
            assert!(SegmentRoot::decode(&bytes[..at], 9, Offset::new(40)).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_root_without_batches_or_of_other_records_is_refused() {
        let none = SegmentRoot { batches: 5..5, ..root() };
        let field = |field| Err(FormatError::Field { field });
        assert_eq!(SegmentRoot::decode(&none.encode(9), 9, Offset::new(40)), field("batches"));
        let more = SegmentRoot { offsets: Offset::new(40)..Offset::new(47), ..root() };
        assert_eq!(SegmentRoot::decode(&more.encode(9), 9, Offset::new(40)), field("records"));
    }

    #[test]
    fn golden_segment_root() {
        let bytes = root().encode(9);
        assert_eq!(crate::golden_tests::check("segment_root", &bytes), bytes);
    }
}
