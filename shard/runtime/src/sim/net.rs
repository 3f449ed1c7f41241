//! The network of a simulated world: connections that are late, break, and lose their other end.
//!
//! A model of TCP as applications see it, not of packets: bytes of one direction arrive in order and once, because TCP
//! sees to that on real networks too. What it cannot hide is modelled: how long it takes, that directions and
//! connections overtake each other, that a connection breaks at any byte, that a peer without power says nothing, that a
//! cut network holds everything back and that a sender then gives up, that a peer reads slowly.
//!
//! The model knows no executor: it keeps wakers and gives them back when something has happened. It knows no clock:
//! callers say what time it is.
//!
//! What a kernel does, and this does too:
//!
//! - [`Network::close`] of a stream with unread bytes resets the connection; otherwise what was written still arrives.
//! - What arrives where nobody knows the connection (any more) is answered with a reset.
//! - An error is told once. After it, a read is at the end of the stream and a write finds a broken pipe.
//! - Bytes that came before a reset can be read; then comes the error.

mod arrivals;
mod calls;
mod connection;
mod end;
mod hosts;
mod lane;
mod medium;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;

use self::connection::{Connection, Side};
use self::end::{End, State};
use self::hosts::Hosts;
pub(crate) use self::hosts::ListenerId;
use self::lane::{Fate, Segment};
use self::medium::{Due, Medium};
use super::faults::{NetFault, NetFaults};
use super::trace::{NodeId, TraceKind};

/// Longest time in nanoseconds that a connection is waited for: Linux gives up after 127 s.
const CONNECT_NANOS_MAX: u64 = 120_000_000_000;

/// Most bytes of one segment: large writes arrive in pieces.
const SEGMENT_BYTES_MAX: usize = 64 << 10;

/// One end of a connection, as an application holds it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct StreamId {
    connection: u64,
    side: Side,
}

/// See the module.
pub(crate) struct Network {
    medium: Medium,
    hosts: Hosts,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
}

