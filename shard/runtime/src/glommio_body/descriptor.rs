//! Descriptors that glommio owns, lent to system calls that glommio does not have.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};

/// The glommio types that own their descriptor for as long as they exist.
///
/// A private trait, so that nothing else that happens to have a number can be lent.
pub(super) trait OwnsDescriptor: AsRawFd {}

impl OwnsDescriptor for glommio::io::DmaFile {}
impl OwnsDescriptor for glommio::net::TcpStream {}

/// The descriptor of `owner`, for as long as `owner` is borrowed.
#[expect(unsafe_code, reason = "glommio 0.9 implements AsRawFd but not AsFd; docs/UNSAFE.md")]
pub(super) fn lend<T: OwnsDescriptor>(owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the trait is private and implemented only for types that hold an open descriptor from
    // their making until their drop or a `close` that takes them by value (DmaFile: `GlommioFile`
    // closes in `drop` or `close(self)`; TcpStream: a `std::net::TcpStream` inside). The result
    // borrows `owner`, so none of those can happen while it lives. The number is not -1: `DmaFile`
    // and `TcpStream` are only made from successful calls.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// Gives a listening socket to glommio: its own `bind` fixes the options.
#[expect(unsafe_code, reason = "the only way into glommio's listener is FromRawFd; docs/UNSAFE.md")]
pub(super) fn adopt_listener(socket: socket2::Socket) -> glommio::net::TcpListener {
    // SAFETY: `into_raw_fd` gives up ownership of an open descriptor, and `from_raw_fd` takes it
    // over: there is exactly one owner before and after. It is a bound, listening stream socket, as
    // the function requires.
    unsafe { glommio::net::TcpListener::from_raw_fd(socket.into_raw_fd()) }
}
