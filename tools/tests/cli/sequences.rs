//! `pyralog id`, `pyralog obelisk`, `pyralog log get`, and the roles of nodes.

use std::collections::BTreeSet;

use pyralog_client::blocking::Client;
use pyralog_client::{ClientConfig, ProducerConfig, Record};
use serde_json::{Value, json};

use crate::process::{Served, run};

#[test]
fn ids_are_dealt_once_and_taken_apart() {
    let served = Served::fresh();
    let mut seen = BTreeSet::new();
    for format in ["text", "number"] {
        let text = served.run(&["id", "next", "-n", "500", "--format", format]).text();
        let decoded = run(&["id", "decode", text.lines().next().unwrap(), "--json"]).json();
        assert!(decoded[0]["time"].as_str().unwrap().starts_with("20"), "{decoded}");
        let mut arguments = vec!["id", "decode", "--json"];
        arguments.extend(text.lines());
        for id in run(&arguments).json().as_array().unwrap() {
            assert!(seen.insert(id["number"].as_str().unwrap().to_owned()), "{id} came twice");
            let forms = [&id["id"], &id["number"]].map(|form| form.as_str().unwrap());
            assert!(text.lines().any(|line| forms.contains(&line)), "{id}");
        }
    }
    let ids = served.run(&["id", "next", "-n", "2", "--json"]).json();
    assert!(ids.as_array().unwrap().iter().all(|id| id.as_str().unwrap().len() == 13), "{ids}");
    assert_eq!(seen.len(), 1000);
}

#[test]
fn an_id_is_decoded_without_a_server() {
    let table = run(&["id", "decode", "29360127", "00000000vzzzz"]).text();
    let rows: Vec<Vec<&str>> =
        table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let row = vec!["00000000VZZZZ", "29360127", "2025-01-01T00:00:00.003Z", "511", "8191"];
    assert_eq!(rows, [row.clone(), row]);
    let wrong = run(&["id", "decode", "0000000000U0O"]).failed(2);
    assert!(wrong.contains("not a Scarab id") && wrong.contains("13 characters"), "{wrong}");
    run(&["id", "decode", "18446744073709551616"]).failed(2);
}

#[test]
fn counts_out_of_range_are_usage_errors_that_name_it() {
    for command in [&["id", "next"][..], &["obelisk", "next", "x"]] {
        for count in ["0", "1048577", "-1", "many"] {
            let wrong = run(&[command, &["--count", count]].concat()).failed(2);
            assert!(wrong.contains("--count") || wrong.contains(count), "{wrong}");
        }
        let most = run(&[command, &["-n", "1048577"]].concat()).failed(2);
        assert!(most.contains("1..=1048576"), "{most}");
    }
}

