//! What a test holds: it makes nodes, boots and breaks them, and lets time pass.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::body::Core as Body;
use super::disk::{Crash, Shield};
use super::faults::{DiskFault, DiskFaults, NetFault, NetFaults};
use super::trace::{NodeId, TraceEvent, TraceKind};
use super::universe::{self, Due, Node, Universe};
use crate::away::Turns;
use crate::bell::Bell;
use crate::body;
use crate::channel::{Event, Gate};
use crate::machine::{Core, MachineConfig, Stop, Stopper};
use crate::task::Class;
use crate::time::Monotonic;
use crate::world::{self, Tasks, World};

/// A simulated world. One per thread; everything in it ends when it is dropped.
pub struct Simulation {
    universe: Rc<Universe>,
}

/// Virtual time since the world of this thread began, the same on all of its nodes; `None` outside a simulation.
#[must_use]
pub fn elapsed() -> Option<Duration> {
    universe::try_current().map(|universe| Duration::from_nanos(universe.now.get()))
}

/// Writes a note into the trace of the simulation, if this thread is in one.
pub fn note(text: impl Into<String>) {
    if let Some(universe) = universe::try_current() {
        universe.trace(universe.here_index(), TraceKind::Note(text.into()));
    }
}

/// Leaves the node again that was visited.
struct Visit {
    universe: Rc<Universe>,
    before: Option<usize>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.universe.visited.set(self.before);
    }
}

