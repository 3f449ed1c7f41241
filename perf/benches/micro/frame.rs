//! Frames: the header, its checksum, and the request in its body.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, PartitionId};
use pyralog_wire::frame::FrameLimits;
use pyralog_wire::message::Append;
use pyralog_wire::{Correlation, Decoded, FrameDecoder, encode_request};

pub(crate) fn bench(criterion: &mut Criterion) {
    let append = Append {
        log: LogId::new(1),
        partition: PartitionId::new(2),
        durability: Some(Durability::Synced),
    };
    let request = append.into();
    let (payload, mut bytes) = (vec![7; 1 << 20], Vec::new());
    let payload_len = u32::try_from(payload.len()).unwrap();
    encode_request(&mut bytes, Correlation::new(3), &request, payload_len).unwrap();
    bytes.extend_from_slice(&payload);

    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Elements(1));
    let decoder = FrameDecoder::new(FrameLimits::FULL);
    group.bench_function("decode append", |bencher| {
        bencher.iter(|| {
            let Decoded::Ready(frame, _) = decoder.next(black_box(&bytes)) else {
                panic!("not a frame")
            };
            black_box(frame.head.request().unwrap());
        });
    });
    let mut out = Vec::new();
    group.bench_function("encode append", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_request(&mut out, Correlation::new(3), black_box(&request), payload_len)
                .unwrap();
            black_box(&out);
        });
    });
    group.finish();
}
