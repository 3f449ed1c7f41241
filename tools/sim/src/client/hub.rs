//! The connections of a client: at most one per shard, made when first needed and again when lost.
//! The counterpart of the client's `hub` on Tokio, over the same directory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use pyralog_client::directory::{ClusterId, Directory, Target};
use pyralog_runtime::channel::{OnceSender, oneshot};
use pyralog_runtime::{spawn, time};
use pyralog_wire::message::{ShardAddress, Welcome};

use super::link::{self, Cause, Link};

/// Everything about the connections. Clones are the same hub.
#[derive(Clone, Debug)]
pub(super) struct Hub {
    name: Rc<str>,
    connect_timeout: Duration,
    state: Rc<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    directory: Directory,
    links: BTreeMap<u16, Link>,
    /// Who waits for a connection that is being made.
    waiting: BTreeMap<Target, Vec<OnceSender<Result<Link, Cause>>>>,
}

/// A new connection.
struct Connected {
    link: Link,
    welcome: Welcome,
    address: String,
}

impl Hub {
    pub(super) fn new(addresses: Vec<String>, name: &str, connect_timeout: Duration) -> Self {
        let state = State {
            directory: Directory::new(addresses),
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        Self { name: name.into(), connect_timeout, state: Rc::new(RefCell::new(state)) }
    }

    /// An open connection, or why there is none.
    pub(super) async fn link(&self, target: Target) -> Result<Link, Cause> {
        let (reply, answer) = oneshot();
        let first = {
            let mut state = self.state.borrow_mut();
            state.links.retain(|_, link| !link.is_closed());
            let known = match target {
                Target::Any => state.links.values().next(),
                Target::Shard(shard) => state.links.get(&shard),
            };
            if let Some(link) = known {
                return Ok(link.clone());
            }
            let waiting = state.waiting.entry(target).or_default();
            waiting.push(reply);
            waiting.len() == 1
        };
        if first {
            self.connect(target);
        }
        answer.await.unwrap_or_else(|_| Err("the client has ended".into()))
    }

    /// An open connection for requests that name a log by the id that `cluster` dealt, or why there
    /// is none.
    pub(super) async fn link_to(&self, target: Target, cluster: ClusterId) -> Result<Link, Cause> {
        let link = self.link(target).await?;
        if link.cluster() == cluster { Ok(link) } else { Err("another cluster answers".into()) }
    }

    /// The shards of a cluster listen there now.
    pub(super) fn learn(&self, cluster: ClusterId, shards: &[ShardAddress]) {
        self.state.borrow_mut().directory.learn(cluster, shards);
    }

    /// Ends all connections; what is in flight is lost.
    pub(super) fn reset(&self) {
        let links = std::mem::take(&mut self.state.borrow_mut().links);
        links.values().for_each(Link::reset);
    }

    /// Starts to connect, in a task of its own: whoever asked may stop waiting.
    fn connect(&self, target: Target) {
        let addresses = self.state.borrow().directory.candidates(target);
        let (name, timeout) = (Rc::clone(&self.name), self.connect_timeout);
        let state = Rc::downgrade(&self.state);
        // It ends after its timeouts at the latest.
        spawn(async move {
            let result = first(&addresses, &name, timeout).await;
            connected(&state, target, result);
        })
        .detach();
    }
}

/// Tells those who wait. If the client is gone, nobody does.
fn connected(state: &Weak<RefCell<State>>, target: Target, result: Result<Connected, Cause>) {
    let Some(state) = state.upgrade() else { return };
    let (waiting, outcome) = {
        let mut state = state.borrow_mut();
        let outcome = result.map(|Connected { link, welcome, address }| {
            let shard = state.directory.welcomed(target, &address, &welcome);
            state.links.retain(|_, known| known.cluster() == link.cluster());
            state.links.insert(shard, link.clone());
            link
        });
        (state.waiting.remove(&target).unwrap_or_default(), outcome)
    };
    for reply in waiting {
        // Whoever stopped waiting does not need it.
        drop(reply.send(outcome.clone()));
    }
}

/// The first of the addresses that answers.
async fn first(addresses: &[String], name: &str, timeout: Duration) -> Result<Connected, Cause> {
    let mut last = Cause::from("no address is known");
    for address in addresses {
        match time::timeout(timeout, link::connect(address, name)).await {
            Ok(Ok((link, welcome))) => {
                return Ok(Connected { link, welcome, address: address.clone() });
            }
            Ok(Err(cause)) => last = cause,
            Err(elapsed) => last = format!("connecting to {address}: {elapsed}").into(),
        }
        tracing::debug!(address, error = %last, "connecting failed");
    }
    Err(last)
}
