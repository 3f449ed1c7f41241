//! Questions about logs, answered from this core's replica of the catalog; the state of partitions comes from their
//! owners.

use std::rc::Rc;

use futures_util::future::join_all;
use pyralog_log::ids::LogId;
use pyralog_wire::message::{
    ListLogs, LogDescription, LogPage, LogRoute, Metadata, PartitionInfo, Routes,
};
use pyralog_wire::{ErrorCode, ErrorReply, Response, name};

use crate::asked::Asked;
use crate::catalog::LogEntry;
use crate::message::{Answer, Question};
use crate::ownership;
use crate::request::errors::unknown_log;
use crate::shard::{Shard, shard_number};

/// Answers where the partitions of logs live.
pub(crate) fn metadata(asked: Asked, metadata: &Metadata) {
    let shard = Rc::clone(asked.shard());
    let (mut logs, mut unknown) = (Vec::new(), Vec::new());
    let catalog = shard.catalog.borrow();
    for name in &metadata.names {
        match catalog.by_name(name) {
            Some(entry) => logs.push(route(entry, shard.shards)),
            None => unknown.push(name.clone()),
        }
    }
    let version = catalog.version();
    drop(catalog);
    let shards = shard.addresses.borrow().clone();
    asked.reply(Response::Metadata(Routes { version, shards, logs, unknown }));
}

fn route(entry: &LogEntry, shards: usize) -> LogRoute {
    let partitions = (0..entry.config.partitions).map(pyralog_log::ids::PartitionId::new);
    LogRoute {
        id: entry.id,
        name: entry.name.clone(),
        config: entry.config,
        shards: partitions
            .map(|partition| shard_number(ownership::owner(entry.id, partition, shards)))
            .collect(),
    }
}

/// Answers a page of the logs.
pub(crate) fn list(asked: Asked, list: &ListLogs) {
    let shard = Rc::clone(asked.shard());
    let catalog = shard.catalog.borrow();
    let (page, more) = catalog.page(&list.prefix, &list.after, list.limit);
    let logs = page.into_iter().map(|entry| description(entry, Vec::new())).collect();
    drop(catalog);
    asked.reply(Response::ListLogs(LogPage { logs, more }));
}

/// Answers what a log is and how its partitions are.
pub(crate) async fn describe(asked: Asked, name: &str) {
    if let Err(error) = name::check_existing(name) {
        asked.refuse(ErrorReply::new(ErrorCode::InvalidName, error.to_string()));
        return;
    }
    let shard = Rc::clone(asked.shard());
    let entry = shard.catalog.borrow().by_name(name).cloned();
    let Some(entry) = entry else {
        asked.refuse(unknown_log(name));
        return;
    };
    match full_description(&shard, &entry).await {
        Ok(description) => asked.reply(Response::DescribeLog(description)),
        Err(error) => asked.refuse(error),
    }
}

/// The description of a log with the state of all its partitions, also of those that could not be opened.
///
/// # Errors
/// [`ErrorCode::DeadlineExceeded`] if a core does not answer, or if some of the partitions are not made yet or gone already.
pub(crate) async fn full_description(
    shard: &Rc<Shard>,
    entry: &LogEntry,
) -> Result<LogDescription, ErrorReply> {
    let questions = (0..shard.shards).map(|to| async move {
        if to == shard.index {
            return Some(describe_local(shard, entry.id));
        }
        match shard.ask(to, Question::Describe(entry.id)).await {
            Some(Answer::Described(partitions)) => Some(partitions),
            _ => None,
        }
    });
    let mut partitions: Vec<PartitionInfo> = Vec::new();
    for (to, answer) in join_all(questions).await.into_iter().enumerate() {
        let Some(some) = answer else {
            let text = format!("shard {to} did not answer: try again");
            return Err(ErrorReply::new(ErrorCode::DeadlineExceeded, text));
        };
        partitions.extend(some);
    }
    // Cores make and remove the partitions of a log one after the other.
    if partitions.len() != entry.config.partitions as usize {
        let text = format!("log {} is just being made or deleted: try again", entry.name);
        return Err(ErrorReply::new(ErrorCode::DeadlineExceeded, text));
    }
    partitions.sort_by_key(|partition| partition.partition);
    Ok(description(entry, partitions))
}

fn description(entry: &LogEntry, partitions: Vec<PartitionInfo>) -> LogDescription {
    LogDescription {
        id: entry.id,
        name: entry.name.clone(),
        created: entry.created,
        config: entry.config,
        partitions,
    }
}

/// The state of the partitions of a log that this core owns.
pub(crate) fn describe_local(shard: &Shard, log: LogId) -> Vec<PartitionInfo> {
    let owned = shard.partitions.of_log(log);
    owned.iter().map(|owned| owned.info(shard.index)).collect()
}
