//! Making a data directory from what a backup holds.
//!
//! `node.toml` is written last: until then the directory is none, and no server starts on it. A restore that was cut short is
//! thrown away and begun again.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use pyralog_log::batch::{BatchHeader, HEADER_BYTES};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use pyralog_log::merkle::{NODE_BYTES, Node};
use pyralog_log::partition::{AppendNow, PartitionConfig, Proofs, Storage, Ticket};
use pyralog_log::partition_file::{Partition, TreeRestore};
use pyralog_log::proof::{Checkpoint, NodeKey};
use pyralog_log::restore::{PartitionRestore, RestoredPartition};
use pyralog_runtime::{rng, spawn_blocking, time};
use pyralog_seq::obelisk::Mode;
use pyralog_seq::obelisk_file::{ObeliskFile, Options};
use pyralog_seq::scarab::EPOCH_UNIX_MS;
use pyralog_wire::message::CounterConfig;
use pyralog_wire::{Integrity, LogConfig};

use super::{Nobody, OfflineError, on_a_core, partition_folder};
use crate::catalog::{Catalog, Command, LogEntry};
use crate::catalog_log::{SEGMENT_BYTES, command_batch};
use crate::counters::mode_of;
use crate::data_dir::{Foundation, Identity, OBELISK_FOLDER, SCARAB_FOLDER};
use crate::limits::{NODE_ID_MAX, RESTORE_READ_BYTES, RESTORED_LOG_ID_MAX};
use crate::node_key;
use crate::ownership::CATALOG_LOG;
use crate::partitions::{partition_config, recycle_folder};

/// Commands of the catalog that are made durable at once.
const COMMANDS_AT_ONCE: usize = 256;

/// What to restore. The caller has checked that the files are what they were.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// The logs, by id.
    pub logs: Vec<RestoreLog>,
    /// The counters.
    pub counters: Vec<RestoreCounter>,
    /// No id with a later time was dealt, in milliseconds since the Unix epoch.
    pub ids_until_ms: u64,
}

/// A log.
#[derive(Clone, Debug)]
pub struct RestoreLog {
    /// Its id, name and configuration.
    pub entry: LogEntry,
    /// Its partitions with files.
    pub partitions: Vec<RestorePartition>,
}

/// A partition.
#[derive(Clone, Debug)]
pub struct RestorePartition {
    /// Its number.
    pub partition: PartitionId,
    /// Its low watermark.
    pub low: Offset,
    /// Its high watermark.
    pub high: Offset,
    /// Files of sealed batches, in order of offset.
    pub files: Vec<PathBuf>,
    /// The tree over its batches, if the log has proofs and the backup has one.
    pub tree: Option<RestoreTree>,
}

/// The tree of a partition.
#[derive(Clone, Debug)]
pub struct RestoreTree {
    /// Files of nodes, one after another in the order of their numbers from 0.
    pub files: Vec<PathBuf>,
    /// What was stated of it.
    pub checkpoint: Checkpoint,
}

/// A counter.
#[derive(Clone, Debug)]
pub struct RestoreCounter {
    /// Its name.
    pub name: String,
    /// How it works.
    pub config: CounterConfig,
    /// No number above it was dealt.
    pub value: u64,
}

/// What was restored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restored {
    /// The identity that the directory got.
    pub node_id: u64,
    /// The cluster that it is of now.
    pub cluster_id: u64,
    /// Bytes of batches.
    pub bytes: u64,
    /// Damaged ranges: what was missing in the backup.
    pub damaged: u64,
    /// How far ids that the former cluster may have dealt lie ahead of the clock, in milliseconds.
    pub ids_ahead_ms: u64,
}

/// Why nothing was restored; in words, with what it was about.
#[derive(Debug)]
pub struct RestoreFailed {
    place: String,
    problem: String,
}

impl fmt::Display for RestoreFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for RestoreFailed {}

fn failed(place: impl fmt::Display) -> impl FnOnce(String) -> RestoreFailed {
    move |problem| RestoreFailed { place: place.to_string(), problem }
}

