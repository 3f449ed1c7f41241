//! The handshake, and what ends a connection.

use pyralog_wire::client::{ClientConnection, ClientStep, ConnectionError, SendError};
use pyralog_wire::limits::fingerprint;
use pyralog_wire::message::{Hello, Ping, Pong, Reply};
use pyralog_wire::server::{ServerConfig, ServerConnection, ServerStep};
use pyralog_wire::{
    Correlation, ErrorCode, ErrorDetail, ErrorReply, Request, Response, encode_error,
    encode_request, encode_response,
};

use crate::frames::whole;
use crate::samples::{hello, welcome};

/// Runs the handshake between the two machines.
pub(crate) fn open(config: ServerConfig) -> (ClientConnection, ServerConnection) {
    let mut client = ClientConnection::new("test", "0");
    let mut server = ServerConnection::new(config);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    client.hello(&mut up);
    match server.receive(&up, &mut down) {
        ServerStep::Hello { consumed, .. } => assert_eq!(consumed, up.len()),
        other => panic!("{other:?}"),
    }
    server.welcome(welcome(), &mut down);
    match client.receive(&down) {
        ClientStep::Welcome { welcome, .. } => assert_eq!(welcome.limits, config.limits),
        other => panic!("{other:?}"),
    }
    server.flushed(down.len() as u64);
    (client, server)
}

pub(crate) fn open_server() -> ServerConnection {
    open(ServerConfig::default()).1
}

pub(crate) fn open_client() -> ClientConnection {
    open(ServerConfig::default()).0
}

fn request(request: impl Into<Request>, correlation: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_request(&mut bytes, Correlation::new(correlation), &request.into(), 0).unwrap();
    bytes
}

/// The error with which a server closes after these bytes.
fn closes(server: &mut ServerConnection, bytes: &[u8]) -> (u16, u64, ErrorReply) {
    let mut out = Vec::new();
    assert_eq!(server.receive(bytes, &mut out), ServerStep::Close);
    assert_eq!(server.receive(&request(Ping { token: 1 }, 1), &mut Vec::new()), ServerStep::Close);
    assert!(!server.may_read());
    let frame = whole(&out);
    let header = frame.head.header;
    match frame.head.reply().unwrap() {
        Reply::Refused(error) => (header.kind, header.correlation.get(), error),
        Reply::Done(other) => panic!("{other:?}"),
    }
}

fn closes_new(bytes: &[u8]) -> ErrorReply {
    closes(&mut ServerConnection::new(ServerConfig::default()), bytes).2
}

fn closes_open(bytes: &[u8]) -> ErrorReply {
    closes(&mut open_server(), bytes).2
}

#[test]
fn welcome_carries_version_limits_and_fingerprint() {
    let mut server = ServerConnection::new(ServerConfig::default());
    let mut out = Vec::new();
    let bytes = request(hello(1, 9), 5);
    let step = server.receive(&bytes, &mut out);
    let said = hello(1, 9);
    assert!(matches!(step, ServerStep::Hello { hello, .. } if hello == said));
    assert_eq!(server.receive(&request(Ping { token: 1 }, 6), &mut out), ServerStep::Pause);
    assert!(!server.is_open() && !server.may_read() && out.is_empty());
    server.welcome(welcome(), &mut out);
    assert!(server.is_open() && server.may_read());
    let frame = whole(&out);
    assert_eq!(frame.head.header.correlation.get(), 5);
    let expected = pyralog_wire::message::Welcome {
        protocol: 1,
        limits_fingerprint: fingerprint(),
        limits: ServerConfig::default().limits,
        ..welcome()
    };
    assert_eq!(frame.head.reply().unwrap(), Reply::Done(Response::Hello(expected)));
}

#[test]
fn versions_are_agreed_or_refused_with_the_range() {
    // Offered range, whether it is accepted.
    let table =
        [(1, 1, true), (1, 9, true), (0, 1, true), (0, 0, false), (2, 9, false), (3, 2, false)];
    for (min, max, accepted) in table {
        let mut server = ServerConnection::new(ServerConfig::default());
        let bytes = request(hello(min, max), 5);
        if accepted {
            let step = server.receive(&bytes, &mut Vec::new());
            assert!(matches!(step, ServerStep::Hello { .. }), "{min}..={max}: {step:?}");
        } else {
            let (kind, correlation, error) = closes(&mut server, &bytes);
            assert_eq!((kind, correlation), (1, 5), "answers the Hello");
            assert!(error.is(ErrorCode::UnsupportedVersion), "{min}..={max}: {error}");
            assert_eq!(error.detail, ErrorDetail::UnsupportedVersion { min: 1, max: 1 });
        }
    }
}

