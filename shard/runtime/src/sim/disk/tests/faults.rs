//! Faults that strike single operations.

use super::*;
use std::rc::Rc;

const ALWAYS: u32 = 1_000_000;

#[test]
fn a_short_write_says_so_and_takes_sectors() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        disk.set_faults(DiskFaults { short_write: ALWAYS, ..DiskFaults::default() });
        let taken = disk.write(handle, 0, &[2; BLOCK], true).unwrap();
        disk.crash(Crash::Power);
        assert_eq!(disk.content("/f"), [vec![2; taken], vec![1; BLOCK - taken]].concat());
        taken
    });
    assert_eq!(
        seen.into_keys().collect::<Vec<_>>(),
        (1..8).map(|n| n * SECTOR).collect::<Vec<_>>()
    );
    let (mut disk, handle) = with_file(1, 3);
    disk.set_faults(DiskFaults { short_write: ALWAYS, ..DiskFaults::default() });
    let taken = disk.write(handle, 0, &[0; 3 * BLOCK], true).unwrap();
    assert!(!taken.is_multiple_of(BLOCK), "this seed cuts a page of zeros");
    assert_eq!(disk.content("/f"), [vec![0; taken], vec![1; 3 * BLOCK - taken]].concat());
    disk.set_len(handle, 4096).unwrap();
    assert_eq!(disk.write(handle, 0, &[2; SECTOR], true).unwrap(), SECTOR, "none is not short");
    let taken = disk.append_bytes(handle, &[2; 100]).unwrap();
    assert!((1..100).contains(&taken));
    assert_eq!(disk.content("/f").len(), BLOCK + taken);
    assert_eq!(disk.append_bytes(handle, &[2]).unwrap(), 1);
}

#[test]
fn a_short_read_ends_with_a_page() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 3);
        disk.set_faults(DiskFaults { short_read: ALWAYS, ..DiskFaults::default() });
        assert_eq!(disk.read(handle, 0, BLOCK).unwrap().len(), BLOCK, "none is not short");
        disk.read(handle, 0, 3 * BLOCK).unwrap().len()
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [BLOCK, 2 * BLOCK]);
}

#[test]
fn a_failed_write_leaves_any_part_of_itself() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        disk.set_faults(DiskFaults { write_error: ALWAYS, ..DiskFaults::default() });
        assert_eq!(errno(disk.write(handle, 0, &[2; BLOCK], true)), Errno::IO);
        assert_eq!(errno(disk.append_bytes(handle, b"x")), Errno::IO);
        let kept = sectors_with(&disk.content("/f")[..BLOCK], 2);
        disk.crash(Crash::Power);
        let durable = sectors_with(&disk.content("/f")[..BLOCK], 2);
        assert!(durable <= kept);
        (kept, durable < kept)
    });
    let kept: std::collections::BTreeSet<_> = seen.keys().map(|(kept, _)| *kept).collect();
    assert!((0..=8).all(|count| kept.contains(&count)), "{seen:?}");
    assert!(seen.contains_key(&(8, true)), "nothing of it is durable for sure: {seen:?}");
}

#[test]
fn a_failed_read_changes_nothing() {
    let (mut disk, handle) = with_file(1, 1);
    disk.set_faults(DiskFaults { read_error: ALWAYS, ..DiskFaults::default() });
    assert_eq!(errno(disk.read(handle, 0, 1)), Errno::IO);
    assert_eq!(errno(disk.read_all(handle, 1)), Errno::IO);
    disk.set_faults(DiskFaults::default());
    assert_eq!(disk.content("/f"), [1; BLOCK]);
}

#[test]
fn what_a_failed_sync_covered_is_seen_but_no_later_sync_makes_it_durable() {
    let fail = DiskFaults { sync_error: ALWAYS, ..DiskFaults::default() };
    for with_write in [false, true] {
        let seen = outcomes(|seed| {
            let (mut disk, handle) = with_file(seed, 2);
            disk.write(handle, 4096, &[3; BLOCK], false).unwrap();
            disk.set_faults(fail);
            if with_write {
                assert_eq!(errno(disk.write(handle, 0, &[2; BLOCK], true)), Errno::IO);
            } else {
                disk.write(handle, 0, &[2; BLOCK], false).unwrap();
                assert_eq!(errno(disk.sync(handle)), Errno::IO);
            }
            disk.set_faults(DiskFaults::default());
            assert_eq!(disk.content("/f"), [[2; BLOCK], [3; BLOCK]].concat());
            disk.sync(handle).unwrap();
            disk.crash(Crash::Process);
            disk.crash(Crash::Power);
            let content = disk.content("/f");
            (content[0], content[4096])
        });
        let lost: usize = seen.iter().filter(|((first, _), _)| *first == 1).map(|(_, n)| n).sum();
        assert!(lost > 200, "it is mostly lost: {seen:?}");
        let other: Vec<u8> = seen.into_keys().map(|(_, second)| second).collect();
        assert_eq!(other.contains(&1), !with_write, "a write that syncs fails for itself alone");
    }
}

