//! The walk from outside over segments in memory: it finds what recovery would, and says where.

use super::*;
use crate::checkpoint::encode_damages;
use crate::mark::MarkFlags;
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::testing::{SegmentBytes, unsealed};

const BASE: Offset = Offset::new(1000);

/// Groups of two batches of one record each, all synced before the next is written.
fn segment(groups: u64) -> SegmentBytes {
    let mut segment = SegmentBytes::new(5, BASE, vec![0; 64 << 10]);
    for group in 0..groups {
        let batches = [unsealed(group, 300, 1, None), unsealed(group + 100, 900, 1, None)];
        let first = segment.position == FilePosition::STREAM_START;
        segment.group(&batches, if first { MarkFlags::OPENING } else { MarkFlags::NONE });
        segment.synced = segment.offset;
    }
    segment
}

fn found(file: &[u8], next: Option<Offset>) -> SegmentFound {
    SegmentFound { base: BASE, len: file.len() as u64, next }
}

fn survey(file: &[u8], next: Option<Offset>) -> (Survey, Vec<Seen>) {
    let facts = PartitionFacts::read(None, None, None);
    let mut scan = facts.scan(found(file, next), &file[..SEGMENT_HEADER_BYTES], None);
    let mut all = Vec::new();
    while let Some(need) = scan.need() {
        let place = |at: u64| usize::try_from(at).unwrap().min(file.len());
        scan.supply(&file[place(need.start)..place(need.end)], &mut |seen| all.push(seen.clone()));
    }
    (scan.survey(), all)
}

#[test]
fn a_sound_segment_is_surveyed_whole() {
    let segment = segment(5);
    let (survey, seen) = survey(&segment.file, None);
    assert_eq!((survey.batches, survey.records, seen.len()), (10, 10, 10));
    assert_eq!((survey.end, survey.end_position), (segment.offset, segment.position));
    assert_eq!((survey.damages, survey.cut), (vec![], None));
    assert_eq!((survey.state, survey.row), (HeaderFound::Ours, FileRow::Scan));
}

#[test]
fn a_flipped_byte_of_a_closed_segment_is_found_with_its_offsets_and_position() {
    let segment = segment(5);
    let (start, _) = segment.groups[2];
    let mut file = segment.file.clone();
    // Behind the mark and the header of the first batch of the third group: its body.
    let flipped = usize::try_from(start.get()).unwrap() + 64 + 128 + 5;
    file[flipped] ^= 1;
    let (survey, seen) = survey(&file, Some(segment.offset));
    let [damage] = &survey.damages[..] else { panic!("{:?}", survey.damages) };
    assert_eq!(damage.offsets, Offset::new(1004)..Offset::new(1005));
    let positions = damage.positions.start.get()..damage.positions.end.get();
    assert!(positions.contains(&(flipped as u64)), "{positions:?}");
    assert_eq!(seen.iter().filter(|seen| matches!(seen, Seen::Damage(_))).count(), 1);
    assert_eq!((survey.batches, survey.end), (9, segment.offset));
}

#[test]
fn a_torn_end_of_the_newest_segment_is_a_cut_and_no_damage() {
    let segment = segment(5);
    let (start, _) = segment.groups[4];
    let mut file = segment.file.clone();
    file[usize::try_from(start.get()).unwrap() + 64..].fill(0);
    let (survey, _) = survey(&file, None);
    assert_eq!((survey.damages, survey.batches), (vec![], 8));
    assert_eq!(survey.cut.unwrap().position, start);
}

#[test]
fn a_closed_segment_without_a_header_is_damaged_from_end_to_end() {
    let segment = segment(2);
    let mut file = segment.file.clone();
    file[..SEGMENT_HEADER_BYTES].fill(7);
    let (survey, seen) = survey(&file, Some(segment.offset));
    assert_eq!((survey.state, survey.row), (HeaderFound::Damaged, FileRow::Quarantine));
    assert_eq!(survey.damages[0].offsets, BASE..segment.offset);
    assert_eq!(seen, vec![]);
}

#[test]
fn what_lies_in_the_store_is_not_missed() {
    use crate::ids::{LogId, PartitionId};
    use crate::manifest::RemoteSegment;
    let segment = segment(5);
    let after = Offset::new(2000);
    let (missed, _) = survey(&segment.file, Some(after));
    assert_eq!(missed.damages[0].offsets, segment.offset..after);
    let mut manifest = Manifest::new(LogId::new(7), PartitionId::new(1));
    manifest.remote.push(RemoteSegment {
        base: segment.offset,
        end: after,
        generation: 1,
        bytes: 4096,
        append_max: Timestamp::ZERO,
        create_max: Timestamp::ZERO,
        hash: [0; 32],
        is_local: false,
    });
    let facts = PartitionFacts::read(None, None, Some(&manifest.encode()));
    let found = found(&segment.file, Some(after));
    let mut scan = facts.scan(found, &segment.file[..SEGMENT_HEADER_BYTES], None);
    while let Some(need) = scan.need() {
        let place = |at: u64| usize::try_from(at).unwrap().min(segment.file.len());
        scan.supply(&segment.file[place(need.start)..place(need.end)], &mut |_| {});
    }
    assert_eq!(scan.survey().damages, vec![]);
}

#[test]
fn small_files_say_what_they_hold_or_why_they_cannot_be_used() {
    let facts = PartitionFacts::read(Some(b"PYCHK001"), Some(b"short"), Some(b"none"));
    assert_eq!(facts.checkpoint(), Err(FormatError::Length));
    assert_eq!(facts.damages(), Err(FormatError::Length));
    assert_eq!(facts.manifest(), Err(FormatError::Length));
    let damage = Damage {
        segment: BASE,
        positions: FilePosition::new(4096)..FilePosition::new(8192),
        offsets: BASE..Offset::new(1003),
    };
    let list = encode_damages(std::slice::from_ref(&damage));
    let facts = PartitionFacts::read(None, Some(&list), None);
    assert_eq!(facts.damages(), Ok(&[damage][..]));
    assert_eq!(facts.checkpoint(), Ok(None));
}
