//! Requests in flight and the credit that bounds them; both ends count with the same rule.
//!
//! A request is in flight from its first byte to its reply. It may begin if fewer than
//! `credit_requests` are in flight and, with it, their frames do not exceed `credit_bytes`; alone
//! it may always begin, so a single large frame cannot wait for ever.
//!
//! A slab with generations rather than a hash map: a key finds its slot directly, a key of an
//! answered request finds nothing, and after the first requests nothing is allocated.

use crate::limits::CREDIT_REQUESTS_MAX;

/// How much may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Requests, 1 to [`CREDIT_REQUESTS_MAX`]; what lies outside is moved to the nearer end.
    pub requests: u32,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// Names a request in flight: a slot and how often it was used. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    fn of(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot))
    }

    /// Slot and generation.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    const fn parts(self) -> (u32, u32) {
        (self.0 as u32, (self.0 >> 32) as u32)
    }
}

/// Requests in flight. Invariant: `requests` slots are taken and `bytes` is the sum of their bytes;
/// `requests <= credit.requests`, and `bytes <= credit.bytes` unless `requests == 1`.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    credit: Credit,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    requests: u32,
    bytes: u64,
}

#[derive(Debug)]
struct Slot<T> {
    /// Of the request in the slot, or of the next one.
    generation: u32,
    taken: Option<(u64, T)>,
}

impl<T> Flight<T> {
    pub(crate) fn new(credit: Credit) -> Self {
        let requests = credit.requests.clamp(1, CREDIT_REQUESTS_MAX);
        let credit = Credit { requests, ..credit };
        Self { credit, slots: Vec::new(), free: Vec::new(), requests: 0, bytes: 0 }
    }

    /// Whether a request with a frame of this many bytes may begin.
    pub(crate) fn admits(&self, frame_bytes: u64) -> bool {
        self.requests == 0
            || (self.requests < self.credit.requests
                && self.bytes.saturating_add(frame_bytes) <= self.credit.bytes)
    }

    /// Begins a request, or hands it back if there is no credit.
    pub(crate) fn insert(&mut self, frame_bytes: u64, entry: T) -> Result<Key, T> {
        if !self.admits(frame_bytes) {
            return Err(entry);
        }
        let key = self.next_key();
        if self.free.pop().is_none() {
            self.slots.push(Slot { generation: 1, taken: None });
        }
        let (index, generation) = key.parts();
        let slot = &mut self.slots[index as usize];
        assert!(slot.taken.is_none(), "slot {index} is free");
        assert!(slot.generation == generation, "slot {index} has the generation of its key");
        slot.taken = Some((frame_bytes, entry));
        self.requests += 1;
        self.bytes += frame_bytes;
        Ok(key)
    }

    /// The key that the next request gets: a client writes it into the frame whose length decides
    /// whether there is credit.
    pub(crate) fn next_key(&self) -> Key {
        match self.free.last() {
            Some(&index) => Key::of(index, self.slots[index as usize].generation),
            // All slots are taken, so there are as many as requests.
            None => Key::of(self.requests, 1),
        }
    }

    /// The entry of a request in flight.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (slot, generation) = key.parts();
        let slot = self.slots.get_mut(slot as usize)?;
        let (_, entry) = slot.taken.as_mut()?;
        (slot.generation == generation).then_some(entry)
    }

    /// Ends a request and returns its credit. `None` if it is not in flight (any more).
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let (index, _) = key.parts();
        let slot = &mut self.slots[index as usize];
        let (bytes, entry) = slot.taken.take()?;
        // Zero is skipped, so that no key is zero.
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        self.free.push(index);
        self.requests -= 1;
        self.bytes -= bytes;
        Some(entry)
    }

    /// Keys of the requests in flight, in order of slot.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            slot.taken.as_ref().map(|_| Key::of(index, slot.generation))
        })
    }

    pub(crate) const fn requests(&self) -> u32 {
        self.requests
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}
