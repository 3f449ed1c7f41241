//! The two bodies behind the interface: what each entry point finds is either glommio's or the simulated world's.
//!
//! Enums rather than a type parameter, so that no signature of another crate speaks of it. In production the first
//! variant is the only one there ever is, and a branch that always goes one way is free.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::IoError;
use crate::glommio_body::Frozen;
use crate::net::{ListenOptions, StreamOptions};
use crate::sim::is_simulated;
use crate::task::Class;
use crate::{glommio_body, sim};

/// A core's executor.
pub(crate) enum Core {
    Glommio(glommio_body::Core),
    Sim(sim::Core),
}

impl Core {
    /// Queues `future` as a task of this core, which is the current one.
    pub(crate) fn spawn(&self, class: Class, future: impl Future<Output = ()> + 'static) -> Handle {
        match self {
            Self::Glommio(core) => Handle::Glommio(core.spawn(class, future)),
            Self::Sim(_) => Handle::Sim(sim::Core::spawn(future)),
        }
    }
}

/// A spawned task. Dropping it cancels.
pub(crate) enum Handle {
    Glommio(glommio_body::Handle),
    Sim(sim::Handle),
}

impl Core {
    /// The simulated node it belongs to, if it is one's.
    pub(crate) fn node(&self) -> Option<usize> {
        match self {
            Self::Glommio(_) => None,
            Self::Sim(core) => Some(core.node()),
        }
    }

    /// The life of that node which it belongs to.
    pub(crate) fn life(&self) -> Option<u64> {
        match self {
            Self::Glommio(_) => None,
            Self::Sim(core) => Some(core.life()),
        }
    }
}

impl Handle {
    /// Cancels and waits until the future is dropped.
    pub(crate) async fn cancel(self) {
        match self {
            Self::Glommio(handle) => handle.cancel().await,
            Self::Sim(handle) => handle.cancel().await,
        }
    }

    /// Lets it run.
    pub(crate) fn forget(self) {
        match self {
            Self::Glommio(handle) => handle.forget(),
            Self::Sim(handle) => handle.forget(),
        }
    }
}

/// A timer.
#[derive(Debug)]
pub(crate) enum Timer {
    Glommio(glommio_body::Timer),
    Sim(sim::Timer),
}

impl Timer {
    pub(crate) fn after(duration: Duration) -> Self {
        if is_simulated() {
            Self::Sim(sim::Timer::after(duration))
        } else {
            Self::Glommio(glommio_body::Timer::after(duration))
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Glommio(timer) => Pin::new(timer).poll(context),
            Self::Sim(timer) => Pin::new(timer).poll(context),
        }
    }
}

/// Waits until the reactor has looked at what is due.
pub(crate) async fn yield_to_reactor() {
    if is_simulated() {
        sim::yield_to_reactor().await;
    } else {
        glommio_body::yield_to_reactor().await;
    }
}

/// Runs `call` where it may block. It must not panic.
pub(crate) async fn blocking<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    if is_simulated() { sim::blocking(call).await } else { glommio_body::blocking(call).await }
}

/// What a read of a direct file brought.
#[derive(Clone, Debug)]
pub(crate) enum ReadBytes {
    Glommio(glommio_body::ReadBytes),
    Sim(sim::ReadBytes),
}

impl ReadBytes {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Glommio(bytes) => bytes.bytes(),
            Self::Sim(bytes) => bytes.bytes(),
        }
    }
}

/// A listening socket.
pub(crate) enum Listener {
    Glommio(glommio_body::Listener),
    Sim(sim::Listener),
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        if is_simulated() {
            sim::Listener::bind(address, options).map(Self::Sim)
        } else {
            glommio_body::Listener::bind(address, options).map(Self::Glommio)
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Glommio(listener) => listener.local_addr(),
            Self::Sim(listener) => listener.local_addr(),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Glommio(listener) => listener.accept().await.map(Stream::Glommio),
            Self::Sim(listener) => listener.accept().await.map(Stream::Sim),
        }
    }
}

