//! Whatever one client sends, it gets an error that says what to do, and another client notices nothing.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Offset};
use pyralog_shard::{Server, ServerConfig};
use pyralog_wire::message::{CreateLog, FetchFrom, Ping};
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply, LogConfig, Request, Response, limits};

use crate::support::*;

/// A server with short deadlines, and a client that must not notice anything.
struct Scene {
    server: Server,
    witness: Peer,
    log: LogId,
}

impl Scene {
    fn new() -> Self {
        Self::with(memory_config(1))
    }

    fn with(config: ServerConfig) -> Self {
        let server = start(config);
        let mut witness = Peer::connect(&server);
        let log = witness.create("a", log_config(1)).id;
        witness.append(log, 0, &batch(&[b"before"])).unwrap();
        Self { server, witness, log }
    }

    /// The witness still reads and writes, and the server goes down in order.
    fn end(mut self) {
        self.witness.append(self.log, 0, &batch(&[b"after"])).unwrap();
        assert_eq!(self.witness.values(self.log, 0, 0), [&b"before"[..], b"after"]);
        self.server.shutdown().unwrap();
    }
}

/// The error that ends the connection.
#[track_caller]
fn last_words(peer: &mut Peer) -> ErrorReply {
    let received = peer.receive().expect("an error before the end");
    let error = answer(received.reply).expect_err("an error");
    assert!(peer.receive().is_none(), "the connection ends after {error}");
    error
}

/// Sends a Ping whose bytes were changed.
fn send_broken(peer: &mut Peer, at: usize, bytes: &[u8]) {
    let (_, mut frame) = peer.encode(Ping { token: 1 }, &[]);
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    peer.socket.write_all(&frame).unwrap();
}

#[test]
fn a_stranger_is_told_what_this_port_speaks() {
    let scene = Scene::new();
    let mut peer = Peer::dial(scene.server.addresses().listen);
    peer.socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let error = last_words(&mut peer);
    assert_eq!(error.code(), Some(ErrorCode::BadMagic));
    assert!(error.message.contains("HTTP"), "{error}");
    scene.end();
}

#[test]
fn the_first_frame_must_be_hello() {
    let scene = Scene::new();
    let mut peer = Peer::dial(scene.server.addresses().listen);
    peer.send(Ping { token: 1 }, &[]);
    assert_eq!(last_words(&mut peer).code(), Some(ErrorCode::HandshakeRequired));
    scene.end();
}

#[test]
fn versions_without_overlap_are_refused_with_the_range() {
    let scene = Scene::new();
    let mut peer = Peer::dial(scene.server.addresses().listen);
    let mut newer = hello();
    (newer.protocol_min, newer.protocol_max) = (900, 901);
    peer.send(newer, &[]);
    let error = last_words(&mut peer);
    assert_eq!(error.code(), Some(ErrorCode::UnsupportedVersion));
    assert!(matches!(error.detail, ErrorDetail::UnsupportedVersion { .. }), "{error:?}");
    scene.end();
}

#[test]
fn broken_frames_end_their_own_connection() {
    let scene = Scene::new();
    let too_long = (limits::BODY_BYTES_MAX + 1).to_le_bytes();
    let too_much = (limits::PAYLOAD_BYTES_MAX + 1).to_le_bytes();
    let breaks: [(usize, &[u8], ErrorCode); 6] = [
        (0, b"PYRX", ErrorCode::BadMagic),
        (4, &[9, 0], ErrorCode::UnsupportedVersion),
        (8, &[0xff], ErrorCode::BadFlags),
        (12, &too_long, ErrorCode::FrameTooLarge),
        (16, &too_much, ErrorCode::FrameTooLarge),
        (20, &[1, 2, 3, 4], ErrorCode::BadChecksum),
    ];
    for (at, bytes, code) in breaks {
        let mut peer = Peer::connect(&scene.server);
        send_broken(&mut peer, at, bytes);
        assert_eq!(last_words(&mut peer).code(), Some(code), "byte {at}");
    }
    scene.end();
}

