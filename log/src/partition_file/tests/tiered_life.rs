//! What retention and compaction do to a log of which segments lie in the object store.

use super::harness::{Bench, on_core};
use super::simulated::append_until;
use super::tiering::{RECORDS, settle, tier_of, tiered};
use super::*;
use crate::remote::memory::MemoryStore;

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
