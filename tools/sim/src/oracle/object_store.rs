//! The object store has what manifests name, and nothing else for long.
//!
//! - Whenever no process runs, every object that a manifest of the disk names is there, byte for byte as it was sent, but for
//!   those that the store let rot: the manifest names it last, and forgets it first.
//! - Once faults have stopped, a start and a while later, nothing is left that is older than the grace and that no manifest
//!   names. But a partition that cannot be opened looks after nothing, so nothing is asked once its own stored bytes, or those of
//!   the catalog, were silently damaged. And nobody sweeps for a log that is not tiered and names nothing, so of such a partition
//!   nothing is asked if somebody asked for its log to be no longer tiered, or if nobody knows the name of its log.
//!
//! Exact but for that last: whether that question was carried out is not asked. Both sides are read off the disk and the store,
//! by the world itself.

use super::evidence::Evidence;
use super::{Violation, violation};
use crate::history::{CatalogAsk, Kind, Orphan, Target};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (event, entry) in evidence.numbered() {
        let Kind::StoreCompared { missing, orphans } = &entry.kind else { continue };
        if let Some(key) = missing.first() {
            let what = format!("the object store has no {key}, which a manifest names");
            violations.push(violation("object_store", evidence, [event], what));
        }
        let left = orphans.iter().find(|orphan| {
            let is_unswept = orphan.is_bare && may_be_untiered(evidence, event, orphan);
            !is_unswept && !is_hurt(evidence, event, orphan)
        });
        if let Some(orphan) = left {
            let what = format!("no manifest names {}, and it is still there", orphan.key);
            violations.push(violation("object_store", evidence, [event], what));
        }
    }
    violations
}

/// Whether nobody may be able to open the partition of an object, or to know of its log.
fn is_hurt(evidence: &Evidence<'_>, event: usize, orphan: &Orphan) -> bool {
    let Some(life) = evidence.life_at(event) else { return true };
    evidence.of_life(life).any(|(_, entry)| match entry.kind {
        Kind::Struck { target: Target::Partition(place), .. } => place == orphan.place,
        Kind::Struck { target, .. } => target == Target::Catalog,
        _ => false,
    })
}

/// Whether the log of an object may not be tiered any more.
fn may_be_untiered(evidence: &Evidence<'_>, event: usize, orphan: &Orphan) -> bool {
    let life = evidence.life_at(event);
    let name = life.and_then(|life| evidence.logs.name((life, orphan.place.log)));
    evidence.logs.asks.iter().any(|ask| {
        let unties =
            matches!(ask.what, CatalogAsk::Alter { changes, .. } if changes.life.is_tiered == Some(false));
        unties && name.is_none_or(|name| ask.what.name() == name)
    })
}

#[cfg(test)]
mod tests {
    use crate::history::{CatalogAsk, Kind, LifeChanges, LogChanges, Orphan, Place, Target};
    use crate::oracle::story::Story;

    fn compared(story: &mut Story, missing: &[&str], orphans: &[(&str, bool)]) {
        let missing = missing.iter().map(|key| (*key).to_owned()).collect();
        let place = story.place();
        let orphan = |(key, is_bare): &(&str, bool)| Orphan {
            key: (*key).to_owned(),
            place,
            is_bare: *is_bare,
        };
        let orphans = orphans.iter().map(orphan).collect();
        story.push(Kind::StoreCompared { missing, orphans });
    }

    fn untier(story: &mut Story, name: &str) {
        let life = LifeChanges { is_tiered: Some(false), ..LifeChanges::default() };
        let changes = LogChanges { life, ..LogChanges::default() };
        let ask = CatalogAsk::Alter { name: name.to_owned(), changes };
        story.push(Kind::CatalogAsked { request: 900, ask });
    }

    #[test]
    fn a_store_that_has_what_is_named_and_no_more_is_right() {
        let mut story = Story::new();
        compared(&mut story, &[], &[]);
        story.assert_clean();
    }

    #[test]
    fn an_object_that_is_named_and_missing_is_a_violation_whatever_was_struck() {
        let mut story = Story::new();
        story.strike("bit rot");
        compared(&mut story, &["a.seg"], &[]);
        story.assert_guilty("object_store", "has no a.seg");
    }

    #[test]
    fn an_object_that_nobody_names_is_a_violation_unless_something_was_damaged() {
        let mut story = Story::new();
        let mut hurt = story.clone();
        compared(&mut story, &[], &[("b.seg", false)]);
        story.assert_guilty("object_store", "no manifest names b.seg");
        hurt.strike("bit rot");
        compared(&mut hurt, &[], &[("b.seg", false)]);
        hurt.assert_clean();
    }

    #[test]
    fn nobody_sweeps_where_nothing_is_named_unless_the_log_is_tiered() {
        let mut story = Story::new();
        let mut untiered = story.clone();
        compared(&mut story, &[], &[("b.seg", true)]);
        story.assert_guilty("object_store", "no manifest names b.seg");
        untier(&mut untiered, "log");
        compared(&mut untiered, &[], &[("b.seg", true)]);
        untiered.assert_clean();
        compared(&mut untiered, &[], &[("b.seg", false)]);
        untiered.assert_guilty("object_store", "no manifest names b.seg");
    }

    #[test]
    fn what_befell_other_partitions_and_other_logs_excuses_nothing() {
        let mut story = Story::new();
        let place = story.place();
        let other = Place { partition: place.partition + 1, ..place };
        story.at(other, |story| story.strike("bit rot"));
        story.push(Kind::Struck { target: Target::Counters, fault: "bit rot" });
        untier(&mut story, "another");
        let mut catalog = story.clone();
        compared(&mut story, &[], &[("b.seg", true)]);
        story.assert_guilty("object_store", "no manifest names b.seg");
        catalog.push(Kind::Struck { target: Target::Catalog, fault: "bit rot" });
        compared(&mut catalog, &[], &[("b.seg", true)]);
        catalog.assert_clean();
    }

    #[test]
    fn damage_to_a_disk_that_was_replaced_since_excuses_nothing() {
        let mut story = Story::new();
        story.strike("bit rot");
        story.wipe();
        story.create();
        compared(&mut story, &[], &[("b.seg", false)]);
        story.assert_guilty("object_store", "no manifest names b.seg");
    }
}
