//! TCP: listeners, streams, and their two halves.

use crate::body;
use crate::error::{IoError, IoErrorKind};
use crate::limits::BACKLOG_DEFAULT;
use crate::time::{Monotonic, timeout_at};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

pub use std::net::Shutdown;

/// Most parts handed to the kernel in one call; it takes 1024, and each is looked at again on a
/// partial send.
const PARTS_MAX: usize = 64;

/// How to listen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListenOptions {
    /// Let every core listen on one address (`SO_REUSEPORT`); the kernel spreads the connections.
    /// Without it a second listener on the address is refused.
    pub reuse_port: bool,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Options of every accepted stream.
    pub stream: StreamOptions,
}

impl Default for ListenOptions {
    /// A port of one's own, 1024 waiting.
    fn default() -> Self {
        Self { reuse_port: false, backlog: BACKLOG_DEFAULT, stream: StreamOptions::default() }
    }
}

/// Options of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamOptions {
    /// Send small segments at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Size of the kernel's send buffer in bytes, which it doubles; it adapts by itself if `None`.
    pub send_buffer: Option<usize>,
    /// Size of the kernel's receive buffer in bytes, which it doubles; see `send_buffer`.
    pub receive_buffer: Option<usize>,
}

impl Default for StreamOptions {
    /// No delay, sizes left to the kernel.
    fn default() -> Self {
        Self { nodelay: true, send_buffer: None, receive_buffer: None }
    }
}

/// Accepts connections on one core.
pub struct Listener {
    body: body::Listener,
    options: ListenOptions,
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// `AddressInUse`, `PermissionDenied` (ports below 1024), `AddressNotAvailable` …
    ///
    /// # Panics
    /// Outside a core.
    pub fn bind(address: SocketAddr, options: ListenOptions) -> Result<Self, IoError> {
        let body = body::Listener::bind(address, &options)
            .map_err(|error| on_address("listen on", address, &error))?;
        Ok(Self { body, options })
    }

    /// The address it listens on, with its real port.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn local_addr(&self) -> Result<SocketAddr, IoError> {
        self.body.local_addr().map_err(|error| IoError::new("ask for the address", None, error))
    }

    /// The next connection. May be dropped at any time without losing one; one caller at a time.
    ///
    /// # Errors
    /// `TooManyFiles` and its like: wait before trying again. `ConnectionReset`: the peer was gone
    /// before its turn, try again at once. The listener goes on listening.
    pub async fn accept(&self) -> Result<Stream, IoError> {
        let fail = |error| IoError::new("accept a connection", None, error);
        let body = self.body.accept().await.map_err(fail)?;
        body.set_options(&self.options.stream).map_err(fail)?;
        Ok(Stream { body })
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A connection. Closed when it, or both its halves, are dropped.
pub struct Stream {
    body: body::Stream,
}

impl Stream {
    /// Connects.
    ///
    /// # Errors
    /// `ConnectionRefused`, `TimedOut` (after the kernel's minutes; use
    /// [`timeout`](crate::time::timeout) for less) …
    ///
    /// # Panics
    /// Outside a core.
    pub async fn connect(address: SocketAddr, options: StreamOptions) -> Result<Self, IoError> {
        let fail = |error: io::Error| on_address("connect to", address, &error);
        let body = body::Stream::connect(address).await.map_err(fail)?;
        body.set_options(&options).map_err(fail)?;
        Ok(Self { body })
    }

    /// Reads what there is into `bytes`, waiting for at least one byte; 0 is the end of the stream
    /// (or an empty `bytes`). May be dropped at any time without losing a byte.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, IoError> {
        read(&self.body, bytes).await
    }

    /// Same, until `deadline` at most.
    ///
    /// # Errors
    /// `TimedOut` when nothing came until then; the stream is as before.
    pub async fn read_until(
        &mut self,
        bytes: &mut [u8],
        deadline: Monotonic,
    ) -> Result<usize, IoError> {
        read_until(&self.body, bytes, deadline).await
    }

    /// Reads until `bytes` is full. Dropped midway, what was read is lost.
    ///
    /// # Errors
    /// `UnexpectedEnd` if the stream ends before, or the connection broke.
    pub async fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), IoError> {
        read_exact(&self.body, bytes).await
    }

    /// Writes all of `bytes`; resolves when the kernel has taken them. Dropped midway, an unknown
    /// part was sent: only closing is sensible then.
    ///
    /// # Errors
    /// If the connection broke; an unknown part was sent.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        write_all(&self.body, &[bytes]).await
    }

    /// Writes all of `parts`, one after the other, without copying them together; see
    /// [`write_all`](Self::write_all).
    ///
    /// # Errors
    /// If the connection broke; an unknown part was sent.
    pub async fn write_all_parts(&mut self, parts: &[&[u8]]) -> Result<(), IoError> {
        write_all(&self.body, parts).await
    }

    /// Parts it in two that may be used by two tasks at once.
    #[must_use]
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (ReadHalf { body: self.body.clone() }, WriteHalf { body: self.body })
    }

    /// Ends a direction: the peer reads the end of the stream, or our reader does.
    ///
    /// # Errors
    /// If the connection is gone already.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), IoError> {
        self.body.shutdown(how).map_err(|error| IoError::new("shut down a stream", None, error))
    }

    /// The peer's address.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn peer_addr(&self) -> Result<SocketAddr, IoError> {
        self.body.peer_addr().map_err(|error| IoError::new("ask for the peer", None, error))
    }

    /// Our address.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn local_addr(&self) -> Result<SocketAddr, IoError> {
        self.body.local_addr().map_err(|error| IoError::new("ask for the address", None, error))
    }

    /// Sets its options.
    ///
    /// # Errors
    /// If the system refuses one.
    pub fn set_options(&self, options: StreamOptions) -> Result<(), IoError> {
        self.body.set_options(&options).map_err(|error| IoError::new("set options", None, error))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// The half that reads.
pub struct ReadHalf {
    body: body::Stream,
}

impl ReadHalf {
    /// See [`Stream::read`].
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, IoError> {
        read(&self.body, bytes).await
    }

    /// See [`Stream::read_until`].
    ///
    /// # Errors
    /// `TimedOut` when nothing came until then.
    pub async fn read_until(
        &mut self,
        bytes: &mut [u8],
        deadline: Monotonic,
    ) -> Result<usize, IoError> {
        read_until(&self.body, bytes, deadline).await
    }

    /// See [`Stream::read_exact`].
    ///
    /// # Errors
    /// `UnexpectedEnd` if the stream ends before, or the connection broke.
    pub async fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), IoError> {
        read_exact(&self.body, bytes).await
    }

    /// Ends a direction of the whole stream; see [`Stream::shutdown`].
    ///
    /// # Errors
    /// If the connection is gone already.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), IoError> {
        self.body.shutdown(how).map_err(|error| IoError::new("shut down a stream", None, error))
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadHalf")
    }
}