#[test]
fn a_counter_is_created_taken_from_shown_and_raised() {
    let served = Served::fresh();
    let none = served.run(&["obelisk", "list"]);
    assert!(none.stderr.contains("obelisk create NAME"), "{}", none.stderr);
    let created = served.run(&["obelisk", "create", "orders", "--block", "100"]).text();
    assert_eq!(created, "created orders (reserve, blocks of 100)\n");
    let again = served.run(&["obelisk", "create", "orders", "--block", "100"]).text();
    assert!(again.starts_with("exists already: orders"), "{again}");
    let other = served.run(&["obelisk", "create", "orders", "--mode", "always"]).failed(1);
    assert!(other.contains("obelisk stat orders"), "{other}");

    assert_eq!(served.run(&["obelisk", "get", "orders"]).text(), "0\n");
    assert_eq!(served.run(&["obelisk", "next", "orders", "-n", "3"]).text(), "1\n2\n3\n");
    let next = served.run(&["obelisk", "next", "orders", "-n", "2", "--json"]).json();
    assert_eq!(next, json!({ "name": "orders", "first": 4, "last": 5, "count": 2 }));
    assert_eq!(served.run(&["obelisk", "get", "orders"]).text(), "5\n");

    let raised = served.run(&["obelisk", "raise", "orders", "200000"]).text();
    assert_eq!(raised, "orders goes on at 200001 or above\n");
    assert_eq!(served.run(&["obelisk", "next", "orders"]).text(), "200001\n");
    let stat = served.run(&["obelisk", "stat", "orders", "--json"]).json();
    assert_eq!((&stat["mode"], &stat["block"]), (&json!("reserve"), &json!(100)));
    assert_eq!((&stat["last"], &stat["problem"]), (&json!(200_001), &Value::Null));
    assert!(stat["durable"].as_u64() >= stat["last"].as_u64(), "{stat}");
    let text = served.run(&["obelisk", "stat", "orders"]).text();
    assert!(text.contains("200,001") && text.contains("in reserve"), "{text}");

    served.run(&["obelisk", "create", "orders.eu", "--mode", "group"]).text();
    served.run(&["obelisk", "create", "invoices", "--mode", "always"]).text();
    let listed = served.run(&["obelisk", "list", "orders", "--json"]).json();
    let names: Vec<&Value> =
        listed.as_array().unwrap().iter().map(|counter| &counter["name"]).collect();
    assert_eq!(names, ["orders", "orders.eu"]);
    let table = served.run(&["obelisk", "list"]).text();
    assert!(table.contains("invoices") && table.contains("always"), "{table}");
}

#[test]
fn a_counter_that_is_not_there_and_one_that_cannot_be_are_told_apart() {
    let served = Served::fresh();
    for command in ["get", "next", "stat"] {
        let missing = served.run(&["obelisk", command, "nothing"]).failed(1);
        assert!(missing.contains("obelisk list"), "{missing}");
    }
    served.run(&["obelisk", "raise", "nothing", "7"]).failed(1);
    served.run(&["obelisk", "create", "a/b"]).failed(2);
    served.run(&["obelisk", "create", "x", "--block", "0"]).failed(2);
    let block = served.run(&["obelisk", "create", "x", "--mode", "always", "--block", "5"]);
    assert!(block.failed(2).contains("--mode reserve"));
    let interval = ["obelisk", "create", "x", "--mode", "unsafe-interval", "--interval", "61s"];
    assert!(served.run(&interval).failed(2).contains("60000"));
}

#[test]
fn a_counter_that_repeats_warns_whoever_makes_it() {
    let served = Served::fresh();
    let made = served.run(&["obelisk", "create", "cache", "--mode", "unsafe-interval"]);
    assert!(made.stderr.contains("warning: a crash REPEATS"), "{}", made.stderr);
    assert_eq!(made.text(), "created cache (unsafe-interval, synced every 100ms)\n");
    let made = served.run(&["obelisk", "create", "scratch", "--mode", "memory"]);
    assert!(made.stderr.contains("begins again"), "{}", made.stderr);
    let made = served.run(&["obelisk", "create", "orders"]);
    assert_eq!(made.stderr, "");
}

#[test]
fn the_newest_record_with_a_key_is_printed() {
    let served = Served::fresh();
    served.run(&["log", "create", "users", "--key-index", "-p", "3"]).text();
    let input = b"alice:1\nbob:2\nalice:3\n";
    served.run_with(&["produce", "users", "--key-separator", ":", "-q"], input).text();
    assert_eq!(served.run(&["log", "get", "users", "alice"]).text(), "3\n");
    let found = served.run(&["log", "get", "users", "bob", "--json"]).json();
    let consumed = served.run(&["consume", "users", "--format", "json"]).text();
    let same = |line: &&str| serde_json::from_str::<Value>(line).unwrap() == found;
    assert!(consumed.lines().any(|line| same(&line)), "{found} is not in {consumed}");
    assert_eq!(found["id"].as_str().unwrap().len(), 13);

    let place = found["partition"].to_string();
    assert_eq!(served.run(&["log", "get", "users", "bob", "-p", &place]).text(), "2\n");
    let elsewhere = ((found["partition"].as_u64().unwrap() + 1) % 3).to_string();
    served.run(&["log", "get", "users", "bob", "-p", &elsewhere]).failed(5);
    let nobody = served.run(&["log", "get", "users", "nobody"]).failed(5);
    assert!(nobody.contains("no record of users has the key nobody"), "{nobody}");
    let error: Value =
        serde_json::from_str(&served.run(&["log", "get", "users", "nobody", "--json"]).failed(5))
            .unwrap();
    assert_eq!(error["error"]["status"], "no_such_key");
}

