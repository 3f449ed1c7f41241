//! What a comparison claims, and what it refuses to claim.

use std::collections::BTreeSet;

use quickcheck::QuickCheck;

use super::{Comparison, Measure, Verdict, compare};
use crate::result::{CeilingName, ResultFile};
use crate::{sample, words};

/// The first measure with this name of this scenario.
fn of<'a>(comparison: &'a Comparison, scenario: &str, measure: &str) -> &'a super::Compared {
    let scenario = comparison.scenarios.iter().find(|found| found.name == scenario).unwrap();
    scenario.measures.iter().find(|found| found.measure.to_string() == measure).unwrap()
}

fn warned(comparison: &Comparison, text: &str) -> bool {
    comparison.warnings.iter().any(|warning| warning.contains(text))
}

/// Warnings about two files of which the second was changed.
fn warnings_after(change: impl FnOnce(&mut ResultFile)) -> Vec<String> {
    let first = sample::file(1, 5);
    let mut second = first.clone();
    change(&mut second);
    compare(&first, &second).warnings
}

#[test]
fn a_server_that_does_more_is_faster_in_rate_and_latency_and_uses_less() {
    let comparison = compare(&sample::file(1, 5), &sample::faster(2, 5, 1.3));
    let rate = of(&comparison, "ingest-1k-synced", "bytes");
    assert_eq!(rate.verdict, Verdict::Faster);
    assert!(rate.paired.low > 1.2 && rate.paired.high < 1.4, "{rate:?}");
    assert_eq!(of(&comparison, "ingest-1k-synced", "ack p50").verdict, Verdict::Faster);
    assert_eq!(
        of(&comparison, "ingest-1k-synced", "server CPU per million records").verdict,
        Verdict::Less
    );
    let share = of(&comparison, "single-synced", "of disk sync");
    assert_eq!(share.verdict, Verdict::Faster, "a latency's share is better when smaller");
    // The rate of the paced scenario is what was asked for.
    assert_eq!(of(&comparison, "half-rate-synced", "records").verdict, Verdict::NoDifferenceShown);
}

#[test]
fn exchanging_the_files_exchanges_the_verdicts() {
    let (first, second) = (sample::file(1, 5), sample::faster(2, 5, 1.3));
    let back = compare(&second, &first);
    assert_eq!(of(&back, "ingest-1k-synced", "bytes").verdict, Verdict::Slower);
    assert_eq!(of(&back, "ingest-1k-synced", "ack p50").verdict, Verdict::Slower);
    assert_eq!(
        of(&back, "ingest-1k-synced", "server CPU per million records").verdict,
        Verdict::More
    );
}

#[test]
fn four_repetitions_claim_nothing_and_say_what_to_do() {
    let comparison = compare(&sample::file(1, 4), &sample::faster(2, 4, 3.0));
    let verdicts: Vec<_> = comparison.measures().map(|compared| compared.verdict).collect();
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::TooFewRepetitions));
    assert!(warned(
        &comparison,
        "tail, catch-up, rate-latency-synced: run with --repetitions 5 or more"
    ));
    assert!(!comparison.to_string().contains(" .. "), "no interval without five pairs");
}

#[test]
fn a_file_compared_with_itself_shows_no_difference_and_warns_of_nothing() {
    let file = sample::file(3, 5);
    let comparison = compare(&file, &file);
    assert_eq!(comparison.scenarios.len(), 7);
    assert!(comparison.measures().all(|compared| compared.verdict == Verdict::NoDifferenceShown
        && (compared.paired.ratio, compared.paired.p) == (1.0, 1.0)));
    assert_eq!(comparison.warnings, Vec::<String>::new());
}

#[test]
fn other_machines_are_warned_of_by_what_differs() {
    let warnings = warnings_after(|file| {
        let environment = &mut file.environment;
        environment.kernel = "Linux 5.4".to_owned();
        environment.cpu = "another".to_owned();
        environment.cpus = 64;
        environment.filesystem = "xfs".to_owned();
        environment.server_cpus = vec![3];
        environment.profile = "debug".to_owned();
    });
    assert_eq!(
        warnings,
        [
            "the kernel differs: Linux 6.18.5 and Linux 5.4",
            "the processor differs: AMD EPYC 9B14 and another",
            "the number of processors differs: 2 and 64",
            "the server's processors differs: [0] and [3]",
            "the file system differs: ext4 and xfs",
            "the build profile differs: release and debug",
            "the second was built as \"debug\": its numbers say nothing about a release build",
        ]
    );
}

#[test]
fn invalid_runs_are_left_out_and_named() {
    let first = sample::file(1, 6);
    let mut second = first.clone();
    second.runs[0].invalid = Some("the generator fell behind".to_owned());
    let comparison = compare(&first, &second);
    assert_eq!(of(&comparison, "ingest-1k-synced", "records").paired.pairs, 5);
    assert_eq!(
        comparison.warnings,
        [
            "ingest-1k-synced, repetition 1 of the second, is invalid and left out: the generator fell behind"
        ]
    );
}

#[test]
fn scenarios_that_only_share_a_name_are_warned_of_with_the_line_that_differs() {
    let warnings = warnings_after(|file| {
        let toml = &mut file.runs[0].toml;
        *toml = toml.replace("record_bytes = 1024", "record_bytes = 512");
    });
    assert_eq!(
        warnings,
        [
            "the scenarios called ingest-1k-synced are not the same: \"record_bytes = 1024\" and \"record_bytes = 512\""
        ]
    );
    let warnings = warnings_after(|file| file.runs[0].toml.push_str("more = 1\n"));
    assert_eq!(
        warnings,
        ["the scenarios called ingest-1k-synced are not the same: \"(nothing)\" and \"more = 1\""]
    );
}

