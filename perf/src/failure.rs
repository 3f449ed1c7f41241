//! Why a benchmark did not happen, by what the caller can do about it.

use std::fmt;

/// How a command of the benchmark fails. The command line turns it into an exit code.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The scenario or the flags are wrong; nothing was attempted.
    Usage(String),
    /// No server answered.
    Unavailable(String),
    /// It was stopped by a signal.
    Interrupted,
    /// Anything else.
    Failed(anyhow::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Unavailable(message) => f.write_str(message),
            Self::Interrupted => f.write_str("interrupted; everything is cleaned up"),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}
