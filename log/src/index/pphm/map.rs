//! A map over a file that is in memory, whole.

use super::blob::Blob;
use super::format::{Directory, HEADER_BYTES, Header, Mode};
use crate::layout::FormatError;

/// What a map knows of one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    /// All of it.
    Exact(&'a [u8]),
    /// Its hash.
    Fingerprint(u64),
}

/// A map, borrowed from the bytes of its file.
#[derive(Clone, Debug)]
pub struct Map<'a> {
    directory: Directory,
    bytes: &'a [u8],
}

impl<'a> Map<'a> {
    /// Opens a file, all of which is checked against its BLAKE3.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let header = Header::decode(bytes)?;
        let tail = header.tail(bytes.len() as u64)?;
        let start = usize::try_from(tail.start).map_err(|_| FormatError::Length)?;
        let directory = Directory::decode(header, &bytes[start..], bytes.len() as u64)?;
        if !Directory::vouches_for(bytes) {
            return Err(FormatError::Checksum);
        }
        Ok(Self { directory, bytes })
    }

    /// The frame of the file.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The value of `key`. By fingerprint it may be that of another key, once in 2^64 absent ones per
    /// key of the map.
    ///
    /// # Errors
    /// If whoever made the file did not make it as we do.
    pub fn get(&self, key: &[u8]) -> Result<Option<u64>, FormatError> {
        let place = self.directory.place(key);
        self.directory.find(&place, self.slice(place.bytes.start, place.bytes.end)?)
    }

    /// All entries, by partition and slot.
    ///
    /// # Errors
    /// If whoever made the file did not make it as we do.
    pub fn entries(
        &self,
    ) -> impl Iterator<Item = Result<(Key<'a>, u64), FormatError>> + use<'a, '_> {
        let mode = self.directory.header().mode;
        let blobs = self.directory.parts().iter().map(move |part| {
            Blob::parse(mode, part.keys, self.slice(part.start, part.start + u64::from(part.len))?)
        });
        blobs.flat_map(move |blob| {
            let len = blob.as_ref().map_or(1, Blob::len);
            (0..len).map(move |slot| {
                let blob = blob?;
                let key = match mode {
                    Mode::Exact => Key::Exact(blob.key(slot)?),
                    Mode::Fingerprint => Key::Fingerprint(blob.hash(slot)),
                };
                Ok((key, blob.value(slot)?))
            })
        })
    }

    fn slice(&self, start: u64, end: u64) -> Result<&'a [u8], FormatError> {
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(start, end)| self.bytes.get(start..end));
        debug_assert!(start >= HEADER_BYTES as u64, "partitions follow the header");
        bytes.ok_or(FormatError::Length)
    }
}