#[test]
fn nothing_is_taken_before_hello() {
    let ping = request(Ping { token: 1 }, 5);
    assert!(closes_new(&ping).is(ErrorCode::HandshakeRequired));
    assert!(closes_new(b"GET / HTTP/1.1\r\n\r\n").is(ErrorCode::BadMagic));
    assert!(closes_new(b"\x16\x03\x01").is(ErrorCode::BadMagic));
    let long = Hello { client: "x".repeat(5000), ..hello(1, 1) };
    assert!(closes_new(&request(long, 5)).is(ErrorCode::FrameTooLarge));
    let long = Hello { client: "x".repeat(257), ..hello(1, 1) };
    assert!(closes_new(&request(long, 5)).is(ErrorCode::InvalidRequest));
}

#[test]
fn protocol_errors_close_an_open_connection_with_an_error_first() {
    assert!(closes_open(&request(hello(1, 1), 5)).is(ErrorCode::HandshakeRepeated));
    assert!(closes_open(&request(Ping { token: 1 }, 0)).is(ErrorCode::BadCorrelation));
    let with = |at: usize, byte: u8| {
        let mut bytes = request(Ping { token: 1 }, 5);
        bytes[at] = byte;
        bytes
    };
    assert!(closes_open(&with(0, b'X')).is(ErrorCode::BadMagic));
    assert!(closes_open(&with(4, 2)).is(ErrorCode::UnsupportedVersion));
    assert!(closes_open(&with(8, 8)).is(ErrorCode::BadFlags));
    assert!(closes_open(&with(15, 0xff)).is(ErrorCode::FrameTooLarge));
    assert!(closes_open(&with(19, 0xff)).is(ErrorCode::FrameTooLarge));
    assert!(closes_open(&with(33, 9)).is(ErrorCode::BadChecksum));
    let mut response = Vec::new();
    let pong = Response::Ping(Pong { token: 1, server_time: crate::samples::TIME });
    encode_response(&mut response, Correlation::new(5), &pong, 0).unwrap();
    assert!(closes_open(&response).is(ErrorCode::BadFlags));
}

#[test]
fn a_failed_connection_answers_nothing_more() {
    let mut server = open_server();
    let mut out = Vec::new();
    let bytes = request(Ping { token: 1 }, 5);
    let step = server.receive(&bytes, &mut out);
    let ServerStep::Request { admitted, .. } = step else { panic!("{step:?}") };
    assert!(!server.is_drained());
    assert_eq!(server.fail(&ErrorCode::TimedOut.into(), &mut out), ServerStep::Close);
    let queued = out.len();
    let pong = Response::Ping(Pong { token: 1, server_time: crate::samples::TIME });
    assert!(server.reply(admitted.token, &pong, 0, &mut out).is_err());
    assert_eq!(server.fail(&ErrorCode::TimedOut.into(), &mut out), ServerStep::Close);
    assert_eq!(out.len(), queued, "one error, nothing after it");
    assert_eq!((server.outbox_bytes(), server.reserved_bytes()), (queued as u64, 0));
    server.flushed(queued as u64);
    assert!(server.is_drained());
}

#[test]
fn a_client_sends_nothing_before_the_welcome_and_after_a_failure() {
    let mut client = ClientConnection::new("test", "0");
    let ping = Request::from(Ping { token: 1 });
    let mut out = Vec::new();
    assert!(matches!(client.send(&ping, 0, &mut out), Err(SendError::NotOpen)));
    client.hello(&mut Vec::new());
    assert!(matches!(client.send(&ping, 0, &mut out), Err(SendError::NotOpen)));
    let mut client = open_client();
    assert!(matches!(client.send(&hello(1, 1).into(), 0, &mut out), Err(SendError::Handshake)));
    assert!(matches!(client.send(&ping, 1, &mut out), Err(SendError::TooLarge(_))));
    assert!(matches!(client.receive(b"HTTP"), ClientStep::Failed(ConnectionError::Frame(_))));
    assert!(matches!(client.receive(b""), ClientStep::Failed(ConnectionError::Closed)));
    assert!(matches!(client.send(&ping, 0, &mut out), Err(SendError::NotOpen)));
    assert!(out.is_empty() && client.limits().is_none());
}

