//! Each verdict, from facts that this machine need not have.

use pyralog_runtime::probe::{Kernel, UringFeatures};

use super::*;

const UNLIMITED: ProcessLimit = ProcessLimit { soft: None, hard: None };

const NOW_SECONDS: u64 = 1_793_491_200;

fn limit(bytes: u64) -> ProcessLimit {
    ProcessLimit { soft: Some(bytes), hard: Some(bytes) }
}

fn good() -> Facts {
    Facts {
        kernel: Kernel { release: "6.18.44-generic".to_owned(), machine: "x86_64".to_owned() },
        uring: Ok(UringFeatures {
            operations_missing: vec![],
            no_drop: true,
            fast_poll: true,
            native_workers: true,
        }),
        memlock: UNLIMITED,
        file_size: UNLIMITED,
        open_files: limit(65_536),
        processors: 4,
        shards: 4,
        memory_bytes: Some(8 << 30),
        clock: Clock { unix_seconds: NOW_SECONDS, source: Some("tsc".to_owned()) },
        segment_bytes: 1 << 30,
        storage: Some(Storage {
            directory: "/data".into(),
            file_system: Ok("ext4".to_owned()),
            free_bytes: Ok(100 << 30),
            marks: Ok(vec![]),
            writes: Some(Ok(WriteProbe {
                p50: Duration::from_micros(120),
                p99: Duration::from_micros(400),
                max: Duration::from_millis(2),
                samples: 1000,
            })),
        }),
    }
}

/// The one verdict on `facts` that is not ok, as `level check`.
fn trouble(change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = good();
    change(&mut facts);
    let all = all(&facts);
    let bad: Vec<&Verdict> = all.iter().filter(|verdict| verdict.level != Level::Ok).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0].advice.is_some() || bad[0].level == Level::Skip, "{bad:?}");
    format!("{} {}", bad[0].level.word(), bad[0].check)
}

fn storage(facts: &mut Facts) -> &mut Storage {
    facts.storage.as_mut().unwrap()
}

#[test]
fn a_good_machine_is_ok_throughout() {
    assert!(all(&good()).iter().all(|verdict| verdict.level == Level::Ok));
}

#[test]
fn old_kernels_and_missing_operations_fail() {
    assert_eq!(trouble(|facts| "5.4.0".clone_into(&mut facts.kernel.release)), "fail kernel");
    assert_eq!(trouble(|facts| "5.10.0".clone_into(&mut facts.kernel.release)), "warn kernel");
    assert_eq!(trouble(|facts| facts.uring = Err("EPERM".to_owned())), "fail io_uring");
    let lacking = trouble(|facts| {
        let features = facts.uring.as_mut().unwrap();
        features.operations_missing = vec!["SEND"];
    });
    assert_eq!(lacking, "fail io_uring");
}

#[test]
fn limits_that_are_too_low_say_which_to_raise() {
    assert_eq!(trouble(|facts| facts.memlock = limit(1 << 20)), "fail memlock");
    assert_eq!(trouble(|facts| facts.memlock = limit(8 << 20)), "warn memlock");
    assert_eq!(trouble(|facts| facts.file_size = limit(1 << 20)), "fail file size");
    assert_eq!(trouble(|facts| facts.file_size = limit(2 << 30)), "fail file size");
    assert_eq!(trouble(|facts| facts.open_files = limit(1024)), "warn open files");
    assert_eq!(trouble(|facts| facts.shards = 8), "warn processors");
    assert_eq!(trouble(|facts| facts.memory_bytes = Some(1 << 28)), "warn memory");
}

#[test]
fn a_wrong_or_slow_clock_is_noticed() {
    assert_eq!(trouble(|facts| facts.clock.unix_seconds = 0), "fail clock");
    assert_eq!(trouble(|facts| facts.clock.source = Some("hpet".to_owned())), "warn clock");
}

#[test]
fn the_place_of_the_data_is_judged() {
    let on = |kind: &str| trouble(|facts| storage(facts).file_system = Ok(kind.to_owned()));
    assert_eq!(on("tmpfs"), "fail file system");
    assert_eq!(on("nfs4"), "warn file system");
    assert_eq!(on("btrfs"), "warn file system");
    assert_eq!(trouble(|facts| storage(facts).free_bytes = Ok(1 << 30)), "warn free space");
    let unwritable = trouble(|facts| storage(facts).writes = Some(Err("EACCES".to_owned())));
    assert_eq!(unwritable, "fail direct I/O");
    assert_eq!(trouble(|facts| storage(facts).writes = None), "skip direct I/O");
    assert_eq!(trouble(|facts| facts.storage = None), "skip storage");
}

#[test]
fn syncs_too_slow_or_too_fast_are_noticed() {
    let with = |p50_us: u64, p99_us: u64| {
        trouble(|facts| {
            storage(facts).writes = Some(Ok(WriteProbe {
                p50: Duration::from_micros(p50_us),
                p99: Duration::from_micros(p99_us),
                max: Duration::from_micros(p99_us),
                samples: 100,
            }));
        })
    };
    assert_eq!(with(5_000, 30_000), "warn sync latency");
    assert_eq!(with(2, 9), "warn sync latency");
}

#[test]
fn the_clock_must_go_on_where_the_ids_ended() {
    let mark = |unix_ms| Mark { name: "shard-0".to_owned(), unix_ms };
    let at = |seconds: u64| mark(Ok(seconds * 1000));
    let of = |marks: Vec<Mark>| ids(&Ok(marks), NOW_SECONDS).level;
    assert_eq!(of(vec![at(NOW_SECONDS + 4), at(7)]), Level::Ok);
    assert_eq!(of(vec![at(NOW_SECONDS - 86_400 * 29)]), Level::Ok);
    assert_eq!(of(vec![at(7), at(NOW_SECONDS + 6)]), Level::Warn, "the clock went back");
    assert_eq!(
        of(vec![at(NOW_SECONDS - 86_400 * 31)]),
        Level::Warn,
        "the server was down for long"
    );
    assert_eq!(of(vec![at(NOW_SECONDS), mark(Err("damaged".to_owned()))]), Level::Fail);
    let unreadable = trouble(|facts| storage(facts).marks = Err("EACCES".to_owned()));
    assert_eq!(unreadable, "fail ids");
}
