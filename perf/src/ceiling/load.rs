//! The other side of a measurement: a plain thread, bound to the load's processor.

use std::thread;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use pyralog_runtime::{Task, spawn, spawn_blocking};

/// Runs `work` on a thread bound to `cpu` while the core goes on; the task is its result.
///
/// The thread is made by one of the pool: bound itself, the pool would stay there.
pub(super) fn on_cpu<R: Send + 'static>(
    cpu: usize,
    work: impl FnOnce() -> anyhow::Result<R> + Send + 'static,
) -> Task<anyhow::Result<R>> {
    spawn(async move {
        let ran = spawn_blocking(move || {
            let bound = move || {
                let core = core_affinity::CoreId { id: cpu };
                anyhow::ensure!(core_affinity::set_for_current(core), "cannot run on CPU {cpu}");
                work()
            };
            let thread = thread::Builder::new().name("ceiling-load".to_owned()).spawn(bound);
            thread.context("no thread for the load")?.join().ok().context("the load panicked")?
        });
        ran.await?
    })
}

/// Longest time that a histogram tells from longer ones, in nanoseconds: a minute, twice what a sample may hang.
const LATENCY_MAX: u64 = 60_000_000_000;

/// An empty histogram of nanoseconds: three digits, as in all results. Bounded, because the calls that cannot fail do
/// not make one wider.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("the bounds are constants")
}
