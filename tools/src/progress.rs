//! Live progress on standard error: a bar on a terminal, a plain line every few seconds elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::limits::PROGRESS_LINE_SECONDS;
use crate::output::Output;
use crate::quantity::{bytes_human, count_human, rate_human};
use crate::stopwatch::Stopwatch;

/// Progress of one piece of work, counted in records and bytes.
#[derive(Debug)]
pub(crate) struct Progress {
    output: Output,
    title: String,
    shown: Shown,
    watch: Stopwatch,
    total: Option<u64>,
    last: Duration,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// Starts progress towards `total` (records, or bytes of input; unknown = a spinner). Nothing is
    /// shown when `quiet` or when JSON was asked for.
    pub(crate) fn start(output: Output, title: &str, total: Option<u64>, quiet: bool) -> Self {
        let shown = if quiet || output.json() {
            Shown::Nothing
        } else if output.watched() {
            Shown::Bar(bar(title, total))
        } else {
            Shown::Lines
        };
        let watch = Stopwatch::start();
        Self { output, title: title.to_owned(), shown, watch, total, last: Duration::ZERO }
    }

    /// Tells where the work is: `done` towards the total, and records and bytes for the rate.
    pub(crate) fn at(&mut self, done: u64, records: u64, bytes: u64) {
        if matches!(self.shown, Shown::Nothing) {
            return;
        }
        let elapsed = self.watch.elapsed();
        let every = match self.shown {
            Shown::Bar(_) => Duration::from_millis(80),
            _ => Duration::from_secs(PROGRESS_LINE_SECONDS),
        };
        if elapsed < self.last + every {
            return;
        }
        self.last = elapsed;
        let rate = rates(records, bytes, elapsed);
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(format!("{} records  {rate}", count_human(records)));
            }
            Shown::Lines => {
                let share = self.total.map_or(String::new(), |total| percent(done, total));
                let records = count_human(records);
                self.output.note(&format!("{}: {share}{records} records, {rate}", self.title));
            }
            Shown::Nothing => {}
        }
    }

    /// Ends it, leaving nothing on the screen, and returns the time it took.
    pub(crate) fn finish(self) -> Duration {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
        self.watch.elapsed()
    }
}

/// `1,200,000 records/s, 210 MB/s`.
pub(crate) fn rates(records: u64, bytes: u64, elapsed: Duration) -> String {
    let records = count_human(rate_human(records, elapsed));
    format!("{records} records/s, {}/s", bytes_human(rate_human(bytes, elapsed)))
}

fn percent(done: u64, total: u64) -> String {
    let share = u128::from(done.min(total)) * 100 / u128::from(total.max(1));
    format!("{share} %, ")
}

fn bar(title: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "  {prefix:<14} {bar:28.cyan/dim} {percent:>3} %  {msg}")
        }
        None => (ProgressBar::new_spinner(), "  {prefix:<14} {spinner:.cyan} {msg}"),
    };
    let style = ProgressStyle::with_template(template)
        .expect("the template is valid: every run on a terminal uses it")
        .progress_chars("━╸─");
    bar.set_style(style);
    bar.set_prefix(title.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_templates_of_the_bar_are_valid() {
        bar("ingest", Some(10)).finish_and_clear();
        bar("ingest", None).finish_and_clear();
    }

    #[test]
    fn rates_are_per_second() {
        let text = rates(3_000_000, 512_000_000, Duration::from_secs(2));
        assert_eq!(text, "1,500,000 records/s, 256 MB/s");
        assert_eq!(percent(5, 0), "100 %, ".replace("100", "0"));
        assert_eq!(percent(5, 20), "25 %, ");
    }
}
