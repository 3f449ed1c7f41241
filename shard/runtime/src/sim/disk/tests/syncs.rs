//! What is durable when.

use super::*;

/// What a file holds after a loss of power, in every world.
fn contents_after_power_loss(make: impl Fn(&mut Disk, Handle)) -> BTreeMap<Vec<u8>, usize> {
    outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 2);
        make(&mut disk, handle);
        disk.crash(Crash::Power);
        disk.content("/f")
    })
}

#[test]
fn what_ended_before_a_sync_survives_it() {
    let seen = contents_after_power_loss(|disk, handle| {
        disk.write(handle, 4096, &[2; 2 * BLOCK], false).unwrap();
        disk.preallocate(handle, 16384).unwrap();
        disk.sync(handle).unwrap();
    });
    let expected = [vec![1; BLOCK], vec![2; 2 * BLOCK], vec![0; BLOCK]].concat();
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [expected]);
}

#[test]
fn what_ends_during_a_sync_is_not_covered_by_it() {
    let seen = contents_after_power_loss(|disk, handle| {
        disk.write(handle, 0, &[2; BLOCK], false).unwrap();
        let late = disk.begin_write(handle, 4096, &[3; BLOCK], false);
        let sync = disk.begin_sync(handle);
        disk.finish_write(late).unwrap();
        disk.write(handle, 0, &[4; BLOCK], false).unwrap();
        disk.finish_sync(sync).unwrap();
    });
    let sectors = |bytes: &[u8]| bytes.iter().step_by(SECTOR).copied().collect::<Vec<_>>();
    let seen: Vec<_> = seen.keys().map(|bytes| sectors(bytes)).collect();
    assert!(seen.iter().all(|bytes| bytes[..8].iter().all(|byte| [2, 4].contains(byte))));
    assert!(seen.iter().any(|bytes| bytes[..8].contains(&2)));
    assert!(seen.iter().any(|bytes| bytes[..8].contains(&4)));
    assert!(seen.iter().any(|bytes| bytes[8..].contains(&1)));
    assert!(seen.iter().any(|bytes| bytes[8..].contains(&3)));
}

#[test]
fn a_write_that_syncs_is_durable_alone() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 2);
        disk.write(handle, 0, &[2; BLOCK], false).unwrap();
        disk.write(handle, 8192, &[3; BLOCK], true).unwrap();
        disk.crash(Crash::Power);
        let content = disk.content("/f");
        assert_eq!(content.len(), 3 * BLOCK, "with the length that finds it");
        assert_eq!(content[8192..], [3; BLOCK]);
        content[0]
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [1, 2], "the other one is open");
}

