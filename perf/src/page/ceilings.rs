//! What the machine allows, and how much of it each scenario reaches, as bars.

use std::fmt::Write as _;

use super::group::Group;
use super::letter;
use super::markup::escape;
use crate::compare::Measure;
use crate::result::{Ceiling, ResultFile, Unit};
use crate::statistics::{median, spread};
use crate::words;

/// A result beside a ceiling.
struct Bar {
    name: String,
    file: usize,
    ratio: f64,
}

/// One block for each ceiling that something was held against, and a table of the others. Empty without ceilings.
pub(super) fn html(groups: &[Group], files: &[ResultFile]) -> String {
    let (mut blocks, mut others) = (String::new(), String::new());
    for ceiling in files.iter().flat_map(|file| &file.ceilings) {
        let known = &files
            .iter()
            .find_map(|file| file.ceilings.iter().find(|known| known.name == ceiling.name));
        // Every ceiling once, where the first file has it.
        if !known.is_some_and(|known| std::ptr::eq(known, ceiling)) {
            continue;
        }
        let bars = bars(groups, files, ceiling);
        let head = head(ceiling, files);
        if bars.is_empty() {
            write!(others, "<div class=\"ceiling\">{head}</div>").expect("a string takes all");
        } else {
            let drawn = draw(&bars, ceiling.name.unit() == Unit::Nanoseconds);
            write!(blocks, "<div class=\"ceiling\">{head}{drawn}</div>")
                .expect("a string takes all");
        }
    }
    if blocks.is_empty() && others.is_empty() {
        return String::new();
    }
    if !others.is_empty() {
        let name = if blocks.is_empty() { "Ceilings" } else { "Other ceilings" };
        others = format!("<h3>{name}</h3><div class=\"others\">{others}</div>");
    }
    format!(
        "<section id=\"ceilings\"><h2>Against the machine</h2><p>What this machine allows with nothing of Pyralog in the \
         way, measured in the same call, and how much of it each scenario reaches. ± is half the distance of the quartiles \
         of the repetitions.</p>{blocks}{others}</section>"
    )
}

/// Name, value and spread in each file that has it, and how it was measured.
fn head(ceiling: &Ceiling, files: &[ResultFile]) -> String {
    let mut values = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let found = file.ceilings.iter().find(|other| other.name == ceiling.name);
        let Some(found) = found else { continue };
        let Some(middle) = median(&found.samples) else { continue };
        let spread = spread(&found.samples)
            .map(|spread| format!(" <small>±\u{a0}{}</small>", words::percent(spread)));
        values.push(format!(
            "<b>{}{}{}</b>",
            letter(at, files),
            words::quantity(middle, ceiling.name.unit()),
            spread.unwrap_or_default()
        ));
    }
    format!(
        "<h4>{} <span>{}</span></h4><small>{}</small>",
        escape(words::ceiling(ceiling.name)),
        values.join(" "),
        escape(&ceiling.detail)
    )
}

fn bars(groups: &[Group], files: &[ResultFile], ceiling: &Ceiling) -> Vec<Bar> {
    let measure = Measure::Share(ceiling.name);
    groups
        .iter()
        .filter_map(|group| {
            Some(Bar {
                name: format!("{}{}", letter(group.file, files), group.scenario),
                file: group.file,
                ratio: group.value(&measure)?.median,
            })
        })
        .collect()
}

/// Rates fill their ceiling. Latencies are above it, so there the ceiling is the part at the left.
fn draw(bars: &[Bar], latency: bool) -> String {
    let largest = bars.iter().map(|bar| bar.ratio).fold(1.0, f64::max);
    let full = if latency { largest * 1.02 } else { largest };
    let mut html = String::from("<div class=\"bars\">");
    for bar in bars {
        let text = if latency {
            format!("{} ×", words::ratio(bar.ratio))
        } else {
            words::percent(bar.ratio)
        };
        write!(
            html,
            "<span>{}</span><div class=\"bar h{}{}\" role=\"img\" aria-label=\"{text}\"><i style=\"width:{:.1}%\"></i>\
             <u style=\"left:{:.1}%\"></u></div><b>{text}</b>",
            escape(&bar.name),
            bar.file % super::chart::HUES,
            if latency { " floor" } else { "" },
            (bar.ratio / full).clamp(0.0, 1.0) * 100.0,
            100.0 / full
        )
        .expect("a string takes all");
    }
    html.push_str("</div>");
    html
}
