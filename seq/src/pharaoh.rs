//! The Pharaoh network's terms: which slots a core owns, what a node is for, and blocks of ids that others mint from.
//!
//! Uniqueness needs one fact: at any time a slot has one owner, and an owner never goes back in its ticks. So whoever holds
//! slots, or a block cut from one, mints without talking to anybody. Until slots are leased they are assigned by the
//! operator: no two servers of a cluster may be given the same one.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::scarab::{SLOTS, ScarabId, Slot, Tick};

const WORDS: usize = SLOTS as usize / 64;

/// A set of slots. As text: `0-1023`, `0-15,32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotSet {
    /// Bit `n % 64` of word `n / 64` is slot `n`.
    words: [u64; WORDS],
}

impl SlotSet {
    /// No slot.
    pub const EMPTY: Self = Self { words: [0; WORDS] };
    /// Every slot of a cluster: for a cluster of one server.
    pub const ALL: Self = Self { words: [u64::MAX; WORDS] };

    /// Whether it holds `slot`.
    #[must_use]
    pub const fn contains(&self, slot: Slot) -> bool {
        self.words[slot.get() as usize / 64] >> (slot.get() % 64) & 1 == 1
    }

    /// Adds `slot`.
    pub const fn insert(&mut self, slot: Slot) {
        self.words[slot.get() as usize / 64] |= 1 << (slot.get() % 64);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// The slots in rising order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..SLOTS).filter_map(Slot::new).filter(|slot| self.contains(*slot))
    }

    /// The part of each of `shards` shards: neighbours in this set, and no two parts differ by more than one slot.
    ///
    /// # Errors
    /// If some shard would have none.
    ///
    /// # Panics
    /// If `shards` is zero.
    pub fn split(&self, shards: usize) -> Result<Vec<Self>, TooFewSlots> {
        assert!(shards > 0, "no shards");
        let slots = self.len();
        if slots < shards {
            return Err(TooFewSlots { slots, shards });
        }
        let mut parts = vec![Self::EMPTY; shards];
        for (place, slot) in self.iter().enumerate() {
            parts[place * shards / slots].insert(slot);
        }
        Ok(parts)
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::EMPTY;
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut slots = self.iter().map(Slot::get).peekable();
        let mut comma = "";
        while let Some(first) = slots.next() {
            let mut last = first;
            while let Some(next) = slots.next_if_eq(&(last + 1)) {
                last = next;
            }
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

/// Reads numbers and ranges between commas, in any order. A slot that is named twice is a mistake.
impl FromStr for SlotSet {
    type Err = ParseSlotsError;

    fn from_str(text: &str) -> Result<Self, ParseSlotsError> {
        let mut set = Self::EMPTY;
        for part in text.split(',') {
            let wrong = || ParseSlotsError { part: part.to_owned() };
            let (first, last) = range(part.trim()).map_err(|_| wrong())?;
            if first > last {
                return Err(wrong());
            }
            for number in first..=last {
                let slot = Slot::new(number).filter(|slot| !set.contains(*slot));
                set.insert(slot.ok_or_else(wrong)?);
            }
        }
        Ok(set)
    }
}

/// First and last of `7` or `7-9`.
fn range(part: &str) -> Result<(u16, u16), ParseIntError> {
    match part.split_once('-') {
        Some((first, last)) => Ok((first.trim().parse()?, last.trim().parse()?)),
        None => part.parse().map(|number| (number, number)),
    }
}

/// Why a text is no set of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseSlotsError {
    /// The part between commas that is wrong.
    part: String,
}

impl fmt::Display for ParseSlotsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no slot and no range of slots: name each of 0 to {} at most once, as in 0-15,32",
            self.part,
            SLOTS - 1
        )
    }
}

impl std::error::Error for ParseSlotsError {}

/// There are more shards than slots, and each needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewSlots {
    /// Slots there are.
    pub slots: usize,
    /// Shards there are.
    pub shards: usize,
}

impl fmt::Display for TooFewSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slots, shards } = self;
        write!(f, "{slots} slots for {shards} shards: each needs one, give this server more slots")
    }
}

impl std::error::Error for TooFewSlots {}

/// What a node is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Stores records. Mints ids for them, for nobody else.
    Pyramid,
    /// Serves ids and counters, stores no records.
    Obelisk,
    /// Both.
    #[default]
    All,
}

impl Role {
    /// Whether it stores records.
    #[must_use]
    pub const fn stores_records(self) -> bool {
        matches!(self, Self::Pyramid | Self::All)
    }

    /// Whether it serves ids and counters to others.
    #[must_use]
    pub const fn serves_ids(self) -> bool {
        matches!(self, Self::Obelisk | Self::All)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pyramid => "pyramid",
            Self::Obelisk => "obelisk",
            Self::All => "all",
        })
    }
}

/// Why a text is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseRoleError;

impl fmt::Display for ParseRoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a role is pyramid (stores records), obelisk (serves ids) or all")
    }
}

impl std::error::Error for ParseRoleError {}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        match text {
            "pyramid" => Ok(Self::Pyramid),
            "obelisk" => Ok(Self::Obelisk),
            "all" => Ok(Self::All),
            _ => Err(ParseRoleError),
        }
    }
}

/// Consecutive ids of one slot that belong to whoever holds this value, who may mint them.
///
/// Deliberately neither `Clone` nor `Copy`: two holders would mint the same ids. A block never expires, since what was dealt
/// is not dealt again. The price is that its ids say when the block was leased, not when they were minted.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    slot: Slot,
    first: Tick,
    count: u32,
}

impl Block {
    /// The block of `count` ids from `first` on; `None` if ticks end before it does. For those who deal ids, and for those who
    /// have received a block: nobody else may make one.
    #[must_use]
    pub const fn new(slot: Slot, first: Tick, count: u32) -> Option<Self> {
        match first.checked_add((count as u64).saturating_sub(1)) {
            Some(_) => Some(Self { slot, first, count }),
            None => None,
        }
    }

    /// The slot of all of its ids.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// The tick of its next id.
    #[must_use]
    pub const fn first(&self) -> Tick {
        self.first
    }

    /// How many ids are left.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Mints its next id; `None` once all are.
    #[expect(clippy::should_implement_trait, reason = "to count an iterator is to use it up")]
    pub fn next(&mut self) -> Option<ScarabId> {
        let one = self.cut(1)?;
        Some(ScarabId::new(one.slot, one.first))
    }

    /// Cuts the first `count` ids off as a block of their own; `None` if fewer are left.
    #[must_use]
    pub fn cut(&mut self, count: u32) -> Option<Self> {
        let left = self.count.checked_sub(count)?;
        let first = self.first;
        // After the last tick there is none, and no id is left that would need it.
        self.first = first.checked_add(u64::from(count)).unwrap_or(Tick::MAX);
        self.count = left;
        Some(Self { slot: self.slot, first, count })
    }
}

#[cfg(test)]
mod tests;
