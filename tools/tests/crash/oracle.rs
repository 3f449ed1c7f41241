//! An oracle that has seen every id and every number that was ever dealt, and accepts none of them twice.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use pyralog_client::blocking::Client;
use pyralog_client::{ConsumerConfig, CounterMode, ScarabId, Stop};

/// Something that a program was given.
#[derive(Clone, Debug)]
pub(crate) enum Dealt {
    /// Ids of the id service.
    Ids(Vec<ScarabId>),
    /// Numbers of the counter of that name.
    Numbers(&'static str, Range<u64>),
    /// A record was acknowledged: its id is seen when it is read.
    Record,
}

/// Everything so far.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    ids: HashSet<u64>,
    counters: BTreeMap<&'static str, Seen>,
    /// The ids of the records of each partition, in order of offset.
    records: BTreeMap<u32, Vec<u64>>,
}

/// The numbers of a counter.
#[derive(Debug, Default)]
struct Seen {
    numbers: HashSet<u64>,
    highest: u64,
}

impl Oracle {
    /// Takes note of what was dealt. Panics if it was dealt before.
    pub(crate) fn note(&mut self, dealt: &Dealt) {
        match dealt {
            Dealt::Ids(ids) => {
                for id in ids {
                    assert!(self.ids.insert(id.get()), "the id {id} ({}) came twice", id.get());
                }
            }
            Dealt::Numbers(counter, numbers) => {
                let seen = self.counters.entry(counter).or_default();
                assert!(numbers.start > 0, "{counter} counts from one, not {numbers:?}");
                for number in numbers.clone() {
                    assert!(seen.numbers.insert(number), "{counter}: {number} came twice");
                }
                seen.highest = seen.highest.max(numbers.end - 1);
            }
            Dealt::Record => {}
        }
    }

    /// Reads a log from its beginning: every record has an id, that of an earlier reading if it was read before, and one that
    /// nobody else has if not.
    pub(crate) fn read(&mut self, client: &Client, log: &str) {
        let config = ConsumerConfig { stop: Stop::AtEnd, ..ConsumerConfig::default() };
        let mut consumer = client.consumer(log, config).unwrap();
        while let Some(batch) = consumer.next().unwrap() {
            let partition = batch.partition().get();
            let known = self.records.entry(partition).or_default();
            for record in batch.records() {
                let (offset, id) = (record.offset.get(), record.scarab().expect("it has an id"));
                if let Some(before) = known.get(usize::try_from(offset).unwrap()) {
                    assert_eq!(*before, id.get(), "{partition}/{offset} has another id");
                    continue;
                }
                assert_eq!(offset, known.len() as u64, "an offset of partition {partition}");
                assert!(
                    self.ids.insert(id.get()),
                    "the id {id} of {partition}/{offset} came twice"
                );
                known.push(id.get());
            }
        }
    }

    /// What a server says of its counters is no less than what was seen of them.
    pub(crate) fn check_told(&self, client: &Client) {
        for (counter, seen) in &self.counters {
            let told = client.describe_counter(counter).unwrap();
            assert_eq!(told.problem, "", "{told:?}");
            assert!(told.last >= seen.highest, "{} was dealt, {told:?}", seen.highest);
            assert!(told.durable >= told.last, "{told:?}");
        }
    }

    /// How many numbers of a counter nobody got.
    pub(crate) fn skipped(&self, counter: &str) -> u64 {
        self.counters.get(counter).map_or(0, |seen| seen.highest - seen.numbers.len() as u64)
    }

    /// The highest number of a counter.
    pub(crate) fn highest(&self, counter: &str) -> u64 {
        self.counters.get(counter).map_or(0, |seen| seen.highest)
    }

    /// Ids of the id service and of records, numbers of counters, and records.
    pub(crate) fn tally(&self) -> (usize, usize, usize) {
        let numbers = self.counters.values().map(|seen| seen.numbers.len()).sum();
        (self.ids.len(), numbers, self.records.values().map(Vec::len).sum())
    }
}

/// The counters that tests use: each promises that no number comes twice.
pub(crate) const COUNTERS: [(&str, CounterMode); 3] = [
    ("reserved", CounterMode::Reserve),
    ("always", CounterMode::Always),
    ("grouped", CounterMode::Group),
];

/// Numbers of a reservation: small, so that many are made.
pub(crate) const BLOCK: u64 = 500;

#[test]
#[should_panic(expected = "came twice")]
fn an_id_that_comes_twice_is_seen() {
    let mut oracle = Oracle::default();
    let id = ScarabId::from_raw(7);
    oracle.note(&Dealt::Ids(vec![id, ScarabId::from_raw(8)]));
    oracle.note(&Dealt::Ids(vec![id]));
}

#[test]
#[should_panic(expected = "always: 4 came twice")]
fn a_number_that_comes_twice_is_seen() {
    let mut oracle = Oracle::default();
    oracle.note(&Dealt::Numbers("reserved", 1..5));
    oracle.note(&Dealt::Numbers("always", 3..5));
    assert_eq!((oracle.skipped("always"), oracle.skipped("reserved")), (2, 0));
    oracle.note(&Dealt::Numbers("always", 4..6));
}
