//! What a consumer hands out: a batch whose records are views of the receive buffer.

use std::ops::Range;

use pyralog_log::batch::{
    ArrowRows, BatchError, BatchHeader, Buffer, Decoder, Flags, Headers, Item, Items, RecordView,
    Rows,
};
use pyralog_log::ids::{Offset, PartitionId, Timestamp};
use pyralog_log::merkle::batch_hash;
use pyralog_seq::scarab::ScarabId;
use pyralog_wire::message::Fetched;

use crate::cursor::Cursor;
use crate::verifying::Received;

/// A batch of records of one partition. It holds a share of the buffer it was received into;
/// cloning it, and reading its records, copies nothing.
#[derive(Clone, Debug)]
pub struct FetchedBatch {
    partition: PartitionId,
    rows: ArrowRows,
    /// The first record that is handed out.
    from: Offset,
    high: Offset,
}

/// One record of a batch, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct FetchedRecord<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its key, or `None` without one; an empty key is a key.
    pub key: Option<&'a [u8]>,
    /// Its value, or `None` for a tombstone; an empty value is a value.
    pub value: Option<&'a [u8]>,
    /// When its producer made it.
    pub create_time: Timestamp,
    /// Its headers, in the producer's order, duplicates included.
    pub headers: Headers<'a>,
    /// Id of the first record of its batch, or zero.
    scarab_base: u64,
    /// Its place in the batch as it was appended.
    index: u64,
}

impl<'a> FetchedRecord<'a> {
    fn new(view: RecordView<'a>, header: &BatchHeader) -> Self {
        let RecordView { offset, key, value, create_time, headers } = view;
        let (scarab_base, index) =
            (header.owner.scarab_base, offset.since(header.owner.base_offset));
        Self { offset, key, value, create_time, headers, scarab_base, index }
    }

    /// Its id, unique in the cluster for good, or `None` if it was appended without: by a server that deals none. Computed
    /// here: a batch carries the id of its first record, and the others are the ticks after it.
    #[must_use]
    pub const fn scarab(&self) -> Option<ScarabId> {
        if self.scarab_base == 0 {
            return None;
        }
        ScarabId::from_raw(self.scarab_base).nth(self.index)
    }
}

impl FetchedBatch {
    /// The batch from the record at `from` on, which it has.
    pub(crate) fn new(
        (partition, from): (PartitionId, Offset),
        rows: ArrowRows,
        high: Offset,
    ) -> Self {
        Self { partition, rows, from, high }
    }

    /// Its partition.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Its header.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        self.rows.header()
    }

    /// The offsets of the records that are handed out: those of the batch without what lies before
    /// the position that reading began at. Compaction may have taken some of the records away, so
    /// count them with [`Self::len`].
    #[must_use]
    pub fn offsets(&self) -> Range<Offset> {
        self.from..self.header().next_offset()
    }

    /// How many records are handed out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.rows().len() - self.skipped()
    }

    /// Whether nothing is handed out: never for a batch that came from a consumer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records that are handed out, in order of offset.
    pub fn records(&self) -> impl Iterator<Item = FetchedRecord<'_>> {
        let header = self.header();
        let views = self.rows.rows().iter().skip(self.skipped());
        views.map(|view| FetchedRecord::new(view, header))
    }

    /// How many records at the start of the batch are not handed out.
    fn skipped(&self) -> usize {
        self.rows.rows().rows_before(self.from)
    }

    /// All rows of the batch, those before the position included.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        self.rows.rows()
    }

    /// The rows as Arrow columns, all of them, sharing the buffer.
    #[must_use]
    pub const fn arrow(&self) -> &ArrowRows {
        &self.rows
    }

    /// When the owner of the partition took the batch.
    #[must_use]
    pub const fn append_time(&self) -> Timestamp {
        self.header().owner.append_time
    }

    /// Bytes of the batch as it is stored and was received.
    #[must_use]
    pub const fn stored_bytes(&self) -> usize {
        self.header().total_len()
    }

    /// The offset after the last committed record of the partition when the batch was fetched.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high
    }
}

/// The batches of a payload, and where it stopped making sense if it did.
pub(crate) struct Opened {
    pub(crate) batches: Vec<FetchedBatch>,
    /// Where the reading begins, if it does so here or has before.
    pub(crate) begins: Option<Offset>,
    /// The first offset that is not readable, and why.
    pub(crate) fault: Option<(Offset, BatchError)>,
}

/// Opens the batches of a payload that `cursor` wants, verifying every checksum. The hash of each that is sound goes to
/// `hashes`, also of those that are not wanted.
pub(crate) fn open(
    partition: PartitionId,
    (fetched, payload): (&Fetched, &Buffer),
    cursor: &Cursor,
    decoder: &mut Decoder,
    mut hashes: Option<&mut Vec<Received>>,
) -> Opened {
    let (mut batches, mut begins) = (Vec::new(), None);
    let mut expected = fetched.first_offset;
    let mut items = Items::new(payload);
    loop {
        let position = items.position();
        let batch = match items.next() {
            None => return Opened { batches, begins, fault: None },
            Some(Ok(Item::Mark(_))) => continue,
            Some(Ok(Item::Batch(batch))) => batch,
            Some(Err(error)) => {
                return Opened { batches, begins, fault: Some((expected, error)) };
            }
        };
        let bytes = payload.slice_with_length(position, batch.bytes().len());
        let opened = batch.verify().and_then(|batch| {
            let header = *batch.header();
            let offsets = (header.owner.base_offset, header.next_offset());
            expected = offsets.1;
            if let Some(hashes) = &mut hashes {
                let hash = batch_hash(batch.bytes()).expect("its header was read, and it is whole");
                hashes.push(Received { offsets: offsets.0..offsets.1, hash });
            }
            if cursor.begins_with(header.max_create_time) {
                begins = begins.or(Some(offsets.0));
            }
            let theirs = header.flags.contains(Flags::CONTROL);
            if theirs || begins.is_none() || !cursor.wants(offsets) {
                return Ok(None);
            }
            let rows = ArrowRows::open(&bytes, decoder)?;
            // Before the oldest offset there is nothing, also if its batch begins there.
            let from = cursor.offset().unwrap_or(fetched.low).max(offsets.0);
            let batch = FetchedBatch::new((partition, from), rows, fetched.high);
            // Compaction may have taken all from the position on.
            Ok((!batch.is_empty()).then_some(batch))
        });
        match opened {
            Ok(batch) => batches.extend(batch),
            Err(error) => {
                let first =
                    batches.last().map_or(fetched.first_offset, |batch| batch.offsets().end);
                return Opened { batches, begins, fault: Some((first, error)) };
            }
        }
    }
}
