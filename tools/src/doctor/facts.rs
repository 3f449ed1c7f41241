//! What `doctor` looks at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pyralog_runtime::probe;
use pyralog_runtime::probe::{Kernel, ProcessLimit, UringFeatures};
use pyralog_shard::DataConfig;

use super::probe::{WriteProbe, write_probe};
use crate::marks::{self, Mark};
use crate::settings::Settings;

/// Everything that was found out. A text in place of a value says why it is not known.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) kernel: Kernel,
    pub(super) uring: Result<UringFeatures, String>,
    pub(super) memlock: ProcessLimit,
    pub(super) file_size: ProcessLimit,
    pub(super) open_files: ProcessLimit,
    pub(super) processors: usize,
    pub(super) shards: usize,
    pub(super) memory_bytes: Option<u64>,
    pub(super) clock: Clock,
    pub(super) segment_bytes: u64,
    /// `None` for a memory-only server.
    pub(super) storage: Option<Storage>,
}

/// What is known about the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Seconds since the Unix epoch.
    pub(super) unix_seconds: u64,
    /// Where the kernel takes time from, such as `tsc` or `kvm-clock`.
    pub(super) source: Option<String>,
}

/// What is known about the place of the data.
#[derive(Debug)]
pub(super) struct Storage {
    /// The directory that was probed: the data directory or its nearest parent that exists.
    pub(super) directory: PathBuf,
    /// Its file system, such as `ext4`.
    pub(super) file_system: Result<String, String>,
    /// Bytes that are free there.
    pub(super) free_bytes: Result<u64, String>,
    /// Up to which time ids were dealt from there; none if none were.
    pub(super) marks: Result<Vec<Mark>, String>,
    /// What writing there is like; `None` if it was not tried.
    pub(super) writes: Option<Result<WriteProbe, String>>,
}

/// Looks at the machine. Writes a probe file, which it removes, unless `read_only`.
pub(super) fn collect(settings: &Settings, read_only: bool) -> Facts {
    Facts {
        kernel: probe::kernel(),
        uring: probe::io_uring_features().map_err(|error| error.to_string()),
        memlock: probe::memlock_limit(),
        file_size: probe::file_size_limit(),
        open_files: probe::open_files_limit(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        shards: settings.server.shards,
        memory_bytes: crate::machine::memory_bytes(),
        clock: clock(),
        segment_bytes: settings.log_defaults.segment_bytes,
        storage: match &settings.server.data {
            DataConfig::Dir(path) => Some(storage(path, read_only)),
            DataConfig::MemoryOnly { .. } => None,
        },
    }
}

#[expect(clippy::disallowed_methods, reason = "the reading itself is what is checked")]
fn clock() -> Clock {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Clock {
        unix_seconds: since_epoch.unwrap_or(Duration::ZERO).as_secs(),
        // Not every system has it; then the check says so.
        source: std::fs::read_to_string(SOURCE).ok().map(|name| name.trim().to_owned()),
    }
}

fn storage(path: &Path, read_only: bool) -> Storage {
    let directory = nearest_existing(path);
    Storage {
        file_system: file_system(&directory).ok_or_else(|| "unknown file system".to_owned()),
        free_bytes: crate::machine::free_bytes(&directory).map_err(|error| error.to_string()),
        marks: marks::read(path),
        writes: (!read_only).then(|| write_probe(&directory)),
        directory,
    }
}

/// Type of the file system that holds `directory`, such as `ext4`, if it can be found out.
pub(crate) fn file_system(directory: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    file_system_of(&mounts, &directory.canonicalize().ok()?)
}

/// `path` or the nearest parent that is a directory.
fn nearest_existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = path.ancestors().find(|ancestor| ancestor.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

/// Type of the file system that holds `path`, from the text of `/proc/self/mountinfo`
/// (`man 5 proc_pid_mountinfo`): the mount point is the fifth field, the type follows ` - `.
fn file_system_of(mounts: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let point = left.split(' ').nth(4)?.replace("\\040", " ");
        let kind = right.split(' ').next()?;
        let depth = Path::new(&point).components().count();
        // The last one wins among equals: it is mounted over the others.
        if path.starts_with(&point) && best.is_none_or(|(deepest, _)| depth >= deepest) {
            best = Some((depth, kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_decides_the_file_system() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      30 22 0:26 / /dev/shm rw - tmpfs tmpfs rw\n\
                      31 22 8:1 / /my\\040disk rw shared:1 - xfs /dev/sda1 rw\n";
        let kind = |path: &str| file_system_of(mounts, Path::new(path));
        assert_eq!(kind("/var/lib").as_deref(), Some("ext4"));
        assert_eq!(kind("/dev/shm/x").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/dev/shmx").as_deref(), Some("ext4"));
        assert_eq!(kind("/my disk/data").as_deref(), Some("xfs"));
        assert_eq!(file_system_of("", Path::new("/")), None);
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_is_judged_by_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(nearest_existing(&dir.path().join("a/b")), dir.path());
        assert_eq!(nearest_existing(dir.path()), dir.path());
    }
}
