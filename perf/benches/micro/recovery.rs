//! Recovery of a partition that has lost its checkpoint: all of it is read and verified.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, PartitionId};
use pyralog_log::partition::{
    AppendError, AppendNow, Appended, Completions, PartitionConfig, Storage, Ticket,
};
use pyralog_log::partition_file::Partition;
use pyralog_log::segment::parse_segment_name;
use pyralog_runtime::{file, time};
use tempfile::TempDir;

use crate::batch::batch;
use crate::machine::OnCore;

/// Bytes between two waits for the disk while the data is made.
const BURST_BYTES: u64 = 8 << 20;

pub(crate) fn bench(criterion: &mut Criterion) {
    let bytes: u64 = if crate::measures() { 1 << 30 } else { 8 << 20 };
    let mut group = criterion.benchmark_group("recovery");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Bytes(bytes));
    let name = if bytes == 1 << 30 { "1 GiB" } else { "8 MiB" };
    group.bench_function(name, |bencher| {
        let core = OnCore::new();
        let made = OnceCell::<TempDir>::new();
        bencher.iter_custom(|times| {
            let directory = made.get_or_init(|| {
                let directory = tempfile::tempdir().unwrap();
                let root = directory.path().to_owned();
                core.run(move || async move { fill(&root, bytes).await });
                directory
            });
            let root = directory.path().to_owned();
            core.run(move || async move {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    total += recover(&root, bytes).await;
                }
                total
            })
        });
    });
    group.finish();
}

/// Nothing is waited for by ticket.
struct Ignore;

impl Completions for Ignore {
    fn completed(&self, _ticket: Ticket, outcome: Result<Appended, AppendError>) {
        outcome.unwrap();
    }
}

fn config(root: &Path) -> PartitionConfig {
    let storage = Storage::Durable { dir: directory(root), recycle: root.join("recycle") };
    PartitionConfig::new(LogId::new(1), PartitionId::new(0), storage)
}

fn directory(root: &Path) -> PathBuf {
    root.join("partition")
}

/// Makes a partition of about `bytes`.
async fn fill(root: &Path, bytes: u64) {
    let (partition, _) = Partition::open(config(root), Rc::new(Ignore)).await.unwrap();
    let batch = batch(1000, 1 << 10);
    let (mut total, mut unsynced) = (0, 0);
    while total < bytes {
        let answer = partition.append(&batch, Durability::Synced, Ticket::default());
        assert!(!matches!(answer, AppendNow::Refused(_)), "{answer:?}");
        (total, unsynced) = (total + batch.len() as u64, unsynced + batch.len() as u64);
        if unsynced >= BURST_BYTES {
            partition.flush(Durability::Synced).await.unwrap();
            unsynced = 0;
        }
    }
    partition.close().await;
}

/// How long a recovery takes without checkpoint and indexes.
async fn recover(root: &Path, bytes: u64) -> Duration {
    for entry in file::list_dir(directory(root)).await.unwrap() {
        if parse_segment_name(&entry.name).is_none() && !entry.is_dir {
            file::remove_file(directory(root).join(&entry.name)).await.unwrap();
        }
    }
    let began = time::now();
    let (partition, report) = Partition::open(config(root), Rc::new(Ignore)).await.unwrap();
    let elapsed = time::now().since(began);
    assert!(report.scanned_bytes >= bytes && report.damaged.is_empty(), "{report:?}");
    partition.close().await;
    elapsed
}
