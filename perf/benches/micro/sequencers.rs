//! The sequencers without their files: what an id, a run of ids, a number of a reservation and a place on the ring cost.

use std::hint::black_box;
use std::num::NonZeroU64;

use criterion::{BenchmarkId, Criterion, Throughput};
use pyralog_runtime::time::Monotonic;
use pyralog_seq::ankh::{AnkhRing, Member};
use pyralog_seq::limits::DEAL_COUNT_MAX;
use pyralog_seq::minter::Minter;
use pyralog_seq::obelisk::{Mode, Obelisk};
use pyralog_seq::pharaoh::SlotSet;
use pyralog_seq::scarab::{IDS_PER_MS, ScarabId};

/// Some moment of 2026, in milliseconds since the Scarab epoch.
const START_MS: u64 = 40_000_000_000;

/// Ids of one core of eight, by a clock that runs as fast as one slot counts: faster than any real one.
fn mint(criterion: &mut Criterion) {
    let slots: SlotSet = "0-127".parse().unwrap();
    let mut group = criterion.benchmark_group("scarab");
    for count in [1, 1_000] {
        let mut minter = Minter::in_memory(&slots, START_MS);
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::new("deal", count), |bencher| {
            bencher.iter(|| {
                let now_ms = START_MS + minter.dealt() / IDS_PER_MS;
                minter.ready(u64::from(count), now_ms).unwrap();
                black_box(minter.take(count))
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    let mut minter = Minter::in_memory(&slots, START_MS);
    let mut block = minter.deal(DEAL_COUNT_MAX, START_MS).unwrap();
    group.bench_function("mint from a block", |bencher| {
        bencher.iter(|| {
            block.next().unwrap_or_else(|| {
                let now_ms = START_MS + minter.dealt() / IDS_PER_MS;
                block = minter.deal(DEAL_COUNT_MAX, now_ms).unwrap();
                ScarabId::new(block.slot(), block.first())
            })
        });
    });
    group.finish();
}

/// Numbers of a reservation whose extensions are durable at once.
fn count(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("obelisk");
    for count in [1, 1_000] {
        let count = NonZeroU64::new(count).unwrap();
        let mut obelisk: Obelisk<()> = Obelisk::new(Mode::default(), 0);
        group.throughput(Throughput::Elements(count.get()));
        group.bench_function(BenchmarkId::new("reserve", count), |bencher| {
            bencher.iter(|| {
                let numbers = obelisk.try_take(count);
                if obelisk.is_stirred()
                    && let Some(value) = obelisk.poll_extend(Monotonic::ZERO)
                {
                    obelisk.extended(value);
                }
                black_box(numbers)
            });
        });
    }
    group.finish();
}

fn locate(criterion: &mut Criterion) {
    let rack = |id| Some(format!("rack {}", id % 4));
    let members: Vec<_> = (0..64).map(|id| Member { id, rack: rack(id), weight: 1 }).collect();
    let ring = AnkhRing::new(&members).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut group = criterion.benchmark_group("ring of 64");
    for copies in [1, 3] {
        group.bench_function(BenchmarkId::new("locate", copies), |bencher| {
            bencher.iter(|| ring.locate(&random.u64(..).to_le_bytes(), copies));
        });
    }
    group.bench_function("prepare", |bencher| bencher.iter(|| AnkhRing::new(&members)));
    group.finish();
}

pub(crate) fn bench(criterion: &mut Criterion) {
    mint(criterion);
    count(criterion);
    locate(criterion);
}
