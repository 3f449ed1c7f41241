//! Counters in the simulated world: thousands of lives that end in crashes, and an oracle that has seen every number.

use super::{DIRECTORY, boot, count, on_core, options};
use pyralog_runtime::sim::{Crash, DiskFault, DiskFaults, NodeId, Simulation};
use pyralog_runtime::{spawn, time, yield_now};
use pyralog_seq::counter::{Counter, CounterError};
use pyralog_seq::limits::WAITING_MAX;
use pyralog_seq::obelisk::Mode;
use pyralog_seq::obelisk_file::ObeliskError;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

const NAME: &str = "orders";
/// So small that every life rolls over.
const STRIDE: u64 = 64;
const BLOCK: u64 = 32;
const LIVES: u64 = 6;
const TAKERS: u64 = 3;
const TAKE_MAX: u64 = 12;

/// Every number that was ever dealt.
#[derive(Default)]
struct Oracle {
    /// Ranges by their start, with the life that they were dealt in.
    dealt: BTreeMap<u64, (u64, u64)>,
    /// How often the counter was opened.
    life: u64,
    /// Whether a refusal may have left a generation behind that skips more.
    was_refused: bool,
}

impl Oracle {
    fn dealt(&mut self, range: &Range<u64>) {
        let before = self.dealt.range(..range.end).next_back();
        let end = before.map_or(0, |(_, (end, _))| *end);
        assert!(end <= range.start, "{range:?} was dealt before: {}..{end} was", before.unwrap().0);
        self.dealt.insert(range.start, (range.end, self.life));
    }

    /// Most numbers that lie unused between two ranges, per life that ended between them.
    fn skipped_per_life(&self) -> u64 {
        let (mut most, mut end, mut life) = (0, 0, 0);
        for (start, (next_end, next_life)) in &self.dealt {
            let skipped = start - end;
            let lives: u64 = next_life - life;
            assert!(skipped == 0 || lives > 0, "{skipped} before {start} without a crash");
            most = most.max(skipped.div_ceil(lives.max(1)));
            (end, life) = (*next_end, *next_life);
        }
        most
    }
}

fn faults(seed: u64) -> DiskFaults {
    // One life in three has a disk that fails to sync now and then.
    let sync_error = if seed.is_multiple_of(3) { 50_000 } else { 0 };
    DiskFaults { sync_error, slow: 10_000, ..DiskFaults::default() }
}

/// Takes until something ends it.
async fn take_all(counter: Rc<Counter>, oracle: Rc<RefCell<Oracle>>, taker: u64) {
    for round in 0..60 {
        let some = (taker * 5 + round * 7) % TAKE_MAX + 1;
        let answer = match counter.try_take(count(some)) {
            Some(dealt) => Ok(dealt),
            None => counter.take(count(some)).await,
        };
        match answer {
            Ok(dealt) => oracle.borrow_mut().dealt(&dealt),
            Err(CounterError::Failed(error)) if error.is_retryable() => {
                oracle.borrow_mut().was_refused = true;
                time::sleep(Duration::from_millis(5)).await;
            }
            Err(_) => return,
        }
        yield_now().await;
    }
}

