//! Backups of a log that is compacted meanwhile: the newest value of each key comes back, and no offset twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::process::{Served, run};

const KEYS: u64 = 200;

fn path(directory: &Path) -> &str {
    directory.to_str().unwrap()
}

fn start(data: &Path) -> Served {
    Served::start(
        data,
        &["--set", "housekeeping.interval=20ms", "--set", "housekeeping.io_bytes_per_second=1GiB"],
    )
}

/// Updates of keys in turn, of half a kibibyte.
fn updates(from: u64, to: u64) -> Vec<u8> {
    let line = |number: u64| format!("key-{}:{number:08}{}\n", number % KEYS, "v".repeat(500));
    (from..to).flat_map(|number| line(number).into_bytes()).collect()
}

fn write(served: &Served, from: u64, to: u64) {
    served.run_with(&["produce", "prices", "--key-separator", ":"], &updates(from, to)).text();
}

/// What a reader sees: key and beginning of the value by partition and offset.
fn records(served: &Served) -> BTreeMap<(u64, u64), (String, String)> {
    let text = served
        .run(&["consume", "prices", "--from", "earliest", "--format", "ndjson-with-metadata"])
        .text();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let place = (line["partition"].as_u64().unwrap(), line["offset"].as_u64().unwrap());
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        let twice = found.insert(place, (text("key"), text("value")[..8].to_owned()));
        assert_eq!(twice, None, "{place:?} came twice");
    }
    found
}

/// The newest value of each key.
fn newest(records: &BTreeMap<(u64, u64), (String, String)>) -> BTreeMap<String, String> {
    records.values().cloned().collect()
}

/// Waits until compaction has taken something from what is there.
fn until_compacted(served: &Served, written: u64) {
    while records(served).len() as u64 == written {
        std::thread::yield_now();
    }
}

#[test]
fn what_was_compacted_between_and_during_backups_comes_back_with_the_newest_of_each_key() {
    let place = tempfile::tempdir().unwrap();
    let (data, copy) = (place.path().join("data"), place.path().join("backup"));
    let served = start(&data);
    let create = ["log", "create", "prices", "-p", "2", "--segment-size", "1MiB"];
    served.run(&create).text();
    write(&served, 0, 8000);
    served.run(&["backup", path(&copy), "-q"]).text();
    // Compaction goes over what the backup has, and over what is new.
    served.run(&["log", "alter", "prices", "--compact", "on"]).text();
    until_compacted(&served, 8000);
    write(&served, 8000, 12_000);
    served.run(&["backup", path(&copy), "-q"]).text();
    // Two more while updates come and are compacted.
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            for at in (12_000..20_000).step_by(1000) {
                write(&served, at, at + 1000);
            }
        });
        while !load.is_finished() {
            served.run(&["backup", path(&copy), "-q"]).text();
        }
        load.join().unwrap();
    });
    served.run(&["backup", path(&copy), "-q"]).text();
    let before = records(&served);
    let on_server = newest(&before);
    assert_eq!(on_server.len() as u64, KEYS);
    let expected = (20_000 - KEYS..20_000)
        .map(|number| (format!("key-{}", number % KEYS), format!("{number:08}")));
    assert_eq!(on_server, expected.collect());
    assert_eq!(served.stop().0, 0);

    run(&["backup", "verify", path(&copy)]).text();
    let restored = place.path().join("restored");
    let done = run(&["restore", path(&copy), "--data-dir", path(&restored), "--json"]).json();
    assert_eq!(done["damaged_ranges"], 0, "{done}");
    // With the background at rest it is what the backup had.
    let served = Served::start(&restored, &["--set", "housekeeping.interval=1h"]);
    let after = records(&served);
    assert_eq!(newest(&after), on_server);
    let lost: BTreeSet<_> =
        before.iter().filter(|(at, record)| after.get(at) != Some(record)).collect();
    assert!(lost.is_empty(), "{lost:?} are on the server and not in the backup");
    // And it goes on: offsets continue, compaction works on it.
    write(&served, 20_000, 20_000 + KEYS);
    assert_eq!(newest(&records(&served))["key-0"], "00020000");
    assert_eq!(served.stop().0, 0);
    let served = start(&restored);
    until_compacted(&served, after.len() as u64 + KEYS);
    assert_eq!(newest(&records(&served)).len() as u64, KEYS);
}
