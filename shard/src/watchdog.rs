//! Looks at all connections of a core some times a second, so that no request needs a timer of its own.

use std::rc::Rc;
use std::time::Duration;

use pyralog_runtime::time;

use crate::connection::{End, Overdue};
use crate::limits::{RECEIVE_SILENCE, WATCH_PERIOD, WATCH_PERIOD_MIN};
use crate::metrics::Counter;
use crate::shard::{Phase, Shard};

/// Watches until the core is closed.
pub(crate) async fn run(shard: Rc<Shard>) {
    let limits = shard.config.limits;
    let shortest = limits.handshake_timeout.min(limits.idle_timeout).min(limits.frame_timeout);
    let period = (shortest / 4).clamp(WATCH_PERIOD_MIN, WATCH_PERIOD);
    while shard.phase() < Phase::Closed {
        time::sleep(period).await;
        look(&shard, period);
    }
}

fn look(shard: &Shard, period: Duration) {
    let now = time::now();
    let limits = &shard.config.limits;
    if shard.ahead.expire(now) {
        shard.relieve();
    }
    // Ending one may end others' waiting, but changes the list only later, in their tasks.
    for connection in shard.connections.borrow().iter() {
        connection.shrink_if_silent(now, RECEIVE_SILENCE.max(period));
        let Some(overdue) = connection.overdue(now, limits) else { continue };
        if overdue == Overdue::Stalled {
            shard.metrics.add(Counter::ConnectionsFailed, 1);
            tracing::info!(peer = connection.peer(), "closed: {}", overdue.error(limits));
            connection.cut();
        } else if connection.end() == End::Open {
            let error = overdue.error(limits);
            shard.metrics.failed(None, error.number);
            if overdue != Overdue::Idle {
                shard.metrics.add(Counter::ConnectionsFailed, 1);
            }
            tracing::info!(peer = connection.peer(), "closing: {error}");
            connection.fail(&error);
        }
    }
}
