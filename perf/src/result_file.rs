//! Reads a file of results and refuses what cannot be one, before anything is drawn or compared.
//!
//! Such files travel between machines and people, so nothing in one is believed: its size, its counts and the sums of its
//! histograms have limits, and every number that a division or a logarithm meets is finite. What is refused is named.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::result::{FORMAT, Latency, ResultFile, Run};

/// Bytes of a file. A run of ten minutes has about 100 kB: a latency has at most some thousand buckets of 20 bytes, a second
/// 100 bytes. This is room for hundreds of them.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Runs of a file.
pub const RUNS_MAX: usize = 1000;

/// Buckets of a latency. A histogram of three significant digits that counts up to an hour has 2,048 for each of 32 powers of two.
pub const BUCKETS_MAX: usize = 1 << 16;

/// Seconds of a run: two days.
pub const SERIES_MAX: usize = 2 * 86_400;

/// Steps of a ramp or a search.
pub const STEPS_MAX: usize = 1000;

/// Why a file was refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than any result.
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It has another version of the document.
    Format {
        /// The file.
        path: PathBuf,
        /// What it says of itself; empty if it says nothing.
        found: String,
    },
    /// It is not such a document.
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is such a document, and contradicts itself.
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => write!(f, "{}: {source}", path.display()),
            Self::TooLarge { path } => write!(
                f,
                "{}: larger than {} MiB, which no result is: is it the right file?",
                path.display(),
                FILE_BYTES_MAX >> 20
            ),
            Self::Format { path, found } if found.is_empty() => write!(
                f,
                "{}: no file of `pyralog bench`: it has no \"format\"; expected {FORMAT:?}",
                path.display()
            ),
            Self::Format { path, found } => write!(
                f,
                "{}: has format {found:?}, this program reads {FORMAT:?}: measure again with this program, or read the \
                 file with the one that wrote it",
                path.display()
            ),
            Self::Malformed { path, source } => {
                write!(f, "{}: not a result of this program: {source}", path.display())
            }
            Self::Inconsistent { path, problem } => {
                write!(f, "{}: contradicts itself: {problem}", path.display())
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Malformed { source, .. } => Some(source),
            Self::TooLarge { .. } | Self::Format { .. } | Self::Inconsistent { .. } => None,
        }
    }
}

/// What every version of the document begins with.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    format: String,
}

/// Reads the result that `pyralog bench` wrote to `path`.
///
/// # Errors
/// If the file cannot be read, is too large, has another version, or is no consistent result.
pub fn read(path: &Path) -> Result<ResultFile, ReadError> {
    let unreadable = |source| ReadError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::OpenOptions::new().read(true).open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // One more than allowed, so that a pipe or a file that grows is noticed like a large file.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    parse(path, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<ResultFile, ReadError> {
    let malformed = |source| ReadError::Malformed { path: path.to_owned(), source };
    let header: Header = serde_json::from_slice(bytes).map_err(malformed)?;
    if header.format != FORMAT {
        // A version is short; what is not may be anything.
        let found = header.format.chars().take(64).collect();
        return Err(ReadError::Format { path: path.to_owned(), found });
    }
    let file: ResultFile = serde_json::from_slice(bytes).map_err(malformed)?;
    match problem(&file) {
        None => Ok(file),
        Some(problem) => Err(ReadError::Inconsistent { path: path.to_owned(), problem }),
    }
}

/// The first thing that cannot be.
fn problem(file: &ResultFile) -> Option<String> {
    if file.runs.len() > RUNS_MAX {
        return Some(format!("{} runs, at most {RUNS_MAX}", file.runs.len()));
    }
    let mut seen = BTreeSet::new();
    for ceiling in &file.ceilings {
        if !seen.insert(ceiling.name) {
            return Some(format!("the ceiling {:?} is there twice", ceiling.name));
        }
        if !ceiling.samples.iter().all(|sample| positive(*sample)) {
            return Some(format!(
                "the ceiling {:?} has a sample that is not above 0",
                ceiling.name
            ));
        }
        if let Some(problem) = ceiling.latency.as_ref().and_then(latency_problem) {
            return Some(format!("the ceiling {:?}: {problem}", ceiling.name));
        }
    }
    let mut seen = BTreeSet::new();
    file.runs.iter().find_map(|run| {
        let twice = !seen.insert((&run.scenario, run.repetition));
        let problem = if twice { Some("is there twice".to_owned()) } else { run_problem(run) };
        problem.map(|problem| {
            format!("scenario {:?}, repetition {}: {problem}", run.scenario, run.repetition)
        })
    })
}

fn run_problem(run: &Run) -> Option<String> {
    if !run.measured_seconds.is_finite() || run.measured_seconds < 0.0 {
        return Some(format!("{} measured seconds", run.measured_seconds));
    }
    if run.series.len() > SERIES_MAX {
        return Some(format!("{} seconds, at most {SERIES_MAX}", run.series.len()));
    }
    if run.steps.len() > STEPS_MAX {
        return Some(format!("{} steps, at most {STEPS_MAX}", run.steps.len()));
    }
    for used in [Some(&run.generator), run.server.as_ref()].into_iter().flatten() {
        if !finite(used.cpu_seconds) || !finite(used.busiest_thread) {
            return Some("processor time below 0".to_owned());
        }
    }
    if !run.shares.iter().all(|share| positive(share.ratio)) {
        return Some("a share of a ceiling is not above 0".to_owned());
    }
    let steps = run.steps.iter().enumerate().find_map(|(at, step)| {
        if ![step.offered_rate, step.rate, step.bytes_rate].into_iter().all(finite) {
            return Some(format!("step {at} has a rate below 0"));
        }
        latency_problem(&step.latency).map(|problem| format!("step {at}: {problem}"))
    });
    let latencies = run.latency.iter().find_map(|(name, latency)| {
        latency_problem(latency).map(|problem| format!("latency {name:?}: {problem}"))
    });
    steps.or(latencies)
}

fn latency_problem(latency: &Latency) -> Option<String> {
    if latency.buckets.len() > BUCKETS_MAX {
        return Some(format!("{} buckets, at most {BUCKETS_MAX}", latency.buckets.len()));
    }
    if !latency.buckets.is_sorted_by(|a, b| a.0 < b.0) {
        return Some("its buckets are not in ascending order".to_owned());
    }
    let sum = latency.buckets.iter().try_fold(0_u64, |sum, (_, count)| sum.checked_add(*count));
    if sum != Some(latency.count) {
        return Some(format!("its buckets do not add up to {}", latency.count));
    }
    if latency.min > latency.max || !finite(latency.mean) {
        return Some(format!("from {} to {}, mean {}", latency.min, latency.max, latency.mean));
    }
    None
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn finite(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}