#[test]
fn what_only_one_side_has_is_named() {
    let warnings = warnings_after(|file| drop(file.runs.pop()));
    assert_eq!(
        warnings,
        [
            "only in the first: rate-latency-synced, repetition 5",
            "too few repetitions of rate-latency-synced: run with --repetitions 5 or more"
        ]
    );
    let none = warnings_after(|file| file.runs.clear());
    assert!(
        none.contains(
            &"no scenario has a valid repetition in both: nothing is compared".to_owned()
        )
    );
}

/// Warnings about a server that does `factor` times as much on a machine whose disk does `disk` times as much.
fn drift_warnings(factor: f64, disk: f64) -> Vec<String> {
    let first = sample::file(1, 5);
    let mut second = sample::faster(1, 5, factor);
    for ceiling in &mut second.ceilings {
        if ceiling.name == CeilingName::DiskWriteFresh {
            ceiling.samples.iter_mut().for_each(|sample| *sample *= disk);
        }
    }
    for share in second.runs.iter_mut().flat_map(|run| &mut run.shares) {
        if share.ceiling == CeilingName::DiskWriteFresh {
            share.ratio /= disk;
        }
    }
    let warnings = compare(&first, &second).warnings;
    warnings.iter().map(|text| text.replace('\u{a0}', " ")).collect()
}

/// The disk doubled and the results hardly moved: what changed is the machine.
#[test]
fn ceilings_that_moved_more_than_the_results_are_a_noisy_machine() {
    let warnings = drift_warnings(1.05, 2.0);
    assert!(
        warnings.contains(
            &"a noisy machine: the ceiling of disk write (fresh) moved by +100 %, more than ingest-1k-synced, \
              ingest-100b-synced, half-rate-synced did; look at the shares"
                .to_owned()
        ),
        "{warnings:?}"
    );
}

#[test]
fn results_that_moved_more_than_the_ceilings_are_no_noise() {
    let warnings = drift_warnings(1.5, 1.1);
    let noise: Vec<_> = warnings.iter().filter(|text| text.contains("noisy machine")).collect();
    // The paced scenario cannot become faster than it is asked to be.
    assert_eq!(noise.len(), 1);
    assert!(noise[0].contains("more than half-rate-synced did"), "{noise:?}");
    assert!(!drift_warnings(1.0, 1.02).iter().any(|text| text.contains("noisy machine")));
}

#[test]
fn claims_are_put_beside_what_chance_would_claim() {
    let comparison = compare(&sample::file(1, 5), &sample::faster(2, 5, 1.3));
    assert!(
        warned(&comparison, "would by chance alone: believe what repeats"),
        "{:?}",
        comparison.warnings
    );
}

#[test]
fn a_quantile_with_nothing_beyond_it_is_not_compared() {
    let mut file = sample::file(1, 5);
    for run in &mut file.runs {
        run.latency.insert("ack".to_owned(), sample::exact(&[5; 500]));
    }
    let names: BTreeSet<_> = compare(&file, &file).scenarios[0]
        .measures
        .iter()
        .map(|compared| compared.measure.to_string())
        .collect();
    assert!(names.contains("ack p99") && names.contains("ack max"), "{names:?}");
    assert!(!names.contains("ack p99.9"), "{names:?}");
}

#[test]
fn a_measure_without_a_value_has_none() {
    let mut run = sample::file(1, 1).runs.remove(0);
    run.totals.records = 0;
    run.server = None;
    for measure in [Measure::RecordRate, Measure::ServerCpu, Measure::ServerMemory] {
        assert_eq!(measure.value(&run), None);
    }
    run.totals.records = 5;
    run.measured_seconds = 0.0;
    assert_eq!(Measure::RecordRate.value(&run), None);
}

#[test]
fn the_table_is_aligned_and_whole() {
    let text = compare(&sample::file(1, 5), &sample::faster(2, 5, 1.3)).to_string();
    let part: Vec<_> =
        text.lines().skip_while(|line| !line.starts_with("ingest-1k-synced")).take(5).collect();
    let golden = include_str!("../../tests/golden/compare.txt");
    let part = part.join("\n").replace('\u{a0}', " ") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/compare.txt");
        std::fs::write(path, &part).unwrap();
    } else {
        assert_eq!(part, golden, "UPDATE_GOLDEN=1 cargo test -p pyralog-perf rewrites it");
    }
}

#[test]
fn json_has_words_for_measures_and_verdicts() {
    let comparison = compare(&sample::file(1, 5), &sample::faster(2, 5, 1.3));
    let json = serde_json::to_value(&comparison).unwrap();
    let rate = &json["scenarios"][0]["measures"][1];
    assert_eq!(rate["measure"], "bytes");
    assert_eq!(rate["verdict"], "faster");
    assert_eq!(rate["paired"]["pairs"], 5);
    assert_eq!(json["ceilings"][0]["name"], "tcp-receive");
}

#[test]
fn any_file_compared_with_itself_has_ratio_one() {
    fn holds(seed: u64) -> bool {
        let file = sample::file(seed, 1);
        compare(&file, &file).measures().all(|compared| {
            let paired = &compared.paired;
            (paired.ratio, paired.low, paired.high) == (1.0, 1.0, 1.0)
        })
    }
    QuickCheck::new().tests(5).quickcheck(holds as fn(u64) -> bool);
}

#[test]
fn words_of_a_change_have_their_sign() {
    assert_eq!(words::change(1.12), "+12\u{a0}%");
    assert_eq!(words::change(0.97), "-3.0\u{a0}%");
}
