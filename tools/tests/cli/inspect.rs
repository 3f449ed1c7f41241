//! `pyralog inspect`: what it says of a directory that is sound, of one that is damaged, and of one that is served.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Served, run};

/// Closed segments of the smallest size, and a server that has been stopped.
fn data_with_segments(directory: &Path) {
    let served = Served::start(directory, &[]);
    served.run(&["log", "create", "events", "-p", "2", "--segment-size", "1MiB"]).text();
    let line = "x".repeat(1000) + "\n";
    let input = line.repeat(6000);
    served.run_with(&["produce", "events"], input.as_bytes()).text();
    let (code, _) = served.stop();
    assert_eq!(code, 0);
}

fn inspect(path: &Path, flags: &[&str]) -> crate::process::Done {
    let mut arguments = vec!["inspect", path.to_str().unwrap()];
    arguments.extend(flags);
    run(&arguments)
}

/// A partition with more than one segment, and the file of its first.
fn partition_with_segments(data: &Path) -> (u64, PathBuf) {
    let found = inspect(data, &["--json"]).json();
    let partitions = found["logs"][0]["partitions"].as_array().unwrap().clone();
    let many = |partition: &&Value| partition["found"]["segments"].as_array().unwrap().len() > 1;
    let partition = partitions.iter().find(many).unwrap()["partition"].as_u64().unwrap();
    (partition, data.join(format!("logs/1/{partition}/00000000000000000000.seg")))
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// The files of the logs and of the catalog, to see that nothing was written.
fn content(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    [files_below(&data.join("logs")), files_below(&data.join("catalog"))].concat()
}

fn files_below(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files_below(&path));
        } else {
            all.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_data_directory_a_partition_and_a_segment_are_shown_and_nothing_is_written() {
    let data = tempfile::tempdir().unwrap();
    data_with_segments(data.path());
    let before = content(data.path());

    let text = inspect(data.path(), &["--verify"]).text();
    assert!(text.contains("events") && text.contains("(catalog)"), "{text}");
    assert!(text.contains("closed cleanly") && !text.contains("damaged"), "{text}");

    let (partition, segment) = partition_with_segments(data.path());
    let dir = segment.parent().unwrap();
    let found = inspect(dir, &["--verify", "--json"]).json();
    let segments = found["segments"].as_array().unwrap();
    let records: u64 = segments.iter().map(|one| one["read"]["records"].as_u64().unwrap()).sum();
    assert_eq!(segments.last().unwrap()["next"].as_u64().unwrap(), records);
    assert_eq!(found["checkpoint"]["partition"], partition);

    let batches = inspect(&segment, &["--batches", "--json"]).text();
    let lines: Vec<Value> =
        batches.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, batches) = lines.split_last().unwrap();
    assert_eq!(report["segments"][0]["read"]["batches"], batches.len());
    assert_eq!(batches[0]["batch"]["first"], 0);
    for pair in batches.windows(2) {
        assert_eq!(pair[0]["batch"]["next"], pair[1]["batch"]["first"]);
    }
    assert!(content(data.path()) == before, "a look changes nothing");
}

