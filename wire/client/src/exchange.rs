//! The requests of one connection, from being handed over to being answered: a machine without I/O.
//!
//! The shell owns the socket. It hands over requests while [`Exchange::takes`], writes what
//! [`Outbox::slices`] shows and reports [`Exchange::wrote`], puts received bytes into
//! [`Exchange::space`], reports [`Exchange::received`] and takes what they make from
//! [`Exchange::step`]. `R` is whatever the shell needs to tell somebody what became of a request.
//!
//! What becomes of a request is told exactly once: by [`Got::Reply`], by [`Refused`], or by
//! [`Exchange::end`], which knows whether its bytes left this process as a whole.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use hashbrown::HashMap;
use pyralog_log::batch::Buffer;
use pyralog_wire::client::{ClientConnection, ConnectionError, SendError};
use pyralog_wire::message::{Ping, Reply, Welcome};
use pyralog_wire::{Correlation, ErrorCode, ErrorReply, Request};

use crate::limits::LINK_UNWRITTEN_FRAMES_MAX;
use crate::receive::{Receiver, Step};

/// A request on its way to a connection.
#[derive(Debug)]
pub struct Outgoing<R> {
    /// What is asked.
    pub request: Request,
    /// Batches, for an append.
    pub payload: Option<Arc<Vec<u8>>>,
    /// Who learns what became of it.
    pub reply_to: R,
}

/// The server's answer, and the payload that came with it.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub reply: Reply,
    /// What a fetch brought.
    pub payload: Option<Buffer>,
}

/// What received bytes make.
#[derive(Debug)]
pub enum Got<R> {
    /// Nothing more for now.
    More,
    /// The handshake is done; requests may be handed over.
    Welcome(Welcome),
    /// A request was answered. Those that the exchange sent itself are answered to nobody.
    Reply(Option<R>, Answered),
}

/// A request that no server is asked: it fits no frame that this one takes.
#[derive(Debug)]
pub struct Refused<R> {
    /// Who is to be told.
    pub reply_to: R,
    /// What a server would have said.
    pub reply: ErrorReply,
}

/// What is known of a request whose connection ended before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was not handed to the socket as a whole, so the server cannot have carried it out: it
    /// does nothing with a part of a frame.
    Unsent,
    /// The server may have it, or get it later.
    Lost,
}

/// A frame that is being written.
#[derive(Debug)]
struct Frame {
    correlation: Option<Correlation>,
    head: Vec<u8>,
    payload: Option<Arc<Vec<u8>>>,
    written: usize,
}

impl Frame {
    /// What is still to be written of head and payload.
    fn parts(&self) -> (&[u8], &[u8]) {
        let payload = self.payload.as_ref().map_or(&[][..], |payload| payload.as_slice());
        let in_head = self.written.min(self.head.len());
        (&self.head[in_head..], &payload[self.written - in_head..])
    }
}

/// Frames that are not wholly written, oldest first.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Frame>,
}

impl Outbox {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Fills `slices` with what is to be written next and returns how many were filled: at least
    /// one unless the outbox, or `slices`, is empty.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        for frame in &self.frames {
            let (head, payload) = frame.parts();
            for part in [head, payload] {
                if used < slices.len() && !part.is_empty() {
                    slices[used] = IoSlice::new(part);
                    used += 1;
                }
            }
        }
        used
    }

    fn wrote(&mut self, mut written: usize) {
        while written > 0 {
            let frame = self.frames.front_mut().expect("what was written was there");
            let (head, payload) = frame.parts();
            let left = head.len() + payload.len();
            frame.written += written.min(left);
            written -= written.min(left);
            if frame.parts() == (&[], &[]) {
                self.frames.pop_front();
            }
        }
    }
}

/// The machine. Invariant: every request that was taken and not answered is in `held` or `pending`.
#[derive(Debug)]
pub struct Exchange<R> {
    machine: ClientConnection,
    receiver: Receiver,
    outbox: Outbox,
    /// Requests of the exchange itself are answered to nobody.
    pending: HashMap<Correlation, Option<R>>,
    /// A request that waits for credit.
    held: Option<Outgoing<Option<R>>>,
    /// Something was sent since the last tick.
    spoke: bool,
}

