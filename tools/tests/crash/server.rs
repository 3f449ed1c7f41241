//! A `pyralog serve` of our own, killed or terminated by its process id.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// What a server is started with beside the usual.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extra<'a> {
    /// Further flags.
    pub(crate) flags: &'a [&'a str],
    /// What `ulimit -f` says: blocks of 512 or 1024 bytes, as the shell has it.
    pub(crate) file_blocks: Option<u32>,
    /// The file that standard error goes to.
    pub(crate) stderr: Option<&'a Path>,
}

/// Shards that a test uses at most.
const SHARDS_MAX: u16 = 4;

/// A block of ports that were free together: the shared one and one per shard. A server keeps them across restarts, so
/// that clients find it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    shared: u16,
}

impl Ports {
    /// Looks for a block until one is free as a whole, below the ports that the system hands out: from those, a client
    /// that calls a server that is down may get the very port it calls, and is then connected to itself.
    pub(crate) fn reserve() -> Self {
        loop {
            let shared = fastrand::u16(10_000..32_000);
            let all: Result<Vec<_>, _> = (shared..=shared + SHARDS_MAX)
                .map(|port| TcpListener::bind(("127.0.0.1", port)))
                .collect();
            if all.is_ok() {
                return Self { shared };
            }
        }
    }

    /// Another block, which has no port of this one.
    pub(crate) fn reserve_another(self) -> Self {
        loop {
            let other = Self::reserve();
            if other.shared.abs_diff(self.shared) > SHARDS_MAX {
                return other;
            }
        }
    }

    /// Calls so many times, whether somebody answers or not: how long others are left to themselves, without a clock.
    pub(crate) fn call(self, count: u32) {
        for _ in 0..count {
            drop(TcpStream::connect(("127.0.0.1", self.shared)));
        }
    }
}

/// A running server; killed when dropped, so that a failing test leaves nothing behind.
pub(crate) struct ServerProcess {
    child: Child,
    ports: Ports,
}

impl ServerProcess {
    /// Starts one and waits until it says that it listens.
    pub(crate) fn start(directory: &Path, ports: Ports, shards: u32) -> Self {
        Self::start_with(directory, ports, shards, Extra::default())
    }

    /// The same with more to it.
    pub(crate) fn start_with(
        directory: &Path,
        ports: Ports,
        shards: u32,
        extra: Extra<'_>,
    ) -> Self {
        let mut server = Self::launch_with(directory, ports, shards, extra);
        let mut output = BufReader::new(server.child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            let read = output.read_line(&mut line).unwrap();
            assert!(read > 0, "the server ended before it listened: {:?}", server.child.wait());
        }
        // Whoever drains a pipe may end with it: the server must not block on a full one.
        std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
        server
    }

    /// Starts one that nobody waits for.
    pub(crate) fn launch(directory: &Path, ports: Ports, shards: u32) -> Self {
        Self::launch_with(directory, ports, shards, Extra::default())
    }

    fn launch_with(directory: &Path, ports: Ports, shards: u32, extra: Extra<'_>) -> Self {
        let binary = env!("CARGO_BIN_EXE_pyralog");
        let mut command = match extra.file_blocks {
            None => Command::new(binary),
            Some(blocks) => {
                let mut shell = Command::new("sh");
                // The shell becomes the server, so its process id is the server's.
                shell.args(["-c", "ulimit -f \"$0\" && exec \"$@\"", &blocks.to_string(), binary]);
                shell
            }
        };
        let child = command
            .args(["serve", "--http", "off", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(directory.join("data"))
            .args(["--listen", &format!("127.0.0.1:{}", ports.shared)])
            .args(["--shards", &shards.to_string()])
            .args(["--set", "memory.io_bytes=16MiB"])
            .args(extra.flags)
            .stdout(Stdio::piped())
            .stderr(extra.stderr.map_or_else(Stdio::inherit, |path| {
                OpenOptions::new().append(true).open(path).unwrap().into()
            }))
            .spawn()
            .unwrap();
        Self { child, ports }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.shared)
    }

    /// SIGSTOP: it does nothing any more, and sees nothing of what happens.
    pub(crate) fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the server must end by itself and say that all went well.
    pub(crate) fn terminate(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "SIGTERM ended the server with {status}");
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Errors mean that it has ended, which is what we want.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
