//! Object stores for closed segments: a local directory, S3, GCS or Azure by URL, on threads of their own.
//!
//! [`Store`] is the node's: it owns a small Tokio runtime and one `object_store` client. [`Store::join`] gives a core its
//! end of it, a [`CoreStore`], which is the log's [`RemoteStore`](pyralog_log::remote::RemoteStore). A core hands a job to
//! the runtime and gets one message back through a lane of the runtime's mesh, so no waker of a core ever crosses threads
//! and no network is ever waited for on a core. A core has at most [`limits::CALLS_IN_FLIGHT_MAX`] jobs out; the next waits.

#![forbid(unsafe_code)]

pub mod limits;

mod directory;
mod end;
mod errors;
mod job;
mod location;
mod upload;

pub use end::CoreStore;
pub use location::{OpenError, StoreConfig};

use std::fmt;
use std::sync::Arc;

use pyralog_runtime::mesh::{Mesh, Outside};
use pyralog_runtime::{Core, spawn};
use tokio::runtime::{Builder, Handle, Runtime};

use job::Done;
use limits::{CALLS_IN_FLIGHT_MAX, THREADS};
use location::Location;

/// What the node's ends share.
#[derive(Debug)]
struct Shared {
    location: Location,
    outside: Outside<Done>,
}

/// The runtime; its threads end when the last handle is dropped, without waiting for what is under way.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The store of a node. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    mesh: Mesh<Done>,
    handle: Handle,
    /// Ends them when the last clone goes.
    _threads: Arc<Threads>,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Store({})", self.shared.location.name())
    }
}

impl Store {
    /// Opens the store that a URL names, for a machine of `shards` cores. Nothing is asked of it yet but, of a local
    /// directory, whether it is there.
    ///
    /// # Errors
    /// If the URL or what belongs to it is wrong, or threads cannot be started.
    pub fn open(config: &StoreConfig, shards: usize) -> Result<Self, OpenError> {
        let location = Location::open(config)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(|error| OpenError::Threads(error.to_string()))?;
        let handle = runtime.handle().clone();
        let mesh = Mesh::new(shards, CALLS_IN_FLIGHT_MAX);
        let shared = Arc::new(Shared { location, outside: mesh.outside() });
        Ok(Self { shared, mesh, handle, _threads: Arc::new(Threads(Some(runtime))) })
    }

    /// What it is called: the URL.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.location.name()
    }

    /// The end of a core, once per core, on that core.
    ///
    /// # Panics
    /// If the core has joined already, or the machine has another number of cores.
    #[must_use]
    pub fn join(&self, core: &Core) -> CoreStore {
        let (_, inbox) = self.mesh.join(core);
        let end = CoreStore::new(self.clone(), core.shard);
        spawn(end.clone().receive(inbox)).detach(); // ends with the core
        end
    }
}
