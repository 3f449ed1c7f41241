//! Rows as Arrow columns.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use pyralog_log::batch::{
    ArrowRows, Batch, BatchError, Codec, Decoder, HEADER_BYTES, MutableBuffer,
};

use crate::model::{
    Input, Model, aligned, build, property_runner, read, read_arrow, sealed, value,
};

/// Records that have every column.
fn full() -> Vec<Model> {
    let record = |i: i64| Model {
        key: (i % 3 != 0).then(|| vec![1; 5]),
        value: (i % 4 != 0).then(|| vec![2; 100]),
        create_time: i,
        headers: vec![("h".into(), (i % 2 == 0).then(|| vec![3; 7]))],
    };
    (0..50).map(record).collect()
}

#[test]
fn every_column_of_an_uncompressed_batch_shares_the_received_buffer() {
    let buffer = aligned(&sealed(build(&full(), Codec::None, None)));
    let rows = ArrowRows::open(&buffer, &mut Decoder::new()).unwrap();
    let batch = rows.to_record_batch().unwrap();

    let map = batch.column(3).as_map();
    let (keys, values) = (map.keys().as_string::<i32>(), map.values().as_binary::<i32>());
    let (key, value) = (batch.column(0).as_binary::<i32>(), batch.column(1).as_binary::<i32>());
    let delta = batch.column(2).as_primitive::<UInt32Type>();
    let bits = |array: &dyn Array| array.nulls().unwrap().buffer().as_ptr();
    let shared = [
        key.values().as_ptr(),
        key.offsets().inner().inner().as_ptr(),
        bits(key),
        value.values().as_ptr(),
        value.offsets().inner().inner().as_ptr(),
        bits(value),
        delta.values().inner().as_ptr(),
        map.offsets().inner().inner().as_ptr(),
        keys.values().as_ptr(),
        keys.offsets().inner().inner().as_ptr(),
        values.values().as_ptr(),
        values.offsets().inner().inner().as_ptr(),
        bits(values),
    ];
    let range = buffer.as_ptr_range();
    for (index, pointer) in shared.into_iter().enumerate() {
        assert!(range.contains(&pointer), "column {index} was copied");
        assert_eq!(pointer.addr() % 64, 0, "column {index} is not aligned");
    }
    // And it is not merely inside: the values of Arrow are the values of the rows.
    let bytes = Batch::parse(&buffer).unwrap();
    let mut decoder = Decoder::new();
    let first = decoder.rows(&bytes).unwrap().get(1).unwrap();
    assert_eq!(first.value.unwrap().as_ptr(), value.value(1).as_ptr());
}

#[test]
fn a_batch_within_a_stream_is_shared_too() {
    let one = build(&full(), Codec::None, None);
    let buffer = aligned(&[&[0; 64][..], &one].concat());
    let rows = ArrowRows::open(&buffer.slice(64), &mut Decoder::new()).unwrap();
    let batch = rows.to_record_batch().unwrap();
    assert!(buffer.as_ptr_range().contains(&batch.column(1).as_binary::<i32>().values().as_ptr()));
}

#[test]
fn a_compressed_body_is_decompressed_once_for_rows_and_columns() {
    for codec in [Codec::Lz4, Codec::Zstd] {
        let buffer = aligned(&build(&full(), codec, None));
        let rows = ArrowRows::open(&buffer, &mut Decoder::new()).unwrap();
        assert_eq!(rows.header().codec, codec);
        let batch = rows.to_record_batch().unwrap();
        assert_eq!(read(&rows.rows()), full());
        let row = rows.rows().get(1).unwrap();
        assert_eq!(
            row.value.unwrap().as_ptr(),
            batch.column(1).as_binary::<i32>().value(1).as_ptr()
        );
    }
}

#[test]
fn columns_that_a_batch_lacks_are_made_up() {
    let buffer = aligned(&build(&vec![value(b"v"); 3], Codec::None, None));
    let batch = ArrowRows::open(&buffer, &mut Decoder::new()).unwrap().to_record_batch().unwrap();
    assert_eq!(batch.schema(), ArrowRows::schema());
    assert_eq!(batch.column(0).null_count(), 3);
    assert_eq!(batch.column(2).as_primitive::<UInt32Type>().values(), &[0, 0, 0]);
    assert_eq!(batch.column(3).as_map().value_length(1), 0);
}

#[test]
fn offsets_and_create_times_are_computed() {
    let records =
        [Model { create_time: 9, ..value(b"v") }, Model { create_time: 7, ..value(b"v") }];
    let buffer = aligned(&sealed(build(&records, Codec::None, None)));
    let rows = ArrowRows::open(&buffer, &mut Decoder::new()).unwrap();
    let offsets = rows.offsets();
    assert_eq!(offsets.values(), &[1_000_000, 1_000_001]);
    let times = rows.create_times();
    assert_eq!(times.values(), &[9, 7]);
}

#[test]
fn a_misaligned_buffer_gives_rows_but_no_columns() {
    let bytes = build(&full(), Codec::None, None);
    let mut shifted = MutableBuffer::from_len_zeroed(bytes.len() + 4);
    shifted.as_slice_mut()[4..].copy_from_slice(&bytes);
    let shifted = arrow_buffer::Buffer::from(shifted).slice(4);
    let rows = ArrowRows::open(&shifted, &mut Decoder::new()).unwrap();
    assert_eq!(read(&rows.rows()), full());
    assert_eq!(rows.to_record_batch().unwrap_err(), BatchError::Misaligned { found: 4 });
}

#[test]
fn a_body_starts_at_the_end_of_two_lines() {
    let buffer = aligned(&build(&[value(b"hello")], Codec::None, None));
    let batch = ArrowRows::open(&buffer, &mut Decoder::new()).unwrap().to_record_batch().unwrap();
    let position =
        batch.column(1).as_binary::<i32>().value(0).as_ptr().addr() - buffer.as_ptr().addr();
    assert_eq!(position, HEADER_BYTES + 128);
}

#[test]
fn columns_equal_rows() {
    fn property(input: Input) {
        let buffer = aligned(&build(&input.records, input.codec, input.session));
        let rows = ArrowRows::open(&buffer, &mut Decoder::new()).unwrap();
        let base = rows.header().base_create_time.get();
        let batch = rows.to_record_batch().unwrap();
        assert_eq!(read_arrow(&batch, base), input.records);
    }
    property_runner(500).quickcheck(property as fn(Input));
}
