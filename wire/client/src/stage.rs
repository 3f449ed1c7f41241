//! A batch from its records to the bytes that are sent: built once, stamped when it is first sent,
//! and byte for byte the same in every attempt of a session.
//!
//! The invariant that matters: an attempt may still be on its way by a connection that is given up,
//! so bytes that somebody else holds are never written to. A new stamp goes into a copy then.

use std::sync::Arc;

use pyralog_log::batch::{Session, restamp};

/// Where a batch is on that way. `B` is whatever becomes the bytes: an open builder.
#[derive(Debug)]
pub enum Stage<B> {
    /// Not sent yet.
    Built(B),
    /// Its bytes, as they were sent.
    Stamped(Arc<Vec<u8>>),
    /// In between, within [`Stage::bytes`] only.
    Nothing,
}

impl<B> Stage<B> {
    /// The bytes to send, as `dispatch` demands: `stamp` is that of the command. `finish` makes the
    /// bytes of a batch that is sent for the first time.
    ///
    /// # Panics
    /// If a batch is sent for the first time without a stamp: the machine never says so.
    pub fn bytes(
        &mut self,
        stamp: Option<Session>,
        finish: impl FnOnce(B, Session) -> Vec<u8>,
    ) -> Arc<Vec<u8>> {
        let bytes = match (std::mem::replace(self, Self::Nothing), stamp) {
            (Self::Built(builder), Some(session)) => Arc::new(finish(builder, session)),
            (Self::Stamped(mut bytes), Some(session)) => {
                let stamped = restamp(Arc::make_mut(&mut bytes).as_mut_slice(), session);
                stamped.expect("a batch that was finished can be stamped");
                bytes
            }
            (Self::Stamped(bytes), None) => bytes,
            (Self::Built(_) | Self::Nothing, _) => {
                unreachable!("the machine stamps a batch when it first sends it")
            }
        };
        *self = Self::Stamped(Arc::clone(&bytes));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyralog_log::batch::{Batch, BuilderConfig, Record, RowsBuilder};
    use pyralog_log::ids::SessionId;

    fn session(id: u64) -> Session {
        Session { id: SessionId::new(id), epoch: 0, first_sequence: 0 }
    }

    fn built() -> Stage<RowsBuilder> {
        let mut builder = RowsBuilder::new(BuilderConfig::default());
        builder.push(&Record { value: Some(b"hello"), ..Record::default() }).unwrap();
        Stage::Built(builder)
    }

    fn finish(mut builder: RowsBuilder, session: Session) -> Vec<u8> {
        builder.finish(Some(session)).unwrap()
    }

    fn session_of(bytes: &[u8]) -> Option<Session> {
        Batch::parse(bytes).unwrap().verify_unsealed().unwrap().header().session
    }

    #[test]
    fn attempts_of_one_session_are_the_same_bytes() {
        let mut stage = built();
        let first = stage.bytes(Some(session(1)), finish);
        let second = stage.bytes(None, finish);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(session_of(&first), Some(session(1)));
    }

    #[test]
    fn bytes_on_their_way_keep_their_stamp() {
        let mut stage = built();
        let flying = stage.bytes(Some(session(1)), finish);
        let again = stage.bytes(Some(session(2)), finish);
        assert_eq!(session_of(&flying), Some(session(1)));
        assert_eq!(session_of(&again), Some(session(2)));
    }
}
