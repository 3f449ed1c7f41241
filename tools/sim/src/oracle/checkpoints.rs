//! All checkpoints of a partition that anybody ever sees are of one tree that grows.
//!
//! - A tree never has fewer batches than one that was seen before the question, nor ends at an earlier offset: a checkpoint
//!   covers what is synced, so no crash and no loss of power takes anything of it back. It is kept before it is shown.
//! - Two trees of one size have one root and one end, whoever saw them and whenever; a larger one ends later.
//! - A client that follows is given the proofs that the trust machine of the shipped client asks for (RFC 9162), and none of its
//!   checks fails.
//! - What a checkpoint covers stays readable: the high watermark never lies before its end.
//!
//! Exact, by the cluster that a checkpoint names, as long as nothing silently damaged the files of the partition: then its
//! tree may be old, or be gone, and nothing is said.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Window};
use super::{Violation, violation};
use crate::history::{CheckpointSeen, Kind, Place, Target};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut trees: BTreeMap<(u64, Place), Tree> = BTreeMap::new();
    let is_hurt = |place: Place| {
        let struck = Target::Partition(place);
        evidence
            .numbered()
            .any(|(_, entry)| matches!(entry.kind, Kind::Struck { target, .. } if target == struck))
    };
    for (event, entry) in evidence.numbered() {
        match &entry.kind {
            Kind::CheckpointSeen(seen) if !is_hurt(seen.place) => {
                let tree = trees.entry((seen.cluster, seen.place)).or_default();
                if let Some((other, what)) = tree.add(event, seen) {
                    violations.push(violation("checkpoints", evidence, [other, event], what));
                }
            }
            Kind::Distrusted { place, problem, .. } if !is_hurt(*place) => {
                let what = format!("a checkpoint of {place} is not believed: {problem}");
                violations.push(violation("checkpoints", evidence, [event], what));
            }
            _ => {}
        }
    }
    for ((_, place), tree) in &trees {
        uncovered(evidence, *place, tree, &mut violations);
    }
    violations
}

/// The checkpoints of one partition.
#[derive(Default)]
struct Tree {
    /// By size: the event that first told it, and what it told.
    by_size: BTreeMap<u64, (usize, u64, [u8; 32])>,
    /// By event: the largest size until then.
    largest: Vec<(usize, u64)>,
    /// By size: when the question was asked that first told it.
    asked: BTreeMap<u64, usize>,
}

impl Tree {
    /// Adds a checkpoint; returns what is wrong with it, and the event that it disagrees with.
    fn add(&mut self, event: usize, seen: &CheckpointSeen) -> Option<(usize, String)> {
        let CheckpointSeen { begun, place, tree_size, end, root, .. } = *seen;
        let before = self.largest.partition_point(|(at, _)| *at < begun.0);
        if let Some((known, size)) = before.checked_sub(1).map(|at| self.largest[at])
            && tree_size < size
        {
            let what =
                format!("the tree of {place} has {tree_size} batches, and had {size} before");
            return Some((known, what));
        }
        let (known, known_end, known_root) =
            *self.by_size.entry(tree_size).or_insert((event, end, root));
        if (known_end, known_root) != (end, root) {
            let what = format!("there are two trees of {tree_size} batches of {place}");
            return Some((known, what));
        }
        let smaller = self.by_size.range(..tree_size).next_back();
        let larger = self.by_size.range(tree_size + 1..).next();
        let wrong = smaller.filter(|(_, (_, other, _))| *other >= end);
        if let Some((size, (known, ..))) =
            wrong.or(larger.filter(|(_, (_, other, _))| *other <= end))
        {
            let what = format!(
                "the trees of {place} of {size} and of {tree_size} batches do not end one after the other"
            );
            return Some((*known, what));
        }
        self.asked.entry(tree_size).or_insert(begun.0);
        if self.largest.last().is_none_or(|(_, size)| *size < tree_size) {
            self.largest.push((event, tree_size));
        }
        None
    }
}

