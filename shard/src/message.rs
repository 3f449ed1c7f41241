//! What cores say to each other: a closed list of owned messages over the lanes of the runtime's mesh.
//!
//! Requests that landed on the wrong core travel as [`Message::Forward`] and come back as [`Message::Replied`]; all the
//! rest is a [`Question`] that one core asks another and an [`Answer`] under the number of the question. A lane keeps
//! order, so forwarded appends of a connection arrive in the order in which they were sent.

use std::net::SocketAddr;

use pyralog_log::ids::LogId;
use pyralog_wire::message::{CounterInfo, PartitionInfo, ShardAddress, ShardStats};
use pyralog_wire::{ErrorReply, Request, Response};

use crate::catalog::{Catalog, Command};
use crate::metrics::ShardSnapshot;

/// A message from one core, or from a thread outside, to a core.
#[derive(Debug)]
pub(crate) enum Message {
    /// Carry out a request of one of my connections.
    Forward(Forward),
    /// The outcome of a request that you forwarded.
    Replied(Replied),
    /// Answer this under this number.
    Ask {
        /// The number.
        call: u64,
        /// What is asked.
        question: Box<Question>,
    },
    /// The answer to your question with this number.
    Answer {
        /// The number.
        call: u64,
        /// The answer.
        answer: Box<Answer>,
    },
    /// From the admin listener: send your numbers.
    Snapshot(SnapshotReply),
}

/// Where a snapshot goes: to a thread that waits for it with a deadline.
#[derive(Debug)]
pub(crate) struct SnapshotReply(pub(crate) tokio::sync::oneshot::Sender<ShardSnapshot>);

/// A request on its way to the core that owns its partition. The payload is copied for it: connections to the owner's
/// own port avoid that.
#[derive(Debug)]
pub(crate) struct Forward {
    /// Names it to the core that forwards.
    pub(crate) flight: u64,
    /// What is asked for.
    pub(crate) request: Request,
    /// The batches of an append, otherwise empty.
    pub(crate) payload: Vec<u8>,
}

/// The outcome of a forwarded request.
#[derive(Debug)]
pub(crate) struct Replied {
    /// As in [`Forward`].
    pub(crate) flight: u64,
    /// What to answer.
    pub(crate) outcome: Result<Response, ErrorReply>,
    /// The batches of a fetch, otherwise empty.
    pub(crate) payload: Vec<u8>,
}

/// What one core asks another.
#[derive(Debug)]
pub(crate) enum Question {
    /// Take this catalog, listen, and open what you own.
    Boot(Boot),
    /// All cores are ready, these are their addresses: accept connections.
    Serve(Vec<ShardAddress>),
    /// Apply the next command of the catalog.
    Apply(Command),
    /// The state of the partitions of a log that you own.
    Describe(LogId),
    /// Your numbers.
    Stats,
    /// The first of your counters whose names begin with `prefix` and come after `after`, and one more.
    Counters {
        /// How the names begin.
        prefix: String,
        /// Which name they come after.
        after: String,
        /// How many are wanted.
        limit: u32,
    },
    /// Accept nothing more and read nothing more; forwarded requests are still carried out.
    Quiesce,
    /// Nothing more is forwarded to you: sync all partitions and answer everything.
    Drain,
    /// All answers are under way: let your clients take theirs, close and end.
    Close,
}

/// What shard 0 tells the others at the start.
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    /// The logs there are.
    pub(crate) catalog: Catalog,
    /// The shared address, with its real port.
    pub(crate) listen: SocketAddr,
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub(crate) enum Answer {
    /// To [`Question::Boot`].
    Booted(Result<Booted, String>),
    /// To [`Question::Apply`]: what did not go as it should, one sentence each.
    Applied(Vec<String>),
    /// To [`Question::Describe`].
    Described(Vec<PartitionInfo>),
    /// To [`Question::Stats`].
    Stats(ShardStats),
    /// To [`Question::Counters`], by name.
    Counters(Vec<CounterInfo>),
    /// To the rest.
    Done,
}

/// A core that is ready to accept.
#[derive(Debug, Default)]
pub(crate) struct Booted {
    /// The address of its own port.
    pub(crate) address: Option<SocketAddr>,
    /// One line for each partition that needed more than a clean open.
    pub(crate) recovery: Vec<String>,
}
