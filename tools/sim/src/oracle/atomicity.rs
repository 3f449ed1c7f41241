//! The records of an append are in the log all or not at all, next to each other, in order.
//!
//! All batches of an append are taken or none (docs/PROTOCOL.md), at once, so nothing comes between them. They are
//! written in one group, and a recovery keeps a group or cuts it; eviction and visibility go by groups as well. Only
//! damage takes single batches out of a group.
//!
//! So wherever two neighbouring offsets are read, the second record is the next of the same append, or the first is the
//! last of its append and the second the first of its own; what is visible ends with the last record of an append and
//! begins with the first of one. Exact but next to damage, where nothing is said.

use super::evidence::{Evidence, Sighting};
use super::{Violation, violation};
use crate::history::{FinalRead, Kind, Read};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (event, sightings) in &evidence.sightings {
        for sighting in sightings.iter().filter(|sighting| sighting.base().is_none()) {
            let what = format!(
                "record {} of {} is at {}: there is no room before it",
                sighting.first,
                evidence.name(sighting.append),
                sighting.offset
            );
            violations.push(violation("atomicity", evidence, [*event], what));
        }
        for (one, next) in sightings.iter().zip(sightings.iter().skip(1)) {
            if next.offset == one.offset + one.len {
                ends(evidence, *event, one, &mut violations);
                begins(evidence, *event, next, &mut violations);
            }
        }
        edges(evidence, *event, sightings, &mut violations);
    }
    violations
}

/// What is visible begins and ends with whole appends.
fn edges(
    evidence: &Evidence<'_>,
    event: usize,
    sightings: &[Sighting],
    violations: &mut Vec<Violation>,
) {
    let (low, high, damaged) = match &evidence.events()[event].kind {
        Kind::Read(Read { low, high, .. }) => (*low, *high, &[][..]),
        Kind::FinalRead(FinalRead { low, high, damaged, .. }) => (*low, *high, damaged.as_slice()),
        _ => return,
    };
    if let Some(first) = sightings.first()
        && first.offset == low
        && !damaged.iter().any(|range| range.end == low)
        && !is_truncated(evidence, event)
    {
        begins(evidence, event, first, violations);
    }
    if let Some(last) = sightings.last()
        && last.offset + last.len == high
    {
        ends(evidence, event, last, violations);
    }
}

/// Whether somebody asked for a truncation of the partition of a read: that may be in the middle of an append.
fn is_truncated(evidence: &Evidence<'_>, event: usize) -> bool {
    let place = match &evidence.events()[event].kind {
        Kind::Read(read) => read.place,
        Kind::FinalRead(read) => read.place,
        _ => return false,
    };
    let partitions = evidence.partitions.iter().filter(|((_, of), _)| *of == place);
    partitions.into_iter().any(|(_, partition)| !partition.truncations.is_empty())
}

fn begins(
    evidence: &Evidence<'_>,
    event: usize,
    sighting: &Sighting,
    violations: &mut Vec<Violation>,
) {
    if sighting.first != 0 {
        let what = format!(
            "{} begins with its record {} at {}",
            evidence.name(sighting.append),
            sighting.first,
            sighting.offset
        );
        violations.push(violation("atomicity", evidence, [event], what));
    }
}

fn ends(
    evidence: &Evidence<'_>,
    event: usize,
    sighting: &Sighting,
    violations: &mut Vec<Violation>,
) {
    let (next, len) = (sighting.first + sighting.len, evidence.appends[sighting.append].len());
    if next != len {
        let what = format!(
            "{} ends with its record {} of {len} at {}",
            evidence.name(sighting.append),
            next - 1,
            sighting.offset + sighting.len - 1
        );
        violations.push(violation("atomicity", evidence, [event], what));
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{FinalRead, Kind};
    use crate::oracle::story::Story;

    #[test]
    fn a_read_may_begin_in_the_middle() {
        let mut story = Story::new();
        let append = story.wrote(4, 0);
        let begun = story.mark();
        story.read_seen(begun, 2, story.seen(append, 2..4));
        story.assert_clean();
    }

    #[test]
    fn an_append_that_ends_too_early_is_a_violation() {
        let mut story = Story::new();
        let (one, next) = (story.append(3), story.append(1));
        let seen = [story.seen(one, 0..2), story.seen(next, 0..1)].concat();
        let begun = story.mark();
        story.read_seen(begun, 0, seen);
        story.assert_guilty("atomicity", "ends with its record 1 of 3 at 1");
    }

    #[test]
    fn an_append_that_begins_too_late_is_a_violation() {
        let mut story = Story::new();
        let (one, next) = (story.append(1), story.append(3));
        let seen = [story.seen(one, 0..1), story.seen(next, 1..3)].concat();
        let begun = story.mark();
        story.read_seen(begun, 0, seen);
        story.assert_guilty("atomicity", "begins with its record 1 at 1");
    }

    #[test]
    fn records_out_of_order_are_a_violation() {
        let mut story = Story::new();
        let append = story.append(2);
        let seen = [story.seen(append, 1..2), story.seen(append, 0..1)].concat();
        let begun = story.mark();
        story.read_seen(begun, 0, seen);
        story.assert_guilty("atomicity", "there is no room before it");
    }

    #[test]
    fn half_an_append_at_the_end_is_a_violation() {
        let mut story = Story::new();
        let append = story.append(4);
        let begun = story.mark();
        story.read_seen(begun, 0, story.seen(append, 0..3));
        story.assert_guilty("atomicity", "ends with its record 2 of 4 at 2");
    }

    #[test]
    fn half_an_append_at_the_beginning_is_a_violation() {
        let mut story = Story::in_memory(1 << 20);
        let append = story.wrote(4, 0);
        let begun = story.mark();
        let records = story.final_seen(append, 1..4, 0);
        let (place, damaged) = (story.place(), Vec::new());
        let read = FinalRead { begun, place, low: 1, high: 4, records, damaged };
        story.push(Kind::FinalRead(read));
        story.assert_guilty("atomicity", "begins with its record 1 at 1");
    }

    #[test]
    fn a_truncation_may_be_in_the_middle() {
        let mut story = Story::new();
        let append = story.wrote(4, 0);
        story.truncate(1);
        let begun = story.mark();
        let records = story.final_seen(append, 1..4, 0);
        let (place, damaged) = (story.place(), Vec::new());
        story.push(Kind::FinalRead(FinalRead { begun, place, low: 1, high: 4, records, damaged }));
        story.assert_clean();
    }

    #[test]
    fn damage_takes_single_batches() {
        let mut story = Story::new();
        let append = story.wrote(4, 0);
        story.strike("bit rot");
        let begun = story.mark();
        let records =
            [story.final_seen(append, 0..1, 0), story.final_seen(append, 3..4, 0)].concat();
        let place = story.place();
        let damaged = std::iter::once(1..3).collect();
        let read = FinalRead { begun, place, low: 0, high: 4, records, damaged };
        story.push(Kind::FinalRead(read));
        story.assert_clean();
    }
}
