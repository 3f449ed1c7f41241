//! The manifest of a partition: where its log begins, which swap of segments is under way, and what
//! lies in the object store.
//!
//! It is the one small file that is not advisory: what it says is true, whatever files lie beside it.
//! A partition without one is young: nothing was ever taken from its front. It is replaced as a whole,
//! and holds its content twice, each copy in blocks of its own, so that one bad sector costs nothing;
//! with neither copy sound the partition does not open.
//!
//! ```text
//!   | copy, zeros to a multiple of 4096 | the same again |
//! ```
//!
//! The order of things is always the same: first the manifest says that something is gone, or is in the
//! store; when that is durable the files go. A recovery removes what the manifest says is gone, so it
//! may crash anywhere.

use crate::ids::{LogId, Offset, PartitionId, Timestamp};
use crate::layout::{Builder, Fields, FormatError};
use crate::limits::REMOTE_SEGMENTS_MAX;
use crate::segment::BLOCK_BYTES;

/// Name of the manifest in the directory of a partition.
pub const MANIFEST_NAME: &str = "manifest";

/// Name of a segment that is complete and is to take the place of others.
pub const SWAP_NAME: &str = "swap.tmp";

const MAGIC: [u8; 8] = *b"PYMAN001";
const VERSION: u32 = 1;

/// Bytes of a [`RemoteSegment`] in a copy.
const REMOTE_BYTES: usize = 88;

/// The content of a manifest. Invariant: the low watermark only moves forward; remote segments rise and do not
/// overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The log.
    pub log: LogId,
    /// The partition within it.
    pub partition: PartitionId,
    /// First offset that can be read. It may lie inside a segment.
    pub low: Offset,
    /// The swap of segments that is under way.
    pub swap: Option<Swap>,
    /// What lies in the object store, by base offset.
    pub remote: Vec<RemoteSegment>,
}

/// A swap: the segment of `generation`, until then called [`SWAP_NAME`], takes the place of all that begin in
/// `first..end`. From the moment that the manifest says so the new one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Base offset of the first segment that is replaced, and of the one that replaces it.
    pub first: Offset,
    /// End offset of the last segment that is replaced.
    pub end: Offset,
    /// Generation of the new segment.
    pub generation: u64,
}

/// A segment in the object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteSegment {
    /// Offset of its first record.
    pub base: Offset,
    /// Offset after its last record.
    pub end: Offset,
    /// Its generation.
    pub generation: u64,
    /// Length of the object.
    pub bytes: u64,
    /// Largest append time.
    pub append_max: Timestamp,
    /// Largest create time.
    pub create_max: Timestamp,
    /// BLAKE3 of the object.
    pub hash: [u8; 32],
    /// The segment file is in the directory too.
    pub is_local: bool,
}

/// What a manifest file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) manifest: Manifest,
    /// One copy is damaged.
    pub(crate) is_hurt: bool,
}

impl Manifest {
    /// Of a partition of which nothing is gone and nothing is in the store.
    #[must_use]
    pub const fn new(log: LogId, partition: PartitionId) -> Self {
        Self { log, partition, low: Offset::ZERO, swap: None, remote: Vec::new() }
    }

