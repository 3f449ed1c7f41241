//! Scarab ids as a history has them, gathered for the oracles about ids: no oracle itself.
//!
//! An id is 41 bits of milliseconds, 10 of a slot, 13 of a sequence (`docs/SEQUENCERS.md`). Time and sequence together are the
//! *tick* of the slot. Readers get ids batch by batch, so what is compared are runs of ticks.
//!
//! Ids are of a cluster. A replaced disk is a new cluster, unless the slots of the lost one were given to the node: then the
//! ids of both lives are of one *era*.

use super::evidence::{Evidence, Window};
use crate::history::{IdRun, IdsDealt, Kind, Place, Read};

/// Bits of the sequence.
const SEQUENCE_BITS: u32 = 13;
/// Bits of the slot, above the sequence.
const SLOT_BITS: u32 = 10;

/// Who has a run of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Whoever asked for them.
    Client,
    /// Records of a partition.
    Records {
        /// In which life of the disk.
        life: usize,
        /// The partition.
        place: Place,
        /// The offset of the first.
        offset: u64,
        /// The append that it is of, and its place there, if it is known.
        append: Option<(usize, u64)>,
    },
}

/// Consecutive ticks of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) era: usize,
    pub(super) slot: u16,
    pub(super) tick: u64,
    pub(super) len: u64,
    pub(super) owner: Owner,
    pub(super) window: Window,
}

impl Run {
    /// The tick after the last.
    pub(super) const fn end(&self) -> u64 {
        self.tick + self.len
    }

    /// The event that tells it.
    pub(super) const fn event(&self) -> usize {
        self.window.until
    }
}

/// Slot and tick of an id.
pub(super) const fn parts(id: u64) -> (u16, u64) {
    let slot = (id >> SEQUENCE_BITS) & ((1 << SLOT_BITS) - 1);
    let tick =
        (id >> (SLOT_BITS + SEQUENCE_BITS) << SEQUENCE_BITS) | (id & ((1 << SEQUENCE_BITS) - 1));
    (slot as u16, tick)
}

/// Everything that was dealt, by the event that tells it. Records without an id are not among them.
pub(super) fn runs(evidence: &Evidence<'_>) -> Vec<Run> {
    let eras = eras(evidence);
    let mut runs = Vec::new();
    for (event, entry) in evidence.numbered() {
        match &entry.kind {
            Kind::IdsDealt(IdsDealt { begun, slot, first, count }) => {
                let window = Window { since: begun.0, until: event };
                let lives = evidence.lives_of(window);
                let era = eras[*lives.start()];
                if era == eras[*lives.end()] {
                    let (slot, tick, len) = (*slot, *first, *count);
                    runs.push(Run { era, slot, tick, len, owner: Owner::Client, window });
                }
            }
            Kind::Read(read) => {
                let window = Window { since: read.begun.0, until: event };
                if let Some(life) = evidence.life_of(window) {
                    let era = eras[life];
                    let dealt = read.ids.iter().filter(|run| run.id != 0);
                    runs.extend(dealt.flat_map(|run| {
                        of_records(evidence, read, *run).map(move |(offset, id, len, append)| {
                            let (slot, tick) = parts(id);
                            let place = read.place;
                            let owner = Owner::Records { life, place, offset, append };
                            Run { era, slot, tick, len, owner, window }
                        })
                    }));
                }
            }
            _ => {}
        }
    }
    runs
}

/// Splits a run where the append changes: offset, id, length, and place in the append.
fn of_records<'a>(
    evidence: &'a Evidence<'_>,
    read: &'a Read,
    run: IdRun,
) -> impl Iterator<Item = (u64, u64, u64, Option<(usize, u64)>)> + 'a {
    let at = read.records.partition_point(|seen| seen.offset < run.offset);
    let records = read.records[at..].iter().zip(0..run.len);
    let appends = records.map(move |(seen, nth)| {
        let owner = seen.content.as_ref().ok().and_then(|id| evidence.owner(*id));
        (nth, owner.filter(|_| seen.offset == run.offset + nth))
    });
    let (slot, tick) = parts(run.id);
    let mut appends = appends.peekable();
    std::iter::from_fn(move || {
        let (first, append) = appends.next()?;
        let mut len = 1;
        let follows = |len: u64, next: Option<(usize, u64)>| match (append, next) {
            (Some((one, at)), Some((other, then))) => one == other && at + len == then,
            _ => false,
        };
        while appends.next_if(|(_, next)| follows(len, *next)).is_some() {
            len += 1;
        }
        Some((run.offset + first, id(slot, tick + first), len, append))
    })
}

/// The id of a tick.
pub(super) const fn id(slot: u16, tick: u64) -> u64 {
    let sequence = tick & ((1 << SEQUENCE_BITS) - 1);
    (tick >> SEQUENCE_BITS) << (SLOT_BITS + SEQUENCE_BITS)
        | (slot as u64) << SEQUENCE_BITS
        | sequence
}

/// The era of each life.
fn eras(evidence: &Evidence<'_>) -> Vec<usize> {
    let mut eras: Vec<usize> = (0..evidence.lives()).collect();
    for (event, entry) in evidence.numbered() {
        if entry.kind == Kind::SlotsTakenOver
            && let Some(life) = evidence.life_at(event)
            && let Some(before) = life.checked_sub(1)
        {
            eras[life] = eras[before];
        }
    }
    eras
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_apart_and_put_together() {
        let one = 5 << 23 | 1023 << 13 | 8191;
        assert_eq!(parts(one), (1023, 5 << 13 | 8191));
        assert_eq!(id(1023, (5 << 13 | 8191) + 1), 6 << 23 | 1023 << 13);
    }
}
