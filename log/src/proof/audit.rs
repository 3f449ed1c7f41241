//! What an auditor remembers of each batch, and how it names what has changed.
//!
//! A batch is remembered by its leaf, which finds any change, and by a digest of its records that does not depend on their
//! order, which tells a change of order from a change of content. The digest is a sum of hashes: good enough to name a
//! difference that the leaf has found, and trusted for nothing else.

use std::ops::Range;

use crate::batch::{Batch, BatchError, BodyKind, Decoder};
use crate::ids::Offset;
use crate::merkle::{Hash, NODE_BYTES, Node, leaf};

/// Bytes of an [`Entry`] in a file.
pub const ENTRY_BYTES: usize = NODE_BYTES + 16;

/// What is remembered of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its leaf in the tree.
    pub leaf: Node,
    /// The sum of the hashes of its records; `None` if only the leaf is known.
    pub digest: Option<u128>,
}

impl Entry {
    /// What is to be remembered of a batch, sealed and sound.
    ///
    /// # Errors
    /// If its body cannot be opened.
    pub fn of(batch: &Batch<'_>, decoder: &mut Decoder) -> Result<Self, BatchError> {
        let header = batch.header();
        let content = &batch.bytes()[..crate::batch::HEADER_BYTES + header.body_len as usize];
        let hash = Hash::new(*blake3::hash(content).as_bytes());
        let records = header.next_offset().since(header.owner.base_offset);
        let digest = match header.body_kind {
            BodyKind::Rows => {
                let rows = decoder.rows(batch)?;
                rows.iter().map(|row| record_hash(&row)).fold(0, u128::wrapping_add)
            }
            BodyKind::Arrow => short(blake3::hash(batch.stored_body())),
        };
        Ok(Self { leaf: leaf(hash, records), digest: Some(digest) })
    }

    /// As kept in a file.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..NODE_BYTES].copy_from_slice(&self.leaf.encode());
        bytes[NODE_BYTES..].copy_from_slice(&self.digest.unwrap_or_default().to_le_bytes());
        bytes
    }

    /// Reads what [`Entry::encode`] wrote.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let (mut node, mut digest) = ([0; NODE_BYTES], [0; 16]);
        node.copy_from_slice(&bytes[..NODE_BYTES]);
        digest.copy_from_slice(&bytes[NODE_BYTES..]);
        Self { leaf: Node::decode(&node), digest: Some(u128::from_le_bytes(digest)) }
    }
}

/// A hash of what a producer said: key, value, time and headers, each with its length.
fn record_hash(row: &crate::batch::RecordView<'_>) -> u128 {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: Option<&[u8]>| {
        let len = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        hasher.update(&len.to_le_bytes()).update(bytes.unwrap_or_default());
    };
    part(row.key);
    part(row.value);
    part(Some(&row.create_time.get().to_le_bytes()));
    for (key, value) in row.headers.iter() {
        part(Some(key.as_bytes()));
        part(value);
    }
    short(hasher.finalize())
}

/// The first half of a hash, as a number.
fn short(hash: blake3::Hash) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

/// What happened to records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Their bytes are others.
    Altered,
    /// They are not there any more.
    Dropped,
    /// They are there, in another order.
    Reordered,
}

impl Change {
    /// The word of reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Dropped => "dropped",
            Self::Reordered => "reordered",
        }
    }
}

/// The first difference between the batches that were remembered from offset `from` on and those that were found there, and
/// the offsets that it concerns. `None` if there is none.
#[must_use]
pub fn difference(
    from: Offset,
    remembered: &[Entry],
    found: &[Entry],
) -> Option<(Change, Range<Offset>)> {
    let mut start = from.get();
    let mut index = 0;
    while let (Some(was), Some(is)) = (remembered.get(index), found.get(index)) {
        if was.leaf != is.leaf {
            break;
        }
        (start, index) = (start.saturating_add(was.leaf.records), index + 1);
    }
    let was = remembered.get(index)?;
    let offsets = |count: u64| Offset::new(start)..Offset::new(start.saturating_add(count));
    let Some(is) = found.get(index) else {
        let counts = remembered[index..].iter().map(|entry| entry.leaf.records);
        let missing = counts.fold(0, u64::saturating_add);
        return Some((Change::Dropped, offsets(missing)));
    };
    if let Some(count) = reordered(&remembered[index..], &found[index..]) {
        return Some((Change::Reordered, offsets(count)));
    }
    // What comes next has moved up.
    let moved_up = remembered
        .get(index + 1)
        .is_some_and(|next| next.digest.is_some() && next.digest == is.digest);
    if is.leaf.records < was.leaf.records || moved_up {
        return Some((Change::Dropped, offsets(was.leaf.records)));
    }
    Some((Change::Altered, offsets(was.leaf.records)))
}

