//! The temporary directory of the quickstart: on a real disk, with room, and gone afterwards.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::SEGMENT_BYTES;
use crate::args::QuickstartArgs;
use crate::doctor::file_system;
use crate::exit::Failure;
use crate::machine::free_bytes;
use crate::quantity::bytes_human;

/// Bytes on disk per record, rounded up: a line of 180, its key of 13, 13 of overhead.
const RECORD_BYTES: u64 = 220;

/// The directory. It is removed with everything in it when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(TempDir);

impl Scratch {
    /// Makes it in `--dir`, or else in the system's temporary directory unless that lies in memory.
    ///
    /// # Errors
    /// If the directory cannot be made or the disk is too full.
    pub(super) fn make(args: &QuickstartArgs) -> Result<Self, Failure> {
        let parent = match &args.dir {
            Some(dir) => dir.clone(),
            None => default_parent(),
        };
        let shown = parent.display();
        // A disk that does not say how much is free is taken at its word when it is full.
        if let Ok(free) = free_bytes(&parent) {
            let needed = needed_bytes(args.records, args.partitions);
            if free < needed {
                return Err(Failure::failed(format!(
                    "{shown} has {} free, and {} records need {}",
                    bytes_human(free),
                    args.records,
                    bytes_human(needed)
                ))
                .hint("--dir DIR chooses another disk, --records N ingests less"));
            }
        }
        tempfile::Builder::new()
            .prefix("pyralog-quickstart-")
            .tempdir_in(&parent)
            .map(Self)
            .map_err(|error| {
                Failure::failed(format!("cannot make a directory in {shown}: {error}"))
                    .hint("--dir DIR chooses another place")
            })
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Removes it, or keeps it and says where it is.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(super) fn end(self, keep: bool) -> Result<Option<PathBuf>, Failure> {
        if keep {
            return Ok(Some(self.0.keep()));
        }
        let shown = self.0.path().display().to_string();
        self.0
            .close()
            .map(|()| None)
            .map_err(|error| Failure::failed(format!("cannot remove {shown}: {error}")))
    }
}

/// Data, a prepared segment beside each partition's own, the catalog, and as much again to be safe.
fn needed_bytes(records: u64, partitions: u32) -> u64 {
    let segments = (u64::from(partitions) * 2 + 1).saturating_mul(SEGMENT_BYTES);
    records.saturating_mul(RECORD_BYTES).saturating_add(segments).saturating_add(64 << 20)
}

/// The system's temporary directory, unless it lies in memory and the current one does not: there
/// "synced" would promise nothing.
fn default_parent() -> PathBuf {
    let system = std::env::temp_dir();
    let in_memory = |path: &Path| file_system(path).is_some_and(|kind| kind == "tmpfs");
    match std::env::current_dir() {
        Ok(current) if in_memory(&system) && !in_memory(&current) => current,
        _ => system,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_need_grows_with_records_and_never_overflows() {
        assert!(needed_bytes(3_000_000, 4) < 3 << 30);
        assert!(needed_bytes(1, 1) < needed_bytes(1_000_000_000, 1));
        assert_eq!(needed_bytes(u64::MAX, u32::MAX), u64::MAX);
    }
}
