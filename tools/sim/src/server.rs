//! The server under test: its node, its lives, and what the history is told about them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use pyralog_log::ids::Timestamp;
use pyralog_log::manifest::Manifest;
use pyralog_runtime::file::blocking;
use pyralog_runtime::rng::Rng;
use pyralog_runtime::sim::{Crash, DiskFault, NodeId, Simulation, elapsed, note};
use pyralog_runtime::{Stopper, time};
use pyralog_seq::scarab::EPOCH_UNIX_MS;
use pyralog_shard::{
    DataConfig, HousekeepingConfig, IdsConfig, MemoryConfig, Node, ServerConfig, ServerLimits,
    TierConfig,
};

use crate::files;
use crate::history::{End, Event, History, Kind, Target, WORLD};
use crate::marks;
use crate::scenario::Scenario;
use crate::steps::Step;
use crate::store::{MANIFEST_BYTES_MAX, Store};

/// The shared port of the server; shard `i` listens on the `i + 1`-th after it.
const PORT: u16 = 7400;
/// Bytes of records that a memory-only server may hold.
const MAX_MEMORY: u64 = 256 << 20;

/// What the process of the server does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// There is none.
    Down,
    /// It was started and does not serve yet.
    Starting,
    /// It serves.
    Serving,
}

/// See the module.
pub struct Server {
    sim: Rc<Simulation>,
    id: NodeId,
    memory_only: bool,
    history: Rc<RefCell<History>>,
    state: State,
    node: Option<Node>,
    stopper: Option<Stopper>,
    /// It was asked to stop.
    stopping: bool,
    shards: usize,
    /// No id may have a time before this.
    not_before_unix_ms: u64,
    /// The highest mark of ids that was there when marks were damaged, until somebody answers for them.
    damaged_at_ms: Option<u64>,
    /// Events of the history up to the last answer for marks.
    answered: usize,
    /// Microseconds that its wall clock was set wrong in all.
    clock_off_us: i64,
    interrupted: BTreeMap<Step, u64>,
    /// The step in which it is to die, after how many calls, and how.
    ordered: Option<(Step, u64, End)>,
    /// How often the background looks after the partitions.
    housekeeping: Duration,
    /// How often trees are published.
    checkpoints: Duration,
    /// The manifests of which a copy may be damaged: what holds its content twice survives that once, until it is written again.
    hurt: Rc<RefCell<BTreeSet<PathBuf>>>,
    /// The object store, if it has one.
    store: Option<Store>,
    /// The cluster of its disk, once it was started.
    cluster: u64,
}

impl Server {
    /// A server that does not run yet, on a node of its own.
    #[must_use]
    pub fn new(sim: &Rc<Simulation>, scenario: &Scenario, history: &Rc<RefCell<History>>) -> Self {
        let id = sim.add_node("server");
        let recorded = Rc::clone(history);
        let hurt = Rc::new(RefCell::new(BTreeSet::new()));
        let struck = Rc::clone(&hurt);
        // Asked at the moment a fault strikes, which is before anybody can meet the damage.
        sim.set_shield(
            id,
            Rc::new(move |path: &Path, fault: DiskFault| {
                if !files::may_strike(path, fault)
                    || files::is_silent(fault) && !takes_damage(&struck, path)
                {
                    return false;
                }
                let (target, name) = (files::target(path), files::name(fault));
                let kind = if files::is_silent(fault) {
                    Kind::Struck { target, fault: name }
                } else {
                    Kind::CallFailed { target, fault: name }
                };
                record(&recorded, kind);
                true
            }),
        );
        let now = Timestamp::new(sim.on_node(id, time::unix_us));
        Self {
            store: scenario.store.then(|| Store::new(scenario.seed, now)),
            cluster: 0,
            hurt,
            sim: Rc::clone(sim),
            id,
            memory_only: scenario.memory_only,
            history: Rc::clone(history),
            state: State::Down,
            node: None,
            stopper: None,
            stopping: false,
            shards: scenario.shards,
            not_before_unix_ms: 0,
            damaged_at_ms: None,
            answered: 0,
            clock_off_us: 0,
            interrupted: BTreeMap::new(),
            ordered: None,
            housekeeping: scenario.housekeeping,
            checkpoints: scenario.checkpoints,
        }
    }

