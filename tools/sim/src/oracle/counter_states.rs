//! What is said of a counter is true: its last number is no lower than any that was answered before, and numbers that are asked
//! for afterwards are above it.
//!
//! A description is made by the core that deals the numbers (`wire::message::CounterInfo`): `last` is the last number dealt, or
//! what may have been dealt at most after a restart. So it never falls, as long as the mode remembers it, and never says less
//! than clients know. In the strict modes nothing is dealt above what is durable, so `durable` is no less than `last`.
//!
//! A counter is said to be behind only if somebody damaged its files: no crash, loss of power or failed call leaves it so
//! (`seq::obelisk_file`), for an operator who has to answer for it may answer wrongly.
//!
//! It works as somebody has asked for, not as whoever looked at it first: a creation that was cut short leaves none. And once
//! anybody was told anything of it, it is there.
//!
//! Exact: windows of questions that overlap are in any order.

use super::counters::{Counter, counters};
use super::evidence::{Evidence, Window};
use super::{Violation, violation};
use crate::history::{Kind, Target};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let struck = evidence
        .numbered()
        .find(|(_, entry)| matches!(entry.kind, Kind::Struck { target: Target::Counters, .. }));
    // Whoever raises a counter whose sidecar was damaged raises one of which nobody knows how it worked.
    let struck = struck.map_or(usize::MAX, |(event, _)| event);
    for counter in counters(evidence) {
        violations.extend(behind(evidence, &counter));
        violations.extend(gone(evidence, &counter));
        let mut say = |events: [usize; 2], what: String| {
            violations.push(violation("counter_states", evidence, events, what));
        };
        let told = told(&counter);
        for (window, state) in &counter.states {
            let name = counter.name;
            let mut asked_for = counter.asked_for.iter();
            let is_wanted =
                asked_for.any(|(asked, mode)| *asked < window.until && *mode == state.mode);
            if !is_wanted && window.until < struck {
                let what = format!("{name} is {:?}, and nobody has asked for that", state.mode);
                say([window.until; 2], what);
            }
            if Some(state.mode) != counter.mode && window.until < struck {
                let what =
                    format!("{name} was said to be {:?}, and is {:?}", counter.mode, state.mode);
                say([window.until; 2], what);
            }
            if state.mode.is_strict() && state.durable < state.last {
                let (last, durable) = (state.last, state.durable);
                say(
                    [window.until; 2],
                    format!("{name} has dealt {last}, and {durable} is durable"),
                );
            }
            let known = told.iter().filter(|(before, _)| before.until < window.since);
            let known = known.filter(|(before, _)| !counter.may_forget(*before, *window));
            if let Some((before, known)) = known.max_by_key(|(_, last)| *last)
                && *known > state.last
            {
                let what =
                    format!("{name} is said to be at {}, and was at {known} before", state.last);
                say([before.until, window.until], what);
            }
        }
        for taken in &counter.taken {
            let states = counter.states.iter().filter(|(window, _)| {
                window.until < taken.window.since && !counter.may_forget(*window, taken.window)
            });
            if let Some((window, state)) = states.max_by_key(|(_, state)| state.last)
                && taken.first <= state.last
            {
                let (name, first, last) = (counter.name, taken.first, state.last);
                let what = format!("{first} of {name} was dealt after it was said to be at {last}");
                say([window.until, taken.event()], what);
            }
        }
    }
    violations
}

/// Whether it was refused as behind although nothing was done to the files of counters.
fn behind(evidence: &Evidence<'_>, counter: &Counter<'_>) -> Option<Violation> {
    let strikes = evidence
        .of_life(counter.life)
        .find(|(_, entry)| matches!(entry.kind, Kind::Struck { target: Target::Counters, .. }));
    let struck = strikes.map_or(usize::MAX, |(event, _)| event);
    let event = counter.behind.iter().find(|event| **event < struck)?;
    let what = format!("{} is said to be behind, and nothing was done to its files", counter.name);
    Some(violation("counter_states", evidence, [*event], what))
}

/// Whether it was said not to be there although it was before.
fn gone(evidence: &Evidence<'_>, counter: &Counter<'_>) -> Option<Violation> {
    let mut known: Vec<usize> = told(counter).iter().map(|(window, _)| window.until).collect();
    known.extend(&counter.behind);
    let known = known.into_iter().min()?;
    let unknown = counter.unknown.iter().find(|window| known < window.since)?;
    let what = format!("{} is said not to be there, and was before", counter.name);
    Some(violation("counter_states", evidence, [known, unknown.until], what))
}

