//! Taking records from the front: what goes, what stays, and a power cut at every step of it.

use std::path::Path;

use pyralog_runtime::sim::Crash;

use super::harness::{Bench, on_core};
use super::simulated::{Broken, Host, append_until, record};
use super::*;
use crate::limits::SMALL_FILE_BYTES_MAX;
use crate::manifest::{Manifest, SWAP_NAME, Swap};
use crate::partition::TruncateError;
use crate::segment::segment_name;

/// Records of 700 bytes and more each: some fifty fill a segment.
const RECORDS: u64 = 120;

/// The segments in the directory.
async fn bases(dir: &Path) -> Vec<u64> {
    let entries = file::list_dir(dir).await.unwrap();
    let names = entries.iter().filter_map(|entry| parse_segment_name(&entry.name));
    let mut bases: Vec<u64> = names.map(Offset::get).collect();
    bases.sort_unstable();
    bases
}

/// A partition with all records.
async fn filled(bench: &Bench) -> Partition {
    let (partition, _) = bench.open().await;
    append_until(bench, &partition, Durability::Synced, RECORDS).await;
    partition
}

/// Every record from the low watermark on is there, and none before it.
async fn check_from(bench: &Bench, partition: &Partition, low: u64) {
    let marks = partition.watermarks();
    assert_eq!((marks.low.get(), marks.high.get()), (low, RECORDS));
    let read = partition.read(marks.low, 1).await.unwrap();
    assert!(read.next_offset > marks.low);
    let expected: Vec<_> = (low..RECORDS).map(record).collect();
    assert!(bench.read_all(partition).await == expected);
    if low > 0 {
        let before = partition.read(Offset::new(low - 1), 1).await;
        assert!(
            matches!(before, Err(ReadError::OutOfRange { low: told, .. }) if told == marks.low)
        );
    }
}

#[test]
fn truncation_removes_whole_segments_and_hides_what_is_left_before_it() {
    on_core(async |bench: Bench| {
        let partition = filled(&bench).await;
        let before = bases(bench.dir()).await;
        assert!(before.len() > 3, "{before:?}");
        let inside = before[2] + 3;
        let low = partition.truncate_before(Offset::new(inside)).await.unwrap();
        assert_eq!(low.get(), inside);
        assert_eq!(bases(bench.dir()).await, before[2..]);
        check_from(&bench, &partition, inside).await;
        let stats = partition.stats();
        assert_eq!((stats.removed_records, stats.removed_segments), (inside, 2));
        assert_eq!(partition.offset_at_time(Timestamp::MIN).await.unwrap(), low);

        let back = partition.truncate_before(Offset::new(3)).await.unwrap();
        assert_eq!(back, low, "it only moves forward");
        let beyond = partition.truncate_before(Offset::new(RECORDS + 1)).await;
        let Err(TruncateError::OutOfRange { low: told, high }) = beyond else {
            panic!("{beyond:?}")
        };
        assert_eq!((told, high.get()), (low, RECORDS));

        let killed = bench.crashed(true).await;
        partition.close().await;
        for (bench, clean) in [(bench, true), (killed, false)] {
            let (partition, report) = bench.open().await;
            assert_eq!((report.clean, report.low.get(), report.damaged.len()), (clean, inside, 0));
            check_from(&bench, &partition, inside).await;
            partition.close().await;
        }
    });
}

#[test]
fn a_log_that_is_truncated_to_its_end_goes_on_there_after_a_restart() {
    on_core(async |bench: Bench| {
        for level in Durability::ALL {
            let bench = bench.with(|config| config.durability = level);
            let (partition, _) = bench.open().await;
            while partition.watermarks().end.get() < RECORDS {
                append_until(&bench, &partition, level, RECORDS).await;
                partition.flush(Durability::Synced).await.unwrap();
            }
            let low = partition.truncate_before(Offset::new(RECORDS)).await.unwrap();
            assert_eq!(low.get(), RECORDS);
            let killed = bench.crashed(true).await;
            partition.close().await;
            for bench in [bench, killed] {
                let (partition, report) = bench.open().await;
                assert_eq!(report.damaged, vec![]);
                let marks = partition.watermarks();
                assert_eq!((marks.low, marks.end), (low, low), "{level}");
                let appended = bench.append(&partition, &record(0), level).await.unwrap();
                assert_eq!(appended.base_offset, low);
                partition.close().await;
            }
        }
    });
}

