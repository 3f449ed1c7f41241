//! What happened in a simulated world: events, and the hash that two runs of one seed share.

use std::fmt;
use std::hash::Hasher;
use std::path::PathBuf;

use super::faults::{DiskFault, NetFault};
use crate::rng::mix;

/// A node of the world, counted from zero in the order in which they were added.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub usize);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// One event.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TraceEvent {
    /// When, in nanoseconds of virtual time since the world began.
    pub at: u64,
    /// The node it happened on; `None` for what the world itself did.
    pub node: Option<NodeId>,
    /// The core, if one of them did it.
    pub shard: Option<usize>,
    /// What.
    pub kind: TraceKind,
}

/// What happened.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TraceKind {
    /// The node's cores began.
    Boot {
        /// How many.
        shards: usize,
    },
    /// The node ended without order.
    Crash {
        /// Whether its disk lost what was not synced.
        power: bool,
    },
    /// All of the node's cores have ended in order.
    Ended,
    /// The node's disk was replaced by an empty one.
    Wiped,
    /// The node stands still while time goes on.
    Paused {
        /// Until then.
        until: u64,
    },
    /// It goes on.
    Resumed,
    /// The node's wall clock jumped.
    ClockJumped {
        /// By so many microseconds.
        by_us: i64,
    },
    /// A connection was asked for.
    Connect {
        /// Its number, the same at both ends.
        connection: u64,
        /// The other node.
        to: NodeId,
    },
    /// Bytes left the node.
    Send {
        /// The connection.
        connection: u64,
        /// The other node.
        to: NodeId,
        /// How many bytes.
        bytes: usize,
        /// When they will be there; `None` while the network holds them back.
        arrives: Option<u64>,
    },
    /// Bytes reached the node.
    Receive {
        /// The connection.
        connection: u64,
        /// The other node.
        from: NodeId,
        /// How many bytes.
        bytes: usize,
    },
    /// A direction of a connection ended in order.
    Closed {
        /// The connection.
        connection: u64,
    },
    /// A connection broke.
    Reset {
        /// The connection.
        connection: u64,
    },
    /// The network between two nodes stopped carrying this direction.
    Cut {
        /// Sender.
        from: NodeId,
        /// Receiver.
        to: NodeId,
    },
    /// The network carries this direction again.
    Healed {
        /// Sender.
        from: NodeId,
        /// Receiver.
        to: NodeId,
    },
    /// A write of a direct file ended.
    Write {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// How many bytes were asked for.
        len: usize,
        /// Whether they were to be on stable storage.
        sync: bool,
        /// How long it took in nanoseconds.
        took: u64,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A sync of a file or directory ended.
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// How long it took in nanoseconds.
        took: u64,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A read of a direct file ended.
    Read {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// How many bytes came.
        len: usize,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A call on names or whole files ended: `create`, `rename`, `remove` …
    File {
        /// Which call.
        call: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A fault of the disk struck.
    DiskFault {
        /// Which.
        fault: DiskFault,
        /// The file.
        path: PathBuf,
    },
    /// A fault of the network struck.
    NetFault {
        /// Which.
        fault: NetFault,
        /// The connection, if it was one.
        connection: Option<u64>,
    },
    /// A task panicked.
    Panicked {
        /// What it said.
        message: String,
        /// The name of a task whose panic ends the process.
        durable: Option<&'static str>,
    },
    /// Something the workload wants to be seen, see [`note`](super::note).
    Note(String),
}

/// The running hash of a trace. A hasher of our own, so that it is the same on every machine and with every toolchain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceHash {
    state: u64,
}

impl TraceHash {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    pub(crate) fn add(&mut self, value: u64) {
        self.state = mix(self.state ^ value);
    }
}

impl Hasher for TraceHash {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.add(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }
}
