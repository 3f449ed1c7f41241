//! What crashes and faults do to code that runs.

use super::{boot, on_core};
use pyralog_runtime::buffer::BufferMut;
use pyralog_runtime::file::{self, DirectFile, Sync};
use pyralog_runtime::net::{ListenOptions, Listener, Stream, StreamOptions};
use pyralog_runtime::sim::{Crash, DiskFaults, Simulation, TraceKind};
use pyralog_runtime::{IoErrorKind, spawn_durable, time};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// A file with two blocks, the first synced, under a durable name.
async fn two_blocks() {
    file::create_dir_all("/d").await.unwrap();
    let file = DirectFile::create_new("/d/f", 8192).await.unwrap();
    file.sync_data().await.unwrap();
    file::sync_dir("/d").await.unwrap();
    let block = |value| {
        let mut block = BufferMut::with_capacity(4096);
        block.extend_with(4096, value);
        block.freeze()
    };
    file.write(0, &block(1), Sync::Data).await.unwrap();
    file.write(4096, &block(2), Sync::No).await.unwrap();
    file.close().await.unwrap();
}

/// What is found in both blocks: one byte of each.
async fn found() -> (u8, u8) {
    let file = DirectFile::open("/d/f").await.unwrap();
    let bytes = file.read(0, 8192).await.unwrap();
    (bytes[0], bytes[8191])
}

#[test]
fn a_process_that_is_killed_leaves_what_was_written() {
    for seed in 0..20 {
        let world = Simulation::new(seed);
        let node = world.add_node("killed");
        on_core(&world, node, two_blocks);
        world.crash(node, Crash::Process);
        assert_eq!(on_core(&world, node, found), (1, 2));
    }
}

#[test]
fn a_loss_of_power_leaves_what_was_synced_and_sometimes_more() {
    let mut kept = 0;
    for seed in 0..40 {
        let world = Simulation::new(seed);
        let node = world.add_node("dark");
        on_core(&world, node, two_blocks);
        world.crash(node, Crash::Power);
        let (synced, written) = on_core(&world, node, found);
        assert_eq!(synced, 1);
        kept += usize::from(written == 2);
    }
    assert!((1..40).contains(&kept), "{kept} of 40 kept what nobody had synced");
}

#[test]
fn a_death_between_two_calls_leaves_a_replaced_file_whole() {
    let mut seen = [0, 0];
    for calls in 0..12 {
        let world = Simulation::new(calls);
        let node = world.add_node("staged");
        on_core(&world, node, || async {
            file::create_dir_all("/d").await.unwrap();
            file::write_small_atomic("/d/f", b"old".to_vec()).await.unwrap();
        });
        world.crash_after_calls(node, calls, Crash::Power);
        boot(&world, node, || async {
            // Err: the power failed on the way.
            file::write_small_atomic("/d/f", b"new".to_vec()).await.ok();
        });
        world.run_for(Duration::from_secs(1));
        world.crash(node, Crash::Power);
        let content =
            on_core(&world, node, || async { file::read_small("/d/f", 9).await.unwrap() });
        assert!(content == b"old" || content == b"new", "{content:?} after {calls} calls");
        seen[usize::from(content == b"new")] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_full_disk_a_failing_one_and_a_limit_are_errors_of_their_kind() {
    let kind = |prepare: fn(&Simulation, pyralog_runtime::sim::NodeId)| {
        let world = Simulation::new(3);
        let node = world.add_node("troubled");
        prepare(&world, node);
        on_core(&world, node, || async {
            match DirectFile::create_new("/f", 1 << 20).await {
                Err(error) => error.kind(),
                Ok(file) => file.sync_data().await.unwrap_err().kind(),
            }
        })
    };
    let full = kind(|world, node| world.set_disk_capacity(node, Some(4096)));
    assert_eq!(full, IoErrorKind::NoSpace);
    let limited = kind(|world, node| world.set_file_size_limit(node, Some(4096)));
    assert_eq!(limited, IoErrorKind::FileTooLarge);
    let failing = kind(|world, node| {
        let faults = DiskFaults { sync_error: 1_000_000, ..DiskFaults::default() };
        world.set_disk_faults(node, faults);
    });
    assert_eq!(failing, IoErrorKind::Device);
}

#[test]
fn a_panic_of_a_durable_task_ends_the_process_of_its_node_only() {
    let world = Simulation::new(4);
    let (bad, good) = (world.add_node("bad"), world.add_node("good"));
    boot(&world, good, || async { time::sleep(Duration::from_secs(9)).await });
    boot(&world, bad, || async {
        let task = spawn_durable("writer", async { panic!("its state is unknown") });
        task.await.ok();
        time::sleep(Duration::from_secs(9)).await;
    });
    world.keep_trace();
    world.run_for(Duration::from_secs(1));
    assert!(!world.is_running(bad));
    assert!(world.is_running(good));
    assert_eq!(world.panics().len(), 1);
    let crashed = |kind: &TraceKind| matches!(kind, TraceKind::Crash { power: false });
    assert!(world.take_trace().iter().any(|event| crashed(&event.kind)));
}

/// Echoes every byte until the node ends.
async fn echo(address: SocketAddr) {
    let listener = Listener::bind(address, ListenOptions::default()).unwrap();
    loop {
        let mut stream = listener.accept().await.unwrap();
        let mut byte = [0];
        while let Ok(1..) = stream.read(&mut byte).await {
            stream.write_all(&byte).await.ok();
        }
    }
}

#[test]
fn a_cut_holds_what_is_sent_and_a_heal_delivers_it() {
    let world = Simulation::new(5);
    let (server, client) = (world.add_node("server"), world.add_node("client"));
    let address = SocketAddr::new(world.address(server), 7000);
    boot(&world, server, move || echo(address));
    let echoed = Rc::new(Cell::new(0));
    let counted = Rc::clone(&echoed);
    boot(&world, client, move || {
        let echoed = Rc::clone(&counted);
        async move {
            let mut stream = Stream::connect(address, StreamOptions::default()).await.unwrap();
            let mut byte = [7];
            loop {
                stream.write_all(&byte).await.unwrap();
                stream.read_exact(&mut byte).await.unwrap();
                echoed.set(echoed.get() + 1);
            }
        }
    });
    world.run_for(Duration::from_millis(100));
    let before = echoed.get();
    assert!(before > 10);
    world.cut(client, server);
    world.run_for(Duration::from_secs(10));
    assert!(echoed.get() <= before + 1);
    world.heal(client, server);
    world.run_for(Duration::from_millis(100));
    assert!(echoed.get() > before + 10);
}

#[test]
fn the_peers_of_a_killed_process_are_told_and_those_of_a_dark_machine_are_not() {
    for (crash, told) in [(Crash::Process, true), (Crash::Power, false)] {
        let world = Simulation::new(6);
        let (server, client) = (world.add_node("server"), world.add_node("client"));
        let address = SocketAddr::new(world.address(server), 7000);
        boot(&world, server, move || echo(address));
        boot(&world, client, move || async move {
            let mut stream = Stream::connect(address, StreamOptions::default()).await.unwrap();
            stream.read(&mut [0]).await.ok();
        });
        world.run_for(Duration::from_millis(50));
        world.crash(server, crash);
        world.run_for(Duration::from_secs(1));
        assert_eq!(!world.is_running(client), told, "{crash:?}");
    }
}