    /// Its node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// What its process does.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it was asked to stop and has not ended yet.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping && self.state != State::Down
    }

    /// Where clients dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.sim.address(self.id), PORT)
    }

    fn config(&self) -> ServerConfig {
        let data = if self.memory_only {
            DataConfig::MemoryOnly { max_memory: MAX_MEMORY }
        } else {
            DataConfig::Dir(PathBuf::from("/data"))
        };
        ServerConfig {
            listen: self.address(),
            shards: self.shards,
            pin: false,
            data,
            http: None,
            spin: Duration::ZERO,
            ids: IdsConfig { not_before_unix_ms: self.not_before_unix_ms, ..IdsConfig::default() },
            memory: MemoryConfig { tail_bytes: 4 << 20, ..MemoryConfig::default() },
            housekeeping: HousekeepingConfig {
                interval: self.housekeeping,
                ..HousekeepingConfig::default()
            },
            checkpoint_interval: self.checkpoints,
            tier: self.store.is_some().then(|| TierConfig::new("memory:///")),
            limits: ServerLimits {
                shutdown_grace: Duration::from_millis(500),
                ..ServerLimits::default()
            },
            ..ServerConfig::default()
        }
    }

    /// Starts the process on `shards` cores, if there is none.
    pub fn boot(&mut self, shards: usize) {
        if self.state != State::Down {
            return;
        }
        self.shards = shards;
        let config = self.config();
        if let Some(store) = &self.store {
            store.is_asked_for();
        }
        match self.sim.on_node(self.id, || Node::open_with(config, Store::of_core)) {
            Ok(mut node) => {
                self.cluster = node.identity().cluster_id;
                let stopper = self.sim.boot(self.id, &node.machine_config(), node.main());
                (self.node, self.stopper) = (Some(node), Some(stopper));
                (self.state, self.stopping) = (State::Starting, false);
                self.aim();
            }
            Err(error) => self.failed(&error.to_string()),
        }
        self.poll();
    }

    fn failed(&mut self, reason: &str) {
        note(format!("the server did not start: {reason}"));
        record(&self.history, Kind::BootFailed { reason: reason.to_owned() });
    }

    /// Looks what has become of the process. To be called after every step of the world.
    pub fn poll(&mut self) {
        if let (Some(store), Some((_, _, end))) = (&self.store, self.ordered)
            && store.takes_its_life()
            && self.state != State::Down
        {
            let crash = if end == End::Power { Crash::Power } else { Crash::Process };
            self.sim.crash(self.id, crash);
        }
        let died = !self.sim.is_running(self.id) && self.sim.crashed(self.id).is_some();
        if self.state == State::Starting
            && !died
            && let Some(node) = &mut self.node
            && let Some(outcome) = node.try_started()
        {
            match outcome {
                Ok(started) => {
                    let shards = u16::try_from(self.shards).unwrap_or(u16::MAX);
                    let lines = started.recovery;
                    record(&self.history, Kind::Booted { shards, lines });
                    self.state = State::Serving;
                }
                // It says that it was stopped during its start: so it was.
                Err(_) if self.stopping => {}
                Err(error) => self.failed(&error.to_string()),
            }
        }
        if self.state != State::Down && !self.sim.is_running(self.id) {
            let end = match self.sim.crashed(self.id) {
                Some(Crash::Power) => End::Power,
                // One that was stopped before it served has promised nothing.
                None if self.stopping && self.state == State::Serving => End::Stopped,
                // Killed, or a start that failed.
                _ => End::Process,
            };
            self.ended(end);
        }
    }

    /// Notes the end of the process.
    fn ended(&mut self, end: End) {
        if end != End::Stopped
            && let Some(step) = Step::of(&self.sim.last_changed(self.id))
        {
            self.ordered = self.ordered.filter(|(ordered, ..)| *ordered != step);
            *self.interrupted.entry(step).or_default() += 1;
        }
        for step in self.store.iter().flat_map(Store::interrupted) {
            if end != End::Stopped {
                self.ordered = self.ordered.filter(|(ordered, ..)| *ordered != step);
                *self.interrupted.entry(step).or_default() += 1;
            }
        }
        record(&self.history, Kind::Ended { end, wiped: self.memory_only });
        // The lock of the data directory goes with the process.
        let (id, node) = (self.id, self.node.take());
        self.sim.on_node(id, || drop(node));
        self.stopper = None;
        self.state = State::Down;
        let compared = self.compare(None);
        if matches!(&compared, Kind::StoreCompared { missing, .. } if !missing.is_empty()) {
            record(&self.history, compared);
        }
    }

    /// Looks whether the object store has what the manifests name, and of objects from before `grown` whether any is named
    /// by none.
    #[must_use]
    pub fn compare(&self, grown: Option<Timestamp>) -> Kind {
        let compare = |store: &Store| store.compare(self.cluster, grown);
        self.sim.on_node(self.id, || {
            let nothing = Kind::StoreCompared { missing: Vec::new(), orphans: Vec::new() };
            self.store.as_ref().map_or(nothing, compare)
        })
    }

    /// Its object store.
    #[must_use]
    pub const fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Notes that wall clocks are off by so much more.
    pub fn clock_jumped(&self, by_us: i64) {
        record(&self.history, Kind::ClockJumped { by_us });
    }

    /// Sets the machine's wall clock wrong by so much more, within 100 days in all.
    pub fn leap(&mut self, by_us: i64) {
        const MOST: i64 = 100 * 86_400 * 1_000_000;
        let off = (self.clock_off_us + by_us).clamp(-MOST, MOST);
        let by_us = off - self.clock_off_us;
        self.clock_off_us = off;
        self.sim.jump_clock(self.id, by_us);
        self.clock_jumped(by_us);
    }

    /// Sets the machine's wall clock right again.
    pub fn set_clock_right(&mut self) {
        if self.clock_off_us != 0 {
            self.leap(-self.clock_off_us);
        }
    }

    /// Gives the slots of a machine that is lost with its disk to another: replaces the disk, and says that ids go on above
    /// those that may have been dealt.
    pub fn take_over(&mut self) {
        self.lose_power();
        let highest_ms =
            self.sim.on_node(self.id, marks::highest).max(self.damaged_at_ms.unwrap_or(0));
        self.wipe();
        self.go_on_after(highest_ms);
        record(&self.history, Kind::SlotsTakenOver);
    }

    /// Brings back an old file of a counter or of a mark of ids, if the process does not run and there is one.
    pub fn bring_back_shorter(&mut self, rng: &mut Rng) {
        if self.state != State::Down {
            return;
        }
        // A death that was ordered would strike whoever handles the files now.
        self.sim.crash_after_calls(self.id, u64::MAX, Crash::Process);
        let (old, highest_ms) =
            self.sim.on_node(self.id, || (marks::Old::choose(rng), marks::highest()));
        let Some(old) = old else { return };
        let target = files::target(old.path());
        if target == Target::Marks {
            self.damaged_at_ms = Some(self.damaged_at_ms.unwrap_or(0).max(highest_ms));
        }
        record(&self.history, Kind::Struck { target, fault: files::OLD_FILE });
        note(format!("{} comes back shorter", old.path().display()));
        self.sim.on_node(self.id, || old.bring_back(rng));
    }

    /// Does what an operator does whose marks of ids were damaged, if they were and the process does not run: removes them
    /// and says that ids go on above those that may have been dealt.
    pub fn answer_for_marks(&mut self) {
        let damaged =
            |event: &Event| matches!(event.kind, Kind::Struck { target: Target::Marks, .. });
        let is_damaged = self.history.borrow().events().iter().skip(self.answered).any(damaged);
        if self.state != State::Down || !is_damaged {
            return;
        }
        self.answered = self.history.borrow().events().len();
        self.sim.crash_after_calls(self.id, u64::MAX, Crash::Process);
        let highest_ms = self.sim.on_node(self.id, || {
            let highest_ms = marks::highest();
            marks::remove();
            highest_ms
        });
        let highest_ms = highest_ms.max(self.damaged_at_ms.take().unwrap_or(0));
        self.go_on_after(highest_ms);
    }

    fn go_on_after(&mut self, highest_ms: u64) {
        let not_before = EPOCH_UNIX_MS + highest_ms + 1;
        self.not_before_unix_ms = self.not_before_unix_ms.max(not_before);
    }

    /// A bit of some object in the store flips.
    pub fn rot_object(&self, rng: &mut Rng) {
        if let Some(place) = self.store.as_ref().and_then(|store| store.rot(rng)) {
            let target = Target::Partition(place);
            record(&self.history, Kind::Struck { target, fault: files::ROT });
        }
    }

    /// Looks which manifests have two sound copies again.
    pub fn look_at_manifests(&self) {
        self.sim.on_node(self.id, || self.hurt.borrow_mut().retain(|path| !is_whole(path)));
    }

    /// Whether the bytes of a file may rot: those of a manifest only as long as both of its copies are sound.
    #[must_use]
    pub fn may_rot(&self, path: &Path) -> bool {
        !self.hurt.borrow().contains(path)
    }

    /// Notes that stored bytes of a file have rotted.
    pub fn rotted(&self, path: &Path, bytes: &Range<u64>) {
        takes_damage(&self.hurt, path);
        let fault = if bytes.end - bytes.start == 1 { files::ROT } else { files::WIDE_ROT };
        record(&self.history, Kind::Struck { target: files::target(path), fault });
    }

    /// Asks the process to stop in order.
    pub fn stop(&mut self) {
        if let Some(stopper) = &self.stopper {
            stopper.stop();
            self.stopping = true;
        }
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        if self.state != State::Down {
            self.sim.crash(self.id, Crash::Process);
            self.ended(End::Process);
        }
    }

    /// Takes the machine's power, whether or not the process runs.
    pub fn lose_power(&mut self) {
        self.sim.crash(self.id, Crash::Power);
        self.ended(End::Power);
    }

    /// Has the process or the power end after `calls` more calls that change the disk.
    pub fn die_after(&mut self, calls: u64, end: End) {
        if !self.memory_only && self.state != State::Down {
            let crash = if end == End::Power { Crash::Power } else { Crash::Process };
            self.sim.crash_after_calls(self.id, calls, crash);
        }
    }

    /// Has the process or the power end in a step: after `calls` more calls from its next beginning on, in this life or a later
    /// one. An order that was not carried out yet stays.
    pub fn die_in(&mut self, step: Step, calls: u64, end: End) {
        self.ordered.get_or_insert((step, calls, end));
        self.aim();
    }

    /// Nobody wants it to die in a step any more.
    pub fn live_on(&mut self) {
        self.ordered = None;
        if let Some(store) = &self.store {
            store.call_off();
        }
    }

    fn aim(&self) {
        if let Some((step, calls, end)) = self.ordered
            && !self.memory_only
            && self.state != State::Down
        {
            if step.is_remote() {
                if let Some(store) = &self.store {
                    store.order_death(step, calls);
                }
                return;
            }
            let crash = if end == End::Power { Crash::Power } else { Crash::Process };
            let aim = move |path: &Path| Step::of(path) == Some(step);
            self.sim.crash_after_calls_to(self.id, aim, (calls + 1, crash));
        }
    }

    /// How often each step in the life of a log was what the disk had been told last when the process ended without order.
    #[must_use]
    pub const fn interrupted(&self) -> &BTreeMap<Step, u64> {
        &self.interrupted
    }

    /// Takes the power and replaces the disk.
    pub fn wipe(&mut self) {
        self.sim.crash(self.id, Crash::Power);
        self.sim.wipe(self.id);
        record(&self.history, Kind::Ended { end: End::Power, wiped: true });
        let (id, node) = (self.id, self.node.take());
        self.sim.on_node(id, || drop(node));
        self.stopper = None;
        self.state = State::Down;
    }
}

/// Whether both copies in a manifest are sound.
fn is_whole(path: &Path) -> bool {
    Manifest::is_whole(&blocking::read_start(path, MANIFEST_BYTES_MAX).unwrap_or_default())
}

/// Whether silent damage may be done to a file, of which note is taken: to a manifest only if both of its copies are sound.
fn takes_damage(hurt: &RefCell<BTreeSet<PathBuf>>, path: &Path) -> bool {
    let is_manifest = files::class(path).name == "manifest";
    !is_manifest || hurt.borrow_mut().insert(path.to_owned())
}

/// Adds what the world did to a history.
pub fn record(history: &Rc<RefCell<History>>, kind: Kind) {
    let at = u64::try_from(elapsed().unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
    history.borrow_mut().push(at, WORLD, kind);
}
