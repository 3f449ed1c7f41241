//! No number of a counter is dealt twice, as long as its mode promises that.
//!
//! In the modes `reserve`, `always` and `group` a number is dealt only if a length above it was synced in the same life of the
//! process (`docs/SEQUENCERS.md`, requirement 1.1), so nothing may repeat one: no crash, no loss of power, no failed sync, no
//! file that came back shorter, which has to be refused. `unsafe-interval` repeats after a crash only, never after a stop in
//! order, which makes durable what was dealt. `memory` repeats after the process has ended.
//!
//! Exact for strict counters. For `unsafe-interval` any crash between two answers excuses a repeat, unless the number was said to
//! be durable.

use super::counters::{Counter, Taken, counters};
use super::evidence::Evidence;
use super::{Violation, violation};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for counter in counters(evidence) {
        let mut taken = counter.taken.clone();
        taken.sort_by_key(|taken| (taken.first, taken.event()));
        let mut before: Vec<Taken> = Vec::new();
        for taken in taken {
            before.retain(|other| other.end() > taken.first);
            for other in &before {
                if !counter.may_forget(other.window, taken.window)
                    || was_durable(&counter, other, &taken)
                {
                    let what =
                        format!("number {} of {} was dealt twice", taken.first, counter.name);
                    let events = [other.event(), taken.event()];
                    violations.push(violation("unique_numbers", evidence, events, what));
                }
            }
            before.push(taken);
        }
    }
    violations
}

/// Whether somebody was told, before the second of two takes was asked for and after the first was answered, that a number of
/// both is durable.
fn was_durable(counter: &Counter<'_>, one: &Taken, other: &Taken) -> bool {
    let (first, second) = if one.event() < other.event() { (one, other) } else { (other, one) };
    let shared = one.first.max(other.first);
    counter.mode.is_some_and(|mode| mode != crate::history::CounterMode::Memory)
        && counter.states.iter().any(|(window, state)| {
            first.event() < window.since
                && window.until < second.window.since
                && shared <= state.durable
        })
}

#[cfg(test)]
mod tests {
    use crate::history::CounterMode::{self, Always, Group, Memory, Reserve, UnsafeInterval};
    use crate::history::{End, Kind, Target};
    use crate::oracle::story::Story;

    /// Whether numbers that come twice, with this in between, are a violation.
    fn repeats(mode: CounterMode, between: impl Fn(&mut Story)) -> bool {
        let mut story = Story::new();
        story.counter(mode);
        story.took(1, 10);
        between(&mut story);
        story.took(10, 1);
        !story.judge("unique_numbers").is_empty()
    }

    #[test]
    fn numbers_that_come_once_are_clean() {
        let mut story = Story::new();
        story.counter(Always);
        story.took(1, 10);
        story.end(End::Power);
        story.took(11, 5);
        story.assert_clean();
    }

    #[test]
    fn a_strict_counter_repeats_nothing_whatever_happens() {
        for mode in [Always, Group, Reserve { block: 10 }] {
            for end in [End::Stopped, End::Process, End::Power] {
                assert!(repeats(mode, |story| story.end(end)), "{mode:?} {end:?}");
            }
            assert!(repeats(mode, |_| ()));
            let target = Target::Counters;
            assert!(repeats(mode, |story| story.push(Kind::Struck { target, fault: "bit rot" })));
        }
    }

    #[test]
    fn an_unsafe_counter_repeats_after_a_crash_only() {
        assert!(!repeats(UnsafeInterval, |story| story.end(End::Power)));
        assert!(!repeats(UnsafeInterval, |story| story.end(End::Process)));
        assert!(repeats(UnsafeInterval, |story| story.end(End::Stopped)));
        assert!(repeats(UnsafeInterval, |_| ()));
        let target = Target::Counters;
        let failed = Kind::CallFailed { target, fault: "failed call" };
        assert!(!repeats(UnsafeInterval, |story| story.push(failed.clone())));
    }

    #[test]
    fn what_was_said_to_be_durable_is_not_repeated_even_so() {
        for (durable, wrong) in [(9, false), (10, true)] {
            let repeated = repeats(UnsafeInterval, |story| {
                story.counter_state(UnsafeInterval, 10, durable);
                story.end(End::Power);
            });
            assert_eq!(repeated, wrong, "{durable}");
        }
    }

    #[test]
    fn a_counter_in_memory_begins_again_with_the_process_and_not_before() {
        for end in [End::Stopped, End::Process, End::Power] {
            assert!(!repeats(Memory, |story| story.end(end)));
        }
        assert!(repeats(Memory, |_| ()));
    }

    #[test]
    fn another_disk_has_other_counters() {
        assert!(!repeats(Always, |story| {
            story.wipe();
            story.create();
            story.counter(Always);
        }));
    }
}
