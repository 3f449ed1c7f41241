//! Frames: round trips, incremental decoding, limits, damage.

use pyralog_wire::frame::{Decoded, Frame, FrameDecoder, FrameError, FrameLimits, Head};
use pyralog_wire::limits::{BODY_BYTES_MAX, HEADER_BYTES, PAYLOAD_BYTES_MAX};
use pyralog_wire::message::{Metadata, Ping, Reply};
use pyralog_wire::{
    Correlation, FrameHeader, Request, encode_error, encode_request, encode_response,
};
use quickcheck::{QuickCheck, TestResult};

use crate::samples::{self, AnyError, AnyRequest, AnyResponse};

pub(crate) const DECODER: FrameDecoder = FrameDecoder::new(FrameLimits::FULL);

pub(crate) fn whole(bytes: &[u8]) -> Frame<'_> {
    match DECODER.next(bytes) {
        Decoded::Ready(frame, consumed) => {
            assert_eq!(consumed, bytes.len());
            frame
        }
        other => panic!("no whole frame: {other:?}"),
    }
}

fn head(bytes: &[u8]) -> Head<'_> {
    match DECODER.next_head(bytes) {
        Decoded::Ready(head, _) => head,
        other => panic!("no head: {other:?}"),
    }
}

fn frame_of(request: &Request, correlation: u64, payload: &[u8]) -> Vec<u8> {
    let payload_len = u32::try_from(payload.len()).unwrap();
    let mut bytes = Vec::new();
    encode_request(&mut bytes, Correlation::new(correlation), request, payload_len).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn every_request_comes_back_as_it_was() {
    fn property(request: AnyRequest, correlation: u64) -> bool {
        let mut bytes = b"before".to_vec();
        encode_request(&mut bytes, Correlation::new(correlation), &request.0, 0).unwrap();
        let frame = whole(&bytes[6..]);
        frame.head.header.correlation.get() == correlation
            && !frame.head.header.is_response()
            && frame.head.request().unwrap() == request.0
    }
    QuickCheck::new().tests(3000).quickcheck(property as fn(AnyRequest, u64) -> bool);
}

#[test]
fn every_response_comes_back_as_it_was() {
    fn property(response: AnyResponse, correlation: u64) -> bool {
        let mut bytes = Vec::new();
        encode_response(&mut bytes, Correlation::new(correlation), &response.0, 0).unwrap();
        let frame = whole(&bytes);
        frame.head.header.is_response()
            && !frame.head.header.is_error()
            && frame.head.reply().unwrap() == Reply::Done(response.0)
    }
    QuickCheck::new().tests(3000).quickcheck(property as fn(AnyResponse, u64) -> bool);
}

#[test]
fn every_error_comes_back_as_it_was() {
    fn property(error: AnyError, kind: u16) -> bool {
        let mut bytes = Vec::new();
        encode_error(&mut bytes, kind, Correlation::new(1), &error.0).unwrap();
        let frame = whole(&bytes);
        frame.head.header.is_error() && frame.head.reply().unwrap() == Reply::Refused(error.0)
    }
    QuickCheck::new().tests(3000).quickcheck(property as fn(AnyError, u16) -> bool);
}

#[test]
fn samples_come_back_as_they_were() {
    for (name, request, payload_len) in samples::requests() {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, Correlation::new(9), &request, payload_len).unwrap();
        assert_eq!(head(&bytes).request().unwrap(), request, "{name}");
        assert_eq!(head(&bytes).header.payload_len, payload_len, "{name}");
    }
}

#[test]
fn payload_is_a_slice_of_the_receive_buffer() {
    let (_, append, _) = samples::requests().swap_remove(3);
    let payload = [7; 192];
    let bytes = frame_of(&append, 1, &payload);
    let frame = whole(&bytes);
    assert_eq!(frame.payload, payload);
    assert_eq!(frame.payload.as_ptr(), bytes[frame.head.header.head_len()..].as_ptr());
}

/// Splits `stream` as a shell does whose socket delivers `chunk` bytes at a time.
fn decode_in_chunks(stream: &[u8], chunk: usize) -> Vec<Vec<u8>> {
    let (mut buffer, mut frames) = (Vec::new(), Vec::new());
    for piece in stream.chunks(chunk) {
        buffer.extend_from_slice(piece);
        loop {
            match DECODER.next(&buffer) {
                Decoded::NeedMore { at_least } => {
                    assert!(at_least > buffer.len(), "{at_least} of {}", buffer.len());
                    break;
                }
                Decoded::Ready(_, consumed) => frames.push(buffer.drain(..consumed).collect()),
                Decoded::Bad(error) => panic!("{error}"),
            }
        }
    }
    assert!(buffer.is_empty(), "{} bytes left", buffer.len());
    frames
}

#[test]
fn any_chunks_give_the_same_frames() {
    fn property(requests: Vec<(AnyRequest, Vec<u8>)>, chunk: u8) -> TestResult {
        if requests.len() > 10 {
            return TestResult::discard();
        }
        let frames: Vec<Vec<u8>> = (1..)
            .zip(&requests)
            .map(|(correlation, (request, payload))| {
                let takes = request.0.kind().request_has_payload();
                frame_of(&request.0, correlation, if takes { payload } else { &[] })
            })
            .collect();
        let stream = frames.concat();
        let at_once = decode_in_chunks(&stream, stream.len().max(1));
        let in_chunks = decode_in_chunks(&stream, usize::from(chunk).max(1));
        let one_by_one = decode_in_chunks(&stream, 1);
        TestResult::from_bool(at_once == frames && in_chunks == frames && one_by_one == frames)
    }
    QuickCheck::new()
        .tests(300)
        .quickcheck(property as fn(Vec<(AnyRequest, Vec<u8>)>, u8) -> TestResult);
}

