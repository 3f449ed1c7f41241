//! What crashes leave, and that they leave all that they may.

use super::*;

#[test]
fn a_dying_process_leaves_what_had_ended() {
    for seed in SEEDS {
        let (mut disk, handle) = with_file(seed, 1);
        disk.write(handle, 0, &[2; BLOCK], false).unwrap();
        disk.append_bytes(handle, b"tail").unwrap();
        disk.rename(Path::new("/f"), Path::new("/g")).unwrap();
        disk.crash(Crash::Process);
        assert_eq!(disk.content("/g"), [&[2; BLOCK][..], b"tail"].concat());
        assert!(!disk.is_there("/f"));
        assert_eq!(errno(disk.len(handle)), Errno::BADF, "its handles are gone");
    }
}

#[test]
fn a_dying_process_leaves_any_part_of_a_write_in_flight() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        let id = disk.begin_write(handle, 0, &[2; BLOCK], true);
        disk.crash(Crash::Process);
        assert_eq!(errno(disk.finish_write(id)), Errno::BADF);
        sectors_with(&disk.content("/f"), 2)
    });
    assert!(seen.contains_key(&0) && seen.contains_key(&8) && seen.len() > 4, "{seen:?}");
}

#[test]
fn a_write_in_flight_may_have_made_the_file_longer() {
    for crash in [Crash::Process, Crash::Power] {
        let seen = outcomes(|seed| {
            let (mut disk, handle) = with_file(seed, 1);
            disk.begin_write(handle, 4096, &[2; BLOCK], false);
            disk.crash(crash);
            let content = disk.content("/f");
            assert!(content[..BLOCK] == [1; BLOCK]);
            let written = sectors_with(&content[BLOCK..], 2);
            (content.len(), written > 0, written < 8)
        });
        let seen: Vec<_> = seen.into_keys().collect();
        let (short, long) = ((BLOCK, false, true), 2 * BLOCK);
        let expected = [short, (long, false, true), (long, true, false), (long, true, true)];
        assert_eq!(seen, expected, "{crash:?}");
    }
}

#[test]
fn a_write_in_flight_may_have_been_done_but_for_the_length() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        disk.begin_write(handle, 0, &[2; 2 * BLOCK], false);
        disk.crash(Crash::Process);
        let content = disk.content("/f");
        (content.len(), content.contains(&2))
    });
    for case in [(BLOCK, true), (BLOCK, false), (2 * BLOCK, true)] {
        assert!(seen.contains_key(&case), "{case:?} of {seen:?}");
    }
}

#[test]
fn what_a_dead_process_had_not_synced_can_still_be_lost() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        disk.write(handle, 0, &[2; BLOCK], false).unwrap();
        disk.crash(Crash::Process);
        disk.crash(Crash::Power);
        disk.content("/f")[0]
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn an_unsynced_write_is_kept_lost_or_torn_by_sectors() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        disk.write(handle, 0, &[2; BLOCK], false).unwrap();
        disk.crash(Crash::Power);
        let content = disk.content("/f");
        assert!(content.chunks(SECTOR).all(|s| s == [1; SECTOR] || s == [2; SECTOR]));
        let kept = sectors_with(&content, 2);
        assert_eq!(disk.strikes_of(DiskFault::Torn) == 1, (1..8).contains(&kept));
        assert_eq!(disk.strikes_of(DiskFault::Forgotten) == 1, kept == 0);
        kept
    });
    assert!((0..=8).all(|kept| seen.contains_key(&kept)), "{seen:?}");
}

#[test]
fn unsynced_writes_are_lost_in_any_order() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 2);
        disk.write(handle, 0, &[2; BLOCK], false).unwrap();
        disk.write(handle, 4096, &[3; BLOCK], false).unwrap();
        disk.crash(Crash::Power);
        let content = disk.content("/f");
        let (first, second) = (sectors_with(&content, 2), sectors_with(&content, 3));
        let reordered = first < 8 && second > 0;
        assert_eq!(disk.strikes_of(DiskFault::Reordered) == 1, reordered);
        (first == 8, second == 8, reordered)
    });
    for case in [(false, true, true), (true, false, false), (true, true, false)] {
        assert!(seen.contains_key(&case), "{case:?} of {seen:?}");
    }
}

