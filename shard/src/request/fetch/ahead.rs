//! Reading ahead: while a reader far behind gets one block, its next one comes from the disk.
//!
//! Sketch of a block of 8 MiB, seen with trace points on a disk that reads 2.1 GB/s: 4.0 ms disk, 0.8 ms checksums, 1.8 ms
//! copy into the socket. A client asks for the next block as soon as it sees the head of an answer, but the core hears
//! that only after the copy. So the disk stood for 2.6 of 6.6 ms. Here the next read begins when the disk has ended the one
//! before, and the disk always has something to do. No byte is copied for it, and there is one task more for each block.
//!
//! - Only a reader that goes on where a read of a file has ended gets this, and one block at a time: the one after it is
//!   begun when somebody waits for this one. Whoever reads here and there costs the disk nothing more.
//! - The block is an ordinary read, so it holds only what readers may see. It is handed out once, to the first fetch of
//!   its offset; a failure is not handed out, the fetch then reads for itself and tells its own.
//! - Its bytes are taken out of the core's budget of fetched bytes, of which all blocks together get a share, and given
//!   back when it is taken, when a fetch finds no room, or when nobody has come for it for [`AHEAD_IDLE`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_log::limits::FETCH_READ_BYTES_MAX;
use pyralog_log::partition::{Read, ReadError, Watermarks};
use pyralog_log::partition_file::Partition;
use pyralog_runtime::channel::{OnceReceiver, oneshot};
use pyralog_runtime::spawn;
use pyralog_runtime::time::{self, Monotonic};

use crate::admission::{Budget, Hold};
use crate::limits::{AHEAD_IDLE, AHEAD_SHARE, FETCH_GRANT_BYTES_MIN, SEQUENTIAL_READERS_MAX};
use crate::metrics::Counter;
use crate::shard::{Phase, Shard};

/// So short a sleep ends after the core has looked at its rings once: what was begun is with the kernel then.
const RINGS_TURN: Duration = Duration::from_micros(1);

/// A partition, and the number by which the core knows it.
pub(super) type Numbered<'a> = ((LogId, PartitionId), &'a Partition);

/// The blocks of a core that were read, or are being read, before anybody has asked for them.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// In the order in which they were begun.
    blocks: RefCell<Vec<Block>>,
    /// Where reads of files ended, most recent last: at most [`SEQUENTIAL_READERS_MAX`].
    ends: RefCell<VecDeque<Place>>,
}

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    partition: (LogId, PartitionId),
    offset: Offset,
}

/// A block that nobody has taken.
struct Block {
    at: Place,
    bytes_max: usize,
    hold: Hold,
    begun: Monotonic,
    progress: Rc<Progress>,
    /// What came of it, unless it was no read of a file.
    read: OnceReceiver<Option<Read>>,
}

impl fmt::Debug for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, hold, .. } = self;
        write!(formatter, "Block({at:?}, {} bytes)", hold.bytes())
    }
}

/// What the task of a block and who waits for it tell each other.
#[derive(Debug, Default)]
struct Progress {
    /// Where it ends, once the disk is done.
    end: Cell<Option<Offset>>,
    /// Somebody waits for it.
    wanted: Cell<bool>,
}

impl ReadAhead {
    /// Gives one block back, the oldest: there is no room for a fetch. Whether there was one.
    pub(super) fn give_back(&self) -> bool {
        let mut blocks = self.blocks.borrow_mut();
        if blocks.is_empty() {
            return false;
        }
        drop(blocks.remove(0));
        true
    }

    /// Gives back what nobody has come for. Whether there was any.
    pub(crate) fn expire(&self, now: Monotonic) -> bool {
        let mut blocks = self.blocks.borrow_mut();
        let before = blocks.len();
        blocks.retain(|block| now.since(block.begun) < AHEAD_IDLE);
        blocks.len() < before
    }

    fn take(&self, at: Place) -> Option<Block> {
        let mut blocks = self.blocks.borrow_mut();
        let found = blocks.iter().position(|block| block.at == at)?;
        Some(blocks.remove(found))
    }

