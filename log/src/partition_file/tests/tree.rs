//! The tree of a partition on disk: against a direct computation, through restarts, crashes, damage and lies.

use super::harness::{Bench, on_core};
use super::simulated::{Host, append_until, record};
use super::*;
use crate::batch::Items;
use crate::limits::{MERKLE_KEPT_BYTES, UNSYNCED_AGE_MAX};
use crate::merkle::{
    Frontier, NODES_START, Node, Root, SegmentRoot, TREE_NAME, batch_hash, leaf, nodes_before,
};
use crate::pace::Pace;
use crate::partition::{Closed, Proofs, Published, TreeError, TreeFault, TruncateError};
use crate::partition_file::tree::roots::read_root;
use crate::proof::NodeKey;
use crate::segment::root_name;
use pyralog_runtime::away;

/// A place whose partition has proofs.
fn provable(bench: &Bench, name: &str) -> Bench {
    bench.place(name, |config| {
        let key = Some(NodeKey::from_seed(&[5; 32]));
        config.proofs = Some(Proofs { cluster: 9, interval: Duration::from_millis(1), key });
    })
}

/// The root of everything that readers see, computed from what they read, and its nodes.
async fn computed(partition: &Partition, end: Offset) -> Root {
    let (mut frontier, mut nodes) = (Frontier::new(), Vec::new());
    while frontier.records() < end.get() {
        let read = partition.read(Offset::new(frontier.records()), 300_000).await.unwrap();
        for batch in read.slices.iter().flat_map(|slice| Items::new(slice).batches()) {
            let batch = batch.unwrap();
            let records = batch.header().next_offset().since(batch.header().owner.base_offset);
            frontier.append(leaf(batch_hash(batch.bytes()).unwrap(), records), &mut nodes);
        }
    }
    let root = frontier.root();
    let size = usize::try_from(nodes_before(root.size)).unwrap();
    assert_eq!(nodes.len(), size);
    root
}

/// Looks at a tree of which something is expected: a minute or so, where milliseconds do.
const LOOKS_MAX: u32 = 3_000;

/// Waits until a checkpoint covers `end`, or the tree stands still; panics if neither comes.
async fn published(partition: &Partition, end: u64) -> Result<Published, TreeFault> {
    for _ in 0..LOOKS_MAX {
        let changed = partition.shell.changed.listen();
        let status = partition.tree_status().unwrap();
        if let Some(fault) = status.fault {
            return Err(fault);
        }
        let covers = |published: &Published| published.checkpoint.end_offset.get() >= end;
        if let Some(published) = status.published.filter(covers) {
            return Ok(published);
        }
        // A fault wakes nobody.
        time::timeout(Duration::from_millis(20), changed).await.ok();
    }
    panic!("no checkpoint of offset {end} and no alarm: {:?}", partition.tree_status())
}

/// Appends batches of several records up to an offset, some large enough to roll.
async fn append_batches(bench: &Bench, partition: &Partition, until: u64) {
    let mut offset = partition.watermarks().end.get();
    while offset < until {
        let count = u32::try_from(1 + offset % 5).unwrap();
        let body = 200 + usize::try_from(offset % 7).unwrap() * 11_000;
        let batch = unsealed(offset, body, count, None);
        bench.append(partition, &batch, Durability::Synced).await.unwrap();
        offset = partition.watermarks().end.get();
    }
}

/// The root beside a closed segment that a published tree holds. It is written after the tree is told.
async fn root_of(bench: &Bench, closed: &Closed) -> SegmentRoot {
    for _ in 0..LOOKS_MAX {
        if let Some(root) = read_root(bench.dir(), closed).await {
            return root;
        }
    }
    panic!("{closed:?} has no root")
}

