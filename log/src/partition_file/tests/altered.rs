//! A partition that takes another configuration while it runs.

use pyralog_runtime::sim::DiskFaults;
use pyralog_runtime::spawn;

use super::simulated::{Host, append_until, at_level, record};
use super::*;

const LEVELS: [(Durability, Durability); 4] = [
    (Durability::Memory, Durability::Synced),
    (Durability::Written, Durability::Synced),
    (Durability::Synced, Durability::Memory),
    (Durability::Synced, Durability::Written),
];

#[test]
fn what_readers_see_has_the_new_level_once_it_was_altered() {
    for (seed, (from, to)) in (0..8).flat_map(|seed| LEVELS.map(|levels| (seed, levels))) {
        let (host, place) = (Host::new(seed), at_level(from));
        let seen = Rc::new(Cell::new(0));
        assert!(host.live(|bench, _| {
            let (bench, seen) = (place(bench), Rc::clone(&seen));
            async move {
                let (partition, _) = bench.open().await;
                append_until(&bench, &partition, from, 4).await;
                let (others, writer) = (partition.clone(), bench.clone());
                let meanwhile =
                    spawn(async move { append_until(&writer, &others, from, 12).await });
                let before = partition.watermarks().high;
                let changes = Changes { durability: to, ..bench.changes() };
                partition.alter(changes).await.unwrap();
                let after = partition.watermarks().high;
                assert!(after >= before, "the high watermark went back from {before} to {after}");
                meanwhile.await.unwrap();
                seen.set(after.get());
            }
        }));
        if to == Durability::Synced {
            host.lose_power();
        }
        assert!(host.live(|bench, _| {
            let (bench, seen) = (place(bench), seen.get());
            async move {
                let (partition, report) = bench.open().await;
                let survives = to > Durability::Memory;
                assert!(!survives || report.end.get() >= seen, "{seen} were seen: {report:?}");
                partition.close().await;
            }
        }));
    }
}

#[test]
fn a_poisoned_partition_keeps_what_was_acknowledged_in_memory_when_it_is_altered() {
    let (host, place) = (Host::new(1), at_level(Durability::Memory));
    assert!(host.live(|bench, broken| {
        let bench = place(bench);
        async move {
            let (partition, _) = bench.open().await;
            broken.at(".seg");
            append_until(&bench, &partition, Durability::Memory, 5).await;
            let flushed = partition.flush(Durability::Synced).await;
            assert!(matches!(flushed, Err(AppendError::Poisoned(_))), "{flushed:?}");
            let changes = Changes { segment_bytes: 2 << 20, ..bench.changes() };
            let altered = partition.alter(changes).await;
            assert!(matches!(altered, Err(AppendError::Poisoned(_))), "{altered:?}");
            let expected: Vec<_> = (0..5).map(record).collect();
            assert!(bench.read_all(&partition).await == expected);
        }
    }));
}

#[test]
fn a_full_disk_takes_nothing_from_readers_of_an_altered_partition() {
    let (host, place) = (Host::new(1), at_level(Durability::Memory));
    let sim = Rc::clone(&host.sim);
    let node = host.node;
    sim.set_disk_faults(node, DiskFaults::default());
    assert!(host.live(|bench, broken| {
        broken.at("");
        let (bench, sim) = (place(bench), Rc::clone(&sim));
        async move {
            let (partition, _) = bench.open().await;
            append_until(&bench, &partition, Durability::Memory, 3).await;
            partition.flush(Durability::Synced).await.unwrap();
            sim.set_file_size_limit(node, Some(4096));
            let large = unsealed(9, 900_000, 1, None);
            let mut expected: Vec<_> = (0..3).map(record).collect();
            while partition.flush(Durability::Written).await.is_ok() {
                bench.append(&partition, &large, Durability::Memory).await.unwrap();
                expected.push(large.clone());
                assert!(expected.len() < 20, "the disk is not full");
            }
            let changes = Changes { durability: Durability::Synced, ..bench.changes() };
            let altered = partition.alter(changes).await;
            assert!(matches!(altered, Err(AppendError::NoSpace(_))), "{altered:?}");
            assert!(bench.read_all(&partition).await == expected, "{:?}", partition.watermarks());
            sim.set_file_size_limit(node, None);
            while partition.alter(changes).await.is_err() {
                time::sleep(crate::limits::NO_SPACE_RETRY_AFTER).await;
            }
            assert!(bench.read_all(&partition).await == expected);
        }
    }));
}

#[test]
fn segments_begun_from_now_on_have_the_new_size() {
    on_core(|bench| async move {
        let (partition, _) = bench.open().await;
        let batch = unsealed(1, 300_000, 1, None);
        let mut segments = Vec::new();
        for segment_bytes in [1 << 20, 4 << 20] {
            partition.alter(Changes { segment_bytes, ..bench.changes() }).await.unwrap();
            for _ in 0..24 {
                bench.append(&partition, &batch, Durability::Written).await.unwrap();
            }
            segments.push(partition.stats().segments);
        }
        assert!(segments[0] >= 8, "1 MiB holds three of them: {segments:?}");
        assert!(segments[1] - segments[0] <= 3, "4 MiB hold a dozen: {segments:?}");
        partition.close().await;
    });
}
