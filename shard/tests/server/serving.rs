//! Records go in and come out, on every core, in both modes.

use pyralog_log::ids::Offset;
use pyralog_wire::message::FetchFrom;
use pyralog_wire::{ErrorCode, Response};

use crate::support::*;

#[test]
fn what_is_appended_is_fetched_byte_for_byte() {
    let server = start(memory_config(1));
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(1)).id;
    let appended = peer.append(log, 0, &batch(&[b"one", b"two"])).unwrap();
    assert_eq!((appended.base_offset, appended.next_offset), (Offset::ZERO, Offset::new(2)));
    let appended = peer.append(log, 0, &batch(&[b"three"])).unwrap();
    assert_eq!(appended.base_offset, Offset::new(2));
    assert_eq!(peer.values(log, 0, 0), [&b"one"[..], b"two", b"three"]);
    assert_eq!(peer.values(log, 0, 1), [&b"two"[..], b"three"]);
    server.shutdown().unwrap();
}

#[test]
fn every_core_serves_every_partition() {
    let server = start(memory_config(3));
    let mut admin = Peer::connect(&server);
    let log = admin.create("a", log_config(6)).id;
    for shard in 0..3 {
        let mut peer = Peer::connect_to(&server, shard);
        for partition in 0..6 {
            let value = format!("{shard}-{partition}");
            peer.append(log, partition, &batch(&[value.as_bytes()])).unwrap();
        }
    }
    for shard in 0..3 {
        let mut peer = Peer::connect_to(&server, shard);
        for partition in 0..6 {
            let expected: Vec<_> =
                (0..3).map(|from| format!("{from}-{partition}").into_bytes()).collect();
            assert_eq!(peer.values(log, partition, 0), expected, "through shard {shard}");
        }
        let description = peer.describe("a").unwrap();
        let ends: Vec<_> = description.partitions.iter().map(|found| found.high.get()).collect();
        assert_eq!(ends, [3; 6]);
    }
    server.shutdown().unwrap();
}

#[test]
fn a_reader_at_the_tail_waits_and_holds_up_nobody_on_its_connection() {
    let server = start(memory_config(2));
    let mut peer = Peer::connect_to(&server, 0);
    let log = peer.create("a", log_config(2)).id;
    for partition in 0..2 {
        let mut waiting = fetch(log, partition, FetchFrom::Latest);
        (waiting.bytes_min, waiting.wait_ms) = (1, 20_000);
        let waiting = peer.send(waiting, &[]);
        peer.ping();
        let mut writer = Peer::connect_to(&server, 1);
        writer.append(log, partition, &batch(&[b"news"])).unwrap();
        let received = peer.receive().unwrap();
        assert_eq!(received.correlation, waiting);
        assert_eq!(decode(&received.payload, Offset::ZERO), [b"news"]);
    }
    server.shutdown().unwrap();
}

#[test]
fn patience_ends_with_an_empty_answer() {
    let server = start(memory_config(1));
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(1)).id;
    let mut waiting = fetch(log, 0, FetchFrom::Earliest);
    (waiting.bytes_min, waiting.wait_ms) = (1, 10);
    peer.send(waiting, &[]);
    let received = peer.receive().unwrap();
    assert!(received.payload.is_empty());
    let Response::Fetch(fetched) = answer(received.reply).unwrap() else { panic!("not Fetch") };
    assert_eq!((fetched.first_offset, fetched.next_offset), (Offset::ZERO, Offset::ZERO));
    server.shutdown().unwrap();
}

#[test]
fn a_stop_answers_readers_at_the_tail_and_ends() {
    let server = start(memory_config(2));
    let mut peer = Peer::connect_to(&server, 0);
    let log = peer.create("a", log_config(2)).id;
    for partition in 0..2 {
        let mut waiting = fetch(log, partition, FetchFrom::Latest);
        (waiting.bytes_min, waiting.wait_ms) = (1, 60_000);
        peer.send(waiting, &[]);
    }
    peer.ping();
    server.shutdown().unwrap();
    for _ in 0..2 {
        let received = peer.receive().unwrap();
        if let Err(error) = answer(received.reply) {
            assert_eq!(error.code(), Some(ErrorCode::ShuttingDown));
        }
    }
    assert!(peer.receive().is_none(), "the connection was closed");
}
