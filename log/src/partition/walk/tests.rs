//! Walks over segments that hold what the disk was told to write, and over others.

use super::*;
use crate::testing::{SegmentBytes, unsealed};

const GROUPS: u64 = 6;
const RECORDS: u64 = 3;

/// A segment of groups of one batch each, all of one length, with the lives (incarnations) that wrote
/// them. Create times are the numbers of the groups.
fn segment(generation: u64, lives: [u32; 6]) -> SegmentBytes {
    let mut segment = SegmentBytes::new(generation, Offset::ZERO, Vec::new());
    for (group, life) in (0..GROUPS).zip(lives) {
        let opens = segment.incarnation != Incarnation::new(life) || group == 0;
        segment.incarnation = Incarnation::new(life);
        let flags = if opens { MarkFlags::OPENING } else { MarkFlags::NONE };
        segment.group(&[unsealed(group, 1000, 3, None)], flags);
    }
    segment
}

/// What is known of such a segment by the life that it ends with.
fn known(segment: &SegmentBytes, lives: [u32; 6]) -> Known {
    let opened = lives.iter().position(|life| *life == lives[5]).unwrap();
    let opening = Opening {
        segment: Offset::ZERO,
        position: segment.groups[opened].0,
        incarnation: Incarnation::new(lives[5]),
    };
    Known { key: segment.header.key(), opening, holes: Vec::new() }
}

/// Puts what lies at one group of `from` at the place of another in `to`.
fn misplace(from: &SegmentBytes, source: usize, to: &mut SegmentBytes, target: usize) {
    let at = |group: usize| usize::try_from(from.groups[group].0.get()).unwrap();
    let len = at(1) - at(0);
    let bytes = from.file[at(source)..at(source) + len].to_vec();
    to.file[at(target)..at(target) + len].copy_from_slice(&bytes);
}

fn start(segment: &SegmentBytes, group: usize) -> Start {
    let (position, offset) = segment.groups[group];
    Start { position, offset }
}

/// Walks from `start` to the offset, reading `len` bytes at a time.
fn walk(
    segment: &SegmentBytes,
    known: &Known,
    (start, target): (Start, Target),
    (from, len): (u64, usize),
) -> Walked {
    let limit = Offset::new(GROUPS * RECORDS);
    let from = Offset::new(from);
    let plan = FilePlan { segment: Offset::ZERO, closed: None, from, limit, start: None };
    let mut walk = Walk::new(&plan, start, target, known.clone());
    let mut wanted = len;
    loop {
        let at = usize::try_from(walk.position().get()).unwrap();
        let bytes = &segment.file[at..segment.file.len().min(at + wanted)];
        match walk.step(bytes, bytes.len() < wanted) {
            Walked::Need(_, needed) => wanted = needed.max(len),
            walked => return walked,
        }
    }
}

/// All offsets that a walk to `from` gives, or where it met damage.
fn offsets(segment: &SegmentBytes, known: &Known, from: u64) -> Result<Range<u64>, (u64, u64)> {
    let target = Target::Offset(1 << 20);
    match walk(segment, known, (start(segment, 0), target), (from, 1 << 20)) {
        Walked::Found { offsets, .. } => Ok(offsets.start.get()..offsets.end.get()),
        Walked::Damaged(at, None) => Err((at.position.get(), at.offset.get())),
        other => panic!("{other:?}"),
    }
}

const ONE_LIFE: [u32; 6] = [1; 6];

#[test]
fn a_whole_segment_is_walked_from_every_group_in_pieces_of_any_length() {
    for lives in [ONE_LIFE, [1, 1, 2, 2, 4, 4]] {
        let segment = segment(5, lives);
        let known = known(&segment, lives);
        for (group, from) in (0..GROUPS).flat_map(|group| (0..18).map(move |from| (group, from))) {
            let start = start(&segment, usize::try_from(group).unwrap());
            if start.offset.get() > from {
                continue;
            }
            for len in [64, 200, 1 << 20] {
                let target = Target::Offset(1 << 20);
                let walked = walk(&segment, &known, (start, target), (from, len));
                let Walked::Found { offsets, .. } = walked else { panic!("{walked:?}") };
                assert_eq!(offsets.start.get(), from / RECORDS * RECORDS, "from {from}");
                assert!(len < 1 << 20 || offsets.end.get() == 18);
            }
        }
    }
}

