//! Frames: the 32-byte header, decoding whole or header first, encoding in place.
//!
//! ```text
//!  0 magic u32 "PYRW" | 4 version u16 | 6 kind u16 | 8 flags u16 | 10 reserved u16 = 0
//! 12 body_len u32     | 16 payload_len u32          | 20 crc u32  | 24 correlation u64
//! 32 body (rkyv) ... payload (batches with checksums of their own)
//! ```
//!
//! `crc` is CRC32C over bytes 0..20, 24..32 and the body. The payload is left out because its
//! batches carry their own checksums, which travel to the disk: hashing 16 MiB twice would be the
//! largest cost of a request. So the lengths of a header are believed before its checksum can be
//! verified; they are bounded first, and a wrong one ends the connection.

use core::fmt;

use crate::access::{self, Body};
use crate::kind::Kind;
use crate::limits::{
    BODY_BYTES_MAX, HEADER_BYTES, HELLO_BODY_BYTES_MAX, PAYLOAD_BYTES_MAX, PROTOCOL_VERSION_MAX,
    PROTOCOL_VERSION_MIN,
};

/// First four bytes of every frame: "PYRW".
pub const MAGIC: u32 = u32::from_le_bytes(*b"PYRW");
/// Version in the header of Hello, and of errors sent before a version is agreed.
pub const HANDSHAKE_VERSION: u16 = 1;
/// Flag: this frame answers another.
pub const FLAG_RESPONSE: u16 = 1;
/// Flag: the answer is an error reply. Only together with [`FLAG_RESPONSE`].
pub const FLAG_ERROR: u16 = 2;

/// Connects a response to its request: chosen by the client, unique among its requests in flight.
/// Zero is kept for errors of the connection itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Correlation(u64);

impl Correlation {
    /// Of errors that answer no request.
    pub const CONNECTION: Self = Self(0);

    /// The correlation with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A header, its fields within limits. Its checksum is verified with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Version of the protocol.
    pub version: u16,
    /// Number of the kind; known or not.
    pub kind: u16,
    /// [`FLAG_RESPONSE`], [`FLAG_ERROR`].
    pub flags: u16,
    /// Bytes of the body.
    pub body_len: u32,
    /// Bytes of the payload.
    pub payload_len: u32,
    /// Checksum as received.
    pub crc: u32,
    /// Connects responses to requests.
    pub correlation: Correlation,
}

impl FrameHeader {
    /// Parses a header and compares its lengths with `limits`: what a shell needs to know how many
    /// bytes will come.
    ///
    /// # Errors
    /// If it is no header, or announces more than allowed. The connection cannot go on.
    pub fn parse(bytes: &[u8; HEADER_BYTES], limits: FrameLimits) -> Result<Self, FrameError> {
        let magic = u32_at(bytes, 0);
        if magic != MAGIC {
            return Err(FrameError::BadMagic { found: magic });
        }
        let version = u16_at(bytes, 4);
        if !(limits.version_min..=limits.version_max).contains(&version) {
            return Err(FrameError::UnsupportedVersion {
                found: version,
                min: limits.version_min,
                max: limits.version_max,
            });
        }
        let (flags, reserved) = (u16_at(bytes, 8), u16_at(bytes, 10));
        if !matches!(flags, 0 | FLAG_RESPONSE | 3) || reserved != 0 {
            return Err(FrameError::BadFlags { flags, reserved });
        }
        let header = Self {
            version,
            kind: u16_at(bytes, 6),
            flags,
            body_len: u32_at(bytes, 12),
            payload_len: u32_at(bytes, 16),
            crc: u32_at(bytes, 20),
            correlation: Correlation(u64::from_le_bytes(array_at(bytes, 24))),
        };
        if header.body_len > limits.body_bytes_max {
            let (len, max) = (header.body_len, limits.body_bytes_max);
            return Err(FrameError::BodyTooLarge { len, max });
        }
        if header.payload_len > limits.payload_bytes_max {
            let (len, max) = (header.payload_len, limits.payload_bytes_max);
            return Err(FrameError::PayloadTooLarge { len, max });
        }
        Ok(header)
    }

    /// Bytes of header and body.
    #[must_use]
    pub const fn head_len(&self) -> usize {
        HEADER_BYTES + self.body_len as usize
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub const fn frame_len(&self) -> usize {
        self.head_len() + self.payload_len as usize
    }

    /// Whether the frame answers a request.
    #[must_use]
    pub const fn is_response(&self) -> bool {
        self.flags & FLAG_RESPONSE != 0
    }

    /// Whether the frame is an error reply.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.flags & FLAG_ERROR != 0
    }
}

/// What a decoder takes from its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Oldest version taken.
    pub version_min: u16,
    /// Newest version taken.
    pub version_max: u16,
    /// Largest body.
    pub body_bytes_max: u32,
    /// Largest payload.
    pub payload_bytes_max: u32,
}

