//! One forged body per check: each is refused, by the check that is meant for it.

use super::super::{Batch, BuilderConfig, HEADER_BYTES, Record, Rows, RowsBuilder, Thinner};
use super::*;
use crate::limits::DIRECTORY_BYTES_MAX;

/// A batch of nine records, of ten, that has every column, split into header and body.
fn full() -> (BatchHeader, Vec<u8>) {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    let headers: [(&str, Option<&[u8]>); 2] = [("ö", Some(b"x")), ("ab", None)];
    for i in 0..10_i64 {
        let record = Record {
            key: (i != 2).then_some(b"key"),
            value: (i != 5).then_some(b"value"),
            create_time: Timestamp::new(i),
            headers: &headers,
        };
        builder.push(&record).unwrap();
    }
    let whole = builder.finish(None).unwrap();
    let batch = Batch::parse(&whole).unwrap();
    let rows = Rows::open(batch.header(), batch.stored_body()).unwrap();
    let mut bytes = Vec::new();
    assert!(Thinner::default().thin((batch.header(), &rows), |row| row < 9, &mut bytes));
    let header = *Batch::parse(&bytes).unwrap().header();
    let end = HEADER_BYTES + header.body_len as usize;
    (header, bytes[HEADER_BYTES..end].to_vec())
}

/// What opening says after `patch` was written at `position` of a column.
fn patched(kind: ColumnKind, position: usize, patch: &[u8]) -> Result<(), BatchError> {
    let (header, mut body) = full();
    let start = Extents::read(&body).unwrap().get(kind).unwrap().start + position;
    body[start..start + patch.len()].copy_from_slice(patch);
    Rows::open(&header, &body).map(drop)
}

/// What opening says after the extents were changed.
fn placed(change: impl FnOnce(&mut Extents)) -> Result<(), BatchError> {
    let (header, mut body) = full();
    let mut extents = Extents::read(&body).unwrap();
    change(&mut extents);
    body[..4 + DIRECTORY_BYTES_MAX].fill(0);
    extents.write(&mut body);
    Rows::open(&header, &body).map(drop)
}

/// What opening says after a column was made `by` bytes longer or shorter.
fn resized(kind: ColumnKind, by: isize) -> Result<(), BatchError> {
    placed(|extents| {
        let place = extents.get(kind).unwrap();
        extents.set(kind, place.start..place.end.checked_add_signed(by).unwrap());
    })
}

#[test]
fn a_full_batch_opens_and_its_directory_takes_122_bytes() {
    let (header, body) = full();
    assert_eq!(Rows::open(&header, &body).unwrap().len(), 9);
    assert_eq!(body[..4], 122_u32.to_le_bytes());
    assert!(ColumnKind::ALL.iter().all(|kind| Extents::read(&body).unwrap().get(*kind).is_some()));
}

#[test]
fn offsets_start_at_zero_never_fall_and_end_with_the_bytes() {
    for kind in [
        ColumnKind::ValueOffsets,
        ColumnKind::KeyOffsets,
        ColumnKind::HeaderOffsets,
        ColumnKind::HeaderKeyOffsets,
        ColumnKind::HeaderValueOffsets,
    ] {
        let fault = |index, found| Err(kind.fault(ColumnFault::Offset { index, found }));
        assert_eq!(patched(kind, 0, &1_i32.to_le_bytes()), fault(0, 1));
        assert_eq!(patched(kind, 4, &(-1_i32).to_le_bytes()), fault(1, -1));
        assert_eq!(patched(kind, 4, &i32::MAX.to_le_bytes()), fault(1, i32::MAX));
        let len = full_len(kind) / 4 - 1;
        assert_eq!(patched(kind, len * 4, &0_i32.to_le_bytes()), fault(len, 0));
        let end = match patched(kind, len * 4, &i32::MAX.to_le_bytes()) {
            Err(BatchError::Column { fault: ColumnFault::Offset { .. }, .. }) => last_offset(kind),
            other => panic!("{other:?}"),
        };
        if kind != ColumnKind::HeaderValueOffsets {
            // The last entry is not empty, so this does not fall below its predecessor.
            assert_eq!(patched(kind, len * 4, &(end - 1).to_le_bytes()), fault(len, end - 1));
        }
        assert!(matches!(
            patched(kind, 12, &0_i32.to_le_bytes()),
            Err(BatchError::Column { fault: ColumnFault::Offset { index: 3, found: 0 }, .. })
        ));
    }
}

