//! The command log of the catalog on shard 0: propose, append and sync, apply on all cores, answer.
//!
//! One task takes the changes one at a time, so the order of the log is the order in which they are applied everywhere.
//! A command is a record of its own in a control batch of the catalog's partition (log 0), and is applied only when it
//! is on stable storage. Consensus will take the place of [`CatalogLog::persist`] and of nothing else here.
//!
//! A change is acknowledged when every core has applied it: from then on no core takes an append for a log that is gone.
//! A core that does not answer in time gets it all the same, because it waits in its lane; the change is answered as
//! `DeadlineExceeded`, and the next one is not begun before that core has caught up. So no replica misses a command or
//! takes two in the wrong order, which would deal other ids there; and one that ends before finds all of them at the
//! next start.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use pyralog_log::batch::{BuilderConfig, Decoder, Flags, Item, Items, Record, RowsBuilder};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, PartitionId, Timestamp};
use pyralog_log::limits::MEMORY_BYTES_MIN;
use pyralog_log::partition::{AppendError, AppendNow, PartitionConfig, Storage};
use pyralog_log::partition_file::Partition;
use pyralog_log::recovery::RecoveryReport;
use pyralog_runtime::channel::{OnceReceiver, Receiver, bounded, oneshot};
use pyralog_runtime::{file, spawn_durable, time};
use pyralog_wire::limits::MEMORY_BYTES_DEFAULT;
use pyralog_wire::message::{AlterLog, CreateLog, Deleted};
use pyralog_wire::{ErrorCode, ErrorReply, LogConfig, LogStorage, Request, Response};

use crate::asked::Asked;
use crate::catalog::{Applied, Catalog, Command, LogEntry, decode, encode};
use crate::config::DataConfig;
use crate::deleted_logs;
use crate::flight::{Flight, Landing};
use crate::limits::{ADMIN_WAITING_MAX, CALL_WAIT};
use crate::message::{Answer, Question};
use crate::ownership::CATALOG_LOG;
use crate::partitions::{log_folder, recovery_line, recycle_folder};
use crate::request::errors::{append_error, refusal, unknown_log};
use crate::request::{busy, full_description};
use crate::shard::{AdminJob, Phase, Shard};

/// Bytes of commands read at once at boot.
const REPLAY_BYTES: usize = 1 << 20;
/// Segments of the catalog: a command takes some 300 bytes, so one holds two hundred thousand of them.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 20;

/// The catalog's partition; none on a node that keeps nothing.
#[derive(Debug)]
pub(crate) struct CatalogLog {
    partition: Option<Partition>,
}

/// What a replay found.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// The state after all commands.
    pub(crate) catalog: Catalog,
    /// Logs that commands have deleted: what is left of their folders may go.
    deleted: BTreeSet<LogId>,
}

impl CatalogLog {
    /// Opens the command log and replays it.
    ///
    /// # Errors
    /// One sentence, if it cannot be read to its end: serving with half a catalog would deal ids twice.
    pub(crate) async fn open(shard: &Rc<Shard>) -> Result<(Self, Replayed), String> {
        let DataConfig::Dir(data) = &shard.config.data else {
            return Ok((Self { partition: None }, Replayed::default()));
        };
        let storage = Storage::Durable {
            dir: data.join("catalog"),
            recycle: recycle_folder(data, shard.index),
        };
        let config = PartitionConfig {
            segment_bytes: SEGMENT_BYTES,
            tail_bytes: REPLAY_BYTES,
            ..PartitionConfig::new(CATALOG_LOG, PartitionId::ZERO, storage)
        };
        let (partition, report) = Partition::open(config, Rc::new(Landing::new(shard)))
            .await
            .map_err(|error| format!("the catalog cannot be opened: {error}"))?;
        refuse_damage(&report)?;
        let replayed = replay(&partition).await?;
        refuse_later_logs(data, &replayed.catalog).await?;
        Ok((Self { partition: Some(partition) }, replayed))
    }

