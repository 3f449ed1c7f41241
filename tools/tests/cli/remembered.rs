//! `pyralog audit` and what it remembers: a log that is gone is an alarm, and one memory has one auditor.

use std::fs::OpenOptions;
use std::path::Path;

use serde_json::Value;

use crate::process::{Done, Served};

fn audit(served: &Served, state: &Path, logs: &[&str]) -> Done {
    let state = state.to_str().unwrap();
    served.run(&[&["audit", "--once", "--json", "--state", state], logs].concat())
}

/// Makes the signed log `ledger` with some records, and waits until a checkpoint covers them.
fn ledger(served: &Served) {
    served.run(&["log", "create", "ledger", "-p", "1", "--integrity", "signed"]).text();
    served.run_with(&["produce", "ledger"], b"one\ntwo\nthree\n").text();
    let state = tempfile::tempdir().unwrap();
    for _ in 0..1000 {
        let found = audit(served, state.path(), &[]).json();
        if found["partitions"][0]["end_offset"] == 3 {
            return;
        }
    }
    panic!("no checkpoint covers the records");
}

/// The alarms of an audit that ended with one.
fn alarms(done: Done) -> Vec<Value> {
    assert_eq!(done.code, 4, "{}{}", String::from_utf8_lossy(&done.stdout), done.stderr);
    let text = String::from_utf8(done.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("alarm").is_some()).collect()
}

#[test]
fn a_log_that_was_audited_and_is_gone_is_an_alarm_until_it_is_forgotten() {
    let (served, place) = (Served::fresh(), tempfile::tempdir().unwrap());
    let state = place.path().join("audit");
    ledger(&served);
    audit(&served, &state, &[]).json();
    served.run(&["log", "delete", "ledger", "--yes"]).text();
    for logs in [&[][..], &["ledger"]] {
        let found = alarms(audit(&served, &state, logs));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (&found[0]["alarm"], &found[0]["log"]),
            (&"rolled_back_log".into(), &"ledger".into())
        );
        assert_eq!((&found[0]["first_offset"], &found[0]["end_offset"]), (&0.into(), &3.into()));
    }
    // Another one of the name is another log.
    ledger(&served);
    let found = alarms(audit(&served, &state, &["ledger"]));
    assert_eq!(found.len(), 1, "{found:?}");
    // Others are no concern of who audits this one.
    served.run(&["log", "create", "other", "-p", "1", "--integrity", "signed"]).text();
    audit(&served, &state, &["other"]).json();
    // The alarm names the file that it comes from.
    let what = found[0]["what"].as_str().unwrap();
    let remembered = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let named = remembered.filter(|path| what.contains(path.to_str().unwrap()));
    named.for_each(|path| std::fs::remove_file(path).unwrap());
    audit(&served, &state, &[]).json();
}

#[test]
fn a_server_that_says_it_is_another_cluster_does_not_hide_its_past() {
    let (first, second) = (Served::fresh(), Served::fresh());
    let state = tempfile::tempdir().unwrap();
    ledger(&first);
    ledger(&second);
    audit(&first, state.path(), &[]).json();
    let found = alarms(audit(&second, state.path(), &[]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["alarm"], "rolled_back_log");
    audit(&first, state.path(), &[]).failed(4);
}

#[test]
fn a_tree_that_stands_still_is_no_sound_audit() {
    let place = tempfile::tempdir().unwrap();
    let (data, state) = (place.path().join("data"), place.path().join("audit"));
    let served = Served::start(&data, &[]);
    ledger(&served);
    audit(&served, &state, &[]).json();
    served.run(&["log", "truncate", "ledger", "--partition", "0", "--before", "2", "--yes"]).text();
    audit(&served, &state, &[]).json();
    served.stop();
    // The nodes are gone, and so is the beginning of the log: nothing can be proven that comes from now on.
    std::fs::remove_file(data.join("logs/1/0/tree")).unwrap();
    let served = Served::start(&data, &[]);
    served.run_with(&["produce", "ledger"], b"four\n").text();
    let refused = audit(&served, &state, &[]).failed(1);
    assert!(refused.contains("stands still") && refused.contains("ledger"), "{refused}");
}

#[test]
fn a_memory_that_another_auditor_holds_is_left_alone() {
    let (served, state) = (Served::fresh(), tempfile::tempdir().unwrap());
    ledger(&served);
    let path = state.path().join("lock");
    let lock = OpenOptions::new().create(true).append(true).open(path).unwrap();
    lock.lock().unwrap();
    let refused = audit(&served, state.path(), &[]).failed(1);
    assert!(refused.contains("another audit"), "{refused}");
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1, "nothing was written");
    drop(lock);
    audit(&served, state.path(), &[]).json();
}
