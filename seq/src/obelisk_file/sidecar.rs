//! The sidecar: what an obelisk is, and a value that it has been at, in 64 bytes beside the file that counts.
//!
//! A length has no checksum: a copy that lost it, an old backup, somebody's `truncate` all leave a file that looks sound
//! and would deal numbers again. The sidecar notes now and then how far the obelisk had come (its *bound*), so a file
//! that is shorter is known. It is a note, not a second counter: numbers dealt since are not in it, and a backup that
//! brings back both is beyond its knowledge.
//!
//! ```text
//!   0       8     12        14       15     16      24          32            36      40           64
//!   | magic | crc | version | stride | mode | block | low water | interval ms | zeros | bound ..    |
//!                                                                                     40..48, then zeros
//! ```
//!
//! Little-endian. The stride is stored as the power of two that it is. The checksum is CRC-32C over bytes 12..64 as they
//! are stored. What a mode does not use is zero.

use std::time::Duration;

use crate::obelisk::Mode;

/// Bytes of a sidecar.
pub(crate) const SIDECAR_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"PyrObeli";
const VERSION: u16 = 1;

const CRC: usize = 8;
const VERSION_AT: usize = 12;
const STRIDE: usize = 14;
const MODE: usize = 15;
const BLOCK: usize = 16;
const LOW_WATER: usize = 24;
const INTERVAL_MS: usize = 32;
const BOUND: usize = 40;
const BOUND_END: usize = 48;

/// What a sidecar says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sidecar {
    /// Values per generation, a power of two.
    pub(crate) stride: u64,
    /// How numbers are dealt.
    pub(crate) mode: Mode,
    /// The obelisk has been at this value, durably.
    pub(crate) bound: u64,
}

/// What was found where a sidecar should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// No such file.
    Missing,
    /// Its length, magic, checksum or a field is wrong.
    Damaged,
    /// Sound, and of a version that came later.
    Newer { version: u16 },
    /// One of ours.
    Sound(Sidecar),
}

impl Sidecar {
    /// The bytes that say so.
    ///
    /// # Panics
    /// If a field is out of its range.
    pub(crate) fn encode(&self) -> [u8; SIDECAR_BYTES] {
        assert!(self.stride.is_power_of_two(), "a stride of {}", self.stride);
        assert!(self.mode.is_valid(), "{:?}", self.mode);
        let (tag, block, low_water, interval) = match self.mode {
            Mode::Always => (1, 0, 0, Duration::ZERO),
            Mode::Group => (2, 0, 0, Duration::ZERO),
            Mode::Reserve { block, low_water } => (3, block, low_water, Duration::ZERO),
            Mode::UnsafeInterval { interval } => (4, 0, 0, interval),
            Mode::Memory => (5, 0, 0, Duration::ZERO),
        };
        let stride = u8::try_from(self.stride.trailing_zeros()).expect("below 64");
        let interval_ms = u32::try_from(interval.as_millis()).expect("at most a minute");
        let mut bytes = [0; SIDECAR_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, VERSION_AT, &VERSION.to_le_bytes());
        put(&mut bytes, STRIDE, &[stride, tag]);
        put(&mut bytes, BLOCK, &block.to_le_bytes());
        put(&mut bytes, LOW_WATER, &low_water.to_le_bytes());
        put(&mut bytes, INTERVAL_MS, &interval_ms.to_le_bytes());
        put(&mut bytes, BOUND, &self.bound.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[VERSION_AT..]);
        put(&mut bytes, CRC, &crc.to_le_bytes());
        debug_assert_eq!(Self::decode(&bytes), Found::Sound(*self));
        bytes
    }

