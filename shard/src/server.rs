//! A server in this process: start, addresses, stop, join. For ordinary threads.

use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::future::{Either, select};
use pyralog_http::{HttpError, HttpServer};
use pyralog_runtime::mesh::Mesh;
use pyralog_runtime::{
    Core, JoinError, Machine, MachineConfig, Pin, rng, spawn, spawn_durable, time,
};

use crate::admin::Admin;
use crate::boot::{self, Started};
use crate::config::{ConfigError, DataConfig, ServerConfig};
use crate::data_dir::{DataDir, DataDirError, Identity};
use crate::limits::{
    LANE_MESSAGES, MEMORY_ONLY_IO_BYTES, NODE_ID_MAX, PORT_RELEASE_STEP, PORT_RELEASE_WAIT,
};
use crate::message::Message;
use crate::ownership::CATALOG_SHARD;
use crate::shard::{Phase, Shard};
use crate::{inbox, stop};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The port that all shards share.
    pub listen: SocketAddr,
    /// Each shard's own port, in order of index.
    pub shards: Vec<SocketAddr>,
    /// The admin listener.
    pub http: Option<SocketAddr>,
}

/// Why a server did not start. Displays as a sentence that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A setting breaks a rule.
    Config(ConfigError),
    /// The data directory cannot be used.
    DataDir(DataDirError),
    /// An address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        problem: String,
    },
    /// The admin listener did not start.
    Http(HttpError),
    /// The cores did not start.
    Runtime(pyralog_runtime::StartError),
    /// The catalog cannot be read.
    Catalog(String),
    /// A shard did not come up.
    Shard {
        /// Its index.
        shard: usize,
        /// What it said.
        problem: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(formatter),
            Self::DataDir(error) => error.fmt(formatter),
            Self::Listen { address, problem } => write!(
                formatter,
                "cannot listen on {address}: {problem}; stop what listens there, or choose another address"
            ),
            Self::Http(error) => write!(formatter, "{error}; choose another address, or none"),
            Self::Runtime(error) => error.fmt(formatter),
            Self::Catalog(problem) => formatter.write_str(problem),
            Self::Shard { shard, problem } => {
                write!(formatter, "shard {shard} did not start: {problem}")
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::DataDir(error) => Some(error),
            Self::Http(error) => Some(error),
            Self::Runtime(error) => Some(error),
            Self::Listen { .. } | Self::Catalog(_) | Self::Shard { .. } => None,
        }
    }
}

/// A core ended by a panic. What was acknowledged as `synced` is on disk.
#[derive(Debug)]
pub struct StopError(JoinError);

impl fmt::Display for StopError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the server ended by a failure of its own: {}", self.0)
    }
}

impl std::error::Error for StopError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Asks a server to stop. From any thread, without waiting; clones are the same, and asking twice is harmless.
#[derive(Debug, Clone)]
pub struct Stopper(pyralog_runtime::Stopper);

impl Stopper {
    /// Asks for an orderly stop: requests in flight are answered, everything acknowledged is synced.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// A running server. Dropping it asks it to stop and waits for the end.
#[derive(Debug)]
pub struct Server {
    machine: Option<Machine>,
    stopper: pyralog_runtime::Stopper,
    http: Option<HttpServer>,
    addresses: Addresses,
    identity: Identity,
    recovery: Vec<String>,
    /// Holds the lock for as long as a core may write.
    _data: Option<DataDir>,
}

impl Server {
    /// Starts a server and returns when it serves: every shard listens, every partition is open. From an ordinary
    /// thread; several may live in one process.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: ServerConfig) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        require_free(&config)?;
        let data = open_data(&config)?;
        let identity = data.as_ref().map_or_else(|| fresh(&config), DataDir::identity);
        let mesh = Mesh::new(config.shards, LANE_MESSAGES);
        let admin = Admin::new(&config, identity, mesh.outside());
        let http_address = config.http;
        let (sender, receiver) = mpsc::channel();
        let machine_config = machine_config(&config);
        let main = move |core: Core| {
            let (mesh, config, sender) = (mesh.clone(), config.clone(), sender.clone());
            async move { shard_main(core, mesh, (config, identity), sender).await }
        };
        let machine = pyralog_runtime::start(&machine_config, main).map_err(StartError::Runtime)?;
        let stopper = machine.stopper();
        let mut server = Self {
            machine: Some(machine),
            stopper,
            http: None,
            addresses: Addresses {
                listen: SocketAddr::from(([0; 4], 0)),
                shards: vec![],
                http: None,
            },
            identity,
            recovery: Vec::new(),
            _data: data,
        };
        let started = receiver.recv().unwrap_or_else(|_ended| {
            let problem = "a core ended during the start: see the log".to_string();
            Err(StartError::Shard { shard: CATALOG_SHARD, problem })
        });
        // Errors from here on drop the server, which stops and joins what runs.
        let Started { addresses, recovery } = started?;
        (server.addresses, server.recovery) = (addresses, recovery);
        if let Some(address) = http_address {
            let http = HttpServer::start(address, admin).map_err(StartError::Http)?;
            server.addresses.http = Some(http.address());
            server.http = Some(http);
        }
        Ok(server)
    }

