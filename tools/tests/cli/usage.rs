//! Wrong usage, and commands that need no server.

use std::process::Stdio;

use crate::process::{pyralog, run};

#[test]
fn wrong_flags_and_values_are_usage_errors_with_a_hint() {
    let unknown = run(&["serve", "--shardz", "2"]).failed(2);
    assert!(unknown.contains("--shards"), "{unknown}");
    let value = run(&["produce", "x", "--rate", "0"]).failed(2);
    assert!(value.contains("--rate"), "{value}");
    let command = run(&["prodcue", "x"]).failed(2);
    assert!(command.contains("produce"), "{command}");
    let start = run(&["consume", "x", "--from", "yesterday"]).failed(2);
    assert!(start.contains("earliest, latest, offset:N or time:T"), "{start}");
    run(&["log", "alter", "x"]).failed(2);
    run(&["log", "create", "x", "--ttl", "1h"]).failed(2);
    run(&["consume", "x", "--format", "template"]).failed(2);
    run(&[]).failed(2);
}

#[test]
fn a_server_that_is_not_there_is_exit_code_3() {
    // Port 1 of loopback: nobody listens there, and the answer comes at once.
    let commands: [&[&str]; 11] = [
        &["status"],
        &["log", "list"],
        &["log", "create", "x"],
        &["log", "delete", "x", "--yes"],
        &["consume", "x"],
        &["produce", "x"],
        &["log", "get", "x", "key"],
        &["id", "next"],
        &["obelisk", "create", "x"],
        &["obelisk", "next", "x"],
        &["obelisk", "stat", "x"],
    ];
    for command in commands {
        let mut arguments = command.to_vec();
        arguments.extend(["--server", "127.0.0.1:1", "--timeout", "2s"]);
        let message = run(&arguments).failed(3);
        assert!(message.contains("127.0.0.1:1"), "{message}");
        assert!(message.contains("pyralog serve"), "{message}");
    }
}

#[test]
fn errors_are_json_when_json_was_asked_for() {
    let text = run(&["status", "--json", "--server", "127.0.0.1:1"]).failed(3);
    let error: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(error["error"]["status"], "unavailable");
    assert_eq!(error["error"]["exit_code"], 3);
}

#[test]
fn a_server_without_a_port_is_a_usage_error() {
    let message = run(&["status", "--server", "localhost"]).failed(2);
    assert!(message.contains("expected host:port"), "{message}");
    let message = run(&["status", "--timeout", "10"]).failed(2);
    assert!(message.contains("needs a unit"), "{message}");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).text();
        assert!(script.contains("quickstart") && script.contains("print-default"), "{shell}");
    }
    run(&["completions", "tcsh"]).failed(2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = pyralog(&["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn colours_are_used_when_asked_for_only() {
    let plain = run(&["status", "--server", "127.0.0.1:1"]).failed(3);
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let coloured = run(&["status", "--server", "127.0.0.1:1", "--color", "always"]).failed(3);
    assert!(coloured.contains('\u{1b}'), "{coloured}");
}

#[test]
fn doctor_judges_this_machine_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("not/yet").display().to_string();
    // A machine may have its troubles; what it says is checked all the same.
    let done = run(&["doctor", "--json", "--data-dir", &directory]);
    assert!(matches!(done.code, 0 | 1), "{}", done.stderr);
    let checks: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let level = |name: &str| {
        let checks = checks.as_array().unwrap();
        let check = checks.iter().find(|check| check["check"] == name);
        check.map(|check| check["level"].as_str().unwrap().to_owned())
    };
    for name in ["kernel", "io_uring", "memlock", "file size", "processors", "clock"] {
        assert!(level(name).is_some(), "{name} is not checked");
    }
    assert_eq!(level("direct I/O").as_deref(), Some("ok"));
    assert!(level("sync latency").is_some());
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn doctor_writes_nothing_when_told_so() {
    let text = run(&["doctor", "--read-only"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("--read-only: not tried"), "{text}");
}