impl Network {
    /// A network without hosts, at time zero.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            medium: Medium::new(seed),
            hosts: Hosts::default(),
            connections: BTreeMap::new(),
            next_connection: 0,
        }
    }

    /// Adds a host, which is on.
    ///
    /// # Panics
    /// If the node or the address has been added before.
    pub(crate) fn add_host(&mut self, node: NodeId, address: IpAddr) {
        self.hosts.add(node, address);
    }

    /// How the network behaves from now on; what is on its way stays.
    pub(crate) fn set_faults(&mut self, faults: NetFaults) {
        self.medium.faults = faults;
    }

    /// How often each fault has struck.
    pub(crate) fn struck(&self) -> &BTreeMap<NetFault, u64> {
        self.medium.struck()
    }

    /// What has happened since the last call, and on which node.
    pub(crate) fn drain_events(&mut self) -> Vec<(Option<NodeId>, TraceKind)> {
        self.medium.drain_events()
    }

    // Time.

    /// When something happens next by itself; the present if somebody is to be woken.
    pub(crate) fn next_event(&self) -> Option<u64> {
        if self.medium.woken.is_empty() { self.medium.next_due() } else { Some(self.medium.now) }
    }

    /// Lets everything happen that is due by `now`. Returns whom to wake, in the order in which it happened.
    #[must_use]
    pub(crate) fn advance(&mut self, now: u64) -> Vec<Waker> {
        let Self { medium, hosts, connections, .. } = self;
        while let Some((number, due)) = medium.pop_due(now) {
            let connection = connections.get_mut(&number).expect("the dead have nothing due");
            match due {
                Due::Arrival(sender) => connection.arrived(medium, hosts, sender),
                Due::HeldTooLong(sender) => {
                    connection.lane_mut(sender).timeout = None;
                    connection.give_up(medium, sender);
                }
                Due::Credit(sender) => connection.told(medium, sender),
                Due::Deadline => {
                    connection.deadline = None;
                    connection.fail(medium, Side::Client, Errno::TIMEDOUT);
                }
            }
            if !connection.is_wanted() {
                connection.cancel(medium);
                connections.remove(&number);
            }
        }
        medium.reach(now);
        std::mem::take(&mut medium.woken)
    }

    // Faults that somebody commands.

    /// Stops carrying what `from` sends to `to`: it waits for [`heal`](Self::heal), and a minute later its sender gives
    /// up.
    pub(crate) fn cut(&mut self, now: u64, from: NodeId, to: NodeId) {
        self.medium.reach(now);
        if !self.medium.cut(from, to) {
            return;
        }
        for connection in self.connections.values_mut() {
            for side in Side::BOTH {
                if connection.nodes(side) == (from, to) {
                    connection.hold(&mut self.medium, side);
                }
            }
        }
    }

    /// Carries it again; what was held is sent anew.
    pub(crate) fn heal(&mut self, now: u64, from: NodeId, to: NodeId) {
        self.medium.reach(now);
        if self.medium.heal(from, to) {
            self.release(from, to);
        }
    }

    /// Whether what `from` sends to `to` is held.
    #[cfg_attr(not(test), expect(dead_code, reason = "for those who draw which cut comes next"))]
    pub(crate) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.medium.is_cut(from, to)
    }

    fn release(&mut self, from: NodeId, to: NodeId) {
        for connection in self.connections.values_mut() {
            for side in Side::BOTH {
                if connection.nodes(side) == (from, to) {
                    connection.release(&mut self.medium, side);
                    connection.retell(&mut self.medium, side.other());
                }
            }
        }
    }

    /// The process of a node ends without order, and with `power` the host does.
    ///
    /// Without: its kernel ends every connection as it does when a process is killed: with a reset where bytes are
    /// unread, otherwise with a reset or an orderly end. With: nobody says anything, part of what was in flight is lost,
    /// and what arrives waits until the host is [`up`](Self::up) or its sender gives up.
    ///
    /// Wakers of the node are dropped, not woken. Streams and listeners of the dead may be closed later: nothing happens.
    pub(crate) fn crash(&mut self, now: u64, node: NodeId, power: bool) {
        self.medium.reach(now);
        self.hosts.unbind_all(node);
        if power {
            self.medium.set_off(node, true);
        }
        for connection in self.connections.values_mut() {
            for side in Side::BOTH {
                if connection.end(side).node != node {
                    continue;
                }
                if power {
                    connection.lose_power(&mut self.medium, side);
                    connection.hold(&mut self.medium, side.other());
                } else {
                    connection.lose_process(&mut self.medium, side);
                }
            }
        }
        self.sweep_all();
    }

    /// A host has power again. Nothing if it had.
    pub(crate) fn up(&mut self, node: NodeId) {
        if !self.medium.set_off(node, false) {
            return;
        }
        for connection in self.connections.values_mut() {
            for side in Side::BOTH {
                if connection.end(side.other()).node == node {
                    connection.release(&mut self.medium, side);
                    connection.retell(&mut self.medium, side.other());
                }
            }
        }
    }

    /// Forgets a connection that nobody will look at again.
    fn sweep(&mut self, number: u64) {
        if let Some(connection) = self.connections.get_mut(&number)
            && !connection.is_wanted()
        {
            connection.cancel(&mut self.medium);
            self.connections.remove(&number);
        }
    }

    fn sweep_all(&mut self) {
        let Self { medium, connections, .. } = self;
        connections.retain(|_, connection| {
            let wanted = connection.is_wanted();
            if !wanted {
                connection.cancel(medium);
            }
            wanted
        });
    }

    // Listeners.

    /// Listens on an address of the host, of loopback, or on all of them; port 0 takes the next free one from 30000.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` for an address of another host, `EADDRINUSE` unless all who listen there want to share.
    pub(crate) fn bind(
        &mut self,
        node: NodeId,
        address: SocketAddr,
        reuse_port: bool,
        backlog: usize,
    ) -> io::Result<ListenerId> {
        self.hosts.bind(node, address, reuse_port, backlog)
    }

    /// The address of a listener, with its port.
    ///
    /// # Errors
    /// If it is closed.
    pub(crate) fn local_addr_of_listener(&self, listener: ListenerId) -> io::Result<SocketAddr> {
        self.hosts.local_addr(listener)
    }

    /// Closes a listener: connections that nobody has accepted are reset.
    pub(crate) fn unbind(&mut self, listener: ListenerId) {
        for stream in self.hosts.unbind(listener) {
            if let Some(connection) = self.connections.get_mut(&stream.connection) {
                let was_open = connection.end(stream.side).state == State::Open;
                connection.end_mut(stream.side).let_go(State::Gone);
                if was_open {
                    connection.reject(&mut self.medium, stream.side);
                }
            }
            self.sweep(stream.connection);
        }
    }

    /// The next connection. It may be broken already, as in Linux.
    pub(crate) fn poll_accept(
        &mut self,
        listener: ListenerId,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<StreamId>> {
        match self.hosts.accept(listener, context.waker()) {
            Ok(None) => Poll::Pending,
            Ok(Some(stream)) => Poll::Ready(Ok(stream)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    // Streams.

    /// Asks for a connection; see [`poll_connected`](Self::poll_connected).
    pub(crate) fn connect(&mut self, now: u64, node: NodeId, address: SocketAddr) -> StreamId {
        let medium = &mut self.medium;
        medium.reach(now);
        let number = self.next_connection;
        self.next_connection += 1;
        let stream = StreamId { connection: number, side: Side::Client };
        let Some((to, from_address, to_address)) = self.hosts.route(node, address) else {
            let mut client = End::new(node, address, State::Broken);
            client.error = Some(Errno::HOSTUNREACH);
            let server = End::new(node, address, State::Gone);
            self.connections.insert(number, Connection::new(number, client, server));
            return stream;
        };
        medium.note(Some(node), TraceKind::Connect { connection: number, to });
        let client = End::new(node, from_address, State::Connecting);
        let server = End::new(to, to_address, State::Unborn);
        let mut connection = Connection::new(number, client, server);
        let fate = match medium.fails_to_connect(node, number) {
            false => Fate::Made,
            true if medium.coin() => Fate::Refused,
            true => Fate::Broken,
        };
        connection.send(medium, Side::Client, Segment::Syn(fate));
        let deadline = medium.now + CONNECT_NANOS_MAX;
        connection.deadline = Some(medium.schedule(deadline, number, Due::Deadline));
        self.connections.insert(number, connection);
        stream
    }

    fn connection(&mut self, stream: StreamId) -> io::Result<(&mut Connection, &mut Medium)> {
        let connection = self.connections.get_mut(&stream.connection).ok_or(Errno::BADF)?;
        Ok((connection, &mut self.medium))
    }

    /// Whether the connection is made.
    ///
    /// Resolves to an error if nobody listens there (`ECONNREFUSED`), nobody answers for two minutes (`ETIMEDOUT`), the
    /// address belongs to no host (`EHOSTUNREACH`), or it broke (`ECONNRESET`).
    pub(crate) fn poll_connected(
        &mut self,
        stream: StreamId,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let (connection, _) = self.connection(stream)?;
        let end = connection.end_mut(stream.side);
        Poll::Ready(match end.state {
            State::Connecting => {
                end.opener = Some(context.waker().clone());
                return Poll::Pending;
            }
            State::Open => Ok(()),
            _ => Err(end.error.take().unwrap_or(Errno::NOTCONN).into()),
        })
    }

    /// Reads what has arrived, at least one byte; 0 at the end of the stream, or if `bytes` is empty.
    pub(crate) fn poll_read(
        &mut self,
        stream: StreamId,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let (connection, medium) = self.connection(stream)?;
        let number = connection.number;
        let end = connection.end_mut(stream.side);
        let most = end.unread().min(bytes.len());
        if most > 0 {
            let count = medium.short_read(most, end.node, number);
            end.read(&mut bytes[..count]);
            connection.has_read(medium, stream.side, count);
            return Poll::Ready(Ok(count));
        }
        if bytes.is_empty() || end.finished || end.read_shut {
            return Poll::Ready(Ok(0));
        }
        Poll::Ready(match (end.error.take(), end.state) {
            (Some(error), _) => Err(error.into()),
            (None, State::Open) => {
                end.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            (None, State::Broken) => Ok(0),
            (None, _) => Err(Errno::NOTCONN.into()),
        })
    }

    /// Sends as much of `parts` as there is room for, at least one byte; 0 only if all are empty.
    pub(crate) fn poll_write(
        &mut self,
        now: u64,
        stream: StreamId,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.medium.reach(now);
        let (connection, medium) = self.connection(stream)?;
        let (number, side) = (connection.number, stream.side);
        let end = connection.end_mut(side);
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if end.write_shut || end.state == State::Broken {
            return Poll::Ready(Err(Errno::PIPE.into()));
        }
        if end.state != State::Open {
            return Poll::Ready(Err(Errno::NOTCONN.into()));
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        let node = end.node;
        let room = connection.room(side);
        if room == 0 {
            connection.end_mut(side).writer = Some(context.waker().clone());
            connection.lane_mut(side).is_full = true;
            connection.tell(medium, side);
            connection.probe(medium, side);
            return Poll::Pending;
        }
        let count = medium.short_write(room.min(total), node, number);
        connection.write(medium, side, parts, count);
        Poll::Ready(Ok(count))
    }

    /// Ends a direction: the peer reads the end of the stream, or our reader does.
    ///
    /// # Errors
    /// `ENOTCONN` if the connection is gone.
    pub(crate) fn shutdown(&mut self, now: u64, stream: StreamId, how: Shutdown) -> io::Result<()> {
        self.medium.reach(now);
        let (connection, medium) = self.connection(stream)?;
        let end = connection.end_mut(stream.side);
        if end.state != State::Open {
            return Err(Errno::NOTCONN.into());
        }
        if how != Shutdown::Write {
            end.read_shut = true;
            medium.wake(&mut end.reader);
        }
        if how != Shutdown::Read {
            connection.finish(medium, stream.side);
        }
        Ok(())
    }

    /// The application lets go of a stream. What was written still arrives, unless the peer sent something that nobody
    /// has read: then the connection is reset.
    pub(crate) fn close(&mut self, now: u64, stream: StreamId) {
        self.medium.reach(now);
        if let Ok((connection, medium)) = self.connection(stream) {
            connection.close(medium, stream.side);
            self.sweep(stream.connection);
        }
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `ENOTCONN` if the connection is not made, or gone.
    pub(crate) fn peer_addr(&self, stream: StreamId) -> io::Result<SocketAddr> {
        let connection = self.connections.get(&stream.connection).ok_or(Errno::BADF)?;
        if connection.end(stream.side).state != State::Open {
            return Err(Errno::NOTCONN.into());
        }
        Ok(connection.end(stream.side.other()).address)
    }

    /// Our address.
    ///
    /// # Errors
    /// If the stream is closed.
    pub(crate) fn local_addr(&self, stream: StreamId) -> io::Result<SocketAddr> {
        let connection = self.connections.get(&stream.connection).ok_or(Errno::BADF)?;
        Ok(connection.end(stream.side).address)
    }

    /// Sets the sizes of a stream's buffers in bytes, 256 KiB each if nobody does. A side may have sent as much as its
    /// own send buffer and its peer's receive buffer hold before the peer reads. Nothing if the stream is gone.
    pub(crate) fn set_buffers(
        &mut self,
        stream: StreamId,
        send: Option<usize>,
        receive: Option<usize>,
    ) {
        let Ok((connection, medium)) = self.connection(stream) else { return };
        let end = connection.end_mut(stream.side);
        // At least a byte: nothing would ever move.
        end.send_buffer = send.unwrap_or(end.send_buffer).max(1);
        end.receive_buffer = receive.unwrap_or(end.receive_buffer).max(1);
        for side in Side::BOTH {
            connection.admit(medium, side);
        }
    }
}
