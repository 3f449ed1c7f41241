//! Every record has a Scarab id, and keeps it.
//!
//! The core that appends a batch gives it a run of ids, stored in its header (`docs/FORMATS.md`). Every server of the simulation
//! deals ids, so no record is without. A record is appended once, so whoever reads it, whenever, gets the same id, through every
//! end of the process: recovery that writes a batch again does not deal it again.
//!
//! Exact but for what may have been appended again: an append that a recovery may have cut, and whose producer had no
//! acknowledgement yet, can come back to the same offsets as another batch, with other ids.

use std::collections::BTreeMap;

use super::evidence::Evidence;
use super::ids::{Owner, Run, id, runs};
use super::{Violation, violation};
use crate::history::{Kind, Place};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (event, entry) in evidence.numbered() {
        let Kind::Read(read) = &entry.kind else { continue };
        if let Some(run) = read.ids.iter().find(|run| run.id == 0) {
            let what = format!("the record at {} of {} has no id", run.offset, read.place);
            violations.push(violation("record_ids", evidence, [event], what));
        }
    }
    changed(evidence, &mut violations);
    violations
}

/// An append where it was seen.
type Seat = (usize, Place, usize, u64);

/// Records with one id at one time and another at another.
fn changed(evidence: &Evidence<'_>, violations: &mut Vec<Violation>) {
    let mut seats: BTreeMap<Seat, Vec<(u64, Run)>> = BTreeMap::new();
    for run in runs(evidence) {
        let Owner::Records { life, place, offset, append: Some((append, at)) } = run.owner else {
            continue;
        };
        let base = offset.wrapping_sub(at);
        seats.entry((life, place, append, base)).or_default().push((at, run));
    }
    let ends: Vec<usize> = evidence.ends().into_iter().map(|(event, _)| event).collect();
    for ((_, place, append, _), runs) in seats {
        let acked = evidence.appends[append].acked();
        // By event: what is told of each record last.
        let mut told: Vec<(u64, Run)> = Vec::new();
        for (at, run) in runs {
            let overlaps =
                |(start, other): &(u64, Run)| *start < at + run.len && at < start + other.len;
            let other = told.iter().find(|told| {
                let is_other = (told.1.slot, told.1.tick.wrapping_sub(told.0))
                    != (run.slot, run.tick.wrapping_sub(at));
                overlaps(told) && is_other && !may_be_again(&ends, acked, &told.1, &run)
            });
            if let Some((start, other)) = other {
                let nth = at.max(*start);
                let what = format!(
                    "record {nth} of {} in {place} had id {} and has id {}",
                    evidence.name(append),
                    id(other.slot, other.tick + (nth - start)),
                    id(run.slot, run.tick + (nth - at))
                );
                let events = [other.event(), run.event()];
                violations.push(violation("record_ids", evidence, events, what));
            }
            if !told.iter().any(|(start, other)| {
                (*start, other.slot, other.tick, other.len) == (at, run.slot, run.tick, run.len)
                    && !ends.iter().any(|end| (other.event()..run.event()).contains(end))
            }) {
                told.push((at, run));
            }
        }
    }
}

/// Whether the append may have been cut and appended again between two reads.
fn may_be_again(ends: &[usize], acked: Option<usize>, one: &Run, other: &Run) -> bool {
    let since = one.window.since.min(other.window.since);
    let until = one.window.until.max(other.window.until);
    let mut between = ends.iter().filter(|end| (since..until).contains(end));
    // Nobody sends it again once it was acknowledged.
    between.any(|end| acked.is_none_or(|acked| *end < acked))
}

#[cfg(test)]
mod tests {
    use crate::history::End;
    use crate::oracle::story::Story;

    #[test]
    fn a_record_keeps_its_id_through_every_end() {
        for end in [End::Stopped, End::Process, End::Power] {
            let mut story = Story::new();
            let append = story.wrote(4, 0);
            story.read_ids(append, 0, (0, 100));
            story.end(end);
            story.read_ids(append, 0, (0, 100));
            story.assert_clean();
            story.read_ids(append, 0, (0, 104));
            story.assert_guilty("record_ids", "record 0 of");
        }
    }

    #[test]
    fn a_record_without_an_id_is_a_violation() {
        let mut story = Story::new();
        let append = story.wrote(4, 0);
        story.read_ids(append, 0, (0, 0));
        story.assert_guilty("record_ids", "the record at 0 of 7/0 has no id");
        story.assert_guilty_only("record_ids");
    }

    #[test]
    fn two_readers_at_once_get_the_same_id() {
        let mut story = Story::new();
        let append = story.append(4);
        story.read_ids(append, 0, (0, 100));
        story.read_ids(append, 0, (1, 100));
        story.assert_guilty("record_ids", "had id 100 and has id 8292");
    }

    #[test]
    fn an_append_without_an_answer_may_come_again_after_an_end() {
        let mut story = Story::new();
        let append = story.append(4);
        story.read_ids(append, 0, (0, 100));
        story.end(End::Power);
        story.read_ids(append, 0, (0, 200));
        story.assert_clean();
        story.end(End::Power);
        story.read_ids(append, 0, (0, 300));
        story.assert_clean();
        story.read_ids(append, 0, (0, 400));
        story.assert_guilty("record_ids", "and has id");
    }
}
