//! The store on threads of its own, used from cores: a local directory and memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyralog_log::ids::Timestamp;
use pyralog_log::remote::{RemoteErrorKind, RemoteObject, RemoteStore};
use pyralog_runtime::{MachineConfig, spawn, start};
use pyralog_store::limits::{CALLS_IN_FLIGHT_MAX, PART_BYTES};
use pyralog_store::{CoreStore, Store, StoreConfig};

/// Runs a test on every core of a machine that shares the store.
fn on_cores<F>(
    url: &str,
    shards: usize,
    test: impl Fn(CoreStore, usize) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let store = Store::open(&StoreConfig::new(url), shards).unwrap();
    let passed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&passed);
    let config = MachineConfig { shards, ..MachineConfig::default() };
    let machine = start(&config, move |core| {
        let (store, test, count) = (store.clone(), test.clone(), Arc::clone(&count));
        async move {
            test(store.join(&core), core.shard).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    machine.unwrap().join().unwrap();
    assert_eq!(passed.load(Ordering::SeqCst), shards);
}

fn url_of(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// Bytes of which no two stretches are alike.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

async fn put(store: &CoreStore, key: &str, content: &[u8], step: usize) {
    let mut upload = store.put(key).await.unwrap();
    for part in content.chunks(step) {
        upload.write(part.to_vec()).await.unwrap();
    }
    upload.finish().await.unwrap();
}

async fn listed(store: &CoreStore, prefix: &str) -> Vec<RemoteObject> {
    let (mut list, mut all) = (store.list(prefix).await.unwrap(), Vec::new());
    loop {
        let page = list.next().await.unwrap();
        if page.is_empty() {
            all.sort_by(|a: &RemoteObject, b| a.key.cmp(&b.key));
            return all;
        }
        all.extend(page);
    }
}

/// What every kind of store has to do.
async fn keeps_objects(store: CoreStore, shard: usize) {
    let large = bytes(2 * PART_BYTES + 12_345);
    let (key, small) = (format!("c/{shard}/a.seg"), format!("c/{shard}/a.idx"));
    put(&store, &key, &large, 1 << 20).await;
    put(&store, &small, b"index", 2).await;
    put(&store, &format!("c/{shard}0/other"), b"", 1).await;
    assert_eq!(store.length(&key).await.unwrap(), Some(large.len() as u64));
    let (from, to) = (PART_BYTES - 5, PART_BYTES + 77);
    let read = store.get(&key, from as u64..to as u64).await.unwrap();
    assert!(read == large[from..to], "a range across parts");
    for old in [0, 10, 200] {
        let again = store.get_into(&key, from as u64..to as u64, vec![9; old]).await.unwrap();
        assert!(again == large[from..to], "in memory of {old} bytes that were used before");
    }
    let found = listed(&store, &format!("c/{shard}/")).await;
    let keys: Vec<_> = found.iter().map(|object| (object.key.as_str(), object.bytes)).collect();
    assert_eq!(keys, [(small.as_str(), 5), (key.as_str(), large.len() as u64)]);
    assert!(found.iter().all(|object| object.modified > Timestamp::new(1_700_000_000_000_000)));

    let beyond = store.get(&small, 3..6).await.unwrap_err();
    assert_eq!(beyond.kind, RemoteErrorKind::Short, "{beyond}");
    let beyond = store.get(&small, 9..12).await.unwrap_err();
    assert_eq!(beyond.kind, RemoteErrorKind::Short, "{beyond}");
    let beyond = store.get_into(&small, 3..6, vec![9; 100]).await.unwrap_err();
    assert_eq!(beyond.kind, RemoteErrorKind::Short, "{beyond}");
    let missing = store.get("c/none", 0..1).await.unwrap_err();
    assert_eq!(missing.kind, RemoteErrorKind::Missing, "{missing}");
    assert!(missing.to_string().contains("c/none"), "{missing}");

    put(&store, &small, b"another", 100).await;
    assert_eq!(store.get(&small, 0..7).await.unwrap(), b"another");
    for _ in 0..2 {
        store.delete(&key).await.unwrap();
        assert_eq!(store.length(&key).await.unwrap(), None);
    }
    assert_eq!(listed(&store, &format!("c/{shard}/")).await.len(), 1);
    assert_eq!(listed(&store, "nothing/").await, []);
}

#[test]
fn a_directory_keeps_objects_for_two_cores() {
    let directory = tempfile::tempdir().unwrap();
    on_cores(&url_of(directory.path()), 2, keeps_objects);
}

#[test]
fn ranges_of_a_directory_come_in_the_memory_that_was_given() {
    let directory = tempfile::tempdir().unwrap();
    on_cores(&url_of(directory.path()), 1, |store, _| async move {
        put(&store, "a/b.seg", &bytes(3000), 3000).await;
        let memory = vec![9; 5000];
        let place = memory.as_ptr().addr();
        let read = store.get_into("a/b.seg", 1000..3000, memory).await.unwrap();
        assert!(read == bytes(3000)[1000..]);
        assert_eq!(read.as_ptr().addr(), place);
    });
}

#[test]
fn memory_keeps_objects_below_a_prefix() {
    on_cores("memory:///some/prefix", 1, keeps_objects);
}

#[test]
fn more_calls_than_may_be_out_wait_and_those_dropped_cost_nobody_an_answer() {
    on_cores("memory:///", 1, |store, _| async move {
        put(&store, "a", &bytes(100_000), 100_000).await;
        let store = Rc::new(store);
        let reads: Vec<_> = (0..4 * CALLS_IN_FLIGHT_MAX as u64)
            .map(|at| {
                let store = Rc::clone(&store);
                let task = spawn(async move { store.get("a", at * 100..at * 100 + 50).await });
                (at, task)
            })
            .collect();
        for (at, read) in reads {
            if at % 3 == 0 {
                drop(read);
            } else {
                let from = usize::try_from(at).unwrap() * 100;
                assert!(read.await.unwrap().unwrap() == bytes(100_000)[from..from + 50]);
            }
        }
        assert_eq!(store.length("a").await.unwrap(), Some(100_000));
    });
}

#[test]
fn an_upload_that_is_given_up_leaves_no_object_and_no_file() {
    let directory = tempfile::tempdir().unwrap();
    on_cores(&url_of(directory.path()), 1, |store, _| async move {
        put(&store, "x/whole", b"1", 1).await;
        let mut upload = store.put("x/y").await.unwrap();
        upload.write(bytes(PART_BYTES + 1)).await.unwrap();
        assert_eq!(listed(&store, "x/").await.len(), 2, "a stage beside the object is listed");
        upload.abort().await.unwrap();
        assert_eq!(listed(&store, "x/").await.len(), 1);
    });
}

#[test]
fn what_a_killed_process_left_beside_an_object_is_listed_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("7/0")).unwrap();
    std::fs::write(directory.path().join("7/0/a.seg#1"), b"half").unwrap();
    on_cores(&url_of(directory.path()), 1, |store, _| async move {
        let found = listed(&store, "7/").await;
        assert_eq!((found[0].key.as_str(), found[0].bytes), ("7/0/a.seg#1", 4));
        store.delete(&found[0].key).await.unwrap();
        assert_eq!(listed(&store, "7/").await, []);
    });
}

#[test]
fn a_store_that_is_not_there_is_an_error_that_may_pass() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mount");
    std::fs::create_dir(&path).unwrap();
    let url = url_of(&path);
    on_cores(&url, 1, move |store, _| {
        let path = path.clone();
        async move {
            std::fs::remove_dir(&path).unwrap();
            std::fs::write(&path, b"in the way").unwrap();
            let mut upload = store.put("a/b").await.unwrap();
            upload.write(bytes(10)).await.unwrap();
            let error = upload.finish().await.unwrap_err();
            assert!(error.is_retryable(), "{error}");
            assert!(error.to_string().contains("a/b"), "{error}");
        }
    });
}
