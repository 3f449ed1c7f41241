//! `pyralog doctor`: checks this machine and says what to change.
//!
//! Facts are collected first (`facts`), judged by plain functions (`judge`), and printed here, so
//! that every verdict is tested without the machine that would cause it.

mod facts;
mod judge;
mod probe;

use serde_json::{Value, json};

use crate::args::DoctorArgs;
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::session::Session;

pub(crate) use facts::file_system;
use judge::{Level, Verdict};

/// Runs the command.
///
/// # Errors
/// If a check fails (exit code 1): the server would not start or not keep its promises.
pub(crate) fn run(mut session: Session, args: DoctorArgs) -> Result<(), Failure> {
    session.flag("data-dir", "server.data_dir", args.data_dir);
    let settings = session.settings()?;
    let facts = facts::collect(&settings, args.read_only);
    let verdicts = judge::all(&facts);
    print(session.output, &verdicts)?;
    let failed = verdicts.iter().filter(|verdict| verdict.level == Level::Fail).count();
    match failed {
        0 => Ok(()),
        1 => Err(Failure::failed("1 check failed")),
        count => Err(Failure::failed(format!("{count} checks failed"))),
    }
}

fn print(output: Output, verdicts: &[Verdict]) -> Result<(), Failure> {
    if output.json() {
        let checks: Vec<Value> = verdicts
            .iter()
            .map(|verdict| {
                json!({
                    "check": verdict.check,
                    "level": verdict.level.word(),
                    "found": verdict.found,
                    "advice": verdict.advice,
                })
            })
            .collect();
        return output.document(&Value::Array(checks));
    }
    for verdict in verdicts {
        let tone = match verdict.level {
            Level::Ok => Tone::Good,
            Level::Warn => Tone::Caution,
            Level::Fail => Tone::Bad,
            Level::Skip => Tone::Faint,
        };
        let word = output.paint(tone, &format!("{:<4}", verdict.level.word()));
        output.line(&format!("{word}  {:<14} {}", verdict.check, verdict.found))?;
        if let Some(advice) = &verdict.advice {
            output.line(&format!("      {:<14} {}", "", output.paint(Tone::Code, advice)))?;
        }
    }
    Ok(())
}