#[test]
fn no_offset_below_the_low_watermark_is_dealt_again_though_the_disk_loses_the_end() {
    on_core(async |bench: Bench| {
        let partition = filled(&bench).await;
        partition.truncate_before(Offset::new(RECORDS)).await.unwrap();
        let newest = bases(bench.dir()).await.pop().unwrap();
        let killed = bench.crashed(true).await;
        partition.close().await;
        let dir = killed.dir().to_owned();
        pyralog_runtime::spawn_blocking(move || {
            std::fs::remove_file(dir.join(CHECKPOINT_NAME)).unwrap();
            let path = dir.join(segment_name(Offset::new(newest)));
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[8192..].fill(0);
            std::fs::write(path, bytes).unwrap();
        })
        .await
        .unwrap();
        let (partition, report) = killed.open().await;
        assert_eq!((report.low.get(), report.end.get()), (RECORDS, RECORDS), "{report:?}");
        partition.close().await;
    });
}

#[test]
fn a_segment_that_is_read_when_it_goes_is_not_recycled_under_the_reader() {
    on_core(async |bench: Bench| {
        let partition = filled(&bench).await;
        let all = bases(bench.dir()).await;
        let files = partition.shell.files.as_ref().unwrap();
        let reading = files.readers.reading(Offset::ZERO);
        partition.truncate_before(Offset::new(all[2])).await.unwrap();
        let kept = file::list_dir(bench.recycle()).await.unwrap();
        assert_eq!(kept.len(), 1, "only the second: {kept:?}");
        drop(reading);
        partition.close().await;
    });
}

#[test]
fn a_manifest_with_one_sound_copy_is_mended_and_one_with_none_says_what_to_do() {
    on_core(async |bench: Bench| {
        let partition = filled(&bench).await;
        partition.truncate_before(Offset::new(60)).await.unwrap();
        partition.close().await;
        let path = bench.dir().join(MANIFEST_NAME);
        let sound = file::read_small(&path, SMALL_FILE_BYTES_MAX).await.unwrap();
        let half = sound.len() / 2;
        let mut broken = sound.clone();
        broken[..half].fill(0xee);
        file::write_small_atomic(&path, broken.clone()).await.unwrap();
        let (partition, report) = bench.open().await;
        assert_eq!(report.low.get(), 60);
        partition.close().await;
        assert!(file::read_small(&path, SMALL_FILE_BYTES_MAX).await.unwrap() == sound);
        broken[half..].fill(0xee);
        file::write_small_atomic(&path, broken).await.unwrap();
        let error = bench.try_open().await.unwrap_err().to_string();
        assert!(error.contains("manifest") && error.contains("backup"), "{error}");
    });
}

#[test]
fn truncation_of_a_log_in_memory_may_end_inside_a_group() {
    on_core(async |bench: Bench| {
        let bench = bench.in_memory(4 << 20, None);
        let (partition, _) = bench.open().await;
        append_until(&bench, &partition, Durability::Memory, 60).await;
        for low in [1, 17, 59, 60] {
            assert_eq!(partition.truncate_before(Offset::new(low)).await.unwrap().get(), low);
            let expected: Vec<_> = (low..60).map(record).collect();
            assert!(bench.read_all(&partition).await == expected);
            let before = partition.read(Offset::new(low - 1), 1).await;
            assert!(matches!(before, Err(ReadError::OutOfRange { .. })));
        }
        append_until(&bench, &partition, Durability::Memory, 70).await;
        assert_eq!(partition.watermarks().end.get(), 70);
        partition.close().await;
    });
}

/// Truncates a partition that is there, some way into its third segment.
async fn truncate(bench: Bench, done: Rc<Cell<bool>>) {
    let (partition, _) = bench.open().await;
    let third = bases(bench.dir()).await[2];
    partition.truncate_before(Offset::new(third + 1)).await.unwrap();
    done.set(true);
}

#[test]
fn the_power_may_fail_at_any_call_of_a_truncation() {
    for calls in 0.. {
        let host = Host::new(calls);
        let third = Rc::new(Cell::new(0));
        assert!(host.live(|bench, _| {
            let third = Rc::clone(&third);
            async move {
                filled(&bench).await.close().await;
                third.set(bases(bench.dir()).await[2]);
            }
        }));
        let done = Rc::new(Cell::new(false));
        host.sim.crash_after_calls(host.node, calls + 1, Crash::Power);
        let survived = host.live(|bench, _| truncate(bench, Rc::clone(&done)));
        host.lose_power();
        let low = third.get() + 1;
        assert!(host.live(|bench, _| {
            let done = done.get();
            async move {
                let (partition, report) = bench.open().await;
                assert_eq!(report.damaged, vec![], "nothing was damaged");
                let found = partition.watermarks().low.get();
                assert!(found == low || found == 0 && !done, "{found}, {low} was {done}");
                check_from(&bench, &partition, found).await;
                let first = bases(bench.dir()).await[0];
                assert_eq!(first, if found == 0 { 0 } else { low - 1 });
                partition.close().await;
            }
        }));
        if survived {
            assert!(calls > 15, "a truncation changes more than that");
            return;
        }
    }
}

