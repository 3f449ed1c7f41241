//! Errors on the wire: stable numbers, what to do about each, and the reply that carries one.
//!
//! Numbers are never reused. A client that does not know a code still has its text and its
//! [`Retry`], which the server sends along.

use core::fmt;

use pyralog_log::ids::Offset;
use rkyv::{Archive, Deserialize, Serialize};

use crate::frame::FrameError;
use crate::limits::MESSAGE_BYTES_MAX;

/// What a client may do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Retry {
    /// Nothing was done and nothing will be: the request has to change.
    Never = 0,
    /// Nothing was done: the same request may be sent again at once, in the order that the error's
    /// detail calls for.
    Same = 1,
    /// Nothing was done: ask for metadata (or connect) again, then send.
    AfterRefresh = 2,
    /// Nothing was done: wait (the detail may say how long), then send.
    AfterDelay = 3,
    /// It may have been done. Repeating is safe for reads, and for appends of a session.
    UnknownOutcome = 4,
}

impl Retry {
    /// Every variant, in order of number.
    pub const ALL: [Self; 5] =
        [Self::Never, Self::Same, Self::AfterRefresh, Self::AfterDelay, Self::UnknownOutcome];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The meaning of a number. One that this build does not know is the most careful of all:
    /// [`Retry::UnknownOutcome`].
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Never,
            1 => Self::Same,
            2 => Self::AfterRefresh,
            3 => Self::AfterDelay,
            _ => Self::UnknownOutcome,
        }
    }

    /// Whether sending the same request again can help at all.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        !matches!(self, Self::Never)
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $retry:ident, $text:literal;)+) => {
        /// The stable number of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[doc = $doc])+ $name = $number,)+ }

        impl ErrorCode {
            /// Every code, in order of number.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)+];

            /// The code with this number, if this build knows it.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }

            /// The name as the documentation has it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What a client may do after it.
            #[must_use]
            pub const fn retryability(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)+ }
            }

            /// What happened and what to do, without particulars.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

