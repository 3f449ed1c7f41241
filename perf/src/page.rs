//! Results as a page: one HTML file that needs no network, to be opened in a browser, printed or shown in a talk.
//!
//! Everything is there without a script: charts are SVG (`chart` says how they fit every screen), the rest is tables. The
//! script adds exact values under the pointer and the arrow keys. Results come from files, which may come from anybody, so
//! every text in them is escaped, and what is too much to draw is thinned or cut and says so.
//!
//! | module | what it shows |
//! |---|---|
//! | `tiles` | the numbers of a talk, and what limits the server |
//! | `percentiles`, `series`, `curve` | charts of latency, of time and of rates |
//! | `ceilings` | results as shares of what the machine allows |
//! | `compared` | a file beside another one |
//! | `runs` | every run with all that is known of it |
//!
//! Colours are those of Okabe and Ito (<https://jfly.uni-koeln.de/color/>), which people with any kind of colour vision
//! tell apart, and no two lines of a chart differ by colour alone.

mod ceilings;
mod chart;
mod compared;
mod curve;
mod group;
mod markup;
mod percentiles;
mod runs;
mod scale;
mod series;
mod tiles;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use group::Group;
use markup::{definitions, escape};

use crate::result::{Environment, ResultFile};
use crate::words;

/// Files that are drawn: more have no colours left.
pub const FILES_MAX: usize = chart::HUES;

/// Series of the main latency chart: a second chart is easier to read than more lines.
const SERIES_MAX: usize = 8;

/// Scenarios with charts of their own.
const SCENARIOS_MAX: usize = 60;

/// What the page is made of. Its markers `{{…}}` come in the order in which [`fill`] fills them.
const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// The page of these results, at most [`FILES_MAX`] of them. With several, each has a letter and is drawn over the others.
#[must_use]
pub fn html(files: &[ResultFile]) -> String {
    let left_out = files.len().saturating_sub(FILES_MAX);
    let files = &files[..files.len() - left_out];
    let groups = group::groups(files);
    let body = [
        header(files),
        warnings(files, left_out),
        tiles::html(&groups, files),
        overview(&groups, files),
        ceilings::html(&groups, files),
        compared::html(files),
        scenarios(&groups, files),
        runs::html(files),
        environments(files),
    ];
    fill(&[&escape(&title(files)), STYLE, &body.concat(), SCRIPT])
}

/// "A ", or nothing if there is only one file.
fn letter(file: usize, files: &[ResultFile]) -> String {
    let letter = char::from(b'A' + u8::try_from(file % 26).unwrap_or(0));
    if files.len() > 1 { format!("{letter} ") } else { String::new() }
}

/// "A: ", or nothing if there is only one file.
fn says(file: usize, files: &[ResultFile]) -> String {
    let letter = letter(file, files);
    if letter.is_empty() { letter } else { format!("{}: ", letter.trim()) }
}

/// Fills the markers in their order. A search for markers by name would also find those in what was filled in.
fn fill(parts: &[&str]) -> String {
    let mut page =
        String::with_capacity(PAGE.len() + parts.iter().map(|part| part.len()).sum::<usize>());
    let mut rest = PAGE;
    for part in parts {
        let (before, after) = rest.split_once("{{").expect("the page has as many markers as parts");
        let (_, after) = after.split_once("}}").expect("a marker ends");
        page.push_str(before);
        page.push_str(part);
        rest = after;
    }
    assert!(!rest.contains("{{"), "a marker of the page is not filled");
    page.push_str(rest);
    page
}

fn title(files: &[ResultFile]) -> String {
    let dates: Vec<_> = files.iter().map(|file| words::date(file.began_us)).collect();
    format!("Pyralog benchmark, {}", dates.join(" and "))
}

fn header(files: &[ResultFile]) -> String {
    let mut html = String::from("<header><h1>Pyralog benchmark</h1>");
    for (at, file) in files.iter().enumerate() {
        let environment = &file.environment;
        let commit = environment.commit.as_deref().unwrap_or("unknown");
        let mut scenarios: Vec<_> = file.runs.iter().map(|run| run.scenario.as_str()).collect();
        scenarios.sort_unstable();
        scenarios.dedup();
        let key = if files.len() > 1 {
            let (look, letter) = (chart::Look { hue: Some(at), dash: at }, letter(at, files));
            format!("<b class=\"key {}\">{}</b>", look.classes(), letter.trim())
        } else {
            String::new()
        };
        write!(
            html,
            "<p>{key}{}, version {}, commit <code>{}</code>: {} of {} on {}, {}, {}.</p>",
            words::date(file.began_us),
            escape(&environment.version),
            escape(commit),
            plural(file.runs.len(), "run"),
            plural(scenarios.len(), "scenario"),
            escape(&environment.cpu),
            escape(&environment.kernel),
            escape(&environment.filesystem)
        )
        .expect("a string takes all");
    }
    html.push_str("</header>");
    html
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What must be known before anything is believed.
fn warnings(files: &[ResultFile], left_out: usize) -> String {
    let mut all = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let letter = says(at, files);
        if file.environment.profile != "release" {
            all.push(format!(
                "{letter}The server was built as {:?}. These numbers say nothing about a release build.",
                file.environment.profile
            ));
        }
        let invalid: Vec<_> = file
            .runs
            .iter()
            .filter_map(|run| {
                let reason = run.invalid.as_ref()?;
                let number = u64::from(run.repetition) + 1;
                Some(format!("{}, repetition {number} ({reason})", run.scenario))
            })
            .collect();
        if !invalid.is_empty() {
            all.push(format!(
                "{letter}{} of {} are invalid, are only in the table and count nowhere: {}.",
                invalid.len(),
                plural(file.runs.len(), "run"),
                invalid.join("; ")
            ));
        }
        for run in &file.runs {
            let above = run.memory_of_budget().filter(|(used, budget)| used > budget);
            if above.is_some() {
                let (scenario, memory) = (&run.scenario, words::memory(run));
                all.push(format!(
                    "{letter}{scenario}: the server held more memory than it may: {memory}."
                ));
            }
        }
        if file.ceilings.is_empty() && !file.runs.is_empty() {
            all.push(format!(
                "{letter}Ceilings were not measured, so nothing says how much the machine would allow."
            ));
        }
    }
    if left_out > 0 {
        all.push(format!(
            "{} more are left out: at most {FILES_MAX} are drawn.",
            plural(left_out, "file")
        ));
    }
    if files.iter().all(|file| file.runs.is_empty()) {
        all.push("There are no runs.".to_owned());
    }
    let items: Vec<_> = all.iter().map(|text| format!("<li>{}</li>", escape(text))).collect();
    if items.is_empty() {
        String::new()
    } else {
        format!("<ul class=\"warnings\">{}</ul>", items.concat())
    }
}

