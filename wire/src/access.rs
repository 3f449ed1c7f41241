//! From bytes to a checked view of a body, and from a value to bytes: the only place that calls
//! rkyv.
//!
//! `access` walks the body once (`bytecheck`: tags, UTF-8, pointers inside the body and not
//! overlapping), after which the view is read in place. The workspace's features make archived
//! types unaligned and little-endian, so a body is read wherever it lies in a receive buffer.

use core::fmt;

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator, to_bytes_in};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::{Archive, Deserialize, Portable, Serialize};

use crate::kind::Kind;

/// Serializer of bodies: appends to a vector.
type BodySerializer<'v, 'a> = HighSerializer<&'v mut Vec<u8>, ArenaHandle<'a>, rancor::Error>;

/// A body that is no valid archive of the message its frame's kind calls for.
#[derive(Debug)]
pub struct MalformedBody {
    /// The kind that the header named.
    pub kind: u16,
    /// What `bytecheck` found.
    pub cause: rancor::Error,
}

impl fmt::Display for MalformedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Kind::from_number(self.kind) {
            Some(kind) => write!(f, "the body is no {kind} message: {}", self.cause),
            None => write!(f, "the body is no error reply: {}", self.cause),
        }
    }
}

impl core::error::Error for MalformedBody {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// A body that an encoder could not write.
#[derive(Debug)]
pub struct Unwritable {
    /// What rkyv said; it has no reason to say anything for bodies below the limit.
    pub cause: rancor::Error,
}

/// What can be the body of a frame. Implemented by the structs in [`crate::message`].
pub trait Body:
    Archive<Archived: ArchivedBody<Self>> + for<'v, 'a> Serialize<BodySerializer<'v, 'a>> + Sized
{
}

impl<T> Body for T where
    T: Archive<Archived: ArchivedBody<T>> + for<'v, 'a> Serialize<BodySerializer<'v, 'a>>
{
}

/// The form of a body that is read in place.
pub trait ArchivedBody<T>:
    Portable
    + for<'b> CheckBytes<HighValidator<'b, rancor::Error>>
    + Deserialize<T, HighDeserializer<rancor::Error>>
{
}

impl<T, A> ArchivedBody<T> for A where
    A: Portable
        + for<'b> CheckBytes<HighValidator<'b, rancor::Error>>
        + Deserialize<T, HighDeserializer<rancor::Error>>
{
}

/// The archived view of a body, checked once; borrows the receive buffer.
///
/// # Errors
/// If the bytes are no archive of a `T`.
pub fn view<T: Body>(kind: u16, body: &[u8]) -> Result<&T::Archived, MalformedBody> {
    rkyv::access::<T::Archived, rancor::Error>(body).map_err(|cause| MalformedBody { kind, cause })
}

/// The message itself: the view, lifted into typed fields. Allocates for strings and lists only, so
/// not for the messages of appends and fetches.
///
/// # Errors
/// If the bytes are no archive of a `T`, or a field holds a number that stands for nothing.
pub fn read<T: Body>(kind: u16, body: &[u8]) -> Result<T, MalformedBody> {
    rkyv::deserialize::<T, rancor::Error>(view::<T>(kind, body)?)
        .map_err(|cause| MalformedBody { kind, cause })
}

/// Appends the archive of `value` to `out`.
pub(crate) fn write<T: Body>(out: &mut Vec<u8>, value: &T) -> Result<(), Unwritable> {
    to_bytes_in::<_, rancor::Error>(value, out).map(|_| ()).map_err(|cause| Unwritable { cause })
}
