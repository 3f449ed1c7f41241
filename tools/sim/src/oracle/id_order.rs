//! Ids of one slot rise in the order in which they were dealt.
//!
//! A slot belongs to one core, and its ticks never go back, whatever the clock does; every life begins above all the
//! former ones (`docs/SEQUENCERS.md`). What can be seen of the order of dealing:
//!
//! - within an answer of a reader, the records of one slot have rising ids, because they were appended in that order;
//! - ids that a client asks for after others of the slot were answered, or seen on records, are above those.
//!
//! Between slots nothing is promised: a partition whose core turns to another slot may go back in its ids.
//!
//! Exact for what it looks at; ids of records that nobody has read yet are not seen.

use std::collections::BTreeMap;

use super::evidence::Evidence;
use super::ids::{Owner, Run, id, runs};
use super::{Violation, violation};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let runs = runs(evidence);
    let mut violations = Vec::new();
    within_reads(evidence, &runs, &mut violations);
    between_answers(evidence, &runs, &mut violations);
    violations
}

fn within_reads(evidence: &Evidence<'_>, runs: &[Run], violations: &mut Vec<Violation>) {
    for read in runs.chunk_by(|one, other| one.event() == other.event()) {
        let mut reached: BTreeMap<u16, u64> = BTreeMap::new();
        for run in read {
            let Owner::Records { place, offset, .. } = run.owner else { continue };
            if let Some(end) = reached.insert(run.slot, run.end()).filter(|end| *end > run.tick) {
                let what = format!(
                    "the record at {offset} of {place} has id {}, and one before it {}",
                    id(run.slot, run.tick),
                    id(run.slot, end - 1)
                );
                violations.push(violation("id_order", evidence, [run.event()], what));
            }
        }
    }
}

/// Goes through the questions in order; those that were answered before one count.
fn between_answers(evidence: &Evidence<'_>, runs: &[Run], violations: &mut Vec<Violation>) {
    let asked = runs.iter().filter(|run| run.owner == Owner::Client);
    let mut asked: Vec<&Run> = asked.collect();
    asked.sort_by_key(|run| run.window.since);
    let mut told = runs.iter().peekable();
    let mut reached: BTreeMap<(usize, u16), (u64, usize)> = BTreeMap::new();
    for run in asked {
        while let Some(told) = told.next_if(|told| told.event() < run.window.since) {
            let reached = reached.entry((told.era, told.slot)).or_default();
            *reached = (*reached).max((told.end(), told.event()));
        }
        if let Some((end, event)) = reached.get(&(run.era, run.slot)).filter(|at| at.0 > run.tick) {
            let (was, is) = (id(run.slot, end - 1), id(run.slot, run.tick));
            let what = format!("id {is} was dealt after id {was} was known");
            violations.push(violation("id_order", evidence, [*event, run.event()], what));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{End, IdsDealt, Kind};
    use crate::oracle::story::Story;

    #[test]
    fn ids_that_rise_are_clean_and_slots_have_nothing_to_do_with_each_other() {
        let mut story = Story::new();
        story.dealt(0, 200, 10);
        story.dealt(1, 100, 10);
        story.end(End::Power);
        story.dealt(1, 110, 10);
        let (one, other) = (story.wrote(2, 0), story.wrote(2, 2));
        story.read_both((one, (0, 500)), (other, (1, 400)));
        story.assert_clean();
    }

    #[test]
    fn an_id_that_goes_back_is_a_violation_across_an_end_too() {
        for ends in [false, true] {
            let mut story = Story::new();
            story.dealt(0, 200, 10);
            if ends {
                story.end(End::Process);
            }
            story.dealt(0, 199, 1);
            story.assert_guilty("id_order", "was known");
            story.assert_guilty_only("id_order");
        }
    }

    #[test]
    fn what_is_asked_at_once_may_be_dealt_in_any_order() {
        let mut story = Story::new();
        let begun = story.mark();
        story.dealt(0, 200, 10);
        story.push(Kind::IdsDealt(IdsDealt { begun, slot: 0, first: 100, count: 1 }));
        story.assert_clean();
    }

    #[test]
    fn records_of_a_slot_that_go_back_are_a_violation() {
        let mut story = Story::new();
        let (one, other) = (story.wrote(2, 0), story.wrote(2, 2));
        story.read_both((one, (0, 500)), (other, (0, 400)));
        story.assert_guilty("id_order", "the record at 2 of 7/0");
        story.assert_guilty_only("id_order");
    }

    #[test]
    fn ids_below_those_of_a_record_that_was_read_are_a_violation() {
        let mut story = Story::new();
        let append = story.wrote(2, 0);
        story.read_ids(append, 0, (0, 500));
        story.dealt(0, 400, 1);
        story.assert_guilty("id_order", "was known");
    }
}
