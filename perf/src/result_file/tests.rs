//! Files that are results, and the many that are not.

use std::path::Path;

use super::{BUCKETS_MAX, FILE_BYTES_MAX, RUNS_MAX, ReadError, SERIES_MAX, STEPS_MAX, parse, read};
use crate::result::ResultFile;
use crate::sample;

fn refusal(file: &ResultFile) -> String {
    parse(Path::new("a.json"), &serde_json::to_vec(file).unwrap())
        .map(drop)
        .unwrap_err()
        .to_string()
}

fn refusal_after(change: impl FnOnce(&mut ResultFile)) -> String {
    let mut file = sample::file(1, 2);
    change(&mut file);
    refusal(&file)
}

#[test]
fn a_written_result_is_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    let file = sample::file(1, 2);
    std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    assert!(read(&path).unwrap() == file);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problem = read(Path::new("/nowhere/result.json")).unwrap_err().to_string();
    assert!(problem.starts_with("/nowhere/result.json: No such file"), "{problem}");
}

#[test]
fn a_file_larger_than_any_result_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.json");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.set_len(FILE_BYTES_MAX + 1).unwrap();
    let problem = read(&path).unwrap_err();
    assert!(matches!(problem, ReadError::TooLarge { .. }), "{problem}");
    assert!(
        problem
            .to_string()
            .ends_with("larger than 64 MiB, which no result is: is it the right file?")
    );
}

#[test]
fn another_version_is_named_with_what_to_do() {
    let problem = parse(Path::new("a.json"), br#"{"format":"pyralog-bench/9","what":1}"#);
    assert_eq!(
        problem.unwrap_err().to_string(),
        "a.json: has format \"pyralog-bench/9\", this program reads \"pyralog-bench/2\": measure again with this program, \
         or read the file with the one that wrote it"
    );
    let problem = parse(Path::new("a.json"), b"{}").unwrap_err().to_string();
    assert_eq!(
        problem,
        "a.json: no file of `pyralog bench`: it has no \"format\"; expected \"pyralog-bench/2\""
    );
}

#[test]
fn what_is_no_document_is_refused_with_its_place() {
    let problem = parse(Path::new("a.json"), b"[1, 2").unwrap_err().to_string();
    assert!(problem.contains("a.json: not a result of this program: "), "{problem}");
    assert!(problem.contains("line 1 column"), "{problem}");
    let problem = parse(Path::new("a.json"), br#"{"format":"pyralog-bench/2","colour":1}"#);
    assert!(problem.unwrap_err().to_string().contains("unknown field `colour`"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let first = |text: &str| format!("a.json: contradicts itself: {text}");
    let of_run =
        |text: &str| first(&format!("scenario \"ingest-1k-synced\", repetition 0: {text}"));
    assert_eq!(
        refusal_after(|file| file.runs[7].repetition = 0),
        first("scenario \"ingest-1k-synced\", repetition 0: is there twice")
    );
    assert_eq!(
        refusal_after(|file| file.runs[0].measured_seconds = -1.0),
        of_run("-1 measured seconds")
    );
    assert_eq!(
        refusal_after(|file| file.runs[0].latency.get_mut("ack").unwrap().count = 7),
        of_run("latency \"ack\": its buckets do not add up to 7")
    );
    assert_eq!(
        refusal_after(|file| {
            let latency = file.runs[0].latency.get_mut("ack").unwrap();
            latency.buckets = vec![(1, u64::MAX), (2, 2)];
            latency.count = 1;
        }),
        of_run("latency \"ack\": its buckets do not add up to 1")
    );
    assert_eq!(
        refusal_after(|file| file.runs[0].latency.get_mut("ack").unwrap().buckets.swap(0, 1)),
        of_run("latency \"ack\": its buckets are not in ascending order")
    );
    assert_eq!(
        refusal_after(|file| file.runs[0].shares[0].ratio = 0.0),
        of_run("a share of a ceiling is not above 0")
    );
    assert_eq!(
        refusal_after(|file| file.ceilings[0].samples[0] = -3.0),
        first("the ceiling TcpReceive has a sample that is not above 0")
    );
    assert_eq!(
        refusal_after(|file| file.ceilings.push(file.ceilings[0].clone())),
        first("the ceiling TcpReceive is there twice")
    );
    assert_eq!(
        refusal_after(|file| file.runs[0].generator.cpu_seconds = -1.0),
        of_run("processor time below 0")
    );
}

#[test]
fn counts_have_limits() {
    let many = refusal_after(|file| file.runs = vec![file.runs[0].clone(); RUNS_MAX + 1]);
    assert!(many.ends_with("1001 runs, at most 1000"), "{many}");
    let long =
        refusal_after(|file| file.runs[0].series.resize_with(SERIES_MAX + 1, Default::default));
    assert!(long.ends_with("172801 seconds, at most 172800"), "{long}");
    let fine = refusal_after(|file| {
        let buckets = (0..=BUCKETS_MAX as u64).map(|value| (value, 1)).collect();
        file.runs[0].latency.get_mut("ack").unwrap().buckets = buckets;
    });
    assert!(fine.ends_with("65537 buckets, at most 65536"), "{fine}");
    let steps = refusal_after(|file| {
        let step = sample::step(1.0, 1.0, 1000);
        file.runs[0].steps = vec![step; STEPS_MAX + 1];
    });
    assert!(steps.ends_with("1001 steps, at most 1000"), "{steps}");
}
