//! Appends: from the bytes of a frame into the partition's group buffer, at once.
//!
//! Sketch for a frame of `n` bytes on the owning core: the kernel copies `n` bytes into the receive buffer (one system
//! call per buffer full), the log copies the payload once into the group buffer while it verifies it, and the answer is
//! some 90 bytes in a vector that all answers of the group commit share. No message, no task, no allocation per request
//! or record. On another core than the owner's: one more copy of the payload and two messages.

use std::rc::Rc;

use pyralog_log::partition::{AppendError, AppendNow};
use pyralog_wire::message::Append;
use pyralog_wire::{ErrorCode, Request};

use crate::asked::Asked;
use crate::flight::Flight;
use crate::ids::Wanting;
use crate::partitions::Owned;
use crate::request::Place;
use crate::shard::Shard;

/// What became of an append for now.
pub(crate) enum Taken {
    /// It is answered, or will be without anybody's help.
    Settled,
    /// No room at the moment, for this reason; nothing was done.
    Busy(Asked, &'static str),
}

/// Ends the process if a partition panics in the middle of an append: its state is unknown then, and what was
/// acknowledged is safe on disk.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "a partition panicked during an append: the process ends to keep what is on disk true"
            );
            std::process::abort();
        }
    }
}

/// Takes the batches of `payload`, here or on the core that owns the partition.
pub(crate) fn take(mut asked: Asked, append: Append, payload: &[u8]) -> Taken {
    let shard = Rc::clone(asked.shard());
    let place = shard.place(append.log, append.partition);
    if let Place::Nowhere(error) = place {
        asked.refuse(error);
        return Taken::Settled;
    }
    if !asked.holds() {
        match shard.in_flight.try_take(payload.len() as u64) {
            Some(hold) => asked.hold(hold),
            None => return Taken::Busy(asked, "the core holds as many bytes in flight as it may"),
        }
    }
    match place {
        Place::Here(owned) => take_here(&shard, asked, &owned, (append, payload)),
        Place::There(_) if asked.is_remote() => {
            asked.refuse(ErrorCode::NotOwner);
            Taken::Settled
        }
        Place::There(owner) => {
            let request = (Request::Append(append), payload.to_vec());
            shard.forward(owner, asked, request, None);
            Taken::Settled
        }
        Place::Nowhere(_) => unreachable!("answered above"),
    }
}

fn take_here(
    shard: &Rc<Shard>,
    asked: Asked,
    owned: &Owned,
    (append, payload): (Append, &[u8]),
) -> Taken {
    let level = append.durability.unwrap_or(owned.config().durability);
    let both = owned.partition().and_then(|partition| Ok((partition, shard.record_ids()?)));
    let (partition, mut ids) = match both {
        Ok(both) => both,
        Err(error) => {
            asked.refuse(error);
            return Taken::Settled;
        }
    };
    let bytes = payload.len() as u64;
    let key = shard.flights.borrow_mut().insert(Flight::Append { asked, level, bytes });
    let guard = AbortOnPanic;
    let now = partition.append_with_ids(payload, level, Flight::ticket(key), &mut ids);
    drop(guard);
    match now {
        AppendNow::Pending => {}
        AppendNow::Done(appended) => shard.landed(key, Ok(appended)),
        AppendNow::Refused(AppendError::Busy) => {
            let flight = shard.flights.borrow_mut().remove(key);
            if let Some(Flight::Append { asked, .. }) = flight {
                return match ids.wanting() {
                    Some(Wanting::Refused(error)) => {
                        asked.refuse(error);
                        Taken::Settled
                    }
                    Some(Wanting::Soon) => {
                        Taken::Busy(asked, "the ids of records are being reserved")
                    }
                    None => Taken::Busy(asked, "the partition's buffers are full"),
                };
            }
        }
        AppendNow::Refused(error) => shard.landed(key, Err(error)),
    }
    Taken::Settled
}
