//! What sequencers were asked and what they answered, as lines.

use std::fmt::{self, Display, Formatter};

use pyralog_sim::history::{
    CounterAnswer, CounterAsk, CounterMode, CounterState, IdRun, IdsDealt, Kind,
};
use pyralog_sim::timeline::Answer;

use super::clients::RefusalWords;

/// Runs of ids that a line names; more are counted.
const RUNS_MAX: usize = 3;

/// A sentence about ids and counters; `None` about anything else.
pub(super) fn words(kind: &Kind) -> Option<String> {
    let words = match kind {
        Kind::IdsDealt(IdsDealt { slot, first, count, .. }) => {
            format!("ids dealt: {}", Run { slot: *slot, tick: *first, len: *count })
        }
        Kind::IdsRefused { refusal, .. } => format!("ids refused: {}", RefusalWords(*refusal)),
        Kind::CounterAsked { request, name, ask } => {
            format!("counter {request} asked: {}", asked(name, *ask))
        }
        Kind::CounterAnswered { request, answer } => {
            format!("counter {request} {}", answered(*answer))
        }
        Kind::CountersSeen { counters, .. } => {
            let seen = counters.iter().map(|(name, state)| match state {
                Some(state) => format!("{name}: {}", StateWords(*state)),
                None => format!("{name}: deals NOTHING"),
            });
            format!("counters, asked for all: {}", seen.collect::<Vec<_>>().join("; "))
        }
        Kind::SlotsTakenOver => "another machine goes on with the slots".to_owned(),
        _ => return None,
    };
    Some(words)
}

/// What a counter was asked for.
pub(super) fn asked(name: &str, ask: CounterAsk) -> String {
    match ask {
        CounterAsk::Create { mode } => format!("create {name}, {}", mode_name(mode)),
        CounterAsk::Take { count } => format!("take {count} of {name}"),
        CounterAsk::Raise { value } => format!("raise {name} above {value}"),
        CounterAsk::Describe => format!("describe {name}"),
    }
}

/// What it answered.
pub(super) fn answered(answer: CounterAnswer) -> String {
    match answer {
        CounterAnswer::Taken { first, count } => {
            format!("took {first}..={}", first.saturating_add(count.saturating_sub(1)))
        }
        CounterAnswer::State(state) => StateWords(state).to_string(),
        CounterAnswer::Behind => "is BEHIND until somebody answers for it".to_owned(),
        CounterAnswer::Unopened => "deals NOTHING".to_owned(),
        CounterAnswer::Refused(refusal) => format!("refused: {}", RefusalWords(refusal)),
        CounterAnswer::Unknown => "UNKNOWN".to_owned(),
    }
}

/// How the picture shows it.
pub(super) const fn kind_of(answer: CounterAnswer) -> Answer {
    match answer {
        CounterAnswer::Taken { .. } | CounterAnswer::State(_) => Answer::Done,
        CounterAnswer::Refused(_) | CounterAnswer::Behind | CounterAnswer::Unopened => {
            Answer::Refused
        }
        CounterAnswer::Unknown => Answer::Unknown,
    }
}

/// The ids of a read.
pub(super) struct Ids<'a>(pub(super) &'a [IdRun]);

impl Display for Ids<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for IdRun { id, len, .. } in self.0.iter().take(RUNS_MAX) {
            match id {
                0 => f.write_str(" NONE")?,
                id => {
                    let sequence = id & 8191;
                    let (slot, tick) = ((id >> 13) & 1023, (id >> 23 << 13) | sequence);
                    let slot = u16::try_from(slot).unwrap_or(u16::MAX);
                    write!(f, " {}", Run { slot, tick, len: *len })?;
                }
            }
        }
        f.write_str(if self.0.len() > RUNS_MAX { " …" } else { "" })
    }
}

/// Slot, millisecond and sequence of the first, and how many.
struct Run {
    slot: u16,
    tick: u64,
    len: u64,
}

impl Display for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { slot, tick, len } = self;
        write!(f, "slot {slot} {}ms+{} ({len})", tick >> 13, tick & 8191)
    }
}

struct StateWords(CounterState);

impl Display for StateWords {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let CounterState { mode, last, durable } = self.0;
        write!(f, "{}, last {last}, durable {durable}", mode_name(mode))
    }
}

fn mode_name(mode: CounterMode) -> String {
    match mode {
        CounterMode::Reserve { block } => format!("reserve of {block}"),
        CounterMode::Always => "always".to_owned(),
        CounterMode::Group => "group".to_owned(),
        CounterMode::UnsafeInterval => "unsafe-interval".to_owned(),
        CounterMode::Memory => "memory".to_owned(),
    }
}
