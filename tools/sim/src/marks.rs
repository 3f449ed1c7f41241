//! The files of the sequencers as somebody outside handles them while the server does not run: bad luck that brings an old
//! file back, and an operator who answers for what was lost.

use std::path::{Path, PathBuf};

use pyralog_runtime::file::{SparseFile, blocking};
use pyralog_runtime::rng::Rng;

use crate::scenario::below;

/// Where ids have got to.
const MARKS: &str = "/data/scarab";
/// Where counters have got to.
const COUNTERS: &str = "/data/obelisk";
/// Where a sidecar has the power of two that its stride is.
const STRIDE_AT: usize = 14;
/// Where it has the value that it attests.
const BOUND_AT: usize = 40;

/// What is in the directory of an obelisk.
#[derive(Debug)]
struct Found {
    directory: PathBuf,
    stride: u64,
    /// What its sidecar attests.
    bound: u64,
    files: Vec<(PathBuf, u64)>,
}

impl Found {
    /// What its files say.
    fn value(&self) -> u64 {
        let of_file = |(path, len): &(PathBuf, u64)| number(path).saturating_mul(self.stride) + len;
        self.files.iter().map(of_file).max().unwrap_or(0)
    }
}

/// An old file: what may be brought back.
#[derive(Debug)]
pub struct Old(Found);

impl Old {
    /// One that certainly must be noticed, if there is any.
    pub fn choose(rng: &mut Rng) -> Option<Self> {
        let found = [MARKS, COUNTERS].map(obelisks).into_iter().flatten();
        // A sidecar that says more than its file is damaged already.
        let is_sound = |found: &Found| (1..=found.value()).contains(&found.bound);
        let mut noted: Vec<_> = found.filter(is_sound).collect();
        (!noted.is_empty()).then(|| Self(noted.swap_remove(below(rng, noted.len()))))
    }

    /// A file of it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.directory
    }

    /// Brings back a file from before what its sidecar attests, or none at all.
    pub fn bring_back(&self, rng: &mut Rng) {
        let Found { directory, stride, bound, files } = &self.0;
        for (path, _) in files {
            blocking::remove_file(path).ok(); // Err: the disk fails, and something stays that is as good.
        }
        if rng.below(3) > 0 {
            let value = rng.below(*bound);
            let path = directory.join(format!("{:08x}.obelisk", value / stride));
            if let Ok(mut old) = SparseFile::create_new(&path) {
                old.extend(value % stride).ok(); // Err: then it is empty, which is older still.
            }
        }
        blocking::sync_dir(directory).ok(); // Err: then a loss of power may undo it.
    }
}

/// The highest of the marks of ids, in milliseconds since their epoch.
#[must_use]
pub fn highest() -> u64 {
    obelisks(MARKS).iter().map(Found::value).max().unwrap_or(0)
}

/// Removes all marks: whoever does it has to say where ids go on.
pub fn remove() {
    for found in obelisks(MARKS) {
        let sidecar = found.directory.join("sidecar");
        for path in found.files.iter().map(|(path, _)| path).chain([&sidecar]) {
            blocking::remove_file(path).ok(); // Err: it is not there.
        }
        blocking::sync_dir(&found.directory).ok(); // Err: then a loss of power may undo it.
    }
}

/// All obelisks below a folder.
fn obelisks(folder: &str) -> Vec<Found> {
    let entries = blocking::list_dir(Path::new(folder)).unwrap_or_default();
    let directories = entries.into_iter().filter(|entry| entry.is_dir);
    directories.map(|entry| look(Path::new(folder).join(entry.name))).collect()
}

fn look(directory: PathBuf) -> Found {
    let sidecar = blocking::read_start(&directory.join("sidecar"), 64).unwrap_or_default();
    let bound = sidecar.get(BOUND_AT..BOUND_AT + 8).and_then(|bytes| bytes.try_into().ok());
    let stride = sidecar.get(STRIDE_AT).copied().filter(|power| (32..=43).contains(power));
    let entries = blocking::list_dir(&directory).unwrap_or_default().into_iter();
    let files = entries.filter(|entry| entry.name.ends_with(".obelisk"));
    let files = files.map(|entry| (directory.join(entry.name), entry.len)).collect();
    Found {
        stride: 1 << stride.unwrap_or(43),
        bound: bound.map_or(0, u64::from_le_bytes),
        files,
        directory,
    }
}

/// The number in the name of a file.
fn number(path: &Path) -> u64 {
    let name = path.file_stem().and_then(|stem| stem.to_str());
    name.and_then(|name| u64::from_str_radix(name, 16).ok()).unwrap_or(0)
}
