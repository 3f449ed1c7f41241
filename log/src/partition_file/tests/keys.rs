//! The index of keys against a model, after crashes, and over files that are wrong.

use hashbrown::HashMap;
use pyralog_runtime::sim::Crash;
use pyralog_runtime::yield_now;
use quickcheck::{Arbitrary, Gen};

use super::harness::{Bench, on_core};
use super::simulated::Host;
use super::*;
use crate::batch::{BuilderConfig, Codec, Decoder, Items, Record, RowsBuilder};
use crate::index::pphm::{Entry, Header, Key, Map, Writer};
use crate::limits::{MEMORY_BYTES_MIN, SMALL_FILE_BYTES_MAX};
use crate::segment::keys_name;

/// The latest offset of each key.
type Model = HashMap<Vec<u8>, Offset>;

/// A batch of records with these keys, each with a value of some bytes; none is a tombstone.
pub(super) fn keyed(keys: &[Vec<u8>], value_bytes: usize, codec: Codec) -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig { codec, ..BuilderConfig::default() });
    let value = vec![7; value_bytes];
    for key in keys {
        let value = (value_bytes > 0).then_some(value.as_slice());
        let record = Record { key: Some(key), value, ..Record::default() };
        builder.push(&record).unwrap();
    }
    builder.finish(None).unwrap()
}

pub(super) fn key(number: u64) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

/// A place for a partition with an index of keys.
fn indexed(bench: &Bench, name: &str) -> Bench {
    bench.place(name, |config| {
        config.key_index = true;
        config.tail_bytes = 0;
    })
}

/// Appends a batch with these keys and notes where they are.
async fn append(bench: &Bench, partition: &Partition, keys: &[Vec<u8>], model: &mut Model) {
    append_with(bench, partition, keys, (40_000, Codec::None), model).await;
}

async fn append_with(
    bench: &Bench,
    partition: &Partition,
    keys: &[Vec<u8>],
    (value_bytes, codec): (usize, Codec),
    model: &mut Model,
) {
    let level = bench.config().durability;
    let batch = keyed(keys, value_bytes, codec);
    let appended = loop {
        match bench.append(partition, &batch, level).await {
            Err(AppendError::Busy) => yield_now().await,
            other => break other.unwrap(),
        }
    };
    let base = appended.base_offset.get();
    for (at, key) in (base..).zip(keys) {
        model.insert(key.clone(), Offset::new(at));
    }
}

/// What the partition says of a key: the record's own key is looked at, too.
pub(super) async fn latest(partition: &Partition, key: &[u8]) -> Result<Option<Offset>, ReadError> {
    let Some(Latest { offset, read }) = partition.latest_by_key(key).await? else {
        return Ok(None);
    };
    let mut decoder = Decoder::new();
    for batch in read.slices.iter().flat_map(|slice| Items::new(slice).batches()) {
        let rows = decoder.rows(&batch.unwrap()).unwrap().iter().collect::<Vec<_>>();
        if let Some(row) = rows.iter().find(|row| row.offset == offset) {
            assert_eq!(row.key, Some(key));
            return Ok(Some(offset));
        }
    }
    panic!("the record is not in what was read")
}

/// Every key of the model has its latest offset, and others have none.
async fn check(partition: &Partition, model: &Model) {
    for (key, offset) in model {
        assert_eq!(latest(partition, key).await.unwrap(), Some(*offset), "{key:?}");
    }
    for number in 0..20 {
        let absent = format!("absent {number}").into_bytes();
        assert_eq!(latest(partition, &absent).await.unwrap(), None);
    }
}

/// Waits until every closed segment has its file.
async fn indexes_are_there(bench: &Bench, partition: &Partition) {
    let closed = partition.shell.machine.borrow().closed().to_vec();
    for closed in closed {
        while !file::exists(bench.dir().join(keys_name(closed.base))).await.unwrap() {
            yield_now().await;
        }
    }
}

