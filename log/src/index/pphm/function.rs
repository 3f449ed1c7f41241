//! The minimal perfect hash function of a partition: buckets and their pilots.
//!
//! Buckets are settled largest first, while there is room: the last are of one key each, and find one of
//! the few free slots after some thousand tries. Over buckets of four the pilots take 4 bits a key and
//! the search about a hundred tries; buckets of five would save 0.8 bits and cost five times the tries.

/// Keys per bucket, on average.
const BUCKET_KEYS: usize = 4;

/// Told apart from the seed of the file, so that partition and slot are independent.
const SEED: u64 = 0x5048_4153_4853_4c4f;

/// Number of buckets of a partition.
pub(super) const fn buckets(keys: usize) -> usize {
    keys.div_ceil(BUCKET_KEYS)
}

/// The second hash of a key. Two keys have the same only if they have the same first one: every step
/// can be undone.
pub(super) const fn scatter(hash: u64, attempt: u32) -> u64 {
    mix(hash ^ mix(SEED.wrapping_add(attempt as u64)))
}

/// The finaliser of `SplitMix64`.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// `0..bound`, evenly, by the 32 high bits.
const fn within(value: u64, bound: usize) -> usize {
    (((value >> 32) * bound as u64) >> 32) as usize
}

/// The bucket of a second hash.
pub(super) const fn bucket(scattered: u64, keys: usize) -> usize {
    within(scattered, buckets(keys))
}

/// The slot of a second hash whose bucket has this pilot.
pub(super) const fn slot(scattered: u64, pilot: u16, keys: usize) -> usize {
    let turn = (pilot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    within((scattered ^ turn).wrapping_mul(0xd6e8_feb8_6659_fd93), keys)
}

/// The pilot of each bucket, for second hashes of which no two are equal; `None` if a bucket has none.
pub(super) fn pilots(scattered: &[u64]) -> Option<Vec<u16>> {
    let keys = scattered.len();
    let by_bucket = sort_by_bucket(scattered);
    let mut buckets: Vec<&[u64]> =
        by_bucket.chunk_by(|one, other| bucket(*one, keys) == bucket(*other, keys)).collect();
    buckets.sort_by_key(|bucket| std::cmp::Reverse(bucket.len()));
    let (mut pilots, mut taken) = (vec![0; self::buckets(keys)], vec![false; keys]);
    let mut slots = Vec::with_capacity(keys);
    for members in buckets {
        let mut all = 0..=u16::MAX;
        pilots[bucket(members[0], keys)] = all.find(|pilot| {
            slots.clear();
            let settled = members.iter().all(|member| {
                let slot = slot(*member, *pilot, keys);
                slots.push(slot);
                !std::mem::replace(&mut taken[slot], true)
            });
            if !settled {
                // The last was taken already: by another bucket, or by one of these that is freed now.
                slots.pop();
                for slot in &slots {
                    taken[*slot] = false;
                }
            }
            settled
        })?;
    }
    Some(pilots)
}

/// The second hashes, those of a bucket together, buckets in order.
fn sort_by_bucket(scattered: &[u64]) -> Vec<u64> {
    let mut sorted = scattered.to_vec();
    // The bucket is in the high bits.
    sorted.sort_unstable();
    sorted
}
