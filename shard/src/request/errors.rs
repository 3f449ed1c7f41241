//! What the log says, in the words of the protocol.

use pyralog_log::partition::{AppendError, ReadError};
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply};

use crate::catalog::Refusal;
use crate::request::busy;

/// Why an append was refused or failed.
pub(crate) fn append_error(error: &AppendError) -> ErrorReply {
    let reply = |code| ErrorReply::new(code, error.to_string());
    match error {
        AppendError::Invalid(_) | AppendError::Empty | AppendError::PartlyDuplicate => {
            reply(ErrorCode::InvalidBatch)
        }
        AppendError::TooLarge { .. } | AppendError::TooManyRecords { .. } => {
            reply(ErrorCode::BatchTooLarge)
        }
        AppendError::Unsupported { .. } => reply(ErrorCode::DurabilityUnavailable),
        AppendError::SequenceGap { expected } => reply(ErrorCode::SequenceGap)
            .with_detail(ErrorDetail::SequenceGap { expected: *expected }),
        AppendError::UnknownSession => reply(ErrorCode::UnknownSession),
        AppendError::SessionFenced { .. } => reply(ErrorCode::SessionFenced),
        AppendError::DuplicateTooOld { .. } => reply(ErrorCode::DuplicateTooOld),
        AppendError::Busy => busy("the partition's buffers are full"),
        AppendError::NoSpace(_) => reply(ErrorCode::NoSpace),
        AppendError::Poisoned(_) => reply(ErrorCode::StorageFailed),
        AppendError::Closed => ErrorCode::ShuttingDown.into(),
        _ => reply(ErrorCode::Internal),
    }
}

/// Why records could not be read.
pub(crate) fn read_error(error: &ReadError) -> ErrorReply {
    match error {
        ReadError::OutOfRange { low, high } => ErrorReply::new(
            ErrorCode::OffsetOutOfRange,
            format!("the partition has the offsets {low} to {high} (the next to come)"),
        )
        .with_detail(ErrorDetail::OffsetOutOfRange { low: *low, high: *high }),
        ReadError::Damaged { offsets } => ErrorReply::new(
            ErrorCode::DataDamaged,
            format!(
                "the records {} to {} are damaged on disk: fetch from {} on, or restore a copy",
                offsets.start, offsets.end, offsets.end
            ),
        )
        .with_detail(ErrorDetail::DataDamaged { first: offsets.start, next: offsets.end }),
        ReadError::Closed => ErrorCode::ShuttingDown.into(),
        ReadError::NoKeyIndex => ErrorCode::KeysNotIndexed.into(),
        _ => ErrorReply::new(ErrorCode::ReadFailed, error.to_string()),
    }
}

/// Why a change of the catalog was refused.
pub(crate) fn refusal(refusal: &Refusal) -> ErrorReply {
    let code = match refusal {
        Refusal::Name(_) => ErrorCode::InvalidName,
        Refusal::Config(_) | Refusal::Fixed { .. } => ErrorCode::InvalidConfig,
        Refusal::NameTaken { .. } => ErrorCode::LogExists,
        Refusal::UnknownLog { .. } => ErrorCode::UnknownLog,
        Refusal::TooManyLogs | Refusal::TooManyPartitions { .. } => ErrorCode::TooManyLogs,
    };
    ErrorReply::new(code, refusal.to_string())
}

/// No log has this name.
pub(crate) fn unknown_log(name: &str) -> ErrorReply {
    ErrorReply::new(
        ErrorCode::UnknownLog,
        format!("there is no log {name}: create it, or list the logs"),
    )
}
