//! Everything of one simulation: its time, its tasks, what is due when, and its nodes.
//!
//! One thread, one [`Universe`], found through a thread-local. A step polls one task: the next is drawn from all that
//! are runnable on nodes that are not paused. Every poll takes a little time. When nothing is runnable, time jumps to
//! the next timer, the next operation that ends or the next bytes that arrive.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crossbeam_queue::SegQueue;

use super::disk::{Crash, Disk};
use super::net::Network;
use super::trace::{NodeId, TraceEvent, TraceHash, TraceKind};
use crate::rng::{Rng, mix};
use crate::world::{self, World};

/// Where wall clocks begin: 2026-01-01, a time that everything takes for real.
const WALL_START: Duration = Duration::from_hours(490_896);
/// Nanoseconds that one poll of a task takes, at most: what a core does in a short turn.
const POLL_NANOS_MAX: u64 = 2_000;

/// A task that its core has queued.
struct Entry {
    /// `None` while it is being polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    world: Rc<World>,
    node: usize,
    waker: Arc<TaskWaker>,
    cancelled: bool,
    /// Who waits for its end.
    awaiters: Vec<Waker>,
}

/// The waker of a task: puts its number into the queue of the woken, once.
struct TaskWaker {
    number: u64,
    queued: AtomicBool,
    woken: Arc<SegQueue<u64>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.woken.push(self.number);
        }
    }
}

/// What happens at a point in time.
pub(super) enum Due {
    /// Somebody waits for it.
    Wake(Waker),
    /// Something outside the cores: an operation of a device ends.
    Act(usize, Box<dyn FnOnce(&Universe)>),
    /// A paused node goes on.
    Resume(usize),
}

/// One node: a name, a disk, a clock, and the cores of its present life.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) disk: RefCell<Disk>,
    /// Microseconds that the wall clock is ahead.
    pub(super) wall_offset_us: Cell<i64>,
    /// Millionths by which it runs fast.
    pub(super) wall_drift_ppm: Cell<i64>,
    /// Worlds of the cores that have not ended.
    pub(super) cores: RefCell<Vec<Rc<World>>>,
    /// Raised by every boot and every end: what belongs to an older life does nothing any more.
    pub(super) life: Cell<u64>,
    pub(super) booted_at: Cell<u64>,
    pub(super) paused_until: Cell<u64>,
    /// How it ends when its disk has had its last call.
    pub(super) death: Cell<Crash>,
    /// How it ended the last time; `None` in order, or not yet.
    pub(super) crashed: Cell<Option<Crash>>,
    /// Runnable tasks of a paused node.
    held: RefCell<Vec<u64>>,
}

/// See the module.
pub(super) struct Universe {
    pub(super) now: Cell<u64>,
    schedule: RefCell<Rng>,
    /// Latencies and everything else that the world itself draws.
    pub(super) chance: RefCell<Rng>,
    entropy: RefCell<Rng>,
    tasks: RefCell<BTreeMap<u64, Entry>>,
    next_task: Cell<u64>,
    runnable: RefCell<Vec<u64>>,
    woken: Arc<SegQueue<u64>>,
    due: RefCell<BTreeMap<(u64, u64), Due>>,
    next_due: Cell<u64>,
    pub(super) nodes: RefCell<Vec<Rc<Node>>>,
    pub(super) net: RefCell<Network>,
    pub(super) polls: Cell<u64>,
    hash: Cell<TraceHash>,
    /// The whole trace, if it is kept.
    pub(super) trace: RefCell<Option<Vec<TraceEvent>>>,
    /// Panics of tasks, as `(node, name of a durable task, message)`.
    pub(super) panics: RefCell<Vec<(NodeId, Option<&'static str>, String)>>,
    /// Nodes whose process has ended itself.
    aborted: RefCell<Vec<usize>>,
    /// The core that asked for the operation of a device that is just ending.
    pub(super) asker: Cell<Option<usize>>,
    /// The node that code outside cores runs on, see `Simulation::on_node`.
    pub(super) visited: Cell<Option<usize>>,
}

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static UNIVERSE: RefCell<Option<Rc<Universe>>> = const { RefCell::new(None) };
}

/// Whether this thread is inside a simulation.
pub(crate) fn is_simulated() -> bool {
    SIMULATED.try_with(Cell::get).unwrap_or(false)
}

/// The universe of this thread.
pub(super) fn try_current() -> Option<Rc<Universe>> {
    if !is_simulated() {
        return None;
    }
    UNIVERSE.try_with(|universe| universe.borrow().clone()).ok().flatten()
}

/// The universe of this thread.
///
/// # Panics
/// Outside a simulation.
pub(super) fn current() -> Rc<Universe> {
    try_current().expect("inside a simulation")
}

