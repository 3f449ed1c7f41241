//! Every request and response, and how one becomes the body of a frame.
//!
//! The kind in the header picks the struct, so a body carries no tag. Layouts are frozen per
//! protocol version (golden files): a new field is a new kind or a new version, because an archive
//! is read from its end and a longer struct would be misread. Messages of appends and fetches have
//! a fixed size and no pointers.

mod check;
pub mod counters;
pub mod data;
pub mod handshake;
pub mod ids;
pub mod keys;
pub mod logs;
pub mod node;
pub mod proofs;
pub mod scrub;

pub use counters::{
    CounterConfig, CounterInfo, CounterMode, CounterPage, CreateCounter, DescribeCounter,
    ListCounters, NumbersTaken, RaiseCounter, TakeNumbers,
};
pub use data::{Append, Appended, Fetch, FetchFrom, Fetched, FindOffset, OffsetFound};
pub use handshake::{ConnectionLimits, Hello, ShardAddress, Welcome};
pub use ids::{DealIds, IdsDealt};
pub use keys::{FetchKey, KeyFetched};
pub use logs::{
    AlterLog, CompactionInfo, CreateLog, DeleteLog, Deleted, DescribeLog, ListLogs, LogDescription,
    LogPage, LogRoute, Metadata, PartitionInfo, Routes, StoreInfo, TreeInfo, TruncateLog,
    Truncated,
};
pub use node::{NodeStats, Ping, Pong, ShardStats, Stats};
pub use proofs::{
    CheckpointGot, GetCheckpoint, ProveConsistency, ProveRecord, Proven, ReadTree, TreeRead,
};
pub use scrub::{DamagedRange, Scrub, Scrubbed};

use crate::access::{MalformedBody, read};
use crate::error::{ErrorBody, ErrorReply};
use crate::frame::{Correlation, EncodeError, FrameSpec, Head, encode};
use crate::kind::Kind;

macro_rules! messages {
    ($($kind:ident => $request:ident, $response:ident;)+) => {
        /// What a client sends. Cheap to build; strings and lists only outside the hot path.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the message of the same name")]
        pub enum Request { $($kind($request),)+ }

        /// What a server answers when it did not refuse; named by the kind of the request.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the answer to the kind of the same name")]
        pub enum Response { $($kind($response),)+ }

        impl Request {
            /// The kind of this request.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)+ }
            }

            /// Reads the body of a request.
            ///
            /// # Errors
            /// If the body is no message of this kind.
            pub fn read(kind: Kind, body: &[u8]) -> Result<Self, MalformedBody> {
                match kind { $(Kind::$kind => read(kind.number(), body).map(Self::$kind),)+ }
            }
        }

        impl Response {
            /// The kind of the request that this answers.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)+ }
            }

            /// Reads the body of a response that is no error.
            ///
            /// # Errors
            /// If the body is no answer to this kind.
            pub fn read(kind: Kind, body: &[u8]) -> Result<Self, MalformedBody> {
                match kind { $(Kind::$kind => read(kind.number(), body).map(Self::$kind),)+ }
            }
        }

        /// Appends the frame of a request, without its payload, to `out`.
        ///
        /// The shell sends `payload_len` bytes after it.
        ///
        /// # Errors
        /// If the body or the payload is over its limit; `out` is as before.
        pub fn encode_request(
            out: &mut Vec<u8>,
            correlation: Correlation,
            request: &Request,
            payload_len: u32,
        ) -> Result<(), EncodeError> {
            let spec = FrameSpec::request(request.kind(), correlation, payload_len);
            match request { $(Request::$kind(body) => encode(out, spec, body),)+ }
        }

        /// Appends the frame of a response, without its payload, to `out`.
        ///
        /// The shell sends `payload_len` bytes after it.
        ///
        /// # Errors
        /// If the body or the payload is over its limit; `out` is as before.
        pub fn encode_response(
            out: &mut Vec<u8>,
            correlation: Correlation,
            response: &Response,
            payload_len: u32,
        ) -> Result<(), EncodeError> {
            let spec = FrameSpec::response(response.kind(), correlation, payload_len);
            match response { $(Response::$kind(body) => encode(out, spec, body),)+ }
        }

        $(impl From<$request> for Request {
            fn from(message: $request) -> Self { Self::$kind(message) }
        })+
    };
}

