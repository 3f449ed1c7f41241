//! `pyralog status`: what a running server does.

use pyralog_client::{NodeStats, ServerInfo, ShardStats};
use serde_json::{Value, json};

use crate::args::StatusArgs;
use crate::connect::{connect, explain};
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::quantity::{bytes_human, count_human, duration_human};
use crate::session::Session;

/// Runs the command.
///
/// # Errors
/// If no server answers.
pub(crate) fn run(session: &Session, args: &StatusArgs) -> Result<(), Failure> {
    let connected = connect(session, &args.client)?;
    let round_trip = connected.client.ping().map_err(|error| explain(&error))?;
    let stats = connected.client.stats().map_err(|error| explain(&error))?;
    let server = connected.client.server();
    let output = session.output;
    if output.json() {
        return output.document(&stats_json(&stats, &server, micros(round_trip)));
    }
    print(output, &stats, &server, round_trip)
}

fn print(
    output: Output,
    stats: &NodeStats,
    server: &ServerInfo,
    round_trip: std::time::Duration,
) -> Result<(), Failure> {
    output.line(&format!(
        "{}  version {}, up {}, {} logs, round trip {}",
        output.paint(Tone::Strong, &format!("node {}", stats.node)),
        stats.server_version,
        uptime(stats.uptime_ms),
        stats.logs,
        duration_human(round_trip)
    ))?;
    output.line(&output.paint(Tone::Faint, &format!("cluster {}", server.cluster)))?;
    let mut rows: Vec<Vec<String>> = stats.shards.iter().map(row).collect();
    if stats.shards.len() > 1 {
        let mut total = row(&stats.shards.iter().fold(ShardStats::default(), add));
        "all".clone_into(&mut total[0]);
        rows.push(total);
    }
    let header = [
        "SHARD",
        "PARTS",
        "CONNS",
        "REQUESTS",
        "REFUSED",
        "BUSY",
        "RECORDS IN",
        "BYTES IN",
        "BYTES OUT",
        "MEMORY",
        "ACK P50",
        "P99",
        "P99.9",
    ];
    output.table(&header, &rows)
}

fn row(shard: &ShardStats) -> Vec<String> {
    let latency = |us: u64| match shard.appends {
        0 => "-".to_owned(),
        _ => duration_human(std::time::Duration::from_micros(us)),
    };
    vec![
        shard.shard.to_string(),
        count_human(shard.partitions.into()),
        count_human(shard.connections.into()),
        count_human(shard.requests),
        count_human(shard.refusals),
        count_human(shard.busy_refusals),
        count_human(shard.appended_records),
        bytes_human(shard.appended_bytes),
        bytes_human(shard.fetched_bytes),
        bytes_human(shard.memory_bytes),
        latency(shard.append_p50_us),
        latency(shard.append_p99_us),
        latency(shard.append_p999_us),
    ]
}

/// Sums of counters. Percentiles cannot be added: of them the worst shard's is shown.
fn add(mut sum: ShardStats, shard: &ShardStats) -> ShardStats {
    sum.partitions += shard.partitions;
    sum.connections += shard.connections;
    sum.requests += shard.requests;
    sum.refusals += shard.refusals;
    sum.busy_refusals += shard.busy_refusals;
    sum.appends += shard.appends;
    sum.appended_records += shard.appended_records;
    sum.appended_bytes += shard.appended_bytes;
    sum.fetched_bytes += shard.fetched_bytes;
    sum.memory_bytes += shard.memory_bytes;
    sum.append_p50_us = sum.append_p50_us.max(shard.append_p50_us);
    sum.append_p99_us = sum.append_p99_us.max(shard.append_p99_us);
    sum.append_p999_us = sum.append_p999_us.max(shard.append_p999_us);
    sum
}

/// `3d 4h`, `2h 5m`, `12s`: the two largest units.
fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn stats_json(stats: &NodeStats, server: &ServerInfo, round_trip_us: u64) -> Value {
    let shards: Vec<Value> = stats.shards.iter().map(shard_json).collect();
    json!({
        "node": stats.node,
        "cluster": server.cluster,
        "server_version": stats.server_version,
        "uptime_ms": stats.uptime_ms,
        "logs": stats.logs,
        "round_trip_us": round_trip_us,
        "shards": shards,
    })
}

fn shard_json(shard: &ShardStats) -> Value {
    json!({
        "shard": shard.shard,
        "partitions": shard.partitions,
        "connections": shard.connections,
        "requests": shard.requests,
        "refusals": shard.refusals,
        "busy_refusals": shard.busy_refusals,
        "forwarded": shard.forwarded,
        "appends": shard.appends,
        "appended_records": shard.appended_records,
        "appended_bytes": shard.appended_bytes,
        "fetches": shard.fetches,
        "fetched_bytes": shard.fetched_bytes,
        "in_flight_bytes": shard.in_flight_bytes,
        "memory_bytes": shard.memory_bytes,
        "memory_bytes_max": shard.memory_bytes_max,
        "append_p50_us": shard.append_p50_us,
        "append_p99_us": shard.append_p99_us,
        "append_p999_us": shard.append_p999_us,
        "append_max_us": shard.append_max_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_shows_two_units() {
        let cases = [
            (999, "0s"),
            (12_000, "12s"),
            (125_000, "2m 5s"),
            (7_500_000, "2h 5m"),
            (273_600_000, "3d 4h"),
        ];
        for (ms, text) in cases {
            assert_eq!(uptime(ms), text);
        }
    }

    #[test]
    fn the_sum_of_shards_adds_counters_and_keeps_the_worst_percentile() {
        let one = ShardStats { requests: 3, append_p99_us: 10, ..ShardStats::default() };
        let two = ShardStats { requests: 4, append_p99_us: 7, ..ShardStats::default() };
        let sum = [one, two].iter().fold(ShardStats::default(), add);
        assert_eq!((sum.requests, sum.append_p99_us), (7, 10));
    }
}
