//! The object store beside what else happens to segments: retention, truncation, compaction, restarts.

use super::harness::{Bench, on_core};
use super::keys::{key, keyed};
use super::simulated::append_until;
use super::tiering::{RECORDS, check, settle, tier_of, tiered};
use super::*;
use crate::batch::Codec;
use crate::compaction::Policy;
use crate::manifest::SWAP_NAME;
use crate::pace::Pace;
use crate::partition::{Closed, Tiering};
use crate::remote::Operation;
use crate::remote::memory::{Fate, MemoryStore};
use crate::segment::segment_name;

/// A partition of some segments, all but the last in the store only.
async fn emptied(bench: &Bench, store: &MemoryStore) -> Partition {
    let (partition, _) = bench.open_in(&tier_of(store)).await;
    append_until(bench, &partition, Durability::Synced, RECORDS).await;
    settle(&partition).await.unwrap();
    partition
}

#[test]
fn what_is_in_the_store_only_counts_once_against_the_bytes_that_retention_keeps() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let partition = emptied(&bench, &store).await;
        let head = partition.shell.machine.borrow().head().position.get();
        let stored = partition.tier_use().remote_only_bytes + head;
        for (bytes, is_kept) in [(stored, true), (stored - 1, false)] {
            let mut life = bench.changes().life;
            life.retention.bytes = Some(bytes);
            partition.alter(Changes { life, ..bench.changes() }).await.unwrap();
            partition.retain(Timestamp::new(time::unix_us())).await.unwrap();
            let low = partition.watermarks().low;
            assert_eq!(
                low == Offset::ZERO,
                is_kept,
                "{bytes} of {stored} bytes, and it begins at {low}"
            );
        }
        partition.close().await;
    });
}

#[test]
fn a_file_that_comes_back_below_what_is_only_in_the_store_goes_again() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let (partition, _) = bench.open_in(&tier_of(&store)).await;
        append_until(&bench, &partition, Durability::Synced, RECORDS).await;
        let first = partition.shell.machine.borrow().closed()[0];
        let before = bench.crashed(true).await;
        settle(&partition).await.unwrap();
        partition.truncate_before(first.end).await.unwrap();
        partition.close().await;
        // As a directory may show it after a loss of power: nobody syncs that a file went.
        let name = segment_name(first.base);
        file::rename(before.dir().join(&name), bench.dir().join(&name)).await.unwrap();

        let (partition, report) = bench.open_in(&tier_of(&store)).await;
        assert_eq!((report.low, report.damaged), (first.end, vec![]));
        assert!(!file::exists(bench.dir().join(&name)).await.unwrap());
        check(&bench, &partition).await;
        partition.close().await;
    });
}

/// The batches that readers see, as they see them.
async fn all(partition: &Partition) -> Vec<u8> {
    let (marks, mut bytes) = (partition.watermarks(), Vec::new());
    let mut next = marks.low;
    while next < marks.high {
        let read = partition.read(next, 1 << 20).await.unwrap();
        bytes.extend(read.slices.iter().flat_map(|slice| slice.to_vec()));
        next = read.next_offset;
    }
    bytes
}

#[test]
fn a_swap_that_meets_an_upload_leaves_no_object_of_a_segment_that_is_no_more() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 0), MemoryStore::new());
        let (partition, _) = bench.open_in(&tier_of(&store)).await;
        for number in 0..40 {
            let batch = keyed(&[key(number % 4)], 100_000, Codec::None);
            bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        }
        let tiering = Tiering { local_bytes: 1, ..bench.config().tiering };
        partition.alter(Changes { tiering, ..bench.changes() }).await.unwrap();
        let files = partition.shell.files.as_ref().unwrap();

        // Compaction has chosen its segments and written what stays, and waits for its turn to swap.
        let turn = files.removing.take().await;
        let compacting = partition.clone();
        let compacting = pyralog_runtime::spawn(async move {
            let memory_bytes = crate::limits::COMPACTION_MEMORY_BYTES_DEFAULT;
            let policy = Policy {
                lag: Duration::ZERO,
                tombstones: Duration::ZERO,
                dirty_percent: 0,
                memory_bytes,
            };
            compacting.compact(&policy, &Pace::new(1 << 40)).await
        });
        while !file::exists(bench.dir().join(SWAP_NAME)).await.unwrap() {
            pyralog_runtime::yield_now().await;
        }
        // Meanwhile the first of them is uploaded; its file is about to go.
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        store.set_faults(move |_, operation, _| {
            count.set(count.get() + u32::from(operation == Operation::Length));
            let is_second = operation == Operation::Length && count.get() == 2;
            if is_second { Fate::Late(Duration::from_millis(300)) } else { Fate::Done }
        });
        let tiering = partition.clone();
        let tiering =
            pyralog_runtime::spawn(async move { tiering.tier(&Pace::new(1 << 40)).await });
        while asked.get() < 2 {
            pyralog_runtime::yield_now().await;
        }
        drop(turn);
        compacting.await.unwrap().unwrap();
        // What is in the store is not compacted: the swap was given up.
        assert_eq!(partition.compaction_stats().replaced_segments, 0);
        tiering.await.unwrap().unwrap();
        let manifest = files.manifest.get().clone();
        let closed = partition.shell.machine.borrow().closed().to_vec();
        for remote in &manifest.remote {
            let is_of = |closed: &Closed| closed.generation == remote.generation;
            assert!(
                closed.iter().any(is_of),
                "the object of a segment that is no more: {remote:?}"
            );
        }
        let seen = all(&partition).await;
        partition.close().await;

        let (partition, report) = bench.open_in(&tier_of(&store)).await;
        assert_eq!(report.damaged, vec![]);
        assert!(all(&partition).await == seen);
        partition.close().await;
    });
}
