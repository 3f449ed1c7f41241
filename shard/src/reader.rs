//! The task that receives a connection's requests and starts to carry them out.
//!
//! An append is taken here, in place: from the receive buffer straight into the partition's group buffer, one copy,
//! without a task or an allocation. When its partition or the core is full, the reader waits for a moment with its
//! socket unread, which the client feels as backpressure, and then answers `Busy`.

use std::rc::Rc;

use pyralog_runtime::net::ReadHalf;
use pyralog_runtime::{time, yield_if_needed};
use pyralog_wire::server::{Admitted, ServerStep};
use pyralog_wire::{ErrorCode, Request};

use crate::asked::Asked;
use crate::connection::{Connection, End, unless};
use crate::limits::{APPEND_WAIT, LINGER, STOP_WAIT};
use crate::metrics::Counter;
use crate::receive::ReceiveBuffer;
use crate::request::{self, append::Taken};
use crate::shard::Shard;

/// What a reader owns.
struct Reader {
    shard: Rc<Shard>,
    connection: Rc<Connection>,
    buffer: ReceiveBuffer,
    /// Payload of a refused request that is still to come, and is dropped.
    skip: usize,
}

/// Receives until the client has nothing more to say or the connection ends; then the connection finishes.
pub(crate) async fn run(shard: Rc<Shard>, connection: Rc<Connection>, mut socket: ReadHalf) {
    let mut reader = Reader { shard, connection, buffer: ReceiveBuffer::new(), skip: 0 };
    let mut at_least = 1;
    loop {
        if !reader.receive(&mut socket, at_least).await {
            break;
        }
        match reader.take_frames().await {
            Some(needed) => at_least = needed,
            None => break,
        }
    }
    reader.connection.finish();
    linger(&reader.connection, &mut socket).await;
}

/// Receives and drops what the client still sends: closing a socket with unread bytes would destroy the last answers on
/// their way. Until the client has closed, or [`LINGER`] after everything was sent.
async fn linger(connection: &Connection, socket: &mut ReadHalf) {
    let mut scratch = [0; 4096];
    let mut deadline = None;
    loop {
        let nudged = connection.nudged();
        if connection.end() == End::Cut && deadline.is_none() {
            deadline = Some(time::now() + LINGER);
        }
        let until = deadline.unwrap_or_else(|| time::now() + STOP_WAIT);
        let receiving = time::timeout_at(until, socket.read(&mut scratch));
        match unless(nudged, receiving).await {
            None | Some(Ok(Ok(1..))) => {}
            Some(Ok(Ok(0) | Err(_)) | Err(_)) => return,
        }
    }
}

impl Reader {
    /// Receives some bytes; false if there will be none.
    async fn receive(&mut self, socket: &mut ReadHalf, at_least: usize) -> bool {
        loop {
            let nudged = self.connection.nudged();
            if self.connection.end() != End::Open {
                return false;
            }
            self.shrink_if_due();
            let received = unless(nudged, socket.read(self.buffer.room(at_least))).await;
            match received {
                None => {}
                Some(Ok(0)) => {
                    if !self.buffer.filled().is_empty() || self.skip > 0 {
                        self.shard.metrics.add(Counter::ConnectionsFailed, 1);
                        tracing::debug!(peer = self.connection.peer(), "the client left mid-frame");
                    }
                    return false;
                }
                Some(Ok(count)) => {
                    self.buffer.received(count);
                    self.connection.note_received(time::now());
                    return true;
                }
                Some(Err(error)) => {
                    tracing::debug!(peer = self.connection.peer(), %error, "the connection broke");
                    self.connection.cut();
                    return false;
                }
            }
        }
    }

    fn shrink_if_due(&mut self) {
        let asked = self.connection.take_shrink();
        if self.buffer.should_shrink() || (asked && self.buffer.may_shrink()) {
            self.buffer.shrink();
            self.connection.note_grown(false);
        }
    }

