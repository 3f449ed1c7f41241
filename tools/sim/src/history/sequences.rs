//! What is asked of the sequencers, and what they answered: ids, and numbers of counters.

use std::collections::BTreeMap;

use super::{History, Kind, Mark, Refusal};

/// Consecutive Scarab ids of records that a reader got: all of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRun {
    /// Offset of the first record.
    pub offset: u64,
    /// How many records.
    pub len: u64,
    /// The id of the first; those after it are the ticks after its. 0: the record has none.
    pub id: u64,
}

/// A run of ids that the id service dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdsDealt {
    /// Taken before they were asked for.
    pub begun: Mark,
    /// The slot.
    pub slot: u16,
    /// The first tick.
    pub first: u64,
    /// How many ticks.
    pub count: u64,
}

/// What a counter does before a number leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterMode {
    /// It reserves so many durably.
    Reserve {
        /// Numbers of a reservation.
        block: u64,
    },
    /// It makes each request durable.
    Always,
    /// It makes all requests durable that wait.
    Group,
    /// It makes durable what it has dealt, now and then.
    UnsafeInterval,
    /// Nothing.
    Memory,
}

impl CounterMode {
    /// Whether no number comes twice, whatever happens.
    #[must_use]
    pub const fn is_strict(self) -> bool {
        matches!(self, Self::Reserve { .. } | Self::Always | Self::Group)
    }
}

/// What a client asks of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterAsk {
    /// That there be one.
    Create {
        /// How it is to work.
        mode: CounterMode,
    },
    /// Numbers.
    Take {
        /// How many.
        count: u64,
    },
    /// That it go on above a value.
    Raise {
        /// The value.
        value: u64,
    },
    /// How it stands.
    Describe,
}

/// How a counter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterState {
    /// How it works.
    pub mode: CounterMode,
    /// The last number that was dealt.
    pub last: u64,
    /// The number up to which none is dealt twice, whatever happens.
    pub durable: u64,
}

/// How a question to a counter ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterAnswer {
    /// These numbers were taken.
    Taken {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// So it stands: the answer to all other questions.
    State(CounterState),
    /// Its file is not what it was: it deals nothing until somebody answers for it.
    Behind,
    /// It is there, and deals nothing for another reason.
    Unopened,
    /// Certainly no number was dealt for it.
    Refused(Refusal),
    /// Numbers may have been dealt for it, or may yet be.
    Unknown,
}

impl History {
    /// The highest number of a counter that anybody may have got, as far as clients know: where to go on above if it is lost.
    #[must_use]
    pub fn highest_number(&self, counter: &str) -> u64 {
        let (mut highest, mut doubtful) = (0_u64, 0_u64);
        let mut asked: BTreeMap<u64, u64> = BTreeMap::new();
        for event in self.events() {
            match &event.kind {
                Kind::CounterAsked { request, name, ask } if name == counter => {
                    let count = match ask {
                        CounterAsk::Take { count } => *count,
                        CounterAsk::Raise { value } => {
                            highest = highest.max(*value);
                            0
                        }
                        CounterAsk::Create { .. } | CounterAsk::Describe => 0,
                    };
                    doubtful = doubtful.saturating_add(count);
                    asked.insert(*request, count);
                }
                Kind::CounterAnswered { request, answer } => {
                    let Some(count) = asked.remove(request) else { continue };
                    match answer {
                        CounterAnswer::Taken { first, count } => {
                            highest = highest.max(first.saturating_add(count - 1));
                        }
                        CounterAnswer::State(state) => highest = highest.max(state.last),
                        CounterAnswer::Unknown => continue,
                        CounterAnswer::Behind
                        | CounterAnswer::Unopened
                        | CounterAnswer::Refused(_) => {}
                    }
                    doubtful -= count;
                }
                Kind::CountersSeen { counters, .. } => {
                    let seen = counters.iter().filter(|(name, _)| name == counter);
                    let lasts = seen.filter_map(|(_, state)| state.map(|state| state.last));
                    highest = lasts.fold(highest, u64::max);
                }
                _ => {}
            }
        }
        highest.saturating_add(doubtful)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_is_of_everything_that_was_said_and_may_have_been() {
        let mut history = History::new();
        let mut tell = |kind| history.push(1, 1, kind);
        let asked = |request, name: &str, ask| {
            let name = name.to_owned();
            Kind::CounterAsked { request, name, ask }
        };
        let answered = |request, answer| Kind::CounterAnswered { request, answer };
        let state = CounterState { mode: CounterMode::Always, last: 30, durable: 99 };
        tell(asked(1, "a", CounterAsk::Take { count: 5 }));
        tell(answered(1, CounterAnswer::Taken { first: 6, count: 5 }));
        tell(asked(2, "a", CounterAsk::Take { count: 7 }));
        tell(answered(2, CounterAnswer::Unknown));
        tell(asked(3, "a", CounterAsk::Take { count: 11 }));
        tell(answered(3, CounterAnswer::Behind));
        tell(asked(4, "b", CounterAsk::Take { count: 1_000 }));
        assert_eq!(history.highest_number("a"), 10 + 7);
        let counters = vec![("a".to_owned(), Some(state)), ("b".to_owned(), None)];
        history.push(1, 1, Kind::CountersSeen { begun: Mark(0), counters });
        assert_eq!(history.highest_number("a"), 30 + 7);
        history.push(1, 1, asked(5, "a", CounterAsk::Raise { value: 50 }));
        assert_eq!(history.highest_number("a"), 50 + 7);
        assert_eq!(history.highest_number("b"), 1_000);
    }
}
