//! What is stopped, dropped or breaks off in the middle holds up nobody and overtakes nothing.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use pyralog_runtime::{IoError, yield_now};

use super::compaction::{fill, policy, unpaced};
use super::simulated::Host;
use super::tiering::tier_of;
use super::*;
use crate::manifest::{Manifest, SWAP_NAME};
use crate::pace::Pace;
use crate::remote::memory::MemoryStore;

#[test]
fn a_run_of_compaction_that_is_stopped_ends_at_its_next_read() {
    let host = Host::new(4);
    assert!(host.live(|bench, _| async move {
        let bench = bench.place("here", |config| config.tail_bytes = 0);
        let (partition, _) = bench.open().await;
        let model = fill(&bench, &partition).await;
        let running = partition.clone();
        let running = pyralog_runtime::spawn(async move {
            running.compact(&policy(1000, Duration::ZERO), &Pace::new(1 << 20)).await
        });
        while partition.compaction_stats().read_bytes == 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
        partition.stop_compaction();
        let before = partition.compaction_stats();
        running.await.unwrap().unwrap();
        let after = partition.compaction_stats();
        assert_eq!((after.read_bytes, after.passes), (before.read_bytes, before.passes));
        assert!(!file::exists(bench.dir().join(SWAP_NAME)).await.unwrap());
        model.check(&partition).await;
        // Who wants it again has it.
        partition.compact(&policy(1000, Duration::ZERO), &unpaced()).await.unwrap();
        assert!(partition.compaction_stats().passes > after.passes);
        model.check(&partition).await;
        partition.close().await;
    }));
}

#[test]
fn a_swap_that_broke_off_holds_up_no_upload_if_nobody_compacts_any_more() {
    let (host, store) = (Host::new(5), MemoryStore::new());
    assert!(host.live(|bench, broken| {
        let store = store.clone();
        async move {
            let bench = bench.place("here", |config| {
                config.tail_bytes = 0;
                config.tiering.is_on = true;
            });
            let (partition, _) = bench.open_in(&tier_of(&store)).await;
            let model = fill(&bench, &partition).await;
            let segment_bytes = 64 << 20;
            partition.alter(Changes { segment_bytes, ..bench.changes() }).await.unwrap();
            broken.at("recycle");
            let failed = partition.compact(&policy(1000, Duration::ZERO), &unpaced()).await;
            assert!(failed.is_err(), "the directory cannot be synced");
            let is_swapping =
                || partition.shell.files.as_ref().unwrap().manifest.get().swap.is_some();
            assert!(is_swapping() && partition.tier_use().waiting > 0);
            broken.heal();
            for _ in 0..10 {
                partition.tier(&unpaced()).await.unwrap();
                time::sleep(Duration::from_secs(1)).await;
            }
            assert!(!is_swapping(), "nobody finished it");
            assert_eq!(partition.tier_use().waiting, 0);
            model.check(&partition).await;
            partition.close().await;
        }
    }));
}

/// The manifest on disk.
async fn on_disk(bench: &Bench) -> Manifest {
    let bytes = file::read_small(bench.dir().join(MANIFEST_NAME), 1 << 20).await.unwrap();
    Manifest::decode(&bytes).unwrap().manifest
}

/// Drops a change that has begun to write.
async fn begin(change: impl Future<Output = Result<(), IoError>>) {
    let mut change = pin!(change);
    for _ in 0..2 {
        poll_fn(|context| {
            assert!(change.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        yield_now().await;
    }
}

#[test]
fn a_change_of_the_manifest_that_is_dropped_overtakes_no_later_one() {
    for seed in 0..64 {
        let host = Host::new(seed);
        assert!(host.live(|bench, _| async move {
            let (partition, _) = bench.open().await;
            let keeper = &partition.shell.files.as_ref().unwrap().manifest;
            let raise = |low: u64| keeper.update(move |manifest| manifest.low = Offset::new(low));
            begin(raise(1)).await;
            raise(2).await.unwrap();
            // Time enough for whatever still writes.
            time::sleep(Duration::from_secs(10)).await;
            assert_eq!(on_disk(&bench).await.low, Offset::new(2), "seed {seed}");
        }));
    }
}

#[test]
fn a_change_of_the_manifest_that_is_dropped_is_written_before_the_partition_is_closed() {
    for seed in 0..64 {
        let host = Host::new(seed);
        assert!(host.live(|bench, _| async move {
            let (partition, _) = bench.open().await;
            let keeper = &partition.shell.files.as_ref().unwrap().manifest;
            begin(keeper.update(|manifest| manifest.low = Offset::new(1))).await;
            partition.close().await;
            assert_eq!(on_disk(&bench).await.low, Offset::new(1), "seed {seed}");
        }));
    }
}
