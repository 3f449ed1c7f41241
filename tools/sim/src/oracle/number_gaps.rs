//! A counter skips no more numbers than its mode says.
//!
//! `always` and `group` skip only numbers whose answer was lost: those of a question without an answer, or one that the server was
//! too late to answer before it went down. `reserve` skips in addition what is left of a reservation at each end of the process:
//! a block at most (`docs/SEQUENCERS.md`). `unsafe-interval` and `memory` skip as much as their repeats leave, so nothing is asked
//! of them. Numbers that somebody raised the counter above are skipped on purpose. Where a file of a counter ends and the next
//! begins, a request that was refused for want of space may have skipped what it asked for.
//!
//! Judged from the first number on, gap by gap and in sum, because one lost answer explains one gap. An answer that is late
//! fills its gap like any other. Once a file of a counter was silently damaged, an operator says where it goes on, and nothing
//! more is asked.

use super::counters::{Counter, Taken, counters};
use super::evidence::Evidence;
use super::{Violation, violation};
use crate::history::{CounterMode, Kind, Target};

/// Files of a counter begin at multiples of this.
const STRIDE_LEAST: u64 = 1 << 32;

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let struck = evidence
        .numbered()
        .find(|(_, entry)| matches!(entry.kind, Kind::Struck { target: Target::Counters, .. }));
    let struck = struck.map_or(usize::MAX, |(event, _)| event);
    for counter in counters(evidence) {
        let block = match counter.mode {
            Some(CounterMode::Always | CounterMode::Group) => 0,
            Some(CounterMode::Reserve { block }) => block,
            _ => continue,
        };
        violations.extend(gaps(evidence, &counter, (block, struck)));
    }
    violations
}

