//! The client's end of a connection as a machine: handshake, credit, matching of replies, no I/O.
//!
//! The shell sends what [`ClientConnection::hello`] and [`ClientConnection::send`] append to its
//! outbox (payloads right after their frame), and feeds received bytes to
//! [`ClientConnection::receive`], or to [`ClientConnection::receive_head`] if it wants to receive
//! the payload of a fetch straight into an aligned buffer of its own.

use core::fmt;

use crate::error::ErrorReply;
use crate::flight::{Credit, Flight, Key};
use crate::frame::{
    Correlation, Decoded, EncodeError, Frame, FrameDecoder, FrameError, FrameLimits,
};
use crate::kind::Kind;
use crate::limits::{
    CLIENT_TEXT_BYTES_MAX, HEADER_BYTES, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN,
};
use crate::message::{
    ConnectionLimits, Hello, ReadError, Reply, Request, Response, Welcome, encode_request,
};

/// Correlation of the Hello; those of later requests are larger than 32 bits.
const HELLO: Correlation = Correlation::new(1);

/// What the shell learns from received bytes.
#[derive(Debug)]
pub enum ClientStep<'b> {
    /// Read more: until the buffer holds at least this many bytes there is nothing to tell.
    NeedMore {
        /// Length that the buffer must reach.
        at_least: usize,
    },
    /// The handshake is done; requests may be sent.
    Welcome {
        /// What the server said.
        welcome: Welcome,
        /// Bytes to drop.
        consumed: usize,
    },
    /// A request was answered.
    Reply {
        /// The one that [`ClientConnection::send`] returned.
        correlation: Correlation,
        /// The answer.
        reply: Reply,
        /// Bytes of its payload.
        payload_len: u32,
        /// The payload if the whole frame was received; empty after
        /// [`ClientConnection::receive_head`], when `payload_len` bytes follow.
        payload: &'b [u8],
        /// Bytes to drop once the payload is no longer needed.
        consumed: usize,
    },
    /// The connection cannot go on: close it. The outcome of requests in flight is unknown.
    Failed(ConnectionError),
}

/// Why a connection cannot go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The server refused or ended the connection.
    Refused(ErrorReply),
    /// What arrived is no frame.
    Frame(FrameError),
    /// What arrived is no message we can read.
    Read(ReadError),
    /// The server chose a version that was not offered.
    VersionNotOffered {
        /// The version.
        version: u16,
    },
    /// A frame that is no response.
    NotAResponse,
    /// A reply to nothing in flight.
    UnknownCorrelation {
        /// What it claims to answer.
        correlation: Correlation,
    },
    /// A reply of another kind than its request.
    WrongKind {
        /// The kind of the request.
        sent: Kind,
        /// The kind of the reply.
        received: u16,
    },
    /// A payload on a reply that has none.
    UnexpectedPayload {
        /// The kind of the reply.
        kind: u16,
    },
    /// The machine was used after it failed.
    Closed,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the server ended the connection: {error}"),
            Self::Frame(FrameError::BadMagic { found }) => write!(
                f,
                "the server answered {found:#010x}, which is no Pyralog frame: check address and \
                 port"
            ),
            Self::Frame(error) => error.fmt(f),
            Self::Read(error) => write!(f, "the server's answer cannot be read: {error}"),
            Self::VersionNotOffered { version } => {
                write!(f, "the server chose protocol version {version}, which was not offered")
            }
            Self::NotAResponse => f.write_str("the server sent a request: check the port"),
            Self::UnknownCorrelation { correlation } => {
                write!(f, "the server answered request {correlation}, which is not in flight")
            }
            Self::WrongKind { sent, received } => {
                write!(f, "the server answered {sent} with kind {received}")
            }
            Self::UnexpectedPayload { kind } => {
                write!(f, "the server sent a payload with kind {kind}, which has none")
            }
            Self::Closed => f.write_str("the connection is closed: connect again"),
        }
    }
}