/// The main latency of all scenarios, in as many charts as that needs, and the curves of those with steps.
fn overview(groups: &[Group], files: &[ResultFile]) -> String {
    let of_scenarios = by_scenario(groups);
    let with_latency: Vec<_> = of_scenarios
        .iter()
        .filter(|groups| groups.iter().any(|group| group.main_latency().is_some()))
        .take(SCENARIOS_MAX)
        .collect();
    let together = (SERIES_MAX / files.len().max(1)).max(1);
    let charts: Vec<_> = with_latency
        .chunks(together)
        .enumerate()
        .filter_map(|(at, chunk)| {
            let groups: Vec<&Group> = chunk.iter().flat_map(|groups| groups.iter()).collect();
            let title = if at == 0 { "All scenarios" } else { "All scenarios, continued" };
            percentiles::overview(&groups, files, title.to_owned())
        })
        .collect();
    let mut html = String::new();
    if !charts.is_empty() {
        write!(html, "<section id=\"latency\"><h2>Latency</h2>{}</section>", charts.concat())
            .expect("a string takes all");
    }
    for groups in &of_scenarios {
        let groups: Vec<&Group> = groups.iter().collect();
        if let Some(chart) = curve::chart(&groups, files) {
            let name = groups.first().map(|group| group.scenario).unwrap_or_default();
            write!(
                html,
                "<section><h2>How much, how fast</h2><p>Scenario {}.</p>{chart}</section>",
                escape(name)
            )
            .expect("a string takes all");
        }
    }
    html
}

/// Groups of the same scenario together, in their order.
fn by_scenario<'a, 'b>(groups: &'a [Group<'b>]) -> Vec<&'a [Group<'b>]> {
    groups.chunk_by(|a, b| a.scenario == b.scenario).collect()
}

/// A block with charts for each scenario.
fn scenarios(groups: &[Group], files: &[ResultFile]) -> String {
    let all = by_scenario(groups);
    let mut html = String::new();
    for of_one in all.iter().take(SCENARIOS_MAX) {
        let Some(first) = of_one.first() else { continue };
        write!(html, "<section class=\"scenario\"><h2>{}</h2>", escape(first.scenario))
            .expect("a string takes all");
        if let Some(run) = first.runs.first() {
            let facts = run.facts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            html.push_str(&definitions(facts));
        }
        for group in *of_one {
            html.push_str(&tiles::limit(group, files));
        }
        let of_one: Vec<&Group> = of_one.iter().collect();
        html.push_str("<div class=\"charts\">");
        html.push_str(&percentiles::scenario(&of_one, files).unwrap_or_default());
        html.push_str(&series::charts(&of_one, files).concat());
        html.push_str("</div></section>");
    }
    if all.len() > SCENARIOS_MAX {
        let more = plural(all.len() - SCENARIOS_MAX, "more scenario");
        write!(html, "<p>{more} without charts; their runs are in the table.</p>")
            .expect("a string takes all");
    }
    html
}

/// Where it was measured, and how to measure it again.
fn environments(files: &[ResultFile]) -> String {
    let mut html = String::from("<section id=\"environment\"><h2>Where and how</h2>");
    for (at, file) in files.iter().enumerate() {
        let letter = letter(at, files);
        if !letter.is_empty() {
            write!(html, "<h3>{letter}</h3>").expect("a string takes all");
        }
        html.push_str("<p>To repeat it:</p><pre class=\"command\">");
        html.push_str(&escape(&file.command));
        html.push_str("</pre>");
        html.push_str(&environment(&file.environment));
    }
    html.push_str("</section>");
    html
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn environment(environment: &Environment) -> String {
    let list = |cpus: &[u32]| match cpus {
        [] => "not pinned".to_owned(),
        cpus => cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut rows = vec![
        ("version", environment.version.clone()),
        ("commit", environment.commit.clone().unwrap_or("unknown".to_owned())),
        ("profile", environment.profile.clone()),
        ("kernel", environment.kernel.clone()),
        ("processor", format!("{} × {}", environment.cpus, environment.cpu)),
        ("server on", list(&environment.server_cpus)),
        ("load on", list(&environment.load_cpus)),
        ("memory", words::bytes(environment.memory_bytes as f64)),
        ("file system", environment.filesystem.clone()),
    ];
    for (name, text) in &environment.notes {
        rows.push((name, text.clone()));
    }
    definitions(rows.iter().map(|(name, text)| (*name, text.as_str())))
}
