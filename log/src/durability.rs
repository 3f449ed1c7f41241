//! What an acknowledgement promises about a record.

use std::fmt;
use std::str::FromStr;

/// Where a record is when its append is acknowledged, from weakest to strongest.
///
/// The numbers are part of formats and protocols and are never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Durability {
    /// In the memory of the replicas: lost with their processes.
    Memory = 0,
    /// Written to the replicas' files: survives their processes, not a power cut.
    Written = 1,
    /// On stable storage of the replicas: survives a power cut.
    #[default]
    Synced = 2,
}

impl Durability {
    /// All levels, weakest first.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Written, Self::Synced];

    /// The name used in settings, output and [`FromStr`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Written => "written",
            Self::Synced => "synced",
        }
    }

    /// The number used in formats.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The level of a number used in formats, or `None` if no level has it.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Memory),
            1 => Some(Self::Written),
            2 => Some(Self::Synced),
            _ => None,
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(name: &str) -> Result<Self, UnknownDurability> {
        Self::ALL.into_iter().find(|level| level.name() == name).ok_or(UnknownDurability)
    }
}

/// The text names no durability level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownDurability;

impl fmt::Display for UnknownDurability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("durability is one of `memory`, `written`, `synced`")
    }
}

impl std::error::Error for UnknownDurability {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_round_trip_and_order_is_strength() {
        for level in Durability::ALL {
            assert_eq!(level.name().parse(), Ok(level));
            assert_eq!(Durability::from_code(level.code()), Some(level));
        }
        assert!(Durability::ALL.is_sorted());
        assert_eq!(Durability::default(), Durability::Synced);
    }

    #[test]
    fn unknown_names_and_codes_are_refused() {
        assert_eq!("Synced".parse::<Durability>(), Err(UnknownDurability));
        assert_eq!(Durability::from_code(3), None);
    }
}
