//! What was done to files, and what was said about it.

use super::{DATA_DAMAGED, Evidence, Window};
use crate::history::{Event, FinalRead, Kind, ReadRefused, Target, Truncated};

impl Evidence<'_> {
    /// Notes what was done to files, and what was said about it.
    pub(super) fn gather_harm(&mut self) {
        for (event, Event { kind, .. }) in self.numbered() {
            let since = match kind {
                Kind::ReadRefused(ReadRefused { begun, .. })
                | Kind::FinalRead(FinalRead { begun, .. }) => begun.0,
                _ => event,
            };
            let Some(life) = self.life_of(Window { since, until: event }) else { continue };
            match kind {
                Kind::Struck { target: Target::Partition(place), fault } => {
                    self.partition(life, *place).strike(event, fault);
                }
                Kind::Struck { target: Target::Catalog, fault } => {
                    // Its last words may be gone, and a log be there again without what it held.
                    let logs = &self.logs;
                    let of_deleted = self
                        .partitions
                        .iter_mut()
                        .filter(|((of, place), _)| *of == life && logs.is_deleted(place.log));
                    of_deleted.for_each(|(_, partition)| partition.strike(event, fault));
                }
                Kind::CallFailed { target: Target::Partition(place), .. } => {
                    self.partition(life, *place).failed.push(event);
                }
                Kind::TruncateAsked { place, before, .. } => {
                    // It may arrive late, and another log may have its id then.
                    for life in life..self.lives.len() {
                        self.partition(life, *place).truncations.push((event, *before));
                    }
                }
                Kind::Truncated(Truncated { begun, place, low, .. }) => {
                    let window = Window { since: begun.0, until: event };
                    if let Some(life) = self.life_of(window) {
                        self.partition(life, *place).truncated.push((event, *low));
                    }
                }
                Kind::DamageReported { place, range } => {
                    self.partition(life, *place).reports.push((event, range.clone()));
                }
                Kind::ReadRefused(ReadRefused { place, refusal, .. })
                    if refusal.code == DATA_DAMAGED =>
                {
                    let range = refusal.a..refusal.b;
                    self.partition(life, *place).reports.push((event, range));
                }
                Kind::FinalRead(FinalRead { place, damaged, .. }) => {
                    let partition = self.partition(life, *place);
                    partition.reports.extend(damaged.iter().map(|range| (event, range.clone())));
                }
                _ => {}
            }
        }
    }
}
