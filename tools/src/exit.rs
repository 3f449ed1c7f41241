//! How a command ends: the documented exit codes, and a failure that says what to do about it.
//!
//! Scripts branch on the code, people read the text, so a [`Failure`] carries both, plus an optional
//! hint (the next thing to type). It is made where the cause is known and printed once, in `main`.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The documented exit codes. Their numbers are part of the interface and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything that was asked for happened.
    Ok = 0,
    /// Something failed: a file, a record, an answer of the server that is an error.
    Failure = 1,
    /// The command line or the settings are wrong; nothing was attempted.
    Usage = 2,
    /// No server answered at the given address, or it is not ready to serve.
    Unavailable = 3,
    /// Data that was read back differs from what was written.
    VerificationFailed = 4,
    /// `log get` found no value for the key.
    NoSuchKey = 5,
    /// Stopped by Ctrl-C or a termination signal, as shells count it (128 + SIGINT).
    Interrupted = 130,
}

impl Status {
    /// A stable word for the `--json` form of an error.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::Unavailable => "unavailable",
            Self::VerificationFailed => "verification_failed",
            Self::NoSuchKey => "no_such_key",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Why a command did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    status: Status,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with `status` and a message in one line, without a full stop.
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None }
    }

    /// A failure of the work itself (exit code 1).
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Status::Failure, message)
    }

    /// A mistake in what was asked (exit code 2).
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Status::Usage, message)
    }

    /// A quiet end: the reader of our output went away, as `head` does. Not an error.
    pub(crate) fn output_closed() -> Self {
        Self::new(Status::Ok, "")
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code.
    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// What went wrong, in one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, if there is something to say.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// A failed write to standard output. A closed pipe is a quiet end, not an error.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::output_closed()
        } else {
            Self::failed(format!("cannot write the output: {error}"))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_numbers() {
        let codes = [
            Status::Ok,
            Status::Failure,
            Status::Usage,
            Status::Unavailable,
            Status::VerificationFailed,
            Status::NoSuchKey,
            Status::Interrupted,
        ]
        .map(|status| status as u8);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 130]);
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_success() {
        let closed = Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((closed.status(), closed.message()), (Status::Ok, ""));
        let full = Failure::output(&io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.status(), Status::Failure);
    }
}
