//! The tail against a plain list of batches.

use quickcheck::QuickCheck;

use super::*;
use crate::batch::{Items, Owner, seal};
use crate::ids::Epoch;
use crate::testing::unsealed;

/// A sealed batch of `count` records at `base`.
fn batch(base: u64, count: u32, body_len: usize) -> Vec<u8> {
    let mut bytes = unsealed(base, body_len, count, None);
    let base_offset = Offset::new(base);
    let owner =
        Owner { base_offset, epoch: Epoch::ZERO, append_time: Timestamp::ZERO, scarab_base: 0 };
    seal(&mut bytes, owner);
    bytes
}

fn span(base: u64, end: u64) -> Span {
    let arrived = Monotonic::from_nanos(base);
    Span { base: Offset::new(base), end: Offset::new(end), arrived }
}

/// Keeps groups of such batches, by sharing every third, and returns the batches' bases and ends.
fn filled(groups: &[Vec<u16>]) -> (Tail, Vec<(u64, u64)>) {
    let (mut tail, mut batches, mut offset) = (Tail::new(Offset::new(100)), Vec::new(), 100);
    for (at, group) in groups.iter().enumerate().filter(|(_, group)| !group.is_empty()).take(12) {
        let (base, mut bytes) = (offset, Vec::new());
        for body_len in group.iter().take(8) {
            let count = u32::from(body_len % 7) + 1;
            bytes.extend(batch(offset, count, usize::from(body_len % 5000)));
            batches.push((offset, offset + u64::from(count)));
            offset += u64::from(count);
        }
        if at % 3 == 0 {
            let mut buffer = BufferMut::heap(bytes.len());
            buffer.extend_from_slice(&bytes);
            let capacity = buffer.capacity();
            tail.share(span(base, offset), buffer.freeze().into(), capacity);
        } else {
            tail.copy(span(base, offset), &bytes);
        }
    }
    (tail, batches)
}

fn offsets(slices: &[Slice]) -> Vec<u64> {
    let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
    Items::new(&bytes)
        .batches()
        .map(|batch| batch.unwrap().verify().unwrap().header().owner.base_offset.get())
        .collect()
}

#[test]
fn a_read_starts_with_the_batch_that_contains_the_offset_and_stays_in_its_bounds() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(groups: Vec<Vec<u16>>, from: u16, limit: u16, bytes_max: u16) {
        let (tail, batches) = filled(&groups);
        let Some((_, end)) = batches.last().copied() else { return };
        let from = 100 + u64::from(from) % (end - 100);
        let limit = from + 1 + u64::from(limit) % (end - from);
        // Limits are ends of groups or batches.
        let limit = batches.iter().map(|batch| batch.1).find(|end| *end >= limit).unwrap();
        let mut slices = Vec::new();
        let range = tail.read(Offset::new(from), Offset::new(limit), bytes_max.into(), &mut slices);
        let (first, next) = range.unwrap();
        let found = offsets(&slices);
        let expected: Vec<u64> = batches
            .iter()
            .filter(|batch| batch.1 > from && batch.1 <= next.get())
            .map(|batch| batch.0)
            .collect();
        assert_eq!(found, expected);
        assert_eq!(first.get(), expected[0]);
        assert!(next.get() <= limit && next.get() > from);
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        assert!(len <= usize::from(bytes_max) || found.len() == 1, "{len} bytes");
    }
    QuickCheck::new().tests(500).quickcheck(property as fn(_, _, _, _));
}

#[test]
fn memory_held_falls_to_zero_when_all_is_evicted() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(groups: Vec<Vec<u16>>) {
        let (mut tail, batches) = filled(&groups);
        let Some((_, end)) = batches.last().copied() else { return };
        let mut evicted = 0;
        while tail.oldest_end().is_some() {
            assert!(tail.held_bytes() > 0);
            evicted += tail.evict();
        }
        assert_eq!((evicted, tail.held_bytes(), tail.start()), (end - 100, 0, Offset::new(end)));
    }
    QuickCheck::new().tests(200).quickcheck(property as fn(_));
}

#[test]
fn many_tiny_groups_are_dense() {
    let groups: Vec<_> = (0..1000).map(|_| vec![100]).collect();
    let (mut tail, _) = filled(&groups[..1]);
    let bytes = batch(103, 1, 100);
    for offset in 103..1103 {
        tail.copy(span(offset, offset + 1), &bytes);
    }
    let used = 1000 * bytes.len() as u64;
    assert!(tail.held_bytes() < used + 3 * TAIL_CHUNK_BYTES as u64, "{}", tail.held_bytes());
}

#[test]
fn a_rolled_back_group_is_gone_and_another_takes_its_offsets() {
    let (mut tail, batches) = filled(&[vec![100], vec![200], vec![300]]);
    let base = batches[1].0;
    tail.roll_back(Offset::new(base));
    assert_eq!(tail.end().get(), base);
    tail.copy(span(base, base + 1), &batch(base, 1, 50));
    let mut slices = Vec::new();
    tail.read(Offset::new(100), tail.end(), 1 << 20, &mut slices).unwrap();
    assert_eq!(offsets(&slices), vec![100, base]);
    assert_eq!(tail.bytes_from(Offset::new(base)), Some(batch(base, 1, 50).len() as u64));
}

#[test]
fn shrinking_keeps_what_is_not_on_disk() {
    let (mut tail, batches) = filled(&[vec![4_000], vec![4_000], vec![4_000]]);
    tail.shrink(0, Offset::new(batches[1].1));
    assert_eq!(tail.start().get(), batches[2].0);
    let mut slices = Vec::new();
    assert!(tail.read(Offset::new(100), tail.end(), 1, &mut slices).is_none(), "evicted");
}
