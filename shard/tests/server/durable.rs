//! What is acknowledged survives: stops, restarts, other numbers of cores; and data directories that cannot be used.

use std::collections::BTreeMap;
use std::time::Duration;

use pyralog_log::batch::Session;
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, SessionId};
use pyralog_shard::{DataConfig, DataDirError, Server, StartError};
use pyralog_wire::message::{AlterLog, DeleteLog};
use pyralog_wire::{ErrorCode, LogChanges, LogConfig, Response};

use crate::admin::get;
use crate::support::*;

#[test]
fn a_restart_with_another_number_of_cores_finds_every_record() {
    let data = tempfile::tempdir().unwrap();
    let mut expected: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    let mut log = None;
    let mut identity = None;
    for (round, shards) in [1, 3, 2, 4].into_iter().enumerate() {
        let server = start(durable_config(shards, data.path()));
        assert_eq!(server.recovery(), &[] as &[String], "every stop was clean");
        let ids = (server.node_id(), server.cluster_id());
        assert_eq!(*identity.get_or_insert(ids), ids);
        let mut peer = Peer::connect(&server);
        let id = *log.get_or_insert_with(|| peer.create("a", log_config(5)).id);
        assert_eq!(peer.describe("a").unwrap().id, id);
        for partition in 0..5 {
            let found = peer.values(id, partition, 0);
            assert_eq!(found, expected.get(&partition).cloned().unwrap_or_default());
            let value = format!("{round}-{partition}").into_bytes();
            peer.append(id, partition, &batch(&[&value])).unwrap();
            expected.entry(partition).or_default().push(value);
        }
        server.shutdown().unwrap();
    }
}

#[test]
fn the_catalog_survives_with_its_changes_and_never_deals_an_id_twice() {
    let data = tempfile::tempdir().unwrap();
    let server = start(durable_config(2, data.path()));
    let mut peer = Peer::connect(&server);
    let kept = peer.create("kept", log_config(2));
    let dropped = peer.create("dropped", log_config(3)).id;
    peer.append(dropped, 0, &batch(&[b"gone"])).unwrap();
    peer.ask(DeleteLog { name: "dropped".into() }, &[]).unwrap();
    let changes = LogChanges { durability: Some(Durability::Written), ..LogChanges::default() };
    peer.ask(AlterLog { name: "kept".into(), changes }, &[]).unwrap();
    drop(peer);
    server.shutdown().unwrap();
    assert!(!data.path().join("logs").join(dropped.to_string()).exists());
    let server = start(durable_config(1, data.path()));
    let mut peer = Peer::connect(&server);
    let found = peer.describe("kept").unwrap();
    let config = LogConfig { durability: Durability::Written, ..kept.config };
    assert_eq!((found.id, found.config, found.created), (kept.id, config, kept.created));
    assert!(peer.describe("dropped").is_err());
    assert!(peer.create("dropped", log_config(1)).id > dropped);
    server.shutdown().unwrap();
}

#[test]
fn leftovers_of_a_deletion_go_at_the_next_start_and_strangers_stay() {
    let data = tempfile::tempdir().unwrap();
    let server = start(durable_config(1, data.path()));
    let mut peer = Peer::connect(&server);
    let deleted = peer.create("a", log_config(1)).id;
    peer.ask(DeleteLog { name: "a".into() }, &[]).unwrap();
    drop(peer);
    server.shutdown().unwrap();
    let left = data.path().join("logs").join(deleted.to_string());
    let strange = data.path().join("logs").join("copy of 1");
    for folder in [&left, &strange] {
        std::fs::create_dir_all(folder.join("0")).unwrap();
    }
    start(durable_config(1, data.path())).shutdown().unwrap();
    assert!(!left.exists());
    assert!(strange.exists(), "it is no log of ours");
}

#[test]
fn a_stop_under_load_loses_nothing_at_any_level() {
    for level in Durability::ALL {
        let data = tempfile::tempdir().unwrap();
        let server = start(durable_config(2, data.path()));
        let config = LogConfig { durability: level, ..log_config(4) };
        let log = Peer::connect(&server).create("a", config).id;
        let address = server.addresses().listen;
        let writers: Vec<_> = (0..4)
            .map(|partition| {
                std::thread::spawn(move || append_until_refused(address, log, partition))
            })
            .collect();
        // Some work first: until the first record of each partition is there.
        let mut peer = Peer::connect(&server);
        for partition in 0..4 {
            while peer.values(log, partition, 0).len() < 20 {}
        }
        server.shutdown().unwrap();
        let acknowledged: Vec<u64> =
            writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        let server = start(durable_config(3, data.path()));
        assert_eq!(server.recovery(), &[] as &[String]);
        let mut peer = Peer::connect(&server);
        for (partition, acknowledged) in (0..4).zip(acknowledged) {
            let values = peer.values(log, partition, 0);
            assert!(values.len() as u64 >= acknowledged, "{level}: {acknowledged} acknowledged");
            for (number, value) in values.iter().enumerate() {
                assert_eq!(*value, number.to_string().into_bytes(), "{level}: in order, no gap");
            }
        }
        server.shutdown().unwrap();
    }
}

