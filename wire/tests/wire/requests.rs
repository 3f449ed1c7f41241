//! Requests that are refused while their connection stays: unknown kinds, broken bodies, fields out
//! of range.

use pyralog_log::durability::Durability;
use pyralog_wire::config::{ConfigError, LogChanges, LogConfig, LogStorage};
use pyralog_wire::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use pyralog_wire::message::*;
use pyralog_wire::server::{ServerConfig, ServerConnection, ServerStep};
use pyralog_wire::{Correlation, ErrorCode, ErrorReply, Kind, Request, encode_request};

use crate::frames::whole;
use crate::handshake::open_server;
use crate::samples;

/// The error with which a server refuses these bytes and goes on.
fn refused(server: &mut ServerConnection, bytes: &[u8]) -> ErrorReply {
    let mut out = Vec::new();
    assert_eq!(server.receive(bytes, &mut out), ServerStep::Consumed(bytes.len()));
    assert!(server.may_read() && server.requests_in_flight() == 0);
    let frame = whole(&out);
    assert_eq!(frame.head.header.correlation.get(), 5);
    assert_eq!(frame.head.header.kind.to_le_bytes(), bytes[6..8], "the kind is echoed");
    match frame.head.reply().unwrap() {
        Reply::Refused(error) => error,
        Reply::Done(other) => panic!("{other:?}"),
    }
}

fn bytes(request: impl Into<Request>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_request(&mut bytes, Correlation::new(5), &request.into(), 0).unwrap();
    bytes
}

fn refusal(request: impl Into<Request>) -> ErrorReply {
    refused(&mut open_server(), &bytes(request))
}

