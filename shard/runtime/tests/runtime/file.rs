//! Direct files, small files, directories, locks.

use crate::harness::run;
use pyralog_runtime::IoErrorKind;
use pyralog_runtime::buffer::{Buffer, BufferMut};
use pyralog_runtime::file::{self, DirectFile, Sync};
use pyralog_runtime::{spawn, yield_now};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use tempfile::TempDir;

/// A directory on the disk under `target`, not on a tmpfs, where direct I/O would not be direct.
fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().to_owned();
    (directory, path)
}

/// `len` bytes that differ by place and by `salt`.
fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i / 7 + salt) % 253 + 1).unwrap()).collect()
}

fn buffer(bytes: &[u8]) -> Buffer {
    let mut buffer = BufferMut::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.freeze()
}

/// Runs `test` with an empty directory.
fn run_in<F: Future<Output = ()> + 'static>(test: impl Fn(PathBuf) -> F + Clone + Send + 'static) {
    let (_guard, path) = directory();
    run(move |_| test(path.clone()));
}

#[test]
fn first_file_of_a_core_may_be_empty() {
    // Without the probe file glommio takes the device for one with polled I/O here, and the read
    // below fails with EOPNOTSUPP.
    run_in(|dir| async move {
        let empty = DirectFile::create_new(dir.join("empty"), 0).await.unwrap();
        let file = DirectFile::create_new(dir.join("data"), 0).await.unwrap();
        let bytes = pattern(8192, 0);
        file.write(0, &buffer(&bytes), Sync::Data).await.unwrap();
        assert_eq!(*file.read(0, 8192).await.unwrap(), bytes);
        assert!(empty.read(0, 10).await.unwrap().is_empty());
        empty.close().await.unwrap();
        file.close().await.unwrap();
        let names: Vec<_> = file::list_dir(&dir).await.unwrap();
        assert_eq!(names.len(), 2, "the probe file is gone: {names:?}");
    });
}

#[test]
fn first_file_of_a_core_may_be_preallocated() {
    run_in(|dir| async move {
        let file = DirectFile::create_new(dir.join("a"), 1 << 20).await.unwrap();
        assert_eq!(file.len().unwrap(), 1 << 20);
        assert!(file.read(5000, 100_000).await.unwrap().iter().all(|byte| *byte == 0));
        let bytes = pattern(4096, 1);
        file.write(8192, &buffer(&bytes), Sync::No).await.unwrap();
        assert_eq!(*file.read(8192, 4096).await.unwrap(), bytes);
        file.close().await.unwrap();
    });
}

#[test]
fn both_handles_see_what_the_other_wrote() {
    run_in(|dir| async move {
        let path = dir.join("a");
        let file = DirectFile::create_new(&path, 0).await.unwrap();
        let (plain, synced) = (pattern(4096, 2), pattern(4096, 3));
        file.write(0, &buffer(&plain), Sync::No).await.unwrap();
        file.write(4096, &buffer(&synced), Sync::Data).await.unwrap();
        let other = DirectFile::open(&path).await.unwrap();
        for file in [&file, &other] {
            assert_eq!(*file.read(0, 4096).await.unwrap(), plain);
            assert_eq!(*file.read(4096, 4096).await.unwrap(), synced);
        }
        other.write(0, &buffer(&synced), Sync::Data).await.unwrap();
        assert_eq!(*file.read(0, 4096).await.unwrap(), synced);
        file.sync_data().await.unwrap();
        file.close().await.unwrap();
        other.close().await.unwrap();
    });
}

#[derive(Clone, Debug)]
struct Reads {
    len: u16,
    reads: Vec<(u16, u16)>,
}

impl Arbitrary for Reads {
    fn arbitrary(g: &mut Gen) -> Self {
        Self { len: u16::arbitrary(g), reads: Vec::arbitrary(g) }
    }
}

#[test]
fn reads_of_any_alignment_are_those_of_the_bytes_short_only_at_the_end() {
    fn holds(case: Reads) -> bool {
        run_in(move |dir| {
            let case = case.clone();
            async move {
                let len = usize::from(case.len);
                let bytes = pattern(len.next_multiple_of(4096).max(4096), 4);
                let file = DirectFile::create_new(dir.join("a"), 0).await.unwrap();
                file.write(0, &buffer(&bytes), Sync::No).await.unwrap();
                file.set_len(len as u64).await.unwrap();
                let bytes = &bytes[..len];
                for (position, count) in case.reads.into_iter().chain([(4000, 200), (0, 0)]) {
                    let (position, count) = (usize::from(position), usize::from(count));
                    let slice = file.read(position as u64, count).await.unwrap();
                    let end = (position + count).min(len);
                    assert_eq!(*slice, bytes[position.min(end)..end], "{count} at {position}");
                    if !slice.is_empty() {
                        assert_eq!(slice.as_ptr().addr() % 4096, position % 4096);
                    }
                }
                file.close().await.unwrap();
            }
        });
        true
    }
    QuickCheck::new().tests(12).quickcheck(holds as fn(Reads) -> bool);
}

