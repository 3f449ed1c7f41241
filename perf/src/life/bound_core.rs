//! A core of the runtime for one piece of work, on the CPU of the server.

use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use pyralog_log::batch::{BuilderConfig, Record, RowsBuilder};
use pyralog_log::durability::Durability;
use pyralog_log::ids::Timestamp;
use pyralog_log::limits::BATCH_BYTES_MAX;
use pyralog_log::partition::{AppendError, AppendNow, Appended, Completions, Ticket};
use pyralog_log::partition_file::Partition;
use pyralog_runtime::{Core, MachineConfig, Pin, start};

use crate::bench::Grounds;
use crate::ceiling::SPIN;
use crate::server::pin;

/// Memory for direct I/O.
const BUFFER_BYTES: usize = 64 << 20;

/// Records of a batch, and bytes of each.
const RECORDS: usize = 1000;
const VALUE_BYTES: usize = 1 << 10;

/// Bytes between two waits for the disk while a partition is filled.
const BURST_BYTES: usize = 8 << 20;

/// Runs `work` on a core that is bound to the CPU of the server.
///
/// # Errors
/// What the work says; if the machine has no `io_uring`; if the work panicked.
pub(super) fn on_core<T: Send + 'static, F>(
    grounds: &Grounds,
    work: impl FnOnce(Core) -> F + Clone + Send + 'static,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>> + 'static,
{
    on_core_spinning(grounds, SPIN, work)
}

/// As [`on_core`], with a core that spins for so long before it sleeps: what it spins is processor time as well.
///
/// # Errors
/// As [`on_core`].
pub(super) fn on_core_spinning<T: Send + 'static, F>(
    grounds: &Grounds,
    spin: Duration,
    work: impl FnOnce(Core) -> F + Clone + Send + 'static,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>> + 'static,
{
    // A load that ran before has bound this thread to its own.
    pin(grounds.all_cpus())?;
    let config = MachineConfig {
        shards: 1,
        pin: Pin::List(vec![grounds.server_cpus(1)[0] as usize]),
        spin,
        buffer_bytes: BUFFER_BYTES,
        name: "bench-life".to_owned(),
        ..MachineConfig::default()
    };
    let (sender, receiver) = mpsc::channel();
    let machine = start(&config, move |core| {
        let (work, sender) = (work.clone(), sender.clone());
        async move {
            // Err: nobody waits for it any more.
            sender.send(work(core).await).ok();
        }
    })?;
    machine.join()?;
    receiver.try_recv().context("the core ended without a result")?
}

/// Nothing is waited for by ticket.
struct Ignore;

impl Completions for Ignore {
    fn completed(&self, _ticket: Ticket, _outcome: Result<Appended, AppendError>) {
        // A filling that failed is found by the flush behind it.
    }
}

/// Appends what `next` writes until it writes nothing, and waits until it is on stable storage.
pub(super) async fn fill(
    partition: &Partition,
    mut next: impl FnMut(&mut Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut batch, mut unsynced) = (Vec::new(), 0);
    loop {
        batch.clear();
        next(&mut batch)?;
        if batch.is_empty() || unsynced >= BURST_BYTES {
            partition.flush(Durability::Synced).await?;
            unsynced = 0;
        }
        if batch.is_empty() {
            return Ok(());
        }
        if let AppendNow::Refused(error) =
            partition.append(&batch, Durability::Synced, Ticket::default())
        {
            return Err(error.into());
        }
        unsynced += batch.len();
    }
}

/// A batch of a megabyte that no file system and no disk makes smaller.
///
/// # Errors
/// If its limits were too small for it.
pub(super) fn batch() -> anyhow::Result<Vec<u8>> {
    let config = BuilderConfig { batch_bytes_max: BATCH_BYTES_MAX, ..BuilderConfig::default() };
    let (mut builder, mut rng) = (RowsBuilder::new(config), fastrand::Rng::with_seed(1));
    let mut value = vec![0; VALUE_BYTES];
    for _ in 0..RECORDS {
        rng.fill(&mut value);
        let create_time = Timestamp::new(1_700_000_000_000_000);
        builder.push(&Record { key: None, value: Some(&value), create_time, headers: &[] })?;
    }
    Ok(builder.finish(None)?)
}

/// A sink for a partition.
pub(super) fn ignore() -> Rc<dyn Completions> {
    Rc::new(Ignore)
}

/// A directory that is removed in the end.
///
/// # Errors
/// If it cannot be made.
pub(super) fn scratch(parent: &Path) -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("pyralog-bench-life-").tempdir_in(parent)?)
}
