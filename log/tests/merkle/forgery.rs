//! What a forger may try: none of it is accepted.

use pyralog_log::ids::Offset;
use pyralog_log::merkle::{
    ConsistencyProof, Hash, InclusionProof, Node, ProofError, Root, Step, join, leaf,
};

use crate::model::{Tree, batch, records};

/// Numbers from a seed, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}

/// Changes bytes: one bit, several bytes, cuts, grows, swaps two steps, repeats one.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let len = bytes.len();
    match dice.below(6) {
        0 => bytes[dice.index(len)] ^= 1 << dice.below(8),
        1 => (0..4).for_each(|_| bytes[dice.index(len)] = u8::try_from(dice.below(256)).unwrap()),
        2 => bytes.truncate(dice.index(len)),
        3 => bytes.extend_from_slice(&[0; 40][..=dice.index(39)]),
        4 if len > 81 => {
            let (a, b) = (1 + 40 * dice.index(len / 40), 1 + 40 * dice.index(len / 40));
            for at in 0..40 {
                bytes.swap(a + at, b + at);
            }
        }
        _ => {
            let step: Vec<u8> = bytes[len.saturating_sub(40)..].to_vec();
            bytes.extend_from_slice(&step);
            bytes[0] = bytes[0].wrapping_add(1);
        }
    }
}

#[test]
fn ten_thousand_mutations_of_inclusion_proofs_are_refused() {
    let tree = Tree::new(300);
    let mut dice = Dice(7);
    let mut tried = 0;
    while tried < 10_000 {
        let size = 2 + dice.below(299);
        let root = tree.root(size);
        let offset = dice.below(root.node.records);
        let located = tree.locate(size, offset);
        let good = located.proof.encode();
        let mut bytes = good.clone();
        mutate(&mut bytes, &mut dice);
        if bytes == good {
            continue;
        }
        tried += 1;
        let hash = batch(located.place.index);
        let verified = InclusionProof::decode(&bytes)
            .and_then(|proof| proof.verify(&root, Offset::new(offset), hash));
        assert!(verified.is_err(), "size {size}, offset {offset}: {bytes:02x?}");
    }
}

#[test]
fn ten_thousand_mutations_of_what_is_to_be_proven_are_refused() {
    let tree = Tree::new(300);
    let mut dice = Dice(11);
    for _ in 0..10_000 {
        let size = 1 + dice.below(300);
        let root = tree.root(size);
        let offset = dice.below(root.node.records);
        let located = tree.locate(size, offset);
        let mut hash = *batch(located.place.index).as_bytes();
        let (mut forged, mut asked) = (root, offset);
        match dice.below(4) {
            0 => hash[dice.index(32)] ^= 1 << dice.below(8),
            1 => forged.node.hash = batch(dice.below(300)),
            2 => forged.node.records += 1 + dice.below(9),
            _ => {
                asked =
                    (located.place.offsets.end.get() + dice.below(300)) % (root.node.records + 300);
            }
        }
        let is_same = (forged, Hash::new(hash)) == (root, batch(located.place.index))
            && located.place.offsets.contains(&Offset::new(asked));
        let verified = located.proof.verify(&forged, Offset::new(asked), Hash::new(hash));
        assert_eq!(verified.is_ok(), is_same, "size {size}, offset {offset}, asked {asked}");
    }
}

#[test]
fn ten_thousand_mutations_of_consistency_proofs_are_refused() {
    let tree = Tree::new(300);
    let mut dice = Dice(13);
    let mut tried = 0;
    while tried < 10_000 {
        let second = 2 + dice.below(299);
        let first = 1 + dice.below(second);
        let good = tree.consistency(first, second).encode();
        let mut bytes = good.clone();
        mutate(&mut bytes, &mut dice);
        if bytes == good {
            continue;
        }
        tried += 1;
        let (old, new) = (tree.root(first), tree.root(second));
        let verified = ConsistencyProof::decode(&bytes).and_then(|proof| proof.verify(&old, &new));
        assert!(verified.is_err(), "{first} and {second}: {bytes:02x?}");
    }
}

#[test]
fn a_last_batch_that_is_there_twice_makes_another_root() {
    // The shape of CVE-2012-2459: a tree that pairs an odd node with itself has one root for both.
    for size in [1, 3, 5, 6, 7] {
        let tree = Tree::new(size);
        let mut doubled = Tree::new(size);
        doubled.push(leaf(batch(size - 1), records(size - 1)));
        assert_ne!(tree.root(size).node, doubled.root(size + 1).node, "{size}");
        assert_ne!(tree.root(size).node.hash, doubled.root(size + 1).node.hash, "{size}");
    }
}

