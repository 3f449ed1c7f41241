//! What a process uses, from `/proc`: processor time by thread, memory, context switches.
//!
//! A thread's time is the first number of its `schedstat` (nanoseconds on a processor); where the kernel does not keep
//! that, user and system time of its `stat` in clock ticks.

use std::collections::BTreeMap;
use std::fs;

use crate::quantity::to_f64;
use crate::result::Use;

/// Counters of a process at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Nanoseconds of each thread by its id.
    threads: BTreeMap<u32, u64>,
    switches: u64,
    rss_bytes: u64,
}

impl Snapshot {
    /// Those of process `pid`; `None` if it has ended or cannot be seen.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let mut snapshot = Self { rss_bytes: rss_bytes(pid)?, ..Self::default() };
        for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread may end between the listing and the reading.
            let path = entry.path();
            if let Some(ns) = thread_ns(&path) {
                snapshot.threads.insert(thread, ns);
            }
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            snapshot.switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0)
                + field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Some(snapshot)
    }

    /// Bytes of its resident set.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.rss_bytes
    }

    /// What was used from `self` to `later`, which are `seconds` apart.
    pub(crate) fn until(&self, later: &Self, seconds: f64) -> Use {
        let used =
            |(thread, ns): (&u32, &u64)| ns.saturating_sub(*self.threads.get(thread).unwrap_or(&0));
        let (mut all, mut busiest) = (0, 0);
        for ns in later.threads.iter().map(used) {
            all += ns;
            busiest = busiest.max(ns);
        }
        Use {
            cpu_seconds: to_f64(all) / 1e9,
            busiest_thread: if seconds > 0.0 {
                (to_f64(busiest) / 1e9 / seconds).min(1.0)
            } else {
                0.0
            },
            rss_bytes_max: self.rss_bytes.max(later.rss_bytes),
            context_switches: later.switches.saturating_sub(self.switches),
        }
    }
}

/// Bytes that process `pid` had from the disk since it began.
pub(crate) fn disk_read_bytes(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    field(&io, "read_bytes:").unwrap_or_default()
}

/// Resident set of process `pid`.
fn rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "VmRSS:").map(|kib| kib * 1024)
}

fn thread_ns(task: &std::path::Path) -> Option<u64> {
    let schedstat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    if let Some(ns) = schedstat.split(' ').next().and_then(|ns| ns.parse().ok()) {
        return Some(ns);
    }
    let ticks = stat_ticks(&fs::read_to_string(task.join("stat")).ok()?)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(ticks.saturating_mul(1_000_000_000 / per_second))
}

/// User and system time (fields 14 and 15). The name before them may hold spaces, so count behind its bracket.
fn stat_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The number behind `name` at the beginning of a line.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_found_behind_awkward_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 0 0 0 0 250 30 0 0 20 0 1 0 9 0 0";
        assert_eq!(stat_ticks(stat), Some(280));
        assert_eq!(field("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(field("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let before = Snapshot::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        let after = Snapshot::of(std::process::id()).unwrap();
        let used = before.until(&after, 1.0);
        assert!(used.cpu_seconds > 0.0 && used.rss_bytes_max > 1 << 20, "{used:?} {sum}");
    }

    #[test]
    fn a_process_that_is_not_there_is_no_snapshot() {
        assert!(Snapshot::of(u32::MAX).is_none());
    }
}
