//! What can go wrong for a user of the client, by fault: the caller's, the environment's, the
//! server's.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use pyralog_log::batch::{BatchError, PushError};
use pyralog_log::ids::{Offset, PartitionId};
use pyralog_wire::client::ConnectionError;
use pyralog_wire::name::NameError;
use pyralog_wire::{ErrorCode, ErrorReply, Integrity, Retry};

use crate::dispatch::{Failure, Refusal};
use crate::verifying::Unverified;

/// Why a call failed, or a record was not delivered. Cheap to clone: one failed batch tells many.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// A setting is outside its range.
    Config {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No log can have this name.
    Name(NameError),
    /// The log has no such partition.
    Partition {
        /// The partition asked for.
        partition: PartitionId,
        /// How many the log has.
        partitions: u32,
    },
    /// The record fits no batch.
    Record(PushError),
    /// The producer holds as much as it may; nothing was taken.
    BufferFull,
    /// A blocking call inside an async runtime, whose thread it would block.
    InsideRuntime,
    /// The producer, consumer or client was closed, or its runtime ended.
    Closed,
    /// The error does not say what to skip: only damaged and corrupt ranges can be.
    NothingToSkip,

    /// No connection to the server.
    Connect {
        /// The address tried last.
        address: String,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// The connection ended before the answer. Whether the server did what was asked is unknown.
    Disconnected {
        /// The address.
        address: String,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// What arrived is not what the protocol says, or the server ended the connection with a
    /// reason.
    Connection {
        /// The address.
        address: String,
        /// What is wrong.
        source: Arc<ConnectionError>,
    },
    /// No answer in time. Whether the server did, or will do, what was asked is unknown.
    Timeout {
        /// What was waited for.
        operation: &'static str,
        /// For how long.
        after: Duration,
    },

    /// The server refused the request or failed at it.
    Server(ErrorReply),
    /// There is no such log.
    UnknownLog {
        /// Its name.
        name: String,
    },
    /// The log of this name is not the one that the producer or consumer was made for: it was
    /// deleted and made again, or another cluster answers at the address, as after a server has lost
    /// its data. Make a new producer or consumer for the log that is there now.
    LogReplaced {
        /// Its name.
        name: String,
    },
    /// The record had no outcome at its deadline.
    DeliveryTimeout {
        /// Length of the deadline.
        after: Duration,
        /// How often its batch was sent.
        attempts: u32,
        /// Whether it may be, or come, in the log.
        maybe_appended: bool,
        /// Why the last attempt that was answered failed.
        refusal: Option<Refusal>,
    },
    /// The record was sent, no answer came, and the server has lost the session by which it could
    /// tell a repetition. It may be in the log; sending it again could make a second one.
    OutcomeUnknown {
        /// How often its batch was sent.
        attempts: u32,
    },
    /// Some records sent since the last flush were not delivered.
    Undelivered {
        /// How many.
        records: u64,
        /// Why the first was not.
        first: Box<Self>,
    },
    /// The position lies outside what the partition has.
    OutOfRange {
        /// The partition.
        partition: PartitionId,
        /// The offset asked for, if it was one.
        asked: Option<Offset>,
        /// Oldest offset.
        low: Offset,
        /// Offset after the last committed record.
        high: Offset,
    },
    /// The server says that these records are damaged on its disk. [`crate::Consumer::skip`] goes
    /// on behind them.
    Damaged {
        /// The partition.
        partition: PartitionId,
        /// The damaged records.
        offsets: Range<Offset>,
    },
    /// A batch did not arrive as it was written, twice. [`crate::Consumer::skip`] goes on behind
    /// it.
    Corrupt {
        /// The partition.
        partition: PartitionId,
        /// The records from the first that is not readable to the end of what was fetched.
        offsets: Range<Offset>,
        /// What is wrong.
        source: BatchError,
    },
    /// What the server sends is not what it has stated, or what it states is not to be believed. Of a consumer that verifies
    /// every batch, none of these records was handed out.
    Unverified {
        /// The log.
        log: String,
        /// The partition.
        partition: PartitionId,
        /// The records that it concerns.
        offsets: Range<Offset>,
        /// What is wrong.
        source: Arc<Unverified>,
    },
    /// A consumer is to verify a log that has nothing to verify it by.
    NotVerifiable {
        /// The log.
        log: String,
        /// What it has.
        integrity: Integrity,
    },
    /// The file with the checkpoints that were believed cannot be used.
    TrustFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No node of the fleet dealt ids in time, and those that were leased are used up. Ask again.
    NoIds {
        /// How long was waited.
        after: Duration,
        /// What went wrong last, if anything did.
        last: Option<Box<Self>>,
    },
    /// Two nodes deal ids from one slot: they are not unique. The id source deals nothing any more.
    SlotConflict {
        /// The slot.
        slot: u16,
        /// Both nodes, with the addresses that led to them.
        nodes: [(u64, String); 2],
    },
    /// Nodes of two clusters were given to one id source: their ids are not unique. It deals nothing any more.
    MixedClusters {
        /// Both clusters, with the addresses that led to them.
        clusters: [(u64, String); 2],
    },
    /// It is not known whether a counter dealt the numbers that were asked for. If it did, they are skipped: nobody gets
    /// them. Asking again gets others and repeats none.
    NumbersLost {
        /// The counter.
        counter: String,
        /// How many are skipped at most.
        at_most: u32,
        /// Why it is not known.
        source: Box<Self>,
    },
    /// The server's answer makes no sense: a defect of the server or of this client.
    Unexpected {
        /// What was expected.
        expected: &'static str,
    },
}

impl ClientError {
    /// A setting outside its range.
    pub(crate) fn config(setting: &'static str, problem: impl Into<String>) -> Self {
        Self::Config { setting, problem: problem.into() }
    }

    /// How a failed batch is told to those who sent its records.
    pub(crate) fn from_failure(failure: Failure, log: &str, after: Duration) -> Self {
        match failure {
            Failure::TimedOut { attempts, maybe_appended, refusal } => {
                Self::DeliveryTimeout { after, attempts, maybe_appended, refusal }
            }
            Failure::OutcomeUnknown { attempts } => Self::OutcomeUnknown { attempts },
            Failure::Refused(reply) => Self::Server(reply),
            Failure::LogGone => Self::UnknownLog { name: log.to_owned() },
            Failure::LogReplaced => Self::LogReplaced { name: log.to_owned() },
        }
    }

    /// Whether the same call may succeed later without any change by the caller. It says nothing
    /// about whether repeating is safe: a record that may have been appended is sent twice then.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::BufferFull
            | Self::Connect { .. }
            | Self::Disconnected { .. }
            | Self::Timeout { .. }
            | Self::DeliveryTimeout { .. }
            | Self::NoIds { .. }
            | Self::OutcomeUnknown { .. } => true,
            Self::NumbersLost { source, .. } => source.is_retryable(),
            Self::Connection { source, .. } => match &**source {
                ConnectionError::Refused(reply) => reply.retry.is_retryable(),
                _ => false,
            },
            Self::Server(reply) => reply.retry.is_retryable(),
            Self::Undelivered { first, .. } => first.is_retryable(),
            _ => false,
        }
    }

    /// Whether the server could not be reached or is not there to answer.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Disconnected { .. }
            | Self::Timeout { .. }
            | Self::NoIds { .. }
            | Self::DeliveryTimeout { .. } => true,
            Self::NumbersLost { source, .. } => source.is_unavailable(),
            Self::Connection { source, .. } => match &**source {
                ConnectionError::Refused(reply) => reply.retry.is_retryable(),
                _ => false,
            },
            Self::Server(reply) => reply.is(ErrorCode::ShuttingDown) || reply.is(ErrorCode::Busy),
            Self::Undelivered { first, .. } => first.is_unavailable(),
            _ => false,
        }
    }

    /// Whether what was asked for may have been done although the call failed.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Disconnected { .. }
            | Self::Timeout { .. }
            | Self::OutcomeUnknown { .. }
            | Self::NumbersLost { .. } => true,
            Self::DeliveryTimeout { maybe_appended, .. } => *maybe_appended,
            Self::Server(reply) => reply.retry == Retry::UnknownOutcome,
            Self::Undelivered { first, .. } => first.is_outcome_unknown(),
            _ => false,
        }
    }

    /// The server's own words, if it said something.
    #[must_use]
    pub fn reply(&self) -> Option<&ErrorReply> {
        match self {
            Self::Server(reply)
            | Self::DeliveryTimeout {
                refusal: Some(Refusal::MaybeAppended(reply) | Refusal::Final(reply)),
                ..
            } => Some(reply),
            Self::Connection { source, .. } => match &**source {
                ConnectionError::Refused(reply) => Some(reply),
                _ => None,
            },
            Self::Undelivered { first, .. } => first.reply(),
            Self::NumbersLost { source, .. } => source.reply(),
            Self::NoIds { last: Some(last), .. } => last.reply(),
            _ => None,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { setting, problem } => write!(f, "setting `{setting}`: {problem}"),
            Self::Name(error) => error.fmt(f),
            Self::Partition { partition, partitions } => {
                write!(f, "no partition {partition}: the log has {partitions}, counted from 0")
            }
            Self::Record(error) => error.fmt(f),
            Self::BufferFull => {
                f.write_str("the producer's buffer is full: wait for deliveries, or enlarge it")
            }
            Self::InsideRuntime => f.write_str(
                "a blocking call inside an async runtime: use the async client there, or \
                 `spawn_blocking`",
            ),
            Self::Closed => f.write_str("the client is closed, or its runtime has ended"),
            Self::NothingToSkip => f.write_str("only damaged or corrupt records can be skipped"),
            Self::Connect { address, source } => {
                write!(f, "cannot connect to {address}: {source}; is the server running there?")
            }
            Self::Disconnected { address, source } => {
                write!(f, "the connection to {address} was lost: {source}")
            }
            Self::Connection { address, source } => write!(f, "{address}: {source}"),
            Self::Timeout { operation, after } => {
                write!(f, "{operation}: no answer within {after:?}")
            }
            Self::UnknownLog { name } => write!(f, "there is no log `{name}`: create it first"),
            Self::LogReplaced { name } => write!(
                f,
                "the log `{name}` is another one now: it was deleted and made again, or the server \
                 has lost its data; open it again"
            ),
            Self::Server(reply) => reply.fmt(f),
            other => other.fmt_sequences(f),
        }
    }
}