/// Last offset of a column of the full batch.
fn last_offset(kind: ColumnKind) -> i32 {
    let (_, body) = full();
    let place = Extents::read(&body).unwrap().get(kind).unwrap();
    offset_at(&body[place.clone()], place.len() / 4 - 1)
}

/// Length of a column of the full batch.
fn full_len(kind: ColumnKind) -> usize {
    Extents::read(&full().1).unwrap().get(kind).unwrap().len()
}

#[test]
fn columns_have_the_length_of_their_entries() {
    for kind in ColumnKind::ALL {
        let shorter = match kind {
            ColumnKind::ValueBytes
            | ColumnKind::KeyBytes
            | ColumnKind::HeaderKeyBytes
            | ColumnKind::HeaderValueBytes => resized(kind, -1),
            _ => {
                let refused = resized(kind, 1);
                assert!(matches!(refused, Err(BatchError::Column { .. })), "{kind:?} {refused:?}");
                resized(kind, -1)
            }
        };
        assert!(matches!(shorter, Err(BatchError::Column { .. })), "{kind:?} {shorter:?}");
    }
}

#[test]
fn columns_lie_in_order_aligned_and_inside_the_body() {
    let kind = ColumnKind::ValueOffsets;
    let place = Extents::read(&full().1).unwrap().get(kind).unwrap();
    let len = place.len();
    let body_len = full().1.len();
    for start in [0, 64, 128, place.start + 4, body_len.next_multiple_of(64), 1 << 31] {
        let refused = placed(|extents| extents.set(kind, start..start + len));
        let expected = ColumnFault::Place { offset: start, len };
        let misplaced = refused == Err(kind.fault(expected));
        // Later columns may be the first that are out of order.
        let overlapped = matches!(
            refused,
            Err(BatchError::Column { column: "value validity", fault: ColumnFault::Place { .. } })
        );
        assert!(misplaced || overlapped, "{refused:?} at {start}");
    }
    let refused = placed(|extents| extents.set(kind, place.start..place.start + body_len));
    assert!(matches!(refused, Err(BatchError::Column { fault: ColumnFault::Place { .. }, .. })));
}

#[test]
fn null_entries_have_no_bytes() {
    for kind in
        [ColumnKind::ValueValidity, ColumnKind::KeyValidity, ColumnKind::HeaderValueValidity]
    {
        let fault = ColumnFault::NullWithBytes { index: 0 };
        assert_eq!(patched(kind, 0, &[0]), Err(kind.fault(fault)));
    }
}

#[test]
fn header_keys_are_text_cut_between_characters() {
    let kind = ColumnKind::HeaderKeyBytes;
    let fault = ColumnFault::Utf8 { position: 4 };
    assert_eq!(patched(kind, 4, &[0xFF]), Err(kind.fault(fault)));
    // "ö" and "ab" become half of "ö" and the rest.
    let kind = ColumnKind::HeaderKeyOffsets;
    let fault = ColumnFault::Offset { index: 1, found: 1 };
    assert_eq!(patched(kind, 4, &1_i32.to_le_bytes()), Err(kind.fault(fault)));
}

#[test]
fn create_times_stay_below_the_largest_of_the_header() {
    let kind = ColumnKind::CreateTimes;
    let fault = ColumnFault::TooLarge { index: 3, max: 8, found: 9 };
    assert_eq!(patched(kind, 12, &9_u32.to_le_bytes()), Err(kind.fault(fault)));
}

#[test]
fn columns_come_with_their_companions() {
    use ColumnKind as K;
    let (_, body) = full();
    let whole = Extents::read(&body).unwrap();
    let without = |gone: &[ColumnKind]| {
        placed(|extents| {
            *extents = Extents::default();
            for kind in ColumnKind::ALL.into_iter().filter(|kind| !gone.contains(kind)) {
                extents.set(kind, whole.get(kind).unwrap());
            }
        })
    };
    let keys = [K::KeyBytes, K::KeyOffsets, K::KeyValidity];
    let headers = [
        K::HeaderOffsets,
        K::HeaderKeyBytes,
        K::HeaderKeyOffsets,
        K::HeaderValueBytes,
        K::HeaderValueOffsets,
        K::HeaderValueValidity,
    ];
    assert_eq!(without(&keys), Ok(()));
    assert_eq!(without(&headers), Ok(()));
    assert_eq!(without(&[K::CreateTimes]), Ok(()));
    for kind in [K::ValueBytes, K::ValueOffsets]
        .into_iter()
        .chain(keys.into_iter().take(2))
        .chain(headers.into_iter().take(5))
    {
        assert_eq!(without(&[kind]), Err(kind.fault(ColumnFault::Presence)), "{kind:?}");
    }
    for lonely in [K::KeyValidity, K::HeaderValueValidity] {
        let family = if lonely == K::KeyValidity { &keys[..2] } else { &headers[..5] };
        let refused = without(family);
        let lacks = matches!(refused, Err(BatchError::Column { fault: ColumnFault::Presence, .. }));
        assert!(lacks, "{refused:?}");
    }
}

