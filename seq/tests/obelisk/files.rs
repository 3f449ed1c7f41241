//! The file of an obelisk on a simulated disk that dies at every call, fails, fills up and is tampered with.

use super::{DIRECTORY, on_core, options, try_on_core};
use pyralog_runtime::file::{self, DirectFile};
use pyralog_runtime::sim::{Crash, DiskFaults, NodeId, Simulation};
use pyralog_runtime::{IoErrorKind, spawn, time, yield_now};
use pyralog_seq::obelisk::Mode;
use pyralog_seq::obelisk_file::{ObeliskError, ObeliskFile, Options, names};
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

const NAME: &str = "orders";
const STRIDE: u64 = 16;
/// More calls than any step of an obelisk makes.
const CALLS: u64 = 40;

fn small() -> Options {
    options(Mode::Group, STRIDE)
}

async fn open() -> Result<(ObeliskFile, u64), ObeliskError> {
    ObeliskFile::open(DIRECTORY, NAME, small()).await
}

/// Opens it and extends it to each of `values`; says which was the last that is durable.
async fn extend(values: &[u64]) -> u64 {
    let (mut obelisk, _) = open().await.unwrap();
    for value in values {
        obelisk.extend_to(*value).await.unwrap();
    }
    obelisk.value()
}

fn path(name: &str) -> String {
    format!("{DIRECTORY}/{NAME}/{name}")
}

