//! Where a plan reads: the head, a closed segment in the directory, or one in the object store; and the walk through it.
//!
//! What a read brings is pieces that lie one behind the other. A file brings one. A segment in the store brings the blocks
//! that are held in memory, as they lie there: a walk goes on from one to the next, and a reader gets a slice of each, so
//! nothing is copied as long as blocks end where batches do. If a batch ends in another block than it starts in, the walk asks
//! for that many bytes in one piece, and such a piece is copied together.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use pyralog_runtime::buffer::Slice;
use pyralog_runtime::file::DirectFile;
use pyralog_runtime::{time, yield_if_needed};

use crate::ids::Offset;
use crate::index::Index;
use crate::partition::ReadError;
use crate::partition::walk::{Walk, Walked};
use crate::segment::FilePosition;
use crate::segment_file::SegmentFile;
use crate::tier::RemoteFile;

/// So short a sleep ends after the core has looked at its rings once.
const RINGS_TURN: Duration = Duration::from_micros(1);

/// A closed segment that readers have open.
#[derive(Debug)]
pub(in crate::partition_file) struct OpenSegment {
    handle: Handle,
    index: Index,
}

#[derive(Debug)]
pub(super) enum Handle {
    /// Opened for readers.
    Own(Box<DirectFile>),
    /// The writer's, from before it rolled.
    Writers(Rc<SegmentFile>),
    /// In the object store.
    Remote(RemoteFile),
}

/// What a read brought.
pub(super) struct Pieces {
    /// One behind the other.
    slices: Vec<Slice>,
    /// The file ends with them.
    at_end: bool,
}

/// What a walk came to.
pub(super) enum Gone {
    /// These are the reader's: records of these offsets. Reading on starts there.
    Found { slices: Vec<Slice>, offsets: Range<Offset>, end: FilePosition },
    /// Nothing was found: why.
    Stopped(Walked),
}

impl OpenSegment {
    /// With its index, by which blocks of the object are cut from now on.
    pub(super) fn new(handle: Handle, index: Index) -> Self {
        if let Handle::Remote(remote) = &handle {
            remote.cut_by(&index);
        }
        Self { handle, index }
    }

    pub(in crate::partition_file) const fn index(&self) -> &Index {
        &self.index
    }

    /// It, if it is in the object store.
    const fn remote(&self) -> Option<&RemoteFile> {
        match &self.handle {
            Handle::Remote(remote) => Some(remote),
            Handle::Own(_) | Handle::Writers(_) => None,
        }
    }
}

impl Handle {
    /// The `len` bytes at `position` in one piece; fewer if the file ends there.
    pub(super) async fn read(&self, position: u64, len: usize) -> Result<Slice, ReadError> {
        match self {
            Self::Own(file) => Ok(file.read(position, len).await?),
            Self::Writers(segment) => Ok(segment.file().read(position, len).await?),
            Self::Remote(remote) => {
                let slices = remote.read(position, (len, len)).await?;
                Ok(slices.into_iter().next().unwrap_or_else(Slice::empty))
            }
        }
    }

    /// Up to `most` bytes at `position`, of which the first piece has the first `least`; fewer if the file ends there.
    async fn pieces(
        &self,
        position: u64,
        (least, most): (usize, usize),
    ) -> Result<Pieces, ReadError> {
        if let Self::Remote(remote) = self {
            let slices = remote.read(position, (least, most)).await?;
            let len: usize = slices.iter().map(|slice| slice.len()).sum();
            return Ok(Pieces { at_end: position + len as u64 >= remote.len(), slices });
        }
        let wanted = most.max(least);
        Ok(Pieces::one(self.read(position, wanted).await?, wanted))
    }
}

impl Pieces {
    /// What a read of so many bytes of a file brought.
    fn one(slice: Slice, wanted: usize) -> Self {
        Self { at_end: slice.len() < wanted, slices: vec![slice] }
    }

    /// Goes through them.
    fn walk(&self, walk: &mut Walk) -> Gone {
        let mut found: Option<(Vec<Slice>, Range<Offset>, FilePosition)> = None;
        let mut stopped = Walked::Need(walk.position(), 0);
        for (index, piece) in self.slices.iter().enumerate() {
            let is_last = index + 1 == self.slices.len();
            let piece_end = walk.position().plus(piece.len() as u64);
            match walk.step(piece, self.at_end && is_last) {
                Walked::Found { bytes, offsets, end } => {
                    let (slices, all, stop) =
                        found.get_or_insert_with(|| (Vec::new(), offsets.clone(), end));
                    slices.push(piece.slice(bytes));
                    (all.end, *stop) = (offsets.end, end);
                }
                walked => stopped = walked,
            }
            if walk.position() != piece_end {
                break;
            }
        }
        match found {
            Some((slices, offsets, end)) => Gone::Found { slices, offsets, end },
            None => Gone::Stopped(stopped),
        }
    }
}

/// The file that a plan reads.
pub(super) enum Source {
    Head(Rc<SegmentFile>),
    Closed(Rc<OpenSegment>),
}

impl Source {
    async fn read(&self, position: u64, bytes: (usize, usize)) -> Result<Pieces, ReadError> {
        match self {
            Self::Head(head) => {
                let wanted = bytes.0.max(bytes.1);
                Ok(Pieces::one(head.file().read(position, wanted).await?, wanted))
            }
            Self::Closed(segment) => segment.handle.pieces(position, bytes).await,
        }
    }

    /// It, if it is in the object store.
    pub(super) fn remote(&self) -> Option<&RemoteFile> {
        match self {
            Self::Head(_) => None,
            Self::Closed(segment) => segment.remote(),
        }
    }

    /// What it brought is not what belongs there. True if reading again may bring something else: once past the memory for
    /// blocks, of what is in the object store.
    pub(super) fn may_be_better(&self, is_again: &mut bool) -> bool {
        match self.remote() {
            Some(remote) if !std::mem::replace(is_again, true) => {
                remote.note_unsound();
                remote.forget();
                true
            }
            _ => false,
        }
    }

    /// Reads and walks until the walk is decided. `tell` hears where it will end before checksums are verified.
    pub(super) async fn walk(
        &self,
        walk: &mut Walk,
        (len, tell): (usize, Option<&dyn Fn(Offset) -> bool>),
    ) -> Result<Gone, ReadError> {
        let mut least = 0;
        loop {
            let pieces = self.read(walk.position().get(), (least, len)).await?;
            if let Some(tell) = tell
                && let Gone::Found { offsets, .. } = pieces.walk(&mut walk.by_headers())
                && tell(offsets.end)
            {
                // What was begun is not with the kernel before the core next looks at its rings, and
                // verifying keeps the core for a millisecond.
                time::sleep(RINGS_TURN).await;
            }
            match pieces.walk(walk) {
                Gone::Stopped(Walked::Need(_, needed)) => least = needed,
                gone => return Ok(gone),
            }
            yield_if_needed().await;
        }
    }
}

#[cfg(test)]
mod tests;
