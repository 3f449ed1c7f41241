//! What a run of compaction does: which segments it looks at, from where on the keys are new, and whether it is worth it.

use std::ops::Range;
use std::time::Duration;

use super::Policy;
use crate::ids::{Offset, Timestamp};
use crate::partition::Closed;

/// What compaction remembers of a partition from run to run. Below `clean` every older record of a key that has a newer one
/// below `clean` is gone, but for those that had to stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The records below it were compacted.
    pub(crate) clean: Offset,
    /// Append time of the oldest tombstone below it, if one is left.
    pub(crate) oldest_tombstone: Option<Timestamp>,
    /// When the last run ended.
    pub(crate) ran: Timestamp,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The closed segments, in order.
    pub(crate) closed: &'a [Closed],
    /// First offset that can be read.
    pub(crate) low: Offset,
    /// Segments that begin before it are not touched: they lie in the object store.
    pub(crate) from: Offset,
    /// Segments that end behind it are not touched: it is not on stable storage, or damaged.
    pub(crate) until: Offset,
    /// What is done.
    pub(crate) progress: Progress,
    /// Now.
    pub(crate) now: Timestamp,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The segments, in order.
    pub(crate) segments: Vec<Closed>,
    /// Of which the map has to know the keys: the rest of the segments is clean.
    pub(crate) dirty: Range<Offset>,
    /// Tombstones below the dirty part may go, too.
    pub(crate) clears_tombstones: bool,
    /// Tombstones that were appended before it may go.
    pub(crate) expires: Timestamp,
}

/// What there is to do, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Bytes of the segments that may be touched.
    pub(crate) bytes: u64,
    /// Bytes of those with records that were not compacted yet.
    pub(crate) dirty_bytes: u64,
}

/// The segments that may be touched: the first ones, up to the first that is too young or must not.
fn eligible<'a>(policy: &Policy, facts: &Facts<'a>) -> &'a [Closed] {
    let young = before(facts.now, policy.lag);
    let first = facts.closed.partition_point(|closed| closed.base < facts.from);
    let rest = &facts.closed[first..];
    let is_eligible = |closed: &&Closed| closed.end <= facts.until && closed.append_max <= young;
    &rest[..rest.iter().take_while(is_eligible).count()]
}

/// What there is to do.
pub(crate) fn work(policy: &Policy, facts: &Facts<'_>) -> Work {
    let eligible = eligible(policy, facts);
    let dirty = eligible.iter().filter(|closed| closed.end > facts.progress.clean);
    let bytes = |closed: &Closed| closed.end_position.get();
    Work { bytes: eligible.iter().map(bytes).sum(), dirty_bytes: dirty.map(bytes).sum() }
}

/// The plan, or `None` if it is not worth it yet: the dirty part is small beside the clean one, and no tombstone has waited for
/// twice its time.
pub(crate) fn plan(policy: &Policy, facts: &Facts<'_>) -> Option<Plan> {
    let segments = eligible(policy, facts);
    let (first, last) = (segments.first()?, segments.last()?);
    let Work { bytes, dirty_bytes } = work(policy, facts);
    let percent = u128::from(policy.dirty_percent);
    let is_dirty = dirty_bytes > 0 && u128::from(dirty_bytes) * 100 >= u128::from(bytes) * percent;
    let expires = before(facts.now, policy.tombstones);
    let clears = |oldest: Timestamp| oldest < expires;
    let clears_tombstones = facts.progress.oldest_tombstone.is_some_and(clears);
    let is_rested = facts.progress.ran <= expires;
    let is_worth_it = is_dirty || clears_tombstones && is_rested;
    if !is_worth_it {
        return None;
    }
    let start = facts.progress.clean.max(facts.low).max(first.base).min(last.end);
    // An older value in the object store would come to light again.
    let expires = if facts.from > Offset::ZERO { Timestamp::MIN } else { expires };
    let (segments, dirty) = (segments.to_vec(), start..last.end);
    Some(Plan { segments, dirty, clears_tombstones, expires })
}

/// Neighbours that together are no longer than a segment, by the index of their first and behind their last.
pub(crate) fn groups(segments: &[Closed], segment_bytes: u64) -> Vec<Range<usize>> {
    let (mut groups, mut bytes): (Vec<Range<usize>>, u64) = (Vec::new(), 0);
    for (at, closed) in segments.iter().enumerate() {
        let len = closed.end_position.get();
        match groups.last_mut() {
            Some(group) if bytes + len <= segment_bytes => {
                group.end = at + 1;
                bytes += len;
            }
            _ => {
                groups.push(at..at + 1);
                bytes = len;
            }
        }
    }
    groups
}