/// Ranges that end before what a checkpoint covered.
fn uncovered(evidence: &Evidence<'_>, place: Place, tree: &Tree, violations: &mut Vec<Violation>) {
    for (known, size) in &tree.largest {
        let (_, end, _) = tree.by_size[size];
        // An answer may come after everything that the server had is gone.
        let asked = Window { since: tree.asked[size], until: *known };
        let Some(life) = evidence.life_of(asked) else { continue };
        let Some(partition) = evidence.partitions.get(&(life, place)) else { continue };
        let behind =
            partition.ranges.iter().find(|range| range.window.since > *known && range.high < end);
        if let Some(range) = behind {
            let what = format!(
                "{place} ends at {}, and a checkpoint had covered it up to {end}",
                range.high
            );
            violations.push(violation("checkpoints", evidence, [*known, range.window.until], what));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{CheckpointSeen, Kind};
    use crate::oracle::story::Story;

    fn seen(story: &mut Story, (tree_size, end): (u64, u64), mark: u8) {
        let (begun, place) = (story.mark(), story.place());
        let root = [mark; 32];
        let seen = CheckpointSeen { begun, place, cluster: 1, tree_size, end, root };
        story.push(Kind::CheckpointSeen(seen));
    }

    #[test]
    fn one_tree_that_grows_is_right() {
        let mut story = Story::new();
        seen(&mut story, (1, 4), 1);
        seen(&mut story, (1, 4), 1);
        seen(&mut story, (3, 9), 2);
        story.assert_clean();
    }

    #[test]
    fn a_tree_that_shrinks_is_a_violation_unless_it_was_asked_for_before() {
        let mut story = Story::new();
        seen(&mut story, (1, 4), 1);
        let late = story.mark();
        seen(&mut story, (3, 9), 2);
        let place = story.place();
        let root = [1; 32];
        let old = CheckpointSeen { begun: late, place, cluster: 1, tree_size: 1, end: 4, root };
        story.push(Kind::CheckpointSeen(old));
        story.assert_clean();
        seen(&mut story, (1, 4), 1);
        story.assert_guilty("checkpoints", "has 1 batches, and had 3 before");
    }

    #[test]
    fn two_roots_of_one_size_are_a_violation_and_another_cluster_is_another_tree() {
        let mut story = Story::new();
        seen(&mut story, (1, 4), 1);
        let (begun, place) = (story.mark(), story.place());
        let other =
            CheckpointSeen { begun, place, cluster: 2, tree_size: 1, end: 4, root: [9; 32] };
        story.push(Kind::CheckpointSeen(other));
        story.assert_clean();
        seen(&mut story, (1, 4), 2);
        story.assert_guilty("checkpoints", "two trees of 1 batches");
    }

    #[test]
    fn a_larger_tree_that_does_not_end_later_is_a_violation() {
        let mut story = Story::new();
        seen(&mut story, (1, 4), 1);
        seen(&mut story, (2, 4), 2);
        story.assert_guilty("checkpoints", "do not end one after the other");
    }

    #[test]
    fn what_is_not_believed_is_a_violation_unless_files_were_damaged() {
        let mut story = Story::new();
        let (begun, place) = (story.mark(), story.place());
        let mut hurt = story.clone();
        let distrusted = Kind::Distrusted { begun, place, problem: "it was rolled back".into() };
        story.push(distrusted.clone());
        story.assert_guilty("checkpoints", "rolled back");
        hurt.strike("lost write");
        hurt.push(distrusted);
        hurt.assert_clean();
    }

    #[test]
    fn an_answer_that_comes_after_everything_is_gone_is_of_the_life_before() {
        let mut story = Story::new();
        story.wrote(4, 0);
        let (begun, place) = (story.mark(), story.place());
        story.wipe();
        story.create();
        let late = CheckpointSeen { begun, place, cluster: 1, tree_size: 1, end: 4, root: [1; 32] };
        story.push(Kind::CheckpointSeen(late));
        story.watermarks(0, 0);
        story.assert_clean();
    }

    #[test]
    fn a_log_that_ends_before_its_checkpoint_is_a_violation() {
        let mut story = Story::new();
        story.wrote(4, 0);
        seen(&mut story, (1, 4), 1);
        story.watermarks(0, 4);
        story.assert_clean();
        seen(&mut story, (2, 6), 2);
        story.watermarks(0, 5);
        story.assert_guilty("checkpoints", "covered it up to 6");
    }
}
