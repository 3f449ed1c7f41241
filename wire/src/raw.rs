//! How typed fields lie on the wire: adaptors that archive newtypes and enums as plain integers.
//!
//! Identifiers become their little-endian integer; a durability becomes its number. So a body is a
//! packed row of integers that other languages can read, while our structs keep their types.

use core::fmt;

use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Offset, PartitionId, Timestamp};
use rkyv::primitive::{ArchivedI64, ArchivedU32, ArchivedU64};
use rkyv::rancor::{Fallible, Source, fail};
use rkyv::with::{ArchiveWith, DeserializeWith, SerializeWith};
use rkyv::{Archive, Place};

/// Archives an identifier, position or time as the integer inside.
pub(crate) struct Plain;

macro_rules! plain {
    ($($type:ty => $native:ty, $archived:ty;)+) => {$(
        impl ArchiveWith<$type> for Plain {
            type Archived = $archived;
            type Resolver = ();

            fn resolve_with(field: &$type, (): (), out: Place<$archived>) {
                <$native as Archive>::resolve(&field.get(), (), out);
            }
        }

        impl<S: Fallible + ?Sized> SerializeWith<$type, S> for Plain {
            fn serialize_with(_: &$type, _: &mut S) -> Result<(), S::Error> {
                Ok(())
            }
        }

        impl<D: Fallible + ?Sized> DeserializeWith<$archived, $type, D> for Plain {
            fn deserialize_with(field: &$archived, _: &mut D) -> Result<$type, D::Error> {
                Ok(<$type>::new(field.to_native()))
            }
        }
    )+};
}

plain! {
    LogId => u64, ArchivedU64;
    PartitionId => u32, ArchivedU32;
    Offset => u64, ArchivedU64;
    Timestamp => i64, ArchivedI64;
}

/// Archives a durability as its number, 0 to 2.
pub(crate) struct Level;

/// Archives an optional durability as its number; [`NO_LEVEL`] is `None`.
pub(crate) struct OptionalLevel;

/// The number of "as the log is configured".
pub(crate) const NO_LEVEL: u8 = 255;

/// A number that names no durability.
#[derive(Debug)]
pub(crate) struct UnknownLevel {
    number: u8,
}

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        write!(f, "durability {number} is unknown: 0 memory, 1 written, 2 synced")
    }
}

impl core::error::Error for UnknownLevel {}

/// The durability that a number stands for.
fn level(number: u8) -> Result<Durability, UnknownLevel> {
    Durability::from_code(number).ok_or(UnknownLevel { number })
}

impl ArchiveWith<Durability> for Level {
    type Archived = u8;
    type Resolver = ();

    fn resolve_with(field: &Durability, (): (), out: Place<u8>) {
        out.write(field.code());
    }
}

impl<S: Fallible + ?Sized> SerializeWith<Durability, S> for Level {
    fn serialize_with(_: &Durability, _: &mut S) -> Result<(), S::Error> {
        Ok(())
    }
}

impl<D: Fallible<Error: Source> + ?Sized> DeserializeWith<u8, Durability, D> for Level {
    fn deserialize_with(field: &u8, _: &mut D) -> Result<Durability, D::Error> {
        match level(*field) {
            Ok(level) => Ok(level),
            Err(unknown) => fail!(unknown),
        }
    }
}

impl ArchiveWith<Option<Durability>> for OptionalLevel {
    type Archived = u8;
    type Resolver = ();

    fn resolve_with(field: &Option<Durability>, (): (), out: Place<u8>) {
        out.write(field.map_or(NO_LEVEL, Durability::code));
    }
}

impl<S: Fallible + ?Sized> SerializeWith<Option<Durability>, S> for OptionalLevel {
    fn serialize_with(_: &Option<Durability>, _: &mut S) -> Result<(), S::Error> {
        Ok(())
    }
}

impl<D: Fallible<Error: Source> + ?Sized> DeserializeWith<u8, Option<Durability>, D>
    for OptionalLevel
{
    fn deserialize_with(field: &u8, _: &mut D) -> Result<Option<Durability>, D::Error> {
        match *field {
            NO_LEVEL => Ok(None),
            number => match level(number) {
                Ok(level) => Ok(Some(level)),
                Err(unknown) => fail!(unknown),
            },
        }
    }
}
