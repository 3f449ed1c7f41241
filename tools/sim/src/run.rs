//! One run: a world from a scenario, a safety phase in which faults strike, a liveness phase in which everything must
//! come to serve again, and the judgement.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use pyralog_runtime::rng::Rng;
use pyralog_runtime::sim::{Crash, NodeId, Simulation, TraceEvent};

use crate::history::{History, Kind};
use crate::nemesis::Nemesis;
use crate::oracle::{self, Violation};
use crate::scenario::{Fault, Scenario};
use crate::server::{Server, State, record};
use crate::store::Store;
use crate::workload::{self, Shared, Task};

/// Virtual time within which a server must serve once nothing is broken on purpose.
const BOOT_WAIT: Duration = Duration::from_mins(1);
/// Virtual time within which clients must have an outcome for everything.
const FINISH_WAIT: Duration = Duration::from_mins(10);
/// Virtual time within which everything must have been read again.
const CHECK_WAIT: Duration = Duration::from_mins(5);
/// Virtual time within which objects that nobody names are swept, and those of deleted logs go.
const SWEEP_WAIT: Duration = Duration::from_secs(10);
/// How often that is looked at.
const SWEEP_GLANCE: Duration = Duration::from_millis(250);
/// Virtual time by which an object is older than the grace of a sweep, in microseconds.
const GRACE_US: i64 = 2 * 3_600 * 1_000_000;
/// Virtual time within which a server must stop in order.
const STOP_WAIT: Duration = Duration::from_mins(1);
/// Polls after which a run is said to turn in circles: a usual one takes some tens of thousands.
const POLLS_MAX: u64 = 20_000_000;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What is wrong; empty if nothing is.
    pub violations: Vec<Violation>,
    /// The hash of everything that happened.
    pub hash: u64,
    /// How often a task was polled.
    pub polls: u64,
    /// How much time passed inside.
    pub elapsed: Duration,
    /// How often each fault struck, by name.
    pub struck: BTreeMap<String, u64>,
    /// How many records were acknowledged.
    pub acked: u64,
    /// How often the server came to serve.
    pub boots: u64,
    /// The trace, if it was asked for.
    pub trace: Vec<TraceEvent>,
    /// Names of the nodes, in order.
    pub nodes: Vec<String>,
    /// What the oracles judged.
    pub history: History,
}

struct Run {
    sim: Rc<Simulation>,
    scenario: Scenario,
    rng: Rng,
    history: Rc<RefCell<History>>,
    server: Server,
    clients: Vec<NodeId>,
    checker: NodeId,
    nemesis: Nemesis,
    shared: Rc<Shared>,
}

/// Runs a scenario and judges it.
#[must_use]
pub fn run(scenario: &Scenario, keep_trace: bool) -> Outcome {
    let sim = Rc::new(Simulation::new(scenario.seed));
    if keep_trace {
        sim.keep_trace();
    }
    let mut run = Run::new(&sim, scenario);
    run.live();
    let outcome = run.judge();
    drop(run);
    outcome
}

impl Run {
    fn new(sim: &Rc<Simulation>, scenario: &Scenario) -> Self {
        let history = Rc::new(RefCell::new(History::new()));
        let server = Server::new(sim, scenario, &history);
        let clients: Vec<_> =
            (0..scenario.clients).map(|index| sim.add_node(&format!("client {index}"))).collect();
        let checker = sim.add_node("checker");
        let nemesis = Nemesis::new(sim, scenario, server.id(), &clients);
        let shared = Rc::new(Shared {
            address: server.address(),
            logs: scenario.logs.clone(),
            churn: scenario.churn,
            store: scenario.store,
            truncation: scenario.truncation,
            ids: scenario.ids,
            counters: scenario.counters.clone(),
            damaged_counters: scenario.has(Fault::BitRot) || scenario.has(Fault::CameBackShorter),
            seed: scenario.seed,
            history: Rc::clone(&history),
            finishing: Cell::new(false),
        });
        Self {
            sim: Rc::clone(sim),
            scenario: scenario.clone(),
            rng: Rng::with_seed(scenario.seed ^ 0x7275_6e00),
            history,
            server,
            clients,
            checker,
            nemesis,
            shared,
        }
    }