impl core::error::Error for ConnectionError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Frame(error) => Some(error),
            Self::Read(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a request was not sent. The outbox is as before.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// Too much is in flight: send after the next reply.
    NoCredit,
    /// The handshake is not done, or the connection has failed.
    NotOpen,
    /// Hello is sent by [`ClientConnection::hello`] only.
    Handshake,
    /// The request does not fit what the server takes.
    TooLarge(EncodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredit => f.write_str("too much is in flight: send after the next reply"),
            Self::NotOpen => f.write_str("the connection is not open: wait for the welcome"),
            Self::Handshake => f.write_str("the handshake is done once, by the connection itself"),
            Self::TooLarge(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SendError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::TooLarge(error) => Some(error),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Hello was not sent.
    New,
    /// Hello was sent.
    Greeting,
    /// The server takes this.
    Open(ConnectionLimits),
    Failed,
}

/// The client's end of a connection.
///
/// Invariant: what is in flight never exceeds the credit that the server granted.
#[derive(Debug)]
pub struct ClientConnection {
    hello: Hello,
    state: State,
    flight: Flight<Kind>,
}

impl ClientConnection {
    /// A connection of the client with this name and version, for the server's logs. Texts over
    /// [`crate::limits::CLIENT_TEXT_BYTES_MAX`] are cut.
    #[must_use]
    pub fn new(client: &str, client_version: &str) -> Self {
        let hello = Hello {
            protocol_min: PROTOCOL_VERSION_MIN,
            protocol_max: PROTOCOL_VERSION_MAX,
            limits_fingerprint: crate::limits::fingerprint(),
            client: cut(client),
            client_version: cut(client_version),
        };
        let flight = Flight::new(Credit { requests: 1, bytes: 0 });
        Self { hello, state: State::New, flight }
    }

    /// Appends the Hello to `out`: the first thing to send.
    ///
    /// # Panics
    /// If it was called before.
    pub fn hello(&mut self, out: &mut Vec<u8>) {
        assert!(matches!(self.state, State::New), "Hello once, not in {:?}", self.state);
        let encoded = encode_request(out, HELLO, &Request::Hello(self.hello.clone()), 0);
        assert!(encoded.is_ok(), "a Hello fits a frame: {encoded:?}");
        self.state = State::Greeting;
    }

    /// Appends a request to `out`; the shell sends `payload_len` bytes right after it.
    ///
    /// # Errors
    /// If it cannot be sent, now or at all; `out` is as before.
    pub fn send(
        &mut self,
        request: &Request,
        payload_len: u32,
        out: &mut Vec<u8>,
    ) -> Result<Correlation, SendError> {
        let State::Open(limits) = self.state else {
            return Err(SendError::NotOpen);
        };
        if matches!(request, Request::Hello(_)) {
            return Err(SendError::Handshake);
        }
        if payload_len > limits.payload_bytes_max {
            let (len, max) = (payload_len, limits.payload_bytes_max);
            return Err(SendError::TooLarge(EncodeError::PayloadTooLarge { len, max }));
        }
        if !self.flight.admits(u64::from(payload_len)) {
            return Err(SendError::NoCredit);
        }
        self.send_checked(request, payload_len, limits, out)
    }

    /// Whether a frame of this many bytes would be sent now.
    #[must_use]
    pub fn may_send(&self, frame_bytes: u64) -> bool {
        matches!(self.state, State::Open(_)) && self.flight.admits(frame_bytes)
    }

    /// Looks for a whole frame at the start of `bytes`.
    pub fn receive<'b>(&mut self, bytes: &'b [u8]) -> ClientStep<'b> {
        match self.decoder().next(bytes) {
            _ if matches!(self.state, State::Failed) => self.fail(ConnectionError::Closed),
            Decoded::NeedMore { at_least } => ClientStep::NeedMore { at_least },
            Decoded::Ready(frame, consumed) => self.take(frame, consumed),
            Decoded::Bad(error) => self.fail(ConnectionError::Frame(error)),
        }
    }

    /// Looks for header and body at the start of `bytes`. After a [`ClientStep::Reply`] the shell
    /// itself takes the `payload_len` bytes that follow, before it calls again.
    pub fn receive_head<'b>(&mut self, bytes: &'b [u8]) -> ClientStep<'b> {
        match self.decoder().next_head(bytes) {
            _ if matches!(self.state, State::Failed) => self.fail(ConnectionError::Closed),
            Decoded::NeedMore { at_least } => ClientStep::NeedMore { at_least },
            Decoded::Ready(head, consumed) => self.take(Frame { head, payload: &[] }, consumed),
            Decoded::Bad(error) => self.fail(ConnectionError::Frame(error)),
        }
    }

    /// Ends the connection and returns the requests in flight, in order of slot: their outcome is
    /// unknown.
    pub fn abandon(&mut self) -> Vec<Correlation> {
        self.state = State::Failed;
        let keys: Vec<Key> = self.flight.keys().collect();
        for &key in &keys {
            self.flight.remove(key);
        }
        keys.into_iter().map(|key| Correlation::new(key.get())).collect()
    }

    /// What the server takes and grants, once the handshake is done.
    #[must_use]
    pub fn limits(&self) -> Option<ConnectionLimits> {
        match self.state {
            State::Open(limits) => Some(limits),
            State::New | State::Greeting | State::Failed => None,
        }
    }

    /// Requests in flight.
    #[must_use]
    pub fn requests_in_flight(&self) -> u32 {
        self.flight.requests()
    }

    /// Bytes of the frames of requests in flight.
    #[must_use]
    pub fn bytes_in_flight(&self) -> u64 {
        self.flight.bytes()
    }

    fn send_checked(
        &mut self,
        request: &Request,
        payload_len: u32,
        limits: ConnectionLimits,
        out: &mut Vec<u8>,
    ) -> Result<Correlation, SendError> {
        let start = out.len();
        let correlation = Correlation::new(self.flight.next_key().get());
        encode_request(out, correlation, request, payload_len).map_err(SendError::TooLarge)?;
        let head_len = out.len() - start;
        let body_len = head_len - HEADER_BYTES;
        if body_len > limits.body_bytes_max as usize {
            out.truncate(start);
            let (len, max) = (body_len, limits.body_bytes_max);
            return Err(SendError::TooLarge(EncodeError::BodyTooLarge { len, max }));
        }
        let frame_bytes = head_len as u64 + u64::from(payload_len);
        let Ok(key) = self.flight.insert(frame_bytes, request.kind()) else {
            out.truncate(start);
            return Err(SendError::NoCredit);
        };
        assert!(key.get() == correlation.get(), "request {correlation} got {key:?}");
        Ok(correlation)
    }

    fn decoder(&self) -> FrameDecoder {
        match self.state {
            State::New | State::Greeting => FrameDecoder::new(FrameLimits {
                body_bytes_max: FrameLimits::FULL.body_bytes_max,
                ..FrameLimits::HANDSHAKE
            }),
            State::Open(_) | State::Failed => FrameDecoder::new(FrameLimits::FULL),
        }
    }

    fn take<'b>(&mut self, frame: Frame<'b>, consumed: usize) -> ClientStep<'b> {
        let header = frame.head.header;
        if !header.is_response() {
            return self.fail(ConnectionError::NotAResponse);
        }
        let reply = match frame.head.reply() {
            Ok(reply) => reply,
            Err(error) => return self.fail(ConnectionError::Read(error)),
        };
        match (reply, self.state) {
            (Reply::Refused(error), _) if header.correlation == Correlation::CONNECTION => {
                self.fail(ConnectionError::Refused(error))
            }
            (Reply::Refused(error), State::New | State::Greeting) => {
                self.fail(ConnectionError::Refused(error))
            }
            (Reply::Done(Response::Hello(welcome)), State::Greeting) => {
                self.welcomed(welcome, header.correlation, consumed)
            }
            (reply, _) => self.answered(reply, frame, consumed),
        }
    }

    fn welcomed<'b>(
        &mut self,
        welcome: Welcome,
        correlation: Correlation,
        consumed: usize,
    ) -> ClientStep<'b> {
        if correlation != HELLO {
            return self.fail(ConnectionError::UnknownCorrelation { correlation });
        }
        let version = welcome.protocol;
        if !(self.hello.protocol_min..=self.hello.protocol_max).contains(&version) {
            return self.fail(ConnectionError::VersionNotOffered { version });
        }
        let limits = welcome.limits;
        self.flight =
            Flight::new(Credit { requests: limits.credit_requests, bytes: limits.credit_bytes });
        self.state = State::Open(limits);
        ClientStep::Welcome { welcome, consumed }
    }

    fn answered<'b>(&mut self, reply: Reply, frame: Frame<'b>, consumed: usize) -> ClientStep<'b> {
        let header = frame.head.header;
        let (correlation, received) = (header.correlation, header.kind);
        let Some(sent) = self.flight.remove(Key::new(correlation.get())) else {
            return self.fail(ConnectionError::UnknownCorrelation { correlation });
        };
        if sent.number() != received {
            return self.fail(ConnectionError::WrongKind { sent, received });
        }
        let has_payload = matches!(reply, Reply::Done(_)) && sent.response_has_payload();
        if header.payload_len > 0 && !has_payload {
            return self.fail(ConnectionError::UnexpectedPayload { kind: received });
        }
        let (payload, payload_len) = (frame.payload, header.payload_len);
        ClientStep::Reply { correlation, reply, payload_len, payload, consumed }
    }

    fn fail<'b>(&mut self, error: ConnectionError) -> ClientStep<'b> {
        self.state = State::Failed;
        ClientStep::Failed(error)
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(CLIENT_TEXT_BYTES_MAX)].to_owned()
}
