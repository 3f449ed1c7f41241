//! `pyralog restore`: a data directory from a backup, without a server.

use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_seq::clock::BACK_MS_MAX;
use pyralog_shard::catalog::{Command, LogEntry};
use pyralog_shard::offline::restore::{
    RestoreCounter, RestoreLog, RestoreOrder, RestorePartition, RestoreTree, restore,
};
use pyralog_wire::message::CounterConfig;
use serde_json::json;

use crate::args::RestoreArgs;
use crate::backup::files::{folder, name};
use crate::backup::manifest::{CounterBackup, LogBackup, Manifest};
use crate::backup::{tree, verified};
use crate::exit::Failure;
use crate::output::Tone;
use crate::quantity::{bytes_human, counted, seconds_human};
use crate::session::Session;
use crate::stopwatch::Stopwatch;

/// Runs the command.
///
/// # Errors
/// If the backup is damaged (exit code 4), or the directory not empty, or something cannot be written; the directory is to be
/// removed then.
pub(crate) fn run(session: &Session, args: &RestoreArgs) -> Result<(), Failure> {
    let (output, watch) = (session.output, Stopwatch::start());
    // First all of it is read: a backup that is damaged makes no directory.
    let manifest = verified(output, &args.dir)?;
    let order = order(&args.dir, &manifest)?;
    let gone = |problem: String| {
        let hint = format!("remove {} before another try", args.data_dir.display());
        Failure::failed(problem).hint(hint)
    };
    let restored =
        restore(&args.data_dir, order).map_err(|error| Failure::failed(error.to_string()))?;
    let restored = restored.map_err(|error| gone(error.to_string()))?;
    let (_, records) = manifest.totals();
    if output.json() {
        return output.document(&json!({
            "data_dir": args.data_dir.display().to_string(),
            "node": restored.node_id,
            "cluster": restored.cluster_id,
            "cluster_before": manifest.cluster,
            "logs": manifest.logs.len(),
            "counters": manifest.counters.len(),
            "records": records,
            "bytes": restored.bytes,
            "damaged_ranges": restored.damaged,
            "ids_ahead_ms": restored.ids_ahead_ms,
        }));
    }
    output.line(&format!(
        "{} {}, {}, {}, {} in {}",
        output.paint(Tone::Good, "restored"),
        counted(manifest.logs.len() as u64, "log"),
        counted(records, "record"),
        bytes_human(restored.bytes),
        counted(manifest.counters.len() as u64, "counter"),
        seconds_human(watch.elapsed())
    ))?;
    if restored.damaged > 0 {
        output.note(&format!(
            "{} ranges were missing in the backup; readers are told",
            restored.damaged
        ));
    }
    if restored.ids_ahead_ms > BACK_MS_MAX {
        output.note(&format!(
            "ids dealt before the backup may lie up to {} s in the future: until then the id service waits \
             (ClockAstray, `regressed`); records are taken at once",
            restored.ids_ahead_ms.div_ceil(1000)
        ));
    }
    output.line(&format!(
        "{} is of cluster {} now (it was {}): `pyralog serve --data-dir {}`",
        args.data_dir.display(),
        restored.cluster_id,
        manifest.cluster,
        args.data_dir.display()
    ))
}

fn order(dir: &std::path::Path, manifest: &Manifest) -> Result<RestoreOrder, Failure> {
    let logs: Result<Vec<_>, _> = manifest.logs.iter().map(|one| log(dir, one)).collect();
    let counters: Result<Vec<_>, _> = manifest.counters.iter().map(counter).collect();
    Ok(RestoreOrder {
        logs: logs.map_err(Failure::failed)?,
        counters: counters.map_err(Failure::failed)?,
        ids_until_ms: manifest.ids_until_ms,
    })
}

fn log(dir: &std::path::Path, log: &LogBackup) -> Result<RestoreLog, String> {
    let Command::Create { name: log_name, config, created } = log.create()? else {
        return Err(format!("log {} has no configuration", log.name));
    };
    let partitions = log.partitions.iter().map(|partition| {
        let folder = folder(dir, log.id, partition.partition);
        let tree = partition.tree.as_ref().map(|kept| {
            let nodes = kept.files.iter().map(|file| tree::name(file.first, file.next));
            let files = nodes.map(|name| folder.join(name)).collect();
            kept.checkpoint().map(|checkpoint| RestoreTree { files, checkpoint })
        });
        Ok(RestorePartition {
            partition: PartitionId::new(partition.partition),
            low: Offset::new(partition.low),
            high: Offset::new(partition.high),
            files: partition
                .files
                .iter()
                .map(|file| folder.join(name(file.first, file.next)))
                .collect(),
            tree: tree.transpose()?,
        })
    });
    let entry = LogEntry { id: LogId::new(log.id), name: log_name, config, created };
    let partitions = partitions.collect::<Result<_, String>>()?;
    Ok(RestoreLog { entry, partitions })
}

fn counter(counter: &CounterBackup) -> Result<RestoreCounter, String> {
    let config = CounterConfig {
        mode: counter.mode()?,
        block: counter.block,
        interval_ms: counter.interval_ms,
    };
    Ok(RestoreCounter { name: counter.name.clone(), config, value: counter.value })
}
