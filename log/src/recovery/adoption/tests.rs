//! What is vouched for, and what is written again, over segment files in memory.

use super::*;
use crate::ids::Offset;
use crate::mark::{Incarnation, MarkFlags};
use crate::testing::{SegmentBytes, unsealed};

const BASE: Offset = Offset::new(1000);

fn subject(segment: &SegmentBytes) -> Subject {
    Subject {
        segment: BASE,
        key: segment.header.key(),
        file_len: segment.file.len() as u64,
        last: true,
        promised: BASE,
        start: FilePosition::STREAM_START,
        start_offset: BASE,
        incarnation: Incarnation::new(0),
        opening: None,
    }
}

fn part(file: &[u8], need: Need) -> &[u8] {
    let start = usize::try_from(need.position.get()).unwrap().min(file.len());
    &file[start..(start + need.len).min(file.len())]
}

fn end_of(file: &[u8], subject: Subject) -> End {
    let (mut scan, mut events) = (Scan::new(subject), Vec::new());
    loop {
        match scan.need() {
            Ok(need) => scan.supply(part(file, need), &mut events),
            Err(end) => return end,
        }
    }
}

/// The pieces, or why there are none.
fn adopted(file: &[u8], subject: Subject, end: &End) -> Result<Vec<Piece>, Changed> {
    let Some(mut adoption) = Adoption::new(subject, end) else { return Ok(Vec::new()) };
    let mut pieces = Vec::new();
    while let Some(need) = adoption.need() {
        adoption.supply(part(file, need))?;
        pieces.extend(adoption.piece());
    }
    assert_eq!(adoption.piece(), None, "nothing is left");
    Ok(pieces)
}

/// Groups of one batch; what the last `unsynced` of them hold was not synced when they were written.
fn segment(groups: u64, unsynced: u64) -> SegmentBytes {
    let mut segment = SegmentBytes::new(5, BASE, vec![0x5a; 64 << 10]);
    segment.file[4096..].fill(0x5a);
    for group in 0..groups {
        let flags = if group == 0 { MarkFlags::OPENING } else { MarkFlags::NONE };
        segment.group(&[unsealed(group, 900, 2, None)], flags);
        if group + unsynced < groups {
            segment.synced = segment.offset;
        }
    }
    segment
}

/// Offset and place up to which the file is vouched for, and the places that are written again.
fn found(segment: &SegmentBytes, subject: Subject) -> ((u64, FilePosition), Vec<(u64, u64)>) {
    let end = end_of(&segment.file, subject);
    assert_eq!((end.position, end.offset), (segment.position, segment.offset));
    let pieces = adopted(&segment.file, subject, &end).unwrap();
    let ranges = pieces.iter().map(|piece| {
        let start = piece.position.get();
        (start, start + piece.bytes.len() as u64)
    });
    ((end.vouched.offset.get(), end.vouched.position), ranges.collect())
}

fn blocks(from: FilePosition, to: FilePosition) -> Vec<(u64, u64)> {
    vec![(from.block_start().get(), to.block_end().get())]
}

#[test]
fn of_a_synced_log_only_the_last_group_is_written_again() {
    // Its mark says that all before was synced. Nothing says so of the group itself.
    let segment = segment(9, 1);
    let (last, offset) = segment.groups[8];
    let expected = ((offset.get(), last), blocks(last, segment.position));
    assert_eq!(found(&segment, subject(&segment)), expected);
}

#[test]
fn of_a_log_with_unsynced_groups_all_of_these_are_written_again() {
    for unsynced in 1..9 {
        let segment = segment(9, unsynced);
        let (first, offset) = segment.groups[9 - usize::try_from(unsynced).unwrap()];
        let expected = ((offset.get(), first), blocks(first, segment.position));
        assert_eq!(found(&segment, subject(&segment)), expected, "{unsynced} unsynced");
    }
}

#[test]
fn a_mark_without_records_is_written_again_until_another_follows_it() {
    let mut segment = segment(5, 0);
    let idle = segment.position;
    segment.group(&[], MarkFlags::IDLE);
    let (vouched, pieces) = found(&segment, subject(&segment));
    assert_eq!(vouched, (segment.offset.get(), idle), "it says that the last group was synced");
    assert_eq!(pieces, blocks(idle, segment.position), "and nothing says so of it");
    // The next life wrote it again before it wrote this one.
    let opening = segment.position;
    segment.incarnation = Incarnation::new(2);
    segment.group(&[], MarkFlags::OPENING);
    let (vouched, pieces) = found(&segment, subject(&segment));
    assert_eq!(vouched, (segment.offset.get(), opening));
    assert_eq!(pieces, blocks(opening, segment.position));
}