#[test]
fn stale_bytes_of_a_reused_buffer_are_never_read() {
    // glommio's own unaligned read returns as many bytes as were asked for if the *block* was read.
    run_in(|dir| async move {
        let file = DirectFile::create_new(dir.join("a"), 0).await.unwrap();
        file.write(0, &buffer(&pattern(8192, 5)), Sync::No).await.unwrap();
        file.set_len(4200).await.unwrap();
        assert_eq!(file.read(4150, 100).await.unwrap().len(), 50);
        assert_eq!(file.read(4200, 100).await.unwrap().len(), 0);
        assert_eq!(file.read(4300, 100).await.unwrap().len(), 0);
        assert_eq!(file.read(1 << 40, 100).await.unwrap().len(), 0);
        file.close().await.unwrap();
    });
}

#[test]
fn length_follows_the_file_and_not_its_name() {
    run_in(|dir| async move {
        let (before, after) = (dir.join("before"), dir.join("after"));
        let file = DirectFile::create_new(&before, 0).await.unwrap();
        file.write(0, &buffer(&pattern(4096, 6)), Sync::Data).await.unwrap();
        file::rename(&before, &after).await.unwrap();
        file::write_small_atomic(&before, b"another".to_vec()).await.unwrap();
        assert_eq!(file.len().unwrap(), 4096);
        file.preallocate(1 << 16).await.unwrap();
        assert_eq!(file.len().unwrap(), 1 << 16);
        file::remove_file(&after).await.unwrap();
        assert_eq!(file.len().unwrap(), 1 << 16);
        file.set_len(10).await.unwrap();
        assert_eq!(file.len().unwrap(), 10);
        file.close().await.unwrap();
    });
}

#[test]
fn a_file_that_goes_while_it_is_opened_ends_nobody() {
    // glommio asks the path for its file system once it has opened it, and panics if that is gone: at one of the steps
    // below. Renamed or removed, whoever opens it has the file or hears that it is not there.
    run_in(|dir| async move {
        let (path, away) = (dir.join("a"), dir.join("b"));
        for is_renamed in [false, true] {
            let mut outcomes = [0, 0];
            for goes_at in 0.. {
                file::write_small_atomic(&path, pattern(4096, 1)).await.unwrap();
                let mut polls = 0;
                let mut opening = pin!(DirectFile::open(&path));
                let opened = poll_fn(|context| {
                    if polls == goes_at {
                        let gone = if is_renamed {
                            std::fs::rename(&path, &away)
                        } else {
                            std::fs::remove_file(&path)
                        };
                        gone.unwrap();
                    }
                    polls += 1;
                    opening.as_mut().poll(context)
                });
                match opened.await {
                    Ok(file) => {
                        assert_eq!(*file.read(0, 4096).await.unwrap(), pattern(4096, 1));
                        file.close().await.unwrap();
                        outcomes[0] += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), IoErrorKind::NotFound, "{error}");
                        outcomes[1] += 1;
                    }
                }
                if polls <= goes_at {
                    break;
                }
            }
            assert!(outcomes[0] > 1 && outcomes[1] > 0, "opened, not there: {outcomes:?}");
        }
    });
}

#[test]
fn buffer_is_readable_while_it_is_in_flight() {
    run_in(|dir| async move {
        let file = Rc::new(DirectFile::create_new(dir.join("a"), 0).await.unwrap());
        let bytes = pattern(1 << 20, 7);
        let shared = buffer(&bytes);
        let (writer, in_flight) = (Rc::clone(&file), shared.clone());
        let write = spawn(async move { writer.write(0, &in_flight, Sync::Data).await });
        yield_now().await;
        assert_eq!(*shared.slice(100..200), bytes[100..200]);
        write.await.unwrap().unwrap();
        assert_eq!(*file.read(0, bytes.len()).await.unwrap(), bytes);
        Rc::into_inner(file).unwrap().close().await.unwrap();
    });
}

#[test]
fn many_writes_at_once_land_where_they_belong() {
    run_in(|dir| async move {
        let file = Rc::new(DirectFile::create_new(dir.join("a"), 1 << 20).await.unwrap());
        let writes: Vec<_> = (0..64usize)
            .map(|block| {
                let file = Rc::clone(&file);
                spawn(async move {
                    let sync = if block % 2 == 0 { Sync::No } else { Sync::Data };
                    let bytes = buffer(&pattern(8192, block));
                    file.write(block as u64 * 8192, &bytes, sync).await.unwrap();
                })
            })
            .collect();
        for write in writes {
            write.await.unwrap();
        }
        for block in 0..64usize {
            let bytes = file.read(block as u64 * 8192, 8192).await.unwrap();
            assert_eq!(*bytes, pattern(8192, block), "block {block}");
        }
    });
}

