//! What sequencers cost on a core of the runtime, without a server.

use std::fmt::Display;
use std::hint::black_box;
use std::num::NonZeroU64;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use pyralog_runtime::file::SparseFile;
use pyralog_runtime::{MachineConfig, Pin, spawn, start, time};
use pyralog_seq::clock::Trust;
use pyralog_seq::counter::Counter;
use pyralog_seq::limits::BLOCK_MAX;
use pyralog_seq::minter_file::{Mint, MintOptions};
use pyralog_seq::obelisk::Mode;
use pyralog_seq::obelisk_file::{ObeliskFile, Options};
use pyralog_seq::pharaoh::SlotSet;

use super::Figures;
use crate::ceiling::SPIN;

pub(super) const NUMBER: &str = "number of a reserve";
pub(super) const MINTED: &str = "id of a block";
pub(super) const ID: &str = "id of a mint, one by one";
pub(super) const THOUSAND: &str = "1000 ids of a mint";
pub(super) const SYNC: &str = "ftruncate + fdatasync";
pub(super) const ALWAYS: &str = "number of mode always";
pub(super) const ALWAYS_RATE: &str = "mode always, one by one";
pub(super) const GROUP: &str = "mode group, 64 waiting";
pub(super) const FILE: &str = "file of a million blocks";
pub(super) const RECOVERY: &str = "opening 10,000 counters";

/// Numbers dealt between two looks at the clock.
const DEALT: u32 = 1_000_000;
/// How long each durable figure is sampled in a round.
const SLICE: Duration = Duration::from_millis(500);
/// Who waits for a group.
const WAITERS: usize = 64;
/// Counters that are opened: as the issue has it.
const COUNTERS: usize = 10_000;
/// Counters that are opened at the same time, as a server does.
const AT_ONCE: usize = 8;

/// Samples of one round: name, unit, value.
type Samples = Vec<(&'static str, &'static str, f64)>;

/// Measures on a core of its own, on `cpu`, with files below `parent`.
///
/// # Errors
/// If the machine has no `io_uring`, or the directory cannot be written.
pub(super) fn measure(
    parent: &Path,
    cpu: usize,
    rounds: u32,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new().prefix("pyralog-bench-seq-").tempdir_in(parent)?;
    let place = scratch.path().to_owned();
    let config = MachineConfig {
        shards: 1,
        pin: Pin::List(vec![cpu]),
        spin: SPIN,
        name: "bench-seq".to_owned(),
        ..MachineConfig::default()
    };
    let (sender, receiver) = mpsc::channel();
    let machine = start(&config, move |core| {
        let (place, sender) = (place.clone(), sender.clone());
        async move {
            for round in 0..rounds {
                let measured = self::round(&place.join(round.to_string())).await;
                let failed = measured.is_err();
                // Err: nobody waits for it any more.
                sender.send(measured).ok();
                if failed {
                    break;
                }
            }
            core.stopper().stop();
        }
    })?;
    machine.join()?;
    for samples in receiver {
        for (name, unit, sample) in samples? {
            figures.add(name, unit, sample);
        }
    }
    Ok(())
}

async fn round(place: &Path) -> anyhow::Result<Samples> {
    let mut samples = Samples::new();
    dealing(place, &mut samples).await?;
    durable(place, &mut samples).await?;
    let (file, _) = ObeliskFile::open(place, "long", Options::default()).await?;
    file.close().await?;
    let value = 1_000_000 * 65_536;
    let (file, _) = ObeliskFile::raise_to(place, "long", Options::default(), value).await?;
    #[expect(clippy::cast_precision_loss, reason = "a few blocks")]
    samples.push((FILE, "bytes", file.stat().allocated_bytes as f64));
    file.close().await?;
    recovery(place, &mut samples).await?;
    Ok(samples)
}

/// An error of a core, in words that may leave it.
fn said(error: impl Display) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}

