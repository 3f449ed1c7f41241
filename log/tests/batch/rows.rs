//! What a builder takes and what the rows show of it.

use pyralog_log::batch::{
    ArrowBody, Batch, BatchError, BodyKind, BuilderConfig, Codec, Decoder, Flags, PushError,
    Record, RowsBuilder, Session,
};
use pyralog_log::ids::{Offset, SessionId, Timestamp};
use pyralog_log::limits::{
    BATCH_BYTES_MAX, HEADER_BYTES_PER_RECORD_MAX, HEADERS_PER_RECORD_MAX, KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
};

use crate::model::{
    ALL_FLAGS, Input, Model, build, property_runner, push, read, sealed, session, value,
};

/// Builds and reads back.
fn round_trip(records: &[Model]) -> Vec<Model> {
    let bytes = build(records, Codec::None, None);
    let batch = Batch::parse(&bytes).unwrap().verify_unsealed().unwrap();
    read(&Decoder::new().rows(&batch).unwrap())
}

#[test]
fn a_thousand_keyless_records_of_100_bytes_cost_8352_bytes() {
    let record = |i: i64| Model { create_time: i, ..value(&[0xAB; 100]) };
    let bytes = build(&(0..1000).map(record).collect::<Vec<_>>(), Codec::None, None);
    // Header 128, directory 128, offsets and deltas 4032 each, padding of the values 32.
    assert_eq!(bytes.len() - 100_000, 8352);
}

#[test]
fn keyless_records_of_any_length_cost_at_most_12_bytes_in_a_thousand() {
    for len in 0..130 {
        let record = |i: i64| Model { create_time: i, ..value(&vec![0xAB; len]) };
        let bytes = build(&(0..1000).map(record).collect::<Vec<_>>(), Codec::None, None);
        assert!(bytes.len() - len * 1000 <= 8383, "{} of {len}", bytes.len());
    }
}

#[test]
fn null_and_empty_differ_for_values_keys_and_header_values() {
    let records = [
        Model::default(),
        value(b""),
        Model { key: Some(vec![]), ..Model::default() },
        Model { headers: vec![("a".into(), None), ("a".into(), Some(vec![]))], ..value(b"x") },
    ];
    assert_eq!(round_trip(&records), records);
}

#[test]
fn headers_keep_order_and_duplicates() {
    let header = |key: &str, value: &str| (key.to_owned(), Some(value.as_bytes().to_vec()));
    let headers = vec![header("z", "1"), header("a", "2"), header("z", "3"), header("", "ö")];
    let records = [value(b"v"), Model { headers, ..value(b"w") }];
    assert_eq!(round_trip(&records), records);

    let bytes = build(&records, Codec::None, None);
    let batch = Batch::parse(&bytes).unwrap();
    let mut decoder = Decoder::new();
    let row = decoder.rows(&batch).unwrap().get(1).unwrap();
    assert_eq!((row.headers.len(), row.headers.is_empty()), (4, false));
    assert_eq!(row.headers.first("z"), Some(Some(&b"1"[..])));
    assert_eq!(row.headers.first("y"), None);
}

#[test]
fn columns_that_first_appear_late_are_null_before() {
    for late in 0..20 {
        let mut records = vec![value(b"v"); 20];
        records[late].key = Some(b"k".to_vec());
        records[19 - late].headers = vec![("h".into(), None)];
        records[late / 2].value = None;
        assert_eq!(round_trip(&records), records, "at {late}");
    }
}

#[test]
fn create_times_may_fall_and_lie_before_1970() {
    for times in [[5, 3, 4], [-1, -3, 2], [i64::MIN, i64::MIN + 9, i64::MIN], [i64::MAX - 4, 0, 0]]
    {
        let times = if times[1] == 0 { [i64::MAX, i64::MAX - 1, i64::MAX - 4] } else { times };
        let records = times.map(|create_time| Model { create_time, ..value(b"v") });
        assert_eq!(round_trip(&records), records);
        let bytes = build(&records, Codec::None, None);
        let header = *Batch::parse(&bytes).unwrap().header();
        let (min, max) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        assert_eq!((header.base_create_time.get(), header.max_create_time.get()), (min, max));
    }
}

#[test]
fn a_batch_spans_at_most_a_u32_of_microseconds() {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    let at = |us| Record { create_time: Timestamp::new(us), ..Record::default() };
    assert_eq!(builder.push(&at(10)), Ok(()));
    assert_eq!(builder.push(&at(10 + (1 << 32))), Err(PushError::Full));
    assert_eq!(builder.push(&at(i64::MIN)), Err(PushError::Full));
    assert_eq!(builder.push(&at(10 + (1 << 32) - 1)), Ok(()));
    assert_eq!(builder.push(&at(9)), Err(PushError::Full));
    assert_eq!(builder.len(), 2);
}

