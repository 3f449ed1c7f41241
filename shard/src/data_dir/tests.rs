//! Every way a data directory can be wrong, and what is said about it.

use pyralog_runtime::file::Sync;
use pyralog_runtime::sim::{Crash, NodeId, Simulation};

use super::*;

const FRESH: Identity = Identity { node_id: 0xbeef, cluster_id: 0xcafe, created_us: 7 };

/// Nobody but this node is asked for, or nobody at all.
fn node(node: Option<u64>) -> Asked {
    Asked { node, cluster: None }
}

fn refusal(path: &Path, asked: Option<u64>) -> DataDirError {
    DataDir::open(path, node(asked), FRESH).unwrap_err()
}

fn created() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    drop(DataDir::open(root.path(), Asked::default(), FRESH).unwrap());
    root
}

#[test]
fn identity_is_drawn_once_and_kept() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b");
    assert_eq!(DataDir::open(&path, Asked::default(), FRESH).unwrap().identity(), FRESH);
    let later = Identity { node_id: 1, cluster_id: 2, created_us: 3 };
    assert_eq!(DataDir::open(&path, Asked::default(), later).unwrap().identity(), FRESH);
    assert_eq!(DataDir::open(&path, node(Some(0xbeef)), later).unwrap().identity(), FRESH);
}

#[test]
fn a_new_directory_gets_the_node_id_asked_for() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(DataDir::open(root.path(), node(Some(5)), FRESH).unwrap().identity().node_id, 5);
}

#[test]
fn an_interrupted_first_start_is_finished_by_the_next() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join(NODE_FILE_NEW), "form").unwrap();
    std::fs::write(root.path().join(LOCK_FILE), "").unwrap();
    assert_eq!(DataDir::open(root.path(), Asked::default(), FRESH).unwrap().identity(), FRESH);
}

#[test]
fn another_nodes_directory_is_refused_with_both_ids() {
    let error = refusal(created().path(), Some(1)).to_string();
    assert!(error.contains("belongs to node 48879, not to node 1"), "{error}");
}

#[test]
fn another_format_is_refused_even_if_the_file_has_unknown_keys() {
    let root = created();
    std::fs::write(root.path().join(NODE_FILE), "format = 9\nshape = \"round\"\n").unwrap();
    let error = refusal(root.path(), None);
    assert!(matches!(error, DataDirError::OtherFormat { found: 9, .. }), "{error}");
}

#[test]
fn a_damaged_node_file_is_never_replaced() {
    let root = created();
    for text in [
        "",
        "format",
        "format = 1\n",
        "format = 1\nnode_id = 0\ncluster_id = 1\ncreated_us = 1\n",
        "format = 1\nnode_id = \"x\"\ncluster_id = 1\ncreated_us = 1\n",
    ] {
        std::fs::write(root.path().join(NODE_FILE), text).unwrap();
        let error = refusal(root.path(), None);
        assert!(matches!(error, DataDirError::Damaged { .. }), "{text:?}: {error}");
        assert_eq!(std::fs::read_to_string(root.path().join(NODE_FILE)).unwrap(), text);
    }
    std::fs::write(root.path().join(NODE_FILE), "#".repeat(5000)).unwrap();
    let error = refusal(root.path(), None);
    assert!(error.to_string().contains("longer than 4096 bytes"), "{error}");
    std::fs::write(root.path().join(NODE_FILE), b"\xff").unwrap();
    let error = refusal(root.path(), None).to_string();
    assert!(error.ends_with("node.toml: stream did not contain valid UTF-8"), "{error}");
}

#[test]
fn no_bit_of_a_node_file_rots_unseen() {
    let root = created();
    let path = root.path().join(NODE_FILE);
    let (sound, identity) = (std::fs::read(&path).unwrap(), identity_of(root.path()).unwrap());
    for bit in 0..sound.len() * 8 {
        let mut rotten = sound.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &rotten).unwrap();
        // A bit of the spelling may not matter: what is read is what was written, or nothing is.
        let read = identity_of(root.path());
        assert!(read.is_err() || matches!(read, Ok(read) if read == identity), "bit {bit}");
    }
    let old = String::from_utf8(sound).unwrap();
    let old = old.lines().filter(|line| !line.starts_with("crc")).collect::<Vec<_>>().join("\n");
    std::fs::write(&path, old).unwrap();
    assert_eq!(identity_of(root.path()).unwrap(), identity, "of before there was a checksum");
}

#[test]
fn a_running_server_keeps_others_out_and_its_pid_is_said() {
    let root = tempfile::tempdir().unwrap();
    let held = DataDir::open(root.path(), Asked::default(), FRESH).unwrap();
    let error = refusal(root.path(), None).to_string();
    assert!(error.contains(&format!("process id {}", std::process::id())), "{error}");
    drop(held);
    DataDir::open(root.path(), Asked::default(), FRESH).unwrap();
}

