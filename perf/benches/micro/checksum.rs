//! Rates of the checksum and of the hash, by the length of the piece.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};

pub(crate) fn bench(criterion: &mut Criterion) {
    let bytes = vec![7; 1 << 20];
    for (name, hash) in [("crc32c", crc32c as fn(&[u8])), ("blake3", blake3)] {
        let mut group = criterion.benchmark_group(name);
        for len in [1 << 10, 64 << 10, 1 << 20] {
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
                bencher.iter(|| hash(black_box(&bytes[..len])));
            });
        }
        group.finish();
    }
}

fn crc32c(bytes: &[u8]) {
    black_box(crc32c::crc32c(bytes));
}

fn blake3(bytes: &[u8]) {
    black_box(blake3::hash(bytes));
}
