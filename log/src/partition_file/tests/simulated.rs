//! The partition on a simulated node: syncs fail, the process ends, the power fails, in several
//! lives of one disk.

use std::path::{Path, PathBuf};

use pyralog_runtime::MachineConfig;
use pyralog_runtime::sim::{Crash, DiskFaults, NodeId, Simulation};

use super::harness::Bench;
use super::*;
use crate::checkpoint::Checkpoint;
use crate::limits::{MEMORY_BYTES_MIN, SMALL_FILE_BYTES_MAX, UNSYNCED_AGE_MAX};

const ROOT: &str = "/data";

/// Which syncs fail: of files and directories with this in their path.
#[derive(Clone, Default)]
pub(super) struct Broken(Rc<Cell<Option<&'static str>>>);

impl Broken {
    pub(super) fn at(&self, place: &'static str) {
        self.0.set(Some(place));
    }

    pub(super) fn heal(&self) {
        self.0.set(None);
    }

    fn strikes(&self, path: &Path) -> bool {
        self.0.get().is_some_and(|place| path.to_string_lossy().ends_with(place))
    }
}

/// A node with one core and a disk.
pub(super) struct Host {
    pub(super) sim: Rc<Simulation>,
    pub(super) node: NodeId,
    broken: Broken,
}

impl Host {
    pub(super) fn new(seed: u64) -> Self {
        let sim = Rc::new(Simulation::new(seed));
        let (node, broken) = (sim.add_node("host"), Broken::default());
        sim.set_disk_faults(node, DiskFaults { sync_error: 1_000_000, ..DiskFaults::default() });
        let strikes = broken.clone();
        sim.set_shield(node, Rc::new(move |path, _| strikes.strikes(path)));
        Self { sim, node, broken }
    }

    /// A life of the process, which ends when `life` does, in order or not. Says whether it got there.
    pub(super) fn live<F>(&self, life: impl Fn(Bench, Broken) -> F) -> bool
    where
        F: Future<Output = ()> + 'static,
    {
        self.broken.0.set(None);
        let ended = Rc::new(Cell::new(false));
        let bench = Bench::new(PathBuf::from(ROOT));
        self.sim.boot(self.node, &MachineConfig::default(), |_core| {
            let (life, ended) = (life(bench.clone(), self.broken.clone()), Rc::clone(&ended));
            async move {
                life.await;
                ended.set(true);
            }
        });
        let over = || !self.sim.is_running(self.node);
        assert!(self.sim.run_until(Duration::from_mins(1), over), "it does not end");
        ended.get()
    }

    pub(super) fn lose_power(&self) {
        self.sim.crash(self.node, Crash::Power);
    }
}

/// The record of an offset.
pub(super) fn record(offset: u64) -> Vec<u8> {
    unsealed(offset, 300 + usize::try_from(offset).unwrap() * 700, 1, None)
}

/// Appends records at the level until one is refused or there are `until`.
pub(super) async fn append_until(
    bench: &Bench,
    partition: &Partition,
    level: Durability,
    until: u64,
) {
    for offset in partition.watermarks().end.get()..until {
        if bench.append(partition, &record(offset), level).await.is_err() {
            return;
        }
    }
}

/// What must be true of a log of such records that was recovered: no damage, and it reads.
async fn check(bench: &Bench, partition: &Partition, report: &RecoveryReport) {
    assert_eq!(report.damaged, vec![], "nothing was damaged");
    let expected: Vec<_> = (0..report.end.get()).map(record).collect();
    assert!(bench.read_all(partition).await == expected);
}

/// Three records are synced, two are not: their sync fails, or never comes. Closed in order.
async fn live_until_a_sync_fails(bench: Bench, broken: Broken) {
    let (partition, _) = bench.open().await;
    append_until(&bench, &partition, Durability::Synced, 3).await;
    broken.at(".seg");
    let level = bench.config().durability;
    append_until(&bench, &partition, level, 5).await;
    let flushed = partition.flush(Durability::Synced).await;
    assert!(matches!(flushed, Err(AppendError::Poisoned(_))), "{flushed:?}");
    partition.close().await;
    let path = bench.dir().join(CHECKPOINT_NAME);
    let content = file::read_small(path, SMALL_FILE_BYTES_MAX).await.unwrap();
    let checkpoint = Checkpoint::decode(&content).unwrap();
    assert!(!checkpoint.clean, "a poisoned partition is not closed cleanly");
    assert!(checkpoint.start.offset.get() <= 3, "no sync has said so: {checkpoint:?}");
}

pub(super) fn at_level(level: Durability) -> impl Fn(Bench) -> Bench + Copy {
    move |bench| bench.place("here", |config| config.durability = level)
}

#[test]
fn what_a_failed_sync_left_is_written_again_before_it_is_promised() {
    for (seed, level) in (0..16).flat_map(|seed| Durability::ALL.map(|level| (seed, level))) {
        let (host, place) = (Host::new(seed), at_level(level));
        assert!(host.live(|bench, broken| live_until_a_sync_fails(place(bench), broken)));
        let found = Rc::new(Cell::new(0));
        assert!(host.live(|bench, _| {
            let (bench, found) = (place(bench), Rc::clone(&found));
            async move {
                let (partition, report) = bench.open().await;
                check(&bench, &partition, &report).await;
                assert!(report.end.get() > 3, "what is readable is adopted: {report:?}");
                assert!(report.rewritten_bytes > 0, "{report:?}");
                found.set(report.end.get());
            }
        }));
        host.lose_power();
        assert!(host.live(|bench, _| {
            let (bench, found) = (place(bench), found.get());
            async move {
                let (partition, report) = bench.open().await;
                check(&bench, &partition, &report).await;
                assert_eq!(report.end.get(), found, "it was promised");
                partition.close().await;
            }
        }));
    }
}

#[test]
fn the_power_may_fail_at_any_call_of_a_recovery() {
    for calls in 0.. {
        let (host, place) = (Host::new(calls), at_level(Durability::Written));
        assert!(host.live(|bench, broken| live_until_a_sync_fails(place(bench), broken)));
        host.sim.crash_after_calls(host.node, calls + 1, Crash::Power);
        let survived = host.live(|bench, _| {
            let bench = place(bench);
            async move { drop(bench.open().await) }
        });
        host.lose_power();
        assert!(host.live(|bench, _| {
            let bench = place(bench);
            async move {
                let (partition, report) = bench.open().await;
                check(&bench, &partition, &report).await;
                assert!(report.end.get() >= if survived { 5 } else { 3 }, "{report:?}");
                let left = file::list_dir(bench.dir()).await.unwrap();
                let left = left.iter().find(|entry| file::is_temporary(&entry.name));
                assert_eq!(left, None, "of the recovery that ended");
                partition.close().await;
            }
        }));
        if survived {
            assert!(calls > 8, "a recovery changes more than that");
            return;
        }
    }
}

#[test]
fn a_recovery_whose_own_sync_fails_promises_nothing_and_the_next_begins_anew() {
    for seed in 0..16 {
        let (host, place) = (Host::new(seed), at_level(Durability::Synced));
        assert!(host.live(|bench, broken| live_until_a_sync_fails(place(bench), broken)));
        for _ in 0..2 {
            assert!(host.live(|bench, broken| {
                let bench = place(bench);
                async move {
                    broken.at(".seg");
                    assert!(matches!(bench.try_open().await, Err(OpenError::Io(_))));
                }
            }));
        }
        if seed % 2 == 0 {
            host.lose_power();
        }
        for power in [true, false] {
            assert!(host.live(|bench, _| {
                let bench = place(bench);
                async move {
                    let (partition, report) = bench.open().await;
                    check(&bench, &partition, &report).await;
                    let end = report.end.get();
                    assert!(end >= 3, "{report:?}");
                    append_until(&bench, &partition, Durability::Synced, end + 1).await;
                    assert_eq!(partition.watermarks().high.get(), end + 1);
                }
            }));
            if power {
                host.lose_power();
            }
        }
    }
}

#[test]
fn a_killed_synced_log_writes_one_group_again_and_a_closed_one_nothing() {
    let host = Host::new(1);
    for (begin, close, rewritten) in [(0, false, 0), (20, true, 2 * 4096), (20, false, 0)] {
        assert!(host.live(|bench, _| async move {
            let (partition, report) = bench.open().await;
            assert_eq!((report.end.get(), report.rewritten_bytes), (begin, rewritten));
            for _ in begin..20 {
                let batch = unsealed(1, 3000, 1, None);
                bench.append(&partition, &batch, Durability::Synced).await.unwrap();
            }
            if close {
                partition.close().await;
            }
        }));
    }
}

#[test]
fn what_is_written_again_is_written_in_bounded_pieces() {
    const RECORDS: u64 = 12;
    let host = Host::new(1);
    let place = |bench: Bench| {
        bench.place("here", |config| {
            (config.durability, config.segment_bytes) = (Durability::Written, 64 << 20);
        })
    };
    assert!(host.live(|bench, _| {
        let bench = place(bench);
        async move {
            let (partition, _) = bench.open().await;
            for seed in 0..RECORDS {
                let batch = unsealed(seed, 3 << 20, 1, None);
                bench.append(&partition, &batch, Durability::Written).await.unwrap();
            }
        }
    }));
    host.sim.keep_trace();
    assert!(host.live(|bench, _| {
        let bench = place(bench);
        async move {
            let (partition, report) = bench.open().await;
            assert!(report.rewritten_bytes > RECORDS * (3 << 20), "{report:?}");
            assert!(report.rewritten_bytes < RECORDS * (3 << 20) + (1 << 20), "{report:?}");
            assert_eq!(partition.watermarks().high.get(), RECORDS);
        }
    }));
    let lens = host.sim.take_trace().into_iter().filter_map(|event| match event.kind {
        pyralog_runtime::sim::TraceKind::Write { len, .. } => Some(len),
        _ => None,
    });
    assert!(lens.max().unwrap() <= 1 << 20);
    host.lose_power();
    assert!(host.live(|bench, _| {
        let bench = place(bench);
        async move {
            let (partition, report) = bench.open().await;
            assert_eq!((report.end.get(), report.damaged), (RECORDS, vec![]));
            partition.close().await;
        }
    }));
}

#[test]
fn a_directory_whose_name_was_not_durable_is_made_so_before_anything_is_in_it() {
    for seed in 0..16 {
        let (host, place) = (Host::new(seed), at_level(Durability::Synced));
        assert!(host.live(|bench, broken| {
            let bench = place(bench);
            async move {
                broken.at("here"); // The directory that it is in.
                assert!(matches!(bench.try_open().await, Err(OpenError::Io(_))));
                assert!(file::exists(bench.dir()).await.unwrap(), "it is there, for now");
            }
        }));
        assert!(host.live(|bench, _| {
            let bench = place(bench);
            async move {
                let (partition, _) = bench.open().await;
                append_until(&bench, &partition, Durability::Synced, 3).await;
            }
        }));
        host.lose_power();
        assert!(host.live(|bench, _| {
            let bench = place(bench);
            async move {
                let (partition, report) = bench.open().await;
                check(&bench, &partition, &report).await;
                assert_eq!(report.end.get(), 3);
                partition.close().await;
            }
        }));
    }
}

#[test]
fn closing_ends_when_the_last_sync_fails_and_says_nothing_on_disk() {
    for (seed, level) in (0..8).flat_map(|seed| Durability::ALL.map(|level| (seed, level))) {
        let (host, place) = (Host::new(seed), at_level(level));
        assert!(host.live(|bench, broken| {
            let bench = place(bench);
            async move {
                let (partition, _) = bench.open().await;
                append_until(&bench, &partition, Durability::Synced, 2).await;
                append_until(&bench, &partition, level, 3).await;
                broken.at(".seg");
                partition.close().await;
            }
        }));
        for _ in 0..2 {
            assert!(host.live(|bench, _| {
                let bench = place(bench);
                async move {
                    let (partition, report) = bench.open().await;
                    check(&bench, &partition, &report).await;
                    assert!(!report.clean && report.end.get() == 3, "{report:?}");
                }
            }));
            host.lose_power();
        }
    }
}

#[test]
fn a_sync_that_fails_under_blocks_initialised_ahead_poisons() {
    let host = Host::new(1);
    assert!(host.live(|bench, broken| {
        let bench = at_level(Durability::Written)(bench);
        async move {
            let (partition, _) = bench.open().await;
            let (batch, began) = (unsealed(1, 3000, 1, None), time::now());
            broken.at(".seg");
            let fault = loop {
                match bench.append(&partition, &batch, Durability::Written).await {
                    Ok(_) => {}
                    Err(AppendError::Poisoned(fault)) => break fault,
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(time::now().since(began) < UNSYNCED_AGE_MAX, "no group was to be synced yet");
            assert_eq!((fault.operation, partition.stats().syncs), ("write", 0));
            partition.close().await;
        }
    }));
}

#[test]
fn records_in_memory_live_as_long_as_they_should_whatever_the_wall_clock_does() {
    let host = Host::new(1);
    let (sim, node) = (Rc::clone(&host.sim), host.node);
    assert!(host.live(|bench, _| {
        let ttl = Duration::from_secs(10);
        let (bench, sim) = (bench.in_memory(MEMORY_BYTES_MIN, Some(ttl)), Rc::clone(&sim));
        async move {
            let (partition, _) = bench.open().await;
            let hour_us = 3_600_000_000;
            for (offset, jump_us) in [hour_us, -2 * hour_us].into_iter().enumerate() {
                bench.append(&partition, &record(0), Durability::Memory).await.unwrap();
                let came = time::now();
                sim.jump_clock(node, jump_us);
                partition.alter(bench.changes()).await.unwrap(); // Wakes the writer.
                time::sleep(ttl / 2).await;
                let low = partition.watermarks().low.get();
                assert_eq!(low, offset as u64, "after half its time, and a jump of {jump_us} us");
                time::sleep(ttl).await;
                let low = partition.watermarks().low.get();
                assert_eq!(low, offset as u64 + 1, "{:?} old", time::now().since(came));
            }
            partition.close().await;
        }
    }));
}