    /// Appends a command; resolves when it is on stable storage.
    async fn persist(&self, shard: &Shard, command: &Command) -> Result<(), ErrorReply> {
        let Some(partition) = &self.partition else { return Ok(()) };
        let batch = command_batch(command, shard.wall())?;
        let (sender, receiver) = oneshot();
        let key = shard.flights.borrow_mut().insert(Flight::Internal(sender));
        match partition.append(&batch, Durability::Synced, Flight::ticket(key)) {
            AppendNow::Pending => {}
            AppendNow::Done(appended) => shard.landed(key, Ok(appended)),
            AppendNow::Refused(error) => shard.landed(key, Err(error)),
        }
        match receiver.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(AppendError::Closed)) | Err(_) => Err(ErrorCode::ShuttingDown.into()),
            Ok(Err(error)) => Err(append_error(&error)),
        }
    }

    async fn close(&self) {
        if let Some(partition) = &self.partition {
            partition.close().await;
        }
    }
}

fn refuse_damage(report: &RecoveryReport) -> Result<(), String> {
    let line = recovery_line(report);
    if let Some(line) = &line {
        tracing::warn!("the catalog: {line}");
    }
    if report.damaged.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the catalog is damaged on disk ({}): restore the folder `catalog` of the data directory from a copy",
        line.unwrap_or_default()
    ))
}

/// Refuses folders of logs that the catalog has not dealt yet. A log gets its folder when its creation is on stable
/// storage, so the catalog has lost its end, which may look like a torn write, or it is an older copy. The next log to be
/// created would get the id, and with it the records of another.
async fn refuse_later_logs(data: &Path, catalog: &Catalog) -> Result<(), String> {
    let folder = data.join("logs");
    let entries = file::list_dir(&folder)
        .await
        .map_err(|error| format!("the logs in {} cannot be listed: {error}", folder.display()))?;
    let ids = entries.iter().filter_map(|entry| entry.name.parse().ok()).map(LogId::new);
    let Some(log) = ids.filter(|id| !catalog.has_dealt(*id)).min() else { return Ok(()) };
    Err(format!(
        "the catalog ends before log {log}, but {} is there: the catalog has lost its end, or is an older copy. Restore the folder `catalog` of the data directory from a copy that knows log {log}; or move the folders of logs from {log} on away, whose records are not served then",
        log_folder(data, log).display()
    ))
}

/// A batch with the command.
///
/// # Errors
/// If it cannot be encoded, for which there is no reason.
pub(crate) fn command_batch(command: &Command, now: Timestamp) -> Result<Vec<u8>, ErrorReply> {
    let internal = |text: String| ErrorReply::new(ErrorCode::Internal, text);
    let value = encode(command).map_err(|error| internal(error.to_string()))?;
    let config = BuilderConfig { flags: Flags::CONTROL, ..BuilderConfig::default() };
    let mut builder = RowsBuilder::new(config);
    let record = Record { value: Some(&value), create_time: now, ..Record::default() };
    builder.push(&record).map_err(|error| internal(error.to_string()))?;
    builder.finish(None).map_err(|error| internal(error.to_string()))
}

async fn replay(partition: &Partition) -> Result<Replayed, String> {
    let mut replayed = Replayed::default();
    let mut next = partition.watermarks().low;
    let mut decoder = Decoder::new();
    while next < partition.watermarks().high {
        let read = partition
            .read(next, REPLAY_BYTES)
            .await
            .map_err(|error| format!("the catalog cannot be read at {next}: {error}"))?;
        for slice in &read.slices {
            replay_slice(slice, &mut decoder, &mut replayed)
                .map_err(|error| format!("the catalog cannot be replayed after {next}: {error}"))?;
        }
        if read.next_offset <= next {
            return Err(format!("the catalog ends at {next}, before its high watermark"));
        }
        next = read.next_offset;
    }
    Ok(replayed)
}

