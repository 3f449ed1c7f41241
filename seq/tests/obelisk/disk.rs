//! Obelisks on a real disk.

use super::{count, options};
use pyralog_runtime::{Core, MachineConfig, spawn_blocking, start, time};
use pyralog_seq::counter::Counter;
use pyralog_seq::limits::{BLOCK_DEFAULT, STRIDE_MAX};
use pyralog_seq::obelisk::Mode;
use pyralog_seq::obelisk_file::{ObeliskError, ObeliskFile, Options, names};
use std::future::Future;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Runs `main` on one core and passes its panic on.
pub(crate) fn run<F: Future<Output = ()> + 'static>(main: impl Fn() -> F + Clone + Send + 'static) {
    let config = MachineConfig {
        buffer_bytes: 4 << 20,
        name: "obelisk".to_owned(),
        ..MachineConfig::default()
    };
    let machine = start(&config, move |_: Core| main()).unwrap();
    if let Err(error) = machine.join() {
        panic!("{error}");
    }
}

/// Runs `test` with a directory on the disk below `target`.
fn run_in<F: Future<Output = ()> + 'static>(test: impl Fn(PathBuf) -> F + Clone + Send + 'static) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().to_owned();
    run(move || test(path.clone()));
}

/// Bytes that the files of an obelisk take.
fn taken(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

#[test]
fn a_counter_of_a_million_blocks_takes_less_than_8_kib() {
    run_in(|directory| async move {
        let options = Options::default();
        let (mut obelisk, _) = ObeliskFile::open(&directory, "large", options).await.unwrap();
        for millions in 1..=10 {
            obelisk.extend_to(millions * 100_000 * BLOCK_DEFAULT).await.unwrap();
        }
        assert_eq!(obelisk.stat().allocated_bytes, 0, "it is one hole");
        obelisk.close().await.unwrap();
        assert!(taken(&directory.join("large")) < 8192);
        let (obelisk, value) = ObeliskFile::open(&directory, "large", options).await.unwrap();
        assert_eq!(value, 1_000_000 * BLOCK_DEFAULT);
        assert_eq!(obelisk.stat().stride, STRIDE_MAX, "the disk of these tests takes 8 TiB");
    });
}

#[test]
fn generations_follow_one_another_and_one_process_has_one_owner() {
    run_in(|directory| async move {
        let options = options(Mode::Always, 256);
        let (mut obelisk, value) = ObeliskFile::open(&directory, "b", options).await.unwrap();
        assert_eq!(value, 0);
        for value in [1, 255, 256, 257, 511, 512, 5000] {
            obelisk.extend_to(value).await.unwrap();
            let again = ObeliskFile::open(&directory, "b", options).await.unwrap_err();
            assert!(matches!(again, ObeliskError::AlreadyOpen { .. }), "{again}");
        }
        let files = std::fs::read_dir(directory.join("b")).unwrap();
        let mut files: Vec<_> = files.map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["00000013.obelisk", "sidecar"]);
        drop(obelisk);
        drop(ObeliskFile::open(&directory, "a", options).await.unwrap());
        assert_eq!(names(&directory).await.unwrap(), ["a", "b"]);
        assert_eq!(ObeliskFile::open(&directory, "b", options).await.unwrap().1, 5000);
    });
}

#[test]
fn a_file_cut_by_somebody_else_is_refused_and_one_grown_meanwhile_is_not_cut() {
    run_in(|directory| async move {
        let options = options(Mode::Group, STRIDE_MAX);
        let (mut obelisk, _) = ObeliskFile::open(&directory, "c", options).await.unwrap();
        obelisk.extend_to(1000).await.unwrap();
        let path = directory.join("c/00000000.obelisk");
        let other = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        other.set_len(1 << 30).unwrap();
        let error = obelisk.extend_to(1001).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("somebody else"), "{error}");
        obelisk.extend_to((1 << 30) + 1).await.unwrap();
        drop(obelisk);
        other.set_len(999).unwrap();
        let error = ObeliskFile::open(&directory, "c", options).await.unwrap_err();
        let ObeliskError::CameBackShorter { found: 999, at_least: 1000, .. } = error else {
            panic!("{error}")
        };
    });
}

#[test]
fn every_mode_deals_every_number_once_in_order() {
    run_in(|directory| async move {
        for (name, mode) in
            [("always", Mode::Always), ("group", Mode::Group), ("reserve", Mode::reserve(100))]
        {
            let mut next = 0;
            for _ in 0..3 {
                let counter = Counter::open(&directory, name, options(mode, 256)).await.unwrap();
                for _ in 0..40 {
                    let dealt = counter.take(count(7)).await.unwrap();
                    assert!(dealt.start >= next && dealt.end == dealt.start + 7);
                    assert!(dealt.start - next <= 100);
                    assert!(name == "reserve" || dealt.start == next, "{name}: {dealt:?}");
                    next = dealt.end;
                }
                counter.close().await.unwrap();
            }
        }
    });
}

#[test]
fn thousands_of_counters_are_found_where_they_were_left() {
    let asked = std::env::var("PYRALOG_SEQ_COUNTERS").ok().and_then(|text| text.parse().ok());
    let counters: u64 = asked.unwrap_or(1000);
    run_in(move |directory| async move {
        let options = Options::default();
        let (mut first, _) = ObeliskFile::open(&directory, "0", options).await.unwrap();
        first.extend_to(1).await.unwrap();
        first.close().await.unwrap();
        // Copies of the first, each a little further: to make them in order takes five syncs each.
        let place = directory.clone();
        let copying = spawn_blocking(move || {
            for number in 1..counters {
                let made = place.join(number.to_string());
                std::fs::create_dir(&made).unwrap();
                std::fs::copy(place.join("0/sidecar"), made.join("sidecar")).unwrap();
                let file = std::fs::File::create(made.join("00000000.obelisk")).unwrap();
                file.set_len(number + 1).unwrap();
            }
        });
        copying.await.unwrap();
        let started = time::now();
        let found = names(&directory).await.unwrap();
        assert_eq!(found.len() as u64, counters);
        for name in &found {
            let number: u64 = name.parse().unwrap();
            let (_, value) = ObeliskFile::open(&directory, name, options).await.unwrap();
            assert_eq!(value, number + 1);
        }
        println!("{counters} counters opened in {:?}", time::now().since(started));
    });
}
