//! From a request to its answer: which module carries out what, and on which core.
//!
//! Appends and forwarding happen in the caller's turn; whatever has to wait gets a task of its own, so that a reader at
//! the tail or a slow description never holds up the next request of its connection. The number of such tasks is bounded
//! by the connections' credit, because each holds a request.

use std::rc::Rc;

use pyralog_log::ids::{LogId, PartitionId};
use pyralog_runtime::spawn;
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply, Request};

use crate::asked::Asked;
use crate::limits::BUSY_RETRY;
use crate::message::Forward;
use crate::ownership::{self, CATALOG_SHARD};
use crate::partitions::Owned;
use crate::shard::Shard;

pub(crate) mod append;
pub(crate) mod errors;
mod fetch;
mod keys;
mod logs;
mod node;
mod proofs;
mod scrub;
mod sequence;
mod truncate;

pub(crate) use fetch::ReadAhead;
pub(crate) use logs::{describe_local, full_description};
pub(crate) use node::stats_local;

/// Where a partition is.
pub(crate) enum Place {
    /// This core owns it.
    Here(Rc<Owned>),
    /// That core owns it.
    There(usize),
    /// Nowhere: it does not exist, or cannot be served.
    Nowhere(ErrorReply),
}

/// `Busy`, with a hint when to try again.
pub(crate) fn busy(reason: &str) -> ErrorReply {
    let ms = u64::try_from(BUSY_RETRY.as_millis()).unwrap_or(u64::MAX);
    ErrorReply::new(ErrorCode::Busy, format!("{reason}: try again in {ms} ms"))
        .with_detail(ErrorDetail::RetryAfter { ms })
}

/// Starts to carry out a request other than an append of a connection of this core; the answer comes by itself.
pub(crate) fn start(asked: Asked, request: Request) {
    match request {
        Request::Ping(ping) => {
            let answer = asked.shard().pong(ping.token);
            asked.reply(answer);
        }
        Request::Fetch(fetch) => fetch::start(asked, fetch),
        Request::FindOffset(find) => fetch::start_find(asked, find),
        Request::Metadata(metadata) => logs::metadata(asked, &metadata),
        Request::ListLogs(list) => logs::list(asked, &list),
        Request::DescribeLog(describe) => {
            spawn(async move { logs::describe(asked, &describe.name).await }).detach(); // holds its request
        }
        Request::Stats(_) => {
            spawn(async move { node::stats(asked).await }).detach(); // holds its request
        }
        Request::CreateLog(_) | Request::AlterLog(_) | Request::DeleteLog(_) => {
            change(asked, request);
        }
        Request::TruncateLog(truncate) => truncate::start(asked, truncate),
        Request::FetchKey(fetch) => keys::start(asked, fetch),
        Request::GetCheckpoint(get) => proofs::start(asked, (get.log, get.partition), request),
        Request::ProveRecord(prove) => proofs::start(asked, (prove.log, prove.partition), request),
        Request::ProveConsistency(prove) => {
            proofs::start(asked, (prove.log, prove.partition), request);
        }
        Request::ReadTree(read) => proofs::start(asked, (read.log, read.partition), request),
        Request::Scrub(scrub) => scrub::start(asked, scrub),
        Request::DealIds(deal) => sequence::deal_ids(asked, deal),
        Request::TakeNumbers(take) => sequence::take_numbers(asked, take),
        Request::CreateCounter(_)
        | Request::DescribeCounter(_)
        | Request::ListCounters(_)
        | Request::RaiseCounter(_) => sequence::counters(asked, request),
        Request::Hello(_) => asked.refuse(ErrorCode::HandshakeRepeated),
        // Appends of connections come through the reader; those of other cores through `forwarded`.
        Request::Append(_) => asked.refuse(ErrorCode::Internal),
    }
}

/// Carries out a request that another core forwarded.
pub(crate) fn forwarded(shard: &Rc<Shard>, from: usize, forward: Forward) {
    let Forward { flight, request, payload } = forward;
    let asked = Asked::remote(shard, from, flight, request.kind());
    match request {
        Request::Append(append) => match append::take(asked, append, &payload) {
            append::Taken::Settled => {}
            append::Taken::Busy(asked, reason) => asked.refuse(busy(reason)),
        },
        request => start(asked, request),
    }
}

/// Changes of the catalog wait for their turn on shard 0.
fn change(asked: Asked, request: Request) {
    let shard = Rc::clone(asked.shard());
    let role = shard.config.role;
    if !role.stores_records() {
        let text = format!("a node of the role {role} stores no records: ask a pyramid node");
        asked.refuse(ErrorReply::new(ErrorCode::WrongRole, text));
        return;
    }
    if shard.index != CATALOG_SHARD {
        shard.forward(CATALOG_SHARD, asked, (request, Vec::new()), None);
        return;
    }
    crate::catalog_log::submit(&shard, asked, request);
}

impl Shard {
    /// Where a partition is. A log that this core has not heard of may be new: shard 0 knows.
    pub(crate) fn place(&self, log: LogId, partition: PartitionId) -> Place {
        if let Some(owned) = self.partitions.get(log, partition) {
            return Place::Here(owned);
        }
        let catalog = self.catalog.borrow();
        let Some(entry) = catalog.get(log) else {
            return Place::Nowhere(ErrorReply::new(
                ErrorCode::UnknownLog,
                format!("no log has id {log}: it was deleted, or never created"),
            ));
        };
        if partition.get() >= entry.config.partitions {
            return Place::Nowhere(ErrorReply::new(
                ErrorCode::UnknownPartition,
                format!(
                    "log {} has the partitions 0 to {}, not {partition}",
                    entry.name,
                    entry.config.partitions - 1
                ),
            ));
        }
        match ownership::owner(log, partition, self.shards) {
            owner if owner == self.index => Place::Nowhere(busy("the partition is being opened")),
            owner => Place::There(owner),
        }
    }
}
