//! The values of records: each says which record it is, so that what comes back can be judged.
//!
//! ```text
//!   0        4          12
//!   | client | sequence | body: at least 8 bytes, drawn from a generator |
//! ```
//!
//! The generator of the body is seeded with the identity *and the length of the value*. So a value that lost its end, got
//! bytes of another or had any bit changed is not the value of any record, but for one chance in 2^64.
//!
//! A record with a key has the key in that seed as well, so a value under another key is wrong. A tombstone has no value: the
//! shortest value that it would have had is in a header.

use std::fmt;

use fastrand::Rng;

use crate::history::{Key, RecordId};

/// Bytes of the identity.
const ID_BYTES: usize = 12;
/// Length of the shortest value: eight bytes of body tell a changed identity from a sound one.
pub const VALUE_BYTES_MIN: usize = ID_BYTES + 8;
/// Length of the longest value that [`encode`] draws: several of them still fit one batch.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// The header of a tombstone that says which record it is.
pub const TOMBSTONE_HEADER: &str = "record";
/// What the name of a key begins with.
const KEY_PREFIX: &str = "key-";

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is shorter than any value that was ever written.
    Short {
        /// Its length.
        len: usize,
    },
    /// It has no value, and no header that says which record it is.
    Missing,
    /// Its key is none that was ever written.
    Key,
    /// It is not what the record that it claims to be was written with.
    Body {
        /// The record that it claims to be.
        claims: RecordId,
        /// Its length.
        len: usize,
        /// The first byte that is another.
        at: usize,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { len } => write!(f, "{len} bytes are no value that was ever written"),
            Self::Missing => f.write_str("a record without a value"),
            Self::Key => f.write_str("a key that was never written"),
            Self::Body { claims, len, at } => {
                write!(f, "{len} bytes that claim to be {claims}, wrong from byte {at} on")
            }
        }
    }
}

impl std::error::Error for Wrong {}

/// How long values are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Lengths {
    /// Mostly small, now and then some kilobytes, rarely [`VALUE_BYTES_MAX`].
    #[default]
    Mixed,
    /// All of several kilobytes, so that even a short run fills some segments.
    Large,
}

/// What the records of a log are like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Recipe {
    /// How long their values are.
    pub lengths: Lengths,
    /// How many keys there are; 0 if records have none.
    pub keys: u16,
}

impl From<Lengths> for Recipe {
    fn from(lengths: Lengths) -> Self {
        Self { lengths, keys: 0 }
    }
}

/// A record that was made: key, value, and the header of a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What it is to compaction.
    pub key: Option<Key>,
    name: Option<String>,
    bytes: Vec<u8>,
}

impl Made {
    /// A record of this recipe, drawn from `rng`. With keys, some are tombstones and a few have no key all the same.
    #[must_use]
    pub fn draw(id: RecordId, recipe: Recipe, rng: &mut Rng) -> Self {
        let Recipe { lengths, keys } = recipe;
        if keys == 0 || rng.u32(0..16) == 0 {
            return Self { key: None, name: None, bytes: encode(id, lengths, rng) };
        }
        // Some keys change all the time, others hardly ever.
        let number = rng.u16(0..keys).min(rng.u16(0..keys));
        let key = Key { number, is_tombstone: rng.u32(0..5) == 0 };
        let len = if key.is_tombstone { VALUE_BYTES_MIN } else { draw_len(lengths, rng) };
        let name = Some(format!("{KEY_PREFIX}{number}"));
        Self { key: Some(key), name, bytes: encode_keyed(id, len, Some(key)) }
    }

    /// Its key as bytes.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.name.as_deref().map(str::as_bytes)
    }

    fn is_tombstone(&self) -> bool {
        self.key.is_some_and(|key| key.is_tombstone)
    }

    /// Its value; `None` of a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        (!self.is_tombstone()).then_some(&self.bytes)
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, Option<&[u8]>)> {
        if self.is_tombstone() { vec![(TOMBSTONE_HEADER, Some(&self.bytes))] } else { Vec::new() }
    }
}

/// The record that key, value and [the header](TOMBSTONE_HEADER) are those of.
///
/// # Errors
/// If they are those of none.
pub fn read(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    header: Option<&[u8]>,
) -> Result<RecordId, Wrong> {
    let number = key.map(|key| {
        let name = std::str::from_utf8(key).ok()?.strip_prefix(KEY_PREFIX)?;
        name.parse().ok()
    });
    let number = match number {
        None => None,
        Some(Some(number)) => Some(number),
        Some(None) => return Err(Wrong::Key),
    };
    match (value, header, number) {
        (Some(value), None, number) => {
            decode_keyed(value, number.map(|number| Key { number, is_tombstone: false }))
        }
        (None, Some(header), Some(number)) => {
            decode_keyed(header, Some(Key { number, is_tombstone: true }))
        }
        _ => Err(Wrong::Missing),
    }
}

/// The value of a record, of a length that `rng` draws.
#[must_use]
pub fn encode(id: RecordId, lengths: Lengths, rng: &mut Rng) -> Vec<u8> {
    encode_to(id, draw_len(lengths, rng))
}

fn draw_len(lengths: Lengths, rng: &mut Rng) -> usize {
    match (lengths, rng.u32(0..64)) {
        (Lengths::Large, _) => rng.usize(4096..=16 << 10),
        (Lengths::Mixed, 0) => rng.usize(VALUE_BYTES_MIN..=VALUE_BYTES_MAX),
        (Lengths::Mixed, 1..=8) => rng.usize(VALUE_BYTES_MIN..=4096),
        (Lengths::Mixed, _) => rng.usize(VALUE_BYTES_MIN..=256),
    }
}

