//! Checks of header, seal, checksums and lengths.

use pyralog_log::batch::{
    Batch, BatchError, BatchHeader, Codec, Decoder, HEADER_BYTES, Owner, Session, restamp, seal,
    total_len, verify_header,
};
use pyralog_log::ids::{Offset, SessionId};
use pyralog_log::limits::BATCH_BYTES_MAX;

use crate::model::{build, owner, sealed, session, sign, value};

/// A small batch with `bytes` at `position`, unsigned.
fn patched(position: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = build(&[value(b"abc"), value(b"def")], Codec::None, Some(session()));
    batch[position..position + bytes.len()].copy_from_slice(bytes);
    batch
}

#[test]
fn sealing_touches_the_owners_line_only() {
    let unsealed = build(&[value(b"abc")], Codec::None, None);
    let sealed = sealed(unsealed.clone());
    assert_eq!(sealed[64..], unsealed[64..]);
    let batch = Batch::parse(&sealed).unwrap().verify().unwrap();
    assert_eq!(batch.header().owner, owner());
    assert_eq!(verify_header(batch.header_bytes()), Ok(()));
}

#[test]
fn a_batch_may_be_sealed_again() {
    let mut batch = sealed(build(&[value(b"abc")], Codec::None, None));
    let promoted = Owner { base_offset: Offset::new(3), ..owner() };
    seal(&mut batch, promoted);
    assert_eq!(Batch::parse(&batch).unwrap().verify().unwrap().header().owner, promoted);
}

#[test]
fn restamping_changes_the_session_and_nothing_else() {
    let records = [value(b"abc"), value(b"def")];
    let mut batch = build(&records, Codec::None, Some(session()));
    let other = Session { id: SessionId::new(8), epoch: 0, first_sequence: 5 };
    restamp(&mut batch, other).unwrap();
    assert_eq!(batch, build(&records, Codec::None, Some(other)));

    let before = batch.clone();
    let none = Session { id: SessionId::ZERO, ..other };
    assert_eq!(restamp(&mut batch, none), Err(BatchError::Sessionless));
    assert_eq!(batch, before);
}

#[test]
fn sealed_and_unsealed_are_not_taken_for_each_other() {
    let unsealed = build(&[value(b"abc")], Codec::None, None);
    let sealed = sealed(unsealed.clone());
    let refused = Batch::parse(&sealed).unwrap().verify_unsealed().unwrap_err();
    assert!(matches!(refused, BatchError::NotZero { position: 4..64 }));
    let refused = Batch::parse(&unsealed).unwrap().verify().unwrap_err();
    assert!(matches!(refused, BatchError::HeaderChecksum { expected: 0, .. }));
}

#[test]
#[should_panic(expected = "do not fit")]
fn sealing_at_the_end_of_offsets_panics() {
    let mut batch = build(&[value(b"abc")], Codec::None, None);
    seal(&mut batch, Owner { base_offset: Offset::MAX, ..owner() });
}

