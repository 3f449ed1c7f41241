//! `pyralog backup`: what it copies, what it copies again, and what it refuses.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Done, Served, run};

fn path(directory: &Path) -> &str {
    directory.to_str().unwrap()
}

fn lines(from: u64, to: u64) -> Vec<u8> {
    (from..to)
        .flat_map(|line| format!("record {line} {}\n", "x".repeat(500)).into_bytes())
        .collect()
}

fn backup(served: &Served, directory: &Path, flags: &[&str]) -> Done {
    let mut arguments = vec!["backup", path(directory), "--json"];
    arguments.extend(flags);
    served.run(&arguments)
}

fn verify(directory: &Path) -> Done {
    run(&["backup", "verify", path(directory), "--json"])
}

/// The files of batches below a directory, in order.
fn batch_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(batch_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "batches") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn count(document: &Value, key: &str) -> u64 {
    document[key].as_u64().unwrap_or_else(|| panic!("{key} in {document}"))
}

#[test]
fn a_backup_holds_everything_and_a_second_one_copies_only_what_is_new() {
    let (served, directory) = (Served::fresh(), tempfile::tempdir().unwrap());
    let directory = directory.path().join("backup");
    served.run(&["log", "create", "events", "-p", "2", "--segment-size", "1MiB"]).text();
    served.run(&["log", "create", "cache", "--memory"]).text();
    served.run(&["obelisk", "create", "orders"]).text();
    served.run(&["obelisk", "next", "orders", "-n", "5"]).text();
    served.run_with(&["produce", "events"], &lines(0, 4000)).text();

    let first = backup(&served, &directory, &[]).json();
    assert_eq!((count(&first, "records"), count(&first, "copied_records")), (4000, 4000));
    assert_eq!((count(&first, "logs"), count(&first, "counters")), (2, 1));
    let files = batch_files(&directory);
    assert_eq!(count(&verify(&directory).json(), "records"), 4000);

    let again = backup(&served, &directory, &[]).json();
    assert_eq!((count(&again, "records"), count(&again, "copied_records")), (4000, 0));
    served.run_with(&["produce", "events"], &lines(4000, 4500)).text();
    let more = backup(&served, &directory, &[]).json();
    assert_eq!((count(&more, "records"), count(&more, "copied_records")), (4500, 500));
    let now = batch_files(&directory);
    assert!(files.iter().all(|file| now.contains(file)) && now.len() > files.len());
    assert_eq!(count(&verify(&directory).json(), "records"), 4500);
}

#[test]
fn a_deleted_log_stays_on_the_disk_until_it_is_pruned() {
    let (served, directory) = (Served::fresh(), tempfile::tempdir().unwrap());
    let directory = directory.path().join("backup");
    for log in ["kept", "lost"] {
        served.run(&["log", "create", log, "-p", "1"]).text();
        served.run_with(&["produce", log], &lines(0, 100)).text();
    }
    backup(&served, &directory, &[]).json();
    let lost = served.run(&["log", "delete", "lost", "--yes", "--json"]).json();
    assert_eq!(lost["deleted"], true);
    let after = backup(&served, &directory, &[]).json();
    assert_eq!((count(&after, "records"), count(&after, "leftover_files")), (100, 1));
    assert_eq!(batch_files(&directory).len(), 2);
    backup(&served, &directory, &["--prune"]).json();
    assert_eq!(batch_files(&directory).len(), 1);
    verify(&directory).json();
    let one = served.run(&["backup", path(&directory), "--log", "lost"]).failed(1);
    assert!(one.contains("lost"), "{one}");
}

#[test]
fn a_changed_byte_of_a_backup_is_found() {
    let (served, directory) = (Served::fresh(), tempfile::tempdir().unwrap());
    let directory = directory.path().join("backup");
    served.run(&["log", "create", "events", "-p", "1"]).text();
    served.run_with(&["produce", "events"], &lines(0, 1000)).text();
    backup(&served, &directory, &[]).json();
    let file = batch_files(&directory).remove(0);
    let sound = std::fs::read(&file).unwrap();
    for at in [0, 40, 200, sound.len() / 2, sound.len() - 1] {
        let mut broken = sound.clone();
        broken[at] ^= 1;
        std::fs::write(&file, &broken).unwrap();
        let done = run(&["backup", "verify", path(&directory)]);
        assert_eq!(done.code, 4, "byte {at}");
    }
    std::fs::write(&file, &sound[..sound.len() - 64]).unwrap();
    verify(&directory).failed(4);
    let message = backup(&served, &directory, &[]).failed(1);
    assert!(message.contains("another length"), "{message}");
    std::fs::write(&file, &sound).unwrap();
    verify(&directory).json();
    let manifest = directory.join("manifest");
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&manifest, bytes).unwrap();
    verify(&directory).failed(4);
}