    /// The file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut builder = Builder::new(MAGIC, VERSION);
        builder.u64(self.log.get()).u32(self.partition.get()).u32(u32::from(self.swap.is_some()));
        let swap = self.swap.map_or((Offset::ZERO, Offset::ZERO, 0), |swap| {
            (swap.first, swap.end, swap.generation)
        });
        builder.u64(self.low.get()).u64(swap.0.get()).u64(swap.1.get()).u64(swap.2);
        builder.u64(self.remote.len() as u64);
        for remote in &self.remote {
            builder.u64(remote.base.get()).u64(remote.end.get()).u64(remote.generation);
            builder.u64(remote.bytes).i64(remote.append_max.get()).i64(remote.create_max.get());
            builder.bytes(&remote.hash).u64(u64::from(remote.is_local));
        }
        let mut file = builder.pad_to(BLOCK_BYTES).finish();
        file.extend_from_within(..);
        file
    }

    /// Forgets the objects whose segments a swap has replaced, and returns them. An upload may have come to an end while the new
    /// segment was written.
    pub(crate) fn forget_replaced(&mut self, swap: &Swap) -> Vec<RemoteSegment> {
        let is_replaced = |remote: &mut RemoteSegment| {
            remote.base < swap.end
                && swap.first < remote.end
                && remote.generation != swap.generation
        };
        self.remote.extract_if(.., is_replaced).collect()
    }

    /// Reads the file: the first copy that is sound.
    ///
    /// # Errors
    /// What is wrong with the first copy, if both are damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, FormatError> {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        match (Self::decode_copy(first), Self::decode_copy(second)) {
            (Ok(manifest), second) => Ok(Decoded { manifest, is_hurt: second.is_err() }),
            (Err(_), Ok(manifest)) => Ok(Decoded { manifest, is_hurt: true }),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// What a file says, to somebody who only looks; `None` if both of its copies are damaged.
    #[must_use]
    pub fn read(file: &[u8]) -> Option<Self> {
        Self::decode(file).ok().map(|decoded| decoded.manifest)
    }

    /// Whether both copies in a file are sound, to somebody who only looks.
    #[must_use]
    pub fn is_whole(file: &[u8]) -> bool {
        Self::decode(file).is_ok_and(|decoded| !decoded.is_hurt)
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::open(bytes, MAGIC, VERSION)?;
        let log = LogId::new(fields.u64()?);
        let partition = PartitionId::new(fields.u32()?);
        let has_swap = bool_of(fields.u32()?.into(), "swap")?;
        let low = Offset::new(fields.u64()?);
        let swap = Swap {
            first: Offset::new(fields.u64()?),
            end: Offset::new(fields.u64()?),
            generation: fields.u64()?,
        };
        let count = fields.count(REMOTE_BYTES)?;
        let mut remote = Vec::with_capacity(count);
        for _ in 0..count {
            remote.push(RemoteSegment {
                base: Offset::new(fields.u64()?),
                end: Offset::new(fields.u64()?),
                generation: fields.u64()?,
                bytes: fields.u64()?,
                append_max: Timestamp::new(fields.i64()?),
                create_max: Timestamp::new(fields.i64()?),
                hash: fields.bytes()?,
                is_local: bool_of(fields.u64()?, "is_local")?,
            });
        }
        fields.padding()?;
        let manifest = Self { log, partition, low, swap: has_swap.then_some(swap), remote };
        manifest.check().map(|()| manifest)
    }

    /// Whether it contradicts itself.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        let rising = self.remote.windows(2).all(|pair| pair[0].end <= pair[1].base);
        let whole = self.remote.iter().all(|remote| remote.base < remote.end);
        if !rising || !whole || self.remote.len() > REMOTE_SEGMENTS_MAX {
            return Err(FormatError::Field { field: "remote" });
        }
        match self.swap {
            Some(swap) if swap.first >= swap.end => Err(FormatError::Field { field: "swap" }),
            _ => Ok(()),
        }
    }

    /// The segment in the store that has the record at `offset`.
    #[must_use]
    pub fn remote_at(&self, offset: Offset) -> Option<&RemoteSegment> {
        let after = self.remote.partition_point(|remote| remote.base <= offset);
        let found = &self.remote[after.checked_sub(1)?];
        (offset < found.end).then_some(found)
    }
}

fn bool_of(value: u64, field: &'static str) -> Result<bool, FormatError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FormatError::Field { field }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn remote(base: u64, end: u64) -> RemoteSegment {
        RemoteSegment {
            base: Offset::new(base),
            end: Offset::new(end),
            generation: base + 1,
            bytes: 4096 + end,
            append_max: Timestamp::new(7),
            create_max: Timestamp::new(9),
            hash: [3; 32],
            is_local: base > 100,
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            low: Offset::new(42),
            swap: Some(Swap { first: Offset::new(40), end: Offset::new(90), generation: 5 }),
            remote: vec![remote(40, 90), remote(90, 200), remote(200, 300)],
            ..Manifest::new(LogId::new(7), PartitionId::new(1))
        }
    }

    #[test]
    fn either_copy_is_enough_and_neither_is_not() {
        let bytes = manifest().encode();
        let (half, whole) = (bytes.len() / 2, Decoded { manifest: manifest(), is_hurt: false });
        assert_eq!(Manifest::decode(&bytes), Ok(whole));
        let hurt = Decoded { manifest: manifest(), is_hurt: true };
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            assert_eq!(Manifest::decode(&broken).as_ref(), Ok(&hurt), "byte {at}");
            assert!(Manifest::is_whole(&bytes) && !Manifest::is_whole(&broken), "byte {at}");
            broken[(at + half) % bytes.len()] ^= 8;
            assert!(Manifest::decode(&broken).is_err(), "byte {at} of both copies");
        }
    }

    #[test]
    fn a_file_that_ends_early_is_no_manifest_or_the_same() {
        let bytes = manifest().encode();
        for len in 0..bytes.len() {
            let decoded = Manifest::decode(&bytes[..len]);
            assert!(decoded.is_err(), "{len} bytes: {decoded:?}");
        }
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        let overlapping = Manifest { remote: vec![remote(40, 91), remote(90, 200)], ..manifest() };
        assert!(Manifest::decode(&overlapping.encode()).is_err());
        let empty = Manifest { remote: vec![remote(40, 40)], ..manifest() };
        assert!(Manifest::decode(&empty.encode()).is_err());
        let swap = Swap { first: Offset::new(9), end: Offset::new(9), generation: 1 };
        let backwards = Manifest { swap: Some(swap), ..manifest() };
        assert!(Manifest::decode(&backwards.encode()).is_err());
    }

    #[test]
    fn a_remote_segment_is_found_by_its_offsets_and_gaps_are_not() {
        let manifest = Manifest { remote: vec![remote(40, 90), remote(95, 200)], ..manifest() };
        let base = |offset| manifest.remote_at(Offset::new(offset)).map(|found| found.base.get());
        let found = [39, 40, 89, 90, 94, 95, 199, 200].map(base);
        assert_eq!(found, [None, Some(40), Some(40), None, None, Some(95), Some(95), None]);
    }
}
