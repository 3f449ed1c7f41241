//! The checkpoint: what spares a restart the scan of everything, and the list of damages.
//!
//! A checkpoint is advisory but for one thing: what it says was synced *was* synced, because it is
//! written after the sync. It holds the closed segments with their ends, where a scan has to start in
//! the newest one, the sessions, and where the last recovery opened its incarnation. Missing or
//! wrong, everything is scanned. The list of damages is a file of its own, because it has to stay
//! when a checkpoint is thrown away.

use crate::ids::{LogId, Offset, PartitionId, Timestamp};
use crate::layout::{Builder, Fields, FormatError};
use crate::mark::Incarnation;
use crate::partition::Closed;
use crate::recovery::Damage;
use crate::recovery::scan::Opening;
use crate::segment::FilePosition;
use crate::sessions::Sessions;

/// Name of the checkpoint file in the directory of a partition.
pub const CHECKPOINT_NAME: &str = "checkpoint";

/// Name of the list of damages in the directory of a partition.
pub const DAMAGED_NAME: &str = "damaged";

const CHECKPOINT_MAGIC: [u8; 8] = *b"PYCHK001";
const DAMAGED_MAGIC: [u8; 8] = *b"PYDMG001";
const VERSION: u32 = 2;
const DAMAGED_VERSION: u32 = 1;
const CLOSED_BYTES: usize = 48;
const DAMAGE_BYTES: usize = 40;

/// The content of a checkpoint file.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) log: LogId,
    pub(crate) partition: PartitionId,
    pub(crate) incarnation: Incarnation,
    /// Where the incarnation begins.
    pub(crate) opening: Opening,
    /// The partition was closed; a clean mark ends the newest segment.
    pub(crate) clean: bool,
    /// Append time of the last record.
    pub(crate) append_time: Timestamp,
    /// Generation of the newest segment, whose base is `start.segment`.
    pub(crate) generation: u64,
    pub(crate) start: Start,
    /// All segments before the newest, in order.
    pub(crate) closed: Vec<Closed>,
    pub(crate) sessions: Sessions,
}

/// Where a scan starts: everything before it was on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) segment: Offset,
    pub(crate) position: FilePosition,
    pub(crate) offset: Offset,
}

impl Checkpoint {
    /// The file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut builder = Builder::new(CHECKPOINT_MAGIC, VERSION);
        builder.u64(self.log.get()).u32(self.partition.get()).u32(self.incarnation.get());
        builder.u64(self.opening.segment.get()).u64(self.opening.position.get());
        builder.u32(self.opening.incarnation.get()).u32(u32::from(self.clean));
        builder.i64(self.append_time.get()).u64(self.generation);
        builder.u64(self.start.segment.get()).u64(self.start.position.get());
        builder.u64(self.start.offset.get()).u64(self.closed.len() as u64);
        for closed in &self.closed {
            builder.u64(closed.base.get()).u64(closed.generation).u64(closed.end.get());
            builder.u64(closed.end_position.get()).i64(closed.time_max.get());
            builder.i64(closed.append_max.get());
        }
        self.sessions.encode(&mut builder);
        builder.finish()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::open(bytes, CHECKPOINT_MAGIC, VERSION)?;
        let log = LogId::new(fields.u64()?);
        let partition = PartitionId::new(fields.u32()?);
        let incarnation = Incarnation::new(fields.u32()?);
        let opening = Opening {
            segment: Offset::new(fields.u64()?),
            position: FilePosition::new(fields.u64()?),
            incarnation: Incarnation::new(fields.u32()?),
        };
        let clean = match fields.u32()? {
            0 => false,
            1 => true,
            _ => return Err(FormatError::Field { field: "clean" }),
        };
        let append_time = Timestamp::new(fields.i64()?);
        let generation = fields.u64()?;
        let start = Start {
            segment: Offset::new(fields.u64()?),
            position: FilePosition::new(fields.u64()?),
            offset: Offset::new(fields.u64()?),
        };
        let count = fields.count(CLOSED_BYTES)?;
        let mut closed = Vec::with_capacity(count);
        for _ in 0..count {
            closed.push(Closed {
                base: Offset::new(fields.u64()?),
                generation: fields.u64()?,
                end: Offset::new(fields.u64()?),
                end_position: FilePosition::new(fields.u64()?),
                time_max: Timestamp::new(fields.i64()?),
                append_max: Timestamp::new(fields.i64()?),
            });
        }
        let sessions = Sessions::decode(&mut fields)?;
        fields.end()?;
        let checkpoint = Self {
            log,
            partition,
            incarnation,
            opening,
            clean,
            append_time,
            generation,
            start,
            closed,
            sessions,
        };
        if checkpoint.is_sound() {
            Ok(checkpoint)
        } else {
            Err(FormatError::Field { field: "segments" })
        }
    }

    /// Segments follow each other, and the scan starts within the newest.
    fn is_sound(&self) -> bool {
        let rising = self.closed.windows(2).all(|pair| pair[0].end <= pair[1].base);
        let last = self.closed.last();
        rising
            && self.closed.iter().all(|closed| closed.base <= closed.end)
            && last.is_none_or(|closed| closed.end <= self.start.segment)
            && self.start.segment <= self.start.offset
            && self.start.position >= FilePosition::STREAM_START
            && self.start.position.get().is_multiple_of(64)
    }
}