codes! {
    /// The first bytes are no frame. Closes.
    BadMagic = 100, Never,
        "not a Pyralog frame: this port speaks the native protocol";
    /// A frame's version was not agreed, or Hello offers none that the server speaks. Closes.
    UnsupportedVersion = 101, Never,
        "no common protocol version: use a client of the server's age";
    /// Undefined flags or reserved bits. Closes.
    BadFlags = 102, Never,
        "the frame sets flags that this version does not define";
    /// Header or body changed on the way. Closes.
    BadChecksum = 103, AfterRefresh,
        "the frame changed on the way: connect again and resend";
    /// Body or payload over the connection's limits. Closes.
    FrameTooLarge = 104, Never,
        "the frame is larger than the server takes: send smaller batches";
    /// The first frame was no Hello. Closes.
    HandshakeRequired = 105, Never,
        "the first frame of a connection must be Hello";
    /// A second Hello. Closes.
    HandshakeRepeated = 106, Never,
        "Hello was already answered on this connection";
    /// A frame or the handshake took too long, or nothing came for too long. Closes.
    TimedOut = 107, AfterRefresh,
        "nothing complete arrived in time: connect again, and ping when idle";
    /// The server has as many connections as it takes. Closes.
    TooManyConnections = 108, AfterDelay,
        "the server has as many connections as it takes: wait, or share connections";
    /// A correlation id of zero, which is kept for the connection. Closes.
    BadCorrelation = 109, Never,
        "the correlation id is 0, which is kept for errors of the connection";

    /// The kind is unknown to the server.
    UnknownKind = 200, Never,
        "the server does not know this kind of request: it may be older than the client";
    /// The body is no message of its kind.
    MalformedBody = 201, Never,
        "the body is no message of its kind: the client has a bug";
    /// A payload where none belongs, or none where one does.
    BadPayload = 202, Never,
        "only Append carries a payload, and it must";
    /// A field outside its range.
    InvalidRequest = 203, Never,
        "a field of the request is outside its range";
    /// A name that no log can have.
    InvalidName = 204, Never,
        "no log can have this name";
    /// A configuration outside its ranges.
    InvalidConfig = 205, Never,
        "a field of the configuration is outside its range";
    /// The batch is not sound.
    InvalidBatch = 206, Never,
        "the batch is not sound: it was not appended";
    /// The batch is larger than allowed.
    BatchTooLarge = 207, Never,
        "the batch is larger than the server takes: send smaller batches";
    /// The level cannot be given by this log.
    DurabilityUnavailable = 208, Never,
        "the log cannot give this durability: ask for less, or use a durable log";

    /// No log has this name or id.
    UnknownLog = 300, AfterRefresh,
        "no such log: create it, or list the logs";
    /// The log has no such partition.
    UnknownPartition = 301, AfterRefresh,
        "the log has no such partition";
    /// A log of this name exists.
    LogExists = 302, Never,
        "a log of this name exists: use it, or choose another name";
    /// The server has as many logs or partitions as it takes.
    TooManyLogs = 303, Never,
        "the server has as many logs or partitions as it takes: delete some";
    /// The offset lies outside what the partition has.
    OffsetOutOfRange = 304, Never,
        "the offset lies outside what the partition has";
    /// Another shard or node owns the partition.
    NotOwner = 305, AfterRefresh,
        "another shard owns the partition: refresh the metadata";

    /// No counter has this name.
    UnknownCounter = 310, Never,
        "no such counter: create it, or list the counters";
    /// A counter of this name exists with another configuration.
    CounterExists = 311, Never,
        "a counter of this name exists with another configuration: use it, or choose another name";
    /// The server has as many counters as it takes.
    TooManyCounters = 312, Never,
        "the server has as many counters as it takes";
    /// The node's role does not include this.
    WrongRole = 313, AfterRefresh,
        "the node's role does not include this: ask a node of the other role";
    /// The log keeps no index of its keys.
    KeysNotIndexed = 314, Never,
        "the log keeps no index of its keys: create it with one, or alter it to have one";
    /// The log has no proofs.
    NotProvable = 315, Never,
        "the log has no proofs: they are chosen when a log is created";
    /// No published tree is of that size, or it does not hold the offset.
    NotInTree = 316, AfterDelay,
        "no published tree is of that size or holds that offset: ask for the newest checkpoint";

    /// The sequence number is above the next expected one: an earlier batch is missing.
    SequenceGap = 400, Same,
        "an earlier batch of the session is missing: resend from the expected sequence";
    /// The server does not remember the session.
    UnknownSession = 401, Never,
        "the server does not remember the session: open a new one";
    /// A newer epoch of the session exists.
    SessionFenced = 402, Never,
        "a newer producer has taken over the session: stop this one";
    /// Appended before, but so long ago that the offsets are forgotten.
    DuplicateTooOld = 403, Never,
        "the batch was appended before, longer ago than offsets are remembered";

    /// The server is at a limit of memory or of work.
    Busy = 500, AfterDelay,
        "the server is at its limit: wait and retry";
    /// The server is going down.
    ShuttingDown = 501, AfterRefresh,
        "the server is going down: connect again later, or elsewhere";
    /// The request took longer than the server waits; it may yet be carried out.
    DeadlineExceeded = 502, UnknownOutcome,
        "the request took too long, it may yet be carried out";

    /// The node's clock went back or leapt: it deals no ids until it can be believed.
    ClockAstray = 503, AfterDelay,
        "the node's clock cannot be believed: ask another node, or set it right";

    /// The device is full; nothing was appended.
    NoSpace = 600, AfterDelay,
        "the server's disk is full: free space, then retry";
    /// A write or sync failed: nothing more is appended until the server restarts.
    StorageFailed = 601, UnknownOutcome,
        "writing failed, the partition takes no more until the server restarts";
    /// The records asked for are damaged on disk.
    DataDamaged = 602, Never,
        "the records asked for are damaged on disk: fetch after them, or restore a copy";
    /// Reading failed.
    ReadFailed = 603, AfterDelay,
        "reading from disk failed: retry, and see the server's log";

    /// A counter's file is shorter than it was: dealing from it would repeat numbers.
    CounterBehind = 604, Never,
        "the counter's file is shorter than it was: restore the newer one, or raise the counter";

    /// A bug of the server.
    Internal = 900, UnknownOutcome,
        "the server failed in a way it should not: see its log and report it";
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether the server closes the connection after it, whatever was asked.
    #[must_use]
    pub const fn closes(self) -> bool {
        self.number() < 200
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Numbers that belong to an error, for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorDetail {
    /// None.
    #[default]
    None,
    /// With [`ErrorCode::OffsetOutOfRange`]: what the partition has.
    OffsetOutOfRange {
        /// Oldest offset.
        low: Offset,
        /// Offset after the last committed record.
        high: Offset,
    },
    /// With [`ErrorCode::DataDamaged`]: the damaged records.
    DataDamaged {
        /// The first of them.
        first: Offset,
        /// The offset after the last of them: a reader may go on there.
        next: Offset,
    },
    /// With [`ErrorCode::Busy`], [`ErrorCode::NoSpace`] and other codes to retry after a delay.
    RetryAfter {
        /// Milliseconds to wait.
        ms: u64,
    },
    /// With [`ErrorCode::NotOwner`]: who owns the partition.
    NotOwner {
        /// Index of the shard.
        shard: u16,
    },
    /// With [`ErrorCode::SequenceGap`].
    SequenceGap {
        /// The sequence number that the server takes next.
        expected: u64,
    },
    /// With [`ErrorCode::UnsupportedVersion`].
    UnsupportedVersion {
        /// Oldest version that the server speaks.
        min: u16,
        /// Newest version that the server speaks.
        max: u16,
    },
}

impl ErrorDetail {
    /// The two numbers on the wire; zeros where there is none.
    #[must_use]
    pub const fn numbers(self) -> (u64, u64) {
        match self {
            Self::None => (0, 0),
            Self::OffsetOutOfRange { low, high } => (low.get(), high.get()),
            Self::DataDamaged { first, next } => (first.get(), next.get()),
            Self::RetryAfter { ms } => (ms, 0),
            Self::NotOwner { shard } => (shard as u64, 0),
            Self::SequenceGap { expected } => (expected, 0),
            Self::UnsupportedVersion { min, max } => (min as u64, max as u64),
        }
    }

    /// What two numbers mean with a code. Numbers that cannot be are no detail.
    fn from_numbers(code: ErrorCode, a: u64, b: u64) -> Self {
        let (first, second) = (Offset::new(a), Offset::new(b));
        match code {
            ErrorCode::OffsetOutOfRange => Self::OffsetOutOfRange { low: first, high: second },
            ErrorCode::DataDamaged => Self::DataDamaged { first, next: second },
            ErrorCode::NotOwner => match u16::try_from(a) {
                Ok(shard) => Self::NotOwner { shard },
                Err(_) => Self::None,
            },
            ErrorCode::SequenceGap => Self::SequenceGap { expected: a },
            ErrorCode::UnsupportedVersion => match (u16::try_from(a), u16::try_from(b)) {
                (Ok(min), Ok(max)) => Self::UnsupportedVersion { min, max },
                _ => Self::None,
            },
            code if code.retryability() == Retry::AfterDelay => Self::RetryAfter { ms: a },
            _ => Self::None,
        }
    }

    /// Whether this detail is the one that the code has.
    fn belongs_to(self, code: ErrorCode) -> bool {
        let (a, b) = self.numbers();
        self == Self::None || self == Self::from_numbers(code, a, b)
    }
}

/// Why a request was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// Number of the [`ErrorCode`], maybe one of a newer server.
    pub number: u16,
    /// What the client may do.
    pub retry: Retry,
    /// What happened and what to do, for people; at most [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// Numbers that belong to it.
    pub detail: ErrorDetail,
}

impl ErrorReply {
    /// An error with its own text; the code's text if `message` is empty. Too long a text is cut.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.is_empty() {
            message.push_str(code.text());
        }
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        let (number, retry) = (code.number(), code.retryability());
        Self { number, retry, message, detail: ErrorDetail::None }
    }

    /// The same with a detail.
    ///
    /// # Panics
    /// If the code has no such detail: it would not arrive.
    #[must_use]
    pub fn with_detail(mut self, detail: ErrorDetail) -> Self {
        let fits = self.code().is_some_and(|code| detail.belongs_to(code));
        assert!(fits, "error {} cannot carry {detail:?}", self.number);
        self.detail = detail;
        self
    }

    /// The code, if this build knows it.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.number)
    }

    /// Whether this is that error.
    #[must_use]
    pub const fn is(&self, code: ErrorCode) -> bool {
        self.number == code.number()
    }
}

