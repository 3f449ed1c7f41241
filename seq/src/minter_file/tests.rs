//! The mint on a simulated node: deaths at every call, clocks that jump, slots that go to other shards, failing disks. An
//! oracle has seen every id ever dealt.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pyralog_runtime::rng::Rng;
use pyralog_runtime::sim::{Crash, DiskFaults, NodeId, Simulation};
use pyralog_runtime::{Core, MachineConfig, spawn};
use quickcheck::quickcheck;

use super::*;
use crate::limits::{DEAL_COUNT_MAX, READY_COUNT_MAX};
use crate::minter::{KEEP_MS, RESERVE_MS};
use crate::scarab::Slot;

const ROOT: &str = "/data/scarab";
const HOUR_US: i64 = 3_600_000_000;

fn options(slots: &str) -> MintOptions {
    MintOptions { slots: slots.parse().unwrap(), trust: Trust::Bounded, not_before_unix_ms: 0 }
}

async fn open(slots: &str) -> Result<Mint, OpenError> {
    Mint::open(Path::new(ROOT), 0, &options(slots)).await
}

/// The tick after the newest id of each slot, in all lives.
#[derive(Default)]
struct Oracle {
    next: BTreeMap<Slot, u64>,
    runs: u64,
}

impl Oracle {
    /// A run must be newer than every one of its slot: that is more than to be new.
    fn saw(&mut self, first: ScarabId, count: u32) {
        let start = first.tick().get();
        let next = self.next.entry(first.slot()).or_default();
        assert!(*next <= start, "{first} after tick {next}");
        *next = start + u64::from(count);
        self.runs += 1;
    }
}

/// A node whose lives have numbers of shards of their own.
struct Host {
    sim: Rc<Simulation>,
    node: NodeId,
    oracle: Rc<RefCell<Oracle>>,
}

impl Host {
    fn new(seed: u64) -> Self {
        let sim = Rc::new(Simulation::new(seed));
        let node = sim.add_node("host");
        Self { sim, node, oracle: Rc::default() }
    }

    /// A life with one core, which ends when `life` does.
    fn live<F>(&self, life: impl Fn(Rc<Simulation>, NodeId, Rc<RefCell<Oracle>>) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        self.sim.boot(self.node, &MachineConfig::default(), |_core| {
            life(Rc::clone(&self.sim), self.node, Rc::clone(&self.oracle))
        });
        let over = || !self.sim.is_running(self.node);
        assert!(self.sim.run_until(Duration::from_hours(9), over), "it does not end");
        assert_eq!(self.sim.panics(), []);
    }

    /// Boots `shards` shards that deal as fast as `busy` lets them, with the slots handed on by `turn` places.
    fn boot(&self, shards: usize, turn: usize, busy: Busy) {
        let config = MachineConfig { shards, ..MachineConfig::default() };
        let oracle = &self.oracle;
        self.sim.boot(self.node, &config, |core| {
            let parts = options("0-7").slots.split(shards).unwrap();
            let slots = parts[(core.shard + turn) % shards];
            deal_for_ever(core, slots, busy, Rc::clone(oracle))
        });
    }
}

/// How much a shard asks for.
#[derive(Clone, Copy, Debug)]
enum Busy {
    /// Few ids, with pauses of up to 20 seconds.
    Little,
    /// As many as there are.
    Much,
}

