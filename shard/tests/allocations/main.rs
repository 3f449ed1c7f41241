//! Counts the allocations of a running server: an append costs a constant number of them, whatever its records are.
//!
//! A binary of its own, because the allocator of a process is global. It runs one test at a time and its client
//! allocates nothing while it is counted, so what is counted is the server's.
#![expect(clippy::unwrap_used, reason = "helpers of a test binary")]

#[expect(dead_code, reason = "shared with the other test binary, which uses all of it")]
#[path = "../server/support.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyralog_shard::ServerConfig;
use pyralog_wire::LogConfig;
use support::{Peer, append, batch, durable_config, memory_config, start};

/// What a steady append may cost when it is a group of its own: the executor allocates for its sources and timers, we for
/// nothing. Measured: 24 to 28 on a quiet machine, 33 on a busy one, where timers take more turns per append.
const PER_APPEND_MAX: f64 = 64.0;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted.
struct Counting;

// SAFETY: every method hands its arguments to the system's allocator unchanged and returns what that returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`; the pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `realloc`; the pointer came from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Sends a frame and waits for its answer, allocating nothing.
fn exchange(socket: &mut TcpStream, frame: &[u8], answer: &mut [u8]) {
    socket.write_all(frame).unwrap();
    let mut filled = 0;
    while filled < answer.len() {
        match socket.read(&mut answer[filled..]) {
            Ok(0) => panic!("the server closed"),
            Ok(count) => filled += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted),
        }
    }
    assert_eq!(answer[8], 1, "an acknowledgement, not an error");
}

/// Allocations per append of a batch of `records` records of 100 bytes.
fn allocations_per_append(peer: &mut Peer, log: pyralog_log::ids::LogId, records: usize) -> f64 {
    const ROUNDS: u32 = 300;
    let values: Vec<&[u8]> = vec![&[7; 100]; records];
    let (_, frame) = peer.encode(append(log, 0, None), &batch(&values));
    let mut probe = vec![0; 4096];
    peer.socket.write_all(&frame).unwrap();
    let len = loop {
        // A read with a timeout is not restarted after a signal, and the executor's threads bring signals.
        match peer.socket.read(&mut probe) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => break outcome.unwrap(),
        }
    };
    let mut answer = vec![0; len];
    for _ in 0..ROUNDS {
        exchange(&mut peer.socket, &frame, &mut answer);
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..ROUNDS {
        exchange(&mut peer.socket, &frame, &mut answer);
    }
    let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
    f64::from(u32::try_from(count).unwrap()) / f64::from(ROUNDS)
}

#[test]
fn an_append_allocates_a_small_constant_whatever_its_records_are() {
    let data = tempfile::tempdir().unwrap();
    for config in [memory_config(1), durable_config(1, data.path())] {
        // The executor allocates in every turn in which it looks for work: while spinning that is per microsecond, not per
        // append, and would drown what is counted here.
        let server = start(ServerConfig { spin: Duration::ZERO, ..config });
        let mut peer = Peer::connect(&server);
        let config = LogConfig { segment_bytes: 256 << 20, ..LogConfig::default() };
        let log = peer.create("a", config).id;
        let (few, many) = (
            allocations_per_append(&mut peer, log, 10),
            allocations_per_append(&mut peer, log, 1000),
        );
        println!("allocations per append: {few:.2} with 10 records, {many:.2} with 1000");
        assert!(many <= PER_APPEND_MAX, "{many} allocations per append of 1000 records");
        assert!(many <= few + 8.0, "{few} with 10 records, {many} with 1000");
        server.shutdown().unwrap();
    }
}
