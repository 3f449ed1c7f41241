//! What is left of a deleted log in the object store goes, whenever it came there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pyralog_runtime::time;
use pyralog_shard::{Server, TierConfig};
use pyralog_wire::LogConfig;
use pyralog_wire::message::DeleteLog;

use crate::support::*;

/// Microseconds that it may take.
const WAIT_US: i64 = 20_000_000;

fn server(data: &Path, store: Option<&Path>) -> Server {
    let mut config = durable_config(1, data);
    config.housekeeping.interval = Duration::from_millis(10);
    config.tier = store.map(|store| TierConfig::new(format!("file://{}", store.display())));
    start(config)
}

/// The files in a folder and below it. The server may remove folders meanwhile: they have none.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries.map_while(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

/// Asks the server again and again until the store has as many files as it should.
fn wait_for(peer: &mut Peer, store: &Path, is_right: impl Fn(&[PathBuf]) -> bool) {
    let most = time::unix_us() + WAIT_US;
    while !is_right(&files_below(store)) {
        assert!(time::unix_us() < most, "{:?}", files_below(store));
        peer.describe("kept").unwrap();
    }
}

/// Two logs, of which `gone` is tiered and has three segments or more in the store.
fn fill(peer: &mut Peer, store: &Path) {
    let log = LogConfig { segment_bytes: 1 << 20, ..log_config(1) };
    peer.create("kept", log);
    let id = peer.create("gone", LogConfig { is_tiered: true, ..log }).id;
    let value = vec![7; 100_000];
    for _ in 0..45 {
        peer.append(id, 0, &batch(&[&value])).unwrap();
    }
    wait_for(peer, store, |files| files.len() >= 6);
}

#[test]
fn an_object_that_comes_after_its_log_was_deleted_goes_as_well() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = server(data.path(), Some(store.path()));
    let mut peer = Peer::connect(&server);
    fill(&mut peer, store.path());
    let late = files_below(store.path())[0].clone();
    peer.ask(DeleteLog { name: "gone".into() }, &[]).unwrap();
    wait_for(&mut peer, store.path(), <[PathBuf]>::is_empty);
    // Some rounds find nothing; then an upload ends that was on its way all the time.
    for _ in 0..2000 {
        peer.describe("kept").unwrap();
    }
    std::fs::create_dir_all(late.parent().unwrap()).unwrap();
    std::fs::write(&late, b"late").unwrap();
    wait_for(&mut peer, store.path(), <[PathBuf]>::is_empty);
    server.shutdown().unwrap();
}

#[test]
fn what_is_deleted_while_there_is_no_store_leaves_it_once_there_is_one() {
    let (data, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let with = server(data.path(), Some(store.path()));
    fill(&mut Peer::connect(&with), store.path());
    with.shutdown().unwrap();
    let without = server(data.path(), None);
    let mut peer = Peer::connect(&without);
    peer.ask(DeleteLog { name: "gone".into() }, &[]).unwrap();
    without.shutdown().unwrap();
    assert!(files_below(store.path()).len() >= 6);
    let with = server(data.path(), Some(store.path()));
    wait_for(&mut Peer::connect(&with), store.path(), <[PathBuf]>::is_empty);
    with.shutdown().unwrap();
}
