//! From nothing to serving: shard 0 leads, the others follow.
//!
//! 1. Shard 0 listens on the shared port (so that an address in use is known before anything is opened), opens the
//!    catalog and replays it.
//! 2. Every shard gets the catalog, listens on the shared port and on its own, and opens the partitions it owns, some at
//!    a time.
//! 3. When all are ready, all learn everybody's addresses and begin to accept. Clients that came before wait in the
//!    listeners' backlogs.

use std::net::SocketAddr;
use std::rc::Rc;

use futures_util::future::join_all;
use pyralog_runtime::net::{ListenOptions, Listener};
use pyralog_runtime::{Task, file, spawn};
use pyralog_wire::message::ShardAddress;

use crate::catalog::Catalog;
use crate::catalog_log::{self, CatalogLog};
use crate::config::DataConfig;
use crate::limits::BOOT_WAIT;
use crate::message::{Answer, Boot, Booted, Question};
use crate::node::Started;
use crate::partitions::recycle_folder;
use crate::server::{Addresses, StartError};
use crate::shard::{Phase, Shard, shard_number};
use crate::{accept, deleted_logs, housekeeping, scrubber, tiering, watchdog};

/// Boots the node from shard 0. Resolves when every shard accepts; the task takes changes of the catalog.
pub(crate) async fn lead(shard: &Rc<Shard>) -> Result<(Started, Task<()>), StartError> {
    let listener = listen(shard.config.listen, true)?;
    let address = local(&listener)?;
    shard.listeners.borrow_mut().push(listener);
    make_folders(shard).await.map_err(|problem| StartError::Shard { shard: 0, problem })?;
    let (log, replayed) = CatalogLog::open(shard).await.map_err(StartError::Catalog)?;
    refuse_logs(shard, &replayed.catalog).map_err(StartError::Catalog)?;
    catalog_log::remove_leftovers(shard, &replayed).await;
    let order = Boot { catalog: replayed.catalog, listen: address };
    let booted = boot_all(shard, order).await?;
    let own: Vec<SocketAddr> = booted.iter().filter_map(|booted| booted.address).collect();
    let addresses = Addresses { listen: address, shards: own, http: None };
    let told = told_addresses(shard, &addresses.shards);
    let recovery = booted.into_iter().flat_map(|booted| booted.recovery).collect();
    let changes = catalog_log::serve(shard, log);
    for to in 1..shard.shards {
        if shard.ask(to, Question::Serve(told.clone())).await.is_none() {
            return Err(StartError::Shard { shard: to, problem: "it does not answer".into() });
        }
    }
    serve(shard, told);
    deleted_logs::start(shard);
    Ok((Started { addresses, recovery }, changes))
}

/// A node that stores no records does not hide those that are there.
fn refuse_logs(shard: &Shard, catalog: &Catalog) -> Result<(), String> {
    let (role, logs) = (shard.config.role, catalog.len());
    if role.stores_records() || logs == 0 {
        return Ok(());
    }
    let plural = if logs == 1 { "log" } else { "logs" };
    Err(format!(
        "the data directory holds {logs} {plural}, which a node of the role {role} does not serve: start it with \
         --role all, or give it a data directory of its own"
    ))
}

/// Boots all shards at once; the results are in order of index.
async fn boot_all(shard: &Rc<Shard>, order: Boot) -> Result<Vec<Booted>, StartError> {
    let questions = (0..shard.shards).map(|to| {
        let order = order.clone();
        async move {
            if to == shard.index {
                return follow(shard, order).await;
            }
            match shard.ask_within(to, Question::Boot(order), BOOT_WAIT).await {
                Some(Answer::Booted(outcome)) => outcome,
                _ => Err("it does not answer".into()),
            }
        }
    });
    let outcomes = join_all(questions).await.into_iter().enumerate();
    outcomes
        .map(|(shard, outcome)| outcome.map_err(|problem| StartError::Shard { shard, problem }))
        .collect()
}

/// What clients are told about where the shards listen.
fn told_addresses(shard: &Shard, own: &[SocketAddr]) -> Vec<ShardAddress> {
    let host = shard.config.advertised.clone().unwrap_or_default();
    let told = own.iter().enumerate().map(|(index, address)| ShardAddress {
        shard: shard_number(index),
        port: address.port(),
        host: host.clone(),
    });
    told.collect()
}

/// Listens and opens what this shard owns.
pub(crate) async fn follow(shard: &Rc<Shard>, order: Boot) -> Result<Booted, String> {
    let listening = || {
        if shard.listeners.borrow().is_empty() {
            shard.listeners.borrow_mut().push(listen(order.listen, true)?);
        }
        let own = listen(own_address(shard), false)?;
        let address = local(&own)?;
        shard.listeners.borrow_mut().push(own);
        Ok::<SocketAddr, StartError>(address)
    };
    let address = listening().map_err(|error| error.to_string())?;
    make_folders(shard).await?;
    shard.open_ids().await;
    shard.list_counters().await?;
    let logs: Vec<_> = order.catalog.iter().cloned().collect();
    *shard.catalog.borrow_mut() = order.catalog;
    let recovery = shard.open_logs(&logs).await;
    shard.keep_reserve().await;
    tracing::info!(shard = shard.index, %address, partitions = shard.partitions.len(), "ready");
    Ok(Booted { address: Some(address), recovery })
}

/// Makes the folder that this shard's partitions recycle files in.
async fn make_folders(shard: &Shard) -> Result<(), String> {
    let DataConfig::Dir(data) = &shard.config.data else { return Ok(()) };
    let folder = recycle_folder(data, shard.index);
    file::create_dir_all(&folder).await.map_err(|error| error.to_string())
}

/// Begins to accept.
pub(crate) fn serve(shard: &Rc<Shard>, addresses: Vec<ShardAddress>) {
    *shard.addresses.borrow_mut() = addresses;
    shard.advance(Phase::Serving);
    for listener in shard.listeners.borrow_mut().drain(..) {
        spawn(accept::run(Rc::clone(shard), listener)).detach(); // ends when the core is quiet
    }
    spawn(watchdog::run(Rc::clone(shard))).detach(); // ends with the core
    housekeeping::start(shard);
    scrubber::start(shard);
    tiering::start(shard);
}

/// The address of a shard's own port.
fn own_address(shard: &Shard) -> SocketAddr {
    let mut address = shard.config.listen;
    let port = match address.port() {
        0 => 0,
        base => base + 1 + shard_number(shard.index),
    };
    address.set_port(port);
    address
}

fn listen(address: SocketAddr, reuse_port: bool) -> Result<Listener, StartError> {
    let options = ListenOptions { reuse_port, ..ListenOptions::default() };
    Listener::bind(address, options)
        .map_err(|error| StartError::Listen { address, problem: error.to_string() })
}

fn local(listener: &Listener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Shard {
        shard: 0,
        problem: format!("its address is unknown: {error}"),
    })
}