async fn files() -> Vec<String> {
    let entries = file::list_dir(format!("{DIRECTORY}/{NAME}")).await.unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn world(seed: u64) -> (Simulation, NodeId) {
    let world = Simulation::new(seed);
    let node = world.add_node("counting");
    (world, node)
}

#[test]
fn a_new_obelisk_is_at_zero_and_comes_back_at_its_last_extension() {
    let (world, node) = world(1);
    on_core(&world, node, || async {
        assert_eq!(names(DIRECTORY).await.unwrap(), [""; 0]);
        let (mut obelisk, value) = open().await.unwrap();
        assert_eq!(value, 0);
        obelisk.extend_to(5).await.unwrap();
        let stat = obelisk.stat();
        assert_eq!((stat.value, stat.generation, stat.stride, stat.bound), (5, 0, STRIDE, 5));
        assert_eq!((stat.mode, stat.is_poisoned), (Mode::Group, false));
        obelisk.extend_to(9).await.unwrap();
        assert_eq!(obelisk.stat().bound, 5, "not every extension is noted");
        obelisk.close().await.unwrap();
        let other = options(Mode::Always, 1 << 20);
        let (obelisk, value) = ObeliskFile::open(DIRECTORY, NAME, other).await.unwrap();
        let stat = obelisk.stat();
        assert_eq!((value, stat.bound), (9, 9), "closing notes the last");
        assert_eq!((stat.mode, stat.stride), (Mode::Group, STRIDE), "it stays what it is");
        assert_eq!(names(DIRECTORY).await.unwrap(), [NAME]);
        assert_eq!(files().await, ["00000000.obelisk", "sidecar"]);
    });
}

#[test]
fn a_generation_that_is_full_gives_way_to_the_next_and_far_raises_skip_some() {
    let (world, node) = world(2);
    on_core(&world, node, || async {
        let (mut obelisk, _) = open().await.unwrap();
        for value in 1..=40 {
            obelisk.extend_to(value).await.unwrap();
            let stat = obelisk.stat();
            assert_eq!((stat.value, u64::from(stat.generation)), (value, value / STRIDE));
        }
        assert_eq!(files().await, ["00000002.obelisk", "sidecar"]);
        obelisk.extend_to(16 * 300 + 3).await.unwrap();
        drop(obelisk);
        let (obelisk, value) = open().await.unwrap();
        assert_eq!((value, obelisk.stat().generation), (16 * 300 + 3, 300));
        assert_eq!(files().await, ["0000012c.obelisk", "sidecar"]);
    });
}

/// Runs `step` on an obelisk that was prepared, with a death after every number of calls, and checks what a next life
/// finds: at least what was durable before, at most what was asked for, exactly that if the step had ended.
fn dies_everywhere<F>(before: &'static [u64], at_most: u64, step: fn(Rc<Cell<u64>>) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let mut seen = [0, 0];
    for crash in [Crash::Process, Crash::Power] {
        for calls in 1..CALLS {
            for seed in 0..8 {
                let (world, node) = world(seed * CALLS + calls);
                let durable = Rc::new(Cell::new(0));
                if !before.is_empty() {
                    durable.set(on_core(&world, node, move || extend(before)));
                }
                world.crash_after_calls(node, calls, crash);
                let told = Rc::clone(&durable);
                let ended = try_on_core(&world, node, move || step(told)).is_some();
                world.crash(node, crash);
                let at_least = durable.get();
                let found = on_core(&world, node, || async {
                    let (mut obelisk, found) = open().await.unwrap();
                    // It works, and that is durable.
                    obelisk.extend_to(found + 20).await.unwrap();
                    found
                });
                assert!((at_least..=at_most).contains(&found), "{found}, {at_least} was durable");
                world.crash(node, Crash::Power);
                let again = on_core(&world, node, || async { open().await.unwrap().1 });
                assert_eq!(again, found + 20);
                seen[usize::from(ended)] += 1;
            }
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "deaths and ends: {seen:?}");
}

#[test]
fn a_death_at_any_call_of_a_creation_leaves_an_obelisk_at_zero() {
    dies_everywhere(&[], 0, |_| async {
        // Err: it died on the way.
        open().await.ok();
    });
}

#[test]
fn a_death_at_any_call_of_an_extension_leaves_either_value() {
    dies_everywhere(&[3], 9, |durable| async move {
        let Ok((mut obelisk, _)) = open().await else { return };
        if obelisk.extend_to(9).await.is_ok() {
            durable.set(9);
        }
    });
}

#[test]
fn a_death_at_any_call_of_a_rollover_leaves_no_less_than_was_durable() {
    dies_everywhere(&[3, 15], 18, |durable| async move {
        let Ok((mut obelisk, _)) = open().await else { return };
        if obelisk.extend_to(18).await.is_ok() {
            durable.set(18);
        }
    });
}

#[test]
fn a_death_at_any_call_of_a_raise_leaves_no_less_than_was_durable() {
    dies_everywhere(&[3, 15], 100, |durable| async move {
        if let Ok((_, value)) = ObeliskFile::raise_to(DIRECTORY, NAME, small(), 100).await {
            durable.set(value);
        }
    });
}

/// World seed 974327520382: a start was told the length of a generation whose maker had died before its sync.
#[test]
fn what_a_start_has_found_is_durable_before_it_is_told() {
    let mut unsynced = 0;
    for value in [9, 18] {
        for calls in 1..CALLS {
            for seed in 0..8 {
                let (world, node) = world(seed * CALLS + calls);
                on_core(&world, node, || extend(&[3]));
                world.crash_after_calls(node, calls, Crash::Process);
                let ended = try_on_core(&world, node, move || async move {
                    let (mut obelisk, _) = open().await.unwrap();
                    obelisk.extend_to(value).await.unwrap();
                });
                world.crash(node, Crash::Process);
                let told = on_core(&world, node, || async { open().await.unwrap().1 });
                unsynced += usize::from(ended.is_none() && told > 3);
                world.crash(node, Crash::Power);
                let found = on_core(&world, node, || async { open().await.unwrap().1 });
                assert_eq!(found, told, "asked for {value}, died at call {calls}");
            }
        }
    }
    assert!(unsynced > 0, "no death came before a sync");
}

/// World seed 712000012779: the sync of a creation had failed, and the next who asked for the counter was told that it is there.
#[test]
fn what_is_said_to_be_there_is_there_after_a_loss_of_power() {
    let mut found = 0;
    for calls in 1..CALLS {
        for seed in 0..16 {
            let (world, node) = world(seed * CALLS + calls);
            world.crash_after_calls(node, calls, Crash::Process);
            try_on_core(&world, node, || async { open().await.unwrap() });
            world.crash(node, Crash::Process);
            let is_made = || {
                on_core(&world, node, || async {
                    ObeliskFile::open_made(DIRECTORY, NAME).await.is_ok()
                })
            };
            if !is_made() {
                continue;
            }
            found += 1;
            world.crash(node, Crash::Power);
            assert!(is_made(), "died at call {calls}, seed {seed}");
        }
    }
    assert!(found > 0, "every creation was cut short");
}

#[test]
fn a_failed_sync_poisons_and_the_next_opening_trusts_nothing_of_it() {
    for (seed, value) in (0..60).zip([9, 20].into_iter().cycle()) {
        let (world, node) = world(seed);
        on_core(&world, node, || extend(&[3]));
        let faults = DiskFaults { sync_error: 1_000_000, ..DiskFaults::default() };
        world.set_disk_faults(node, faults);
        on_core(&world, node, move || async move {
            let (mut obelisk, _) = open().await.unwrap();
            let error = obelisk.extend_to(value).await.unwrap_err();
            assert!(matches!(error, ObeliskError::Unsynced(_)), "{error}");
            assert!(!error.is_retryable() && obelisk.stat().is_poisoned);
            let error = obelisk.extend_to(30).await.unwrap_err();
            assert!(matches!(error, ObeliskError::Poisoned), "{error}");
            assert!(matches!(open().await.unwrap_err(), ObeliskError::AlreadyOpen { .. }));
            obelisk.close().await.unwrap();
        });
        world.set_disk_faults(node, DiskFaults::default());
        let reopened = on_core(&world, node, || async {
            let (mut obelisk, found) = open().await.unwrap();
            assert!(found >= 3);
            obelisk.extend_to(found + 1).await.unwrap();
            found + 1
        });
        world.crash(node, Crash::Power);
        let found = on_core(&world, node, || async { open().await.unwrap().1 });
        assert_eq!(found, reopened, "what was synced after the opening is durable");
    }
}

#[test]
fn a_limit_changes_nothing_and_when_it_is_gone_it_goes_on() {
    for crash in [None, Some(Crash::Process), Some(Crash::Power)] {
        let (world, node) = world(5);
        let wide = || ObeliskFile::open(DIRECTORY, NAME, options(Mode::Group, 1 << 20));
        on_core(&world, node, move || async move {
            wide().await.unwrap().0.extend_to(500).await.unwrap();
        });
        world.set_file_size_limit(node, Some(1024));
        // Within the generation, and when the next has been made already.
        for value in [5000, (1 << 20) + 5000] {
            on_core(&world, node, move || async move {
                let (mut obelisk, found) = wide().await.unwrap();
                let error = obelisk.extend_to(value.max(found + 2000)).await.unwrap_err();
                let ObeliskError::Refused(why) = &error else { panic!("{error}") };
                assert_eq!((why.kind(), error.is_retryable()), (IoErrorKind::FileTooLarge, true));
                assert_eq!((obelisk.value(), obelisk.stat().is_poisoned), (found, false));
                obelisk.extend_to(found + 200).await.unwrap();
            });
        }
        if let Some(crash) = crash {
            world.crash(node, crash);
        }
        world.set_file_size_limit(node, None);
        on_core(&world, node, move || async move {
            let (mut obelisk, found) = wide().await.unwrap();
            assert!((900..=1 << 20).contains(&found), "{found}");
            let next = (1 << 20) + 7000;
            obelisk.extend_to(next).await.unwrap();
            assert_eq!((obelisk.value(), obelisk.stat().generation), (next, 1));
        });
    }
}

#[test]
fn a_generation_goes_only_when_the_name_of_the_next_is_durable() {
    for (seed, sync_error) in (0..80).zip([0, 1_000_000].into_iter().cycle()) {
        let (world, node) = world(seed);
        let open = || ObeliskFile::open(DIRECTORY, NAME, options(Mode::Group, 4096));
        on_core(&world, node, move || async move {
            open().await.unwrap().0.extend_to(500).await.unwrap();
        });
        // The next generation is made, cannot be lengthened, and nobody syncs its name.
        world.set_file_size_limit(node, Some(1024));
        on_core(&world, node, move || async move {
            let error = open().await.unwrap().0.extend_to(4096 + 2000).await.unwrap_err();
            assert!(matches!(error, ObeliskError::Refused(_)), "{error}");
        });
        world.set_disk_faults(node, DiskFaults { sync_error, ..DiskFaults::default() });
        on_core(&world, node, move || async move {
            match open().await {
                Ok((_, value)) => assert_eq!((value, sync_error), (4096, 0)),
                Err(ObeliskError::Unopened(_)) => assert!(sync_error > 0),
                Err(error) => panic!("{error}"),
            }
        });
        world.set_disk_faults(node, DiskFaults::default());
        world.crash(node, Crash::Power);
        let found = on_core(&world, node, move || async move { open().await.unwrap().1 });
        assert!(found >= 500, "{found}");
    }
}

#[test]
fn a_full_disk_keeps_no_counter_from_counting() {
    let (world, node) = world(11);
    on_core(&world, node, || extend(&[1]));
    world.set_disk_capacity(node, Some(4096));
    let (value, bound) = on_core(&world, node, || async {
        let other = ObeliskFile::open(DIRECTORY, "other", small()).await;
        let ObeliskError::Unopened(error) = other.unwrap_err() else { panic!("there is no room") };
        assert_eq!(error.kind(), IoErrorKind::NoSpace, "{error}");
        let (mut obelisk, _) = open().await.unwrap();
        for value in 2..50 {
            obelisk.extend_to(value).await.unwrap();
        }
        let stat = obelisk.stat();
        assert!(matches!(obelisk.close().await.unwrap_err(), ObeliskError::Refused(_)));
        (stat.value, stat.bound)
    });
    assert_eq!((value, bound), (49, 1), "a hole has room; the note has none");
    world.set_disk_capacity(node, None);
    on_core(&world, node, || async {
        assert_eq!(open().await.unwrap().1, 49);
        // What was begun is there, and is made now.
        assert_eq!(names(DIRECTORY).await.unwrap(), [NAME, "other"]);
        assert_eq!(ObeliskFile::open(DIRECTORY, "other", small()).await.unwrap().1, 0);
    });
}

#[test]
fn the_stride_is_what_the_file_system_allows() {
    let (world, node) = world(6);
    world.set_file_size_limit(node, Some((1 << 43) - 4096));
    let stat = on_core(&world, node, || async {
        ObeliskFile::open(DIRECTORY, NAME, Options::default()).await.unwrap().0.stat()
    });
    assert_eq!(stat.stride, 1 << 42);
    world.set_file_size_limit(node, Some((1 << 32) - 4096));
    on_core(&world, node, || async {
        let fat = ObeliskFile::open(DIRECTORY, "fat", Options::default()).await;
        let ObeliskError::Unopened(error) = fat.unwrap_err() else { panic!("it has no holes") };
        assert_eq!(error.kind(), IoErrorKind::FileTooLarge, "{error}");
        // On a file system with shorter files, a raise begins generations of its own length.
        let (obelisk, value) = ObeliskFile::raise_to(DIRECTORY, NAME, small(), 1000).await.unwrap();
        let stat = obelisk.stat();
        assert_eq!((value, stat.stride, stat.generation), (1000, STRIDE, 62));
        drop(obelisk);
        assert_eq!(open().await.unwrap().1, 1000);
    });
}

/// Does something to the files of an obelisk at 40, bound 39, that is closed.
fn tampered<F: Future<Output = ()> + 'static>(
    how: impl FnOnce() -> F + 'static,
    refused: impl Fn(&ObeliskError) -> bool + 'static,
    raised_to: u64,
) {
    let (world, node) = world(7);
    on_core(&world, node, move || async move {
        extend(&[39, 40]).await;
        how().await;
        let error = open().await.unwrap_err();
        assert!(refused(&error), "{error}");
        assert!(refused(&open().await.unwrap_err()), "it stays refused");
        let wide = options(Mode::Group, 1 << 43);
        let (obelisk, value) = ObeliskFile::raise_to(DIRECTORY, NAME, wide, 30).await.unwrap();
        assert_eq!((value, obelisk.stat().bound), (raised_to, raised_to));
        drop(obelisk);
        let (mut obelisk, value) = open().await.unwrap();
        assert_eq!(value, raised_to);
        obelisk.extend_to(value + 1).await.unwrap();
        assert_eq!(files().await.len(), 2);
    });
}

#[test]
fn a_file_that_came_back_shorter_is_refused_until_it_is_raised() {
    let shorter = |found| {
        move |error: &ObeliskError| match error {
            ObeliskError::CameBackShorter { found: it, at_least: 39, .. } => *it == found,
            _ => false,
        }
    };
    let cut = || async {
        let file = DirectFile::open(path("00000002.obelisk")).await.unwrap();
        file.set_len(2).await.unwrap();
    };
    tampered(cut, shorter(34), 40);
    let removed = || async { file::remove_file(path("00000002.obelisk")).await.unwrap() };
    tampered(removed, shorter(0), 40);
    let older = || async {
        file::rename(path("00000002.obelisk"), path("00000001.obelisk")).await.unwrap();
    };
    tampered(older, shorter(24), 40);
}

#[test]
fn an_obelisk_without_a_sound_sidecar_is_refused_until_it_is_raised() {
    let unattested = |error: &ObeliskError| matches!(error, ObeliskError::Unattested { .. });
    // Without a stride, the largest is supposed: 2 * 2^43 + 8, and one beyond.
    let above = (2 << 43) + 9;
    let lost = || async { file::remove_file(path("sidecar")).await.unwrap() };
    tampered(lost, unattested, above);
    let garbled = || async {
        file::write_small_atomic(path("sidecar"), vec![7; 64]).await.unwrap();
    };
    tampered(garbled, unattested, above);
}

#[test]
fn a_file_that_came_back_longer_or_an_old_one_beside_it_only_skips_numbers() {
    let (world, node) = world(8);
    on_core(&world, node, || async {
        extend(&[40]).await;
        drop(DirectFile::create_new(path("00000001.obelisk"), 4096).await.unwrap());
        drop(DirectFile::create_new(path("1.obelisk"), 0).await.unwrap());
        let (mut obelisk, value) = open().await.unwrap();
        assert_eq!(value, 16 + 4096);
        obelisk.extend_to(value + 1).await.unwrap();
        let number = (value + 1) / STRIDE;
        let expected = [format!("{number:08x}.obelisk"), "1.obelisk".into(), "sidecar".into()];
        assert_eq!(files().await, expected);
    });
}

#[test]
fn one_opener_at_a_time_wins_also_when_it_is_made() {
    for seed in 0..30 {
        let (world, node) = world(seed);
        on_core(&world, node, || async {
            let openers: Vec<_> = (0..4).map(|_| spawn(open())).collect();
            let mut won = Vec::new();
            for opener in openers {
                match opener.await.unwrap() {
                    Ok(opened) => won.push(opened),
                    Err(error) => {
                        assert!(matches!(error, ObeliskError::AlreadyOpen { .. }), "{error}");
                    }
                }
            }
            assert_eq!(won.len(), 1);
            let (mut obelisk, _) = won.remove(0);
            let rolling = spawn(async move {
                for value in 1..200 {
                    obelisk.extend_to(value * 5).await.unwrap();
                }
                obelisk
            });
            while !rolling.is_finished() {
                let error = open().await.unwrap_err();
                assert!(matches!(error, ObeliskError::AlreadyOpen { .. }), "{error}");
            }
            rolling.await.unwrap().close().await.unwrap();
            assert_eq!(open().await.unwrap().1, 995);
        });
    }
}

#[test]
fn an_extension_that_nobody_waits_for_poisons() {
    let (world, node) = world(9);
    on_core(&world, node, || async {
        let (mut obelisk, _) = open().await.unwrap();
        {
            let mut abandoned = std::pin::pin!(obelisk.extend_to(5));
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(abandoned.as_mut().poll(context).is_pending())
            });
            assert!(polled.await);
            yield_now().await;
        }
        let error = obelisk.extend_to(6).await.unwrap_err();
        assert!(matches!(error, ObeliskError::Poisoned), "{error}");
        time::sleep(Duration::from_secs(1)).await;
        assert_eq!(open().await.unwrap().1, 5, "it went on, and let go of the file");
    });
}

