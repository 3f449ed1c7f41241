//! The index of a full segment: where a read starts.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pyralog_log::batch::BatchHeader;
use pyralog_log::ids::{Offset, Timestamp};
use pyralog_log::index::Index;
use pyralog_log::segment::FilePosition;

use crate::batch::batch;

/// Of a segment by default.
const SEGMENT_BYTES: u64 = 1 << 30;

/// A segment of batches that each get an entry, created in order.
fn full() -> Index {
    let template = BatchHeader::parse(&batch(1000, 100)).unwrap();
    let (mut offset, mut position) = (Offset::ZERO, FilePosition::STREAM_START);
    let mut index = Index::new(offset);
    while position.get() < SEGMENT_BYTES {
        let mut header = template;
        header.owner.base_offset = offset;
        let time = Timestamp::new(i64::try_from(offset.get()).unwrap());
        (header.base_create_time, header.max_create_time) = (time, time);
        index.observe(&header, position);
        offset = header.next_offset();
        position = position.plus(header.total_len() as u64);
    }
    index
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let index = full();
    let end = index.end_offset().get();
    let mut group = criterion.benchmark_group("index");
    group.throughput(Throughput::Elements(1));
    let mut random = fastrand::Rng::with_seed(1);
    group.bench_function("offset in 1 GiB", |bencher| {
        bencher.iter(|| black_box(index.start_of(Offset::new(random.u64(..end)))));
    });
    group.bench_function("time in 1 GiB", |bencher| {
        let time = |number| Timestamp::new(i64::try_from(number).unwrap());
        bencher.iter(|| black_box(index.entry_of_time(time(random.u64(..end)))));
    });
    group.finish();
}
