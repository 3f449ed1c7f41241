//! Memory and checksums, on the runtime's core: what one processor does with bytes that are there already.

use std::hint::black_box;
use std::time::Duration;

use pyralog_runtime::time;

use super::{Sample, per_second};

/// Bytes of a piece: a full batch. It fits the second-level cache of a server's processor, or nearly.
pub(super) const LARGE_BYTES: usize = 1 << 20;
/// Bytes of a small piece: a record.
pub(super) const SMALL_BYTES: usize = 1 << 10;
/// Bytes of fresh memory at a time: above 32 MiB the allocator always asks the kernel.
pub(super) const FRESH_BYTES: usize = 128 << 20;
/// One byte of each is touched.
const PAGE_BYTES: usize = 4 << 10;
/// Bytes between two looks at the clock.
const STRIDE_BYTES: usize = 4 << 20;

/// Bytes a second through `work`, which handles `piece` of them each time.
fn rate(slice: Duration, piece: usize, mut work: impl FnMut()) -> f64 {
    let times = (STRIDE_BYTES / piece).max(1);
    let (began, mut total) = (time::now(), 0);
    loop {
        for _ in 0..times {
            work();
        }
        total += (times * piece) as u64;
        let elapsed = time::now().since(began);
        if elapsed >= slice {
            return per_second(total, elapsed);
        }
    }
}

/// Copies of a large piece.
pub(super) fn copy(slice: Duration) -> Sample {
    let (from, mut to) = (vec![7_u8; LARGE_BYTES], vec![0_u8; LARGE_BYTES]);
    Sample::rate(rate(slice, LARGE_BYTES, || {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    }))
}

/// First touches of memory that the kernel has just given. Giving it back is not counted.
pub(super) fn touch(slice: Duration) -> Sample {
    let (mut touched, mut total) = (Duration::ZERO, 0);
    while touched < slice {
        let mut memory = vec![0_u8; FRESH_BYTES];
        let began = time::now();
        for page in memory.chunks_mut(PAGE_BYTES) {
            page[0] = 1;
        }
        black_box(&mut memory);
        touched += time::now().since(began);
        total += FRESH_BYTES as u64;
    }
    Sample::rate(per_second(total, touched))
}

/// CRC32C of large pieces, of small ones beside it.
pub(super) fn crc32c(slice: Duration) -> Sample {
    hashed(slice, |bytes| {
        black_box(crc32c::crc32c(bytes));
    })
}

/// BLAKE3 of large pieces, of small ones beside it.
pub(super) fn blake3(slice: Duration) -> Sample {
    hashed(slice, |bytes| {
        black_box(blake3::hash(bytes));
    })
}

fn hashed(slice: Duration, hash: impl Fn(&[u8])) -> Sample {
    let bytes = vec![7_u8; LARGE_BYTES];
    let value = rate(slice / 2, LARGE_BYTES, || hash(black_box(&bytes)));
    let small = rate(slice / 2, SMALL_BYTES, || hash(black_box(&bytes[..SMALL_BYTES])));
    Sample { beside: Some(small), ..Sample::rate(value) }
}
