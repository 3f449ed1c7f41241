//! Results to be kept: the same document without what only a picture needs, and without anything of the machine's owner.
//!
//! A result has every value of every histogram and every second, some megabytes for a picture of everything. What is
//! compared, quoted and put beside the next result is percentiles, rates, counts, ceilings and shares. A stored result
//! has those exactly, is read by `bench compare` and `bench report` as any other, and fits a repository.

use crate::result::{Latency, ResultFile, Run};

/// Bytes that a stored picture of everything may have.
#[cfg(test)]
const STORED_BYTES_MAX: usize = 30_000;

/// Quantiles that stay exact: those that are shown and compared, and some between for the shape.
const QUANTILES: [f64; 15] = [
    0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 0.999_999,
    1.0,
];

/// Flags whose value is a place of this machine.
const PLACES: [&str; 4] = ["--out", "-o", "--data-dir", "--store"];

/// The part of `file` that is worth keeping.
#[must_use]
pub fn compact(file: &ResultFile) -> ResultFile {
    let mut kept = ResultFile { command: command(&file.command), ..file.clone() };
    for ceiling in &mut kept.ceilings {
        for sample in &mut ceiling.samples {
            *sample = rounded(*sample);
        }
        ceiling.latency = ceiling.latency.as_ref().map(thinned);
    }
    kept.runs.iter_mut().for_each(compact_run);
    kept
}

fn compact_run(run: &mut Run) {
    run.series.clear();
    run.latency.values_mut().for_each(|latency| *latency = thinned(latency));
    for step in &mut run.steps {
        step.latency = thinned(&step.latency);
        step.rate = rounded(step.rate);
        step.bytes_rate = rounded(step.bytes_rate);
    }
    for share in &mut run.shares {
        share.ratio = rounded(share.ratio);
    }
    for used in std::iter::once(&mut run.generator).chain(&mut run.server) {
        used.cpu_seconds = rounded(used.cpu_seconds);
        used.busiest_thread = rounded(used.busiest_thread);
    }
}

/// The same counts in one bucket for each of [`QUANTILES`], which stay what they are.
fn thinned(latency: &Latency) -> Latency {
    let mut ends: Vec<u64> = QUANTILES.iter().map(|quantile| latency.at(*quantile)).collect();
    // `at` says at most the largest value, a bucket ends at or above it.
    ends.extend(latency.buckets.last().map(|(value, _)| *value));
    ends.dedup();
    let mut buckets: Vec<(u64, u64)> = Vec::with_capacity(ends.len());
    let mut rest = latency.buckets.iter().peekable();
    for end in ends {
        let mut count = 0;
        while let Some((_, more)) = rest.next_if(|(value, _)| *value <= end) {
            count += more;
        }
        if count > 0 {
            buckets.push((end, count));
        }
    }
    Latency { buckets, mean: rounded(latency.mean), ..*latency }
}

/// Five digits of a number: more than its spread.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// A command line that repeats the measurement anywhere: without places of this machine.
fn command(line: &str) -> String {
    let mut words = line.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if PLACES.contains(&word) {
            words.next();
        } else if !PLACES.iter().any(|flag| word.starts_with(&format!("{flag}="))) {
            kept.push(word.rsplit('/').next().unwrap_or_default());
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::compare;
    use crate::{result_file, sample};

    #[test]
    fn a_stored_result_is_compared_as_the_whole_one_is() {
        let (first, second) = (sample::file(1, 6), sample::faster(2, 6, 1.2));
        let stored = compare(&compact(&first), &compact(&second));
        let whole = compare(&first, &second);
        assert_eq!(stored.warnings, whole.warnings);
        for (stored, whole) in stored.scenarios.iter().zip(&whole.scenarios) {
            for (stored, whole) in stored.measures.iter().zip(&whole.measures) {
                assert_eq!((&stored.measure, stored.verdict), (&whole.measure, whole.verdict));
                assert!((stored.first / whole.first - 1.0).abs() < 1e-3, "{stored:?} {whole:?}");
            }
        }
    }

    #[test]
    fn percentiles_and_counts_stay_exact() {
        let mut rng = fastrand::Rng::with_seed(7);
        for count in [0, 1, 2, 17, 5000] {
            let values: Vec<u64> = (0..count).map(|_| rng.u64(..) >> rng.u32(24..59)).collect();
            let whole = sample::exact(&values);
            let thin = thinned(&whole);
            assert!(thin.buckets.len() <= QUANTILES.len() + 1);
            assert_eq!((thin.count, thin.min, thin.max), (whole.count, whole.min, whole.max));
            assert_eq!(thin.buckets.iter().map(|(_, count)| count).sum::<u64>(), whole.count);
            for quantile in QUANTILES {
                assert_eq!(thin.at(quantile), whole.at(quantile), "{quantile} of {count}");
            }
        }
    }

    #[test]
    fn a_stored_picture_of_everything_is_small_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stored.json");
        let stored = compact(&sample::file(1, 1));
        let json = serde_json::to_string(&stored).unwrap();
        assert!(json.len() < STORED_BYTES_MAX, "{} bytes", json.len());
        std::fs::write(&path, &json).unwrap();
        assert!(result_file::read(&path).unwrap() == stored);
        assert!(crate::page::html(&[stored]).contains("ingest-1k-synced"), "it can be drawn");
    }

    #[test]
    fn a_stored_result_names_no_place_of_the_machine() {
        let line = "/opt/me/t/release/pyralog bench run /srv/mine.toml -o /tmp/x --data-dir=/mnt/d --out /a/b \
                    --store perf/results/a.json --measure 60s";
        assert_eq!(command(line), "pyralog bench run mine.toml --measure 60s");
        let file = ResultFile { command: line.to_owned(), ..sample::file(1, 1) };
        let json = serde_json::to_string(&compact(&file)).unwrap();
        for place in ["/opt", "/srv", "/tmp", "/mnt", "/a/"] {
            assert!(!json.contains(place), "{place}");
        }
    }

    #[test]
    fn the_results_in_the_repository_are_small_readable_and_name_no_places() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let file = result_file::read(&path).unwrap();
            let json = std::fs::read_to_string(&path).unwrap();
            assert!(json.len() < STORED_BYTES_MAX, "{}: {} bytes", path.display(), json.len());
            assert!(file == compact(&file), "{} was not stored by --store", path.display());
        }
    }
}
