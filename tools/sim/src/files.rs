//! The files of a data directory, class by class: which faults each must survive, and which it must only detect.
//!
//! *Survive*: nothing that was promised is lost, and the server goes on or says what failed. *Detect*: data may be lost,
//! but only with a report, and wrong bytes are never served. A fault that a class neither survives nor detects cannot
//! strike it here: the last column says why that is fair.

use std::path::Path;

use pyralog_runtime::sim::DiskFault;

use crate::history::{Place, Target};

/// What a fault may do to a class of files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Duty {
    /// Nothing promised is lost.
    Survive,
    /// What is lost is reported.
    Detect,
    /// It does not happen here.
    Exempt,
}

/// A class of files.
#[derive(Clone, Copy, Debug)]
pub struct FileClass {
    /// Its name.
    pub name: &'static str,
    /// Whether a path inside the data directory belongs to it.
    matches: fn(&Path) -> bool,
    /// What bit rot, lost writes and misdirected writes may do.
    pub silent: Duty,
    /// Why so.
    pub why: &'static str,
}

/// Faults that announce themselves (errors, short transfers, full disks, slow ones) and crashes: every class survives
/// them. Faults that do not are below. The first class that matches is the file's.
pub const CLASSES: [FileClass; 16] = [
    FileClass {
        name: "index",
        matches: |path| has_extension(path, "idx"),
        silent: Duty::Survive,
        why: "advisory: rebuilt from its segment when missing or wrong",
    },
    FileClass {
        name: "root of a segment",
        matches: |path| has_extension(path, "root"),
        silent: Duty::Survive,
        why: "advisory: made again from the tree when missing or wrong",
    },
    FileClass {
        name: "recycled segment",
        matches: |path| under(path, "recycle"),
        silent: Duty::Survive,
        why: "holds nothing: whatever is in it is of another generation",
    },
    FileClass {
        name: "catalog",
        matches: |path| under(path, "catalog"),
        silent: Duty::Detect,
        why: "the server refuses to start and names the folder to restore",
    },
    FileClass {
        name: "segment",
        matches: |path| {
            has_extension(path, "seg") || named(path, "next.tmp") || named(path, "swap.tmp")
        },
        silent: Duty::Detect,
        why: "damaged ranges are quarantined, reported and refused",
    },
    FileClass {
        name: "checkpoint",
        matches: |path| named(path, "checkpoint"),
        silent: Duty::Detect,
        why: "checked by its own checksum; what it vouched for is scanned again",
    },
    FileClass {
        name: "manifest",
        matches: |path| named(path, "manifest"),
        silent: Duty::Survive,
        why: "holds its content twice, and one sound copy is enough",
    },
    FileClass {
        name: "tree",
        matches: |path| named(path, "tree"),
        silent: Duty::Survive,
        why: "made again from the segments where it is short or wrong",
    },
    FileClass {
        name: "state of a tree",
        matches: |path| named(path, "tree.state"),
        silent: Duty::Detect,
        why: "checked by its own checksum; the tree stops with an alarm and nothing is proven any more",
    },
    FileClass {
        name: "node key",
        matches: |path| under(path, "keys"),
        silent: Duty::Exempt,
        why: "a backup of it is what the documentation asks for",
    },
    FileClass {
        name: "node file",
        matches: |path| named(path, "node.toml"),
        silent: Duty::Detect,
        why: "the server refuses to start and says that it is damaged",
    },
    FileClass {
        name: "mark of ids",
        matches: |path| under(path, "scarab") && named(path, "sidecar"),
        silent: Duty::Detect,
        why: "checked by its own checksum; the core deals no ids and takes no records until somebody answers for them",
    },
    FileClass {
        name: "sidecar of a counter",
        matches: |path| under(path, "obelisk") && named(path, "sidecar"),
        silent: Duty::Detect,
        why: "checked by its own checksum; the counter is refused until it is raised",
    },
    FileClass {
        name: "length",
        matches: |path| has_extension(path, "obelisk"),
        silent: Duty::Survive,
        why: "has no bytes that could change; one that comes back shorter is known by its sidecar",
    },
    FileClass {
        name: "lock",
        matches: |path| named(path, "lock"),
        silent: Duty::Survive,
        why: "its content is only shown to people",
    },
    FileClass {
        name: "staged or set aside",
        matches: |_| true,
        silent: Duty::Exempt,
        why: "files on their way to another name, and copies that nobody reads",
    },
];

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn named(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|found| found == name)
}