#[test]
fn a_key_without_a_value_any_more_is_told_as_deleted() {
    let served = Served::fresh();
    served.run(&["log", "create", "users", "--key-index"]).text();
    served.run_with(&["produce", "users", "--key-separator", ":", "-q"], b"alice:1\n").text();
    let client = Client::connect([served.address()], ClientConfig::default()).unwrap();
    let mut producer = client.producer("users", ProducerConfig::default()).unwrap();
    producer.send_detached(Record::tombstone(b"alice")).unwrap();
    producer.close().unwrap();
    let deleted = served.run(&["log", "get", "users", "alice"]);
    assert_eq!(deleted.stdout, b"");
    assert!(deleted.failed(5).contains("the key alice is deleted"));
    let deleted = served.run(&["log", "get", "users", "alice", "--json"]);
    let record: Value = serde_json::from_slice(&deleted.stdout).unwrap();
    assert_eq!((&record["value"], &record["offset"]), (&Value::Null, &json!(1)));
    deleted.failed(5);
}

#[test]
fn keys_are_looked_up_only_while_they_are_indexed() {
    let served = Served::fresh();
    served.run(&["log", "create", "plain"]).text();
    served.run_with(&["produce", "plain", "--key-separator", ":", "-q"], b"a:1\n").text();
    let refused = served.run(&["log", "get", "plain", "a"]).failed(1);
    assert!(refused.contains("log alter plain --key-index on"), "{refused}");
    let altered = served.run(&["log", "alter", "plain", "--key-index", "on", "--json"]).json();
    assert_eq!(altered["config"]["key_index"], true);
    assert_eq!(served.run(&["log", "get", "plain", "a"]).text(), "1\n");
    let described = served.run(&["log", "describe", "plain"]).text();
    assert!(described.contains("keys indexed"), "{described}");
    let altered = served.run(&["log", "alter", "plain", "--key-index", "off"]).text();
    assert!(!altered.contains("keys indexed"), "{altered}");
    served.run(&["log", "get", "plain", "a"]).failed(1);
}

#[test]
fn an_obelisk_deals_and_stores_nothing_and_a_pyramid_the_other_way_round() {
    let data = tempfile::tempdir().unwrap();
    let flags = ["--role", "obelisk", "--set", "ids.slots=512-1023"];
    let obelisk = Served::start(&data.path().join("obelisk"), &flags);
    assert_eq!(
        (&obelisk.ready["role"], &obelisk.ready["slots"]),
        (&json!("obelisk"), &json!("512-1023"))
    );
    let refused = obelisk.run(&["log", "create", "x"]).failed(1);
    assert!(refused.contains("WrongRole") && refused.contains("--role all"), "{refused}");
    obelisk.run(&["obelisk", "create", "orders"]).text();
    let id = obelisk.run(&["id", "next"]).text();
    let decoded = run(&["id", "decode", id.trim(), "--json"]).json();
    assert!(decoded[0]["slot"].as_u64() >= Some(512), "{decoded}");

    let flags = ["--role", "pyramid", "--set", "ids.slots=0-511"];
    let pyramid = Served::start(&data.path().join("pyramid"), &flags);
    let refused = pyramid.run(&["id", "next"]).failed(1);
    assert!(refused.contains("WrongRole") && refused.contains("--role all"), "{refused}");
    pyramid.run(&["obelisk", "create", "orders"]).failed(1);
    pyramid.run(&["log", "create", "x"]).text();
    pyramid.run_with(&["produce", "x", "-q"], b"a\n").text();
    let slot = pyramid.run(&["consume", "x", "--template", "{id}"]).text();
    let decoded = run(&["id", "decode", slot.trim(), "--json"]).json();
    assert!(decoded[0]["slot"].as_u64() < Some(512), "{decoded}");
}

