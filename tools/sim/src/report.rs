//! What a run came to, for people: lines on a terminal and a picture in a file.

mod clients;
mod life;
mod notes;
mod sequences;
mod world;

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use pyralog_sim::history::{Event, Kind};
use pyralog_sim::repro;
use pyralog_sim::run::Outcome;
use pyralog_sim::scenario::Scenario;
use pyralog_sim::timeline::{self, Mark, MarkKind};

pub(crate) use notes::notes_from_tracing;

/// Violations that are printed whole. One cause often shows in hundreds, and the first are the ones to read.
const VIOLATIONS_MAX: usize = 20;
/// Events of a violation that are printed.
const EVIDENCE_MAX: usize = 12;

/// Prints the trace, one event a line.
pub(crate) fn print_trace(outcome: &Outcome) {
    print(world::lines(&outcome.nodes, &outcome.trace));
}

/// Prints what the clients saw and what was done to the server, one event a line, each with the number by which
/// violations call it.
pub(crate) fn print_history(outcome: &Outcome) {
    let events = outcome.history.events().iter().enumerate();
    print(events.map(|(index, event)| history_line(index, event)));
}

/// Prints what the run came to in a few lines.
pub(crate) fn print_summary(outcome: &Outcome) {
    print(summary(outcome));
}

/// Prints what is wrong, each with the events that show it.
pub(crate) fn print_violations(outcome: &Outcome) {
    print(violations(outcome));
}

/// Writes the picture of a run.
///
/// # Errors
/// A sentence, if the file cannot be written.
pub(crate) fn write_timeline(
    path: &Path,
    scenario: &Scenario,
    outcome: &Outcome,
) -> Result<(), String> {
    let title = format!("{scenario}\n{}\n{}", summary(outcome).join(" · "), repro::line(scenario));
    let page = timeline::html(&title, &outcome.nodes, &outcome.trace, &marks(outcome));
    std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("timeline: {}", path.display());
    Ok(())
}

/// Prints lines until nobody reads them any more.
fn print(lines: impl IntoIterator<Item = String>) {
    let mut out = BufWriter::new(io::stdout().lock());
    for line in lines {
        // Err: a pager was closed. There is nobody left to tell.
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
    // As above.
    out.flush().ok();
}

/// A time as all lines have it.
fn millis(at: u64) -> String {
    format!("{}.{:06}", at / 1_000_000, at % 1_000_000)
}

fn history_line(index: usize, event: &Event) -> String {
    let who = clients::who(event.client);
    format!("{:>14} {index:>6} {who:<10} {}", millis(event.at), clients::Words(&event.kind))
}

fn summary(outcome: &Outcome) -> Vec<String> {
    let struck: u64 = outcome.struck.values().sum();
    let mut lines = vec![
        format!("trace hash {:016x}", outcome.hash),
        format!("{:.3} s of virtual time, {} polls", outcome.elapsed.as_secs_f64(), outcome.polls),
        format!("{} records acknowledged, {} starts of the server", outcome.acked, outcome.boots),
    ];
    let names = outcome.struck.iter().map(|(name, count)| format!("{name} {count}"));
    let names: Vec<_> = names.collect();
    lines.push(if names.is_empty() {
        "no fault struck".to_owned()
    } else {
        format!("{struck} strikes: {}", names.join(", "))
    });
    lines
}

fn violations(outcome: &Outcome) -> Vec<String> {
    let all = &outcome.violations;
    if all.is_empty() {
        return vec!["nothing is wrong".to_owned()];
    }
    let mut lines = vec![counted(all.len(), "violation")];
    for violation in all.iter().take(VIOLATIONS_MAX) {
        lines.push(format!(
            "{} at {} ms: {}",
            violation.oracle,
            millis(violation.at),
            violation.what
        ));
        for index in violation.events.iter().take(EVIDENCE_MAX) {
            lines.push(evidence(outcome, *index).1);
        }
        let more = violation.events.len().saturating_sub(EVIDENCE_MAX);
        if more > 0 {
            lines.push(format!("{:>14} and {more} more", ""));
        }
    }
    if all.len() > VIOLATIONS_MAX {
        lines.push(format!("and {} more", all.len() - VIOLATIONS_MAX));
    }
    lines
}

/// When an event of the history was, and its line.
fn evidence(outcome: &Outcome, index: usize) -> (u64, String) {
    match outcome.history.events().get(index) {
        Some(event) => (event.at, history_line(index, event)),
        None => (0, format!("{:>14} {index:>6} is not in the history", "")),
    }
}

fn counted(count: usize, what: impl Display) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What the picture shows beside the trace.
fn marks(outcome: &Outcome) -> Vec<Mark> {
    let mut marks = clients::requests(&outcome.history, &outcome.nodes);
    let phase = |at, text: &str| Mark { at, text: text.to_owned(), kind: MarkKind::Phase };
    marks.push(phase(0, "faults strike"));
    let stopped = |event: &&Event| event.kind == Kind::FaultsStopped;
    if let Some(event) = outcome.history.events().iter().find(stopped) {
        marks.push(phase(event.at, "faults have stopped: everything must serve"));
    }
    marks.extend(outcome.violations.iter().map(|violation| {
        let line = |index: &usize| {
            let (at, line) = evidence(outcome, *index);
            // The time stands beside it in the picture.
            (at, line.trim_start().split_once(' ').map_or("", |(_, rest)| rest).trim().to_owned())
        };
        let evidence = violation.events.iter().take(EVIDENCE_MAX * 2).map(line).collect();
        Mark {
            at: violation.at,
            text: format!("{}: {}", violation.oracle, violation.what),
            kind: MarkKind::Violation { evidence },
        }
    }));
    marks
}

#[cfg(test)]
mod tests;
