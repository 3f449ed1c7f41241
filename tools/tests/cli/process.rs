//! Running the binary: one command, or a server in a temporary directory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Done {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output as text, of a command that went well.
    pub(crate) fn text(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        String::from_utf8(self.stdout).unwrap()
    }

    /// Standard output as JSON, of a command that went well.
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Standard error of a command that ended with `code`.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", String::from_utf8_lossy(&self.stdout), self.stderr);
        self.stderr
    }
}

/// The binary, with nothing of this process's environment that could change what it does.
pub(crate) fn pyralog(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyralog"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Done {
    Done::of(pyralog(arguments).output().unwrap())
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Done {
    let mut child = pyralog(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // The command may end before it has read everything; what it says then is what counts.
        stdin.write_all(&input).ok();
    });
    let done = Done::of(child.wait_with_output().unwrap());
    writer.join().unwrap();
    done
}

/// A server on free ports, killed when dropped.
pub(crate) struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The line that it printed when it was ready.
    pub(crate) ready: Value,
    /// Its data; `None` if it belongs to the test.
    data: Option<TempDir>,
}

impl Served {
    /// Starts one on an empty directory.
    pub(crate) fn fresh() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut served = Self::start(data.path(), &[]);
        served.data = Some(data);
        served
    }

    /// Starts one on `directory` with further flags, and waits until it is ready.
    pub(crate) fn start(directory: &Path, flags: &[&str]) -> Self {
        Self::start_in(directory, flags, &[])
    }

    /// The same with variables of the environment.
    pub(crate) fn start_in(directory: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = directory.to_str().unwrap();
        let mut arguments = vec!["serve", "--json", "--listen", "127.0.0.1:0", "--shards", "2"];
        arguments.extend(["--http", "127.0.0.1:0", "--set", "server.pin=false"]);
        if !flags.contains(&"--memory-only") {
            arguments.extend(["--data-dir", directory]);
        }
        arguments.extend(flags);
        let mut command = pyralog(&arguments);
        command.envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error} in {line:?}; {:?}", child.wait()));
        Self { child, stdout, ready, data: None }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> &str {
        self.ready["listen"].as_str().unwrap()
    }

    /// Runs a client command against it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        run(&self.with_server(arguments))
    }

    /// The same with input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Done {
        run_with(&self.with_server(arguments), input)
    }

    /// A client command against it, not started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        pyralog(&self.with_server(arguments))
    }

    fn with_server<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = arguments.to_vec();
        all.extend(["--server", self.address()]);
        all
    }

    /// Kills it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What `/status` says.
    pub(crate) fn status(&self) -> Value {
        let mut stream = TcpStream::connect(self.ready["http"].as_str().unwrap()).unwrap();
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.find('{').map(|at| &answer[at..=answer.rfind('}').unwrap()]);
        serde_json::from_str(body.unwrap_or_default()).unwrap_or_else(|_| panic!("{answer}"))
    }

    /// Asks it to stop and waits; returns its exit code and what else it printed.
    pub(crate) fn stop(mut self) -> (i32, String) {
        signal(&self.child, Signal::TERM);
        let mut rest = String::new();
        while self.stdout.read_line(&mut rest).unwrap() > 0 {}
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
