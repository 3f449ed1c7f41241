//! A partition of a log in memory holds no more bytes than its budget.
//!
//! The budget is what an operator plans the machine's memory by; it counts all that the partition holds, buffers that are
//! not full included. It is kept at every append, before its answer. A budget that was lowered counts from the next append
//! on (or the next expiry), so what was held under the old one may be held until then.
//!
//! Exact: the most that may be held is the largest budget that was possible between the last append that certainly came
//! before the question, and the answer.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Window};
use super::{Violation, violation};
use crate::history::{Kind, Outcome, Place, Storage};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let (mut violations, carried_out) = (Vec::new(), carried_out(evidence));
    for (event, entry) in evidence.numbered() {
        let Kind::MemoryObserved { begun, place, bytes } = &entry.kind else { continue };
        let window = Window { since: begun.0, until: event };
        let Some(life) = evidence.life_of(window) else { continue };
        let log = (life, place.log);
        if evidence.logs.storage(log) != Some(Storage::Memory) {
            continue;
        }
        let born = evidence.span_of(life).since;
        let last = carried_out.get(place).map_or(born, |appends| last_before(appends, begun.0));
        let possible = Window { since: last.max(born), until: event };
        let Some((_, budget)) = evidence.logs.budgets(log, possible) else { continue };
        if *bytes > budget {
            let what = format!("{place} holds {bytes} bytes, and its budget is {budget}");
            violations.push(violation("memory_budget", evidence, [event], what));
        }
    }
    violations
}

/// For each acknowledgement of a partition, by event: the latest event after which one of those so far was carried out.
fn carried_out(evidence: &Evidence<'_>) -> BTreeMap<Place, Vec<(usize, usize)>> {
    let mut appends: BTreeMap<Place, Vec<(usize, usize)>> = BTreeMap::new();
    for append in &evidence.appends {
        // A repetition was carried out earlier, nobody knows when.
        if let Some((event, Outcome::Acked { attempt, duplicate: false, .. })) = append.end {
            let since = append.window(attempt, event).since;
            appends.entry(append.place).or_default().push((event, since));
        }
    }
    for appends in appends.values_mut() {
        appends.sort_unstable();
        let mut latest = 0;
        for (_, since) in appends {
            latest = latest.max(*since);
            *since = latest;
        }
    }
    appends
}

/// The latest event after which an append was carried out that was acknowledged before `event`.
fn last_before(appends: &[(usize, usize)], event: usize) -> usize {
    let after = appends.partition_point(|(acked, _)| *acked < event);
    after.checked_sub(1).map_or(0, |at| appends[at].1)
}

#[cfg(test)]
mod tests {
    use crate::history::{Kind, LogChanges};
    use crate::oracle::story::Story;

    const BUDGET: u64 = 1 << 20;

    fn holds(story: &mut Story, bytes: u64) {
        let (begun, place) = (story.mark(), story.place());
        story.push(Kind::MemoryObserved { begun, place, bytes });
    }

    #[test]
    fn more_than_the_budget_is_a_violation() {
        let mut story = Story::in_memory(BUDGET);
        holds(&mut story, BUDGET);
        story.assert_clean();
        holds(&mut story, BUDGET + 1);
        story.assert_guilty("memory_budget", "its budget is 1048576");
    }

    #[test]
    fn a_log_in_files_has_no_budget() {
        let mut story = Story::new();
        holds(&mut story, BUDGET);
        story.assert_clean();
    }

    #[test]
    fn a_repetition_makes_no_room() {
        let mut story = Story::in_memory(2 * BUDGET);
        let append = story.append(4);
        let changes = LogChanges { memory_bytes_max: Some(BUDGET), ..LogChanges::default() };
        story.alter(changes);
        story.sent(append);
        story.duplicate(append, 0);
        holds(&mut story, 2 * BUDGET);
        story.assert_clean();
    }

    #[test]
    fn a_lower_budget_counts_from_the_next_append_on() {
        let mut story = Story::in_memory(2 * BUDGET);
        story.wrote(4, 0);
        let changes = LogChanges { memory_bytes_max: Some(BUDGET), ..LogChanges::default() };
        story.alter(changes);
        holds(&mut story, 2 * BUDGET);
        story.assert_clean();
        story.wrote(4, 4);
        holds(&mut story, 2 * BUDGET);
        story.assert_guilty("memory_budget", "its budget is 1048576");
    }

    #[test]
    fn a_higher_budget_counts_as_soon_as_it_may_be_in_force() {
        let mut story = Story::in_memory(BUDGET);
        story.wrote(4, 0);
        let changes = LogChanges { memory_bytes_max: Some(2 * BUDGET), ..LogChanges::default() };
        story.alter_without_answer(changes);
        story.wrote(4, 4);
        holds(&mut story, 2 * BUDGET);
        story.assert_clean();
    }
}
