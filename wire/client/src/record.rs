//! A record on its way to a producer.

use pyralog_log::ids::{PartitionId, Timestamp};

/// A record to send, borrowed: its bytes are copied once, into the open batch.
///
/// ```
/// use pyralog_client::Record;
///
/// let headers: [(&str, Option<&[u8]>); 1] = [("trace", Some(b"7f"))];
/// let record = Record::keyed(b"user-17", b"{\"login\":true}").with_headers(&headers);
/// assert_eq!(record.key, Some(&b"user-17"[..]));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Key, or `None` without one.
    pub key: Option<&'a [u8]>,
    /// Value, or `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order; keys may repeat.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// When it was made; `None` is now.
    pub create_time: Option<Timestamp>,
    /// Where it goes; `None` lets the partitioner choose.
    pub partition: Option<PartitionId>,
}

impl<'a> Record<'a> {
    /// A record without a key.
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self { key: None, value: Some(value), headers: &[], create_time: None, partition: None }
    }

    /// A record with a key.
    #[must_use]
    pub const fn keyed(key: &'a [u8], value: &'a [u8]) -> Self {
        Self { key: Some(key), ..Self::new(value) }
    }

    /// A record that says that the key has no value any more.
    #[must_use]
    pub const fn tombstone(key: &'a [u8]) -> Self {
        Self { key: Some(key), value: None, headers: &[], create_time: None, partition: None }
    }

    /// The same with these headers.
    #[must_use]
    pub const fn with_headers(self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Self {
        Self { headers, ..self }
    }

    /// The same, made at this time.
    #[must_use]
    pub const fn created_at(self, time: Timestamp) -> Self {
        Self { create_time: Some(time), ..self }
    }

    /// The same, for this partition whatever the partitioner says.
    #[must_use]
    pub const fn to_partition(self, partition: PartitionId) -> Self {
        Self { partition: Some(partition), ..self }
    }
}