/// The value of a record, of `len` bytes or [`VALUE_BYTES_MIN`] if that is more.
#[must_use]
pub fn encode_to(id: RecordId, len: usize) -> Vec<u8> {
    encode_keyed(id, len, None)
}

fn encode_keyed(id: RecordId, len: usize, key: Option<Key>) -> Vec<u8> {
    let mut value = vec![0; len.max(VALUE_BYTES_MIN)];
    value[..4].copy_from_slice(&id.client.to_le_bytes());
    value[4..ID_BYTES].copy_from_slice(&id.sequence.to_le_bytes());
    let mut body = body_of(id, value.len(), key);
    body.fill(&mut value[ID_BYTES..]);
    value
}

/// The record that a value is the value of.
///
/// # Errors
/// If it is the value of none.
pub fn decode(value: &[u8]) -> Result<RecordId, Wrong> {
    decode_keyed(value, None)
}

fn decode_keyed(value: &[u8], key: Option<Key>) -> Result<RecordId, Wrong> {
    let len = value.len();
    let (client, rest) = value.split_first_chunk::<4>().ok_or(Wrong::Short { len })?;
    let (sequence, body) = rest.split_first_chunk::<8>().ok_or(Wrong::Short { len })?;
    if len < VALUE_BYTES_MIN {
        return Err(Wrong::Short { len });
    }
    let claims =
        RecordId { client: u32::from_le_bytes(*client), sequence: u64::from_le_bytes(*sequence) };
    let mut expected = vec![0; body.len()];
    body_of(claims, len, key).fill(&mut expected);
    match body.iter().zip(&expected).position(|(found, expected)| found != expected) {
        None => Ok(claims),
        Some(at) => Err(Wrong::Body { claims, len, at: ID_BYTES + at }),
    }
}

/// The generator of the body of a value of `len` bytes.
fn body_of(id: RecordId, len: usize, key: Option<Key>) -> Rng {
    // The finaliser of splitmix64 over each part: neighbours in any of them have nothing in common.
    let mut seed = u64::from(id.client);
    for part in [id.sequence, len as u64] {
        seed = mix(seed ^ part);
    }
    if let Some(key) = key {
        seed = mix(seed ^ (u64::from(key.number) * 2 + u64::from(key.is_tombstone) + 1));
    }
    Rng::with_seed(seed)
}

const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(client: u32, sequence: u64) -> RecordId {
        RecordId { client, sequence }
    }

    #[test]
    fn a_value_says_which_record_it_is() {
        let mut rng = Rng::with_seed(1);
        for (lengths, shortest) in [(Lengths::Mixed, VALUE_BYTES_MIN), (Lengths::Large, 4096)] {
            for sequence in 0..500 {
                let id = id(7, sequence);
                let value = encode(id, lengths, &mut rng);
                assert!((shortest..=VALUE_BYTES_MAX).contains(&value.len()));
                assert_eq!(decode(&value), Ok(id));
            }
        }
    }

    #[test]
    fn the_same_generator_draws_the_same_values() {
        let draw = || {
            let mut rng = Rng::with_seed(3);
            (0..50)
                .map(|sequence| encode(id(1, sequence), Lengths::Mixed, &mut rng))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    fn a_record_with_a_key_is_known_by_key_and_value_or_header() {
        let (mut rng, recipe) = (Rng::with_seed(5), Recipe { keys: 3, ..Recipe::default() });
        let (mut tombstones, mut without) = (0, 0);
        for sequence in 0..300 {
            let id = id(2, sequence);
            let made = Made::draw(id, recipe, &mut rng);
            let headers = made.headers();
            let header = headers.first().and_then(|(_, value)| *value);
            assert_eq!(read(made.name(), made.value(), header), Ok(id));
            without += u32::from(made.key.is_none());
            if made.key.is_some() {
                assert!(read(None, made.value(), header).is_err());
                assert!(read(Some(b"key-9"), made.value(), header).is_err());
                assert_eq!(read(Some(b"kex"), made.value(), header), Err(Wrong::Key));
            }
            if made.is_tombstone() {
                tombstones += 1;
                assert_eq!(read(made.name(), None, None), Err(Wrong::Missing));
                assert!(read(made.name(), header, None).is_err());
            }
        }
        assert!(tombstones > 20 && without > 5, "{tombstones} and {without}");
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let value = encode_to(id(1, 2), 40);
        for bit in 0..value.len() * 8 {
            let mut broken = value.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&broken).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_value_that_is_too_short_or_too_long_is_noticed() {
        let value = encode_to(id(1, 2), 64);
        for len in 0..value.len() {
            assert!(decode(&value[..len]).is_err(), "cut to {len}");
        }
        let mut longer = value;
        longer.push(0);
        assert!(decode(&longer).is_err());
    }

    #[test]
    fn the_body_of_another_record_is_noticed() {
        let (mut one, other) = (encode_to(id(1, 2), 64), encode_to(id(1, 3), 64));
        one[32..].copy_from_slice(&other[32..]);
        let found = decode(&one);
        assert_eq!(found, Err(Wrong::Body { claims: id(1, 2), len: 64, at: 32 }));
    }
}