fn gaps(
    evidence: &Evidence<'_>,
    counter: &Counter<'_>,
    (block, struck): (u64, usize),
) -> Option<Violation> {
    let ends: Vec<usize> = evidence.ends().into_iter().map(|(event, _)| event).collect();
    let mut taken: Vec<Taken> =
        counter.taken.iter().filter(|taken| taken.event() < struck).copied().collect();
    taken.sort_by_key(|taken| taken.first);
    // Answered only when more could be meant than the gaps up to here.
    let late =
        counter.taken.iter().filter(|taken| taken.window.since < struck && struck <= taken.event());
    let late: u64 = late.map(|taken| taken.count).sum();
    // What everything up to here has skipped, and up to when everything up to here was asked and answered.
    let (mut reached, mut skipped, mut known) = (1, 0, 0);
    // What the files that were begun up to here may have skipped.
    let mut begun: u64 = 0;
    let mut before = None;
    for taken in taken {
        known = known.max(taken.event());
        let raised = counter.raises.iter().filter(|(asked, _)| *asked < known);
        // Up to the highest on purpose. A raise that was cut off may have come to any number below its own.
        let from = raised.map(|(_, value)| value + 1).max().unwrap_or(reached).max(reached);
        let gap = taken.first.saturating_sub(from);
        skipped += gap;
        let doubtful = counter.doubtful.iter().filter(|(asked, _)| *asked < known);
        let doubtful: u64 = doubtful.map(|(_, count)| count).sum::<u64>() + late;
        let lives = ends.partition_point(|end| *end < known) as u64;
        if taken.first > 1 && (taken.first - 1).is_multiple_of(STRIDE_LEAST) {
            let cramped = counter.cramped.iter().filter(|(asked, _)| *asked < known);
            begun = cramped.map(|(_, count)| count).sum();
        }
        let doubtful = doubtful + begun;
        let most = doubtful.saturating_add(block.saturating_mul(lives));
        if skipped > most {
            let what = format!(
                "{} has skipped {skipped} numbers up to {}, and may have skipped {most}: {lives} ends of the process, \
                 {doubtful} numbers in doubt",
                counter.name, taken.first
            );
            let events = [before, Some(taken.event())].into_iter().flatten();
            return Some(violation("number_gaps", evidence, events, what));
        }
        before = Some(taken.event());
        reached = reached.max(taken.end());
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::history::CounterMode::{Always, Group, Reserve};
    use crate::history::{CounterAnswer, CounterAsk, End, Kind, Refusal};
    use crate::oracle::story::Story;

    #[test]
    fn a_dense_counter_that_skips_is_a_violation() {
        for mode in [Always, Group] {
            let mut story = Story::new();
            story.counter(mode);
            story.took(1, 10);
            story.end(End::Power);
            story.took(11, 1);
            story.assert_clean();
            story.took(13, 1);
            story.assert_guilty("number_gaps", "has skipped 1 numbers up to 13");
            story.assert_guilty_only("number_gaps");
        }
    }

    #[test]
    fn the_first_number_is_one() {
        let mut story = Story::new();
        story.counter(Always);
        story.took(2, 1);
        story.assert_guilty("number_gaps", "has skipped 1");
    }

    #[test]
    fn an_answer_that_was_lost_explains_its_numbers_and_no_more() {
        for answer in [
            CounterAnswer::Unknown,
            CounterAnswer::Refused(Refusal { code: 501, ..Refusal::default() }),
        ] {
            let mut story = Story::new();
            story.counter(Always);
            story.counter_asked(CounterAsk::Take { count: 4 }, answer);
            story.took(5, 1);
            story.assert_clean();
            story.took(7, 1);
            story.assert_guilty("number_gaps", "has skipped 5");
        }
        let mut story = Story::new();
        story.counter(Always);
        let refused = CounterAnswer::Refused(Refusal { code: 500, ..Refusal::default() });
        story.counter_asked(CounterAsk::Take { count: 4 }, refused);
        story.took(5, 1);
        story.assert_guilty("number_gaps", "has skipped 4");
    }

    #[test]
    fn each_end_may_skip_a_block_of_a_reserve() {
        let mut story = Story::new();
        story.counter(Reserve { block: 10 });
        story.took(1, 5);
        story.end(End::Process);
        story.took(16, 1);
        story.assert_clean();
        story.end(End::Power);
        story.took(28, 1);
        story.assert_guilty("number_gaps", "may have skipped 20: 2 ends");
    }

    #[test]
    fn an_end_that_comes_later_does_not_explain_a_gap() {
        let mut story = Story::new();
        story.counter(Reserve { block: 10 });
        story.took(2, 1);
        story.end(End::Process);
        story.assert_guilty("number_gaps", "0 ends");
    }

    #[test]
    fn numbers_below_a_raise_are_skipped_on_purpose() {
        let mut story = Story::new();
        story.counter(Always);
        story.took(1, 5);
        story.counter_asked(CounterAsk::Raise { value: 100 }, CounterAnswer::Unknown);
        story.took(6, 1);
        story.took(101, 1);
        story.assert_clean();
        story.took(103, 1);
        story.assert_guilty("number_gaps", "has skipped 1");
    }

    #[test]
    fn a_raise_that_was_cut_off_may_have_come_part_of_the_way() {
        let mut story = Story::new();
        story.counter(Always);
        story.took(1, 5);
        story.counter_asked(CounterAsk::Raise { value: 100 }, CounterAnswer::Unknown);
        story.end(End::Power);
        story.took(65, 1);
        story.assert_clean();
    }

    #[test]
    fn a_file_that_could_not_be_begun_skips_what_was_asked_of_it_and_only_there() {
        let end = 1 << 43;
        let mut story = Story::new();
        story.counter(Always);
        story.counter_asked(CounterAsk::Raise { value: end - 10 }, CounterAnswer::Unknown);
        story.took(end - 9, 1);
        let refused = CounterAnswer::Refused(Refusal { code: 600, ..Refusal::default() });
        story.counter_asked(CounterAsk::Take { count: 20 }, refused);
        let mut elsewhere = story.clone();
        story.took(end + 1, 1);
        story.took(end + 2, 1);
        story.assert_clean();
        elsewhere.took(end - 7, 1);
        elsewhere.assert_guilty("number_gaps", "has skipped 1 numbers");
    }

    #[test]
    fn an_answer_that_comes_after_damage_still_explains_its_numbers() {
        let mut story = Story::new();
        story.counter(Always);
        let (request, name) = (100, "counter".to_owned());
        story.push(Kind::CounterAsked { request, name, ask: CounterAsk::Take { count: 3 } });
        story.took(4, 1);
        story.strike_counters();
        let answer = CounterAnswer::Taken { first: 1, count: 3 };
        story.push(Kind::CounterAnswered { request, answer });
        story.assert_clean();
    }

    #[test]
    fn nothing_is_asked_once_files_were_damaged() {
        let mut story = Story::new();
        story.counter(Always);
        story.strike_counters();
        story.took(50, 1);
        story.assert_clean();
    }
}