/// What can end a restore.
type Outcome<T> = Result<T, RestoreFailed>;

/// Makes a data directory of `order`: the logs with their ids, records, configurations and watermarks, the counters above
/// everything dealt, and ids of records after everything that the former cluster can have dealt. The cluster gets a new id.
///
/// # Errors
/// If the directory is not empty or missing, or something cannot be read or written. It is to be removed then; no server
/// starts on it.
pub fn restore(data: &Path, order: RestoreOrder) -> Result<Outcome<Restored>, OfflineError> {
    let foundation = Foundation::lay(data)?;
    let draw = || rng::entropy_u64() % NODE_ID_MAX + 1;
    let (node_id, cluster_id) = (draw(), draw());
    let maker = Maker { data: data.to_owned(), cluster_id, key: node_key::open(data)? };
    let (restored, created_us) = match on_a_core("restore", move || {
        let (maker, order) = (maker.clone(), order.clone());
        async move { fill(&maker, &order).await.map(|restored| (restored, time::unix_us())) }
    })? {
        Ok(restored) => restored,
        Err(failed) => return Ok(Err(failed)),
    };
    foundation.finish(Identity { node_id, cluster_id, created_us })?;
    Ok(Ok(Restored { node_id, cluster_id, ..restored }))
}

/// What makes the directory: where, and who will own it.
#[derive(Clone)]
struct Maker {
    data: PathBuf,
    cluster_id: u64,
    /// Signs what is stated of trees, as the server will.
    key: NodeKey,
}

async fn fill(maker: &Maker, order: &RestoreOrder) -> Outcome<Restored> {
    let data = &maker.data;
    let mut restored = Restored::default();
    let commands = commands(&order.logs).map_err(failed("the catalog"))?;
    for log in &order.logs {
        for partition in &log.partitions {
            let (bytes, damaged) = fill_partition(maker, log, partition).await.map_err(failed(
                format_args!("log {} partition {}", log.entry.name, partition.partition),
            ))?;
            restored.bytes += bytes;
            restored.damaged += damaged;
        }
    }
    for counter in &order.counters {
        let mode = mode_of(&counter.config);
        raise(&data.join(OBELISK_FOLDER), &counter.name, (mode, counter.value))
            .await
            .map_err(failed(format_args!("counter {}", counter.name)))?;
    }
    // The former cluster may have dealt ids up to now.
    let now_ms = u64::try_from(time::unix_us() / 1000).unwrap_or_default();
    restored.ids_ahead_ms = order.ids_until_ms.saturating_sub(now_ms);
    let mark = order.ids_until_ms.max(now_ms).saturating_sub(EPOCH_UNIX_MS) + 1;
    raise(&data.join(SCARAB_FOLDER), "shard-0", (Options::default().mode, mark))
        .await
        .map_err(failed("the mark of ids"))?;
    fill_catalog(data, &commands).await.map_err(failed("the catalog"))?;
    Ok(restored)
}

/// Makes an obelisk whose value is `value`.
async fn raise(folder: &Path, name: &str, (mode, value): (Mode, u64)) -> Result<(), String> {
    let options = Options { mode, ..Options::default() };
    let (file, _) = ObeliskFile::raise_to(folder, name, options, value)
        .await
        .map_err(|error| error.to_string())?;
    file.close().await.map_err(|error| error.to_string())
}

