//! The memory-only log: sealing groups into the tail, and evicting by budget and by age.

use std::time::Duration;

use super::group::Group;
use super::{Machine, Now};
use crate::tail::{Span, Tail};

impl Machine {
    /// Moves what has gathered into the tail, where readers find it.
    pub(super) fn seal_memory_group(&mut self) {
        let Some(group) = self.queue.pop_back() else { return };
        assert!(self.queue.is_empty(), "a memory-only log gathers one group");
        let span = Span { base: group.base, end: group.end, arrived: group.arrived };
        self.recent_group_bytes = group.body_len() as u64;
        if Tail::prefers_copy(group.body_len(), group.capacity()) {
            self.tail.copy(span, group.body());
        } else {
            let (buffer, capacity) = group.freeze();
            self.tail.share(span, buffer.into(), capacity);
        }
    }

    /// Evicts the oldest groups of a memory-only log until it is within its budget again.
    pub(super) fn evict_over_budget(&mut self) {
        let Some((bytes_max, _)) = self.settings.memory else { return };
        while self.memory_bytes() > bytes_max && self.tail.oldest_end().is_some() {
            self.stats.evicted_records += self.tail.evict();
        }
        self.follow_tail();
    }

    /// Evicts what is older than the time to live.
    pub(crate) fn expire(&mut self, now: Now) {
        let Some((_, Some(ttl))) = self.settings.memory else { return };
        while self.age(now).is_some_and(|age| age >= ttl) {
            if self.tail.oldest_end().is_none() {
                self.seal_memory_group();
            }
            self.stats.evicted_records += self.tail.evict();
        }
        self.follow_tail();
    }

    /// In how long the oldest group is due to be evicted.
    pub(super) fn expires_in(&self, now: Now) -> Option<Duration> {
        let (_, ttl) = self.settings.memory?;
        Some(ttl?.saturating_sub(self.age(now)?))
    }

    /// How long ago the newest record of the oldest group came. By the clock that nobody sets: these
    /// records end with the process, so it has seen them all come, and append times may be far off.
    fn age(&self, now: Now) -> Option<Duration> {
        let gathering = self.queue.front().map(|group| group.arrived);
        let oldest = self.tail.oldest_arrival().or(gathering)?;
        Some(now.monotonic.since(oldest))
    }

    fn memory_bytes(&self) -> u64 {
        let gathering: usize = self.queue.iter().map(Group::capacity).sum();
        self.tail.held_bytes() + gathering as u64
    }

    fn follow_tail(&mut self) {
        let gathering = self.queue.front().map_or(self.end, |group| group.base);
        let low = if self.tail.oldest_end().is_some() { self.tail.start() } else { gathering };
        // It may lie inside the oldest group: see `truncate_memory`.
        self.low = self.low.max(low);
    }
}
