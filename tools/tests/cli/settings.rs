//! `pyralog config` and the layers of settings as the binary applies them.

use std::process::Command;

use serde_json::Value;

use crate::process::{Done, pyralog, run, run_with};

fn done(mut command: Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn shown(settings: &Value, key: &str) -> (String, String) {
    let all = settings.as_array().unwrap();
    let one = all.iter().find(|one| one["key"] == key).unwrap();
    (one["value"].as_str().unwrap().to_owned(), one["origin"].as_str().unwrap().to_owned())
}

#[test]
fn the_printed_default_is_valid() {
    let text = run(&["config", "print-default"]).text();
    let report = run_with(&["config", "validate", "-", "--json"], text.as_bytes()).json();
    assert_eq!(report["valid"], true);
}

#[test]
fn layers_win_in_the_documented_order_and_show_their_origin() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("p.toml");
    std::fs::write(&file, "[server]\nnode_name = \"file\"\nspin = \"1ms\"\nshards = 3\n").unwrap();
    let file = file.to_str().unwrap();
    let set = "server.node_name=set";
    let mut command = pyralog(&["config", "show", "--json", "--config", file, "--set", set]);
    command.env("PYRALOG__SERVER__NODE_NAME", "env").env("PYRALOG__SERVER__SPIN", "2ms");
    let settings = done(command).json();
    assert_eq!(shown(&settings, "server.node_name"), ("\"set\"".to_owned(), "--set".to_owned()));
    let variable = "environment variable PYRALOG__SERVER__SPIN".to_owned();
    assert_eq!(shown(&settings, "server.spin"), ("\"2ms\"".to_owned(), variable));
    assert_eq!(shown(&settings, "server.shards"), ("3".to_owned(), format!("{file}:4")));
    assert_eq!(shown(&settings, "server.pin"), ("true".to_owned(), "default".to_owned()));
}

#[test]
fn an_unknown_key_is_refused_with_the_near_one_wherever_it_stands() {
    let text = run_with(&["config", "validate", "-"], b"[server]\nshrads = 2\n");
    let out = String::from_utf8(text.stdout).unwrap();
    assert_eq!(text.code, 2);
    assert!(out.contains("-:2: unknown setting \"server.shrads\""), "{out}");
    assert!(out.contains("did you mean \"server.shards\"?"), "{out}");

    let message = run(&["serve", "--set", "server.lisen=127.0.0.1:0"]).failed(2);
    assert!(message.contains("did you mean \"server.listen\"?"), "{message}");

    let mut command = pyralog(&["status"]);
    command.env("PYRALOG__CLIENT__SERVRES", "a:1");
    let message = done(command).failed(2);
    assert!(message.contains("did you mean \"client.servers\"?"), "{message}");
}

#[test]
fn every_problem_of_a_file_is_reported_at_once() {
    let text = b"[server]\nshards = \"many\"\n[logs]\nsegment_bytes = \"1G\"\n";
    let done = run_with(&["config", "validate", "-"], text);
    let out = String::from_utf8(done.stdout).unwrap();
    assert!(out.contains("-:2: server.shards = many"), "{out}");
    assert!(out.contains("unit \"G\" is unclear: write GiB or GB"), "{out}");
    assert!(done.stderr.contains("2 problem(s)"), "{}", done.stderr);
}

#[test]
fn validate_checks_settings_against_each_other_and_strict_counts_warnings() {
    let clash = b"[server]\nlisten = \"127.0.0.1:7400\"\n[http]\nlisten = \"127.0.0.1:7401\"\n";
    let done = run_with(&["config", "validate", "-"], clash);
    assert_eq!(done.code, 2);
    let open = b"[server]\nlisten = \"0.0.0.0:7400\"\n";
    let report = run_with(&["config", "validate", "-", "--json"], open).json();
    assert_eq!(report["valid"], true);
    let findings = report["findings"].to_string();
    assert!(findings.contains("reachable from other machines"), "{findings}");
    run_with(&["config", "validate", "-", "--strict"], open).failed(2);
}

#[test]
fn a_file_that_cannot_be_read_is_a_usage_error() {
    let message = run(&["config", "validate", "no/such/file.toml"]).failed(2);
    assert!(message.contains("no/such/file.toml"), "{message}");
    let message = run(&["status", "--config", "no/such/file.toml"]).failed(2);
    assert!(message.contains("print-default"), "{message}");
}
