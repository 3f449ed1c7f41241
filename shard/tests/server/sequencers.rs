//! Ids and counters of a whole server: unique over shards and lives, and refused where they would not be.

use std::collections::BTreeSet;
use std::path::Path;

use pyralog_log::batch::{BuilderConfig, Items, Record, RowsBuilder};
use pyralog_log::ids::{LogId, PartitionId};
use pyralog_seq::pharaoh::{Block, Role};
use pyralog_seq::scarab::{ScarabId, Slot, Tick};
use pyralog_shard::Server;
use pyralog_wire::message::{
    CounterConfig, CounterInfo, CounterMode, CreateCounter, DealIds, DeleteLog, DescribeCounter,
    FetchFrom, FetchKey, IdsDealt, KeyFetched, ListCounters, NumbersTaken, RaiseCounter,
    TakeNumbers,
};
use pyralog_wire::{ErrorCode, ErrorReply, LogConfig, Response};

use crate::support::*;

fn deal(peer: &mut Peer, count: u32) -> Result<IdsDealt, ErrorReply> {
    match peer.ask(DealIds { count }, &[])? {
        Response::DealIds(dealt) => Ok(dealt),
        other => panic!("{other:?} to DealIds"),
    }
}

fn create(peer: &mut Peer, name: &str, mode: CounterMode) -> Result<CounterInfo, ErrorReply> {
    let config = CounterConfig { mode, block: 100, ..CounterConfig::default() };
    match peer.ask(CreateCounter { name: name.into(), config }, &[])? {
        Response::CreateCounter(info) => Ok(info),
        other => panic!("{other:?} to CreateCounter"),
    }
}

fn take(peer: &mut Peer, name: &str, count: u32) -> Result<u64, ErrorReply> {
    match peer.ask(TakeNumbers { name: name.into(), count }, &[])? {
        Response::TakeNumbers(NumbersTaken { first, count: taken }) => {
            assert_eq!(taken, count);
            Ok(first)
        }
        other => panic!("{other:?} to TakeNumbers"),
    }
}

fn describe(peer: &mut Peer, name: &str) -> CounterInfo {
    match peer.ask(DescribeCounter { name: name.into() }, &[]).unwrap() {
        Response::DescribeCounter(info) => info,
        other => panic!("{other:?} to DescribeCounter"),
    }
}

/// The ids of all records of a partition, in order of offset.
fn ids_of_records(peer: &mut Peer, log: LogId, partition: u32) -> Vec<ScarabId> {
    peer.send(fetch(log, partition, FetchFrom::Earliest), &[]);
    let stream = peer.receive().unwrap().payload;
    let mut ids = Vec::new();
    for batch in Items::new(&stream).batches() {
        let batch = batch.unwrap().verify().unwrap();
        let (base, count) = (batch.header().owner.scarab_base, batch.header().record_count);
        assert_ne!(base, 0, "every record has an id");
        let base = ScarabId::from_raw(base);
        ids.extend((0..u64::from(count)).map(|index| base.nth(index).unwrap()));
    }
    ids
}

#[test]
fn ids_are_unique_over_shards_records_and_lives_with_other_shards() {
    let root = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    let mut note = |id: ScarabId| assert!(seen.insert(id), "{id} was dealt twice");
    for shards in [2, 1, 3] {
        let server = start(durable_config(shards, root.path()));
        for shard in 0..shards {
            let mut peer = Peer::connect_to(&server, shard);
            for count in [1, 10_000, 3] {
                let dealt = deal(&mut peer, count).unwrap();
                assert_eq!(dealt.count, count);
                let (slot, first) = (Slot::new(dealt.slot), Tick::new(dealt.first_tick));
                let mut block = Block::new(slot.unwrap(), first.unwrap(), count).unwrap();
                std::iter::from_fn(|| block.next()).for_each(&mut note);
            }
        }
        server.shutdown().unwrap();
    }
    let server = start(durable_config(2, root.path()));
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(4)).id;
    for partition in 0..4 {
        for _ in 0..3 {
            peer.append(log, partition, &batch(&[b"one", b"two", b"three"])).unwrap();
        }
    }
    server.shutdown().unwrap();
    let server = start(durable_config(3, root.path()));
    let mut peer = Peer::connect(&server);
    for partition in 0..4 {
        peer.append(log, partition, &batch(&[b"four"])).unwrap();
        let ids = ids_of_records(&mut peer, log, partition);
        assert_eq!(ids.len(), 10);
        ids.into_iter().for_each(&mut note);
    }
    server.shutdown().unwrap();
}