    fn live(&mut self) {
        self.server.boot(self.scenario.shards);
        for (index, node) in self.clients.clone().into_iter().enumerate() {
            workload::boot(&self.sim, node, &self.shared, Task::Client(index));
        }
        self.safety();
        self.liveness();
    }

    /// Faults strike for as long as the scenario says.
    fn safety(&mut self) {
        self.nemesis.begin(&self.server);
        let end = self.sim.now() + self.scenario.safety;
        while self.sim.now() < end {
            let pause = self.nemesis.pause().min(end.saturating_sub(self.sim.now()));
            self.pass(pause, |_| false);
            self.nemesis.act(&mut self.server);
        }
    }

    /// Nothing is broken any more: the server serves, the clients finish, everything that was promised is there.
    fn liveness(&mut self) {
        self.nemesis.stop(&mut self.server);
        record(&self.history, Kind::FaultsStopped);
        // What failed for good needs a restart, as the errors say; a node that lost a file to the full disk as well.
        if self.scenario.faults.iter().any(|fault| wants_restart(*fault)) {
            self.stop_in_order();
        }
        self.serve();
        self.shared.finishing.set(true);
        let clients = self.clients.clone();
        let finished =
            self.pass(FINISH_WAIT, |run| clients.iter().all(|client| !run.sim.is_running(*client)));
        self.probe("clients have an outcome for everything", finished);
        // What was promised must outlast one more end, whose kind no client knew.
        match self.rng.below(4) {
            0 => {}
            1 => self.stop_in_order(),
            2 => self.server.kill(),
            _ => self.server.lose_power(),
        }
        self.serve();
        self.check(0);
        self.stop_in_order();
        self.serve();
        self.check(1);
        self.stop_in_order();
        self.look_at_store();
    }

    /// Lets what nobody names grow old, has the server sweep, and compares the object store with the disk.
    fn look_at_store(&mut self) {
        let Some(store) = self.server.store().cloned() else { return };
        let grown = store.now();
        self.server.set_clock_right();
        self.server.leap(GRACE_US);
        self.serve();
        // Retention lets go of old records, whose objects go a moment later: it is enough that there was nothing once.
        let end = self.sim.now() + SWEEP_WAIT;
        let compared = loop {
            self.pass(SWEEP_GLANCE, |_| false);
            let compared = self.server.compare(Some(grown));
            if self.sim.now() >= end || is_clean(&compared) {
                break compared;
            }
        };
        if self.server.state() == State::Serving {
            record(&self.history, compared);
        }
        self.stop_in_order();
    }

    /// Reads everything and tries everything, from a node of its own.
    fn check(&mut self, round: usize) {
        if self.server.state() != State::Serving {
            return; // Said already.
        }
        let checker = self.checker;
        workload::boot(&self.sim, checker, &self.shared, Task::Checker(round));
        let done = self.pass(CHECK_WAIT, |run| !run.sim.is_running(checker));
        self.probe("everything can be read", done);
        if !done {
            self.sim.crash(checker, Crash::Process);
        }
    }

    /// Has the server serve.
    fn serve(&mut self) {
        let mut tried = false;
        let started = self.pass(BOOT_WAIT, |run| {
            // One that refuses to start says so, and will again.
            if run.server.state() == State::Down && !tried {
                tried = true;
                run.server.answer_for_marks();
                run.server.boot(run.scenario.shards);
            }
            // One that the nemesis has asked to stop ends first.
            !run.server.is_stopping() && run.server.state() != State::Starting
        });
        let serves = started && self.server.state() == State::Serving;
        self.probe("the server serves", serves);
    }

