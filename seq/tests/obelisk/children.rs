//! Processes that are limited and killed.

use super::disk::run;
use super::{count, options};
use pyralog_runtime::IoErrorKind;
use pyralog_seq::counter::{Counter, CounterError};
use pyralog_seq::obelisk::Mode;
use pyralog_seq::obelisk_file::{ObeliskError, ObeliskFile};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Says to a process that it is a child, and where to work.
const CHILD: &str = "PYRALOG_SEQ_TEST_CHILD";

/// The modes that must not repeat, each with its counter.
const MODES: [(&str, Mode); 3] =
    [("always", Mode::Always), ("group", Mode::Group), ("reserve", Mode::reserve(500))];
/// Numbers of one request.
const TAKE: u64 = 3;
/// So few values per generation that a life goes through several.
const STRIDE: u64 = 1024;

/// Where a child is to work; `None` in the parent.
fn place() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// The test `name` of this binary, as a child.
fn child(name: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CHILD, place);
    command
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn a_file_size_limit_is_an_error_and_not_the_end_of_the_process() {
    let Some(place) = place() else {
        let place = directory();
        let name = "children::a_file_size_limit_is_an_error_and_not_the_end_of_the_process";
        let output = child(name, place.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        return assert!(output.status.success(), "{}: {stderr}", output.status);
    };
    run(move || {
        let place = place.clone();
        async move {
            let mode = Mode::reserve(1000);
            let counter = Counter::open(&place, "limited", options(mode, 1 << 43)).await.unwrap();
            counter.take(count(1)).await.unwrap();
            // From here on SIGXFSZ would come, and its default is the end.
            let limit = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
            setrlimit(Resource::Fsize, limit).unwrap();
            let error = counter.raise(2 << 20).await.unwrap_err();
            let CounterError::Failed(error) = &error else { panic!("{error}") };
            let ObeliskError::Refused(why) = &**error else { panic!("{error}") };
            assert_eq!(why.kind(), IoErrorKind::FileTooLarge, "{why}");
            let mut next = counter.stat().next;
            let refused = loop {
                match counter.take(count(1000)).await {
                    Ok(dealt) => {
                        assert!(dealt.start >= next);
                        next = dealt.end;
                    }
                    Err(error) => break error,
                }
            };
            assert!(matches!(refused, CounterError::Failed(_)), "{refused}");
            assert!(next > (1 << 20) - 3000, "it goes on up to the limit: {next}");
            let new = ObeliskFile::open(&place, "new", options(mode, 1 << 43)).await.unwrap_err();
            let ObeliskError::Unopened(why) = &new else { panic!("{new}") };
            assert_eq!(why.kind(), IoErrorKind::FileTooLarge, "{why}");
            counter.close().await.unwrap();
        }
    });
}

/// What a child does until it is killed.
fn deal_for_ever(place: PathBuf) {
    run(move || {
        let place = place.clone();
        async move {
            let mut counters = Vec::new();
            for (name, mode) in MODES {
                let counter = Counter::open(&place, name, options(mode, STRIDE)).await.unwrap();
                counters.push((name, counter));
            }
            loop {
                for (name, counter) in &counters {
                    let dealt = match counter.try_take(count(TAKE)) {
                        Some(dealt) => dealt,
                        None => counter.take(count(TAKE)).await.unwrap(),
                    };
                    println!("dealt {name} {} {}", dealt.start, dealt.end);
                }
            }
        }
    });
}

fn parse(line: &str) -> Option<(&str, Range<u64>)> {
    // The harness of the child says "test ... " in front of the first.
    let (_, dealt) = line.split_once("dealt ")?;
    let mut words = dealt.split(' ');
    let name = words.next()?;
    Some((name, words.next()?.parse().ok()?..words.next()?.parse().ok()?))
}

/// Everything that a child said it dealt: at least `least` of it, and what it said until it was dead.
fn listen(mut child: Child, least: usize) -> Vec<String> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said: Vec<String> = lines.by_ref().take(least).map(Result::unwrap).collect();
    child.kill().unwrap();
    said.extend(lines.map(Result::unwrap));
    child.wait().unwrap();
    said
}

#[test]
fn no_number_comes_twice_however_often_the_process_is_killed() {
    let name = "children::no_number_comes_twice_however_often_the_process_is_killed";
    if let Some(place) = place() {
        return deal_for_ever(place);
    }
    let rounds = std::env::var("PYRALOG_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let place = directory();
    let zeros = || MODES.map(|(name, _)| (name.to_owned(), 0)).into_iter();
    let mut dealt_below: BTreeMap<String, u64> = zeros().collect();
    let mut skipped: BTreeMap<String, u64> = zeros().collect();
    let mut dealt = 0;
    for round in 0..rounds.unwrap_or(40) {
        let started = child(name, place.path()).stdout(Stdio::piped()).spawn().unwrap();
        // From before the first number to well into the rollovers.
        let said = listen(started, round * 7919 % 613);
        for (name, range) in said.iter().filter_map(|line| parse(line)) {
            let below = dealt_below.get_mut(name).unwrap();
            assert!(*below <= range.start, "{name}: {range:?} after {below} in round {round}");
            let skip = skipped.get_mut(name).unwrap();
            *skip = (*skip).max(range.start - *below);
            *below = range.end;
            dealt += 1;
        }
    }
    println!("{dealt} dealt, below {dealt_below:?}, skipped at most {skipped:?}");
    assert!(dealt > 0);
    // Rounds that are killed before they say anything skip as well.
    let silent = 4;
    assert!(skipped["always"] <= 2 * TAKE * silent, "{skipped:?}");
    assert!(skipped["reserve"] <= (500 + 2 * TAKE) * silent, "{skipped:?}");
}

#[test]
fn another_process_is_refused_until_the_owner_has_ended() {
    let name = "children::another_process_is_refused_until_the_owner_has_ended";
    if let Some(place) = place() {
        return deal_for_ever(place);
    }
    let place = directory();
    let mut owner = child(name, place.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    // All of them have dealt when the last has.
    let is_last = |line: &str| parse(line).is_some_and(|(name, _)| name == "reserve");
    lines.find(|line| is_last(line.as_ref().unwrap())).unwrap().unwrap();
    let at = place.path().to_owned();
    run(move || {
        let at = at.clone();
        async move {
            for (name, mode) in MODES {
                let error = ObeliskFile::open(&at, name, options(mode, STRIDE)).await.unwrap_err();
                assert!(matches!(error, ObeliskError::AlreadyOpen { .. }), "{error}");
            }
        }
    });
    owner.kill().unwrap();
    lines.for_each(drop);
    owner.wait().unwrap();
    let at = place.path().to_owned();
    run(move || {
        let at = at.clone();
        async move {
            for (name, mode) in MODES {
                let (_, value) = ObeliskFile::open(&at, name, options(mode, STRIDE)).await.unwrap();
                assert!(value > 0);
            }
        }
    });
}
