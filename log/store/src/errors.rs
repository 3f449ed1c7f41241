//! What the client of a store says, as an error of the log.

use std::error::Error as _;

use object_store::Error;
use pyralog_log::remote::{Operation, RemoteError, RemoteErrorKind};

use crate::limits::PROBLEM_BYTES_MAX;

/// The error of an operation on a key.
pub(crate) fn error(operation: Operation, key: &str, error: &Error) -> RemoteError {
    let kind = match error {
        Error::NotFound { .. } => RemoteErrorKind::Missing,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => RemoteErrorKind::Denied,
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => RemoteErrorKind::Refused,
        // Connections, time-outs, statuses of an overloaded server, disks: all of these come as one kind.
        _ => RemoteErrorKind::Away,
    };
    RemoteError::new(operation, key, kind, shorten(&told(error)))
}

/// The error and what caused it, each once.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// One line, not too long.
fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= PROBLEM_BYTES_MAX {
        return line;
    }
    let end = (0..=PROBLEM_BYTES_MAX).rev().find(|at| line.is_char_boundary(*at));
    format!("{}…", &line[..end.unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters_and_put_on_one_line() {
        assert_eq!(shorten("<a>\n  <b>"), "<a> <b>");
        let long = shorten(&"é".repeat(PROBLEM_BYTES_MAX));
        assert!(long.len() <= PROBLEM_BYTES_MAX + '…'.len_utf8() && long.ends_with('…'));
    }

    #[test]
    fn only_what_may_mend_itself_is_retryable() {
        let generic = Error::Generic { store: "S3", source: "no route".into() };
        let told = error(Operation::Get, "a/b", &generic);
        assert!(told.is_retryable() && told.to_string().contains("no route"), "{told}");
        let missing = Error::NotFound { path: "a".into(), source: "404".into() };
        assert!(!error(Operation::Get, "a", &missing).is_retryable());
    }
}
