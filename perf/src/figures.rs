//! Figures that come in rounds: a sample of each from every round, and medians of the ratios of two, round by round.

use std::path::Path;

use serde::Serialize;

use crate::bench::Form;
use crate::failure::Failure;
use crate::statistics::{median, spread};
use crate::summary;

/// A figure: a sample from each round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// What was done.
    name: &'static str,
    /// Unit of the samples.
    unit: &'static str,
    /// In the order of the rounds.
    samples: Vec<f64>,
    /// The figure it is compared with, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'static str>,
    /// What the issue asks for, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<&'static str>,
}

/// The figures so far, by name.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    all: Vec<Figure>,
}

impl Figures {
    /// Adds the sample of a round.
    pub(crate) fn add(&mut self, name: &'static str, unit: &'static str, sample: f64) {
        if let Some(figure) = self.all.iter_mut().find(|figure| figure.name == name) {
            figure.samples.push(sample);
            return;
        }
        let samples = vec![sample];
        self.all.push(Figure { name, unit, samples, against: None, aim: None });
    }

    /// Says what a figure is compared with and what it should reach.
    pub(crate) fn judge(
        &mut self,
        name: &str,
        against: Option<&'static str>,
        aim: Option<&'static str>,
    ) {
        for figure in self.all.iter_mut().filter(|figure| figure.name == name) {
            (figure.against, figure.aim) = (against, aim);
        }
    }

    /// Medians of the ratios of a figure to the one that it is compared with, round by round.
    fn ratio(&self, figure: &Figure) -> Option<f64> {
        let other = self.all.iter().find(|other| Some(other.name) == figure.against)?;
        let ratios = figure.samples.iter().zip(&other.samples).map(|(ours, theirs)| ours / theirs);
        median(&ratios.collect::<Vec<f64>>())
    }

    fn line(&self, figure: &Figure) -> Option<String> {
        let middle = median(&figure.samples)?;
        let spread = spread(&figure.samples).unwrap_or_default() * 100.0;
        let compared = match (self.ratio(figure), figure.against) {
            (Some(ratio), Some(against)) => format!("   {ratio:.2} x {against}"),
            _ => String::new(),
        };
        let aim = figure.aim.map_or_else(String::new, |aim| format!("   (aim: {aim})"));
        let Figure { name, unit, .. } = figure;
        let middle = short(middle);
        Some(format!("{name:<28} {middle:>10} {unit:<10} spread {spread:>3.0} %{compared}{aim}"))
    }

    /// Prints them: a line each, or one JSON document.
    ///
    /// # Errors
    /// If standard output does not take it.
    pub(crate) fn show(&self, parent: &Path, form: Form) -> Result<(), Failure> {
        if form == Form::Json {
            let document = serde_json::json!({ "figures": self.all });
            return summary::print(&document.to_string());
        }
        let lines: Vec<String> = self.all.iter().filter_map(|figure| self.line(figure)).collect();
        let place = parent.display();
        summary::print(&format!("{}\n\nfiles in {place}; medians over rounds", lines.join("\n")))
    }
}

/// A number as people read it: three digits or more.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e9 => format!("{:.2} G", value / 1e9),
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e4 => format!("{:.1} k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let mut figures = Figures::default();
        for (ours, theirs) in [(2.0, 1.0), (30.0, 10.0), (400.0, 100.0)] {
            figures.add("theirs", "us", theirs);
            figures.add("ours", "us", ours);
        }
        figures.judge("ours", Some("theirs"), Some("at most 4 x"));
        let ours = figures.all.iter().find(|figure| figure.name == "ours").unwrap();
        assert_eq!(figures.ratio(ours), Some(3.0));
        let line = figures.line(ours).unwrap();
        assert!(line.contains("3.00 x theirs") && line.contains("(aim: at most 4 x)"), "{line}");
    }

    #[test]
    fn figures_are_shown_with_three_digits() {
        let shown = [1_234_567_890.0, 2_500_000.0, 12_345.0, 950.4, 3.217].map(short);
        assert_eq!(shown, ["1.23 G", "2.50 M", "12.3 k", "950", "3.22"]);
    }
}