    /// Carries out every whole frame in the buffer. Returns what the buffer must hold next time, or `None` if the
    /// connection takes no more.
    async fn take_frames(&mut self) -> Option<usize> {
        loop {
            if self.connection.end() != End::Open {
                return None;
            }
            if self.skip > 0 {
                let skipped = self.skip.min(self.buffer.filled().len());
                self.buffer.consume(skipped);
                self.skip -= skipped;
            }
            match self.connection.receive(self.buffer.filled()) {
                ServerStep::NeedMore { at_least } => {
                    self.connection.note_partial(!self.buffer.filled().is_empty());
                    if self.buffer.fits(at_least) {
                        return Some(at_least);
                    }
                    if let Some(needed) = self.grow(at_least).await {
                        return Some(needed);
                    }
                }
                ServerStep::Pause => self.pause().await,
                ServerStep::Consumed(count) => self.buffer.consume(count),
                ServerStep::Hello { consumed, .. } => {
                    self.buffer.consume(consumed);
                    self.connection.welcome(self.shard.welcome());
                }
                ServerStep::Request { admitted, payload, consumed } => {
                    carry_out(&self.shard, &self.connection, admitted, payload).await;
                    self.buffer.consume(consumed);
                }
                ServerStep::Close => {
                    self.shard.metrics.add(Counter::ConnectionsFailed, 1);
                    return None;
                }
            }
            yield_if_needed().await;
        }
    }

    /// Waits until the machine takes requests again, or the connection ends.
    async fn pause(&self) {
        loop {
            let relief = self.connection.relief();
            if self.connection.may_read() || self.connection.end() != End::Open {
                return;
            }
            relief.await;
        }
    }

    /// Makes room for a frame of `len` bytes and returns `len`. If the core has none to give, the request is refused,
    /// its payload will be skipped, and there may be something else to do.
    async fn grow(&mut self, len: usize) -> Option<usize> {
        let growth = ReceiveBuffer::growth(len);
        let taken =
            self.shard.wait_for(APPEND_WAIT, || self.shard.in_flight.try_take(growth)).await;
        if let Some(hold) = taken {
            self.buffer.grow(len, hold);
            self.connection.note_grown(true);
            return Some(len);
        }
        match self.connection.receive_head(self.buffer.filled()) {
            ServerStep::Request { admitted, consumed, .. } => {
                let kind = admitted.request.kind();
                self.skip = admitted.payload_len as usize;
                let asked = Asked::local(&self.shard, &self.connection, admitted.token, kind);
                asked.refuse(request::busy(
                    "the core has no memory left for a request of this size",
                ));
                self.buffer.consume(consumed);
            }
            ServerStep::Consumed(count) => self.buffer.consume(count),
            ServerStep::Pause => self.pause().await,
            // Even the body is large: nothing can be skipped, because it is not known what it is.
            ServerStep::NeedMore { .. } | ServerStep::Hello { .. } | ServerStep::Close => {
                self.connection.fail(&ErrorCode::Busy.into());
            }
        }
        None
    }
}

async fn carry_out(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    admitted: Admitted,
    payload: &[u8],
) {
    connection.note_partial(false);
    let kind = admitted.request.kind();
    let asked = Asked::local(shard, connection, admitted.token, kind);
    let Request::Append(append) = admitted.request else {
        request::start(asked, admitted.request);
        return;
    };
    let mut waiting = asked;
    let deadline = waiting.started() + APPEND_WAIT;
    loop {
        let relief = shard.relief();
        match request::append::take(waiting, append, payload) {
            Taken::Settled => return,
            Taken::Busy(asked, reason) => {
                if connection.end() == End::Cut || time::now() >= deadline {
                    asked.refuse(request::busy(reason));
                    return;
                }
                waiting = asked;
            }
        }
        // Elapsed or not, the loop looks again.
        time::timeout_at(deadline, relief).await.ok();
    }
}
