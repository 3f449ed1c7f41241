//! Messages about the node: liveness and counters.

use pyralog_log::ids::Timestamp;
use rkyv::{Archive, Deserialize, Serialize};

use crate::raw::Plain;

/// Asks for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Ping {
    /// Anything; comes back in the [`Pong`].
    pub token: u64,
}

/// The answer to a [`Ping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Pong {
    /// The token of the [`Ping`].
    pub token: u64,
    /// The server's clock.
    #[rkyv(with = Plain)]
    pub server_time: Timestamp,
}

/// Asks for the node's counters. Its body is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Stats {}

/// The answer to a [`Stats`]: counters since the node started.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct NodeStats {
    /// Identity of the node.
    pub node: u64,
    /// The server's clock.
    #[rkyv(with = Plain)]
    pub server_time: Timestamp,
    /// Milliseconds since the node started.
    pub uptime_ms: u64,
    /// Logs in the catalog.
    pub logs: u32,
    /// Version of the server's program.
    pub server_version: String,
    /// Per shard, in order of index.
    pub shards: Vec<ShardStats>,
}

/// Counters of one shard since it started; gauges say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ShardStats {
    /// Index of the shard.
    pub shard: u16,
    /// Partitions that it owns (gauge).
    pub partitions: u32,
    /// Open connections (gauge).
    pub connections: u32,
    /// Requests answered, refusals included.
    pub requests: u64,
    /// Requests refused or failed.
    pub refusals: u64,
    /// Of these, refused as busy.
    pub busy_refusals: u64,
    /// Requests handed to another shard.
    pub forwarded: u64,
    /// Append requests acknowledged.
    pub appends: u64,
    /// Records appended.
    pub appended_records: u64,
    /// Bytes of batches appended.
    pub appended_bytes: u64,
    /// Fetch requests answered.
    pub fetches: u64,
    /// Bytes of batches sent to readers.
    pub fetched_bytes: u64,
    /// Bytes of request payloads in work (gauge).
    pub in_flight_bytes: u64,
    /// Bytes of buffers in use (gauge).
    pub memory_bytes: u64,
    /// The budget of buffers.
    pub memory_bytes_max: u64,
    /// Median time from an append's arrival to its acknowledgement, in microseconds.
    pub append_p50_us: u64,
    /// 99th percentile of it.
    pub append_p99_us: u64,
    /// 99.9th percentile of it.
    pub append_p999_us: u64,
    /// Longest of it.
    pub append_max_us: u64,
}
