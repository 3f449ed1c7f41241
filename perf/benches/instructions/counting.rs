//! Counts under callgrind and compares with the counts that were kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::appends::{SHAPES, Shape};

/// First argument of the program that callgrind watches; shape and number of groups follow.
pub(crate) const APPENDS: &str = "--appends";

/// The functions within which instructions count. None of them calls another one. Each is counted in a run of its own:
/// callgrind, told several patterns that begin alike, follows the first of them only.
const COUNTED: [&str; 3] = [
    "pyralog_log::partition_file::Partition::append",
    "pyralog_log::partition*Machine*::poll",
    "pyralog_log::partition*Machine*::written",
];

/// Appends of the shorter and of the longer run. Large batches are as regular as small ones, and slower.
const RUNS: (usize, usize) = (256, 1280);
const RUNS_LARGE: (usize, usize) = (32, 96);
/// Batches of this many bytes are large.
const LARGE_BYTES: usize = 64 << 10;

/// A change of this share, in either direction, is one that somebody has to explain.
const DRIFT_MAX: f64 = 0.02;

/// Something is not as it was kept.
const DRIFTED: u8 = 1;
/// Nothing could be counted.
const FAILED: u8 = 2;

const PREFACE: &str = "\
# Instructions of the append path per batch, counted by callgrind. Made and compared by perf/instructions/run, which
# says how the program is built (release, lto off, 8 codegen units: other numbers than those of what is shipped, but
# the same every time). Other versions of rustc move them, and processors without AVX2, where memory is copied
# differently: count again with --write on the commit before yours, then compare. What is counted: see
# perf/benches/instructions/main.rs. The shapes are records x bytes of a value; \"alone\": each append is a write.
# A copy of more than a few KiB is one `rep movsb`, which callgrind counts once for every byte: so a copy of a large
# batch weighs 1 a byte here, its checksum 0.43.

";

/// Instructions for each batch, by the name of the shape.
type Counts = BTreeMap<String, u64>;

/// Counts all shapes, prints them beside what was kept, and keeps them if `write`.
pub(crate) fn count(write: bool) -> ExitCode {
    match count_all(write) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DRIFTED),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// Whether everything is as it was kept.
fn count_all(write: bool) -> anyhow::Result<bool> {
    let version = Command::new("valgrind").arg("--version").output();
    version
        .context("there is no valgrind: instructions can be counted only where it is installed")?;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions/counts.toml");
    let kept = if write { Counts::new() } else { read(&path)? };
    let (mut counts, mut same) = (Counts::new(), true);
    println!(
        "{:<22} {:>12} {:>12} {:>12} {:>8}",
        "shape", "per record", "per batch", "kept", "drift"
    );
    for shape in SHAPES {
        let per_batch = per_batch(shape)?;
        counts.insert(shape.name.to_owned(), per_batch);
        let per_record = per_batch / shape.records as u64;
        let drift = kept.get(shape.name).map(|kept| drift(per_batch, *kept));
        same &= drift.is_some_and(|drift| drift.abs() <= DRIFT_MAX);
        let before = kept.get(shape.name).map_or_else(|| "-".to_owned(), u64::to_string);
        let drift =
            drift.map_or_else(|| "-".to_owned(), |drift| format!("{:+.2} %", drift * 100.0));
        println!("{:<22} {per_record:>12} {per_batch:>12} {before:>12} {drift:>8}", shape.name);
    }
    if write {
        let mut text = PREFACE.to_owned();
        for (name, count) in &counts {
            writeln!(text, "{name} = {count}")?;
        }
        std::fs::write(&path, text)?;
        println!("kept");
        return Ok(true);
    }
    if !same {
        println!("more than {} % from what was kept: explain it, then --write", DRIFT_MAX * 100.0);
    }
    Ok(same)
}

fn read(path: &Path) -> anyhow::Result<Counts> {
    let text = std::fs::read_to_string(path);
    let text = text.context("no counts were kept: count with --write first")?;
    Ok(toml::from_str(&text)?)
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn drift(now: u64, kept: u64) -> f64 {
    now as f64 / kept.max(1) as f64 - 1.0
}

/// Instructions for one batch.
fn per_batch(shape: Shape) -> anyhow::Result<u64> {
    let large = shape.batch_bytes() > LARGE_BYTES;
    let (few, many) = if large { RUNS_LARGE } else { RUNS };
    let (few, many) = (few / shape.group(), many / shape.group());
    let mut difference = 0;
    for function in COUNTED {
        let (less, more) = (collected(shape, function, few)?, collected(shape, function, many)?);
        anyhow::ensure!(more > 0 || shape.is_memory(), "{function} is not there, or inlined");
        let differs = more.checked_sub(less);
        difference += differs.context("more appends took fewer instructions")?;
    }
    Ok(difference / ((many - few) * shape.group()) as u64)
}

/// Instructions that callgrind saw within `function` during `groups` groups.
fn collected(shape: Shape, function: &str, groups: usize) -> anyhow::Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(format!("--toggle-collect={function}"));
    command.arg(std::env::current_exe()?).args([APPENDS, shape.name]).arg(groups.to_string());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "valgrind, {}: {text}", output.status);
    let line = text.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) =
        line.with_context(|| format!("valgrind does not say what it counted: {text}"))?;
    Ok(count.trim().parse()?)
}
