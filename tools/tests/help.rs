//! The help of every command, as it is printed: `UPDATE_GOLDEN=1 cargo test -p pyralog --test help`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

const COMMANDS: [&str; 47] = [
    "",
    "serve",
    "log",
    "log create",
    "log list",
    "log describe",
    "log get",
    "log alter",
    "log truncate",
    "log scrub",
    "log delete",
    "produce",
    "consume",
    "id",
    "id next",
    "id decode",
    "obelisk",
    "obelisk create",
    "obelisk list",
    "obelisk get",
    "obelisk next",
    "obelisk stat",
    "obelisk raise",
    "key",
    "notarize",
    "verify",
    "audit",
    "status",
    "backup",
    "backup verify",
    "restore",
    "inspect",
    "quickstart",
    "bench",
    "bench run",
    "bench list",
    "bench ceiling",
    "bench seq",
    "bench life",
    "bench compare",
    "bench report",
    "doctor",
    "config",
    "config print-default",
    "config show",
    "config validate",
    "completions",
];

fn printed(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pyralog"))
        .args(command.split_whitespace())
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_is_what_was_reviewed() {
    let mut text = String::new();
    for command in COMMANDS {
        let shown = format!("pyralog {command}");
        writeln!(text, "$ {} --help\n{}", shown.trim_end(), printed(command)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "the help changed: UPDATE_GOLDEN=1 cargo test -p pyralog --test help");
}

#[test]
fn every_command_in_the_help_is_in_the_golden_file() {
    for group in ["", "backup", "log", "id", "obelisk", "bench", "config"] {
        let text = printed(group);
        let commands = text.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in commands.take_while(|line| !line.is_empty()) {
            // A continued line of a description is indented further.
            let Some(entry) = line.strip_prefix("  ").filter(|entry| !entry.starts_with(' '))
            else {
                continue;
            };
            let name = format!("{group} {}", entry.split_whitespace().next().unwrap());
            assert!(COMMANDS.contains(&name.trim()), "{name} has no golden help");
        }
    }
}

#[test]
fn help_fits_a_hundred_columns_and_has_no_escapes_in_a_pipe() {
    for command in COMMANDS {
        for line in printed(command).lines() {
            assert!(line.chars().count() <= 100, "{command}: {line}");
            assert!(!line.contains('\u{1b}'), "{command}: {line}");
        }
    }
}