/// A swap of the first three segments for one, up to the moment when the manifest names it.
async fn begin_swap(bench: Bench, _broken: Broken) {
    filled(&bench).await.close().await;
    let all = bases(bench.dir()).await;
    // The same records in longer segments: its first one is the replacement.
    let other = bench.place("long", |config| config.segment_bytes = 8 << 20);
    let (partition, _) = other.open().await;
    append_until(&other, &partition, Durability::Synced, all[3]).await;
    let generation = partition.shell.machine.borrow().generation();
    partition.close().await;
    let replacement = other.dir().join(segment_name(Offset::ZERO));
    file::rename(replacement, bench.dir().join(SWAP_NAME)).await.unwrap();
    let swap = Swap { first: Offset::ZERO, end: Offset::new(all[3]), generation };
    let PartitionConfig { log, partition, .. } = *bench.config();
    let manifest = Manifest { swap: Some(swap), ..Manifest::new(log, partition) };
    let path = bench.dir().join(MANIFEST_NAME);
    file::write_small_atomic(path, manifest.encode()).await.unwrap();
}

#[test]
fn the_power_may_fail_at_any_call_of_a_recovery_that_finishes_a_swap() {
    for calls in 0.. {
        let host = Host::new(calls);
        assert!(host.live(begin_swap));
        host.sim.crash_after_calls(host.node, calls + 1, Crash::Power);
        let survived = host.live(|bench, _| async move { drop(bench.open().await) });
        host.lose_power();
        assert!(host.live(|bench, _| async move {
            let (partition, report) = bench.open().await;
            assert_eq!(report.damaged, vec![], "nothing was damaged");
            let first = partition.shell.machine.borrow().closed()[0].end.get();
            assert_eq!(first, bases(bench.dir()).await[1]);
            check_from(&bench, &partition, 0).await;
            let path = bench.dir().join(MANIFEST_NAME);
            let bytes = file::read_small(path, SMALL_FILE_BYTES_MAX).await.unwrap();
            assert_eq!(Manifest::decode(&bytes).unwrap().manifest.swap, None, "it is over");
            assert!(!file::exists(bench.dir().join(SWAP_NAME)).await.unwrap());
            partition.close().await;
        }));
        if survived {
            assert!(calls > 15, "such a recovery changes more than that");
            return;
        }
    }
}

#[test]
fn a_swap_whose_segment_is_not_there_is_undone() {
    on_core(async |bench: Bench| {
        for is_named in [true, false] {
            let bench = bench.place(&is_named.to_string(), |_| {});
            begin_swap(bench.clone(), Broken::default()).await;
            let before = bases(bench.dir()).await;
            let name = if is_named { SWAP_NAME } else { MANIFEST_NAME };
            file::remove_file(bench.dir().join(name)).await.unwrap();
            let (partition, report) = bench.open().await;
            assert_eq!(report.damaged, vec![]);
            assert_eq!(bases(bench.dir()).await, before, "they stay");
            assert!(!file::exists(bench.dir().join(SWAP_NAME)).await.unwrap());
            check_from(&bench, &partition, 0).await;
            partition.close().await;
        }
    });
}

#[test]
fn a_segment_that_is_in_the_object_store_is_not_missing() {
    on_core(async |bench: Bench| {
        filled(&bench).await.close().await;
        let all = bases(bench.dir()).await;
        let remote = |at: usize, is_local| crate::manifest::RemoteSegment {
            is_local,
            ..crate::manifest::tests::remote(all[at], all[at + 1])
        };
        let PartitionConfig { log, partition, .. } = *bench.config();
        let manifest = Manifest {
            remote: vec![remote(0, false), remote(1, true), remote(2, true)],
            ..Manifest::new(log, partition)
        };
        let path = bench.dir().join(MANIFEST_NAME);
        file::write_small_atomic(path, manifest.encode()).await.unwrap();
        // The first is to go, the second is lost, the third is there.
        file::remove_file(bench.dir().join(segment_name(Offset::new(all[1])))).await.unwrap();
        let (partition, report) = bench.open().await;
        assert_eq!((report.low.get(), &report.damaged), (0, &vec![]));
        assert_eq!(bases(bench.dir()).await, all[2..], "what is remote only went");
        let local: Vec<bool> = {
            let files = partition.shell.files.as_ref().unwrap();
            files.manifest.get().remote.iter().map(|remote| remote.is_local).collect()
        };
        assert_eq!(local, [false, false, true]);
        partition.close().await;
    });
}

