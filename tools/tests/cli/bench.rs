//! `pyralog bench`: runs that are too short to say anything about speed, and what must hold of them anyway.

use std::path::Path;

use pyralog_perf::result::ResultFile;
use pyralog_perf::result_file;
use tempfile::TempDir;

use crate::process::{Done, Served, run};

/// Runs `bench run` for a second on a server of its own and returns what it wrote.
fn bench(arguments: &[&str], folder: &TempDir) -> (Done, ResultFile) {
    let out = folder.path().join("out");
    let data = folder.path().to_str().unwrap();
    let mut all = vec!["bench", "run", "--warm-up", "0", "--measure", "1s", "--allow-tmpfs"];
    all.extend(["--data-dir", data, "--server-set", "server.pin=false"]);
    all.extend(["--out", out.to_str().unwrap()]);
    all.extend(arguments);
    let done = run(&all);
    let file = result_file::read(&out.join("result.json"))
        .unwrap_or_else(|error| panic!("{error}; {}", done.stderr));
    (done, file)
}

/// Names of what is left in the folder besides the results.
fn left_behind(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "out").collect()
}

#[test]
fn a_closed_loop_writes_a_result_and_a_page_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--arrivals",
        "closed:2",
        "--producers",
        "2",
        "--per-arrival",
        "3",
        "--record-size",
        "100B",
    ];
    let (done, file) = bench(&flags, &folder);
    let text = done.text();
    assert!(text.contains("RECORDS/S") && text.contains("report.html"), "{text}");
    let [run] = &file.runs[..] else { panic!("{} runs", file.runs.len()) };
    assert_eq!((run.open_loop, &run.invalid), (false, &None));
    assert!(run.totals.errors.is_empty(), "{:?}", run.totals);
    assert!(run.totals.records > 0);
    assert_eq!(run.totals.bytes, run.totals.records * 100);
    assert_eq!(run.latency["ack"].count, run.totals.offered_records);
    assert!(run.server.as_ref().is_some_and(|server| server.rss_bytes_max > 0));
    let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("</html>"));
    assert_eq!(left_behind(folder.path()), Vec::<String>::new());
}

#[test]
fn an_open_loop_counts_every_record_that_was_due_and_repeats_from_its_seed() {
    let folder = tempfile::tempdir().unwrap();
    let flags =
        ["--workload", "tail", "--arrivals", "poisson:200", "--linger", "0", "--repetitions", "2"];
    // On a busy machine the generator may have been late; then it says so and ends with 1.
    let (_, file) = bench(&flags, &folder);
    let [one, two] = &file.runs[..] else { panic!("{} runs", file.runs.len()) };
    assert!(one.open_loop);
    assert_eq!(one.totals.offered_records, two.totals.offered_records);
    for run in [one, two] {
        assert!(run.totals.errors.is_empty(), "{:?}", run.totals);
        assert_eq!(run.latency["end-to-end"].count, run.totals.offered_records);
        assert_eq!(run.latency["ack"].count, run.totals.offered_records);
    }
    assert_eq!(left_behind(folder.path()), Vec::<String>::new());
}

#[test]
fn frames_and_reading_do_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let (_, frames) = bench(&["--driver", "frames", "--per-arrival", "10"], &folder);
    assert!(frames.runs[0].totals.records > 0);
    assert!(frames.runs[0].facts.iter().any(|(_, text)| text.contains("without a session")));
    let (_, read) = bench(&["--workload", "catch-up", "--fill", "5MB"], &folder);
    assert!(read.runs[0].totals.records > 0, "{:?}", read.runs[0].totals);
    assert!(read.runs[0].latency.contains_key("fetch"));
}

#[test]
fn a_running_server_is_measured_and_its_other_logs_are_left_alone() {
    let served = Served::fresh();
    served.run(&["log", "create", "mine"]).text();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let mut arguments = vec!["bench", "run", "--address", served.address(), "--out", out, "--json"];
    arguments.extend(["--warm-up", "0", "--measure", "500ms"]);
    let result = run(&arguments).json();
    assert_eq!(result["format"], "pyralog-bench/2");
    assert_eq!(result["runs"][0]["server"], serde_json::Value::Null);
    let logs = served.run(&["log", "list", "--json"]).json();
    assert_eq!(logs.as_array().unwrap().len(), 1);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_started() {
    let message = run(&["bench", "run", "--arrivals", "often"]).failed(2);
    assert!(message.contains("poisson:RATE"), "{message}");
    let message = run(&["bench", "run", "no-such-scenario"]).failed(2);
    assert!(message.contains("single-synced"), "{message}");
    run(&["bench", "run", "--producers", "0"]).failed(2);
    run(&["bench", "run", "--record-size"]).failed(2);
    run(&["bench", "run", "--server-cpus", "99999"]).failed(2);
    run(&["bench", "compare", "/nonexistent/a.json", "/nonexistent/b.json"]).failed(2);
    let message = run(&["bench", "run", "--address", "127.0.0.1:1"]).failed(3);
    assert!(message.contains("127.0.0.1:1"), "{message}");
}

#[test]
fn every_scenario_is_listed_and_prints_itself_in_full() {
    let listed = run(&["bench", "list", "--json"]).json();
    let names: Vec<_> =
        listed.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"ingest-1k-synced") && names.len() >= 10, "{names:?}");
    for name in names {
        let text = run(&["bench", "run", name, "--seed", "77", "--print"]).text();
        assert!(text.contains("seed = 77") && text.contains("partitions = "), "{text}");
    }
}

#[test]
fn every_part_of_a_logs_life_is_measured_beside_what_it_is_compared_with() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    // A thousandth of the data: the figures mean nothing, but everything is there and works.
    let words = ["bench", "life", "--rounds", "1", "--divide", "1000", "--allow-tmpfs", "--json"];
    let measured = run(&[&words[..], &["--data-dir", place]].concat()).json();
    let figures = measured["figures"].as_array().unwrap();
    let named = |name: &str| figures.iter().find(|figure| figure["name"] == name).unwrap();
    let compared = [
        ("ingest, signed", "ingest, none"),
        ("core, paced, hash", "core, paced, none"),
        ("of many, hash", "of many, none"),
        ("ingest, full, compacting", "ingest, full"),
        ("tiered segment read, cold", "store read, cold"),
    ];
    for (name, against) in compared {
        assert_eq!(named(name)["against"], against);
        for name in [name, against] {
            assert_eq!(named(name)["samples"].as_array().unwrap().len(), 1, "{name}");
        }
    }
    for name in ["notarised, in a signed root", "compaction, 64 MiB", "lag when the load ends"] {
        assert_eq!(named(name)["samples"].as_array().unwrap().len(), 1, "{name}");
    }
    assert_eq!(std::fs::read_dir(place).unwrap().count(), 0, "nothing is left behind");
}
