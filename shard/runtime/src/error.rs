//! The error of files and sockets: what failed, where, and which kind of thing to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What kind of failure it was, for those who decide by it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum IoErrorKind {
    /// No such file, directory or address.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// The process may not do this.
    PermissionDenied,
    /// The device or the quota is full.
    NoSpace,
    /// The file would pass the limit of the process or of the file system.
    FileTooLarge,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The device failed to read or write: its content is unknown.
    Device,
    /// The process or the system has no descriptor left.
    TooManyFiles,
    /// No memory for the request.
    OutOfMemory,
    /// Another process holds the lock.
    Locked,
    /// The address is taken by another socket.
    AddressInUse,
    /// The address is not one of this machine.
    AddressNotAvailable,
    /// The peer refused the connection.
    ConnectionRefused,
    /// The peer ended the connection without order, or it was gone before it was accepted.
    ConnectionReset,
    /// The deadline passed.
    TimedOut,
    /// The content is larger than the caller's maximum.
    TooLarge,
    /// The data ended before what was asked for.
    UnexpectedEnd,
    /// The request itself makes no sense (a path with a zero byte, an empty address).
    InvalidInput,
    /// Anything else; the source tells.
    Other,
}

/// A failed operation on a file or socket.
#[derive(Debug)]
pub struct IoError {
    kind: IoErrorKind,
    operation: &'static str,
    path: Option<PathBuf>,
    source: io::Error,
}

impl IoError {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> IoErrorKind {
        self.kind
    }

    /// What was tried: a verb.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The file it was tried on, if it was one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Makes an error of `source`, classified by its number.
    #[must_use]
    pub fn new(operation: &'static str, path: Option<&Path>, source: io::Error) -> Self {
        let kind = classify(&source);
        Self { kind, operation, path: path.map(Path::to_owned), source }
    }

    /// Same, with a kind of our own.
    pub(crate) fn with_kind(
        kind: IoErrorKind,
        operation: &'static str,
        path: Option<&Path>,
        text: &str,
    ) -> Self {
        let source = io::Error::other(text.to_owned());
        Self { kind, operation, path: path.map(Path::to_owned), source }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => {
                write!(f, "cannot {} {}: {}", self.operation, path.display(), self.source)
            }
            None => write!(f, "cannot {}: {}", self.operation, self.source),
        }
    }
}

impl std::error::Error for IoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The kind that belongs to an operating system error.
fn classify(error: &io::Error) -> IoErrorKind {
    use IoErrorKind as Kind;
    match error.kind() {
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => Kind::AlreadyExists,
        io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
        io::ErrorKind::FileTooLarge => Kind::FileTooLarge,
        io::ErrorKind::ReadOnlyFilesystem => Kind::ReadOnly,
        io::ErrorKind::OutOfMemory => Kind::OutOfMemory,
        io::ErrorKind::WouldBlock => Kind::Locked,
        io::ErrorKind::AddrInUse => Kind::AddressInUse,
        io::ErrorKind::AddrNotAvailable => Kind::AddressNotAvailable,
        io::ErrorKind::ConnectionRefused => Kind::ConnectionRefused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected
        | io::ErrorKind::BrokenPipe => Kind::ConnectionReset,
        io::ErrorKind::TimedOut => Kind::TimedOut,
        io::ErrorKind::UnexpectedEof => Kind::UnexpectedEnd,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => Kind::InvalidInput,
        _ => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::IO) => Kind::Device,
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Kind::TooManyFiles,
            _ => Kind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_that_decides_something_has_its_kind() {
        use rustix::io::Errno;
        for (errno, kind) in [
            (Errno::NOSPC, IoErrorKind::NoSpace),
            (Errno::DQUOT, IoErrorKind::NoSpace),
            (Errno::FBIG, IoErrorKind::FileTooLarge),
            (Errno::ROFS, IoErrorKind::ReadOnly),
            (Errno::IO, IoErrorKind::Device),
            (Errno::NOENT, IoErrorKind::NotFound),
            (Errno::EXIST, IoErrorKind::AlreadyExists),
            (Errno::ACCESS, IoErrorKind::PermissionDenied),
            (Errno::MFILE, IoErrorKind::TooManyFiles),
            (Errno::NFILE, IoErrorKind::TooManyFiles),
            (Errno::NOMEM, IoErrorKind::OutOfMemory),
            (Errno::PIPE, IoErrorKind::ConnectionReset),
            (Errno::ADDRINUSE, IoErrorKind::AddressInUse),
            (Errno::NOTTY, IoErrorKind::Other),
        ] {
            let error = IoError::new("test", None, io::Error::from(errno));
            assert_eq!(error.kind(), kind, "{errno}");
        }
    }

    #[test]
    fn message_names_operation_path_and_cause() {
        let source = io::Error::from(rustix::io::Errno::NOSPC);
        let error = IoError::new("write", Some(Path::new("/d/f")), source);
        assert!(error.to_string().starts_with("cannot write /d/f: No space left"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}
