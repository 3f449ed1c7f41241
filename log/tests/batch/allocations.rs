//! Building, verifying, sealing and reading allocate nothing per record: a counting allocator says so.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pyralog_log::batch::{Batch, BuilderConfig, Codec, Decoder, Record, RowsBuilder, seal};
use pyralog_log::ids::Timestamp;

use crate::model::owner;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to `System` unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Allocations of this thread while `work` runs.
fn count(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Builds a batch of a thousand records with every column.
fn thousand(builder: &mut RowsBuilder, out: &mut Vec<u8>) {
    let headers: [(&str, Option<&[u8]>); 2] = [("trace", Some(b"abc")), ("empty", None)];
    for i in 0..1000 {
        let record = Record {
            key: (i % 2 == 0).then_some(b"key"),
            value: (i % 7 != 0).then_some(&[5; 300]),
            create_time: Timestamp::new(i),
            headers: &headers,
        };
        builder.push(&record).unwrap();
    }
    builder.finish_into(out, None).unwrap();
}

#[test]
fn a_batch_of_a_thousand_records_is_built_with_a_handful_of_allocations() {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    let mut out = Vec::new();
    // Two buffers take turns; both have grown after two batches.
    for _ in 0..2 {
        thousand(&mut builder, &mut out);
    }
    let allocations = count(|| thousand(&mut builder, &mut out));
    assert!(allocations <= 8, "{allocations} allocations for one batch");
}

#[test]
fn verifying_sealing_and_reading_allocate_nothing() {
    for codec in Codec::ALL {
        let mut builder = RowsBuilder::new(BuilderConfig { codec, ..BuilderConfig::default() });
        let mut bytes = Vec::new();
        thousand(&mut builder, &mut bytes);
        let mut decoder = Decoder::new();
        decoder.rows(&Batch::parse(&bytes).unwrap()).map(drop).unwrap();
        let mut lengths = 0;
        let allocations = count(|| {
            Batch::parse(&bytes).unwrap().verify_unsealed().map(drop).unwrap();
            seal(&mut bytes, owner());
            let batch = Batch::parse(&bytes).unwrap().verify().unwrap();
            for row in decoder.rows(&batch).unwrap().iter() {
                lengths += row.value.map_or(0, <[u8]>::len) + row.headers.iter().count();
            }
        });
        assert_eq!((allocations, lengths), (0, 857 * 300 + 2000), "{}", codec.name());
    }
}