impl From<ErrorCode> for ErrorReply {
    /// The error with the code's own text.
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.text())
    }
}

impl From<FrameError> for ErrorReply {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::BadMagic { .. } => ErrorCode::BadMagic,
            FrameError::UnsupportedVersion { .. } => ErrorCode::UnsupportedVersion,
            FrameError::BadFlags { .. } => ErrorCode::BadFlags,
            FrameError::BodyTooLarge { .. } | FrameError::PayloadTooLarge { .. } => {
                ErrorCode::FrameTooLarge
            }
            FrameError::BadChecksum { .. } => ErrorCode::BadChecksum,
        };
        let reply = Self::new(code, error.to_string());
        match error {
            FrameError::UnsupportedVersion { min, max, .. } => {
                reply.with_detail(ErrorDetail::UnsupportedVersion { min, max })
            }
            _ => reply,
        }
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => write!(f, "{} ({code}, {})", self.message, self.number),
            None => write!(f, "{} (error {})", self.message, self.number),
        }
    }
}

impl core::error::Error for ErrorReply {}

/// The body of an error reply. Frozen for all versions; details are two plain numbers so that
/// clients can read replies with codes they do not know.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    code: u16,
    retry: u8,
    has_detail: bool,
    detail_a: u64,
    detail_b: u64,
    message: String,
}

impl From<&ErrorReply> for ErrorBody {
    fn from(reply: &ErrorReply) -> Self {
        let (detail_a, detail_b) = reply.detail.numbers();
        Self {
            code: reply.number,
            retry: reply.retry.number(),
            has_detail: reply.detail != ErrorDetail::None,
            detail_a,
            detail_b,
            message: reply.message.clone(),
        }
    }
}

impl From<ErrorBody> for ErrorReply {
    fn from(body: ErrorBody) -> Self {
        let detail = match ErrorCode::from_number(body.code) {
            Some(code) if body.has_detail => {
                ErrorDetail::from_numbers(code, body.detail_a, body.detail_b)
            }
            _ => ErrorDetail::None,
        };
        let mut message = body.message;
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Self { number: body.code, retry: Retry::from_number(body.retry), message, detail }
    }
}
