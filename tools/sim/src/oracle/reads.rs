//! An answer to a read has exactly the records that it says: from where it was asked to where it says to go on.
//!
//! - It was asked for an offset in the range that it names: `low <= from <= high`.
//! - It has every offset from `from` to `next`, once, in order, so `next` skips nothing. Only where compaction may have been on,
//!   offsets may be missing; which of them, is asked by `compaction`.
//! - It stays below `high`: what is not committed is not shown.
//! - Below `high` it makes progress: at least one batch (docs/PROTOCOL.md, Fetch).
//! - A refusal because of the range names one that the offset really lies outside of.
//! - A final read has every offset from `low` to `high` that is not in a range that was refused as damaged.
//!
//! Exact: the server takes records, range and next offset at one moment, and these are demands on one answer alone.
//! Whether two answers agree is judged by `offsets`, whether something disappears by `durability`.

use super::compaction::is_possible as is_compacted;
use super::evidence::{Evidence, OFFSET_OUT_OF_RANGE, Window, covers, merged};
use super::{Violation, violation};
use crate::history::{FinalRead, Kind, Mark, Read, ReadRefused, Seen};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (event, entry) in evidence.numbered() {
        let window = |begun: Mark| Window { since: begun.0, until: event };
        let wrong = match &entry.kind {
            Kind::Read(read) => {
                wrong_with(read, || is_compacted(evidence, read.place, window(read.begun)))
            }
            Kind::ReadRefused(refused) => wrong_with_refusal(refused),
            Kind::FinalRead(read) => {
                wrong_with_final(read, || is_compacted(evidence, read.place, window(read.begun)))
            }
            _ => None,
        };
        violations.extend(wrong.map(|wrong| violation("reads", evidence, [event], wrong)));
    }
    violations
}

fn wrong_with(read: &Read, may_have_gaps: impl Fn() -> bool) -> Option<String> {
    let Read { place, from, records, next, low, high, .. } = read;
    let of = format!("a read of {place} at {from}");
    if from < low || from > high {
        return Some(format!("{of} was answered although there is only {low}..{high}"));
    }
    let dense = (*from..).zip(records).find(|(expected, seen)| *expected != seen.offset);
    if let Some((expected, seen)) = dense
        && (!is_rising(*from, records) || !may_have_gaps())
    {
        return Some(format!("{of} has {} where {expected} belongs", seen.offset));
    }
    let end = records.last().map_or(*from, |seen| seen.offset + 1);
    if *next < end || *next > end && !may_have_gaps() {
        return Some(format!("{of} ends at {end} and says to go on at {next}"));
    }
    if *next > *high {
        return Some(format!(
            "{of} shows offsets up to {end}, but only those below {high} may be seen"
        ));
    }
    (records.is_empty() && from < high && next == from)
        .then(|| format!("{of} is empty although there is {low}..{high}"))
}

/// Whether records lie at and after an offset, each after the one before it.
fn is_rising(from: u64, records: &[Seen]) -> bool {
    let starts = records.first().is_none_or(|seen| seen.offset >= from);
    starts && records.windows(2).all(|pair| pair[0].offset < pair[1].offset)
}

fn wrong_with_refusal(refused: &ReadRefused) -> Option<String> {
    let ReadRefused { place, from, refusal, .. } = refused;
    let from = from.filter(|_| refusal.code == OFFSET_OUT_OF_RANGE)?;
    let inside = refusal.a <= from && from <= refusal.b;
    inside.then(|| {
        format!("a read of {place} at {from} was refused as outside {}..{}", refusal.a, refusal.b)
    })
}

fn wrong_with_final(read: &FinalRead, may_have_gaps: impl Fn() -> bool) -> Option<String> {
    let FinalRead { place, low, high, records, damaged, .. } = read;
    let (of, damaged) = (format!("a final read of {place}"), merged(damaged.iter().cloned()));
    let mut expected = *low;
    for seen in records {
        // A range may be refused that is only hidden behind damage, so what lies in one may be there.
        let skipped = expected..seen.offset;
        let is_whole = || skipped.is_empty() || covers(&damaged, &skipped) || may_have_gaps();
        if seen.offset < expected || !is_whole() {
            return Some(format!("{of} has {} where {expected} belongs", seen.offset));
        }
        expected = seen.offset + 1;
    }
    if expected > *high {
        return Some(format!(
            "{of} shows offsets up to {expected}, but only those below {high} may be seen"
        ));
    }
    let rest = expected..*high;
    let ends = rest.is_empty() || covers(&damaged, &rest);
    (!ends).then(|| format!("{of} ends at {expected}, but there is {low}..{high}"))
}

