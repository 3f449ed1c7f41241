//! Hostile bytes: nothing panics, and what a checksum covers cannot change unnoticed.

use pyralog_log::batch::{
    ArrowRows, Batch, BatchError, BatchHeader, Decoder, Items, verify_header,
};
use quickcheck::{Arbitrary, Gen};

use crate::model::{Input, aligned, build, property_runner, read, read_arrow, sealed, sign};
use crate::thinned::thinned;

/// A change of bytes.
#[derive(Clone, Debug)]
enum Mutation {
    /// Flips a bit.
    Flip(usize, u8),
    /// Overwrites four bytes at a multiple of four, where most fields and offsets lie.
    Word(usize, u32),
    /// Overwrites one byte.
    Byte(usize, u8),
    /// Removes bytes from the end.
    Cut(usize),
    /// Adds bytes at the end.
    Extend(Vec<u8>),
    /// Exchanges two words.
    Swap(usize, usize),
}

impl Arbitrary for Mutation {
    fn arbitrary(g: &mut Gen) -> Self {
        let (at, byte) = (usize::arbitrary(g), u8::arbitrary(g));
        let word = *g.choose(&[0, 1, 63, 64, 0x7FFF_FFFF, u32::MAX, u32::from(byte) * 4]).unwrap();
        match u8::arbitrary(g) % 8 {
            0 | 1 => Self::Flip(at, byte % 8),
            2 | 3 => Self::Word(at, word),
            4 => Self::Byte(at, byte),
            5 => Self::Cut(at),
            6 => Self::Extend(Vec::arbitrary(g)),
            _ => Self::Swap(at, usize::arbitrary(g)),
        }
    }
}

impl Mutation {
    /// Applies the change somewhere in `bytes[from..]`.
    fn apply(&self, bytes: &mut Vec<u8>, from: usize) {
        let len = bytes.len() - from;
        if len < 4 {
            return;
        }
        let word = |at: usize| from + at % (len / 4) * 4;
        match self {
            Self::Flip(at, bit) => bytes[from + at % len] ^= 1 << bit,
            Self::Word(at, raw) => bytes[word(*at)..][..4].copy_from_slice(&raw.to_le_bytes()),
            Self::Byte(at, byte) => bytes[from + at % len] = *byte,
            Self::Cut(at) => bytes.truncate(from + at % len),
            Self::Extend(more) => bytes.extend_from_slice(more),
            Self::Swap(one, other) => {
                for i in 0..4 {
                    bytes.swap(word(*one) + i, word(*other) + i);
                }
            }
        }
    }
}

/// Puts bytes through every decoder, as far as each lets them. Returns how the deepest one ended.
fn decode(bytes: &[u8]) -> Result<(), BatchError> {
    Items::new(bytes).for_each(drop);
    BatchHeader::parse(bytes).map(drop).ok();
    verify_header(bytes).ok();
    let batch = Batch::parse(bytes)?;
    batch.verify().map(drop).ok();
    batch.verify_unsealed().map(drop).ok();
    let mut decoder = Decoder::new();
    let models = read(&decoder.rows(&batch)?);
    let rows = ArrowRows::open(&aligned(bytes), &mut decoder)?;
    let columns = rows.to_record_batch()?;
    assert_eq!(read_arrow(&columns, batch.header().base_create_time.get()), models);
    assert_eq!(rows.create_times().len(), rows.offsets().len());
    Ok(())
}

/// The batch of an input; of more than one record and for half of the inputs, without every second one.
fn built(input: &Input, thin: bool) -> Vec<u8> {
    let bytes = build(&input.records, input.codec, input.session);
    if thin && input.records.len() > 1 {
        thinned(&sealed(bytes), |row| row % 2 == 0, 5)
    } else {
        bytes
    }
}

#[test]
fn random_bytes_do_not_panic() {
    fn property(bytes: Vec<u8>, magic: bool) {
        let mut bytes = bytes;
        if magic {
            bytes.splice(..0, *b"PYB1");
        }
        decode(&bytes).ok();
    }
    property_runner(5000).quickcheck(property as fn(Vec<u8>, bool));
}

#[test]
fn mutated_batches_do_not_panic() {
    fn property(input: Input, mutations: Vec<Mutation>, thin: bool) {
        let mut bytes = built(&input, thin);
        for mutation in mutations.iter().take(4) {
            mutation.apply(&mut bytes, 0);
        }
        decode(&bytes).ok();
    }
    property_runner(5000).quickcheck(property as fn(Input, Vec<Mutation>, bool));
}

/// The producer signs what it forged, so that only the checks of the columns stand in the way. The
/// directory, where one bit matters most, is aimed at half of the time.
#[test]
fn forged_bodies_with_true_checksums_do_not_panic() {
    fn property(input: Input, mutations: Vec<Mutation>, (directory, thin): (bool, bool)) {
        let mut input = input;
        if u8::from(directory) == 1 {
            input.codec = pyralog_log::batch::Codec::None;
        }
        let mut bytes = built(&input, thin);
        let len = bytes.len();
        for mutation in mutations.iter().take(2) {
            if directory {
                let mut part = bytes[128..256].to_vec();
                mutation.apply(&mut part, 0);
                part.resize(128, 0);
                bytes[128..256].copy_from_slice(&part);
            } else {
                mutation.apply(&mut bytes, 128);
                bytes.resize(len, 0);
            }
        }
        sign(&mut bytes);
        decode(&bytes).ok();
    }
    property_runner(10_000).quickcheck(property as fn(Input, Vec<Mutation>, (bool, bool)));
}

#[test]
fn every_change_of_a_sealed_batch_is_detected() {
    fn property(input: Input, mutations: Vec<Mutation>, thin: bool) {
        let mut bytes = built(&input, thin);
        if !thin || input.records.len() == 1 {
            bytes = sealed(bytes);
        }
        let mut mutated = bytes.clone();
        for mutation in mutations.iter().take(3) {
            mutation.apply(&mut mutated, 0);
        }
        let verdict = Batch::parse(&mutated).and_then(Batch::verify);
        assert_eq!(verdict.is_ok(), mutated == bytes, "{mutations:?}");
    }
    property_runner(5000).quickcheck(property as fn(Input, Vec<Mutation>, bool));
}

#[test]
fn every_bit_of_a_batch_is_protected() {
    let input = crate::model::value(b"some value");
    let unsealed = build(&[input], pyralog_log::batch::Codec::None, None);
    let sealed = sealed(unsealed.clone());
    for bit in 0..sealed.len() * 8 {
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        assert!(Batch::parse(&flip(&sealed)).and_then(Batch::verify).is_err(), "bit {bit}");
        let flipped = flip(&unsealed);
        let verdict = Batch::parse(&flipped).and_then(Batch::verify_unsealed);
        assert!(verdict.is_err(), "bit {bit}, unsealed");
    }
}