#[test]
fn every_sample_is_taken() {
    for (name, request, payload_len) in samples::requests() {
        if request.kind() == Kind::Hello {
            continue;
        }
        let mut server = open_server();
        let mut frame = Vec::new();
        encode_request(&mut frame, Correlation::new(5), &request, payload_len).unwrap();
        match server.receive_head(&frame, &mut Vec::new()) {
            ServerStep::Request { admitted, payload, consumed } => {
                assert_eq!(admitted.request, request, "{name}");
                assert_eq!((admitted.payload_len, payload.len()), (payload_len, 0), "{name}");
                assert_eq!(consumed, frame.len(), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn unknown_kinds_and_broken_bodies_cost_one_request_only() {
    let mut server = open_server();
    let mut unknown = bytes(Ping { token: 1 });
    unknown[6..8].copy_from_slice(&999_u16.to_le_bytes());
    reseal(&mut unknown);
    let error = refused(&mut server, &unknown);
    assert!(error.is(ErrorCode::UnknownKind), "{error}");
    assert!(error.message.contains("999"), "{error}");
    let mut broken = bytes(Ping { token: 1 });
    broken[6..8].copy_from_slice(&Kind::Append.number().to_le_bytes());
    reseal(&mut broken);
    assert!(refused(&mut server, &broken).is(ErrorCode::MalformedBody));
    let ping = bytes(Ping { token: 1 });
    let step = server.receive(&ping, &mut Vec::new());
    assert!(matches!(step, ServerStep::Request { .. }), "the connection is as good as before");
}

fn reseal(head: &mut [u8]) {
    let crc = crc32c::crc32c(&[&head[..20], &head[24..]].concat());
    head[20..24].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn payload_of_a_refused_frame_is_skipped() {
    let mut unknown = bytes(Ping { token: 1 });
    unknown[6..8].copy_from_slice(&999_u16.to_le_bytes());
    unknown[16..20].copy_from_slice(&100_u32.to_le_bytes());
    reseal(&mut unknown);
    let head_len = unknown.len();
    let mut server = open_server();
    let mut out = Vec::new();
    assert_eq!(server.receive_head(&unknown, &mut out), ServerStep::Consumed(head_len));
    let mut rest = [&b"PYRW"[..], &[0; 56]].concat();
    assert_eq!(server.receive_head(&rest, &mut out), ServerStep::Consumed(60));
    assert_eq!(server.receive_head(&[], &mut out), ServerStep::NeedMore { at_least: 32 });
    rest.truncate(40);
    rest.extend_from_slice(&bytes(Ping { token: 1 }));
    assert_eq!(server.receive_head(&rest, &mut out), ServerStep::Consumed(40));
    let step = server.receive_head(&rest[40..], &mut out);
    assert!(matches!(step, ServerStep::Request { .. }), "{step:?}");
}

#[test]
fn payload_belongs_to_append_and_to_nothing_else() {
    let (_, append, _) = samples::requests().swap_remove(3);
    assert!(refusal(append).is(ErrorCode::BadPayload));
    let mut ping = bytes(Ping { token: 1 });
    ping[16..20].copy_from_slice(&4_u32.to_le_bytes());
    reseal(&mut ping);
    ping.extend_from_slice(&[0; 4]);
    assert!(refused(&mut open_server(), &ping).is(ErrorCode::BadPayload));
}

#[test]
fn fields_out_of_range_are_refused_with_the_range() {
    let (_, fetch, _) = samples::requests().swap_remove(5);
    let Request::Fetch(fetch) = fetch else { panic!("{fetch:?}") };
    let error = refusal(Fetch { bytes_max: 0, bytes_min: 0, ..fetch });
    assert_eq!(error.message, "bytes_max is 0: allowed are 1 to 4294967295");
    let error = refusal(Fetch { bytes_max: 10, bytes_min: 11, ..fetch });
    assert_eq!(error.message, "bytes_min is 11: allowed are 0 to 10");
    let error = refusal(ListLogs { limit: 0, ..samples::list("", "") });
    assert_eq!(error.message, "limit is 0: allowed are 1 to 1024");
    let error = refusal(Metadata { names: vec!["a".to_owned(); 1025] });
    assert_eq!(error.message, "number of names is 1025: allowed are 0 to 1024");
    assert!(error.is(ErrorCode::InvalidRequest));
}

#[test]
fn names_are_checked_wherever_they_come_in() {
    let name = || "a/b".to_owned();
    let config = LogConfig::default();
    let changes = LogChanges::default();
    for error in [
        refusal(Metadata { names: vec!["a".to_owned(), name()] }),
        refusal(CreateLog { name: name(), config }),
        refusal(CreateLog { name: "_system".to_owned(), config }),
        refusal(DescribeLog { name: name() }),
        refusal(AlterLog { name: name(), changes }),
        refusal(DeleteLog { name: String::new() }),
        refusal(samples::list("a/", "")),
        refusal(samples::list("", "a/")),
    ] {
        assert!(error.is(ErrorCode::InvalidName), "{error}");
    }
}

#[test]
fn a_fetch_is_lowered_to_the_limits() {
    let (_, fetch, _) = samples::requests().swap_remove(5);
    let Request::Fetch(fetch) = fetch else { panic!("{fetch:?}") };
    let greedy = Fetch { bytes_min: u32::MAX, bytes_max: u32::MAX, wait_ms: u32::MAX, ..fetch };
    let limits = ServerConfig::default().limits;
    let expected = Fetch {
        bytes_min: limits.fetch_bytes_max,
        bytes_max: limits.fetch_bytes_max,
        wait_ms: limits.wait_ms_max,
        ..fetch
    };
    match open_server().receive(&bytes(greedy), &mut Vec::new()) {
        ServerStep::Request { admitted, .. } => assert_eq!(admitted.request, expected.into()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn configurations_are_checked_field_by_field() {
    let good = LogConfig::default();
    assert_eq!(good.check(), Ok(()));
    assert_eq!(LogConfig::memory().check(), Ok(()));
    let out_of_range = |config: LogConfig| match config.check().unwrap_err() {
        ConfigError::OutOfRange { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(out_of_range(LogConfig { partitions: 0, ..good }), "partitions");
    assert_eq!(out_of_range(LogConfig { partitions: 1025, ..good }), "partitions");
    let segment = |segment_bytes| LogConfig { segment_bytes, ..good };
    assert_eq!(out_of_range(segment(SEGMENT_BYTES_MIN - 4096)), "segment_bytes");
    assert_eq!(out_of_range(segment(SEGMENT_BYTES_MAX + 4096)), "segment_bytes");
    assert_eq!(segment(SEGMENT_BYTES_MIN).check(), Ok(()));
    assert_eq!(segment(SEGMENT_BYTES_MAX).check(), Ok(()));
    let error = segment(SEGMENT_BYTES_MIN + 1).check().unwrap_err();
    assert_eq!(error.to_string(), "segment_bytes is 1048577: it must be a multiple of 4096");
    let memory = LogConfig { memory_bytes_max: 1 << 19, ..good };
    assert_eq!(out_of_range(memory), "memory_bytes_max");
    assert_eq!(out_of_range(LogConfig { ttl_ms: u64::MAX, ..good }), "ttl_ms");
    let storage = LogStorage::Memory;
    let error = LogConfig { storage, ..good }.check().unwrap_err();
    assert_eq!(error, ConfigError::DurabilityInMemory { durability: Durability::Synced });
    let config = LogConfig { partitions: 0, ..good };
    let reply = refusal(CreateLog { name: "a".to_owned(), config });
    assert!(reply.is(ErrorCode::InvalidConfig));
    assert_eq!(reply.message, "partitions is 0: allowed are 1 to 1024");
}

#[test]
fn changes_apply_to_what_they_name_only() {
    let good = LogConfig::default();
    assert_eq!(good.changed(&LogChanges::default()), Err(ConfigError::NoChange));
    let changes = LogChanges { ttl_ms: Some(5), ..LogChanges::default() };
    assert_eq!(good.changed(&changes), Ok(LogConfig { ttl_ms: 5, ..good }));
    let changes = LogChanges { segment_bytes: Some(5), ..LogChanges::default() };
    assert!(good.changed(&changes).is_err());
    let durability = Some(Durability::Written);
    let changes = LogChanges { durability, ..LogChanges::default() };
    assert!(LogConfig::memory().changed(&changes).is_err());
}

#[test]
fn a_draining_server_refuses_new_requests_and_answers_old_ones() {
    let mut server = open_server();
    let mut out = Vec::new();
    let ping = bytes(Ping { token: 1 });
    let step = server.receive(&ping, &mut out);
    let ServerStep::Request { admitted, .. } = step else { panic!("{step:?}") };
    server.drain();
    let mut refusals = Vec::new();
    let ping = bytes(Ping { token: 2 });
    assert_eq!(server.receive(&ping, &mut refusals), ServerStep::Consumed(ping.len()));
    let reply = whole(&refusals).head.reply().unwrap();
    assert!(matches!(reply, Reply::Refused(error) if error.is(ErrorCode::ShuttingDown)));
    assert!(!server.is_drained());
    server.flushed(refusals.len() as u64);
    server.refuse(admitted.token, &ErrorCode::Internal.into(), &mut out).unwrap();
    assert!(!server.is_drained(), "the answer is not written yet");
    server.flushed(out.len() as u64);
    assert!(server.is_drained());
}
