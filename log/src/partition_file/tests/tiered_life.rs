//! What retention and compaction do to a log of which segments lie in the object store.

use std::collections::BTreeMap;

use super::compaction::{fill, policy, unpaced};
use super::harness::{Bench, on_core};
use super::keys::{key, keyed};
use super::simulated::{Host, append_until};
use super::tiering::{RECORDS, settle, tier_of, tiered};
use super::*;
use crate::batch::{Codec, Decoder, Items};
use crate::manifest::SWAP_NAME;
use crate::pace::Pace;
use crate::remote::memory::{Fate, MemoryStore};
use crate::remote::{Operation, RemoteErrorKind};

#[test]
fn what_is_in_the_store_only_counts_once_for_the_size_of_a_log() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let (partition, _) = bench.open_in(&tier_of(&store)).await;
        append_until(&bench, &partition, Durability::Synced, RECORDS).await;
        let bytes = partition.stats().file_bytes;
        settle(&partition).await.unwrap();
        let held = partition.tier_use();
        assert!(held.remote_only >= 3, "{held:?}");
        let first = partition.shell.machine.borrow().closed()[0];
        let mut changes = bench.changes();
        changes.life.retention.bytes = Some(bytes);
        partition.alter(changes).await.unwrap();
        assert_eq!(partition.retain(Timestamp::ZERO).await.unwrap(), 0, "it is not too large");
        changes.life.retention.bytes = Some(bytes - 1);
        partition.alter(changes).await.unwrap();
        assert_eq!(partition.retain(Timestamp::ZERO).await.unwrap(), first.end.get());
        partition.close().await;
    });
}

/// The newest record of each key that readers see: whether it has a value.
async fn newest(partition: &Partition) -> BTreeMap<Vec<u8>, bool> {
    let marks = partition.watermarks();
    let (mut next, mut newest) = (marks.low, BTreeMap::new());
    while next < marks.high {
        let read = partition.read(next, 200_000).await.unwrap();
        for batch in read.slices.iter().flat_map(|slice| Items::new(slice).batches()) {
            let mut decoder = Decoder::new();
            for row in decoder.rows(&batch.unwrap()).unwrap().iter() {
                newest.insert(row.key.unwrap().to_vec(), row.value.is_some());
            }
        }
        next = read.next_offset;
    }
    newest
}

/// Batches of a key each, nine to a segment; key 1 has its value at `value`, and its tombstone at `tombstone`.
async fn append_keys(bench: &Bench, partition: &Partition, (value, tombstone): (u64, u64)) {
    for number in 0..30 {
        let batch = match number {
            _ if number == value => keyed(&[key(1)], 120_000, Codec::None),
            _ if number == tombstone => keyed(&[key(1)], 0, Codec::None),
            _ => keyed(&[key(100 + number)], 120_000, Codec::None),
        };
        bench.append(partition, &batch, Durability::Synced).await.unwrap();
    }
    // So that what is due now was appended before.
    time::sleep(Duration::from_millis(1)).await;
}

#[test]
fn a_value_that_went_to_the_store_during_a_compaction_does_not_come_back() {
    let (host, store) = (Host::new(3), MemoryStore::new());
    let place = |bench: &Bench| {
        bench.place("here", |config| {
            config.tail_bytes = 0;
            config.tiering.is_on = true;
            config.tiering.local_bytes = 1;
        })
    };
    assert!(host.live(|bench, _| {
        let (bench, store) = (place(&bench), store.clone());
        async move {
            let (partition, _) = bench.open_in(&tier_of(&store)).await;
            append_keys(&bench, &partition, (1, 12)).await;
            let compacting = partition.clone();
            let compacting = pyralog_runtime::spawn(async move {
                compacting.compact(&policy(1000, Duration::ZERO), &Pace::new(1 << 20)).await
            });
            while partition.compaction_stats().read_bytes == 0 {
                time::sleep(Duration::from_millis(1)).await;
            }
            partition.tier(&unpaced()).await.unwrap();
            assert_eq!(partition.tier_use().remote_only, 1);
            compacting.await.unwrap().unwrap();
            assert_ne!(newest(&partition).await.get(&key(1)), Some(&true));
        }
    }));
    assert!(host.live(|bench, _| {
        let (bench, store) = (place(&bench), store.clone());
        async move {
            let (partition, report) = bench.open_in(&tier_of(&store)).await;
            assert_eq!(report.damaged, vec![]);
            assert_ne!(newest(&partition).await.get(&key(1)), Some(&true));
            partition.close().await;
        }
    }));
}

