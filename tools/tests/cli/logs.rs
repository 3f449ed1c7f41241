//! `pyralog log`: the life of a log.

use crate::process::Served;

#[test]
fn a_log_is_created_listed_described_altered_and_deleted() {
    let served = Served::fresh();
    assert_eq!(served.run(&["log", "list", "--json"]).json(), serde_json::json!([]));
    let created =
        served.run(&["log", "create", "web.access", "-p", "3", "-d", "written", "--json"]).json();
    assert_eq!(created["config"]["partitions"], 3);
    assert_eq!(created["config"]["durability"], "written");

    served.run(&["log", "create", "other"]).text();
    let listed = served.run(&["log", "list", "--prefix", "web.", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let table = served.run(&["log", "list"]).text();
    assert!(table.contains("web.access") && table.contains("other"), "{table}");

    let described = served.run(&["log", "describe", "web.access", "--json"]).json();
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(described["id"], created["id"]);

    let altered = served.run(&["log", "alter", "web.access", "-d", "synced", "--json"]).json();
    assert_eq!(altered["config"]["durability"], "synced");

    served.run(&["log", "delete", "web.access", "--yes"]).text();
    let message = served.run(&["log", "describe", "web.access"]).failed(1);
    assert!(message.contains("log create web.access"), "{message}");
}

#[test]
fn defaults_of_new_logs_come_from_the_settings() {
    let served = Served::fresh();
    let set = ["--set", "logs.partitions=2", "--set", "logs.durability=memory"];
    let mut arguments = vec!["log", "create", "x", "--json"];
    arguments.extend(set);
    let created = served.run(&arguments).json();
    assert_eq!(created["config"]["partitions"], 2);
    assert_eq!(created["config"]["durability"], "memory");
}

#[test]
fn a_second_log_of_a_name_is_refused_unless_that_is_fine() {
    let served = Served::fresh();
    served.run(&["log", "create", "x"]).text();
    let message = served.run(&["log", "create", "x"]).failed(1);
    assert!(message.contains("--if-not-exists"), "{message}");
    served.run(&["log", "create", "x", "--if-not-exists"]).text();
}

#[test]
fn deleting_without_a_terminal_needs_yes() {
    let served = Served::fresh();
    served.run(&["log", "create", "x"]).text();
    let message = served.run_with(&["log", "delete", "x"], b"x\n").failed(2);
    assert!(message.contains("--yes"), "{message}");
    served.run(&["log", "describe", "x"]).text();
    served.run(&["log", "delete", "nothing", "--yes"]).failed(1);
    served.run(&["log", "delete", "nothing", "--yes", "--if-exists"]).text();
}

#[test]
fn names_and_settings_that_cannot_be_are_usage_errors() {
    let served = Served::fresh();
    served.run(&["log", "create", "no/slash"]).failed(2);
    let message =
        served.run(&["log", "create", "m", "--memory", "--durability", "synced"]).failed(2);
    assert!(message.contains("memory"), "{message}");
    served.run(&["log", "create", "m", "--segment-size", "1"]).failed(2);
}

#[test]
fn what_the_background_does_is_described() {
    let served = Served::fresh();
    served.run(&["log", "create", "plain", "-p", "1"]).text();
    let plain = served.run(&["log", "describe", "plain"]).text();
    for absent in ["COMPACTION", "IN STORE", "CHECKPOINT"] {
        assert!(!plain.contains(absent), "{plain}");
    }
    served.run(&["log", "create", "prices", "-p", "1", "--compact", "on"]).text();
    let prices = served.run(&["log", "describe", "prices"]).text();
    assert!(prices.contains("LAST RUN") && prices.contains("never"), "{prices}");
    served.run(&["log", "create", "ledger", "-p", "1", "--integrity", "hash"]).text();
    served.run_with(&["produce", "ledger", "-q"], b"one\ntwo\n").text();
    let tree = (0..1_000).find_map(|_| {
        let described = served.run(&["log", "describe", "ledger", "--json"]).json();
        let partition = described["partitions"][0].clone();
        assert_eq!(partition["compaction"]["last_run"], serde_json::Value::Null);
        assert_eq!(partition["store"]["segments"], 0);
        (partition["tree"]["checkpoint_end"] == 2).then(|| partition["tree"].clone())
    });
    let tree = tree.expect("a checkpoint of both records");
    assert_eq!((&tree["lag_records"], &tree["failed"]), (&0.into(), &false.into()));
    assert!(tree["batches"].as_u64() > Some(0) && tree["checkpoint_time"].is_string(), "{tree}");
    let ledger = served.run(&["log", "describe", "ledger"]).text();
    assert!(ledger.contains("CHECKPOINT OF") && !ledger.contains("LAST RUN"), "{ledger}");
}

#[test]
fn the_life_of_records_is_set_changed_and_shown() {
    let served = Served::fresh();
    let life = ["--retention", "7d", "--retention-size", "100GiB", "--segment-age", "1h"];
    served.run(&[&["log", "create", "access"], &life[..]].concat()).text();
    let described = served.run(&["log", "describe", "access"]).text();
    assert!(described.contains("kept for 7d, at most 100GiB each"), "{described}");
    let changes = ["--retention", "none", "--compact", "on", "--tombstone-retention", "2h"];
    let altered =
        served.run(&[&["log", "alter", "access", "--json"], &changes[..]].concat()).json();
    let config = &altered["config"];
    assert_eq!(config["retention_ms"], 0);
    assert_eq!(config["retention_bytes"], 100_u64 << 30, "what is not named stays");
    assert_eq!(config["compaction"], true);
    assert_eq!(config["tombstone_ms"], 7_200_000);
    let refused = served
        .run(&["log", "create", "ledger", "--integrity", "signed", "--compact", "on"])
        .failed(2);
    assert!(refused.contains("write the newest values to another log"), "{refused}");
    let refused = served.run(&["log", "alter", "access", "--local-retention", "1h"]).failed(2);
    assert!(refused.contains("local retention is for tiered logs"), "{refused}");
    let nothing = served.run(&["log", "alter", "access"]).failed(2);
    assert!(nothing.contains("no change of access is given"), "{nothing}");
}