#[test]
fn a_write_that_syncs_does_not_make_a_reservation_durable() {
    let seen = outcomes(|seed| {
        let mut disk = Disk::new(seed);
        let handle = disk.make("/f");
        disk.preallocate(handle, 64 << 20).unwrap();
        disk.write(handle, 4096, &[3; BLOCK], true).unwrap();
        disk.crash(Crash::Power);
        let content = disk.content("/f");
        assert_eq!(content[..2 * BLOCK], [[0; BLOCK], [3; BLOCK]].concat());
        content.len()
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [2 * BLOCK, 64 << 20]);
}

#[test]
fn a_new_file_is_there_for_sure_only_with_its_directory() {
    for (sync_dir, expected) in [(false, vec![false, true]), (true, vec![true])] {
        let seen = outcomes(|seed| {
            let mut disk = Disk::new(seed);
            let handle = disk.open(Path::new("/f"), How::CreateNew).unwrap();
            disk.append_bytes(handle, b"abc").unwrap();
            disk.sync_now(handle).unwrap();
            if sync_dir {
                disk.sync_dir(Path::new("/")).unwrap();
            }
            disk.crash(Crash::Power);
            let there = disk.is_there("/f");
            assert!(!there || disk.content("/f") == b"abc", "the content is durable");
            there
        });
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_new_directory_is_there_for_sure_only_with_the_one_above() {
    let seen = outcomes(|seed| {
        let mut disk = Disk::new(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        disk.make("/d/f");
        disk.crash(Crash::Power);
        let there = disk.is_there("/d");
        assert_eq!(there, disk.is_there("/d/f"));
        there
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_name_may_be_durable_before_its_content() {
    let seen = outcomes(|seed| {
        let mut disk = Disk::new(seed);
        let handle = disk.open(Path::new("/new"), How::CreateNew).unwrap();
        disk.append_bytes(handle, b"abc").unwrap();
        disk.rename(Path::new("/new"), Path::new("/f")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.crash(Crash::Power);
        disk.content("/f")
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [&b""[..], b"\0\0\0", b"abc"]);
}

#[test]
fn a_length_that_is_changed_during_a_sync_is_not_covered_by_it() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        disk.preallocate(handle, 8192).unwrap();
        let sync = disk.begin_sync(handle);
        disk.preallocate(handle, 16384).unwrap();
        disk.finish_sync(sync).unwrap();
        disk.crash(Crash::Power);
        disk.content("/f").len()
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [8192, 16384]);
}

#[test]
fn a_rename_happens_or_does_not_until_both_directories_are_synced() {
    for synced in [None, Some("/d"), Some("/")] {
        let seen = outcomes(|seed| {
            let mut disk = Disk::new(seed);
            disk.create_dir(Path::new("/d")).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            for (path, text) in [("/new", b"new"), ("/d/f", b"old")] {
                let handle = disk.make(path);
                disk.append_bytes(handle, text).unwrap();
                disk.sync_now(handle).unwrap();
            }
            disk.rename(Path::new("/new"), Path::new("/d/f")).unwrap();
            if let Some(synced) = synced {
                disk.sync_dir(Path::new(synced)).unwrap();
            }
            disk.crash(Crash::Power);
            (disk.is_there("/new"), disk.content("/d/f"))
        });
        let expected = [(false, b"new".to_vec()), (true, b"old".to_vec())];
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_rename_whose_directories_are_synced_has_happened() {
    for seed in SEEDS {
        let mut disk = Disk::new(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        disk.make("/new");
        disk.rename(Path::new("/new"), Path::new("/d/f")).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.crash(Crash::Power);
        assert!(disk.is_there("/d/f") && !disk.is_there("/new"));
    }
}

#[test]
fn what_was_moved_for_sure_can_be_found() {
    for seed in SEEDS {
        let mut disk = Disk::new(seed);
        disk.create_dir(Path::new("/a")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.make("/a/f");
        disk.create_dir(Path::new("/d")).unwrap();
        disk.create_dir(Path::new("/d/e")).unwrap();
        disk.rename(Path::new("/a/f"), Path::new("/d/e/f")).unwrap();
        disk.sync_dir(Path::new("/a")).unwrap();
        disk.sync_dir(Path::new("/d/e")).unwrap();
        disk.crash(Crash::Power);
        assert!(disk.is_there("/d/e/f") && !disk.is_there("/a/f"));
    }
}

#[test]
fn directories_that_are_moved_into_each_other_are_not_lost() {
    for seed in SEEDS {
        let mut disk = Disk::new(seed);
        let [a, b, inner_a, inner_b] = ["/a", "/b", "/b/a", "/a/b"].map(Path::new);
        disk.create_dir(a).unwrap();
        disk.create_dir(b).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.rename(a, inner_a).unwrap();
        disk.rename(inner_a, a).unwrap();
        disk.rename(b, inner_b).unwrap();
        disk.crash(Crash::Power);
        assert!(disk.is_there(a) || disk.is_there(inner_a));
        assert!(disk.is_there(b) || disk.is_there(inner_b));

        let mut disk = Disk::new(seed);
        for path in ["/x", "/x/p", "/x/p/a"] {
            disk.create_dir(Path::new(path)).unwrap();
            disk.sync_dir(Path::new(path).parent().unwrap()).unwrap();
        }
        disk.rename(Path::new("/x/p"), Path::new("/p")).unwrap();
        disk.rename(Path::new("/x"), Path::new("/p/a/x")).unwrap();
        disk.crash(Crash::Power);
        assert!(["/x/p/a", "/p/a"].iter().any(|a| disk.is_there(a)), "in itself");
    }
}

#[test]
fn a_durable_length_brings_what_was_cut_before_it() {
    let seen = contents_after_power_loss(|disk, handle| {
        disk.set_len(handle, 4096).unwrap();
        disk.write(handle, 8192, &[3; BLOCK], true).unwrap();
    });
    let expected = [[1; BLOCK], [0; BLOCK], [3; BLOCK]].concat();
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_removed_file_may_come_back() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        disk.close(handle);
        disk.remove_file(Path::new("/f")).unwrap();
        disk.crash(Crash::Power);
        if disk.is_there("/f") {
            assert_eq!(disk.content("/f"), [1; BLOCK]);
            return true;
        }
        assert_eq!(disk.files.len(), 0);
        false
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_removed_tree_may_come_back_in_part_but_never_twice() {
    let seen = outcomes(|seed| {
        let mut disk = Disk::new(seed);
        disk.create_dir(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.make("/d/a");
        disk.make("/d/b");
        disk.remove_dir_all(Path::new("/d")).unwrap();
        if seed % 2 == 0 {
            disk.sync_dir(Path::new("/")).unwrap();
        }
        disk.crash(Crash::Power);
        let left = disk.list(Path::new("/d")).ok().map(|names| names.len());
        assert!(seed % 2 == 1 || left.is_none(), "its end was synced");
        left
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [None, Some(0), Some(1), Some(2)]);
}