    /// Room for a block at `at`, if it is not there already.
    fn room(&self, fetched: &Budget, at: Place, bytes_max: usize) -> Option<Hold> {
        let blocks = self.blocks.borrow();
        let held: u64 = blocks.iter().map(|block| block.hold.bytes()).sum();
        let bytes = (bytes_max.min(FETCH_READ_BYTES_MAX) as u64).max(FETCH_GRANT_BYTES_MIN);
        let fits = held + bytes <= fetched.most() / AHEAD_SHARE
            && bytes <= fetched.free() / 2
            && blocks.iter().all(|block| block.at != at);
        fits.then(|| fetched.try_take(bytes)).flatten()
    }

    /// Whether a read of a file has ended at `at`. It is forgotten: the reader has gone on.
    fn was_left(&self, at: Place) -> bool {
        let mut ends = self.ends.borrow_mut();
        let found = ends.iter().position(|end| *end == at);
        found.is_some_and(|found| ends.remove(found).is_some())
    }

    fn leave(&self, at: Place) {
        let mut ends = self.ends.borrow_mut();
        if ends.len() == SEQUENTIAL_READERS_MAX {
            ends.pop_front();
        }
        ends.push_back(at);
    }
}

/// Reads for a fetch: what was read ahead for it if there is such, else the partition.
pub(super) async fn read(
    shard: &Rc<Shard>,
    (number, partition): Numbered<'_>,
    from: Offset,
    bytes_max: usize,
) -> Result<Read, ReadError> {
    let at = Place { partition: number, offset: from };
    let goes_on = shard.ahead.was_left(at);
    if let Some(read) = taken(shard, at, partition, bytes_max).await {
        shard.metrics.add(Counter::ReadsAhead, 1);
        shard.ahead.leave(Place { offset: read.next_offset, ..at });
        return Ok(read);
    }
    let from_file = Cell::new(false);
    let tell = |end| {
        from_file.set(true);
        goes_on && begin(shard, Place { offset: end, ..at }, partition, bytes_max)
    };
    let read = partition.read_telling(from, bytes_max, Some(&tell)).await?;
    if from_file.get() {
        shard.ahead.leave(Place { offset: read.next_offset, ..at });
    }
    Ok(read)
}

/// What was read ahead for `at`, or is being read. Begins the block after it.
async fn taken(
    shard: &Rc<Shard>,
    at: Place,
    partition: &Partition,
    bytes_max: usize,
) -> Option<Read> {
    let Block { hold, progress, read, bytes_max: asked, .. } = shard.ahead.take(at)?;
    drop(hold); // the fetch has room of its own
    if asked > bytes_max || at.offset < partition.watermarks().low {
        return None;
    }
    progress.wanted.set(true);
    if let Some(end) = progress.end.get()
        && begin(shard, Place { offset: end, ..at }, partition, bytes_max)
    {
        // Sending keeps the core for some milliseconds.
        time::sleep(RINGS_TURN).await;
    }
    let read = read.await.ok().flatten()?;
    as_of(partition.watermarks(), at.offset, read)
}

/// What was read from an offset on, as an answer of now. `None` if the offset was removed meanwhile: who reads below the low
/// watermark is told the range, and never both.
fn as_of(watermarks: Watermarks, from: Offset, read: Read) -> Option<Read> {
    (from >= watermarks.low).then_some(Read { watermarks, ..read })
}

/// Begins to read the block at `at` if there are such records, and room. Whether it did.
fn begin(shard: &Rc<Shard>, at: Place, partition: &Partition, bytes_max: usize) -> bool {
    if shard.phase() >= Phase::Quiet || at.offset >= partition.watermarks().high {
        return false;
    }
    let Some(hold) = shard.ahead.room(&shard.fetched, at, bytes_max) else { return false };
    let progress = Rc::new(Progress::default());
    let (sender, read) = oneshot();
    let task =
        carry_out(Rc::clone(shard), at, partition.clone(), (bytes_max, Rc::clone(&progress)));
    // It ends with its read, also if the block is given back meanwhile.
    spawn(async move { drop(sender.send(task.await)) }).detach();
    let begun = time::now();
    shard.ahead.blocks.borrow_mut().push(Block { at, bytes_max, hold, begun, progress, read });
    true
}

