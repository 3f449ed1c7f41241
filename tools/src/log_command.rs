//! `pyralog log`: create, list, describe, change and delete logs, and look keys up.

mod get;
mod life;
mod scrub;
mod truncate;

use std::io::{BufRead, IsTerminal};

use pyralog_client::{
    ClientError, ErrorCode, Integrity, LogChanges, LogConfig, LogDescription, LogStorage,
};
use serde_json::{Value, json};

use crate::args::{AlterArgs, ClientArgs, CreateArgs, DeleteArgs, ListArgs, LogCommand, Switch};
use crate::connect::{connect, explain};
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::quantity::{bytes_human, count_human, duration_exact, size_exact};
use crate::session::Session;
use crate::settings::Settings;
use crate::timestamp::rfc3339;

/// Runs one of the `log` commands.
///
/// # Errors
/// If the server refuses or cannot be reached.
pub(crate) fn run(session: &Session, command: LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Create(args) => create(session, &args),
        LogCommand::List(args) => list(session, &args),
        LogCommand::Describe(args) => describe(session, &args.name, &args.client),
        LogCommand::Get(args) => get::run(session, &args),
        LogCommand::Alter(args) => alter(session, &args),
        LogCommand::Truncate(args) => truncate::run(session, &args),
        LogCommand::Scrub(args) => scrub::run(session, &args),
        LogCommand::Delete(args) => delete(session, &args),
    }
}

fn create(session: &Session, args: &CreateArgs) -> Result<(), Failure> {
    let connected = connect(session, &args.client)?;
    let config = wanted(args, &connected.settings);
    let output = session.output;
    match connected.client.create_log(&args.name, config) {
        Ok(log) if output.json() => output.document(&log_json(&log)),
        Ok(log) => {
            let done = output.paint(Tone::Good, "created");
            output.line(&format!("{done} {} ({})", log.name, summary(&log)))
        }
        Err(error) if exists(&error) && args.if_not_exists => {
            let log = connected.client.describe_log(&args.name).map_err(|error| explain(&error))?;
            if output.json() {
                return output.document(&log_json(&log));
            }
            output.line(&format!("{} exists already ({})", log.name, summary(&log)))
        }
        Err(error) if exists(&error) => Err(explain(&error).hint(format!(
            "--if-not-exists accepts that; `pyralog log describe {}` shows it",
            args.name
        ))),
        Err(error) => Err(explain(&error)),
    }
}

fn exists(error: &ClientError) -> bool {
    error.reply().is_some_and(|reply| reply.is(ErrorCode::LogExists))
}

fn wanted(args: &CreateArgs, settings: &Settings) -> LogConfig {
    let defaults = settings.log_defaults;
    let base = if args.memory {
        LogConfig { partitions: defaults.partitions, ..LogConfig::memory() }
    } else {
        defaults
    };
    args.life.over(LogConfig {
        partitions: args.partitions.unwrap_or(base.partitions),
        durability: args.durability.map_or(base.durability, Into::into),
        segment_bytes: args.segment_size.unwrap_or(base.segment_bytes),
        memory_bytes_max: args.max_bytes.unwrap_or(base.memory_bytes_max),
        ttl_ms: args.ttl.unwrap_or(base.ttl_ms),
        key_index: args.key_index || base.key_index,
        integrity: args.integrity.into(),
        ..base
    })
}

