//! Direct files whose transfers stop short, on a simulated disk.

use pyralog_runtime::buffer::BufferMut;
use pyralog_runtime::file::{DirectFile, Sync};
use pyralog_runtime::sim::{DiskFault, DiskFaults, NodeId, Simulation};
use pyralog_runtime::{IoErrorKind, MachineConfig};
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

/// Runs `main` on the only core of a node whose disk stops as short as `faults` say, but for every
/// `spared`-th operation that would have; says how many did.
fn struck<F>(seed: u64, faults: DiskFaults, spared: u64, main: fn() -> F) -> u64
where
    F: Future<Output = ()> + 'static,
{
    let prepare = |world: &Simulation, node| stop_short(world, node, faults, spared);
    run(seed, prepare, main)
}

fn stop_short(world: &Simulation, node: NodeId, faults: DiskFaults, spared: u64) {
    world.set_disk_faults(node, faults);
    let asked = Cell::new(0);
    world.set_shield(
        node,
        Rc::new(move |_path, fault| {
            if !matches!(fault, DiskFault::ShortWrite | DiskFault::ShortRead) {
                return true;
            }
            asked.set(asked.get() + 1);
            !u64::is_multiple_of(asked.get(), spared)
        }),
    );
}

/// Runs `main` on the only core of a node; says how many transfers stopped short.
fn run<F>(seed: u64, prepare: impl FnOnce(&Simulation, NodeId), main: fn() -> F) -> u64
where
    F: Future<Output = ()> + 'static,
{
    let world = Simulation::new(seed);
    let node = world.add_node("node");
    prepare(&world, node);
    let done = Rc::new(Cell::new(false));
    let ended = Rc::clone(&done);
    world.boot(node, &MachineConfig::default(), move |_| {
        let ended = Rc::clone(&ended);
        async move {
            main().await;
            ended.set(true);
        }
    });
    world.run_until(Duration::from_mins(10), || !world.is_running(node));
    assert!(done.get(), "seed {seed}: {:?}", world.panics());
    let struck = world.disk_faults_struck();
    let of = |fault| struck.get(&fault).copied().unwrap_or(0);
    of(DiskFault::ShortWrite) + of(DiskFault::ShortRead)
}

/// Bytes that differ by place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i / 7) % 253 + 1).unwrap()).collect()
}

/// Writes and reads back, at once and in parts of any alignment.
async fn write_and_read() {
    let bytes = pattern(48 * 4096);
    let mut buffer = BufferMut::with_capacity(bytes.len());
    buffer.extend_from_slice(&bytes);
    let buffer = buffer.freeze();
    let file = DirectFile::create_new("/file", 0).await.unwrap();
    for (at, sync) in [(0, Sync::No), (1 << 20, Sync::Data)] {
        file.write(at, &buffer, sync).await.unwrap();
        assert_eq!(*file.read(at, bytes.len()).await.unwrap(), bytes);
        for (from, len) in [(0, 1), (4095, 2), (5000, 100_000), (bytes.len() - 1, 1)] {
            let slice = file.read(at + from as u64, len).await.unwrap();
            assert_eq!(*slice, bytes[from..from + len], "{len} at {from}");
        }
    }
    assert_eq!(*file.read((1 << 20) + 4096, 1 << 20).await.unwrap(), bytes[4096..], "to the end");
    file.close().await.unwrap();
}

#[test]
fn write_that_stops_short_is_carried_to_its_end() {
    let faults = DiskFaults { short_write: 1_000_000, ..DiskFaults::default() };
    for seed in 0..20 {
        assert_eq!(struck(seed, faults, 2, write_and_read), 2, "each write once");
    }
}

#[test]
fn write_that_is_cut_again_and_shorter_is_carried_to_its_end() {
    let faults = DiskFaults { short_write: 1_000_000, ..DiskFaults::default() };
    for seed in 0..50 {
        assert!(struck(seed, faults, 5, write_and_read) > 2, "both writes more than once");
    }
}

#[test]
fn read_that_stops_short_is_tried_again() {
    let faults = DiskFaults { short_read: 1_000_000, ..DiskFaults::default() };
    for seed in 0..20 {
        // Reads of one block cannot stop short: of the five of each place three can, and the last one.
        assert_eq!(struck(seed, faults, 3, write_and_read), 7 * 2, "each of the others twice");
    }
}

#[test]
fn device_that_always_reads_short_is_called_broken() {
    async fn read() {
        let file = DirectFile::create_new("/file", 1 << 16).await.unwrap();
        let error = file.read(0, 1 << 16).await.unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::Device);
        let text = error.to_string();
        assert!(text.starts_with("cannot read /file: the device gives "), "{text}");
        assert!(text.ends_with(" of 65536 bytes"), "{text}");
    }
    let faults = DiskFaults { short_read: 1_000_000, ..DiskFaults::default() };
    assert_eq!(struck(1, faults, u64::MAX, read), 8, "so many are no accident");
}

/// Writes two blocks, in vain.
async fn write_in_vain() {
    let mut buffer = BufferMut::with_capacity(8192);
    buffer.extend_with(8192, 1);
    let buffer = buffer.freeze();
    let file = DirectFile::create_new("/file", 0).await.unwrap();
    let error = file.write(0, &buffer, Sync::Data).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot write /file: write zero");
}

#[test]
fn device_that_writes_ever_less_is_an_error() {
    let faults = DiskFaults { short_write: 1_000_000, ..DiskFaults::default() };
    for seed in 0..20 {
        assert!(struck(seed, faults, u64::MAX, write_in_vain) > 1);
    }
}

#[test]
fn device_that_writes_no_further_is_an_error_and_no_endless_loop() {
    // The second block, which is then written from its beginning, gets as far as before.
    run(1, |world, node| world.set_file_size_limit(node, Some(4096 + 512)), write_in_vain);
}