#[test]
fn what_the_checkpoint_says_was_synced_is_not_written_again() {
    let segment = segment(5, 3);
    let (position, offset) = segment.groups[4];
    let start = Subject {
        start: position,
        start_offset: offset,
        incarnation: Incarnation::new(1),
        ..subject(&segment)
    };
    let at_start = ((offset.get(), position), blocks(position, segment.position));
    assert_eq!(found(&segment, start), at_start);
    let closed = Subject { start: segment.position, start_offset: segment.offset, ..start };
    let nothing = ((segment.offset.get(), segment.position), vec![]);
    assert_eq!(found(&segment, closed), nothing);
    // Without its index the segment is scanned from its start, and the promise is one of records.
    let promised = Subject { promised: segment.offset, ..subject(&segment) };
    assert_eq!(found(&segment, promised), nothing);
}

#[test]
fn promised_damage_is_not_written_again() {
    let segment = segment(9, 4);
    let group = |number: usize| usize::try_from(segment.groups[number].0.get()).unwrap();
    let promised = Subject { promised: segment.groups[7].1, ..subject(&segment) };
    let (last, offset) = segment.groups[7];
    let expected = ((offset.get(), last), blocks(last, segment.position));
    let mut holed = segment.clone();
    holed.file[group(6)..group(6) + 64].fill(0);
    assert_eq!(found(&holed, promised), expected, "a group that is gone");
    let mut rotten = segment.clone();
    rotten.file[group(6) + 64 + 200] ^= 1;
    assert_eq!(found(&rotten, promised), expected, "a batch that rotted");
    let all = Subject { promised: segment.offset, ..promised };
    let mut rotten = segment.clone();
    rotten.file[group(8) + 64 + 200] ^= 1;
    assert_eq!(found(&rotten, all).1, vec![], "the last one, and promised");
}

#[test]
fn a_hole_that_ends_behind_the_promise_is_not_written_again() {
    // Nothing vouches for the groups before the hole but a mark behind it; and the mark at which the
    // log goes on vouches for less than what lies before it.
    let mut segment = segment(7, 7);
    segment.synced = segment.groups[6].1;
    for group in 7..9 {
        segment.group(&[unsealed(group, 900, 2, None)], MarkFlags::NONE);
    }
    let place = |number: usize| usize::try_from(segment.groups[number].0.get()).unwrap();
    let (start, end) = (place(5), place(7));
    segment.file[start..end].fill(0);
    let (first, offset) = segment.groups[7];
    let expected = ((offset.get(), first), blocks(first, segment.position));
    assert_eq!(found(&segment, subject(&segment)), expected);
}

#[test]
fn the_bytes_come_back_as_they_were_with_zeros_behind_the_end() {
    for (groups, unsynced) in [(1, 1), (5, 2), (9, 9)] {
        let segment = segment(groups, unsynced);
        let end = end_of(&segment.file, subject(&segment));
        let mut expected = segment.file.clone();
        let stop = usize::try_from(end.position.get()).unwrap();
        expected[stop..stop.next_multiple_of(BLOCK_BYTES)].fill(0);
        let mut again = segment.file.clone();
        for Piece { position, bytes } in adopted(&segment.file, subject(&segment), &end).unwrap() {
            let at = usize::try_from(position.get()).unwrap();
            again[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        assert!(again == expected, "{groups} groups, {unsynced} of them unsynced");
    }
}

#[test]
fn nothing_is_written_that_is_not_what_the_scan_was_given() {
    let segment = segment(9, 4);
    let end = end_of(&segment.file, subject(&segment));
    let range = end.vouched.position.get()..end.position.get();
    for at in range.step_by(61) {
        let mut other = segment.file.clone();
        other[usize::try_from(at).unwrap()] ^= 4;
        let outcome = adopted(&other, subject(&segment), &end);
        assert_eq!(outcome, Err(Changed), "byte {at}");
    }
    let start = usize::try_from(end.vouched.position.get()).unwrap();
    for short in [start - 1, start, start + 63, start + 65, start + 1000] {
        let outcome = adopted(&segment.file[..short], subject(&segment), &end);
        assert_eq!(outcome, Err(Changed), "the file ends at {short}");
    }
}

#[test]
fn a_long_stretch_comes_in_pieces_that_follow_each_other() {
    let mut segment = SegmentBytes::new(5, BASE, vec![0; 64 << 10]);
    for group in 0..40 {
        let flags = if group == 0 { MarkFlags::OPENING } else { MarkFlags::NONE };
        segment.group(&[unsealed(group, 500_000, 1, None)], flags);
    }
    let end = end_of(&segment.file, subject(&segment));
    let pieces = adopted(&segment.file, subject(&segment), &end).unwrap();
    let longest = pieces.iter().map(|piece| piece.bytes.len()).max().unwrap();
    assert!(pieces.len() > 10 && longest < 2 * PIECE_BYTES_MIN, "{pieces:?}");
    let mut next = FilePosition::STREAM_START;
    for piece in pieces {
        assert_eq!(piece.position, next);
        next = next.plus(piece.bytes.len() as u64);
    }
    assert_eq!(next, end.position.block_end());
}