#[test]
fn the_latest_record_of_a_key_is_found_in_every_segment_without_a_scan() {
    on_core(async |bench: Bench| {
        let bench = indexed(&bench, "found");
        let (partition, _) = bench.open().await;
        let mut model = Model::new();
        for at in 0..100_u64 {
            let keys = [key(at), key(at / 3), key(at % 7)];
            let codec = match at % 3 {
                0 => Codec::None,
                1 => Codec::Lz4,
                _ => Codec::Zstd,
            };
            append_with(&bench, &partition, &keys, (20_000, codec), &mut model).await;
        }
        append_with(&bench, &partition, &[key(5)], (0, Codec::None), &mut model).await;
        check(&partition, &model).await;
        indexes_are_there(&bench, &partition).await;
        let before = partition.key_index_stats();
        check(&partition, &model).await;
        let after = partition.key_index_stats();
        assert!(partition.stats().segments > 2 && after.built > 1, "{after:?}");
        assert_eq!((after.scans, after.mismatches), (before.scans, 0));
        partition.close().await;

        let (partition, _) = bench.open().await;
        check(&partition, &model).await;
        let stats = partition.key_index_stats();
        assert_eq!((stats.scans, stats.built, stats.failed), (0, 0, 0), "the files serve");
        partition.close().await;
    });
}

#[test]
fn without_an_index_nobody_asks_for_keys_and_it_can_be_switched_on_and_off() {
    on_core(async |bench: Bench| {
        let bench = bench.place("off", |_| {});
        let (partition, _) = bench.open().await;
        let mut model = Model::new();
        for at in 0..40 {
            append(&bench, &partition, &[key(at), key(at % 5)], &mut model).await;
        }
        assert!(matches!(latest(&partition, b"key").await, Err(ReadError::NoKeyIndex)));
        for _ in 0..2 {
            partition.index_keys(true);
            partition.index_keys(true);
            check(&partition, &model).await;
            partition.index_keys(false);
            assert!(matches!(latest(&partition, b"key").await, Err(ReadError::NoKeyIndex)));
            append(&bench, &partition, &[key(3)], &mut model).await;
        }
        partition.close().await;
        assert!(matches!(latest(&partition, b"key").await, Err(ReadError::Closed)));
    });
}

#[test]
fn a_record_is_found_when_readers_see_it_and_not_before() {
    on_core(async |bench: Bench| {
        let bench = indexed(&bench, "seen");
        let (partition, _) = bench.open().await;
        let batch = keyed(&[key(1)], 100, Codec::None);
        let answer = partition.append(&batch, Durability::Memory, Ticket::default());
        assert!(matches!(answer, AppendNow::Done(_)), "{answer:?}");
        assert_eq!(partition.watermarks().high.get(), 0);
        assert_eq!(latest(&partition, &key(1)).await.unwrap(), None);
        partition.wait_beyond(Offset::ZERO, 1).await;
        assert_eq!(latest(&partition, &key(1)).await.unwrap(), Some(Offset::ZERO));
        partition.close().await;
    });
}

#[test]
fn more_keys_than_memory_may_hold_are_indexed_in_passes() {
    on_core(async |bench: Bench| {
        let bench =
            indexed(&bench, "passes").place("narrow", |config| config.key_index_keys_max = 100);
        let (partition, _) = bench.open().await;
        let mut model = Model::new();
        for at in 0..20 {
            let keys: Vec<_> = (at * 100..at * 100 + 100).map(key).collect();
            append_with(&bench, &partition, &keys, (1000, Codec::None), &mut model).await;
        }
        let held = partition.key_index_stats().keys_held;
        assert!(held <= 200, "{held} keys held");
        indexes_are_there(&bench, &partition).await;
        let before = partition.key_index_stats().scans;
        let first = partition.shell.machine.borrow().closed()[0].end;
        for (key, offset) in model.iter().filter(|(_, offset)| **offset < first) {
            assert_eq!(latest(&partition, key).await.unwrap(), Some(*offset));
        }
        let after = partition.key_index_stats();
        let name = keys_name(Offset::ZERO);
        let bytes = file::read_small(bench.dir().join(name), SMALL_FILE_BYTES_MAX).await.unwrap();
        assert_eq!(Map::open(&bytes).unwrap().directory().keys(), first.get());
        // The segment that is written is scanned for keys beyond the table.
        assert!(after.scans > before && after.mismatches == 0, "{after:?}");
        partition.close().await;
    });
}

