//! The node's counters, for clients.

use std::rc::Rc;

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use pyralog_runtime::{buffer, time};
use pyralog_wire::message::{NodeStats, ShardStats};
use pyralog_wire::{ErrorCode, ErrorReply, Response};

use crate::asked::Asked;
use crate::message::{Answer, Question};
use crate::metrics::Counter;
use crate::shard::{Shard, shard_number};

/// Answers the counters of all cores.
pub(crate) async fn stats(asked: Asked) {
    let shard = Rc::clone(asked.shard());
    let here = &shard;
    let questions = (0..here.shards).map(|to| async move {
        if to == here.index {
            return Some(stats_local(here));
        }
        match here.ask(to, Question::Stats).await {
            Some(Answer::Stats(stats)) => Some(stats),
            _ => None,
        }
    });
    let answers: Option<Vec<ShardStats>> = join_all(questions).await.into_iter().collect();
    let Some(shards) = answers else {
        let text = "not every shard answered: try again";
        asked.refuse(ErrorReply::new(ErrorCode::DeadlineExceeded, text));
        return;
    };
    let uptime = time::now().since(shard.started).as_millis();
    let logs = shard.catalog.borrow().len();
    asked.reply(Response::Stats(NodeStats {
        node: shard.identity.node_id,
        server_time: shard.wall(),
        uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
        logs: u32::try_from(logs).unwrap_or(u32::MAX),
        server_version: env!("CARGO_PKG_VERSION").into(),
        shards,
    }));
}

/// The counters of this core.
pub(crate) fn stats_local(shard: &Shard) -> ShardStats {
    let metrics = &shard.metrics;
    let latency = metrics.histograms().write_latency_all();
    let at = |latency: &Histogram<u64>, quantile| {
        if latency.is_empty() { 0 } else { latency.value_at_quantile(quantile) }
    };
    ShardStats {
        shard: shard_number(shard.index),
        partitions: u32::try_from(shard.partitions.len()).unwrap_or(u32::MAX),
        connections: u32::try_from(shard.connections.borrow().len()).unwrap_or(u32::MAX),
        requests: metrics.get(Counter::Requests),
        refusals: metrics.failures_all(),
        busy_refusals: metrics.failures(ErrorCode::Busy),
        forwarded: metrics.get(Counter::Forwarded),
        appends: metrics.get(Counter::Writes),
        appended_records: metrics.get(Counter::RecordsWritten),
        appended_bytes: metrics.get(Counter::WriteBytes),
        fetches: metrics.get(Counter::Reads),
        fetched_bytes: metrics.get(Counter::ReadBytes),
        in_flight_bytes: shard.in_flight.held(),
        memory_bytes: buffer::in_use_bytes() as u64,
        memory_bytes_max: shard.config.memory.io_bytes as u64,
        append_p50_us: at(&latency, 0.5),
        append_p99_us: at(&latency, 0.99),
        append_p999_us: at(&latency, 0.999),
        append_max_us: if latency.is_empty() { 0 } else { latency.max() },
    }
}
