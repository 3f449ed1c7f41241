//! Compaction against a plain log in memory: what must stay, what may go, through crashes at every step.

use std::collections::{BTreeMap, BTreeSet};

use pyralog_runtime::sim::Crash;
use quickcheck::{Arbitrary, Gen, QuickCheck};

use super::harness::Bench;
use super::simulated::Host;
use super::*;
use crate::batch::{BuilderConfig, Codec, Decoder, Items, Record, RowsBuilder, Session};
use crate::compaction::{PROGRESS_NAME, Policy};
use crate::ids::SessionId;
use crate::manifest::SWAP_NAME;
use crate::pace::Pace;

/// What one record was: its key, and the byte that its value is made of.
pub(super) type Kept = (Option<u8>, Option<u8>);

/// What a batch is made of, and whether it is one of a session.
#[derive(Clone, Debug)]
struct Sent {
    records: Vec<Kept>,
    codec: Codec,
    in_session: bool,
}

/// Everything that was ever appended, and what is needed to go on.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    log: BTreeMap<u64, Kept>,
    /// The batches of the session: what was sent, and where it went.
    session: Vec<(Vec<u8>, Offset)>,
    next_sequence: u64,
    /// Tombstones may be gone.
    cleared: bool,
}

/// Bytes of a value, so that four batches or so fill a segment.
const VALUE_BYTES: usize = 60_000;

fn bytes_of(sent: &Sent, session: Option<Session>) -> Vec<u8> {
    let config = BuilderConfig { codec: sent.codec, ..BuilderConfig::default() };
    let mut builder = RowsBuilder::new(config);
    for (at, (key, value)) in sent.records.iter().enumerate() {
        let key = key.map(|key| vec![key; 3]);
        let value = value.map(|value| vec![value; VALUE_BYTES]);
        let create_time = Timestamp::new(i64::try_from(at).unwrap());
        let headers: [(&str, Option<&[u8]>); 1] = [("n", Some(b"1"))];
        let (key, value) = (key.as_deref(), value.as_deref());
        builder.push(&Record { key, value, create_time, headers: &headers }).unwrap();
    }
    builder.finish(session).unwrap()
}

impl Model {
    async fn append(&mut self, bench: &Bench, partition: &Partition, sent: &Sent) {
        let session =
            Session { id: SessionId::new(9), epoch: 0, first_sequence: self.next_sequence };
        let bytes = bytes_of(sent, sent.in_session.then_some(session));
        let appended = bench.append(partition, &bytes, Durability::Synced).await.unwrap();
        for (offset, record) in (appended.base_offset.get()..).zip(&sent.records) {
            self.log.insert(offset, *record);
        }
        if sent.in_session {
            self.next_sequence += sent.records.len() as u64;
            self.session.push((bytes, appended.base_offset));
        }
    }

    /// What readers see is right: every offset is accounted for, what is there is what was appended, and nothing is missing
    /// that must not be.
    pub(super) async fn check(&self, partition: &Partition) -> BTreeMap<u64, Kept> {
        let marks = partition.watermarks();
        let (mut found, mut next) = (BTreeMap::new(), marks.low);
        while next < marks.high {
            let read = partition.read(next, 200_000).await.unwrap();
            assert_eq!(read.first_offset, next);
            for batch in read.slices.iter().flat_map(|slice| Items::new(slice).batches()) {
                let batch = batch.unwrap().verify().unwrap();
                assert_eq!(batch.header().covered_from(), next, "no hole and no overlap");
                next = batch.header().next_offset();
                let mut decoder = Decoder::new();
                for row in decoder.rows(&batch).unwrap().iter() {
                    assert_eq!(row.headers.first("n"), Some(Some(&b"1"[..])));
                    let value = row.value.map(|value| (value[0], value.len()));
                    assert!(value.is_none_or(|value| value.1 == VALUE_BYTES));
                    let kept = (row.key.map(|key| key[0]), value.map(|value| value.0));
                    assert_eq!(self.log.get(&row.offset.get()), Some(&kept), "as it was appended");
                    found.insert(row.offset.get(), kept);
                }
            }
            assert_eq!(read.next_offset, next);
        }
        assert_eq!(self.log.keys().next_back().map_or(0, |last| last + 1), marks.high.get());
        self.check_keys(&found);
        found
    }

