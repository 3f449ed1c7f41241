//! A backup under load that is killed and goes on, the loss of everything, and the restore: every record is compared.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::process::{Served, run};

fn path(directory: &Path) -> &str {
    directory.to_str().unwrap()
}

fn lines(from: u64, to: u64) -> Vec<u8> {
    (from..to)
        .flat_map(|line| format!("record {line} {}\n", "x".repeat(700)).into_bytes())
        .collect()
}

/// Everything of a log, with offsets, times and ids, ordered.
fn records(served: &Served, log: &str) -> Vec<String> {
    let arguments = ["consume", log, "--from", "earliest", "--format", "ndjson-with-metadata"];
    let mut all: Vec<String> = served.run(&arguments).text().lines().map(str::to_owned).collect();
    all.sort();
    all
}

fn describe(served: &Served, log: &str) -> Value {
    served.run(&["log", "describe", log, "--json"]).json()
}

/// Headers of all batches of a partition, as they lie on the disk.
fn batches(data: &Path, log: u64, partition: u32) -> Vec<String> {
    let dir = data.join(format!("logs/{log}/{partition}"));
    let text = run(&["inspect", path(&dir), "--batches", "--json"]).text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let batch = |line: Value| {
        let batch = line.get("batch")?;
        Some(format!(
            "{} {} {} {} {} {}",
            batch["first"],
            batch["next"],
            batch["bytes"],
            batch["append_time"],
            batch["scarab"],
            batch["session"]
        ))
    };
    lines.filter_map(batch).collect()
}

/// While a producer is at work a backup is killed, goes on, and is followed by another.
fn back_up_under_load(served: &Served, copy: &Path) {
    let mut load = served
        .command(&["produce", "events"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stdin = load.stdin.take().unwrap();
    let feed = std::thread::spawn(move || {
        let mut stdin = stdin;
        std::io::Write::write_all(&mut stdin, &lines(6000, 16_000)).unwrap();
    });
    let mut killed =
        served.command(&["backup", path(copy), "-q"]).stdout(Stdio::null()).spawn().unwrap();
    while !copy.join("cluster").exists() {
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    served.run(&["backup", path(copy), "--json"]).json();
    feed.join().unwrap();
    assert!(load.wait().unwrap().success());
    // What came meanwhile is in the next one.
    let last = served.run(&["backup", path(copy), "--json"]).json();
    assert_eq!(last["records"], 16_010, "{last}");
}

#[test]
fn what_was_backed_up_under_load_comes_back_to_the_record() {
    let place = tempfile::tempdir().unwrap();
    let (data, copy) = (place.path().join("data"), place.path().join("backup"));
    let served = Served::start(&data, &[]);
    served.run(&["log", "create", "gone"]).text();
    served.run(&["log", "create", "events", "-p", "2", "--segment-size", "1MiB"]).text();
    served.run(&["log", "create", "small", "-d", "written"]).text();
    served.run(&["log", "delete", "gone", "--yes"]).text();
    served.run(&["obelisk", "create", "orders"]).text();
    let dealt: Vec<u64> = (0..3)
        .flat_map(|_| {
            served
                .run(&["obelisk", "next", "orders", "-n", "4"])
                .text()
                .lines()
                .map(|line| line.parse().unwrap())
                .collect::<Vec<u64>>()
        })
        .collect();
    served.run_with(&["produce", "events"], &lines(0, 6000)).text();
    served.run_with(&["produce", "small"], &lines(0, 10)).text();

    back_up_under_load(&served, &copy);

    let before = (records(&served, "events"), records(&served, "small"));
    let (events, small) = (describe(&served, "events"), describe(&served, "small"));
    served.stop();
    let on_disk: Vec<_> = (0..2).map(|partition| batches(&data, 2, partition)).collect();
    std::fs::remove_dir_all(&data).unwrap();

    let restored = run(&["restore", path(&copy), "--data-dir", path(&data), "--json"]).json();
    assert_eq!(
        (&restored["records"], &restored["damaged_ranges"]),
        (&Value::from(16_010), &Value::from(0))
    );
    assert_ne!(restored["cluster"], restored["cluster_before"]);
    assert_eq!((0..2).map(|partition| batches(&data, 2, partition)).collect::<Vec<_>>(), on_disk);
    // Closed cleanly: the server has nothing to recover.
    let found = run(&["inspect", path(&data), "--verify", "--json"]).json();
    for log in found["logs"].as_array().unwrap() {
        for partition in log["partitions"].as_array().unwrap() {
            assert_eq!(partition["found"]["checkpoint"]["clean"], true, "{partition}");
        }
    }

    let served = Served::start(&data, &[]);
    assert_eq!((records(&served, "events"), records(&served, "small")), before);
    for (name, was) in [("events", events), ("small", small)] {
        let is = describe(&served, name);
        assert_eq!(
            (&is["id"], &is["config"], &is["created"]),
            (&was["id"], &was["config"], &was["created"])
        );
        for (is, was) in
            is["partitions"].as_array().unwrap().iter().zip(was["partitions"].as_array().unwrap())
        {
            assert_eq!((&is["low"], &is["high"]), (&was["low"], &was["high"]));
        }
    }
    let next: u64 = served.run(&["obelisk", "next", "orders"]).text().trim().parse().unwrap();
    assert!(dealt.iter().all(|number| *number < next), "{next} after {dealt:?}");
    let new = served.run(&["log", "create", "new", "--json"]).json();
    assert_eq!(new["id"], 4, "ids of logs go on behind those of the backup");
    served.run_with(&["produce", "events"], &lines(16_000, 16_100)).text();
    assert_eq!(records(&served, "events").len(), 16_100);
}

#[test]
fn a_damaged_backup_and_a_used_directory_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let (copy, data) = (place.path().join("backup"), place.path().join("data"));
    let served = Served::fresh();
    served.run(&["log", "create", "events", "-p", "1"]).text();
    served.run_with(&["produce", "events"], &lines(0, 100)).text();
    served.run(&["backup", path(&copy), "--json"]).json();
    let folder = copy.join("logs/1/0");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let sound = std::fs::read(&file).unwrap();
    let mut broken = sound.clone();
    broken[300] ^= 1;
    std::fs::write(&file, broken).unwrap();
    run(&["restore", path(&copy), "--data-dir", path(&data)]).failed(4);
    assert!(!data.exists(), "a damaged backup makes no directory");
    std::fs::write(&file, sound).unwrap();
    run(&["restore", path(&copy), "--data-dir", path(&data)]).text();
    let message = run(&["restore", path(&copy), "--data-dir", path(&data)]).failed(1);
    assert!(message.contains("choose an empty"), "{message}");
    let message = run(&["restore", path(&data), "--data-dir", path(&copy)]).failed(1);
    assert!(message.contains("no complete backup"), "{message}");
}
