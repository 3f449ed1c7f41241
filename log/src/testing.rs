//! What the tests of several modules build: batches, groups, segment files.

use crate::batch::{
    BATCH_MAGIC, BatchHeader, BodyKind, Codec, Flags, HEADER_BYTES, Owner, Session, seal, total_len,
};
use crate::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
use crate::layout::put;
use crate::mark::{Incarnation, Mark, MarkFlags};
use crate::segment::{BLOCK_BYTES, FilePosition, SegmentHeader};

/// A header of one record that was never sealed in earnest.
pub(crate) fn header(base_offset: Offset, body_len: u32, time: i64) -> BatchHeader {
    BatchHeader {
        header_crc: 0,
        owner: Owner {
            base_offset,
            epoch: Epoch::ZERO,
            append_time: Timestamp::ZERO,
            scarab_base: 0,
        },
        body_crc: 0,
        codec: Codec::None,
        body_kind: BodyKind::Rows,
        flags: Flags::NONE,
        body_len,
        uncompressed_len: body_len,
        record_count: 1,
        schema_id: 0,
        base_create_time: Timestamp::new(time),
        max_create_time: Timestamp::new(time),
        session: None,
        gap_before: 0,
        removed: 0,
    }
}

/// A batch as a producer sends it: `count` records, a body of `body_len` bytes made from `seed`.
pub(crate) fn unsealed(
    seed: u64,
    body_len: usize,
    count: u32,
    session: Option<Session>,
) -> Vec<u8> {
    let len = u32::try_from(body_len).unwrap();
    let mut bytes = vec![0; total_len(len)];
    put(&mut bytes, 0, BATCH_MAGIC.to_le_bytes());
    bytes[68] = 1;
    put(&mut bytes, 72, len.to_le_bytes());
    put(&mut bytes, 76, len.to_le_bytes());
    put(&mut bytes, 80, count.to_le_bytes());
    put(&mut bytes, 88, seed.to_le_bytes());
    put(&mut bytes, 96, seed.to_le_bytes());
    if let Some(session) = session {
        put(&mut bytes, 104, session.id.get().to_le_bytes());
        put(&mut bytes, 112, session.first_sequence.to_le_bytes());
        put(&mut bytes, 120, session.epoch.to_le_bytes());
    }
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
    for word in bytes[HEADER_BYTES..HEADER_BYTES + body_len].chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    let crc = crc32c::crc32c(&bytes[68..HEADER_BYTES + body_len]);
    put(&mut bytes, 64, crc.to_le_bytes());
    bytes
}

/// The header of a segment of log 7, partition 1.
pub(crate) fn segment_header(generation: u64, base: Offset) -> SegmentHeader {
    SegmentHeader {
        generation,
        log: LogId::new(7),
        partition: PartitionId::new(1),
        base_offset: Some(base),
        epoch: Epoch::ZERO,
        created: Timestamp::ZERO,
        segment_bytes: 1 << 20,
    }
}

/// A segment file in memory, written as a partition writes it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentBytes {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Vec<u8>,
    pub(crate) position: FilePosition,
    pub(crate) offset: Offset,
    pub(crate) synced: Offset,
    pub(crate) incarnation: Incarnation,
    /// Added to append times: another life of a log has other ones.
    pub(crate) time_shift: u64,
    /// Position and base offset of every group.
    pub(crate) groups: Vec<(FilePosition, Offset)>,
}

impl SegmentBytes {
    pub(crate) fn new(generation: u64, base: Offset, file: Vec<u8>) -> Self {
        let header = segment_header(generation, base);
        let mut segment = Self {
            header,
            file,
            position: FilePosition::STREAM_START,
            offset: base,
            synced: base,
            incarnation: Incarnation::new(1),
            time_shift: 0,
            groups: Vec::new(),
        };
        segment.write(FilePosition::new(0), &header.encode());
        segment
    }

    /// Writes a group of batches; the ones before it are then synced if `synced`.
    pub(crate) fn group(&mut self, batches: &[Vec<u8>], flags: MarkFlags) {
        let (mut body, mut crc, mut offset) = (Vec::new(), 0, self.offset);
        for batch in batches {
            let mut batch = batch.clone();
            let time = offset.get() + self.time_shift;
            let append_time = Timestamp::new(i64::try_from(time).unwrap());
            let epoch = Epoch::ZERO;
            seal(&mut batch, Owner { base_offset: offset, epoch, append_time, scarab_base: 0 });
            crc = crc32c::crc32c_append(crc, &batch[..HEADER_BYTES]);
            offset = BatchHeader::parse(&batch).unwrap().next_offset();
            body.extend_from_slice(&batch);
        }
        let mark = Mark {
            position: self.position,
            group_len: u32::try_from(body.len()).unwrap(),
            batches_crc: crc,
            base_offset: self.offset,
            synced_offset: self.synced,
            incarnation: self.incarnation,
            flags,
            time: Timestamp::ZERO,
        };
        let mut bytes = mark.encode(self.header.key()).to_vec();
        bytes.extend_from_slice(&body);
        let end = mark.next_position();
        bytes.resize(bytes.len() + usize::try_from(end.block_end().since(end)).unwrap(), 0);
        self.groups.push((self.position, self.offset));
        self.write(self.position, &bytes);
        (self.position, self.offset) = (end, offset);
    }

    pub(crate) fn write(&mut self, position: FilePosition, bytes: &[u8]) {
        let at = usize::try_from(position.get()).unwrap();
        if self.file.len() < at + bytes.len() {
            self.file.resize((at + bytes.len()).next_multiple_of(BLOCK_BYTES), 0);
        }
        self.file[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