#[test]
fn wrong_roles_slots_and_clusters_name_their_setting() {
    let role = run(&["serve", "--role", "frog"]).failed(2);
    assert!(role.contains("server.role = frog") && role.contains("pyramid"), "{role}");
    let slots = run(&["serve", "--set", "ids.slots=0-1024"]).failed(2);
    assert!(slots.contains("ids.slots = 0-1024"), "{slots}");
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().to_str().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--http", "off", "--data-dir", directory];
    let few = ["--shards", "2", "--set", "ids.slots=3"];
    let few = run(&[&serve[..], &few].concat()).failed(2);
    assert!(few.contains("ids.slots = 3") && few.contains("more slots"), "{few}");

    let served = Served::start(data.path(), &["--set", "server.cluster_id=77"]);
    assert_eq!(served.ready["cluster"], 77);
    let second = run(&[&serve[..], &["--role", "obelisk"]].concat()).failed(1);
    assert!(second.contains("is in use by the server with process id"), "{second}");
    served.stop();
    let other = run(&[&serve[..], &["--set", "server.cluster_id=78"]].concat()).failed(1);
    assert!(other.contains("cluster 77") && other.contains("server.cluster_id"), "{other}");
}

#[test]
fn the_high_water_mark_is_told_by_the_server_and_by_its_disk() {
    let data = tempfile::tempdir().unwrap();
    let served =
        Served::start(data.path(), &["--set", "ids.slots=0-9", "--set", "server.cluster_id=5"]);
    served.run(&["id", "next", "-n", "100"]).text();
    let http = served.ready["http"].as_str().unwrap();
    let told = run(&["obelisk", "stat", "--http", http, "--json"]).json();
    let told_ms = told["high_water_unix_ms"].as_u64().unwrap();
    let shards = told["shards"].as_array().unwrap();
    let sum = |field: &str| shards.iter().map(|shard| shard[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(
        (sum("slots"), sum("dealt") >= 100, &told["cluster"]),
        (10, true, &json!(5)),
        "{told}"
    );
    let text = run(&["obelisk", "stat", "--http", http]).text();
    assert!(text.contains("HIGH-WATER MARK") && text.contains("ids.not_before="), "{text}");
    let last = served.run(&["id", "next"]).text();
    served.stop();

    let directory = data.path().to_str().unwrap();
    let kept = run(&["obelisk", "stat", "--data-dir", directory, "--json"]).json();
    let kept_ms = kept["high_water_unix_ms"].as_u64().unwrap();
    assert!(kept_ms >= told_ms, "{kept} after {told}");
    assert_eq!(kept["marks"].as_array().unwrap().len(), 2);
    // Another server takes the slots over, and deals nothing from before the mark.
    let not_before = format!("ids.not_before={kept_ms}");
    let other = tempfile::tempdir().unwrap();
    let flags = ["--set", &not_before, "--set", "ids.slots=0-9", "--set", "server.cluster_id=5"];
    let heir = Served::start(other.path(), &flags);
    let first = heir.run(&["id", "next"]).text();
    let of =
        |id: &str| run(&["id", "decode", id.trim(), "--json"]).json()[0]["time_unix_ms"].as_u64();
    assert!(of(&last) < Some(kept_ms) && of(&first) >= Some(kept_ms), "{last} {kept_ms} {first}");

    let empty = other.path().join("nothing");
    let none = run(&["obelisk", "stat", "--data-dir", empty.to_str().unwrap()]).failed(1);
    assert!(none.contains("no marks of ids"), "{none}");
    run(&["obelisk", "stat", "--http", "127.0.0.1:1"]).failed(3);
}