/// How many records, if the first batches hold the same records in another order: within one, or over some.
fn reordered(remembered: &[Entry], found: &[Entry]) -> Option<u64> {
    let mut sums = ((0_u128, 0_u64), (0_u128, 0_u64));
    for (was, is) in remembered.iter().zip(found) {
        sums.0 = (sums.0.0.wrapping_add(was.digest?), sums.0.1 + was.leaf.records);
        sums.1 = (sums.1.0.wrapping_add(is.digest?), sums.1.1 + is.leaf.records);
        if sums.0 == sums.1 {
            return Some(sums.0.1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BuilderConfig, Owner, Record, RowsBuilder, seal};

    /// Batches of these values, from offset 100 on.
    fn entries(batches: &[&[&str]]) -> Vec<Entry> {
        let mut builder = RowsBuilder::new(BuilderConfig::default());
        let mut base_offset = Offset::new(100);
        let batch = |values: &&[&str]| {
            for value in *values {
                builder
                    .push(&Record { value: Some(value.as_bytes()), ..Record::default() })
                    .unwrap();
            }
            let mut bytes = builder.finish(None).unwrap();
            seal(&mut bytes, Owner { base_offset, ..Owner::default() });
            let batch = Batch::parse(&bytes).unwrap();
            base_offset = batch.header().next_offset();
            let entry = Entry::of(&batch, &mut Decoder::new()).unwrap();
            assert_eq!(Entry::decode(&entry.encode()), entry);
            entry
        };
        batches.iter().map(batch).collect()
    }

    fn found(batches: &[&[&str]]) -> Option<(Change, Range<u64>)> {
        let remembered = entries(&[&["a", "b"], &["c", "d", "e"], &["f"]]);
        let (change, offsets) = difference(Offset::new(100), &remembered, &entries(batches))?;
        Some((change, offsets.start.get()..offsets.end.get()))
    }

    #[test]
    fn every_change_has_its_name_and_its_offsets() {
        use Change::{Altered, Dropped, Reordered};
        assert_eq!(found(&[&["a", "b"], &["c", "d", "e"], &["f"]]), None);
        assert_eq!(found(&[&["a", "b"], &["c", "d", "e"], &["f"], &["g"]]), None, "it grew");
        assert_eq!(found(&[&["a", "b"], &["c", "X", "e"], &["f"]]), Some((Altered, 102..105)));
        assert_eq!(found(&[&["a", "b"], &["d", "c", "e"], &["f"]]), Some((Reordered, 102..105)));
        assert_eq!(
            found(&[&["c", "b"], &["a", "d", "e"], &["f"]]),
            Some((Reordered, 100..105)),
            "over two"
        );
        assert_eq!(found(&[&["a", "b"], &["f"]]), Some((Dropped, 102..105)), "a batch");
        assert_eq!(
            found(&[&["a", "b"], &["c", "e"], &["f"]]),
            Some((Dropped, 102..105)),
            "a record"
        );
        assert_eq!(found(&[&["a", "b"], &["c", "d", "e"]]), Some((Dropped, 105..106)), "the tail");
        assert_eq!(found(&[]), Some((Dropped, 100..106)), "all");
    }

    #[test]
    fn without_digests_a_change_is_an_alteration() {
        let strip = |entry: Entry| Entry { digest: None, ..entry };
        let remembered: Vec<Entry> =
            entries(&[&["a", "b"], &["c"]]).into_iter().map(strip).collect();
        let swapped = difference(Offset::new(100), &remembered, &entries(&[&["b", "a"], &["c"]]));
        assert_eq!(swapped, Some((Change::Altered, Offset::new(100)..Offset::new(102))));
    }
}