#[test]
fn a_directory_that_does_not_fit_or_is_none_is_refused() {
    let (header, body) = full();
    let open = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = body.clone();
        change(&mut body);
        Rows::open(&header, &body).map(drop)
    };
    let (what, max) = ("directory length", DIRECTORY_BYTES_MAX);
    let long = BatchError::TooLarge { what, max, found: max + 1 };
    assert_eq!(open(&|body| body[0] = 125), Err(long));
    assert_eq!(open(&|body| body[0] = 0), Err(BatchError::Directory));
    assert_eq!(open(&|body| body[4..126].fill(0xFF)), Err(BatchError::Directory));
    // The bits of `present` are bytes 116 and 117: one too few, one unknown, one exchanged for it.
    assert_eq!(body[116..118], 0x3FFF_u16.to_le_bytes());
    for present in [0x1FFF_u16, 0x7FFF, 0x5FFF] {
        let change = |body: &mut Vec<u8>| body[116..118].copy_from_slice(&present.to_le_bytes());
        assert_eq!(open(&change), Err(BatchError::Directory), "{present:#x}");
    }
    let expected = body.len();
    let cut = |len: usize| open(&|body: &mut Vec<u8>| body.truncate(len));
    assert_eq!(cut(9), Err(BatchError::Length { expected, found: 9 }));

    let header = BatchHeader { uncompressed_len: 9, ..header };
    let truncated = BatchError::Truncated { expected: 126, found: 9 };
    assert_eq!(Rows::open(&header, &body[..9]).map(drop), Err(truncated));
    let header = BatchHeader { uncompressed_len: 3, ..header };
    let truncated = BatchError::Truncated { expected: 4, found: 3 };
    assert_eq!(Rows::open(&header, &body[..3]).map(drop), Err(truncated));
}

#[test]
fn records_over_their_limits_are_refused() {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    // Two records whose keys are legal apart and too long together.
    let key = vec![b'k'; KEY_BYTES_MAX];
    for _ in 0..2 {
        builder.push(&Record { key: Some(&key), ..Record::default() }).unwrap();
    }
    let bytes = builder.finish(None).unwrap();
    let header = *Batch::parse(&bytes).unwrap().header();
    let mut body = bytes[HEADER_BYTES..HEADER_BYTES + header.body_len as usize].to_vec();
    let start = Extents::read(&body).unwrap().get(ColumnKind::KeyOffsets).unwrap().start;
    body[start + 4..start + 8].copy_from_slice(&0_i32.to_le_bytes());
    let (max, found) = (KEY_BYTES_MAX, 2 * KEY_BYTES_MAX);
    let fault = ColumnFault::TooLarge { index: 1, max, found };
    assert_eq!(Rows::open(&header, &body).map(drop), Err(ColumnKind::KeyOffsets.fault(fault)));
}

#[test]
fn headers_of_a_record_that_are_too_long_together_are_refused() {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    let half = vec![b'h'; HEADER_BYTES_PER_RECORD_MAX / 2];
    for _ in 0..2 {
        let headers = [("key", Some(&half[..]))];
        builder.push(&Record { headers: &headers, ..Record::default() }).unwrap();
    }
    let bytes = builder.finish(None).unwrap();
    let header = *Batch::parse(&bytes).unwrap().header();
    let mut body = bytes[HEADER_BYTES..HEADER_BYTES + header.body_len as usize].to_vec();
    let kind = ColumnKind::HeaderOffsets;
    let start = Extents::read(&body).unwrap().get(kind).unwrap().start;
    body[start + 4..start + 8].copy_from_slice(&2_i32.to_le_bytes());
    let max = HEADER_BYTES_PER_RECORD_MAX;
    let fault = ColumnFault::TooLarge { index: 0, max, found: max + 6 };
    assert_eq!(Rows::open(&header, &body).map(drop), Err(kind.fault(fault)));
}
