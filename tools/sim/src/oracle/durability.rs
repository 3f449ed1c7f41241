//! What was acknowledged at a level, or shown to a reader, survives what the level promises.
//!
//! | level | a stop in order | the end of the process | a loss of power |
//! |---|---|---|---|
//! | `memory` | stays | may go | may go |
//! | `written` | stays | stays | may go |
//! | `synced` | stays | stays | stays |
//!
//! This is the meaning of an acknowledgement (docs/PROTOCOL.md, Append), of a stop (docs/OPERATIONS.md: accepted work is
//! finished and synced), and for readers of decision 5: what is visible has reached the level *of the log*. If calls on
//! the partition's files failed before a stop, memory is all that `memory` had. A log in memory loses all at every end.
//!
//! What may go, goes from the end: a recovery cuts, it makes no holes. So the loss of a `memory` record is a violation
//! all the same if something behind it was promised, or stayed. What a recovery cut has its offsets dealt again.
//!
//! Silent damage may cost what was promised, if it is reported: a loss is excused where the offsets are in a reported
//! range. That the damage was there is `damage`'s business. In one case nobody can know: see `evidence::partition` for
//! how much may go unreported then. Rot in the very last group, which nothing behind it vouches for, cannot be told from
//! a torn tail: it is cut, said to be cut, and its offsets are dealt again. Offsets that a recovery reports as damaged are
//! never dealt again, so another record in the place of a promised one is not excused by such a report.
//!
//! Two kinds of observation show a loss: another append at the same offsets, and a final read, which has everything. The
//! oracle is exact up to what cannot be seen: it complains if and only if no choice of moments and cuts makes the loss
//! lawful (see `evidence`).

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Evidence, Fact, Pair, Partition, Window, covers, merged};
use super::{Violation, compaction, violation};
use crate::history::{Kind, Place};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for partition in evidence.partitions.values() {
        replaced(evidence, partition, &mut violations);
        missing(evidence, partition, &mut violations);
    }
    violations
}

/// Appends that gave way to others although no recovery may have cut them.
fn replaced(evidence: &Evidence<'_>, partition: &Partition, violations: &mut Vec<Violation>) {
    for (before, after) in partition.conflicts() {
        // Without an end of the process in between it is not about durability: see `offsets`.
        let ended = partition.ended_between(&before, &after);
        // By a recovery: a read that is refused names all that it cannot reach, which may be there and go later.
        let by_recovery = |at: usize| {
            (before.event()..=after.event()).contains(&at)
                && matches!(evidence.events()[at].kind, Kind::DamageReported { .. })
        };
        let reports = partition.reports.iter().filter(|(at, _)| by_recovery(*at));
        let reported = merged(reports.map(|(_, range)| range.clone()));
        // Said to be damaged, and dealt again all the same.
        let again = covers(&reported, &(before.base..before.end));
        // Rot in the last group that nothing behind it vouches for looks like a torn tail, and is reported as one: the
        // recovery says where it cut, and deals those offsets again.
        let lawful = partition.struck_before(after.event())
            || partition.may_follow_in_some_order(&before, &after);
        if again || ended && !lawful {
            let what = format!(
                "{} gave way to {}",
                evidence.describe(partition.place, &before),
                evidence.name(after.append)
            );
            let events = [before.event(), after.event()];
            violations.push(violation("durability", evidence, events, what));
        }
    }
}

/// Appends that a final read does not have.
fn missing(evidence: &Evidence<'_>, partition: &Partition, violations: &mut Vec<Violation>) {
    for event in &partition.finals {
        let Kind::FinalRead(read) = &evidence.events()[*event].kind else { continue };
        let window = Window { since: read.begun.0, until: *event };
        let present = present(evidence, *event);
        let is_compacted = compaction::is_possible(evidence, partition.place, window);
        let reports = partition.reports.iter().filter(|(at, _)| at <= event);
        let reported = merged(reports.map(|(_, range)| range.clone()));
        for (pair, facts) in told_before(partition, window) {
            let Some(any) = facts.iter().flatten().next_back() else { continue };
            let wanted = any.base.max(read.low)..any.end;
            if wanted.is_empty() || present.contains(&pair) || covers(&reported, &wanted) {
                continue;
            }
            if is_compacted {
                continue; // `compaction` asks record by record.
            }
            let lost = facts.iter().flatten().find(|fact| !partition.may_be_lost(fact, window));
            if let Some(fact) = lost {
                let what = format!("{} is lost", evidence.describe(partition.place, fact));
                let events = [fact.event(), *event];
                violations.push(violation("durability", evidence, events, what));
            }
        }
    }
}

/// The appends that a final read has.
fn present(evidence: &Evidence<'_>, event: usize) -> BTreeSet<Pair> {
    let sightings = evidence.sightings.get(&event).into_iter().flatten();
    sightings.filter_map(|sighting| Some((sighting.append, sighting.base()?))).collect()
}

/// What was told before a window: for each append and place, by level the fact that was told last.
fn told_before(partition: &Partition, window: Window) -> BTreeMap<Pair, [Option<Fact>; 3]> {
    let mut told: BTreeMap<Pair, [Option<Fact>; 3]> = BTreeMap::new();
    for fact in partition.facts.iter().filter(|fact| fact.event() < window.since) {
        let last = &mut told.entry(fact.pair()).or_default()[fact.level as usize];
        if last.is_none_or(|last| last.window.since < fact.window.since) {
            *last = Some(*fact);
        }
    }
    told
}

impl Evidence<'_> {
    /// What a fact tells, for people.
    fn describe(&self, place: Place, fact: &Fact) -> String {
        let Fact { base, end, level, .. } = fact;
        let level = format!("{level:?}").to_lowercase();
        format!("{}, {level} at {base}..{end} of {place},", self.name(fact.append))
    }

    /// The name of an append, for people.
    pub(super) fn name(&self, append: usize) -> String {
        match self.appends[append].records {
            [] => "an append without records".to_owned(),
            [one] => one.to_string(),
            [first, .., last] => format!("{first} to {last}"),
        }
    }
}

#[cfg(test)]
mod tests;
