//! Scarab ids: when, by whom and as which one, in 64 bits that sort by time.
//!
//! ```text
//! 63                    23 22       13 12         0
//! | milliseconds: 41      | slot: 10  | sequence: 13 |
//! ```
//!
//! Milliseconds count from 2025-01-01, slots are dealt out to cores ([`crate::pharaoh`]), and the sequence tells the ids of
//! one slot within one millisecond apart. What a slot counts in is the [`Tick`], time and sequence as one number of 54
//! bits: the 8192 ticks of a millisecond are followed by those of the next. So a run of n ids is n ticks, an overflow of
//! the sequence carries into the time instead of into the slot, and a slot that never repeats a tick never repeats an id.
//!
//! As a signed integer an id is positive until [`SIGNED_UNTIL_UNIX_MS`]. The epoch is a constant: ids of one cluster are
//! compared for as long as it lives.

use std::fmt;
use std::str::FromStr;

/// Milliseconds from the Unix epoch to the Scarab epoch, 2025-01-01T00:00:00Z.
pub const EPOCH_UNIX_MS: u64 = 1_735_689_600_000;

/// Bits of the time.
pub const TIME_BITS: u32 = 41;
/// Bits of the slot.
pub const SLOT_BITS: u32 = 10;
/// Bits of the sequence.
pub const SEQUENCE_BITS: u32 = 13;

/// Slots of a cluster.
pub const SLOTS: u16 = 1 << SLOT_BITS;
/// Ids of one slot in one millisecond.
pub const IDS_PER_MS: u64 = 1 << SEQUENCE_BITS;
/// The first millisecond since the Scarab epoch that no id can say.
pub const TIME_MS_END: u64 = 1 << TIME_BITS;

/// First Unix millisecond whose ids are negative as `i64`: 2059-11-04T19:53:47.776Z.
pub const SIGNED_UNTIL_UNIX_MS: u64 = EPOCH_UNIX_MS + TIME_MS_END / 2;
/// First Unix millisecond without ids: 2094-09-07T15:47:35.552Z.
pub const EXHAUSTED_UNIX_MS: u64 = EPOCH_UNIX_MS + TIME_MS_END;

/// Characters of the text form: 13 of 5 bits hold 64.
pub const TEXT_LEN: usize = 13;
/// Digits by value: Crockford's base 32 leaves out I, L, O and U, and sorts in ASCII as its values do.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The bits of a slot, where a shift has put them lowest.
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

const _: () = assert!(TIME_BITS + SLOT_BITS + SEQUENCE_BITS == u64::BITS);
const _: () = assert!(TEXT_LEN * 5 >= 64 && (TEXT_LEN - 1) * 5 < 64);

/// One of the [`SLOTS`] slots of a cluster. Whoever owns it deals its ticks, and nobody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot with this number, if there is one.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment of a slot: milliseconds since the Scarab epoch and a sequence, as one number below 2^54.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The last tick there is.
    pub const MAX: Self = Self((TIME_MS_END << SEQUENCE_BITS) - 1);

    /// The tick with this number, if there is one.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Scarab epoch.
    #[must_use]
    pub const fn time_ms(self) -> u64 {
        self.0 >> SEQUENCE_BITS
    }

    /// Place within its millisecond.
    #[must_use]
    pub const fn sequence(self) -> u16 {
        (self.0 & (IDS_PER_MS - 1)) as u16
    }

    /// The tick `count` ticks later, or `None` after the last one.
    #[must_use]
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(number) => Self::new(number),
            None => None,
        }
    }
}

/// An id. Every number of 64 bits is one.
///
/// Ids of one slot rise in the order in which they were dealt. Between slots their order is that of clocks, which is no
/// order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScarabId(u64);

impl ScarabId {
    /// The id of a tick of a slot.
    #[must_use]
    pub const fn new(slot: Slot, tick: Tick) -> Self {
        let time = tick.time_ms() << (SLOT_BITS + SEQUENCE_BITS);
        Self(time | (slot.0 as u64) << SEQUENCE_BITS | tick.sequence() as u64)
    }

    /// The id with this number.
    #[must_use]
    pub const fn from_raw(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The slot that dealt it.
    #[must_use]
    pub const fn slot(self) -> Slot {
        Slot((self.0 >> SEQUENCE_BITS & SLOT_MASK) as u16)
    }

    /// Its tick within the slot.
    #[must_use]
    pub const fn tick(self) -> Tick {
        let time_ms = self.0 >> (SLOT_BITS + SEQUENCE_BITS);
        Tick(time_ms << SEQUENCE_BITS | (self.0 & (IDS_PER_MS - 1)))
    }

    /// Its time in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn time_unix_ms(self) -> u64 {
        EPOCH_UNIX_MS + self.tick().time_ms()
    }

    /// Its place within its millisecond.
    #[must_use]
    pub const fn sequence(self) -> u16 {
        self.tick().sequence()
    }

    /// The id `n` ticks later in the same slot: that of the n-th record of a batch whose base this is. `None` after the
    /// last tick.
    #[must_use]
    pub const fn nth(self, n: u64) -> Option<Self> {
        match self.tick().checked_add(n) {
            Some(tick) => Some(Self::new(self.slot(), tick)),
            None => None,
        }
    }
}

/// The text form: [`TEXT_LEN`] digits of Crockford's base 32, which sort as the ids do.
impl fmt::Display for ScarabId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_LEN];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            *digit = DIGITS[(self.0 >> (5 * place) & 31) as usize];
        }
        f.pad(std::str::from_utf8(&text).expect("the digits are ASCII"))
    }
}

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a Scarab id: give its number, 0 to {}, or its text of {TEXT_LEN} characters, \
             0000000000000 to FZZZZZZZZZZZZ without I, L, O and U",
            u64::MAX
        )
    }
}

impl std::error::Error for ParseIdError {}

/// Reads both forms: [`TEXT_LEN`] characters are the text, in either case, with Crockford's readings of I, L and O; any
/// other length is the number. A number of 13 digits would be an id of the first twenty minutes of 2025.
impl FromStr for ScarabId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let number = if text.len() == TEXT_LEN {
            text.bytes().try_fold(0_u64, |number, letter| {
                // Only the first of 13 digits can overflow: it has four bits of room.
                Some(number.checked_mul(32)? | value_of(letter)?)
            })
        } else {
            let digits = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        number.map(Self).ok_or(ParseIdError)
    }
}

/// The value of a digit as people write it.
fn value_of(letter: u8) -> Option<u64> {
    let digit = match letter.to_ascii_uppercase() {
        b'I' | b'L' => b'1',
        b'O' => b'0',
        other => other,
    };
    DIGITS.binary_search(&digit).ok().map(|value| value as u64)
}

#[cfg(test)]
mod tests;