#[test]
fn a_flipped_byte_under_a_running_server_is_found_by_a_scrub_and_readers_are_told() {
    let data = tempfile::tempdir().unwrap();
    data_with_segments(data.path());
    let (partition, segment) = partition_with_segments(data.path());
    let served = Served::start(data.path(), &[]);
    let sound = served.run(&["log", "scrub", "events", "--json"]).json();
    let of = |found: &Value, at: u64| found["partitions"][usize::try_from(at).unwrap()].clone();
    assert_eq!(sound["partitions"].as_array().unwrap().len(), 2);
    assert!(of(&sound, partition)["segments"].as_u64().unwrap() > 0, "{sound}");
    assert_eq!(of(&sound, partition)["damaged_ranges"], 0);

    flip(&segment, 4096 + 64 + 128 + 700);
    let number = partition.to_string();
    let done = served.run(&["log", "scrub", "events", "--partition", &number]);
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    let message = done.failed(4);
    assert!(message.contains("1 damaged range"), "{message}");
    let line = format!("damaged events partition {partition}: offsets 0..");
    assert!(text.contains(&line) && text.contains("of segment 00000000000000000000"), "{text}");
    let other = (1 - partition).to_string();
    served.run(&["log", "scrub", "events", "-p", &other]).text();
    let again = served.run(&["log", "scrub", "events", "-p", &number, "--json"]).failed(4);
    assert!(again.contains("1 damaged range"), "it stays damaged: {again}");
    assert_eq!(served.stop().0, 0);

    // The next life knows it before it has read anything.
    let served = Served::start(data.path(), &["--set", "scrub.bytes_per_second=0"]);
    let status = served.status();
    let partitions = status["partitions"].as_array().unwrap();
    let ours = partitions.iter().find(|found| found["partition"] == partition).unwrap();
    assert_eq!(ours["damaged"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(ours["damaged"][0][0], 0, "{status}");
}

#[test]
fn a_flipped_byte_is_found_named_and_quarantined_by_a_repair() {
    let data = tempfile::tempdir().unwrap();
    data_with_segments(data.path());
    let (partition, segment) = partition_with_segments(data.path());
    // In the body of the first batch, behind header block, mark and batch header.
    flip(&segment, 4096 + 64 + 128 + 700);
    inspect(data.path(), &[]).text();
    let done = inspect(data.path(), &["--verify"]);
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    let message = done.failed(1);
    assert!(message.contains("1 damaged range") && message.contains("--repair"), "{message}");
    let line = format!("damaged events partition {partition}: offsets 0..");
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("at bytes 4160.."), "{text}");

    let before = content(data.path());
    let message = inspect(data.path(), &["--repair"]).failed(2);
    assert!(message.contains("--yes") && content(data.path()) == before, "{message}");
    let repaired = inspect(data.path(), &["--repair", "--yes"]).text();
    assert!(repaired.contains("1 newly damaged"), "{repaired}");
    let quarantine = segment.parent().unwrap().join("quarantine");
    assert_eq!(std::fs::read_dir(quarantine).unwrap().count(), 1);
    let again = inspect(data.path(), &["--repair", "--yes"]).text();
    assert_eq!(again.trim(), "nothing to repair");
    // Damage that is listed stays damage.
    inspect(data.path(), &["--verify"]).failed(1);
    let served = Served::start(data.path(), &[]);
    served.run(&["log", "describe", "events"]).text();
}

#[test]
fn a_lost_index_is_made_again_and_a_served_directory_is_left_alone() {
    let data = tempfile::tempdir().unwrap();
    data_with_segments(data.path());
    let (_, segment) = partition_with_segments(data.path());
    let index = segment.with_extension("idx");
    let whole = std::fs::read(&index).unwrap();
    flip(&index, 30);
    let served = Served::start(data.path(), &[]);
    let found = inspect(data.path(), &["--verify"]).text();
    assert!(found.contains("open, or not closed cleanly"), "{found}");
    let message = inspect(data.path(), &["--repair", "--yes"]).failed(1);
    assert!(message.contains("in use by the server"), "{message}");
    served.stop();
    flip(&index, 31);
    inspect(data.path(), &["--repair", "--yes"]).text();
    assert_eq!(std::fs::read(&index).unwrap(), whole);
}

#[test]
fn what_is_nothing_of_ours_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let message = inspect(data.path(), &[]).failed(2);
    assert!(message.contains("neither a partition nor a data directory"), "{message}");
    let file = data.path().join("x.txt");
    std::fs::write(&file, "x").unwrap();
    inspect(&file, &[]).failed(2);
    inspect(&data.path().join("missing"), &[]).failed(1);
}

#[test]
fn the_root_of_a_tree_is_shown_and_a_log_that_ends_before_it_is_damaged() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    served.run(&["log", "create", "ledger", "-p", "1", "--integrity", "signed"]).text();
    served.run_with(&["produce", "ledger"], b"one\ntwo\n").text();
    let long = ["log", "create", "long", "-p", "1", "--integrity", "signed"];
    served.run(&[&long[..], &["--segment-size", "1MiB"]].concat()).text();
    served.run_with(&["produce", "long"], ("x".repeat(1000) + "\n").repeat(3000).as_bytes()).text();
    served.stop();
    // A segment that is not the last ends before the tree does.
    inspect(&data.path().join("logs/2/0/00000000000000000000.seg"), &["--verify"]).text();
    let partition = data.path().join("logs/1/0");
    let found = inspect(&partition, &["--json"]).json();
    let tree = &found["tree"];
    assert_eq!((&tree["batches"], &tree["end_offset"]), (&1.into(), &2.into()), "{found}");
    let text = inspect(&partition, &[]).text();
    assert!(text.contains(tree["root"].as_str().unwrap()) && text.contains("signed by"), "{text}");
    inspect(data.path(), &["--verify"]).text();

    // Somebody cuts the log off behind what was signed.
    let segment = partition.join("00000000000000000000.seg");
    let whole = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &whole[..4096]).unwrap();
    let checkpoint = partition.join("checkpoint");
    let kept = std::fs::read(&checkpoint).unwrap();
    std::fs::remove_file(&checkpoint).unwrap();
    let said = inspect(&partition, &["--verify"]);
    assert_eq!(said.code, 1);
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("offsets 0 to 2 (exclusive), which the tree covers"), "{text}");
    std::fs::write(&segment, whole).unwrap();
    std::fs::write(&checkpoint, kept).unwrap();
    flip(&partition.join("tree.state"), 60);
    let said = inspect(&partition, &[]);
    assert_eq!(said.code, 1);
    assert!(String::from_utf8(said.stdout).unwrap().contains("it grows no more"));
}
