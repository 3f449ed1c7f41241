//! `pyralog serve`: ready, refused, drained, and what it says meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::Signal;

use crate::process::{Served, pyralog, run, signal};

#[test]
fn it_says_where_it_listens_and_stops_cleanly() {
    let served = Served::fresh();
    assert_eq!(served.ready["event"], "listening");
    assert_eq!(served.ready["shards"].as_array().unwrap().len(), 2);
    let status = served.run(&["status", "--json"]).json();
    assert_eq!(status["shards"].as_array().unwrap().len(), 2);
    assert_eq!(status["node"], served.ready["node"]);
    assert_eq!(served.stop(), (0, String::new()));
}

#[test]
fn people_get_a_banner_and_lines_with_the_addresses() {
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().to_str().unwrap();
    let ready_file = data.path().join("ready.json");
    let mut child =
        pyralog(&["serve", "--listen", "127.0.0.1:0", "--http", "off", "--shards", "1"])
            .args(["--data-dir", directory, "--ready-file"])
            .arg(&ready_file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().unwrap() == "ready" {
            break;
        }
    }
    let text = lines.join("\n");
    assert!(text.contains("listening native 127.0.0.1:"), "{text}");
    assert!(text.contains(directory) && text.contains("Ctrl-C"), "{text}");
    let ready: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&ready_file).unwrap()).unwrap();
    assert!(text.contains(ready["listen"].as_str().unwrap()), "{text}");
    assert_eq!(ready["http"], serde_json::Value::Null);

    signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Ctrl-C: finishing") && said.contains("stopped"), "{said}");
}

#[test]
fn a_directory_in_use_is_refused_and_the_running_server_is_unharmed() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let directory = data.path().to_str().unwrap();
    let second =
        run(&["serve", "--listen", "127.0.0.1:0", "--http", "off", "--data-dir", directory]);
    let message = second.failed(1);
    assert!(message.contains("cannot start"), "{message}");
    served.run(&["status"]).text();
}

#[test]
fn an_address_in_use_is_refused_with_advice() {
    let served = Served::fresh();
    let other = tempfile::tempdir().unwrap();
    let directory = other.path().to_str().unwrap();
    let address = served.address();
    let second = run(&["serve", "--listen", address, "--http", "off", "--data-dir", directory]);
    let message = second.failed(1);
    assert!(message.contains(address) && message.contains("--listen 127.0.0.1:0"), "{message}");
}

#[test]
fn settings_of_the_server_reach_it_through_every_layer() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("p.toml");
    std::fs::write(&file, "[server]\nshards = 7\nnode_name = \"from-file\"\n").unwrap();
    let file = file.to_str().unwrap();
    // `Served` asks for two shards with a flag, which wins over the file.
    let served = Served::start(&data.path().join("data"), &["--config", file]);
    assert_eq!(served.ready["shards"].as_array().unwrap().len(), 2);
}

#[test]
fn a_memory_only_server_writes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let flags = ["--memory-only", "--max-memory", "256MiB"];
    let served = Served::start(place.path(), &flags);
    assert_eq!(served.ready["data_dir"], serde_json::Value::Null);
    served.run(&["log", "create", "cache", "--memory", "--max-bytes", "64MiB", "-p", "1"]).text();
    served.run_with(&["produce", "cache"], b"a\nb\n").text();
    assert_eq!(served.run(&["consume", "cache"]).text(), "a\nb\n");
    // A partition so small that a batch of the default size does not fit it.
    served.run(&["log", "create", "small", "--memory", "--max-bytes", "1MiB", "-p", "1"]).text();
    served
        .run_with(&["produce", "small", "--linger", "1s"], &b"0123456789abcdef\n".repeat(200_000))
        .text();
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn metrics_and_health_answer_over_http() {
    let served = Served::fresh();
    let http = served.ready["http"].as_str().unwrap();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(get("/metrics").contains("pyralog_"));
}
