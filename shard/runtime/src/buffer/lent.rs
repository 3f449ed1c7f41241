//! Bytes of a core that a thread reads while the core goes on: no copy, no sharing beyond that.
//!
//! Buffers belong to a core and are counted by `Rc`, so they cannot travel. But a frozen buffer never changes again, so its
//! *bytes* may be read from anywhere as long as somebody keeps the memory. [`lend`] splits that in two: a [`Keeper`]
//! stays on the core with the slices, [`Lent`] goes to the thread with the places of their bytes. Whichever ends first:
//!
//! | `Lent` ends | `Keeper` ends | the memory |
//! |---|---|---|
//! | first, after the call or unread | then | goes back |
//! | later | first, because its task was cancelled with its core | is leaked: once, at the end of a core |

use super::Slice;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps the memory of lent slices, on their core.
pub(crate) struct Keeper {
    slices: Vec<Slice>,
    is_lent: Arc<AtomicBool>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Pairs with the Release of `Lent`: whatever the thread read, it has read.
        if self.is_lent.load(Ordering::Acquire) {
            mem::forget(mem::take(&mut self.slices));
        }
    }
}

/// Where the bytes of lent slices are, for one thread.
pub(crate) struct Lent {
    places: Vec<(*const u8, usize)>,
    is_lent: Arc<AtomicBool>,
}

#[expect(
    unsafe_code,
    reason = "buffers are counted by Rc, their frozen bytes may be read anywhere; docs/UNSAFE.md"
)]
// SAFETY: the places are of slices that a `Keeper` holds until `is_lent` is false, which only the drop of this `Lent`
// makes it. Their bytes are frozen: there is no `&mut` to them and no write by the kernel, so reading them from
// another thread races with nothing. No reference counter is touched here: `Rc`s stay with the `Keeper`.
unsafe impl Send for Lent {}

impl Lent {
    /// Calls `read` with the bytes of every slice, in their order.
    pub(crate) fn with<R>(self, read: impl FnOnce(&[&[u8]]) -> R) -> R {
        // `self` is dropped after the call, or by its panic.
        let bytes: Vec<&[u8]> = (0..self.places.len()).map(|index| self.bytes(index)).collect();
        read(&bytes)
    }

    #[expect(unsafe_code, reason = "see above")]
    fn bytes(&self, index: usize) -> &[u8] {
        let (start, len) = self.places[index];
        // SAFETY: the place comes from a `&[u8]` of a slice, so it is valid for `len` initialised bytes and not null; the
        // memory lives and does not change as long as this `Lent` does (above), which the result borrows.
        unsafe { std::slice::from_raw_parts(start, len) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.is_lent.store(false, Ordering::Release);
    }
}

/// Splits slices into who keeps them and what a thread may read.
pub(crate) fn lend(slices: Vec<Slice>) -> (Keeper, Lent) {
    let is_lent = Arc::new(AtomicBool::new(true));
    let places = slices.iter().map(|slice| (slice.as_ptr(), slice.len())).collect();
    let keeper = Keeper { slices, is_lent: Arc::clone(&is_lent) };
    (keeper, Lent { places, is_lent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{BufferMut, in_use_bytes};

    fn slice(len: usize, value: u8) -> Slice {
        let mut buffer = BufferMut::heap(len);
        buffer.extend_with(len, value);
        buffer.freeze().into()
    }

    #[test]
    fn another_thread_reads_the_bytes_and_the_memory_goes_back_after_both() {
        let before = in_use_bytes();
        let (keeper, lent) = lend(vec![slice(100, 1), Slice::empty(), slice(5000, 2)]);
        let reading = std::thread::spawn(move || {
            lent.with(|pieces| pieces.iter().map(|piece| piece.to_vec()).collect::<Vec<_>>())
        });
        assert_eq!(reading.join().unwrap(), [vec![1; 100], vec![], vec![2; 5000]]);
        assert!(in_use_bytes() > before);
        drop(keeper);
        assert_eq!(in_use_bytes(), before);
    }

    #[test]
    fn memory_that_a_thread_may_still_read_is_not_given_back() {
        let before = in_use_bytes();
        let (keeper, lent) = lend(vec![slice(4096, 3)]);
        drop(keeper);
        assert_eq!(in_use_bytes(), before + 4096, "it is leaked");
        lent.with(|pieces| assert_eq!(pieces, [[3; 4096]]));
    }

    #[test]
    fn what_is_never_read_or_panics_is_given_back_too() {
        let before = in_use_bytes();
        let (keeper, lent) = lend(vec![slice(4096, 3)]);
        drop(lent);
        drop(keeper);
        let (keeper, lent) = lend(vec![slice(4096, 3)]);
        let panicked = std::thread::spawn(move || lent.with(|_| panic!("as a test")));
        assert!(panicked.join().is_err());
        drop(keeper);
        assert_eq!(in_use_bytes(), before);
    }
}
