//! TCP sockets: glommio's readiness, our options, and an accept that can be dropped.

use super::descriptor::{adopt_listener, lend};
use super::direct::error_of;
use crate::net::{ListenOptions, StreamOptions};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use futures_util::io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// `MSG_DONTWAIT` of Linux, the same on every architecture.
const MSG_DONTWAIT: i32 = 0x40;
/// `MSG_NOSIGNAL` of Linux: a peer that is gone is an error, not a signal.
const MSG_NOSIGNAL: i32 = 0x4000;

type Accepting = LocalBoxFuture<'static, Result<TcpStream, io::Error>>;

/// A listening socket.
pub(crate) struct Listener {
    listener: Rc<TcpListener>,
    /// The accept under way. It lives here and not in the caller's future, because the kernel may
    /// have accepted a connection for it by the time the caller is dropped: glommio would lose it.
    accepting: RefCell<Option<Accepting>>,
}

impl Listener {
    pub(crate) fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // So that a restart does not wait for the connections of the former life to time out. Two
        // listeners of one address still exclude each other, unless both ask for SO_REUSEPORT.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(options.reuse_port)?;
        if let Some(bytes) = options.stream.receive_buffer {
            // Before `listen`: the window scale is agreed in the handshake.
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        let listener = Rc::new(adopt_listener(socket));
        Ok(Self { listener, accepting: RefCell::new(None) })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr().map_err(error_of)
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        let stream = poll_fn(|context| {
            // Taken out while it is polled: a second caller would find its own then.
            let mut accepting = self.accepting.borrow_mut().take().unwrap_or_else(|| {
                let listener = Rc::clone(&self.listener);
                async move { listener.accept().await.map_err(error_of) }.boxed_local()
            });
            let poll = accepting.as_mut().poll(context);
            if poll.is_pending() {
                *self.accepting.borrow_mut() = Some(accepting);
            }
            poll
        })
        .await?;
        Ok(Stream::new(stream))
    }
}

/// A connection. Halves share it; reading and writing wait independently.
#[derive(Clone)]
pub(crate) struct Stream {
    stream: Rc<RefCell<TcpStream>>,
}

impl Stream {
    fn new(stream: TcpStream) -> Self {
        Self { stream: Rc::new(RefCell::new(stream)) }
    }

    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect(address).await.map(Self::new).map_err(error_of)
    }

    pub(crate) fn set_options(&self, options: &StreamOptions) -> io::Result<()> {
        let stream = self.stream.borrow();
        let descriptor = lend(&*stream);
        let socket = SockRef::from(&descriptor);
        socket.set_tcp_nodelay(options.nodelay)?;
        if let Some(bytes) = options.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = options.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        Ok(())
    }

    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        retry(|| Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, bytes))
    }

    /// Sends as much of `parts` as the socket takes now; waits if it takes nothing.
    pub(crate) fn poll_write(
        &self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        if parts.len() > 1 {
            let sent = {
                let descriptor = lend(&*stream);
                let socket = SockRef::from(&descriptor);
                socket.send_vectored_with_flags(parts, MSG_DONTWAIT | MSG_NOSIGNAL)
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
        // glommio tries once more and, if it must, waits until the socket is writable.
        let first = parts.first().map_or(&[][..], |part| part);
        retry(|| Pin::new(&mut *stream).poll_write(context, first))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let stream = self.stream.borrow();
        let descriptor = lend(&*stream);
        SockRef::from(&descriptor).shutdown(how)
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.borrow().peer_addr().map_err(error_of)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.borrow().local_addr().map_err(error_of)
    }
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    loop {
        match call() {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