#[test]
fn every_field_of_the_header_is_checked() {
    let max = u32::try_from(BATCH_BYTES_MAX).unwrap();
    let cases: [(usize, &[u8], BatchError); 15] = [
        (0, b"PYB2", BatchError::Magic { found: u32::from_le_bytes(*b"PYB2") }),
        (8, &[0xFF; 8], BatchError::Overflow { what: "offsets", first: u64::MAX, count: 2 }),
        (40, &[0, 1], BatchError::Gap { base: 0, gap: 256 }),
        (48, &[0, 1], BatchError::NotZero { position: 49 }),
        (63, &[1], BatchError::NotZero { position: 63 }),
        (68, &[2], BatchError::Version { expected: 1, found: 2 }),
        (69, &[3], BatchError::Codec { found: 3 }),
        (70, &[2], BatchError::BodyKind { found: 2 }),
        (71, &[4], BatchError::Flags { found: 4 }),
        (
            72,
            &max.to_le_bytes(),
            BatchError::TooLarge {
                what: "body length",
                max: BATCH_BYTES_MAX - HEADER_BYTES,
                found: BATCH_BYTES_MAX,
            },
        ),
        (76, &[0, 0, 0, 0], BatchError::Length { expected: 204, found: 0 }),
        (80, &[0, 0, 0, 0], BatchError::Empty),
        (
            80,
            &[1, 0, 16, 0],
            BatchError::TooLarge { what: "record count", max: 1 << 20, found: (1 << 20) + 1 },
        ),
        (88, &[1], BatchError::CreateTimes { base: 1, max: 0 }),
        (104, &[0; 8], BatchError::Sessionless),
    ];
    for (position, bytes, expected) in cases {
        let batch = patched(position, bytes);
        assert_eq!(BatchHeader::parse(&batch), Err(expected), "at {position}");
        assert_eq!(Batch::parse(&batch).unwrap_err(), expected, "at {position}");
        assert!(!expected.to_string().is_empty());
    }
    let sequence = BatchHeader::parse(&patched(112, &[0xFF; 8]));
    assert!(matches!(sequence, Err(BatchError::Overflow { what: "sequence numbers", .. })));
}

#[test]
fn a_short_header_is_truncated() {
    let batch = patched(0, b"PYB1");
    for len in 0..HEADER_BYTES {
        let expected = BatchError::Truncated { expected: HEADER_BYTES, found: len };
        assert_eq!(BatchHeader::parse(&batch[..len]), Err(expected));
    }
    assert_eq!(BatchHeader::parse(&batch[..HEADER_BYTES]).unwrap().total_len(), batch.len());
}

#[test]
fn lengths_are_padded_to_lines() {
    assert_eq!((total_len(0), total_len(1), total_len(64), total_len(65)), (128, 192, 192, 256));
    assert_eq!(total_len(u32::try_from(BATCH_BYTES_MAX - HEADER_BYTES).unwrap()), BATCH_BYTES_MAX);
}

#[test]
fn padding_that_is_not_zero_is_refused() {
    let mut batch = patched(0, b"PYB1");
    *batch.last_mut().unwrap() = 1;
    let refused = Batch::parse(&batch).unwrap().verify_unsealed().unwrap_err();
    assert_eq!(refused, BatchError::NotZero { position: batch.len() - 1 });
}

#[test]
fn a_decompression_bomb_is_refused_by_its_header() {
    let mut batch = build(&vec![value(&[0; 1000]); 100], Codec::Zstd, None);
    let found = u32::try_from(BATCH_BYTES_MAX - HEADER_BYTES + 1).unwrap();
    batch[76..80].copy_from_slice(&found.to_le_bytes());
    sign(&mut batch);
    let refused = Batch::parse(&batch).unwrap_err();
    assert!(matches!(refused, BatchError::TooLarge { what: "uncompressed body length", .. }));
}

#[test]
fn a_body_of_another_length_than_the_header_says_is_refused() {
    for codec in [Codec::Lz4, Codec::Zstd] {
        let batch = build(&vec![value(&[7; 1000]); 100], codec, None);
        let len = Batch::parse(&batch).unwrap().header().uncompressed_len;
        for forged in [0, 1, len - 1, len + 1, 8_000_000] {
            let mut batch = batch.clone();
            batch[76..80].copy_from_slice(&forged.to_le_bytes());
            sign(&mut batch);
            let batch = Batch::parse(&batch).unwrap().verify_unsealed().unwrap();
            let refused = Decoder::new().body(&batch).unwrap_err();
            let failed = BatchError::CodecFailed { codec: codec.name() };
            let length = BatchError::Length { expected: forged as usize, found: len as usize };
            assert!(refused == failed || refused == length, "{refused} for {forged}");
        }
    }
}

#[test]
fn names_and_numbers_of_codecs_round_trip() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_code(codec.code()), Some(codec));
    }
    assert_eq!(Codec::ALL.map(Codec::name), ["none", "lz4", "zstd"]);
}
