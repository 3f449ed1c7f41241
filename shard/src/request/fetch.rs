//! Fetches: wait for records, take room for them, read them, and hand over where they lie.
//!
//! A fetch at the tail waits without holding anything. Room is taken when there is something to read: in the
//! connection's outbox, so that a client that does not read waits for itself only, and in the core's budget, of which a
//! single fetch gets at most a share of what is free. The records go to the socket from the log's buffers; only small
//! ones, and those that cross cores, are copied.

mod ahead;

use std::rc::Rc;
use std::time::Duration;

use pyralog_log::ids::Offset;
use pyralog_log::partition::{Read, ReadError};
use pyralog_log::partition_file::Partition;
use pyralog_runtime::{spawn, time};
use pyralog_wire::message::{Fetch, FetchFrom, Fetched, FindOffset, OffsetFound};
use pyralog_wire::{ErrorCode, ErrorReply, Request, Response};

use crate::admission::Hold;
use crate::asked::{Asked, Payload};
use crate::connection::{End, unless};
use crate::limits::{
    FETCH_GRANT_BYTES_MIN, FETCH_GRANT_SHARE, FORWARDED_FETCH_BYTES_MAX, GRANT_WAIT,
};
use crate::partitions::Owned;
use crate::request::errors::read_error;
use crate::request::{Place, busy};
use crate::shard::Phase;
pub(crate) use ahead::ReadAhead;

/// Starts a fetch; the answer comes by itself.
pub(crate) fn start(asked: Asked, fetch: Fetch) {
    let shard = Rc::clone(asked.shard());
    match shard.place(fetch.log, fetch.partition) {
        Place::Here(owned) => {
            spawn(async move { carry_out(asked, &owned, fetch).await }).detach(); // holds its request
        }
        Place::There(_) if asked.is_remote() => asked.refuse(ErrorCode::NotOwner),
        Place::There(owner) => {
            spawn(async move { forward(asked, owner, fetch).await }).detach(); // holds its request
        }
        Place::Nowhere(error) => asked.refuse(error),
    }
}

/// Starts to look for an offset; the answer comes by itself.
pub(crate) fn start_find(asked: Asked, find: FindOffset) {
    let shard = Rc::clone(asked.shard());
    match shard.place(find.log, find.partition) {
        Place::Here(owned) => {
            spawn(async move { find_offset(asked, &owned, find).await }).detach(); // holds its request
        }
        Place::There(_) if asked.is_remote() => asked.refuse(ErrorCode::NotOwner),
        Place::There(owner) => {
            shard.forward(owner, asked, (Request::FindOffset(find), Vec::new()), None);
        }
        Place::Nowhere(error) => asked.refuse(error),
    }
}

async fn carry_out(asked: Asked, owned: &Owned, fetch: Fetch) {
    match read(&asked, owned, fetch).await {
        Ok(Some((fetched, payload, hold))) => {
            asked.deliver(Response::Fetch(fetched), payload, Some(hold));
        }
        Ok(None) => drop(asked), // the connection was cut: nobody waits
        Err(error) => asked.refuse(error),
    }
}

type Found = (Fetched, Payload, Hold);

async fn read(asked: &Asked, owned: &Owned, fetch: Fetch) -> Result<Option<Found>, ErrorReply> {
    let shard = asked.shard();
    let partition = owned.partition()?;
    let from = resolve(&partition, fetch.from).await?;
    wait(asked, &partition, from, fetch).await;
    let started = time::now();
    let Some(mut hold) = grant(asked, fetch.bytes_max).await? else { return Ok(None) };
    let bytes_max = usize::try_from(hold.bytes()).unwrap_or(usize::MAX);
    let numbered = ((fetch.log, fetch.partition), &partition);
    let read = ahead::read(shard, numbered, from, bytes_max).await;
    let read = read.map_err(|error| read_error(&error))?;
    let Read { slices, first_offset, next_offset, watermarks, .. } = read;
    let payload = Payload::Slices(slices);
    let bytes = payload.len() as u64;
    hold.resize(bytes);
    shard.metrics.read(bytes, time::now().since(started));
    let (low, high) = (watermarks.low, watermarks.high);
    Ok(Some((Fetched { first_offset, next_offset, low, high }, payload, hold)))
}

