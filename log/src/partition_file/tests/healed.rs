//! What rots on the disk is read from the object store, if that has it.

use super::harness::{Bench, on_core};
use super::simulated::append_until;
use super::tiering::{RECORDS, check, settle, tier_of, tiered};
use super::*;
use crate::pace::Pace;
use crate::remote::Operation;
use crate::remote::memory::{Fate, MemoryStore};
use crate::segment::segment_name;

/// What befalls the file of the first segment.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// A byte of the first batch is another.
    Flip,
    /// It goes.
    Lose,
}

async fn strike(path: PathBuf, blow: Blow) {
    let struck = pyralog_runtime::spawn_blocking(move || match blow {
        Blow::Flip => {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[4096 + 64 + 128 + 300] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        Blow::Lose => std::fs::remove_file(&path).unwrap(),
    });
    struck.await.unwrap();
}

/// A partition that has its closed segments here and in the store, and no tail.
async fn stored(bench: &Bench, store: &MemoryStore) -> Partition {
    let (partition, _) = bench.open_in(&tier_of(store)).await;
    append_until(bench, &partition, Durability::Synced, RECORDS).await;
    settle(&partition).await.unwrap();
    let held = partition.tier_use();
    assert!(held.segments > 1 && held.remote_only == 0, "{held:?}");
    partition
}

#[test]
fn a_local_file_that_rots_gives_way_to_the_object_of_the_store() {
    on_core(async |bench: Bench| {
        for (blow, scrubs) in
            [(Blow::Flip, false), (Blow::Flip, true), (Blow::Lose, false), (Blow::Lose, true)]
        {
            let bench = tiered(&bench.place(&format!("{blow:?}-{scrubs}"), |_| ()), 0);
            let store = MemoryStore::new();
            let partition = stored(&bench, &store).await;
            let path = bench.dir().join(segment_name(Offset::ZERO));
            strike(path.clone(), blow).await;
            // Whoever has it open still can read one that lost its name.
            partition.shell.files.as_ref().unwrap().readers.forget(Offset::ZERO);
            if scrubs {
                let found = partition.scrub(&Pace::new(1 << 40)).await.unwrap();
                assert_eq!(found.damaged.len(), 1, "{blow:?}: it is told");
            }
            check(&bench, &partition).await;
            assert_eq!(partition.tier_use().remote_only, 1, "{blow:?}");
            assert_eq!(partition.damaged_ranges(), vec![]);
            assert!(!file::exists(&path).await.unwrap());
            partition.close().await;
            let (partition, report) = bench.open_in(&tier_of(&store)).await;
            assert_eq!(report.damaged, vec![], "{blow:?}");
            check(&bench, &partition).await;
            partition.close().await;
        }
    });
}

#[test]
fn a_local_file_that_rots_stays_while_the_store_does_not_have_it() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 0), MemoryStore::new());
        let partition = stored(&bench, &store).await;
        let path = bench.dir().join(segment_name(Offset::ZERO));
        strike(path.clone(), Blow::Flip).await;
        // Somebody has emptied the bucket.
        store.set_faults(|_, operation, _| match operation {
            Operation::Length => Fate::Lies,
            _ => Fate::Done,
        });
        let read = partition.read(Offset::ZERO, 1).await;
        let Err(ReadError::Damaged { offsets }) = read else { panic!("{read:?}") };
        assert!(file::exists(&path).await.unwrap(), "what is sound of it is nowhere else");
        assert!(partition.read(offsets.end, 1).await.is_ok());
        // What was noted meanwhile is healed by the next round, and known to no later life.
        store.heal();
        partition.tier(&Pace::new(1 << 40)).await.unwrap();
        assert_eq!(partition.damaged_ranges(), vec![]);
        check(&bench, &partition).await;
        partition.close().await;
    });
}