impl Simulation {
    /// A world without nodes, at time zero.
    ///
    /// # Panics
    /// If this thread is in a simulation already, or is a core.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        assert!(universe::try_current().is_none(), "one simulation per thread at a time");
        assert!(world::try_current().is_none(), "a core cannot be the host of a simulation");
        let universe = Rc::new(Universe::new(seed));
        universe::install(Some(Rc::clone(&universe)));
        Self { universe }
    }

    /// Keeps the whole trace from now on, for [`take_trace`](Self::take_trace).
    pub fn keep_trace(&self) {
        self.universe.trace.borrow_mut().get_or_insert_default();
    }

    /// The trace kept so far; a new one begins.
    #[must_use]
    pub fn take_trace(&self) -> Vec<TraceEvent> {
        let mut trace = self.universe.trace.borrow_mut();
        trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The hash of everything that has happened: scheduling, time, devices, notes.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.universe.hash()
    }

    /// Virtual time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.universe.now.get())
    }

    /// How often a task was polled.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.universe.polls.get()
    }

    /// Panics of tasks so far, as node, name of a durable task, message.
    #[must_use]
    pub fn panics(&self) -> Vec<(NodeId, Option<&'static str>, String)> {
        self.universe.panics.borrow().clone()
    }

    // Nodes.

    /// Adds a node that does not run yet.
    ///
    /// # Panics
    /// After 250 nodes: their addresses end there.
    #[must_use]
    pub fn add_node(&self, name: &str) -> NodeId {
        let node = NodeId(self.universe.add_node(name));
        let address = self.address(node);
        self.universe.net.borrow_mut().add_host(node, address);
        node
    }

    /// The name of a node.
    #[must_use]
    pub fn name(&self, node: NodeId) -> String {
        self.node(node).name.clone()
    }

    /// The address of a node: 10.0.0.1 for the first.
    ///
    /// # Panics
    /// After 250 nodes.
    #[must_use]
    pub fn address(&self, node: NodeId) -> IpAddr {
        assert!(node.0 < 250, "{} nodes", node.0);
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(node.0 + 1).expect("below 251")))
    }

    /// Starts the cores of a node, as [`start`](crate::start) does; they run as time passes.
    ///
    /// # Panics
    /// If the node runs already.
    pub fn boot<M, F>(&self, node: NodeId, config: &MachineConfig, shard_main: M) -> Stopper
    where
        M: Fn(Core) -> F,
        F: Future<Output = ()> + 'static,
    {
        assert!(!self.is_running(node), "{node} runs already");
        let state = self.node(node);
        let life = state.life.get() + 1;
        state.life.set(life);
        state.booted_at.set(self.universe.now.get());
        self.universe.net.borrow_mut().up(node);
        self.universe.trace(Some(node.0), TraceKind::Boot { shards: config.shards });
        let seed = config.seed.unwrap_or_else(|| self.universe.chance.borrow_mut().next_u64());
        let bells: Vec<_> = (0..config.shards).map(|_| Arc::new(Bell::new())).collect();
        let stop = Arc::new(Stop::new(bells.clone()));
        let stopper = Stopper::new(Arc::clone(&stop));
        for (shard, bell) in bells.into_iter().enumerate() {
            let world = Rc::new(World {
                shard,
                seed,
                bell: Arc::clone(&bell),
                rung: Event::new(),
                stop: Arc::clone(&stop),
                tasks: Tasks::default(),
                blocking: Gate::new(),
                away: Turns::default(),
                // One or the other, by the seed.
                has_spare_cpu: seed.is_multiple_of(2),
                run_started: Cell::new(Monotonic::ZERO),
                class: Cell::new(Class::Foreground),
                runs_of_others: Cell::new(0),
                body: body::Core::Sim(Body { node: node.0, life }),
            });
            state.cores.borrow_mut().push(Rc::clone(&world));
            let core = Core::new(shard, config.shards, seed, stopper.clone(), bell);
            let main = shard_main(core);
            begin(&world, node.0, main);
        }
        stopper
    }

    /// Whether a node has cores that have not ended.
    #[must_use]
    pub fn is_running(&self, node: NodeId) -> bool {
        !self.node(node).cores.borrow().is_empty()
    }

    /// How a node ended the last time: `None` if in order, or if it never has.
    #[must_use]
    pub fn crashed(&self, node: NodeId) -> Option<Crash> {
        self.node(node).crashed.get()
    }

    /// Runs `call` on a node outside its cores, as the thread that starts a process does: files and clocks are the
    /// node's. The calls of it take no time.
    pub fn on_node<R>(&self, node: NodeId, call: impl FnOnce() -> R) -> R {
        let before = self.universe.visited.replace(Some(node.0));
        let visit = Visit { universe: Rc::clone(&self.universe), before };
        let result = call();
        drop(visit);
        self.universe.bury(node.0);
        result
    }

    // Time.

    /// Lets `duration` pass.
    pub fn run_for(&self, duration: Duration) {
        self.run_until(duration, || false);
    }

    /// Lets time pass until `done`, which is asked after every step, for at most `most`. Says whether it was done.
    pub fn run_until(&self, most: Duration, mut done: impl FnMut() -> bool) -> bool {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let end = self.universe.now.get().saturating_add(nanos);
        loop {
            if done() {
                return true;
            }
            let more = self.universe.step(end);
            if !more || self.universe.now.get() >= end {
                return done();
            }
        }
    }

    // Faults of nodes.

    /// Ends a node without order. Nothing if its process does not run, but for the disk, which may still lose its
    /// power.
    pub fn crash(&self, node: NodeId, crash: Crash) {
        self.universe.crash(node.0, crash);
    }

    /// Has the node end in the middle of a sequence: after `calls` more calls that change its disk.
    pub fn crash_after_calls(&self, node: NodeId, calls: u64, crash: Crash) {
        let state = self.node(node);
        state.death.set(crash);
        state.disk.borrow_mut().crash_after(calls);
    }

    /// The same, but it counts from the first call on that is about a path that `aim` is for.
    pub fn crash_after_calls_to(
        &self,
        node: NodeId,
        aim: impl Fn(&Path) -> bool + 'static,
        (calls, crash): (u64, Crash),
    ) {
        let state = self.node(node);
        state.death.set(crash);
        state.disk.borrow_mut().crash_after_calls_to(Rc::new(aim), calls);
    }

    /// What the last call that changed a node's disk was about.
    #[must_use]
    pub fn last_changed(&self, node: NodeId) -> PathBuf {
        self.node(node).disk.borrow().last_changed().to_owned()
    }

    /// Has a node stand still for `duration`: what its devices do goes on, and so does time. Nothing if it does not run.
    pub fn pause(&self, node: NodeId, duration: Duration) {
        if !self.is_running(node) {
            return;
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let until = self.universe.now.get().saturating_add(nanos);
        let state = self.node(node);
        state.paused_until.set(until.max(state.paused_until.get()));
        self.universe.trace(Some(node.0), TraceKind::Paused { until });
        self.universe.at(until, Due::Resume(node.0));
    }

    /// Moves a node's wall clock by `by_us` microseconds.
    pub fn jump_clock(&self, node: NodeId, by_us: i64) {
        let offset = &self.node(node).wall_offset_us;
        offset.set(offset.get().saturating_add(by_us));
        self.universe.trace(Some(node.0), TraceKind::ClockJumped { by_us });
    }

    /// Lets a node's wall clock run fast by `ppm` millionths, or slow if negative.
    pub fn skew_clock(&self, node: NodeId, ppm: i64) {
        self.node(node).wall_drift_ppm.set(ppm);
    }

    // Faults of disks.

    /// How a node's disk fails from now on.
    pub fn set_disk_faults(&self, node: NodeId, faults: DiskFaults) {
        self.node(node).disk.borrow_mut().set_faults(faults);
    }

    /// Which faults may strike which files of a node; without it, all may.
    pub fn set_shield(&self, node: NodeId, may_strike: Shield) {
        self.node(node).disk.borrow_mut().set_shield(Some(may_strike));
    }

    /// Bytes that fit on a node's disk; `None` is unlimited.
    pub fn set_disk_capacity(&self, node: NodeId, bytes: Option<u64>) {
        self.node(node).disk.borrow_mut().set_capacity(bytes);
    }

    /// Bytes that a node's files take.
    #[must_use]
    pub fn used_space(&self, node: NodeId) -> u64 {
        self.node(node).disk.borrow().used()
    }

    /// Largest file of a node in bytes; `None` is unlimited.
    pub fn set_file_size_limit(&self, node: NodeId, bytes: Option<u64>) {
        self.node(node).disk.borrow_mut().set_file_size_limit(bytes);
    }

    /// Replaces a node's disk by an empty one.
    ///
    /// # Panics
    /// If the node runs.
    pub fn wipe(&self, node: NodeId) {
        assert!(!self.is_running(node), "{node} runs");
        self.node(node).disk.borrow_mut().wipe();
        self.universe.trace(Some(node.0), TraceKind::Wiped);
    }

    /// Damages what is stored of a file that `may` allows, if there is one: a bit, a sector or a page. Returns the file
    /// and the bytes that are others now.
    pub fn corrupt(
        &self,
        node: NodeId,
        may: &dyn Fn(&Path) -> bool,
    ) -> Option<(PathBuf, Range<u64>)> {
        let damaged = self.node(node).disk.borrow_mut().corrupt(may);
        self.universe.trace_disk(node.0);
        damaged
    }

    /// How often each fault has struck the disks of all nodes.
    #[must_use]
    pub fn disk_faults_struck(&self) -> BTreeMap<DiskFault, u64> {
        let mut sum = BTreeMap::new();
        for node in self.universe.nodes.borrow().iter() {
            for (fault, count) in node.disk.borrow().struck() {
                *sum.entry(*fault).or_default() += count;
            }
        }
        sum
    }

    // Faults of the network.

    /// How the network behaves from now on.
    pub fn set_net_faults(&self, faults: NetFaults) {
        self.universe.net.borrow_mut().set_faults(faults);
    }

    /// Stops carrying what `from` sends to `to`.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        let now = self.universe.now.get();
        self.universe.net.borrow_mut().cut(now, from, to);
        self.universe.trace_net();
    }

    /// Carries what `from` sends to `to` again.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        let now = self.universe.now.get();
        self.universe.net.borrow_mut().heal(now, from, to);
        self.universe.trace_net();
    }

    /// How often each fault has struck the network.
    #[must_use]
    pub fn net_faults_struck(&self) -> BTreeMap<NetFault, u64> {
        self.universe.net.borrow().struck().clone()
    }

    fn node(&self, node: NodeId) -> Rc<Node> {
        self.universe.node(node.0)
    }
}

/// Starts the life of one core.
fn begin(world: &Rc<World>, node: usize, main: impl Future<Output = ()> + 'static) {
    let living = Rc::clone(world);
    let life = async move {
        let shard = living.shard;
        if let Some(panicked) = world::live(&living, main).await {
            note(format!("core {shard} ended by a panic: {}", panicked.message()));
        }
        universe::current().core_ended(node, shard);
    };
    let _installed = world::install(Rc::clone(world));
    Body::spawn(life).forget();
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let nodes = self.universe.nodes.borrow().len();
        for node in 0..nodes {
            self.universe.crash(node, Crash::Process);
        }
        universe::install(None);
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Simulation(at {:?}, {} polls)", self.now(), self.polls())
    }
}