    /// Where it listens, with real ports.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The id of this node.
    #[must_use]
    pub fn node_id(&self) -> u64 {
        self.identity.node_id
    }

    /// The id of its cluster.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.identity.cluster_id
    }

    /// One line for each partition that needed more than a clean open: cut tails, damaged ranges, failures.
    #[must_use]
    pub fn recovery(&self) -> &[String] {
        &self.recovery
    }

    /// A handle that stops the server, for a signal's thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stopper.clone())
    }

    /// Stops in order and waits for the end.
    ///
    /// # Errors
    /// [`StopError`] if a core panicked; see there.
    pub fn shutdown(self) -> Result<(), StopError> {
        self.stopper.stop();
        self.join()
    }

    /// Waits until somebody has stopped it, and for the end.
    ///
    /// # Errors
    /// [`StopError`] if a core panicked; see there.
    pub fn join(mut self) -> Result<(), StopError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), StopError> {
        let joined = self.machine.take().map_or(Ok(()), Machine::join);
        if let Some(http) = self.http.take() {
            http.stop();
        }
        joined.map_err(StopError)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the server ended badly");
        }
    }
}

/// With `SO_REUSEPORT` a second server of the same user could share the port and take half of the connections. So the
/// port is asked for without it first, and so are the shards' own. A port that a killed server still holds is waited for.
fn require_free(config: &ServerConfig) -> Result<(), StartError> {
    let first = config.listen.port();
    if first == 0 {
        return Ok(());
    }
    let mut steps = PORT_RELEASE_WAIT.as_millis() / PORT_RELEASE_STEP.as_millis();
    for port in (first..=u16::MAX).take(1 + config.shards) {
        let address = SocketAddr::new(config.listen.ip(), port);
        while let Err(error) = TcpListener::bind(address) {
            if error.kind() != ErrorKind::AddrInUse || steps == 0 {
                return Err(StartError::Listen { address, problem: error.to_string() });
            }
            steps -= 1;
            pause(PORT_RELEASE_STEP);
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "an ordinary thread, and no shard runs yet")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

fn open_data(config: &ServerConfig) -> Result<Option<DataDir>, StartError> {
    let DataConfig::Dir(path) = &config.data else { return Ok(None) };
    DataDir::open(path, config.node_id, fresh(config)).map(Some).map_err(StartError::DataDir)
}

/// The identity of a node that has none yet.
fn fresh(config: &ServerConfig) -> Identity {
    let draw = || rng::entropy_u64() % NODE_ID_MAX + 1;
    Identity {
        node_id: config.node_id.unwrap_or_else(draw),
        cluster_id: draw(),
        created_us: time::unix_us(),
    }
}

fn machine_config(config: &ServerConfig) -> MachineConfig {
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

/// What runs on each core.
async fn shard_main(
    core: Core,
    mesh: Mesh<Message>,
    (config, identity): (ServerConfig, Identity),
    started: mpsc::Sender<Result<Started, StartError>>,
) {
    let (lanes, inbox) = mesh.join(&core);
    let shard = Rc::new(Shard::new(lanes, config, identity));
    let receiving = spawn_durable("inbox", inbox::run(Rc::clone(&shard), inbox));
    let posting = Rc::clone(&shard);
    spawn(async move { posting.post_late().await }).detach(); // ends with the core
    if core.shard == CATALOG_SHARD {
        lead(&core, &shard, started).await;
    } else {
        drop(started);
        shard.reached(Phase::Closed).await;
    }
    shard.advance(Phase::Closed);
    // Err: it was cancelled, which is as well now.
    receiving.await.ok();
    shard.partitions.clear();
}

/// Boots the node, tells the thread that waits for it, and stops the node when asked to.
async fn lead(core: &Core, shard: &Rc<Shard>, started: mpsc::Sender<Result<Started, StartError>>) {
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
    started.send(outcome).ok();
    if failed {
        core.stopper().stop();
    }
    core.stopping().await;
    stop::lead(shard, changes).await;
}