#[test]
fn a_counter_is_one_for_all_shards_and_goes_on_in_the_next_life() {
    let root = tempfile::tempdir().unwrap();
    let server = start(durable_config(3, root.path()));
    let mut peers: Vec<Peer> = (0..3).map(|shard| Peer::connect_to(&server, shard)).collect();
    assert_refused(take(&mut peers[0], "orders", 1), ErrorCode::UnknownCounter);
    for (name, mode) in [("orders", CounterMode::Reserve), ("audits", CounterMode::Always)] {
        let info = create(&mut peers[0], name, mode).unwrap();
        assert_eq!((info.config.mode, info.last), (mode, 0));
        let mut next = 1;
        for turn in 0..30_u32 {
            let count = turn % 4 + 1;
            assert_eq!(take(&mut peers[turn as usize % 3], name, count).unwrap(), next);
            next += u64::from(count);
        }
        assert_eq!(describe(&mut peers[1], name).last, next - 1);
    }
    assert!(create(&mut peers[2], "orders", CounterMode::Reserve).is_ok(), "it is there already");
    assert_refused(create(&mut peers[2], "orders", CounterMode::Group), ErrorCode::CounterExists);
    server.shutdown().unwrap();

    let server = start(durable_config(2, root.path()));
    let mut peer = Peer::connect(&server);
    let next = take(&mut peer, "orders", 1).unwrap();
    assert!((74..=74 + 200).contains(&next), "{next}: at most the reservation is skipped");
    assert_eq!(take(&mut peer, "audits", 1).unwrap(), 74, "nothing is skipped");
    let Response::RaiseCounter(raised) =
        peer.ask(RaiseCounter { name: "audits".into(), value: 5000 }, &[]).unwrap()
    else {
        panic!("not raised")
    };
    assert_eq!((raised.last, take(&mut peer, "audits", 1).unwrap()), (5000, 5001));
    server.shutdown().unwrap();
}

#[test]
fn counters_of_all_shards_are_listed_by_name_in_pages() {
    let server = start(memory_config(3));
    let mut peer = Peer::connect(&server);
    for number in 0..20 {
        create(&mut peer, &format!("c-{number:02}"), CounterMode::Memory).unwrap();
    }
    assert_refused(create(&mut peer, "d", CounterMode::Reserve), ErrorCode::InvalidConfig);
    let mut page = |after: &str, limit| {
        let list = ListCounters { prefix: "c-".into(), after: after.into(), limit };
        match peer.ask(list, &[]).unwrap() {
            Response::ListCounters(page) => {
                let names: Vec<String> =
                    page.counters.into_iter().map(|counter| counter.name).collect();
                (names, page.more)
            }
            other => panic!("{other:?} to ListCounters"),
        }
    };
    let (names, more) = page("", 7);
    assert_eq!((names.len(), names[6].as_str(), more), (7, "c-06", true));
    let (names, more) = page("c-06", 13);
    assert_eq!((names.len(), names[0].as_str(), more), (13, "c-07", false));
    server.shutdown().unwrap();
}

#[test]
fn a_counter_whose_file_came_back_shorter_deals_nothing_until_it_is_raised() {
    let root = tempfile::tempdir().unwrap();
    let server = start(durable_config(1, root.path()));
    let mut peer = Peer::connect(&server);
    create(&mut peer, "orders", CounterMode::Reserve).unwrap();
    assert_eq!(take(&mut peer, "orders", 1000).unwrap(), 1);
    server.shutdown().unwrap();

    shorten(&root.path().join("obelisk/orders"));
    let server = start(durable_config(1, root.path()));
    let mut peer = Peer::connect(&server);
    assert_refused(take(&mut peer, "orders", 1), ErrorCode::CounterBehind);
    let info = describe(&mut peer, "orders");
    assert!(info.problem.contains("pyralog obelisk raise orders"), "{}", info.problem);
    peer.ask(RaiseCounter { name: "orders".into(), value: 2000 }, &[]).unwrap();
    assert!(take(&mut peer, "orders", 1).unwrap() > 2000);
    assert_eq!(describe(&mut peer, "orders").problem, "");
    server.shutdown().unwrap();
}

