//! `pyralog backup`: the records of a running server, its logs and counters, in files that say themselves whether they are whole.
//!
//! Everything comes through the native protocol, so a backup needs no access to the disk of the server and sees what readers
//! see. Batches are kept as they are stored; what a restore makes of them is the same log to the byte. Rejected: copying
//! segment files. They are of one moment each, hold what readers may not see yet, and exist only where the disk is.

pub(crate) mod files;
pub(crate) mod manifest;
mod take;
pub(crate) mod tree;
mod verify;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use pyralog_client::{ClientError, ErrorCode, Integrity, LogDescription, LogStorage, PartitionId};
use pyralog_runtime::file::FileLock;
use pyralog_runtime::file::blocking::{self, Locking};
use pyralog_shard::catalog::{self, Command};
use serde_json::json;

use crate::args::{BackupArgs, BackupCommand};
use crate::connect::{Connected, connect, explain};
use crate::exit::Failure;
use crate::limits::{BACKUP_ID_MARGIN_MS, LOCK_BYTES_MAX};
use crate::output::{Output, Tone};
use crate::progress::{Progress, rates};
use crate::quantity::{bytes_human, count_human, counted, seconds_human};
use crate::session::Session;
use files::{failed, name, parse_name};
pub(crate) use verify::verified;

use manifest::{CounterBackup, LogBackup, Manifest, to_hex};
use take::{Copied, Target};
use tree::Stated;

/// The cluster that the directory is a backup of: there before the first manifest is.
const CLUSTER_NAME: &str = "cluster";
const LOCK_NAME: &str = "lock";

/// Runs the command.
///
/// # Errors
/// If the server cannot be reached or read, or the directory not written; run again, it goes on where it was.
pub(crate) fn run(session: &Session, args: &BackupArgs) -> Result<(), Failure> {
    match (&args.command, &args.dir) {
        (Some(BackupCommand::Verify { dir }), _) => verify::run(session.output, dir),
        (None, Some(dir)) => backup(session, args, dir),
        (None, None) => Err(Failure::usage("name the directory of the backup")),
    }
}

fn backup(session: &Session, args: &BackupArgs, dir: &Path) -> Result<(), Failure> {
    let connected = connect(session, &args.client)?;
    let cluster = connected.client.server().cluster;
    let (_lock, known) = open(dir, cluster)?;
    let taken_us = connected.client.now().get();
    let logs = logs(&connected, &args.log)?;
    let mut copied = Copied::default();
    let wanted: u64 =
        logs.iter().flat_map(|log| &log.partitions).map(|one| one.high.since(one.low)).sum();
    let mut progress = Progress::start(session.output, "backup", Some(wanted), args.quiet);
    let mut manifest =
        Manifest { cluster, taken_us, ids_until_ms: 0, logs: Vec::new(), counters: Vec::new() };
    for log in &logs {
        let known = known.as_ref().and_then(|known| known.log(log.id.get()));
        match take_log(&connected, log, (dir, known), (&mut copied, &mut progress)) {
            Ok(taken) => manifest.logs.push(taken),
            Err(failure) => {
                if still_there(&connected, log)? {
                    return Err(failure);
                }
                session.output.note(&format!("{} was deleted meanwhile", log.name));
            }
        }
    }
    if let Some(known) = &known
        && !args.log.is_empty()
    {
        // The others stay as they were, but for those that are gone: another log has their name.
        let named: BTreeSet<&String> = logs.iter().map(|log| &log.name).collect();
        let others = known.logs.iter().filter(|log| !named.contains(&log.name));
        manifest.logs.extend(others.cloned());
    }
    manifest.logs.sort_by_key(|log| log.id);
    manifest.counters = counters(&connected)?;
    let now_ms = u64::try_from(connected.client.now().get() / 1000).unwrap_or_default();
    let before = known.map_or(0, |known| known.ids_until_ms);
    manifest.ids_until_ms = (now_ms + BACKUP_ID_MARGIN_MS).max(copied.id_ms).max(before);
    manifest.write(dir)?;
    let elapsed = progress.finish();
    let left = leftovers(dir, &manifest, args.prune)?;
    report(session.output, (dir, &manifest), (copied, elapsed), (left, args.prune))
}

