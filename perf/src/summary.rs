//! What is printed and written at the end: a table for people, `result.json`, `report.html`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::args::{CompareArgs, PlaceArgs, ReportArgs};
use crate::bench::Form;
use crate::failure::Failure;
use crate::quantity::to_f64;
use crate::result::{Latency, ResultFile, Run};
use crate::{bottleneck, compare, page, result_file, store, words};

/// Folder of results that were not given one.
const RESULTS: &str = "pyralog-bench-results";

/// Prints to standard output. A reader that went away, as `head` does, is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::from),
    }
}

/// Writes a result and says where; prints its summary.
///
/// # Errors
/// If it cannot be written, or the numbers of a run must not be used.
pub(crate) fn write(file: &ResultFile, place: &PlaceArgs, form: Form) -> Result<(), Failure> {
    let folder = place.out.clone().unwrap_or_else(|| default_folder(file.began_us));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the directory {}", folder.display()))?;
    let json = serde_json::to_string(file).context("a result can be written as JSON")?;
    let result = folder.join("result.json");
    std::fs::write(&result, &json).with_context(|| format!("cannot write {}", result.display()))?;
    let page = folder.join("report.html");
    std::fs::write(&page, page::html(std::slice::from_ref(file)))
        .with_context(|| format!("cannot write {}", page.display()))?;
    let mut written = vec![result, page];
    if let Some(store) = &place.store {
        keep(file, store)?;
        written.push(store.clone());
    }
    if form == Form::Json {
        print(&json)?;
    } else {
        let names: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
        print(&format!("{}\n\n{}", text(file), names.join("\n")))?;
    }
    let invalid: Vec<String> = file
        .runs
        .iter()
        .filter_map(|run| run.invalid.as_ref().map(|why| format!("{}: {why}", run.scenario)))
        .collect();
    if invalid.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(anyhow::anyhow!("not every number may be used: {}", invalid.join("; "))))
}

/// Writes the form of a result that is kept.
fn keep(file: &ResultFile, path: &Path) -> anyhow::Result<()> {
    let json = serde_json::to_string(&store::compact(file)).context("a result is JSON")?;
    std::fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// `bench compare`.
pub(crate) fn compare(args: &CompareArgs, form: Form) -> Result<(), Failure> {
    let comparison = compare::compare(&read(&args.first)?, &read(&args.second)?);
    match form {
        Form::Text => print(comparison.to_string().trim_end()),
        Form::Json => print(
            &serde_json::to_string(&comparison).context("a comparison can be written as JSON")?,
        ),
    }
}

/// `bench report`.
pub(crate) fn report(args: &ReportArgs, form: Form) -> Result<(), Failure> {
    if args.files.len() > page::FILES_MAX {
        let most = page::FILES_MAX;
        return Err(Failure::Usage(format!("a page shows at most {most} results")));
    }
    let files: Vec<ResultFile> =
        args.files.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let shown = args.out.display();
    std::fs::write(&args.out, page::html(&files))
        .with_context(|| format!("cannot write {shown}"))?;
    match form {
        Form::Text => print(&shown.to_string()),
        Form::Json => print(&serde_json::json!({ "report": shown.to_string() }).to_string()),
    }
}

fn read(path: &Path) -> Result<ResultFile, Failure> {
    result_file::read(path).map_err(|error| Failure::Usage(error.to_string()))
}

/// A folder of its own for each call.
fn default_folder(began_us: i64) -> PathBuf {
    let (date, seconds) = (words::date(began_us), began_us.div_euclid(1_000_000).rem_euclid(60));
    let name: String = date.trim_end_matches(" UTC").replace(' ', "T").replace(':', "");
    Path::new(RESULTS).join(format!("{name}{seconds:02}Z"))
}

/// The summary.
fn text(file: &ResultFile) -> String {
    let mut lines = vec![place(file)];
    if !file.ceilings.is_empty() {
        lines.push(String::new());
        lines.push(crate::ceiling::table(&file.ceilings).trim_end().to_owned());
    }
    if !file.runs.is_empty() {
        lines.push(String::new());
        lines.push(table(&file.runs));
    }
    for name in names(&file.runs) {
        let runs: Vec<&Run> = file.runs.iter().filter(|run| run.scenario == name).collect();
        if let Some(sentence) = bottleneck::sentence(&runs) {
            lines.push(format!("{name}: {sentence}"));
        }
        for run in runs {
            lines.extend(trouble(run));
        }
    }
    lines.join("\n")
}

fn place(file: &ResultFile) -> String {
    let environment = &file.environment;
    format!(
        "pyralog {} ({} build) on {}, {}, {}; server on CPUs {:?}, load on {:?}",
        environment.version,
        environment.profile,
        environment.cpu,
        environment.kernel,
        environment.filesystem,
        environment.server_cpus,
        environment.load_cpus
    )
}

/// Names of scenarios in the order in which they ran.
fn names(runs: &[Run]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        if !names.contains(&run.scenario.as_str()) {
            names.push(&run.scenario);
        }
    }
    names
}

