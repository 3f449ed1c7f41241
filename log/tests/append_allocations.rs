//! Appending allocates nothing per record or batch: a counting allocator says so.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering};

use pyralog_log::batch::{BuilderConfig, Record, RowsBuilder};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, PartitionId, Timestamp};
use pyralog_log::partition::{
    AppendError, AppendNow, Appended, Completions, PartitionConfig, Storage, Ticket,
};
use pyralog_log::partition_file::Partition;
use pyralog_runtime::{MachineConfig, start};

const BURSTS: usize = 200;
const APPENDS_PER_BURST: usize = 32;
const RECORDS_PER_BATCH: usize = 100;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to `System` unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

struct Ignore;

impl Completions for Ignore {
    fn completed(&self, _ticket: Ticket, outcome: Result<Appended, AppendError>) {
        outcome.unwrap();
    }
}

fn batch() -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    for number in 0..RECORDS_PER_BATCH {
        let create_time = Timestamp::new(i64::try_from(number).unwrap());
        let record = Record { key: None, value: Some(&[7; 100]), create_time, headers: &[] };
        builder.push(&record).unwrap();
    }
    builder.finish(None).unwrap()
}

/// Allocations of all `append` calls of a partition in steady state.
async fn allocations(config: PartitionConfig, level: Durability) -> usize {
    let (partition, _) = Partition::open(config, Rc::new(Ignore)).await.unwrap();
    let bytes = batch();
    let mut counted = 0;
    for burst in 0..2 * BURSTS {
        let before = ALLOCATIONS.get();
        for _ in 0..APPENDS_PER_BURST {
            let answer = partition.append(&bytes, level, Ticket::default());
            assert!(!matches!(answer, AppendNow::Refused(_)), "{answer:?}");
        }
        if burst >= BURSTS {
            counted += ALLOCATIONS.get() - before;
        }
        partition.flush(level).await.unwrap();
    }
    partition.close().await;
    counted
}

#[test]
fn appends_allocate_per_group_and_not_per_batch_or_record() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    let measured = Arc::new([AtomicUsize::new(usize::MAX), AtomicUsize::new(usize::MAX)]);
    let results = Arc::clone(&measured);
    let machine = start(&MachineConfig::default(), move |_core| {
        let (root, results) = (root.clone(), Arc::clone(&results));
        async move {
            let durable =
                Storage::Durable { dir: root.join("partition"), recycle: root.join("recycle") };
            let memory = Storage::Memory { bytes_max: 64 << 20, ttl: None };
            for (at, storage) in [durable, memory].into_iter().enumerate() {
                let config = PartitionConfig::new(LogId::new(1), PartitionId::new(0), storage);
                let level = config.durability;
                results[at].store(allocations(config, level).await, Ordering::SeqCst);
            }
        }
    });
    machine.unwrap().join().unwrap();
    let appends = BURSTS * APPENDS_PER_BURST;
    for (counted, storage) in measured.iter().zip(["durable", "memory"]) {
        let counted = counted.load(Ordering::SeqCst);
        // A group of 32 batches takes a buffer, from the pool or from the heap.
        assert!(counted * 4 < appends, "{storage}: {counted} allocations in {appends} appends");
    }
}