impl FrameLimits {
    /// Before the handshake: one small frame without payload.
    pub const HANDSHAKE: Self = Self {
        version_min: HANDSHAKE_VERSION,
        version_max: HANDSHAKE_VERSION,
        body_bytes_max: HELLO_BODY_BYTES_MAX,
        payload_bytes_max: 0,
    };

    /// Everything that this build can take.
    pub const FULL: Self = Self {
        version_min: PROTOCOL_VERSION_MIN,
        version_max: PROTOCOL_VERSION_MAX,
        body_bytes_max: BODY_BYTES_MAX,
        payload_bytes_max: PAYLOAD_BYTES_MAX,
    };
}

/// Header and body of a frame, checksum verified; borrows the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'b> {
    /// The header.
    pub header: FrameHeader,
    /// The body; [`Head::request`] and [`Head::reply`] read it, [`access::view`] looks at it.
    pub body: &'b [u8],
}

/// A whole frame; borrows the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Header and body.
    pub head: Head<'b>,
    /// The payload as received, not looked at.
    pub payload: &'b [u8],
}

/// What the first bytes of a receive buffer hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<T> {
    /// Too little to tell: call again when the buffer holds at least this many bytes.
    NeedMore {
        /// Length that the buffer must reach, always above its length now and at most a frame's.
        at_least: usize,
    },
    /// This, in the first `1` bytes of the buffer.
    Ready(T, usize),
    /// No frame of ours: answer with the error, then close.
    Bad(FrameError),
}

/// Finds frames in a receive buffer owned by the caller. Keeps nothing between calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameDecoder {
    limits: FrameLimits,
}

impl FrameDecoder {
    /// A decoder that takes what `limits` allow.
    #[must_use]
    pub const fn new(limits: FrameLimits) -> Self {
        Self { limits }
    }

    /// What it takes.
    #[must_use]
    pub const fn limits(&self) -> FrameLimits {
        self.limits
    }

    /// Looks for a whole frame at the start of `bytes`.
    #[must_use]
    pub fn next<'b>(&self, bytes: &'b [u8]) -> Decoded<Frame<'b>> {
        let (head, start) = match self.next_head(bytes) {
            Decoded::Ready(head, consumed) => (head, consumed),
            Decoded::NeedMore { at_least } => return Decoded::NeedMore { at_least },
            Decoded::Bad(error) => return Decoded::Bad(error),
        };
        let end = head.header.frame_len();
        match bytes.get(start..end) {
            Some(payload) => Decoded::Ready(Frame { head, payload }, end),
            None => Decoded::NeedMore { at_least: end },
        }
    }

    /// Looks for header and body at the start of `bytes`; `payload_len` bytes of payload follow
    /// them, which the shell may receive where it likes.
    #[must_use]
    pub fn next_head<'b>(&self, bytes: &'b [u8]) -> Decoded<Head<'b>> {
        let Some(first) = bytes.first_chunk::<HEADER_BYTES>() else {
            return partial(bytes);
        };
        let header = match FrameHeader::parse(first, self.limits) {
            Ok(header) => header,
            Err(error) => return Decoded::Bad(error),
        };
        let end = header.head_len();
        let Some(body) = bytes.get(HEADER_BYTES..end) else {
            return Decoded::NeedMore { at_least: end };
        };
        let computed = checksum(first, body);
        if computed != header.crc {
            return Decoded::Bad(FrameError::BadChecksum { stored: header.crc, computed });
        }
        Decoded::Ready(Head { header, body }, end)
    }
}

/// Bytes that are no frame of this protocol. Where the next frame begins is unknown, so the
/// connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The first bytes are not "PYRW".
    BadMagic {
        /// What they are, little-endian, zeros for those that have not arrived.
        found: u32,
    },
    /// A version outside what was agreed.
    UnsupportedVersion {
        /// The version in the header.
        found: u16,
        /// Oldest one taken here.
        min: u16,
        /// Newest one taken here.
        max: u16,
    },
    /// A flag that this version does not define, or reserved bits that are not zero.
    BadFlags {
        /// The flags.
        flags: u16,
        /// The reserved field.
        reserved: u16,
    },
    /// A body over the limit.
    BodyTooLarge {
        /// Its length.
        len: u32,
        /// The limit.
        max: u32,
    },
    /// A payload over the limit.
    PayloadTooLarge {
        /// Its length.
        len: u32,
        /// The limit.
        max: u32,
    },
    /// Header or body changed on the way.
    BadChecksum {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of what arrived.
        computed: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic { found } => write!(
                f,
                "the first bytes are {found:#010x}, not a Pyralog frame: this port speaks the \
                 native protocol, not HTTP, TLS or Kafka"
            ),
            Self::UnsupportedVersion { found, min, max } => {
                write!(f, "protocol version {found} is not spoken here: use {min} to {max}")
            }
            Self::BadFlags { flags, reserved } => write!(
                f,
                "flags {flags:#06x} and reserved bits {reserved:#06x} are not defined in this \
                 version"
            ),
            Self::BodyTooLarge { len, max } => {
                write!(f, "the frame's body has {len} bytes: at most {max} are taken")
            }
            Self::PayloadTooLarge { len, max } => write!(
                f,
                "the frame's payload has {len} bytes: at most {max} are taken, send smaller batches"
            ),
            Self::BadChecksum { stored, computed } => write!(
                f,
                "the frame's checksum is {stored:#010x}, its bytes give {computed:#010x}: they \
                 changed on the way, connect again"
            ),
        }
    }
}

