//! A mount namespace for a test: nobody else sees what it mounts, and all of it goes with the last process in it, however
//! that ends.
//!
//! The test is run a second time, in a process of its own within the namespace. Where that is not possible, or something
//! else is missing, it passes and says on standard error what was not tested.

use std::io::Write as _;
use std::process::Command;

use super::disk::Missing;

/// Set in the process that is in the namespace.
const INSIDE: &str = "PYRALOG_CRASH_INSIDE";

/// What that process says when the test went well, and what it says before its name if it could not run.
const DONE: &str = "done in a namespace of its own";
const SKIPPED: &str = "SKIPPED";

/// Runs `body` as the test of this name in a namespace of its own.
pub(crate) fn enter(test: &str, untested: &str, body: impl FnOnce() -> Result<(), Missing>) {
    if std::env::var_os(INSIDE).is_none() {
        return from_outside(test, untested);
    }
    match body() {
        Ok(()) => println!("{DONE}"),
        Err(missing) => skip(test, untested, &missing.0),
    }
}

fn from_outside(test: &str, untested: &str) {
    let unshare = |command: &mut Command| {
        command.output().map_err(|error| error.to_string()).and_then(|output| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok((output.stdout, said)) } else { Err(said) }
        })
    };
    let arguments = ["--mount", "--propagation", "private"];
    if let Err(why) = unshare(Command::new("unshare").args(arguments).arg("true")) {
        return skip(test, untested, &format!("no mount namespace of its own: {}", why.trim()));
    }
    let output = Command::new("unshare")
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let [said, complained] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match complained.lines().find(|line| line.starts_with(SKIPPED)) {
        Some(line) => tell(line),
        None => assert!(
            output.status.success() && said.contains(DONE),
            "{}\n{said}\n{complained}",
            output.status
        ),
    }
}

fn skip(test: &str, untested: &str, missing: &str) {
    tell(&format!(
        "{SKIPPED} {test}: {missing}. Not tested: {untested}. It takes root, loop devices, mkfs.ext4 and a C compiler."
    ));
}

/// Past the test harness, which keeps what a test prints to itself unless it fails.
fn tell(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