/// Makes `universe` the one of this thread, or none.
pub(super) fn install(universe: Option<Rc<Universe>>) {
    SIMULATED.with(|simulated| simulated.set(universe.is_some()));
    let before = UNIVERSE.with(|current| std::mem::replace(&mut *current.borrow_mut(), universe));
    drop(before);
}

/// Monotonic time of the node that this thread acts for.
pub(crate) fn monotonic() -> Option<Duration> {
    let universe = try_current()?;
    let start = universe.here().map_or(0, |node| node.booted_at.get());
    Some(Duration::from_nanos(universe.now.get() - start))
}

/// Wall time of the node that this thread acts for.
pub(crate) fn wall() -> Option<Duration> {
    let universe = try_current()?;
    let true_us = i64::try_from(universe.now.get() / 1000).unwrap_or(i64::MAX);
    let (offset, drift) = universe
        .here()
        .map_or((0, 0), |node| (node.wall_offset_us.get(), node.wall_drift_ppm.get()));
    let start = i64::try_from(WALL_START.as_micros()).unwrap_or(i64::MAX);
    let us = start + true_us + true_us / 1_000_000 * drift + offset;
    Some(Duration::from_micros(us.try_into().unwrap_or(0)))
}

/// A number from the seed, where there is one.
pub(crate) fn entropy() -> Option<u64> {
    try_current().map(|universe| universe.entropy.borrow_mut().next_u64())
}

/// A task panicked. Says whether the process ends by a simulated death rather than a real one.
pub(crate) fn aborts(durable: Option<&'static str>, message: &str) -> bool {
    let Some(universe) = try_current() else { return false };
    universe.panicked(durable, message);
    true
}

impl Universe {
    pub(super) fn new(seed: u64) -> Self {
        let stream = |number: u64| Rng::with_seed(mix(seed ^ mix(number)));
        Self {
            now: Cell::new(0),
            schedule: RefCell::new(stream(1)),
            chance: RefCell::new(stream(2)),
            entropy: RefCell::new(stream(3)),
            tasks: RefCell::default(),
            next_task: Cell::new(0),
            runnable: RefCell::default(),
            woken: Arc::new(SegQueue::new()),
            due: RefCell::default(),
            next_due: Cell::new(0),
            nodes: RefCell::default(),
            net: RefCell::new(Network::new(stream(4).next_u64())),
            polls: Cell::new(0),
            hash: Cell::new(TraceHash::new(seed)),
            trace: RefCell::default(),
            panics: RefCell::default(),
            aborted: RefCell::default(),
            asker: Cell::new(None),
            visited: Cell::new(None),
        }
    }

    /// A number uniform in `from..=to`.
    pub(super) fn between(&self, from: u64, to: u64) -> u64 {
        from + self.chance.borrow_mut().below(to - from + 1)
    }

    pub(super) fn node(&self, index: usize) -> Rc<Node> {
        Rc::clone(&self.nodes.borrow()[index])
    }

    /// The number of the node that this thread acts for.
    pub(super) fn here_index(&self) -> Option<usize> {
        let of_core = || world::try_current().and_then(|world| world.body.node());
        self.visited.get().or_else(of_core)
    }

    fn here(&self) -> Option<Rc<Node>> {
        self.here_index().map(|index| self.node(index))
    }

    // Tracing.

    pub(super) fn hash(&self) -> u64 {
        self.hash.get().finish()
    }

    /// Notes what happened on a node, or in the world itself.
    pub(super) fn trace(&self, node: Option<usize>, kind: TraceKind) {
        let shard = world::try_current().map(|world| world.shard).or(self.asker.get());
        let event = TraceEvent { at: self.now.get(), node: node.map(NodeId), shard, kind };
        // Notes are for people: what listens to the program's own log must not make it another run.
        if !matches!(event.kind, TraceKind::Note(_)) {
            let mut hash = self.hash.get();
            event.hash(&mut hash);
            self.hash.set(hash);
        }
        if let Some(trace) = &mut *self.trace.borrow_mut() {
            trace.push(event);
        }
    }

    /// Takes over what a node's disk has noted by itself.
    pub(super) fn trace_disk(&self, index: usize) {
        let events = self.node(index).disk.borrow_mut().drain_events();
        for kind in events {
            self.trace(Some(index), kind);
        }
    }

    /// Takes over what the network has noted by itself.
    pub(super) fn trace_net(&self) {
        let events = self.net.borrow_mut().drain_events();
        for (node, kind) in events {
            self.trace(node.map(|node| node.0), kind);
        }
    }

    /// Notes the panic of a task; of a durable one, that its node's process ends.
    fn panicked(&self, durable: Option<&'static str>, message: &str) {
        let Some(index) = self.here_index() else { return };
        let kind = TraceKind::Panicked { message: message.to_owned(), durable };
        self.trace(Some(index), kind);
        self.panics.borrow_mut().push((NodeId(index), durable, message.to_owned()));
        if durable.is_some() {
            self.aborted.borrow_mut().push(index);
        }
    }