#[test]
fn an_unknown_kind_is_refused_and_the_connection_goes_on() {
    let scene = Scene::new();
    let mut peer = Peer::connect(&scene.server);
    let (_, mut frame) = peer.encode(Ping { token: 1 }, &[]);
    frame[6..8].copy_from_slice(&777_u16.to_le_bytes());
    let mut checked = frame[..20].to_vec();
    checked.extend_from_slice(&frame[24..]);
    frame[20..24].copy_from_slice(&crc32c(&checked).to_le_bytes());
    peer.socket.write_all(&frame).unwrap();
    assert_refused(answer(peer.receive().unwrap().reply), ErrorCode::UnknownKind);
    peer.ping();
    scene.end();
}

/// CRC32C, bit by bit: the frames' checksum, computed by somebody else.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn a_batch_that_was_damaged_on_its_way_is_refused_whole() {
    let mut scene = Scene::new();
    let good = batch(&[b"good"]);
    let mut bad = batch(&[b"damaged"]);
    let middle = bad.len() / 2 + 64;
    bad[middle] ^= 1;
    let both = [good, bad].concat();
    assert_refused(scene.witness.append(scene.log, 0, &both), ErrorCode::InvalidBatch);
    assert_refused(scene.witness.append(scene.log, 0, &[7; 192]), ErrorCode::InvalidBatch);
    scene.end();
}

#[test]
fn an_append_without_batches_and_a_ping_with_some_are_refused() {
    let mut scene = Scene::new();
    assert_refused(scene.witness.append(scene.log, 0, &[]), ErrorCode::BadPayload);
    let (_, mut frame) = scene.witness.encode(append(scene.log, 0, None), &batch(&[b"x"]));
    frame.truncate(40); // a truncated frame waits for its rest
    let mut peer = Peer::connect(&scene.server);
    peer.socket.write_all(&frame).unwrap();
    peer.socket.shutdown(Shutdown::Write).unwrap();
    assert!(peer.receive().is_none(), "a client that leaves mid-frame gets nothing");
    scene.end();
}

#[test]
fn a_client_that_closes_its_direction_still_gets_its_answers() {
    let scene = Scene::new();
    let mut peer = Peer::connect(&scene.server);
    let appending = peer.send(append(scene.log, 0, None), &batch(&[b"last"]));
    let mut waiting = fetch(scene.log, 0, FetchFrom::Offset(Offset::new(2)));
    (waiting.bytes_min, waiting.wait_ms) = (1, 60_000);
    let fetching = peer.send(waiting, &[]);
    peer.socket.shutdown(Shutdown::Write).unwrap();
    let mut answered: Vec<u64> =
        std::iter::from_fn(|| peer.receive()).map(|received| received.correlation).collect();
    answered.sort_unstable();
    assert_eq!(answered, [appending, fetching]);
    scene.server.shutdown().unwrap();
}

#[test]
fn unknown_logs_and_partitions_are_refused_with_what_there_is() {
    let mut scene = Scene::new();
    let nothing = LogId::new(99);
    let good = batch(&[b"x"]);
    assert_refused(scene.witness.append(nothing, 0, &good), ErrorCode::UnknownLog);
    assert_refused(scene.witness.append(scene.log, 7, &good), ErrorCode::UnknownPartition);
    assert_refused(
        scene.witness.ask(fetch(nothing, 0, FetchFrom::Earliest), &[]),
        ErrorCode::UnknownLog,
    );
    assert_refused(scene.witness.describe("nothing"), ErrorCode::UnknownLog);
    assert_refused(scene.witness.describe("../etc"), ErrorCode::InvalidName);
    let catalog = scene.witness.append(LogId::ZERO, 0, &good);
    assert_refused(catalog, ErrorCode::UnknownLog);
    scene.end();
}

#[test]
fn an_offset_out_of_range_is_refused_with_the_range() {
    let mut scene = Scene::new();
    let far = fetch(scene.log, 0, FetchFrom::Offset(Offset::new(1000)));
    let error = scene.witness.ask(far, &[]).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
    let (low, high) = (Offset::ZERO, Offset::new(1));
    assert_eq!(error.detail, ErrorDetail::OffsetOutOfRange { low, high });
    assert!(error.message.contains("0 to 1"), "{error}");
    scene.end();
}

