//! The manifest: golden text, and every change of it refused.

use pyralog_log::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
use pyralog_log::proof::NodeKey;
use pyralog_wire::LogConfig;

use super::*;

fn manifest() -> Manifest {
    let command = Command::Create {
        name: "events".to_owned(),
        config: LogConfig::default(),
        created: Timestamp::new(1_700_000_000_000_000),
    };
    let file = |first, next| BatchFile {
        first,
        next,
        bytes: 4096,
        records: next - first,
        blake3: "ab".repeat(32),
    };
    let partition = PartitionBackup {
        partition: 0,
        low: 15,
        high: 60,
        files: vec![file(10, 30), file(40, 60)],
        holes: vec![(30, 40)],
        last: Some("00".repeat(128)),
        tree: None,
    };
    Manifest {
        cluster: 77,
        taken_us: 1_700_000_001_000_000,
        ids_until_ms: 1_700_000_012_000,
        logs: vec![LogBackup {
            id: 3,
            name: "events".to_owned(),
            create: to_hex(&catalog::encode(&command).unwrap()),
            partitions: vec![partition],
        }],
        counters: vec![CounterBackup {
            name: "orders".to_owned(),
            mode: "reserve".to_owned(),
            block: 65_536,
            interval_ms: 1000,
            value: 131_072,
        }],
    }
}

#[test]
fn a_manifest_comes_back_whole_or_not_at_all() {
    let bytes = manifest().encode();
    assert_eq!(Manifest::decode(&bytes), Ok(manifest()));
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 1;
        // The last newline is the end of a line, and no part of what it says.
        let harmless = at == bytes.len() - 1;
        assert!(harmless || Manifest::decode(&broken).is_err(), "byte {at}");
        assert!(harmless || Manifest::decode(&bytes[..at]).is_err(), "{at} bytes");
    }
}

/// The form that backups of released versions have: it stays readable for good.
/// `UPDATE_GOLDEN=1 cargo test -p pyralog --bin pyralog form_of_a_manifest`.
#[test]
fn the_form_of_a_manifest_is_fixed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/backup-manifest.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, manifest().encode()).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    assert_eq!(Manifest::decode(&golden), Ok(manifest()));
}

/// The same of a log with proofs, whose tree has 20 batches.
fn with_tree(key: Option<&NodeKey>) -> Manifest {
    let mut manifest = manifest();
    let checkpoint = Checkpoint {
        cluster: 77,
        log: LogId::new(3),
        partition: PartitionId::ZERO,
        epoch: Epoch::ZERO,
        tree_size: 20,
        end_offset: Offset::new(55),
        root: [7; 32],
        time: Timestamp::new(1_700_000_000_500_000),
        previous: [6; 32],
    };
    let bytes = match key {
        Some(key) => to_hex(&checkpoint.sign(key).encode()),
        None => to_hex(&checkpoint.encode()),
    };
    let file = |first, next| NodeFile { first, next, blake3: "cd".repeat(32) };
    let files = vec![file(0, 7), file(7, 38)];
    manifest.logs[0].partitions[0].tree = Some(TreeBackup { checkpoint: bytes, files });
    manifest
}

#[test]
fn the_form_of_a_manifest_with_a_tree_is_fixed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/backup-manifest-tree.txt");
    let manifest = with_tree(Some(&NodeKey::from_seed(&[3; 32])));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, manifest.encode()).unwrap();
    }
    assert_eq!(Manifest::decode(&std::fs::read(&path).unwrap()), Ok(manifest));
}

#[test]
fn a_tree_that_is_another_ones_or_has_not_all_of_its_nodes_is_refused() {
    let broken = |change: fn(&mut TreeBackup)| {
        let mut manifest = with_tree(None);
        change(manifest.logs[0].partitions[0].tree.as_mut().unwrap());
        Manifest::decode(&manifest.encode())
    };
    assert!(broken(|_| {}).is_ok());
    assert!(broken(|tree| drop(tree.files.pop())).is_err());
    assert!(broken(|tree| tree.files[1].first = 8).is_err());
    assert!(broken(|tree| tree.files[1].next = 39).is_err());
    assert!(broken(|tree| tree.files.swap(0, 1)).is_err());
    assert!(broken(|tree| tree.checkpoint.truncate(10)).is_err());
    // A signature that does not hold.
    let signed = with_tree(Some(&NodeKey::from_seed(&[3; 32])));
    let mut forged = signed.clone();
    let tree = forged.logs[0].partitions[0].tree.as_mut().unwrap();
    tree.checkpoint = tree.checkpoint.replace("0707", "0807");
    assert!(Manifest::decode(&forged.encode()).is_err());
    // Another cluster, another partition, records that end before it.
    assert!(Manifest::decode(&Manifest { cluster: 78, ..signed.clone() }.encode()).is_err());
    let mut short = signed;
    let partition = &mut short.logs[0].partitions[0];
    (partition.high, partition.files[1].next) = (54, 54);
    assert!(Manifest::decode(&short.encode()).is_err());
}

#[test]
fn a_manifest_that_leaves_offsets_out_is_refused() {
    let broken = |change: fn(&mut PartitionBackup)| {
        let mut manifest = manifest();
        change(&mut manifest.logs[0].partitions[0]);
        Manifest::decode(&manifest.encode())
    };
    assert!(broken(|_| {}).is_ok());
    assert!(broken(|partition| partition.holes.clear()).is_err());
    assert!(broken(|partition| partition.high = 61).is_err());
    assert!(broken(|partition| partition.low = 9).is_err());
    assert!(broken(|partition| drop(partition.files.pop())).is_err());
}

#[test]
fn a_manifest_whose_logs_no_catalog_could_hold_is_refused() {
    let broken = |change: fn(&mut Vec<LogBackup>)| {
        let mut manifest = manifest();
        change(&mut manifest.logs);
        Manifest::decode(&manifest.encode()).err().unwrap_or_default()
    };
    let twice = broken(|logs| logs.push(LogBackup { id: 4, ..logs[0].clone() }));
    assert!(twice.contains("two of its logs are called events"), "{twice}");
    let renamed = broken(|logs| "other".clone_into(&mut logs[0].name));
    assert!(renamed.contains("is not the one of its configuration"), "{renamed}");
    assert_ne!(broken(|logs| logs[0].partitions.clear()), "");
    assert_ne!(broken(|logs| logs[0].partitions[0].partition = 1), "");
    assert_ne!(broken(|logs| logs[0].partitions.extend_from_within(..)), "");
}

#[test]
fn a_later_version_is_called_one() {
    let text = String::from_utf8(manifest().encode()).unwrap();
    let later = text.replace("PYRALOG-BACKUP 1", "PYRALOG-BACKUP 2");
    assert!(Manifest::decode(later.as_bytes()).unwrap_err().contains("version 2"));
}

#[test]
fn hex_is_read_as_it_is_written() {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
    assert_eq!((from_hex("abc"), from_hex("zz")), (None, None));
}
