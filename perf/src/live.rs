//! What is seen while it runs, on standard error: a line that is redrawn on a terminal, a line a second elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _, stderr};

use crate::quantity::to_f64;
use crate::result::{Latency, Second};
use crate::words;

/// Time after the end of a second until all threads have told of it.
const SETTLE_NS: u64 = 250_000_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Silent,
    Lines,
    Redrawn,
}

/// The view.
#[derive(Debug)]
pub(crate) struct Live {
    mode: Mode,
    /// What is being measured.
    title: String,
    /// Seconds shown.
    shown: usize,
    warming: bool,
    drawn: bool,
}

impl Live {
    /// One that shows nothing.
    pub(crate) fn silent() -> Self {
        Self { mode: Mode::Silent, title: String::new(), shown: 0, warming: false, drawn: false }
    }

    /// One that shows what it is given, in the form that fits standard error.
    pub(crate) fn new(quiet: bool) -> Self {
        let mode = match quiet {
            true => Mode::Silent,
            false if stderr().is_terminal() => Mode::Redrawn,
            false => Mode::Lines,
        };
        Self { mode, ..Self::silent() }
    }

    /// Something else is measured from now on.
    pub(crate) fn title(&mut self, title: &str) {
        title.clone_into(&mut self.title);
        (self.shown, self.warming) = (0, false);
    }

    /// A line of its own.
    pub(crate) fn note(&mut self, text: &str) {
        self.end();
        if self.mode != Mode::Silent {
            // A view that cannot be written is not seen; the measurement goes on.
            writeln!(stderr().lock(), "{}: {text}", self.title).ok();
        }
    }

    /// Shows the seconds that are over at `now_ns`, of which the measured ones begin at `start_ns`.
    pub(crate) fn second(
        &mut self,
        now_ns: u64,
        start_ns: u64,
        seconds: &BTreeMap<usize, (Second, Latency)>,
    ) {
        if self.mode == Mode::Silent {
            return;
        }
        if now_ns < start_ns {
            if !self.warming {
                self.warming = true;
                self.draw("warming up");
            }
            return;
        }
        let over = now_ns.saturating_sub(start_ns + SETTLE_NS) / 1_000_000_000;
        while (self.shown as u64) < over {
            let nothing = (Second::default(), Latency::default());
            let (counts, latency) = seconds.get(&self.shown).unwrap_or(&nothing);
            self.shown += 1;
            let line = line(self.shown, counts, latency);
            self.draw(&line);
        }
    }

    /// The run has ended: what comes next is written below.
    pub(crate) fn end(&mut self) {
        if self.drawn {
            writeln!(stderr().lock()).ok();
        }
        (self.drawn, self.shown, self.warming) = (false, 0, false);
    }

    fn draw(&mut self, text: &str) {
        let mut out = stderr().lock();
        // As above.
        if self.mode == Mode::Redrawn {
            write!(out, "\r\u{1b}[K{}: {text}", self.title).ok();
            self.drawn = true;
        } else {
            writeln!(out, "{}: {text}", self.title).ok();
        }
        out.flush().ok();
    }
}

fn line(second: usize, counts: &Second, latency: &Latency) -> String {
    let rates = format!(
        "{second:>3} s  {:>7} records/s  {:>8}/s",
        words::many(to_f64(counts.records)).trim_end(),
        words::bytes(to_f64(counts.bytes))
    );
    let at = |quantile| words::duration(latency.at(quantile));
    let latencies = (latency.count > 0)
        .then(|| format!("  p50 {:>7}  p99 {:>7}  max {:>7}", at(0.5), at(0.99), at(1.0)));
    let errors = (counts.errors > 0).then(|| format!("  {} errors", counts.errors));
    [Some(rates), latencies, errors].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are joined to their units by spaces that do not break.
    fn plain(line: &str) -> String {
        line.replace(|c: char| c.is_whitespace(), " ")
    }

    #[test]
    fn a_second_without_answers_is_a_line_too() {
        let line = plain(&line(3, &Second::default(), &Latency::default()));
        assert_eq!(line, "  3 s        0 records/s       0 B/s");
    }

    #[test]
    fn rates_latencies_and_errors_are_in_the_line() {
        let counts =
            Second { records: 1_500_000, bytes: 1_536_000_000, errors: 2, ..Second::default() };
        let latency =
            Latency { count: 1, min: 93_000, max: 93_000, mean: 0.0, buckets: vec![(93_000, 1)] };
        let line = plain(&line(12, &counts, &latency));
        for part in ["12 s", "1.50 M records/s", "1.54 GB/s", "p50 93.0 µs", "2 errors"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
