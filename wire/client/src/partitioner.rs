//! Which partition a record goes to.

use pyralog_log::ids::PartitionId;

/// How a producer chooses the partition of a record that names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Partitioner {
    /// Records with a key by [`partition_of_key`], so that equal keys stay in order; records
    /// without one go to a partition until its batch is sent, then to the next.
    #[default]
    KeyHash,
    /// All records, keys or not: to one partition until its batch is sent, then to the next.
    RoundRobin,
    /// All records to this one.
    Fixed(PartitionId),
}

/// The partition of a key: `crc32c(key) * partitions / 2^32`.
///
/// Frozen: clients in every language compute the same, or records of one key would part. CRC32C
/// because every client has it for batches. The product instead of a remainder uses the high bits;
/// both spread evenly.
///
/// ```
/// use pyralog_client::partition_of_key;
///
/// assert_eq!(partition_of_key(b"user-17", 16).get(), 5);
/// ```
///
/// # Panics
/// If `partitions` is zero: no log has none.
#[must_use]
pub fn partition_of_key(key: &[u8], partitions: u32) -> PartitionId {
    assert!(partitions > 0, "a log has at least one partition");
    let scaled = (u64::from(crc32c::crc32c(key)) * u64::from(partitions)) >> 32;
    PartitionId::new(u32::try_from(scaled).expect("below the number of partitions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_frozen() {
        let keys: [&[u8]; 4] = [b"", b"a", b"user-17", b"123456789"];
        let found = keys.map(|key| partition_of_key(key, 1024).get());
        // The last is the check value of CRC-32C, 0xe3069283, shifted by 22.
        assert_eq!(found, [0, 775, 357, 0xe306_9283_u32 >> 22]);
    }

    #[test]
    fn keys_spread_over_all_partitions_about_evenly() {
        let mut counts = [0_u32; 12];
        for number in 0..12_000_u32 {
            let partition = partition_of_key(format!("key-{number}").as_bytes(), 12);
            counts[partition.get() as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
