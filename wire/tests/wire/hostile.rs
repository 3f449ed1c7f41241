//! Hostile bytes: random, mutated, truncated, with right and wrong checksums. Nothing panics, reads
//! past what it was given, or claims to have consumed more.

use pyralog_wire::client::{ClientConnection, ClientStep};
use pyralog_wire::frame::{Decoded, FLAG_ERROR, FLAG_RESPONSE};
use pyralog_wire::limits::HEADER_BYTES;
use pyralog_wire::message::{Metadata, Reply};
use pyralog_wire::server::{ServerConfig, ServerConnection, ServerStep};
use pyralog_wire::{
    Correlation, Kind, Request, Response, encode_error, encode_request, encode_response,
};
use quickcheck::{Arbitrary, Gen, QuickCheck};

use crate::frames::DECODER;
use crate::handshake::{open_client, open_server};
use crate::samples::{AnyError, AnyRequest, AnyResponse, welcome};

/// Frames as a liar makes them: any field, right checksum.
#[derive(Clone, Debug)]
struct Forged(Vec<u8>);

impl Arbitrary for Forged {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut frame = valid_frame(g);
        let body = frame.split_off(HEADER_BYTES);
        let body = mutated(body, g);
        if bool::arbitrary(g) {
            let known = g.choose(Kind::ALL).unwrap().number();
            let kind = if bool::arbitrary(g) { known } else { u16::arbitrary(g) };
            frame[6..8].copy_from_slice(&kind.to_le_bytes());
        }
        if u8::arbitrary(g) % 4 == 0 {
            let flags = g.choose(&[0, FLAG_RESPONSE, FLAG_RESPONSE | FLAG_ERROR]).unwrap();
            frame[8..10].copy_from_slice(&flags.to_le_bytes());
        }
        if u8::arbitrary(g) % 4 == 0 {
            frame[16..20].copy_from_slice(&u32::from(u8::arbitrary(g)).to_le_bytes());
        }
        frame.extend_from_slice(&body);
        seal(&mut frame);
        frame.extend_from_slice(&Vec::arbitrary(g));
        Self(frame)
    }
}

fn valid_frame(g: &mut Gen) -> Vec<u8> {
    let mut frame = Vec::new();
    let correlation = Correlation::new(u64::arbitrary(g));
    match u8::arbitrary(g) % 3 {
        0 => encode_request(&mut frame, correlation, &AnyRequest::arbitrary(g).0, 0).unwrap(),
        1 => encode_response(&mut frame, correlation, &AnyResponse::arbitrary(g).0, 0).unwrap(),
        _ => {
            let error = AnyError::arbitrary(g).0;
            encode_error(&mut frame, u16::arbitrary(g), correlation, &error).unwrap();
        }
    }
    frame
}

/// Some bytes changed, some cut off, some added.
fn mutated(mut bytes: Vec<u8>, g: &mut Gen) -> Vec<u8> {
    for _ in 0..u8::arbitrary(g) % 4 {
        if !bytes.is_empty() {
            let at = usize::arbitrary(g) % bytes.len();
            bytes[at] = u8::arbitrary(g);
        }
    }
    match u8::arbitrary(g) % 4 {
        0 => bytes.truncate(usize::arbitrary(g) % (bytes.len() + 1)),
        1 => bytes.extend(Vec::<u8>::arbitrary(g)),
        2 => drop(bytes.drain(..usize::arbitrary(g) % (bytes.len() + 1))),
        _ => {}
    }
    bytes
}

/// Makes the length and checksum of a head right.
fn seal(head: &mut [u8]) {
    let body_len = u32::try_from(head.len() - HEADER_BYTES).unwrap();
    head[12..16].copy_from_slice(&body_len.to_le_bytes());
    let crc = crc32c::crc32c(&[&head[..20], &head[24..]].concat());
    head[20..24].copy_from_slice(&crc.to_le_bytes());
}

/// Feeds bytes to decoder, server and client, in every state a stranger can reach.
fn feed_everybody(bytes: &[u8]) -> bool {
    for decoded in [DECODER.next_head(bytes).len(), DECODER.next(bytes).len()] {
        assert!(decoded <= bytes.len());
    }
    feed_server(&mut ServerConnection::new(ServerConfig::default()), bytes);
    feed_server(&mut open_server(), bytes);
    let mut greeting = ClientConnection::new("test", "0");
    greeting.hello(&mut Vec::new());
    feed_client(&mut greeting, bytes);
    let mut open = open_client();
    open.send(&Request::from(Metadata { names: Vec::new() }), 0, &mut Vec::new()).unwrap();
    feed_client(&mut open, bytes);
    true
}

trait Length {
    fn len(&self) -> usize;
}

impl<T> Length for Decoded<T> {
    fn len(&self) -> usize {
        match self {
            Decoded::Ready(_, consumed) => *consumed,
            Decoded::NeedMore { .. } | Decoded::Bad(_) => 0,
        }
    }
}

fn feed_server(server: &mut ServerConnection, bytes: &[u8]) {
    let (mut rest, mut out) = (bytes, Vec::new());
    loop {
        let consumed = match server.receive(rest, &mut out) {
            ServerStep::Consumed(consumed) => consumed,
            ServerStep::Hello { consumed, .. } => {
                server.welcome(welcome(), &mut out);
                consumed
            }
            ServerStep::Request { admitted, payload, consumed } => {
                assert_eq!(payload.len(), admitted.payload_len as usize);
                consumed
            }
            ServerStep::NeedMore { at_least } => return assert!(at_least > rest.len()),
            ServerStep::Close => return assert!(!out.is_empty(), "an error goes first"),
            ServerStep::Pause => return,
        };
        assert!(consumed > 0, "progress");
        rest = &rest[consumed..];
    }
}

