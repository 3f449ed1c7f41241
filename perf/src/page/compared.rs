//! The first file beside each other one: ratios with their intervals, and what they show.

use std::fmt::Write as _;

use super::letter;
use super::markup::escape;
use crate::compare::{Compared, Comparison, Scenario, Verdict, compare};
use crate::result::ResultFile;
use crate::statistics::PAIRS_MIN;
use crate::words;

/// The axis of ratios goes at least this far to both sides of 1, and at most to [`REACH_MAX`].
const REACH_MIN: f64 = 1.25;

/// What is farther than this is at the end of the axis.
const REACH_MAX: f64 = 8.0;

/// A section for each file after the first.
pub(super) fn html(files: &[ResultFile]) -> String {
    let mut html = String::new();
    let Some((first, others)) = files.split_first() else { return html };
    for (at, other) in others.iter().enumerate() {
        let comparison = compare(first, other);
        let (a, b) = (letter(0, files), letter(at + 1, files));
        write!(html, "<section><h2>{} beside {}</h2>", b.trim(), a.trim())
            .expect("a string takes all");
        html.push_str(&section(&comparison, (a.trim(), b.trim())));
        html.push_str("</section>");
    }
    html
}

fn section(comparison: &Comparison, letters: (&str, &str)) -> String {
    let mut html = String::from(
        "<p>Repetitions in pairs: the median ratio, its 95 % interval from resampled pairs, and p of the exact \
         signed-rank test.</p>",
    );
    if !comparison.warnings.is_empty() {
        html.push_str("<ul class=\"warnings\">");
        for warning in &comparison.warnings {
            write!(html, "<li>{}</li>", escape(warning)).expect("a string takes all");
        }
        html.push_str("</ul>");
    }
    for (at, scenario) in comparison.scenarios.iter().enumerate() {
        let open = if at == 0 { " open" } else { "" };
        write!(
            html,
            "<details{open}><summary>{} <small>{}</small></summary>{}</details>",
            escape(&scenario.name),
            summary(scenario),
            table(scenario, letters)
        )
        .expect("a string takes all");
    }
    html
}

/// What is better and what is worse, in few words.
fn summary(scenario: &Scenario) -> String {
    let count = |better| {
        scenario.measures.iter().filter(|compared| compared.verdict.better() == better).count()
    };
    let mut parts = Vec::new();
    for (better, word) in [(Some(true), "better"), (Some(false), "worse")] {
        if count(better) > 0 {
            parts.push(format!("{} {word}", count(better)));
        }
    }
    match (parts.is_empty(), scenario.lacks_pairs()) {
        (false, _) => parts.join(", "),
        (true, true) => Verdict::TooFewRepetitions.word().to_owned(),
        (true, false) => Verdict::NoDifferenceShown.word().to_owned(),
    }
}

fn table(scenario: &Scenario, (a, b): (&str, &str)) -> String {
    let far = scenario
        .measures
        .iter()
        .flat_map(|compared| [compared.paired.ratio, 1.0 / compared.paired.ratio])
        .fold(REACH_MIN, f64::max);
    let reach = (far * 1.05).min(REACH_MAX);
    let mut html = format!(
        "<div class=\"wide\" tabindex=\"0\"><table class=\"compared\"><thead><tr><th></th><th>{a}</th><th>{b}</th>\
         <th>{b} / {a}</th><th class=\"axis\"><span>{}</span><span>1</span><span>{}</span></th><th></th></tr></thead><tbody>",
        words::ratio(1.0 / reach),
        words::ratio(reach)
    );
    for compared in &scenario.measures {
        html.push_str(&row(compared, reach));
    }
    html.push_str("</tbody></table></div>");
    html
}

fn row(compared: &Compared, reach: f64) -> String {
    let paired = &compared.paired;
    let place = |ratio: f64| (0.5 + ratio.ln() / reach.ln() / 2.0).clamp(0.0, 1.0) * 100.0;
    let enough = paired.pairs >= PAIRS_MIN;
    let (low, high) = if enough { (paired.low, paired.high) } else { (paired.ratio, paired.ratio) };
    let class = match compared.verdict.better() {
        Some(true) => "better",
        Some(false) => "worse",
        None => "same",
    };
    let says = if enough {
        format!("{} to {}, p {}", words::ratio(low), words::ratio(high), words::chance(paired.p))
    } else {
        format!("{} pairs", paired.pairs)
    };
    format!(
        "<tr class=\"{class}\"><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"axis\" title=\"{}\">\
         <i style=\"left:{:.1}%;width:{:.1}%\"></i><b style=\"left:{:.1}%\"></b></td><td>{} <small>{}</small></td></tr>",
        escape(&compared.measure.to_string()),
        escape(&compared.measure.words(compared.first)),
        escape(&compared.measure.words(compared.second)),
        words::ratio(paired.ratio),
        escape(&says),
        place(low),
        place(high) - place(low),
        place(paired.ratio),
        compared.verdict.word(),
        escape(&says)
    )
}