#[test]
fn a_swap_that_broke_off_is_finished_before_it_is_forgotten() {
    for seed in 0..16 {
        let host = Host::new(seed);
        let place = |bench: &Bench| bench.place("here", |config| config.tail_bytes = 0);
        assert!(host.live(|bench, broken| {
            let bench = place(&bench);
            async move {
                let (partition, _) = bench.open().await;
                append_keys(&bench, &partition, (10, 20)).await;
                let changes = Changes { segment_bytes: 64 << 20, ..bench.changes() };
                partition.alter(changes).await.unwrap();
                broken.at("recycle");
                let failed = partition.compact(&policy(1000, Duration::ZERO), &unpaced()).await;
                assert!(failed.is_err(), "the directory cannot be synced");
                broken.heal();
                partition.compact(&policy(1000, Duration::ZERO), &unpaced()).await.unwrap();
                assert_eq!(partition.shell.files.as_ref().unwrap().manifest.get().swap, None);
                assert_ne!(newest(&partition).await.get(&key(1)), Some(&true));
            }
        }));
        host.lose_power();
        assert!(host.live(|bench, _| {
            let bench = place(&bench);
            async move {
                let (partition, report) = bench.open().await;
                assert_eq!(report.damaged, vec![]);
                let closed = partition.shell.machine.borrow().closed().to_vec();
                let overlap = closed.windows(2).find(|pair| pair[1].base < pair[0].end);
                assert_eq!(overlap, None, "seed {seed}: what was replaced came back");
                assert_ne!(newest(&partition).await.get(&key(1)), Some(&true), "seed {seed}");
                partition.close().await;
            }
        }));
    }
}

#[test]
fn a_run_of_compaction_takes_no_space_that_appends_need_and_gives_back_what_it_took() {
    let host = Host::new(9);
    let (sim, node) = (Rc::clone(&host.sim), host.node);
    assert!(host.live(|bench, broken| {
        let (bench, sim) = (bench.place("here", |config| config.tail_bytes = 0), Rc::clone(&sim));
        async move {
            let (partition, _) = bench.open().await;
            let model = fill(&bench, &partition).await;
            let before = sim.used_space(node);
            let policy = policy(1000, Duration::ZERO);
            broken.at(SWAP_NAME);
            sim.set_disk_capacity(node, Some(before + (8 << 20)));
            let failed = partition.compact(&policy, &unpaced()).await;
            assert!(matches!(failed, Err(CompactError::NoSpace { .. })), "{failed:?}");
            assert_eq!(partition.compaction_stats().written_bytes, 0);
            sim.set_disk_capacity(node, None);
            sim.set_file_size_limit(node, Some(100 << 10));
            let failed = partition.compact(&policy, &unpaced()).await;
            assert!(matches!(failed, Err(CompactError::Io(_))), "{failed:?}");
            assert!(!file::exists(bench.dir().join(SWAP_NAME)).await.unwrap(), "half of a segment");
            sim.set_file_size_limit(node, None);
            broken.heal();
            partition.compact(&policy, &unpaced()).await.unwrap();
            assert!(partition.compaction_stats().written_bytes > 0);
            model.check(&partition).await;
            partition.close().await;
        }
    }));
}

#[test]
fn whoever_may_not_delete_objects_goes_on_writing_them() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let tier = tier_of(&store);
        let (partition, _) = bench.open_in(&tier).await;
        append_until(&bench, &partition, Durability::Synced, RECORDS).await;
        settle(&partition).await.unwrap();
        store.set_faults(|_, operation, _| match operation {
            Operation::Delete => Fate::Fails(RemoteErrorKind::Denied),
            _ => Fate::Done,
        });
        let first = partition.shell.machine.borrow().closed()[0];
        partition.truncate_before(first.end).await.unwrap();
        settle(&partition).await.unwrap();
        append_until(&bench, &partition, Durability::Synced, RECORDS + 60).await;
        settle(&partition).await.unwrap();
        assert!(tier.is_ready() && tier.stats().errors > 0);
        assert_eq!(partition.tier_use().waiting, 0, "all of it went there");
        let before = store.keys().len();
        store.heal();
        settle(&partition).await.unwrap();
        assert_eq!(store.keys().len(), before - 2, "a segment and its index");
        partition.close().await;
    });
}
