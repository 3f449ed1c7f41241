//! The scan over segment files in memory: torn, rotten, holed, recycled and forged.

use quickcheck::QuickCheck;

use super::*;
use crate::testing::{SegmentBytes, segment_header, unsealed};

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

/// What a scan of the file finds: offsets of batches, damages, the cut, the end.
#[derive(Debug, Default, PartialEq)]
struct Found {
    batches: Vec<u64>,
    damages: Vec<Range<u64>>,
    cut: Option<Cut>,
    end: Option<End>,
}

fn scan(file: &[u8], subject: Subject) -> Found {
    let (mut scan, mut events, mut found) = (Scan::new(subject), Vec::new(), Found::default());
    for _ in 0..10_000 {
        match scan.need() {
            Ok(need) => {
                let start = usize::try_from(need.position.get()).unwrap().min(file.len());
                let end = (start + need.len).min(file.len());
                scan.supply(&file[start..end], &mut events);
            }
            Err(end) => {
                found.end = Some(end);
                break;
            }
        }
    }
    assert!(found.end.is_some(), "the scan does not end");
    for event in events {
        match event {
            Event::Batch { header, .. } => found.batches.push(header.owner.base_offset.get()),
            Event::Damaged(damage) => {
                found.damages.push(damage.offsets.start.get()..damage.offsets.end.get());
            }
            Event::Cut(cut) => found.cut = Some(cut),
        }
    }
    found
}

/// Groups of two batches of one record each, all synced before the next is written if `synced`.
fn segment(groups: u64, synced: bool) -> SegmentBytes {
    grow(SegmentBytes::new(5, BASE, vec![0; 64 << 10]), groups, synced)
}

fn grow(mut segment: SegmentBytes, groups: u64, synced: bool) -> SegmentBytes {
    for group in 0..groups {
        let batches = [unsealed(group, 300, 1, None), unsealed(group + 100, 900, 1, None)];
        let first = segment.position == FilePosition::STREAM_START;
        segment.group(&batches, if first { MarkFlags::OPENING } else { MarkFlags::NONE });
        if synced {
            segment.synced = segment.offset;
        }
    }
    segment
}

fn place(position: FilePosition) -> usize {
    usize::try_from(position.get()).unwrap()
}

#[test]
fn a_whole_log_is_kept_and_ends_where_it_was_left() {
    let segment = segment(5, true);
    let found = scan(&segment.file, subject(&segment));
    assert_eq!(found.batches, (1000..1010).collect::<Vec<_>>());
    assert_eq!((found.cut, found.damages), (None, vec![]));
    let end = found.end.unwrap();
    assert_eq!((end.position, end.offset, end.lost), (segment.position, segment.offset, false));
}

#[test]
fn a_torn_last_group_is_cut_wherever_it_is_torn() {
    let segment = segment(5, true);
    let (start, _) = segment.groups[4];
    let group = place(start)..place(segment.position);
    for sector in (group.start / 512)..group.end.div_ceil(512) {
        let mut file = segment.file.clone();
        let from = (sector * 512).max(group.start);
        file[from..((sector + 1) * 512).min(group.end)].fill(0);
        let found = scan(&file, subject(&segment));
        assert_eq!(found.batches, (1000..1008).collect::<Vec<_>>(), "sector {sector}");
        assert_eq!(found.damages, vec![]);
        let end = found.end.unwrap();
        assert_eq!((end.position, end.offset.get(), end.lost), (start, 1008, false));
    }
}

#[test]
fn a_group_that_was_never_synced_is_cut_with_all_behind_it() {
    let segment = segment(5, false);
    let (start, _) = segment.groups[2];
    let mut file = segment.file.clone();
    file[place(start)..place(start) + 1400].fill(0);
    let found = scan(&file, subject(&segment));
    assert_eq!(found.batches, vec![1000, 1001, 1002, 1003]);
    assert_eq!(found.damages, vec![]);
    assert_eq!(found.cut.unwrap().dropped_below.get(), 1008);
}

#[test]
fn a_synced_group_that_is_gone_is_damage_and_the_rest_is_kept() {
    let segment = segment(5, true);
    let (start, _) = segment.groups[2];
    for damage in [64, 700, 1400] {
        let mut file = segment.file.clone();
        file[place(start)..place(start) + damage].fill(0);
        let found = scan(&file, subject(&segment));
        assert_eq!(found.batches, vec![1000, 1001, 1002, 1003, 1006, 1007, 1008, 1009]);
        assert_eq!(found.damages, vec![1004..1006]);
        assert_eq!(found.cut, None);
        assert_eq!(found.end.unwrap().position, segment.position);
    }
}

#[test]
fn a_flipped_bit_in_a_synced_body_costs_its_batch_only() {
    let segment = segment(5, true);
    let (start, _) = segment.groups[2];
    let mut file = segment.file.clone();
    file[place(start) + 64 + 130] ^= 1;
    let found = scan(&file, subject(&segment));
    assert_eq!(found.damages, vec![1004..1005]);
    assert_eq!(found.batches, vec![1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009]);
}