/// The offset of a position, as things are now.
async fn resolve(partition: &Partition, from: FetchFrom) -> Result<Offset, ErrorReply> {
    match from {
        FetchFrom::Offset(offset) => Ok(offset),
        FetchFrom::Earliest => Ok(partition.watermarks().low),
        FetchFrom::Latest => Ok(partition.watermarks().high),
        FetchFrom::Time(at) => {
            partition.offset_at_time(at).await.map_err(|error: ReadError| read_error(&error))
        }
    }
}

/// Waits for enough bytes behind `from`, for as long as the client is patient and the server stays.
async fn wait(asked: &Asked, partition: &Partition, from: Offset, fetch: Fetch) {
    if fetch.bytes_min == 0 || fetch.wait_ms == 0 {
        return;
    }
    let shard = asked.shard();
    let deadline = time::now() + Duration::from_millis(u64::from(fetch.wait_ms));
    let bytes_min = usize::try_from(fetch.bytes_min).unwrap_or(usize::MAX);
    let mut enough = std::pin::pin!(partition.wait_beyond(from, bytes_min));
    loop {
        let changed = shard.phase_changed();
        if shard.phase() >= Phase::Quiet {
            return;
        }
        let outcome = match asked.connection() {
            Some((connection, _)) => {
                let nudged = connection.nudged();
                if connection.is_leaving() {
                    return;
                }
                let patient = unless(nudged, time::timeout_at(deadline, enough.as_mut()));
                unless(changed, patient).await.flatten()
            }
            None => unless(changed, time::timeout_at(deadline, enough.as_mut())).await,
        };
        if outcome.is_some() {
            return; // enough, or the client's patience is over
        }
    }
}

/// Takes room for at most `wanted` bytes. `None` if nobody waits for the answer any more.
pub(super) async fn grant(asked: &Asked, wanted: u32) -> Result<Option<Hold>, ErrorReply> {
    let shard = asked.shard();
    let deadline = time::now() + GRANT_WAIT;
    loop {
        let relief = shard.relief();
        let most = (shard.fetched.free() / FETCH_GRANT_SHARE).max(FETCH_GRANT_BYTES_MIN);
        let bytes = u32::try_from(most).unwrap_or(u32::MAX).min(wanted);
        if let Some((connection, token)) = asked.connection() {
            let sent = connection.relief();
            match connection.reserve(token, bytes) {
                Some(true) => {}
                Some(false) if connection.end() != End::Cut => {
                    sent.await;
                    continue;
                }
                Some(false) | None => return Ok(None),
            }
        }
        if let Some(hold) = shard.fetched.try_take(u64::from(bytes)) {
            return Ok(Some(hold));
        }
        if shard.ahead.give_back() {
            continue;
        }
        if time::timeout_at(deadline, relief).await.is_err() {
            return Err(busy("the core holds as many fetched bytes as it may for slow readers"));
        }
    }
}

/// Lets the owner read. Room is taken here before, because the answer will wait here for the socket.
async fn forward(asked: Asked, owner: usize, fetch: Fetch) {
    let shard = Rc::clone(asked.shard());
    let wanted = fetch.bytes_max.min(FORWARDED_FETCH_BYTES_MAX);
    match grant(&asked, wanted).await {
        Ok(Some(hold)) => {
            let bytes_max = u32::try_from(hold.bytes()).unwrap_or(wanted);
            let request = Request::Fetch(Fetch { bytes_max, ..fetch });
            shard.forward(owner, asked, (request, Vec::new()), Some(hold));
        }
        Ok(None) => drop(asked), // the connection was cut: nobody waits
        Err(error) => asked.refuse(error),
    }
}

async fn find_offset(asked: Asked, owned: &Owned, find: FindOffset) {
    let found = async {
        let partition = owned.partition()?;
        let offset = resolve(&partition, find.at).await?;
        let watermarks = partition.watermarks();
        if offset < watermarks.low || offset > watermarks.high {
            let (low, high) = (watermarks.low, watermarks.high);
            return Err(read_error(&ReadError::OutOfRange { low, high }));
        }
        Ok(OffsetFound { offset, low: watermarks.low, high: watermarks.high })
    };
    match found.await {
        Ok(found) => asked.reply(Response::FindOffset(found)),
        Err(error) => asked.refuse(error),
    }
}
