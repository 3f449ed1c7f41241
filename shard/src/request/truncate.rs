//! Removing the oldest records of a partition, because somebody asks for it.

use std::rc::Rc;

use pyralog_log::partition::{ReadError, TruncateError};
use pyralog_runtime::spawn;
use pyralog_wire::message::{TruncateLog, Truncated};
use pyralog_wire::{ErrorCode, ErrorReply, Request, Response};

use super::errors::{append_error, read_error};
use crate::asked::Asked;
use crate::partitions::Owned;
use crate::request::Place;

/// Starts to truncate; the answer comes by itself.
pub(crate) fn start(asked: Asked, truncate: TruncateLog) {
    let shard = Rc::clone(asked.shard());
    match shard.place(truncate.log, truncate.partition) {
        Place::Here(owned) => {
            spawn(async move { carry_out(asked, &owned, truncate).await }).detach(); // holds its request
        }
        Place::There(_) if asked.is_remote() => asked.refuse(ErrorCode::NotOwner),
        Place::There(owner) => {
            shard.forward(owner, asked, (Request::TruncateLog(truncate), Vec::new()), None);
        }
        Place::Nowhere(error) => asked.refuse(error),
    }
}

async fn carry_out(asked: Asked, owned: &Owned, truncate: TruncateLog) {
    let truncated = async {
        let partition = owned.partition()?;
        let before = partition.watermarks().low;
        let low = partition.truncate_before(truncate.before).await;
        let low = low.map_err(|error| truncate_error(&error))?;
        if before < low {
            tracing::info!(log = owned.name(), partition = owned.number().get(), %low, "truncated");
        }
        Ok::<_, ErrorReply>(Truncated { low })
    };
    match truncated.await {
        Ok(truncated) => asked.reply(Response::TruncateLog(truncated)),
        Err(error) => asked.refuse(error),
    }
}

/// Why a partition begins where it began.
fn truncate_error(error: &TruncateError) -> ErrorReply {
    match error {
        TruncateError::OutOfRange { low, high } => {
            read_error(&ReadError::OutOfRange { low: *low, high: *high })
        }
        TruncateError::Unsynced(error) => append_error(error),
        _ => ErrorReply::new(ErrorCode::StorageFailed, error.to_string()),
    }
}