/// From memory: nanoseconds a number.
async fn dealing(place: &Path, samples: &mut Samples) -> anyhow::Result<()> {
    let options = Options { mode: Mode::reserve(BLOCK_MAX), ..Options::default() };
    let counter = Counter::open(place, "reserve", options).await?;
    counter.take(NonZeroU64::MIN).await.map_err(said)?;
    let each = |began: time::Monotonic, count: u32| {
        time::now().since(began).as_secs_f64() * 1e9 / f64::from(count)
    };
    let began = time::now();
    for _ in 0..DEALT {
        black_box(counter.try_take(black_box(NonZeroU64::MIN)).context("the reserve is used up")?);
    }
    samples.push((NUMBER, "ns", each(began, DEALT)));
    counter.close().await?;

    let slots = SlotSet::ALL;
    let options = MintOptions { slots, trust: Trust::default(), not_before_unix_ms: 0 };
    let mint = Mint::in_memory(&options)?;
    let mut block = mint.deal(DEALT).await.map_err(said)?;
    let began = time::now();
    while let Some(id) = block.next() {
        black_box(id);
    }
    samples.push((MINTED, "ns", each(began, DEALT)));
    for (name, count) in [(ID, 1), (THOUSAND, 1000)] {
        let runs = DEALT / 10;
        let began = time::now();
        for _ in 0..runs {
            mint.ready(u64::from(black_box(count))).map_err(said)?;
            black_box(mint.take(count));
        }
        samples.push((name, "ns", each(began, runs)));
    }
    Ok(())
}

/// From the disk: microseconds a number, and numbers a second.
async fn durable(place: &Path, samples: &mut Samples) -> anyhow::Result<()> {
    let path = place.join("plain");
    let plain = std::thread::spawn(move || -> anyhow::Result<f64> {
        let mut file = SparseFile::create_new(&path)?;
        let (began, mut count) = (time::now(), 0_u32);
        while time::now().since(began) < SLICE {
            count += 1;
            file.extend(u64::from(count)).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        }
        Ok(time::now().since(began).as_secs_f64() * 1e6 / f64::from(count))
    });
    // The core has nothing to do meanwhile; it looks now and then.
    while !plain.is_finished() {
        time::sleep(Duration::from_millis(5)).await;
    }
    let sync = plain.join().map_err(|_| anyhow::anyhow!("the plain thread panicked"))??;
    samples.push((SYNC, "us", sync));

    let always = Options { mode: Mode::Always, ..Options::default() };
    let counter = Counter::open(place, "always", always).await?;
    let (began, mut count) = (time::now(), 0_u32);
    while time::now().since(began) < SLICE {
        count += 1;
        counter.take(NonZeroU64::MIN).await.map_err(said)?;
    }
    let seconds = time::now().since(began).as_secs_f64();
    samples.push((ALWAYS, "us", seconds * 1e6 / f64::from(count)));
    samples.push((ALWAYS_RATE, "numbers/s", f64::from(count) / seconds));
    counter.close().await?;

    let group = Options { mode: Mode::Group, ..Options::default() };
    let counter = Rc::new(Counter::open(place, "group", group).await?);
    let began = time::now();
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let counter = Rc::clone(&counter);
            spawn(async move {
                let mut count = 0_u32;
                while time::now().since(began) < SLICE {
                    counter.take(NonZeroU64::MIN).await.map_err(said)?;
                    count += 1;
                }
                anyhow::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for waiter in waiters {
        count += waiter.await.map_err(|panicked| anyhow::anyhow!("{panicked}"))??;
    }
    let seconds = time::now().since(began).as_secs_f64();
    samples.push((GROUP, "numbers/s", f64::from(count) / seconds));
    counter.close().await?;
    Ok(())
}

/// Opens ten thousand counters, copies of one that was made in order.
async fn recovery(place: &Path, samples: &mut Samples) -> anyhow::Result<()> {
    let made = place.join("long");
    let copies = place.join("copies");
    let from = copies.clone();
    let making = pyralog_runtime::spawn_blocking(move || -> std::io::Result<()> {
        for number in 0..COUNTERS {
            let copy = from.join(format!("c{number}"));
            std::fs::create_dir_all(&copy)?;
            for entry in std::fs::read_dir(&made)? {
                let entry = entry?;
                let len = entry.metadata()?.len();
                let path = copy.join(entry.file_name());
                // A copy of a hole would be written out.
                if entry.file_name() == "sidecar" {
                    std::fs::copy(entry.path(), path)?;
                } else {
                    std::fs::OpenOptions::new()
                        .create(true)
                        .append(true)
                        .open(path)?
                        .set_len(len)?;
                }
            }
        }
        Ok(())
    });
    making.await.map_err(|panicked| anyhow::anyhow!("{panicked}"))??;
    let began = time::now();
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|first| {
            let copies = copies.clone();
            spawn(async move {
                for number in (first..COUNTERS).step_by(AT_ONCE) {
                    let name = format!("c{number}");
                    let (file, value) =
                        ObeliskFile::open(&copies, &name, Options::default()).await?;
                    anyhow::ensure!(value == 1_000_000 * 65_536, "counter {name} is at {value}");
                    drop(file);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await.map_err(|panicked| anyhow::anyhow!("{panicked}"))??;
    }
    samples.push((RECOVERY, "s", time::now().since(began).as_secs_f64()));
    Ok(())
}
