//! `pyralog inspect`: what is in a segment, a partition or a data directory, read off the disk.
//!
//! It needs no core, no lock and no leave to write: ordinary reads, and the walk of recovery (`pyralog_log::inspect`). So it
//! may run beside a server; what changes while it is read is named, and not called damage. Only `--repair` writes, and
//! that is a recovery that reads everything, under the lock of the directory.

mod data_dir;
mod files;
mod partition;
mod repair;
mod root;
mod show;

use std::path::{Path, PathBuf};

use pyralog_log::ids::Offset;
use pyralog_log::segment::parse_segment_name;
use pyralog_runtime::file::blocking;

use crate::args::InspectArgs;
use crate::exit::Failure;
use crate::output::Output;
use crate::session::Session;
use files::unreadable;
use partition::{Depth, gather};

/// What the path names.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    Segment { dir: PathBuf, base: Offset },
    Partition(PathBuf),
    Data(PathBuf),
}

/// Runs the command.
///
/// # Errors
/// If something cannot be read, or is damaged (exit code 1).
pub(crate) fn run(session: &Session, args: &InspectArgs) -> Result<(), Failure> {
    let output = session.output;
    let subject = subject(&args.path)?;
    let depth = if args.verify || args.batches { Depth::Everything } else { Depth::Summary };
    if args.repair {
        return repair::run(output, &subject, args.yes);
    }
    match subject {
        Subject::Segment { dir, base } => {
            one(output, &dir, Some(base), (Depth::Everything, args.batches))
        }
        Subject::Partition(dir) => one(output, &dir, None, (depth, args.batches)),
        Subject::Data(dir) => data_dir::run(output, &dir, (depth, args.batches)),
    }
}

/// A partition, or one segment of it.
fn one(
    output: Output,
    dir: &Path,
    only: Option<Offset>,
    (depth, batches): (Depth, bool),
) -> Result<(), Failure> {
    let mut batch = show::batches(output, batches);
    let report = gather(dir, only, depth, &mut batch)?;
    if let Some(base) = only.filter(|_| report.segments.is_empty()) {
        return Err(Failure::failed(format!("segment {base} went away while it was looked for")));
    }
    show::partition(output, &report)?;
    verdict(report.faults(), report.moves())
}

/// How the command ends, given what is damaged.
fn verdict(damages: usize, moves: bool) -> Result<(), Failure> {
    let failure = match damages {
        0 => return Ok(()),
        1 => Failure::failed("1 damaged range"),
        count => Failure::failed(format!("{count} damaged ranges")),
    };
    Err(failure.hint(if moves {
        "files changed meanwhile, which may be a server at work: look again"
    } else {
        "`pyralog inspect DATA-DIR --repair`, with the server stopped, quarantines it; a backup has what is lost"
    }))
}

/// What is at `path`.
fn subject(path: &Path) -> Result<Subject, Failure> {
    if !blocking::is_dir(path).map_err(|error| unreadable(path, &error))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(base) = parse_segment_name(name) else {
            return Err(Failure::usage(format!("{} is no segment file", path.display())).hint(
                "a segment is called by its first offset, 20 digits and .seg; other files are shown with their partition",
            ));
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Ok(Subject::Segment { dir: dir.to_owned(), base });
    }
    let names = files::list(path)?;
    let has = |wanted: &str| names.iter().any(|(name, _)| name == wanted);
    if has("node.toml") {
        return Ok(Subject::Data(path.to_owned()));
    }
    let segments = names.iter().any(|(name, _)| parse_segment_name(name).is_some());
    if segments || has(pyralog_log::checkpoint::CHECKPOINT_NAME) {
        return Ok(Subject::Partition(path.to_owned()));
    }
    Err(Failure::usage(format!("{} is neither a partition nor a data directory", path.display()))
        .hint("a data directory has a node.toml; a partition, <data>/logs/<log id>/<number>, has segments"))
}
