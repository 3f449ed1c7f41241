//! The verdicts of `doctor`: a plain function from facts to advice.

use std::time::Duration;

use pyralog_runtime::probe::ProcessLimit;
use pyralog_seq::clock::{BACK_MS_MAX, DOWN_MS_MAX};
use pyralog_seq::limits::STRIDE_MIN;

use super::facts::{Clock, Facts, Storage};
use super::probe::WriteProbe;
use crate::id_command::unix_ms;
use crate::marks::Mark;
use crate::quantity::{bytes_human, duration_human, size_exact};
use crate::timestamp::rfc3339;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, with less speed or room than it could.
    Warn,
    /// The server would not start, or could not keep its promises.
    Fail,
    /// It was not looked at.
    Skip,
}

impl Level {
    /// The word that is printed.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) check: &'static str,
    pub(super) level: Level,
    pub(super) found: String,
    pub(super) advice: Option<String>,
}

impl Verdict {
    fn new(check: &'static str, level: Level, found: impl Into<String>) -> Self {
        Self { check, level, found: found.into(), advice: None }
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Memory that each executor locks for its rings and registered buffers; glommio refuses to run
/// below 512 KiB.
const MEMLOCK_PER_SHARD: u64 = 512 << 10;

/// Descriptors for a useful number of connections and open segments.
const OPEN_FILES_WANTED: u64 = 4096;

/// 2026-01-01: a clock before this program was written is wrong.
const CLOCK_SECONDS_MIN: u64 = 1_767_225_600;

/// All verdicts, in the order in which they are printed.
pub(super) fn all(facts: &Facts) -> Vec<Verdict> {
    let mut verdicts = vec![
        kernel(facts),
        io_uring(facts),
        memlock(facts.memlock, facts.shards),
        open_files(facts.open_files),
        file_size(facts.file_size, facts.segment_bytes),
        processors(facts.processors, facts.shards),
        memory(facts.memory_bytes),
        clock(&facts.clock),
    ];
    match &facts.storage {
        Some(storage) => {
            verdicts.push(file_system(storage));
            verdicts.push(free_space(storage, facts.segment_bytes));
            verdicts.push(ids(&storage.marks, facts.clock.unix_seconds));
            verdicts.extend(writes(storage));
        }
        None => verdicts.push(Verdict::new("storage", Level::Skip, "memory-only: not needed")),
    }
    verdicts
}

fn kernel(facts: &Facts) -> Verdict {
    let found = format!("Linux {} on {}", facts.kernel.release, facts.kernel.machine);
    match version(&facts.kernel.release) {
        Some(version) if version < (5, 8) => {
            Verdict::new("kernel", Level::Fail, found).advice("Linux 5.8 or later is needed")
        }
        Some(version) if version < (5, 15) => {
            Verdict::new("kernel", Level::Warn, found).advice("Linux 5.15 or later is faster")
        }
        _ => Verdict::new("kernel", Level::Ok, found),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn io_uring(facts: &Facts) -> Verdict {
    match &facts.uring {
        Ok(features) if features.operations_missing.is_empty() => {
            let slow = !features.fast_poll || !features.native_workers;
            if slow {
                return Verdict::new("io_uring", Level::Warn, "works, without newer features")
                    .advice("Linux 5.12 or later polls sockets in the kernel");
            }
            Verdict::new("io_uring", Level::Ok, "all operations are supported")
        }
        Ok(features) => {
            let found = format!("lacks {}", features.operations_missing.join(", "));
            Verdict::new("io_uring", Level::Fail, found).advice("use Linux 5.8 or later")
        }
        Err(error) => Verdict::new("io_uring", Level::Fail, error.as_str()).advice(
            "sysctl kernel.io_uring_disabled=0; in a container, a seccomp profile that allows it",
        ),
    }
}

fn memlock(limit: ProcessLimit, shards: usize) -> Verdict {
    let needed = MEMLOCK_PER_SHARD.saturating_mul(shards as u64);
    let found = format!("{}, up to {}", amount(limit.soft), amount(limit.hard));
    if limit.hard.is_some_and(|hard| hard < needed) {
        let advice = format!(
            "{shards} executors need {}: raise `ulimit -l` or LimitMEMLOCK=",
            size_exact(needed)
        );
        return Verdict::new("memlock", Level::Fail, found).advice(advice);
    }
    if limit.hard.is_some_and(|hard| hard < needed.saturating_mul(64)) {
        let advice = "buffers are not registered with the kernel above it: a little slower; \
                      LimitMEMLOCK=infinity avoids that";
        return Verdict::new("memlock", Level::Warn, found).advice(advice);
    }
    Verdict::new("memlock", Level::Ok, found)
}

fn open_files(limit: ProcessLimit) -> Verdict {
    let found = |level| {
        let shown = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |n| n.to_string());
        Verdict::new("open files", level, shown(limit.soft))
    };
    if limit.soft.is_some_and(|soft| soft < OPEN_FILES_WANTED) {
        return found(Level::Warn).advice(format!(
            "connections and partitions share them: `ulimit -n {OPEN_FILES_WANTED}` or more"
        ));
    }
    found(Level::Ok)
}

fn file_size(limit: ProcessLimit, segment_bytes: u64) -> Verdict {
    let found = amount(limit.soft);
    if limit.soft.is_some_and(|soft| soft < segment_bytes) {
        let segment = size_exact(segment_bytes);
        return Verdict::new("file size", Level::Fail, found).advice(format!(
            "segments are {segment}: raise `ulimit -f` or set logs.segment_bytes"
        ));
    }
    if limit.soft.is_some_and(|soft| soft < STRIDE_MIN) {
        return Verdict::new("file size", Level::Fail, found).advice(format!(
            "ids and counters are lengths of sparse files, of {} at least: raise `ulimit -f`",
            size_exact(STRIDE_MIN)
        ));
    }
    Verdict::new("file size", Level::Ok, found)
}

fn processors(processors: usize, shards: usize) -> Verdict {
    let found = format!("{processors} for {shards} shards");
    if shards > processors {
        return Verdict::new("processors", Level::Warn, found)
            .advice("shards that share a processor wait for each other: set server.shards");
    }
    Verdict::new("processors", Level::Ok, found)
}

fn memory(bytes: Option<u64>) -> Verdict {
    match bytes {
        None => Verdict::new("memory", Level::Skip, "unknown"),
        Some(bytes) if bytes < 1 << 30 => Verdict::new("memory", Level::Warn, bytes_human(bytes))
            .advice("lower the [memory] budgets; `pyralog config validate` checks their sum"),
        Some(bytes) => Verdict::new("memory", Level::Ok, bytes_human(bytes)),
    }
}

fn clock(clock: &Clock) -> Verdict {
    let seconds = i64::try_from(clock.unix_seconds).unwrap_or(i64::MAX / 1_000_000);
    let now = rfc3339(seconds.saturating_mul(1_000_000));
    let source = clock.source.as_deref().unwrap_or("unknown source");
    let found = format!("{}Z from {source}", &now[..now.find('.').unwrap_or(now.len())]);
    if clock.unix_seconds < CLOCK_SECONDS_MIN {
        return Verdict::new("clock", Level::Fail, found)
            .advice("records would carry wrong times: set the clock, run chrony or ntpd");
    }
    if matches!(source, "hpet" | "acpi_pm" | "jiffies") {
        return Verdict::new("clock", Level::Warn, found)
            .advice("reading this clock is slow: prefer tsc or kvm-clock");
    }
    Verdict::new("clock", Level::Ok, found)
}

fn file_system(storage: &Storage) -> Verdict {
    let place = storage.directory.display();
    let (level, found, advice) = match &storage.file_system {
        Err(error) => (Level::Skip, format!("{place}: {error}"), None),
        Ok(kind) => {
            let found = format!("{kind} at {place}");
            match kind.as_str() {
                "ext4" | "xfs" => (Level::Ok, found, None),
                "tmpfs" | "ramfs" => {
                    (Level::Fail, found, Some("nothing survives a restart here: use a disk"))
                }
                "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "overlay" => {
                    (Level::Warn, found, Some("use ext4 or xfs on a local disk or volume"))
                }
                _ => (Level::Warn, found, Some("tested on ext4 and xfs only")),
            }
        }
    };
    Verdict { check: "file system", level, found, advice: advice.map(str::to_owned) }
}

fn free_space(storage: &Storage, segment_bytes: u64) -> Verdict {
    match &storage.free_bytes {
        Err(error) => Verdict::new("free space", Level::Skip, error.as_str()),
        Ok(bytes) if *bytes < segment_bytes.saturating_mul(2) => {
            Verdict::new("free space", Level::Warn, bytes_human(*bytes)).advice(format!(
                "a partition prepares its next segment of {} ahead: make room",
                size_exact(segment_bytes)
            ))
        }
        Ok(bytes) => Verdict::new("free space", Level::Ok, bytes_human(*bytes)),
    }
}

/// Whether the clock goes on where the ids ended, as a start of the server would judge it.
fn ids(marks: &Result<Vec<Mark>, String>, unix_seconds: u64) -> Verdict {
    let verdict = |level, found: &str| Verdict::new("ids", level, found);
    let marks = match marks {
        Ok(marks) if marks.is_empty() => return verdict(Level::Ok, "none were dealt here yet"),
        Ok(marks) => marks,
        Err(problem) => {
            return verdict(Level::Fail, problem)
                .advice("see the permissions of the data directory");
        }
    };
    let unknown = marks.iter().find_map(|mark| Some((&mark.name, mark.unix_ms.as_ref().err()?)));
    if let Some((name, problem)) = unknown {
        return verdict(Level::Fail, &format!("{name}: {problem}")).advice(format!(
            "restore the newer file; or move scarab/{name} out of the data directory and set ids.not_before to a \
             time at least 5 s after the last ids, by the clock then"
        ));
    }
    let highest =
        marks.iter().filter_map(|mark| mark.unix_ms.as_ref().ok().copied()).max().unwrap_or(0);
    let now_ms = unix_seconds.saturating_mul(1000);
    let found = format!("dealt up to {} at most", unix_ms(highest));
    if now_ms.saturating_add(BACK_MS_MAX) < highest {
        return verdict(Level::Warn, &found)
            .advice("the clock is behind that, so a server would deal ids to its own records only: set it right");
    }
    if now_ms > highest.saturating_add(DOWN_MS_MAX) {
        return verdict(Level::Warn, &found).advice(
            "that is more than 30 days ago: if the clock is right, start once with --set ids.accept_clock=true",
        );
    }
    verdict(Level::Ok, &found)
}

fn writes(storage: &Storage) -> Vec<Verdict> {
    match &storage.writes {
        None => vec![Verdict::new("direct I/O", Level::Skip, "--read-only: not tried")],
        Some(Err(error)) => vec![
            Verdict::new("direct I/O", Level::Fail, error.as_str())
                .advice("the server needs a writable directory whose file system takes O_DIRECT"),
        ],
        Some(Ok(probe)) => {
            vec![Verdict::new("direct I/O", Level::Ok, "works"), sync_latency(probe)]
        }
    }
}

fn sync_latency(probe: &WriteProbe) -> Verdict {
    let found = format!(
        "p50 {}, p99 {}, max {} over {} synced 4 KiB writes",
        duration_human(probe.p50),
        duration_human(probe.p99),
        duration_human(probe.max),
        probe.samples
    );
    if probe.p50 < Duration::from_micros(10) {
        return Verdict::new("sync latency", Level::Warn, found)
            .advice("too fast for stable storage: does the disk or hypervisor ignore flushes?");
    }
    if probe.p99 > Duration::from_millis(10) {
        return Verdict::new("sync latency", Level::Warn, found)
            .advice("every synced acknowledgement waits for this: prefer an SSD or NVMe disk");
    }
    Verdict::new("sync latency", Level::Ok, found)
}

fn amount(bytes: Option<u64>) -> String {
    bytes.map_or("unlimited".to_owned(), size_exact)
}

#[cfg(test)]
mod tests;
