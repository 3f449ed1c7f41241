//! A server in this process: start, addresses, stop, join. For ordinary threads.

use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use pyralog_http::{HttpError, HttpServer};
use pyralog_runtime::{JoinError, Machine};

use crate::config::{ConfigError, ServerConfig};
use crate::data_dir::{DataDir, DataDirError, Identity};
use crate::limits::{PORT_RELEASE_STEP, PORT_RELEASE_WAIT};
use crate::node::{Node, Started};

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
    /// The object store cannot be used.
    Tier(pyralog_store::OpenError),
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
            Self::Tier(error) => error.fmt(formatter),
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
            Self::Tier(error) => Some(error),
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
        let http_address = config.http;
        let mut node = Node::open(config)?;
        let admin = node.admin();
        let machine = pyralog_runtime::start(&node.machine_config(), node.main())
            .map_err(StartError::Runtime)?;
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
            identity: node.identity(),
            recovery: Vec::new(),
            _data: node.take_data(),
        };
        // Errors from here on drop the server, which stops and joins what runs.
        let Started { addresses, recovery } = node.started()?;
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
