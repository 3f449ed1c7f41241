//! What the background makes of the partitions of a log, as `pyralog log describe` shows it: compaction, the object store and
//! the Merkle tree, each for logs that have it.

use pyralog_client::{Integrity, LogDescription, PartitionInfo};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::Output;
use crate::quantity::{bytes_human, count_human};
use crate::timestamp::rfc3339;

/// Prints a table for each that the log has.
///
/// # Errors
/// If standard output is closed.
pub(super) fn print(output: Output, log: &LogDescription) -> Result<(), Failure> {
    let rows = |row: fn(&PartitionInfo) -> Vec<String>| -> Vec<Vec<String>> {
        log.partitions.iter().map(row).collect()
    };
    if log.config.compaction.is_on {
        let header =
            ["COMPACTION", "CLEAN BELOW", "CLOSED", "DIRTY", "REMOVED", "TOMBSTONES", "LAST RUN"];
        output.table(&header, &rows(compaction_row))?;
    }
    // What went there stays there when it is switched off.
    if log.config.is_tiered || log.partitions.iter().any(|partition| partition.store.segments > 0) {
        let header =
            ["STORE", "LOCAL", "SEGMENTS", "IN STORE", "SEGMENTS", "ONLY THERE", "WAITING"];
        output.table(&header, &rows(store_row))?;
    }
    if log.config.integrity != Integrity::None {
        let header = ["TREE", "BATCHES", "LAG", "CHECKPOINT OF", "MADE", "STATE"];
        output.table(&header, &rows(tree_row))?;
    }
    Ok(())
}

fn compaction_row(partition: &PartitionInfo) -> Vec<String> {
    let compaction = &partition.compaction;
    vec![
        partition.partition.to_string(),
        count_human(compaction.clean.get()),
        bytes_human(compaction.bytes),
        bytes_human(compaction.dirty_bytes),
        count_human(compaction.removed_records),
        count_human(compaction.removed_tombstones),
        time(compaction.ran.get()).unwrap_or_else(|| "never".to_owned()),
    ]
}

fn store_row(partition: &PartitionInfo) -> Vec<String> {
    let store = &partition.store;
    vec![
        partition.partition.to_string(),
        bytes_human(partition.bytes),
        partition.segments.to_string(),
        bytes_human(store.bytes),
        store.segments.to_string(),
        bytes_human(store.remote_only_bytes),
        bytes_human(store.waiting_bytes),
    ]
}

fn tree_row(partition: &PartitionInfo) -> Vec<String> {
    let tree = partition.tree.unwrap_or_default();
    let state = if tree.is_failed { "stands still: see the status of the server" } else { "ok" };
    vec![
        partition.partition.to_string(),
        count_human(tree.batches),
        count_human(tree.lag_records),
        count_human(tree.checkpoint_end.get()),
        time(tree.checkpoint_time.get()).unwrap_or_else(|| "never".to_owned()),
        state.to_owned(),
    ]
}

/// A moment; `None` for one that never was.
fn time(time_us: i64) -> Option<String> {
    (time_us != 0).then(|| rfc3339(time_us))
}

/// What compaction did.
pub(super) fn compaction_json(partition: &PartitionInfo) -> Value {
    let compaction = &partition.compaction;
    json!({
        "clean_below": compaction.clean.get(),
        "closed_bytes": compaction.bytes,
        "dirty_bytes": compaction.dirty_bytes,
        "removed_records": compaction.removed_records,
        "removed_tombstones": compaction.removed_tombstones,
        "last_run": time(compaction.ran.get()),
    })
}

/// What is in the object store.
pub(super) fn store_json(partition: &PartitionInfo) -> Value {
    let store = &partition.store;
    json!({
        "segments": store.segments,
        "bytes": store.bytes,
        "remote_only_segments": store.remote_only_segments,
        "remote_only_bytes": store.remote_only_bytes,
        "waiting_segments": store.waiting_segments,
        "waiting_bytes": store.waiting_bytes,
    })
}

/// How far the tree has come; null if the log has none.
pub(super) fn tree_json(partition: &PartitionInfo) -> Value {
    partition.tree.map_or(Value::Null, |tree| {
        json!({
            "batches": tree.batches,
            "lag_records": tree.lag_records,
            "checkpoint_end": tree.checkpoint_end.get(),
            "checkpoint_time": time(tree.checkpoint_time.get()),
            "failed": tree.is_failed,
        })
    })
}