fn under(path: &Path, folder: &str) -> bool {
    path.components().any(|part| part.as_os_str() == folder)
}

/// The class of a file.
#[must_use]
pub fn class(path: &Path) -> &'static FileClass {
    CLASSES.iter().find(|class| (class.matches)(path)).unwrap_or(&CLASSES[CLASSES.len() - 1])
}

/// Whether nobody is told of a fault when it strikes.
#[must_use]
pub fn is_silent(fault: DiskFault) -> bool {
    matches!(fault, DiskFault::BitRot | DiskFault::Misdirected | DiskFault::LostWrite)
}

/// Whether `fault` may strike `path`.
#[must_use]
pub fn may_strike(path: &Path, fault: DiskFault) -> bool {
    !is_silent(fault) || class(path).silent != Duty::Exempt
}

/// Whose file it is.
#[must_use]
pub fn target(path: &Path) -> Target {
    if under(path, "catalog") {
        return Target::Catalog;
    }
    if under(path, "scarab") {
        return Target::Marks;
    }
    if under(path, "obelisk") {
        return Target::Counters;
    }
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    let logs = parts.iter().position(|part| *part == "logs");
    let place = logs.and_then(|at| {
        let log = parts.get(at + 1)?.parse().ok()?;
        let partition = parts.get(at + 2)?.parse().ok()?;
        Some(Place { log, partition })
    });
    place.map_or(Target::Other, Target::Partition)
}

/// One bit has flipped.
pub const ROT: &str = "bit rot";
/// Up to a page reads as something else.
pub const WIDE_ROT: &str = "rotten sectors";

/// A file is as it was long before.
pub const OLD_FILE: &str = "an old file";

/// The name of a fault.
#[must_use]
pub fn name(fault: DiskFault) -> &'static str {
    match fault {
        DiskFault::BitRot => ROT,
        DiskFault::Misdirected => "misdirected write",
        DiskFault::LostWrite => "lost write",
        _ => "failed call",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_data_directory_have_their_class_and_owner() {
        let of = |path: &str| (class(Path::new(path)).name, target(Path::new(path)));
        let place = Target::Partition(Place { log: 7, partition: 2 });
        assert_eq!(of("/data/logs/7/2/00000000000000000000.seg"), ("segment", place));
        assert_eq!(of("/data/logs/7/2/next.tmp"), ("segment", place));
        assert_eq!(of("/data/logs/7/2/00000000000000000000.idx"), ("index", place));
        assert_eq!(of("/data/logs/7/2/checkpoint"), ("checkpoint", place));
        assert_eq!(of("/data/catalog/00000000000000000000.seg"), ("catalog", Target::Catalog));
        assert_eq!(of("/data/recycle/0/00ff.seg"), ("recycled segment", Target::Other));
        assert_eq!(of("/data/scarab/shard-0/sidecar"), ("mark of ids", Target::Marks));
        assert_eq!(of("/data/scarab/shard-0/00000000.obelisk"), ("length", Target::Marks));
        let of_counter = ("sidecar of a counter", Target::Counters);
        assert_eq!(of("/data/obelisk/orders/sidecar"), of_counter);
        let staged = ("staged or set aside", Target::Counters);
        assert_eq!(of("/data/obelisk/orders/sidecar.tmp"), staged);
        assert_eq!(of("/data/node.toml"), ("node file", Target::Other));
    }

    #[test]
    fn only_silent_faults_are_kept_from_files_in_between() {
        let staged = Path::new("/data/node.toml.new");
        assert!(!may_strike(staged, DiskFault::BitRot));
        assert!(may_strike(staged, DiskFault::WriteError));
    }
}
