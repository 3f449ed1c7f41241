//! The receive buffer of one connection.
//!
//! Small frames share it; a frame that is larger makes it grow to exactly that frame, and it stays so while such frames
//! keep coming. It is filled up to its end and no further, so after a large frame at most the beginning of the next one
//! is behind it: what is ever moved to the front is less than one frame's surplus, not its payload.
//!
//! ```text
//! | consumed | filled: whole frames, then the beginning of one | room |
//! 0        start                                             end   len
//! ```

use crate::admission::Hold;
use crate::limits::{RECEIVE_BYTES, SMALL_FRAMES_TO_SHRINK};

/// Growth is rounded up to this.
const GROWTH_BYTES: usize = 4096;

/// Invariant: `start <= end <= bytes.len()`, and what is beyond [`RECEIVE_BYTES`] is held from the core's budget.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    hold: Option<Hold>,
    small_frames: u32,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        let bytes = vec![0; RECEIVE_BYTES];
        Self { bytes, start: 0, end: 0, hold: None, small_frames: 0 }
    }

    /// What was received and not consumed.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Whether a frame of `len` bytes fits without [`Self::grow`].
    pub(crate) fn fits(&self, len: usize) -> bool {
        len <= self.bytes.len()
    }

    /// Bytes beyond the usual size that a frame of `len` bytes takes.
    pub(crate) fn growth(len: usize) -> u64 {
        (len.next_multiple_of(GROWTH_BYTES) - RECEIVE_BYTES) as u64
    }

    /// Grows for a frame of `len` bytes at the front of what is filled; `hold` covers [`Self::growth`].
    pub(crate) fn grow(&mut self, len: usize, hold: Hold) {
        assert!(!self.fits(len), "{len} bytes fit {}", self.bytes.len());
        let mut bytes = vec![0; len.next_multiple_of(GROWTH_BYTES)];
        bytes[..self.end - self.start].copy_from_slice(self.filled());
        self.end -= self.start;
        self.start = 0;
        self.bytes = bytes;
        self.hold = Some(hold);
    }

    /// Where to receive, so that the `at_least` bytes from the start of what is filled fit. Not empty.
    pub(crate) fn room(&mut self, at_least: usize) -> &mut [u8] {
        assert!(self.fits(at_least), "{at_least} bytes in {}", self.bytes.len());
        let filled = self.end - self.start;
        assert!(filled < at_least, "{filled} of {at_least} bytes are there");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.start + at_least > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, filled);
        }
        &mut self.bytes[self.end..]
    }

    /// `count` bytes were received into [`Self::room`].
    pub(crate) fn received(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "received beyond the room");
    }

    /// The first `count` filled bytes are done with.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "consumed beyond what was filled");
        self.small_frames =
            if count <= RECEIVE_BYTES { self.small_frames.saturating_add(1) } else { 0 };
    }

    /// Whether it has grown and holds nothing.
    pub(crate) fn may_shrink(&self) -> bool {
        self.hold.is_some() && self.start == self.end
    }

    /// Whether it has grown, and large frames have stopped coming.
    pub(crate) fn should_shrink(&self) -> bool {
        self.may_shrink() && self.small_frames >= SMALL_FRAMES_TO_SHRINK
    }

    /// Goes back to the usual size.
    pub(crate) fn shrink(&mut self) {
        assert!(self.may_shrink(), "in use");
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Budget;

    fn fill(buffer: &mut ReceiveBuffer, at_least: usize, bytes: &[u8]) -> usize {
        let room = buffer.room(at_least);
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        buffer.received(count);
        count
    }

    #[test]
    fn large_frames_in_a_row_are_received_whole_and_in_order() {
        let budget = Budget::new(u64::MAX);
        let mut buffer = ReceiveBuffer::new();
        let frame = RECEIVE_BYTES * 3 + 100;
        let stream: Vec<u8> = (0..frame * 4).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut sent = 0;
        for start in (0..stream.len()).step_by(frame) {
            while buffer.filled().len() < frame {
                if !buffer.fits(frame) && !buffer.filled().is_empty() {
                    let hold = budget.try_take(ReceiveBuffer::growth(frame)).unwrap();
                    buffer.grow(frame, hold);
                }
                let at_least = if buffer.fits(frame) { frame } else { 32 };
                sent += fill(&mut buffer, at_least, &stream[sent..]);
            }
            assert_eq!(&buffer.filled()[..frame], &stream[start..start + frame]);
            assert!(buffer.filled().len() - frame < GROWTH_BYTES, "little is read ahead");
            buffer.consume(frame);
        }
        assert_eq!(budget.held(), ReceiveBuffer::growth(frame));
        buffer.shrink();
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn it_shrinks_after_enough_small_frames_and_not_while_in_use() {
        let budget = Budget::new(u64::MAX);
        let mut buffer = ReceiveBuffer::new();
        buffer.grow(
            RECEIVE_BYTES * 2,
            budget.try_take(ReceiveBuffer::growth(RECEIVE_BYTES * 2)).unwrap(),
        );
        for _ in 0..SMALL_FRAMES_TO_SHRINK {
            assert!(!buffer.should_shrink());
            fill(&mut buffer, 10, &[1; 10]);
            assert!(!buffer.may_shrink());
            buffer.consume(10);
        }
        assert!(buffer.should_shrink());
    }

    #[test]
    fn the_beginning_of_a_frame_moves_to_the_front_when_the_end_is_near() {
        let mut buffer = ReceiveBuffer::new();
        let bytes: Vec<u8> = (0..RECEIVE_BYTES).map(|at| u8::try_from(at % 251).unwrap()).collect();
        fill(&mut buffer, 1, &bytes);
        buffer.consume(RECEIVE_BYTES - 5);
        assert_eq!(fill(&mut buffer, 100, &[9; 95]), 95);
        assert_eq!(&buffer.filled()[..5], &bytes[RECEIVE_BYTES - 5..]);
        assert_eq!(&buffer.filled()[5..], &[9; 95]);
    }
}
