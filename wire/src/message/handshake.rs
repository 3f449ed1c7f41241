//! The first exchange of a connection. Layouts frozen for all versions, because versions are chosen
//! here.

use pyralog_log::ids::Timestamp;
use rkyv::{Archive, Deserialize, Serialize};

use crate::raw::Plain;

/// What a client says first, in a frame of version 1.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol version that the client speaks.
    pub protocol_min: u16,
    /// Newest protocol version that the client speaks.
    pub protocol_max: u16,
    /// [`crate::limits::fingerprint`] of the client, 0 if it has none. A difference is reported,
    /// not refused: what matters to a client is spelled out in [`ConnectionLimits`].
    pub limits_fingerprint: u32,
    /// Name of the client's program or library, for logs and statistics.
    pub client: String,
    /// Its version.
    pub client_version: String,
}

/// The server's answer to a [`Hello`] that it accepts.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both sides use from the next frame on.
    pub protocol: u16,
    /// The shard that this connection landed on.
    pub shard: u16,
    /// [`crate::limits::fingerprint`] of the server.
    pub limits_fingerprint: u32,
    /// Identity of the node.
    pub node: u64,
    /// Identity of the cluster.
    pub cluster: u64,
    /// The server's clock when it answered.
    #[rkyv(with = Plain)]
    pub server_time: Timestamp,
    /// What the server takes from and grants to this connection.
    pub limits: ConnectionLimits,
    /// Version of the server's program.
    pub server_version: String,
    /// Where each shard listens, in order of index.
    pub shards: Vec<ShardAddress>,
}

/// Where a shard listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub struct ShardAddress {
    /// Index of the shard on its node.
    pub shard: u16,
    /// Port of its own listener; connections to it always land on this shard.
    pub port: u16,
    /// Host name or address, empty for the one that the client dialled.
    pub host: String,
}

/// What a server takes from and grants to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ConnectionLimits {
    /// Largest body of a request, in bytes.
    pub body_bytes_max: u32,
    /// Largest payload of a request or response, in bytes.
    pub payload_bytes_max: u32,
    /// Largest batch, header and padding included, in bytes.
    pub batch_bytes_max: u32,
    /// Largest `bytes_max` of a fetch that is honoured; larger ones are lowered to it.
    pub fetch_bytes_max: u32,
    /// Longest `wait_ms` of a fetch that is honoured; longer ones are lowered to it.
    pub wait_ms_max: u32,
    /// Milliseconds of silence, with no request in flight, after which the server closes.
    pub idle_ms_max: u32,
    /// Requests that may be in flight.
    pub credit_requests: u32,
    /// Frame bytes (header, body, payload) of requests that may be in flight. One request may
    /// always be.
    pub credit_bytes: u64,
}
