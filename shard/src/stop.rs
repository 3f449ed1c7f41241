//! From serving to nothing, in an order that loses nothing.
//!
//! 1. *Quiesce*, all shards: accept nothing, refuse new requests with an error that says so, answer readers at the tail.
//! 2. Changes of the catalog that were in line are carried out or refused.
//! 3. *Drain*, all shards: close all partitions, which brings every acknowledged and every pending record to stable
//!    storage whatever its level was, and answers all appends.
//! 4. *Close*: every shard has sent its answers to the others by now; let clients take theirs for a bounded time, close
//!    the sockets, end.

use std::rc::Rc;

use futures_util::future::{join, join_all};
use pyralog_runtime::{Task, time};

use crate::limits::{CALL_WAIT, LINGER, STOP_WAIT};
use crate::message::Question;
use crate::shard::{Phase, Shard};

/// Stops the node from shard 0; `changes` is the task that takes changes of the catalog, if the boot got that far.
pub(crate) async fn lead(shard: &Rc<Shard>, changes: Option<Task<()>>) {
    tracing::info!("stopping: draining connections and syncing partitions");
    quiesce(shard);
    ask_all(shard, || Question::Quiesce).await;
    shard.admin.borrow_mut().take();
    // Elapsed: another core does not answer. What is in the command log will be applied at the next start.
    if let Some(changes) = changes
        && time::timeout(CALL_WAIT, changes).await.is_err()
    {
        tracing::warn!("a change of the catalog is still under way");
    }
    join(drain(shard), ask_all(shard, || Question::Drain)).await;
    join(finish_connections(shard), ask_all(shard, || Question::Close)).await;
    shard.advance(Phase::Closed);
}

/// Asks all other shards, and waits for all of them or for [`STOP_WAIT`].
async fn ask_all(shard: &Rc<Shard>, question: impl Fn() -> Question) {
    let questions = (0..shard.shards).filter(|to| *to != shard.index).map(|to| {
        let question = question();
        async move { (to, shard.ask_within(to, question, STOP_WAIT).await) }
    });
    for (to, answer) in join_all(questions).await {
        if answer.is_none() {
            tracing::error!(shard = to, "a shard does not answer while stopping");
        }
    }
}

/// Accepts and takes nothing more.
pub(crate) fn quiesce(shard: &Shard) {
    shard.advance(Phase::Quiet);
    for connection in shard.connections.borrow().iter() {
        connection.drain();
    }
}

/// Brings everything to stable storage and answers every append.
pub(crate) async fn drain(shard: &Rc<Shard>) {
    shard.advance(Phase::Draining);
    shard.close_partitions().await;
    shard.close_counters().await;
    shard.close_ids().await;
}

/// Ends this shard.
pub(crate) async fn close(shard: &Rc<Shard>) {
    finish_connections(shard).await;
    shard.advance(Phase::Closed);
}

/// Lets clients take their last answers, for a bounded time.
async fn finish_connections(shard: &Shard) {
    let finish_all = || {
        for connection in shard.connections.borrow().iter() {
            connection.finish();
        }
    };
    let emptied = || async {
        loop {
            let relief = shard.relief();
            if shard.connections.borrow().len() == 0 {
                return;
            }
            relief.await;
        }
    };
    finish_all();
    if time::timeout(shard.config.limits.shutdown_grace, emptied()).await.is_ok() {
        return;
    }
    let left = shard.connections.borrow().len();
    tracing::warn!(shard = shard.index, left, "connections did not take their answers in time");
    for connection in shard.connections.borrow().iter() {
        connection.cut();
    }
    // Elapsed: the core's end cancels them.
    time::timeout(LINGER * 2, emptied()).await.ok();
}