#[test]
fn an_inner_node_is_not_taken_for_a_batch() {
    let tree = Tree::new(4);
    let root = tree.root(4);
    // The node over the first two batches as if it were one leaf of a tree of three.
    let inner = tree.over(0..2);
    let forged = Root { size: 2, node: root.node };
    let step = Step { sibling: tree.over(2..4).hash, left_records: inner.records };
    let proof = InclusionProof { steps: vec![step] };
    assert_eq!(proof.verify(&forged, Offset::ZERO, inner.hash), Err(ProofError::Root));
    // And bytes that hash, as a batch, to what an inner node hashes: the contexts differ.
    let mut bytes = tree.leaves[0].encode().to_vec();
    bytes.extend_from_slice(&tree.leaves[1].encode());
    let as_batch = Hash::new(*blake3::hash(&bytes).as_bytes());
    assert_ne!(as_batch, inner.hash);
    assert_ne!(leaf(as_batch, inner.records).hash, inner.hash);
}

#[test]
fn counts_that_say_another_offset_are_refused() {
    let tree = Tree::new(8);
    let root = tree.root(8);
    let located = tree.locate(8, 9);
    // One record is moved from the right to the left, at every step: the batch then seems to hold other offsets.
    for at in 0..located.proof.steps.len() {
        for moved in [-1_i64, 1] {
            let mut proof = located.proof.clone();
            proof.steps[at].left_records = proof.steps[at].left_records.wrapping_add_signed(moved);
            for offset in 0..root.node.records {
                for index in 0..8 {
                    let verified = proof.verify(&root, Offset::new(offset), batch(index));
                    assert!(
                        verified.is_err(),
                        "step {at}, {moved}, offset {offset}, batch {index}"
                    );
                }
            }
        }
    }
    // A left side with no records, or with all of them, is impossible whatever hashes it has.
    for left_records in [0, root.node.records, u64::MAX] {
        let step = Step { sibling: Hash::default(), left_records };
        let proof = InclusionProof { steps: vec![step; 3] };
        assert_eq!(proof.verify(&root, Offset::ZERO, batch(0)), Err(ProofError::Counts));
    }
}

#[test]
fn sums_beyond_the_range_are_no_records_at_all() {
    let huge = Node { hash: Hash::default(), records: u64::MAX };
    assert_eq!(join(huge, huge).records, u64::MAX);
    let proof = ConsistencyProof { nodes: vec![huge; 3] };
    let tree = Tree::new(5);
    assert!(proof.verify(&tree.root(3), &tree.root(4)).is_err());
    let root = Root { size: u64::MAX, node: huge };
    assert_eq!(
        InclusionProof::default().verify(&root, Offset::ZERO, batch(0)),
        Err(ProofError::Size)
    );
    assert_eq!(proof.verify(&tree.root(3), &root), Err(ProofError::Size));
}

#[test]
fn a_tree_without_batches_has_no_records_whatever_its_root_says() {
    let root = Root { size: 0, node: Node { hash: batch(1), records: 5 } };
    let step = Step { sibling: batch(2), left_records: 2 };
    for steps in [vec![step], vec![step; 63], vec![]] {
        let proof = InclusionProof { steps };
        let found = proof.verify(&root, Offset::new(3), batch(1));
        assert_eq!(found, Err(ProofError::Size), "{} steps", proof.steps.len());
    }
}

#[test]
fn roots_of_absurd_sizes_make_nobody_panic_and_prove_nothing() {
    let extremes =
        [0, 1, 2, 3, 5, 1 << 32, (1 << 62) - 1, 1 << 62, (1 << 62) + 1, u64::MAX - 1, u64::MAX];
    let node = |records| Node { hash: batch(1), records };
    for size in extremes {
        for records in extremes {
            let root = Root { size, node: node(records) };
            for left_records in extremes {
                for count in [0, 1, 2, 31, 62, 63, 64] {
                    let step = Step { sibling: batch(2), left_records };
                    let way = InclusionProof { steps: vec![step; count] };
                    for offset in extremes {
                        assert!(way.verify(&root, Offset::new(offset), batch(1)).is_err());
                        assert!(!way.leads(&root, Offset::new(offset), node(offset)), "{root:?}");
                        // Whatever it says, it must not panic.
                        let before = way.before(&root, Offset::new(offset));
                        assert!(before.is_none_or(|before| before.size() < size));
                    }
                    let proof = ConsistencyProof { nodes: vec![node(left_records); count] };
                    let other = Root { size: left_records, node: node(records) };
                    let same =
                        other == root && count == 0 && size > 0 && size <= records.min(1 << 62);
                    assert_eq!(proof.verify(&root, &other).is_ok(), same, "{root:?} {other:?}");
                }
            }
        }
    }
}
