//! The hot path allocates nothing: appends and fetches, encoded and decoded by both machines, once
//! buffers and slabs have grown.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use pyralog_wire::client::{ClientConnection, ClientStep};
use pyralog_wire::message::{Append, Appended, Fetch, FetchFrom, Fetched, Welcome};
use pyralog_wire::server::{ServerConfig, ServerConnection, ServerStep};
use pyralog_wire::{Request, Response};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the calls of its thread.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; the counter is a plain cell
// of the thread, constant-initialised and without a destructor, so it allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Pair {
    client: ClientConnection,
    server: ServerConnection,
    up: Vec<u8>,
    down: Vec<u8>,
}

fn open() -> Pair {
    let mut client = ClientConnection::new("test", "0");
    let config = ServerConfig::default();
    let mut server = ServerConnection::new(config);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    client.hello(&mut up);
    assert!(matches!(server.receive(&up, &mut down), ServerStep::Hello { .. }));
    let welcome = Welcome {
        protocol: 0,
        shard: 0,
        limits_fingerprint: 0,
        node: 1,
        cluster: 1,
        server_time: Timestamp::new(0),
        limits: config.limits,
        server_version: String::new(),
        shards: Vec::new(),
    };
    server.welcome(welcome, &mut down);
    assert!(matches!(client.receive(&down), ClientStep::Welcome { .. }));
    server.flushed(down.len() as u64);
    Pair { client, server, up: Vec::with_capacity(1 << 16), down: Vec::with_capacity(1 << 16) }
}

/// Sixteen requests there, sixteen replies back.
fn exchange(pair: &mut Pair, request: &Request, response: &Response, payload: &[u8]) {
    let Pair { client, server, up, down } = pair;
    up.clear();
    down.clear();
    let len = u32::try_from(payload.len()).expect("a small payload");
    for _ in 0..16 {
        client.send(request, len, up).expect("there is credit");
        up.extend_from_slice(payload);
    }
    let mut rest = &up[..];
    while let ServerStep::Request { admitted, payload, consumed } = server.receive(rest, down) {
        black_box(payload);
        assert!(server.reserve_reply(admitted.token, 64) == Ok(true));
        assert!(server.reply(admitted.token, response, 0, down) == Ok(true));
        rest = &rest[consumed..];
    }
    assert!(rest.is_empty(), "all requests were taken");
    server.flushed(down.len() as u64);
    let mut rest = &down[..];
    while let ClientStep::Reply { reply, consumed, .. } = client.receive(rest) {
        black_box(&reply);
        rest = &rest[consumed..];
    }
    assert!(rest.is_empty(), "all replies were taken");
}

#[test]
fn appends_and_fetches_allocate_nothing() {
    let (log, partition, offset) = (LogId::new(1), PartitionId::new(0), Offset::new(5));
    let append = Append { log, partition, durability: None }.into();
    let appended = Response::Append(Appended {
        base_offset: offset,
        next_offset: offset,
        append_time: Timestamp::new(1),
        duplicate: false,
    });
    let from = FetchFrom::Offset(offset);
    let fetch = Fetch { log, partition, from, bytes_min: 1, bytes_max: 64, wait_ms: 0 }.into();
    let fetched = Response::Fetch(Fetched {
        first_offset: offset,
        next_offset: offset,
        low: offset,
        high: offset,
    });
    let mut pair = open();
    exchange(&mut pair, &append, &appended, &[0; 192]);
    exchange(&mut pair, &fetch, &fetched, &[]);
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..10 {
        exchange(&mut pair, &append, &appended, &[0; 192]);
        exchange(&mut pair, &fetch, &fetched, &[]);
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "allocations in 320 requests");
    drop(vec![black_box(1)]);
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1, "the counter counts");
}
