//! Opening, locks, names as the process sees them, and a death between two calls.

use super::*;

#[test]
fn files_are_opened_as_asked() {
    let mut disk = Disk::new(1);
    let f = Path::new("/f");
    assert_eq!(errno(disk.open(f, How::Existing)), Errno::NOENT);
    let made = disk.open(f, How::CreateNew).unwrap();
    assert_eq!(errno(disk.open(f, How::CreateNew)), Errno::EXIST);
    let again = disk.open(f, How::OpenOrCreate).unwrap();
    assert_ne!(made, again);
    assert_eq!(disk.path_of(again), f);
    assert_eq!(errno(disk.open(Path::new("/no/f"), How::CreateNew)), Errno::NOENT);
    assert_eq!(errno(disk.open(Path::new("/f/g"), How::CreateNew)), Errno::NOTDIR);
    assert_eq!(errno(disk.open(Path::new("/"), How::OpenOrCreate)), Errno::ISDIR);
}

#[test]
fn closed_handles_are_refused() {
    let (mut disk, handle) = with_file(1, 1);
    disk.close(handle);
    disk.close(handle);
    assert_eq!(errno(disk.read(handle, 0, 1)), Errno::BADF);
    assert_eq!(errno(disk.write(handle, 0, &[0; SECTOR], true)), Errno::BADF);
    assert_eq!(errno(disk.sync(handle)), Errno::BADF);
    assert_eq!(errno(disk.set_len(handle, 0)), Errno::BADF);
    assert!(!disk.lock(handle));
}

#[test]
fn direct_writes_are_aligned_or_refused() {
    let (mut disk, handle) = with_file(1, 1);
    assert_eq!(errno(disk.write(handle, 1, &[0; SECTOR], true)), Errno::INVAL);
    assert_eq!(errno(disk.write(handle, 0, &[0; SECTOR + 1], true)), Errno::INVAL);
    assert_eq!(errno(disk.write(handle, 0, &[], true)), Errno::INVAL);
    assert_eq!(disk.content("/f"), [1; BLOCK]);
}

#[test]
fn reads_end_with_the_file() {
    let mut disk = Disk::new(1);
    let handle = disk.make("/f");
    disk.append_bytes(handle, &[7; 5000]).unwrap();
    assert_eq!(disk.read(handle, 4000, 4096).unwrap(), [7; 1000]);
    assert_eq!(disk.read(handle, 5000, 10).unwrap(), []);
    assert_eq!(disk.read(handle, 9000, 10).unwrap(), []);
    assert_eq!(disk.read_all(handle, 10).unwrap(), [7; 10]);
    assert_eq!(disk.len(handle).unwrap(), 5000);
}

#[test]
fn cut_bytes_come_back_as_zeros() {
    let (mut disk, handle) = with_file(1, 2);
    disk.set_len(handle, 100).unwrap();
    disk.set_len(handle, 5000).unwrap();
    let expected = [vec![1; 100], vec![0; 4900]].concat();
    assert_eq!(disk.content("/f"), expected);
}

#[test]
fn reserving_never_shortens() {
    let (mut disk, handle) = with_file(1, 2);
    disk.preallocate(handle, 4096).unwrap();
    assert_eq!(disk.len(handle).unwrap(), 8192);
    disk.preallocate(handle, 10_000).unwrap();
    assert_eq!(disk.len(handle).unwrap(), 10_000);
    assert_eq!(errno(disk.preallocate(handle, 0)), Errno::INVAL);
}

#[test]
fn one_handle_holds_the_lock_until_it_is_closed_or_its_process_dies() {
    let (mut disk, first) = with_file(1, 1);
    let second = disk.reopen("/f");
    assert!(disk.lock(first) && disk.lock(first));
    assert!(!disk.lock(second));
    disk.close(first);
    assert!(disk.lock(second));
    disk.crash(Crash::Process);
    let third = disk.reopen("/f");
    assert!(disk.lock(third));
}

#[test]
fn names_change_as_the_kernel_changes_them() {
    let mut disk = Disk::new(1);
    let [d, e, f, g] = ["/d", "/d/e", "/d/f", "/g"].map(Path::new);
    assert_eq!(errno(disk.create_dir(e)), Errno::NOENT);
    disk.create_dir(d).unwrap();
    disk.create_dir(e).unwrap();
    assert_eq!(errno(disk.create_dir(d)), Errno::EXIST);
    let handle = disk.make("/d/f");
    disk.append_bytes(handle, b"123").unwrap();
    let listed = [("e".to_owned(), 4096, true), ("f".to_owned(), 3, false)];
    assert_eq!(disk.list(d).unwrap(), listed);
    assert_eq!(disk.metadata(f).unwrap(), (3, false));
    assert_eq!(errno(disk.metadata(g)), Errno::NOENT);
    assert_eq!(errno(disk.list(f)), Errno::NOTDIR);
    assert_eq!(errno(disk.rename(f, e)), Errno::ISDIR);
    assert_eq!(errno(disk.rename(e, f)), Errno::NOTDIR);
    assert_eq!(errno(disk.rename(d, Path::new("/d/e/d"))), Errno::INVAL);
    assert_eq!(errno(disk.rename(g, f)), Errno::NOENT);
    disk.rename(f, g).unwrap();
    disk.rename(g, g).unwrap();
    assert_eq!((disk.is_there("/d/f"), disk.is_there("/g")), (false, true));
    assert_eq!(disk.read_all(handle, 10).unwrap(), b"123");
    assert_eq!(errno(disk.remove_file(d)), Errno::ISDIR);
    assert_eq!(errno(disk.remove_file(f)), Errno::NOENT);
    assert_eq!(errno(disk.remove_dir_all(g)), Errno::NOTDIR);
    disk.rename(g, f).unwrap();
    disk.remove_dir_all(d).unwrap();
    assert_eq!(disk.list(Path::new("/")).unwrap(), []);
    assert_eq!(errno(disk.remove_dir_all(d)), Errno::NOENT);
}