#[test]
fn the_tree_is_that_of_the_batches_through_restarts() {
    on_core(|bench| async move {
        let bench = provable(&bench, "here");
        let mut before: Option<Published> = None;
        for life in 1..=3 {
            let (partition, _) = bench.open().await;
            append_batches(&bench, &partition, life * 150).await;
            let end = partition.watermarks().end;
            let published = published(&partition, end.get()).await.unwrap();
            let root = computed(&partition, end).await;
            let checkpoint = published.checkpoint;
            assert_eq!((checkpoint.tree_size, checkpoint.end_offset), (root.size, end));
            assert_eq!(checkpoint.root, *root.node.hash.as_bytes());
            assert_eq!(partition.root_at(root.size).await.unwrap(), root);
            assert_eq!(published.signed.map(|signed| *signed.checkpoint()), Some(checkpoint));
            if let Some(before) = before {
                assert!(before.checkpoint.time < checkpoint.time, "time rises");
                let (first, second) = (before.checkpoint.tree_size, root.size);
                let proof = partition.prove_consistency(first, second).await.unwrap();
                let old = partition.root_at(first).await.unwrap();
                assert_eq!(*old.node.hash.as_bytes(), before.checkpoint.root);
                assert_eq!(proof.verify(&old, &root), Ok(()));
            }
            before = Some(published);
            partition.close().await;
        }
    });
}

#[test]
fn nothing_is_said_of_what_was_published_until_it_was_read() {
    on_core(|bench| async move {
        let bench = provable(&bench, "here");
        let (partition, _) = bench.open().await;
        append_batches(&bench, &partition, 20).await;
        let size = published(&partition, 20).await.unwrap().checkpoint.tree_size;
        partition.close().await;
        let (partition, _) = bench.open().await;
        let mut was_closed = false;
        while !partition.tree_status().unwrap().is_open {
            was_closed = true;
            let early = partition.prove_consistency(1, size).await;
            assert!(matches!(early, Err(TreeError::Opening)), "{early:?}");
            pyralog_runtime::yield_now().await;
        }
        assert!(was_closed, "it was open at once");
        assert!(partition.tree_status().unwrap().published.is_some());
        partition.prove_consistency(1, size).await.unwrap();
        partition.close().await;
    });
}

#[test]
fn every_offset_of_several_sizes_is_proven_and_segments_have_roots() {
    on_core(|bench| async move {
        let bench = provable(&bench, "here");
        let (partition, _) = bench.open().await;
        append_batches(&bench, &partition, 200).await;
        let newest = published(&partition, 200).await.unwrap().checkpoint;
        for size in [1, 2, 7, newest.tree_size - 1, newest.tree_size] {
            let root = partition.root_at(size).await.unwrap();
            for offset in (0..root.node.records).step_by(3) {
                let offset = Offset::new(offset);
                let located = partition.prove(offset, size).await.unwrap();
                let read = partition.read(located.place.offsets.start, 1).await.unwrap();
                let hash = batch_hash(&read.slices[0]).unwrap();
                assert_eq!(located.proof.verify(&root, offset, hash), Ok(located.place));
            }
            let beyond = partition.prove(Offset::new(root.node.records), size).await;
            assert!(matches!(beyond, Err(TreeError::Beyond { .. })), "{beyond:?}");
        }
        let size = newest.tree_size + 1;
        let unknown = partition.prove(Offset::ZERO, size).await;
        assert!(matches!(unknown, Err(TreeError::Size { asked, .. }) if asked == size));
        let closed = partition.shell.machine.borrow().closed().to_vec();
        let mut roots = Vec::new();
        for closed in closed.iter().filter(|closed| closed.end <= newest.end_offset) {
            roots.push(root_of(&bench, closed).await);
        }
        assert!(roots.len() > 1, "{} segments", roots.len());
        let (mut batches, mut offset) = (0, Offset::ZERO);
        for root in roots {
            assert_eq!((root.batches.start, root.offsets.start), (batches, offset));
            assert_eq!(root.node.records, root.offsets.end.since(offset));
            (batches, offset) = (root.batches.end, root.offsets.end);
        }
        let all = partition.tree_nodes(0, usize::MAX).await.unwrap();
        assert_eq!(all.len() as u64, nodes_before(newest.tree_size));
    });
}

