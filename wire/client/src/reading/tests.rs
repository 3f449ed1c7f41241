//! Tests of the machine of reading: what arrives sound, damaged once, damaged twice.

use std::time::Duration;

use pyralog_log::batch::{BuilderConfig, Owner, Record, RowsBuilder, seal};
use pyralog_log::ids::{Epoch, Timestamp};
use pyralog_wire::{ErrorCode, ErrorReply};

use super::*;
use crate::backoff::Backoff;
use crate::config::{OnOutOfRange, Stop};

fn reading(from: StartFrom) -> Reading {
    let backoff = Backoff { min: Duration::from_millis(1), max: Duration::from_millis(1) };
    let cursor = Cursor::new(from, Stop::Never, OnOutOfRange::Error, backoff);
    Reading::new(PartitionId::ZERO, cursor)
}

/// A sealed batch of two records from this offset.
fn batch(base: u64) -> Vec<u8> {
    created(base, 1)
}

/// The same, with records of this time.
fn created(base: u64, time: i64) -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    for value in [b"a", b"b"] {
        let create_time = Timestamp::new(time);
        builder.push(&Record { value: Some(value), create_time, ..Record::default() }).unwrap();
    }
    let mut batch = builder.finish(None).unwrap();
    let (base_offset, epoch) = (Offset::new(base), Epoch::new(1));
    seal(&mut batch, Owner { base_offset, epoch, append_time: Timestamp::new(1), scarab_base: 0 });
    batch
}

/// An answer with these batches of two records, from offset 0 on.
fn answer(batches: &[Vec<u8>]) -> (Reply, Option<Buffer>) {
    let high = Offset::new(batches.len() as u64 * 2);
    let fetched =
        Fetched { first_offset: Offset::ZERO, next_offset: high, low: Offset::ZERO, high };
    (Reply::Done(Response::Fetch(fetched)), Some(Buffer::from(batches.concat())))
}

fn damaged(base: u64) -> Vec<u8> {
    let mut batch = batch(base);
    batch[150] ^= 1;
    batch
}

fn offsets(batches: &[FetchedBatch]) -> Vec<(u64, u64)> {
    let range = |batch: &FetchedBatch| (batch.offsets().start.get(), batch.offsets().end.get());
    batches.iter().map(range).collect()
}

#[test]
fn sound_batches_are_handed_out_and_reading_goes_on_behind_them() {
    let mut reading = reading(StartFrom::Earliest);
    let rng = &mut Rng::with_seed(1);
    let (batches, next) = reading.answered(answer(&[batch(0), batch(2)]), rng);
    assert_eq!((offsets(&batches), next), (vec![(0, 2), (2, 4)], Next::Go));
    assert_eq!(reading.from(), FetchFrom::Offset(Offset::new(4)));
}

#[test]
fn what_lies_before_the_position_is_not_handed_out() {
    let mut reading = reading(StartFrom::Offset(Offset::new(3)));
    let rng = &mut Rng::with_seed(1);
    let (batches, _) = reading.answered(answer(&[batch(0), batch(2)]), rng);
    assert_eq!(offsets(&batches), [(3, 4)]);
}

#[test]
fn reading_from_a_time_begins_with_the_first_batch_of_it_and_leaves_nothing_out_behind() {
    let mut reading = reading(StartFrom::Time(Timestamp::new(50)));
    let rng = &mut Rng::with_seed(1);
    // It was waited for what comes next, and what came is older.
    let (batches, next) = reading.answered(answer(&[created(0, 49)]), rng);
    assert_eq!((offsets(&batches), next), (vec![], Next::Go));
    assert_eq!(reading.from(), FetchFrom::Time(Timestamp::new(50)));
    // All are appended in the same moment: the clocks of producers need not agree with the server's.
    let answered = answer(&[created(0, 49), created(2, 50), created(4, 20)]);
    let (batches, next) = reading.answered(answered, rng);
    assert_eq!((offsets(&batches), next), (vec![(2, 4), (4, 6)], Next::Go));
    assert_eq!(reading.from(), FetchFrom::Offset(Offset::new(6)));
}

#[test]
fn what_arrives_damaged_is_fetched_again_from_where_it_was_sound() {
    let mut reading = reading(StartFrom::Earliest);
    let rng = &mut Rng::with_seed(1);
    let (batches, next) = reading.answered(answer(&[batch(0), damaged(2)]), rng);
    assert_eq!(offsets(&batches), [(0, 2)]);
    assert!(matches!(next, Next::Reroute(_)), "{next:?}");
    assert_eq!(reading.from(), FetchFrom::Offset(Offset::new(2)));
    let (batches, next) = reading.answered(answer(&[batch(0), batch(2)]), rng);
    assert_eq!((offsets(&batches), next), (vec![(2, 4)], Next::Go), "nothing twice");
}

#[test]
fn what_arrives_damaged_twice_is_told_with_its_range() {
    let mut reading = reading(StartFrom::Earliest);
    let rng = &mut Rng::with_seed(1);
    reading.answered(answer(&[batch(0), damaged(2)]), rng);
    let (batches, next) = reading.answered(answer(&[batch(0), damaged(2), batch(4)]), rng);
    assert_eq!(offsets(&batches), []);
    let Next::Corrupt { first, next, .. } = next else { panic!("{next:?}") };
    assert_eq!((first.get(), next.get()), (2, 6));
}

#[test]
fn a_sound_answer_in_between_forgives_the_damage() {
    let mut reading = reading(StartFrom::Earliest);
    let rng = &mut Rng::with_seed(1);
    reading.answered(answer(&[damaged(0)]), rng);
    reading.answered(answer(&[batch(0)]), rng);
    let (_, next) = reading.answered(answer(&[batch(0), damaged(2)]), rng);
    assert!(matches!(next, Next::Reroute(_)), "{next:?}");
}

#[test]
fn a_seek_forgives_the_damage() {
    let mut reading = reading(StartFrom::Earliest);
    let rng = &mut Rng::with_seed(1);
    reading.answered(answer(&[damaged(0)]), rng);
    reading.seek(StartFrom::Earliest);
    let (_, next) = reading.answered(answer(&[damaged(0)]), rng);
    assert!(matches!(next, Next::Reroute(_)), "{next:?}");
}

#[test]
fn refusals_and_silence_leave_the_position() {
    let mut reading = reading(StartFrom::Offset(Offset::new(3)));
    let rng = &mut Rng::with_seed(1);
    let busy = Reply::Refused(ErrorReply::from(ErrorCode::Busy));
    assert!(matches!(reading.answered((busy, None), rng), (batches, Next::Retry(_))
        if batches.is_empty()));
    assert!(matches!(reading.failed(rng), Next::Reroute(_)));
    assert_eq!(reading.offset(), Some(Offset::new(3)));
}
