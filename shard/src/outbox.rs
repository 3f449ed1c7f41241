//! What waits for one socket: encoded answers, and slices of records that are sent from where they lie.
//!
//! Small answers are appended to one vector that goes to the socket in one piece and comes back for the next answers, so
//! a steady stream of acknowledgements allocates nothing and a group commit costs one system call per connection.

use std::collections::VecDeque;

use pyralog_runtime::buffer::Slice;

use crate::admission::Hold;

/// Bytes that one write to the socket takes together, so that progress is seen and the core is shared.
pub(crate) const SEND_BYTES: usize = 1 << 20;
/// Pieces that one write takes together.
pub(crate) const SEND_PIECES: usize = 32;
/// Capacity above which an emptied vector is not kept for the next answers.
const SPARE_BYTES_MAX: usize = 256 << 10;

/// A piece of the stream to the client.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Encoded frames, or a payload that came from another core.
    Bytes(Vec<u8>),
    /// Records where the log has them.
    Records(Slice),
    /// Not sent: what the pieces before it held is given back when this is reached.
    Release {
        /// Its drop is what matters.
        _held: Hold,
    },
}

impl Piece {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Records(slice) => slice,
            Self::Release { .. } => &[],
        }
    }
}

/// The queue of one connection. Its length in bytes is bounded by the protocol machine, which admits no request whose
/// answer does not fit.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    spare: Vec<Vec<u8>>,
}

impl Outbox {
    /// Where the next answer is encoded: behind the last bytes, or in a new piece after records.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(Piece::Bytes(_))) {
            let bytes = self.spare.pop().unwrap_or_default();
            self.pieces.push_back(Piece::Bytes(bytes));
        }
        match self.pieces.back_mut() {
            Some(Piece::Bytes(bytes)) => bytes,
            _ => unreachable!("just pushed"),
        }
    }

    /// Puts a piece behind everything.
    pub(crate) fn push(&mut self, piece: Piece) {
        self.pieces.push_back(piece);
    }

    /// Moves the next pieces into `pieces`: at most [`SEND_PIECES`], and no more after [`SEND_BYTES`].
    pub(crate) fn take(&mut self, pieces: &mut Vec<Piece>) {
        let mut bytes = 0;
        while pieces.len() < SEND_PIECES
            && bytes < SEND_BYTES
            && let Some(piece) = self.pieces.pop_front()
        {
            bytes += piece.bytes().len();
            pieces.push(piece);
        }
    }

    /// Takes a vector back for later answers.
    pub(crate) fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SPARE_BYTES_MAX && self.spare.len() < 2 {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Drops everything; nobody will read it.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Budget;

    #[test]
    fn answers_share_a_piece_and_its_memory_comes_back() {
        let mut outbox = Outbox::default();
        outbox.tail().extend_from_slice(b"one");
        outbox.tail().extend_from_slice(b"two");
        let mut pieces = Vec::new();
        outbox.take(&mut pieces);
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].bytes(), b"onetwo");
        let Some(Piece::Bytes(bytes)) = pieces.pop() else { panic!("bytes were pushed") };
        let address = bytes.as_ptr();
        outbox.recycle(bytes);
        outbox.tail().push(1);
        assert_eq!(outbox.tail().as_ptr(), address);
    }

    #[test]
    fn a_hold_is_given_back_only_after_what_was_before_it() {
        let budget = Budget::new(10);
        let mut outbox = Outbox::default();
        outbox.push(Piece::Bytes(vec![0; SEND_BYTES]));
        let held = budget.try_take(10).expect("all of it is free");
        outbox.push(Piece::Release { _held: held });
        let mut pieces = Vec::new();
        outbox.take(&mut pieces);
        pieces.clear();
        assert_eq!(budget.held(), 10, "the bytes before it filled the first write");
        outbox.take(&mut pieces);
        pieces.clear();
        assert_eq!(budget.held(), 0);
    }
}
