//! Keys and values of records, from a seed. Values are cut from one pool, so that making one costs nothing.

use fastrand::Rng;

use crate::limits::{POOL_BYTES, STAMP_BYTES};
use crate::quantity::to_f64;
use crate::scenario::{Keys, Payload, Scenario, Sizes};

/// Bytes of a key: an index in hexadecimal digits.
pub(crate) const KEY_BYTES: usize = 16;

/// Blocks in which a compressible pool repeats itself: within the window of every codec.
const BLOCK_BYTES: usize = 512;

/// The records of one producer.
pub(crate) struct Records {
    pool: Vec<u8>,
    cursor: usize,
    sizes: Sizes,
    keys: Sampler,
    key: [u8; KEY_BYTES],
    stamped: bool,
    rng: Rng,
}

/// A record to be sent, borrowed from [`Records`].
pub(crate) struct Made<'a> {
    /// Its key.
    pub(crate) key: Option<&'a [u8]>,
    /// Its value.
    pub(crate) value: &'a [u8],
}

impl Made<'_> {
    /// Bytes of key and value.
    pub(crate) fn bytes(&self) -> u64 {
        (self.key.map_or(0, <[u8]>::len) + self.value.len()) as u64
    }
}

impl Records {
    /// The records of producer `index`.
    pub(crate) fn new(scenario: &Scenario, index: u32) -> Self {
        let mut rng =
            Rng::with_seed(scenario.seed.rotate_left(17) ^ (u64::from(index) << 32 | 0x5eed));
        let largest = usize::try_from(scenario.record_size.max()).unwrap_or(usize::MAX);
        let mut pool = vec![0; POOL_BYTES.max(largest.saturating_mul(2))];
        fill(&mut pool, scenario.payload, &mut rng);
        Self {
            pool,
            cursor: 0,
            sizes: scenario.record_size,
            keys: Sampler::new(scenario.keys),
            key: [b'0'; KEY_BYTES],
            stamped: scenario.tailers() > 0,
            rng,
        }
    }

    /// The next one. If consumers wait for it, its value begins with `due_ns`.
    pub(crate) fn next(&mut self, due_ns: u64) -> Made<'_> {
        let mut size = self.size();
        if self.stamped {
            size = size.max(STAMP_BYTES);
        }
        if self.cursor + size > self.pool.len() {
            self.cursor = 0;
        }
        let value = self.cursor..self.cursor + size;
        self.cursor = value.end;
        if self.stamped {
            self.pool[value.start..value.start + STAMP_BYTES]
                .copy_from_slice(&due_ns.to_le_bytes());
        }
        let keyed = self.keys.next(&mut self.rng);
        if let Some(index) = keyed {
            write_key(&mut self.key, index);
        }
        Made { key: keyed.map(|_| &self.key[..]), value: &self.pool[value] }
    }

    #[expect(clippy::cast_possible_truncation, reason = "sizes are at most 8 MiB")]
    fn size(&mut self) -> usize {
        let size = match self.sizes {
            Sizes::Fixed(size) => size,
            Sizes::Uniform { min, max } => self.rng.u64(min..=max),
            Sizes::LogNormal { median, sigma, max } => {
                let value = to_f64(median) * (sigma * normal(&mut self.rng)).exp();
                whole(value).clamp(1, max)
            }
        };
        size as usize
    }
}

/// The due time that [`Records::next`] wrote into a value.
pub(crate) fn stamp_of(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Standard normal (Box and Muller).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Random bytes, of which a part of each block repeats if they shall shrink.
fn fill(pool: &mut [u8], payload: Payload, rng: &mut Rng) {
    rng.fill(pool);
    let Payload::Compressible { ratio } = payload else { return };
    for block in pool.chunks_mut(BLOCK_BYTES) {
        let random = usize::try_from(whole(to_f64(block.len() as u64) / ratio)).unwrap_or(0);
        for byte in block.iter_mut().skip(random) {
            *byte = b'.';
        }
    }
}

/// Sixteen hexadecimal digits. Neighbours get keys that are far apart, as real ones do.
fn write_key(key: &mut [u8; KEY_BYTES], index: u64) {
    let mut mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for digit in key.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(mixed & 15) as usize];
        mixed >>= 4;
    }
}

/// Chooses keys.
enum Sampler {
    None,
    Uniform(u64),
    Zipf(Zipf),
}

impl Sampler {
    fn new(keys: Keys) -> Self {
        match keys {
            Keys::None => Self::None,
            Keys::Uniform { count } => Self::Uniform(count),
            Keys::Zipf { count, s } => Self::Zipf(Zipf::new(count, s)),
        }
    }