#[test]
fn promised_records_that_are_gone_to_the_end_are_reported_and_their_offsets_not_dealt_again() {
    let segment = segment(5, true);
    let (start, _) = segment.groups[3];
    let mut file = segment.file.clone();
    file[place(start)..].fill(0);
    let promised = Subject { promised: segment.offset, ..subject(&segment) };
    let found = scan(&file, promised);
    assert_eq!(found.damages, vec![1006..1010]);
    let end = found.end.unwrap();
    assert_eq!((end.offset, end.lost), (segment.offset, true));
    assert_eq!(scan(&file, subject(&segment)).end.unwrap().offset.get(), 1006, "no promise, a cut");
}

#[test]
fn a_former_life_with_the_same_sizes_and_offsets_is_never_taken_for_data() {
    // The same log again in the recycled file: only the generation differs.
    let former = segment(5, true);
    for groups in 0..5 {
        let recycled = SegmentBytes::new(6, BASE, former.file.clone());
        let second = grow(recycled, groups, true);
        let found = scan(&second.file, subject(&second));
        assert_eq!(found.batches.len() as u64, groups * 2);
        assert_eq!((found.cut, found.damages), (None, vec![]), "the former life is nothing");
    }
}

/// The same log recreated in a recycled file, same offsets, same sizes; other bytes or, for a
/// producer that sends everything again, only other append times. Every mixture of sectors of the
/// two lives is tried.
#[test]
fn a_torn_first_group_in_a_recycled_file_is_whole_or_nothing_for_every_mixture_of_sectors() {
    for other_bodies in [false, true] {
        let former = segment(3, true);
        let mut second = SegmentBytes::new(6, BASE, former.file.clone());
        second.time_shift = 5_000_000;
        let seed = if other_bodies { 700 } else { 0 };
        let batches = [unsealed(seed, 300, 1, None), unsealed(seed + 100, 900, 1, None)];
        second.group(&batches, MarkFlags::OPENING);
        let group = place(FilePosition::STREAM_START)..place(second.position);
        let sectors = group.start / 512..group.end.div_ceil(512);
        for mask in 0_u32..1 << sectors.len() {
            // The sectors of the mask are written, the others still hold the former life.
            let mut file = former.file.clone();
            file[..4096].copy_from_slice(&second.file[..4096]);
            for (_, sector) in sectors.clone().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1) {
                let range = sector * 512..(sector + 1) * 512;
                file[range.clone()].copy_from_slice(&second.file[range]);
            }
            let found = scan(&file, subject(&second));
            let whole = file[group.clone()] == second.file[group.clone()];
            assert_eq!(!found.batches.is_empty(), whole, "mask {mask:b}");
            assert_eq!(found.damages, vec![], "mask {mask:b}");
        }
    }
}

#[test]
fn a_stale_group_exactly_at_the_next_mark_is_excluded_by_its_incarnation() {
    // Groups 0..5 in incarnation 1, none synced; group 2 is lost in a power cut.
    let mut first = segment(5, false);
    let (hole, offset) = first.groups[2];
    let (stale, stale_offset) = first.groups[3];
    first.file[place(hole)..place(hole) + 64].fill(0);
    assert_eq!(scan(&first.file, subject(&first)).end.unwrap().offset, offset);
    // Recovery opens incarnation 2 at the cut; then one group that ends exactly at the stale mark.
    let mut second = first.clone();
    (second.position, second.offset) = (hole, offset);
    second.incarnation = Incarnation::new(2);
    second.group(&[], MarkFlags::OPENING);
    let filling = usize::try_from(stale.since(second.position)).unwrap() - 64;
    second.group(&[unsealed(1, filling - 128, 2, None)], MarkFlags::NONE);
    assert_eq!((second.position, second.offset), (stale, stale_offset), "the trap is set");
    // A write pads its last block; the stale mark must survive that to be a trap.
    second.file[place(stale)..].copy_from_slice(&first.file[place(stale)..]);
    let found = scan(&second.file, subject(&second));
    assert_eq!(found.end.unwrap().position, stale, "the stale group is not taken");
    assert_eq!(found.batches, vec![1000, 1001, 1002, 1003, 1004]);
    // The same with the incarnation of the first life: without it the trap would catch us.
    second.incarnation = Incarnation::new(1);
    let mut naive = first.clone();
    (naive.position, naive.offset) = (hole, offset);
    naive.group(&[], MarkFlags::NONE);
    naive.group(&[unsealed(1, filling - 128, 2, None)], MarkFlags::NONE);
    naive.file[place(stale)..].copy_from_slice(&first.file[place(stale)..]);
    assert!(scan(&naive.file, subject(&naive)).end.unwrap().position > stale);
}

