//! Reading ahead of those who read on: that it happens, changes nothing of what they get, and holds nothing afterwards.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pyralog_log::ids::{LogId, Offset};
use pyralog_shard::{Server, ServerConfig};
use pyralog_wire::message::FetchFrom;
use pyralog_wire::{LogConfig, Response};

use crate::admin::get;
use crate::support::*;

/// Records that are older than any tail cache, because the server was started anew: 64 of 200 KB each.
const RECORDS: u8 = 64;
const RECORD_BYTES: usize = 200_000;

fn config(data: &Path) -> ServerConfig {
    let mut config = durable_config(1, data);
    config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config
}

/// A restarted server with a log of [`RECORDS`] records in small segments.
fn filled(data: &Path) -> (Server, LogId) {
    let server = start(config(data));
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", LogConfig { segment_bytes: 1 << 20, ..log_config(1) }).id;
    for number in 0..RECORDS {
        peer.append(log, 0, &batch(&[&vec![number; RECORD_BYTES]])).unwrap();
    }
    server.shutdown().unwrap();
    (start(config(data)), log)
}

/// A number of the metrics.
fn metric(server: &Server, name: &str) -> u64 {
    let (_, metrics) = get(server, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.trim().parse().unwrap()
}

/// Every value from `from` on, and how many fetches they took.
fn read_on(peer: &mut Peer, log: LogId, from: u64) -> (Vec<Vec<u8>>, u64) {
    let (mut values, mut next, mut answers) = (Vec::new(), Offset::new(from), 0);
    loop {
        let mut request = fetch(log, 0, FetchFrom::Offset(next));
        request.bytes_max = 500_000;
        peer.send(request, &[]);
        let received = peer.receive().expect("an answer");
        let Response::Fetch(fetched) = answer(received.reply).unwrap() else { panic!("no fetch") };
        assert!(received.payload.len() <= 500_000 && fetched.first_offset == next);
        assert_eq!(fetched.high, Offset::new(RECORDS.into()));
        values.extend(decode(&received.payload, next));
        (next, answers) = (fetched.next_offset, answers + 1);
        if next == fetched.high {
            return (values, answers);
        }
    }
}

fn all() -> Vec<Vec<u8>> {
    (0..RECORDS).map(|number| vec![number; RECORD_BYTES]).collect()
}

#[test]
fn whoever_reads_on_gets_what_was_read_ahead_and_the_same_records() {
    let folder = tempfile::tempdir().unwrap();
    let (server, log) = filled(folder.path());
    let mut peer = Peer::connect(&server);
    let (values, answers) = read_on(&mut peer, log, 0);
    assert!(values == all(), "the records, in order");
    // Not the first, where nobody knows that the reader goes on, and not the second, which shows it.
    assert_eq!(metric(&server, "pyralog_reads_ahead_total"), answers - 2);
    assert!(answers > 30, "{answers} answers");
    server.shutdown().unwrap();
}

#[test]
fn whoever_reads_here_and_there_has_nothing_read_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let (server, log) = filled(folder.path());
    let mut peer = Peer::connect(&server);
    let read = |peer: &mut Peer, at: u64| {
        peer.send(fetch(log, 0, FetchFrom::Offset(Offset::new(at))), &[]);
        let received = peer.receive().unwrap();
        let Response::Fetch(fetched) = answer(received.reply).unwrap() else { panic!("no fetch") };
        fetched.next_offset.get()
    };
    let mut bytes = metric(&server, "pyralog_fetched_bytes{shard=\"0\"}");
    for at in [0, 40, 20, 60, 10, 0, 0, 10] {
        read(&mut peer, at);
        bytes = bytes.max(metric(&server, "pyralog_fetched_bytes{shard=\"0\"}"));
    }
    assert_eq!(metric(&server, "pyralog_reads_ahead_total"), 0);
    assert_eq!(bytes, 0, "nothing is held between fetches");
    server.shutdown().unwrap();
}

#[test]
fn a_block_that_nobody_comes_for_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let (server, log) = filled(folder.path());
    let mut peer = Peer::connect(&server);
    let mut next = Offset::ZERO;
    for _ in 0..3 {
        peer.send(fetch(log, 0, FetchFrom::Offset(next)), &[]);
        let received = peer.receive().unwrap();
        let Response::Fetch(fetched) = answer(received.reply).unwrap() else { panic!("no fetch") };
        next = fetched.next_offset;
    }
    let held = || metric(&server, "pyralog_fetched_bytes{shard=\"0\"}");
    assert!(held() > 0, "the fourth block was read ahead");
    let mut looks = 0;
    while held() > 0 {
        looks += 1;
        assert!(looks < 2000, "it is held for ever");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    // The reader comes back later, and gets its records all the same.
    let (values, _) = read_on(&mut peer, log, next.get());
    assert!(values[..] == all()[usize::try_from(next.get()).unwrap()..]);
    server.shutdown().unwrap();
}