messages! {
    Hello => Hello, Welcome;
    Ping => Ping, Pong;
    Stats => Stats, NodeStats;
    Append => Append, Appended;
    Fetch => Fetch, Fetched;
    FindOffset => FindOffset, OffsetFound;
    FetchKey => FetchKey, KeyFetched;
    Metadata => Metadata, Routes;
    CreateLog => CreateLog, LogDescription;
    DescribeLog => DescribeLog, LogDescription;
    ListLogs => ListLogs, LogPage;
    AlterLog => AlterLog, LogDescription;
    DeleteLog => DeleteLog, Deleted;
    TruncateLog => TruncateLog, Truncated;
    DealIds => DealIds, IdsDealt;
    CreateCounter => CreateCounter, CounterInfo;
    TakeNumbers => TakeNumbers, NumbersTaken;
    DescribeCounter => DescribeCounter, CounterInfo;
    ListCounters => ListCounters, CounterPage;
    RaiseCounter => RaiseCounter, CounterInfo;
    GetCheckpoint => GetCheckpoint, CheckpointGot;
    ProveRecord => ProveRecord, Proven;
    ProveConsistency => ProveConsistency, Proven;
    ReadTree => ReadTree, TreeRead;
    Scrub => Scrub, Scrubbed;
}

/// Appends an error reply to `out`. `kind` is the number of the request's kind, 0 for an error of
/// the connection itself.
///
/// # Errors
/// Never for replies made with [`ErrorReply::new`], whose text has a limit.
pub fn encode_error(
    out: &mut Vec<u8>,
    kind: u16,
    correlation: Correlation,
    error: &ErrorReply,
) -> Result<(), EncodeError> {
    encode(out, FrameSpec::error(kind, correlation), &ErrorBody::from(error))
}

/// What a response frame holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The request was carried out.
    Done(Response),
    /// It was refused, or its outcome is unknown: see [`ErrorReply::retry`].
    Refused(ErrorReply),
}

impl Head<'_> {
    /// The request in this frame, its body checked once.
    ///
    /// # Errors
    /// If the kind is unknown or the body is no message of that kind.
    pub fn request(&self) -> Result<Request, ReadError> {
        let kind = self.kind()?;
        Request::read(kind, self.body).map_err(ReadError::Malformed)
    }

    /// The reply in this frame, its body checked once.
    ///
    /// # Errors
    /// If the kind is unknown or the body is no answer to it.
    pub fn reply(&self) -> Result<Reply, ReadError> {
        if self.header.is_error() {
            let body = read::<ErrorBody>(self.header.kind, self.body);
            return body.map(|body| Reply::Refused(body.into())).map_err(ReadError::Malformed);
        }
        let kind = self.kind()?;
        Response::read(kind, self.body).map(Reply::Done).map_err(ReadError::Malformed)
    }

    fn kind(&self) -> Result<Kind, ReadError> {
        let number = self.header.kind;
        Kind::from_number(number).ok_or(ReadError::UnknownKind { kind: number })
    }
}

/// Why a sound frame holds no message that we can read. The connection stays usable.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The number names no kind that this build knows.
    UnknownKind {
        /// The number in the header.
        kind: u16,
    },
    /// The body is not what the kind calls for.
    Malformed(MalformedBody),
}

impl core::fmt::Display for ReadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnknownKind { kind } => {
                write!(f, "request kind {kind} is unknown to this version of the protocol")
            }
            Self::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

impl core::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::UnknownKind { .. } => None,
            Self::Malformed(malformed) => Some(malformed),
        }
    }
}