/// Reads a block. `None` if it failed, or came from memory: that is faster read when it is asked for, and then as much
/// as there is.
async fn carry_out(
    shard: Rc<Shard>,
    at: Place,
    partition: Partition,
    (bytes_max, progress): (usize, Rc<Progress>),
) -> Option<Read> {
    let tell = |end| {
        progress.end.set(Some(end));
        let next = Place { offset: end, ..at };
        progress.wanted.get() && begin(&shard, next, &partition, bytes_max)
    };
    let read = partition.read_telling(at.offset, bytes_max, Some(&tell)).await.ok()?;
    progress.end.get().map(|_| read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn place(offset: u64) -> Place {
        Place { partition: (LogId::new(1), PartitionId::ZERO), offset: Offset::new(offset) }
    }

    /// Begins a block without anybody who reads it.
    fn begun(ahead: &ReadAhead, fetched: &Budget, (offset, bytes_max): (u64, usize)) -> bool {
        let Some(hold) = ahead.room(fetched, place(offset), bytes_max) else { return false };
        let (at, begun, progress) = (place(offset), Monotonic::ZERO, Rc::default());
        let block = Block { at, bytes_max, hold, begun, progress, read: oneshot().1 };
        ahead.blocks.borrow_mut().push(block);
        true
    }

    #[test]
    fn blocks_get_a_quarter_of_the_budget_and_never_the_last_of_it() {
        let (ahead, fetched) = (ReadAhead::default(), Budget::new(64 << 20));
        for offset in 0..2 {
            assert!(
                begun(&ahead, &fetched, (offset, 16 * MIB)),
                "a read is never longer than 8 MiB"
            );
        }
        assert!(!begun(&ahead, &fetched, (2, MIB)), "that would be more than a quarter");
        assert!(fetched.held() <= 16 << 20, "{} bytes", fetched.held());
        assert!(ahead.give_back());
        let slow_readers = fetched.try_take(50 << 20).unwrap();
        assert!(!begun(&ahead, &fetched, (2, 5 * MIB)), "more than half of what is free");
        drop(slow_readers);
        assert!(begun(&ahead, &fetched, (2, 5 * MIB)));
        assert!(!begun(&ahead, &fetched, (2, MIB)), "it is there already");
    }

    #[test]
    fn blocks_are_given_back_oldest_first_and_when_nobody_came() {
        let (ahead, fetched) = (ReadAhead::default(), Budget::new(64 << 20));
        assert!(!ahead.give_back(), "there is none");
        assert!(begun(&ahead, &fetched, (0, MIB)) && begun(&ahead, &fetched, (1, MIB)));
        assert!(ahead.give_back() && ahead.take(place(0)).is_none());
        assert!(!ahead.expire(Monotonic::ZERO.after(AHEAD_IDLE / 2)));
        assert!(ahead.take(place(1)).is_some());
        assert!(begun(&ahead, &fetched, (3, MIB)));
        assert!(ahead.expire(Monotonic::ZERO.after(AHEAD_IDLE)));
        assert_eq!(fetched.held(), 0);
    }

    #[test]
    fn what_was_read_ahead_is_no_answer_once_the_low_watermark_has_passed_it() {
        let [low, high] = [70, 90].map(Offset::new);
        let now = Watermarks { low, high, end: high };
        let then = Watermarks { low: Offset::ZERO, ..now };
        let (first_offset, next_offset) = (Offset::new(60), Offset::new(80));
        let read = Read {
            slices: Vec::new(),
            first_offset,
            next_offset,
            watermarks: then,
            is_from_file: true,
        };
        assert!(as_of(now, Offset::new(69), read.clone()).is_none());
        // The batch may begin before it: readers leave out what is below the offset that they asked for.
        let read = as_of(now, low, read).expect("it is still there");
        assert_eq!((read.watermarks, read.next_offset), (now, next_offset));
    }

    #[test]
    fn a_reader_goes_on_once_for_each_place_it_left_and_old_places_are_forgotten() {
        let ahead = ReadAhead::default();
        ahead.leave(place(7));
        assert!(!ahead.was_left(place(8)));
        assert!(ahead.was_left(place(7)) && !ahead.was_left(place(7)));
        let many = SEQUENTIAL_READERS_MAX as u64;
        (0..=many).for_each(|offset| ahead.leave(place(offset)));
        assert!(!ahead.was_left(place(0)) && ahead.was_left(place(1)));
        assert_eq!(ahead.ends.borrow().len(), SEQUENTIAL_READERS_MAX - 1);
    }
}