impl core::error::Error for FrameError {}

/// A frame that cannot be encoded because the peer could not take it.
#[derive(Debug)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body is over the limit: ask for less, or for fewer at once.
    BodyTooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: u32,
    },
    /// The payload is over the limit, which is 0 for kinds without one.
    PayloadTooLarge {
        /// Its length.
        len: u32,
        /// The limit.
        max: u32,
    },
    /// rkyv refused to write the body.
    Unwritable(access::Unwritable),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyTooLarge { len, max } => {
                write!(f, "the message has {len} bytes: at most {max} fit a frame, ask for less")
            }
            Self::PayloadTooLarge { len, max } => {
                write!(f, "the payload has {len} bytes: at most {max} are allowed here")
            }
            Self::Unwritable(access::Unwritable { cause }) => {
                write!(f, "the message cannot be encoded: {cause}")
            }
        }
    }
}

impl core::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Unwritable(access::Unwritable { cause }) => Some(cause),
            _ => None,
        }
    }
}

/// The fields of a header that the caller of an encoder decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameSpec {
    kind: u16,
    flags: u16,
    payload_len: u32,
    payload_len_max: u32,
    correlation: Correlation,
}

impl FrameSpec {
    pub(crate) const fn request(kind: Kind, correlation: Correlation, payload_len: u32) -> Self {
        let payload_len_max = if kind.request_has_payload() { PAYLOAD_BYTES_MAX } else { 0 };
        Self { kind: kind.number(), flags: 0, payload_len, payload_len_max, correlation }
    }

    pub(crate) const fn response(kind: Kind, correlation: Correlation, payload_len: u32) -> Self {
        let payload_len_max = if kind.response_has_payload() { PAYLOAD_BYTES_MAX } else { 0 };
        let flags = FLAG_RESPONSE;
        Self { kind: kind.number(), flags, payload_len, payload_len_max, correlation }
    }

    pub(crate) const fn error(kind: u16, correlation: Correlation) -> Self {
        let flags = FLAG_RESPONSE | FLAG_ERROR;
        Self { kind, flags, payload_len: 0, payload_len_max: 0, correlation }
    }
}

/// Appends header and body to `out`, which is as before if that fails.
pub(crate) fn encode<T: Body>(
    out: &mut Vec<u8>,
    spec: FrameSpec,
    body: &T,
) -> Result<(), EncodeError> {
    if spec.payload_len > spec.payload_len_max {
        let (len, max) = (spec.payload_len, spec.payload_len_max);
        return Err(EncodeError::PayloadTooLarge { len, max });
    }
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let written = access::write(out, body).map_err(EncodeError::Unwritable);
    let body_start = start + HEADER_BYTES;
    let checked = written.and_then(|()| body_len(out.len() - body_start));
    let body_len = match checked {
        Ok(body_len) => body_len,
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    };
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&HANDSHAKE_VERSION.to_le_bytes());
    header[6..8].copy_from_slice(&spec.kind.to_le_bytes());
    header[8..10].copy_from_slice(&spec.flags.to_le_bytes());
    header[12..16].copy_from_slice(&body_len.to_le_bytes());
    header[16..20].copy_from_slice(&spec.payload_len.to_le_bytes());
    header[24..32].copy_from_slice(&spec.correlation.0.to_le_bytes());
    let crc = checksum(&header, &out[body_start..]);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
    out[start..body_start].copy_from_slice(&header);
    Ok(())
}

fn body_len(len: usize) -> Result<u32, EncodeError> {
    match u32::try_from(len) {
        Ok(body_len) if body_len <= BODY_BYTES_MAX => Ok(body_len),
        _ => Err(EncodeError::BodyTooLarge { len, max: BODY_BYTES_MAX }),
    }
}

/// Less than a header: enough to refuse a peer that speaks another protocol at once.
fn partial<T>(bytes: &[u8]) -> Decoded<T> {
    let magic = MAGIC.to_le_bytes();
    let known = bytes.len().min(magic.len());
    if bytes[..known] == magic[..known] {
        return Decoded::NeedMore { at_least: HEADER_BYTES };
    }
    let mut found = [0; 4];
    found[..known].copy_from_slice(&bytes[..known]);
    Decoded::Bad(FrameError::BadMagic { found: u32::from_le_bytes(found) })
}

/// CRC32C over the header without its checksum field, and the body.
fn checksum(header: &[u8; HEADER_BYTES], body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&header[..20]);
    let crc = crc32c::crc32c_append(crc, &header[24..]);
    crc32c::crc32c_append(crc, body)
}

fn array_at<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn u16_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}
