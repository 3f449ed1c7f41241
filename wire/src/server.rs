//! The server's end of a connection as a machine: handshake, admission, replies, no I/O.
//!
//! The shell owns the receive buffer and the outbox. It feeds received bytes to
//! [`ServerConnection::receive`] (or, to receive large payloads where it likes, to
//! [`ServerConnection::receive_head`]), carries out the [`ServerStep`], and reports what it wrote
//! to the socket with [`ServerConnection::flushed`].
//!
//! What bounds a connection: a request is taken only if the credit admits it *and* the outbox has
//! room for its reply (`outbox_bytes + reserved_bytes <= outbox_bytes_max`). Otherwise the step is
//! [`ServerStep::Pause`], the shell stops reading, and TCP tells the client. A slow reader so holds
//! one outbox and nothing of anybody else. A fetch reserves the room for its payload only when data
//! is there ([`ServerConnection::reserve_reply`]), so readers waiting at the tail hold none.
//!
//! A client that sends beyond its credit is not punished, only not read.

mod config;

use core::fmt;

pub use config::ServerConfig;

use crate::error::{ErrorCode, ErrorDetail, ErrorReply};
use crate::flight::{Credit, Flight, Key};
use crate::frame::{Correlation, Decoded, Frame, FrameDecoder, FrameLimits, Head};
use crate::kind::Kind;
use crate::limits::{
    BODY_BYTES_MAX, HEADER_BYTES, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN, SMALL_REPLY_BYTES_MAX,
};
use crate::message::{Hello, ReadError, Request, Response, Welcome, encode_error, encode_response};

/// Names a request that the shell has to answer, on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestToken(Key);

impl RequestToken {
    /// The token with this number, as [`RequestToken::get`] gave it.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(Key::new(number))
    }

    /// Its number, for tickets and messages between cores.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// A request that was taken: its fields are in range, and it holds credit until it is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// Names it to [`ServerConnection::reply`].
    pub token: RequestToken,
    /// How the client names it, for traces.
    pub correlation: Correlation,
    /// What is asked for.
    pub request: Request,
    /// Bytes of its payload.
    pub payload_len: u32,
}

/// What the shell has to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerStep<'b> {
    /// Read more: until the buffer holds at least this many bytes there is nothing to tell.
    NeedMore {
        /// Length that the buffer must reach.
        at_least: usize,
    },
    /// Stop reading and keep the buffer. Try again once [`ServerConnection::may_read`] says so,
    /// after a reply, a flush or the welcome.
    Pause,
    /// Nothing to do but drop so many bytes; the outbox may have got an error reply.
    Consumed(usize),
    /// A client introduced itself: drop the bytes and call [`ServerConnection::welcome`].
    Hello {
        /// What it said.
        hello: Hello,
        /// Bytes to drop.
        consumed: usize,
    },
    /// A request to carry out and answer with its token.
    Request {
        /// The request.
        admitted: Admitted,
        /// Its payload if the whole frame was received; empty after
        /// [`ServerConnection::receive_head`], when `admitted.payload_len` bytes follow.
        payload: &'b [u8],
        /// Bytes to drop once the payload is no longer needed.
        consumed: usize,
    },
    /// Write the outbox, then close. Nothing more is taken.
    Close,
}

/// A reply to a request that is not in flight: it was answered, or the connection is closed. The
/// shell drops the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInFlight;

impl fmt::Display for NotInFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is not in flight: it was answered or its connection is closed")
    }
}

impl core::error::Error for NotInFlight {}

/// What a request in flight holds.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    kind: Kind,
    correlation: Correlation,
    /// Room in the outbox kept for the reply.
    reserved: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but Hello is taken.
    Connected,
    /// The shell owes a welcome.
    Greeted {
        correlation: Correlation,
        protocol: u16,
    },
    Open,
    /// An error was sent, after which nothing is.
    Failed,
}

/// What a paused frame waits for.
#[derive(Clone, Copy, Debug)]
struct Need {
    frame_bytes: u64,
    reply_bytes: u64,
}

/// The server's end of a connection; lives on the core that accepted it.
///
/// Invariant: `outbox_bytes + reserved_bytes <= config.outbox_bytes_max`, as long as the shell
/// reserves before it fetches; and what [`Flight`] promises about the credit.
#[derive(Debug)]
pub struct ServerConnection {
    config: ServerConfig,
    state: State,
    flight: Flight<InFlight>,
    /// Encoded and not reported as flushed.
    outbox_bytes: u64,
    /// Sum of the room kept for requests in flight.
    reserved_bytes: u64,
    /// Payload of a refused frame that has not been dropped yet.
    skip_bytes: usize,
    paused: Option<Need>,
    /// New requests are refused, those in flight are answered.
    draining: bool,
}

