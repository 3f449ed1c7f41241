//! The properties that every history must have, whatever was broken while it was made.
//!
//! Each property is a file of its own, apart from the code that it judges, and says why it must hold. An oracle reads a
//! history and nothing else, so it is tested with histories that are written by hand: clean ones that it passes, and for
//! every kind of violation one that it must not. What the oracles share, and why they never complain about what may
//! happen, is in `evidence`; what those about ids and those about counters share is in `ids` and `counters`.
//!
//! A new property is a file with a function from the evidence to violations and a line in [`all`].

use std::fmt;

use crate::history::History;
use evidence::Evidence;

mod atomicity;
mod catalog;
mod checkpoints;
mod clock_astray;
mod compaction;
mod content;
mod counter_states;
mod counters;
mod damage;
mod duplicates;
mod durability;
mod evidence;
mod high_watermark;
mod honesty;
mod id_order;
mod ids;
mod low_watermark;
mod memory_budget;
mod number_gaps;
mod number_order;
mod object_store;
mod offsets;
mod panics;
mod progress;
mod reads;
mod record_ids;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tests;
mod unique_ids;
mod unique_numbers;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The oracle that says so.
    pub oracle: &'static str,
    /// When it showed, in nanoseconds of virtual time.
    pub at: u64,
    /// What is wrong, in one sentence.
    pub what: String,
    /// The events concerned, as indices of [`History::events`], in order.
    pub events: Vec<usize>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { oracle, at, what, events } = self;
        write!(f, "{oracle}: {what} (at {}.{:06} ms, events", at / 1_000_000, at % 1_000_000)?;
        for event in events {
            write!(f, " {event}")?;
        }
        f.write_str(")")
    }
}

/// A property.
#[derive(Clone, Copy, Debug)]
pub struct Oracle {
    /// Its name, which is that of its file.
    pub name: &'static str,
    /// What a history has against it.
    pub judge: fn(&History) -> Vec<Violation>,
    /// The same, if the evidence was gathered already.
    weigh: fn(&Evidence<'_>) -> Vec<Violation>,
}

/// An entry of the list: the name of an oracle and of its file are the same.
macro_rules! oracles {
    ($($name:ident),+ $(,)?) => {
        &[$(Oracle {
            name: stringify!($name),
            judge: |history| $name::judge(&Evidence::of(history)),
            weigh: $name::judge,
        }),+]
    };
}

/// All properties, the gravest first.
#[must_use]
pub const fn all() -> &'static [Oracle] {
    oracles![
        panics,
        content,
        durability,
        offsets,
        unique_ids,
        unique_numbers,
        duplicates,
        atomicity,
        honesty,
        damage,
        reads,
        compaction,
        checkpoints,
        object_store,
        low_watermark,
        high_watermark,
        memory_budget,
        catalog,
        record_ids,
        id_order,
        number_order,
        number_gaps,
        counter_states,
        clock_astray,
        progress,
    ]
}

/// What a history has against all properties, oracle by oracle. What is wrong with the history itself comes first, by
/// the name of `history`: then it was not recorded as its rules say, and nothing else can be relied upon.
///
/// Takes time in proportion to the events and the records in them, but for a logarithm.
#[must_use]
pub fn judge(history: &History) -> Vec<Violation> {
    let evidence = Evidence::of(history);
    let malformed = evidence.malformed.iter().cloned();
    malformed.chain(all().iter().flat_map(|oracle| (oracle.weigh)(&evidence))).collect()
}

/// A violation that shows at the last of `events`.
fn violation(
    oracle: &'static str,
    evidence: &Evidence<'_>,
    events: impl IntoIterator<Item = usize>,
    what: impl Into<String>,
) -> Violation {
    let mut events: Vec<_> = events.into_iter().collect();
    events.sort_unstable();
    events.dedup();
    let at = events.last().map_or(0, |event| evidence.at(*event));
    Violation { oracle, at, what: what.into(), events }
}
