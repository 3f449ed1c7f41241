//! Short measurements: that they come to something, end, and leave nothing behind.

use super::*;

fn short(directory: &std::path::Path, only: &[CeilingName]) -> Vec<Ceiling> {
    let budget = Duration::from_millis(200);
    let options =
        CeilingOptions { only: only.to_vec(), ..CeilingOptions::new(directory.to_owned(), budget) };
    measure(&options).unwrap()
}

#[test]
fn every_ceiling_without_a_disk_has_samples_of_a_believable_size() {
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<_> = ALL.into_iter().filter(|name| !disk::MEASURED.contains(name)).collect();
    let ceilings = short(directory.path(), &names);
    assert_eq!(ceilings.iter().map(|ceiling| ceiling.name).collect::<Vec<_>>(), names);
    for ceiling in &ceilings {
        assert_eq!(ceiling.samples.len(), ROUNDS_MIN as usize, "{ceiling:?}");
        assert!(ceiling.samples.iter().all(|sample| (1e3..1e12).contains(sample)), "{ceiling:?}");
    }
    let echo = ceilings.iter().find(|ceiling| ceiling.name == CeilingName::TcpEcho).unwrap();
    assert!(echo.latency.as_ref().unwrap().count > 3, "{echo:?}");
}

#[test]
fn ceilings_of_the_disk_leave_nothing_in_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let ceilings = short(directory.path(), &disk::MEASURED);
    assert_eq!(ceilings.len(), disk::MEASURED.len());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_processor_that_is_not_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = CeilingOptions {
        load_cpu: 100_000,
        ..CeilingOptions::new(directory.path().to_owned(), QUICK)
    };
    let error = measure(&options).unwrap_err();
    assert!(error.to_string().contains("may not use CPU 100000"), "{error:#}");
}

/// Prepares files of `file_bytes` in `place`; what is there then, or why it was refused.
fn prepared(place: &std::path::Path, file_bytes: u64) -> Result<bool, String> {
    let (sender, receiver) = mpsc::channel();
    let place = place.to_owned();
    let machine = start(&MachineConfig::default(), move |_core| {
        let (place, sender) = (place.clone(), sender.clone());
        async move {
            let ground = Ground::prepare(&place, file_bytes).await;
            let named = ground.as_ref().map(|_| place.exists()).map_err(ToString::to_string);
            sender.send(named).unwrap();
        }
    });
    machine.unwrap().join().unwrap();
    receiver.try_recv().unwrap()
}

#[test]
fn a_full_file_system_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let refused = prepared(directory.path(), 1 << 60).expect_err("no disk has two EiB free");
    assert!(refused.contains("MiB are free"), "{refused}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn the_files_have_lost_their_names_before_anything_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("place");
    std::fs::create_dir(&place).unwrap();
    assert_eq!(prepared(&place, 1 << 20), Ok(false), "a killed measurement would leave them");
}

#[test]
fn a_budget_is_spent_on_an_odd_number_of_rounds_within_it() {
    for budget in [Duration::ZERO, QUICK, FULL, FULL * 100] {
        let plan = Plan::new(&CeilingOptions::new(PathBuf::from("."), budget));
        assert!(plan.rounds % 2 == 1 && (ROUNDS_MIN..=ROUNDS_MAX).contains(&plan.rounds));
        let samples = plan.rounds * u32::try_from(ALL.len()).unwrap();
        assert!(budget < QUICK || plan.slice * samples <= budget, "{plan:?}");
        assert!(budget < QUICK || plan.slice >= Duration::from_millis(100), "{plan:?}");
    }
}

#[test]
fn the_table_shows_the_median_and_the_spread_in_units_for_people() {
    let ceiling = |name, samples: &[f64]| Ceiling {
        name,
        detail: "so".to_owned(),
        samples: samples.to_vec(),
        latency: None,
    };
    let text = table(&[
        ceiling(CeilingName::TcpReceive, &[3e9, 1e9, 2e9]),
        ceiling(CeilingName::DiskSync, &[93_000.0, 2e6]),
        ceiling(CeilingName::Lane, &[]),
    ]);
    let lines: Vec<Vec<_>> =
        text.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    let cells = |line: usize| {
        lines[line].iter().copied().filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(cells(1), ["tcp-receive", "2.00 GB/s", "1.00 GB/s to 3.00 GB/s", "so"]);
    assert_eq!(cells(2), ["disk-sync", "1.05 ms", "93.0 us to 2.00 ms", "so"]);
    assert_eq!(cells(3), ["lane", "-", "-", "so"]);
}