fn list(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let connected = connect(session, &args.client)?;
    let logs = connected.client.list_logs(&args.prefix).map_err(|error| explain(&error))?;
    let output = session.output;
    if output.json() {
        return output.document(&Value::Array(logs.iter().map(log_json).collect()));
    }
    if logs.is_empty() {
        output.note("no logs; `pyralog log create NAME` makes one");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = logs
        .iter()
        .map(|log| {
            vec![
                log.name.clone(),
                log.config.partitions.to_string(),
                log.config.storage.to_string(),
                log.config.durability.to_string(),
                rfc3339(log.created.get())[..19].replace('T', " "),
            ]
        })
        .collect();
    output.table(&["NAME", "PARTITIONS", "STORAGE", "DURABILITY", "CREATED (UTC)"], &rows)
}

fn describe(session: &Session, name: &str, client: &ClientArgs) -> Result<(), Failure> {
    let connected = connect(session, client)?;
    let log = connected.client.describe_log(name).map_err(|error| explain(&error))?;
    print(session.output, &log)
}

fn alter(session: &Session, args: &AlterArgs) -> Result<(), Failure> {
    let changes = args.life.changing(LogChanges {
        durability: args.durability.map(Into::into),
        segment_bytes: args.segment_size,
        memory_bytes_max: args.max_bytes,
        ttl_ms: args.ttl,
        key_index: args.key_index.map(|switch| switch == Switch::On),
        ..LogChanges::default()
    });
    if changes == LogChanges::default() {
        return Err(Failure::usage(format!("no change of {} is given", args.name))
            .hint("`pyralog log alter --help` shows what can be changed"));
    }
    let connected = connect(session, &args.client)?;
    let log = connected.client.alter_log(&args.name, changes).map_err(|error| explain(&error))?;
    let output = session.output;
    if output.json() {
        return output.document(&log_json(&log));
    }
    let done = output.paint(Tone::Good, "changed");
    output.line(&format!("{done} {} ({})", log.name, summary(&log)))
}

fn delete(session: &Session, args: &DeleteArgs) -> Result<(), Failure> {
    let output = session.output;
    if !args.yes && (output.json() || !std::io::stdin().is_terminal()) {
        return Err(Failure::usage(format!("deleting {} needs --yes here", args.name))
            .hint("without a terminal there is nobody to ask"));
    }
    let connected = connect(session, &args.client)?;
    let log = match connected.client.describe_log(&args.name) {
        Ok(log) => log,
        Err(ClientError::UnknownLog { .. }) if args.if_exists => {
            return gone(output, &args.name, false);
        }
        Err(error) => return Err(explain(&error)),
    };
    let records: u64 = log.partitions.iter().map(|p| p.high.get() - p.low.get()).sum();
    let bytes: u64 = log.partitions.iter().map(|partition| partition.bytes).sum();
    let what =
        format!("{} with {} records, {}", log.name, count_human(records), bytes_human(bytes));
    if !args.yes && !confirmed(output, &log.name, &what)? {
        return Err(Failure::failed("not deleted"));
    }
    match connected.client.delete_log(&args.name) {
        Ok(_) => gone(output, &args.name, true),
        Err(ClientError::UnknownLog { .. }) if args.if_exists => gone(output, &args.name, false),
        Err(error) => Err(explain(&error)),
    }
}

fn gone(output: Output, name: &str, deleted: bool) -> Result<(), Failure> {
    if output.json() {
        return output.document(&json!({ "name": name, "deleted": deleted }));
    }
    if deleted {
        return output.line(&format!("{} {name}", output.paint(Tone::Good, "deleted")));
    }
    output.line(&format!("there was no log {name}"))
}

/// Asks whether `what` is to be deleted; the answer is the name of the log.
fn confirmed(output: Output, name: &str, what: &str) -> Result<bool, Failure> {
    output.note(&format!(
        "This deletes {what}, for good. Type {} to confirm:",
        output.paint_note(Tone::Strong, name)
    ));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
    Ok(answer.trim() == name)
}

fn print(output: Output, log: &LogDescription) -> Result<(), Failure> {
    if output.json() {
        return output.document(&log_json(log));
    }
    output.line(&format!("{}  {}", output.paint(Tone::Strong, &log.name), summary(log)))?;
    let created = rfc3339(log.created.get());
    output.line(&output.paint(Tone::Faint, &format!("id {}, created {created}", log.id)))?;
    let rows: Vec<Vec<String>> = log
        .partitions
        .iter()
        .map(|partition| {
            vec![
                partition.partition.to_string(),
                partition.shard.to_string(),
                count_human(partition.low.get()),
                count_human(partition.high.get()),
                count_human(partition.high.get() - partition.low.get()),
                bytes_human(partition.bytes),
                partition.segments.to_string(),
                if partition.failed { "failed: read-only until restart" } else { "ok" }.to_owned(),
            ]
        })
        .collect();
    let header = ["PARTITION", "SHARD", "FIRST", "NEXT", "RECORDS", "SIZE", "SEGMENTS", "STATE"];
    output.table(&header, &rows)?;
    life::print(output, log)
}

/// `4 partitions, durable, synced, segments of 1GiB`.
fn summary(log: &LogDescription) -> String {
    let config = &log.config;
    let partitions = match config.partitions {
        1 => "1 partition".to_owned(),
        count => format!("{count} partitions"),
    };
    let storage = match config.storage {
        LogStorage::Memory => {
            let ttl = match config.ttl_ms {
                0 => String::new(),
                ms => format!(
                    ", at most {} old",
                    duration_exact(std::time::Duration::from_millis(ms))
                ),
            };
            format!("in memory, at most {} each{ttl}", size_exact(config.memory_bytes_max))
        }
        LogStorage::Durable => format!(
            "durable, {}, segments of {}",
            config.durability,
            size_exact(config.segment_bytes)
        ),
    };
    let keys = if config.key_index { ", keys indexed" } else { "" };
    format!("{partitions}, {storage}{keys}{}", life_summary(config))
}

/// How long records live, as far as it differs from a log that keeps everything.
fn life_summary(config: &LogConfig) -> String {
    let (retention, compaction) = (config.retention, config.compaction);
    let age = |ms| duration_exact(std::time::Duration::from_millis(ms));
    let parts = [
        (retention.age_ms > 0).then(|| format!("kept for {}", age(retention.age_ms))),
        (retention.bytes > 0).then(|| format!("at most {} each", size_exact(retention.bytes))),
        // What is in the store stays as it was uploaded.
        compaction.is_on.then(|| {
            let until = if config.is_tiered { " until it is in the object store" } else { "" };
            format!("compacted by key{until}")
        }),
        config.is_tiered.then(|| "tiered".to_owned()),
        (retention.local_age_ms > 0)
            .then(|| format!("files kept for {}", age(retention.local_age_ms))),
        (retention.local_bytes > 0)
            .then(|| format!("files at most {} each", size_exact(retention.local_bytes))),
        (config.integrity != Integrity::None).then(|| format!("integrity {}", config.integrity)),
    ];
    parts.into_iter().flatten().fold(String::new(), |text, part| format!("{text}, {part}"))
}

fn log_json(log: &LogDescription) -> Value {
    let partitions: Vec<Value> = log
        .partitions
        .iter()
        .map(|partition| {
            json!({
                "partition": partition.partition.get(),
                "shard": partition.shard,
                "low": partition.low.get(),
                "high": partition.high.get(),
                "end": partition.end.get(),
                "bytes": partition.bytes,
                "segments": partition.segments,
                "failed": partition.failed,
                "compaction": life::compaction_json(partition),
                "store": life::store_json(partition),
                "tree": life::tree_json(partition),
            })
        })
        .collect();
    json!({
        "id": log.id.get(),
        "name": log.name,
        "created": rfc3339(log.created.get()),
        "config": {
            "partitions": log.config.partitions,
            "storage": log.config.storage.to_string(),
            "durability": log.config.durability.to_string(),
            "segment_bytes": log.config.segment_bytes,
            "memory_bytes_max": log.config.memory_bytes_max,
            "ttl_ms": log.config.ttl_ms,
            "key_index": log.config.key_index,
            "segment_age_ms": log.config.segment_age_ms,
            "retention_ms": log.config.retention.age_ms,
            "retention_bytes": log.config.retention.bytes,
            "local_retention_ms": log.config.retention.local_age_ms,
            "local_retention_bytes": log.config.retention.local_bytes,
            "compaction": log.config.compaction.is_on,
            "compaction_lag_ms": log.config.compaction.lag_ms,
            "tombstone_ms": log.config.compaction.tombstone_ms,
            "tiered": log.config.is_tiered,
            "integrity": log.config.integrity.to_string(),
        },
        "partitions": partitions,
    })
}
