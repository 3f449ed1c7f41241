//! A comparison as a table for a terminal.

use std::fmt::{self, Write as _};

use super::{CeilingMoved, Compared, Comparison, Verdict};
use crate::statistics::PAIRS_MIN;
use crate::words;

/// Columns of a table; the first is aligned to the left, and so is the last.
const COLUMNS: usize = 6;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "A  {}\nB  {}", self.first, self.second)?;
        for scenario in &self.scenarios {
            let pairs = scenario.measures.iter().map(|compared| compared.paired.pairs).max();
            writeln!(f, "\n{} ({} pairs)", scenario.name, pairs.unwrap_or(0))?;
            let head = ["", "A", "B", "B / A", "95 % interval", ""].map(str::to_owned);
            let rows = scenario.measures.iter().map(row);
            table(f, &std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
        }
        if !self.ceilings.is_empty() {
            writeln!(f, "\nceilings")?;
            let head = ["", "A", "B", "B / A", "spread", ""].map(str::to_owned);
            let rows = self.ceilings.iter().map(ceiling_row);
            table(f, &std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
        }
        if !self.warnings.is_empty() {
            writeln!(f)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

fn row(compared: &Compared) -> [String; COLUMNS] {
    let paired = &compared.paired;
    let interval = if paired.pairs < PAIRS_MIN {
        String::new()
    } else {
        format!("{} .. {}", words::ratio(paired.low), words::ratio(paired.high))
    };
    let verdict = match compared.verdict {
        Verdict::TooFewRepetitions => compared.verdict.word().to_owned(),
        verdict => format!("{} (p {})", verdict.word(), words::chance(paired.p)),
    };
    [
        compared.measure.to_string(),
        compared.measure.words(compared.first),
        compared.measure.words(compared.second),
        words::ratio(paired.ratio),
        interval,
        verdict,
    ]
}

fn ceiling_row(moved: &CeilingMoved) -> [String; COLUMNS] {
    let unit = moved.name.unit();
    [
        words::ceiling(moved.name).to_owned(),
        words::quantity(moved.first, unit),
        words::quantity(moved.second, unit),
        words::ratio(moved.ratio),
        moved.spread.map(words::percent).unwrap_or_default(),
        String::new(),
    ]
}

fn table(f: &mut fmt::Formatter<'_>, rows: &[[String; COLUMNS]]) -> fmt::Result {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = String::from(" ");
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            line.push(' ');
            // Texts stand at the left, numbers at the right.
            if at == 0 || at == COLUMNS - 1 {
                write!(line, "{cell:<width$}")?;
            } else {
                write!(line, " {cell:>width$}")?;
            }
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}