/// The file that lists `damages`.
pub(crate) fn encode_damages(damages: &[Damage]) -> Vec<u8> {
    let mut builder = Builder::new(DAMAGED_MAGIC, DAMAGED_VERSION);
    builder.u64(damages.len() as u64);
    for damage in damages {
        builder.u64(damage.segment.get());
        builder.u64(damage.positions.start.get()).u64(damage.positions.end.get());
        builder.u64(damage.offsets.start.get()).u64(damage.offsets.end.get());
    }
    builder.finish()
}

/// Reads the list of damages.
///
/// # Errors
/// Why it cannot be used; a scan of everything finds them again.
pub(crate) fn decode_damages(bytes: &[u8]) -> Result<Vec<Damage>, FormatError> {
    let mut fields = Fields::open(bytes, DAMAGED_MAGIC, DAMAGED_VERSION)?;
    let count = fields.count(DAMAGE_BYTES)?;
    let mut damages = Vec::with_capacity(count);
    for _ in 0..count {
        let segment = Offset::new(fields.u64()?);
        let positions = FilePosition::new(fields.u64()?)..FilePosition::new(fields.u64()?);
        let offsets = Offset::new(fields.u64()?)..Offset::new(fields.u64()?);
        if positions.start > positions.end || offsets.start > offsets.end {
            return Err(FormatError::Field { field: "range" });
        }
        damages.push(Damage { segment, positions, offsets });
    }
    fields.end()?;
    Ok(damages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Session;
    use crate::ids::SessionId;

    fn checkpoint() -> Checkpoint {
        let mut sessions = Sessions::default();
        let session = Session { id: SessionId::new(3), epoch: 1, first_sequence: 0 };
        sessions.record(&session, 5, Offset::new(10), Timestamp::new(7));
        let closed = Closed {
            base: Offset::new(0),
            generation: 77,
            end: Offset::new(100),
            end_position: FilePosition::new(8192),
            time_max: Timestamp::new(9),
            append_max: Timestamp::new(8),
        };
        Checkpoint {
            log: LogId::new(7),
            partition: PartitionId::new(1),
            incarnation: Incarnation::new(4),
            opening: Opening {
                segment: Offset::new(100),
                position: FilePosition::new(4096),
                incarnation: Incarnation::new(4),
            },
            clean: true,
            append_time: Timestamp::new(12),
            generation: 78,
            start: Start {
                segment: Offset::new(100),
                position: FilePosition::new(4160),
                offset: Offset::new(120),
            },
            closed: vec![closed],
            sessions,
        }
    }

    #[test]
    fn a_checkpoint_comes_back_whole_or_not_at_all() {
        let bytes = checkpoint().encode();
        let decoded = Checkpoint::decode(&bytes).unwrap();
        assert_eq!(decoded.encode(), bytes);
        assert_eq!((decoded.closed, decoded.start), (checkpoint().closed, checkpoint().start));
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            assert!(Checkpoint::decode(&broken).is_err(), "byte {at}");
            assert!(Checkpoint::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_checkpoint_that_contradicts_itself_is_refused() {
        let mut backwards = checkpoint();
        backwards.start.offset = Offset::new(99);
        assert!(Checkpoint::decode(&backwards.encode()).is_err());
        let mut overlapping = checkpoint();
        overlapping.closed[0].end = Offset::new(101);
        assert!(Checkpoint::decode(&overlapping.encode()).is_err());
    }

    #[test]
    fn damages_come_back_in_order() {
        let damage = |at: u64| Damage {
            segment: Offset::new(at),
            positions: FilePosition::new(at)..FilePosition::new(at + 64),
            offsets: Offset::new(at)..Offset::new(at + 3),
        };
        let damages = vec![damage(64), damage(640)];
        let bytes = encode_damages(&damages);
        assert_eq!(decode_damages(&bytes), Ok(damages));
        assert!(decode_damages(&bytes[..bytes.len() - 1]).is_err());
    }
}
