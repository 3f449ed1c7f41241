//! Randomness: streams that repeat from a seed, and entropy.
//!
//! A stream depends on the machine's seed, the shard and a name, and on nothing else: two runs with
//! one seed draw the same numbers, and a new consumer does not shift those of another.

use crate::{sim, world};

/// A pseudo-random stream. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    generator: fastrand::Rng,
}

impl Rng {
    /// A stream from a seed of the caller's.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self { generator: fastrand::Rng::with_seed(seed) }
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.generator.u64(..)
    }

    /// A number uniform in `0..bound`.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing lies below zero");
        self.generator.u64(..bound)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill(bytes);
    }
}

/// The stream called `name` of this core. Asking twice gives the same numbers twice.
///
/// On a thread that is not a core the machine's part of the seed is entropy.
#[must_use]
pub fn stream(name: &str) -> Rng {
    let (seed, shard) = world::try_current()
        .map_or_else(|| (entropy_u64(), 0), |world| (world.seed, world.shard as u64));
    let mut state = mix(seed ^ mix(shard.wrapping_add(1)));
    for byte in name.bytes() {
        state = mix(state ^ u64::from(byte));
    }
    Rng::with_seed(state)
}

/// A number nobody can guess or repeat: for ids and generations that must never meet their like.
///
/// # Panics
/// If the operating system gives no randomness; nothing unique can be made then.
#[must_use]
pub fn entropy_u64() -> u64 {
    if let Some(number) = sim::entropy() {
        return number;
    }
    getrandom::u64().expect("getrandom works on every kernel that has io_uring")
}

/// The finaliser of splitmix64: a bijection whose output bits depend on all input bits.
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
