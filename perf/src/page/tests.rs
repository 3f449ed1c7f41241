//! What a page shows, what it must not, and what it says of what it left out.

use quickcheck::quickcheck;

use super::chart::{Chart, Series, Stop};
use super::markup::{escape, json};
use super::scale::{Scale, count_tick, latency_tick};
use super::{FILES_MAX, fill, html};
use crate::result::{CeilingName, ResultFile, Second};
use crate::sample;

/// A file of one repetition, and after a change.
fn page_after(change: impl FnOnce(&mut ResultFile)) -> String {
    let mut file = sample::file(1, 1);
    change(&mut file);
    html(&[file])
}

fn plain(text: &str) -> String {
    text.replace(['\u{a0}', '\u{202f}'], " ")
}

#[test]
fn a_page_has_every_part() {
    let page = plain(&html(&[sample::file(1, 2)]));
    for part in [
        "<title>Pyralog benchmark, 2026-11-22 14:20 UTC</title>",
        "commit <code>b93a2e7c41d0</code>: 14 runs of 7 scenarios on AMD EPYC 9B14, Linux 6.18.5, ext4.",
        "is at 59 % of its ceiling: the core is the limit.",
        "<h3>Ingest</h3><p class=\"value\">1.6",
        "<h3>Single record, p50</h3>",
        "above the disk sync alone, 9",
        "<h3>p99.9 of a paced load</h3>",
        "% of the highest rate</p>",
        "<h3>Processor time</h3>",
        "<b>All scenarios</b>",
        "<b>Latency against throughput</b>",
        "disk sync alone",
        "<h2>Against the machine</h2>",
        "<h3>Other ceilings</h3>",
        "<h2>half-rate-synced</h2>",
        "<b>Latency by percentile</b>",
        "<b>Records per second</b>",
        "offered</button>",
        "<b>Latency over time</b>",
        "<h2>Every run</h2>",
        "[workload]",
        "server on</dt><dd>0</dd>",
        "clock source</dt><dd>tsc</dd>",
        "<pre class=\"command\">pyralog bench --repetitions 2 --seed 1</pre>",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    assert!(!page.contains("{{"));
    assert!(!page.contains("class=\"warnings\""));
    assert!(!page.contains("<h2>B beside A</h2>"), "one file is not compared with anything");
}

/// Elements that are opened are closed, in order: a page that a stray quote broke would not be.
#[test]
fn elements_are_closed_in_order() {
    let page = html(&[sample::file(1, 2), sample::faster(2, 2, 1.2)]);
    let body = page.split_once("<body>").unwrap().1.split_once("<script>").unwrap().0;
    let mut open = Vec::new();
    for tag in body.split('<').skip(1) {
        let name: String =
            tag.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '/').collect();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "at <{}", tag.lines().next().unwrap());
        } else if !tag.split('>').next().unwrap().ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

/// Every text of a file is put where it could do harm. None comes out as an element, an attribute or the end of one.
#[test]
fn no_text_of_a_file_becomes_markup() {
    const EVIL: &str =
        "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'>{{body}}&";
    let evil = || EVIL.to_owned();
    let page = page_after(|file| {
        file.command = evil();
        let environment = &mut file.environment;
        for text in [
            &mut environment.version,
            &mut environment.profile,
            &mut environment.kernel,
            &mut environment.cpu,
            &mut environment.filesystem,
        ] {
            *text = evil();
        }
        environment.commit = Some(evil());
        environment.notes.push((evil(), evil()));
        file.ceilings.iter_mut().for_each(|ceiling| ceiling.detail = evil());
        for run in &mut file.runs {
            run.scenario.push_str(EVIL);
            run.toml = evil();
            run.facts.push((evil(), evil()));
            run.totals.errors.insert(evil(), 1);
            let latency = run.latency.values().next().unwrap().clone();
            run.latency.insert(evil(), latency);
        }
        file.runs[0].invalid = Some(evil());
    });
    let clean = page_after(|_| ());
    for tag in ["<script", "</script", "<img", "<style"] {
        let count = |page: &str| page.matches(tag).count();
        let charts = |page: &str| page.matches("class=\"chart\"").count();
        let expected = if tag.ends_with("script") { 1 + charts(&page) } else { count(&clean) };
        assert_eq!(count(&page), expected, "{tag}");
    }
    assert!(!page.contains("onerror=alert(1)>\""), "a quote got out");
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
}