fn feed_client(client: &mut ClientConnection, bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let consumed = match client.receive(rest) {
            ClientStep::Welcome { consumed, .. } | ClientStep::Reply { consumed, .. } => consumed,
            ClientStep::NeedMore { at_least } => return assert!(at_least > rest.len()),
            ClientStep::Failed(error) => return assert!(!error.to_string().is_empty()),
        };
        assert!(consumed > 0, "progress");
        rest = &rest[consumed..];
    }
}

#[test]
fn random_bytes_harm_nobody() {
    fn property(bytes: Vec<u8>, magic: bool) -> bool {
        let bytes = if magic { [&b"PYRW\x01\0"[..], &bytes].concat() } else { bytes };
        feed_everybody(&bytes)
    }
    QuickCheck::new().tests(5000).quickcheck(property as fn(Vec<u8>, bool) -> bool);
}

#[test]
fn forged_frames_with_right_checksums_harm_nobody() {
    fn property(forged: Forged) -> bool {
        feed_everybody(&forged.0)
    }
    QuickCheck::new().tests(5000).quickcheck(property as fn(Forged) -> bool);
}

#[test]
fn frames_damaged_on_the_way_harm_nobody() {
    fn property(request: AnyRequest, response: AnyResponse, damage: Vec<(u16, u8)>) -> bool {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, Correlation::new(1), &request.0, 0).unwrap();
        encode_response(&mut bytes, Correlation::new(1 << 32), &response.0, 0).unwrap();
        for (at, byte) in damage {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        feed_everybody(&bytes)
    }
    let property = property as fn(AnyRequest, AnyResponse, Vec<(u16, u8)>) -> bool;
    QuickCheck::new().tests(3000).quickcheck(property);
}

#[test]
fn a_body_that_reads_is_a_value_that_writes_and_reads_the_same() {
    fn property(forged: Forged, kind: u16) -> bool {
        let body = &forged.0[HEADER_BYTES..];
        let kind = Kind::ALL[usize::from(kind) % Kind::ALL.len()];
        if let Ok(request) = Request::read(kind, body) {
            let mut bytes = Vec::new();
            encode_request(&mut bytes, Correlation::new(1), &request, 0).unwrap();
            assert_eq!(Request::read(kind, &bytes[HEADER_BYTES..]).unwrap(), request);
        }
        if let Ok(response) = Response::read(kind, body) {
            let mut bytes = Vec::new();
            encode_response(&mut bytes, Correlation::new(1), &response, 0).unwrap();
            assert_eq!(Response::read(kind, &bytes[HEADER_BYTES..]).unwrap(), response);
        }
        true
    }
    QuickCheck::new().tests(10_000).quickcheck(property as fn(Forged, u16) -> bool);
}

#[test]
fn truncated_samples_never_read_as_something_else() {
    for (name, request, _) in crate::samples::requests() {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, Correlation::new(1), &request, 0).unwrap();
        let body = &bytes[HEADER_BYTES..];
        for len in 0..body.len() {
            let cut = Request::read(request.kind(), &body[..len]);
            assert!(cut.is_err() || cut.unwrap() != request, "{name} cut to {len}");
        }
    }
}

/// A small body must not unfold into much memory: strings that share their bytes are refused.
#[test]
fn strings_that_overlap_are_refused() {
    let names = vec!["x".repeat(100), "y".repeat(100)];
    let mut frame = Vec::new();
    encode_request(&mut frame, Correlation::new(1), &Metadata { names }.into(), 0).unwrap();
    let body = &mut frame[HEADER_BYTES..];
    assert!(Request::read(Kind::Metadata, body).is_ok());
    // 200 bytes of text, two strings of 8 bytes (length, relative pointer), the root.
    let second = 208;
    let pointer = i32::from_le_bytes(body[second + 4..second + 8].try_into().unwrap());
    assert_eq!(pointer, 100 - 208, "the second string lies at 100");
    body[second + 4..second + 8].copy_from_slice(&(-208_i32).to_le_bytes());
    assert!(Request::read(Kind::Metadata, body).is_err());
}

#[test]
fn unknown_numbers_in_enums_are_refused() {
    let (_, append, _) = crate::samples::requests().swap_remove(3);
    let mut frame = Vec::new();
    encode_request(&mut frame, Correlation::new(1), &append, 0).unwrap();
    for level in 3..255 {
        *frame.last_mut().unwrap() = level;
        let error = Request::read(Kind::Append, &frame[HEADER_BYTES..]).unwrap_err();
        assert!(error.to_string().contains(&format!("durability {level}")), "{error}");
    }
}

#[test]
fn an_error_reply_of_a_newer_server_is_readable() {
    let mut frame = Vec::new();
    let error = pyralog_wire::ErrorReply {
        number: 4999,
        retry: pyralog_wire::Retry::AfterDelay,
        message: "something new".to_owned(),
        detail: pyralog_wire::ErrorDetail::None,
    };
    encode_error(&mut frame, 77, Correlation::new(1), &error).unwrap();
    let reply = crate::frames::whole(&frame).head.reply().unwrap();
    assert_eq!(reply, Reply::Refused(error.clone()));
    assert_eq!(error.to_string(), "something new (error 4999)");
}