impl ServerConnection {
    /// A connection that was just accepted.
    ///
    /// # Panics
    /// If the configuration does not pass [`ServerConfig::check`].
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        let checked = config.check();
        assert!(checked.is_ok(), "checked before: {checked:?}");
        let limits = &config.limits;
        let credit = Credit { requests: limits.credit_requests, bytes: limits.credit_bytes };
        Self {
            config,
            state: State::Connected,
            flight: Flight::new(credit),
            outbox_bytes: 0,
            reserved_bytes: 0,
            skip_bytes: 0,
            paused: None,
            draining: false,
        }
    }

    /// Looks for a whole frame at the start of `bytes`. Error replies are appended to `out`.
    pub fn receive<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> ServerStep<'b> {
        if let Some(step) = self.before_frame(bytes) {
            return step;
        }
        match self.decoder().next(bytes) {
            Decoded::NeedMore { at_least } => ServerStep::NeedMore { at_least },
            Decoded::Ready(frame, consumed) => self.take(frame, consumed, out),
            Decoded::Bad(error) => self.fail(&error.into(), out),
        }
    }

    /// Looks for header and body at the start of `bytes`. After a [`ServerStep::Request`] the shell
    /// itself takes the `payload_len` bytes that follow, before it calls again.
    pub fn receive_head<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> ServerStep<'b> {
        if let Some(step) = self.before_frame(bytes) {
            return step;
        }
        match self.decoder().next_head(bytes) {
            Decoded::NeedMore { at_least } => ServerStep::NeedMore { at_least },
            Decoded::Ready(head, consumed) => {
                self.take(Frame { head, payload: &[] }, consumed, out)
            }
            Decoded::Bad(error) => self.fail(&error.into(), out),
        }
    }

    /// Answers the Hello. Protocol, limits and fingerprint are filled in here.
    ///
    /// # Panics
    /// If no Hello waits for its answer.
    pub fn welcome(&mut self, welcome: Welcome, out: &mut Vec<u8>) {
        let State::Greeted { correlation, protocol } = self.state else {
            panic!("no Hello waits for its answer in state {:?}", self.state);
        };
        let limits_fingerprint = crate::limits::fingerprint();
        let limits = self.config.limits;
        let welcome = Welcome { protocol, limits_fingerprint, limits, ..welcome };
        let start = out.len();
        self.state = State::Open;
        match encode_response(out, correlation, &Response::Hello(welcome), 0) {
            Ok(()) => self.queued(out.len() - start),
            Err(error) => {
                // Thousands of shards with long host names: an operator's mistake to hear about.
                let reply = ErrorReply::new(ErrorCode::Internal, error.to_string());
                self.fail_with(Kind::Hello.number(), correlation, &reply, out);
            }
        }
    }

    /// Answers a request; the shell sends `payload_len` bytes after what is appended to `out`. An
    /// answer that does not fit a frame becomes an error reply that says so, without payload:
    /// then, and only then, the outcome is `Ok(false)`.
    ///
    /// # Errors
    /// If the request is not in flight; nothing was appended, drop the reply and its payload.
    ///
    /// # Panics
    /// If the response is of another kind than the request.
    pub fn reply(
        &mut self,
        token: RequestToken,
        response: &Response,
        payload_len: u32,
        out: &mut Vec<u8>,
    ) -> Result<bool, NotInFlight> {
        let request = self.release(token)?;
        let (asked, answered) = (request.kind, response.kind());
        assert!(asked == answered, "{asked} was answered as {answered}");
        let start = out.len();
        match encode_response(out, request.correlation, response, payload_len) {
            Ok(()) => {
                self.queued(out.len() - start);
                self.outbox_bytes += u64::from(payload_len);
                Ok(true)
            }
            Err(error) => {
                let reply = ErrorReply::new(ErrorCode::InvalidRequest, error.to_string());
                self.answer(request.kind.number(), request.correlation, &reply, out);
                Ok(false)
            }
        }
    }

    /// Answers a request with an error.
    ///
    /// # Errors
    /// If the request is not in flight; nothing was appended.
    pub fn refuse(
        &mut self,
        token: RequestToken,
        error: &ErrorReply,
        out: &mut Vec<u8>,
    ) -> Result<(), NotInFlight> {
        let request = self.release(token)?;
        self.answer(request.kind.number(), request.correlation, error, out);
        Ok(())
    }

    /// Keeps room in the outbox for a reply with so many payload bytes. If it says no, wait for a
    /// flush and ask again; with an empty outbox and nothing else reserved the answer is yes.
    /// Calling it again changes the reservation.
    ///
    /// # Errors
    /// If the request is not in flight.
    pub fn reserve_reply(
        &mut self,
        token: RequestToken,
        payload_bytes: u32,
    ) -> Result<bool, NotInFlight> {
        let (outbox, total) = (self.outbox_bytes, self.reserved_bytes);
        let request = self.flight.get_mut(token.0).ok_or(NotInFlight)?;
        let others = total - request.reserved;
        let wanted = u64::from(SMALL_REPLY_BYTES_MAX) + u64::from(payload_bytes);
        let fits = outbox + others + wanted <= self.config.outbox_bytes_max;
        if fits {
            request.reserved = wanted;
            self.reserved_bytes = others + wanted;
        }
        Ok(fits)
    }

    /// Reports that so many bytes of the outbox were written to the socket.
    ///
    /// # Panics
    /// If that is more than was in the outbox.
    pub fn flushed(&mut self, bytes: u64) {
        assert!(bytes <= self.outbox_bytes, "flushed {bytes} of {}", self.outbox_bytes);
        self.outbox_bytes -= bytes;
    }

    /// Whether to look at the buffer and read from the socket: false while paused, and after an
    /// error.
    #[must_use]
    pub fn may_read(&self) -> bool {
        match self.state {
            State::Connected => true,
            State::Open => self.paused.is_none_or(|need| self.admits(need)),
            State::Greeted { .. } | State::Failed => false,
        }
    }

    /// From now on refuses new requests as [`ErrorCode::ShuttingDown`] and only answers those in
    /// flight.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether nothing is owed to the client: no request in flight, outbox written. When the client
    /// has closed its direction and the buffer holds no whole frame, or after
    /// [`ServerConnection::drain`], the shell waits for this and closes.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let answers_due = self.flight.requests() > 0 && self.state != State::Failed;
        !answers_due && self.outbox_bytes == 0
    }

    /// Ends the connection with an error, for example [`ErrorCode::TimedOut`]. Requests in flight
    /// will not be answered.
    pub fn fail(&mut self, error: &ErrorReply, out: &mut Vec<u8>) -> ServerStep<'static> {
        self.fail_with(0, Correlation::CONNECTION, error, out)
    }

    /// Whether the handshake is done.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
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

    /// Bytes encoded (payloads included) and not yet reported as flushed.
    #[must_use]
    pub fn outbox_bytes(&self) -> u64 {
        self.outbox_bytes
    }

    /// Bytes of the outbox kept for replies to requests in flight.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    fn decoder(&self) -> FrameDecoder {
        if self.state == State::Connected {
            return FrameDecoder::new(FrameLimits::HANDSHAKE);
        }
        let limits = &self.config.limits;
        FrameDecoder::new(FrameLimits {
            body_bytes_max: limits.body_bytes_max,
            payload_bytes_max: limits.payload_bytes_max,
            ..FrameLimits::FULL
        })
    }

    /// What there is to do before looking for a frame.
    fn before_frame<'b>(&mut self, bytes: &'b [u8]) -> Option<ServerStep<'b>> {
        match self.state {
            State::Failed => return Some(ServerStep::Close),
            State::Greeted { .. } => return Some(ServerStep::Pause),
            State::Connected | State::Open => {}
        }
        if self.skip_bytes > 0 && !bytes.is_empty() {
            let skipped = self.skip_bytes.min(bytes.len());
            self.skip_bytes -= skipped;
            return Some(ServerStep::Consumed(skipped));
        }
        None
    }

    fn take<'b>(&mut self, frame: Frame<'b>, consumed: usize, out: &mut Vec<u8>) -> ServerStep<'b> {
        let header = frame.head.header;
        if header.is_response() {
            let error = ErrorReply::new(ErrorCode::BadFlags, "a client sends no responses");
            return self.fail(&error, out);
        }
        if header.correlation == Correlation::CONNECTION {
            return self.fail(&ErrorCode::BadCorrelation.into(), out);
        }
        if self.state == State::Connected {
            return self.greet(frame.head, consumed, out);
        }
        if header.kind == Kind::Hello.number() {
            return self.fail(&ErrorCode::HandshakeRepeated.into(), out);
        }
        let need = Need {
            frame_bytes: header.frame_len() as u64,
            reply_bytes: reply_bytes_max(header.kind),
        };
        if !self.admits(need) {
            self.paused = Some(need);
            return ServerStep::Pause;
        }
        self.paused = None;
        match self.check(frame.head) {
            Ok(request) => self.admit(request, frame, need, consumed),
            Err(error) => {
                self.skip_bytes = header.payload_len as usize - frame.payload.len();
                self.answer(header.kind, header.correlation, &error, out);
                ServerStep::Consumed(consumed)
            }
        }
    }

    /// Reads a Hello and agrees on a version.
    fn greet<'b>(&mut self, head: Head<'_>, consumed: usize, out: &mut Vec<u8>) -> ServerStep<'b> {
        let (kind, correlation) = (head.header.kind, head.header.correlation);
        if kind != Kind::Hello.number() {
            return self.fail_with(kind, correlation, &ErrorCode::HandshakeRequired.into(), out);
        }
        let hello = match self.check(head) {
            Ok(Request::Hello(hello)) => hello,
            Ok(other) => unreachable!("kind {kind} was read as {}", other.kind()),
            Err(error) => return self.fail_with(kind, correlation, &error, out),
        };
        let Some(protocol) = agree(&hello) else {
            let (min, max) = (PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_MAX);
            let text = format!(
                "the client speaks protocol versions {} to {}, the server {min} to {max}: use a \
                 client of the server's age",
                hello.protocol_min, hello.protocol_max
            );
            let error = ErrorReply::new(ErrorCode::UnsupportedVersion, text)
                .with_detail(ErrorDetail::UnsupportedVersion { min, max });
            return self.fail_with(kind, correlation, &error, out);
        };
        self.state = State::Greeted { correlation, protocol };
        ServerStep::Hello { hello, consumed }
    }

    /// Reads a request and compares its fields with their ranges.
    fn check(&self, head: Head<'_>) -> Result<Request, ErrorReply> {
        if self.draining {
            return Err(ErrorCode::ShuttingDown.into());
        }
        let mut request = head.request().map_err(|error| match error {
            ReadError::UnknownKind { .. } => {
                ErrorReply::new(ErrorCode::UnknownKind, error.to_string())
            }
            ReadError::Malformed(_) => ErrorReply::new(ErrorCode::MalformedBody, error.to_string()),
        })?;
        if request.kind().request_has_payload() == (head.header.payload_len == 0) {
            return Err(ErrorCode::BadPayload.into());
        }
        request.check()?;
        if let Request::Fetch(fetch) = &mut request {
            *fetch = fetch.lowered_to(&self.config.limits);
        }
        Ok(request)
    }

    fn admit<'b>(
        &mut self,
        request: Request,
        frame: Frame<'b>,
        need: Need,
        consumed: usize,
    ) -> ServerStep<'b> {
        let header = frame.head.header;
        let (kind, correlation) = (request.kind(), header.correlation);
        let in_flight = InFlight { kind, correlation, reserved: need.reply_bytes };
        match self.flight.insert(need.frame_bytes, in_flight) {
            Ok(key) => {
                self.reserved_bytes += need.reply_bytes;
                let (token, payload_len) = (RequestToken(key), header.payload_len);
                let admitted = Admitted { token, correlation, request, payload_len };
                ServerStep::Request { admitted, payload: frame.payload, consumed }
            }
            Err(_) => unreachable!("the credit was asked for {need:?} before"),
        }
    }

    fn admits(&self, need: Need) -> bool {
        let outbox = self.outbox_bytes + self.reserved_bytes + need.reply_bytes;
        self.flight.admits(need.frame_bytes) && outbox <= self.config.outbox_bytes_max
    }

    /// Takes a request out of flight, with its credit and its room in the outbox.
    fn release(&mut self, token: RequestToken) -> Result<InFlight, NotInFlight> {
        let request = self.flight.remove(token.0).ok_or(NotInFlight)?;
        self.reserved_bytes -= request.reserved;
        if self.state == State::Failed {
            return Err(NotInFlight);
        }
        Ok(request)
    }

    fn fail_with(
        &mut self,
        kind: u16,
        correlation: Correlation,
        error: &ErrorReply,
        out: &mut Vec<u8>,
    ) -> ServerStep<'static> {
        if self.state != State::Failed {
            self.state = State::Failed;
            self.answer(kind, correlation, error, out);
        }
        ServerStep::Close
    }

    fn answer(
        &mut self,
        kind: u16,
        correlation: Correlation,
        error: &ErrorReply,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let encoded = encode_error(out, kind, correlation, error);
        assert!(encoded.is_ok(), "an error reply fits a frame: {encoded:?}");
        self.queued(out.len() - start);
    }

    fn queued(&mut self, bytes: usize) {
        self.outbox_bytes += bytes as u64;
    }
}

/// The newest version that both speak.
fn agree(hello: &Hello) -> Option<u16> {
    let version = hello.protocol_max.min(PROTOCOL_VERSION_MAX);
    (version >= hello.protocol_min.max(PROTOCOL_VERSION_MIN)).then_some(version)
}

/// Bytes kept in the outbox for the reply to a request, payload excluded.
const fn reply_bytes_max(kind: u16) -> u64 {
    let small = match Kind::from_number(kind) {
        None => true,
        Some(kind) => matches!(
            kind,
            Kind::Ping
                | Kind::Append
                | Kind::Fetch
                | Kind::FindOffset
                | Kind::DeleteLog
                | Kind::TruncateLog
        ),
    };
    if small { SMALL_REPLY_BYTES_MAX as u64 } else { HEADER_BYTES as u64 + BODY_BYTES_MAX as u64 }
}
