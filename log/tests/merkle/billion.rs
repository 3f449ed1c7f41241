//! A billion batches, of which none is stored: equal leaves make equal nodes on every level.

use pyralog_log::ids::Offset;
use pyralog_log::merkle::{
    ConsistencyProof, Descent, Hash, Node, Root, bag, consistency_ranges, cover, join, leaf,
};

const BATCHES: u64 = 1_000_000_000;
const RECORDS: u64 = 1000;

/// The node of every height.
fn levels() -> Vec<Node> {
    let mut levels = vec![leaf(Hash::default(), RECORDS)];
    for height in 0..62 {
        levels.push(join(levels[height], levels[height]));
    }
    levels
}

fn over(levels: &[Node], leaves: std::ops::Range<u64>) -> Node {
    let nodes: Vec<Node> = cover(leaves).iter().map(|id| levels[id.height as usize]).collect();
    bag(&nodes)
}

#[test]
fn a_record_of_a_trillion_is_proven_with_thirty_one_hashes() {
    let levels = levels();
    let root = Root { size: BATCHES, node: over(&levels, 0..BATCHES) };
    assert_eq!(root.node.records, BATCHES * RECORDS);
    for index in [0, 1, BATCHES / 3, BATCHES - 2, BATCHES - 1] {
        let offset = Offset::new(index * RECORDS + 17);
        let mut descent = Descent::new(BATCHES, offset).unwrap();
        let mut reads = 0;
        while !descent.wanted().is_empty() {
            let nodes: Vec<Node> =
                descent.wanted().iter().map(|id| levels[id.height as usize]).collect();
            reads += nodes.len();
            descent.take(&nodes).unwrap();
        }
        let located = descent.finish().unwrap();
        assert_eq!(located.place.index, index);
        // One hash a step, and the leaf: that is all that a verifier does besides hashing the batch.
        assert!(located.proof.steps.len() < 31, "{} steps", located.proof.steps.len());
        assert!(reads <= 30 + 2 * 30, "{reads} nodes read");
        assert_eq!(located.proof.verify(&root, offset, Hash::default()), Ok(located.place));
    }
}

#[test]
fn two_roots_of_a_billion_are_compared_with_thirty_one_hashes() {
    let levels = levels();
    for first in [1, 999_999_999, 1 << 29, 123_456_789] {
        let ranges = consistency_ranges(first, BATCHES);
        let nodes: Vec<Node> = ranges.into_iter().map(|range| over(&levels, range)).collect();
        assert!(nodes.len() <= 31, "{} nodes", nodes.len());
        let proof = ConsistencyProof { nodes };
        let root = |size| Root { size, node: over(&levels, 0..size) };
        assert_eq!(proof.verify(&root(first), &root(BATCHES)), Ok(()));
    }
}
