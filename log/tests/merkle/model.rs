//! A tree that keeps all of its nodes, and the definitions of RFC 9162 as they are written.

use pyralog_log::ids::Offset;
use pyralog_log::merkle::{
    ConsistencyProof, Descent, Frontier, Hash, Located, Node, Root, bag, consistency_ranges, cover,
    join, leaf,
};

/// The hash of the batch with an index: any that differs from the others does.
pub(crate) fn batch(index: u64) -> Hash {
    Hash::new(*blake3::hash(format!("batch {index}").as_bytes()).as_bytes())
}

/// How many records it has.
pub(crate) fn records(index: u64) -> u64 {
    1 + index * 7 % 5
}

/// The root by definition.
pub(crate) fn root_of(leaves: &[Node]) -> Node {
    match leaves {
        [] => Node::empty(),
        [leaf] => *leaf,
        _ => {
            let middle = leaves.len().next_power_of_two() / 2;
            join(root_of(&leaves[..middle]), root_of(&leaves[middle..]))
        }
    }
}

/// A tree with everything that a node file holds.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) frontier: Frontier,
    pub(crate) nodes: Vec<Node>,
    pub(crate) leaves: Vec<Node>,
}

impl Tree {
    pub(crate) fn new(size: u64) -> Self {
        let mut tree = Self::default();
        for index in 0..size {
            tree.push(leaf(batch(index), records(index)));
        }
        tree
    }

    pub(crate) fn push(&mut self, leaf: Node) {
        self.leaves.push(leaf);
        self.frontier.append(leaf, &mut self.nodes);
    }

    pub(crate) fn node(&self, number: u64) -> Node {
        self.nodes[usize::try_from(number).unwrap()]
    }

    /// The root over a range of leaves, from stored nodes.
    pub(crate) fn over(&self, leaves: std::ops::Range<u64>) -> Node {
        let nodes: Vec<Node> = cover(leaves).iter().map(|id| self.node(id.number())).collect();
        bag(&nodes)
    }

    pub(crate) fn root(&self, size: u64) -> Root {
        Root { size, node: self.over(0..size) }
    }

    pub(crate) fn locate(&self, size: u64, offset: u64) -> Located {
        let mut descent = Descent::new(size, Offset::new(offset)).unwrap();
        while !descent.wanted().is_empty() {
            let nodes: Vec<Node> =
                descent.wanted().iter().map(|id| self.node(id.number())).collect();
            descent.take(&nodes).unwrap();
        }
        descent.finish().unwrap()
    }

    pub(crate) fn consistency(&self, first: u64, second: u64) -> ConsistencyProof {
        let ranges = consistency_ranges(first, second);
        ConsistencyProof { nodes: ranges.into_iter().map(|range| self.over(range)).collect() }
    }
}
