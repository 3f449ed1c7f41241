//! One end of a connection, as the kernel of its host keeps it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Waker;

use rustix::io::Errno;

use super::ListenerId;
use super::medium::Medium;
use crate::sim::trace::NodeId;

/// Size of a send or receive buffer in bytes when nobody asks for another.
const BUFFER_BYTES: usize = 256 << 10;

/// What an end is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Not there yet.
    Unborn,
    /// Has asked for the connection.
    Connecting,
    /// Has agreed, and knows whom to tell when the other end does.
    Answered(ListenerId),
    /// Usable; the application has it, or it waits to be accepted.
    Open,
    /// The application has it, but the kernel has forgotten the connection.
    Broken,
    /// The application has let go in order; the kernel still sends what it was given.
    Orphan,
    /// Not there any more.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    pub(super) state: State,
    /// Told once, to the first who asks.
    pub(super) error: Option<Errno>,
    /// Arrived and not read; the first piece from `consumed` on.
    received: VecDeque<Vec<u8>>,
    consumed: usize,
    unread: usize,
    /// Whether the peer sends nothing more.
    pub(super) finished: bool,
    /// Whether we do not want to read more.
    pub(super) read_shut: bool,
    /// Whether we send nothing more.
    pub(super) write_shut: bool,
    pub(super) send_buffer: usize,
    pub(super) receive_buffer: usize,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Waits for the connection.
    pub(super) opener: Option<Waker>,
}

impl End {
    pub(super) fn new(node: NodeId, address: SocketAddr, state: State) -> Self {
        Self {
            node,
            address,
            state,
            error: None,
            received: VecDeque::new(),
            consumed: 0,
            unread: 0,
            finished: false,
            read_shut: false,
            write_shut: false,
            send_buffer: BUFFER_BYTES,
            receive_buffer: BUFFER_BYTES,
            reader: None,
            writer: None,
            opener: None,
        }
    }

    /// Whether anybody will ever look at it again.
    pub(super) fn is_wanted(&self) -> bool {
        use State::{Answered, Broken, Connecting, Gone, Open, Orphan, Unborn};
        match self.state {
            Connecting | Answered(_) | Open | Broken => true,
            Unborn | Orphan | Gone => false,
        }
    }

    /// Bytes that wait to be read.
    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// Bytes have arrived.
    pub(super) fn receive(&mut self, bytes: Vec<u8>) {
        self.unread += bytes.len();
        self.received.push_back(bytes);
    }

    /// Reads as much as fits into `bytes`, which must not be more than there is.
    pub(super) fn read(&mut self, mut bytes: &mut [u8]) {
        assert!(bytes.len() <= self.unread, "{} of {} bytes", bytes.len(), self.unread);
        self.unread -= bytes.len();
        while !bytes.is_empty() {
            let piece = self.received.front().expect("unread bytes are in pieces");
            let count = bytes.len().min(piece.len() - self.consumed);
            bytes[..count].copy_from_slice(&piece[self.consumed..self.consumed + count]);
            bytes = &mut bytes[count..];
            self.consumed += count;
            if self.consumed == piece.len() {
                self.consumed = 0;
                self.received.pop_front();
            }
        }
    }

    /// Wakes everybody who waits for this end.
    pub(super) fn wake_all(&mut self, medium: &mut Medium) {
        for waker in [&mut self.reader, &mut self.writer, &mut self.opener] {
            medium.wake(waker);
        }
    }

    /// The application lets go: nobody reads or waits any more.
    pub(super) fn let_go(&mut self, state: State) {
        self.state = state;
        self.received.clear();
        (self.consumed, self.unread) = (0, 0);
        (self.reader, self.writer, self.opener) = (None, None, None);
    }
}
