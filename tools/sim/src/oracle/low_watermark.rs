//! The low watermark only moves forward, and records go only for a reason.
//!
//! - It never goes back: a reader that was told that records are gone will not look for them again. In a log in memory it
//!   begins anew with the process, as the offsets do. A truncation that was acknowledged holds from then on.
//! - A durable log keeps its beginning, but for records that are reported as damaged, that somebody asked to truncate, or that
//!   retention may have taken: everything that went is older than its age, or there were more bytes than it keeps.
//! - A log in memory drops records when it is over its budget, or when they are older than its time to live, and the
//!   oldest first (docs/PROTOCOL.md, `LogConfig`). Nothing is over its budget that holds less than
//!   [a sixteenth](OVERHEAD_MAX) of it, so as long as no more was sent, nothing may go. No record goes before its time to
//!   live has passed by the clock that counts, which is the wall clock: when that jumped, nothing is said.
//!
//! Exact for the first, and for truncation. The age of what went is judged from the moment at which the newest of it was sent,
//! and not at all once the wall clock has jumped. Bytes are those of files, which a client does not see: as many as [each append
//! may take](STORED_MAX) are counted for all that was sent. The last demand is lenient, because what a budget counts is memory, not records: groups of batches
//! in buffers that are at least a quarter full, a chunk being filled, one being emptied and a group being gathered, which
//! together never come to sixteen times the payload at the smallest budget (1 MiB). It finds logs that drop what they
//! should keep, not those that keep a little less than they could.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Append, Bound, Evidence, Partition, Range, Window, covers, merged};
use super::{Violation, violation};
use crate::history::{Kind, Outcome, Place, Storage, Truncated};

/// Most bytes of memory that a byte of payload takes, over a whole partition.
const OVERHEAD_MAX: u64 = 16;
/// Most bytes of a file that an attempt of an append takes besides its payload: its block, and that of a mark.
const STORED_MAX: u64 = 2 * 4096;
/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;
/// Nanoseconds after which nothing arrives any more that was given up: see `history`.
const LATE_MAX: u64 = 60_000 * MS;

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut appends: BTreeMap<Place, Vec<&Append<'_>>> = BTreeMap::new();
    for append in &evidence.appends {
        appends.entry(append.place).or_default().push(append);
    }
    for (event, entry) in evidence.numbered() {
        if let Kind::Truncated(Truncated { place, before, low, .. }) = &entry.kind
            && low < before
        {
            let what = format!("{place} was truncated before {before}, and begins at {low}");
            violations.push(violation("low_watermark", evidence, [event], what));
        }
    }
    for partition in evidence.partitions.values() {
        let appends = appends.get(&partition.place).map_or(&[][..], Vec::as_slice);
        backwards(evidence, partition, &mut violations);
        match partition.storage {
            Some(Storage::Durable) => gone(evidence, partition, appends, &mut violations),
            Some(Storage::Memory) => {
                let traffic = Traffic::of(evidence, partition, appends);
                evicted(evidence, partition, &traffic, &mut violations);
            }
            None => {}
        }
    }
    violations
}

fn backwards(evidence: &Evidence<'_>, partition: &Partition, violations: &mut Vec<Violation>) {
    let (mut known, mut cuts) = (Bound::default(), partition.cuts.iter().peekable());
    let durable = partition.storage == Some(Storage::Durable);
    let mut truncated = partition.truncated.iter().peekable();
    for range in &partition.ranges {
        while let Some(cut) = cuts.next_if(|cut| cut.event < range.window.until) {
            while let Some((event, low)) = truncated.next_if(|(event, _)| *event < cut.event) {
                known.raise(*event, *low);
            }
            if !durable {
                known.set(cut.event, 0);
            }
        }
        while let Some((event, low)) = truncated.next_if(|(event, _)| *event < range.window.until) {
            known.raise(*event, *low);
        }
        let fell = !durable && !partition.cuts_in(range.window).is_empty();
        let least = if fell { 0 } else { known.least(range.window, &[]) };
        if range.low < least {
            let what = format!(
                "the low watermark of {} is {}, and was at least {least} before",
                partition.place, range.low
            );
            violations.push(violation("low_watermark", evidence, [range.window.until], what));
        }
        if range.low > range.high {
            let what = format!(
                "the low watermark of {} is {}, above the high watermark {}",
                partition.place, range.low, range.high
            );
            violations.push(violation("low_watermark", evidence, [range.window.until], what));
        }
        if !fell {
            known.raise(range.window.until, range.low);
        }
    }
}