/// The directory, locked, and the manifest of the last backup that was completed in it.
fn open(dir: &Path, cluster: u64) -> Result<(FileLock, Option<Manifest>), Failure> {
    blocking::create_dir_all(dir).map_err(|error| failed("make", dir, &error))?;
    let of = match blocking::read_start(&dir.join(CLUSTER_NAME), 32) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().parse::<u64>().ok(),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", dir, &error)),
    };
    match of {
        Some(found) if found != cluster => {
            return Err(Failure::failed(format!(
                "{} is a backup of cluster {found}, and this server is of cluster {cluster}",
                dir.display()
            ))
            .hint("ids of logs belong to a cluster: choose another directory for this one"));
        }
        Some(_) => {}
        None => {
            let entries = blocking::list_dir(dir).map_err(|error| failed("read", dir, &error))?;
            let ours = [LOCK_NAME, "cluster.new", "lost+found"];
            if let Some(entry) = entries.iter().find(|entry| !ours.contains(&entry.name.as_str())) {
                return Err(Failure::usage(format!(
                    "{} holds `{}` and is no backup: choose an empty or a new directory",
                    dir.display(),
                    entry.name
                )));
            }
        }
    }
    let path = dir.join(LOCK_NAME);
    let lock = match blocking::lock(&path, LOCK_BYTES_MAX)
        .map_err(|error| failed("lock", &path, &error))?
    {
        Locking::Taken(lock) => lock,
        Locking::Held { .. } => {
            return Err(Failure::failed(format!(
                "another backup into {} is running",
                dir.display()
            )));
        }
    };
    let manifest = Manifest::read(dir)?;
    if let Some(found) = manifest.as_ref().filter(|found| found.cluster != cluster) {
        return Err(Failure::failed(format!(
            "the manifest in {} is of cluster {}, and this server is of cluster {cluster}",
            dir.display(),
            found.cluster
        ))
        .hint("ids of logs belong to a cluster: choose another directory for this one"));
    }
    if of.is_none() {
        let path = dir.join(CLUSTER_NAME);
        blocking::write_atomic(&path, "cluster.new", format!("{cluster}\n").as_bytes())
            .map_err(|error| failed("write", &path, &error))?;
    }
    Ok((lock, manifest))
}

/// The logs to take, with the watermarks that the backup goes by.
fn logs(connected: &Connected, wanted: &[String]) -> Result<Vec<LogDescription>, Failure> {
    let client = &connected.client;
    if !wanted.is_empty() {
        let wanted: BTreeSet<&String> = wanted.iter().collect();
        let described = wanted.into_iter().map(|log| client.describe_log(log));
        return described.map(|log| log.map_err(|error| explain(&error))).collect();
    }
    // A list names logs without their partitions.
    let mut logs = Vec::new();
    for listed in client.list_logs("").map_err(|error| explain(&error))? {
        match client.describe_log(&listed.name) {
            Ok(log) => logs.push(log),
            Err(ClientError::UnknownLog { .. }) => {} // Deleted since it was listed.
            Err(error) => return Err(explain(&error)),
        }
    }
    Ok(logs)
}

fn still_there(connected: &Connected, log: &LogDescription) -> Result<bool, Failure> {
    match connected.client.describe_log(&log.name) {
        Ok(found) => Ok(found.id == log.id),
        Err(ClientError::UnknownLog { .. }) => Ok(false),
        Err(error) => Err(explain(&error)),
    }
}

fn take_log(
    connected: &Connected,
    log: &LogDescription,
    (dir, known): (&Path, Option<&LogBackup>),
    (copied, progress): (&mut Copied, &mut Progress),
) -> Result<LogBackup, Failure> {
    let command =
        Command::Create { name: log.name.clone(), config: log.config, created: log.created };
    let create = catalog::encode(&command).map_err(|error| Failure::failed(error.to_string()))?;
    let mut taken = LogBackup {
        id: log.id.get(),
        name: log.name.clone(),
        create: to_hex(&create),
        partitions: Vec::new(),
    };
    if log.config.storage == LogStorage::Memory {
        return Ok(taken);
    }
    for partition in &log.partitions {
        let number = partition.partition.get();
        if partition.failed && partition.high == partition.low {
            return Err(Failure::failed(format!(
                "{} partition {number} has failed on the server",
                log.name
            ))
            .hint("`pyralog log describe` shows it; a backup without it would look whole"));
        }
        let stated = stated(connected, log, partition.partition)?;
        let target = Target {
            log: log.id.get(),
            name: log.name.clone(),
            partition: number,
            low: partition.low.get(),
            // What the checkpoint holds is to be there, and may have come since the log was described.
            high: partition.high.get().max(stated.as_ref().map_or(0, Stated::end)),
        };
        let known =
            known.and_then(|known| known.partitions.iter().find(|one| one.partition == number));
        let mut copy =
            take::partition(&connected.client, &target, (dir, known), (copied, progress))?;
        let known = known.and_then(|known| known.tree.as_ref());
        copy.tree = match &stated {
            Some(stated) => {
                let folder = files::folder(dir, target.log, number);
                Some(tree::take(&connected.client, (&target, &folder), known, stated)?)
            }
            None => known.cloned(),
        };
        taken.partitions.push(copy);
    }
    Ok(taken)
}

/// What the server states of the tree of a partition: `None` if the log has no proofs, or there is no checkpoint yet. A tree that
/// stands still is an alarm, and a backup that keeps quiet about it would look whole.
fn stated(
    connected: &Connected,
    log: &LogDescription,
    partition: PartitionId,
) -> Result<Option<Stated>, Failure> {
    if log.config.integrity == Integrity::None {
        return Ok(None);
    }
    let state = connected.client.checkpoint(&log.name, partition);
    match Stated::of(state.map_err(|error| explain(&error))?) {
        (Some(stated), _) if !stated.is_about(log, connected.client.server().cluster) => {
            Err(Failure::failed(format!("{} is another log now", log.name)))
        }
        (stated, None) => Ok(stated),
        (_, Some(fault)) => Err(Failure::failed(format!(
            "the tree of {} partition {partition} stands still on the server: {fault}",
            log.name
        ))
        .hint("a backup now would hold what was not proven: see docs/PROOFS.md; `--log` takes the other logs")),
    }
}