    // Tasks.

    /// Queues a task of `world` and returns its number; drops it if its node's life is over.
    pub(super) fn spawn(
        &self,
        world: Rc<World>,
        node: usize,
        future: impl Future<Output = ()> + 'static,
    ) -> u64 {
        let number = self.next_task.get();
        self.next_task.set(number + 1);
        if world.body.life() != Some(self.node(node).life.get()) {
            drop(future);
            return number;
        }
        let queued = AtomicBool::new(true);
        let waker = Arc::new(TaskWaker { number, queued, woken: Arc::clone(&self.woken) });
        let future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(future);
        let (cancelled, awaiters) = (false, Vec::new());
        let entry = Entry { future: Some(future), world, node, waker, cancelled, awaiters };
        self.tasks.borrow_mut().insert(number, entry);
        self.runnable.borrow_mut().push(number);
        number
    }

    /// Cancels a task: its future is dropped when it is next its turn. Nothing if it has ended.
    pub(super) fn cancel(&self, number: u64) {
        if let Some(entry) = self.tasks.borrow_mut().get_mut(&number) {
            entry.cancelled = true;
            entry.waker.wake_by_ref();
        }
    }

    /// Whether a task has ended; if not, `waker` is woken when it does.
    pub(super) fn has_ended(&self, number: u64, waker: &Waker) -> bool {
        match self.tasks.borrow_mut().get_mut(&number) {
            None => true,
            Some(entry) => {
                entry.awaiters.push(waker.clone());
                false
            }
        }
    }

    // Time.

    /// Has `due` happen at `at`; the key takes it back.
    pub(super) fn at(&self, at: u64, due: Due) -> (u64, u64) {
        let key = (at.max(self.now.get()), self.next_due.get());
        self.next_due.set(key.1 + 1);
        self.due.borrow_mut().insert(key, due);
        key
    }

    pub(super) fn take_back(&self, key: (u64, u64)) {
        let due = self.due.borrow_mut().remove(&key);
        drop(due);
    }

    /// Puts another waker where one waits; false if its time has come.
    pub(super) fn rewake(&self, key: (u64, u64), waker: &Waker) -> bool {
        match self.due.borrow_mut().get_mut(&key) {
            Some(Due::Wake(old)) => {
                old.clone_from(waker);
                true
            }
            _ => false,
        }
    }

    /// Lets everything happen that is due by now.
    fn happen(&self) {
        let now = self.now.get();
        loop {
            let next = {
                let mut due = self.due.borrow_mut();
                match due.first_entry() {
                    Some(entry) if entry.key().0 <= now => entry.remove(),
                    _ => break,
                }
            };
            match next {
                Due::Wake(waker) => waker.wake(),
                Due::Act(_, act) => act(self),
                Due::Resume(node) => self.resume(node),
            }
        }
        let next = self.net.borrow().next_event();
        if next.is_some_and(|at| at <= now) {
            let woken = self.net.borrow_mut().advance(now);
            for waker in woken {
                waker.wake();
            }
            self.trace_net();
        }
    }

    /// When something happens next without any task running.
    fn next_time(&self) -> Option<u64> {
        let due = self.due.borrow().first_key_value().map(|(key, _)| key.0);
        let net = self.net.borrow().next_event();
        due.into_iter().chain(net).min()
    }

    fn resume(&self, index: usize) {
        let node = self.node(index);
        if node.paused_until.get() > self.now.get() {
            return;
        }
        node.paused_until.set(0);
        self.trace(Some(index), TraceKind::Resumed);
        let held = std::mem::take(&mut *node.held.borrow_mut());
        self.runnable.borrow_mut().extend(held);
    }

    // Steps.

    /// Does the next thing that happens until `end` at the latest; false if nothing does.
    pub(super) fn step(&self, end: u64) -> bool {
        self.happen();
        while let Some(number) = self.woken.pop() {
            self.runnable.borrow_mut().push(number);
        }
        if let Some(number) = self.draw() {
            self.run(number);
            return true;
        }
        match self.next_time() {
            Some(at) if at <= end => {
                self.now.set(at.max(self.now.get()));
                true
            }
            _ => {
                self.now.set(end.max(self.now.get()));
                false
            }
        }
    }

    /// Takes a runnable task at random, setting those of paused nodes aside.
    fn draw(&self) -> Option<u64> {
        loop {
            let count = self.runnable.borrow().len() as u64;
            if count == 0 {
                return None;
            }
            let index = if count == 1 { 0 } else { self.schedule.borrow_mut().below(count) };
            let index = usize::try_from(index).expect("an index");
            let number = self.runnable.borrow_mut().swap_remove(index);
            let node = self.tasks.borrow().get(&number).map(|entry| entry.node);
            let Some(node) = node else { continue };
            let node = self.node(node);
            if node.paused_until.get() > self.now.get() {
                node.held.borrow_mut().push(number);
                continue;
            }
            return Some(number);
        }
    }