/// A connection. Halves share it.
#[derive(Clone)]
pub(crate) enum Stream {
    Glommio(glommio_body::Stream),
    Sim(sim::Stream),
}

impl Stream {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        if is_simulated() {
            sim::Stream::connect(address).await.map(Self::Sim)
        } else {
            glommio_body::Stream::connect(address).await.map(Self::Glommio)
        }
    }

    pub(crate) fn set_options(&self, options: &StreamOptions) -> io::Result<()> {
        match self {
            Self::Glommio(stream) => stream.set_options(options),
            Self::Sim(stream) => {
                stream.set_options(options);
                Ok(())
            }
        }
    }

    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Glommio(stream) => stream.poll_read(context, bytes),
            Self::Sim(stream) => stream.poll_read(context, bytes),
        }
    }

    /// Sends as much of `parts` as the socket takes now; waits if it takes nothing.
    pub(crate) fn poll_write(
        &self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Glommio(stream) => stream.poll_write(context, parts),
            Self::Sim(stream) => stream.poll_write(context, parts),
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Glommio(stream) => stream.shutdown(how),
            Self::Sim(stream) => stream.shutdown(how),
        }
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Glommio(stream) => stream.peer_addr(),
            Self::Sim(stream) => stream.peer_addr(),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Glommio(stream) => stream.local_addr(),
            Self::Sim(stream) => stream.local_addr(),
        }
    }
}

/// A file open for direct I/O.
#[derive(Debug)]
pub(crate) enum DirectFile {
    Glommio(glommio_body::DirectFile),
    Sim(sim::DirectFile),
}

impl DirectFile {
    /// Opens a file, or makes it and fails if it is there. The path has no zero byte.
    pub(crate) async fn open(path: &Path, create: bool) -> Result<Self, IoError> {
        if is_simulated() {
            sim::DirectFile::open(path, create).await.map(Self::Sim)
        } else {
            glommio_body::DirectFile::open(path, create).await.map(Self::Glommio)
        }
    }

    /// Writes what of `frozen` lies behind `skip` bytes at `position`, all multiples of 4 KiB, in one transfer. Returns
    /// how many bytes it took.
    pub(crate) async fn write_once(
        &self,
        position: u64,
        frozen: &Frozen,
        skip: usize,
        sync: bool,
    ) -> io::Result<usize> {
        match self {
            Self::Glommio(file) => file.write_once(position, frozen, skip, sync).await,
            Self::Sim(file) => file.write_once(position, frozen, skip, sync).await,
        }
    }

    /// Reads at most `len` bytes at `position`, both multiples of 4 KiB, in one transfer.
    pub(crate) async fn read_once(&self, position: u64, len: usize) -> io::Result<ReadBytes> {
        match self {
            Self::Glommio(file) => file.read_once(position, len).await.map(ReadBytes::Glommio),
            Self::Sim(file) => file.read_once(position, len).await.map(ReadBytes::Sim),
        }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Self::Glommio(file) => file.len(),
            Self::Sim(file) => file.len(),
        }
    }

    /// Reserves the blocks of `0..len` and makes the file at least that long.
    pub(crate) async fn preallocate(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Glommio(file) => file.preallocate(len).await,
            Self::Sim(file) => file.preallocate(len).await,
        }
    }

    /// Cuts or extends the file to `len` bytes.
    pub(crate) async fn set_len(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Glommio(file) => file.set_len(len).await,
            Self::Sim(file) => file.set_len(len).await,
        }
    }

    /// Puts what was written on stable storage.
    pub(crate) async fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Glommio(file) => file.sync_data().await,
            Self::Sim(file) => file.sync_data().await,
        }
    }

    /// Closes it.
    pub(crate) async fn close(self) -> io::Result<()> {
        match self {
            Self::Glommio(file) => file.close().await,
            Self::Sim(_closed_when_dropped) => Ok(()),
        }
    }
}
