//! Every run in a table, with all that was written down about it behind a click.

use std::fmt::Write as _;

use super::markup::{definitions, escape};
use super::{group, letter};
use crate::compare::{Measure, Quantile};
use crate::result::{MemoryBudget, ResultFile, Run};
use crate::words;

/// Runs in the table: some hundred are more than anybody reads.
const ROWS_MAX: usize = 400;

/// Columns of the table.
const HEAD: [&str; 14] = [
    "scenario",
    "run",
    "seconds",
    "records",
    "records/s",
    "bytes/s",
    "p50",
    "p99",
    "p99.9",
    "max",
    "errors",
    "retries, waits",
    "CPU for a million",
    "memory",
];

/// The section; empty without runs.
pub(super) fn html(files: &[ResultFile]) -> String {
    let all_scenarios = group::scenarios(files);
    let mut all: Vec<_> = files
        .iter()
        .enumerate()
        .flat_map(|(at, file)| file.runs.iter().map(move |run| (at, run)))
        .collect();
    if all.is_empty() {
        return String::new();
    }
    // Repetitions of a scenario next to each other, and files below each other.
    all.sort_by_key(|(file, run)| {
        let scenario = all_scenarios.iter().position(|name| *name == run.scenario);
        (scenario, run.repetition, *file)
    });
    let mut html = String::from("<section id=\"runs\"><h2>Every run</h2>");
    if all.len() > ROWS_MAX {
        write!(html, "<p>The first {ROWS_MAX} of {} runs.</p>", all.len())
            .expect("a string takes all");
    }
    html.push_str("<div class=\"wide\" tabindex=\"0\"><table><thead><tr>");
    for head in HEAD {
        write!(html, "<th scope=\"col\">{head}</th>").expect("a string takes all");
    }
    html.push_str("</tr></thead><tbody>");
    for (file, run) in all.into_iter().take(ROWS_MAX) {
        html.push_str(&row(run, &letter(file, files)));
    }
    html.push_str("</tbody></table></div></section>");
    html
}

fn row(run: &Run, letter: &str) -> String {
    let mut html = String::new();
    let class = if run.invalid.is_some() { " class=\"invalid\"" } else { "" };
    write!(html, "<tr{class}><th scope=\"row\">{letter}{}", escape(&run.scenario))
        .expect("a string takes all");
    if run.invalid.is_some() {
        html.push_str(" <mark>invalid</mark>");
    }
    html.push_str("</th>");
    for cell in cells(run) {
        write!(html, "<td>{}</td>", escape(&cell)).expect("a string takes all");
    }
    write!(html, "</tr><tr{class}><td class=\"more\" colspan=\"{}\">", HEAD.len())
        .expect("a string takes all");
    if let Some(reason) = &run.invalid {
        write!(html, "<p class=\"why\">Must not be used: {}</p>", escape(reason))
            .expect("a string takes all");
    }
    html.push_str(&details(run));
    html.push_str("</td></tr>");
    html
}

fn cells(run: &Run) -> [String; HEAD.len() - 1] {
    let words_of = |measure: Measure| {
        measure.value(run).map_or("–".to_owned(), |value| measure.words(value))
    };
    let main =
        ["ack", "end-to-end", "fetch"].into_iter().find(|name| run.latency.contains_key(*name));
    let main = main.or_else(|| run.latency.keys().next().map(String::as_str)).unwrap_or_default();
    let latency = |quantile| words_of(Measure::Latency { name: main.to_owned(), quantile });
    let totals = &run.totals;
    let errors = totals.errors.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    [
        format!(
            "{}, {}",
            u64::from(run.repetition) + 1,
            if run.open_loop { "open" } else { "closed" }
        ),
        format!("{:.1}", run.measured_seconds),
        words::count(totals.records),
        words_of(Measure::RecordRate),
        words_of(Measure::ByteRate),
        latency(Quantile::P50),
        latency(Quantile::P99),
        latency(Quantile::P999),
        latency(Quantile::Max),
        words::count(errors),
        format!("{}, {}", words::count(totals.retries), words::count(totals.waits)),
        words_of(Measure::ServerCpu),
        words::memory(run),
    ]
}

/// The parts of a budget.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn budget_words(budget: &MemoryBudget) -> String {
    let parts = [
        ("buffers", budget.buffers),
        ("appends in flight", budget.in_flight),
        ("fetched", budget.fetched),
        ("tails", budget.tails),
        ("records in memory", budget.records),
        ("fixed", budget.fixed),
    ];
    let parts = parts.map(|(name, bytes)| format!("{name} {}", words::bytes(bytes as f64)));
    format!("{}: {}", words::bytes(budget.total() as f64), parts.join(", "))
}

fn details(run: &Run) -> String {
    let mut rows: Vec<(String, String)> = run.facts.clone();
    let totals = &run.totals;
    rows.push((
        "loop".to_owned(),
        if run.open_loop {
            "open: latency counts from the intended start".to_owned()
        } else {
            "closed: latency counts from the request".to_owned()
        },
    ));
    rows.push(("offered".to_owned(), format!("{} records", words::count(totals.offered_records))));
    rows.push(("batches".to_owned(), words::count(totals.batches)));
    for (name, count) in &totals.errors {
        rows.push((format!("error {name}"), words::count(*count)));
    }
    for (name, latency) in &run.latency {
        let quantiles = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
            .map(|quantile| words::duration(latency.at(quantile)))
            .join(" / ");
        rows.push((
            format!("{name} latency"),
            format!(
                "{} values, {} to {}, mean {}; p50 / p90 / p99 / p99.9 / p99.99 / p99.999: {quantiles}",
                words::count(latency.count),
                words::duration(latency.min),
                words::duration(latency.max),
                words::nanoseconds(latency.mean)
            ),
        ));
    }
    for (name, used) in [("server", run.server.as_ref()), ("generator", Some(&run.generator))] {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let text = used.map_or("was not seen".to_owned(), |used| {
            format!(
                "{:.2} s of processor time, busiest thread {}, memory {}, {} context switches",
                used.cpu_seconds,
                words::percent(used.busiest_thread),
                words::bytes(used.rss_bytes_max as f64),
                words::count(used.context_switches)
            )
        });
        rows.push((name.to_owned(), text));
    }
    if let Some(budget) = &run.memory {
        rows.push(("memory budget".to_owned(), budget_words(budget)));
    }
    for share in &run.shares {
        let measure = Measure::Share(share.ceiling);
        rows.push((measure.to_string(), measure.words(share.ratio)));
    }
    format!(
        "<details><summary>facts and scenario</summary>{}<pre>{}</pre></details>",
        definitions(rows.iter().map(|(name, text)| (name.as_str(), text.as_str()))),
        escape(&run.toml)
    )
}