    /// What `bytes` say: the whole content of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Found {
        let Ok(bytes) = <&[u8; SIDECAR_BYTES]>::try_from(bytes) else { return Found::Damaged };
        let crc = u32::from_le_bytes(field(bytes, CRC));
        if bytes[..CRC] != MAGIC || crc != crc32c::crc32c(&bytes[VERSION_AT..]) {
            return Found::Damaged;
        }
        match u16::from_le_bytes(field(bytes, VERSION_AT)) {
            VERSION => Self::decode_fields(bytes).map_or(Found::Damaged, Found::Sound),
            version => Found::Newer { version },
        }
    }

    /// The fields of this version; `None` if one of them is none that [`encode`](Self::encode) writes.
    fn decode_fields(bytes: &[u8; SIDECAR_BYTES]) -> Option<Self> {
        let block = u64::from_le_bytes(field(bytes, BLOCK));
        let low_water = u64::from_le_bytes(field(bytes, LOW_WATER));
        let interval_ms = u32::from_le_bytes(field(bytes, INTERVAL_MS));
        let mode = match bytes[MODE] {
            1 => Mode::Always,
            2 => Mode::Group,
            3 => Mode::Reserve { block, low_water },
            4 => Mode::UnsafeInterval { interval: Duration::from_millis(interval_ms.into()) },
            5 => Mode::Memory,
            _ => return None,
        };
        let stride = 1_u64.checked_shl(bytes[STRIDE].into())?;
        let zeros = bytes[INTERVAL_MS + 4..BOUND].iter().chain(&bytes[BOUND_END..]);
        let bound = u64::from_le_bytes(field(bytes, BOUND));
        let sound = mode.is_valid() && zeros.into_iter().all(|byte| *byte == 0);
        sound.then_some(Self { stride, mode, bound })
    }
}

fn put(bytes: &mut [u8; SIDECAR_BYTES], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn field<const N: usize>(bytes: &[u8; SIDECAR_BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the layout lies within the sidecar")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const MODES: [Mode; 5] = [
        Mode::Always,
        Mode::Group,
        Mode::Reserve { block: 65_536, low_water: 32_768 },
        Mode::UnsafeInterval { interval: Duration::from_millis(250) },
        Mode::Memory,
    ];

    fn sidecar(mode: Mode) -> Sidecar {
        Sidecar { stride: 1 << 43, mode, bound: 0x0123_4567_89ab_cdef }
    }

    /// Puts the checksum right after a change.
    fn seal(bytes: &mut [u8; SIDECAR_BYTES]) {
        let crc = crc32c::crc32c(&bytes[VERSION_AT..]);
        put(bytes, CRC, &crc.to_le_bytes());
    }

    #[test]
    fn a_sidecar_is_read_as_it_was_written() {
        for mode in MODES {
            let sidecar = sidecar(mode);
            assert_eq!(Sidecar::decode(&sidecar.encode()), Found::Sound(sidecar));
        }
    }

    #[test]
    fn its_bytes_are_those_of_the_format() {
        let golden = include_str!("golden.txt");
        let mut written = String::new();
        for line in MODES.map(|mode| sidecar(mode).encode()).as_flattened().chunks(16) {
            let number = u128::from_be_bytes(line.try_into().unwrap());
            writeln!(written, "{number:032x}").unwrap();
        }
        assert_eq!(written, golden);
    }

    #[test]
    fn no_changed_bit_goes_unnoticed() {
        let sound = sidecar(Mode::default()).encode();
        for bit in 0..SIDECAR_BYTES * 8 {
            let mut bytes = sound;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Sidecar::decode(&bytes), Found::Damaged, "bit {bit}");
        }
        for len in 0..SIDECAR_BYTES {
            assert_eq!(Sidecar::decode(&sound[..len]), Found::Damaged, "{len} bytes");
        }
        assert_eq!(Sidecar::decode(&[&sound[..], &[0]].concat()), Found::Damaged);
    }

    #[test]
    fn fields_that_nobody_writes_are_damage_under_a_right_checksum() {
        let changes: [(usize, u8); 7] = [
            (STRIDE, 64),
            (MODE, 0),
            (MODE, 6),
            (LOW_WATER + 7, 1),
            (BLOCK + 7, 1),
            (INTERVAL_MS + 4, 1),
            (SIDECAR_BYTES - 1, 1),
        ];
        for (at, value) in changes {
            let mut bytes = sidecar(Mode::default()).encode();
            bytes[at] = value;
            seal(&mut bytes);
            assert_eq!(Sidecar::decode(&bytes), Found::Damaged, "{value} at {at}");
        }
    }

    #[test]
    fn a_later_version_is_known_for_one() {
        let mut bytes = sidecar(Mode::Always).encode();
        put(&mut bytes, VERSION_AT, &2_u16.to_le_bytes());
        put(&mut bytes, STRIDE, &[99, 99]);
        seal(&mut bytes);
        assert_eq!(Sidecar::decode(&bytes), Found::Newer { version: 2 });
    }
}
