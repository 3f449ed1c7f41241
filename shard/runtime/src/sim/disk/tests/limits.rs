//! Full disks, files that are too large, and how little zeros cost.

use super::*;

#[test]
fn reserved_and_written_pages_take_space_once() {
    let mut disk = Disk::new(1);
    disk.set_capacity(Some(1 << 20));
    let handle = disk.make("/f");
    disk.preallocate(handle, 10_000).unwrap();
    disk.write(handle, 0, &[0; 2 * BLOCK], false).unwrap();
    disk.write(handle, 8192, &[1; 2 * BLOCK], false).unwrap();
    assert_eq!(disk.free_space(), (1 << 20) - 4 * 4096);
    disk.set_len(handle, 1 << 30).unwrap();
    assert_eq!(disk.free_space(), (1 << 20) - 4 * 4096, "a hole takes none");
    disk.set_len(handle, 4097).unwrap();
    assert_eq!(disk.free_space(), (1 << 20) - 2 * 4096);
    disk.remove_file(Path::new("/f")).unwrap();
    assert_eq!(disk.free_space(), (1 << 20) - 2 * 4096, "it is open");
    disk.close(handle);
    assert_eq!(disk.free_space(), 1 << 20);
}

#[test]
fn space_follows_the_length_that_a_loss_of_power_leaves() {
    for (first, then) in [(1, 5), (5, 1), (5, 0)] {
        let seen = outcomes(|seed| {
            let (mut disk, handle) = with_file(seed, first);
            match then {
                0 => disk.set_len(handle, 0).unwrap(),
                1 => disk.set_len(handle, 4096).unwrap(),
                pages => disk.preallocate(handle, pages * 4096).unwrap(),
            }
            disk.crash(Crash::Power);
            assert_eq!(disk.used(), disk.content("/f").len() as u64);
            disk.used() / 4096
        });
        let mut expected = [first as u64, then];
        expected.sort_unstable();
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_full_disk_takes_what_it_has_room_for_and_then_nothing() {
    let mut disk = Disk::new(1);
    disk.set_capacity(Some(3 * 4096));
    let handle = disk.make("/f");
    assert_eq!(disk.write(handle, 0, &[1; 4 * BLOCK], false).unwrap(), 3 * BLOCK);
    assert_eq!(errno(disk.write(handle, 3 * 4096, &[1; BLOCK], false)), Errno::NOSPC);
    assert_eq!(disk.write(handle, 0, &[2; 3 * BLOCK], false).unwrap(), 3 * BLOCK, "no new space");
    assert_eq!(errno(disk.append_bytes(handle, b"x")), Errno::NOSPC);
    assert_eq!(disk.content("/f"), [2; 3 * BLOCK]);
    assert_eq!(disk.strikes_of(DiskFault::NoSpace), 2);
    let other = disk.make("/other");
    assert_eq!(errno(disk.append_bytes(other, b"x")), Errno::NOSPC);
    disk.set_len(handle, 2 * 4096).unwrap();
    assert_eq!(disk.append_bytes(other, &[1; 5000]).unwrap(), BLOCK);
}

#[test]
fn a_reservation_that_fails_may_have_grown_the_file() {
    let seen = outcomes(|seed| {
        let mut disk = Disk::new(seed);
        disk.set_capacity(Some(2 * 4096));
        let handle = disk.make("/f");
        assert_eq!(errno(disk.preallocate(handle, 3 * 4096)), Errno::NOSPC);
        assert_eq!(disk.free_space(), 2 * 4096 - disk.len(handle).unwrap());
        disk.len(handle).unwrap() / 4096
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_file_ends_at_the_limit() {
    let mut disk = Disk::new(1);
    disk.set_file_size_limit(Some(6000));
    let handle = disk.make("/f");
    assert_eq!(disk.write(handle, 4096, &[1; BLOCK], false).unwrap(), 5632 - 4096, "in sectors");
    assert_eq!(errno(disk.write(handle, 5632, &[1; SECTOR], false)), Errno::FBIG);
    assert_eq!(errno(disk.append_bytes(handle, b"x")), Errno::FBIG);
    assert_eq!(errno(disk.preallocate(handle, 6000)), Errno::FBIG);
    assert_eq!(errno(disk.set_len(handle, 6000)), Errno::FBIG);
    assert_eq!(disk.len(handle).unwrap(), 5632);
    assert_eq!(disk.strikes_of(DiskFault::FileTooLarge), 4);
}

#[test]
fn shielded_files_feel_no_limit() {
    let mut disk = Disk::new(1);
    disk.set_capacity(Some(0));
    disk.set_file_size_limit(Some(0));
    disk.set_shield(Some(std::rc::Rc::new(|_, _| false)));
    let handle = disk.make("/f");
    assert_eq!(disk.write(handle, 0, &[1; BLOCK], false).unwrap(), BLOCK);
    disk.preallocate(handle, 1 << 20).unwrap();
    assert_eq!(disk.free_space(), 0);
}

#[test]
fn a_segment_that_is_reserved_and_zeroed_holds_no_page() {
    let mut disk = Disk::new(1);
    let handle = disk.make("/f");
    disk.preallocate(handle, 1 << 30).unwrap();
    let zeros = vec![0; 1 << 20];
    for at in 0..64 {
        disk.write(handle, at << 20, &zeros, at % 2 == 0).unwrap();
    }
    let inode = disk.inode(handle).unwrap();
    assert_eq!(disk.files[&inode].content.written(), 0);
    assert!(disk.files[&inode].content.is_durable() || disk.len(handle).unwrap() == 1 << 30);
}

#[test]
fn zeros_over_data_are_written() {
    for seed in SEEDS {
        let (mut disk, handle) = with_file(seed, 8);
        disk.write(handle, 4096, &vec![0; 6 * BLOCK], true).unwrap();
        disk.crash(Crash::Power);
        let expected = [vec![1; BLOCK], vec![0; 6 * BLOCK], vec![1; BLOCK]].concat();
        assert_eq!(disk.content("/f"), expected);
    }
}

#[test]
fn a_write_behind_the_limit_is_refused_in_a_file_that_is_larger_too() {
    let mut disk = Disk::new(1);
    let handle = disk.make("/f");
    disk.write(handle, 0, &[1; 4 * BLOCK], false).unwrap();
    disk.set_file_size_limit(Some(2 * 4096));
    assert_eq!(errno(disk.write(handle, 2 * 4096, &[2; BLOCK], false)), Errno::FBIG);
    assert_eq!(disk.write(handle, 4096, &[3; 2 * BLOCK], false).unwrap(), BLOCK, "up to the limit");
    disk.preallocate(handle, 4 * 4096).unwrap();
    assert_eq!(disk.strikes_of(DiskFault::FileTooLarge), 1);
}
