//! Taking records from the front: the low watermark and what lies before it.

use super::{Closed, Machine};
use crate::ids::Offset;

impl Machine {
    /// Makes `low` the first offset that can be read, unless it is that far already. Returns the segments that have no
    /// record any more: they are forgotten, and their files are to be removed.
    ///
    /// # Panics
    /// If it is not synced: offsets below the low watermark are never dealt again.
    pub(crate) fn raise_low(&mut self, low: Offset) -> Vec<Closed> {
        assert!(
            low <= self.synced,
            "a low watermark of {low} in a log that is synced to {}",
            self.synced
        );
        let before = self.low;
        self.low = self.low.max(low);
        let gone = self.closed.partition_point(|closed| closed.end <= self.low);
        let gone: Vec<Closed> = self.closed.drain(..gone).collect();
        let first = self.closed.first().map_or(self.head.segment, |closed| closed.base);
        self.damages.retain(|damage| first <= damage.segment || first < damage.offsets.end);
        self.stats.removed_records += self.low.since(before);
        self.stats.removed_segments += gone.len() as u64;
        self.stats.removed_bytes +=
            gone.iter().map(|closed| closed.end_position.get()).sum::<u64>();
        gone
    }

    /// Makes `low` the first offset of a log in memory that can be read, and lets go of the groups before it.
    pub(crate) fn truncate_memory(&mut self, low: Offset) {
        let before = self.low;
        if self.tail.end() < low {
            self.seal_memory_group();
        }
        while self.tail.oldest_end().is_some_and(|end| end <= low) {
            self.tail.evict();
        }
        self.low = self.low.max(low);
        self.stats.removed_records += self.low.since(before);
    }
}
