//! Facts about this machine that settings are checked against.

use std::path::Path;

use pyralog_runtime::probe;

use crate::settings::Machine;

/// What can be found out; what cannot is 0, which the checks take for unknown.
pub(crate) fn facts() -> Machine {
    Machine {
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        memory_bytes: memory_bytes().unwrap_or(0),
        file_bytes_max: probe::file_size_limit().soft.unwrap_or(0),
    }
}

/// Memory of the machine, or of the control group if that has less.
pub(crate) fn memory_bytes() -> Option<u64> {
    let total = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse().ok());
    Some(group.map_or(total, |limit: u64| limit.min(total)))
}

/// Bytes that are free for this user where `directory` lies.
///
/// # Errors
/// If the system does not say.
pub(crate) fn free_bytes(directory: &Path) -> std::io::Result<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes of a line such as `MemTotal:  16318484 kB`.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line[name.len()..].trim().trim_end_matches("kB").trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_lines_are_in_kib() {
        let text = "MemTotal:       24 kB\nMemFree:        1 kB\n";
        assert_eq!(meminfo(text, "MemTotal:"), Some(24 * 1024));
        assert_eq!(meminfo(text, "MemLost:"), None);
        assert_eq!(meminfo("MemTotal: many kB", "MemTotal:"), None);
    }
}