#[test]
fn a_later_group_in_the_place_of_an_earlier_one_is_damage_and_not_skipped_to() {
    for (source, target) in (0..6).flat_map(|source| (0..6).map(move |target| (source, target))) {
        let mut other = segment(5, ONE_LIFE);
        let known = known(&other, ONE_LIFE);
        misplace(&segment(5, ONE_LIFE), source, &mut other, target);
        let expected = if source == target {
            Ok(0..18)
        } else if target == 0 {
            Err((4096, 0))
        } else {
            Ok(0..target as u64 * RECORDS)
        };
        assert_eq!(offsets(&other, &known, 0), expected, "{source} at {target}");
        if source != target {
            let missing = start(&other, target);
            let damaged = Err((missing.position.get(), missing.offset.get()));
            for from in missing.offset.get()..18 {
                assert_eq!(offsets(&other, &known, from), damaged, "{source} at {target}");
            }
        }
    }
}

#[test]
fn a_search_by_time_meets_a_misplaced_group_as_damage() {
    let mut other = segment(5, ONE_LIFE);
    let known = known(&other, ONE_LIFE);
    misplace(&segment(5, ONE_LIFE), 4, &mut other, 2);
    let search = |time| {
        let target = Target::Time(Timestamp::new(time));
        walk(&other, &known, (start(&other, 0), target), (0, 1 << 20))
    };
    assert!(matches!(search(1), Walked::Found { offsets, .. } if offsets.start.get() == 3));
    for time in 2..5 {
        assert_eq!(search(time), Walked::Damaged(start(&other, 2), None), "time {time}");
    }
}

#[test]
fn batches_that_a_walk_starts_with_are_told_by_their_offset() {
    let mut other = segment(5, ONE_LIFE);
    let known = known(&other, ONE_LIFE);
    misplace(&segment(5, ONE_LIFE), 4, &mut other, 2);
    let group = start(&other, 2);
    let batch = Start { position: group.position.plus(64), ..group };
    let walked = walk(&other, &known, (batch, Target::Offset(1 << 20)), (6, 1 << 20));
    assert_eq!(walked, Walked::Damaged(batch, None));
}

#[test]
fn what_the_place_held_in_an_earlier_life_is_damage() {
    // A write of this life was lost; the life before had written a group of this length there.
    let lives = [1, 1, 2, 2, 2, 2];
    let mut other = segment(5, lives);
    let known = known(&other, lives);
    misplace(&segment(5, ONE_LIFE), 3, &mut other, 3);
    assert_eq!(offsets(&other, &known, 0), Ok(0..9));
    assert_eq!(offsets(&other, &known, 9), Err((start(&other, 3).position.get(), 9)));
    // Of a life that is over the marks tell as much: none of an older follows.
    let lives = [1, 2, 2, 2, 3, 3];
    let mut other = segment(5, lives);
    let known = self::known(&other, lives);
    misplace(&segment(5, ONE_LIFE), 3, &mut other, 3);
    assert_eq!(offsets(&other, &known, 9), Err((start(&other, 3).position.get(), 9)));
}

#[test]
fn what_the_file_held_for_another_log_is_damage() {
    let mut other = segment(5, ONE_LIFE);
    let known = known(&other, ONE_LIFE);
    misplace(&segment(6, ONE_LIFE), 3, &mut other, 3);
    assert_eq!(offsets(&other, &known, 9), Err((start(&other, 3).position.get(), 9)));
}

#[test]
fn a_batch_behind_the_end_of_its_group_is_damage() {
    // The mark in front is of a group that ends where an older one went on.
    let mut other = segment(5, ONE_LIFE);
    let known = known(&other, ONE_LIFE);
    let mut shorter = segment(5, ONE_LIFE);
    (shorter.position, shorter.offset) = shorter.groups[3];
    shorter.group(&[], MarkFlags::IDLE);
    let at = usize::try_from(other.groups[3].0.get()).unwrap();
    other.file[at..at + 64].copy_from_slice(&shorter.file[at..at + 64]);
    assert_eq!(offsets(&other, &known, 9), Err((at as u64 + 64, 9)));
}

#[test]
fn behind_a_hole_the_offsets_go_on_where_the_damage_ends() {
    let mut other = segment(5, ONE_LIFE);
    let mut known = known(&other, ONE_LIFE);
    misplace(&segment(5, ONE_LIFE), 4, &mut other, 2);
    let (hole, behind) = (start(&other, 2), start(&other, 3));
    known.holes.push(Damage {
        segment: Offset::ZERO,
        positions: hole.position..behind.position,
        offsets: hole.offset..behind.offset,
    });
    assert_eq!(offsets(&other, &known, 9), Ok(9..18));
    misplace(&segment(5, ONE_LIFE), 5, &mut other, 3);
    assert_eq!(offsets(&other, &known, 9), Err((behind.position.get(), 9)));
}
