//! An append is in the log once, however often it was sent.
//!
//! - With a session, the server recognises a repetition and answers it with the first one's offsets. So at no moment is
//!   an append at two places. It may be seen at two places one after the other, if a recovery cut the first: the
//!   session's memory is made from the log and goes with it.
//! - Without a session, each attempt may leave a copy, and no more than one. So there are at most as many places as
//!   attempts. This holds with a session as well.
//! - One answer to a read is one moment, at which an append of a session has one place.
//!
//! Damage that is reported takes a copy from its place as well, and with it the session's memory of it: an append without
//! an answer that is sent again after that is taken again, and readers find it once.
//!
//! Exact: places are told by acknowledgements and reads; two of them are lawful if and only if some end of the process in
//! between may have cut the earlier one (see `evidence`).

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Evidence, Fact, Partition, Sighting, covers, merged};
use super::{Violation, violation};
use crate::history::Kind;

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for partition in evidence.partitions.values() {
        for (append, facts) in of_more_than_one_place(partition) {
            too_many_copies(evidence, append, &facts, &mut violations);
            if evidence.appends[append].idempotent {
                copies(evidence, partition, &facts, &mut violations);
            }
        }
    }
    twice_in_an_answer(evidence, &mut violations);
    violations
}

/// The appends that were seen at more than one place, with their facts by event.
fn of_more_than_one_place(partition: &Partition) -> BTreeMap<usize, Vec<Fact>> {
    let mut first: BTreeMap<usize, u64> = BTreeMap::new();
    let facts = partition.facts.iter();
    let moved: BTreeSet<usize> = facts
        .filter(|fact| *first.entry(fact.append).or_insert(fact.base) != fact.base)
        .map(|fact| fact.append)
        .collect();
    let mut found: BTreeMap<usize, Vec<Fact>> = BTreeMap::new();
    for fact in partition.facts.iter().filter(|fact| moved.contains(&fact.append)) {
        found.entry(fact.append).or_default().push(*fact);
    }
    found
}

fn too_many_copies(
    evidence: &Evidence<'_>,
    append: usize,
    facts: &[Fact],
    violations: &mut Vec<Violation>,
) {
    let places: BTreeSet<u64> = facts.iter().map(|fact| fact.base).collect();
    let attempts = evidence.appends[append].sent.len();
    if places.len() > attempts {
        let what = format!(
            "{} was sent {attempts} times and is at {} places: {places:?}",
            evidence.name(append),
            places.len()
        );
        let events = facts.iter().map(Fact::event);
        violations.push(violation("duplicates", evidence, events, what));
    }
}

fn copies(
    evidence: &Evidence<'_>,
    partition: &Partition,
    facts: &[Fact],
    violations: &mut Vec<Violation>,
) {
    for (one, next) in facts.iter().zip(facts.iter().skip(1)) {
        let moved = one.base != next.base;
        if moved && !partition.may_follow_in_some_order(one, next) && !is_hidden(partition, one) {
            let what = format!(
                "{} is in {} twice, at {} and at {}",
                evidence.name(one.append),
                partition.place,
                one.base,
                next.base
            );
            let events = [one.event(), next.event()];
            violations.push(violation("duplicates", evidence, events, what));
        }
    }
}

/// Whether what a fact tells is reported as damaged.
fn is_hidden(partition: &Partition, fact: &Fact) -> bool {
    let reports = partition.reports.iter().map(|(_, range)| range.clone());
    covers(&merged(reports), &(fact.base..fact.end))
}

fn twice_in_an_answer(evidence: &Evidence<'_>, violations: &mut Vec<Violation>) {
    for (event, sightings) in &evidence.sightings {
        if !matches!(evidence.events()[*event].kind, Kind::Read(_)) {
            continue; // A final read is many answers.
        }
        let mut seen: BTreeMap<usize, Option<u64>> = BTreeMap::new();
        for sighting in sightings {
            let (append, base) = (sighting.append, Sighting::base(sighting));
            let first = *seen.entry(append).or_insert(base);
            if first != base && evidence.appends[append].idempotent {
                let what = format!("{} is twice in one answer", evidence.name(append));
                violations.push(violation("duplicates", evidence, [*event], what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{End, Kind, Level};
    use crate::oracle::story::Story;

    #[test]
    fn a_retry_that_left_a_second_copy_is_a_violation() {
        let mut story = Story::new();
        let append = story.append(2);
        story.sent(append);
        story.acked(append, 0);
        story.read(&[(append, 0), (append, 2)]);
        story.assert_guilty("duplicates", "twice, at 0 and at 2");
        story.assert_guilty("duplicates", "twice in one answer");
    }

    #[test]
    fn a_second_copy_after_an_end_that_spared_the_first_is_a_violation() {
        let mut story = Story::new();
        let append = story.append(2);
        story.read(&[(append, 0)]);
        story.end(End::Process);
        story.sent(append);
        story.acked(append, 2);
        story.assert_guilty("duplicates", "twice, at 0 and at 2");
    }

    #[test]
    fn a_retry_of_what_a_recovery_cut_is_appended_again() {
        let mut story = Story::of(Level::Memory);
        let (one, append) = (story.append(1), story.append(2));
        story.acked(one, 0);
        story.read(&[(one, 0), (append, 1)]);
        story.end(End::Power);
        story.sent(append);
        story.acked(append, 0);
        story.final_read(&[(append, 0)]);
        story.assert_clean();
    }

    #[test]
    fn a_retry_of_what_a_recovery_kept_is_answered_with_its_place() {
        let mut story = Story::new();
        let append = story.append(2);
        story.end(End::Power);
        story.sent(append);
        story.duplicate(append, 0);
        story.final_read(&[(append, 0)]);
        story.assert_clean();
    }

    #[test]
    fn a_copy_that_is_reported_as_damaged_is_none() {
        let mut story = Story::new();
        let append = story.append(2);
        story.read(&[(append, 0)]);
        story.strike("bit rot");
        story.end(End::Process);
        let place = story.place();
        story.push(Kind::DamageReported { place, range: 0..2 });
        story.sent(append);
        story.acked(append, 2);
        story.final_read_without(&[(append, 2)], &[(0, 2)]);
        story.assert_clean();
    }

    #[test]
    fn without_a_session_each_attempt_may_leave_a_copy_and_no_more() {
        let mut story = Story::new();
        let append = story.raw(1);
        story.sent(append);
        story.acked(append, 0);
        story.read(&[(append, 0), (append, 1)]);
        story.assert_clean();
        story.read(&[(append, 0), (append, 1), (append, 2)]);
        story.assert_guilty("duplicates", "sent 2 times and is at 3 places");
    }
}