/// Writes the segments, then opens and closes the partition: a recovery reads all of it. Returns bytes and damaged ranges.
async fn fill_partition(
    maker: &Maker,
    log: &RestoreLog,
    order: &RestorePartition,
) -> Result<(u64, u64), String> {
    let data = &maker.data;
    let dir = partition_folder(data, log.entry.id, order.partition);
    let mut partition = PartitionRestore::begin(RestoredPartition {
        log: log.entry.id,
        partition: order.partition,
        dir: dir.clone(),
        segment_bytes: log.entry.config.segment_bytes,
    })
    .await
    .map_err(|error| error.to_string())?;
    let mut bytes = 0;
    for path in &order.files {
        let mut reader = Chunks::open(path.clone(), whole_batches);
        while let Some(chunk) = reader.next().await? {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let header = BatchHeader::parse(rest).map_err(|error| error.to_string())?;
                let (batch, behind) = rest.split_at(header.total_len());
                partition.push(batch).await.map_err(|error| error.to_string())?;
                bytes += batch.len() as u64;
                rest = behind;
            }
        }
    }
    partition.finish(order.low, order.high).await.map_err(|error| error.to_string())?;
    if let (Some(tree), Some(proofs)) = (&order.tree, maker.proofs(&log.entry.config)) {
        fill_tree(&dir, tree, &proofs).await?;
    }
    let storage = Storage::Durable { dir, recycle: recycle_folder(data, 0) };
    let config = PartitionConfig {
        key_index: false,
        ..partition_config(&log.entry, order.partition, storage)
    };
    let opened = Partition::open(config, Rc::new(Nobody)).await;
    let (opened, report) = opened.map_err(|error| error.to_string())?;
    let marks = opened.watermarks();
    opened.close().await;
    if (marks.low, marks.high) != (order.low, order.high) {
        return Err(format!(
            "offsets {} to {} were restored, not {} to {}",
            marks.low, marks.high, order.low, order.high
        ));
    }
    Ok((bytes, report.damaged.len() as u64))
}

/// Puts the nodes of a tree back, with a statement of the new owner that continues the kept one.
async fn fill_tree(dir: &Path, tree: &RestoreTree, proofs: &Proofs) -> Result<(), String> {
    let kept = &tree.checkpoint;
    let begun = TreeRestore::begin(dir.to_owned(), (kept.log, kept.partition)).await;
    let mut restore = begun.map_err(|error| error.to_string())?;
    for path in &tree.files {
        let mut reader = Chunks::open(path.clone(), whole_nodes);
        while let Some(chunk) = reader.next().await? {
            let nodes: Vec<Node> =
                chunk.as_chunks::<NODE_BYTES>().0.iter().map(Node::decode).collect();
            restore.push(&nodes).await.map_err(|error| error.to_string())?;
        }
    }
    restore.finish(proofs, kept).await.map_err(|error| error.to_string())
}

impl Maker {
    /// How the server will make checkpoints of a log; the interval is of no matter here.
    fn proofs(&self, config: &LogConfig) -> Option<Proofs> {
        let key = match config.integrity {
            Integrity::None => return None,
            Integrity::Hash => None,
            Integrity::Signed => Some(self.key.clone()),
        };
        Some(Proofs { cluster: self.cluster_id, interval: Duration::ZERO, key })
    }
}

/// Writes the commands that make the logs.
async fn fill_catalog(data: &Path, commands: &[Command]) -> Result<(), String> {
    let storage = Storage::Durable { dir: data.join("catalog"), recycle: recycle_folder(data, 0) };
    let config = PartitionConfig {
        segment_bytes: SEGMENT_BYTES,
        ..PartitionConfig::new(CATALOG_LOG, PartitionId::ZERO, storage)
    };
    let opened = Partition::open(config, Rc::new(Nobody)).await;
    let (partition, _) = opened.map_err(|error| error.to_string())?;
    for some in commands.chunks(COMMANDS_AT_ONCE) {
        for command in some {
            let now = Timestamp::new(time::unix_us());
            let batch = command_batch(command, now).map_err(|error| error.to_string())?;
            if let AppendNow::Refused(error) =
                partition.append(&batch, Durability::Memory, Ticket::default())
            {
                return Err(error.to_string());
            }
        }
        partition.flush(Durability::Synced).await.map_err(|error| error.to_string())?;
    }
    partition.close().await;
    Ok(())
}