    /// Polls a task once.
    fn run(&self, number: u64) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(entry) = tasks.get_mut(&number) else { return };
            entry.waker.queued.store(false, Ordering::Relaxed);
            let future = entry.future.take().expect("a task is not polled twice at once");
            (future, Rc::clone(&entry.world), Arc::clone(&entry.waker), entry.cancelled)
        };
        let (mut future, world, waker, cancelled) = taken;
        let node = world.body.node();
        let cost = 100 + self.schedule.borrow_mut().below(POLL_NANOS_MAX);
        self.now.set(self.now.get() + cost);
        self.polls.set(self.polls.get() + 1);
        let mut hash = self.hash.get();
        hash.add(number ^ self.now.get() << 20);
        self.hash.set(hash);
        let installed = world::install(world);
        let ended = cancelled
            || future.as_mut().poll(&mut Context::from_waker(&Waker::from(waker))).is_ready();
        if ended {
            drop(future);
            drop(installed);
            let entry = self.tasks.borrow_mut().remove(&number);
            for waker in entry.map(|entry| entry.awaiters).unwrap_or_default() {
                waker.wake();
            }
        } else {
            drop(installed);
            // Nobody else takes it out while it runs.
            if let Some(entry) = self.tasks.borrow_mut().get_mut(&number) {
                entry.future = Some(future);
            }
        }
        if let Some(index) = node {
            self.bury(index);
        }
    }

    /// Ends a node that died in the last poll.
    pub(super) fn bury(&self, index: usize) {
        let dying = self.node(index).disk.borrow().is_dying();
        if dying {
            self.crash(index, self.node(index).death.get());
        } else if self.aborted.borrow().contains(&index) {
            self.crash(index, Crash::Process);
        }
    }

    /// Ends a node without order: its tasks are gone, its disk keeps what it keeps, its peers learn of it or not.
    pub(super) fn crash(&self, index: usize, crash: Crash) {
        let node = self.node(index);
        let power = crash == Crash::Power;
        self.trace(Some(index), TraceKind::Crash { power });
        node.life.set(node.life.get() + 1);
        node.crashed.set(Some(crash));
        node.disk.borrow_mut().crash(crash);
        self.trace_disk(index);
        self.net.borrow_mut().crash(self.now.get(), NodeId(index), power);
        self.trace_net();
        node.paused_until.set(0);
        node.held.borrow_mut().clear();
        let gone = {
            let mut due = self.due.borrow_mut();
            let of_node = |due: &Due| matches!(due, Due::Act(n, _) | Due::Resume(n) if *n == index);
            due.extract_if(.., |_, due| of_node(due)).collect::<Vec<_>>()
        };
        drop(gone);
        let dead = {
            let mut tasks = self.tasks.borrow_mut();
            tasks.extract_if(.., |_, entry| entry.node == index).collect::<Vec<_>>()
        };
        // Destructors run, which they do not in a real death. They find a node whose life is over: files and sockets are
        // gone, and what they spawn never runs.
        for (_, mut entry) in dead.into_iter().rev() {
            let future = entry.future.take();
            let installed = world::install(Rc::clone(&entry.world));
            drop(future);
            drop(installed);
        }
        self.aborted.borrow_mut().retain(|aborted| *aborted != index);
        node.cores.borrow_mut().clear();
    }

    /// A core has ended in order.
    pub(super) fn core_ended(&self, index: usize, shard: usize) {
        let node = self.node(index);
        node.cores.borrow_mut().retain(|world| world.shard != shard);
        if node.cores.borrow().is_empty() {
            node.life.set(node.life.get() + 1);
            node.crashed.set(None);
            self.trace(Some(index), TraceKind::Ended);
            node.disk.borrow_mut().crash(Crash::Process);
        }
    }

    /// Adds a node and returns its number.
    pub(super) fn add_node(&self, name: &str) -> usize {
        let index = self.nodes.borrow().len();
        let seed = self.chance.borrow_mut().next_u64();
        let node = Node {
            name: name.to_owned(),
            disk: RefCell::new(Disk::new(seed)),
            wall_offset_us: Cell::new(0),
            wall_drift_ppm: Cell::new(0),
            cores: RefCell::default(),
            life: Cell::new(0),
            booted_at: Cell::new(0),
            paused_until: Cell::new(0),
            death: Cell::new(Crash::Power),
            crashed: Cell::new(None),
            held: RefCell::default(),
        };
        self.nodes.borrow_mut().push(Rc::new(node));
        index
    }
}