/// Every moment at which a number was known to have been dealt.
fn told(counter: &Counter<'_>) -> Vec<(Window, u64)> {
    let taken = counter.taken.iter().map(|taken| (taken.window, taken.end() - 1));
    taken.chain(counter.states.iter().map(|(window, state)| (*window, state.last))).collect()
}

#[cfg(test)]
mod tests {
    use crate::history::CounterMode::{Always, Memory, Reserve};
    use crate::history::{CounterAnswer, CounterAsk, End, Refusal};
    use crate::oracle::story::Story;

    #[test]
    fn what_is_true_is_clean() {
        let mut story = Story::new();
        story.counter(Reserve { block: 10 });
        story.took(1, 3);
        story.counter_state(Reserve { block: 10 }, 3, 10);
        story.end(End::Process);
        story.counter_state(Reserve { block: 10 }, 10, 10);
        story.took(11, 1);
        story.counter_state(Reserve { block: 10 }, 11, 21);
        story.assert_clean();
    }

    #[test]
    fn a_last_number_below_one_that_was_answered_is_a_violation() {
        for ends in [false, true] {
            let mut story = Story::new();
            story.counter(Always);
            story.took(1, 3);
            if ends {
                story.end(End::Power);
            }
            story.counter_state(Always, 2, 3);
            story.assert_guilty("counter_states", "is said to be at 2, and was at 3");
            story.assert_guilty_only("counter_states");
        }
    }

    #[test]
    fn a_last_number_that_falls_is_a_violation_unless_the_counter_forgets() {
        for (mode, wrong) in [(Always, true), (Memory, false)] {
            let mut story = Story::new();
            story.counter(mode);
            story.counter_state(mode, 9, 9);
            story.end(End::Process);
            story.counter_state(mode, 8, 9);
            assert_eq!(!story.judge("counter_states").is_empty(), wrong);
        }
    }

    #[test]
    fn a_number_that_was_said_to_be_dealt_and_comes_later_is_a_violation() {
        let mut story = Story::new();
        story.counter(Reserve { block: 10 });
        story.end(End::Process);
        story.counter_state(Reserve { block: 10 }, 9, 10);
        story.took(9, 1);
        story.assert_guilty("counter_states", "9 of counter was dealt after");
        story.assert_guilty_only("counter_states");
    }

    #[test]
    fn more_dealt_than_durable_is_a_violation_in_a_strict_mode() {
        for (mode, wrong) in [(Always, true), (Memory, false)] {
            let mut story = Story::new();
            story.counter(mode);
            story.counter_state(mode, 9, 8);
            assert_eq!(!story.judge("counter_states").is_empty(), wrong);
        }
    }

    #[test]
    fn a_counter_that_is_behind_without_damage_is_a_violation() {
        let mut story = Story::new();
        story.counter(Always);
        let mut struck = story.clone();
        story.counter_asked(CounterAsk::Describe, CounterAnswer::Behind);
        story.assert_guilty("counter_states", "is said to be behind");
        story.assert_guilty_only("counter_states");
        struck.strike_counters();
        struck.counter_asked(CounterAsk::Describe, CounterAnswer::Behind);
        struck.assert_clean();
    }

    #[test]
    fn a_mode_that_changes_or_that_nobody_has_asked_for_is_a_violation() {
        let mut story = Story::new();
        story.counter(Always);
        story.counter_state(Memory, 0, 0);
        story.assert_guilty("counter_states", "was said to be");
        story.assert_guilty("counter_states", "nobody has asked for that");
        let mut story = Story::new();
        let (ask, unknown) = (CounterAsk::Create { mode: Always }, CounterAnswer::Unknown);
        story.counter_asked(ask, unknown);
        story.counter_state(Always, 0, 0);
        story.assert_clean();
    }

    #[test]
    fn a_counter_that_is_gone_is_a_violation() {
        let unknown = CounterAnswer::Refused(Refusal { code: 310, ..Refusal::default() });
        let mut story = Story::new();
        story.counter_asked(CounterAsk::Describe, unknown);
        story.counter(Always);
        story.assert_clean();
        let mut wiped = story.clone();
        story.end(End::Power);
        story.counter_asked(CounterAsk::Take { count: 1 }, unknown);
        story.assert_guilty("counter_states", "is said not to be there");
        story.assert_guilty_only("counter_states");
        wiped.wipe();
        wiped.create();
        wiped.counter_asked(CounterAsk::Take { count: 1 }, unknown);
        wiped.assert_clean();
    }
}
