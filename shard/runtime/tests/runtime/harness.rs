//! Machines for tests: small, unpinned, and joined.

use pyralog_runtime::{Core, JoinError, MachineConfig, start};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A configuration for `shards` cores.
pub(crate) fn config(shards: usize) -> MachineConfig {
    MachineConfig {
        shards,
        buffer_bytes: 4 << 20,
        name: "test".to_owned(),
        seed: Some(7),
        ..MachineConfig::default()
    }
}

/// Runs `main` on one core and passes its panic on.
pub(crate) fn run<M, F>(main: M)
where
    M: Fn(Core) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    run_on(1, main);
}

/// Same, on `shards` cores.
pub(crate) fn run_on<M, F>(shards: usize, main: M)
where
    M: Fn(Core) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    if let Err(error) = outcome(shards, main) {
        panic!("{error}");
    }
}

/// Same, and returns how it ended.
pub(crate) fn outcome<M, F>(shards: usize, main: M) -> Result<(), JoinError>
where
    M: Fn(Core) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    start(&config(shards), main).unwrap().join()
}

/// A counter for all threads.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn add(&self, n: usize) -> usize {
        self.0.fetch_add(n, Ordering::SeqCst) + n
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Adds one when it is dropped.
pub(crate) struct CountsDrop(pub(crate) Count);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.add(1);
    }
}
