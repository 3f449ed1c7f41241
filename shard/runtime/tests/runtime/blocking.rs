//! Whole-file and directory calls of an ordinary thread.

use crate::harness::run;
use pyralog_runtime::file::{self, Sync, blocking, blocking::Locking};
use std::io::ErrorKind;
use std::path::PathBuf;
use tempfile::TempDir;

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    (directory, path)
}

fn names(path: &std::path::Path) -> Vec<String> {
    blocking::list_dir(path).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn directories_are_made_once_with_all_above_them() {
    let (_guard, dir) = directory();
    let deep = dir.join("x/y/../z");
    assert!(!blocking::exists(&dir.join("x")).unwrap());
    assert_eq!(blocking::is_dir(&dir.join("x")).unwrap_err().kind(), ErrorKind::NotFound);
    blocking::create_dir_all(&deep).unwrap();
    blocking::create_dir_all(&deep).unwrap();
    blocking::create_dir_all(std::path::Path::new("/")).unwrap();
    assert!(blocking::is_dir(&dir.join("x/z")).unwrap());
    assert_eq!(names(&dir.join("x")), ["y", "z"]);
}

#[test]
fn a_file_in_place_of_a_directory_is_told_as_the_system_tells_it() {
    let (_guard, dir) = directory();
    let path = dir.join("file");
    blocking::append(&path, b"1", Sync::No).unwrap();
    assert!(blocking::exists(&path).unwrap());
    assert!(!blocking::is_dir(&path).unwrap());
    for wrong in [path.clone(), path.join("below"), path.join("far/below")] {
        let expected = std::fs::create_dir_all(&wrong).unwrap_err().to_string();
        assert_eq!(blocking::create_dir_all(&wrong).unwrap_err().to_string(), expected);
    }
    let below = path.join("below");
    assert_eq!(blocking::exists(&below).unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(blocking::list_dir(&path).unwrap_err().kind(), ErrorKind::NotADirectory);
}

#[test]
fn threads_that_make_the_same_directories_at_once_all_succeed() {
    for _ in 0..20 {
        let (_guard, dir) = directory();
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let path = dir.join(format!("a/b/c/d/{}", thread % 3));
                std::thread::spawn(move || blocking::create_dir_all(&path))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
        assert_eq!(names(&dir.join("a/b/c/d")), ["0", "1", "2"]);
    }
}

#[test]
fn replaced_file_is_whole_and_what_a_crash_left_staged_is_not_in_it() {
    let (_guard, dir) = directory();
    let path = dir.join("node.toml");
    std::fs::write(dir.join("staged"), "the longer beginning of an earlier try").unwrap();
    for content in ["first, and longer", "second", ""] {
        blocking::write_atomic(&path, "staged", content.as_bytes()).unwrap();
        assert_eq!(blocking::read_start(&path, 100).unwrap(), content.as_bytes());
        assert_eq!(names(&dir), ["node.toml"]);
    }
    // A directory cannot be replaced by a file: the staged file must not stay behind.
    blocking::create_dir_all(&dir.join("sub/inner")).unwrap();
    blocking::write_atomic(&dir.join("sub"), "staged", b"1").unwrap_err();
    assert_eq!(names(&dir), ["node.toml", "sub"]);
    let error = blocking::write_atomic(&dir.join("no/file"), "staged", b"1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn only_the_start_of_a_file_is_read() {
    let (_guard, dir) = directory();
    let path = dir.join("a");
    blocking::append(&path, b"123", Sync::No).unwrap();
    blocking::append(&path, b"45678", Sync::Data).unwrap();
    for (max, expected) in [(0, &b""[..]), (5, b"12345"), (8, b"12345678"), (100, b"12345678")] {
        assert_eq!(blocking::read_start(&path, max).unwrap(), expected);
    }
    let missing = blocking::read_start(&dir.join("b"), 5).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn who_finds_a_lock_held_reads_what_the_holder_wrote() {
    let (_guard, dir) = directory();
    let path = dir.join("lock");
    let taken = || match blocking::lock(&path, 4) {
        Ok(Locking::Taken(lock)) => lock,
        other => panic!("{other:?}"),
    };
    let held = || match blocking::lock(&path, 4) {
        Ok(Locking::Held { content }) => content,
        other => panic!("{other:?}"),
    };
    let lock = taken();
    assert_eq!(held(), b"");
    lock.write(b"123456").unwrap();
    assert_eq!(held(), b"1234");
    lock.write(b"7\n").unwrap();
    assert_eq!(held(), b"7\n");
    assert!(file::lock_exclusive(&path).is_err(), "one lock, whoever asks");
    drop(lock);
    assert_eq!(blocking::read_start(&path, 100).unwrap(), b"7\n", "the file stays");
    drop(taken());
    assert_eq!(blocking::process_id(), std::process::id());
}

#[test]
fn a_core_finds_what_a_thread_wrote_before_it() {
    let (_guard, dir) = directory();
    let path = dir.join("a/b");
    blocking::create_dir_all(&dir.join("a")).unwrap();
    blocking::write_atomic(&path, "b.new", b"before").unwrap();
    blocking::sync_dir(&dir).unwrap();
    run(move |_| {
        let path = path.clone();
        async move { assert_eq!(file::read_small(&path, 6).await.unwrap(), b"before") }
    });
}
