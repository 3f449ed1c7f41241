//! Batches that compaction has taken records from.

use arrow_array::types::UInt64Type;
use arrow_array::{Array, PrimitiveArray};
use pyralog_log::batch::{
    ArrowRows, Batch, BatchError, BatchHeader, Codec, Decoder, Thinner, seal, seal_behind_gap,
};
use pyralog_log::ids::Offset;

use crate::model::{
    Input, Model, aligned, build, owner, property_runner, read, read_arrow, sealed, session, sign,
    value,
};

/// The batch without the records that `keep` does not name, sealed as it was and behind a gap.
pub(crate) fn thinned(batch: &[u8], keep: impl Fn(usize) -> bool, gap: u64) -> Vec<u8> {
    let batch = Batch::parse(batch).unwrap();
    let mut decoder = Decoder::new();
    let rows = decoder.rows(&batch).unwrap();
    let mut out = Vec::new();
    assert!(Thinner::default().thin((batch.header(), &rows), keep, &mut out));
    seal_behind_gap(&mut out, batch.header().owner, gap);
    out
}

/// Which of so many rows stay: at least one, and not all.
fn kept(mask: &[bool], len: usize) -> Option<Vec<usize>> {
    let keep = |row: &usize| mask.get(*row).copied().unwrap_or(row % 3 == 1);
    let kept: Vec<usize> = (0..len).filter(keep).collect();
    (!kept.is_empty() && kept.len() < len).then_some(kept)
}

#[test]
fn what_stays_keeps_its_offset_and_everything_else() {
    fn property(input: Input, masks: (Vec<bool>, Vec<bool>), gap: u16) {
        let whole = sealed(build(&input.records, input.codec, input.session));
        let Some(first) = kept(&masks.0, input.records.len()) else { return };
        let once = thinned(&whole, |row| first.contains(&row), gap.into());
        check(&input, &first, &once, gap.into());
        // The second time indexes count what the first one has left.
        let Some(second) = kept(&masks.1, first.len()) else { return };
        let twice = thinned(&once, |row| second.contains(&row), 7);
        let left: Vec<usize> = second.iter().map(|row| first[*row]).collect();
        check(&input, &left, &twice, 7);
    }
    property_runner(3000).quickcheck(property as fn(Input, (Vec<bool>, Vec<bool>), u16));
}

/// The batch has these rows of the input and nothing else, and says so in every way.
fn check(input: &Input, kept: &[usize], bytes: &[u8], gap: u64) {
    let batch = Batch::parse(bytes).unwrap().verify().unwrap();
    let (header, base) = (batch.header(), owner().base_offset.get());
    let expected: Vec<Model> = kept.iter().map(|row| input.records[*row].clone()).collect();
    let offsets: Vec<u64> = kept.iter().map(|row| base + *row as u64).collect();

    assert_eq!((header.owner, header.session), (owner(), input.session));
    assert_eq!(header.record_count as usize, kept.len());
    assert_eq!(header.offset_count() as usize, input.records.len());
    assert_eq!(header.next_offset().get(), base + input.records.len() as u64);
    assert_eq!(header.covered_from().get(), base - gap);

    let mut decoder = Decoder::new();
    let rows = decoder.rows(&batch).unwrap();
    assert_eq!(read(&rows), expected);
    let found: Vec<u64> = rows.iter().map(|row| row.offset.get()).collect();
    assert_eq!(found, offsets);
    for (at, offset) in (base..header.next_offset().get()).enumerate() {
        let before = kept.iter().filter(|row| **row < at).count();
        assert_eq!(rows.rows_before(Offset::new(offset)), before);
        let there = rows.at(Offset::new(offset)).map(|row| row.offset.get());
        assert_eq!(there, kept.contains(&at).then_some(offset));
    }
    let shared = ArrowRows::open(&aligned(bytes), &mut Decoder::new()).unwrap();
    let columns = shared.to_record_batch().unwrap();
    assert_eq!(read_arrow(&columns, header.base_create_time.get()), expected);
    let column: PrimitiveArray<UInt64Type> = shared.offsets();
    assert_eq!(column.values().to_vec(), offsets);
    assert_eq!(column.null_count(), 0);
}

