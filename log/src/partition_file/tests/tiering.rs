//! Segments in the object store: uploaded once, read like files, and never believed blindly.

use super::harness::{Bench, on_core};
use super::keys::{key, keyed, latest};
use super::simulated::{Host, append_until, record};
use super::*;
use crate::batch::{Codec, Items};
use crate::limits::{FETCH_READ_BYTES_MAX, ORPHAN_AGE_MIN, REMOTE_BLOCK_BYTES};
use crate::pace::Pace;
use crate::remote::memory::{Fate, MemoryStore};
use crate::remote::{Operation, RemoteErrorKind};
use crate::segment::{index_name, segment_name};
use crate::tier::Tier;

/// Records of 700 bytes and more each: some fifty fill a segment.
pub(super) const RECORDS: u64 = 120;
const CLUSTER: u64 = 0xc1;
const PREFIX: &str = "00000000000000c1/7/1/";

pub(super) fn tier_of(store: &MemoryStore) -> Tier {
    Tier::new(Rc::new(store.clone()), CLUSTER, 64 << 20)
}

/// A place whose closed segments go to the store, and stay in the directory, too, unless `local_bytes` are exceeded.
pub(super) fn tiered(bench: &Bench, local_bytes: u64) -> Bench {
    bench.place("tiered", |config| {
        config.tiering.is_on = true;
        config.tiering.local_bytes = local_bytes;
        config.tail_bytes = 0;
    })
}

/// Rounds until there is nothing more to upload.
pub(super) async fn settle(partition: &Partition) -> Result<(), TierError> {
    while partition.tier(&Pace::new(1 << 40)).await? {}
    // What was uploaded last may go now.
    partition.tier(&Pace::new(1 << 40)).await.map(drop)
}

async fn filled(bench: &Bench, store: &MemoryStore) -> Partition {
    let (partition, _) = bench.open_in(&tier_of(store)).await;
    append_until(bench, &partition, Durability::Synced, RECORDS).await;
    partition
}

/// Every record is there, from wherever it is.
pub(super) async fn check(bench: &Bench, partition: &Partition) {
    let marks = partition.watermarks();
    let expected: Vec<_> = (marks.low.get()..marks.high.get()).map(record).collect();
    assert!(bench.read_all(partition).await == expected);
}

async fn local_segments(bench: &Bench) -> Vec<Offset> {
    let entries = file::list_dir(bench.dir()).await.unwrap();
    let names = entries.iter().filter_map(|entry| parse_segment_name(&entry.name));
    let mut bases: Vec<_> = names.collect();
    bases.sort();
    bases
}

#[test]
fn segments_go_to_the_store_out_of_the_directory_and_are_read_like_files() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let partition = filled(&bench, &store).await;
        let closed = local_segments(&bench).await.len() - 1;
        assert!(closed >= 3);
        settle(&partition).await.unwrap();
        let held = partition.tier_use();
        assert_eq!(
            (held.segments, held.remote_only, held.waiting),
            (closed as u64, closed as u64, 0)
        );
        assert_eq!(local_segments(&bench).await.len(), 1, "the one that is written");
        assert_eq!(store.keys().len(), 2 * closed, "a segment and an index each");
        assert!(store.keys().iter().all(|key| key.starts_with(PREFIX)));
        assert_eq!(
            partition.stats().file_bytes,
            partition.shell.machine.borrow().head().position.get()
        );
        check(&bench, &partition).await;

        // Without the indexes and the checkpoint, and after a kill, the manifest is enough.
        let killed = bench.crashed(true).await;
        partition.close().await;
        for name in [CHECKPOINT_NAME.to_owned(), index_name(Offset::ZERO)] {
            file::remove_file(killed.dir().join(name)).await.unwrap();
        }
        for bench in [bench, killed] {
            let (partition, report) = bench.open_in(&tier_of(&store)).await;
            assert_eq!((report.low, report.damaged), (Offset::ZERO, vec![]));
            check(&bench, &partition).await;
            assert_eq!(partition.offset_at_time(Timestamp::MIN).await.unwrap(), Offset::ZERO);
            partition.close().await;
        }
    });
}