#[test]
fn equal_create_times_cost_nothing() {
    let same = build(&vec![value(b""); 1000], Codec::None, None);
    assert_eq!(same.len(), 128 + 128 + 4032);
}

#[test]
fn a_full_builder_says_so_and_goes_on_after_finishing() {
    let config = BuilderConfig { records_max: 3, ..BuilderConfig::default() };
    let mut builder = RowsBuilder::new(config);
    for _ in 0..3 {
        push(&mut builder, &value(b"v"));
    }
    assert_eq!(builder.push(&Record::default()), Err(PushError::Full));
    assert_eq!(builder.len(), 3);
    let mut out = Vec::new();
    builder.finish_into(&mut out, None).unwrap();
    assert!(builder.is_empty());
    push(&mut builder, &value(b"w"));
    builder.finish_into(&mut out, None).unwrap();
    let batch = Batch::parse(&out).unwrap();
    assert_eq!(read(&Decoder::new().rows(&batch).unwrap()), [value(b"w")]);
}

#[test]
fn batches_stay_within_the_configured_length() {
    let config = BuilderConfig { batch_bytes_max: 4096, ..BuilderConfig::default() };
    let mut builder = RowsBuilder::new(config);
    let record = Record { value: Some(&[7; 100]), key: Some(b"key"), ..Record::default() };
    while builder.push(&record).is_ok() {}
    assert!(builder.len() > 20, "{} records", builder.len());
    assert!(builder.finish(None).unwrap().len() <= 4096);
}

#[test]
fn the_bound_of_the_length_counts_columns_that_appear_late() {
    let late = [
        Model { key: Some(b"k".to_vec()), ..value(b"") },
        Model { headers: vec![("h".into(), None)], ..value(b"") },
        Model::default(),
    ];
    for late in late {
        let mut builder = RowsBuilder::new(BuilderConfig::default());
        for i in 0..20_000 {
            push(&mut builder, &Model { create_time: i, ..value(b"") });
        }
        push(&mut builder, &late);
        let bound = builder.bytes();
        let len = builder.finish(None).unwrap().len();
        assert!(len <= bound && bound <= len + 852 + 5 * 20_001 + 1, "{len}, bound {bound}");
    }
}

#[test]
fn the_largest_record_fits_and_anything_larger_is_refused() {
    let (key, bytes) = (vec![1; KEY_BYTES_MAX + 1], vec![2; VALUE_BYTES_MAX + 1]);
    let text = "h".repeat(HEADER_BYTES_PER_RECORD_MAX - HEADERS_PER_RECORD_MAX + 2);
    let mut headers = vec![("k", None); HEADERS_PER_RECORD_MAX];
    headers[9].0 = &text[1..];
    let largest = Record {
        key: Some(&key[1..]),
        value: Some(&bytes[1..]),
        create_time: Timestamp::MIN,
        headers: &headers,
    };
    let mut builder = RowsBuilder::new(BuilderConfig { batch_bytes_max: 1, ..<_>::default() });
    let refused = |builder: &mut RowsBuilder, record: Record<'_>| match builder.push(&record) {
        Err(PushError::TooLarge { max, found, .. }) => found == max + 1,
        _ => false,
    };
    assert!(refused(&mut builder, Record { key: Some(&key), ..largest }));
    assert!(refused(&mut builder, Record { value: Some(&bytes), ..largest }));
    let mut longer = headers.clone();
    longer[9].0 = &text;
    assert!(refused(&mut builder, Record { headers: &longer, ..largest }));
    let more = [&headers[..], &[("", None)]].concat();
    assert!(refused(&mut builder, Record { headers: &more, ..largest }));
    assert!(builder.is_empty());

    builder.push(&largest).unwrap();
    let batch = builder.finish(None).unwrap();
    assert!(batch.len() <= BATCH_BYTES_MAX);
    let batch = Batch::parse(&batch).unwrap();
    let mut decoder = Decoder::new();
    let row = decoder.rows(&batch).unwrap().get(0).unwrap();
    assert_eq!((row.key, row.value, row.headers.len()), (largest.key, largest.value, 64));
}

#[test]
fn an_empty_batch_and_a_false_session_are_refused_and_change_nothing() {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    let mut out = vec![1];
    assert_eq!(builder.finish_into(&mut out, None), Err(BatchError::Empty));
    push(&mut builder, &value(b"v"));
    let zero = Session { id: SessionId::ZERO, ..session() };
    assert_eq!(builder.finish_into(&mut out, Some(zero)), Err(BatchError::Sessionless));
    let last = Session { first_sequence: u64::MAX, ..session() };
    let overflow = builder.finish_into(&mut out, Some(last)).unwrap_err();
    assert!(matches!(overflow, BatchError::Overflow { first: u64::MAX, count: 1, .. }));
    assert_eq!((builder.len(), &out[..]), (1, &[1][..]));
}

