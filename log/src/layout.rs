//! Little-endian fields of the formats that this crate reads and writes by hand.

use std::fmt;

/// The `u32` at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

/// The `u64` at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// The `i64` at `at`.
pub(crate) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    u64_at(bytes, at).cast_signed()
}

/// Writes `raw` at `at`.
pub(crate) fn put<const LEN: usize>(bytes: &mut [u8], at: usize, raw: [u8; LEN]) {
    bytes[at..at + LEN].copy_from_slice(&raw);
}

/// Why a small file (index, checkpoint, list of damages) is not used. It is advisory: the log is
/// scanned instead, so the reason only goes to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The magic is another: not such a file.
    Magic,
    /// A version that this program does not know.
    Version {
        /// The version of the file.
        found: u32,
    },
    /// The checksum does not match.
    Checksum,
    /// The file ends within a field, or has bytes after the last.
    Length,
    /// A field has a value that it cannot have.
    Field {
        /// Which.
        field: &'static str,
    },
    /// It belongs to another segment, partition or log.
    Foreign,
}

impl fmt::Display for FormatError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => formatter.write_str("the file has another magic"),
            Self::Version { found } => write!(formatter, "version {found} is unknown"),
            Self::Checksum => formatter.write_str("the checksum does not match"),
            Self::Length => formatter.write_str("the file has another length than its content"),
            Self::Field { field } => write!(formatter, "{field} has an impossible value"),
            Self::Foreign => formatter.write_str("it belongs to another segment or partition"),
        }
    }
}

impl std::error::Error for FormatError {}

/// Reads fields one after another.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Opens a file of `magic`, `version`, CRC32C of the rest, rest.
    pub(crate) fn open(bytes: &'a [u8], magic: [u8; 8], version: u32) -> Result<Self, FormatError> {
        if bytes.len() < 16 {
            return Err(FormatError::Length);
        }
        if bytes[..8] != magic {
            return Err(FormatError::Magic);
        }
        let found = u32_at(bytes, 8);
        if found != version {
            return Err(FormatError::Version { found });
        }
        if crc32c::crc32c(&bytes[16..]) != u32_at(bytes, 12) {
            return Err(FormatError::Checksum);
        }
        Ok(Self { rest: &bytes[16..] })
    }

    /// The next field.
    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        let (field, rest) = self.rest.split_first_chunk::<8>().ok_or(FormatError::Length)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*field))
    }

    /// The next field, signed.
    pub(crate) fn i64(&mut self) -> Result<i64, FormatError> {
        self.u64().map(u64::cast_signed)
    }

    /// The next field, which is 32 bits wide.
    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        let (field, rest) = self.rest.split_first_chunk::<4>().ok_or(FormatError::Length)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*field))
    }

    /// The next field, of so many bytes.
    pub(crate) fn bytes<const LEN: usize>(&mut self) -> Result<[u8; LEN], FormatError> {
        let (field, rest) = self.rest.split_first_chunk::<LEN>().ok_or(FormatError::Length)?;
        self.rest = rest;
        Ok(*field)
    }

    /// The next field, a count of items of at least `item_bytes` each that must still follow.
    pub(crate) fn count(&mut self, item_bytes: usize) -> Result<usize, FormatError> {
        let count = usize::try_from(self.u64()?).map_err(|_| FormatError::Length)?;
        let fits = count.checked_mul(item_bytes).is_some_and(|bytes| bytes <= self.rest.len());
        if fits { Ok(count) } else { Err(FormatError::Length) }
    }

    /// Checks that nothing but zeros follows.
    pub(crate) fn padding(self) -> Result<(), FormatError> {
        if self.rest.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(FormatError::Length) }
    }

    /// Checks that nothing follows.
    pub(crate) fn end(self) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FormatError::Length) }
    }
}

/// Collects fields for [`Fields`].
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// Starts a file.
    pub(crate) fn new(magic: [u8; 8], version: u32) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&magic);
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        Self { bytes }
    }

    /// Appends a field.
    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends a signed field.
    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.u64(value.cast_unsigned())
    }

    /// Appends a 32-bit field.
    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends zeros to a multiple of `unit` bytes.
    pub(crate) fn pad_to(mut self, unit: usize) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(unit), 0);
        self
    }

    /// Writes the checksum and returns the file.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(&self.bytes[16..]);
        put(&mut self.bytes, 12, crc.to_le_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_opens_only_whole_and_unchanged() {
        let mut builder = Builder::new(*b"PYTEST01", 3);
        builder.u64(7).u32(8).i64(-9);
        let bytes = builder.finish();
        let mut fields = Fields::open(&bytes, *b"PYTEST01", 3).unwrap();
        assert_eq!((fields.u64(), fields.u32(), fields.i64()), (Ok(7), Ok(8), Ok(-9)));
        assert_eq!(fields.end(), Ok(()));
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x10;
            assert!(Fields::open(&broken, *b"PYTEST01", 3).is_err(), "byte {at}");
        }
        assert!(Fields::open(&bytes[..15], *b"PYTEST01", 3).is_err());
    }
}
