//! Rewriting a batch without some of its records, as compaction does.

use super::{BatchHeader, BuilderConfig, Record, Rows, RowsBuilder, Session};
use crate::limits::{BATCH_BYTES_MAX, RECORDS_PER_BATCH_MAX};

/// Rewrites batches without some of their records. What stays keeps its offset, its create time, its headers, its sequence
/// number and its id, for they follow from the place in the batch, which a column of deltas remembers.
///
/// ```
/// use pyralog_log::batch::{Batch, BuilderConfig, Decoder, Record, RowsBuilder, Thinner};
///
/// let mut builder = RowsBuilder::new(BuilderConfig::default());
/// for value in [b"old", b"new"] {
///     builder.push(&Record { value: Some(value), ..Record::default() })?;
/// }
/// let bytes = builder.finish(None)?;
/// let batch = Batch::parse(&bytes)?;
/// let mut decoder = Decoder::new();
/// let rows = decoder.rows(&batch)?;
///
/// let mut thinned = Vec::new();
/// assert!(Thinner::default().thin((batch.header(), &rows), |row| row == 1, &mut thinned));
/// let batch = Batch::parse(&thinned)?;
/// assert_eq!((batch.header().record_count, batch.header().removed), (1, 1));
/// let mut decoder = Decoder::new();
/// assert_eq!(decoder.rows(&batch)?.get(0).map(|row| row.offset.get()), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Thinner {
    builder: RowsBuilder,
}

impl Default for Thinner {
    fn default() -> Self {
        Self { builder: RowsBuilder::new(BuilderConfig::default()) }
    }
}

impl Thinner {
    /// Makes the batch with this header and these rows anew, with those rows only that `keep` names by their index: at least
    /// one. It is unsealed: [`super::seal_behind_gap`] gives it its owner back. The codec is the one that it had.
    ///
    /// False if what is left does not fit a batch with the column that it needs beside it; then `out` is to be thrown away.
    pub fn thin(
        &mut self,
        (header, rows): (&BatchHeader, &Rows<'_>),
        keep: impl Fn(usize) -> bool,
        out: &mut Vec<u8>,
    ) -> bool {
        let config = BuilderConfig {
            codec: header.codec,
            batch_bytes_max: BATCH_BYTES_MAX,
            records_max: RECORDS_PER_BATCH_MAX,
            schema_id: header.schema_id,
            flags: header.flags,
        };
        self.builder.thin(config, header.offset_count());
        for index in (0..rows.len()).filter(|index| keep(*index)) {
            let Some(row) = rows.get(index) else { break };
            let headers: Vec<_> = row.headers.iter().collect();
            let (key, value, create_time) = (row.key, row.value, row.create_time);
            let record = Record { key, value, create_time, headers: &headers };
            let Ok(delta) = u32::try_from(rows.offset_delta(index)) else { return false };
            if self.builder.push(&record).is_err() {
                return false;
            }
            self.builder.note_delta(delta);
        }
        let session: Option<Session> = header.session;
        self.builder.finish_into(out, session).is_ok()
    }
}