/// The moment so long before another.
fn before(now: Timestamp, span: Duration) -> Timestamp {
    let us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::new(now.get().saturating_sub(us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::FilePosition;

    /// Segments of ten records and these bytes each, appended at their number.
    fn segments(bytes: &[u64]) -> Vec<Closed> {
        let segment = |(at, bytes): (usize, &u64)| Closed {
            base: Offset::new(at as u64 * 10),
            generation: at as u64,
            end: Offset::new(at as u64 * 10 + 10),
            end_position: FilePosition::new(*bytes),
            time_max: Timestamp::ZERO,
            append_max: Timestamp::new(i64::try_from(at).unwrap()),
        };
        bytes.iter().enumerate().map(segment).collect()
    }

    fn policy() -> Policy {
        Policy {
            lag: Duration::ZERO,
            tombstones: Duration::from_secs(1),
            dirty_percent: 50,
            memory_bytes: 0,
        }
    }

    fn facts(closed: &[Closed]) -> Facts<'_> {
        let progress = Progress::default();
        let now = Timestamp::new(1000);
        Facts { closed, low: Offset::ZERO, from: Offset::ZERO, until: Offset::MAX, progress, now }
    }

    fn dirty(policy: &Policy, facts: &Facts<'_>) -> Option<(u64, u64)> {
        plan(policy, facts).map(|plan| (plan.dirty.start.get(), plan.dirty.end.get()))
    }

    #[test]
    fn it_begins_where_the_last_run_ended_and_once_enough_is_new() {
        let closed = segments(&[100, 100, 100, 100]);
        let with = |clean| {
            let progress = Progress { clean: Offset::new(clean), ..Progress::default() };
            dirty(&policy(), &Facts { progress, ..facts(&closed) })
        };
        assert_eq!(with(0), Some((0, 40)));
        assert_eq!(with(20), Some((20, 40)));
        assert_eq!(with(25), Some((25, 40)), "a segment that is clean in part counts whole");
        assert_eq!(with(30), None);
        assert_eq!(with(40), None);
        assert_eq!(dirty(&policy(), &facts(&[])), None);
    }

    #[test]
    fn what_is_young_unsynced_damaged_or_stored_is_not_touched() {
        let closed = segments(&[100, 100, 100, 100]);
        let until = Facts { until: Offset::new(25), ..facts(&closed) };
        assert_eq!(dirty(&policy(), &until), Some((0, 20)));
        let lag = Policy { lag: Duration::from_micros(999), ..policy() };
        assert_eq!(dirty(&lag, &facts(&closed)), Some((0, 20)));
        let low = Facts { low: Offset::new(5), ..facts(&closed) };
        assert_eq!(dirty(&policy(), &low), Some((5, 40)));
        let stored = plan(&policy(), &Facts { from: Offset::new(20), ..facts(&closed) }).unwrap();
        assert_eq!(
            (stored.dirty, stored.expires),
            (Offset::new(20)..Offset::new(40), Timestamp::MIN)
        );
    }

    #[test]
    fn tombstones_whose_time_is_over_are_worth_a_run_of_their_own_now_and_then() {
        let closed = segments(&[100]);
        let with = |oldest, ran| {
            let oldest_tombstone = Some(Timestamp::new(oldest));
            let progress =
                Progress { clean: Offset::new(10), oldest_tombstone, ran: Timestamp::new(ran) };
            let now = Timestamp::new(5_000_000);
            plan(&policy(), &Facts { progress, now, ..facts(&closed) })
                .map(|plan| plan.clears_tombstones)
        };
        assert_eq!(with(0, 4_000_000), Some(true));
        assert_eq!(with(0, 4_000_001), None, "it ran a moment ago");
        assert_eq!(with(4_000_000, 0), None, "none is due");
    }

    #[test]
    fn small_neighbours_are_merged_up_to_the_length_of_a_segment() {
        assert_eq!(groups(&segments(&[40, 60, 10, 95, 5, 100]), 100), [0..2, 2..3, 3..5, 5..6]);
        assert_eq!(groups(&segments(&[150, 10]), 100), [0..1, 1..2]);
        assert_eq!(groups(&[], 100), Vec::<Range<usize>>::new());
    }
}