#[test]
fn files_of_somebody_else_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("thesis.tex"), "x").unwrap();
    let error = refusal(root.path(), None).to_string();
    assert!(error.contains("thesis.tex"), "{error}");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "nothing was written");
}

#[test]
fn a_file_in_place_of_the_directory_is_called_that() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    std::fs::write(&path, "x").unwrap();
    assert!(matches!(refusal(&path, None), DataDirError::NotADirectory { .. }));
    assert!(matches!(refusal(&path.join("below"), None), DataDirError::NotADirectory { .. }));
}

#[test]
fn kernel_refusals_map_to_what_a_person_can_do() {
    let path = Path::new("/data");
    let kinds = |kind: ErrorKind| failed(path, kind.into()).to_string();
    assert!(kinds(ErrorKind::ReadOnlyFilesystem).contains("write access"));
    assert!(kinds(ErrorKind::PermissionDenied).contains("write access"));
    assert!(kinds(ErrorKind::StorageFull).contains("no space left"));
    assert!(kinds(ErrorKind::QuotaExceeded).contains("no space left"));
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    // Not even root may create files here.
    let error = refusal(Path::new("/proc/self/pyralog"), None);
    let expected = matches!(error, DataDirError::ReadOnly { .. } | DataDirError::Io { .. });
    assert!(expected, "{error:?}");
}

const DATA: &str = "/srv/pyralog/data";

/// Opens [`DATA`] of a node as its start number `start`.
fn open_as(start: u64) -> Result<Identity, DataDirError> {
    let fresh = Identity { node_id: start, cluster_id: start, created_us: 0 };
    DataDir::open(Path::new(DATA), Asked::default(), fresh).map(|held| held.identity())
}

/// A start that dies after so many changes of the disk, if it is not done before.
fn die_opening(world: &Simulation, node: NodeId, calls: u64, crash: Crash) -> Option<Identity> {
    world.crash_after_calls(node, calls, crash);
    world.on_node(node, || {
        let opened = open_as(1);
        world.crash(node, crash);
        opened.ok()
    })
}

#[test]
fn an_opened_directory_keeps_its_identity_and_folders_wherever_starts_before_it_died() {
    let mut complete = 0;
    for case in 0..1280 {
        let (calls, crash) =
            (case % 40, if case % 80 < 40 { Crash::Process } else { Crash::Power });
        let world = Simulation::new(case);
        let node = world.add_node("node");
        let first = die_opening(&world, node, calls, crash);
        let second = world.on_node(node, || open_as(2)).unwrap();
        if let Some(first) = first {
            complete += 1;
            assert_eq!(second, first, "case {case}: opened before a crash ({crash:?})");
        }
        world.crash(node, Crash::Power);
        world.on_node(node, || {
            for folder in ["catalog", "logs", "recycle"] {
                let found = blocking::is_dir(&Path::new(DATA).join(folder));
                assert!(found.is_ok_and(|is_dir| is_dir), "case {case}: {folder} is gone");
            }
            assert_eq!(open_as(3).unwrap(), second, "case {case}");
        });
    }
    assert!(
        (100..1000).contains(&complete),
        "{complete} starts came to their end, the others died"
    );
}

#[test]
fn what_an_earlier_start_has_recycled_stays_recycled_whichever_core_did_it() {
    for seed in 0..20 {
        let world = Simulation::new(seed);
        let node = world.add_node("node");
        let moved = Path::new(DATA).join("recycle/5/0123456789abcdef.seg");
        world.on_node(node, || {
            open_as(1).unwrap();
            blocking::create_dir_all(moved.parent().unwrap()).unwrap();
            blocking::append(&moved, b"x", Sync::Data).unwrap();
        });
        world.crash(node, Crash::Process);
        world.on_node(node, || open_as(2)).unwrap();
        world.crash(node, Crash::Power);
        let is_there = world.on_node(node, || blocking::exists(&moved));
        assert!(is_there.unwrap(), "seed {seed}: it is back where it was");
    }
}

#[test]
fn a_directory_keeps_the_cluster_that_it_was_made_for() {
    let root = tempfile::tempdir().unwrap();
    let seven = Asked { node: None, cluster: Some(7) };
    assert_eq!(DataDir::open(root.path(), seven, FRESH).unwrap().identity().cluster_id, 7);
    drop(DataDir::open(root.path(), Asked::default(), FRESH).unwrap());
    let eight = Asked { node: None, cluster: Some(8) };
    let error = DataDir::open(root.path(), eight, FRESH).unwrap_err();
    assert!(matches!(error, DataDirError::OtherCluster { found: 7, asked: 8, .. }), "{error}");
}