    fn next(&self, rng: &mut Rng) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Uniform(count) => Some(rng.u64(..*count)),
            Self::Zipf(zipf) => Some(zipf.next(rng)),
        }
    }
}

/// Zipf's law without a table: W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone
/// discrete distributions", ACM TOMACS 6 (1996).
struct Zipf {
    count: f64,
    s: f64,
    integral_first: f64,
    integral_last: f64,
    shortcut: f64,
}

impl Zipf {
    fn new(count: u64, s: f64) -> Self {
        let mut zipf = Self {
            count: to_f64(count),
            s,
            integral_first: 0.0,
            integral_last: 0.0,
            shortcut: 0.0,
        };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(zipf.count + 0.5);
        zipf.shortcut = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    /// From 0, the most frequent, to below the count.
    fn next(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.integral_last + rng.f64() * (self.integral_first - self.integral_last);
            let x = self.inverse(u);
            let k = x.round().clamp(1.0, self.count);
            if k - x <= self.shortcut || u >= self.integral(k + 0.5) - self.density(k) {
                return whole(k) - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.s * x.ln()).exp()
    }

    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let power = (1.0 - self.s) * log;
        log * if power.abs() > 1e-8 { power.exp_m1() / power } else { 1.0 + power / 2.0 }
    }

    fn inverse(&self, x: f64) -> f64 {
        let power = (x * (1.0 - self.s)).max(-1.0);
        (x * if power.abs() > 1e-8 { power.ln_1p() / power } else { 1.0 - power / 2.0 }).exp()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Scenario {
        Scenario::read(text, toml::Table::new()).unwrap()
    }

    #[test]
    fn a_seed_decides_every_byte_and_producers_differ() {
        let scenario = scenario("record_size = 'uniform:10..90'\nkeys = 'uniform:1k'\nseed = 5");
        let bytes = |index| {
            let mut records = Records::new(&scenario, index);
            let mut all = Vec::new();
            for _ in 0..100 {
                let made = records.next(0);
                all.extend_from_slice(made.key.unwrap());
                all.extend_from_slice(made.value);
            }
            all
        };
        assert_eq!(bytes(0), bytes(0));
        assert_ne!(bytes(0), bytes(1));
    }

    #[test]
    fn sizes_stay_in_range_and_have_their_median() {
        let mut uniform = Records::new(&scenario("record_size = 'uniform:3..7'"), 0);
        let mut seen = [0; 9];
        (0..1000).for_each(|_| seen[uniform.next(0).value.len()] += 1);
        assert_eq!((seen[..3].iter().sum::<i32>(), seen[8]), (0, 0));
        assert!(seen[3..8].iter().all(|count| *count > 100), "{seen:?}");

        let mut lognormal = Records::new(&scenario("record_size = 'lognormal:300,1.0,4KiB'"), 0);
        let mut sizes: Vec<usize> = (0..4001).map(|_| lognormal.next(0).value.len()).collect();
        sizes.sort_unstable();
        assert!((270..330).contains(&sizes[2000]), "{}", sizes[2000]);
        assert!(*sizes.last().unwrap() <= 4096);
    }

    #[test]
    fn a_stamp_comes_back_from_the_value() {
        let mut records = Records::new(&scenario("workload = 'tail'\nrecord_size = '8B'"), 0);
        assert_eq!(stamp_of(records.next(123_456_789).value), Some(123_456_789));
        assert_eq!(stamp_of(b"short"), None);
    }

    #[test]
    fn compressible_values_shrink_about_as_much_as_they_say() {
        let scenario = scenario("payload = 'compressible:4'\nrecord_size = '64KiB'");
        let mut records = Records::new(&scenario, 0);
        let value = records.next(0).value;
        let distinct = value.iter().filter(|byte| **byte != b'.').count();
        assert!((value.len() / 5..value.len() / 3).contains(&distinct), "{distinct}");
    }

    #[test]
    fn zipf_gives_each_key_its_share() {
        let (zipf, mut rng) = (Zipf::new(1000, 1.0), Rng::with_seed(1));
        let mut seen = vec![0_u32; 1000];
        (0..100_000).for_each(|_| seen[usize::try_from(zipf.next(&mut rng)).unwrap()] += 1);
        // The sum of 1/k to 1000 is 7.485.
        for (index, share) in [(0, 1.0 / 7.485), (1, 0.5 / 7.485), (9, 0.1 / 7.485)] {
            let found = f64::from(seen[index]) / 100_000.0;
            assert!((found / share - 1.0).abs() < 0.1, "key {index}: {found}, not {share}");
        }
    }
}
