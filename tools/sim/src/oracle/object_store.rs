//! The object store has what manifests name, and nothing else for long.
//!
//! - Whenever no process runs, every object that a manifest of the disk names is there, byte for byte as it was sent: the manifest
//!   names it last, and forgets it first.
//! - Once faults have stopped, a start and a while later, nothing is left that is older than the grace and that no manifest
//!   names. Of a partition whose manifest names nothing, only if its log is surely tiered, because nobody sweeps otherwise;
//!   and not at all once stored bytes were damaged, since a partition that cannot be opened looks after nothing.
//!
//! Exact: both are read off the disk and the store, by the world itself.

use super::evidence::Evidence;
use super::{Violation, violation};
use crate::history::{CatalogAsk, Kind};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let is_hurt = evidence.numbered().any(|(_, entry)| matches!(entry.kind, Kind::Struck { .. }));
    let may_be_untiered = evidence.logs.asks.iter().any(|ask| {
        matches!(ask.what, CatalogAsk::Alter { changes, .. } if changes.life.is_tiered == Some(false))
    });
    for (event, entry) in evidence.numbered() {
        let Kind::StoreCompared { missing, orphans } = &entry.kind else { continue };
        if let Some(key) = missing.first() {
            let what = format!("the object store has no {key}, which a manifest names");
            violations.push(violation("object_store", evidence, [event], what));
        }
        let left = orphans.iter().find(|orphan| !(orphan.is_bare && may_be_untiered));
        if let Some(orphan) = left.filter(|_| !is_hurt) {
            let what = format!("no manifest names {}, and it is still there", orphan.key);
            violations.push(violation("object_store", evidence, [event], what));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use crate::history::{CatalogAsk, Kind, LifeChanges, LogChanges, Orphan};
    use crate::oracle::story::Story;

    fn compared(story: &mut Story, missing: &[&str], orphans: &[(&str, bool)]) {
        let missing = missing.iter().map(|key| (*key).to_owned()).collect();
        let orphan =
            |(key, is_bare): &(&str, bool)| Orphan { key: (*key).to_owned(), is_bare: *is_bare };
        let orphans = orphans.iter().map(orphan).collect();
        story.push(Kind::StoreCompared { missing, orphans });
    }

    fn untier(story: &mut Story) {
        let life = LifeChanges { is_tiered: Some(false), ..LifeChanges::default() };
        let changes = LogChanges { life, ..LogChanges::default() };
        let ask = CatalogAsk::Alter { name: "log".to_owned(), changes };
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
        untier(&mut untiered);
        compared(&mut untiered, &[], &[("b.seg", true)]);
        untiered.assert_clean();
        compared(&mut untiered, &[], &[("b.seg", false)]);
        untiered.assert_guilty("object_store", "no manifest names b.seg");
    }
}
