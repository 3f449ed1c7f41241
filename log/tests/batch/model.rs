//! Records as plain owned values, made at random, built into batches and read back.

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, BinaryArray, RecordBatch};
use pyralog_log::batch::{
    Buffer, BuilderConfig, Codec, Flags, HEADER_BYTES, MutableBuffer, Owner, Record, Rows,
    RowsBuilder, Session, seal,
};
use pyralog_log::ids::{Epoch, Offset, SessionId, Timestamp};
use quickcheck::{Arbitrary, Gen, QuickCheck};

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) create_time: i64,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What goes into a batch.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) records: Vec<Model>,
    pub(crate) codec: Codec,
    pub(crate) session: Option<Session>,
}

/// Runs a property so many times on batches of up to some dozens of short records: what can go wrong
/// with columns goes wrong with few, and thousands of runs take seconds.
pub(crate) fn property_runner(tests: u64) -> QuickCheck {
    QuickCheck::new().rng(Gen::new(20)).tests(tests).max_tests(tests)
}

/// A record with nothing but a value.
pub(crate) fn value(bytes: &[u8]) -> Model {
    Model { value: Some(bytes.to_vec()), ..Model::default() }
}

/// Pushes a record.
pub(crate) fn push(builder: &mut RowsBuilder, model: &Model) {
    let headers: Vec<_> =
        model.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    let record = Record {
        key: model.key.as_deref(),
        value: model.value.as_deref(),
        create_time: Timestamp::new(model.create_time),
        headers: &headers,
    };
    builder.push(&record).unwrap();
}

/// Builds one unsealed batch.
pub(crate) fn build(records: &[Model], codec: Codec, session: Option<Session>) -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig { codec, ..BuilderConfig::default() });
    for record in records {
        push(&mut builder, record);
    }
    builder.finish(session).unwrap()
}

/// An owner with all fields set.
pub(crate) fn owner() -> Owner {
    Owner {
        base_offset: Offset::new(1_000_000),
        epoch: Epoch::new(7),
        append_time: Timestamp::new(1_753_000_000_000_000),
        scarab_base: 0x0123_4567_89AB_CDEF,
    }
}

/// A session with all fields set.
pub(crate) fn session() -> Session {
    Session { id: SessionId::new(0xFEED), epoch: 3, first_sequence: 42 }
}

/// The batch, sealed.
pub(crate) fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    seal(&mut batch, owner());
    batch
}

/// Computes the producer's checksum again after a change.
pub(crate) fn sign(batch: &mut [u8]) {
    let stored = u32::from_le_bytes(batch[72..76].try_into().unwrap()) as usize;
    let end = batch.len().min(HEADER_BYTES + stored);
    let crc = crc32c::crc32c(&batch[68..end]);
    batch[64..68].copy_from_slice(&crc.to_le_bytes());
}

/// The bytes in a buffer that Arrow can share.
pub(crate) fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = MutableBuffer::from_len_zeroed(bytes.len());
    buffer.as_slice_mut().copy_from_slice(bytes);
    buffer.into()
}

/// The records that a view shows.
pub(crate) fn read(rows: &Rows<'_>) -> Vec<Model> {
    let models = rows.iter().map(|row| Model {
        key: row.key.map(<[u8]>::to_vec),
        value: row.value.map(<[u8]>::to_vec),
        create_time: row.create_time.get(),
        headers: row
            .headers
            .iter()
            .map(|(key, value)| (key.to_owned(), value.map(<[u8]>::to_vec)))
            .collect(),
    });
    models.collect()
}

/// The records that Arrow columns show.
pub(crate) fn read_arrow(batch: &RecordBatch, base_create_time: i64) -> Vec<Model> {
    let at = |array: &BinaryArray, row| array.is_valid(row).then(|| array.value(row).to_vec());
    let deltas = batch.column(2).as_primitive::<UInt32Type>();
    let headers_of = |row| {
        let entries = batch.column(3).as_map().value(row);
        let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_binary());
        (0..entries.len()).map(|i| (keys.value(i).to_owned(), at(values, i))).collect()
    };
    let model = |row| Model {
        key: at(batch.column(0).as_binary(), row),
        value: at(batch.column(1).as_binary(), row),
        create_time: base_create_time + i64::from(deltas.value(row)),
        headers: headers_of(row),
    };
    (0..batch.num_rows()).map(model).collect()
}

impl Arbitrary for Model {
    fn arbitrary(g: &mut Gen) -> Self {
        Self {
            key: Option::arbitrary(g),
            value: Option::arbitrary(g),
            create_time: i64::from(u32::arbitrary(g)),
            headers: Vec::arbitrary(g).into_iter().take(5).collect(),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let Self { key, value, create_time, headers } = self.clone();
        let parts = (key, value, create_time, headers);
        Box::new(parts.shrink().map(|(key, value, create_time, headers)| Self {
            key,
            value,
            create_time: create_time.rem_euclid(1 << 32),
            headers,
        }))
    }
}

impl Arbitrary for Input {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut records = Vec::<Model>::arbitrary(g);
        records.push(Model::arbitrary(g));
        // Often some kind of column is absent, which random records alone hardly ever show.
        let (keyless, headerless, timeless, whole) =
            (bool::arbitrary(g), bool::arbitrary(g), bool::arbitrary(g), bool::arbitrary(g));
        let base = *g.choose(&[0, -5_000_000_000, i64::MIN, 1_753_000_000_000_000]).unwrap();
        for record in &mut records {
            record.key.take_if(|_| keyless);
            record.create_time = base + if timeless { 0 } else { record.create_time };
            if headerless {
                record.headers.clear();
            }
            if whole {
                record.value.get_or_insert_default();
            }
        }
        let session = bool::arbitrary(g).then(session);
        Self { records, codec: *g.choose(&Codec::ALL).unwrap(), session }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let base = self.clone();
        // Shrinking records one by one would leave the span of create times.
        let halves = [self.records.len() / 2, self.records.len() - 1];
        Box::new(halves.into_iter().filter(|len| *len > 0).flat_map(move |len| {
            let from = |records: &[Model]| Self { records: records.to_vec(), ..base.clone() };
            [from(&base.records[..len]), from(&base.records[base.records.len() - len..])]
        }))
    }
}

/// Flags with all bits set.
pub(crate) const ALL_FLAGS: Flags = Flags::TRANSACTIONAL.with(Flags::CONTROL);
