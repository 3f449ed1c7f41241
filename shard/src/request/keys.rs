//! The newest record with a key: looked up in the partition's index of keys, sent as the batch that holds it.
//!
//! Room is taken as for any fetch, for the largest batch at first and for what it is once it is known.

use std::rc::Rc;

use pyralog_log::limits::BATCH_BYTES_MAX;
use pyralog_log::partition_file::Latest;
use pyralog_runtime::{spawn, time};
use pyralog_wire::message::{FetchKey, KeyFetched};
use pyralog_wire::{ErrorCode, ErrorReply, Request, Response};

use super::fetch::grant;
use crate::admission::Hold;
use crate::asked::{Asked, Payload};
use crate::partitions::Owned;
use crate::request::Place;
use crate::request::errors::read_error;

/// Starts to look a key up; the answer comes by itself.
pub(crate) fn start(asked: Asked, fetch: FetchKey) {
    let shard = Rc::clone(asked.shard());
    match shard.place(fetch.log, fetch.partition) {
        Place::Here(owned) => {
            spawn(async move { carry_out(asked, &owned, &fetch.key).await }).detach(); // holds its request
        }
        Place::There(_) if asked.is_remote() => asked.refuse(ErrorCode::NotOwner),
        Place::There(owner) => {
            spawn(async move { forward(asked, owner, fetch).await }).detach(); // holds its request
        }
        Place::Nowhere(error) => asked.refuse(error),
    }
}

async fn carry_out(asked: Asked, owned: &Owned, key: &[u8]) {
    match look_up(&asked, owned, key).await {
        Ok(Some((fetched, payload, hold))) => {
            asked.deliver(Response::FetchKey(fetched), payload, Some(hold));
        }
        Ok(None) => drop(asked), // the connection was cut: nobody waits
        Err(error) => asked.refuse(error),
    }
}

async fn look_up(
    asked: &Asked,
    owned: &Owned,
    key: &[u8],
) -> Result<Option<(KeyFetched, Payload, Hold)>, ErrorReply> {
    let partition = owned.partition()?;
    let Some(mut hold) = grant(asked, largest_batch()).await? else { return Ok(None) };
    let started = time::now();
    // What is looked up may be newer than this, never older.
    let watermarks = partition.watermarks();
    let latest = partition.latest_by_key(key).await.map_err(|error| read_error(&error))?;
    let (offset, slices) = match latest {
        Some(Latest { offset, read }) => (Some(offset), read.slices),
        None => (None, Vec::new()),
    };
    let payload = Payload::Slices(slices);
    let bytes = payload.len() as u64;
    hold.resize(bytes);
    asked.shard().metrics.read(bytes, time::now().since(started));
    let fetched = KeyFetched {
        found: offset.is_some(),
        offset: offset.unwrap_or_default(),
        low: watermarks.low,
        high: watermarks.high,
    };
    Ok(Some((fetched, payload, hold)))
}

/// Lets the owner look. Room is taken here before, because the answer will wait here for the socket.
async fn forward(asked: Asked, owner: usize, fetch: FetchKey) {
    let shard = Rc::clone(asked.shard());
    match grant(&asked, largest_batch()).await {
        Ok(Some(hold)) => {
            shard.forward(owner, asked, (Request::FetchKey(fetch), Vec::new()), Some(hold));
        }
        Ok(None) => drop(asked), // the connection was cut: nobody waits
        Err(error) => asked.refuse(error),
    }
}

fn largest_batch() -> u32 {
    u32::try_from(BATCH_BYTES_MAX).expect("a batch has a length of 32 bits")
}
