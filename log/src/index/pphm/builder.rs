//! Building a map from entries in any order, with duplicates.

use super::writer::{BuildError, Entry, Writer};
use super::{ATTEMPTS_MAX, Header, Mode, hash, partition_bits, partition_of};
use crate::limits::KEY_BYTES_MAX;

/// What becomes of several values of one key: a left fold over them, by source and then by the order in
/// which the source gave them.
///
/// Values are numbers: offsets, positions, counts. Reducers that append, merge documents or choose by a
/// time or a priority within the value are for values with an inside, and are not here.
#[derive(Clone, Copy, Debug, Default)]
pub enum Reducer {
    /// The first value of the lowest source.
    First,
    /// The last value of the highest source. Newest only if sources are numbered by age; of offsets,
    /// [`Self::Max`] is the newest.
    Last,
    /// The largest: the newest offset.
    #[default]
    Max,
    /// The smallest.
    Min,
    /// The sum; the build fails if it passes 2^64.
    Sum,
    /// There must be one value, even if a second equals it.
    ErrorOnDuplicate,
    /// Any associative function.
    Custom(fn(u64, u64) -> u64),
}

impl Reducer {
    fn reduce(self, first: u64, second: u64) -> Result<u64, BuildError> {
        match self {
            Self::First => Ok(first),
            Self::Last => Ok(second),
            Self::Max => Ok(first.max(second)),
            Self::Min => Ok(first.min(second)),
            Self::Sum => first.checked_add(second).ok_or(BuildError::Overflow),
            Self::ErrorOnDuplicate => Err(BuildError::Duplicate { first, second }),
            Self::Custom(reduce) => Ok(reduce(first, second)),
        }
    }
}

/// What a builder makes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What slots say of their keys.
    pub mode: Mode,
    /// What becomes of several values of one key. By fingerprint, two keys with one hash are one key.
    pub reducer: Reducer,
    /// Seed of the hash; secret if keys come from strangers. If two keys of an exact map have the same
    /// hash, the next number is tried.
    pub seed: u64,
    /// Least number of partitions; rounded up to a power of two, and to what the keys need.
    pub partitions_min: u32,
    /// Whatever the maker recognises the file by.
    pub tag: [u8; 32],
    /// Most bytes of entries held: 40 for each, duplicates included, and in exact mode its key. The file
    /// comes on top, and two partitions.
    pub bytes_max: usize,
}

impl Options {
    /// A map of the mode: the largest value of a key, seed and tag zero, at most 64 MiB.
    #[must_use]
    pub const fn new(mode: Mode) -> Self {
        let (reducer, bytes_max) = (Reducer::Max, 64 << 20);
        Self { mode, reducer, seed: 0, partitions_min: 1, tag: [0; 32], bytes_max }
    }
}

/// An entry that was pushed.
#[derive(Clone, Copy, Debug)]
struct Pushed {
    hash: u64,
    value: u64,
    /// Where its key starts in the builder's, in exact mode.
    key_start: usize,
    key_len: u32,
    source: u32,
    /// Among all that were pushed.
    position: u32,
}

const _: () = assert!(size_of::<Pushed>() == 40, "what the options say");

/// Builds a map. The file depends on what was pushed from each source in which order, and on nothing
/// else.
#[derive(Debug)]
pub struct Builder {
    options: Options,
    pushed: Vec<Pushed>,
    keys: Vec<u8>,
}

impl Builder {
    /// A builder of a map without entries.
    #[must_use]
    pub const fn new(options: Options) -> Self {
        Self { options, pushed: Vec::new(), keys: Vec::new() }
    }

