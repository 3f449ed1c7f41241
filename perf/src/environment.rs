//! The machine and the program that a result comes from.
//!
//! Everything that a reader must know to judge a number, and nothing that says whose machine it was: no host name, no
//! user, no paths.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyralog_runtime::probe::{self, ProcessLimit};

use crate::result::Environment;

/// Where the program was built: its sources, if they are still there, know the commit.
const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

/// Gathers what is true of this machine and this program now. What cannot be found out is said to be unknown.
#[must_use]
pub fn gather(directory: &Path, server_cpus: &[u32], load_cpus: &[u32]) -> Environment {
    let kernel = probe::kernel();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let mount = mount_of(&mounts, &directory);
    let system = rustix::system::sysinfo();
    Environment {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        kernel: format!("Linux {} {}", kernel.release, kernel.machine),
        cpu: model(&info),
        cpus: count(info.lines().filter(|line| line.starts_with("processor"))),
        server_cpus: server_cpus.to_vec(),
        load_cpus: load_cpus.to_vec(),
        memory_bytes: u64::from(system.mem_unit).saturating_mul(wide(system.totalram)),
        filesystem: mount.as_ref().map_or_else(|| "unknown".to_owned(), |mount| mount.kind.clone()),
        notes: notes(&info, mount.as_ref()),
    }
}

/// The limits and settings that decide about numbers.
fn notes(info: &str, mount: Option<&Mount>) -> Vec<(String, String)> {
    let hypervisor = flags(info).any(|flag| flag == "hypervisor");
    let virtualised =
        if hypervisor { "yes (the processor says so)" } else { "not that the processor says" };
    let usable = probe::cpus();
    let list = |cpus: &[usize]| cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    let load = first_words("/proc/loadavg", 3);
    let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let pages = "/sys/kernel/mm/transparent_hugepage/enabled";
    let all = [
        ("io_uring", io_uring()),
        ("virtual machine", virtualised.to_owned()),
        ("usable CPUs", list(&usable)),
        ("frequency governor", first_words(governor, 1)),
        ("clock source", first_words(clock, 1)),
        ("transparent huge pages", chosen(&fs::read_to_string(pages).unwrap_or_default())),
        ("mount options", mount.map_or_else(unknown, |mount| mount.options.clone())),
        ("open files limit", limit(probe::open_files_limit())),
        ("locked memory limit", limit(probe::memlock_limit())),
        ("load average at the start", load),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).into()
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// What a core needs of `io_uring`.
fn io_uring() -> String {
    match probe::io_uring_features() {
        Ok(features) if features.operations_missing.is_empty() => "available".to_owned(),
        Ok(features) => format!("lacks {}", features.operations_missing.join(", ")),
        Err(error) => format!("not available: {error}"),
    }
}

fn limit(limit: ProcessLimit) -> String {
    let show = |bound: Option<u64>| {
        bound.map_or_else(|| "unlimited".to_owned(), |bound| bound.to_string())
    };
    format!("{}, may be raised to {}", show(limit.soft), show(limit.hard))
}

/// The first words of a file of the system.
fn first_words(path: &str, most: usize) -> String {
    let content = fs::read_to_string(path).unwrap_or_default();
    let words: Vec<_> = content.split_whitespace().take(most).collect();
    if words.is_empty() { unknown() } else { words.join(" ") }
}

/// The word in brackets.
fn chosen(choices: &str) -> String {
    let inside = choices.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or_else(unknown, |(word, _)| word.to_owned())
}

/// The values of a field of `/proc/cpuinfo`.
fn fields<'i>(info: &'i str, name: &'i str) -> impl Iterator<Item = &'i str> {
    let pairs = info.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(move |(field, _)| field.trim() == name).map(|(_, value)| value.trim())
}

/// Model of the processor; x86 has a name for it, others have numbers.
fn model(info: &str) -> String {
    let name = fields(info, "model name").next();
    let part = || fields(info, "CPU part").next();
    name.or_else(part).unwrap_or("unknown").to_owned()
}

fn flags(info: &str) -> impl Iterator<Item = &str> {
    fields(info, "flags").next().unwrap_or_default().split_whitespace()
}

/// How a directory is mounted.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    kind: String,
    /// Those without a value: a value may be a path of the machine.
    options: String,
}

/// The mount with the longest path around `directory`; of two on one path the later one, which hides the other.
fn mount_of(mounts: &str, directory: &Path) -> Option<Mount> {
    let mut found: Option<(PathBuf, Mount)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(path), Some(kind), Some(options)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let path = PathBuf::from(path.replace("\\040", " "));
        let longer = found.as_ref().is_none_or(|(before, _)| path.starts_with(before));
        if longer && directory.starts_with(&path) {
            let plain: Vec<_> = options.split(',').filter(|option| !option.contains('=')).collect();
            found = Some((path, Mount { kind: kind.to_owned(), options: plain.join(",") }));
        }
    }
    found.map(|(_, mount)| mount)
}

/// The commit that the program was built from: as the build said, or as its sources say now; "+" if they were changed.
fn commit() -> Option<String> {
    if let Some(said) = option_env!("PYRALOG_COMMIT") {
        return Some(said.to_owned());
    }
    if !Path::new(SOURCES).is_dir() {
        return None;
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(SOURCES).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let head = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { head } else { format!("{head}+") })
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// A number that is 32 bits wide on some machines.
fn wide(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "/dev/vda / ext4 rw,relatime,discard 0 0\n\
        tmpfs /srv tmpfs rw,nosuid,size=12345k 0 0\n\
        overlay /srv/a\\040b overlay rw,lowerdir=/srv/secret,upperdir=/x 0 0\n";

    fn kind(directory: &str) -> String {
        mount_of(MOUNTS, Path::new(directory)).unwrap().kind
    }

    #[test]
    fn the_file_system_is_that_of_the_innermost_mount() {
        assert_eq!(kind("/var/lib"), "ext4");
        assert_eq!(kind("/srv/data"), "tmpfs");
        assert_eq!(kind("/srv/a b/data"), "overlay");
        assert_eq!(kind("/srvdata"), "ext4", "a path is more than its letters");
    }

    #[test]
    fn mount_options_name_no_paths() {
        let mount = mount_of(MOUNTS, Path::new("/srv/a b")).unwrap();
        assert_eq!(mount.options, "rw");
    }

    #[test]
    fn a_processor_has_a_model_whatever_its_make() {
        assert_eq!(model("processor\t: 0\nmodel name\t: A  CPU @ 2 GHz\n"), "A  CPU @ 2 GHz");
        assert_eq!(model("processor\t: 0\nCPU part\t: 0xd0c\n"), "0xd0c");
        assert_eq!(model(""), "unknown");
    }

    #[test]
    fn the_environment_says_nothing_about_whose_machine_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let environment = gather(directory.path(), &[0], &[1]);
        let text = serde_json::to_string(&environment).unwrap();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let generic = host.is_empty() || host == "localhost";
        assert!(generic || !text.contains(&format!("\"{host}")), "{text}");
        assert!(!text.contains(directory.path().to_str().unwrap()), "{text}");
        assert!(!text.contains(SOURCES), "{text}");
        assert!(environment.cpus > 0 && environment.memory_bytes > 0, "{environment:?}");
        assert_ne!(environment.filesystem, "unknown");
    }
}
