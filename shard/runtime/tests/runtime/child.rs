//! What can only be seen from outside: limits of a process, and its end.

use crate::harness::{config, run};
use pyralog_runtime::buffer::BufferMut;
use pyralog_runtime::file::{self, DirectFile, Sync};
use pyralog_runtime::{IoErrorKind, StartError, limits, probe, spawn_durable, start, yield_now};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

const CHILD: &str = "PYRALOG_RUNTIME_TEST_CHILD";

/// Runs the test `name` of this binary again, as a child that does the deed.
fn run_child(name: &str) -> Output {
    let binary = std::env::current_exe().unwrap();
    let arguments = ["--exact", name, "--nocapture", "--test-threads=1"];
    Command::new(binary).args(arguments).env(CHILD, "1").output().unwrap()
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn assert_success(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
}

#[test]
fn file_size_limit_is_an_error_and_not_the_end_of_the_process() {
    if !is_child() {
        let name = "child::file_size_limit_is_an_error_and_not_the_end_of_the_process";
        return assert_success(&run_child(name));
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("a");
    let limit = Rlimit { current: Some(64 << 10), maximum: Some(64 << 10) };
    setrlimit(Resource::Fsize, limit).unwrap();
    assert_eq!(probe::file_size_limit().soft, Some(64 << 10));
    run(move |_| {
        let path = path.clone();
        async move {
            let file = DirectFile::create_new(&path, 0).await.unwrap();
            let mut buffer = BufferMut::with_capacity(128 << 10);
            buffer.extend_with(128 << 10, 7);
            let buffer = buffer.freeze();
            for sync in [Sync::No, Sync::Data] {
                // The kernel writes half of it and calls that a success; the rest says why not.
                let error = file.write(0, &buffer, sync).await.unwrap_err();
                assert_eq!(error.kind(), IoErrorKind::FileTooLarge, "{error}");
            }
            assert_eq!(file.len().unwrap(), 64 << 10);
            let error = file.preallocate(128 << 10).await.unwrap_err();
            assert_eq!(error.kind(), IoErrorKind::FileTooLarge, "{error}");
            let small = path.with_extension("small");
            let error = file::write_small_atomic(&small, vec![0; 128 << 10]).await.unwrap_err();
            assert_eq!(error.kind(), IoErrorKind::FileTooLarge, "{error}");
            assert!(!file::exists(&small).await.unwrap());
            file.close().await.unwrap();
        }
    });
}

#[test]
fn panic_of_a_durable_task_aborts_and_says_which_and_why() {
    if !is_child() {
        let output = run_child("child::panic_of_a_durable_task_aborts_and_says_which_and_why");
        assert_eq!(output.status.signal(), Some(6), "{}", output.status);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("durable task \"partition 5\" panicked: broken"), "{stderr}");
        return;
    }
    run(|_| async {
        let task = spawn_durable("partition 5", async {
            yield_now().await;
            panic!("broken");
        });
        task.await.map(|(): ()| ()).unwrap();
    });
}

#[test]
fn low_memlock_is_raised_or_reported() {
    if !is_child() {
        return assert_success(&run_child("child::low_memlock_is_raised_or_reported"));
    }
    let low = Rlimit { current: Some(64 << 10), maximum: Some(64 << 10) };
    setrlimit(Resource::Memlock, low).unwrap();
    match start(&config(1), |_| async {}) {
        Ok(machine) => {
            let report = machine.memlock();
            assert_eq!(report.before, Some(64 << 10));
            assert!(report.after.is_none_or(|limit| limit >= limits::MEMLOCK_BYTES_MIN));
            machine.join().unwrap();
        }
        Err(StartError::Memlock { found, needed }) => {
            assert_eq!((found, needed), (64 << 10, limits::MEMLOCK_BYTES_MIN));
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn facts_about_this_machine_are_there() {
    let kernel = probe::kernel();
    assert!(!kernel.release.is_empty() && !kernel.machine.is_empty());
    let features = probe::io_uring_features().unwrap();
    assert!(features.operations_missing.is_empty(), "{features:?}");
    assert!(!probe::cpus().is_empty());
    assert!(probe::open_files_limit().soft.is_none_or(|limit| limit > 0));
    let names: Vec<_> = limits::limits().into_iter().map(|limit| limit.name).collect();
    assert!(names.contains(&"runtime.alignment"), "{names:?}");
}