#[test]
fn a_creation_that_was_cut_short_is_taken_up_by_the_next_and_by_nobody_who_only_opens() {
    let (world, node) = world(11);
    on_core(&world, node, || async {
        let not_made = |opened: Result<(ObeliskFile, u64), ObeliskError>| {
            matches!(opened, Err(ObeliskError::NotMade { .. }))
        };
        assert!(not_made(ObeliskFile::open_made(DIRECTORY, NAME).await));
        assert_eq!(names(DIRECTORY).await.unwrap(), [""; 0], "whoever only opens makes nothing");
        file::create_dir_all(format!("{DIRECTORY}/{NAME}")).await.unwrap();
        assert!(not_made(ObeliskFile::open_made(DIRECTORY, NAME).await));
        let (made, value) = open().await.unwrap();
        assert_eq!((made.stat().mode, value), (Mode::Group, 0));
        drop(made);
        let (found, value) = ObeliskFile::open_made(DIRECTORY, NAME).await.unwrap();
        assert_eq!((found.stat().mode, value), (Mode::Group, 0));
    });
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let (world, node) = world(10);
    on_core(&world, node, || async {
        for name in ["", ".", "..", "../x", "a/b", "a b", "\u{e4}", &"a".repeat(201)] {
            let error = ObeliskFile::open(DIRECTORY, name, small()).await.unwrap_err();
            assert!(matches!(error, ObeliskError::BadName { .. }), "{error}");
        }
        for name in ["a", "_a", "A-9.z", &"a".repeat(200)] {
            ObeliskFile::open(DIRECTORY, name, small()).await.unwrap();
        }
    });
}
