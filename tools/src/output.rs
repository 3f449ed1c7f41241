//! What is printed: tables and lines for people, JSON for programs, on standard output; notes and
//! errors on standard error, so that a pipe only carries what was asked for.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::args::ColorWhen;
use crate::exit::{Failure, Status};

/// How a piece of text is meant; the terminal decides how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A heading or the number to look at.
    Strong,
    /// Good news.
    Good,
    /// Something to look into.
    Caution,
    /// Bad news.
    Bad,
    /// Less important than its surroundings.
    Faint,
    /// Something to type.
    Code,
}

/// For whom a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// Where and how a command prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    form: Form,
    stdout_color: bool,
    stderr_color: bool,
    stderr_terminal: bool,
}

#[expect(clippy::unused_self, reason = "whoever prints holds the value that knows how")]
impl Output {
    /// An output in the form that the flags, the environment and the terminal ask for.
    pub(crate) fn new(json: bool, color: ColorWhen) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let decide = |terminal: bool| match color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => terminal && !no_color && !dumb,
        };
        let stderr_terminal = io::stderr().is_terminal();
        Self {
            form: if json { Form::Json } else { Form::Text },
            stdout_color: decide(io::stdout().is_terminal()),
            stderr_color: decide(stderr_terminal),
            stderr_terminal: stderr_terminal && !dumb,
        }
    }

    /// Whether JSON was asked for.
    pub(crate) fn json(self) -> bool {
        self.form == Form::Json
    }

    /// Whether somebody watches standard error, so that a progress bar makes sense.
    pub(crate) fn watched(self) -> bool {
        self.stderr_terminal && self.form == Form::Text
    }

    /// Whether standard error shows colours.
    pub(crate) fn stderr_color(self) -> bool {
        self.stderr_color
    }

    /// Writes `text` and a newline to standard output and flushes.
    ///
    /// # Errors
    /// If standard output cannot be written; a closed pipe is a quiet end.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }

    /// Writes `bytes` to standard output as they are and flushes.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }

    /// Writes `value` as one JSON document: in one line into a pipe, indented on a terminal.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn document(self, value: &Value) -> Result<(), Failure> {
        if io::stdout().is_terminal() {
            self.line(&format!("{value:#}"))
        } else {
            self.line(&value.to_string())
        }
    }

    /// Writes a line to standard error. It is a courtesy: if nobody can read it, nothing is lost.
    pub(crate) fn note(self, text: &str) {
        // A closed standard error must not end the work that the note is about.
        writeln!(io::stderr().lock(), "{text}").ok();
    }

    /// Writes a table with a header: aligned columns, numbers to the right.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn table(self, header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        self.line(&self.table_text(header, rows))
    }

    /// `text` in `tone`, for standard output.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        painted(self.stdout_color, tone, text)
    }

    /// `text` in `tone`, for standard error.
    pub(crate) fn paint_note(self, tone: Tone, text: &str) -> String {
        painted(self.stderr_color, tone, text)
    }

    /// Prints a failure once, at the end: text with a hint, or a JSON object, on standard error.
    pub(crate) fn failure(self, failure: &Failure) {
        if failure.status() == Status::Ok {
            return;
        }
        if self.form == Form::Json {
            let error = json!({ "error": {
                "status": failure.status().word(),
                "exit_code": failure.status() as u8,
                "message": failure.message(),
                "hint": failure.advice(),
            }});
            self.note(&error.to_string());
            return;
        }
        self.note(&format!("{} {}", self.paint_note(Tone::Bad, "error:"), failure.message()));
        if let Some(hint) = failure.advice() {
            self.note(&format!("{}  {hint}", self.paint_note(Tone::Code, "hint:")));
        }
    }

    fn table_text(self, header: &[&str], rows: &[Vec<String>]) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if self.stdout_color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
            .set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
        for row in rows {
            table.add_row(row);
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            let numeric = rows.iter().all(|row| row.get(index).is_some_and(|cell| numeric(cell)));
            if numeric && !rows.is_empty() {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = String::new();
        for line in table.lines() {
            writeln!(text, "{}", line.trim_end()).expect("a String takes every write");
        }
        text.truncate(text.trim_end_matches('\n').len());
        text
    }
}

/// `text` of a stranger, for people: what moves the cursor, breaks the line or changes the direction of writing is shown as
/// its number, so that it cannot be taken for our own words.
pub(crate) fn plain(text: &str) -> String {
    let is_visible = |c: char| {
        let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        !c.is_control() && !hides
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_visible(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

/// Whether a cell reads as a quantity: it starts with a digit and ends with a digit or a unit.
fn numeric(cell: &str) -> bool {
    let mut words = cell.split(' ');
    let number = words.next().unwrap_or_default();
    let digits = number.strip_prefix('-').unwrap_or(number);
    let plain = |c: char| c.is_ascii_digit() || matches!(c, ',' | '.' | '%');
    (cell == "-" || (!digits.is_empty() && digits.chars().all(plain))) && words.count() <= 1
}

fn painted(color: bool, tone: Tone, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Strong => "1",
        Tone::Good => "32",
        Tone::Caution => "33",
        Tone::Bad => "1;31",
        Tone::Faint => "2",
        Tone::Code => "36",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Output = Output {
        form: Form::Text,
        stdout_color: false,
        stderr_color: false,
        stderr_terminal: false,
    };

    #[test]
    fn a_table_aligns_words_left_and_numbers_right() {
        let rows = [
            vec!["access".to_owned(), "1,200".to_owned(), "4.00 MB".to_owned()],
            vec!["a".to_owned(), "3".to_owned(), "12 B".to_owned()],
        ];
        assert_eq!(
            PLAIN.table_text(&["NAME", "RECORDS", "SIZE"], &rows),
            "NAME    RECORDS     SIZE\naccess    1,200  4.00 MB\na             3     12 B"
        );
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        assert_eq!(PLAIN.table_text(&["NAME", "SIZE"], &[]), "NAME  SIZE");
    }

    #[test]
    fn colour_is_added_only_where_asked() {
        assert_eq!(painted(false, Tone::Bad, "x"), "x");
        assert_eq!(painted(true, Tone::Good, "x"), "\u{1b}[32mx\u{1b}[0m");
    }

    #[test]
    fn a_strangers_text_cannot_be_taken_for_our_own_words() {
        assert_eq!(plain("Bericht über 1 % \"Müll\" \\ 報告"), "Bericht über 1 % \"Müll\" \\ 報告");
        assert_eq!(
            plain("a\nb\x1b[2J\u{202e}c\u{2028}d"),
            "a\\u{a}b\\u{1b}[2J\\u{202e}c\\u{2028}d"
        );
    }
}
