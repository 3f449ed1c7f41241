//! Backups of logs with proofs: they carry the tree, because what retention took cannot be hashed again.

use std::path::{Path, PathBuf};

use pyralog_client::blocking::Client;
use pyralog_client::{ClientConfig, Offset, PartitionId};
use pyralog_log::merkle::{NODE_BYTES, NODES_START, batch_hash, nodes_before};
use pyralog_log::proof::{Checkpoint, SignedCheckpoint};
use serde_json::Value;

use crate::process::{Served, run};

const FIRST: PartitionId = PartitionId::ZERO;

fn path(directory: &Path) -> &str {
    directory.to_str().unwrap()
}

fn lines(from: u64, to: u64, fill: &str) -> Vec<u8> {
    (from..to)
        .flat_map(|line| format!("record {line} {}\n", fill.repeat(600)).into_bytes())
        .collect()
}

fn start(data: &Path) -> Served {
    Served::start(data, &["--set", "integrity.checkpoint_interval=20ms"])
}

fn client(served: &Served) -> Client {
    Client::connect([served.address().to_owned()], ClientConfig::default()).unwrap()
}

/// What the server has signed of `ledger`, when that covers the records below `end`.
fn signed(served: &Served, end: u64) -> SignedCheckpoint {
    let client = client(served);
    let signed = (0..10_000).find_map(|_| {
        client.ping().unwrap();
        let state = client.checkpoint("ledger", FIRST).unwrap();
        assert_eq!(state.fault, None);
        state.signed.filter(|signed| signed.checkpoint().end_offset.get() >= end)
    });
    signed.expect("a checkpoint of all records")
}

/// Writes a thousand records at a time, each time waiting for a checkpoint. Returns the last.
fn write(served: &Served, from: u64, to: u64) -> Checkpoint {
    let mut last = None;
    for at in (from..to).step_by(1000) {
        served.run_with(&["produce", "ledger"], &lines(at, at + 1000, "x")).text();
        last = Some(*signed(served, at + 1000).checkpoint());
    }
    last.unwrap()
}

/// The nodes of a tree as they lie on the disk.
fn nodes(data: &Path, size: u64) -> Vec<u8> {
    let bytes = std::fs::read(data.join("logs/1/0/tree")).unwrap();
    let start = usize::try_from(NODES_START).unwrap();
    bytes[start..start + usize::try_from(nodes_before(size)).unwrap() * NODE_BYTES].to_vec()
}

/// The batch that holds an offset is in the tree of the checkpoint.
fn proves(served: &Served, offset: u64, checkpoint: &Checkpoint) {
    let (client, offset) = (client(served), Offset::new(offset));
    let proof = client.prove("ledger", (FIRST, offset), checkpoint.tree_size).unwrap();
    let mut reader = client.stored("ledger", FIRST, offset).unwrap();
    let pyralog_client::Stored::Batches(stored) = reader.next().unwrap() else {
        panic!("records at {offset}")
    };
    let mut batches = pyralog_log::batch::Items::new(&stored.bytes).batches();
    let batch = batches.find_map(|batch| {
        let batch = batch.unwrap();
        (batch.header().next_offset() > offset).then(|| batch.bytes().to_vec())
    });
    let hash = batch_hash(&batch.unwrap()).unwrap();
    proof.verify(&checkpoint.tree(), offset, hash).unwrap();
}

/// The files with an ending below a directory.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