/// Cuts the one obelisk of a folder to half of its length.
fn shorten(folder: &Path) {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_obelisk =
        |path: &std::path::PathBuf| path.extension().is_some_and(|ext| ext == "obelisk");
    let path = files.into_iter().find(is_obelisk).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

#[test]
fn a_node_does_what_its_role_includes_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let with_role = |role| {
        let mut config = durable_config(2, root.path());
        config.role = role;
        config
    };
    let server = start(with_role(Role::Obelisk));
    let mut peer = Peer::connect(&server);
    deal(&mut peer, 5).unwrap();
    create(&mut peer, "orders", CounterMode::Group).unwrap();
    let config = LogConfig::default();
    let refused = peer.ask(pyralog_wire::message::CreateLog { name: "a".into(), config }, &[]);
    assert_refused(refused, ErrorCode::WrongRole);
    assert_refused(peer.ask(DeleteLog { name: "a".into() }, &[]), ErrorCode::WrongRole);
    server.shutdown().unwrap();

    let server = start(with_role(Role::Pyramid));
    let mut peer = Peer::connect(&server);
    assert_refused(deal(&mut peer, 5), ErrorCode::WrongRole);
    assert_refused(take(&mut peer, "orders", 1), ErrorCode::WrongRole);
    let log = peer.create("a", log_config(1)).id;
    peer.append(log, 0, &batch(&[b"one"])).unwrap();
    assert_eq!(ids_of_records(&mut peer, log, 0).len(), 1, "its records have ids all the same");
    server.shutdown().unwrap();

    let error = Server::start(with_role(Role::Obelisk)).unwrap_err().to_string();
    assert!(error.contains("holds 1 log") && error.contains("--role all"), "{error}");
}

#[test]
fn the_newest_record_with_a_key_is_found_across_segments_and_lives() {
    let root = tempfile::tempdir().unwrap();
    let server = start(durable_config(2, root.path()));
    let mut peer = Peer::connect(&server);
    let keyed = LogConfig { key_index: true, segment_bytes: 1 << 20, ..log_config(1) };
    let (log, plain) = (peer.create("keyed", keyed).id, peer.create("plain", log_config(1)).id);
    assert_refused(fetch_key(&mut peer, plain, b"k").map(drop), ErrorCode::KeysNotIndexed);
    let filler = vec![7; 100_000];
    for round in 0..30_u32 {
        let key = format!("k{}", round % 10);
        peer.append(log, 0, &keyed_batch(&[(key.as_bytes(), &filler)])).unwrap();
    }
    server.shutdown().unwrap();
    let server = start(durable_config(1, root.path()));
    let mut peer = Peer::connect(&server);
    peer.append(log, 0, &keyed_batch(&[(b"k3", b"new"), (b"other", b"x")])).unwrap();
    let (found, payload) = fetch_key(&mut peer, log, b"k3").unwrap();
    assert_eq!((found.found, found.offset.get(), found.high.get()), (true, 30, 32));
    assert_eq!(decode(&payload, found.offset)[0], b"new");
    let (found, payload) = fetch_key(&mut peer, log, b"k4").unwrap();
    assert_eq!((found.found, found.offset.get()), (true, 24));
    assert_eq!(decode(&payload, found.offset)[0], filler);
    let (found, payload) = fetch_key(&mut peer, log, b"nobody").unwrap();
    assert_eq!((found.found, payload.len()), (false, 0));
    server.shutdown().unwrap();
}

fn fetch_key(peer: &mut Peer, log: LogId, key: &[u8]) -> Result<(KeyFetched, Vec<u8>), ErrorReply> {
    peer.send(FetchKey { log, partition: PartitionId::ZERO, key: key.to_vec() }, &[]);
    let received = peer.receive().expect("an answer");
    match answer(received.reply)? {
        Response::FetchKey(fetched) => Ok((fetched, received.payload)),
        other => panic!("{other:?} to FetchKey"),
    }
}

fn keyed_batch(records: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    for (key, value) in records {
        let record = Record { key: Some(key), value: Some(value), ..Record::default() };
        builder.push(&record).unwrap();
    }
    builder.finish(None).unwrap()
}
