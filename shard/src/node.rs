//! A node: what a server is without the threads, the ports and the signals of a process.
//!
//! [`Server`](crate::Server) puts a node on a machine of its own. Whoever has a machine to run it on does the same in
//! four steps: open the node, start a machine of [`Node::machine_config`] with [`Node::main`], ask
//! [`Node::try_started`] until it serves, and ask the machine to stop.

use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;

use futures_util::future::{Either, LocalBoxFuture, select};
use pyralog_log::proof::NodeKey;
use pyralog_log::remote::RemoteStore;
use pyralog_log::tier::Tier;
use pyralog_runtime::mesh::Mesh;
use pyralog_runtime::{Core, MachineConfig, Pin, rng, spawn, spawn_durable, time};
use pyralog_store::Store;

use crate::admin::Admin;
use crate::boot;
use crate::config::{DataConfig, ServerConfig};
use crate::data_dir::{Asked, DataDir, Identity};
use crate::limits::{LANE_MESSAGES, MEMORY_ONLY_IO_BYTES, NODE_ID_MAX};
use crate::message::Message;
use crate::ownership::CATALOG_SHARD;
use crate::server::{Addresses, StartError};
use crate::shard::{Phase, Shard};
use crate::{inbox, node_key, stop};

/// What a node is once it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Where its shards listen, with real ports; the admin listener is not the node's.
    pub addresses: Addresses,
    /// One line for each partition that needed more than a clean open: cut tails, damaged ranges, failures.
    pub recovery: Vec<String>,
}

type Outcome = Result<Started, StartError>;

/// Gives a core its end of an object store that is not the node's own: that of a simulated world.
pub type GivenStore = fn(&Core) -> Rc<dyn RemoteStore>;

/// Where cores get their ends of the object store from.
#[derive(Debug, Clone)]
enum Stores {
    Opened(Store),
    Given(GivenStore),
}

/// A node that was opened: its settings hold, its data directory is its own, its lanes are laid.
///
/// Belongs to the thread that opened it, which need not be a core. It must live for as long as a core of it may write:
/// the lock of the data directory goes with it.
#[derive(Debug)]
pub struct Node {
    config: ServerConfig,
    identity: Identity,
    key: NodeKey,
    mesh: Mesh<Message>,
    /// Goes to the cores with [`Node::main`]; when the last of them has dropped it, no report can come any more.
    reporter: Option<mpsc::Sender<Outcome>>,
    /// Until the report has come.
    #[expect(
        clippy::disallowed_types,
        reason = "waited for by an ordinary thread, never by a core"
    )]
    report: Option<mpsc::Receiver<Outcome>>,
    data: Option<DataDir>,
    stores: Option<Stores>,
}

impl Node {
    /// Checks the settings and takes the data directory, which is made if it is new. Blocks: from a thread that is not
    /// a core.
    ///
    /// # Errors
    /// [`StartError::Config`], [`StartError::Tier`] or [`StartError::DataDir`]; nothing is held then.
    pub fn open(config: ServerConfig) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        let store = config.tier.as_ref().map(|tier| Store::open(&tier.store, config.shards));
        let store = store.transpose().map_err(StartError::Tier)?;
        Self::open_in(config, store.map(Stores::Opened))
    }

    /// As [`Node::open`], with an object store that somebody else has: `config.tier` says whether there is one and how much
    /// of it is held, and its URL is not looked at.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub fn open_with(config: ServerConfig, given: GivenStore) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        let stores = config.tier.is_some().then_some(Stores::Given(given));
        Self::open_in(config, stores)
    }

    fn open_in(config: ServerConfig, stores: Option<Stores>) -> Result<Self, StartError> {
        let data = open_data(&config)?;
        let identity = data.as_ref().map_or_else(|| fresh(&config), DataDir::identity);
        let key = open_key(data.as_ref())?;
        let mesh = Mesh::new(config.shards, LANE_MESSAGES);
        let (reporter, report) = mpsc::channel();
        let (reporter, report) = (Some(reporter), Some(report));
        Ok(Self { config, identity, key, mesh, reporter, report, data, stores })
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The machine that it needs. The seed is left to chance.
    #[must_use]
    pub fn machine_config(&self) -> MachineConfig {
        let config = &self.config;
        MachineConfig {
            shards: config.shards,
            pin: if config.pin { Pin::Auto } else { Pin::None },
            spin: config.spin,
            buffer_bytes: match config.data {
                DataConfig::Dir(_) => config.memory.io_bytes,
                DataConfig::MemoryOnly { .. } => config.memory.io_bytes.min(MEMORY_ONLY_IO_BYTES),
            },
            name: "pyralog".into(),
            seed: None,
        }
    }

    /// What runs on each core of that machine. It boots, serves until the machine is asked to stop, and stops in order:
    /// requests in flight are answered, everything acknowledged is synced. A node that cannot serve asks the machine to
    /// stop by itself.
    ///
    /// # Panics
    /// If it is asked for twice: a node runs once.
    pub fn main(
        &mut self,
    ) -> impl Fn(Core) -> LocalBoxFuture<'static, ()> + Clone + Send + 'static + use<> {
        let reporter = self.reporter.take().expect("a node runs once");
        let (mesh, config, stores) = (self.mesh.clone(), self.config.clone(), self.stores.clone());
        let who = (self.identity, self.key.clone());
        move |core: Core| {
            let reporter = reporter.clone();
            let tier = tier_of(&core, stores.as_ref(), &config, who.0);
            let reached = (mesh.clone(), tier);
            let told = (config.clone(), who.clone());
            Box::pin(async move { shard_main(core, reached, told, reporter).await })
        }
    }

    /// Whether the start has come to an end, and to which: every shard listens and every partition is open, or why not.
    /// Says it once; `None` before and after. Does not wait.
    ///
    /// # Errors
    /// [`StartError`], in the answer; the cores are ending then.
    pub fn try_started(&mut self) -> Option<Result<Started, StartError>> {
        let outcome = match self.report.as_ref()?.try_recv() {
            Ok(outcome) => outcome,
            Err(mpsc::TryRecvError::Disconnected) => Err(ended()),
            Err(mpsc::TryRecvError::Empty) => return None,
        };
        self.report = None;
        Some(outcome)
    }

    /// Waits for what [`Node::try_started`] asks for. Blocks.
    ///
    /// # Panics
    /// If it was told before, or nobody has asked for [`Node::main`]: it would wait for ever.
    pub(crate) fn started(&mut self) -> Result<Started, StartError> {
        assert!(self.reporter.is_none(), "a node that does not run never serves");
        let report = self.report.take().expect("the report comes once");
        report.recv().unwrap_or_else(|_ended| Err(ended()))
    }

    /// The admin listener's view of it.
    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&self.config, (self.identity, self.key.public()), self.mesh.outside())
    }

    /// The data directory, for who outlives this.
    pub(crate) fn take_data(&mut self) -> Option<DataDir> {
        self.data.take()
    }
}