fn later(seconds: u64) -> Timestamp {
    Timestamp::new(pyralog_runtime::time::unix_us() + i64::try_from(seconds).unwrap() * 1_000_000)
}

#[test]
fn an_idle_log_is_rolled_and_goes_by_age_whatever_its_clients_say_about_time() {
    on_core(async |bench: Bench| {
        let bench = bench.place("aged", |config| {
            config.life.retention.age = Some(Duration::from_mins(1));
        });
        // The create times of these records are far from the wall clock.
        let partition = filled(&bench).await;
        let head = partition.removable_until();
        partition.roll_if_older(later(30)).await;
        assert_eq!(partition.removable_until(), head, "too young");
        assert_eq!(partition.retain(later(30)).await.unwrap(), 0);
        partition.roll_if_older(later(61)).await;
        assert_eq!(partition.removable_until().get(), RECORDS);
        assert_eq!(partition.retain(later(61)).await.unwrap(), RECORDS);
        let marks = partition.watermarks();
        assert_eq!((marks.low.get(), marks.end.get()), (RECORDS, RECORDS));
        assert_eq!(bases(bench.dir()).await, [RECORDS]);
        partition.roll_if_older(later(600)).await;
        assert_eq!(bases(bench.dir()).await, [RECORDS], "an empty segment is not rolled");
        let appended = bench.append(&partition, &record(1), Durability::Synced).await.unwrap();
        assert_eq!(appended.base_offset.get(), RECORDS);
        partition.close().await;
        let (partition, report) = bench.open().await;
        assert_eq!((report.low.get(), report.end.get()), (RECORDS, RECORDS + 1));
        partition.roll_if_older(later(61)).await;
        assert_eq!(partition.removable_until().get(), RECORDS + 1, "its age survives a restart");
        partition.close().await;
    });
}

#[test]
fn a_log_beyond_its_size_loses_its_oldest_segments_and_a_new_bound_counts_at_once() {
    on_core(async |bench: Bench| {
        let partition = filled(&bench).await;
        assert_eq!(partition.retain(later(0)).await.unwrap(), 0, "no bound");
        let mut changes = bench.changes();
        let before = partition.stats().file_bytes;
        changes.life.retention.bytes = Some(before - 1);
        partition.alter(changes).await.unwrap();
        let all = bases(bench.dir()).await;
        assert_eq!(partition.retain(later(0)).await.unwrap(), all[1]);
        assert_eq!(bases(bench.dir()).await, all[1..]);
        changes.life.retention.bytes = Some(1);
        partition.alter(changes).await.unwrap();
        partition.retain(later(0)).await.unwrap();
        let head = *all.last().unwrap();
        assert_eq!(bases(bench.dir()).await, [head], "the one that is written stays");
        check_from(&bench, &partition, head).await;
        assert_eq!(partition.stats().removed_segments, all.len() as u64 - 1);
        partition.close().await;
    });
}

#[test]
fn appends_that_race_with_a_roll_all_arrive_in_order() {
    on_core(async |bench: Bench| {
        for level in Durability::ALL {
            let bench = bench.with(|config| {
                config.durability = level;
                config.life.segment_age = Some(Duration::from_secs(1));
            });
            let (partition, _) = bench.open().await;
            let mut sent = Vec::new();
            for number in 0..60 {
                let rolling = partition.clone();
                let roll = pyralog_runtime::spawn(async move {
                    rolling.roll_if_older(later(9)).await;
                });
                for _ in 0..3 {
                    let batch = unsealed(number, 2000, 1, None);
                    bench.append(&partition, &batch, level).await.unwrap();
                    sent.push(batch);
                }
                roll.await.unwrap();
            }
            partition.flush(Durability::Synced).await.unwrap();
            assert!(bases(bench.dir()).await.len() > 30);
            assert!(bench.read_all(&partition).await == sent, "{level}");
            let killed = bench.crashed(true).await;
            partition.close().await;
            for bench in [bench, killed] {
                let (partition, report) = bench.open().await;
                assert_eq!(report.damaged, vec![]);
                assert!(bench.read_all(&partition).await == sent, "{level}");
                partition.close().await;
            }
        }
    });
}
