//! Reading the closed segments of a partition again, because somebody asks for it.

use std::rc::Rc;

use pyralog_log::partition_file::Scrubbed as Found;
use pyralog_runtime::{Class, spawn_into};
use pyralog_wire::limits::SCRUB_RANGES_MAX;
use pyralog_wire::message::{DamagedRange, Scrub, Scrubbed};
use pyralog_wire::{ErrorCode, ErrorReply, Request, Response};

use super::errors::read_error;
use crate::asked::Asked;
use crate::partitions::Owned;
use crate::request::Place;
use crate::scrubber;

/// Starts to scrub; the answer comes by itself, when all was read.
pub(crate) fn start(asked: Asked, scrub: Scrub) {
    let shard = Rc::clone(asked.shard());
    match shard.place(scrub.log, scrub.partition) {
        Place::Here(owned) => {
            let task = async move { carry_out(asked, &owned).await };
            spawn_into(Class::Background, task).detach(); // holds its request
        }
        Place::There(_) if asked.is_remote() => asked.refuse(ErrorCode::NotOwner),
        Place::There(owner) => {
            shard.forward(owner, asked, (Request::Scrub(scrub), Vec::new()), None);
        }
        Place::Nowhere(error) => asked.refuse(error),
    }
}

async fn carry_out(asked: Asked, owned: &Owned) {
    let shard = Rc::clone(asked.shard());
    let scrubbed = async {
        let partition = owned.partition()?;
        let found = partition.scrub(&shard.pace).await.map_err(|error| read_error(&error))?;
        scrubber::count(&shard, &found);
        Ok::<_, ErrorReply>(answer(&found))
    };
    match scrubbed.await {
        Ok(scrubbed) => asked.reply(Response::Scrub(scrubbed)),
        Err(error) => asked.refuse(error),
    }
}

/// What was found, with as many ranges as an answer may name.
fn answer(found: &Found) -> Scrubbed {
    let ranges = found.damaged.iter().map(|damage| DamagedRange {
        segment: damage.segment,
        first: damage.offsets.start,
        next: damage.offsets.end,
    });
    Scrubbed {
        segments: found.segments,
        bytes: found.bytes,
        damaged_ranges: found.damaged.len() as u64,
        damaged: ranges.take(SCRUB_RANGES_MAX).collect(),
    }
}