    fn check_keys(&self, found: &BTreeMap<u64, Kept>) {
        let keys: BTreeSet<u8> = self.log.values().filter_map(|(key, _)| *key).collect();
        for key in keys {
            let of_key = |(_, kept): &(&u64, &Kept)| kept.0 == Some(key);
            let newest = self.log.iter().rfind(of_key).unwrap();
            let visible = found.iter().rfind(of_key);
            match (newest.1.1, visible) {
                // An older tombstone may have had to stay.
                (None, visible) if self.cleared => {
                    assert!(visible.is_none_or(|(_, kept)| kept.1.is_none()), "{key} came back");
                }
                (_, visible) => assert_eq!(visible, Some(newest), "newest record of {key}"),
            }
        }
        let keyless = self.log.iter().filter(|(_, kept)| kept.0.is_none());
        assert!(
            keyless.into_iter().all(|(at, _)| found.contains_key(at)),
            "records without key stay"
        );
    }

    /// A read from any offset goes on with the next record that is there.
    async fn check_reads(&self, partition: &Partition, found: &BTreeMap<u64, Kept>) {
        for from in partition.watermarks().low.get()..partition.watermarks().high.get() {
            let expected = found.range(from..).next().map(|(at, _)| *at);
            let (mut next, mut first) = (Offset::new(from), None);
            while first.is_none() && next < partition.watermarks().high {
                let read = partition.read(next, 1).await.unwrap();
                assert!(read.first_offset <= next && next < read.next_offset);
                let mut decoder = Decoder::new();
                for batch in read.slices.iter().flat_map(|slice| Items::new(slice).batches()) {
                    let rows = decoder.rows(&batch.unwrap()).unwrap().iter().collect::<Vec<_>>();
                    let offsets = rows.iter().map(|row| row.offset.get());
                    first = first.or(offsets.into_iter().find(|at| *at >= from));
                }
                next = read.next_offset;
            }
            assert_eq!(first, expected, "from {from}");
        }
    }

    /// The last batches of the session are known as repeats.
    async fn check_repeats(&self, bench: &Bench, partition: &Partition) {
        for (bytes, base) in self.session.iter().rev().take(4) {
            let again = bench.append(partition, bytes, Durability::Synced).await.unwrap();
            assert!(again.duplicate, "a batch at {base} was taken twice");
            assert_eq!(again.base_offset, *base);
        }
    }
}

fn place(bench: &Bench) -> Bench {
    bench.place("here", |config| config.tail_bytes = 0)
}

/// As fast as it goes.
pub(super) const fn unpaced() -> Pace {
    Pace::new(1 << 50)
}

/// Whatever there is, at once; the memory holds so many keys.
pub(super) fn policy(keys: usize, tombstones: Duration) -> Policy {
    let memory_bytes = keys * 32;
    Policy { lag: Duration::ZERO, tombstones, dirty_percent: 0, memory_bytes }
}

/// One step of a life.
#[derive(Clone, Debug)]
enum Step {
    Append(Sent),
    /// With memory for so many keys; whether tombstones go at once.
    Compact(u8, bool),
    /// The process ends and begins again: in order or not, and with or without what is advisory.
    Restart {
        clean: bool,
        forgetful: bool,
    },
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 16 {
            0..=1 => Self::Compact(u8::arbitrary(g) % 12, bool::arbitrary(g)),
            2 => Self::Restart { clean: bool::arbitrary(g), forgetful: bool::arbitrary(g) },
            _ => Self::Append(Sent::arbitrary(g)),
        }
    }
}

impl Arbitrary for Sent {
    fn arbitrary(g: &mut Gen) -> Self {
        let record = |g: &mut Gen| {
            let key = (u8::arbitrary(g) % 8 != 0).then(|| u8::arbitrary(g) % 9);
            (key, (u8::arbitrary(g) % 4 != 0).then(|| u8::arbitrary(g)))
        };
        let records = (0..=usize::arbitrary(g) % 6).map(|_| record(g)).collect();
        let codec = *g.choose(&[Codec::None, Codec::None, Codec::Lz4, Codec::Zstd]).unwrap();
        Self { records, codec, in_session: u8::arbitrary(g) % 3 == 0 }
    }
}

