//! Perfect hash maps: made from a million keys, and asked for keys that are there and that are not.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput};
use pyralog_log::index::pphm::{Builder, Map, Mode, Options};

/// Keys like `user:0000000000000042`, with the offsets of a segment.
fn builder(mode: Mode, keys: u64) -> Builder {
    let mut builder = Builder::new(Options { bytes_max: 256 << 20, ..Options::new(mode) });
    for number in 0..keys {
        builder.push(0, key(number).as_bytes(), number).unwrap();
    }
    builder
}

fn key(number: u64) -> String {
    format!("user:{number:016}")
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let keys = if crate::measures() { 1 << 20 } else { 1 << 10 };
    let mut group = criterion.benchmark_group("pphm");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for (name, mode) in [("exact", Mode::Exact), ("fingerprint", Mode::Fingerprint)] {
        group.throughput(Throughput::Elements(keys));
        group.bench_function(BenchmarkId::new("build 2^20", name), |bencher| {
            bencher.iter_batched(
                || builder(mode, keys),
                |builder| black_box(builder.finish().unwrap()),
                BatchSize::PerIteration,
            );
        });
        let bytes = builder(mode, keys).finish().unwrap();
        println!("pphm/{name}: {} bytes of {keys} keys", bytes.len());
        group.bench_function(BenchmarkId::new("open 2^20", name), |bencher| {
            bencher.iter(|| black_box(Map::open(black_box(&bytes)).unwrap()));
        });
        let map = Map::open(&bytes).unwrap();
        group.throughput(Throughput::Elements(1));
        let mut random = fastrand::Rng::with_seed(1);
        // Made before, and more than caches hold.
        let asked: Vec<String> = (0..keys).map(|_| key(random.u64(..keys))).collect();
        let absent: Vec<String> = (0..keys).map(|_| key(keys + random.u64(..keys))).collect();
        for (what, asked) in [("get present", &asked), ("get absent", &absent)] {
            let mut next = asked.iter().cycle();
            group.bench_function(BenchmarkId::new(what, name), |bencher| {
                bencher.iter(|| map.get(next.next().unwrap().as_bytes()).unwrap());
            });
        }
    }
    group.finish();
}
