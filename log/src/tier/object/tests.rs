//! Where objects are cut into blocks.

use quickcheck::QuickCheck;

use super::*;
use crate::ids::Offset;
use crate::testing::header;

const UNIT: u64 = REMOTE_BLOCK_BYTES as u64;

/// An index of batches of these body lengths, where they begin, and where they end.
fn index(lens: &[u32]) -> (Index, Vec<u64>, u64) {
    let (mut index, mut starts) = (Index::new(Offset::ZERO), Vec::new());
    let (mut offset, mut position) = (Offset::ZERO, FilePosition::STREAM_START.plus(64));
    for len in lens {
        let header = header(offset, *len, 0);
        index.observe(&header, position);
        starts.push(position.get());
        (offset, position) = (header.next_offset(), position.plus(header.total_len() as u64));
    }
    (index, starts, position.get())
}

#[test]
fn blocks_are_bounded_and_begin_with_batches_that_the_index_knows() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(lens: Vec<u32>) {
        let lens: Vec<_> = lens.iter().map(|len| len % (3 << 20)).collect();
        let (index, _, end) = index(&lens);
        let entry_in = |from, to| {
            let entry = index.entry_after(FilePosition::new(from));
            entry.is_some_and(|entry| entry.position.get() <= to)
        };
        let is_entry = |at: u64| entry_in(at - 1, at);
        let cuts = cuts(end, Some(&index));
        assert_eq!(cuts[0], 0);
        let mut from = 0;
        for to in cuts.iter().skip(1).copied().chain([end]) {
            assert!(from < to && to - from <= 2 * UNIT, "{from}..{to}");
            let begins = to == end || is_entry(to);
            assert!(begins || !entry_in(from, from + 2 * UNIT), "{from}..{to} ends in a batch");
            let is_small = to < end && to - from < UNIT / 2;
            assert!(!is_small || !entry_in(to, from + 2 * UNIT), "{from}..{to} could be longer");
            from = to;
        }
    }
    QuickCheck::new().tests(300).quickcheck(property as fn(_));
}

#[test]
fn without_an_index_blocks_are_of_one_length() {
    assert_eq!(cuts(0, None), [0]);
    assert_eq!(cuts(UNIT, None), [0]);
    assert_eq!(cuts(3 * UNIT + 1, None), [0, UNIT, 2 * UNIT, 3 * UNIT]);
}

#[test]
fn batches_of_a_mebibyte_and_a_bit_have_a_block_each() {
    let (index, starts, end) = index(&[(1 << 20) + 4096; 20]);
    let cuts = cuts(end, Some(&index));
    assert_eq!(cuts[1..], starts[1..], "the first has the header of the segment, too");
}

#[test]
fn who_goes_on_at_the_mark_before_a_block_needs_that_block_alone() {
    let (index, starts, end) = index(&[(1 << 20) + 4096; 4]);
    let tier = Tier::new(std::rc::Rc::new(crate::remote::memory::MemoryStore::new()), 1, 8 << 20);
    let name = ObjectName { base: Offset::ZERO, end: Offset::new(4), generation: 1 };
    let file = RemoteFile::new(&tier, "1/1/".to_owned(), name, end);
    file.cut_by(&index);
    let mark = MARK_BYTES as u64;
    for (at, start) in starts.iter().enumerate().skip(1) {
        assert_eq!(file.range_of(at), start - mark..starts.get(at + 1).copied().unwrap_or(end));
        let places = [start - mark - 1, start - mark, *start].map(|place| file.number_at(place));
        assert_eq!(places, [at - 1, at, at]);
    }
    assert_eq!((file.number_at(0), file.number_at(end - 1)), (0, starts.len() - 1));
}