    fn stop_in_order(&mut self) {
        if self.server.state() == State::Down {
            return;
        }
        self.server.stop();
        let stopped = self.pass(STOP_WAIT, |run| run.server.state() == State::Down);
        self.probe("the server stops in order", stopped);
        if !stopped {
            self.server.kill();
        }
    }

    fn probe(&self, what: &str, worked: bool) {
        let result = if worked { Ok(()) } else { Err("not within its time".to_owned()) };
        record(&self.history, Kind::Probed { what: what.to_owned(), result });
    }

    /// Lets time pass until `done`, looking after the server all the while.
    fn pass(&mut self, most: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let sim = Rc::clone(&self.sim);
        let finished = sim.run_until(most, || {
            self.server.poll();
            done(self) || self.sim.polls() > POLLS_MAX
        });
        finished && self.sim.polls() <= POLLS_MAX
    }

    fn judge(&mut self) -> Outcome {
        for (node, durable, message) in self.sim.panics() {
            let name = durable.map(|name| format!(" (task {name:?})")).unwrap_or_default();
            let message = format!("{}{name}: {message}", self.sim.name(node));
            record(&self.history, Kind::Panicked { message });
        }
        let history = self.history.borrow().clone();
        let mut violations: Vec<_> = oracle::judge(&history);
        if self.sim.polls() > POLLS_MAX {
            violations.push(Violation {
                oracle: "progress",
                at: u64::try_from(self.sim.now().as_nanos()).unwrap_or(u64::MAX),
                what: format!("the world turns in circles: {} polls", self.sim.polls()),
                events: Vec::new(),
            });
        }
        let disk = self.sim.disk_faults_struck().into_iter();
        let disk = disk.map(|(fault, count)| (format!("disk: {fault}"), count));
        let net = self.sim.net_faults_struck().into_iter();
        let net = net.map(|(fault, count)| (format!("net: {fault}"), count));
        let steps = self.server.interrupted().iter();
        let steps = steps.map(|(step, count)| (format!("interrupted: {step}"), *count));
        let objects = self.server.store().map(Store::struck).unwrap_or_default();
        let objects = objects.into_iter().map(|(what, count)| (format!("store: {what}"), count));
        let nodes = std::iter::once(self.server.id())
            .chain(self.clients.iter().copied())
            .chain([self.checker]);
        Outcome {
            violations,
            hash: self.sim.trace_hash(),
            polls: self.sim.polls(),
            elapsed: self.sim.now(),
            struck: disk
                .chain(net)
                .chain(steps)
                .chain(objects)
                .chain(struck_by_nemesis(&history))
                .collect(),
            acked: workload::acked(&history),
            boots: count(&history, |kind| matches!(kind, Kind::Booted { .. })),
            trace: self.sim.take_trace(),
            nodes: nodes.map(|node| self.sim.name(node)).collect(),
            history,
        }
    }
}

/// Whether the object store has what it should, and nothing else.
fn is_clean(compared: &Kind) -> bool {
    matches!(compared, Kind::StoreCompared { missing, orphans } if missing.is_empty() && orphans.is_empty())
}

/// Whether what a fault leaves behind may need a restart to mend.
fn wants_restart(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::WriteError
            | Fault::ReadError
            | Fault::SyncError
            | Fault::NoSpace
            | Fault::FileTooLarge
            | Fault::BitRot
            | Fault::Misdirected
            | Fault::LostWrite
            | Fault::CameBackShorter
    )
}

fn count(history: &History, which: impl Fn(&Kind) -> bool) -> u64 {
    history.events().iter().filter(|event| which(&event.kind)).count() as u64
}

/// Ends of the process, by kind.
fn struck_by_nemesis(history: &History) -> BTreeMap<String, u64> {
    let mut ends = BTreeMap::new();
    for event in history.events() {
        match &event.kind {
            Kind::Ended { end, .. } => {
                *ends.entry(format!("process: {end:?}")).or_default() += 1;
            }
            Kind::BootFailed { .. } => {
                *ends.entry("process: BootFailed".to_owned()).or_default() += 1;
            }
            _ => {}
        }
    }
    ends
}
