//! Deaths at every call to the disk and to the store while segments move: nothing is lost, and what is left behind in the
//! store is found.

use std::path::PathBuf;

use pyralog_runtime::MachineConfig;
use pyralog_runtime::sim::Crash;

use super::harness::Bench;
use super::simulated::{Host, append_until};
use super::tiering::{RECORDS, check, settle, tier_of, tiered};
use super::*;
use crate::remote::memory::{Fate, MemoryStore};

/// A life that appends, moves what it can, truncates, and is not closed.
async fn live(bench: Bench, store: MemoryStore) {
    let bench = tiered(&bench, 1);
    let (partition, _) = bench.open_in(&tier_of(&store)).await;
    append_until(&bench, &partition, Durability::Synced, RECORDS).await;
    if settle(&partition).await.is_err() {
        return;
    }
    let closed = partition.shell.machine.borrow().closed().to_vec();
    if let Some(first) = closed.first() {
        partition.truncate_before(first.end).await.ok();
    }
    settle(&partition).await.ok();
}

/// The next life: every record that there should be is there, and after some rounds the store has what the manifest names.
async fn look(bench: Bench, store: MemoryStore) {
    store.heal();
    let bench = tiered(&bench, 1);
    let (partition, report) = bench.open_in(&tier_of(&store)).await;
    assert_eq!(report.damaged, vec![]);
    check(&bench, &partition).await;
    append_until(&bench, &partition, Durability::Synced, RECORDS).await;
    settle(&partition).await.unwrap();
    check(&bench, &partition).await;
    let held = partition.tier_use();
    assert_eq!((held.waiting, held.remote_only), (0, held.segments), "{held:?}");
    partition.close().await;
}

/// Lives once, dying as `arm` says, then looks.
fn die(arm: impl Fn(&Host, &MemoryStore), crash: Crash) -> (u64, bool) {
    let (host, store) = (Host::new(7), MemoryStore::new());
    arm(&host, &store);
    let bench = Bench::new(PathBuf::from("/data"));
    let (first, kept) = (bench.clone(), store.clone());
    host.sim
        .boot(host.node, &MachineConfig::default(), move |_core| live(first.clone(), kept.clone()));
    let over = || !host.sim.is_running(host.node);
    let ended = host.sim.run_until(Duration::from_secs(30), over);
    if !ended {
        host.sim.crash(host.node, crash);
    }
    let calls = store.stats().calls;
    store.heal();
    let kept = store.clone();
    assert!(host.live(move |bench, _| look(bench, kept.clone())), "it is looked at");
    (calls, ended)
}

#[test]
fn whoever_dies_at_any_call_to_the_store_loses_nothing() {
    let (calls, ended) = die(|_, _| {}, Crash::Power);
    assert!(ended && calls > 30, "{calls} calls");
    for crash in [Crash::Process, Crash::Power] {
        for fate in [Fate::Silent, Fate::Mute] {
            for at in 0..calls {
                let arm = |_: &Host, store: &MemoryStore| {
                    let fate = fate.clone();
                    store.set_faults(
                        move |number, _, _| {
                            if number == at { fate.clone() } else { Fate::Done }
                        },
                    );
                };
                let (_, ended) = die(arm, crash);
                assert!(!ended, "call {at} was not met");
            }
        }
    }
}

#[test]
fn whoever_dies_at_any_call_to_the_disk_loses_nothing() {
    let mut died = 0;
    // The appends before take most of the calls.
    for at in (1..).step_by(7) {
        let arm = |host: &Host, _: &MemoryStore| {
            let crash = if at % 2 == 0 { Crash::Process } else { Crash::Power };
            host.sim.crash_after_calls(host.node, at, crash);
        };
        let (host, store) = (Host::new(at), MemoryStore::new());
        let bench = Bench::new(PathBuf::from("/data"));
        let (first, kept) = (bench.clone(), store.clone());
        let ended = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ended);
        host.sim.boot(host.node, &MachineConfig::default(), move |_core| {
            let (bench, store, flag) = (first.clone(), kept.clone(), Rc::clone(&flag));
            async move {
                live(bench, store).await;
                flag.set(true);
            }
        });
        arm(&host, &store);
        let over = || !host.sim.is_running(host.node);
        assert!(host.sim.run_until(Duration::from_mins(1), over), "it does not end");
        assert!(host.live(move |bench, _| look(bench, store.clone())), "it is looked at");
        if ended.get() {
            break;
        }
        died += 1;
    }
    assert!(died > 20, "it died {died} times only");
}