#[test]
fn a_producer_may_send_neither_a_gap_nor_a_batch_that_lacks_records() {
    let whole = build(&[value(b"one"), value(b"two")], Codec::None, Some(session()));
    let mut lacking = thinned(&whole, |row| row == 0, 0);
    lacking[4..64].fill(0);
    let verdict = Batch::parse(&lacking).unwrap().verify_unsealed();
    assert_eq!(verdict.unwrap_err(), BatchError::NotZero { position: 124 });
    let mut behind_gap = whole.clone();
    behind_gap[8] = 9;
    behind_gap[40] = 9;
    let verdict = Batch::parse(&behind_gap).unwrap().verify_unsealed();
    assert_eq!(verdict.unwrap_err(), BatchError::NotZero { position: 8 });
}

#[test]
fn to_seal_again_closes_the_gap_and_keeps_what_is_removed() {
    let whole = sealed(build(&[value(b"one"), value(b"two")], Codec::Lz4, None));
    let mut batch = thinned(&whole, |row| row == 1, 12);
    seal(&mut batch, owner());
    let header = *Batch::parse(&batch).unwrap().verify().unwrap().header();
    assert_eq!((header.gap_before, header.removed, header.record_count), (0, 1, 1));
}

#[test]
fn headers_that_claim_more_than_there_can_be_are_refused() {
    let whole = sealed(build(&[value(b"one"), value(b"two")], Codec::None, None));
    let put = |at: usize, raw: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + raw.len()].copy_from_slice(raw);
        BatchHeader::parse(&bytes)
    };
    let base = owner().base_offset.get();
    let gap = base + 1;
    assert_eq!(put(40, &gap.to_le_bytes()).unwrap_err(), BatchError::Gap { base, gap });
    let found = 1_usize << 20;
    let verdict = put(124, &u32::try_from(found).unwrap().to_le_bytes());
    let what = "number of removed records";
    assert_eq!(verdict.unwrap_err(), BatchError::TooLarge { what, max: found - 2, found });
    assert!(put(124, &u32::MAX.to_le_bytes()).is_err());
}

#[test]
fn deltas_that_are_no_offsets_of_the_batch_are_refused() {
    let records: Vec<Model> = (0..4_u8).map(|byte| value(&[byte])).collect();
    let whole = sealed(build(&records, Codec::None, None));
    let good = thinned(&whole, |row| row != 1, 0);
    let at = good.len() - 64; // The column comes last.
    let rows = |deltas: [u32; 3]| {
        let mut bytes = good.clone();
        for (index, delta) in deltas.iter().enumerate() {
            bytes[at + index * 4..][..4].copy_from_slice(&delta.to_le_bytes());
        }
        sign(&mut bytes);
        Decoder::new().rows(&Batch::parse(&bytes).unwrap()).map(|rows| rows.len())
    };
    assert_eq!(rows([0, 2, 3]), Ok(3));
    assert_eq!(rows([1, 2, 3]), Ok(3));
    for wrong in [[0, 0, 3], [2, 0, 3], [0, 2, 4], [0, 2, u32::MAX]] {
        assert!(matches!(rows(wrong), Err(BatchError::Column { .. })), "{wrong:?}");
    }
    // A column of deltas that no header speaks of, and a header whose column is not there.
    let mut complete = good.clone();
    complete[124..128].fill(0);
    sign(&mut complete);
    assert!(Decoder::new().rows(&Batch::parse(&complete).unwrap()).is_err());
    let mut lacking = whole;
    lacking[124] = 1;
    sign(&mut lacking);
    assert!(Decoder::new().rows(&Batch::parse(&lacking).unwrap()).is_err());
}