/// A durable log has lost its beginning.
fn gone(
    evidence: &Evidence<'_>,
    partition: &Partition,
    appends: &[&Append<'_>],
    violations: &mut Vec<Violation>,
) {
    let reported = merged(partition.reports.iter().map(|(_, range)| range.clone()));
    let mut explained = 0;
    for range in &partition.ranges {
        if range.low <= explained {
            continue;
        }
        let is_damaged = covers(&reported, &(explained..range.low));
        if is_damaged
            || is_truncated(partition, range)
            || is_over(evidence, partition, appends, range)
        {
            explained = range.low;
            continue;
        }
        let what = format!("{} begins at {}, not at {explained}", partition.place, range.low);
        violations.push(violation("low_watermark", evidence, [range.window.until], what));
    }
}

fn is_truncated(partition: &Partition, range: &Range) -> bool {
    let mut asked = partition.truncations.iter();
    asked.any(|(event, before)| *event < range.window.until && range.low <= *before)
}

/// Whether retention may have taken everything below a range.
fn is_over(
    evidence: &Evidence<'_>,
    partition: &Partition,
    appends: &[&Append<'_>],
    range: &Range,
) -> bool {
    let until = range.window.until;
    let went = partition.facts.iter().filter(|fact| fact.base < range.low && fact.event() < until);
    let newest = went.map(|fact| evidence.appends[fact.append].first_sent()).max();
    let since = newest.unwrap_or(evidence.span_of(partition.life).since);
    let log = (partition.life, partition.place.log);
    let Some(bounds) = evidence.logs.life(log, Window { since, until }) else { return true };
    let is_old = |ms| newest.is_none_or(|newest| !evidence.is_younger(newest, until, ms));
    let sent = appends.iter().filter(|append| append.first_sent() < until);
    let bytes = |append: &Append<'_>| append.sent.iter().map(|sent| sent.bytes + STORED_MAX).sum();
    let stored = sent.map(|append| -> u64 { bytes(append) }).fold(STORED_MAX, u64::saturating_add);
    bounds.retention_ms.is_some_and(is_old)
        || bounds.retention_bytes.is_some_and(|most| stored > most)
}

/// A log in memory dropped records that it had room and time for.
fn evicted(
    evidence: &Evidence<'_>,
    partition: &Partition,
    traffic: &Traffic,
    violations: &mut Vec<Violation>,
) {
    let mut facts = partition.facts.iter().peekable();
    let mut cuts = partition.cuts.iter().peekable();
    // Appends of this life of the process, by offset.
    let mut known = BTreeMap::new();
    let mut low = 0;
    for range in &partition.ranges {
        while let Some(cut) = cuts.next_if(|cut| cut.event < range.window.until) {
            while facts.next_if(|fact| fact.window.since <= cut.event).is_some() {}
            known.clear();
            low = 0;
        }
        while let Some(fact) = facts.next_if(|fact| fact.event() < range.window.until) {
            known.insert(fact.base, fact.append);
        }
        if !partition.cuts_in(range.window).is_empty() || range.low <= low {
            continue;
        }
        // The newest of those that went: everything behind it was still there when it was dropped.
        if is_truncated(partition, range) {
            low = range.low;
            continue;
        }
        if let Some((base, append)) = known.range(low..range.low).next_back() {
            let reason = Reason { evidence, partition, traffic };
            if let Some(missing) = reason.missing(*append, range) {
                let what = format!(
                    "{} at {base} of {} was dropped, {missing}",
                    evidence.name(*append),
                    partition.place
                );
                let events = [evidence.appends[*append].begun, range.window.until];
                violations.push(violation("low_watermark", evidence, events, what));
            }
        }
        low = range.low;
    }
}

/// Why a record may be dropped.
struct Reason<'a, 'h> {
    evidence: &'a Evidence<'h>,
    partition: &'a Partition,
    traffic: &'a Traffic,
}

impl Reason<'_, '_> {
    /// What speaks against an append having been dropped when a range was told; `None` if nothing does.
    fn missing(&self, append: usize, range: &Range) -> Option<String> {
        let Self { evidence, partition, traffic } = self;
        let append = &evidence.appends[append];
        let log = (partition.life, partition.place.log);
        let window = Window { since: append.first_sent(), until: range.window.until };
        let (budget, _) = evidence.logs.budgets(log, window)?;
        let before = partition.cuts_in(Window { since: 0, until: range.window.since });
        let born = before.last().map_or(0, |cut| evidence.at(cut.event)).saturating_sub(LATE_MAX);
        let bytes = traffic.since(append.begun, window.until, born);
        if bytes.saturating_mul(OVERHEAD_MAX) >= budget {
            return None;
        }
        let Some(ttl) = evidence.logs.shortest_ttl(log, window) else {
            return Some(format!("although at most {bytes} bytes of {budget} came after it"));
        };
        let age = evidence.at(window.until) - evidence.at(window.since);
        // One part in a hundred: a clock that runs fast.
        let old = age.saturating_add(age / 100) >= ttl.saturating_mul(MS);
        let jumped = evidence
            .numbered()
            .take(window.until)
            .any(|(_, event)| matches!(event.kind, Kind::ClockJumped { .. }));
        (!old && !jumped).then(|| format!("{} ms old of {ttl}", age / MS))
    }
}

/// How many bytes were sent to a partition up to each event, and from where on they may lie behind an append.
struct Traffic {
    /// By event: bytes sent up to it.
    sent: Vec<(usize, u64)>,
    /// By event at which an append began: the first event of an append that was still on its way.
    on_their_way: Vec<(usize, usize)>,
    /// By the time at which they were given up: bytes of appends that may have been taken, from there on.
    unknown: Vec<(u64, u64)>,
}

impl Traffic {
    fn of(evidence: &Evidence<'_>, partition: &Partition, appends: &[&Append<'_>]) -> Self {
        // Those of an earlier disk may only land late if nobody knows what became of them.
        let life = evidence.span_of(partition.life);
        let born = evidence.at(life.since).saturating_sub(LATE_MAX);
        let appends = appends.iter().copied().filter(|append| {
            let over = append.end.is_some_and(|(end, outcome)| match outcome {
                Outcome::Unknown => evidence.at(end) < born,
                Outcome::Acked { .. } | Outcome::Refused(_) => end < life.since,
            });
            append.begun < life.until && !over
        });
        let appends: Vec<&Append<'_>> = appends.collect();
        let all = appends.iter().flat_map(|append| &append.sent);
        let mut sent: Vec<_> = all.map(|sent| (sent.event, sent.bytes)).collect();
        sent.sort_unstable();
        let mut sum = 0_u64;
        for (_, bytes) in &mut sent {
            sum = sum.saturating_add(*bytes);
            *bytes = sum;
        }
        let unknown = appends.iter().filter_map(|append| match append.end {
            None => Some((u64::MAX, append)),
            Some((event, Outcome::Unknown)) => Some((evidence.at(event), append)),
            Some(_) => None,
        });
        let bytes = |append: &Append<'_>| append.sent.iter().map(|sent| sent.bytes).sum();
        let mut unknown: Vec<(u64, u64)> =
            unknown.map(|(end, append)| (end, bytes(append))).collect();
        unknown.sort_unstable();
        let mut sum = 0_u64;
        for (_, bytes) in unknown.iter_mut().rev() {
            sum = sum.saturating_add(*bytes);
            *bytes = sum;
        }
        let mut open = BTreeSet::new();
        let mut ends: Vec<_> = appends.iter().filter_map(|a| Some((a.acked()?, a.begun))).collect();
        ends.sort_unstable();
        let mut ends = ends.into_iter().peekable();
        let on_their_way = appends.iter().map(|append| {
            if append.acked().is_some() {
                open.insert(append.begun);
            }
            while let Some((_, begun)) = ends.next_if(|(end, _)| *end < append.begun) {
                open.remove(&begun);
            }
            (append.begun, open.first().copied().unwrap_or(append.begun).min(append.begun))
        });
        let on_their_way = on_their_way.collect();
        Self { sent, on_their_way, unknown }
    }

    /// The most bytes that may lie behind the append that began at `begun`, it included, before `until`. What was
    /// given up before the time `born` is not among them.
    fn since(&self, begun: usize, until: usize, born: u64) -> u64 {
        let unknown = self.unknown.partition_point(|(end, _)| *end < born);
        let unknown = self.unknown.get(unknown).map_or(0, |(_, bytes)| *bytes);
        let at = self.on_their_way.partition_point(|(event, _)| *event < begun);
        let from = self.on_their_way.get(at).map_or(begun, |(_, first)| *first);
        let bytes = |event| {
            let after = self.sent.partition_point(|(sent, _)| *sent < event);
            after.checked_sub(1).map_or(0, |at| self.sent[at].1)
        };
        (bytes(until) - bytes(from)).saturating_add(unknown)
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{End, Kind, Level, Life, LogChanges, LogSettings, Storage, Truncated};
    use crate::oracle::story::{Story, durable, in_memory};

    const BUDGET: u64 = 1 << 20;

    #[test]
    fn a_low_watermark_that_goes_back_is_a_violation() {
        let mut story = Story::in_memory(BUDGET);
        story.wrote_bytes(4, 0, BUDGET);
        story.wrote_bytes(4, 4, BUDGET);
        story.watermarks(4, 8);
        story.assert_clean();
        story.watermarks(3, 8);
        story.assert_guilty("low_watermark", "was at least 4 before");
    }

    #[test]
    fn a_log_in_memory_begins_anew_with_the_process() {
        let mut story = Story::in_memory(BUDGET);
        story.wrote_bytes(4, 0, BUDGET);
        story.wrote_bytes(4, 4, BUDGET);
        story.watermarks(4, 8);
        story.end(End::Process);
        story.watermarks(0, 0);
        story.wrote(1, 0);
        story.assert_clean();
    }

    #[test]
    fn answers_that_overtake_each_other_are_no_way_back() {
        let mut story = Story::in_memory(BUDGET);
        story.wrote_bytes(4, 0, BUDGET);
        let early = story.mark();
        story.wrote_bytes(4, 4, BUDGET);
        story.watermarks(4, 8);
        story.watermarks_since(early, 0, 4);
        story.assert_clean();
    }

    #[test]
    fn a_durable_log_that_loses_its_beginning_is_a_violation() {
        let mut story = Story::of(Level::Synced);
        story.wrote(4, 0);
        story.watermarks(2, 4);
        story.assert_guilty("low_watermark", "begins at 2, not at 0");
    }

    fn with_life(life: Life) -> Story {
        Story::with(LogSettings { life, ..durable(Level::Synced) })
    }

    #[test]
    fn the_beginning_may_be_truncated_as_far_as_was_asked() {
        let mut story = Story::new();
        story.wrote(4, 0);
        story.truncate(2);
        story.watermarks(2, 4);
        story.assert_clean();
        story.watermarks(3, 4);
        story.assert_guilty("low_watermark", "begins at 3, not at 2");
    }

    #[test]
    fn a_truncation_that_a_restart_has_forgotten_is_a_violation() {
        let mut story = Story::new();
        story.wrote(4, 0);
        story.truncate(2);
        story.watermarks(2, 4);
        story.end(End::Power);
        story.watermarks(0, 4);
        story.assert_guilty("low_watermark", "was at least 2 before");
    }

    #[test]
    fn what_is_old_enough_may_go() {
        let life = Life { retention_ms: 10, ..Life::default() };
        let mut story = with_life(life);
        story.wrote(2, 0);
        story.pass(10_000_000);
        story.wrote(2, 2);
        story.watermarks(2, 4);
        story.assert_clean();
        story.watermarks(4, 4);
        story.assert_guilty("low_watermark", "begins at 4, not at 2");
        story.assert_guilty_only("low_watermark");
    }

    #[test]
    fn what_is_too_much_may_go() {
        let life = Life { retention_bytes: 1 << 20, ..Life::default() };
        for (bytes, is_over) in [(400_000, false), (600_000, true)] {
            let mut story = with_life(life);
            story.wrote_bytes(4, 0, bytes);
            story.wrote_bytes(4, 4, bytes);
            story.watermarks(4, 8);
            assert_eq!(story.judge("low_watermark").is_empty(), is_over, "{bytes}");
        }
    }

    fn truncated(story: &mut Story, (before, low): (u64, u64)) {
        story.truncate(before);
        let (begun, place) = (story.mark(), story.place());
        story.push(Kind::Truncated(Truncated { begun, place, before, low }));
    }

    #[test]
    fn a_truncation_that_was_acknowledged_holds() {
        let mut story = Story::new();
        story.wrote(8, 0);
        truncated(&mut story, (4, 4));
        story.watermarks(4, 8);
        story.assert_clean();
        let mut back = story.clone();
        back.watermarks(3, 8);
        back.assert_guilty("low_watermark", "is 3, and was at least 4 before");
        truncated(&mut story, (6, 6));
        story.watermarks(4, 8);
        story.assert_guilty("low_watermark", "is 4, and was at least 6 before");
    }

    #[test]
    fn a_truncation_that_leaves_something_is_a_violation() {
        let mut story = Story::new();
        story.wrote(8, 0);
        truncated(&mut story, (4, 3));
        story.assert_guilty("low_watermark", "truncated before 4, and begins at 3");
    }

    #[test]
    fn the_beginning_may_be_damaged() {
        let mut story = Story::of(Level::Synced);
        story.wrote(4, 0);
        story.strike("bit rot");
        let place = story.place();
        story.push(Kind::DamageReported { place, range: 0..2 });
        story.watermarks(2, 4);
        story.assert_clean();
    }

    #[test]
    fn a_low_watermark_above_the_high_one_is_a_violation() {
        let mut story = Story::in_memory(BUDGET);
        story.watermarks(2, 1);
        story.assert_guilty("low_watermark", "above the high watermark");
    }

    #[test]
    fn dropping_what_there_was_room_for_is_a_violation() {
        let mut story = Story::in_memory(BUDGET);
        story.wrote_bytes(4, 0, 1000);
        story.wrote_bytes(4, 4, 1000);
        story.watermarks(4, 8);
        story.assert_guilty("low_watermark", "at most 2000 bytes of 1048576 came after it");
    }

    #[test]
    fn the_smallest_budget_that_is_possible_counts() {
        let mut story = Story::in_memory(64 * BUDGET);
        let smaller = LogChanges { memory_bytes_max: Some(BUDGET), ..LogChanges::default() };
        story.alter_without_answer(smaller);
        story.wrote_bytes(4, 0, BUDGET);
        story.watermarks(4, 4);
        story.assert_clean();
        let larger = LogChanges { memory_bytes_max: Some(64 * BUDGET), ..LogChanges::default() };
        let mut story = Story::in_memory(BUDGET);
        story.alter(larger);
        story.wrote_bytes(4, 0, BUDGET);
        story.watermarks(4, 4);
        story.assert_guilty("low_watermark", "at most 1048576 bytes of 67108864");
    }

    #[test]
    fn what_was_given_up_long_before_the_process_began_needs_no_room() {
        let mut story = Story::in_memory(BUDGET);
        let given_up = story.begun(1);
        story.sent_bytes(given_up, BUDGET);
        story.unknown(given_up);
        let refused = story.begun(1);
        story.sent_bytes(refused, BUDGET);
        story.refused(refused, 500);
        story.end(End::Process);
        let mut late = story.clone();
        late.wrote_bytes(4, 0, 1000);
        late.watermarks(4, 4);
        late.assert_clean();
        story.pass(super::LATE_MAX);
        story.end(End::Process);
        story.wrote_bytes(4, 0, 1000);
        story.watermarks(4, 4);
        story.assert_guilty("low_watermark", "at most 1000 bytes");
    }

    #[test]
    fn what_is_on_its_way_may_need_the_room() {
        let mut story = Story::in_memory(BUDGET);
        let unknown = story.begun(1);
        story.sent_bytes(unknown, BUDGET);
        story.wrote_bytes(4, 0, 1000);
        story.watermarks(4, 8);
        story.assert_clean();
    }

    #[test]
    fn what_is_too_old_may_go() {
        let ttl_ms = 50;
        let settings = LogSettings { ttl_ms, ..in_memory(BUDGET) };
        assert_eq!(settings.storage, Storage::Memory);
        let mut story = Story::with(settings);
        story.wrote_bytes(4, 0, 1000);
        story.pass(60 * 1_000_000);
        story.wrote_bytes(4, 4, 1000);
        story.watermarks(4, 8);
        story.assert_clean();
        story.watermarks(8, 8);
        story.assert_guilty("low_watermark", "ms old of 50");
        let mut jumped = Story::with(settings);
        jumped.wrote_bytes(4, 0, 1000);
        jumped.push(Kind::ClockJumped { by_us: 1_000_000 });
        jumped.watermarks(4, 4);
        jumped.assert_clean();
    }
}
