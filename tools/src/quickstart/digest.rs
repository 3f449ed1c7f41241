//! An order-sensitive digest of a sequence of records.
//!
//! It compares what was sent with what came back. It must not share code with the checksums of the
//! format (a mistake there would cancel out), must notice any change of a byte, of a boundary
//! between records or of their order, and must keep up with the stream; it need not resist an
//! adversary. So: 8 bytes at a time, multiplied and folded, with the length of every field mixed in.

/// Odd 64-bit constants with well mixed bits (fractional part of the golden ratio, and of pi).
const MULTIPLY: u64 = 0x9E37_79B9_7F4A_7C15;
const START: u64 = 0x243F_6A88_85A3_08D3;

/// The digest of the records seen so far. Equal sequences have equal digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    state: u64,
    records: u64,
    bytes: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { state: START, records: 0, bytes: 0 }
    }
}

impl Digest {
    /// Adds the next record.
    pub(crate) fn add(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.field(key);
        self.field(value);
        self.records += 1;
        self.bytes += (key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) as u64;
    }

    /// Records seen so far.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of keys and values seen so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn field(&mut self, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return self.mix(u64::MAX) };
        self.mix(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }

    fn mix(&mut self, word: u64) {
        let input = self.state ^ word;
        let high = (u128::from(input) * u128::from(MULTIPLY)) >> 64;
        let high = u64::try_from(high).expect("a product of 128 bits shifted by 64");
        // The addition keeps a zero product from absorbing the state.
        self.state = (input.wrapping_mul(MULTIPLY) ^ high).wrapping_add(MULTIPLY);
    }
}

/// `1f03…`: enough of the digest to compare by eye.
impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and value.
    type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

    fn digest(records: &[Pair<'_>]) -> Digest {
        let mut digest = Digest::default();
        for (key, value) in records {
            digest.add(*key, *value);
        }
        digest
    }

    #[test]
    fn order_boundaries_nulls_and_every_bit_count() {
        let text: &[u8] = b"0123456789abcdefg";
        let base = digest(&[(Some(b"k"), Some(text)), (None, Some(b"b"))]);
        let mut others = vec![
            digest(&[(None, Some(b"b")), (Some(b"k"), Some(text))]),
            digest(&[(Some(b"k0"), Some(&text[1..])), (None, Some(b"b"))]),
            digest(&[(Some(b"k"), Some(text)), (Some(b""), Some(b"b"))]),
            digest(&[(Some(b"k"), Some(text))]),
            digest(&[(Some(b"k"), Some(text)), (None, Some(b"b\0"))]),
            digest(&[(Some(b"k"), Some(text)), (None, None)]),
        ];
        for bit in 0..text.len() * 8 {
            let mut changed = text.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            others.push(digest(&[(Some(b"k"), Some(&changed)), (None, Some(b"b"))]));
        }
        assert!(others.iter().all(|other| *other != base));
        assert_eq!((base.records(), base.bytes()), (2, 19));
    }
    #[test]
    fn a_boundary_that_moves_by_a_zero_byte_counts() {
        let (one, other) =
            (digest(&[(Some(b"a\0"), Some(b"b"))]), digest(&[(Some(b"a"), Some(b"b\0"))]));
        assert_eq!(one.bytes(), other.bytes());
        assert_ne!(one, other);
    }
}
