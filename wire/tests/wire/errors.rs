//! Error codes and replies.

use pyralog_log::ids::Offset;
use pyralog_wire::frame::FrameError;
use pyralog_wire::limits::MESSAGE_BYTES_MAX;
use pyralog_wire::{ErrorCode, ErrorDetail, ErrorReply, Retry};

#[test]
fn every_code_has_a_number_of_its_own_a_text_and_comes_back() {
    let mut last = 0;
    for &code in ErrorCode::ALL {
        assert!(code.number() > last, "{code} is in order and unique");
        last = code.number();
        assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        let reply = ErrorReply::from(code);
        assert!(reply.message.len() > 20, "{code} says what to do");
        assert!(reply.is(code) && reply.code() == Some(code));
        assert_eq!(reply.retry, code.retryability());
    }
    assert_eq!(ErrorCode::from_number(0), None);
    assert_eq!(ErrorCode::from_number(u16::MAX), None);
}

#[test]
fn retry_numbers_come_back_and_unknown_ones_are_careful() {
    for retry in Retry::ALL {
        assert_eq!(Retry::from_number(retry.number()), retry);
    }
    for number in 5..=255 {
        assert_eq!(Retry::from_number(number), Retry::UnknownOutcome);
    }
    assert!(!Retry::Never.is_retryable() && Retry::UnknownOutcome.is_retryable());
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let reply = ErrorReply::new(ErrorCode::Internal, "é".repeat(MESSAGE_BYTES_MAX));
    assert_eq!(reply.message.len(), MESSAGE_BYTES_MAX);
    let reply = ErrorReply::new(ErrorCode::Internal, format!("x{}", "é".repeat(600)));
    assert_eq!(reply.message.len(), MESSAGE_BYTES_MAX - 1);
    assert!(!ErrorReply::new(ErrorCode::Busy, "").message.is_empty());
}

#[test]
#[should_panic(expected = "cannot carry")]
fn a_detail_of_another_code_is_a_bug() {
    drop(ErrorReply::from(ErrorCode::Busy).with_detail(ErrorDetail::NotOwner { shard: 1 }));
}

#[test]
fn an_error_prints_its_text_name_and_number() {
    let (low, high) = (Offset::new(10), Offset::new(20));
    let reply = ErrorReply::new(ErrorCode::OffsetOutOfRange, "offset 30 is outside 10 to 20")
        .with_detail(ErrorDetail::OffsetOutOfRange { low, high });
    assert_eq!(reply.to_string(), "offset 30 is outside 10 to 20 (OffsetOutOfRange, 304)");
}

#[test]
fn frame_errors_become_replies_that_close() {
    let errors = [
        FrameError::BadMagic { found: 0 },
        FrameError::UnsupportedVersion { found: 9, min: 1, max: 1 },
        FrameError::BadFlags { flags: 4, reserved: 0 },
        FrameError::BodyTooLarge { len: 9, max: 1 },
        FrameError::PayloadTooLarge { len: 9, max: 1 },
        FrameError::BadChecksum { stored: 1, computed: 2 },
    ];
    for error in errors {
        let reply = ErrorReply::from(error);
        assert!(reply.code().unwrap().closes(), "{error:?}");
        assert_eq!(reply.message, error.to_string());
    }
}