/// What a shard does: records and the id service, until it dies.
async fn deal_for_ever(core: Core, slots: SlotSet, busy: Busy, oracle: Rc<RefCell<Oracle>>) {
    let mut rng = pyralog_runtime::rng::stream("ids");
    let options = MintOptions { slots, ..options("0") };
    let opened = Mint::open(Path::new(ROOT), core.shard, &options).await;
    // A sync that fails: the server does not start.
    let Ok(mint) = opened else { return };
    loop {
        if rng.below(2) == 0 {
            let count = draw_count(&mut rng).min(DEAL_COUNT_MAX);
            if let Ok(block) = mint.deal(count).await {
                oracle.borrow_mut().saw(ScarabId::new(block.slot(), block.first()), count);
            }
        } else {
            let count = draw_count(&mut rng);
            if mint.ready(u64::from(count) * 2).is_ok() {
                for _ in 0..2 {
                    oracle.borrow_mut().saw(mint.take(count), count);
                }
            }
        }
        let pause_ms = match busy {
            Busy::Little => rng.below(2) * rng.below(2 * KEEP_MS),
            Busy::Much => rng.below(30),
        };
        time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

fn draw_count(rng: &mut Rng) -> u32 {
    let most = [1, 100, 10_000, DEAL_COUNT_MAX][usize::try_from(rng.below(4)).unwrap()];
    u32::try_from(rng.below(u64::from(most))).unwrap() + 1
}

/// Lives that end at each call on the disk, one after the other, with a clock that jumps between them.
fn die_at_every_call(seed: u64, crash: Crash) {
    let host = Host::new(seed);
    let mut rng = Rng::with_seed(seed);
    for calls in 0..120 {
        let turn = usize::try_from(rng.below(3)).unwrap();
        let shards = usize::try_from(rng.below(3)).unwrap() + 1;
        let busy = if rng.below(2) == 0 { Busy::Little } else { Busy::Much };
        let jump_us = [0, 0, HOUR_US, -HOUR_US][usize::try_from(rng.below(4)).unwrap()];
        host.sim.jump_clock(host.node, jump_us);
        host.sim.crash_after_calls(host.node, calls % 40, crash);
        host.boot(shards, turn, busy);
        let died = || !host.sim.is_running(host.node);
        host.sim.run_until(Duration::from_secs(20), died);
        host.sim.jump_clock(host.node, jump_us);
        host.sim.run_until(Duration::from_secs(rng.below(10)), died);
        host.sim.crash(host.node, crash);
    }
    assert_eq!(host.sim.panics(), []);
    let runs = host.oracle.borrow().runs;
    assert!(runs > 2_000, "only {runs} runs were dealt");
}

#[test]
fn no_id_comes_twice_when_the_process_dies_at_every_call() {
    (0..8).for_each(|seed| die_at_every_call(seed, Crash::Process));
}

#[test]
fn no_id_comes_twice_when_the_power_fails_at_every_call() {
    (0..8).for_each(|seed| die_at_every_call(seed, Crash::Power));
}

#[test]
fn no_id_comes_twice_when_syncs_fail_and_files_may_not_grow() {
    for seed in 0..8 {
        let host = Host::new(seed);
        let faults = DiskFaults { sync_error: 50_000, ..DiskFaults::default() };
        host.sim.set_disk_faults(host.node, faults);
        for life in 0..30 {
            host.boot(life % 3 + 1, life, Busy::Much);
            host.sim.run_for(Duration::from_secs(4));
            host.sim.set_file_size_limit(host.node, Some(1));
            host.sim.run_for(Duration::from_secs(4));
            host.sim.set_file_size_limit(host.node, None);
            host.sim.run_for(Duration::from_secs(2));
            let crash = if life % 2 == 0 { Crash::Power } else { Crash::Process };
            host.sim.crash(host.node, crash);
        }
        let runs = host.oracle.borrow().runs;
        assert!(runs > 2_000, "only {runs} runs were dealt");
    }
}

#[test]
fn ids_are_dealt_without_waiting_while_they_are_asked_for() {
    Host::new(1).live(|_, _, oracle| async move {
        let mint = open("0").await.unwrap();
        // By then it reserves as much as it may.
        time::sleep(Duration::from_millis(2 * RESERVE_MS)).await;
        for _ in 0..100 {
            mint.ready(READY_COUNT_MAX).expect("the keeper writes ahead");
            oracle.borrow_mut().saw(mint.take(1), 1);
            time::sleep(Duration::from_millis(KEEP_MS - 1)).await;
        }
        mint.close().await.unwrap();
    });
}

#[test]
fn after_a_pause_the_first_caller_waits_for_the_mark() {
    Host::new(1).live(|_, _, _| async move {
        let mint = open("0").await.unwrap();
        time::sleep(Duration::from_millis(KEEP_MS + RESERVE_MS + 1)).await;
        let before = mint.stat().high_water_ms;
        time::sleep(Duration::from_hours(1)).await;
        assert_eq!(mint.stat().high_water_ms, before, "nobody asks");
        let refused = mint.ready(1);
        assert!(matches!(refused, Err(MintError::NotReady(NotReady::NotDurable))), "{refused:?}");
        mint.settled().await;
        mint.ready(1).unwrap();
        mint.settled().await;
        assert_eq!(mint.deal(5).await.unwrap().count(), 5);
        assert!(mint.stat().high_water_ms > Some(mint.stat().clock.time_ms));
        mint.close().await.unwrap();
    });
}

#[test]
fn shards_open_at_once_and_take_over_what_other_shards_have_dealt() {
    let host = Host::new(3);
    for (shards, turn) in [(3, 0), (3, 1), (1, 0), (2, 1), (3, 2)] {
        host.sim.jump_clock(host.node, -HOUR_US);
        host.boot(shards, turn, Busy::Much);
        host.sim.run_for(Duration::from_secs(3));
        host.sim.crash(host.node, Crash::Process);
    }
    let oracle = host.oracle.borrow();
    assert_eq!(oracle.next.len(), 8, "every slot was used");
    assert_eq!(host.sim.panics(), []);
}

#[test]
fn a_clock_that_goes_back_stops_the_service_and_not_the_records() {
    Host::new(1).live(|sim, node, oracle| async move {
        let mint = open("0,1").await.unwrap();
        oracle.borrow_mut().saw(mint.take_ready(10), 10);
        sim.jump_clock(node, -HOUR_US);
        let refused = mint.deal(1).await;
        assert!(matches!(refused, Err(MintError::Clock(State::Regressed { .. }))), "{refused:?}");
        for _ in 0..100 {
            oracle.borrow_mut().saw(mint.take_ready(1000), 1000);
            time::sleep(Duration::from_secs(1)).await;
        }
        // It is met at half pace.
        time::sleep(Duration::from_hours(2)).await;
        assert_eq!(mint.deal(1).await.unwrap().count(), 1);
        mint.close().await.unwrap();
    });
}

#[test]
fn a_clock_that_leaps_stops_the_service_until_somebody_vouches_for_it() {
    let host = Host::new(1);
    host.live(|sim, node, oracle| async move {
        let mint = open("0").await.unwrap();
        sim.jump_clock(node, 365 * 24 * HOUR_US);
        let refused = mint.deal(1).await;
        assert!(matches!(refused, Err(MintError::Clock(State::Leapt { .. }))), "{refused:?}");
        let before = mint.stat().clock.time_ms;
        oracle.borrow_mut().saw(mint.take_ready(10), 10);
        time::sleep(Duration::from_secs(10)).await;
        assert_eq!(mint.stat().clock.time_ms, before + 10_000, "no year was burnt");
        mint.close().await.unwrap();
    });
    host.live(|_, _, _| async move {
        let mint = open("0").await.unwrap();
        assert!(matches!(mint.stat().clock.state, State::Leapt { .. }));
        mint.close().await.unwrap();
        let vouched = MintOptions { trust: Trust::Vouched, ..options("0") };
        let mint = Mint::open(Path::new(ROOT), 0, &vouched).await.unwrap();
        mint.deal(1).await.unwrap();
        mint.close().await.unwrap();
    });
}

#[test]
fn a_first_start_believes_its_clock_and_not_before_is_a_floor() {
    Host::new(1).live(|_, _, _| async move {
        let now_ms = wall_unix_ms();
        let late = MintOptions { not_before_unix_ms: now_ms + 3_000, ..options("0") };
        let mint = Mint::open(Path::new(ROOT), 0, &late).await.unwrap();
        let block = mint.deal(1).await.unwrap();
        assert_eq!(block.first().time_ms() + EPOCH_UNIX_MS, now_ms + 3_000);
        let memory = Mint::in_memory(&late).unwrap();
        assert!(memory.deal(1).await.unwrap().first() >= block.first());
        assert_eq!(memory.stat().high_water_ms, None);
        memory.settled().await;
        memory.close().await.unwrap();
        mint.close().await.unwrap();
    });
}

#[test]
fn a_file_that_may_not_grow_is_told_and_overcome() {
    let host = Host::new(1);
    host.live(|sim, node, oracle| async move {
        let mint = open("0").await.unwrap();
        sim.set_file_size_limit(node, Some(1));
        time::sleep(Duration::from_secs(3)).await;
        for refused in [mint.ready(1).err(), mint.deal(1).await.err()] {
            let Some(MintError::Mark(error)) = refused else { panic!("{refused:?}") };
            assert!(error.is_retryable(), "{error}");
        }
        assert!(mint.failure().is_some());
        sim.set_file_size_limit(node, None);
        time::sleep(RETRY * 2).await;
        assert!(mint.failure().is_none());
        oracle.borrow_mut().saw(mint.take_ready(1), 1);
        mint.close().await.unwrap();
    });
}

#[test]
fn a_failed_sync_ends_ids_until_the_next_start() {
    let host = Host::new(1);
    host.live(|sim, node, oracle| async move {
        let mint = open("0").await.unwrap();
        oracle.borrow_mut().saw(mint.take_ready(1), 1);
        time::sleep(Duration::from_millis(2 * RESERVE_MS)).await;
        sim.set_disk_faults(node, DiskFaults { sync_error: 1_000_000, ..DiskFaults::default() });
        time::sleep(Duration::from_millis(900)).await;
        oracle.borrow_mut().saw(mint.take_ready(1), 1);
        time::sleep(Duration::from_millis(1_200)).await;
        sim.set_disk_faults(node, DiskFaults::default());
        let refused = mint.deal(1).await;
        let Err(MintError::Mark(error)) = &refused else { panic!("{refused:?}") };
        assert!(!error.is_retryable(), "{error}");
        mint.settled().await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("until the server is started again"), "{text}");
        drop(mint);
    });
    host.sim.crash(host.node, Crash::Power);
    host.live(|_, _, oracle| async move {
        let mint = open("0").await.unwrap();
        oracle.borrow_mut().saw(mint.take_ready(1), 1);
        mint.close().await.unwrap();
    });
}

#[test]
fn a_mark_that_came_back_shorter_is_refused_whosever_it_is() {
    for shard in 0..2 {
        let host = Host::new(1);
        host.live(move |_, _, _| async move {
            let root = Path::new(ROOT);
            for shard in 0..2 {
                let mint = Mint::open(root, shard, &options("0")).await.unwrap();
                mint.deal(1).await.unwrap();
                mint.close().await.unwrap();
            }
            let mark: PathBuf = root.join(format!("shard-{shard}")).join("00000000.obelisk");
            pyralog_runtime::file::remove_file(&mark).await.unwrap();
            for opened in 0..2 {
                let refused = Mint::open(root, opened, &options("0")).await.unwrap_err();
                let shorter = matches!(
                    &refused,
                    OpenError::Mark(ObeliskError::CameBackShorter { directory, .. })
                        if directory.ends_with(format!("shard-{shard}"))
                );
                assert!(shorter, "shard {opened}: {refused}");
            }
        });
    }
}

#[test]
fn a_closed_mint_refuses_and_lets_waiting_callers_go() {
    Host::new(1).live(|_, _, _| async move {
        let mint = Rc::new(open("0").await.unwrap());
        time::sleep(Duration::from_mins(1)).await;
        let waiting = Rc::clone(&mint);
        let waiter = spawn(async move { waiting.deal(1).await.map(|block| block.count()) });
        pyralog_runtime::yield_now().await;
        mint.close().await.unwrap();
        let answer = waiter.await.unwrap();
        assert!(matches!(answer, Ok(1) | Err(MintError::Closed)), "{answer:?}");
        assert!(matches!(mint.ready(1), Err(MintError::Closed)));
        mint.close().await.unwrap();
        open("0").await.unwrap().close().await.unwrap();
    });
}

#[test]
fn a_clock_that_was_never_set_keeps_the_mint_shut() {
    Host::new(1).live(|sim, node, _| async move {
        sim.jump_clock(node, -1_700_000_000_000_000);
        assert!(matches!(open("0").await, Err(OpenError::Clock(_))));
        assert!(matches!(Mint::in_memory(&options("0")), Err(OpenError::Clock(_))));
    });
}

impl Mint {
    fn take_ready(&self, count: u32) -> ScarabId {
        self.ready(u64::from(count)).unwrap();
        self.take(count)
    }
}

quickcheck! {
    /// Jumps are minutes; a life is some seconds long.
    fn no_jump_of_the_clock_has_ids_come_twice(seed: u64, jumps: Vec<i8>) -> bool {
        let host = Host::new(seed);
        for (life, jump) in jumps.iter().take(12).enumerate() {
            host.boot(life % 3 + 1, life, Busy::Much);
            host.sim.run_for(Duration::from_millis(1_700));
            host.sim.jump_clock(host.node, i64::from(*jump) * 60_000_000);
            host.sim.run_for(Duration::from_millis(1_700));
            host.sim.crash(host.node, Crash::Power);
        }
        host.sim.panics().is_empty()
    }
}