/// Appends numbers one by one until the server refuses; returns how many were acknowledged.
fn append_until_refused(address: std::net::SocketAddr, log: LogId, partition: u32) -> u64 {
    let (mut peer, _) = Peer::greet(address);
    let mut acknowledged = 0;
    loop {
        let value = acknowledged.to_string();
        let (_, frame) = peer.encode(append(log, partition, None), &batch(&[value.as_bytes()]));
        if std::io::Write::write_all(&mut peer.socket, &frame).is_err() {
            return acknowledged;
        }
        match peer.receive().map(|received| answer(received.reply)) {
            Some(Ok(Response::Append(_))) => acknowledged += 1,
            _ => return acknowledged,
        }
    }
}

#[test]
fn a_repeated_append_of_a_session_is_recognised_also_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let session = Session { id: SessionId::new(77), epoch: 0, first_sequence: 0 };
    let first = session_batch(&[b"one", b"two"], Some(session));
    let server = start(durable_config(1, data.path()));
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(1)).id;
    let original = peer.append(log, 0, &first).unwrap();
    let repeated = peer.append(log, 0, &first).unwrap();
    assert!(repeated.duplicate && !original.duplicate);
    assert_eq!(repeated.base_offset, original.base_offset);
    drop(peer);
    server.shutdown().unwrap();
    let server = start(durable_config(2, data.path()));
    let mut peer = Peer::connect(&server);
    let repeated = peer.append(log, 0, &first).unwrap();
    assert!(repeated.duplicate);
    assert_eq!(repeated.base_offset, original.base_offset);
    assert_eq!(peer.values(log, 0, 0).len(), 2);
    server.shutdown().unwrap();
}

#[test]
fn a_data_directory_in_use_is_refused_with_the_pid() {
    let data = tempfile::tempdir().unwrap();
    let server = start(durable_config(1, data.path()));
    let error = Server::start(durable_config(1, data.path())).unwrap_err();
    assert!(matches!(error, StartError::DataDir(DataDirError::Locked { .. })), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("process id {}", std::process::id())), "{text}");
    server.shutdown().unwrap();
    start(durable_config(1, data.path())).shutdown().unwrap();
}

#[test]
fn another_nodes_or_versions_directory_is_refused_untouched() {
    let data = tempfile::tempdir().unwrap();
    start(durable_config(1, data.path())).shutdown().unwrap();
    let mut config = durable_config(1, data.path());
    config.node_id = Some(1);
    let error = Server::start(config).unwrap_err();
    assert!(matches!(error, StartError::DataDir(DataDirError::OtherNode { .. })), "{error:?}");
    let node = data.path().join("node.toml");
    let text = std::fs::read_to_string(&node).unwrap().replace("format = 1", "format = 2");
    std::fs::write(&node, &text).unwrap();
    let error = Server::start(durable_config(1, data.path())).unwrap_err();
    assert!(
        matches!(error, StartError::DataDir(DataDirError::OtherFormat { found: 2, .. })),
        "{error:?}"
    );
    assert_eq!(std::fs::read_to_string(&node).unwrap(), text);
}

#[test]
fn a_file_as_data_directory_is_refused() {
    let data = tempfile::NamedTempFile::new().unwrap();
    let error = Server::start(durable_config(1, data.path())).unwrap_err();
    assert!(matches!(error, StartError::DataDir(DataDirError::NotADirectory { .. })), "{error:?}");
}

#[test]
fn an_address_in_use_is_refused_before_anything_is_opened() {
    let server = start(memory_config(1));
    let mut config = memory_config(1);
    config.listen = server.addresses().listen;
    let error = Server::start(config).unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error:?}");
    assert!(error.to_string().contains(&server.addresses().listen.to_string()), "{error}");
    Peer::connect(&server).ping();
    server.shutdown().unwrap();
}

#[test]
fn a_dropped_server_stops() {
    let data = tempfile::tempdir().unwrap();
    let server = start(durable_config(2, data.path()));
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(1)).id;
    peer.append(log, 0, &batch(&[b"kept"])).unwrap();
    drop(server);
    let server = start(durable_config(1, data.path()));
    assert_eq!(Peer::connect(&server).values(log, 0, 0), [b"kept"]);
    server.shutdown().unwrap();
}

#[test]
fn a_client_that_takes_no_answers_does_not_keep_a_stop_waiting_for_ever() {
    let mut config = memory_config(1);
    config.limits.shutdown_grace = Duration::from_millis(200);
    assert!(matches!(config.data, DataConfig::MemoryOnly { .. }));
    let server = start(config);
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(1)).id;
    for _ in 0..16 {
        peer.append(log, 0, &batch(&[&vec![7; 1 << 20]])).unwrap();
    }
    for _ in 0..20 {
        let mut all = fetch(log, 0, pyralog_wire::message::FetchFrom::Earliest);
        all.bytes_max = 16 << 20;
        peer.send(all, &[]);
    }
    server.shutdown().unwrap();
}

