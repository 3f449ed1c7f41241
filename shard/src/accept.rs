//! Accepting connections on a core, and what becomes of each from its first to its last byte.

use std::cell::Cell;
use std::rc::Rc;

use pyralog_runtime::net::{Listener, Shutdown, Stream};
use pyralog_runtime::{IoErrorKind, spawn, time};
use pyralog_wire::{Correlation, ErrorCode, ErrorReply, encode_error};

use crate::connection::{Connection, unless};
use crate::limits::{ACCEPT_RETRY, LINGER, REFUSING_AT_ONCE};
use crate::metrics::Counter;
use crate::shard::{Phase, Shard};
use crate::{reader, writer};

/// Accepts until the core is quiet. Dropping it loses no connection that was accepted.
pub(crate) async fn run(shard: Rc<Shard>, listener: Listener) {
    let refusing = Rc::new(Cell::new(0_usize));
    loop {
        let changed = shard.phase_changed();
        if shard.phase() >= Phase::Quiet {
            return;
        }
        match unless(changed, listener.accept()).await {
            None => {}
            Some(Ok(stream)) => admit(&shard, stream, &refusing),
            Some(Err(error)) if error.kind() == IoErrorKind::ConnectionReset => {}
            Some(Err(error)) => {
                tracing::warn!(shard = shard.index, %error, "cannot accept connections for now");
                time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn admit(shard: &Rc<Shard>, stream: Stream, refusing: &Rc<Cell<usize>>) {
    let most = shard.config.limits.connections_max;
    if shard.connections.borrow().len() < most {
        shard.metrics.add(Counter::Connections, 1);
        spawn(serve(Rc::clone(shard), stream)).detach(); // the slab of connections knows of it
        return;
    }
    shard.metrics.add(Counter::ConnectionsRefused, 1);
    shard.metrics.failed(None, ErrorCode::TooManyConnections.number());
    if refusing.get() >= REFUSING_AT_ONCE {
        return; // dropped without a word: there is no end of them
    }
    refusing.set(refusing.get() + 1);
    let refusing = Rc::clone(refusing);
    spawn(async move {
        let text =
            format!("this shard serves {most} connections already: wait, or share connections");
        refuse(stream, &ErrorReply::new(ErrorCode::TooManyConnections, text)).await;
        refusing.set(refusing.get() - 1);
    })
    .detach(); // ends after LINGER
}

/// Sends an error and closes, late enough for the peer to read it.
async fn refuse(mut stream: Stream, error: &ErrorReply) {
    let mut bytes = Vec::new();
    if encode_error(&mut bytes, 0, Correlation::CONNECTION, error).is_err() {
        return;
    }
    let told = async {
        stream.write_all(&bytes).await?;
        stream.shutdown(Shutdown::Write)?;
        let mut scratch = [0; 1024];
        while stream.read(&mut scratch).await? > 0 {}
        Ok::<(), pyralog_runtime::IoError>(())
    };
    // Whatever comes first: the peer has read it, has gone, or takes too long.
    time::timeout(LINGER, told).await.ok();
}

/// Serves one connection to its end.
async fn serve(shard: Rc<Shard>, stream: Stream) {
    let peer = stream.peer_addr().ok(); // for the log only
    let connection = Rc::new(Connection::new(peer, shard.protocol_config()));
    let key = shard.connections.borrow_mut().insert(Rc::clone(&connection));
    let (read, write) = stream.split();
    let reading = spawn(reader::run(Rc::clone(&shard), Rc::clone(&connection), read));
    let writing = spawn(writer::run(Rc::clone(&shard), Rc::clone(&connection), write));
    if shard.phase() >= Phase::Quiet {
        // Accepted at the last moment, and too late to be asked to finish with the others.
        connection.drain();
        connection.finish();
    }
    let read = reading.await;
    if read.is_err() {
        connection.cut();
    }
    let written = writing.await;
    if read.is_err() || written.is_err() {
        shard.metrics.add(Counter::ConnectionPanics, 1);
        tracing::error!(peer = connection.peer(), "a connection panicked and was closed");
        connection.cut();
    }
    drop(shard.connections.borrow_mut().remove(key));
    shard.relieve();
}