impl<R> Exchange<R> {
    /// The exchange of a new connection of the program `name`: its greeting lies in the outbox.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut machine = ClientConnection::new(name, env!("CARGO_PKG_VERSION"));
        let mut hello = Vec::new();
        machine.hello(&mut hello);
        let hello = Frame { correlation: None, head: hello, payload: None, written: 0 };
        Self {
            machine,
            receiver: Receiver::new(),
            outbox: Outbox { frames: VecDeque::from([hello]) },
            pending: HashMap::new(),
            held: None,
            spoke: false,
        }
    }

    /// What is to be written.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Whether no request is without an answer.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.held.is_none()
    }

    /// Whether a request may be handed over now.
    #[must_use]
    pub fn takes(&self) -> bool {
        self.held.is_none() && self.has_room()
    }

    /// Takes a request of a connection that was welcomed. It goes out as soon as there is credit for
    /// it, in the order of the calls.
    ///
    /// # Errors
    /// If it does not fit what the server takes: it is answered without being sent.
    ///
    /// # Panics
    /// If the exchange does not take one now, see [`Exchange::takes`].
    pub fn hand(&mut self, outgoing: Outgoing<R>) -> Result<(), Refused<R>> {
        assert!(self.takes(), "a request waits for credit already, or for room");
        let Outgoing { request, payload, reply_to } = outgoing;
        self.send(Outgoing { request, payload, reply_to: Some(reply_to) })
    }

    /// Sends the request that waits for credit, if there is one and there is credit now: to be
    /// called when answers have come or frames have gone.
    ///
    /// # Errors
    /// As [`Exchange::hand`].
    pub fn resume(&mut self) -> Result<(), Refused<R>> {
        match self.held.take() {
            Some(held) if self.has_room() => self.send(held),
            held => {
                self.held = held;
                Ok(())
            }
        }
    }

    /// A third of the time passed after which the server takes a silent connection for dead: says
    /// something if nothing was said since the last tick.
    pub fn tick(&mut self) {
        if !std::mem::take(&mut self.spoke) && self.held.is_none() {
            let request = Request::Ping(Ping { token: 0 });
            self.held = Some(Outgoing { request, payload: None, reply_to: None });
        }
    }

    /// `count` bytes of the outbox were written.
    ///
    /// # Panics
    /// If there were not so many.
    pub fn wrote(&mut self, count: usize) {
        self.outbox.wrote(count);
    }

    /// Where the next bytes of the socket go; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        self.receiver.space()
    }

    /// [`Exchange::outbox`] and [`Exchange::space`], for a shell that writes and reads at once.
    pub fn ends(&mut self) -> (&Outbox, &mut [u8]) {
        (&self.outbox, self.receiver.space())
    }

    /// `count` bytes were put into [`Exchange::space`]. Call [`Exchange::step`] until there is
    /// nothing more.
    pub fn received(&mut self, count: usize) {
        self.receiver.received(count);
    }

    /// What the bytes so far make.
    ///
    /// # Errors
    /// If the connection cannot go on.
    pub fn step(&mut self) -> Result<Got<R>, ConnectionError> {
        Ok(match self.receiver.next(&mut self.machine)? {
            Step::More => Got::More,
            Step::Welcome(welcome) => Got::Welcome(welcome),
            Step::Reply { correlation, reply, payload } => {
                // The machine knows only correlations that it gave us.
                let reply_to = self.pending.remove(&correlation).flatten();
                Got::Reply(reply_to, Answered { reply, payload })
            }
        })
    }

    /// The answer whose payload is still being received, and who waits for it: it says already where
    /// its records end.
    pub fn incoming(&mut self) -> Option<(&mut R, &Reply)> {
        let (correlation, reply) = self.receiver.incoming()?;
        let reply_to = self.pending.get_mut(&correlation)?.as_mut()?;
        Some((reply_to, reply))
    }

    /// The connection is over: what is known of every request without an answer, in the order in
    /// which those who asked are to be told.
    #[must_use]
    pub fn end(mut self) -> Vec<(R, Fate)> {
        let mut fates = Vec::with_capacity(self.pending.len() + 1);
        for frame in &self.outbox.frames {
            if let Some(correlation) = frame.correlation
                && let Some(Some(reply_to)) = self.pending.remove(&correlation)
            {
                fates.push((reply_to, Fate::Unsent));
            }
        }
        let mut lost: Vec<_> = self.pending.drain().collect();
        lost.sort_unstable_by_key(|(correlation, _)| *correlation);
        let lost = lost.into_iter().filter_map(|(_, reply_to)| reply_to);
        fates.extend(lost.map(|reply_to| (reply_to, Fate::Lost)));
        let held = self.held.and_then(|held| held.reply_to);
        fates.extend(held.map(|reply_to| (reply_to, Fate::Unsent)));
        fates
    }

    fn has_room(&self) -> bool {
        self.outbox.frames.len() < LINK_UNWRITTEN_FRAMES_MAX
    }

    fn send(&mut self, outgoing: Outgoing<Option<R>>) -> Result<(), Refused<R>> {
        let payload = outgoing.payload.as_ref().map_or(0, |payload| payload.len());
        let payload = u32::try_from(payload).expect("batches of one request are at most 16 MiB");
        let mut head = Vec::with_capacity(128);
        match self.machine.send(&outgoing.request, payload, &mut head) {
            Ok(correlation) => {
                self.spoke = true;
                self.pending.insert(correlation, outgoing.reply_to);
                self.outbox.frames.push_back(Frame {
                    correlation: Some(correlation),
                    head,
                    payload: outgoing.payload,
                    written: 0,
                });
            }
            Err(SendError::NoCredit) => self.held = Some(outgoing),
            Err(error) => {
                if let Some(reply_to) = outgoing.reply_to {
                    let reply = ErrorReply::new(ErrorCode::FrameTooLarge, error.to_string());
                    return Err(Refused { reply_to, reply });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