    /// Adds an entry of a source. Sources may take turns.
    ///
    /// # Errors
    /// If the key is longer than [`KEY_BYTES_MAX`], or the memory is used up; then nothing was added.
    pub fn push(&mut self, source: u32, key: &[u8], value: u64) -> Result<(), BuildError> {
        let Options { mode, seed, bytes_max, .. } = self.options;
        let key_len = u32::try_from(key.len()).ok().filter(|_| key.len() <= KEY_BYTES_MAX);
        let max = KEY_BYTES_MAX;
        let key_len = key_len.ok_or(BuildError::KeyTooLong { max, found: key.len() })?;
        let kept = if mode == Mode::Exact { key } else { &[] };
        let held = (self.pushed.len() + 1) * size_of::<Pushed>() + self.keys.len() + kept.len();
        let position = u32::try_from(self.pushed.len()).ok().filter(|_| held <= bytes_max);
        let position = position.ok_or(BuildError::Full { bytes_max })?;
        let (hash, key_start) = (hash(seed, key), self.keys.len());
        self.keys.extend_from_slice(kept);
        self.pushed.push(Pushed { hash, value, key_start, key_len, source, position });
        Ok(())
    }

    /// The file.
    ///
    /// # Errors
    /// If the reducer fails, or there is no function.
    pub fn finish(mut self) -> Result<Vec<u8>, BuildError> {
        for attempt in 0..ATTEMPTS_MAX {
            let seed = self.options.seed.wrapping_add(u64::from(attempt));
            if attempt > 0 {
                self.hash_again(seed);
            }
            self.sort();
            if !self.has_collision() {
                self.reduce()?;
                return self.write(seed);
            }
        }
        Err(BuildError::NoFunction)
    }

    fn key<'a>(keys: &'a [u8], pushed: &Pushed) -> &'a [u8] {
        // By fingerprint no key was kept, and all are equal that have the same hash.
        keys.get(pushed.key_start..pushed.key_start + pushed.key_len as usize).unwrap_or_default()
    }

    fn hash_again(&mut self, seed: u64) {
        for pushed in &mut self.pushed {
            pushed.hash = hash(seed, Self::key(&self.keys, pushed));
        }
    }

    fn sort(&mut self) {
        let order = |one: &Pushed, other: &Pushed| {
            let keys = || Self::key(&self.keys, one).cmp(Self::key(&self.keys, other));
            let rank = |pushed: &Pushed| (pushed.source, pushed.position);
            one.hash.cmp(&other.hash).then_with(keys).then_with(|| rank(one).cmp(&rank(other)))
        };
        self.pushed.sort_unstable_by(order);
    }

    /// Whether two keys have the same hash.
    fn has_collision(&self) -> bool {
        self.pushed.windows(2).any(|pair| {
            let keys = || Self::key(&self.keys, &pair[0]) != Self::key(&self.keys, &pair[1]);
            pair[0].hash == pair[1].hash && keys()
        })
    }

    /// Leaves one value of each key.
    fn reduce(&mut self) -> Result<(), BuildError> {
        let (reducer, mut result) = (self.options.reducer, Ok(()));
        self.pushed.dedup_by(|second, first| {
            let same = first.hash == second.hash;
            if same {
                match reducer.reduce(first.value, second.value) {
                    Ok(value) => first.value = value,
                    Err(error) => result = Err(error),
                }
            }
            same
        });
        result
    }

    fn write(&self, seed: u64) -> Result<Vec<u8>, BuildError> {
        let Options { mode, partitions_min, tag, .. } = self.options;
        let wanted = partition_bits(u64::from(partitions_min) * super::PARTITION_KEYS);
        let partition_bits = partition_bits(self.pushed.len() as u64).max(wanted);
        let mut out = Vec::new();
        let mut writer = Writer::begin(Header { mode, partition_bits, seed, tag }, &mut out);
        let (mut entries, mut rest) = (Vec::new(), self.pushed.as_slice());
        for number in 0..1 << partition_bits {
            let ours = |pushed: &Pushed| partition_of(pushed.hash, partition_bits) == number;
            let (these, others) = rest.split_at(rest.partition_point(ours));
            rest = others;
            entries.clear();
            entries.extend(these.iter().map(|pushed| Entry {
                hash: pushed.hash,
                key: Self::key(&self.keys, pushed),
                value: pushed.value,
            }));
            writer.partition(&entries, &mut out)?;
        }
        writer.finish(&mut out);
        Ok(out)
    }
}
