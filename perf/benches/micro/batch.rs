//! Batches: made by a producer, verified by a server, read by a consumer.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use pyralog_log::batch::{Batch, BuilderConfig, Decoder, Record, RowsBuilder};
use pyralog_log::ids::Timestamp;
use pyralog_log::limits::BATCH_BYTES_MAX;

const RECORDS: usize = 1000;

/// A builder that is never full of what the benchmarks give it.
pub(crate) fn builder() -> RowsBuilder {
    RowsBuilder::new(BuilderConfig { batch_bytes_max: BATCH_BYTES_MAX, ..BuilderConfig::default() })
}

/// A batch of `records` records without keys, as a producer sends it.
pub(crate) fn batch(records: usize, value_bytes: usize) -> Vec<u8> {
    let mut builder = builder();
    push(&mut builder, records, &vec![7; value_bytes]);
    builder.finish(None).unwrap()
}

fn push(builder: &mut RowsBuilder, records: usize, value: &[u8]) {
    for _ in 0..records {
        let create_time = Timestamp::new(1_700_000_000_000_000);
        let record = Record { key: None, value: Some(value), create_time, headers: &[] };
        builder.push(&record).unwrap();
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    for value_bytes in [100, 1 << 10] {
        let shape = format!("{RECORDS}x{value_bytes}");
        let bytes = batch(RECORDS, value_bytes);
        group.throughput(Throughput::Bytes(bytes.len() as u64));

        let (mut builder, value) = (builder(), vec![7; value_bytes]);
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("encode", &shape), |bencher| {
            bencher.iter(|| {
                push(&mut builder, RECORDS, black_box(&value));
                builder.finish_into(&mut out, None).unwrap();
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new("validate", &shape), |bencher| {
            bencher.iter(|| {
                black_box(Batch::parse(black_box(&bytes)).unwrap().verify_unsealed().unwrap());
            });
        });
        let mut decoder = Decoder::new();
        group.bench_function(BenchmarkId::new("iterate", &shape), |bencher| {
            bencher.iter(|| {
                let batch = Batch::parse(black_box(&bytes)).unwrap();
                let rows = decoder.rows(&batch).unwrap();
                let total: usize = rows.iter().map(|row| row.value.map_or(0, <[u8]>::len)).sum();
                assert_eq!(black_box(total), RECORDS * value_bytes);
            });
        });
    }
    group.finish();
}
