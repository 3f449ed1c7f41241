//! Numbers of a counter rise in real time: who asks after another was answered gets higher ones.
//!
//! One core owns a counter and deals its numbers in order, so this holds between all clients and connections, whichever
//! core they talk to, and across every end of the process as long as the mode remembers it (see `counters`).
//!
//! Exact for what clients were answered.

use super::counters::counters;
use super::evidence::Evidence;
use super::{Violation, violation};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for counter in counters(evidence) {
        let mut asked = counter.taken.clone();
        asked.sort_by_key(|taken| taken.window.since);
        let mut answered = counter.taken.iter().peekable();
        // The highest since the last lapse, and the one that it is of.
        let mut highest = None;
        for taken in asked {
            while let Some(told) = answered.next_if(|told| told.event() < taken.window.since) {
                if highest.is_none_or(|(end, _)| end < told.end()) {
                    highest = Some((told.end(), told.window));
                }
            }
            if highest.is_some_and(|(_, window)| counter.may_forget(window, taken.window)) {
                // What came after the lapse counts, and is not much.
                let since = counter.lapses.iter().rfind(|lapse| **lapse < taken.window.until);
                let since = since.copied().unwrap_or(0);
                let still = counter
                    .taken
                    .iter()
                    .filter(|told| told.window.since > since && told.event() < taken.window.since);
                highest = still.map(|told| (told.end(), told.window)).max_by_key(|told| told.0);
            }
            if let Some((end, window)) = highest.filter(|(end, _)| *end > taken.first) {
                let what = format!(
                    "{} of {} was dealt to one who asked after {} was answered",
                    taken.first,
                    counter.name,
                    end - 1
                );
                let events = [window.until, taken.event()];
                violations.push(violation("number_order", evidence, events, what));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use crate::history::CounterMode::{Always, Memory, Reserve, UnsafeInterval};
    use crate::history::{CounterAnswer, CounterAsk, End, Kind};
    use crate::oracle::story::Story;

    #[test]
    fn numbers_that_rise_are_clean() {
        let mut story = Story::new();
        story.counter(Reserve { block: 10 });
        story.took(1, 3);
        story.took(4, 3);
        story.end(End::Power);
        story.took(11, 3);
        story.assert_clean();
    }

    #[test]
    fn a_lower_number_after_a_higher_one_was_answered_is_a_violation() {
        for end in [None, Some(End::Power)] {
            let mut story = Story::new();
            story.counter(Reserve { block: 1_000 });
            story.end(End::Process);
            story.took(100, 3);
            if let Some(end) = end {
                story.end(end);
            }
            story.took(50, 3);
            story.assert_guilty(
                "number_order",
                "50 of counter was dealt to one who asked after 102",
            );
            story.assert_guilty_only("number_order");
        }
    }

    #[test]
    fn who_asks_at_once_may_get_numbers_in_any_order() {
        let mut story = Story::new();
        story.counter(Always);
        let ask = CounterAsk::Take { count: 1 };
        let name = || "counter".to_owned();
        story.push(Kind::CounterAsked { request: 100, name: name(), ask });
        story.push(Kind::CounterAsked { request: 101, name: name(), ask });
        let answer = |first| CounterAnswer::Taken { first, count: 1 };
        story.push(Kind::CounterAnswered { request: 101, answer: answer(2) });
        story.push(Kind::CounterAnswered { request: 100, answer: answer(1) });
        story.assert_clean();
    }

    #[test]
    fn a_counter_that_forgets_begins_again_and_rises_from_there() {
        for (mode, end) in [(Memory, End::Stopped), (UnsafeInterval, End::Power)] {
            let mut story = Story::new();
            story.counter(mode);
            story.took(100, 1);
            story.end(end);
            story.took(1, 1);
            story.took(2, 1);
            story.assert_clean();
            story.took(2, 1);
            story.assert_guilty("number_order", "after 2 was answered");
        }
    }
}