/// The commands that make the logs with the ids that they had. What was deleted before is made and deleted again: an id is a
/// place in the order of creations. A command that a catalog refuses would move the ids of all that come after it.
fn commands(logs: &[RestoreLog]) -> Result<Vec<Command>, String> {
    let (mut commands, mut next) = (Vec::new(), LogId::new(1));
    let mut catalog = Catalog::default();
    let mut push = |command: Command| {
        catalog.apply(&command).map_err(|refusal| refusal.to_string())?;
        commands.push(command);
        Ok::<_, String>(())
    };
    for log in logs {
        let LogEntry { id, name, config, created } = &log.entry;
        if *id < next {
            return Err(format!("log {name} has the id {id}, which is dealt already"));
        }
        if id.get() > RESTORED_LOG_ID_MAX {
            return Err(format!(
                "log {name} has the id {id}, and at most {RESTORED_LOG_ID_MAX} can be restored: the manifest of the \
                 backup was changed; take another backup"
            ));
        }
        for missing in next.get()..id.get() {
            let name = format!("deleted-before-the-backup-{missing}");
            let config = LogConfig::default();
            push(Command::Create { name, config, created: *created })?;
            push(Command::Delete { id: LogId::new(missing) })?;
        }
        let create = Command::Create { name: name.clone(), config: *config, created: *created };
        push(create).map_err(|refusal| format!("log {name}: {refusal}"))?;
        next = LogId::new(id.get() + 1);
    }
    Ok(commands)
}

/// A file of batches or of nodes, read by the pool in pieces of whole ones.
struct Chunks {
    path: PathBuf,
    /// Length of what is whole at the beginning of some bytes.
    whole: fn(&[u8]) -> usize,
    state: Option<ChunkState>,
}

#[derive(Default)]
struct ChunkState {
    file: Option<File>,
    /// The beginning of one whose end was not read yet.
    carry: Vec<u8>,
}

impl Chunks {
    fn open(path: PathBuf, whole: fn(&[u8]) -> usize) -> Self {
        Self { path, whole, state: Some(ChunkState::default()) }
    }

    /// The next ones, whole; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut state = self.state.take().unwrap_or_default();
        let (path, whole) = (self.path.clone(), self.whole);
        let read = spawn_blocking(move || {
            let read = state.read(&path, whole);
            (state, read)
        });
        let (state, read) = read.await.map_err(|error| error.to_string())?;
        self.state = Some(state);
        read.map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

impl ChunkState {
    fn read(&mut self, path: &Path, whole: fn(&[u8]) -> usize) -> std::io::Result<Option<Vec<u8>>> {
        let mut bytes = std::mem::take(&mut self.carry);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().read(true).open(path)?),
        };
        loop {
            let read = file.take(RESTORE_READ_BYTES).read_to_end(&mut bytes)?;
            let whole = whole(&bytes);
            if whole > 0 {
                self.carry = bytes.split_off(whole);
                return Ok(Some(bytes));
            }
            if read == 0 {
                let ends = bytes.is_empty();
                let torn = || {
                    std::io::Error::new(
                        std::io::ErrorKind::InvalidData,
                        "it ends within a batch or a node",
                    )
                };
                return if ends { Ok(None) } else { Err(torn()) };
            }
        }
    }
}

/// Length of the nodes that are whole.
fn whole_nodes(bytes: &[u8]) -> usize {
    bytes.len() - bytes.len() % NODE_BYTES
}

/// Length of the batches that are whole.
fn whole_batches(bytes: &[u8]) -> usize {
    let mut at = 0;
    while bytes.len() - at >= HEADER_BYTES {
        match BatchHeader::parse(&bytes[at..]) {
            Ok(header) if bytes.len() - at >= header.total_len() => at += header.total_len(),
            _ => break,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(id: u64) -> RestoreLog {
        let (name, config) = (format!("log-{id}"), LogConfig::default());
        let created = Timestamp::new(1);
        let entry = LogEntry { id: LogId::new(id), name, config, created };
        RestoreLog { entry, partitions: Vec::new() }
    }

    #[test]
    fn an_id_that_no_cluster_has_come_to_is_refused_before_all_ids_below_it_are_made() {
        assert_eq!(commands(&[log(2), log(4)]).unwrap().len(), 6);
        for id in [RESTORED_LOG_ID_MAX + 1, u64::MAX] {
            let said = commands(&[log(1), log(id)]).unwrap_err();
            assert!(said.contains("take another backup"), "{said}");
        }
    }
}