#[test]
fn a_root_that_is_gone_or_wrong_is_made_again() {
    on_core(|bench| async move {
        let bench = provable(&bench, "here");
        let (partition, _) = bench.open().await;
        append_batches(&bench, &partition, 200).await;
        published(&partition, 200).await.unwrap();
        let closed = partition.shell.machine.borrow().closed().to_vec();
        let [gone, wrong, ..] = &closed[..] else { panic!("{closed:?}") };
        let (first, second) = (root_of(&bench, gone).await, root_of(&bench, wrong).await);
        let damaged = partition.scrub(&Pace::new(1 << 40)).await.unwrap().damaged;
        assert_eq!(damaged, []);
        partition.close().await;

        file::remove_file(bench.dir().join(root_name(gone.base))).await.unwrap();
        let other = SegmentRoot { node: first.node, ..second.clone() };
        let other =
            SegmentRoot { node: Node { records: second.node.records, ..other.node }, ..other };
        let path = bench.dir().join(root_name(wrong.base));
        file::write_small_atomic(path, other.encode(wrong.generation)).await.unwrap();
        let (partition, _) = bench.open().await;
        assert_eq!(root_of(&bench, gone).await, first, "the next life makes it");
        assert_eq!(read_root(bench.dir(), wrong).await, Some(other), "nobody has looked yet");
        let damaged = partition.scrub(&Pace::new(1 << 40)).await.unwrap().damaged;
        assert_eq!(damaged, [], "every batch is that of the tree");
        assert_eq!(read_root(bench.dir(), wrong).await, Some(second));
        partition.close().await;
    });
}

#[test]
fn a_log_without_proofs_has_no_tree_and_no_file_of_one() {
    on_core(|bench| async move {
        let (partition, _) = bench.open().await;
        append_batches(&bench, &partition, 20).await;
        assert_eq!(partition.tree_status(), None);
        assert!(matches!(partition.prove(Offset::ZERO, 1).await, Err(TreeError::NoTree)));
        partition.close().await;
        for name in [TREE_NAME, TREE_STATE_NAME] {
            assert!(!file::exists(bench.dir().join(name)).await.unwrap());
        }
    });
}

#[test]
fn what_was_truncated_is_still_the_beginning_of_what_is_proven() {
    on_core(|bench| async move {
        let bench = provable(&bench, "here");
        let (partition, _) = bench.open().await;
        append_batches(&bench, &partition, 100).await;
        let before = published(&partition, 100).await.unwrap().checkpoint;
        append_batches(&bench, &partition, 160).await;
        let end = partition.watermarks().end;
        // Waits for the tree: no record goes that is in no checkpoint.
        assert_eq!(partition.truncate_before(end).await.unwrap(), end);
        let now = partition.tree_status().unwrap().published.unwrap().checkpoint;
        assert_eq!(now.end_offset, end);
        partition.close().await;
        let (partition, _) = bench.open().await;
        append_batches(&bench, &partition, 200).await;
        let after = published(&partition, 200).await.unwrap().checkpoint;
        let root = partition.root_at(after.tree_size).await.unwrap();
        for then in [before, now] {
            let proof = partition.prove_consistency(then.tree_size, after.tree_size).await.unwrap();
            let old = partition.root_at(then.tree_size).await.unwrap();
            assert_eq!(*old.node.hash.as_bytes(), then.root);
            assert_eq!(proof.verify(&old, &root), Ok(()));
        }
        assert!(partition.prove(Offset::ZERO, after.tree_size).await.is_ok(), "its leaf is there");
        // Without the records the nodes cannot be made again.
        partition.close().await;
        change(&bench.dir().join(TREE_NAME), |bytes| bytes.truncate(4096));
        let (partition, _) = bench.open().await;
        let fault = published(&partition, u64::MAX).await.unwrap_err();
        assert!(matches!(fault, TreeFault::NodesGone { .. }), "{fault}");
        append_batches(&bench, &partition, 210).await;
        let high = partition.watermarks().high;
        let refused = partition.truncate_before(high).await;
        assert!(matches!(refused, Err(TruncateError::Unproven(_))), "{refused:?}");
    });
}

/// Changes a file of a closed partition.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// A closed partition with a checkpoint of everything.
async fn closed(bench: &Bench, until: u64) -> Published {
    let (partition, _) = bench.open().await;
    append_batches(bench, &partition, until).await;
    let published = published(&partition, until).await.unwrap();
    partition.close().await;
    published
}