/// Runs the steps on one disk, life after life, and checks after each compaction and each start.
fn run_steps(seed: u64, steps: &[Step]) {
    let host = Host::new(seed);
    let model = Rc::new(RefCell::new(Model::default()));
    let lives = steps.split_inclusive(|step| matches!(step, Step::Restart { .. }));
    for life in lives {
        let steps = life.to_vec();
        assert!(host.live(|bench, _| {
            let (bench, steps, model) = (place(&bench), steps.clone(), Rc::clone(&model));
            async move {
                let mut now = model.borrow().clone();
                live(&bench, &steps, &mut now).await;
                model.replace(now);
            }
        }));
    }
}

async fn live(bench: &Bench, steps: &[Step], model: &mut Model) {
    let (partition, report) = bench.open().await;
    assert_eq!(report.damaged, vec![]);
    model.check(&partition).await;
    model.check_repeats(bench, &partition).await;
    for step in steps {
        match step {
            Step::Append(sent) => model.append(bench, &partition, sent).await,
            Step::Compact(keys, clears) => {
                model.cleared |= clears;
                let day = Duration::from_hours(24);
                let tombstones = if *clears { Duration::ZERO } else { day };
                // So that what is due now was appended before.
                time::sleep(Duration::from_millis(1)).await;
                partition.compact(&policy((*keys).into(), tombstones), &unpaced()).await.unwrap();
                let found = model.check(&partition).await;
                model.check_reads(&partition, &found).await;
            }
            Step::Restart { clean, forgetful } => {
                if *clean {
                    partition.close().await;
                }
                if *forgetful {
                    for name in [CHECKPOINT_NAME, PROGRESS_NAME] {
                        segment_file::remove_if_there(&bench.dir().join(name)).await.unwrap();
                    }
                }
                return;
            }
        }
    }
}

#[test]
fn whatever_is_compacted_and_however_often_readers_see_the_newest_of_each_key() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(seed: u64, steps: Vec<Step>) {
        run_steps(seed, &steps);
    }
    QuickCheck::new().rng(Gen::new(70)).tests(25).quickcheck(property as fn(u64, Vec<Step>));
}

/// A history in which every rule counts: keys that come again, tombstones, no keys, a session.
fn history() -> Vec<Sent> {
    let batch = |at: u8| {
        let record = |i: u8| {
            let key = (i != 3).then_some((at * 5 + i * 7) % 11);
            (key, (!(at + i).is_multiple_of(5)).then_some(at))
        };
        let codec = if at.is_multiple_of(3) { Codec::Lz4 } else { Codec::None };
        Sent { records: (0..5).map(record).collect(), codec, in_session: at.is_multiple_of(4) }
    };
    (0..14).map(batch).collect()
}

async fn filled(bench: &Bench) -> (Partition, Model) {
    let (partition, _) = bench.open().await;
    let model = fill(bench, &partition).await;
    (partition, model)
}

/// Appends the history, of which tombstones may go.
pub(super) async fn fill(bench: &Bench, partition: &Partition) -> Model {
    let mut model = Model { cleared: true, ..Model::default() };
    for sent in history() {
        model.append(bench, partition, &sent).await;
    }
    time::sleep(Duration::from_millis(1)).await;
    model
}

#[test]
fn the_node_may_die_at_any_call_of_a_compaction() {
    for crash in [Crash::Power, Crash::Process] {
        // The loss of unsynced writes is what shows most of the mistakes.
        let step = if crash == Crash::Power { 5 } else { 23 };
        for calls in (0..).step_by(step) {
            let host = Host::new(calls);
            let model = Rc::new(RefCell::new(Model::default()));
            assert!(host.live(|bench, _| {
                let (bench, model) = (place(&bench), Rc::clone(&model));
                async move { drop(model.replace(filled(&bench).await.1)) }
            }));
            let ready = Rc::new(Cell::new(false));
            let (sim, node) = (Rc::clone(&host.sim), host.node);
            let survived = host.live(|bench, _| {
                let (bench, sim, ready) = (place(&bench), Rc::clone(&sim), Rc::clone(&ready));
                async move {
                    let (partition, _) = bench.open().await;
                    ready.set(true);
                    sim.crash_after_calls(node, calls + 1, crash);
                    partition.compact(&policy(6, Duration::ZERO), &unpaced()).await.unwrap();
                }
            });
            assert!(ready.get());
            host.lose_power();
            for _ in 0..2 {
                assert!(host.live(|bench, _| {
                    let (bench, model) = (place(&bench), model.borrow().clone());
                    async move { check_after_death(&bench, &model).await }
                }));
            }
            if survived {
                assert!(calls > 30, "a compaction changes more than {calls} times");
                break;
            }
        }
    }
}