#[test]
fn what_is_written_after_a_failed_sync_is_synced() {
    for seed in SEEDS {
        let (mut disk, handle) = with_file(seed, 1);
        disk.write(handle, 0, &[2; BLOCK], false).unwrap();
        disk.set_faults(DiskFaults { sync_error: ALWAYS, ..DiskFaults::default() });
        assert_eq!(errno(disk.sync_now(handle)), Errno::IO);
        disk.set_faults(DiskFaults::default());
        disk.write(handle, 0, &[3; BLOCK], false).unwrap();
        disk.sync(handle).unwrap();
        disk.crash(Crash::Power);
        assert_eq!(disk.content("/f"), [3; BLOCK]);
    }
}

#[test]
fn what_was_cut_off_stays_away_whatever_sync_failed() {
    for seed in SEEDS {
        let (mut disk, handle) = with_file(seed, 3);
        if seed % 2 == 0 {
            disk.set_len(handle, 4096).unwrap();
        } else {
            disk.write(handle, 4096, &[0; 2 * BLOCK], false).unwrap();
        }
        disk.set_faults(DiskFaults { sync_error: ALWAYS, ..DiskFaults::default() });
        assert_eq!(errno(disk.sync(handle)), Errno::IO);
        disk.set_faults(DiskFaults::default());
        disk.set_len(handle, 4096).unwrap();
        disk.set_len(handle, 8192).unwrap();
        disk.sync(handle).unwrap();
        disk.crash(Crash::Power);
        assert_eq!(disk.content("/f"), [[1; BLOCK], [0; BLOCK]].concat());
    }
}

#[test]
fn a_failed_sync_of_a_directory_may_be_tried_again() {
    for seed in SEEDS {
        let mut disk = Disk::new(seed);
        disk.open(Path::new("/f"), How::CreateNew).unwrap();
        disk.set_faults(DiskFaults { sync_error: ALWAYS, ..DiskFaults::default() });
        assert_eq!(errno(disk.sync_dir(Path::new("/"))), Errno::IO);
        disk.set_faults(DiskFaults::default());
        if seed % 2 == 0 {
            disk.sync_dir(Path::new("/")).unwrap();
        }
        disk.crash(Crash::Power);
        assert!(seed % 2 == 1 || disk.is_there("/f"));
    }
}

#[test]
fn rot_flips_one_bit_for_good() {
    for seed in SEEDS {
        let (mut disk, handle) = with_file(seed, 2);
        disk.set_faults(DiskFaults { bit_rot: ALWAYS, ..DiskFaults::default() });
        let read = disk.read(handle, 512, 1024).unwrap();
        disk.set_faults(DiskFaults::default());
        assert_eq!(read.iter().map(|byte| (byte ^ 1).count_ones()).sum::<u32>(), 1);
        disk.crash(Crash::Power);
        assert_eq!(disk.content("/f")[512..1536], read);
        assert_eq!(disk.strikes_of(DiskFault::BitRot), 1);
    }
}

#[test]
fn rot_at_rest_strikes_what_is_written_in_an_allowed_file() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 2);
        disk.preallocate(handle, 1 << 20).unwrap();
        disk.make("/empty");
        let other = disk.make("/other");
        disk.append_bytes(other, b"abc").unwrap();
        assert_eq!(disk.corrupt(&|path| path == Path::new("/empty")), None);
        let whole = [[1; BLOCK], [1; BLOCK]].concat();
        assert_eq!(disk.content("/f")[..2 * BLOCK], whole);
        let (path, range) = disk.corrupt(&|_| true).unwrap();
        let content = disk.content(path.to_str().unwrap());
        let before = if path == Path::new("/f") { whole } else { b"abc".to_vec() };
        let others: Vec<_> = (0..before.len()).filter(|at| before[*at] != content[*at]).collect();
        let range = content::index(range.start)..content::index(range.end);
        assert_eq!(others, range.clone().collect::<Vec<_>>());
        let bits: u32 = range.clone().map(|at| (before[at] ^ content[at]).count_ones()).sum();
        assert!(range.len() > 1 || bits == 1);
        (path, range.len(), range.end == before.len())
    });
    let all: Vec<_> = seen.into_keys().collect();
    for of_f in [1, 512, BLOCK] {
        for at_end in [false, true] {
            let found = all
                .iter()
                .any(|(path, len, end)| path == Path::new("/f") && (*len, *end) == (of_f, at_end));
            assert!(found || (of_f, at_end) == (1, true), "{of_f} {at_end}: {all:?}");
        }
    }
    assert!(all.contains(&(PathBuf::from("/other"), 3, true)), "{all:?}");
}

