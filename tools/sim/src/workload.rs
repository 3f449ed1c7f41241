//! What clients do: append, retry, read, tail, create, change and delete logs, take ids and numbers of counters; and what
//! the checker does at the end.
//!
//! Everything that is asked and answered gets into the history by the client itself, so a workload only decides what to
//! do next. To add one, write an `async fn` that works until [`Shared::is_finishing`] and start it in [`client`].

mod checker;
mod churn;
mod produce;
mod proofs;
mod read;
mod sequences;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use pyralog_client::ClientConfig;
use pyralog_runtime::rng::Rng;
use pyralog_runtime::sim::{NodeId, Simulation};
use pyralog_runtime::{MachineConfig, spawn, time};
use pyralog_wire::{ErrorCode, Integrity, LogStorage};

use crate::client::{Identity, SimClient};
use crate::history::{History, Kind, Outcome};
use crate::scenario::{CounterPlan, LogPlan};

/// How often a workload looks whether it is to finish.
const GLANCE: Duration = Duration::from_millis(50);
/// Number of the checker in the history.
const CHECKER: u32 = 1_000;

/// What all clients of a run share.
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, whatever the others are")]
pub struct Shared {
    /// Where the server is.
    pub address: SocketAddr,
    /// The logs to work on.
    pub logs: Vec<LogPlan>,
    /// Whether to create and delete others.
    pub churn: bool,
    /// Whether the server has an object store.
    pub store: bool,
    /// Whether to let the beginnings of logs go.
    pub truncation: bool,
    /// Whether to ask for ids.
    pub ids: bool,
    /// The counters to take from.
    pub counters: Vec<CounterPlan>,
    /// Whether files of counters may be damaged: then whoever raises one answers for it, and has to know better than any client.
    pub damaged_counters: bool,
    /// The seed of the run.
    pub seed: u64,
    /// What happened.
    pub history: Rc<RefCell<History>>,
    /// Set when nothing new is to be begun.
    pub finishing: Cell<bool>,
}

impl Shared {
    /// Whether nothing new is to be begun.
    #[must_use]
    pub fn is_finishing(&self) -> bool {
        self.finishing.get()
    }

    /// Whether a log keeps its records in memory only.
    fn in_memory(&self, log: usize) -> bool {
        self.logs[log].config.storage == LogStorage::Memory
    }

    fn client(&self, number: u32) -> SimClient {
        let config = ClientConfig {
            name: format!("client {number}"),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(3),
            ..ClientConfig::default()
        };
        let seed = self.seed ^ (u64::from(number) + 1) << 40;
        let identity = Identity { number, seed };
        SimClient::new(&[self.address], config, identity, Rc::clone(&self.history))
    }

    fn rng(&self, number: u32, what: u64) -> Rng {
        Rng::with_seed(self.seed ^ (u64::from(number) + 1) << 48 ^ what << 32)
    }
}

/// What a node with clients is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    /// It works.
    Client(usize),
    /// It looks at everything; how often that was done before.
    Checker(usize),
}

/// Boots a node with clients. It ends by itself: a client when it is to finish and has an outcome for everything.
pub fn boot(sim: &Simulation, node: NodeId, shared: &Rc<Shared>, task: Task) {
    let config = MachineConfig { name: "client".to_owned(), ..MachineConfig::default() };
    let shared = Rc::clone(shared);
    sim.boot(node, &config, |_core| {
        let shared = Rc::clone(&shared);
        async move {
            match task {
                Task::Client(index) => client(shared, u32::try_from(index).unwrap_or(0)).await,
                Task::Checker(round) => {
                    let number = CHECKER + u32::try_from(round).unwrap_or(0);
                    checker::check(&shared, shared.client(number)).await;
                }
            }
        }
    });
}

/// One client: its producers, readers and administrator.
async fn client(shared: Rc<Shared>, number: u32) {
    let client = shared.client(number);
    let mut rng = shared.rng(number, 1);
    create_logs(&shared, &client).await;
    let (mut working, mut reading) = (Vec::new(), Vec::new());
    for index in 0..shared.logs.len() {
        // Not every client does everything: some logs have one producer, some many, some readers only.
        for kind in 0..=rng.below(2) {
            let rng = shared.rng(number, 16 + index as u64 * 4 + kind);
            let (shared, client) = (Rc::clone(&shared), client.clone());
            working.push(spawn(produce::run(shared, client, (index, rng))));
        }
        if rng.below(3) == 0 {
            let rng = shared.rng(number, 1_000 + index as u64);
            let (shared, client) = (Rc::clone(&shared), client.clone());
            working.push(spawn(produce::run_raw(shared, client, (index, rng))));
        }
        if shared.logs[index].config.integrity != Integrity::None && rng.below(3) > 0 {
            let rng = shared.rng(number, 6_000 + index as u64);
            let (shared, client) = (Rc::clone(&shared), client.clone());
            reading.push(spawn(proofs::run(shared, client, (index, rng))));
        }
        for reader in 0..rng.below(3) {
            let rng = shared.rng(number, 2_000 + index as u64 * 4 + reader);
            let (shared, client) = (Rc::clone(&shared), client.clone());
            reading.push(spawn(read::run(shared, client, (index, rng))));
        }
    }
    for task in 0..rng.below(if shared.ids { 4 } else { 1 }) {
        let rng = shared.rng(number, 4_000 + task);
        working.push(spawn(sequences::ids(Rc::clone(&shared), client.clone(), rng)));
    }
    for task in 0..rng.below(if shared.counters.is_empty() { 1 } else { 5 }) {
        let rng = shared.rng(number, 5_000 + task);
        working.push(spawn(sequences::counters(Rc::clone(&shared), client.clone(), rng)));
    }
    let rng = shared.rng(number, 3_000);
    working.push(spawn(churn::run(Rc::clone(&shared), client.clone(), (number, rng))));
    while !shared.is_finishing() {
        time::sleep(GLANCE).await;
    }
    // Readers at the tail would wait for ever.
    drop(reading);
    for task in working {
        // Err: it panicked, which the world has noted.
        task.await.ok();
    }
}

/// Creates the logs of the run, together with the other clients.
async fn create_logs(shared: &Shared, client: &SimClient) {
    for log in 0..shared.logs.len() {
        create_log(shared, client, log).await;
    }
}

/// Sees to it that a log of the run is there.
async fn create_log(shared: &Shared, client: &SimClient, log: usize) {
    let plan = &shared.logs[log];
    while !shared.is_finishing() {
        match client.create_log(&plan.name, plan.config).await {
            Ok(_) => return,
            Err(error) if error.is(ErrorCode::LogExists) => return,
            Err(_) => time::sleep(GLANCE).await,
        }
    }
}

/// How many records of a history were acknowledged.
#[must_use]
pub fn acked(history: &History) -> u64 {
    let mut ended = BTreeSet::new();
    for event in history.events() {
        if let Kind::AppendEnded { append, outcome: Outcome::Acked { .. } } = &event.kind {
            ended.insert(*append);
        }
    }
    let records = history.events().iter().map(|event| match &event.kind {
        Kind::AppendBegun { append, records, .. } if ended.contains(append) => records.len() as u64,
        _ => 0,
    });
    records.sum()
}
