//! What is done to a data directory while no server runs on it: the catalog read, partitions repaired.
//!
//! Each call starts a machine of one core for as long as it takes, because partitions are opened on cores and nowhere else.
//! Reading the catalog needs neither core nor lock: it takes the batches that somebody else has found.

pub mod restore;

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;

use pyralog_log::batch::{Batch, Decoder};
use pyralog_log::ids::{LogId, PartitionId};
use pyralog_log::partition::{
    AppendError, Appended, Completions, PartitionConfig, Storage, Ticket,
};
use pyralog_log::partition_file::Partition;
use pyralog_log::recovery::{Extent, RecoveryReport};
use pyralog_runtime::{MachineConfig, Pin};

use crate::catalog::{self, Catalog, LogEntry};
use crate::data_dir::{DataDir, DataDirError};
use crate::limits::OFFLINE_BUFFER_BYTES;
use crate::partitions::{log_folder, partition_config, recycle_folder};

/// Why something cannot be done to a data directory.
#[derive(Debug)]
#[non_exhaustive]
pub enum OfflineError {
    /// The directory cannot be used: a server has it, for one.
    DataDir(DataDirError),
    /// No core can be started, or it ended early.
    Core(String),
}

impl fmt::Display for OfflineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDir(error) => error.fmt(formatter),
            Self::Core(problem) => write!(formatter, "no core to work on: {problem}"),
        }
    }
}

impl std::error::Error for OfflineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DataDir(error) => Some(error),
            Self::Core(_) => None,
        }
    }
}

impl From<DataDirError> for OfflineError {
    fn from(error: DataDirError) -> Self {
        Self::DataDir(error)
    }
}

/// The directory of a partition within a data directory.
#[must_use]
pub fn partition_folder(data: &Path, log: LogId, partition: PartitionId) -> PathBuf {
    log_folder(data, log).join(partition.to_string())
}

/// Replays commands from batches of the catalog's partition, in their order.
#[derive(Default)]
pub struct CatalogReader {
    catalog: Catalog,
    decoder: Decoder,
}

impl fmt::Debug for CatalogReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CatalogReader")
            .field("catalog", &self.catalog)
            .finish_non_exhaustive()
    }
}

impl CatalogReader {
    /// Takes the next batch, whole and sealed.
    ///
    /// # Errors
    /// What is wrong with it, in words; the commands before it have been applied.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (batch, _) = Batch::split_first(bytes).map_err(|error| error.to_string())?;
        let batch = batch.verify().map_err(|error| error.to_string())?;
        let rows = self.decoder.rows(&batch).map_err(|error| error.to_string())?;
        for record in rows.iter() {
            let value = record.value.unwrap_or_default();
            let command = catalog::decode(value).map_err(|error| error.to_string())?;
            // A refused command was refused when it was new as well: see `Catalog::apply`.
            self.catalog.apply(&command).ok();
        }
        Ok(())
    }

    /// The logs after the commands so far.
    #[must_use]
    pub fn into_catalog(self) -> Catalog {
        self.catalog
    }
}

/// A partition that was repaired, or could not be.
#[derive(Debug)]
pub struct Repaired {
    /// Its log.
    pub log: LogId,
    /// Its number.
    pub partition: PartitionId,
    /// What recovery found and did, or why it could not.
    pub outcome: Result<RecoveryReport, String>,
}

/// Recovers partitions as a start of the server would, but reads everything: indexes and checkpoints are made again, and
/// what is damaged is listed and its bytes copied to quarantine. The lock of the directory is held meanwhile.
///
/// # Errors
/// If the directory cannot be taken or no core be started; then nothing was done.
pub fn repair(
    data: &Path,
    partitions: Vec<(LogEntry, PartitionId)>,
) -> Result<Vec<Repaired>, OfflineError> {
    let _held = DataDir::open_existing(data)?;
    let data = data.to_owned();
    on_a_core("repair", move || repair_all(data.clone(), partitions.clone()))
}

async fn repair_all(data: PathBuf, partitions: Vec<(LogEntry, PartitionId)>) -> Vec<Repaired> {
    let mut all = Vec::with_capacity(partitions.len());
    for (entry, partition) in partitions {
        let storage = Storage::Durable {
            dir: partition_folder(&data, entry.id, partition),
            recycle: recycle_folder(&data, 0),
        };
        let config = PartitionConfig {
            extent: Extent::Everything,
            key_index: false,
            ..partition_config(&entry, partition, storage)
        };
        let outcome = match Partition::open(config, Rc::new(Nobody)).await {
            Ok((opened, report)) => {
                opened.close().await;
                Ok(report)
            }
            Err(error) => Err(error.to_string()),
        };
        all.push(Repaired { log: entry.id, partition, outcome });
    }
    all
}

/// Nothing is appended, so there is nobody to answer.
struct Nobody;

impl Completions for Nobody {
    fn completed(&self, _ticket: Ticket, _outcome: Result<Appended, AppendError>) {}
}

/// Runs `work` on a core of its own and waits for it.
#[expect(clippy::disallowed_types, reason = "an ordinary thread waits for the core's answer")]
fn on_a_core<T, F>(
    name: &str,
    work: impl Fn() -> F + Clone + Send + 'static,
) -> Result<T, OfflineError>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let config = MachineConfig {
        shards: 1,
        pin: Pin::None,
        buffer_bytes: OFFLINE_BUFFER_BYTES,
        name: name.to_owned(),
        ..MachineConfig::default()
    };
    let (answer, answered): (_, mpsc::Receiver<T>) = mpsc::sync_channel(1);
    let machine = pyralog_runtime::start(&config, move |core| {
        let (answer, work) = (answer.clone(), work.clone());
        async move {
            // The receiver waits below until the machine has ended.
            answer.send(work().await).ok();
            core.stopper().stop();
        }
    });
    let core = |problem: String| OfflineError::Core(problem);
    machine
        .map_err(|error| core(error.to_string()))?
        .join()
        .map_err(|error| core(error.to_string()))?;
    answered.try_recv().map_err(|_| core("it ended early".to_owned()))
}