#[test]
fn a_lost_write_reports_success() {
    let (mut disk, handle) = with_file(1, 1);
    disk.set_faults(DiskFaults { lost_write: ALWAYS, ..DiskFaults::default() });
    assert_eq!(disk.write(handle, 0, &[2; 2 * BLOCK], true).unwrap(), 2 * BLOCK);
    disk.crash(Crash::Power);
    assert_eq!(disk.content("/f"), [[1; BLOCK], [0; BLOCK]].concat());
}

#[test]
fn a_misdirected_write_lands_elsewhere_and_reports_success() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 3);
        disk.preallocate(handle, 6 * BLOCK as u64).unwrap();
        disk.sync(handle).unwrap();
        disk.set_faults(DiskFaults { misdirected: ALWAYS, ..DiskFaults::default() });
        assert_eq!(disk.write(handle, 4096, &[2; BLOCK], true).unwrap(), BLOCK);
        disk.crash(Crash::Power);
        let content = disk.content("/f");
        assert_eq!(sectors_with(&content, 2), 8);
        content.iter().position(|byte| *byte == 2).unwrap() / BLOCK
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [0, 2, 3, 4, 5]);
    let (mut disk, handle) = with_file(1, 1);
    disk.set_faults(DiskFaults { misdirected: ALWAYS, ..DiskFaults::default() });
    disk.write(handle, 0, &[2; BLOCK], true).unwrap();
    assert_eq!(disk.content("/f"), [2; BLOCK], "there is no elsewhere");
}

#[test]
fn faults_strike_at_their_rates_and_are_told() {
    let (mut disk, handle) = with_file(1, 1);
    disk.set_faults(DiskFaults { read_error: 100_000, slow: 500_000, ..DiskFaults::default() });
    let failed = (0..10_000).filter(|_| disk.read(handle, 0, 1).is_err()).count();
    assert!((800..1200).contains(&failed), "{failed} of 10000");
    let events = disk.drain_events();
    let event = TraceKind::DiskFault { fault: DiskFault::ReadError, path: PathBuf::from("/f") };
    assert_eq!(events, vec![event; failed]);
    assert_eq!(disk.drain_events(), []);
    let slow = (0..1000).filter(|_| disk.is_slow()).count() as u64;
    assert!((400..600).contains(&slow), "{slow} of 1000");
    assert_eq!(disk.strikes_of(DiskFault::Slow), slow);
    assert_eq!(disk.strikes_of(DiskFault::ReadError), failed as u64);
}

#[test]
fn a_fault_that_is_switched_off_leaves_the_others_alone() {
    let run = |short_write| {
        let (mut disk, handle) = with_file(5, 1);
        disk.set_faults(DiskFaults { read_error: 300_000, short_write, ..DiskFaults::default() });
        let step = |_| {
            disk.write(handle, 0, &[2; BLOCK], false).unwrap();
            disk.read(handle, 0, 1).is_err()
        };
        (0..100).map(step).collect::<Vec<_>>()
    };
    assert_eq!(run(0), run(500_000));
}

#[test]
fn a_shield_knows_files_by_their_present_names() {
    let (mut disk, handle) = with_file(1, 1);
    let other = disk.make("/other");
    disk.set_faults(DiskFaults {
        sync_error: ALWAYS,
        write_error: ALWAYS,
        ..DiskFaults::default()
    });
    disk.set_shield(Some(Rc::new(|path, fault| {
        path == Path::new("/renamed") && fault == DiskFault::SyncError
    })));
    disk.sync(handle).unwrap();
    disk.rename(Path::new("/f"), Path::new("/renamed")).unwrap();
    assert_eq!(errno(disk.sync(handle)), Errno::IO);
    disk.sync(other).unwrap();
    disk.write(handle, 0, &[2; BLOCK], false).unwrap();
    disk.set_shield(None);
    assert_eq!(errno(disk.sync(other)), Errno::IO);
}