#[test]
fn a_log_in_memory_knows_the_latest_records_of_what_it_holds() {
    on_core(async |bench: Bench| {
        for keys_max in [1 << 20, 40] {
            let mut bench = bench.in_memory(MEMORY_BYTES_MIN, None);
            bench = bench.place("memory", |config| {
                (config.key_index, config.key_index_keys_max) = (true, keys_max);
            });
            let (partition, _) = bench.open().await;
            let mut model = Model::new();
            for at in 0..200 {
                append_with(
                    &bench,
                    &partition,
                    &[key(at), key(at % 9)],
                    (10_000, Codec::None),
                    &mut model,
                )
                .await;
                if at % 50 == 49 {
                    let low = partition.watermarks().low;
                    for (key, offset) in &model {
                        let expected = (*offset >= low).then_some(*offset);
                        assert_eq!(latest(&partition, key).await.unwrap(), expected, "low {low}");
                    }
                }
            }
            assert!(partition.watermarks().low.get() > 0);
            let held = partition.key_index_stats().keys_held;
            assert!(held <= keys_max as u64, "{held}");
            partition.close().await;
        }
    });
}

/// A partition of some segments that is closed, and what it should say.
async fn filled(bench: &Bench) -> Model {
    let (partition, _) = bench.open().await;
    let mut model = Model::new();
    for at in 0..60 {
        append(bench, &partition, &[key(at), key(at % 4)], &mut model).await;
    }
    indexes_are_there(bench, &partition).await;
    partition.close().await;
    model
}

#[test]
fn an_index_file_that_is_wrong_is_noticed_and_made_again() {
    on_core(async |bench: Bench| {
        let bench = indexed(&bench, "wrong");
        let model = filled(&bench).await;
        let (first, second) = {
            let (partition, _) = bench.open().await;
            let closed = partition.shell.machine.borrow().closed().to_vec();
            partition.close().await;
            (
                bench.dir().join(keys_name(closed[0].base)),
                bench.dir().join(keys_name(closed[1].base)),
            )
        };
        let original = file::read_small(&first, SMALL_FILE_BYTES_MAX).await.unwrap();
        let other = file::read_small(&second, SMALL_FILE_BYTES_MAX).await.unwrap();
        let flipped = |at: usize| {
            let mut bytes = original.clone();
            bytes[at] ^= 4;
            bytes
        };
        let len = original.len();
        let all = [0, 9, 20, 30, 60, 64, 70, 100, 200, len - 60, len - 50, len - 4];
        let mut wrong: Vec<_> = all.into_iter().map(flipped).collect();
        wrong.extend([other, Vec::new(), original[..63].to_vec(), original[..len - 1].to_vec()]);
        for bytes in wrong {
            file::write_small_atomic(&first, bytes.clone()).await.unwrap();
            let (partition, _) = bench.open().await;
            check(&partition, &model).await;
            while partition.key_index_stats().built == 0 {
                yield_now().await;
            }
            check(&partition, &model).await;
            assert_eq!(partition.key_index_stats().mismatches, 0);
            partition.close().await;
            let again = file::read_small(&first, SMALL_FILE_BYTES_MAX).await.unwrap();
            assert_eq!(Map::open(&again).unwrap().directory().keys(), {
                Map::open(&original).unwrap().directory().keys()
            });
        }
    });
}

#[test]
fn an_index_that_points_to_another_key_is_not_believed() {
    on_core(async |bench: Bench| {
        let bench = indexed(&bench, "collision");
        let model = filled(&bench).await;
        let path = bench.dir().join(keys_name(Offset::ZERO));
        let bytes = file::read_small(&path, SMALL_FILE_BYTES_MAX).await.unwrap();
        let map = Map::open(&bytes).unwrap();
        // As if every key had the hash of another: all checksums are right.
        let mut entries: Vec<_> = map.entries().map(Result::unwrap).collect();
        entries.sort_unstable();
        let values: Vec<u64> = entries.iter().map(|(_, value)| *value).collect();
        let header: Header = *map.directory().header();
        assert_eq!(header.partition_bits, 0);
        let forged = entries.iter().zip(values.iter().cycle().skip(1));
        let forged: Vec<_> = forged
            .map(|((name, _), value)| match name {
                Key::Fingerprint(hash) => Entry { hash: *hash, key: &[], value: *value },
                Key::Exact(_) => panic!("by fingerprint"),
            })
            .collect();
        let mut out = Vec::new();
        let mut writer = Writer::begin(header, &mut out);
        writer.partition(&forged, &mut out).unwrap();
        writer.finish(&mut out);
        file::write_small_atomic(&path, out).await.unwrap();
        let (partition, _) = bench.open().await;
        check(&partition, &model).await;
        let stats = partition.key_index_stats();
        assert!(stats.mismatches > 0 && stats.scans == stats.mismatches, "{stats:?}");
        partition.close().await;
    });
}