#[test]
fn stale_groups_behind_the_remembered_opening_are_not_taken_even_if_it_is_damaged() {
    let mut segment = segment(5, true);
    let (cut, offset) = segment.groups[2];
    // The checkpoint knows that incarnation 2 was opened at the cut; the mark there is gone.
    segment.file[place(cut)..place(cut) + 512].fill(0);
    let opening = Opening { segment: BASE, position: cut, incarnation: Incarnation::new(2) };
    let knowing = Subject { opening: Some(opening), ..subject(&segment) };
    let found = scan(&segment.file, knowing);
    assert_eq!((found.batches.len(), found.end.unwrap().offset), (4, offset));
    assert_eq!(scan(&segment.file, subject(&segment)).damages, vec![1004..1006]);
}

#[test]
fn a_record_full_of_marks_is_not_taken_for_groups() {
    // A producer read the marks of the log and appends copies of them, shifted to positions to
    // come, with right checksums; then the group is torn.
    let mut segment = segment(2, true);
    let start = segment.position;
    let mut forged = unsealed(0, 8192, 1, None);
    let source = segment.file[4096..4160].to_vec();
    for at in (128..8192).step_by(64) {
        let position = start.get() + 64 + at as u64;
        forged[at..at + 64].copy_from_slice(&source);
        forged[at + 16..at + 24].copy_from_slice(&position.to_le_bytes());
        forged[at + 32..at + 40].copy_from_slice(&u64::MAX.to_le_bytes());
        forged[at + 40..at + 48].copy_from_slice(&u64::MAX.to_le_bytes());
        let crc = crc32c::crc32c(&forged[at + 8..at + 64]);
        forged[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&forged[68..128 + 8192]);
    forged[64..68].copy_from_slice(&crc.to_le_bytes());
    segment.group(&[forged], MarkFlags::NONE);
    segment.file[place(start)..place(start) + 64].fill(0);
    let found = scan(&segment.file, subject(&segment));
    assert_eq!((found.batches.len(), found.damages), (4, vec![]));
    assert_eq!(found.end.unwrap().position, start);
}

#[test]
fn what_an_earlier_cut_left_in_a_segment_that_is_not_the_last_is_ignored() {
    let segment = segment(5, true);
    let (_, offset) = segment.groups[3];
    let followed = Subject { last: false, promised: offset, ..subject(&segment) };
    let found = scan(&segment.file, followed);
    assert_eq!((found.batches.len(), found.cut, found.damages), (6, None, vec![]));
}

#[test]
fn another_partitions_segment_has_no_group_of_ours() {
    let segment = segment(3, true);
    let other = SegmentHeaderOf::partition(segment.header.generation);
    let found = scan(&segment.file, Subject { key: other, ..subject(&segment) });
    assert_eq!((found.batches, found.damages), (vec![], vec![]));
}

struct SegmentHeaderOf;

impl SegmentHeaderOf {
    fn partition(generation: u64) -> StampKey {
        let mut header = segment_header(generation, BASE);
        header.partition = crate::ids::PartitionId::new(2);
        header.key()
    }
}

/// Any damage to any file: every record is kept, reported as damage, or lies above the synced
/// point; no batch comes out twice, out of order or changed.
#[test]
fn arbitrary_damage_never_loses_a_synced_record_silently() {
    fn property(groups: u8, synced_groups: u8, hits: Vec<(u16, u8, u8)>) {
        let (groups, mut file) = (u64::from(groups % 12), vec![0; 64 << 10]);
        file[8192..].fill(0x5a);
        let mut segment = SegmentBytes::new(5, BASE, file);
        for group in 0..groups {
            segment = grow(segment, 1, group < u64::from(synced_groups % 13));
        }
        let original = scan(&segment.file, subject(&segment)).batches;
        let stream = 4096..place(segment.position);
        for (at, len, value) in hits.into_iter().take(4) {
            let start = stream.start + usize::from(at) % (stream.len() + 1);
            let end = (start + 1 + usize::from(len) * 16).min(segment.file.len());
            match value % 3 {
                0 => segment.file[start..end].fill(0),
                1 => segment.file[start] ^= 1 << (value % 8),
                _ => segment.file[start..end].fill(value),
            }
        }
        // The promise: what the last mark says is on disk, told by the checkpoint.
        let promised = Subject { promised: segment.synced, ..subject(&segment) };
        let found = scan(&segment.file, promised);
        let mut next = BASE.get();
        let mut pieces: Vec<Range<u64>> = found.batches.iter().map(|at| *at..at + 1).collect();
        pieces.extend(found.damages.iter().filter(|range| !range.is_empty()).cloned());
        pieces.sort_by_key(|range| range.start);
        for piece in pieces {
            assert_eq!(piece.start, next, "a gap or an overlap");
            next = piece.end;
        }
        assert_eq!(next, found.end.unwrap().offset.get());
        assert!(next >= segment.synced.get(), "ends at {next}, synced {}", segment.synced);
        assert!(found.batches.iter().all(|at| original.contains(at)));
    }
    QuickCheck::new().tests(3000).quickcheck(property as fn(_, _, _));
}
