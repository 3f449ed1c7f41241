//! What a log may be called.
//!
//! 1 to 249 of `A-Z a-z 0-9 . _ -`, not beginning with `.` (hidden files, `..`) nor with `_`, which
//! is kept for logs of the system. The same set as Kafka's topics, so that names pass the gateway.

use core::fmt;

use crate::limits::NAME_BYTES_MAX;

/// Why a name cannot be a log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// No character at all.
    Empty,
    /// Over [`NAME_BYTES_MAX`].
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Begins with `.`, or with `_` although no log of the system is meant.
    ReservedStart {
        /// The first character.
        start: char,
    },
    /// Holds a character outside the set.
    Character {
        /// The first such character.
        character: char,
        /// Where it begins, in bytes.
        at: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the name is empty: give 1 to {NAME_BYTES_MAX} characters"),
            Self::TooLong { bytes } => {
                write!(f, "the name has {bytes} bytes: at most {NAME_BYTES_MAX} are allowed")
            }
            Self::ReservedStart { start } => {
                write!(f, "the name begins with '{start}': begin with a letter, a digit or '-'")
            }
            Self::Character { character, at } => write!(
                f,
                "the name holds {character:?} at byte {at}: use A-Z, a-z, 0-9, '.', '_' and '-'"
            ),
        }
    }
}

impl core::error::Error for NameError {}

/// Whether a user may call a log so.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check(name: &str) -> Result<(), NameError> {
    match name.chars().next() {
        None => Err(NameError::Empty),
        Some(start @ ('.' | '_')) => Err(NameError::ReservedStart { start }),
        Some(_) => check_part(name),
    }
}

/// Whether a name may be asked about: also those of the system's own logs.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_existing(name: &str) -> Result<(), NameError> {
    match name.chars().next() {
        None => Err(NameError::Empty),
        Some(start @ '.') => Err(NameError::ReservedStart { start }),
        Some(_) => check_part(name),
    }
}

/// Whether a text may be a part of a name: its length and characters. Empty is allowed.
///
/// # Errors
/// The first rule that the text breaks.
pub fn check_part(part: &str) -> Result<(), NameError> {
    if part.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: part.len() });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match part.char_indices().find(|&(_, c)| !allowed(c)) {
        Some((at, character)) => Err(NameError::Character { character, at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_documented_set_are_taken() {
        for name in ["a", "access-log", "A.b_c-9", "-x", "0", &"n".repeat(249)] {
            assert_eq!(check(name), Ok(()), "{name}");
            assert_eq!(check_existing(name), Ok(()), "{name}");
        }
        assert_eq!(check_existing("_catalog"), Ok(()));
        assert_eq!(check_part(""), Ok(()));
    }

    #[test]
    fn each_rule_refuses_and_says_which() {
        assert_eq!(check(""), Err(NameError::Empty));
        assert_eq!(check(&"n".repeat(250)), Err(NameError::TooLong { bytes: 250 }));
        assert_eq!(check("."), Err(NameError::ReservedStart { start: '.' }));
        assert_eq!(check(".."), Err(NameError::ReservedStart { start: '.' }));
        assert_eq!(check("_catalog"), Err(NameError::ReservedStart { start: '_' }));
        assert_eq!(check_existing(".x"), Err(NameError::ReservedStart { start: '.' }));
        assert_eq!(check("a/b"), Err(NameError::Character { character: '/', at: 1 }));
        assert_eq!(check("aé"), Err(NameError::Character { character: 'é', at: 1 }));
        assert_eq!(check("a\0"), Err(NameError::Character { character: '\0', at: 1 }));
        let text = check("a b").unwrap_err().to_string();
        assert_eq!(text, "the name holds ' ' at byte 1: use A-Z, a-z, 0-9, '.', '_' and '-'");
    }
}