#[test]
fn a_partition_that_cannot_be_opened_costs_nobody_else_anything() {
    let data = tempfile::tempdir().unwrap();
    let server = start(durable_config(2, data.path()));
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(2)).id;
    for partition in 0..2 {
        peer.append(log, partition, &batch(&[b"kept"])).unwrap();
    }
    drop(peer);
    server.shutdown().unwrap();
    let folder = data.path().join("logs").join(log.to_string()).join("0");
    let aside = data.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "not a folder").unwrap();

    let mut config = durable_config(2, data.path());
    config.http = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = start(config);
    assert!(server.recovery()[0].contains("log a partition 0 could not be opened"));
    let mut peer = Peer::connect(&server);
    let error = peer.append(log, 0, &batch(&[b"x"])).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::StorageFailed), "{error}");
    peer.append(log, 1, &batch(&[b"more"])).unwrap();
    assert_eq!(peer.values(log, 1, 0), [&b"kept"[..], b"more"]);
    let failed: Vec<bool> =
        peer.describe("a").unwrap().partitions.iter().map(|found| found.failed).collect();
    assert_eq!(failed, [true, false]);
    let (status, body) = get(&server, "/readyz");
    assert!(status.contains("503") && body.contains("log a partition 0"), "{status} {body}");
    assert!(get(&server, "/healthz").0.contains("200"));
    drop(peer);
    server.shutdown().unwrap();

    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let server = start(durable_config(1, data.path()));
    assert_eq!(Peer::connect(&server).values(log, 0, 0), [b"kept"]);
    server.shutdown().unwrap();
}

#[test]
fn an_altered_log_keeps_its_records_and_its_readers() {
    let data = tempfile::tempdir().unwrap();
    let server = start(durable_config(2, data.path()));
    let mut peer = Peer::connect(&server);
    let log = peer.create("a", log_config(3)).id;
    for level in [Durability::Memory, Durability::Synced, Durability::Written] {
        let changes = LogChanges { durability: Some(level), ..LogChanges::default() };
        peer.ask(AlterLog { name: "a".into(), changes }, &[]).unwrap();
        for partition in 0..3 {
            peer.append(log, partition, &batch(&[level.name().as_bytes()])).unwrap();
        }
    }
    for partition in 0..3 {
        // `written` is seen when it is written: the append was acknowledged at that level.
        assert_eq!(peer.values(log, partition, 0), [&b"memory"[..], b"synced", b"written"]);
    }
    server.shutdown().unwrap();
}

#[test]
fn a_damaged_catalog_is_refused_and_everything_that_was_started_is_stopped() {
    let data = tempfile::tempdir().unwrap();
    let server = start(durable_config(2, data.path()));
    let mut peer = Peer::connect(&server);
    for number in 0..50 {
        peer.create(&format!("log-{number}"), log_config(1));
    }
    drop(peer);
    server.shutdown().unwrap();
    let segment = std::fs::read_dir(data.path().join("catalog"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|window| window == b"log-25").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    for _ in 0..2 {
        let error = Server::start(durable_config(2, data.path())).unwrap_err();
        assert!(matches!(error, StartError::Catalog(_)), "{error:?}");
    }
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
}

#[test]
fn a_catalog_that_ends_before_a_log_that_is_there_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let (catalog, copy) = (data.path().join("catalog"), data.path().join("copy"));
    let create = |name: &str| {
        let server = start(durable_config(2, data.path()));
        let mut peer = Peer::connect(&server);
        let log = peer.create(name, log_config(1)).id;
        peer.append(log, 0, &batch(&[name.as_bytes()])).unwrap();
        drop(peer);
        server.shutdown().unwrap();
        log
    };
    create("a");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&catalog).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let later = create("b");
    std::fs::remove_dir_all(&catalog).unwrap();
    std::fs::rename(&copy, &catalog).unwrap();
    let error = Server::start(durable_config(2, data.path())).unwrap_err();
    let StartError::Catalog(problem) = error else { panic!("{error:?}") };
    let folder = data.path().join("logs").join(later.to_string());
    assert!(problem.contains(folder.to_str().unwrap()), "{problem}");

    // The way out that costs the log: another may have the id.
    std::fs::rename(&folder, data.path().join("away")).unwrap();
    assert_eq!(create("c"), later);
    let server = start(durable_config(2, data.path()));
    let mut peer = Peer::connect(&server);
    assert_eq!(peer.values(later, 0, 0), [b"c"]);
    drop(peer);
    server.shutdown().unwrap();
}

#[test]
fn an_http_address_in_use_is_refused_and_the_data_directory_is_free_again() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut config = durable_config(2, data.path());
    config.http = Some(taken.local_addr().unwrap());
    let error = Server::start(config).unwrap_err();
    assert!(matches!(error, StartError::Http(_)), "{error:?}");
    start(durable_config(2, data.path())).shutdown().unwrap();
}