#[test]
fn the_header_says_what_the_producer_said() {
    let config = BuilderConfig { schema_id: 9, flags: ALL_FLAGS, ..BuilderConfig::default() };
    let mut builder = RowsBuilder::new(config);
    push(&mut builder, &Model { create_time: 5, ..value(b"v") });
    let bytes = builder.finish(Some(session())).unwrap();
    let header = *Batch::parse(&bytes).unwrap().header();
    assert_eq!((header.schema_id, header.flags), (9, ALL_FLAGS));
    assert_eq!((header.session, header.record_count), (Some(session()), 1));
    assert!(header.flags.contains(Flags::CONTROL));
}

#[test]
fn rows_of_a_sealed_batch_carry_their_offsets() {
    let bytes = sealed(build(&[value(b"a"), value(b"b")], Codec::None, None));
    let batch = Batch::parse(&bytes).unwrap().verify().unwrap();
    let mut decoder = Decoder::new();
    let rows = decoder.rows(&batch).unwrap();
    let offsets: Vec<_> = rows.iter().map(|row| row.offset).collect();
    assert_eq!(offsets, [Offset::new(1_000_000), Offset::new(1_000_001)]);
    assert_eq!(batch.header().next_offset(), Offset::new(1_000_002));
    assert!(rows.get(2).is_none());
}

#[test]
fn a_body_that_does_not_shrink_is_stored_plain() {
    for codec in [Codec::Lz4, Codec::Zstd] {
        let bytes = build(&[value(b"x")], codec, None);
        let small = *Batch::parse(&bytes).unwrap().header();
        let bytes = build(&vec![value(&[3; 500]); 50], codec, None);
        let large = *Batch::parse(&bytes).unwrap().header();
        // Even one record shrinks: most of its body is padding.
        assert_eq!((small.codec, large.codec), (codec, codec));
        assert!(large.body_len < large.uncompressed_len / 10);
    }
    let noise: Vec<u8> =
        (0..60_000_u32).flat_map(|i| crc32c::crc32c(&i.to_le_bytes()).to_le_bytes()).collect();
    let bytes = build(&[value(&noise)], Codec::Lz4, None);
    assert_eq!(Batch::parse(&bytes).unwrap().header().codec, Codec::None);
}

#[test]
fn an_arrow_body_travels_as_it_is_and_has_no_rows() {
    let ipc = b"ARROW1 ".repeat(100);
    for codec in Codec::ALL {
        let body = ArrowBody {
            ipc: &ipc,
            codec,
            flags: Flags::NONE,
            record_count: 10,
            schema_id: 4,
            create_times: (Timestamp::new(1), Timestamp::new(2)),
        };
        let bytes = body.finish(Some(session())).unwrap();
        let batch = Batch::parse(&bytes).unwrap().verify_unsealed().unwrap();
        assert_eq!((batch.header().body_kind, batch.header().codec), (BodyKind::Arrow, codec));
        let mut decoder = Decoder::new();
        assert_eq!(decoder.body(&batch).unwrap(), ipc);
        assert_eq!(decoder.rows(&batch).unwrap_err(), BatchError::BodyKind { found: 1 });
        let empty = ArrowBody { record_count: 0, ..body };
        assert_eq!(empty.finish(None), Err(BatchError::Empty));
        let long = vec![0; BATCH_BYTES_MAX];
        let refused = ArrowBody { ipc: &long, ..body }.finish(None).unwrap_err();
        assert!(matches!(refused, BatchError::TooLarge { .. }));
    }
}

#[test]
fn rows_equal_the_records_that_were_pushed() {
    fn property(input: Input) {
        let mut builder =
            RowsBuilder::new(BuilderConfig { codec: input.codec, ..BuilderConfig::default() });
        for record in &input.records {
            push(&mut builder, record);
        }
        let bound = builder.bytes();
        let bytes = builder.finish(input.session).unwrap();
        let batch = Batch::parse(&bytes).unwrap().verify_unsealed().unwrap();
        let header = batch.header();
        assert_eq!(read(&Decoder::new().rows(&batch).unwrap()), input.records);
        assert_eq!(header.session, input.session);
        assert!(bytes.len() <= bound);
        let headers: usize = input.records.iter().map(|record| record.headers.len()).sum();
        let plain = 128 + header.uncompressed_len as usize;
        assert!(bound - plain <= 852 + 5 * input.records.len() + headers, "{bound} {plain}");
    }
    property_runner(1000).quickcheck(property as fn(Input));
}
