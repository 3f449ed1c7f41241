//! Buffers and slices.

use crate::harness::{config, run};
use pyralog_runtime::buffer::{self, Buffer, BufferMut, Slice};
use pyralog_runtime::{MachineConfig, start};
use quickcheck::quickcheck;

fn filled(len: usize) -> Buffer {
    let mut buffer = BufferMut::heap(len);
    let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
    buffer.extend_from_slice(&bytes);
    buffer.freeze()
}

#[test]
fn buffers_are_aligned_in_address_and_capacity() {
    run(|_| async {
        for capacity in [0, 1, 4096, 4097, 100_000, 8 << 20] {
            for mut buffer in [BufferMut::with_capacity(capacity), BufferMut::heap(capacity)] {
                assert_eq!(buffer.capacity(), capacity.max(1).next_multiple_of(4096));
                buffer.extend_with(1, 7);
                assert_eq!(buffer.as_slice().as_ptr().addr() % 4096, 0);
                assert_eq!(buffer.freeze().as_ptr().addr() % 4096, 0);
            }
        }
    });
}

#[test]
fn pool_gives_the_same_memory_again_and_the_heap_when_it_is_used_up() {
    let small = MachineConfig { buffer_bytes: 1 << 20, ..config(1) };
    let machine = start(&small, |_| async {
        let mut addresses: Vec<_> = (0..100)
            .map(|_| {
                let mut buffer = BufferMut::with_capacity(64 << 10);
                buffer.extend_with(1, 1);
                buffer.as_slice().as_ptr().addr()
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 1, "a hundred buffers in a row took {addresses:?}");
        let many: Vec<_> = (0..64)
            .map(|i| {
                let mut buffer = BufferMut::with_capacity(64 << 10);
                buffer.extend_with(64 << 10, i);
                buffer.freeze()
            })
            .collect();
        assert_eq!(buffer::in_use_bytes(), 64 * (64 << 10));
        for (i, buffer) in many.iter().enumerate() {
            assert!(buffer.iter().all(|byte| usize::from(*byte) == i));
        }
        drop(many);
        assert_eq!(buffer::in_use_bytes(), 0);
    });
    machine.unwrap().join().unwrap();
}

#[test]
fn freeze_keeps_bytes_and_address_and_clones_share_them() {
    let mut buffer = BufferMut::with_capacity(10_000);
    buffer.extend_from_slice(b"hello");
    buffer.pad_to(64);
    buffer.as_mut_slice()[0] = b'H';
    let address = buffer.as_slice().as_ptr();
    assert_eq!((buffer.len(), buffer.remaining()), (64, buffer.capacity() - 64));
    let frozen = buffer.freeze();
    assert_eq!(&frozen[..6], b"Hello\0");
    assert_eq!((frozen.len(), frozen.as_ptr()), (64, address));
    assert_eq!(frozen.clone().as_ptr(), address);
    let slice = frozen.slice(1..5);
    drop(frozen);
    assert_eq!(&*slice, b"ello");
    assert_eq!(&*slice.slice(1..3), b"ll");
    drop(slice);
}

#[test]
fn truncated_bytes_are_gone() {
    let mut buffer = BufferMut::heap(100);
    buffer.extend_from_slice(b"abcdef");
    buffer.truncate(3);
    buffer.truncate(50);
    buffer.extend_from_slice(b"x");
    assert_eq!(buffer.as_slice(), b"abcx");
}

#[test]
#[should_panic(expected = "5000 bytes into 4096")]
fn overfilling_is_a_bug_of_the_caller() {
    BufferMut::heap(4096).extend_from_slice(&[0; 5000]);
}

#[test]
#[should_panic(expected = "0..11 of 10")]
fn slicing_beyond_the_end_is_a_bug_of_the_caller() {
    drop(filled(10).slice(0..11));
}

#[test]
fn empty_slices_have_no_bytes() {
    assert!(Slice::empty().is_empty());
    assert!(Slice::empty().slice(0..0).is_empty());
    assert_eq!(Slice::from(filled(3)).len(), 3);
}

quickcheck! {
    fn slices_of_slices_are_the_slices_of_the_bytes(len: u16, cuts: Vec<(u16, u16)>) -> bool {
        let buffer = filled(usize::from(len) + 1);
        let bytes = buffer.to_vec();
        let (mut slice, mut expected) = (Slice::from(buffer), &bytes[..]);
        cuts.into_iter().all(|(a, b)| {
            let bound = expected.len() + 1;
            let (a, b) = (usize::from(a) % bound, usize::from(b) % bound);
            let range = a.min(b)..a.max(b);
            slice = slice.slice(range.clone());
            expected = &expected[range];
            *slice == *expected
        })
    }
}