#[test]
fn damaged_or_missing_nodes_are_made_again_from_the_records() {
    on_core(|bench| async move {
        for (name, damage) in [("bit", 0), ("short", 1), ("gone", 2), ("header", 3)] {
            let bench = provable(&bench, name);
            let before = closed(&bench, 100).await.checkpoint;
            let path = bench.dir().join(TREE_NAME);
            let last =
                usize::try_from(NODES_START + 40 * nodes_before(before.tree_size)).unwrap() - 40;
            match damage {
                0 => change(&path, |bytes| bytes[last] ^= 1),
                1 => change(&path, |bytes| bytes.truncate(4096)),
                2 => std::fs::remove_file(path).unwrap(),
                _ => change(&path, |bytes| bytes.fill(0)),
            }
            let (partition, _) = bench.open().await;
            append_batches(&bench, &partition, 101).await;
            let after = published(&partition, 101).await.unwrap().checkpoint;
            assert_eq!(after.previous, before.hash());
            let root = computed(&partition, after.end_offset).await;
            assert_eq!(partition.root_at(root.size).await.unwrap(), root, "{name}");
            assert!(partition.tree_status().unwrap().was_rebuilt, "{name}");
            partition.prove_consistency(before.tree_size, root.size).await.unwrap();
            partition.close().await;
        }
    });
}

#[test]
fn what_contradicts_a_checkpoint_is_an_alarm_and_nothing_new_is_published() {
    on_core(|bench| async move {
        for (name, damage) in [("dropped", 0), ("state", 1), ("altered", 2), ("foreign", 3)] {
            let bench = provable(&bench, name);
            let before = closed(&bench, 40).await.checkpoint;
            let dir = bench.dir().to_owned();
            let mut reopened = bench.clone();
            match damage {
                0 => drop_the_last_records(&bench).await,
                1 => change(&dir.join(TREE_STATE_NAME), |bytes| bytes[60] ^= 1),
                2 => {
                    let other = provable(&bench, "another");
                    closed(&other, 45).await;
                    replace_segments(&bench, &other).await;
                    change(&dir.join(TREE_NAME), |bytes| bytes.truncate(4096));
                }
                _ => {
                    reopened = bench.with(|config| config.proofs.as_mut().unwrap().cluster = 10);
                    std::fs::rename(dir, reopened.dir()).unwrap();
                }
            }
            let (partition, _) = reopened.open().await;
            let fault = published(&partition, u64::MAX).await.unwrap_err();
            let status = partition.tree_status().unwrap();
            match damage {
                0 => assert!(matches!(fault, TreeFault::Ahead { .. }), "{fault}"),
                1 => assert!(matches!(fault, TreeFault::State(_)), "{fault}"),
                2 => assert!(matches!(fault, TreeFault::Differs { .. }), "{fault}"),
                _ => assert_eq!(fault, TreeFault::Foreign),
            }
            if let Some(published) = status.published {
                assert_eq!(published.checkpoint, before, "{name}: the newest stays the newest");
            }
            partition.close().await;
        }
    });
}

/// Removes everything but the tree: the log begins anew.
async fn drop_the_last_records(bench: &Bench) {
    for entry in file::list_dir(bench.dir()).await.unwrap() {
        if !entry.name.starts_with(TREE_NAME) {
            std::fs::remove_file(bench.dir().join(&entry.name)).unwrap();
        }
    }
}