#[test]
fn a_directory_replaces_only_an_empty_one() {
    let mut disk = Disk::new(1);
    for path in ["/a", "/b", "/b/c"] {
        disk.create_dir(Path::new(path)).unwrap();
    }
    assert_eq!(errno(disk.rename(Path::new("/a"), Path::new("/b"))), Errno::NOTEMPTY);
    disk.rename(Path::new("/b"), Path::new("/a")).unwrap();
    assert!(disk.is_there("/a/c") && !disk.is_there("/b"));
}

#[test]
fn relative_names_begin_at_the_root() {
    let mut disk = Disk::new(1);
    disk.create_dir(Path::new("d")).unwrap();
    disk.make("/d/f");
    assert!(disk.is_there("./d/../d/f"));
    disk.sync_dir(Path::new(".")).unwrap();
}

#[test]
fn an_open_file_outlives_its_name() {
    let (mut disk, handle) = with_file(1, 1);
    disk.remove_file(Path::new("/f")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.write(handle, 0, &[2; BLOCK], false).unwrap();
    assert_eq!(disk.read(handle, 0, BLOCK).unwrap(), [2; BLOCK]);
    assert_eq!(disk.files.len(), 1);
    let in_flight = disk.begin_write(handle, 0, &[3; BLOCK], true);
    disk.close(handle);
    assert_eq!(disk.finish_write(in_flight).unwrap(), BLOCK);
    assert_eq!(disk.files.len(), 0, "nobody can reach it");
}

#[test]
fn wiped_disks_are_empty() {
    let (mut disk, handle) = with_file(1, 1);
    disk.set_capacity(Some(1 << 20));
    disk.wipe();
    assert!(!disk.is_there("/f"));
    assert_eq!(disk.free_space(), 1 << 20);
    assert_eq!(errno(disk.read(handle, 0, 1)), Errno::BADF);
    disk.make("/f");
}

#[test]
fn after_so_many_calls_nothing_has_effect_until_the_crash() {
    let (mut disk, handle) = with_file(1, 1);
    disk.crash_after(2);
    disk.create_dir(Path::new("/d")).unwrap();
    assert!(!disk.is_dying());
    assert!(disk.is_there("/d"), "looking is not counted");
    disk.sync_dir(Path::new("/")).unwrap();
    assert!(disk.is_dying());
    assert_eq!(disk.strikes_of(DiskFault::CrashBetweenCalls), 1);
    let (d, f) = (Path::new("/d"), Path::new("/f"));
    for error in [
        errno(disk.create_dir(Path::new("/e"))),
        errno(disk.rename(f, d)),
        errno(disk.remove_file(f)),
        errno(disk.remove_dir_all(d)),
        errno(disk.list(d)),
        errno(disk.metadata(d)),
        errno(disk.sync_dir(d)),
        errno(disk.open(f, How::Existing)),
        errno(disk.write(handle, 0, &[2; BLOCK], false)),
        errno(disk.sync(handle)),
        errno(disk.sync_now(handle)),
        errno(disk.append_bytes(handle, b"x")),
        errno(disk.preallocate(handle, 9)),
        errno(disk.set_len(handle, 9)),
        errno(disk.read(handle, 0, 9)),
        errno(disk.read_all(handle, 9)),
        errno(disk.len(handle)),
    ] {
        assert_eq!(error, Errno::IO);
    }
    disk.crash(Crash::Power);
    assert!(!disk.is_dying());
    assert!(disk.is_there("/d") && !disk.is_there("/e"));
    assert_eq!(disk.content("/f"), [1; BLOCK]);
}

#[test]
fn a_death_may_be_aimed_at_a_file() {
    let (mut disk, handle) = with_file(1, 1);
    disk.crash_after_calls_to(Rc::new(|path| path == Path::new("/d")), 2);
    disk.set_len(handle, 9).unwrap();
    disk.set_len(handle, 8).unwrap();
    assert_eq!(disk.last_changed(), Path::new("/f"));
    disk.create_dir(Path::new("/d")).unwrap();
    assert!(!disk.is_dying());
    disk.set_len(handle, 7).unwrap();
    assert!(disk.is_dying(), "from there on every call counts");
}

#[test]
fn a_tree_may_be_removed_in_part() {
    let mut disk = Disk::new(1);
    disk.create_dir(Path::new("/d")).unwrap();
    for name in ["/d/a", "/d/b", "/d/c"] {
        disk.make(name);
    }
    disk.sync_dir(Path::new("/")).unwrap();
    disk.crash_after(2);
    assert_eq!(errno(disk.remove_dir_all(Path::new("/d"))), Errno::IO);
    disk.crash(Crash::Process);
    let names = disk.list(Path::new("/d")).unwrap();
    assert_eq!(names, [("c".to_owned(), 0, false)]);
}

#[test]
fn a_write_that_began_before_the_death_may_be_torn() {
    let seen = outcomes(|seed| {
        let (mut disk, handle) = with_file(seed, 1);
        disk.crash_after(1);
        let id = disk.begin_write(handle, 0, &[2; BLOCK], true);
        assert_eq!(errno(disk.finish_write(id)), Errno::IO);
        disk.crash(Crash::Power);
        sectors_with(&disk.content("/f"), 2).min(1) + sectors_with(&disk.content("/f"), 2) / 8
    });
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "none, some, all: {seen:?}");
}