fn replay_slice(
    slice: &[u8],
    decoder: &mut Decoder,
    replayed: &mut Replayed,
) -> Result<(), String> {
    for item in Items::new(slice) {
        let Item::Batch(batch) = item.map_err(|error| error.to_string())? else { continue };
        let batch = batch.verify().map_err(|error| error.to_string())?;
        let rows = decoder.rows(&batch).map_err(|error| error.to_string())?;
        for record in rows.iter() {
            let value = record.value.unwrap_or_default();
            let command = decode(value).map_err(|error| error.to_string())?;
            // A refused command was refused when it was new as well: see `Catalog::apply`.
            if let Ok(Applied::Deleted(entry)) = replayed.catalog.apply(&command) {
                replayed.deleted.insert(entry.id);
            }
        }
    }
    Ok(())
}

/// Removes what deletions that a crash interrupted have left behind. Only what a command has deleted: a folder that the
/// catalog has never heard of is somebody's mistake, and stays.
pub(crate) async fn remove_leftovers(shard: &Shard, replayed: &Replayed) {
    let DataConfig::Dir(data) = &shard.config.data else { return };
    for log in &replayed.deleted {
        let folder = log_folder(data, *log);
        match file::exists(&folder).await {
            Ok(false) => {}
            Ok(true) => match deleted_logs::remove_folder(shard, *log, &folder).await {
                Ok(()) => tracing::info!(log = log.get(), "removed what a deletion had left"),
                Err(error) => tracing::warn!(log = log.get(), %error, "a deleted log is left over"),
            },
            Err(error) => tracing::warn!(log = log.get(), %error, "cannot look for a deleted log"),
        }
    }
}

/// Puts a change in line. Answers `Busy` if the line is full.
pub(crate) fn submit(shard: &Rc<Shard>, asked: Asked, request: Request) {
    let sender = shard.admin.borrow().clone();
    let Some(sender) = sender else {
        asked.refuse(ErrorCode::ShuttingDown);
        return;
    };
    if let Err(error) = sender.try_send(AdminJob { asked, request }) {
        error.into_message().asked.refuse(busy("many changes of logs are waiting"));
    }
}

/// Starts the task that takes changes; it ends when the core drains, after what was in line.
pub(crate) fn serve(shard: &Rc<Shard>, log: CatalogLog) -> pyralog_runtime::Task<()> {
    let (sender, receiver) = bounded(ADMIN_WAITING_MAX);
    *shard.admin.borrow_mut() = Some(sender);
    let shard = Rc::clone(shard);
    spawn_durable("catalog", run(shard, log, receiver))
}

async fn run(shard: Rc<Shard>, log: CatalogLog, mut jobs: Receiver<AdminJob>) {
    let mut behind = Behind::default();
    // The senders are dropped when the core drains: then the line ends.
    while let Some(AdminJob { asked, request }) = jobs.recv().await {
        if shard.phase() >= Phase::Draining {
            asked.refuse(ErrorCode::ShuttingDown);
            continue;
        }
        match change(&shard, (&log, &mut behind), request).await {
            Ok(response) => asked.reply(response),
            Err(error) => asked.refuse(error),
        }
    }
    log.close().await;
}

async fn change(
    shard: &Rc<Shard>,
    (log, behind): (&CatalogLog, &mut Behind),
    request: Request,
) -> Result<Response, ErrorReply> {
    behind.catch_up(Duration::ZERO).await;
    if let Some((to, _)) = behind.owed.first() {
        return Err(busy(&format!("shard {to} has not made the change before this one yet")));
    }
    let command = match &request {
        Request::CreateLog(create) => create_command(shard, create)?,
        Request::AlterLog(alter) => alter_command(shard, alter)?,
        Request::DeleteLog(delete) => Command::Delete { id: entry_of(shard, &delete.name)?.id },
        other => {
            let text = format!("{} is no change of the catalog", other.kind());
            return Err(ErrorReply::new(ErrorCode::Internal, text));
        }
    };
    shard.catalog.borrow().check(&command).map_err(|error| refusal(&error))?;
    log.persist(shard, &command).await?;
    if let Command::Delete { id } = &command {
        // What is not noted here is noted by the next start, which finds the folder of the log.
        deleted_logs::note(shard, *id).await;
    }
    let applied = apply_everywhere(shard, behind, command).await;
    shard.objects_left.notify_all();
    let applied = applied?;
    match applied {
        Applied::Created(entry) => Ok(Response::CreateLog(full_description(shard, &entry).await?)),
        Applied::Altered(entry) => Ok(Response::AlterLog(full_description(shard, &entry).await?)),
        Applied::Deleted(entry) => Ok(Response::DeleteLog(Deleted { id: entry.id })),
    }
}