impl ClientError {
    /// The errors about ids and counters, for `Display`.
    fn fmt_sequences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIds { after, last } => {
                write!(f, "no node dealt ids within {after:?}")?;
                last.as_ref().map_or(Ok(()), |last| write!(f, "; lastly: {last}"))
            }
            Self::SlotConflict { slot, nodes: [first, second] } => write!(
                f,
                "slot {slot} belongs to node {} ({}), and node {} ({}) deals from it too: their ids may be \
                 duplicates. Give each node slots of its own, restart them, then this program",
                first.0, first.1, second.0, second.1
            ),
            Self::MixedClusters { clusters: [first, second] } => write!(
                f,
                "{} is of cluster {}, and {} of cluster {}: ids are unique within one cluster only. Give \
                 addresses of one; if a server lost its data, make the id source again",
                first.1, first.0, second.1, second.0
            ),
            Self::NumbersLost { counter, at_most, source } => write!(
                f,
                "up to {at_most} numbers of the counter `{counter}` may be skipped, ask again for others: {source}"
            ),
            other => other.fmt_data(f),
        }
    }
}

impl ClientError {
    /// The errors about records, for `Display`.
    fn fmt_data(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeliveryTimeout { after, attempts, maybe_appended, refusal } => {
                write!(f, "not acknowledged within {after:?}, sent {attempts} times")?;
                if let Some(refusal) = refusal {
                    write!(f, "; lastly {refusal}")?;
                }
                f.write_str(if *maybe_appended {
                    "; it may be in the log"
                } else {
                    "; it is not in the log"
                })
            }
            Self::OutcomeUnknown { attempts } => write!(
                f,
                "sent {attempts} times without an answer, then the server lost the session: it may \
                 be in the log"
            ),
            Self::Undelivered { records, first } => {
                write!(f, "{records} records were not delivered; the first because: {first}")
            }
            Self::OutOfRange { partition, asked, low, high } => {
                write!(f, "partition {partition} has offsets {low} to {high} (exclusive)")?;
                asked.map_or(Ok(()), |asked| write!(f, ", not {asked}"))
            }
            Self::Damaged { partition, offsets } => write!(
                f,
                "records {} to {} (exclusive) of partition {partition} are damaged on the server's \
                 disk: skip them, or restore a copy",
                offsets.start, offsets.end
            ),
            Self::Corrupt { partition, offsets, source } => write!(
                f,
                "records {} to {} (exclusive) of partition {partition} arrive damaged: {source}",
                offsets.start, offsets.end
            ),
            Self::Unexpected { expected } => {
                write!(f, "the server answered something else than {expected}")
            }
            other => other.fmt_proofs(f),
        }
    }

    /// The errors about verification, for `Display`.
    fn fmt_proofs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unverified { log, partition, offsets, source } => write!(
                f,
                "log `{log}` partition {partition}, offsets {} to {} (exclusive), not verified: {source}",
                offsets.start, offsets.end
            ),
            Self::NotVerifiable { log, integrity: Integrity::None } => write!(
                f,
                "the log `{log}` cannot be verified: it has no proofs, they are chosen when a log is created (`pyralog \
                 log create NAME --integrity hash`, or signed)"
            ),
            Self::NotVerifiable { log, .. } => write!(
                f,
                "the log `{log}` is not signed, so there is no key to ask for: create it with `--integrity signed`, or \
                 verify it without keys"
            ),
            Self::TrustFile { path, problem } => write!(f, "{path}: {problem}"),
            _ => f.write_str("an error of the client"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            Self::Record(error) => Some(error),
            Self::Connect { source, .. } | Self::Disconnected { source, .. } => Some(source),
            Self::Connection { source, .. } => Some(source),
            Self::Server(reply) => Some(reply),
            Self::Undelivered { first, .. } => Some(first),
            Self::NumbersLost { source, .. } => Some(source),
            Self::NoIds { last: Some(last), .. } => Some(last),
            Self::Corrupt { source, .. } => Some(source),
            Self::Unverified { source, .. } => Some(source),
            _ => None,
        }
    }
}
