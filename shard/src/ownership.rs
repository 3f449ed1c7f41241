//! Which core owns a partition or a counter: a pure function of its name and the number of cores, by the
//! [Ankh ring](pyralog_seq::ankh) of the cores.
//!
//! The ring puts the cores in an order for each log, and partition *p* goes to the *p*-th of them, beginning again after
//! the last: no core owns two partitions of a log more than another. Directories are named by log and partition
//! only, so a restart with another number of cores moves ownership and nothing else. The catalog partition (log 0)
//! belongs to shard 0 for every number of cores.
//!
//! Decision 6 (`docs/decisions`) says what moves then, and what this costs beside a remainder.

use std::cell::RefCell;

use pyralog_log::ids::{LogId, PartitionId};
use pyralog_seq::ankh::{AnkhRing, Member};

/// The log that holds the catalog's commands.
pub const CATALOG_LOG: LogId = LogId::ZERO;
/// The core that owns the catalog.
pub const CATALOG_SHARD: usize = 0;

thread_local! {
    /// What the last question was answered with: a core asks with one number of shards all its life, and in runs of
    /// partitions of one log.
    static PREPARED: RefCell<Option<Prepared>> = const { RefCell::new(None) };
}

/// A ring of shards, and their order for one log.
struct Prepared {
    shards: usize,
    ring: AnkhRing,
    log: LogId,
    order: Vec<usize>,
}

/// The shard in `0..shards` that owns a partition.
///
/// # Panics
/// If `shards` is zero: a machine has at least one core.
#[must_use]
pub fn owner(log: LogId, partition: PartitionId, shards: usize) -> usize {
    if log == CATALOG_LOG {
        return CATALOG_SHARD;
    }
    with_ring(shards, |prepared| {
        if prepared.log != log {
            prepared.log = log;
            prepared.order = prepared.locate(&log.get().to_le_bytes(), shards);
        }
        let place = partition.get() as usize % shards;
        prepared.order[place]
    })
}

/// The shard in `0..shards` that owns a counter.
///
/// # Panics
/// If `shards` is zero: a machine has at least one core.
#[must_use]
pub fn counter_owner(name: &str, shards: usize) -> usize {
    with_ring(shards, |prepared| prepared.locate(name.as_bytes(), 1)[0])
}

/// Answers with the ring of so many shards.
fn with_ring(shards: usize, question: impl FnOnce(&mut Prepared) -> usize) -> usize {
    PREPARED.with_borrow_mut(|prepared| match prepared {
        Some(prepared) if prepared.shards == shards => question(prepared),
        other => question(other.insert(Prepared::new(shards))),
    })
}

impl Prepared {
    fn new(shards: usize) -> Self {
        assert!(shards > 0, "no shards");
        let members: Vec<_> = (0..shards as u64).map(Member::new).collect();
        let ring = AnkhRing::new(&members).expect("shards differ, and are few");
        // No partition of the catalog's log is looked up here.
        Self { shards, ring, log: CATALOG_LOG, order: Vec::new() }
    }

    fn locate(&self, key: &[u8], copies: usize) -> Vec<usize> {
        let shard = |id| usize::try_from(id).expect("a shard's number");
        self.ring.locate(key, copies).into_iter().map(shard).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_owners(shards: usize) -> Vec<usize> {
        (1..=5_000).map(|log| owner(LogId::new(log), PartitionId::ZERO, shards)).collect()
    }

    #[test]
    fn partitions_of_a_log_spread_evenly_over_the_cores() {
        for shards in 1..=9 {
            for log in [1, 2, u64::MAX] {
                let mut owned = vec![0_usize; shards];
                for partition in 0..u32::try_from(shards * 3).unwrap() {
                    owned[owner(LogId::new(log), PartitionId::new(partition), shards)] += 1;
                }
                assert_eq!(owned, vec![3; shards]);
            }
        }
    }

    #[test]
    fn the_catalog_stays_on_shard_zero() {
        assert!(
            (1..=256).all(|shards| owner(CATALOG_LOG, PartitionId::ZERO, shards) == CATALOG_SHARD)
        );
    }

    #[test]
    fn another_core_takes_its_share_of_the_first_partitions_and_moves_no_other() {
        for shards in 1..=16 {
            let (few, more) = (first_owners(shards), first_owners(shards + 1));
            let moved: Vec<_> =
                few.iter().zip(&more).filter(|(before, after)| before != after).collect();
            assert!(moved.iter().all(|(_, after)| **after == shards), "only to the new one");
            let bound = 13 * few.len() / (10 * (shards + 1));
            assert!(
                moved.len() <= bound,
                "{} of {} moved to core {shards}",
                moved.len(),
                few.len()
            );
        }
    }

    #[test]
    fn an_answer_does_not_depend_on_the_questions_before_it() {
        let ask =
            |log, partition, shards| owner(LogId::new(log), PartitionId::new(partition), shards);
        let questions =
            [(7, 1, 4), (7, 2, 4), (8, 1, 4), (7, 1, 5), (7, 1, 4), (0, 0, 4), (7, 2, 4)];
        let alone = questions.map(|(log, partition, shards)| {
            std::thread::spawn(move || ask(log, partition, shards)).join().unwrap()
        });
        assert_eq!(questions.map(|(log, partition, shards)| ask(log, partition, shards)), alone);
    }

    /// Files do not depend on owners, so this may change; it should not do so unnoticed.
    #[test]
    fn owners_are_those_of_the_last_release() {
        let of_log = |log| {
            [0, 1, 2, 3].map(|partition| owner(LogId::new(log), PartitionId::new(partition), 4))
        };
        assert_eq!([1, 2, 3].map(of_log), [[2, 3, 0, 1], [0, 3, 1, 2], [3, 0, 2, 1]]);
        assert_eq!(["orders", "invoices"].map(|name| counter_owner(name, 4)), [1, 0]);
    }

    #[test]
    #[should_panic(expected = "no shards")]
    fn a_machine_without_cores_owns_nothing() {
        assert_eq!(owner(LogId::new(1), PartitionId::ZERO, 0), 0);
    }
}
