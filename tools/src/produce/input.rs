//! Records out of a byte stream: lines of bounded length, with their numbers.

use std::fmt;
use std::io::{self, Read};

use crate::limits::READ_BYTES;

/// Why the input cannot be read on.
#[derive(Debug)]
pub(crate) enum InputError {
    /// The stream failed.
    Read(io::Error),
    /// A line is longer than a record may be.
    LineTooLong {
        /// Its number, from 1.
        line: u64,
        /// Longest line in bytes.
        bytes_max: usize,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read: {error}"),
            Self::LineTooLong { line, bytes_max } => {
                write!(f, "line {line} is longer than a record may be ({bytes_max} bytes)")
            }
        }
    }
}

impl std::error::Error for InputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::LineTooLong { .. } => None,
        }
    }
}

/// Cuts a stream into lines without copying each: a line is a slice of the reader's buffer.
///
/// A line ends with `\n`, which is not part of it; a `\r` before it is, because a value comes out
/// as it went in. The last line may lack its `\n`. Invariant: `start <= end <= buffer.len()`.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    line: u64,
    bytes_max: usize,
    finished: bool,
}

impl<R: Read> LineReader<R> {
    /// A reader of lines of at most `bytes_max` bytes.
    pub(crate) fn new(source: R, bytes_max: usize) -> Self {
        let buffer = vec![0; READ_BYTES];
        Self { source, buffer, start: 0, end: 0, line: 0, bytes_max, finished: false }
    }

    /// Number of the line that was returned last, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Whether the next call may block: no complete line is buffered.
    pub(crate) fn would_read(&self) -> bool {
        !self.finished && !self.buffer[self.start..self.end].contains(&b'\n')
    }

    /// The next line, or `None` at the end of the stream.
    ///
    /// # Errors
    /// If the stream fails or a line is too long. Reading on after that returns the end.
    pub(crate) fn next_line(&mut self) -> Result<Option<&[u8]>, InputError> {
        let mut searched = self.start;
        loop {
            let newline = self.buffer[searched..self.end].iter().position(|byte| *byte == b'\n');
            let found = newline.map(|offset| searched + offset);
            let line_end = match found {
                Some(position) => position,
                None if self.finished => self.end,
                None if self.end - self.start > self.bytes_max => return self.too_long(),
                None => {
                    searched = self.fill()?;
                    continue;
                }
            };
            if line_end - self.start > self.bytes_max {
                return self.too_long();
            }
            if found.is_none() && self.start == self.end {
                return Ok(None);
            }
            let line = self.start..line_end;
            self.start = (line_end + 1).min(self.end);
            self.line += 1;
            return Ok(Some(&self.buffer[line]));
        }
    }

    /// Reads more behind what is there; returns where the new bytes start.
    fn fill(&mut self) -> Result<usize, InputError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let new = self.end;
        let read = loop {
            match self.source.read(&mut self.buffer[new..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match read {
            Ok(0) => self.finished = true,
            Ok(count) => self.end += count,
            Err(error) => {
                self.stop();
                return Err(InputError::Read(error));
            }
        }
        Ok(new)
    }

    fn too_long(&mut self) -> Result<Option<&[u8]>, InputError> {
        self.stop();
        Err(InputError::LineTooLong { line: self.line + 1, bytes_max: self.bytes_max })
    }

    fn stop(&mut self) {
        self.finished = true;
        self.start = self.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of `piece`, as a slow pipe does.
    struct Pieces<'a> {
        bytes: &'a [u8],
        piece: usize,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.piece.min(self.bytes.len()).min(into.len());
            into[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes = &self.bytes[count..];
            Ok(count)
        }
    }

    fn lines(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut reader = LineReader::new(Pieces { bytes, piece }, 1 << 20);
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().unwrap() {
            lines.push(line.to_vec());
        }
        assert_eq!(reader.line(), lines.len() as u64);
        lines
    }

    #[test]
    fn lines_keep_every_byte_but_the_newline() {
        let text = b"one\r\n\n\xff\x00three\nlast";
        let expected: Vec<Vec<u8>> =
            vec![b"one\r".to_vec(), b"".to_vec(), b"\xff\x00three".to_vec(), b"last".to_vec()];
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(lines(text, piece), expected, "pieces of {piece}");
        }
        assert_eq!(lines(b"", 5), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"\n", 5), vec![b"".to_vec()]);
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_read_whole() {
        let mut text = vec![b'x'; READ_BYTES * 3];
        text.push(b'\n');
        text.push(b'y');
        assert_eq!(lines(&text, 10_000), vec![vec![b'x'; READ_BYTES * 3], vec![b'y']]);
    }

    #[test]
    fn a_line_beyond_the_limit_is_refused_with_its_number() {
        let texts = [&b"ok\n12345\nok\n"[..], &b"ok\n12345"[..]];
        for (text, piece) in texts.into_iter().flat_map(|text| [(text, 4), (text, 100)]) {
            let mut reader = LineReader::new(Pieces { bytes: text, piece }, 4);
            assert_eq!(reader.next_line().unwrap(), Some(&b"ok"[..]));
            let error = reader.next_line().unwrap_err().to_string();
            assert_eq!(error, "line 2 is longer than a record may be (4 bytes)");
            assert!(matches!(reader.next_line(), Ok(None)));
        }
        let mut reader = LineReader::new(Pieces { bytes: b"1234\n", piece: 9 }, 4);
        assert_eq!(reader.next_line().unwrap(), Some(&b"1234"[..]));
    }

    #[test]
    fn the_reader_knows_when_it_would_wait_for_input() {
        let mut reader = LineReader::new(&b"a\nb"[..], 10);
        assert!(reader.would_read());
        reader.next_line().unwrap();
        assert!(reader.would_read(), "b has no newline yet");
        reader.next_line().unwrap();
        assert!(!reader.would_read(), "the stream has ended");
    }
}
