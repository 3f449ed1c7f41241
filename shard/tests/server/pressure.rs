//! More than there is room for: who waits, who hears `Busy`, and that nothing grows.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use pyralog_log::ids::Offset;
use pyralog_wire::message::FetchFrom;
use pyralog_wire::{ErrorCode, ErrorDetail, LogConfig, Response, limits};

use crate::admin::get;
use crate::support::*;

/// A batch of about `bytes` bytes.
fn large_batch(bytes: usize) -> Vec<u8> {
    batch(&[&vec![7; bytes]])
}

#[test]
fn a_slow_reader_holds_only_its_own_connection() {
    let mut config = memory_config(1);
    config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = start(config);
    let mut writer = Peer::connect(&server);
    let log = writer.create("a", log_config(1)).id;
    for _ in 0..16 {
        writer.append(log, 0, &large_batch(1 << 20)).unwrap();
    }
    let mut slow = Peer::connect(&server);
    for _ in 0..40 {
        let mut all = fetch(log, 0, FetchFrom::Earliest);
        all.bytes_max = limits::FETCH_BYTES_MAX;
        slow.send(all, &[]);
    }
    // Forty answers of up to 16 MiB are asked for and none is read.
    for _ in 0..20 {
        writer.ping();
        assert_eq!(writer.values(log, 0, 15).len(), 1);
    }
    let (_, metrics) = get(&server, "/metrics");
    let held =
        metrics.lines().find_map(|line| line.strip_prefix("pyralog_fetched_bytes{shard=\"0\"} "));
    let held: u64 = held.unwrap().parse().unwrap();
    let most = limits::OUTBOX_BYTES_MAX + u64::from(limits::PAYLOAD_BYTES_MAX);
    assert!((1..=most).contains(&held), "{held} bytes are held for one connection");
    let mut values = 0;
    for _ in 0..40 {
        let received = slow.receive().unwrap();
        let Response::Fetch(fetched) = answer(received.reply).unwrap() else { panic!("no fetch") };
        assert!(fetched.next_offset > Offset::ZERO);
        values += decode(&received.payload, Offset::ZERO).len();
    }
    assert!(values >= 40, "each answer has at least one batch");
    server.shutdown().unwrap();
}

#[test]
fn the_tails_of_many_partitions_stay_within_the_buffers_of_their_core() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = durable_config(1, folder.path());
    config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let buffers = config.memory.io_bytes as u64;
    let server = start(config);
    let mut writer = Peer::connect(&server);
    let log = writer.create("a", log_config(32)).id;
    for partition in 0..32 {
        writer.append(log, partition, &large_batch(1 << 20)).unwrap();
    }
    let (_, metrics) = get(&server, "/metrics");
    let used = metrics
        .lines()
        .find_map(|line| line.strip_prefix("pyralog_memory_used_bytes{shard=\"0\"} "));
    let used: u64 = used.unwrap().parse().unwrap();
    // The group that was written last is let go of at the next one.
    let most = buffers + (4 << 20);
    assert!(used <= most, "{used} bytes are held of {buffers}");
    for partition in 0..32 {
        assert_eq!(writer.values(log, partition, 0).len(), 1, "the file has what the tail had not");
    }
    server.shutdown().unwrap();
}

#[test]
fn a_core_without_room_says_busy_and_when_to_come_back() {
    let mut config = memory_config(2);
    config.memory.in_flight_bytes_max = 2 * u64::from(limits::FRAME_BYTES_MAX);
    let server = start(config);
    let mut peer = Peer::connect_to(&server, 0);
    let log = peer.create("a", log_config(2)).id;
    // Five connections grow their buffers to more than half of the budget and stay in the middle of a frame.
    let mut hogs: Vec<Peer> = (0..5).map(|_| Peer::connect_to(&server, 0)).collect();
    let mut refused = 0;
    let payload = [large_batch(4 << 20), large_batch(4 << 20)].concat();
    for hog in &mut hogs {
        let (_, frame) = hog.encode(append(log, 0, None), &payload);
        hog.socket.write_all(&frame[..frame.len() - 1]).unwrap();
        hog.socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut first = [0; 1];
        if hog.socket.peek(&mut first).is_ok() {
            let received = hog.receive().unwrap();
            let error = answer(received.reply).unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::Busy), "{error}");
            assert!(matches!(error.detail, ErrorDetail::RetryAfter { ms: 1.. }), "{error:?}");
            refused += 1;
        }
    }
    assert!(refused >= 1, "the budget is smaller than five of these");
    peer.ping();
    peer.append(log, 1, &batch(&[b"small ones still fit"])).unwrap();
    drop(hogs);
    server.shutdown().unwrap();
}

#[test]
fn pipelined_appends_beyond_the_credit_are_all_taken_in_order() {
    let mut config = memory_config(2);
    config.limits.credit_requests = 4;
    let server = start(config);
    let mut peer = Peer::connect_to(&server, 0);
    let log = peer.create("a", log_config(2)).id;
    for partition in 0..2 {
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        for number in 0..500_u32 {
            let value = number.to_string();
            let (correlation, frame) =
                peer.encode(append(log, partition, None), &batch(&[value.as_bytes()]));
            bytes.extend(frame);
            sent.push(correlation);
        }
        peer.socket.write_all(&bytes).unwrap();
        for _ in &sent {
            answer(peer.receive().unwrap().reply).unwrap();
        }
        let expected: Vec<_> = (0..500_u32).map(|number| number.to_string().into_bytes()).collect();
        assert_eq!(peer.values(log, partition, 0), expected, "partition {partition}");
    }
    server.shutdown().unwrap();
}

#[test]
fn frames_of_all_sizes_share_a_connection() {
    let server = start(memory_config(1));
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(1)).id;
    let sizes = [1, 100, 70_000, 10, 3_000_000, 65_536, 65_535, 2, 4_000_000, 300_000, 5];
    let mut frames = Vec::new();
    for size in sizes {
        frames.extend(peer.encode(append(log, 0, None), &large_batch(size)).1);
    }
    let mut socket = peer.socket.try_clone().unwrap();
    let sending = std::thread::spawn(move || socket.write_all(&frames));
    for _ in sizes {
        answer(peer.receive().unwrap().reply).unwrap();
    }
    sending.join().unwrap().unwrap();
    let lens: Vec<_> = peer.values(log, 0, 0).iter().map(Vec::len).collect();
    assert_eq!(lens, sizes);
    server.shutdown().unwrap();
}

#[test]
fn a_memory_log_evicts_the_oldest_and_says_what_it_still_has() {
    let server = start(memory_config(1));
    let mut peer = Peer::connect(&server);
    let config = LogConfig { memory_bytes_max: 64 << 20, ..LogConfig::memory() };
    let log = peer.create("a", config).id;
    let value = vec![7; 1 << 20];
    for _ in 0..100 {
        peer.append(log, 0, &batch(&[&value])).unwrap();
    }
    let state = peer.describe("a").unwrap().partitions[0];
    assert_eq!(state.high, Offset::new(100));
    assert!(state.low > Offset::ZERO && state.low < Offset::new(90), "{state:?}");
    assert!(state.bytes <= 64 << 20, "{state:?}");
    let oldest = fetch(log, 0, FetchFrom::Offset(Offset::ZERO));
    let error = peer.ask(oldest, &[]).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange), "{error}");
    assert_eq!(peer.values(log, 0, state.low.get()).len() as u64, 100 - state.low.get());
    server.shutdown().unwrap();
}
