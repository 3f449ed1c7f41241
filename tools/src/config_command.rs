//! `pyralog config`: print, show and check settings.

use serde_json::{Value, json};

use crate::args::{ConfigCommand, ValidateArgs};
use crate::exit::Failure;
use crate::machine;
use crate::output::{Output, Tone};
use crate::session::{Session, read_settings};
use crate::settings::{Finding, Settings, Severity, check, print_default, print_reference};

/// Runs one of the `config` commands.
///
/// # Errors
/// If the settings are wrong or the output cannot be written.
pub(crate) fn run(session: Session, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::PrintDefault(args) if args.markdown => {
            session.output.bytes(print_reference().as_bytes())
        }
        ConfigCommand::PrintDefault(_) => session.output.bytes(print_default().as_bytes()),
        ConfigCommand::Show => show(&session),
        ConfigCommand::Validate(args) => validate(session, &args),
    }
}

fn show(session: &Session) -> Result<(), Failure> {
    session.settings()?;
    let output = session.output;
    if output.json() {
        let settings: Vec<Value> = session
            .layers()
            .iter()
            .map(|(key, value, origin)| {
                json!({ "key": key.name, "value": value.to_toml(), "origin": origin.to_string() })
            })
            .collect();
        return output.document(&Value::Array(settings));
    }
    let rows: Vec<Vec<String>> = session
        .layers()
        .iter()
        .map(|(key, value, origin)| vec![key.name.to_owned(), value.to_toml(), origin.to_string()])
        .collect();
    output.table(&["KEY", "VALUE", "FROM"], &rows)
}

fn validate(mut session: Session, args: &ValidateArgs) -> Result<(), Failure> {
    let text = read_settings(&args.file)?;
    let shown = args.file.display().to_string();
    // It is checked as it would be used: below the environment and `--set`.
    session.layers_mut().file(&shown, &text);
    let problems: Vec<String> =
        session.layers().problems().iter().map(ToString::to_string).collect();
    let findings = if problems.is_empty() {
        check(&Settings::from_layers(session.layers()), machine::facts())
    } else {
        Vec::new()
    };
    report(session.output, &shown, &problems, &findings)?;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let count = problems.len() + if args.strict { findings.len() } else { errors };
    if count == 0 { Ok(()) } else { Err(Failure::usage(format!("{shown} has {count} problem(s)"))) }
}

fn report(
    output: Output,
    file: &str,
    problems: &[String],
    findings: &[Finding],
) -> Result<(), Failure> {
    let word = |severity| match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    if output.json() {
        let all: Vec<Value> = problems
            .iter()
            .map(|message| json!({ "severity": "error", "message": message }))
            .chain(findings.iter().map(
                |finding| json!({ "severity": word(finding.severity), "message": finding.message }),
            ))
            .collect();
        let valid = !all.iter().any(|one| one["severity"] == "error");
        return output.document(&json!({ "file": file, "valid": valid, "findings": all }));
    }
    for problem in problems {
        output.line(&format!("{}  {problem}", output.paint(Tone::Bad, "error  ")))?;
    }
    for finding in findings {
        let tone = match finding.severity {
            Severity::Error => Tone::Bad,
            Severity::Warning => Tone::Caution,
        };
        let word = format!("{:<7}", word(finding.severity));
        output.line(&format!("{}  {}", output.paint(tone, &word), finding.message))?;
    }
    if problems.is_empty() && findings.is_empty() {
        output.line(&format!("{}  {file} is valid", output.paint(Tone::Good, "ok     ")))?;
    }
    Ok(())
}
