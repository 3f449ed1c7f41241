//! A core of the runtime for one piece of work, on the CPU of the server.

use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;

use anyhow::Context as _;
use pyralog_log::durability::Durability;
use pyralog_log::partition::{AppendError, AppendNow, Appended, Completions, Ticket};
use pyralog_log::partition_file::Partition;
use pyralog_runtime::{Core, MachineConfig, Pin, start};

use crate::bench::Grounds;
use crate::ceiling::SPIN;
use crate::server::pin;

/// Memory for direct I/O.
const BUFFER_BYTES: usize = 64 << 20;

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
    // A load that ran before has bound this thread to its own.
    pin(grounds.all_cpus())?;
    let config = MachineConfig {
        shards: 1,
        pin: Pin::List(vec![grounds.server_cpus(1)[0] as usize]),
        spin: SPIN,
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
