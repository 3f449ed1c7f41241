//! Closed segments of a log with proofs have their root beside them: `inspect` and the scrubber find what somebody altered, even
//! with every checksum repaired.

use serde_json::Value;

use crate::process::{Done, Served, run};
use crate::tamper::{Segment, segments};

const RECORDS: u64 = 3000;

/// A stopped server's data, with a log of some closed segments that a checkpoint covers.
fn proven(data: &std::path::Path) {
    let served = Served::start(data, &[]);
    let create = ["log", "create", "ledger", "-p", "1", "--integrity", "signed"];
    served.run(&[&create[..], &["--segment-size", "1MiB"]].concat()).text();
    let lines = (0..RECORDS).map(|number| format!("entry-{number:06} {}\n", "x".repeat(1000)));
    served.run_with(&["produce", "ledger", "-q"], lines.collect::<String>().as_bytes()).text();
    let is_covered =
        |described: &Value| described["partitions"][0]["tree"]["checkpoint_end"] == RECORDS;
    while !is_covered(&served.run(&["log", "describe", "ledger", "--json"]).json()) {}
    assert_eq!(served.stop().0, 0);
}

fn inspect(path: &std::path::Path, flags: &[&str]) -> Done {
    let path = path.display().to_string();
    run(&[&["inspect", &path], flags].concat())
}

#[test]
fn an_altered_record_of_a_closed_segment_is_found_by_inspect_and_by_a_scrub() {
    let data = tempfile::tempdir().unwrap();
    proven(data.path());
    let partition = data.path().join("logs/1/0");
    let found = inspect(&partition, &["--verify", "--json"]).json();
    let states: Vec<&Value> =
        found["segments"].as_array().unwrap().iter().map(|found| &found["root"]["state"]).collect();
    let (last, closed) = states.split_last().unwrap();
    assert!(closed.len() > 1 && closed.iter().all(|state| **state == "ok"), "{found}");
    assert!(last.is_null(), "it is not closed: {found}");
    let hash = found["segments"][0]["root"]["hash"].as_str().unwrap();
    let text = inspect(&partition, &[]).text();
    assert!(text.contains("ROOT") && text.contains(&hash[..16]), "{text}");

    let path = &segments(data.path(), 1, 0)[0];
    let mut segment = Segment::open(path);
    let offsets = segment.alter(b"entry-000007", b"ENTRY-000007");
    segment.write();
    let damage = format!("offsets {}..{}", offsets.start, offsets.end);
    let done = inspect(path, &[]);
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    assert!(done.failed(1).contains("1 damaged range"));
    assert!(text.contains(&damage) && text.contains("somebody altered"), "{text}");
    let differs = inspect(&partition, &["--verify", "--json"]);
    let differs: Value = serde_json::from_slice(&differs.stdout).unwrap();
    assert_eq!(differs["segments"][0]["root"]["state"], "differs", "{differs}");
    assert_eq!(differs["damaged"][0]["first"], offsets.start, "{differs}");

    let served = Served::start(data.path(), &["--set", "scrub.bytes_per_second=0"]);
    let done = served.run(&["log", "scrub", "ledger"]);
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    assert!(done.failed(4).contains("1 damaged range"));
    assert!(text.contains(&damage), "{text}");
    let from = offsets.start.to_string();
    let read = served.run(&["consume", "ledger", "--from", &from, "--max", "1"]);
    assert_ne!(read.code, 0, "readers are told: {}", String::from_utf8_lossy(&read.stdout));
}