#[test]
fn whoever_asks_for_a_key_behind_damage_is_told_of_it() {
    on_core(async |bench: Bench| {
        for blow in ["rotten", "lost", "rotten head"] {
            let bench = indexed(&bench, blow);
            let model = filled(&bench).await;
            let (base, middle) = {
                let (partition, _) = bench.open().await;
                let (closed, head) = {
                    let machine = partition.shell.machine.borrow();
                    let head = machine.head();
                    (machine.closed()[1], (head.segment, head.position.get() / 2))
                };
                partition.close().await;
                let closed = (closed.base, closed.end_position.get() / 2);
                if blow == "rotten head" { head } else { closed }
            };
            let segment = bench.dir().join(crate::segment::segment_name(base));
            if blow == "lost" {
                file::remove_file(segment).await.unwrap();
            } else {
                let mut bytes = std::fs::read(&segment).unwrap();
                bytes[usize::try_from(middle).unwrap()] ^= 1;
                std::fs::write(&segment, bytes).unwrap();
                // With an index, it knows what was there.
                segment_file::remove_if_there(&bench.dir().join(keys_name(base))).await.unwrap();
            }
            let (partition, _) = bench.open().await;
            let (mut before, mut behind) = (0, 0);
            for (key, offset) in &model {
                match latest(&partition, key).await {
                    Ok(found) => {
                        assert_eq!(found, Some(*offset));
                        assert!(*offset > base, "{offset}: who knows what came later");
                        behind += 1;
                    }
                    Err(ReadError::Damaged { offsets }) => {
                        assert!(*offset < offsets.end, "{offset} is behind {offsets:?}");
                        before += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(before > 0 && behind > 0);
            let absent = latest(&partition, b"absent").await;
            assert!(matches!(absent, Err(ReadError::Damaged { .. })), "{absent:?}");
            if blow == "rotten head" {
                a_closed_segment_goes_on_being_damaged(&bench, &partition).await;
            }
            partition.close().await;
        }
    });
}

/// The table of a segment with damage becomes no file.
async fn a_closed_segment_goes_on_being_damaged(bench: &Bench, partition: &Partition) {
    for at in 0..40 {
        append(bench, partition, &[key(1000 + at)], &mut Model::new()).await;
    }
    while partition.key_index_stats().failed + partition.key_index_stats().built == 0 {
        yield_now().await;
    }
    let absent = latest(partition, b"absent").await;
    assert!(matches!(absent, Err(ReadError::Damaged { .. })), "{absent:?}");
    assert_eq!(partition.key_index_stats().failed, 1);
}

/// What a model test does.
#[derive(Clone, Debug)]
enum Step {
    /// Appends records with these keys.
    Append(Vec<u8>, u8),
    Look(u8),
    Close,
    Kill,
    /// Removes an index file.
    Lose(u8),
}

impl Arbitrary for Step {
    fn arbitrary(random: &mut Gen) -> Self {
        let byte = u8::arbitrary(random);
        match u8::arbitrary(random) % 20 {
            0 => Self::Close,
            1 => Self::Kill,
            2 => Self::Lose(byte),
            3..=7 => Self::Look(byte),
            _ => {
                let count = usize::from(byte % 4) + 1;
                Self::Append((0..count).map(|_| u8::arbitrary(random)).collect(), byte)
            }
        }
    }
}

/// A level, most keys held, and what is done.
#[derive(Clone, Debug)]
struct Case(Durability, u8, Vec<Step>);

impl Arbitrary for Case {
    fn arbitrary(random: &mut Gen) -> Self {
        let steps = (0..60).map(|_| Step::arbitrary(random)).collect();
        Self(*random.choose(&Durability::ALL).unwrap(), u8::arbitrary(random), steps)
    }
}

async fn run_case(bench: Bench, Case(level, keys_max, steps): Case, number: usize) {
    let mut bench = indexed(&bench, "model").place(&format!("case {number}"), |config| {
        config.durability = level;
        config.key_index_keys_max = usize::from(keys_max) + 1;
    });
    let (mut partition, _) = bench.open().await;
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Append(keys, size) => {
                let keys: Vec<_> = keys.iter().map(|number| key(u64::from(*number % 64))).collect();
                let codec = if size % 2 == 0 { Codec::None } else { Codec::Lz4 };
                let shape = (usize::from(size) * 400, codec);
                append_with(&bench, &partition, &keys, shape, &mut model).await;
            }
            Step::Look(number) => {
                let key = key(u64::from(number % 64));
                // What was acknowledged is seen: it has the level of the log.
                let found = latest(&partition, &key).await.unwrap();
                assert_eq!(found, model.get(&key).copied(), "{}", number % 64);
            }
            Step::Lose(at) => {
                let entries = file::list_dir(bench.dir()).await.unwrap();
                let is_index = |name: &str| name.strip_suffix(".keys").is_some();
                let mut files = entries.iter().filter(|entry| is_index(&entry.name));
                if let Some(entry) = files.nth(usize::from(at % 4)) {
                    file::remove_file(bench.dir().join(&entry.name)).await.unwrap();
                }
            }
            Step::Close => {
                partition.close().await;
                partition = bench.open().await.0;
            }
            Step::Kill => {
                partition.flush(Durability::Synced).await.unwrap();
                let crashed = bench.crashed(true).await;
                partition.close().await;
                bench = crashed;
                partition = bench.open().await.0;
            }
        }
    }
    check(&partition, &model).await;
    assert_eq!(partition.key_index_stats().mismatches, 0);
    partition.close().await;
    bench.remove().await;
}

#[test]
fn lookups_agree_with_a_model_over_appends_rolls_kills_and_lost_files() {
    on_core(async |bench: Bench| {
        let mut random = Gen::new(60);
        for number in 0..30 {
            let case = Case::arbitrary(&mut random);
            let shown = format!("{case:?}");
            let guard = Shown(shown);
            run_case(bench.clone(), case, number).await;
            std::mem::forget(guard);
        }
    });
}

/// Prints a case if it fails.
struct Shown(String);

impl Drop for Shown {
    fn drop(&mut self) {
        eprintln!("{}", self.0);
    }
}

#[test]
fn the_power_may_fail_at_any_call_while_an_index_is_made() {
    let place = |bench: Bench| indexed(&bench, "power");
    for calls in 0.. {
        let host = Host::new(calls);
        // A life without an index leaves closed segments.
        assert!(host.live(|bench, _| async move {
            let bench = bench.place("power", |config| config.tail_bytes = 0);
            let (partition, _) = bench.open().await;
            for at in 0..60 {
                append(&bench, &partition, &[key(at), key(at % 4)], &mut Model::new()).await;
            }
            partition.close().await;
        }));
        host.sim.crash_after_calls(host.node, calls + 1, Crash::Power);
        let survived = host.live(|bench, _| async move {
            let bench = place(bench);
            let (partition, _) = bench.open().await;
            indexes_are_there(&bench, &partition).await;
            partition.close().await;
        });
        host.lose_power();
        assert!(host.live(|bench, _| async move {
            let bench = place(bench);
            let (partition, _) = bench.open().await;
            let mut model = Model::new();
            for at in 0..60 {
                model.insert(key(at), Offset::new(2 * at));
                model.insert(key(at % 4), Offset::new(2 * at + 1));
            }
            check(&partition, &model).await;
            indexes_are_there(&bench, &partition).await;
            let before = partition.key_index_stats().scans;
            check(&partition, &model).await;
            assert_eq!(partition.key_index_stats().scans, before, "the indexes serve");
            partition.close().await;
            let left = file::list_dir(bench.dir()).await.unwrap();
            let left = left.iter().find(|entry| file::is_temporary(&entry.name));
            assert_eq!(left, None, "of the life that ended");
        }));
        if survived {
            assert!(calls > 20, "an index and a recovery change more than that: {calls}");
            return;
        }
    }
}