quickcheck! {
    fn escaping_leaves_no_letter_with_a_meaning_and_loses_none_without(text: String) -> bool {
        let safe = escape(&text);
        let back = safe
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&");
        let controls = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
        !safe.contains(['<', '>', '"', '\''])
            && (back == text || text.contains(controls) || back.contains('\u{fffd}'))
    }
}

#[test]
fn what_hides_or_floods_a_page_is_replaced_or_cut() {
    assert_eq!(escape("a\u{202e}b\u{0}c"), "a\u{fffd}b\u{fffd}c");
    let long = escape(&"x".repeat(30_000));
    assert!(long.ends_with("x … (cut)") && long.len() < 20_020, "{}", long.len());
    assert_eq!(json(&serde_json::json!("</script>&")), "\"\\u003c/script\\u003e\\u0026\"");
}

#[test]
fn a_page_asks_the_network_for_nothing() {
    let page = html(&[sample::file(1, 1), sample::file(2, 1)]);
    assert!(page.contains(
        "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\""
    ));
    for word in ["http:", "https:", "url(", "@import", " src=", "<link", "<a ", "fetch("] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn invalid_runs_are_marked_with_their_reason_and_counted_nowhere() {
    let page = plain(&page_after(|file| {
        file.runs[0].invalid = Some("the generator fell behind".to_owned());
    }));
    assert!(page.contains(
        "1 of 7 runs are invalid, are only in the table and count nowhere: ingest-1k-synced, repetition 1 (the generator \
         fell behind)."
    ));
    assert!(page.contains("ingest-1k-synced <mark>invalid</mark>"));
    assert!(page.contains("Must not be used: the generator fell behind"));
    assert!(!page.contains("<h2>ingest-1k-synced</h2>"), "an invalid run has no charts");
    assert!(page.contains("half-rate-synced, one run"), "the next best run is on the tile");
}

/// Batches may be held against the disk's sync as well; the tile is of the smallest ones.
#[test]
fn the_single_record_of_the_tile_is_the_smallest_batch() {
    let page = page_after(|file| {
        let share = file.runs[2].shares[0].clone();
        for run in &mut file.runs {
            run.shares.push(share.clone());
        }
    });
    let tile = page.split_once("<h3>Single record, p50</h3>").unwrap().1;
    assert!(tile.split_once("</article>").unwrap().0.contains("single-synced, one run"));
}

#[test]
fn a_server_that_held_more_than_it_may_is_named_and_its_budget_shown() {
    let mut file = sample::file(1, 1);
    let page = plain(&html(std::slice::from_ref(&file)));
    assert!(!page.contains("held more memory"));
    assert!(
        page.contains("740 MB: buffers 268 MB, appends in flight 134 MB"),
        "the parts are shown"
    );
    file.runs[0].server.as_mut().unwrap().rss_bytes_max = 900_000_000;
    let page = plain(&html(&[file]));
    let said = "ingest-1k-synced: the server held more memory than it may: 900 MB of 740 MB.";
    assert!(page.contains(said));
}

#[test]
fn what_spoils_the_numbers_is_said_first() {
    let page = page_after(|file| {
        file.environment.profile = "debug".to_owned();
        file.ceilings.clear();
    });
    assert!(page.contains("The server was built as &quot;debug&quot;. These numbers say nothing"));
    assert!(page.contains("Ceilings were not measured"));
    assert!(page_after(|file| file.runs.clear()).contains("<li>There are no runs.</li>"));
    assert!(html(&[]).contains("<li>There are no runs.</li>"));
}

#[test]
fn several_files_are_drawn_over_each_other_with_letters_and_compared() {
    let page = plain(&html(&[sample::file(1, 5), sample::faster(2, 5, 1.3)]));
    for part in [
        "<b class=\"key h0 d0\">A</b>",
        "<b class=\"key h1 d1\">B</b>",
        "A ingest-1k-synced ack</button>",
        "B ingest-1k-synced ack</button>",
        "<h2>B beside A</h2>",
        "faster <small>",
        "<h2>Where and how</h2><h3>A </h3>",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
}

#[test]
fn more_files_than_colours_are_left_out_and_said_to_be() {
    let mut file = sample::file(1, 1);
    file.runs.truncate(1);
    let page = html(&vec![file; FILES_MAX + 2]);
    assert!(page.contains("2 files more are left out: at most 8 are drawn."));
    assert!(page.contains("<h2>H beside A</h2>") && !page.contains("<h2>I beside A</h2>"));
}

/// Two hours have 7,200 seconds; no more than 600 points are drawn, and the worst second is still there.
#[test]
fn long_series_are_thinned_and_said_to_be() {
    let page = page_after(|file| {
        file.runs.truncate(1);
        file.runs[0].series =
            vec![Second { records: 10, p50: 5, p99: 7, max: 9, ..Second::default() }; 7200];
        file.runs[0].series[4321].max = 123_456_789;
    });
    assert!(page.contains("thinned: a point is the worst of 12 seconds"));
    assert!(page.contains("thinned: a point is the mean of 12 seconds"));
    assert!(plain(&page).contains("[2,1.0,\"123 ms\"]") || plain(&page).contains("\"123 ms\""));
    assert!(page.len() < 400_000, "{}", page.len());
}

#[test]
fn more_runs_than_anybody_reads_are_cut_from_the_table() {
    let page = page_after(|file| {
        let mut run = file.runs[2].clone();
        run.series.clear();
        run.latency.clear();
        file.runs = vec![run; 401];
    });
    assert!(page.contains("<p>The first 400 of 401 runs.</p>"));
    assert_eq!(page.matches("<details>").count(), 400);
}

/// A run that did nothing has no rate, latency or share; the page says so with a dash and does not divide.
#[test]
fn a_run_in_which_nothing_happened_is_drawn() {
    let page = page_after(|file| {
        for run in &mut file.runs {
            run.totals = crate::result::Totals::default();
            run.latency
                .values_mut()
                .for_each(|latency| *latency = crate::result::Latency::default());
            run.series.iter_mut().for_each(|second| *second = Second::default());
            run.steps.iter_mut().for_each(|step| {
                (step.rate, step.offered_rate) = (0.0, 0.0);
                step.latency = crate::result::Latency::default();
            });
            run.shares.clear();
            run.server = None;
            run.measured_seconds = 0.0;
        }
        file.ceilings.retain(|ceiling| ceiling.name == CeilingName::Lane);
    });
    for bad in ["NaN", "inf", ">-0"] {
        let at = page.find(bad).map(|at| &page[at.saturating_sub(60)..at + 20]);
        assert!(at.is_none() || bad == "inf" && page.matches("infinity").count() == 0, "{at:?}");
    }
    assert!(page.contains("<td>–</td>"));
}

#[test]
fn latencies_above_their_floor_are_longer_than_it_and_rates_stay_below() {
    let page = plain(&page_after(|file| {
        for run in &mut file.runs {
            for share in &mut run.shares {
                share.ratio = if share.ceiling == CeilingName::DiskSync { 2.0 } else { 0.5 };
            }
        }
    }));
    assert!(
        page.contains(
            "<i style=\"width:50.0%\"></i><u style=\"left:100.0%\"></u></div><b>50 %</b>"
        )
    );
    assert!(
        page.contains(
            "<i style=\"width:98.0%\"></i><u style=\"left:49.0%\"></u></div><b>2.00 ×</b>"
        )
    );
}

#[test]
fn each_nine_is_as_far_as_the_one_before() {
    let scale = Scale::nines(1_000_000);
    let nine = scale.place(0.9);
    for (quantile, nines) in [(0.0, 0.0), (0.99, 2.0), (0.999, 3.0), (0.99999, 5.0)] {
        assert!((scale.place(quantile) - nines * nine).abs() < 1e-9, "{quantile}");
    }
    assert!(scale.place(0.999_999) < scale.place(1.0));
    let labels: Vec<_> =
        Scale::nines(1000).ticks(latency_tick).into_iter().map(|tick| tick.label).collect();
    assert_eq!(labels, ["min", "50 %", "90 %", "99 %", "99.9 %", "max"]);
}

#[test]
fn log_scales_begin_and_end_at_round_numbers() {
    assert_eq!(Scale::log([3.0, 70.0].into_iter()), Scale::Log(2.0, 100.0));
    assert_eq!(Scale::log([0.0, f64::NAN].into_iter()), Scale::Log(1.0, 10.0));
    let scale = Scale::log([93e3, 1.2e6].into_iter());
    assert_eq!(scale, Scale::Log(50e3, 2e6));
    let labels: Vec<_> =
        scale.ticks(latency_tick).into_iter().map(|tick| plain(&tick.label)).collect();
    assert_eq!(labels, ["50 µs", "100 µs", "200 µs", "500 µs", "1 ms", "2 ms"]);
}

#[test]
fn linear_scales_have_few_round_labels() {
    let labels: Vec<_> = Scale::linear([1_650_000.0].into_iter())
        .ticks(count_tick)
        .into_iter()
        .map(|tick| plain(&tick.label))
        .collect();
    assert_eq!(labels, ["0", "500 k", "1 M", "1.5 M"]);
    assert_eq!(Scale::linear(std::iter::empty()), Scale::Linear(1.0));
}

quickcheck! {
    fn places_are_on_the_chart_whatever_the_value(value: f64, low: u32, more: u32) -> bool {
        let (low, more) = (f64::from(low) + 1.0, f64::from(more) + 1.0);
        let scales = [Scale::Linear(more), Scale::Log(low, low + more), Scale::Nines(3.0)];
        scales.iter().all(|scale| (0.0..=1.0).contains(&scale.place(value)))
    }
}

/// The smallest chart, byte for byte.
#[test]
fn a_chart_is_drawn_as_written_down() {
    let scale = Scale::Linear(2.0);
    let mut series = Series::new("one & two", Some(1), 1);
    series.lines.push(vec![(0.0, 0.5), (1.0, 1.0)]);
    series.dots.push((1.0, 1.0));
    series.rings.push((0.5, 0.75));
    let chart = Chart {
        title: "Title & more".to_owned(),
        note: "a < b".to_owned(),
        axes: ("x".to_owned(), "y".to_owned()),
        x: Vec::new(),
        y: scale.ticks(count_tick),
        series: vec![series],
        stops: vec![Stop {
            x: 0.5,
            label: "half".to_owned(),
            values: vec![(0, 0.75, "3/4".to_owned())],
        }],
        marks: vec![0.25],
    };
    let drawn = chart.html().replace("><", ">\n<") + "\n";
    let golden = include_str!("../../tests/golden/chart.html");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/chart.html");
        std::fs::write(path, &drawn).unwrap();
    } else {
        assert!(
            drawn == golden,
            "UPDATE_GOLDEN=1 cargo test -p pyralog-perf rewrites it:\n{drawn}"
        );
    }
}

#[test]
fn markers_in_what_is_filled_in_are_text() {
    let page = fill(&["{{style}}", "{{body}}", "{{script}}", "{{title}}"]);
    assert!(page.contains("<title>{{style}}</title>"));
    assert!(page.contains("{{script}}\n</main>"));
}