/// After a death the log is right, can be compacted, and nothing is left over.
async fn check_after_death(bench: &Bench, model: &Model) {
    let (partition, report) = bench.open().await;
    assert_eq!(report.damaged, vec![]);
    model.check(&partition).await;
    model.check_repeats(bench, &partition).await;
    partition.compact(&policy(6, Duration::ZERO), &unpaced()).await.unwrap();
    let found = model.check(&partition).await;
    model.check_reads(&partition, &found).await;
    assert!(!file::exists(bench.dir().join(SWAP_NAME)).await.unwrap());
    partition.close().await;
}

#[test]
fn a_run_with_memory_for_few_keys_takes_more_passes_and_comes_to_the_same() {
    let mut left = BTreeSet::new();
    for keys in [1, 4, 1000] {
        let host = Host::new(1);
        let outcome = Rc::new(RefCell::new((0, Vec::new())));
        assert!(host.live(|bench, _| {
            let (bench, outcome) = (place(&bench), Rc::clone(&outcome));
            async move {
                let (partition, model) = filled(&bench).await;
                partition.compact(&policy(keys, Duration::ZERO), &unpaced()).await.unwrap();
                let found = model.check(&partition).await;
                let stats = partition.compaction_stats();
                assert!(stats.removed_records > 15 && stats.dirty_bytes > 0, "{stats:?}");
                let live: Vec<(u64, Kept)> =
                    found.into_iter().filter(|(_, kept)| kept.1.is_some()).collect();
                outcome.replace((stats.passes, live));
                partition.close().await;
            }
        }));
        let (passes, live) = outcome.take();
        assert_eq!(passes == 1, keys == 1000, "{passes} passes with memory for {keys} keys");
        left.insert(live.len());
    }
    assert!(left.len() <= 2, "but for what has to stay: {left:?}");
}

#[test]
fn nothing_is_read_when_nothing_is_new() {
    let host = Host::new(1);
    assert!(host.live(|bench, _| {
        let bench = place(&bench);
        async move {
            let (partition, model) = filled(&bench).await;
            let policy = Policy { dirty_percent: 50, ..policy(1000, Duration::from_hours(1)) };
            partition.compact(&policy, &unpaced()).await.unwrap();
            let first = partition.compaction_stats();
            assert!(first.removed_records > 0 && first.removed_tombstones == 0, "{first:?}");
            partition.compact(&policy, &unpaced()).await.unwrap();
            assert_eq!(partition.compaction_stats().read_bytes, first.read_bytes);
            model.check(&partition).await;
            partition.close().await;
        }
    }));
}

#[test]
fn what_is_in_memory_for_readers_goes_with_what_was_removed() {
    let host = Host::new(5);
    assert!(host.live(|bench, _| async move {
        // Everything is in memory, for who reads from where that begins and for who comes to it.
        let bench = bench.place("here", |config| config.tail_bytes = 64 << 20);
        let (partition, model) = filled(&bench).await;
        partition.compact(&policy(100, Duration::ZERO), &unpaced()).await.unwrap();
        let found = model.check(&partition).await;
        assert!(found.len() < model.log.len(), "{found:?}");
        for from in model.log.keys().copied() {
            let read = partition.read(Offset::new(from), 200_000).await.unwrap();
            for batch in read.slices.iter().flat_map(|slice| Items::new(slice).batches()) {
                let batch = batch.unwrap().verify().unwrap();
                let mut decoder = Decoder::new();
                let mut rows = decoder.rows(&batch).unwrap().iter();
                assert!(rows.all(|row| found.contains_key(&row.offset.get())), "from {from}");
            }
        }
        partition.close().await;
    }));
}
