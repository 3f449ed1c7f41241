//! Receiving: heads into one buffer that is used again and again, payloads into aligned buffers of
//! their own.
//!
//! ```text
//! socket --> [ head | head | head + start of a payload ]     RECEIVE_BYTES, reused
//!        \-> [ the rest of the payload, 64-aligned     ]     becomes the records' buffer
//! ```

use pyralog_log::batch::{Buffer, MutableBuffer};
use pyralog_wire::Correlation;
use pyralog_wire::client::{ClientConnection, ClientStep, ConnectionError};
use pyralog_wire::message::{Reply, Welcome};

use crate::limits::{RECEIVE_BYTES, SPARE_PAYLOADS_MAX};

/// What was received completely.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing more for now.
    More,
    /// The handshake is done.
    Welcome(Welcome),
    /// An answer.
    Reply { correlation: Correlation, reply: Reply, payload: Option<Buffer> },
}

/// A payload that is being received.
#[derive(Debug)]
struct Incoming {
    correlation: Correlation,
    reply: Reply,
    payload: MutableBuffer,
    filled: usize,
}

/// The receiving half of a connection. Invariant: `start <= end <= buffer.len()`.
#[derive(Debug)]
pub(crate) struct Receiver {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    incoming: Option<Incoming>,
    /// Payload buffers that were handed out. Those that nobody else holds any more serve again, so
    /// that a steady consumer touches no fresh memory.
    spares: Vec<Buffer>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        let buffer = vec![0; RECEIVE_BYTES];
        Self { buffer, start: 0, end: 0, incoming: None, spares: Vec::new() }
    }

    /// Where the next bytes of the socket go; never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        match &mut self.incoming {
            Some(incoming) => &mut incoming.payload.as_slice_mut()[incoming.filled..],
            None => &mut self.buffer[self.end..],
        }
    }

    /// `count` bytes were put into [`Receiver::space`].
    pub(crate) fn received(&mut self, count: usize) {
        match &mut self.incoming {
            Some(incoming) => incoming.filled += count,
            None => self.end += count,
        }
    }

    /// What the bytes so far make.
    pub(crate) fn next(&mut self, machine: &mut ClientConnection) -> Result<Step, ConnectionError> {
        if self.incoming.is_some() {
            return Ok(self.complete());
        }
        match machine.receive_head(&self.buffer[self.start..self.end]) {
            ClientStep::NeedMore { at_least } => {
                self.make_room(at_least);
                Ok(Step::More)
            }
            ClientStep::Welcome { welcome, consumed } => {
                self.start += consumed;
                Ok(Step::Welcome(welcome))
            }
            ClientStep::Reply { correlation, reply, payload_len, consumed, .. } => {
                self.start += consumed;
                if payload_len == 0 {
                    return Ok(Step::Reply { correlation, reply, payload: None });
                }
                self.begin((correlation, reply), payload_len as usize);
                Ok(self.complete())
            }
            ClientStep::Failed(error) => Err(error),
        }
    }

    /// The answer whose payload is being received.
    pub(crate) fn incoming(&self) -> Option<(Correlation, &Reply)> {
        self.incoming.as_ref().map(|incoming| (incoming.correlation, &incoming.reply))
    }

    /// A payload follows: takes what is here already, the rest goes to its buffer directly.
    fn begin(&mut self, (correlation, reply): (Correlation, Reply), len: usize) {
        let mut payload = self.payload_buffer(len);
        let filled = len.min(self.end - self.start);
        payload.as_slice_mut()[..filled]
            .copy_from_slice(&self.buffer[self.start..self.start + filled]);
        self.start += filled;
        self.incoming = Some(Incoming { correlation, reply, payload, filled });
    }

    /// The answer whose payload is being received, if it is whole.
    fn complete(&mut self) -> Step {
        let whole = |incoming: &mut Incoming| incoming.filled == incoming.payload.len();
        let Some(incoming) = self.incoming.take_if(whole) else { return Step::More };
        let payload = Buffer::from(incoming.payload);
        if self.spares.len() == SPARE_PAYLOADS_MAX {
            self.spares.remove(0);
        }
        self.spares.push(payload.clone());
        let (correlation, reply) = (incoming.correlation, incoming.reply);
        Step::Reply { correlation, reply, payload: Some(payload) }
    }

    /// A buffer of `len` bytes: one of the spares if one is free and large enough.
    fn payload_buffer(&mut self, len: usize) -> MutableBuffer {
        let free = |spare: &Buffer| spare.strong_count() == 1 && spare.capacity() >= len;
        if let Some(index) = self.spares.iter().position(free) {
            // It fails only for buffers that others hold or that were not allocated by Arrow.
            if let Ok(mut buffer) = self.spares.remove(index).into_mutable() {
                buffer.resize(len, 0);
                return buffer;
            }
        }
        MutableBuffer::from_len_zeroed(len)
    }

    /// Makes room for `at_least` bytes from `start` on.
    fn make_room(&mut self, at_least: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.start + at_least > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if at_least > self.buffer.len() {
            self.buffer.resize(at_least, 0);
        }
        assert!(self.end < self.buffer.len(), "room for {at_least} bytes");
    }
}