#[test]
#[should_panic(expected = "position 100")]
fn unaligned_write_is_a_bug_of_the_caller() {
    run_in(|dir| async move {
        let file = DirectFile::create_new(dir.join("a"), 0).await.unwrap();
        file.write(100, &buffer(&[0; 4096]), Sync::No).await.unwrap();
    });
}

#[test]
fn direct_files_work_on_tmpfs_too() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
    let path = directory.path().to_owned();
    run(move |_| {
        let dir = path.clone();
        async move {
            let file = DirectFile::create_new(dir.join("a"), 1 << 16).await.unwrap();
            let bytes = pattern(8192, 8);
            file.write(4096, &buffer(&bytes), Sync::Data).await.unwrap();
            assert_eq!(*file.read(4096 + 1, 8190).await.unwrap(), bytes[1..8191]);
            file.close().await.unwrap();
        }
    });
}

#[test]
fn open_failures_name_the_path_and_the_kind() {
    run_in(|dir| async move {
        let missing = DirectFile::open(dir.join("missing")).await.unwrap_err();
        assert_eq!(missing.kind(), IoErrorKind::NotFound);
        assert!(missing.to_string().contains("missing"), "{missing}");
        let nowhere = DirectFile::create_new(dir.join("no/such/dir"), 0).await.unwrap_err();
        assert_eq!(nowhere.kind(), IoErrorKind::NotFound);
        let file = DirectFile::create_new(dir.join("a"), 0).await.unwrap();
        let twice = DirectFile::create_new(dir.join("a"), 0).await.unwrap_err();
        assert_eq!(twice.kind(), IoErrorKind::AlreadyExists);
        let zero = DirectFile::open(Path::new("/tmp/a\0b")).await.unwrap_err();
        assert_eq!(zero.kind(), IoErrorKind::InvalidInput);
        file.close().await.unwrap();
    });
}

#[test]
fn atomic_write_replaces_whole_content_and_leaves_nothing_else() {
    run_in(|dir| async move {
        let path = dir.join("node.toml");
        for content in [b"first, and longer".to_vec(), b"second".to_vec(), Vec::new()] {
            file::write_small_atomic(&path, content.clone()).await.unwrap();
            assert_eq!(file::read_small(&path, 100).await.unwrap(), content);
        }
        assert_eq!(file::list_dir(&dir).await.unwrap().len(), 1);
        let error = file::write_small_atomic(dir.join("no/file"), vec![]).await.unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::NotFound);
        // A directory cannot be replaced by a file: the staged file must not stay behind.
        file::create_dir_all(dir.join("sub/inner")).await.unwrap();
        file::write_small_atomic(dir.join("sub"), vec![1]).await.unwrap_err();
        assert_eq!(file::list_dir(&dir).await.unwrap().len(), 2);
    });
}

#[test]
fn small_read_has_a_maximum() {
    run_in(|dir| async move {
        let path = dir.join("a");
        file::append(&path, b"12345".to_vec(), Sync::No).await.unwrap();
        file::append(&path, b"678".to_vec(), Sync::Data).await.unwrap();
        assert_eq!(file::read_small(&path, 8).await.unwrap(), b"12345678");
        let error = file::read_small(&path, 7).await.unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::TooLarge);
        let error = file::read_small(dir.join("b"), 7).await.unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::NotFound);
    });
}

#[test]
fn directories_are_made_listed_by_name_and_removed() {
    run_in(|dir| async move {
        let deep = dir.join("x/y/z");
        file::create_dir_all(&deep).await.unwrap();
        file::create_dir_all(&deep).await.unwrap();
        for name in ["b", "a", "c"] {
            file::append(dir.join("x").join(name), vec![0; 3], Sync::No).await.unwrap();
        }
        let entries = file::list_dir(dir.join("x")).await.unwrap();
        let names: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
        assert_eq!(names, [("a", false), ("b", false), ("c", false), ("y", true)]);
        assert_eq!(entries[0].len, 3);
        file::sync_dir(dir.join("x")).await.unwrap();
        assert!(file::exists(&deep).await.unwrap());
        file::remove_dir_all(dir.join("x")).await.unwrap();
        assert!(!file::exists(&deep).await.unwrap());
        assert!(file::free_space(&dir).await.unwrap() > 0);
        let error = file::list_dir(&deep).await.unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::NotFound);
    });
}

#[test]
fn lock_excludes_until_it_is_dropped() {
    let (_guard, dir) = directory();
    let path = dir.join("lock");
    let lock = file::lock_exclusive(&path).unwrap();
    assert_eq!(lock.path(), path);
    assert_eq!(file::lock_exclusive(&path).unwrap_err().kind(), IoErrorKind::Locked);
    drop(lock);
    drop(file::lock_exclusive(&path).unwrap());
}
