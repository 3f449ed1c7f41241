//! No Scarab id is dealt twice: not to two clients, not to two records, not to a client and a record, in the whole life of a
//! cluster, whatever node, core or life of a process dealt it.
//!
//! Between lives only a high-water mark is remembered, which is durable ahead of every id (`docs/SEQUENCERS.md`, requirement 1.2).
//! So neither a crash nor a loss of power, another number of cores, a clock that goes back, nor another machine that goes on
//! with the slots may repeat one. Nothing excuses it, silent damage neither: a mark that cannot be trusted is refused.
//!
//! Exact: an id that is seen again is that of the same record at the same offset, or it was dealt twice.

use super::evidence::Evidence;
use super::ids::{Owner, Run, id, runs};
use super::{Violation, violation};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut runs = runs(evidence);
    runs.sort_by_key(|run| (run.era, run.slot, run.tick, run.event()));
    let mut violations = Vec::new();
    let mut last: Option<Run> = None;
    for run in runs {
        let Some(before) = last.filter(|last| (last.era, last.slot) == (run.era, run.slot)) else {
            last = Some(run);
            continue;
        };
        if run.tick < before.end() && !is_same(&before, &run) {
            let what = format!(
                "id {} was dealt twice: to {} and to {}",
                id(run.slot, run.tick),
                name(evidence, &before),
                name(evidence, &run)
            );
            violations.push(violation("unique_ids", evidence, [before.event(), run.event()], what));
        }
        if run.end() > before.end() {
            last = Some(run);
        }
    }
    violations
}

/// Whether both tell of the same records.
fn is_same(one: &Run, other: &Run) -> bool {
    let (
        Owner::Records { life, place, offset, append },
        Owner::Records { life: life_2, place: place_2, offset: offset_2, append: append_2 },
    ) = (one.owner, other.owner)
    else {
        return false;
    };
    // By how much the second begins behind the first.
    let by = other.tick - one.tick;
    let is_same_append = match (append, append_2) {
        (Some((append, at)), Some((append_2, at_2))) => append == append_2 && at + by == at_2,
        // What is wrong with a record is said elsewhere.
        _ => true,
    };
    (life, place, offset + by) == (life_2, place_2, offset_2) && is_same_append
}

fn name(evidence: &Evidence<'_>, run: &Run) -> String {
    match run.owner {
        Owner::Client => "a client".to_owned(),
        Owner::Records { place, offset, append, .. } => {
            let append = append.map(|(append, _)| format!(" of {}", evidence.name(append)));
            format!("the record at {offset} of {place}{}", append.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{End, Kind};
    use crate::oracle::story::Story;

    #[test]
    fn ids_that_are_dealt_once_are_clean_however_often_they_are_read() {
        let mut story = Story::new();
        story.dealt(0, 100, 50);
        let append = story.wrote(4, 0);
        story.read_ids(append, 0, (0, 150));
        story.end(End::Power);
        story.read_ids(append, 0, (0, 150));
        story.dealt(0, 154, 1);
        story.dealt(1, 100, 50);
        story.assert_clean();
    }

    #[test]
    fn an_id_dealt_twice_to_clients_is_a_violation() {
        for (first, count) in [(149, 10), (90, 11), (90, 1_000), (120, 3)] {
            let mut story = Story::new();
            story.dealt(3, 100, 50);
            story.end(End::Process);
            story.dealt(3, first, count);
            story.assert_guilty("unique_ids", "to a client and to a client");
        }
    }

    #[test]
    fn an_id_of_a_record_that_a_client_has_is_a_violation() {
        let mut story = Story::new();
        let append = story.wrote(4, 0);
        story.read_ids(append, 0, (3, 97));
        story.dealt(3, 100, 50);
        story.assert_guilty("unique_ids", "the record at 0 of 7/0");
    }

    #[test]
    fn an_id_of_two_records_is_a_violation() {
        let mut story = Story::new();
        let (one, other) = (story.wrote(4, 0), story.wrote(4, 4));
        story.read_ids(one, 0, (0, 100));
        story.read_ids(other, 4, (0, 103));
        story.assert_guilty("unique_ids", "was dealt twice");
        // Also if both are at one offset, one after the other.
        let mut story = Story::new();
        let lost = story.append(4);
        story.read_ids(lost, 0, (0, 100));
        story.end(End::Power);
        let other = story.append(4);
        story.read_ids(other, 0, (0, 100));
        story.assert_guilty("unique_ids", "was dealt twice");
    }

    #[test]
    fn a_long_run_hides_no_overlap_behind_a_short_one() {
        let mut story = Story::new();
        story.dealt(0, 100, 1_000);
        story.dealt(0, 1_200, 1);
        story.assert_clean();
        story.dealt(0, 1_099, 1);
        story.assert_guilty("unique_ids", "was dealt twice");
    }

    #[test]
    fn another_cluster_may_deal_them_again_and_one_that_takes_over_the_slots_may_not() {
        for taken_over in [false, true] {
            let mut story = Story::new();
            story.dealt(0, 100, 50);
            story.wipe();
            if taken_over {
                story.push(Kind::SlotsTakenOver);
            }
            story.create();
            story.dealt(0, 149, 1);
            assert_eq!(story.judge("unique_ids").len(), usize::from(taken_over));
        }
    }
}
