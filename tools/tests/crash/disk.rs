//! A disk that loses power: two file systems, one in a file of the other, that can be stopped at once.
//!
//! ```text
//! place/cache           ext4 in place/cache.img: stands for the drive
//! place/cache/disk.img  what the drive has taken; what was not flushed is a dirty page up there
//! place/disk            ext4 in that file: where the server works
//! ```
//!
//! A file system that is stopped (`EXT4_IOC_SHUTDOWN` without flushing its log) loses its page cache and its open
//! transactions. Stopping the lower one alone is a drive that keeps what it took; stopping the upper one first is a
//! drive whose cache is lost as well: a direct write that nobody flushed is gone, which a loop device over one file
//! alone would keep. The order matters, because a file system that is stopped writes its journal's superblock with a
//! flush. Device mapper could do the same with less, but not every kernel has it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Length of the image that stands for the drive; sparse, as is the one in it.
const CACHE_BYTES: u64 = 700 << 20;

/// Length of the image that the server's file system is in.
const DISK_BYTES: u64 = 600 << 20;

/// The file system shall do nothing of its own accord that the server forgot to ask for: neither commit by the clock (300
/// s is the longest it takes) nor flush a file because it is renamed.
const MOUNT_OPTIONS: &str = "loop,commit=300,noauto_da_alloc";

/// Block and sector of everything here.
const BLOCK: usize = 4096;

/// Tries before a disk that remembers is believed: a writeback of the kernel's own may come between.
const TRIALS: usize = 3;

/// Tries of an unmount: rings of a killed process let go of their files a little after its end.
const UNMOUNTS: usize = 500;

/// What a loss of power takes along.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// What the kernel had not written.
    Kernel,
    /// That, and what the drive had not been told to flush.
    Drive,
}

/// What this machine lacks for such a disk, in the words of whoever refused.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

/// The disk. Unmounts, and so detaches, what it mounted, when it is dropped.
pub(crate) struct Disk {
    place: PathBuf,
    /// What is mounted, in that order.
    mounted: Vec<PathBuf>,
}

impl Disk {
    /// Makes one below `place`, mounts it and sees whether it forgets.
    pub(crate) fn try_new(place: &Path) -> Result<Self, Missing> {
        if !rustix::process::geteuid().is_root() {
            return Err(Missing("only root may mount".to_owned()));
        }
        let mut disk = Self { place: place.to_owned(), mounted: Vec::new() };
        let cutter = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/cut.c");
        run("cc", &["-o", &disk.path("cut"), cutter])?;
        for mount_point in ["cache", "disk"] {
            std::fs::create_dir(place.join(mount_point)).unwrap();
        }
        disk.format("cache.img", CACHE_BYTES)?;
        disk.mount("cache.img", "cache")?;
        disk.format("cache/disk.img", DISK_BYTES)?;
        disk.mount("cache/disk.img", "disk")?;
        for _ in 0..TRIALS {
            if disk.forgets()? {
                return Ok(disk);
            }
        }
        Err(Missing("the file system kept what was not synced".to_owned()))
    }

    /// Where to work. Empty at first, except for `lost+found`.
    pub(crate) fn directory(&self) -> PathBuf {
        self.place.join("disk")
    }

    /// Makes a cut ready, so that it then takes no time.
    pub(crate) fn arm(&self, cut: Cut) -> Cutter {
        self.try_arm(cut).expect("it was cut before")
    }

    /// Power is back: what had lasted is in the directory again. Nobody may have files of it open.
    pub(crate) fn restore(&mut self) {
        self.try_restore().expect("it was mounted before");
    }

    fn path(&self, name: &str) -> String {
        self.place.join(name).to_str().expect("our own names are text").to_owned()
    }

    fn format(&self, image: &str, bytes: u64) -> Result<(), Missing> {
        let image = self.path(image);
        File::create_new(&image).unwrap().set_len(bytes).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-N", "8192", &image])
    }

    fn mount(&mut self, image: &str, on: &str) -> Result<(), Missing> {
        let directory = self.path(on);
        run("mount", &["-t", "ext4", "-o", MOUNT_OPTIONS, &self.path(image), &directory])?;
        self.mounted.push(directory.into());
        Ok(())
    }

    fn try_arm(&self, cut: Cut) -> Result<Cutter, Missing> {
        let upper_first = [self.path("cache"), self.path("disk")];
        let places = match cut {
            Cut::Kernel => &upper_first[1..],
            Cut::Drive => &upper_first[..],
        };
        let mut command = Command::new(self.path("cut"));
        command.args(places).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| Missing(format!("cut: {error}")))?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let cutter = Cutter { child };
        if line.is_empty() { Err(cutter.try_cut().unwrap_err()) } else { Ok(cutter) }
    }

    fn try_restore(&mut self) -> Result<(), Missing> {
        self.unmount();
        self.mount("cache.img", "cache")?;
        self.mount("cache/disk.img", "disk")
    }

    fn unmount(&mut self) {
        while let Some(directory) = self.mounted.pop() {
            let directory = directory.to_str().expect("our own names are text");
            let gone = (0..UNMOUNTS).any(|_| run("umount", &[directory]).is_ok());
            if !gone {
                // Somebody has files open. At least nobody finds it any more, and it goes with the last of them.
                let detached = run("umount", &["--lazy", directory]);
                assert!(std::thread::panicking(), "{directory} stays busy, {detached:?}");
            }
        }
    }

    /// Whether a name that was not synced and a direct write that was not flushed are gone after a cut, and the synced
    /// content from before is back.
    fn forgets(&mut self) -> Result<bool, Missing> {
        let (block, name) = (self.directory().join("block"), self.directory().join("name"));
        let before = OpenOptions::new().write(true).create(true).truncate(true).open(&block);
        let before = before.unwrap();
        before.write_all_at(&[b'a'; BLOCK], 0).unwrap();
        before.sync_all().unwrap();
        let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap();
        let after = OpenOptions::new().write(true).custom_flags(direct).open(&block).unwrap();
        let space = [b'b'; 2 * BLOCK];
        let aligned = space.as_ptr().align_offset(BLOCK);
        after.write_all_at(&space[aligned..aligned + BLOCK], 0).unwrap();
        File::create(&name).unwrap();
        drop((before, after));
        self.try_arm(Cut::Drive)?.try_cut()?;
        self.try_restore()?;
        let forgot = std::fs::read(&block).unwrap() == [b'a'; BLOCK] && !name.exists();
        for left in [block, name] {
            std::fs::remove_file(left).ok(); // Either may be gone, that was the question.
        }
        Ok(forgot)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Somebody with a finger on the switch. Holds the mount points busy.
pub(crate) struct Cutter {
    child: Child,
}

impl Cutter {
    /// The loss. From here on nothing that anybody does in the directory lasts.
    pub(crate) fn cut(self) {
        self.try_cut().expect("it was cut before");
    }

    fn try_cut(mut self) -> Result<(), Missing> {
        let mut input = self.child.stdin.take().unwrap();
        // If it has ended before, that is said below.
        input.write_all(b"!").ok();
        drop(input);
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        if status.success() { Ok(()) } else { Err(Missing(format!("cut: {status}, {said}"))) }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        // Errors mean that it has ended, which is what we want.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a tool; what it says is the error if it fails.
pub(crate) fn run(tool: &str, arguments: &[&str]) -> Result<(), Missing> {
    let output = Command::new(tool).args(arguments).output();
    let output = output.map_err(|error| Missing(format!("{tool}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Missing(format!("{tool} {}: {}, {}", arguments.join(" "), output.status, said.trim())))
}
