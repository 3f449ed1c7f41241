//! `pyralog produce` and `pyralog consume`: what goes in comes out.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::process::{Served, signal};

/// Lines that differ in length and hold every byte but the newline.
fn awkward_lines(count: usize, salt: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for index in 0..count {
        write!(text, "{salt}/{index} ").unwrap();
        let bytes =
            (0..index * 7 % 300).map(|offset| u8::try_from((index + offset) % 256).unwrap());
        text.extend(bytes.map(|byte| if byte == b'\n' { b'\r' } else { byte }));
        text.push(b'\n');
    }
    text
}

fn sorted_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

fn write_file(directory: &Path, name: &str, bytes: &[u8]) -> String {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn one_partition_gives_back_the_same_bytes_in_the_same_order() {
    let served = Served::fresh();
    served.run(&["log", "create", "x", "-p", "1"]).text();
    let text = awkward_lines(5_000, 0);
    for codec in ["none", "lz4", "zstd"] {
        let done = served.run_with(&["produce", "x", "--json", "-z", codec], &text).json();
        assert_eq!((&done["records"], &done["failed"]), (&5_000.into(), &0.into()));
    }
    let expected = text.repeat(3);
    assert!(served.run(&["consume", "x"]).stdout == expected, "the bytes differ");
    let last = served.run(&["consume", "x", "--from", "offset:14999"]).stdout;
    assert_eq!(last, sorted_last_line(&text));
}

fn sorted_last_line(text: &[u8]) -> Vec<u8> {
    let body = &text[..text.len() - 1];
    let start = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    text[start..].to_vec()
}

#[test]
fn several_processes_at_once_lose_and_change_nothing() {
    let served = Served::fresh();
    served.run(&["log", "create", "x", "-p", "4"]).text();
    let place = tempfile::tempdir().unwrap();
    let texts: Vec<Vec<u8>> = (0..4).map(|salt| awkward_lines(4_000, salt)).collect();
    let children: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let file = write_file(place.path(), &index.to_string(), text);
            served.command(&["produce", "x", "-q", &file]).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let found = served.run(&["consume", "x"]).stdout;
    assert!(sorted_lines(&found) == sorted_lines(&texts.concat()), "the records differ");
}

#[test]
fn documents_go_to_partitions_by_the_key_in_them() {
    let served = Served::fresh();
    served.run(&["log", "create", "x", "-p", "4"]).text();
    let mut text = Vec::new();
    for n in 0..400 {
        writeln!(text, "{{\"user\":{{\"id\":\"u{}\"}},\"n\":{n}}}", n % 10).unwrap();
    }
    let flags = ["produce", "x", "-f", "ndjson", "--key-field", "user.id", "--json"];
    assert_eq!(served.run_with(&flags, &text).json()["keyless"], 0);
    let out = served.run(&["consume", "x", "--format", "ndjson-with-metadata"]).text();
    let mut homes = std::collections::BTreeMap::new();
    let mut last = std::collections::BTreeMap::new();
    for line in out.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = record["key"].as_str().unwrap().to_owned();
        let partition = record["partition"].as_u64().unwrap();
        assert_eq!(*homes.entry(key.clone()).or_insert(partition), partition, "{key} moved");
        let n = record["value"]["n"].as_u64().unwrap();
        let before = last.insert(key.clone(), n);
        assert!(before.is_none_or(|before| before < n), "{key} is out of order");
    }
    assert_eq!((homes.len(), out.lines().count()), (10, 400));
}

#[test]
fn a_broken_document_stops_with_its_line_and_keeps_what_came_before() {
    let served = Served::fresh();
    served.run(&["log", "create", "x", "-p", "1"]).text();
    let input = b"{\"a\":1}\n\n{\"a\":2}\n{broken\n{\"a\":3}\n";
    let message = served.run_with(&["produce", "x", "-f", "ndjson"], input).failed(1);
    assert!(message.contains("standard input: line 4: not a JSON document"), "{message}");
    assert_eq!(served.run(&["consume", "x"]).text(), "{\"a\":1}\n{\"a\":2}\n");
}

#[test]
fn keys_of_lines_and_templates_work() {
    let served = Served::fresh();
    served.run(&["log", "create", "x", "-p", "1"]).text();
    served.run_with(&["produce", "x", "--key-separator", "="], b"a=1\nb=2=3\n").text();
    let template = "{offset}:{key}->{value}\\n";
    let out = served.run(&["consume", "x", "--template", template]).text();
    assert_eq!(out, "0:a->1\n1:b->2=3\n");
    let message = served.run_with(&["produce", "x", "--key-separator", "="], b"none\n").failed(1);
    assert!(message.contains("line 1"), "{message}");
}

#[test]
fn starts_and_limits_select_records() {
    let served = Served::fresh();
    served.run(&["log", "create", "x", "-p", "1"]).text();
    let before_all = "time:2001-01-01T00:00:00Z";
    served.run_with(&["produce", "x"], b"a\nb\nc\n").text();
    let consume = |flags: &[&str]| {
        let mut arguments = vec!["consume", "x"];
        arguments.extend(flags);
        served.run(&arguments).text()
    };
    assert_eq!(consume(&["--from", "offset:1"]), "b\nc\n");
    assert_eq!(consume(&["--from", "latest"]), "");
    assert_eq!(consume(&["--from", before_all, "--max", "2"]), "a\nb\n");
    assert_eq!(consume(&["--max", "0"]), "");
    let message = served.run(&["consume", "x", "--from", "offset:4"]).failed(1);
    assert!(message.contains("0 to 3"), "{message}");
    let message = served.run(&["consume", "x", "--partition", "1"]).failed(1);
    assert!(message.contains("partition 1"), "{message}");
    served.run(&["consume", "nothing"]).failed(1);
}

#[test]
fn following_shows_records_as_they_come() {
    let served = Served::fresh();
    served.run(&["log", "create", "x", "-p", "1"]).text();
    served.run_with(&["produce", "x"], b"old\n").text();
    let mut child = served
        .command(&["consume", "x", "--follow", "--from", "earliest"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "old");
    served.run_with(&["produce", "x"], b"new\n").text();
    assert_eq!(lines.next().unwrap().unwrap(), "new");
    signal(&child, Signal::INT);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn an_interrupted_producer_delivers_what_it_read_and_says_so() {
    let served = Served::fresh();
    served.run(&["log", "create", "x", "-p", "1"]).text();
    let mut child = served
        .command(&["produce", "x", "--rate", "50"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&b"line\n".repeat(2_000)).unwrap();
    let mut follower = served
        .command(&["consume", "x", "--follow", "--from", "earliest", "--max", "3"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Three records have arrived: the producer is at work.
    assert!(follower.wait().unwrap().success());
    signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stdout).unwrap();
    let count = served.run(&["consume", "x"]).text().lines().count();
    assert!(said.contains(&format!("produced {count} records")), "{said}, but {count}");
}

#[test]
fn a_file_that_is_missing_is_noticed_before_anything_is_sent() {
    let served = Served::fresh();
    served.run(&["log", "create", "x", "-p", "1"]).text();
    let place = tempfile::tempdir().unwrap();
    let there = write_file(place.path(), "there", b"a\n");
    let message = served.run(&["produce", "x", &there, "not/there"]).failed(1);
    assert!(message.contains("not/there"), "{message}");
    assert_eq!(served.run(&["consume", "x"]).text(), "");
    served.run(&["produce", "nothing", &there]).failed(1);
}
