//! Retention: which of the oldest segments go.
//!
//! Whole segments go, oldest first, while any bound is passed. Ages are append times, which the server stamps
//! and which never go back: a create time in the future, which a client may send, keeps nothing. The segment
//! that is written never goes; a partition that nobody writes to has it rolled once it is old enough.

use std::time::Duration;

use crate::ids::{Offset, Timestamp};

/// How long a partition keeps what it has. `None` is no bound; of two, the one that is passed first counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Most time since the newest record of a segment was appended.
    pub age: Option<Duration>,
    /// Most bytes of all segments.
    pub bytes: Option<u64>,
}

/// How the records of a partition age, as far as it can be altered while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Age at which a segment is closed, however small.
    pub segment_age: Option<Duration>,
    /// When the oldest segments go.
    pub retention: Bounds,
}

/// A segment that is no longer written, in a file or in the object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset after its last record.
    pub end: Offset,
    /// Its length.
    pub bytes: u64,
    /// Append time of its newest record.
    pub append_max: Timestamp,
}

impl Life {
    /// Age at which the segment that is written is rolled: what is older than the retention cannot go before.
    #[must_use]
    pub fn roll_age(&self) -> Option<Duration> {
        [self.segment_age, self.retention.age].into_iter().flatten().min()
    }
}

impl Bounds {
    /// The low watermark that these bounds ask for, or `None` if nothing has to go. `pieces` are all segments but the one
    /// that is written, oldest first, and `head_bytes` is the length of that; nothing at or above `until` goes.
    #[must_use]
    pub fn cut(
        &self,
        pieces: impl Iterator<Item = Piece> + Clone,
        head_bytes: u64,
        until: Offset,
        now: Timestamp,
    ) -> Option<Offset> {
        let mut bytes = head_bytes + pieces.clone().map(|piece| piece.bytes).sum::<u64>();
        let mut low = None;
        for piece in pieces {
            let too_old = self.age.is_some_and(|age| age_of(piece.append_max, now) > age);
            let too_many = self.bytes.is_some_and(|most| bytes > most);
            if !(too_old || too_many) || piece.end > until {
                break;
            }
            bytes -= piece.bytes;
            low = Some(piece.end);
        }
        low
    }
}

/// How long ago something was; nothing if the clock says that it is to come.
#[must_use]
pub(crate) fn age_of(time: Timestamp, now: Timestamp) -> Duration {
    let micros = now.get().saturating_sub(time.get());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use quickcheck::QuickCheck;

    use super::*;

    fn piece(end: u64, bytes: u64, append_max: i64) -> Piece {
        Piece { end: Offset::new(end), bytes, append_max: Timestamp::new(append_max) }
    }

    fn cut(bounds: Bounds, pieces: &[Piece], until: u64) -> Option<u64> {
        let now = Timestamp::new(100);
        let low = bounds.cut(pieces.iter().copied(), 10, Offset::new(until), now);
        low.map(Offset::get)
    }

    #[test]
    fn whole_segments_go_while_a_bound_is_passed_and_none_beyond_what_may_go() {
        let pieces = [piece(5, 10, 20), piece(9, 10, 50), piece(12, 10, 90)];
        let age = |micros| Bounds { age: Some(Duration::from_micros(micros)), bytes: None };
        let bytes = |bytes| Bounds { age: None, bytes: Some(bytes) };
        assert_eq!(cut(Bounds::default(), &pieces, 12), None);
        assert_eq!(
            [80, 79, 50, 49, 0].map(|age_max| cut(age(age_max), &pieces, 12)),
            [None, Some(5), Some(5), Some(9), Some(12)]
        );
        assert_eq!(
            [40, 39, 30, 29, 0].map(|most| cut(bytes(most), &pieces, 12)),
            [None, Some(5), Some(5), Some(9), Some(12)]
        );
        let both = Bounds { bytes: Some(39), ..age(49) };
        assert_eq!(cut(both, &pieces, 12), Some(9), "the one that is passed first counts");
        assert_eq!(
            [11, 9, 8, 4].map(|until| cut(bytes(0), &pieces, until)),
            [Some(9), Some(9), Some(5), None]
        );
    }

    #[test]
    fn a_clock_that_went_back_removes_nothing() {
        let age = Bounds { age: Some(Duration::from_micros(1)), bytes: None };
        assert_eq!(cut(age, &[piece(5, 10, 101), piece(9, 10, i64::MAX)], 9), None);
    }

    #[test]
    fn what_is_left_is_within_the_bounds_or_is_the_segment_that_is_written() {
        #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
        fn property(segments: Vec<(u8, u8)>, age: Option<u8>, bytes: Option<u16>) {
            let mut end = 0;
            let pieces: Vec<Piece> = segments
                .iter()
                .scan(0, |time, (bytes, passed)| {
                    end += 1;
                    *time = (*time + i64::from(passed / 16)).min(100);
                    Some(piece(end, u64::from(*bytes), *time))
                })
                .collect();
            let bounds = Bounds {
                age: age.map(|age| Duration::from_micros(age.into())),
                bytes: bytes.map(u64::from),
            };
            let low = cut(bounds, &pieces, u64::MAX).unwrap_or(0);
            let kept = pieces.iter().filter(|piece| piece.end.get() > low);
            let held = 10 + kept.clone().map(|piece| piece.bytes).sum::<u64>();
            assert!(bounds.bytes.is_none_or(|most| held <= most || kept.clone().count() == 0));
            let now = Timestamp::new(100);
            let oldest = kept.clone().next().map(|piece| age_of(piece.append_max, now));
            assert!(oldest.is_none_or(|oldest| bounds.age.is_none_or(|age| oldest <= age)));
            let last = pieces.iter().rfind(|piece| piece.end.get() <= low);
            if let Some(last) = last {
                let old = bounds.age.is_some_and(|age| age_of(last.append_max, now) > age);
                let many = bounds.bytes.is_some_and(|most| held + last.bytes > most);
                assert!(old || many, "the last one that went did not have to");
            }
        }
        QuickCheck::new().quickcheck(property as fn(_, _, _));
    }
}