#[test]
fn what_a_cut_short_backup_has_left_is_used_up_to_its_last_whole_batch() {
    let (served, directory) = (Served::fresh(), tempfile::tempdir().unwrap());
    let directory = directory.path().join("backup");
    served.run(&["log", "create", "events", "-p", "1"]).text();
    for piece in 0..4 {
        let input = lines(piece * 1000, (piece + 1) * 1000);
        served.run_with(&["produce", "events"], &input).text();
    }
    backup(&served, &directory, &[]).json();
    let file = batch_files(&directory).remove(0);
    let whole = std::fs::read(&file).unwrap();
    // As if it had been killed: no manifest yet, and the file that was being written ends in a torn batch.
    std::fs::remove_file(directory.join("manifest")).unwrap();
    std::fs::remove_file(&file).unwrap();
    let part = file.with_file_name(format!("{:020}.part", 0));
    std::fs::write(&part, &whole[..whole.len() - 200]).unwrap();
    let resumed = backup(&served, &directory, &[]).json();
    assert_eq!(count(&resumed, "records"), 4000);
    let copied = count(&resumed, "copied_records");
    assert!(copied > 0 && copied < 4000, "{copied}");
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    assert!(!part.exists());
    // A complete file that no manifest names is taken as well.
    std::fs::remove_file(directory.join("manifest")).unwrap();
    assert_eq!(count(&backup(&served, &directory, &[]).json(), "copied_records"), 0);
    verify(&directory).json();
}

#[test]
fn another_cluster_and_another_history_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().join("backup");
    let (home, copy) = (data.path().join("data"), data.path().join("copy"));
    let served = Served::start(&home, &[]);
    served.run(&["log", "create", "events", "-p", "1"]).text();
    served.run_with(&["produce", "events"], &lines(0, 500)).text();
    served.stop();
    copy_tree(&home, &copy);

    let served = Served::start(&home, &[]);
    served.run_with(&["produce", "events"], &lines(500, 1000)).text();
    backup(&served, &directory, &[]).json();
    served.stop();

    // The same cluster, put back to an older state.
    let served = Served::start(&copy, &[]);
    let message = backup(&served, &directory, &[]).failed(1);
    assert!(message.contains("history of events partition 0"), "{message}");
    served.run_with(&["produce", "events"], &lines(2000, 3000)).text();
    let message = backup(&served, &directory, &[]).failed(1);
    assert!(message.contains("holds another record"), "{message}");
    served.stop();

    let other = Served::fresh();
    let message = backup(&other, &directory, &[]).failed(1);
    assert!(message.contains("is a backup of cluster"), "{message}");
    std::fs::create_dir(data.path().join("mine")).unwrap();
    std::fs::write(data.path().join("mine/x.txt"), "x").unwrap();
    backup(&other, &data.path().join("mine"), &[]).failed(2);
    verify(&data.path().join("mine")).failed(1);
}

#[test]
fn a_backup_of_some_logs_lets_go_of_those_whose_names_they_have_taken() {
    let data = tempfile::tempdir().unwrap();
    let (directory, home) = (data.path().join("backup"), data.path().join("restored"));
    let served = Served::fresh();
    let write = |log: &str, text: &str| {
        served.run(&["log", "create", log, "-p", "1"]).text();
        served.run_with(&["produce", log], text.as_bytes()).text();
    };
    write("events", "old\n");
    write("kept", "kept\n");
    backup(&served, &directory, &[]).json();
    served.run(&["log", "delete", "events", "--yes"]).text();
    write("events", "new\n");
    write("other", "other\n");
    let some = backup(&served, &directory, &["--log", "events", "--log", "other"]).json();
    assert_eq!((count(&some, "logs"), count(&some, "leftover_files")), (3, 1));
    served.stop();

    run(&["restore", path(&directory), "--data-dir", path(&home)]).text();
    let served = Served::start(&home, &[]);
    for (log, expected) in [("events", "new\n"), ("kept", "kept\n"), ("other", "other\n")] {
        let found = served.run(&["consume", log, "--from", "earliest"]).text();
        assert_eq!(found, expected, "of {log}");
    }
}

/// The logs and the catalog of a data directory that no server has; the sparse files of its ids are made again.
fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_name() == "scarab" {
            continue;
        }
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