#[test]
fn need_more_names_header_then_head_then_frame() {
    let (_, append, _) = samples::requests().swap_remove(3);
    let bytes = frame_of(&append, 1, &[0; 192]);
    let head_len = head(&bytes).header.head_len();
    assert_eq!(DECODER.next(&[]), Decoded::NeedMore { at_least: HEADER_BYTES });
    assert_eq!(DECODER.next(&bytes[..31]), Decoded::NeedMore { at_least: HEADER_BYTES });
    assert_eq!(DECODER.next(&bytes[..32]), Decoded::NeedMore { at_least: head_len });
    assert_eq!(DECODER.next(&bytes[..head_len]), Decoded::NeedMore { at_least: bytes.len() });
    let header = FrameHeader::parse(bytes.first_chunk().unwrap(), FrameLimits::FULL).unwrap();
    assert_eq!((header.head_len(), header.frame_len()), (head_len, bytes.len()));
}

#[test]
fn a_flipped_bit_in_the_head_never_passes() {
    fn property(request: AnyRequest, at: usize, bit: u8) -> bool {
        let mut bytes = frame_of(&request.0, 77, &[]);
        let at = at % bytes.len();
        bytes[at] ^= 1 << (bit % 8);
        // A length that grew asks for more bytes: they come.
        if let Decoded::NeedMore { at_least } = DECODER.next_head(&bytes) {
            bytes.resize(at_least, 0);
        }
        matches!(DECODER.next_head(&bytes), Decoded::Bad(_))
    }
    QuickCheck::new().tests(2000).quickcheck(property as fn(AnyRequest, usize, u8) -> bool);
}

fn bad(bytes: &[u8], limits: FrameLimits) -> FrameError {
    match FrameDecoder::new(limits).next_head(bytes) {
        Decoded::Bad(error) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn each_fault_of_a_header_is_named() {
    let good = frame_of(&Ping { token: 1 }.into(), 1, &[]);
    let with = |at: usize, field: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + field.len()].copy_from_slice(field);
        bytes
    };
    let full = FrameLimits::FULL;
    let http = u32::from_le_bytes(*b"GET ");
    assert_eq!(bad(b"GET / HTTP/1.1\r\n", full), FrameError::BadMagic { found: http });
    assert_eq!(bad(b"\x16\x03", full), FrameError::BadMagic { found: 0x0316 });
    assert_eq!(
        bad(&with(4, &[2, 0]), full),
        FrameError::UnsupportedVersion { found: 2, min: 1, max: 1 }
    );
    assert_eq!(bad(&with(8, &[4, 0]), full), FrameError::BadFlags { flags: 4, reserved: 0 });
    assert_eq!(bad(&with(8, &[2, 0]), full), FrameError::BadFlags { flags: 2, reserved: 0 });
    assert_eq!(bad(&with(10, &[1, 0]), full), FrameError::BadFlags { flags: 0, reserved: 1 });
    let (len, max) = (BODY_BYTES_MAX + 1, BODY_BYTES_MAX);
    assert_eq!(bad(&with(12, &len.to_le_bytes()), full), FrameError::BodyTooLarge { len, max });
    let (len, max) = (PAYLOAD_BYTES_MAX + 1, PAYLOAD_BYTES_MAX);
    assert_eq!(bad(&with(16, &len.to_le_bytes()), full), FrameError::PayloadTooLarge { len, max });
    assert_eq!(
        bad(&with(16, &[1, 0, 0, 0]), FrameLimits::HANDSHAKE),
        FrameError::PayloadTooLarge { len: 1, max: 0 }
    );
    assert!(matches!(bad(&with(24, &[9]), full), FrameError::BadChecksum { .. }));
    assert!(matches!(bad(&with(32, &[9]), full), FrameError::BadChecksum { .. }));
}

#[test]
fn the_checksum_is_crc32c_as_documented() {
    let bytes = frame_of(&Ping { token: 1 }.into(), 1, &[]);
    let covered = [&bytes[..20], &bytes[24..]].concat();
    assert_eq!(crc32c::crc32c(&covered).to_le_bytes(), bytes[20..24]);
}

#[test]
fn what_is_too_large_is_not_encoded_and_leaves_the_outbox_alone() {
    let mut out = b"before".to_vec();
    let names = vec!["n".repeat(250); 5000];
    let request = Request::from(Metadata { names });
    let error = encode_request(&mut out, Correlation::new(1), &request, 0).unwrap_err();
    assert!(error.to_string().contains("at most 1048576 fit a frame"), "{error}");
    let ping = Ping { token: 1 }.into();
    let error = encode_request(&mut out, Correlation::new(1), &ping, 64).unwrap_err();
    assert_eq!(error.to_string(), "the payload has 64 bytes: at most 0 are allowed here");
    assert_eq!(out, b"before");
}