#[test]
fn a_segment_stays_local_until_local_retention_lets_it_go_and_nothing_is_uploaded_twice() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 0), MemoryStore::new());
        let partition = filled(&bench, &store).await;
        let before = local_segments(&bench).await;
        settle(&partition).await.unwrap();
        settle(&partition).await.unwrap();
        assert_eq!(local_segments(&bench).await, before);
        assert_eq!(store.stats().finished, 2 * (before.len() as u64 - 1));
        check(&bench, &partition).await;
        assert_eq!(store.stats().gets, 0, "what is local is read locally");

        let tiering = crate::partition::Tiering { local_bytes: 2 << 20, ..bench.config().tiering };
        partition.alter(Changes { tiering, ..bench.changes() }).await.unwrap();
        settle(&partition).await.unwrap();
        let left = local_segments(&bench).await;
        assert!(left.len() < before.len() && left.len() >= 2, "{left:?}");
        assert_eq!(left[..], before[before.len() - left.len()..], "the oldest go");
        check(&bench, &partition).await;
        partition.close().await;
    });
}

#[test]
fn the_latest_record_of_a_key_is_found_in_the_store() {
    on_core(async |bench: Bench| {
        let store = MemoryStore::new();
        let bench = tiered(&bench, 1).place("keys", |config| config.key_index = true);
        let (partition, _) = bench.open_in(&tier_of(&store)).await;
        for number in 0..40u64 {
            let batch = keyed(&[key(number % 30)], 100_000, Codec::None);
            bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        }
        settle(&partition).await.unwrap();
        assert!(partition.tier_use().remote_only >= 3, "{:?}", partition.tier_use());
        let killed = bench.crashed(true).await;
        partition.close().await;
        // Once with the indexes of keys at hand, and once with all of them made again from the store.
        for without in [false, true] {
            if without {
                for entry in file::list_dir(killed.dir()).await.unwrap() {
                    if entry.name.contains(".keys") || entry.name.contains(".idx") {
                        file::remove_file(killed.dir().join(entry.name)).await.unwrap();
                    }
                }
            }
            let (partition, _) = killed.open_in(&tier_of(&store)).await;
            for number in 0..30 {
                let expected = if number < 10 { number + 30 } else { number };
                let found = latest(&partition, &key(number)).await.unwrap();
                assert_eq!(found, Some(Offset::new(expected)), "key {number}");
            }
            assert_eq!(latest(&partition, b"nobody's").await.unwrap(), None);
            partition.close().await;
        }
    });
}

#[test]
fn a_point_read_fetches_far_less_than_a_twentieth_of_a_segment() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let bench = bench.place("large", |config| config.segment_bytes = 128 << 20);
        let (partition, _) = bench.open_in(&tier_of(&store)).await;
        for offset in 0..132 {
            let batch = unsealed(offset, 1 << 20, 1, None);
            bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        }
        settle(&partition).await.unwrap();
        assert_eq!(partition.tier_use().remote_only, 1);
        let killed = bench.crashed(true).await;
        partition.close().await;
        file::remove_file(killed.dir().join(index_name(Offset::ZERO))).await.unwrap();
        let (partition, _) = killed.open_in(&tier_of(&store)).await;
        let before = store.stats().read_bytes;
        let read = partition.read(Offset::new(77), 1).await.unwrap();
        assert_eq!((read.first_offset.get(), read.next_offset.get()), (77, 78));
        let fetched = store.stats().read_bytes - before;
        assert!(fetched <= 4 * REMOTE_BLOCK_BYTES as u64, "{fetched} bytes, the index included");
        let again = partition.read(Offset::new(77), 1).await.unwrap();
        assert_eq!(again.next_offset.get(), 78);
        assert_eq!(store.stats().read_bytes - before, fetched, "the second time from memory");
        partition.close().await;
    });
}

#[test]
fn whoever_goes_on_finds_the_next_blocks_on_their_way() {
    // In the time of a simulated world, which goes on only while somebody waits for the store.
    let host = Host::new(21);
    assert!(host.live(|bench, _| async move {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let bench = bench.place("large", |config| config.segment_bytes = 24 << 20);
        let tier = tier_of(&store);
        let (partition, _) = bench.open_in(&tier).await;
        for offset in 0..30 {
            let batch = unsealed(offset, 1 << 20, 1, None);
            bench.append(&partition, &batch, Durability::Synced).await.unwrap();
        }
        settle(&partition).await.unwrap();
        let started = time::now();
        let latency = Duration::from_millis(50);
        store.set_faults(move |_, operation, _| match operation {
            Operation::Get => Fate::Late(latency),
            _ => Fate::Done,
        });
        let mut next = Offset::ZERO;
        while next.get() < 20 {
            next = partition.read(next, 1 << 20).await.unwrap().next_offset;
        }
        let (took, gets) = (time::now().since(started), store.stats().gets);
        assert!(gets >= 20, "{gets}");
        let one_by_one = latency * u32::try_from(gets).unwrap();
        assert!(took < one_by_one / 2, "{took:?} for {gets} gets of {latency:?}");
        assert!(tier.stats().cache_hits > 10, "{:?}", tier.stats());
        partition.close().await;
    }));
}

