//! What is under way on a core and will end by itself: appends, and requests that another core carries out.
//!
//! The ticket of an append names its flight, so the log hands back a number and knows nothing of connections. Slots are
//! reused: an append in steady state allocates nothing here.

use std::rc::{Rc, Weak};

use pyralog_log::durability::Durability;
use pyralog_log::partition::{AppendError, Appended, Completions, Ticket, WriteSample};
use pyralog_runtime::channel::OnceSender;
use pyralog_runtime::{buffer, time};
use pyralog_wire::Response;
use pyralog_wire::message::Appended as AppendedMessage;

use crate::admission::Hold;
use crate::asked::Asked;
use crate::message::Replied;
use crate::metrics::Counter;
use crate::request::errors::append_error;
use crate::shard::Shard;

/// Something under way.
#[derive(Debug)]
pub(crate) enum Flight {
    /// An append of a client, in a group of its partition.
    Append { asked: Asked, level: Durability, bytes: u64 },
    /// An append of our own: a command of the catalog.
    Internal(OnceSender<Result<Appended, AppendError>>),
    /// A request that another core carries out.
    Forwarded {
        asked: Asked,
        /// Given back when the socket has taken the answer.
        held: Option<Hold>,
    },
}

impl Flight {
    /// The ticket of the flight with this key.
    pub(crate) fn ticket(key: u64) -> Ticket {
        Ticket(key, 0)
    }
}

/// Where the partitions of a core report what became of appends.
#[derive(Debug)]
pub(crate) struct Landing {
    shard: Weak<Shard>,
}

impl Landing {
    pub(crate) fn new(shard: &Rc<Shard>) -> Self {
        Self { shard: Rc::downgrade(shard) }
    }
}

impl Completions for Landing {
    fn completed(&self, ticket: Ticket, outcome: Result<Appended, AppendError>) {
        if let Some(shard) = self.shard.upgrade() {
            shard.landed(ticket.0, outcome);
        }
    }

    fn wrote(&self, sample: WriteSample) {
        if let Some(shard) = self.shard.upgrade() {
            shard.metrics.wrote_group(sample.bytes as u64, sample.duration, sample.synced);
            // Appends that were answered from memory make room only now.
            shard.relieve();
        }
    }

    /// Each tail has a share of the core's budget, and never less than a group: of a thousand partitions that all write,
    /// these are more than there is. What the core took at the start is the measure.
    fn is_short(&self) -> bool {
        let shard = self.shard.upgrade();
        shard.is_some_and(|shard| buffer::in_use_bytes() > shard.config.memory.io_bytes)
    }
}

impl Shard {
    /// An append has ended: its client hears of it, and there may be room for others.
    pub(crate) fn landed(&self, key: u64, outcome: Result<Appended, AppendError>) {
        let flight = self.flights.borrow_mut().remove(key);
        match flight {
            Some(Flight::Append { asked, level, bytes }) => match outcome {
                Ok(appended) => {
                    let records = appended.next_offset.since(appended.base_offset);
                    let took = time::now().since(asked.started());
                    if appended.duplicate {
                        self.metrics.add(Counter::DedupHits, 1);
                    } else {
                        self.metrics.wrote(level, records, bytes, took);
                    }
                    asked.reply(Response::Append(AppendedMessage {
                        base_offset: appended.base_offset,
                        next_offset: appended.next_offset,
                        append_time: appended.append_time,
                        duplicate: appended.duplicate,
                    }));
                }
                Err(error) => asked.refuse(append_error(&error)),
            },
            Some(Flight::Internal(sender)) => {
                // Err: the core is ending and nobody waits any more.
                sender.send(outcome).ok();
            }
            Some(Flight::Forwarded { .. }) => unreachable!("{key} is the ticket of no append"),
            None => debug_assert!(false, "ticket {key} landed twice"),
        }
        self.relieve();
    }

    /// A forwarded request has been carried out.
    pub(crate) fn replied(&self, replied: Replied) {
        let flight = self.flights.borrow_mut().remove(replied.flight);
        if let Some(Flight::Forwarded { asked, held }) = flight {
            asked.settle(replied, held);
        }
        self.relieve();
    }
}
