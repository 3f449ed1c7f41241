//! What the disk promises, and what it takes back: directed tests, and models that it is compared with.

mod calls;
mod crashes;
mod faults;
mod files_model;
mod limits;
mod names_model;
mod syncs;

use super::*;
use std::collections::BTreeMap;

/// Bytes of a sector.
const SECTOR: usize = 512;
/// Bytes of a page.
const BLOCK: usize = 4096;
/// As many worlds as show every outcome that is not rare.
const SEEDS: std::ops::Range<u64> = 0..300;

impl Disk {
    /// Writes, as if it took no time.
    fn write(&mut self, handle: Handle, at: u64, bytes: &[u8], sync: bool) -> io::Result<usize> {
        let id = self.begin_write(handle, at, bytes, sync);
        self.finish_write(id)
    }

    fn sync(&mut self, handle: Handle) -> io::Result<()> {
        let id = self.begin_sync(handle);
        self.finish_sync(id)
    }

    /// Opens a file that is there.
    fn reopen(&mut self, path: &str) -> Handle {
        self.open(Path::new(path), How::Existing).unwrap()
    }

    /// Makes a file whose name is durable.
    fn make(&mut self, path: &str) -> Handle {
        let path = Path::new(path);
        let handle = self.open(path, How::CreateNew).unwrap();
        self.sync_dir(path.parent().unwrap()).unwrap();
        handle
    }

    /// Everything in a file.
    fn content(&mut self, path: &str) -> Vec<u8> {
        let handle = self.reopen(path);
        let content = self.read_all(handle, usize::MAX).unwrap();
        self.close(handle);
        content
    }

    fn is_there(&self, path: impl AsRef<Path>) -> bool {
        match self.metadata(path.as_ref()) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
                false
            }
        }
    }

    fn strikes_of(&self, fault: DiskFault) -> u64 {
        self.struck().get(&fault).copied().unwrap_or(0)
    }
}

/// A file `/f` of `pages` pages of ones, durable.
fn with_file(seed: u64, pages: usize) -> (Disk, Handle) {
    let mut disk = Disk::new(seed);
    let handle = disk.make("/f");
    disk.write(handle, 0, &vec![1; pages * BLOCK], false).unwrap();
    disk.sync(handle).unwrap();
    (disk, handle)
}

/// Runs `outcome` in many worlds and says which outcomes there were, and how often.
fn outcomes<T: Ord>(mut outcome: impl FnMut(u64) -> T) -> BTreeMap<T, usize> {
    let mut seen = BTreeMap::new();
    for seed in SEEDS {
        *seen.entry(outcome(seed)).or_default() += 1;
    }
    seen
}

/// How many sectors of `bytes` begin with `byte`.
fn sectors_with(bytes: &[u8], byte: u8) -> usize {
    bytes.chunks(SECTOR).filter(|sector| sector[0] == byte).count()
}

fn errno(result: io::Result<impl std::fmt::Debug>) -> Errno {
    let error = result.unwrap_err();
    Errno::from_raw_os_error(error.raw_os_error().expect("a number of the kernel's"))
}
