//! Files of which only the length counts.

use crate::harness::run;
use pyralog_runtime::file::{ExtendError, SparseFile};
use pyralog_runtime::{IoErrorKind, spawn_blocking};

#[test]
fn a_sparse_file_grows_without_taking_room_and_has_one_owner() {
    run(|_| async {
        let checked = spawn_blocking(|| {
            let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let path = directory.path().join("a");
            assert_eq!(SparseFile::open(&path).unwrap_err().kind(), IoErrorKind::NotFound);
            let mut file = SparseFile::create_new(&path).unwrap();
            assert_eq!((file.len(), file.path()), (0, &*path));
            for len in [0, 1, 1, 4097, 1 << 40] {
                file.extend(len).unwrap();
                assert_eq!(file.len(), len);
                assert_eq!(path.metadata().unwrap().len(), len);
                assert_eq!(file.allocated_bytes().unwrap(), 0);
            }
            assert_eq!(
                SparseFile::create_new(&path).unwrap_err().kind(),
                IoErrorKind::AlreadyExists
            );
            assert_eq!(SparseFile::open(&path).unwrap_err().kind(), IoErrorKind::Locked);
            drop(file);
            assert_eq!(SparseFile::open(&path).unwrap().len(), 1 << 40);
        });
        checked.await.unwrap();
    });
}

#[test]
fn a_sparse_file_is_never_cut() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("a");
    let mut file = SparseFile::create_new(&path).unwrap();
    file.extend(100).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    let error = file.extend(999).unwrap_err();
    assert!(matches!(error, ExtendError::Refused(_)), "{error}");
    assert_eq!(path.metadata().unwrap().len(), 1000);
    file.extend(1000).unwrap();
    let shorter = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| file.extend(999)));
    assert!(shorter.is_err(), "its owner knows that it was longer");
}

#[test]
fn the_longest_file_is_found_and_nothing_is_left_of_the_search() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for most in [1, 512, 1 << 40] {
        assert_eq!(SparseFile::len_max(directory.path(), most).unwrap(), most);
    }
    // ext4 with blocks of 4 KiB ends just below 2^44, others at 2^63.
    let longest = SparseFile::len_max(directory.path(), 1 << 62).unwrap();
    assert!(longest.is_power_of_two() && longest >= 1 << 32, "{longest}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