/// Puts the records of another partition in the place of this one's.
async fn replace_segments(bench: &Bench, other: &Bench) {
    drop_the_last_records(bench).await;
    for entry in file::list_dir(other.dir()).await.unwrap() {
        if !entry.name.starts_with(TREE_NAME) {
            let (from, to) = (other.dir().join(&entry.name), bench.dir().join(&entry.name));
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// Appends of four batches and some 240 KB, until the log has so many records.
async fn append_large(bench: &Bench, partition: &Partition, until: u64) {
    while partition.watermarks().end.get() < until {
        let first = partition.watermarks().end.get();
        let batches = (first..first + 4).map(|offset| unsealed(offset, 60_000, 1, None));
        let append = batches.collect::<Vec<_>>().concat();
        if bench.append(partition, &append, Durability::Synced).await.is_err() {
            return;
        }
    }
}

#[test]
fn a_leaf_is_the_same_from_memory_and_read_back() {
    on_core(|bench| async move {
        let bench = provable(&bench, "here");
        let (partition, _) = bench.open().await;
        let mut before = (0, 0);
        for (until, is_short) in [(40, false), (80, true), (120, false)] {
            bench.short(is_short);
            append_large(&bench, &partition, until).await;
            published(&partition, until).await.unwrap();
            let status = partition.tree_status().unwrap();
            let read = (status.memory_bytes - before.0, status.file_bytes - before.1);
            assert_eq!((read.0 == 0, read.1 > 0), (is_short, is_short), "{until}: {read:?}");
            before = (status.memory_bytes, status.file_bytes);
        }
        let size = partition.tree_status().unwrap().batches;
        let root = partition.root_at(size).await.unwrap();
        partition.close().await;
        let (partition, _) = bench.open().await;
        assert_eq!(computed(&partition, Offset::new(120)).await, root, "all of it is on the disk");
        partition.close().await;
    });
}

#[test]
fn nothing_is_hashed_that_readers_see_and_a_power_cut_may_take() {
    let host = Host::new(2);
    let at_written = |bench: &Bench| {
        provable(bench, "here").with(|config| config.durability = Durability::Written)
    };
    let batch = || unsealed(0, 90_000, 1, None);
    assert!(host.live(|bench, _| {
        let bench = at_written(&bench);
        async move {
            let (partition, _) = bench.open().await;
            for end in [4, 8] {
                let hashed = partition.tree_status().unwrap().hashed;
                for _ in 0..4 {
                    bench.append(&partition, &batch(), Durability::Written).await.unwrap();
                }
                time::sleep(UNSYNCED_AGE_MAX / 2).await;
                let status = partition.tree_status().unwrap();
                assert_eq!(partition.watermarks().high, Offset::new(end), "readers see them");
                assert_eq!((status.hashed, status.lag_records), (hashed, 0));
                if end == 4 {
                    partition.flush(Durability::Synced).await.unwrap();
                    published(&partition, end).await.unwrap();
                }
            }
            // The process ends as it is.
        }
    }));
    host.lose_power();
    assert!(host.live(|bench, _| {
        let bench = at_written(&bench);
        async move {
            let (partition, report) = bench.open().await;
            assert!(report.end.get() >= 4, "{report:?}");
            bench.append(&partition, &batch(), Durability::Synced).await.unwrap();
            let end = partition.watermarks().end;
            let now = published(&partition, end.get()).await.unwrap().checkpoint;
            let root = computed(&partition, end).await;
            assert_eq!(now.root, *root.node.hash.as_bytes());
            partition.close().await;
        }
    }));
}

#[test]
fn what_lags_further_than_the_tail_keeps_is_read_back() {
    // On even seeds a thread may hash.
    let host = Host::new(2);
    assert!(host.live(|bench, _| {
        let bench = provable(&bench, "here").with(|config| config.tail_bytes = 1 << 20);
        async move {
            let (partition, _) = bench.open().await;
            assert!(away::has_spare_cpu());
            let turn = away::turn().await;
            let (appended, share) = (110, (1 << 20) + MERKLE_KEPT_BYTES);
            append_large(&bench, &partition, 4 * appended).await;
            let bytes = appended * 240_000;
            let held = partition.stats().memory_bytes;
            assert!(bytes > share + (1 << 20), "it lags further");
            assert!(held <= share + (1 << 20), "{held} bytes are held");
            let waiting = partition.tree_status().unwrap();
            assert!(waiting.lag_records > 200, "all but the first waits: {waiting:?}");
            drop(turn);
            let checkpoint = published(&partition, 4 * appended).await.unwrap().checkpoint;
            let root = computed(&partition, checkpoint.end_offset).await;
            assert_eq!(checkpoint.root, *root.node.hash.as_bytes());
            let status = partition.tree_status().unwrap();
            let kept = status.memory_bytes;
            assert!(kept > MERKLE_KEPT_BYTES / 2, "{kept} bytes were still in memory");
            assert!(status.file_bytes > bytes - share - (1 << 20), "{status:?}");
            let held = partition.stats().memory_bytes;
            assert!(held <= 2 << 20, "{held} bytes are held behind it");
            partition.close().await;
        }
    }));
}

#[test]
fn a_power_cut_while_threads_hash_what_is_kept_or_read_back_changes_no_leaf() {
    for (call, is_short) in (0..60).flat_map(|call| [(call, false), (call, true)]) {
        let host = Host::new(2 * call);
        host.sim.crash_after_calls(host.node, 3 * call + 1, pyralog_runtime::sim::Crash::Power);
        let seen: Rc<RefCell<Vec<Published>>> = Rc::default();
        host.live(|bench, _| {
            let (bench, seen) = (provable(&bench, "here"), Rc::clone(&seen));
            async move {
                bench.short(is_short);
                let (partition, _) = bench.open().await;
                for until in (8..=48).step_by(8) {
                    append_large(&bench, &partition, until).await;
                    let published = partition.tree_status().and_then(|status| status.published);
                    seen.borrow_mut().extend(published);
                }
                partition.close().await;
            }
        });
        host.lose_power();
        assert!(host.live(|bench, _| {
            let (bench, seen) = (provable(&bench, "here"), Rc::clone(&seen));
            async move {
                let (partition, report) = bench.open().await;
                assert_eq!(report.damaged, vec![]);
                append_large(&bench, &partition, 52).await;
                let end = partition.watermarks().end;
                let now = published(&partition, end.get()).await.unwrap().checkpoint;
                let root = computed(&partition, end).await;
                assert_eq!(now.root, *root.node.hash.as_bytes(), "call {call}");
                for Published { checkpoint: before, .. } in seen.take() {
                    let old = partition.root_at(before.tree_size).await.unwrap();
                    assert_eq!(*old.node.hash.as_bytes(), before.root, "call {call}");
                }
                partition.close().await;
            }
        }));
    }
}

#[test]
fn a_checkpoint_that_was_seen_survives_a_power_cut_at_any_call() {
    let mut call = 0;
    loop {
        let host = Host::new(call);
        let seen: Rc<RefCell<Vec<Published>>> = Rc::default();
        host.sim.crash_after_calls(host.node, call + 1, pyralog_runtime::sim::Crash::Power);
        let survived = host.live(|bench, _| {
            let (bench, seen) = (provable(&bench, "here"), Rc::clone(&seen));
            async move {
                let (partition, _) = bench.open().await;
                for until in [2, 4, 6] {
                    append_until(&bench, &partition, Durability::Synced, until).await;
                    if let Ok(published) = published(&partition, until).await {
                        seen.borrow_mut().push(published);
                    }
                }
                partition.close().await;
            }
        });
        host.lose_power();
        assert!(host.live(|bench, _| {
            let (bench, seen) = (provable(&bench, "here"), Rc::clone(&seen));
            async move {
                let (partition, _) = bench.open().await;
                append_until(&bench, &partition, Durability::Synced, 8).await;
                let now = published(&partition, 8).await.unwrap().checkpoint;
                let root = computed(&partition, now.end_offset).await;
                assert_eq!(now.root, *root.node.hash.as_bytes());
                let status = partition.tree_status().unwrap();
                assert!(!status.was_rebuilt, "the nodes were there before the checkpoint");
                for Published { checkpoint: before, .. } in seen.take() {
                    assert!(before.time < now.time);
                    let old = partition.root_at(before.tree_size).await.unwrap();
                    assert_eq!(*old.node.hash.as_bytes(), before.root, "call {call}");
                    let proof = partition.prove_consistency(before.tree_size, now.tree_size).await;
                    assert_eq!(proof.unwrap().verify(&old, &root), Ok(()));
                }
                assert_eq!(
                    bench.read_all(&partition).await,
                    (0..8).map(record).collect::<Vec<_>>()
                );
                partition.close().await;
            }
        }));
        if survived {
            assert!(call > 30, "that many calls were cut: {call}");
            return;
        }
        call += 1;
    }
}
