//! The server under test: a child process on free ports and a directory of its own, gone on every way out.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Deserialize;
use tempfile::TempDir;

use crate::clock::{Clock, pause};
use crate::failure::Failure;
use crate::limits::SERVER_STOP_MAX;
use crate::quantity::{bytes_exact, duration_exact};
use crate::scenario::{Scenario, Storage};

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of `linux/magic.h`.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Where and on what to start it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The directory in which it gets one of its own.
    pub(crate) parent: PathBuf,
    /// Its CPUs.
    pub(crate) cpus: Vec<u32>,
}

/// What `serve --json` prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    listen: String,
}

/// A running server. Dropped, it is killed and its directory removed.
pub(crate) struct Server {
    child: Child,
    address: String,
    /// Its data; gone when this is dropped.
    _directory: TempDir,
}

/// The directory for data: the one given, or else the system's temporary one, or the current one. In memory only if
/// that is allowed.
///
/// # Errors
/// If it lies in memory, or is none.
pub(crate) fn parent(given: Option<&Path>, allow_tmpfs: bool) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        std::fs::create_dir_all(given)
            .map_err(|error| Failure::Usage(format!("cannot use {}: {error}", given.display())))?;
        if in_memory(given) && !allow_tmpfs {
            return Err(Failure::Usage(format!(
                "{} lies in memory (tmpfs), where a synced write costs nothing: give --data-dir on a disk, \
                 or --allow-tmpfs if that is what you want to measure",
                given.display()
            )));
        }
        return Ok(given.to_owned());
    }
    let candidates = [std::env::temp_dir(), PathBuf::from(".")];
    let found = candidates.iter().find(|path| allow_tmpfs || !in_memory(path));
    found.cloned().ok_or_else(|| {
        Failure::Usage(format!(
            "{} lies in memory (tmpfs), where a synced write costs nothing: give --data-dir on a disk",
            candidates[0].display()
        ))
    })
}

fn in_memory(path: &Path) -> bool {
    let Ok(stat) = rustix::fs::statfs(path) else { return false };
    // The width of the field differs between architectures.
    u64::try_from(stat.f_type).is_ok_and(|kind| MEMORY_FILE_SYSTEMS.contains(&(kind & 0xffff_ffff)))
}

/// The settings that a server of `scenario` is given, beside places and names.
pub(crate) fn settings(scenario: &Scenario) -> Vec<String> {
    let mut settings = vec![format!("server.spin={}", duration_exact(scenario.spin))];
    if scenario.storage == Storage::Memory {
        let all = scenario.memory_bytes.saturating_mul(scenario.partitions.into());
        let budget = bytes_exact(all.max(4 << 30));
        settings.push(format!("memory.memory_log_bytes_max={budget}"));
    }
    settings.extend(scenario.settings.iter().cloned());
    settings
}

impl Server {
    /// Starts the binary that runs now, as a server, and waits until it is ready.
    pub(crate) fn start(scenario: &Scenario, place: &Place) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("pyralog-bench-")
            .tempdir_in(&place.parent)
            .with_context(|| format!("cannot make a directory in {}", place.parent.display()))?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--http", "off"]);
        command.args(["--log-level", "warn", "--name", "bench"]);
        command.args(["--shards", &scenario.shards.to_string()]);
        command.arg("--data-dir").arg(directory.path().join("data"));
        for setting in settings(scenario) {
            command.args(["--set", &setting]);
        }
        let log = directory.path().join("server.log");
        let said = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        // A group of its own: Ctrl-C in a terminal is for the benchmark, which then stops it.
        command.env_clear().process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said);
        let mut child = on_cpus(&place.cpus, || command.spawn())
            .flatten()
            .context("cannot start the server")?;
        let address = match ready(&mut child, &log) {
            Ok(address) => address,
            Err(error) => {
                // It is of no use; if it has ended already, so much the better.
                child.kill().ok();
                child.wait().ok();
                return Err(error.into());
            }
        };
        Ok(Self { child, address, _directory: directory })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself, and how.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(format!("the server ended by itself ({status})"))
    }

    /// Asks it to stop, waits, and removes its directory.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .context("cannot stop the server")?;
        let clock = Clock::start();
        while self.child.try_wait()?.is_none() {
            if clock.elapsed() > SERVER_STOP_MAX {
                bail!("the server did not stop within {}", duration_exact(SERVER_STOP_MAX));
            }
            pause(std::time::Duration::from_millis(10));
        }
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what is wanted. The directory goes when it is dropped, after this.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads the line that a server prints when it is ready.
fn ready(child: &mut Child, log: &Path) -> anyhow::Result<String> {
    let stdout = child.stdout.take().context("the server has no output")?;
    let mut output = BufReader::new(stdout);
    let mut line = String::new();
    output.read_line(&mut line)?;
    if line.is_empty() {
        let status = child.wait()?;
        let said = std::fs::read_to_string(log).unwrap_or_default();
        return Err(anyhow!("the server did not start ({status}): {}", said.trim()));
    }
    let ready: Ready =
        serde_json::from_str(&line).with_context(|| format!("the server said {line:?}"))?;
    // It says no more; whatever it says must not fill the pipe.
    std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
    Ok(ready.listen)
}

/// Does something on these CPUs: what it starts inherits them from this thread.
pub(crate) fn on_cpus<T>(cpus: &[u32], start: impl FnOnce() -> T) -> std::io::Result<T> {
    let before = sched_getaffinity(None)?;
    pin(cpus)?;
    let started = start();
    sched_setaffinity(None, &before)?;
    Ok(started)
}

/// Binds this thread, and those that it starts from now on, to these CPUs.
pub(crate) fn pin(cpus: &[u32]) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu as usize);
    }
    sched_setaffinity(None, &set).map_err(Into::into)
}

/// The CPUs that this process may use, in ascending order.
pub(crate) fn cpus() -> anyhow::Result<Vec<u32>> {
    let set = sched_getaffinity(None).context("cannot see the CPUs of this process")?;
    let all = 0..u32::try_from(CpuSet::MAX_CPU).unwrap_or(u32::MAX);
    Ok(all.filter(|cpu| set.is_set(*cpu as usize)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_memory_is_refused_unless_that_is_meant() {
        let shm = Path::new("/dev/shm");
        if !in_memory(shm) {
            return;
        }
        let refused = parent(Some(shm), false).unwrap_err().to_string();
        assert!(refused.contains("--allow-tmpfs"), "{refused}");
        assert_eq!(parent(Some(shm), true).unwrap(), shm);
    }

    #[test]
    fn the_starting_thread_keeps_its_own_cpus() {
        let before = cpus().unwrap();
        let child = on_cpus(&before[..1], || Command::new("true").spawn());
        child.flatten().unwrap().wait().unwrap();
        assert_eq!(cpus().unwrap(), before);
    }
}
