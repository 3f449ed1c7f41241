//! Giving a finished batch another session.

use super::header::sign;
use super::{Batch, BatchError, HEADER_BYTES, Session};

/// Writes another session into the unsealed batch that `batch` is, and signs it again: one pass over
/// the body.
///
/// For a producer whose session the server has forgotten, and only for a batch that was certainly
/// not appended: the log would not know the second copy as a duplicate.
///
/// ```
/// use pyralog_log::batch::{Batch, BuilderConfig, Record, RowsBuilder, Session, restamp};
/// use pyralog_log::ids::SessionId;
///
/// let mut builder = RowsBuilder::new(BuilderConfig::default());
/// builder.push(&Record { value: Some(b"hello"), ..Record::default() })?;
/// let old = Session { id: SessionId::new(1), epoch: 0, first_sequence: 41 };
/// let mut batch = builder.finish(Some(old))?;
/// let new = Session { id: SessionId::new(2), epoch: 0, first_sequence: 0 };
/// restamp(&mut batch, new)?;
/// assert_eq!(Batch::parse(&batch)?.verify_unsealed()?.header().session, Some(new));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What makes the bytes no batch; [`BatchError::Sessionless`] or [`BatchError::Overflow`] if the
/// session cannot be. They are as before then.
pub fn restamp(batch: &mut [u8], session: Session) -> Result<(), BatchError> {
    let mut header = *Batch::parse(batch)?.header();
    header.session = Some(session);
    header.check_producer()?;
    let body_end = HEADER_BYTES + header.body_len as usize;
    header.write(line_of(batch));
    sign(&mut batch[..body_end]);
    Ok(())
}

/// The header of a batch, to be written.
fn line_of(batch: &mut [u8]) -> &mut [u8; HEADER_BYTES] {
    batch.first_chunk_mut().expect("it was parsed, so it has a header")
}
