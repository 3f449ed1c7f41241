//! Counters as a history has them, gathered for the oracles about their numbers: no oracle itself.
//!
//! A counter is a name in one life of the disk. How it works was said when it was created, and stays. What its numbers survive
//! follows from that (`docs/SEQUENCERS.md`): in the strict modes everything, with `unsafe-interval` an end in order
//! (decision 9), with `memory` nothing. A failed call on the files of counters excuses `unsafe-interval` as well: what it was to make durable
//! in the background is not.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Window};
use crate::history::{
    CounterAnswer, CounterAsk, CounterMode, CounterState, End, Kind, Refusal, Target,
};

/// The code of a refusal because there is no such counter.
const UNKNOWN_COUNTER: u16 = 310;
/// The code of a refusal because the server is going down.
const SHUTTING_DOWN: u16 = 501;
/// The code of a refusal because the disk is full, or a file too large.
const NO_SPACE: u16 = 600;

/// Numbers that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) window: Window,
}

impl Taken {
    /// The number after the last.
    pub(super) const fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }

    /// The event that tells it.
    pub(super) const fn event(&self) -> usize {
        self.window.until
    }
}

/// A counter in one life of the disk.
#[derive(Debug, Default)]
pub(super) struct Counter<'h> {
    pub(super) life: usize,
    pub(super) name: &'h str,
    pub(super) mode: Option<CounterMode>,
    /// By the event that tells them.
    pub(super) taken: Vec<Taken>,
    /// Numbers that may have been skipped for a question without them: when it was asked, and how many.
    pub(super) doubtful: Vec<(usize, u64)>,
    /// Questions that were refused for want of space: when they were asked, and for how many numbers.
    pub(super) cramped: Vec<(usize, u64)>,
    /// When somebody asked to go on above a value, and the value.
    pub(super) raises: Vec<(usize, u64)>,
    /// The modes that somebody has asked for, and when.
    pub(super) asked_for: Vec<(usize, CounterMode)>,
    /// Answers that there is no such counter.
    pub(super) unknown: Vec<Window>,
    /// Answers that its files are not what they were.
    pub(super) behind: Vec<usize>,
    /// What was said of it, by the event that tells it.
    pub(super) states: Vec<(Window, CounterState)>,
    /// Ends of the process after which it may have forgotten what it dealt, and failed calls that had the same effect.
    pub(super) lapses: Vec<usize>,
}

impl Counter<'_> {
    /// Whether it may have forgotten, by the moment of one window, what was true at that of another.
    pub(super) fn may_forget(&self, one: Window, other: Window) -> bool {
        let between = one.since.min(other.since)..one.until.max(other.until);
        self.lapses.iter().any(|lapse| between.contains(lapse))
    }
}

/// A question, until it is answered.
struct Open<'h> {
    asked: usize,
    name: &'h str,
    ask: CounterAsk,
}

/// All counters, by life and name.
pub(super) fn counters<'h>(evidence: &Evidence<'h>) -> Vec<Counter<'h>> {
    let mut counters: BTreeMap<(usize, &'h str), Counter<'h>> = BTreeMap::new();
    let mut open: BTreeMap<u64, Open<'h>> = BTreeMap::new();
    let last = evidence.events().len();
    for (event, entry) in evidence.numbered() {
        match &entry.kind {
            Kind::CounterAsked { request, name, ask } => {
                open.insert(*request, Open { asked: event, name, ask: *ask });
                // Until it is answered, and nobody knows when that is, it may be done.
                for life in evidence.lives_of(Window { since: event, until: last }) {
                    let counter = entry_of(&mut counters, life, name);
                    match ask {
                        CounterAsk::Raise { value } => counter.raises.push((event, *value)),
                        CounterAsk::Create { mode } => counter.asked_for.push((event, *mode)),
                        CounterAsk::Take { .. } | CounterAsk::Describe => {}
                    }
                }
            }
            Kind::CounterAnswered { request, answer } => {
                let Some(question) = open.remove(request) else { continue };
                note(evidence, &mut counters, (question, Some((event, *answer))));
            }
            Kind::CountersSeen { begun, counters: seen } => {
                let window = Window { since: begun.0, until: event };
                let Some(life) = evidence.life_of(window) else { continue };
                for (name, state) in seen {
                    if let Some(state) = state {
                        entry_of(&mut counters, life, name).states.push((window, *state));
                    }
                }
            }
            _ => {}
        }
    }
    for question in open.into_values() {
        note(evidence, &mut counters, (question, None));
    }
    for ((life, _), counter) in &mut counters {
        settle(evidence, *life, counter);
    }
    counters.into_values().collect()
}

fn entry_of<'a, 'h>(
    counters: &'a mut BTreeMap<(usize, &'h str), Counter<'h>>,
    life: usize,
    name: &'h str,
) -> &'a mut Counter<'h> {
    counters.entry((life, name)).or_insert_with(|| Counter { life, name, ..Counter::default() })
}

/// Notes how a question ended, if it did.
fn note<'h>(
    evidence: &Evidence<'h>,
    counters: &mut BTreeMap<(usize, &'h str), Counter<'h>>,
    (question, answer): (Open<'h>, Option<(usize, CounterAnswer)>),
) {
    let Open { asked, name, ask } = question;
    let until = answer.map_or(evidence.events().len(), |(event, _)| event);
    let window = Window { since: asked, until };
    let count = if let CounterAsk::Take { count } = ask { count } else { 0 };
    let skips = match answer.map(|(_, answer)| answer) {
        Some(CounterAnswer::Refused(Refusal { code, .. })) => code == SHUTTING_DOWN,
        Some(CounterAnswer::Unknown) | None => true,
        Some(CounterAnswer::Taken { .. }) => evidence.life_of(window).is_none(),
        Some(_) => false,
    };
    if let Some((_, CounterAnswer::Refused(Refusal { code: NO_SPACE, .. }))) = answer {
        for life in evidence.lives_of(window) {
            entry_of(counters, life, name).cramped.push((asked, count));
        }
    }
    if skips && count > 0 {
        for life in evidence.lives_of(window) {
            entry_of(counters, life, name).doubtful.push((asked, count));
        }
    }
    let Some(life) = evidence.life_of(window) else { return };
    let counter = entry_of(counters, life, name);
    match answer {
        Some((_, CounterAnswer::Taken { first, count })) => {
            counter.taken.push(Taken { first, count, window });
        }
        Some((_, CounterAnswer::State(state))) => counter.states.push((window, state)),
        Some((event, CounterAnswer::Behind)) => counter.behind.push(event),
        Some((_, CounterAnswer::Refused(Refusal { code: UNKNOWN_COUNTER, .. }))) => {
            counter.unknown.push(window);
        }
        _ => {}
    }
}

/// Puts in order what is known of a counter.
fn settle(evidence: &Evidence<'_>, life: usize, counter: &mut Counter<'_>) {
    counter.taken.sort_by_key(Taken::event);
    counter.states.sort_by_key(|(window, _)| window.until);
    counter.mode = counter.states.first().map(|(_, state)| state.mode);
    let mode = counter.mode;
    counter.lapses = evidence
        .of_life(life)
        .filter(|(_, entry)| match (&entry.kind, mode) {
            (_, Some(mode)) if mode.is_strict() => false,
            (Kind::Ended { .. }, Some(CounterMode::Memory) | None) => true,
            (Kind::Ended { end, .. }, _) => *end != End::Stopped,
            (Kind::CallFailed { target, .. }, _) => *target == Target::Counters,
            _ => false,
        })
        .map(|(event, _)| event)
        .collect();
}
