//! Splitting streams of batches and marks.

use pyralog_log::batch::{Batch, BatchError, Codec, Item, Items, MARK_MAGIC, split_first};

use crate::model::{build, value};

/// A mark as far as a stream cares.
fn mark() -> Vec<u8> {
    let mut mark = vec![9; 64];
    mark[..4].copy_from_slice(&MARK_MAGIC.to_le_bytes());
    mark
}

#[test]
fn items_come_in_order_and_marks_are_told_apart() {
    let (first, second) =
        (build(&[value(b"a")], Codec::None, None), build(&[value(b"b")], Codec::Lz4, None));
    let stream = [mark(), first.clone(), second.clone(), mark()].concat();
    let items: Vec<_> = Items::new(&stream)
        .map(|item| match item.unwrap() {
            Item::Batch(batch) => batch.bytes().to_vec(),
            Item::Mark(mark) => mark.to_vec(),
        })
        .collect();
    assert_eq!(items, [mark(), first.clone(), second.clone(), mark()]);
    let batches: Vec<_> =
        Items::new(&stream).batches().map(|batch| batch.unwrap().bytes()).collect();
    assert_eq!(batches, [&first[..], &second[..]]);
    let lengths: Vec<_> = Items::new(&stream).map(|item| item.unwrap().total_len()).collect();
    assert_eq!(lengths, [64, first.len(), second.len(), 64]);
}

#[test]
fn a_cut_stream_gives_its_whole_items_and_then_one_error() {
    let batch = build(&[value(b"a")], Codec::None, None);
    let stream = [mark(), batch.clone(), batch].concat();
    for cut in 0..stream.len() {
        let mut items = Items::new(&stream[..cut]);
        let whole = items.by_ref().take_while(Result::is_ok).count();
        let boundaries = [0, 64, 64 + (stream.len() - 64) / 2];
        let before = boundaries.iter().rposition(|boundary| *boundary <= cut).unwrap();
        assert_eq!((whole, items.position()), (before, boundaries[before]), "cut at {cut}");
        assert!(items.next().is_none());
        let last = split_first(&stream[boundaries[before]..cut]);
        let found = cut - boundaries[before];
        match last {
            Ok(None) => assert_eq!(found, 0),
            Err(BatchError::Truncated { expected, found: len }) => {
                assert!(len == found && expected > found);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_unknown_item_is_refused_by_its_magic() {
    let stream = [0xFF; 256];
    assert_eq!(split_first(&stream).unwrap_err(), BatchError::Magic { found: u32::MAX });
    assert_eq!(Batch::parse(&stream).unwrap_err(), BatchError::Magic { found: u32::MAX });
}

#[test]
fn one_batch_is_not_two() {
    let batch = build(&[value(b"a")], Codec::None, None);
    let two = batch.repeat(2);
    let expected = BatchError::Trailing { expected: batch.len(), found: two.len() };
    assert_eq!(Batch::parse(&two).unwrap_err(), expected);
}