#[test]
fn bad_names_configurations_and_repeats_are_refused() {
    let mut scene = Scene::new();
    let mut create = |name: &str, config: LogConfig| {
        scene.witness.ask(CreateLog { name: name.into(), config }, &[])
    };
    assert_refused(create("a", log_config(1)), ErrorCode::LogExists);
    assert_refused(create("a b", log_config(1)), ErrorCode::InvalidName);
    assert_refused(create("_system", log_config(1)), ErrorCode::InvalidName);
    let none = LogConfig { partitions: 0, ..LogConfig::default() };
    assert_refused(create("b", none), ErrorCode::InvalidConfig);
    scene.end();
}

#[test]
fn a_memory_log_never_claims_to_have_synced() {
    let mut scene = Scene::new();
    let good = batch(&[b"x"]);
    let synced = append(scene.log, 0, Some(Durability::Synced));
    assert_refused(scene.witness.ask(synced, &good), ErrorCode::DurabilityUnavailable);
    scene.end();
}

#[test]
fn slow_and_silent_clients_lose_their_connection_and_are_told_why() {
    let mut config = memory_config(1);
    config.limits.handshake_timeout = Duration::from_millis(300);
    config.limits.frame_timeout = Duration::from_millis(300);
    config.limits.idle_timeout = Duration::from_millis(900);
    let server = start(config);
    // Not a word.
    let mut silent = Peer::dial(server.addresses().listen);
    assert_eq!(last_words(&mut silent).code(), Some(ErrorCode::TimedOut));
    // A frame that is never finished.
    let mut dripping = Peer::connect(&server);
    let (_, frame) = dripping.encode(Ping { token: 1 }, &[]);
    dripping.socket.write_all(&frame[..frame.len() - 1]).unwrap();
    let error = last_words(&mut dripping);
    assert!(error.message.contains("not complete"), "{error}");
    // Nothing at all after the handshake.
    let mut idle = Peer::connect(&server);
    let error = last_words(&mut idle);
    assert!(error.message.contains("ping when idle"), "{error}");
    Peer::connect(&server).ping();
    server.shutdown().unwrap();
}

#[test]
fn one_connection_too_many_is_told_so_and_the_others_go_on() {
    let mut config = memory_config(1);
    config.limits.connections_max = 2;
    let server = start(config);
    let mut first = Peer::connect(&server);
    let second = Peer::connect(&server);
    let mut third = Peer::dial(server.addresses().listen);
    assert_eq!(last_words(&mut third).code(), Some(ErrorCode::TooManyConnections));
    first.ping();
    drop(second);
    // The place is free once the server has seen the end of the second one.
    let free = (0..1000).find_map(|_| {
        let mut peer = Peer::dial(server.addresses().listen);
        peer.send(hello(), &[]);
        let received = peer.receive()?;
        answer(received.reply).ok().map(|_| peer)
    });
    free.expect("a free place").ping();
    server.shutdown().unwrap();
}

#[test]
fn random_bytes_never_take_the_server_down() {
    let scene = Scene::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200 {
        let mut peer = Peer::connect(&scene.server);
        let request: Request = fetch(scene.log, 0, FetchFrom::Earliest).into();
        let (_, mut frame) = match round % 2 {
            0 => peer.encode(request, &[]),
            _ => peer.encode(append(scene.log, 0, None), &batch(&[b"x"])),
        };
        for _ in 0..=random() % 4 {
            let at = usize::try_from(random()).unwrap() % frame.len();
            frame[at] ^= 1 << (random() % 8);
        }
        // Err: the server has already closed.
        peer.socket.write_all(&frame).ok();
        peer.socket.shutdown(Shutdown::Write).ok();
        while let Some(received) = peer.receive() {
            let accepted = answer(received.reply)
                .is_ok_and(|response| matches!(response, Response::Append(_)));
            assert!(!accepted, "round {round}: a changed append was taken");
        }
    }
    scene.end();
}
