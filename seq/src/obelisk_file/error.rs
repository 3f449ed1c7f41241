//! What can go wrong with the file of an obelisk, by what is known of it afterwards.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use pyralog_runtime::{IoError, Panicked};

use crate::limits::NAME_BYTES_MAX;

/// Why an obelisk could not be opened or extended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ObeliskError {
    /// No name for a counter.
    BadName {
        /// The name.
        name: String,
    },
    /// Somebody else has it open, here or in another process.
    AlreadyOpen {
        /// Its directory.
        directory: PathBuf,
    },
    /// Its file says less than it once did: an old copy, or one without its length. To go on would deal numbers again.
    /// The way out is to raise it above every number that was ever dealt.
    CameBackShorter {
        /// Its directory.
        directory: PathBuf,
        /// What the file says.
        found: u64,
        /// What it once said.
        at_least: u64,
    },
    /// Its sidecar is gone or damaged, so nobody can tell whether the file says what it did. The way out is the same.
    Unattested {
        /// Its directory.
        directory: PathBuf,
    },
    /// A later version of this program has written its sidecar.
    Newer {
        /// Its directory.
        directory: PathBuf,
        /// The version of the sidecar.
        version: u16,
    },
    /// There is none: its creation was cut short, or never begun.
    NotMade {
        /// Its directory.
        directory: PathBuf,
    },
    /// The numbers of 64 bits are used up.
    Exhausted,
    /// The system said no: a full disk, a limit. Nothing has changed, and it may be tried again.
    Refused(IoError),
    /// It could not be opened.
    Unopened(IoError),
    /// It is longer, but perhaps not durably. From now on it is poisoned.
    Unsynced(IoError),
    /// The call that extends it has come to no end. From now on it is poisoned.
    Broken(Panicked),
    /// An earlier extension has failed or was abandoned, so that it is unknown what is durable. Open it again.
    Poisoned,
}

impl ObeliskError {
    /// Whether nothing has changed and the same may be tried again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl fmt::Display for ObeliskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName { name } => write!(
                f,
                "{name:?} is no name of a counter: 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, '.', '_' and '-', not \
                 beginning with '.'"
            ),
            Self::AlreadyOpen { directory } => {
                write!(f, "somebody else has {} open", directory.display())
            }
            Self::CameBackShorter { directory, found, at_least } => write!(
                f,
                "{} is at {found} and was at {at_least} before: numbers would be dealt twice. Raise it above every \
                 number that was ever dealt",
                directory.display()
            ),
            Self::Unattested { directory } => write!(
                f,
                "the sidecar of {} is gone or damaged: numbers might be dealt twice. Raise it above every number that \
                 was ever dealt",
                directory.display()
            ),
            Self::Newer { directory, version } => write!(
                f,
                "the sidecar of {} is of version {version}, which this program does not know",
                directory.display()
            ),
            Self::NotMade { directory } => {
                write!(f, "{} holds no counter: its creation was cut short", directory.display())
            }
            Self::Exhausted => f.write_str("the numbers of 64 bits are used up"),
            Self::Refused(error) => write!(f, "{error}; nothing has changed"),
            Self::Unopened(error) => error.fmt(f),
            Self::Unsynced(error) => write!(f, "{error}; what is durable is unknown"),
            Self::Broken(panicked) => write!(f, "{panicked}; what is durable is unknown"),
            Self::Poisoned => {
                f.write_str("an earlier extension has failed: what is durable is unknown")
            }
        }
    }
}

impl Error for ObeliskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(error) | Self::Unopened(error) | Self::Unsynced(error) => Some(error),
            Self::Broken(panicked) => Some(panicked),
            _ => None,
        }
    }
}