const HEADER: [&str; 10] = [
    "SCENARIO",
    "RECORDS/S",
    "BYTES/S",
    "P50",
    "P99",
    "P99.9",
    "MAX",
    "SERVER CPU",
    "MEMORY",
    "OF CEILING",
];

fn table(runs: &[Run]) -> String {
    let mut rows: Vec<Vec<String>> = vec![HEADER.map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(row));
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let first = format!("{:<width$}", row[0], width = widths[0]);
        let rest = row.iter().zip(&widths).skip(1).map(|(cell, width)| format!("  {cell:>width$}"));
        let line: String = std::iter::once(first).chain(rest).collect();
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn row(run: &Run) -> Vec<String> {
    let nothing = Latency::default();
    let latency = latency(run).unwrap_or(&nothing);
    let at = |quantile| {
        if latency.count == 0 { "-".to_owned() } else { words::duration(latency.at(quantile)) }
    };
    let server = run.server.as_ref().map_or_else(
        || "-".to_owned(),
        |server| format!("{:.0} %", 100.0 * server.cpu_seconds / run.measured_seconds),
    );
    let share = run.shares.first().map_or_else(
        || "-".to_owned(),
        |share| {
            let name = words::ceiling(share.ceiling);
            if share.ceiling.unit() == crate::result::Unit::Nanoseconds {
                format!("{:.2}x {name}", share.ratio)
            } else {
                format!("{:.0} % of {name}", 100.0 * share.ratio)
            }
        },
    );
    vec![
        if run.invalid.is_some() {
            format!("{} (invalid)", run.scenario)
        } else {
            run.scenario.clone()
        },
        words::many(to_f64(run.totals.records) / run.measured_seconds),
        words::bytes(to_f64(run.totals.bytes) / run.measured_seconds),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        server,
        words::memory(run),
        share,
    ]
}

/// The latency that a run is about.
fn latency(run: &Run) -> Option<&Latency> {
    ["end-to-end", "ack", "fetch"].into_iter().find_map(|name| run.latency.get(name))
}

/// What went wrong in a run.
fn trouble(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    let errors: Vec<String> =
        run.totals.errors.iter().map(|(code, count)| format!("{count} x {code}")).collect();
    if !errors.is_empty() {
        lines.push(format!("{}: errors: {}", run.scenario, errors.join(", ")));
    }
    if let Some((used, budget)) = run.memory_of_budget().filter(|(used, budget)| used > budget) {
        lines.push(format!(
            "{}: the server held {}, more than the {} that it may",
            run.scenario,
            words::bytes(to_f64(used)),
            words::bytes(to_f64(budget))
        ));
    }
    if run.totals.retries > 0 || run.totals.waits > 0 {
        let (retries, waits) = (run.totals.retries, run.totals.waits);
        lines.push(format!(
            "{}: {retries} batches sent again, {waits} waits for room",
            run.scenario
        ));
    }
    lines
}