/// One life of a node: opens the counter, as often as its disk poisons it, and takes from it.
async fn live(mode: Mode, oracle: Rc<RefCell<Oracle>>, orderly: bool) {
    for _ in 0..6 {
        let counter = match Counter::open(DIRECTORY, NAME, options(mode, STRIDE)).await {
            Ok(counter) => {
                oracle.borrow_mut().life += 1;
                Rc::new(counter)
            }
            Err(ObeliskError::Unopened(_)) => return, // A sync has failed.
            Err(ObeliskError::AlreadyOpen { .. }) => {
                // It was dropped, and an extension is still under way.
                time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let take = |taker| spawn(take_all(Rc::clone(&counter), Rc::clone(&oracle), taker));
        let takers: Vec<_> = (0..TAKERS).map(take).collect();
        for taker in takers {
            taker.await.unwrap();
        }
        if orderly {
            // Err: a sync failed, or there is no room for the note.
            counter.close().await.ok();
        }
    }
}

/// Lets a counter live and die, and returns its oracle.
fn lives(mode: Mode, seed: u64, crash: impl Fn(u64) -> Crash) -> (Rc<RefCell<Oracle>>, Simulation) {
    let world = Simulation::new(seed);
    let node = world.add_node("counting");
    let oracle = Rc::new(RefCell::new(Oracle::default()));
    for life in 0..LIVES {
        let salt = seed * LIVES + life;
        world.set_disk_faults(node, faults(salt));
        let limit = (salt.is_multiple_of(5)).then_some(0);
        world.set_file_size_limit(node, limit);
        let crash = crash(salt);
        if salt.is_multiple_of(2) {
            world.crash_after_calls(node, 1 + salt % 97, crash);
        }
        let (told, orderly) = (Rc::clone(&oracle), salt.is_multiple_of(7));
        boot(&world, node, move || live(mode, told, orderly));
        let most = if salt.is_multiple_of(2) { 10_000 } else { 1 + salt % 50 };
        world.run_until(Duration::from_millis(most), || !world.is_running(node));
        world.crash(node, crash);
    }
    calm(&world, node, mode, &oracle);
    (oracle, world)
}

/// Without faults it serves.
fn calm(world: &Simulation, node: NodeId, mode: Mode, oracle: &Rc<RefCell<Oracle>>) {
    world.set_disk_faults(node, DiskFaults::default());
    world.set_file_size_limit(node, None);
    let seen = Rc::clone(oracle);
    seen.borrow_mut().life += 1;
    on_core(world, node, move || async move {
        let counter = Counter::open(DIRECTORY, NAME, options(mode, STRIDE)).await.unwrap();
        for _ in 0..20 {
            let dealt = counter.take(count(TAKE_MAX)).await.unwrap();
            seen.borrow_mut().dealt(&dealt);
        }
        counter.close().await.unwrap();
    });
}

/// Many worlds; returns the most that a life skipped in those without a refusal.
fn worlds(mode: Mode) -> u64 {
    let (mut gap_max, mut dealt, mut struck) = (0, 0, BTreeMap::<DiskFault, u64>::new());
    for seed in 0..seeds() {
        let crash = |salt| if salt % 4 == 1 { Crash::Process } else { Crash::Power };
        let (oracle, world) = lives(mode, seed, crash);
        let oracle = oracle.borrow();
        dealt += oracle.dealt.len();
        if !oracle.was_refused {
            gap_max = gap_max.max(oracle.skipped_per_life());
        }
        for (fault, count) in world.disk_faults_struck() {
            *struck.entry(fault).or_default() += count;
        }
        assert!(world.panics().is_empty(), "{:?}", world.panics());
    }
    println!("{mode:?}: {dealt} ranges, gaps up to {gap_max}, {struck:?}");
    for fault in [DiskFault::SyncError, DiskFault::CrashBetweenCalls, DiskFault::NameLost] {
        assert!(struck.contains_key(&fault), "{fault} never struck: {struck:?}");
    }
    gap_max
}

/// Worlds of each mode; the environment can ask for more.
fn seeds() -> u64 {
    std::env::var("PYRALOG_SEQ_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

#[test]
fn always_never_repeats_and_skips_only_what_was_not_answered() {
    // A life ends with one request under way; or with one answered that nobody saw, and one under way.
    let gap = worlds(Mode::Always);
    assert!((1..=2 * TAKE_MAX).contains(&gap), "{gap}");
}

#[test]
fn group_never_repeats_and_skips_only_what_was_not_answered() {
    let gap = worlds(Mode::Group);
    assert!((TAKE_MAX..=TAKERS * TAKE_MAX).contains(&gap), "{gap}");
}

#[test]
fn reserve_never_repeats_and_skips_at_most_a_block_and_what_was_not_answered() {
    let gap = worlds(Mode::reserve(BLOCK));
    assert!(gap <= BLOCK + TAKERS * TAKE_MAX, "{gap}");
    assert!(gap > TAKE_MAX, "no crash fell into a reservation: {gap}");
}

#[test]
fn an_interval_repeats_only_after_a_crash() {
    let mode = Mode::UnsafeInterval { interval: Duration::from_millis(20) };
    let (mut repeated, mut kept) = (0, 0);
    for seed in 0..40 {
        let world = Simulation::new(seed);
        let node = world.add_node("caching");
        let life = move |wait: u64, close: bool| {
            on_core(&world, node, move || async move {
                let counter = Counter::open(DIRECTORY, NAME, options(mode, STRIDE)).await.unwrap();
                let first = counter.try_take(count(1)).expect("it never waits").start;
                // An extension comes at once, and the next one not before the interval is over.
                time::sleep(Duration::from_millis(5)).await;
                for _ in 0..10 {
                    counter.try_take(count(TAKE_MAX)).expect("it never waits");
                }
                time::sleep(Duration::from_millis(wait)).await;
                if close {
                    counter.close().await.unwrap();
                }
                first
            })
        };
        assert_eq!(life(0, true), 0);
        assert_eq!(life(seed, false), 121, "an orderly end makes all durable");
        match life(0, false) {
            121..242 => repeated += 1,
            242 => kept += 1,
            other => panic!("{other}"),
        }
    }
    assert!(repeated > 0 && kept > 0, "{repeated} repeated, {kept} kept");
}

#[test]
fn memory_begins_again_with_the_process() {
    let world = Simulation::new(1);
    let node = world.add_node("forgetful");
    for _ in 0..2 {
        on_core(&world, node, || async {
            let named = Counter::open(DIRECTORY, NAME, options(Mode::Memory, STRIDE)).await;
            for counter in [named.unwrap(), Counter::in_memory()] {
                assert_eq!(counter.take(count(5)).await.unwrap(), 0..5);
                counter.raise(100).await.unwrap();
                assert_eq!(counter.try_take(count(5)), Some(100..105));
                counter.close().await.unwrap();
                assert!(matches!(counter.take(count(1)).await, Err(CounterError::Closed)));
            }
        });
    }
}

#[test]
fn dealing_never_waits_once_a_reservation_is_there() {
    let world = Simulation::new(2);
    let node = world.add_node("steady");
    on_core(&world, node, || async {
        let mode = Mode::reserve(10_000);
        let counter = Counter::open(DIRECTORY, NAME, options(mode, 1 << 43)).await.unwrap();
        assert_eq!(counter.try_take(count(1)), None, "nothing is reserved yet");
        counter.take(count(1)).await.unwrap();
        // 500 numbers every 2 ms: a block lasts 40 ms, and a sync is done within the half of that.
        for _ in 0..1000 {
            assert!(counter.try_take(count(500)).is_some(), "{:?}", counter.stat());
            time::sleep(Duration::from_millis(2)).await;
        }
        let stat = counter.stat();
        assert!(stat.durable - stat.next <= 10_000, "{stat:?}");
    });
}

#[test]
fn a_full_line_is_busy_and_a_close_answers_all_that_wait() {
    let world = Simulation::new(3);
    let node = world.add_node("crowded");
    on_core(&world, node, || async {
        let counter = Counter::open(DIRECTORY, NAME, options(Mode::Always, STRIDE)).await.unwrap();
        let counter = Rc::new(counter);
        let take = |counter: Rc<Counter>| async move { counter.take(count(1)).await };
        let takers: Vec<_> =
            (0..WAITING_MAX + 5).map(|_| spawn(take(Rc::clone(&counter)))).collect();
        while counter.stat().waiting < WAITING_MAX {
            yield_now().await;
        }
        counter.close().await.unwrap();
        let (mut dealt, mut busy, mut closed) = (0, 0, 0);
        for taker in takers {
            match taker.await.unwrap() {
                Ok(_) => dealt += 1,
                Err(CounterError::Busy) => busy += 1,
                Err(CounterError::Closed) => closed += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(dealt + busy + closed, WAITING_MAX + 5);
        assert!(
            busy <= 5 && closed >= WAITING_MAX - 5,
            "{dealt} dealt, {busy} busy, {closed} closed"
        );
        // The file is free again.
        Counter::open(DIRECTORY, NAME, options(Mode::Always, STRIDE)).await.unwrap();
    });
}

#[test]
fn a_raise_is_durable_when_it_is_answered() {
    for (seed, mode) in [Mode::Always, Mode::Group, Mode::reserve(BLOCK)].into_iter().enumerate() {
        let world = Simulation::new(seed as u64);
        let node = world.add_node("raised");
        on_core(&world, node, move || async move {
            let counter = Counter::open(DIRECTORY, NAME, options(mode, STRIDE)).await.unwrap();
            counter.take(count(5)).await.unwrap();
            counter.raise(1000).await.unwrap();
            counter.raise(3).await.unwrap();
            assert!(matches!(counter.raise(u64::MAX).await, Err(CounterError::Exhausted)));
        });
        world.crash(node, Crash::Power);
        let first = on_core(&world, node, move || async move {
            let counter = Counter::open(DIRECTORY, NAME, options(mode, STRIDE)).await.unwrap();
            counter.take(count(1)).await.unwrap().start
        });
        assert!((1000..=1000 + BLOCK).contains(&first), "{mode:?}: {first}");
    }
}
