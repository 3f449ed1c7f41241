//! The adoption: brings the end of the log to stable storage before it is promised.
//!
//! What a scan finds behind the last promise was readable, and that is all that is known of it. It
//! may be there because a process ended between a write and a sync; a sync makes that durable. Or a
//! sync had failed: then the system may take it for clean, no later sync writes it, and a loss of
//! power takes back what was readable all the time. Only writing it again helps against both.
//!
//! The bytes are read again, by a second scan that must find every group as the first one did, and
//! go back to where they came from. So a read that is wrong this time cannot replace what is right
//! on disk, and a write that is torn mixes equal bytes: it may be broken off anywhere and repeated.
//!
//! It knows no file: bytes go in, checked blocks come out.

use std::fmt;

use super::scan::{End, Event, Need, Scan, Subject};
use crate::limits::READ_BYTES_MAX;
use crate::segment::{BLOCK_BYTES, FilePosition};

/// Checked bytes that are worth a write before the end.
const PIECE_BYTES_MIN: usize = READ_BYTES_MAX;

/// The file gave other bytes than the scan was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed;

/// Whole blocks to be written, on stable storage when that is done.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where: a block boundary.
    pub(crate) position: FilePosition,
    /// The blocks; zeros behind the end of the log.
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Debug for Piece {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Piece({} bytes at {})", self.bytes.len(), self.position)
    }
}

/// The adoption. Invariant: `bytes` lie at `position` and were checked, but for what is vouched for.
#[derive(Debug)]
pub(crate) struct Adoption {
    scan: Scan,
    end: FilePosition,
    /// A block boundary.
    position: FilePosition,
    bytes: Vec<u8>,
    /// Bytes of the first block that are vouched for and written with the rest; still to come.
    lead: usize,
    events: Vec<Event>,
}

impl Adoption {
    /// Of what lies before `end` and nobody vouches for; `None` if there is nothing. `subject` is
    /// what is known about the segment.
    pub(crate) fn new(subject: Subject, end: &End) -> Option<Self> {
        let vouched = end.vouched;
        if vouched.position == end.position {
            return None;
        }
        let scan = Scan::new(Subject {
            file_len: end.position.get(),
            promised: vouched.offset,
            start: vouched.position,
            start_offset: vouched.offset,
            incarnation: vouched.incarnation,
            ..subject
        });
        Some(Self {
            scan,
            end: end.position,
            position: vouched.position.block_start(),
            bytes: Vec::new(),
            lead: vouched.position.in_block(),
            events: Vec::new(),
        })
    }

    /// The bytes to supply next, or `None` if all are there.
    pub(crate) fn need(&self) -> Option<Need> {
        if self.lead > 0 {
            return Some(Need { position: self.position, len: self.lead });
        }
        self.scan.need().ok().filter(|need| need.position < self.end)
    }

    /// Takes the bytes that [`Self::need`] asked for.
    ///
    /// # Errors
    /// If they are not what the first scan was given. Nothing of them was or will be written.
    pub(crate) fn supply(&mut self, bytes: &[u8]) -> Result<(), Changed> {
        self.bytes.extend_from_slice(bytes);
        if self.lead > 0 {
            let whole = bytes.len() == self.lead;
            self.lead = 0;
            return if whole { Ok(()) } else { Err(Changed) };
        }
        self.scan.supply(bytes, &mut self.events);
        self.events.clear(); // The first scan reported the same.
        if self.scan.runs() { Ok(()) } else { Err(Changed) }
    }

    /// Blocks to write now, if there are enough, or all are there.
    pub(crate) fn piece(&mut self) -> Option<Piece> {
        let (is_last, len) = (self.need().is_none(), self.bytes.len());
        let len = if is_last { len } else { len - len % BLOCK_BYTES };
        if len == 0 || len < PIECE_BYTES_MIN && !is_last {
            return None;
        }
        let rest = self.bytes.split_off(len);
        let mut bytes = std::mem::replace(&mut self.bytes, rest);
        bytes.resize(len.next_multiple_of(BLOCK_BYTES), 0);
        let position = self.position;
        self.position = position.plus(bytes.len() as u64);
        Some(Piece { position, bytes })
    }
}

#[cfg(test)]
mod tests;
