//! Walks through pieces find what a walk through the whole finds.

use super::*;
use crate::batch::{Item, Items};
use crate::mark::{Incarnation, MarkFlags};
use crate::partition::FilePlan;
use crate::partition::walk::{Known, Target};
use crate::recovery::scan::Opening;
use crate::testing::{SegmentBytes, unsealed};

const BATCHES: u64 = 12;

/// Four groups of three batches of two records each.
fn segment() -> SegmentBytes {
    let mut segment = SegmentBytes::new(5, Offset::ZERO, Vec::new());
    for group in 0..4 {
        let batches: Vec<_> = (0..3).map(|at| unsealed(group * 3 + at, 500, 2, None)).collect();
        let flags = if group == 0 { MarkFlags::OPENING } else { MarkFlags::NONE };
        segment.group(&batches, flags);
    }
    segment
}

/// A walk from the start of the segment to an offset.
fn walk(segment: &SegmentBytes, (from, bytes_max): (u64, usize)) -> Walk {
    let opening = Opening {
        segment: Offset::ZERO,
        position: segment.groups[0].0,
        incarnation: Incarnation::new(1),
    };
    let known = Known { key: segment.header.key(), opening, holes: Vec::new() };
    let (from, limit) = (Offset::new(from), Offset::new(BATCHES * 2));
    let plan = FilePlan { segment: Offset::ZERO, closed: None, from, limit, start: None };
    let start = crate::index::Start { position: FilePosition::STREAM_START, offset: Offset::ZERO };
    Walk::new(&plan, start, Target::Offset(bytes_max), known)
}

/// The stream of a segment, cut at these places.
fn pieces(segment: &SegmentBytes, cuts: &[usize]) -> Pieces {
    let start = usize::try_from(FilePosition::STREAM_START.get()).unwrap();
    let bytes = Rc::new(segment.file.clone());
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let mut from = start;
    let slices =
        ends.map(|to| Slice::of_shared(Rc::clone(&bytes), std::mem::replace(&mut from, to)..to));
    Pieces { slices: slices.collect(), at_end: true }
}

/// Where batches begin.
fn starts(segment: &SegmentBytes) -> Vec<usize> {
    let start = usize::try_from(FilePosition::STREAM_START.get()).unwrap();
    let (mut at, mut starts) = (start, Vec::new());
    for item in Items::new(&segment.file[start..]).take_while(Result::is_ok).flatten() {
        if let Item::Batch(_) = &item {
            starts.push(at);
        }
        at += match item {
            Item::Batch(batch) => batch.header().total_len(),
            Item::Mark(_) => crate::batch::MARK_BYTES,
        };
    }
    starts
}

/// The batches that a walk gives, the offsets that it says, and how many pieces they lie in.
fn batches(gone: &Gone) -> (Vec<Vec<u8>>, Range<u64>, usize) {
    let Gone::Found { slices, offsets, .. } = gone else { panic!("nothing was found") };
    let found = slices.iter().flat_map(|slice| Items::new(slice).batches());
    let bytes = found.map(|batch| batch.unwrap().bytes().to_vec()).collect();
    (bytes, offsets.start.get()..offsets.end.get(), slices.len())
}

#[test]
fn pieces_that_begin_with_batches_give_what_the_whole_gives() {
    let segment = segment();
    let starts = starts(&segment);
    assert_eq!(starts.len() as u64, BATCHES);
    for from in 0..BATCHES * 2 {
        for bytes_max in [1, 1200, 3000, 1 << 20] {
            let asked = (from, bytes_max);
            let whole = batches(&pieces(&segment, &[]).walk(&mut walk(&segment, asked)));
            for (at, first) in starts.iter().enumerate() {
                for second in &starts[at + 1..] {
                    let pieces = pieces(&segment, &[*first, *second]);
                    let told = batches(&pieces.walk(&mut walk(&segment, asked).by_headers()));
                    let found = batches(&pieces.walk(&mut walk(&segment, asked)));
                    assert_eq!(told, found);
                    let len: usize = found.0.iter().map(Vec::len).sum();
                    assert!(found.0.len() == 1 || len <= bytes_max, "{asked:?}: {len}");
                    // Marks between pieces are not the reader's, so there may be room for a batch more.
                    assert!(found.0.starts_with(&whole.0), "{asked:?}, {first}, {second}");
                    assert!(bytes_max != 1 << 20 || found.0 == whole.0 && found.1 == whole.1);
                    assert_eq!(found.1.start, whole.1.start);
                }
            }
        }
    }
}

#[test]
fn a_batch_that_goes_on_in_the_next_piece_ends_the_walk_before_it() {
    let segment = segment();
    let starts = starts(&segment);
    let end = starts[7] + 128;
    let pieces = pieces(&segment, &[starts[3], end]);
    let (found, offsets, count) = batches(&pieces.walk(&mut walk(&segment, (0, 1 << 20))));
    assert_eq!((found.len(), offsets, count), (7, 0..14, 2));
    let gone = pieces.walk(&mut walk(&segment, (14, 1 << 20)));
    let Gone::Stopped(Walked::Need(position, len)) = gone else { panic!("it was found") };
    let expected = starts[8] - starts[7];
    assert_eq!((position.get(), len), (starts[7] as u64, expected), "the whole of it in one piece");
}

#[test]
fn damage_behind_sound_pieces_is_met_by_who_reads_on() {
    let mut segment = segment();
    let starts = starts(&segment);
    segment.file[starts[5] + 300] ^= 1;
    let cut = pieces(&segment, &[starts[2], starts[5]]);
    let (found, offsets, _) = batches(&cut.walk(&mut walk(&segment, (0, 1 << 20))));
    assert_eq!((found.len(), offsets), (5, 0..10));
    let gone = cut.walk(&mut walk(&segment, (10, 1 << 20)));
    let Gone::Stopped(Walked::Damaged(at, Some(end))) = gone else { panic!("it was not met") };
    assert_eq!((at.offset.get(), end.offset.get()), (10, 12));
}