/// The half that writes.
pub struct WriteHalf {
    body: body::Stream,
}

impl WriteHalf {
    /// Writes what there is room for of `parts`, one after the other, waiting for room for at least
    /// one byte; returns how many bytes were taken. May be dropped at any time: nothing was sent then.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn write_some(&mut self, parts: &[IoSlice<'_>]) -> Result<usize, IoError> {
        poll_fn(|context| self.body.poll_write(context, parts))
            .await
            .map_err(|error| IoError::new("write to a stream", None, error))
    }

    /// See [`Stream::write_all`].
    ///
    /// # Errors
    /// If the connection broke; an unknown part was sent.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        write_all(&self.body, &[bytes]).await
    }

    /// See [`Stream::write_all_parts`].
    ///
    /// # Errors
    /// If the connection broke; an unknown part was sent.
    pub async fn write_all_parts(&mut self, parts: &[&[u8]]) -> Result<(), IoError> {
        write_all(&self.body, parts).await
    }

    /// Ends a direction of the whole stream; see [`Stream::shutdown`].
    ///
    /// # Errors
    /// If the connection is gone already.
    pub fn shutdown(&self, how: Shutdown) -> Result<(), IoError> {
        self.body.shutdown(how).map_err(|error| IoError::new("shut down a stream", None, error))
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteHalf")
    }
}

async fn read(body: &body::Stream, bytes: &mut [u8]) -> Result<usize, IoError> {
    poll_fn(|context| body.poll_read(context, bytes))
        .await
        .map_err(|error| IoError::new("read from a stream", None, error))
}

async fn read_until(
    body: &body::Stream,
    bytes: &mut [u8],
    deadline: Monotonic,
) -> Result<usize, IoError> {
    let Ok(result) = timeout_at(deadline, read(body, bytes)).await else {
        let text = "the deadline passed";
        return Err(IoError::with_kind(IoErrorKind::TimedOut, "read from a stream", None, text));
    };
    result
}

async fn read_exact(body: &body::Stream, bytes: &mut [u8]) -> Result<(), IoError> {
    let mut filled = 0;
    while filled < bytes.len() {
        match read(body, &mut bytes[filled..]).await? {
            0 => {
                let end = io::ErrorKind::UnexpectedEof.into();
                return Err(IoError::new("read from a stream", None, end));
            }
            count => filled += count,
        }
    }
    Ok(())
}

async fn write_all(body: &body::Stream, parts: &[&[u8]]) -> Result<(), IoError> {
    let fail = |error| IoError::new("write to a stream", None, error);
    for window in parts.chunks(PARTS_MAX) {
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        for (slice, part) in slices.iter_mut().zip(window) {
            *slice = IoSlice::new(part);
        }
        let mut rest = &mut slices[..window.len()];
        // Skips empty parts: sending nothing would look like a socket that takes nothing.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let sent = poll_fn(|context| body.poll_write(context, rest)).await.map_err(fail)?;
            if sent == 0 {
                return Err(fail(io::ErrorKind::WriteZero.into()));
            }
            IoSlice::advance_slices(&mut rest, sent);
        }
    }
    Ok(())
}

/// An error that names the address.
fn on_address(operation: &'static str, address: SocketAddr, error: &io::Error) -> IoError {
    let kind = IoError::new(operation, None, io::Error::from(error.kind())).kind();
    IoError::with_kind(kind, operation, None, &format!("{address}: {error}"))
}