#[test]
fn readers_get_what_lies_in_memory_and_nothing_is_fetched_twice_or_copied() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let bench = bench.place("large", |config| config.segment_bytes = 24 << 20);
        let tier = tier_of(&store);
        let (partition, _) = bench.open_in(&tier).await;
        // Of all lengths up to more than a block.
        let len = |offset: u64| 64 << (offset % 15);
        let mut last = 0;
        while partition.tier_use().waiting == 0 {
            let batch = unsealed(last, len(last), 1, None);
            bench.append(&partition, &batch, Durability::Synced).await.unwrap();
            last += 1;
        }
        settle(&partition).await.unwrap();
        let (held, before) = (partition.tier_use(), store.stats().read_bytes);
        assert_eq!(held.remote_only, 1);
        let end = partition.shell.machine.borrow().closed()[0].end;
        let read_all = async || {
            let (mut next, mut places, mut records) = (Offset::ZERO, Vec::new(), 0);
            while next < end {
                let read = partition.read(next, FETCH_READ_BYTES_MAX).await.unwrap();
                places.extend(read.slices.iter().map(|slice| (slice.as_ptr().addr(), slice.len())));
                for slice in &read.slices {
                    for batch in Items::new(slice).batches() {
                        records += batch.unwrap().header().record_count;
                    }
                }
                next = read.next_offset;
            }
            (places, records)
        };
        let (places, records) = read_all().await;
        assert_eq!(u64::from(records), end.get());
        assert!(places.len() >= 16, "a slice of each block: {}", places.len());
        let fetched = store.stats().read_bytes - before;
        let most = held.remote_only_bytes + 64 * (places.len() as u64 + 1);
        assert!(fetched <= most, "{fetched} of {}", held.remote_only_bytes);
        assert_eq!(read_all().await.0, places, "the same bytes of the same memory");
        assert_eq!(store.stats().read_bytes - before, fetched);
        partition.close().await;
    });
}

#[test]
fn a_batch_that_is_longer_than_its_blocks_is_put_together() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let bench = bench.place("large", |config| config.segment_bytes = 24 << 20);
        let (partition, _) = bench.open_in(&tier_of(&store)).await;
        let mut last = 0;
        while partition.tier_use().waiting == 0 {
            let len = if last % 2 == 0 { 5 << 20 } else { 100 };
            let batch = unsealed(last, len, 1, None);
            bench.append(&partition, &batch, Durability::Synced).await.unwrap();
            last += 1;
        }
        settle(&partition).await.unwrap();
        for (from, bytes_max) in (0..4).flat_map(|from| [(from, 1), (from, FETCH_READ_BYTES_MAX)]) {
            let read = partition.read(Offset::new(from), bytes_max).await.unwrap();
            assert_eq!(read.first_offset.get(), from);
            let first = Items::new(&read.slices[0]).batches().next().unwrap().unwrap();
            let len = if from % 2 == 0 { 5 << 20 } else { 100 };
            assert!(first.verify().is_ok() && first.bytes().len() > len);
        }
        partition.close().await;
    });
}

#[test]
fn the_store_is_busy_with_what_comes_next_before_a_reader_has_what_it_asked_for() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let bench = bench.place("large", |config| config.segment_bytes = 40 << 20);
        let (partition, _) = bench.open_in(&tier_of(&store)).await;
        let mut last = 0;
        while partition.tier_use().waiting == 0 {
            let batch = unsealed(last, 1 << 20, 1, None);
            bench.append(&partition, &batch, Durability::Synced).await.unwrap();
            last += 1;
        }
        settle(&partition).await.unwrap();
        let mut next = Offset::ZERO;
        for _ in 0..4 {
            next = partition.read(next, 4 << 20).await.unwrap().next_offset;
            // Nothing else has run on the core since then.
            let begun = store.stats().calls;
            time::sleep(Duration::from_millis(1)).await;
            assert_eq!(store.stats().calls, begun, "at {next}");
        }
        partition.close().await;
    });
}

