//! Hosts, their addresses, and who listens there.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Waker;

use rustix::io::Errno;

use super::StreamId;
use super::medium::Medium;
use crate::sim::trace::NodeId;

/// First port of a listener that asks for any.
const LISTEN_PORT_MIN: u16 = 30_000;
/// First port of the calling end of a connection; above those of listeners that ask for any.
const CONNECT_PORT_MIN: u16 = 40_000;
/// Last port of the calling end of a connection, as Linux has it; then they begin anew.
const CONNECT_PORT_MAX: u16 = 60_999;

/// A socket that listens.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ListenerId(u64);

struct Host {
    address: IpAddr,
    next_connect_port: u16,
}

struct Listener {
    node: NodeId,
    address: SocketAddr,
    reuse_port: bool,
    backlog: usize,
    /// Connections to be accepted.
    waiting: VecDeque<StreamId>,
    waker: Option<Waker>,
}

/// What becomes of somebody who knocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// Come in.
    By(ListenerId),
    /// Nobody listens there.
    Nobody,
    /// Too many are waiting already: try again.
    Full,
}

/// See the module.
#[derive(Default)]
pub(super) struct Hosts {
    by_node: BTreeMap<NodeId, Host>,
    by_address: BTreeMap<IpAddr, NodeId>,
    listeners: BTreeMap<ListenerId, Listener>,
    next_listener: u64,
}

impl Hosts {
    pub(super) fn add(&mut self, node: NodeId, address: IpAddr) {
        let before = self.by_address.insert(address, node);
        assert!(before.is_none(), "{address} is taken by {before:?}");
        let host = Host { address, next_connect_port: CONNECT_PORT_MIN };
        let before = self.by_node.insert(node, host);
        assert!(before.is_none(), "{node} is a host already");
    }

    fn host(&mut self, node: NodeId) -> &mut Host {
        self.by_node.get_mut(&node).expect("a host was added before it is used")
    }

    /// Opens a socket that listens.
    pub(super) fn bind(
        &mut self,
        node: NodeId,
        mut address: SocketAddr,
        reuse_port: bool,
        backlog: usize,
    ) -> io::Result<ListenerId> {
        let ip = address.ip();
        if !ip.is_unspecified() && !ip.is_loopback() && ip != self.host(node).address {
            return Err(Errno::ADDRNOTAVAIL.into());
        }
        if address.port() == 0 {
            let free = (LISTEN_PORT_MIN..CONNECT_PORT_MIN).find(|port| {
                address.set_port(*port);
                !self.is_taken(node, address, false)
            });
            address.set_port(free.ok_or(Errno::ADDRINUSE)?);
        } else if self.is_taken(node, address, reuse_port) {
            return Err(Errno::ADDRINUSE.into());
        }
        let id = ListenerId(self.next_listener);
        self.next_listener += 1;
        let (waiting, waker) = (VecDeque::new(), None);
        let listener = Listener { node, address, reuse_port, backlog, waiting, waker };
        self.listeners.insert(id, listener);
        Ok(id)
    }

    /// Whether a listener of the host stands in the way of another at `address`.
    fn is_taken(&self, node: NodeId, address: SocketAddr, reuse_port: bool) -> bool {
        let ip = address.ip();
        self.listeners.values().any(|listener| {
            let theirs = listener.address.ip();
            listener.node == node
                && listener.address.port() == address.port()
                && (theirs == ip || theirs.is_unspecified() || ip.is_unspecified())
                && !(reuse_port && listener.reuse_port)
        })
    }

    pub(super) fn local_addr(&self, id: ListenerId) -> io::Result<SocketAddr> {
        Ok(self.listeners.get(&id).ok_or(Errno::BADF)?.address)
    }

    /// The next connection of a listener; if there is none, `waker` is kept for the next.
    pub(super) fn accept(&mut self, id: ListenerId, waker: &Waker) -> io::Result<Option<StreamId>> {
        let listener = self.listeners.get_mut(&id).ok_or(Errno::BADF)?;
        let stream = listener.waiting.pop_front();
        if stream.is_none() {
            listener.waker = Some(waker.clone());
        }
        Ok(stream)
    }

    /// Closes a listener and returns the connections nobody accepted.
    pub(super) fn unbind(&mut self, id: ListenerId) -> VecDeque<StreamId> {
        self.listeners.remove(&id).map(|listener| listener.waiting).unwrap_or_default()
    }

    /// Closes the listeners of a host. Their connections die with those of the host.
    pub(super) fn unbind_all(&mut self, node: NodeId) {
        self.listeners.retain(|_, listener| listener.node != node);
    }

    /// Where a call of `node` to `address` goes, and the address it comes from.
    pub(super) fn route(
        &mut self,
        node: NodeId,
        address: SocketAddr,
    ) -> Option<(NodeId, SocketAddr, SocketAddr)> {
        let mut to = address;
        if to.ip().is_unspecified() {
            // As Linux does: this host.
            to.set_ip(match to.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let target = if to.ip().is_loopback() { node } else { *self.by_address.get(&to.ip())? };
        let host = self.host(node);
        let from = if to.ip().is_loopback() { to.ip() } else { host.address };
        let port = host.next_connect_port;
        host.next_connect_port = if port == CONNECT_PORT_MAX { CONNECT_PORT_MIN } else { port + 1 };
        Some((target, SocketAddr::new(from, port), to))
    }

    /// Who answers a call that has reached `node`: a random one of the listeners that share the address.
    pub(super) fn answer(&self, node: NodeId, to: SocketAddr, medium: &mut Medium) -> Answer {
        let at = |ip: IpAddr| {
            self.listeners.iter().filter(move |(_, listener)| {
                listener.node == node
                    && listener.address.port() == to.port()
                    && listener.address.ip() == ip
            })
        };
        // A listener of just this address comes before one of all addresses.
        let mut found: Vec<_> = at(to.ip()).collect();
        if found.is_empty() {
            found.extend(at(Ipv4Addr::UNSPECIFIED.into()));
            found.extend(at(Ipv6Addr::UNSPECIFIED.into()));
        }
        let chosen = match found.len() {
            0 => return Answer::Nobody,
            1 => found[0],
            count => found[medium.below(count)],
        };
        let (id, listener) = chosen;
        if listener.waiting.len() > listener.backlog { Answer::Full } else { Answer::By(*id) }
    }

    /// Queues a connection to be accepted; false if its listener is gone.
    pub(super) fn push(&mut self, id: ListenerId, stream: StreamId, medium: &mut Medium) -> bool {
        let Some(listener) = self.listeners.get_mut(&id) else { return false };
        listener.waiting.push_back(stream);
        medium.wake(&mut listener.waker);
        true
    }
}
