//! Appends to a partition on a core: the whole path behind the socket.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, PartitionId};
use pyralog_log::partition::{
    AppendError, AppendNow, Appended, Completions, PartitionConfig, Storage, Ticket,
};
use pyralog_log::partition_file::Partition;
use pyralog_runtime::channel::Event;
use pyralog_runtime::time;

use crate::batch::batch;
use crate::machine::OnCore;

/// Budget of the partition in memory: it evicts all the time.
const MEMORY_BYTES: u64 = 64 << 20;
/// Segments roll during a measurement, and their files are used again.
const SEGMENT_BYTES: u64 = 256 << 20;

/// What is appended, how many at a time, and where.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    level: Durability,
    records: usize,
    value_bytes: usize,
    in_flight: u64,
}

const CASES: [Case; 7] = [
    case("memory", Durability::Memory, (1, 1 << 10), 1),
    case("memory", Durability::Memory, (1000, 100), 1),
    case("memory", Durability::Memory, (1000, 1 << 10), 1),
    case("synced, alone", Durability::Synced, (1, 1 << 10), 1),
    case("synced, 64 in flight", Durability::Synced, (1, 1 << 10), 64),
    case("synced, 8 in flight", Durability::Synced, (1000, 100), 8),
    case("synced, 8 in flight", Durability::Synced, (1000, 1 << 10), 8),
];

const fn case(
    name: &'static str,
    level: Durability,
    (records, value_bytes): (usize, usize),
    in_flight: u64,
) -> Case {
    Case { name, level, records, value_bytes, in_flight }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for case in CASES {
        let bytes = batch(case.records, case.value_bytes);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let shape = format!("{}x{}", case.records, case.value_bytes);
        group.bench_function(BenchmarkId::new(case.name, shape), |bencher| {
            let (core, directory) = (OnCore::new(), tempfile::tempdir().unwrap());
            bencher.iter_custom(|times| {
                let (bytes, root) = (bytes.clone(), directory.path().to_owned());
                core.run(move || async move { appends(case, &bytes, &root, times).await })
            });
        });
    }
    group.finish();
}

/// Counts the appends that are not answered.
#[derive(Default)]
struct InFlight {
    count: Cell<u64>,
    fewer: Event,
}

impl Completions for InFlight {
    fn completed(&self, _ticket: Ticket, outcome: Result<Appended, AppendError>) {
        outcome.unwrap();
        self.count.set(self.count.get() - 1);
        self.fewer.notify_all();
    }
}

impl InFlight {
    /// Waits until there are at most `most`.
    async fn at_most(&self, most: u64) {
        loop {
            let fewer = self.fewer.listen();
            if self.count.get() <= most {
                return;
            }
            fewer.await;
        }
    }
}

/// How long `times` appends take, until the last one is answered, in a new partition.
async fn appends(case: Case, bytes: &[u8], root: &Path, times: u64) -> Duration {
    let storage = match case.level {
        Durability::Memory => Storage::Memory { bytes_max: MEMORY_BYTES, ttl: None },
        _ => Storage::Durable { dir: root.join("partition"), recycle: root.join("recycle") },
    };
    let config = PartitionConfig {
        segment_bytes: SEGMENT_BYTES,
        ..PartitionConfig::new(LogId::new(1), PartitionId::new(0), storage)
    };
    let in_flight = Rc::new(InFlight::default());
    let sink: Rc<dyn Completions> = Rc::<InFlight>::clone(&in_flight);
    let (partition, _) = Partition::open(config, sink).await.unwrap();
    let began = time::now();
    for _ in 0..times {
        match partition.append(bytes, case.level, Ticket::default()) {
            AppendNow::Done(_) => {}
            AppendNow::Pending => {
                in_flight.count.set(in_flight.count.get() + 1);
                in_flight.at_most(case.in_flight - 1).await;
            }
            AppendNow::Refused(error) => panic!("{error}"),
        }
    }
    in_flight.at_most(0).await;
    let elapsed = time::now().since(began);
    partition.delete().await.unwrap();
    elapsed
}