#[cfg(test)]
mod tests {
    use crate::history::{FinalRead, Kind, Read, Refusal};
    use crate::oracle::story::Story;

    /// A story with six records, and a lawful read of the last four of them.
    fn read() -> (Story, Read) {
        let mut story = Story::new();
        let append = story.wrote(6, 0);
        let (begun, place) = (story.mark(), story.place());
        let records = story.final_seen(append, 2..6, 0);
        (story, Read { begun, place, from: 2, records, ids: Vec::new(), next: 6, low: 0, high: 6 })
    }

    fn guilty(change: impl FnOnce(&mut Read), what: &str) {
        let (mut story, mut read) = read();
        change(&mut read);
        story.push(Kind::Read(read));
        story.assert_guilty("reads", what);
    }

    #[test]
    fn an_answer_has_what_it_says() {
        let (mut story, read) = read();
        story.push(Kind::Read(read.clone()));
        story.push(Kind::Read(Read { from: 6, records: Vec::new(), next: 6, ..read }));
        story.assert_clean();
    }

    #[test]
    fn an_answer_out_of_its_own_range_is_a_violation() {
        guilty(|read| read.low = 3, "there is only 3..6");
        guilty(|read| (read.from, read.records) = (7, Vec::new()), "there is only 0..6");
    }

    #[test]
    fn records_that_are_left_out_are_a_violation() {
        guilty(|read| drop(read.records.remove(1)), "has 4 where 3 belongs");
        guilty(|read| drop(read.records.remove(0)), "has 3 where 2 belongs");
        guilty(|read| drop(read.records.pop()), "ends at 5 and says to go on at 6");
    }

    #[test]
    fn records_that_are_there_twice_are_a_violation() {
        let twice = |read: &mut Read| read.records.insert(1, read.records[0].clone());
        guilty(twice, "has 2 where 3 belongs");
    }

    #[test]
    fn records_that_are_not_committed_are_a_violation() {
        guilty(|read| read.high = 5, "only those below 5 may be seen");
    }

    #[test]
    fn an_answer_without_progress_is_a_violation() {
        guilty(|read| (read.records, read.next) = (Vec::new(), 2), "is empty although");
    }

    #[test]
    fn a_refusal_names_a_range_that_the_offset_is_outside_of() {
        let mut story = Story::new();
        story.read_refused(Some(7), Refusal { code: 304, a: 0, b: 6 });
        story.assert_clean();
        story.read_refused(Some(6), Refusal { code: 304, a: 0, b: 6 });
        story.assert_guilty("reads", "refused as outside 0..6");
    }

    #[test]
    fn a_final_read_has_everything_that_is_not_damaged() {
        let (mut story, Read { begun, place, records, .. }) = read();
        story.strike("bit rot");
        let whole = FinalRead { begun, place, low: 2, high: 6, records, damaged: Vec::new() };
        let mut hole = whole.clone();
        hole.records.drain(1..3);
        for (read, what) in [
            (FinalRead { low: 1, ..whole.clone() }, "has 2 where 1 belongs"),
            (FinalRead { high: 7, ..whole.clone() }, "ends at 6, but there is 2..7"),
            (FinalRead { high: 5, ..whole.clone() }, "only those below 5 may be seen"),
            (hole.clone(), "has 5 where 3 belongs"),
            (
                FinalRead { damaged: std::iter::once(3..4).collect(), ..hole.clone() },
                "has 5 where 3 belongs",
            ),
        ] {
            let mut story = story.clone();
            story.push(Kind::FinalRead(read));
            story.assert_guilty("reads", what);
        }
        let damaged = vec![4..5, 3..4, 6..9, 0..2];
        story.push(Kind::FinalRead(FinalRead { low: 0, high: 9, damaged, ..hole }));
        assert_eq!(story.judge("reads"), Vec::<String>::new());
    }
}
