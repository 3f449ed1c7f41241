//! The Ankh ring: which members a key belongs to, as a pure function of key and members.
//!
//! Each member has points on a circle of 2^64 places, [`POINTS_PER_WEIGHT`] for each unit of its weight; a key belongs to the
//! members whose points follow its own place. A member that joins takes over what precedes its points and nothing else
//! moves; one that leaves gives up its own. So of N members one that comes or goes moves about 1/N of the keys. With 160
//! points the shares of equal members deviate from their mean by about 8 percent (the square root of 1/160).
//!
//! Everybody who knows the same members finds the same ones, in every process and release: the hash, its seeds and the bytes
//! that are hashed are part of the contract, pinned by a test. The order in which the members are given is not.
//!
//! The alternative, rendezvous hashing, needs no points and looks at every member for every key; a ring looks at as many as
//! are asked for. Source: Karger et al., "Consistent Hashing and Random Trees", 1997.

use std::collections::BTreeMap;
use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::limits::RING_WEIGHT_MAX;

/// Points of a member of weight one.
pub const POINTS_PER_WEIGHT: u32 = 160;
/// Seed of the places of points: `AnkhRing` in ASCII.
const POINT_SEED: u64 = 0x416e_6b68_5269_6e67;
/// Seed of the places of keys. Another one, so that no key can be made to fall on a point.
const KEY_SEED: u64 = 0x416e_6b68_4b65_7973;

/// One of those to whom keys can belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Tells it from all others, for as long as it is meant to keep its keys.
    pub id: u64,
    /// What it shares its fate with: copies go to different racks while there are any. `None` is a rack of its own.
    pub rack: Option<String>,
    /// Its share of the keys in relation to the others. Zero: none, as when it is being drained.
    pub weight: u32,
}

impl Member {
    /// A member of weight one in a rack of its own.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self { id, rack: None, weight: 1 }
    }
}

/// Why there is no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RingError {
    /// Two members have this id.
    Twice {
        /// The id.
        id: u64,
    },
    /// The weights add up to more than [`RING_WEIGHT_MAX`].
    TooHeavy {
        /// What they add up to.
        weight: u64,
    },
    /// There is no member, or none with a weight.
    Empty,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice { id } => write!(f, "two members of the ring have the id {id}"),
            Self::TooHeavy { weight } => {
                write!(
                    f,
                    "the weights of the ring are {weight} together, at most {RING_WEIGHT_MAX}"
                )
            }
            Self::Empty => f.write_str("the ring has no member with a weight"),
        }
    }
}

impl std::error::Error for RingError {}

/// A prepared ring. Invariant: there is a point, and points are sorted by place, then by id of the member.
#[derive(Clone, Debug)]
pub struct AnkhRing {
    /// Place, and index of the member.
    points: Vec<(u64, u32)>,
    /// Those with a weight, sorted by id: id, and the index of the first one in the same rack.
    members: Vec<(u64, u32)>,
}

impl AnkhRing {
    /// The ring of these members, in whichever order they come.
    ///
    /// # Errors
    /// If two have one id, if their weights are more than [`RING_WEIGHT_MAX`] together, or if none has any.
    pub fn new(members: &[Member]) -> Result<Self, RingError> {
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_by_key(|member| member.id);
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(RingError::Twice { id: pair[0].id });
        }
        sorted.retain(|member| member.weight > 0);
        let weight = sorted.iter().map(|member| u64::from(member.weight)).sum();
        match weight {
            0 => return Err(RingError::Empty),
            1..=RING_WEIGHT_MAX => {}
            _ => return Err(RingError::TooHeavy { weight }),
        }
        let mut points = Vec::new();
        for (member, index) in sorted.iter().zip(0_u32..) {
            let numbers = 0..member.weight * POINTS_PER_WEIGHT;
            points.extend(numbers.map(|number| (place_of_point(member.id, number), index)));
        }
        points.sort_unstable();
        let mut first_of_rack = BTreeMap::new();
        let members = sorted.iter().zip(0..).map(|(member, index)| {
            let rack = member.rack.as_deref();
            let first = rack.map_or(index, |rack| *first_of_rack.entry(rack).or_insert(index));
            (member.id, first)
        });
        let members = members.collect();
        Ok(Self { points, members })
    }

    /// The ids of the `copies` members to whom `key` belongs, all distinct, its owner first; fewer if there are not so many.
    ///
    /// No rack has two of them while another has none, and so on for the third: within that, they are those whose points
    /// follow the key's place.
    #[must_use]
    pub fn locate(&self, key: &[u8], copies: usize) -> Vec<u64> {
        let place = xxh3_64_with_seed(key, KEY_SEED);
        let start = self.points.partition_point(|(point, _)| *point < place);
        let (passed, coming) = self.points.split_at(start);
        let copies = copies.min(self.members.len());
        let mut seen = vec![false; self.members.len()];
        let mut in_rack = vec![0_u32; self.members.len()];
        let mut racks = 0;
        // How many of its rack come before a member, and its id.
        let mut found: Vec<(u32, u64)> = Vec::with_capacity(copies);
        for (_, index) in coming.iter().chain(passed) {
            if racks == copies || found.len() == self.members.len() {
                break;
            }
            let index = *index as usize;
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let (id, rack) = self.members[index];
            let before = &mut in_rack[rack as usize];
            racks += usize::from(*before == 0);
            found.push((*before, id));
            *before += 1;
        }
        found.sort_by_key(|(before, _)| *before);
        found.into_iter().take(copies).map(|(_, id)| id).collect()
    }
}

/// Where a point of a member lies: part of the contract.
fn place_of_point(member: u64, number: u32) -> u64 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&member.to_le_bytes());
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    xxh3_64_with_seed(&bytes, POINT_SEED)
}

#[cfg(test)]
mod tests;
