//! `pyralog quickstart`: the tour verifies itself, cleans up, and is the same every time.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use crate::process::{pyralog, run, signal};

#[test]
fn the_tour_verifies_itself_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().to_str().unwrap();
    let report = run(&["quickstart", "--records", "20000", "--json", "--dir", dir]).json();
    assert_eq!(report["verified"], true);
    assert_eq!(report["ingest"]["records"], 20_000);
    assert_eq!(report["read"]["records"], report["records"]);
    assert_eq!(report["read_after_restart"]["records"], report["records"]);
    assert_eq!(report["partitions"].as_array().unwrap().len(), 4);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn people_see_the_steps_the_numbers_and_what_to_type_next() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().to_str().unwrap();
    let text = run(&["quickstart", "-n", "5000", "-p", "2", "-d", "written", "--dir", dir]).text();
    for word in ["ingest", "read back", "restart", "verified", "P99.9", "Next", "consume hello"] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}

#[test]
fn an_interrupted_tour_cleans_up() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().to_str().unwrap();
    let mut child = pyralog(&["quickstart", "--records", "20000000", "--dir", dir])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first progress line: it is in the middle of the ingest.
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("ingest: "), "{line}");
    signal(&child, Signal::INT);
    let mut rest = String::new();
    while stderr.read_line(&mut rest).unwrap() > 0 {}
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("cleaned up"), "{rest}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}