#[test]
fn every_version_since_the_durable_one_may_be_what_stays() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        for byte in 2..6 {
            disk.write(handle, 0, &[byte; BLOCK], false).unwrap();
        }
        disk.crash(Crash::Power);
        disk.content("/f")[0]
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn an_unsynced_length_may_be_lost() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        disk.set_len(handle, 0).unwrap();
        disk.set_len(handle, 512).unwrap();
        disk.crash(Crash::Power);
        let content = disk.content("/f");
        assert_eq!(disk.strikes_of(DiskFault::LengthLost) == 1, content.len() != 512);
        (content.len(), content.contains(&1))
    });
    // What was cut off is gone or there, with the length.
    let expected = [(0, false), (512, false), (BLOCK, true)];
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn what_stays_after_a_loss_of_power_stays_after_the_next() {
    for seed in SEEDS {
        let (mut disk, handle) = with_file(seed, 2);
        for byte in 2..6 {
            disk.write(handle, 0, &[byte; 2 * BLOCK], false).unwrap();
            disk.rename(Path::new("/f"), Path::new("/g")).unwrap();
            disk.rename(Path::new("/g"), Path::new("/f")).unwrap();
        }
        disk.set_len(handle, 5000).unwrap();
        disk.crash(Crash::Power);
        let tree = |disk: &mut Disk| {
            let names = disk.list(Path::new("/")).unwrap();
            names.into_iter().map(|(name, ..)| (disk.content(&name), name)).collect::<Vec<_>>()
        };
        let before = tree(&mut disk);
        disk.drain_events();
        disk.crash(Crash::Power);
        assert_eq!(tree(&mut disk), before);
        assert_eq!(disk.drain_events(), []);
    }
}

/// How many versions the disk keeps of one file.
fn versions(disk: &Disk, handle: Handle) -> usize {
    disk.files[&disk.inode(handle).unwrap()].content.versions()
}

#[test]
fn pages_that_are_written_often_keep_few_versions() {
    let mut disk = with_file(1, 1).0;
    let handle = disk.reopen("/f");
    disk.begin_sync(handle);
    disk.crash(Crash::Process);
    let handle = disk.reopen("/f");
    for byte in 0..200 {
        disk.write(handle, 0, &[byte; BLOCK], false).unwrap();
    }
    assert!((2..20).contains(&versions(&disk, handle)), "{}", versions(&disk, handle));
}

#[test]
fn a_sync_finds_what_it_covers_however_often_it_was_overwritten() {
    for seed in SEEDS {
        let (mut disk, handle) = with_file(seed, 1);
        for byte in 0..20 {
            disk.write(handle, 0, &[byte; BLOCK], false).unwrap();
        }
        let sync = disk.begin_sync(handle);
        for byte in 20..40 {
            disk.write(handle, 0, &[byte; BLOCK], false).unwrap();
        }
        disk.finish_sync(sync).unwrap();
        disk.crash(Crash::Power);
        assert!(disk.content("/f")[0] >= 19);
    }
}

#[test]
fn names_that_nobody_syncs_do_not_pile_up() {
    let mut disk = Disk::new(3);
    for _ in 0..2000 {
        let handle = disk.open(Path::new("/f"), How::CreateNew).unwrap();
        disk.close(handle);
        disk.rename(Path::new("/f"), Path::new("/g")).unwrap();
    }
    assert!(disk.files.len() < 600, "{} files are kept", disk.files.len());
}

#[test]
fn one_seed_gives_one_outcome() {
    let run = |seed| {
        let (mut disk, handle) = with_file(seed, 4);
        for byte in 2..9 {
            disk.write(handle, 0, &[byte; 4 * BLOCK], false).unwrap();
            disk.begin_write(handle, 0, &[byte + 100; 2 * BLOCK], false);
        }
        disk.make("/g");
        disk.remove_file(Path::new("/f")).unwrap();
        disk.crash(Crash::Power);
        (disk.is_there("/f").then(|| disk.content("/f")), disk.drain_events())
    };
    let runs: Vec<_> = SEEDS.map(run).collect();
    assert_eq!(runs, SEEDS.map(run).collect::<Vec<_>>());
    let different: std::collections::BTreeSet<_> = runs.into_iter().map(|run| run.0).collect();
    assert!(different.len() > 50, "{} outcomes", different.len());
}