#[test]
fn a_store_that_is_away_costs_remote_reads_a_clear_error_and_local_ones_nothing() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let partition = filled(&bench, &store).await;
        settle(&partition).await.unwrap();
        store.set_faults(|_, operation, _| match operation {
            Operation::Get => Fate::Fails(RemoteErrorKind::Away),
            _ => Fate::Done,
        });
        let Err(ReadError::Remote(error)) = partition.read(Offset::ZERO, 1).await else {
            panic!("read from a store that is away")
        };
        assert!(error.is_retryable() && error.to_string().contains(PREFIX), "{error}");
        let head = partition.shell.machine.borrow().head().segment;
        assert_eq!(partition.read(head, 1).await.unwrap().first_offset, head);
        store.heal();
        check(&bench, &partition).await;
        partition.close().await;

        let (partition, _) = bench.open().await;
        let without = partition.read(Offset::ZERO, 1).await;
        assert!(matches!(without, Err(ReadError::NoTier)), "{without:?}");
        partition.close().await;
    });
}

#[test]
fn an_upload_that_fails_is_tried_again_and_holds_up_nobody_for_longer_than_a_call() {
    on_core(async |bench: Bench| {
        for operation in [Operation::Put, Operation::Write, Operation::Finish, Operation::Length] {
            let bench = bench.place(&format!("{operation:?}"), |config| {
                config.tiering.is_on = true;
            });
            let store = MemoryStore::new();
            let (partition, _) = bench.open_in(&tier_of(&store)).await;
            append_until(&bench, &partition, Durability::Synced, RECORDS).await;
            store.set_faults(move |_, asked, _| {
                if asked == operation { Fate::Fails(RemoteErrorKind::Away) } else { Fate::Done }
            });
            let failed = partition.tier(&Pace::new(1 << 40)).await;
            assert!(matches!(failed, Err(TierError::Remote(_))), "{operation:?}: {failed:?}");
            assert_eq!(partition.tier_use().segments, 0);
            let calls = store.stats().calls;
            assert!(!partition.tier(&Pace::new(1 << 40)).await.unwrap(), "a pause");
            assert_eq!(store.stats().calls, calls, "nothing is asked in the pause");
            store.heal();
            partition.close().await;
            let (partition, _) = bench.open_in(&tier_of(&store)).await;
            settle(&partition).await.unwrap();
            assert_eq!(partition.tier_use().waiting, 0);
            partition.close().await;
        }
    });
}

#[test]
fn an_object_that_is_shorter_than_what_was_sent_is_not_named() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let partition = filled(&bench, &store).await;
        store.set_faults(|_, operation, _| match operation {
            Operation::Finish => Fate::Lies,
            _ => Fate::Done,
        });
        let failed = partition.tier(&Pace::new(1 << 40)).await;
        assert!(matches!(failed, Err(TierError::Unsound { .. })), "{failed:?}");
        assert_eq!(partition.tier_use().segments, 0);
        check(&bench, &partition).await;
        partition.close().await;
    });
}

#[test]
fn the_last_copy_never_goes_when_somebody_has_emptied_the_store() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 0), MemoryStore::new());
        let partition = filled(&bench, &store).await;
        settle(&partition).await.unwrap();
        let before = local_segments(&bench).await;
        store.rot(&store.keys()[1], Vec::clear);
        let tiering = crate::partition::Tiering { local_bytes: 1, ..bench.config().tiering };
        partition.alter(Changes { tiering, ..bench.changes() }).await.unwrap();
        let kept = partition.tier(&Pace::new(1 << 40)).await;
        assert!(matches!(kept, Err(TierError::Unsound { .. })), "{kept:?}");
        assert_eq!(local_segments(&bench).await, before);
        check(&bench, &partition).await;
        partition.close().await;
    });
}

#[test]
fn rot_is_not_uploaded_and_the_rest_is() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let partition = filled(&bench, &store).await;
        let bases = local_segments(&bench).await;
        let (path, rotten) = (bench.dir().join(segment_name(bases[1])), bases[1]);
        pyralog_runtime::spawn_blocking(move || {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[300_000] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        })
        .await
        .unwrap();
        settle(&partition).await.unwrap();
        let held = partition.tier_use();
        assert_eq!((held.waiting, held.held_back), (1, 1), "{held:?}");
        assert_eq!(held.segments, bases.len() as u64 - 2);
        assert!(local_segments(&bench).await.contains(&rotten), "it stays");
        assert!(partition.stats().damaged_records > 0);
        partition.close().await;
    });
}

