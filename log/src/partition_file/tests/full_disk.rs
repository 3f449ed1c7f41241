//! A full disk: what frees space works there, and appends go on in the space that it frees.

use pyralog_runtime::sim::DiskFaults;

use super::harness::Bench;
use super::simulated::{Host, append_until, record};
use super::tiering::{settle, tier_of};
use super::*;
use crate::pace::Pace;
use crate::remote::memory::MemoryStore;

/// More than any of these tests appends.
const MANY: u64 = 1000;

/// A host on which anything may find no space, and nothing else fails.
fn host() -> Host {
    let host = Host::new(4);
    host.sim.set_disk_faults(host.node, DiskFaults::default());
    host.sim.set_shield(host.node, Rc::new(|_, _| true));
    host
}

fn place(bench: &Bench) -> Bench {
    bench.place("here", |config| config.tail_bytes = 0)
}

/// The partition takes appends again, as soon as it looks.
async fn goes_on(bench: &Bench, partition: &Partition) {
    time::sleep(crate::limits::NO_SPACE_RETRY_AFTER).await;
    let end = partition.watermarks().end;
    let appended = bench.append(partition, &record(end.get()), Durability::Synced).await;
    assert_eq!(appended.unwrap().base_offset, end);
    let read = partition.read(end, 1).await.unwrap();
    assert_eq!((read.first_offset, read.next_offset.since(end)), (end, 1));
}

#[test]
fn truncation_frees_a_full_disk_and_appends_go_on_in_what_it_frees() {
    let host = host();
    let (sim, node) = (Rc::clone(&host.sim), host.node);
    assert!(host.live(|bench, _| {
        let (bench, sim) = (place(&bench), Rc::clone(&sim));
        async move {
            let (partition, _) = bench.open().await;
            append_until(&bench, &partition, Durability::Synced, 120).await;
            sim.set_disk_capacity(node, Some(sim.used_space(node)));
            append_until(&bench, &partition, Durability::Synced, MANY).await;
            assert!(partition.stats().no_space && partition.watermarks().end.get() < MANY);
            sim.set_disk_capacity(node, Some(sim.used_space(node)));
            let closed = partition.shell.machine.borrow().closed().to_vec();
            let low = partition.truncate_before(closed[1].end).await.unwrap();
            assert_eq!(low, closed[1].end);
            goes_on(&bench, &partition).await;
            sim.set_disk_capacity(node, None);
            partition.close().await;
            let (partition, report) = bench.open().await;
            assert_eq!((report.low, report.damaged), (low, vec![]));
            partition.close().await;
        }
    }));
}

#[test]
fn a_full_disk_lets_go_of_what_is_in_the_store() {
    let (host, store) = (host(), MemoryStore::new());
    let (sim, node) = (Rc::clone(&host.sim), host.node);
    assert!(host.live(|bench, _| {
        let (bench, sim, store) = (place(&bench), Rc::clone(&sim), store.clone());
        async move {
            let bench = bench.place("tiered", |config| config.tiering.is_on = true);
            let (partition, _) = bench.open_in(&tier_of(&store)).await;
            append_until(&bench, &partition, Durability::Synced, 120).await;
            settle(&partition).await.unwrap();
            sim.set_disk_capacity(node, Some(sim.used_space(node)));
            append_until(&bench, &partition, Durability::Synced, MANY).await;
            assert!(partition.stats().no_space);
            sim.set_disk_capacity(node, Some(sim.used_space(node)));
            let tiering = crate::partition::Tiering { local_bytes: 1, ..bench.config().tiering };
            partition.shell.machine.borrow_mut().change(Changes { tiering, ..bench.changes() });
            // The first may find no space to note an upload.
            for _ in 0..3 {
                partition.tier(&Pace::new(1 << 40)).await.ok();
            }
            assert!(partition.tier_use().remote_only > 0);
            goes_on(&bench, &partition).await;
            partition.close().await;
        }
    }));
}

/// With a reserve, or with indexes that can be made again, whoever closes or dies on a full disk opens again there, reads, and
/// truncates.
#[test]
fn a_partition_on_a_full_disk_opens_again_and_can_be_freed() {
    for (has_reserve, dies) in [(true, false), (true, true), (false, false), (false, true)] {
        let host = host();
        let (sim, node) = (Rc::clone(&host.sim), host.node);
        assert!(host.live(|bench, _| {
            let (bench, sim) = (place(&bench), Rc::clone(&sim));
            async move {
                let (partition, _) = bench.open().await;
                append_until(&bench, &partition, Durability::Synced, 120).await;
                if has_reserve {
                    let Storage::Durable { recycle, .. } = &bench.config().storage else { return };
                    crate::reserve::keep(recycle).await;
                }
                sim.set_disk_capacity(node, Some(sim.used_space(node)));
                append_until(&bench, &partition, Durability::Synced, MANY).await;
                assert!(partition.stats().no_space);
                sim.set_disk_capacity(node, Some(sim.used_space(node)));
                if !dies {
                    partition.close().await;
                }
            }
        }));
        if dies {
            host.lose_power();
        }
        let used = sim.used_space(node);
        sim.set_disk_capacity(node, Some(used));
        assert!(host.live(|bench, _| {
            let (bench, sim) = (place(&bench), Rc::clone(&sim));
            async move {
                let (partition, report) = bench.open().await;
                assert_eq!(report.damaged, vec![]);
                assert!(report.end.get() >= 120);
                let expected: Vec<_> = (0..report.end.get()).map(record).collect();
                assert!(bench.read_all(&partition).await == expected);
                let closed = partition.shell.machine.borrow().closed().to_vec();
                let low = partition.truncate_before(closed[1].end).await.unwrap();
                assert_eq!(low, closed[1].end);
                goes_on(&bench, &partition).await;
                sim.set_disk_capacity(node, None);
                partition.close().await;
            }
        }));
    }
}
