//! Roots, node numbers and proofs of every shape against the definitions.

use pyralog_log::ids::Offset;
use pyralog_log::merkle::{
    ConsistencyProof, Descent, Frontier, Hash, InclusionProof, NodeId, ProofError, Root, Step,
    cover, nodes_before,
};
use quickcheck::{QuickCheck, TestResult};

use crate::model::{Tree, batch, root_of};

/// Every size up to 20, and what lies about powers of two.
fn sizes() -> Vec<u64> {
    let mut sizes: Vec<u64> = (0..=20).collect();
    for height in 5..=9 {
        sizes.extend([(1 << height) - 1, 1 << height, (1 << height) + 1]);
    }
    sizes
}

#[test]
fn the_root_of_every_size_is_that_of_the_definition_then_and_later() {
    let whole = Tree::new(513);
    for size in sizes() {
        let leaves = &whole.leaves[..usize::try_from(size).unwrap()];
        let expected = Root { size, node: root_of(leaves) };
        assert_eq!(Tree::new(size).frontier.root(), expected, "as it was, {size}");
        assert_eq!(whole.root(size), expected, "from stored nodes, {size}");
    }
}

#[test]
fn nodes_are_numbered_in_the_order_in_which_they_become_complete() {
    let mut expected = 0;
    for index in 0..1000_u64 {
        assert_eq!(nodes_before(index), expected, "before leaf {index}");
        for height in 0..=index.trailing_ones() {
            let id = NodeId { height, index: index >> height };
            assert_eq!(id.number(), expected, "{id:?}");
            expected += 1;
        }
    }
}

#[test]
fn a_cover_is_the_range_without_gap_or_overlap() {
    for start in 0..40 {
        for end in start..80 {
            let mut at = start;
            for id in cover(start..end) {
                assert_eq!(id.leaves().start, at, "{start}..{end}");
                at = id.leaves().end;
            }
            assert_eq!(at, end, "{start}..{end}");
        }
    }
}

#[test]
fn a_frontier_goes_on_from_its_peaks() {
    let whole = Tree::new(100);
    for size in 0..100 {
        let peaks = cover(0..size).iter().map(|id| whole.node(id.number())).collect();
        let mut frontier = Frontier::from_peaks(size, peaks).unwrap();
        let mut completed = Vec::new();
        for leaf in &whole.leaves[usize::try_from(size).unwrap()..] {
            frontier.append(*leaf, &mut completed);
        }
        assert_eq!(frontier, whole.frontier);
        assert_eq!(completed, whole.nodes[usize::try_from(nodes_before(size)).unwrap()..]);
    }
    assert_eq!(Frontier::from_peaks(3, vec![whole.leaves[0]]), None);
}

#[test]
fn every_offset_of_every_size_is_proven_with_its_place() {
    let whole = Tree::new(129);
    for size in sizes().into_iter().filter(|size| (1..=129).contains(size)) {
        let root = whole.root(size);
        for offset in 0..root.node.records {
            let located = whole.locate(size, offset);
            let place = located.place;
            let (offset, decoded) =
                (Offset::new(offset), InclusionProof::decode(&located.proof.encode()));
            assert!(place.offsets.contains(&offset), "{offset} of {size}");
            assert_eq!(decoded, Ok(located.proof.clone()));
            assert_eq!(located.proof.verify(&root, offset, batch(place.index)), Ok(place));
        }
        let end = Offset::new(root.node.records);
        let beyond = Err(ProofError::Beyond { offset: end, end });
        let last = whole.locate(size, end.get() - 1);
        assert_eq!(last.proof.verify(&root, end, batch(size - 1)), beyond);
    }
    let beyond = ProofError::Beyond { offset: Offset::ZERO, end: Offset::ZERO };
    assert_eq!(Descent::new(0, Offset::ZERO).err(), Some(beyond));
}

#[test]
fn the_way_to_a_batch_holds_the_peaks_of_the_tree_before_it() {
    for size in sizes().into_iter().filter(|size| (1..70).contains(size)) {
        let tree = Tree::new(size);
        let root = tree.root(size);
        for offset in 0..root.node.records {
            let located = tree.locate(size, offset);
            let before = located.proof.before(&root, Offset::new(offset)).unwrap();
            assert_eq!(before.root(), tree.root(located.place.index), "offset {offset} of {size}");
            assert!(located.proof.leads(&root, Offset::new(offset), located.leaf));
            let mut longer = located.proof.clone();
            longer.steps.push(Step { sibling: Hash::default(), left_records: 1 });
            assert_eq!(longer.before(&root, Offset::new(offset)), None, "a step too many");
        }
    }
}

#[test]
fn a_proof_of_one_offset_proves_its_own_batch_and_no_other() {
    let tree = Tree::new(23);
    let root = tree.root(23);
    for offset in 0..root.node.records {
        let located = tree.locate(23, offset);
        for asked in 0..root.node.records {
            for index in 0..23 {
                let is_true = located.place.offsets.contains(&Offset::new(asked))
                    && index == located.place.index;
                let accepted =
                    located.proof.verify(&root, Offset::new(asked), batch(index)).is_ok();
                assert_eq!(accepted, is_true, "proof of {offset}, offset {asked}, batch {index}");
            }
        }
    }
}

#[test]
fn every_pair_of_sizes_is_proven_consistent_and_of_nothing_else() {
    let whole = Tree::new(66);
    for second in 0..=66 {
        for first in 0..=second {
            let proof = whole.consistency(first, second);
            let (old, new) = (whole.root(first), whole.root(second));
            assert_eq!(proof.verify(&old, &new), Ok(()), "{first} and {second}");
            assert_eq!(ConsistencyProof::decode(&proof.encode()), Ok(proof.clone()));
            if first < second {
                assert_eq!(
                    proof.verify(&new, &old),
                    Err(ProofError::Size),
                    "{second} before {first}"
                );
            }
            // The proof of another pair is none of this one.
            for (m, n) in [(first + 1, second), (first, second + 1), (first / 2, second)] {
                let differs = (m, n) != (first, second) && m <= n && n <= 66 && m > 0 && first > 0;
                if differs {
                    assert!(
                        proof.verify(&whole.root(m), &whole.root(n)).is_err(),
                        "{first} {second} {m} {n}"
                    );
                }
            }
        }
    }
}

#[test]
fn random_pairs_of_sizes_are_consistent_and_forks_are_not() {
    fn property(first: u16, more: u16, fork: u16) -> TestResult {
        let (first, second) =
            (u64::from(first % 700), u64::from(first % 700) + u64::from(more % 700));
        let tree = Tree::new(second);
        let (old, new) = (tree.root(first), tree.root(second));
        let proof = tree.consistency(first, second);
        if proof.verify(&old, &new).is_err() {
            return TestResult::failed();
        }
        if first == 0 {
            return TestResult::discard();
        }
        // The same tree, but one of the first leaves is another.
        let mut other = Tree::default();
        for (index, leaf) in tree.leaves.iter().enumerate() {
            let is_forked = index as u64 == u64::from(fork) % first;
            let forged = pyralog_log::merkle::leaf(batch(u64::MAX), leaf.records);
            other.push(if is_forked { forged } else { *leaf });
        }
        let theirs = other.consistency(first, second);
        let mixed =
            [theirs.verify(&old, &other.root(second)), proof.verify(&other.root(first), &new)];
        TestResult::from_bool(mixed.iter().all(Result::is_err))
    }
    QuickCheck::new().tests(200).quickcheck(property as fn(u16, u16, u16) -> TestResult);
}