/// The counters, by value. A node that has none says so by its role.
fn counters(connected: &Connected) -> Result<Vec<CounterBackup>, Failure> {
    let found = match connected.client.list_counters("") {
        Ok(found) => found,
        Err(error) if error.reply().is_some_and(|reply| reply.is(ErrorCode::WrongRole)) => {
            Vec::new()
        }
        Err(error) => return Err(explain(&error)),
    };
    let counters = found.into_iter().map(|counter| CounterBackup {
        name: counter.name,
        mode: counter.config.mode.to_string(),
        block: counter.config.block,
        interval_ms: counter.config.interval_ms,
        value: counter.durable.max(counter.last),
    });
    Ok(counters.collect())
}

/// Files that the manifest does not name, which are removed if that is wanted. Returns their number and bytes.
fn leftovers(dir: &Path, manifest: &Manifest, prune: bool) -> Result<(u64, u64), Failure> {
    let mut named = BTreeSet::new();
    for log in &manifest.logs {
        for partition in &log.partitions {
            let folder = files::folder(dir, log.id, partition.partition);
            named.extend(
                partition.files.iter().map(|file| folder.join(name(file.first, file.next))),
            );
            let nodes = partition.tree.iter().flat_map(|tree| &tree.files);
            named.extend(nodes.map(|file| folder.join(tree::name(file.first, file.next))));
        }
    }
    let list = |path: &Path| match blocking::list_dir(path) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("read", path, &error)),
    };
    let (mut count, mut bytes) = (0, 0);
    let logs = dir.join("logs");
    for log in list(&logs)? {
        for partition in list(&logs.join(&log.name))? {
            let folder = logs.join(&log.name).join(&partition.name);
            for entry in list(&folder)? {
                let path = folder.join(&entry.name);
                let is_ours = parse_name(&entry.name).is_some() || tree::is_name(&entry.name);
                if !is_ours || named.contains(&path) {
                    continue;
                }
                (count, bytes) = (count + 1, bytes + entry.len);
                if prune {
                    blocking::remove_file(&path)
                        .map_err(|error| failed("remove", &path, &error))?;
                }
            }
        }
    }
    Ok((count, bytes))
}

fn report(
    output: Output,
    (dir, manifest): (&Path, &Manifest),
    (copied, elapsed): (Copied, std::time::Duration),
    ((count, left), pruned): ((u64, u64), bool),
) -> Result<(), Failure> {
    let (bytes, records) = manifest.totals();
    let holes: u64 = manifest
        .logs
        .iter()
        .flat_map(|log| &log.partitions)
        .flat_map(|partition| &partition.holes)
        .map(|(first, next)| next - first)
        .sum();
    if output.json() {
        output.document(&json!({
            "dir": dir.display().to_string(),
            "cluster": manifest.cluster,
            "logs": manifest.logs.len(),
            "counters": manifest.counters.len(),
            "records": records,
            "bytes": bytes,
            "copied_records": copied.records,
            "copied_bytes": copied.bytes,
            "damaged_records": holes,
            "leftover_files": if pruned { 0 } else { count },
            "seconds": elapsed.as_secs_f64(),
        }))?;
    } else {
        output.line(&format!(
            "{} {}, {} in {} ({})",
            output.paint(Tone::Good, "copied"),
            counted(copied.records, "record"),
            bytes_human(copied.bytes),
            seconds_human(elapsed),
            rates(copied.records, copied.bytes, elapsed)
        ))?;
        output.line(&format!(
            "{} holds {}, {}, {}, {}",
            dir.display(),
            counted(manifest.logs.len() as u64, "log"),
            counted(records, "record"),
            bytes_human(bytes),
            counted(manifest.counters.len() as u64, "counter")
        ))?;
        let memory = manifest.logs.iter().filter(|log| log.partitions.is_empty()).count();
        if memory > 0 {
            output
                .note(&format!("{memory} logs in memory: their records are not part of a backup"));
        }
        match (count, pruned) {
            (0, _) => {}
            (_, true) => output.note(&format!(
                "{count} files removed, {}: deleted on the server since",
                bytes_human(left)
            )),
            (_, false) => output.note(&format!(
                "{count} files, {}, are of what the server has deleted since: --prune removes them",
                bytes_human(left)
            )),
        }
    }
    if holes > 0 {
        return Err(Failure::failed(format!(
            "{} records could not be read on the server",
            count_human(holes)
        ))
        .hint("the backup is complete but for them; its manifest names the ranges"));
    }
    Ok(())
}

impl Manifest {
    fn log(&self, id: u64) -> Option<&LogBackup> {
        self.logs.iter().find(|log| log.id == id)
    }
}