#[test]
fn a_log_whose_beginning_is_gone_proves_after_a_restore_what_was_signed_before() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (data, whole, late) = (at("data"), at("whole"), at("late"));
    let served = start(&data);
    let create = ["log", "create", "ledger", "-p", "1", "--integrity", "signed"];
    served.run(&[&create[..], &["--segment-size", "1MiB"]].concat()).text();
    let yesterday = write(&served, 0, 4000);
    served.run(&["backup", path(&whole), "-q"]).text();
    served
        .run(&["log", "truncate", "ledger", "--partition", "0", "--before", "3500", "--yes"])
        .text();
    write(&served, 4000, 6000);
    // One that goes on, and one that begins when the first records are gone.
    served.run(&["backup", path(&whole), "-q"]).text();
    served.run(&["backup", path(&late), "-q"]).text();
    let folder = "logs/1/0";
    assert_eq!(files(&whole.join(folder), "nodes").len(), 2, "the second adds what is new");
    served.run(&["backup", path(&whole), "-q"]).text();
    assert_eq!(files(&whole.join(folder), "nodes").len(), 2, "nothing was new");
    let last = *signed(&served, 6000).checkpoint();
    let before = nodes(&data, last.tree_size);
    assert_eq!(served.stop().0, 0);

    for backup in [whole, late] {
        std::fs::remove_dir_all(&data).unwrap();
        run(&["backup", "verify", path(&backup)]).text();
        run(&["restore", path(&backup), "--data-dir", path(&data)]).text();
        assert_eq!(nodes(&data, last.tree_size), before, "byte for byte");
        let served = start(&data);
        let restored = *signed(&served, 6000).checkpoint();
        assert_eq!(restored.tree(), last.tree());
        assert_eq!(restored.previous, last.hash(), "it continues what was signed before");
        assert_ne!(restored.cluster, last.cluster);
        let today = write(&served, 6000, 7000);
        let sizes = (yesterday.tree_size, today.tree_size);
        let proof = client(&served).prove_consistency("ledger", FIRST, sizes).unwrap();
        proof.verify(&yesterday.tree(), &today.tree()).expect("history as it was signed");
        for offset in [3500, 3999, 5000, 6500] {
            proves(&served, offset, &today);
        }
        assert_eq!(served.stop().0, 0);
    }
}

#[test]
fn a_changed_node_and_batches_that_are_not_those_of_the_tree_are_found() {
    let place = tempfile::tempdir().unwrap();
    let backup = |name: &str, fill: &str| {
        let (data, copy) = (place.path().join(format!("{name}-data")), place.path().join(name));
        let served = start(&data);
        served.run(&["log", "create", "ledger", "-p", "1", "--integrity", "signed"]).text();
        served.run_with(&["produce", "ledger"], &lines(0, 1000, fill)).text();
        signed(&served, 1000);
        served.run(&["backup", path(&copy), "-q"]).text();
        copy
    };
    let (ours, theirs) = (backup("ours", "x"), backup("theirs", "y"));
    let file = files(&ours.join("logs/1/0"), "nodes").remove(0);
    let sound = std::fs::read(&file).unwrap();
    for at in [0, 39, sound.len() / 2, sound.len() - 1] {
        let mut broken = sound.clone();
        broken[at] ^= 1;
        std::fs::write(&file, &broken).unwrap();
        run(&["backup", "verify", path(&ours)]).failed(4);
    }
    std::fs::write(&file, &sound[..sound.len() - NODE_BYTES]).unwrap();
    run(&["backup", "verify", path(&ours)]).failed(4);
    std::fs::write(&file, &sound).unwrap();
    run(&["backup", "verify", path(&ours)]).text();

    // Somebody puts other records into the backup and makes the manifest fit. Only the tree tells.
    let [mut manifest, other] = [&ours, &theirs].map(|copy| manifest(copy));
    let partition = |manifest: &Value| manifest["logs"][0]["partitions"][0].clone();
    for file in files(&ours.join("logs/1/0"), "batches") {
        std::fs::remove_file(file).unwrap();
    }
    for file in files(&theirs.join("logs/1/0"), "batches") {
        std::fs::copy(&file, ours.join("logs/1/0").join(file.file_name().unwrap())).unwrap();
    }
    for field in ["files", "last", "high"] {
        manifest["logs"][0]["partitions"][0][field] = partition(&other)[field].clone();
    }
    let text = format!("PYRALOG-BACKUP 1\n{manifest}\n");
    let hash = blake3::hash(text.as_bytes());
    std::fs::write(ours.join("manifest"), format!("{text}blake3 {hash}\n")).unwrap();
    let done = run(&["backup", "verify", path(&ours)]);
    assert_eq!(done.code, 4, "{}", done.stderr);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("the batch at offset 0 is not the one in the tree"), "{said}");
    let data = place.path().join("restored");
    run(&["restore", path(&ours), "--data-dir", path(&data)]).failed(4);
    assert!(!data.exists());
}

fn manifest(copy: &Path) -> Value {
    let text = std::fs::read_to_string(copy.join("manifest")).unwrap();
    serde_json::from_str(text.lines().nth(1).unwrap()).unwrap()
}