/// Every core has ended, or dropped its part of the start, without a word.
fn ended() -> StartError {
    let problem = "a core ended during the start: see the log".to_string();
    StartError::Shard { shard: CATALOG_SHARD, problem }
}

fn open_data(config: &ServerConfig) -> Result<Option<DataDir>, StartError> {
    let DataConfig::Dir(path) = &config.data else { return Ok(None) };
    let asked = Asked { node: config.node_id, cluster: config.cluster_id };
    DataDir::open(path, asked, fresh(config)).map(Some).map_err(StartError::DataDir)
}

/// The key that the node signs with. A node without a data directory has one for as long as it runs.
fn open_key(data: Option<&DataDir>) -> Result<NodeKey, StartError> {
    match data {
        Some(data) => node_key::open(data.path()).map_err(StartError::DataDir),
        None => Ok(node_key::draw()),
    }
}

/// The identity of a node that has none yet.
fn fresh(config: &ServerConfig) -> Identity {
    let draw = || rng::entropy_u64() % NODE_ID_MAX + 1;
    Identity {
        node_id: config.node_id.unwrap_or_else(draw),
        cluster_id: config.cluster_id.unwrap_or_else(draw),
        created_us: time::unix_us(),
    }
}

/// The core's end of the object store.
fn tier_of(
    core: &Core,
    stores: Option<&Stores>,
    config: &ServerConfig,
    identity: Identity,
) -> Option<Tier> {
    let tier = config.tier.as_ref()?;
    let store: Rc<dyn RemoteStore> = match stores? {
        Stores::Opened(store) => Rc::new(store.join(core)),
        Stores::Given(given) => given(core),
    };
    Some(Tier::new(store, identity.cluster_id, tier.cache_bytes))
}

/// What runs on each core.
async fn shard_main(
    core: Core,
    (mesh, tier): (Mesh<Message>, Option<Tier>),
    (config, who): (ServerConfig, (Identity, NodeKey)),
    reporter: mpsc::Sender<Outcome>,
) {
    let (lanes, inbox) = mesh.join(&core);
    let shard = Rc::new(Shard::new(lanes, (config, tier), who));
    let _released = Released(Rc::clone(&shard));
    let receiving = spawn_durable("inbox", inbox::run(Rc::clone(&shard), inbox));
    let posting = Rc::clone(&shard);
    spawn(async move { posting.post_late().await }).detach(); // ends with the core
    if core.shard == CATALOG_SHARD {
        lead(&core, &shard, reporter).await;
    } else {
        drop(reporter);
        shard.reached(Phase::Closed).await;
    }
    shard.advance(Phase::Closed);
    // Err: it was cancelled, which is as well now.
    receiving.await.ok();
    shard.partitions.clear();
}

/// Frees a core that ends with requests under way: by a panic, or by a death that the process survives because it is
/// simulated. Each of them holds the core, and the core holds them.
struct Released(Rc<Shard>);

impl Drop for Released {
    fn drop(&mut self) {
        let under_way = self.0.flights.take();
        drop(under_way);
    }
}

/// Boots the node, reports how that went, and stops the node when asked to.
async fn lead(core: &Core, shard: &Rc<Shard>, reporter: mpsc::Sender<Outcome>) {
    let booted = match select(pin!(boot::lead(shard)), pin!(core.stopping())).await {
        Either::Left((booted, _)) => booted,
        Either::Right(((), _)) => Err(StartError::Shard {
            shard: shard.index,
            problem: "the node was stopped during its start: see the log".into(),
        }),
    };
    let (outcome, changes) = match booted {
        Ok((serving, changes)) => (Ok(serving), Some(changes)),
        Err(error) => (Err(error), None),
    };
    let failed = outcome.is_err();
    // Err: nobody waits for the start any more, and so will stop the machine.
    reporter.send(outcome).ok();
    if failed {
        core.stopper().stop();
    }
    core.stopping().await;
    stop::lead(shard, changes).await;
}