#[test]
fn a_client_reports_the_refusal_of_its_hello() {
    let mut client = ClientConnection::new("test", "0");
    client.hello(&mut Vec::new());
    let mut bytes = Vec::new();
    let error = ErrorReply::from(ErrorCode::TooManyConnections);
    encode_error(&mut bytes, 0, Correlation::CONNECTION, &error).unwrap();
    let step = client.receive(&bytes);
    assert!(matches!(step, ClientStep::Failed(ConnectionError::Refused(told)) if told == error));
}

fn client_fails(
    client: &mut ClientConnection,
    correlation: u64,
    response: &Response,
    len: u32,
) -> ConnectionError {
    let mut bytes = Vec::new();
    encode_response(&mut bytes, Correlation::new(correlation), response, len).unwrap();
    match client.receive_head(&bytes) {
        ClientStep::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_trusts_no_reply_that_answers_nothing() {
    let pong = Response::Ping(Pong { token: 1, server_time: crate::samples::TIME });
    let mut client = open_client();
    let error = client_fails(&mut client, 1 << 32, &pong, 0);
    assert!(matches!(error, ConnectionError::UnknownCorrelation { .. }), "{error}");
    let mut client = open_client();
    let sent = client.send(&pyralog_wire::message::Stats {}.into(), 0, &mut Vec::new()).unwrap();
    let error = client_fails(&mut client, sent.get(), &pong, 0);
    assert!(matches!(error, ConnectionError::WrongKind { received: 2, .. }), "{error}");
    let mut client = ClientConnection::new("test", "0");
    client.hello(&mut Vec::new());
    let late = pyralog_wire::message::Welcome { protocol: 2, ..welcome() };
    let error = client_fails(&mut client, 1, &Response::Hello(late), 0);
    assert!(matches!(error, ConnectionError::VersionNotOffered { version: 2 }), "{error}");
    let mut client = open_client();
    let step = client.receive_head(&request(Ping { token: 1 }, 5)).is_failure();
    assert!(step, "a request is no answer");
}

#[test]
fn a_client_takes_a_payload_from_a_fetch_only_and_a_welcome_for_its_hello_only() {
    let mut client = open_client();
    let sent = client.send(&Ping { token: 1 }.into(), 0, &mut Vec::new()).unwrap();
    let pong = Response::Ping(Pong { token: 1, server_time: crate::samples::TIME });
    let mut bytes = Vec::new();
    encode_response(&mut bytes, sent, &pong, 0).unwrap();
    bytes[16] = 64;
    let crc = crc32c::crc32c(&[&bytes[..20], &bytes[24..]].concat());
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    let step = client.receive_head(&bytes);
    let expected =
        matches!(step, ClientStep::Failed(ConnectionError::UnexpectedPayload { kind: 2 }));
    assert!(expected, "{step:?}");
    let mut client = ClientConnection::new("test", "0");
    client.hello(&mut Vec::new());
    let error = client_fails(&mut client, 2, &Response::Hello(welcome()), 0);
    assert!(matches!(error, ConnectionError::UnknownCorrelation { .. }), "{error}");
}

trait Failure {
    fn is_failure(&self) -> bool;
}

impl Failure for ClientStep<'_> {
    fn is_failure(&self) -> bool {
        matches!(self, ClientStep::Failed(_))
    }
}

#[test]
fn long_client_names_are_cut_not_refused() {
    let mut client = ClientConnection::new(&"é".repeat(300), &"v".repeat(300));
    let mut bytes = Vec::new();
    client.hello(&mut bytes);
    let step = ServerConnection::new(ServerConfig::default()).receive(&bytes, &mut Vec::new());
    assert!(matches!(step, ServerStep::Hello { hello, .. } if hello.client.len() == 256));
}