fn entry_of(shard: &Shard, name: &str) -> Result<LogEntry, ErrorReply> {
    shard.catalog.borrow().by_name(name).cloned().ok_or_else(|| unknown_log(name))
}

fn create_command(shard: &Shard, create: &CreateLog) -> Result<Command, ErrorReply> {
    let mut config = create.config;
    if matches!(shard.config.data, DataConfig::MemoryOnly { .. }) {
        config.storage = LogStorage::Memory;
        config.durability = Durability::Memory;
        // Whoever names a budget gets it or hears that it is not there. The default gives way: at most half of what is
        // left, so that other logs fit as well.
        if config.memory_bytes_max == MEMORY_BYTES_DEFAULT {
            let half = memory_left(shard) / 2 / u64::from(config.partitions.max(1));
            config.memory_bytes_max = MEMORY_BYTES_DEFAULT.min(half.max(MEMORY_BYTES_MIN));
        }
    }
    require_memory(shard, &config, None)?;
    require_store(shard, &config)?;
    let created = shard.wall();
    Ok(Command::Create { name: create.name.clone(), config, created })
}

fn alter_command(shard: &Shard, alter: &AlterLog) -> Result<Command, ErrorReply> {
    let entry = entry_of(shard, &alter.name)?;
    let changed = entry.config.changed(&alter.changes);
    let config =
        changed.map_err(|error| ErrorReply::new(ErrorCode::InvalidConfig, error.to_string()))?;
    require_memory(shard, &config, Some(&entry.config))?;
    if !entry.config.is_tiered {
        require_store(shard, &config)?;
    }
    Ok(Command::Alter { id: entry.id, config })
}

/// Bytes that memory logs may still be promised.
fn memory_left(shard: &Shard) -> u64 {
    let promised: u64 = shard.catalog.borrow().iter().map(|entry| promise(&entry.config)).sum();
    shard.config.memory_log_bytes_max().saturating_sub(promised)
}

fn promise(config: &LogConfig) -> u64 {
    match config.storage {
        LogStorage::Memory => config.memory_bytes_max.saturating_mul(u64::from(config.partitions)),
        LogStorage::Durable => 0,
    }
}

/// Refuses what the node's memory could not hold. This is a rule of the node, not of the catalog, so it is checked
/// before a command is written and never when one is applied.
fn require_memory(
    shard: &Shard,
    config: &LogConfig,
    replaced: Option<&LogConfig>,
) -> Result<(), ErrorReply> {
    if config.storage == LogStorage::Memory && config.memory_bytes_max < MEMORY_BYTES_MIN {
        let text = format!(
            "memory_bytes_max is {}: a partition in memory needs at least {MEMORY_BYTES_MIN}",
            config.memory_bytes_max
        );
        return Err(ErrorReply::new(ErrorCode::InvalidConfig, text));
    }
    let left = memory_left(shard) + replaced.map_or(0, promise);
    let wanted = promise(config);
    if wanted <= left {
        return Ok(());
    }
    Err(ErrorReply::new(
        ErrorCode::InvalidConfig,
        format!(
            "{} partitions of memory_bytes_max {} are {wanted} bytes, but {left} of the node's {} are left: lower it, delete logs, or give the server more memory",
            config.partitions,
            config.memory_bytes_max,
            shard.config.memory_log_bytes_max()
        ),
    ))
}

/// Refuses what the node has no store for. A rule of the node, as [`require_memory`].
fn require_store(shard: &Shard, config: &LogConfig) -> Result<(), ErrorReply> {
    if !config.is_tiered || shard.tier.is_some() {
        return Ok(());
    }
    let text = "the server has no object store: start it with tier.url (file:///path, s3://bucket/prefix, \
                gs://bucket/prefix, az://container/prefix), or leave the log untiered";
    Err(ErrorReply::new(ErrorCode::InvalidConfig, text))
}