#[test]
fn bytes_that_came_wrong_once_are_fetched_again_and_those_that_stay_wrong_are_damage_of_their_range()
 {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let partition = filled(&bench, &store).await;
        settle(&partition).await.unwrap();
        let lied = Rc::new(Cell::new(false));
        let once = Rc::clone(&lied);
        store.set_faults(move |_, operation, key| {
            let is_segment = operation == Operation::Get && !key.contains(".idx");
            if is_segment && !once.replace(true) { Fate::Lies } else { Fate::Done }
        });
        check(&bench, &partition).await;
        assert!(lied.get());
        partition.close().await;

        let keys = store.keys();
        store.rot(&keys[1], |bytes| bytes[300_000] ^= 1);
        let tier = tier_of(&store);
        let (partition, _) = bench.open_in(&tier).await;
        let (mut next, mut damaged, high) = (Offset::ZERO, Vec::new(), partition.watermarks().high);
        while next < high {
            match partition.read(next, 300_000).await {
                Ok(read) => next = read.next_offset,
                Err(ReadError::Damaged { offsets }) => {
                    assert_eq!(offsets.start, next);
                    next = offsets.end;
                    damaged.push(offsets);
                }
                Err(error) => panic!("{error}"),
            }
        }
        let records: u64 = damaged.iter().map(|range| range.end.since(range.start)).sum();
        assert_eq!((damaged.len(), records), (1, 1), "{damaged:?}");
        assert!(tier.stats().unsound >= 1);
        partition.close().await;
    });
}

#[test]
fn truncation_deletes_objects_and_the_sweep_those_that_no_manifest_names() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let partition = filled(&bench, &store).await;
        settle(&partition).await.unwrap();
        let keys = store.keys();
        let bases: Vec<_> = partition.shell.machine.borrow().closed().to_vec();
        partition.truncate_before(bases[1].end).await.unwrap();
        partition.tier(&Pace::new(1 << 40)).await.unwrap();
        assert_eq!(store.keys(), keys[4..], "two segments and their indexes are gone");
        check(&bench, &partition).await;
        partition.close().await;

        let old = |age: Duration| {
            let age = i64::try_from(age.as_micros()).unwrap();
            Timestamp::new(time::unix_us() - age)
        };
        let orphan =
            |number: u64| format!("{PREFIX}{number:020}-{:020}-{number:016x}.seg", number + 1);
        store.place(&orphan(1), vec![1], old(ORPHAN_AGE_MIN * 2));
        store.place(&format!("{}#1", keys[5]), vec![1], old(ORPHAN_AGE_MIN * 2));
        store.place(&orphan(2), vec![1], old(ORPHAN_AGE_MIN / 2));
        store.place(&format!("{PREFIX}notes.txt"), vec![1], old(ORPHAN_AGE_MIN * 2));
        let other =
            "00000000000000c1/7/10/00000000000000000000-00000000000000000001-0000000000000001.seg";
        store.place(other, vec![1], old(ORPHAN_AGE_MIN * 2));
        let tier = tier_of(&store);
        let (partition, _) = bench.open_in(&tier).await;
        settle(&partition).await.unwrap();
        assert_eq!(tier.stats().orphans, 2);
        let left = store.keys();
        assert!(!left.contains(&orphan(1)) && left.contains(&orphan(2)), "{left:?}");
        assert!(left.contains(&format!("{PREFIX}notes.txt")) && left.contains(&other.to_owned()));
        check(&bench, &partition).await;
        partition.close().await;
        assert_eq!(tier.delete_log(LogId::new(7)).await.unwrap(), left.len() as u64);
        assert_eq!(store.keys(), Vec::<String>::new());
    });
}

#[test]
fn closing_does_not_wait_for_a_store_that_does_not_answer() {
    on_core(async |bench: Bench| {
        let (bench, store) = (tiered(&bench, 1), MemoryStore::new());
        let partition = filled(&bench, &store).await;
        let asked = Rc::new(Cell::new(false));
        let flag = Rc::clone(&asked);
        store.set_faults(move |_, operation, _| match operation {
            Operation::Finish => {
                flag.set(true);
                Fate::Silent
            }
            _ => Fate::Done,
        });
        let round = partition.clone();
        let round = pyralog_runtime::spawn(async move { round.tier(&Pace::new(1 << 40)).await });
        while !asked.get() {
            pyralog_runtime::yield_now().await;
        }
        let closing = time::timeout(Duration::from_secs(20), partition.close());
        assert!(closing.await.is_ok(), "it waits for the store");
        assert!(!round.await.unwrap().unwrap());
    });
}