/// The cores that have not answered yet that they have made the last change.
#[derive(Debug, Default)]
struct Behind {
    owed: Vec<(usize, OnceReceiver<Answer>)>,
}

impl Behind {
    /// Waits for them, together for at most this long. Returns what did not go as it should on those that answered; the
    /// others stay.
    async fn catch_up(&mut self, most: Duration) -> Vec<String> {
        let deadline = time::now() + most;
        let waiting = self.owed.drain(..).map(|(to, mut answer)| async move {
            match time::timeout_at(deadline, &mut answer).await {
                Ok(Ok(Answer::Applied(problems))) => (problems, None),
                // A core that ended serves nothing: the next start gives it the whole catalog.
                Ok(_) => (vec![format!("shard {to} has ended")], None),
                Err(_elapsed) => (Vec::new(), Some((to, answer))),
            }
        });
        let mut problems = Vec::new();
        for (found, owed) in join_all(waiting).await {
            problems.extend(found);
            self.owed.extend(owed);
        }
        problems
    }
}

/// Applies a command on this core and then on all others; resolves when all have, or after [`CALL_WAIT`].
async fn apply_everywhere(
    shard: &Rc<Shard>,
    behind: &mut Behind,
    command: Command,
) -> Result<Applied, ErrorReply> {
    assert!(behind.owed.is_empty(), "a core makes one change at a time");
    let (applied, mut problems) = apply_here(shard, &command).await;
    let others = (0..shard.shards).filter(|to| *to != shard.index);
    behind.owed = others.map(|to| (to, shard.tell(to, Question::Apply(command.clone())))).collect();
    problems.extend(behind.catch_up(CALL_WAIT).await);
    let applied = applied.ok_or(ErrorCode::Internal)?;
    if !behind.owed.is_empty() {
        let shards: Vec<String> = behind.owed.iter().map(|(to, _)| to.to_string()).collect();
        let text = format!(
            "the change is on stable storage, but these shards have not made it within {CALL_WAIT:?}: {}; they will before any other change, and at the latest after a restart",
            shards.join(", ")
        );
        tracing::error!("{text}");
        return Err(ErrorReply::new(ErrorCode::DeadlineExceeded, text));
    }
    // Files of a deleted log that could not be removed are served by nobody, and go at the next start.
    if problems.is_empty() || matches!(applied, Applied::Deleted(_)) {
        return Ok(applied);
    }
    let text = format!("the change is made, but: {}", problems.join("; "));
    Err(ErrorReply::new(ErrorCode::StorageFailed, text))
}

/// Applies a command to this core's replica and to the partitions it owns. Returns what did not go as it should.
pub(crate) async fn apply_here(
    shard: &Rc<Shard>,
    command: &Command,
) -> (Option<Applied>, Vec<String>) {
    let outcome = shard.catalog.borrow_mut().apply(command);
    let applied = match outcome {
        Ok(applied) => applied,
        Err(refusal) => {
            tracing::error!(shard = shard.index, %refusal, "a command that was checked is refused");
            return (None, Vec::new());
        }
    };
    let problems = match &applied {
        Applied::Created(entry) => shard.open_logs(std::slice::from_ref(entry)).await,
        Applied::Altered(entry) => shard.alter_log(entry).await,
        Applied::Deleted(entry) => {
            let problems = shard.delete_log(entry).await;
            if let DataConfig::Dir(data) = &shard.config.data {
                remove_folder(&log_folder(data, entry.id)).await;
            }
            problems
        }
    };
    (Some(applied), problems)
}

/// Removes the folder of a log once the last of its partitions has gone; until then it is not empty and stays.
async fn remove_folder(folder: &std::path::Path) {
    if let Ok(entries) = file::list_dir(folder).await
        && entries.is_empty()
        && let Err(error) = file::remove_dir_all(folder).await
    {
        tracing::debug!(folder = %folder.display(), %error, "an empty folder is left over");
    }
}

#[cfg(test)]
mod tests;
