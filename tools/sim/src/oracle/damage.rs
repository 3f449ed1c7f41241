//! Damage is reported only where damage was done, and what is refused for it is what was asked for.
//!
//! A crash leaves torn writes, and a torn write must never look like damage: the operator would be told that records are
//! lost that were never promised, and worse, a recovery that takes a torn tail for damage keeps offsets that nobody has.
//! Marks promise only what was synced (decision 3), so a report of damaged offsets without silent damage to the files of
//! the partition is wrong. Failed calls are no excuse: they were told, and nothing was promised after them.
//!
//! A refused read names the range to skip. It has to hold the offset that was asked for, or whoever skips it skips too
//! much or asks again for ever.
//!
//! Exact but for one thing: whether *these* offsets were hit is not asked, because one damaged mark may hide many records
//! until the next that the index knows.

use super::evidence::{DATA_DAMAGED, Evidence};
use super::{Violation, violation};
use crate::history::{Kind, ReadRefused};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for partition in evidence.partitions.values() {
        for (event, range) in &partition.reports {
            if !range.is_empty() && !partition.struck_before(*event) {
                let what = format!(
                    "{} is said to be damaged at {}..{}, but no silent damage was done to it",
                    partition.place, range.start, range.end
                );
                violations.push(violation("damage", evidence, [*event], what));
            }
        }
    }
    for (event, entry) in evidence.numbered() {
        if let Kind::ReadRefused(ReadRefused { place, from: Some(from), refusal, .. }) = &entry.kind
            && refusal.code == DATA_DAMAGED
            && !(refusal.a..refusal.b).contains(from)
        {
            let what = format!(
                "a read of {place} at {from} was refused for damage at {}..{}",
                refusal.a, refusal.b
            );
            violations.push(violation("damage", evidence, [event], what));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use crate::history::{End, Kind, Refusal};
    use crate::oracle::story::Story;

    #[test]
    fn damage_that_was_done_may_be_reported() {
        let mut story = Story::new();
        story.wrote(4, 0);
        story.strike("bit rot");
        story.read_refused(Some(2), Refusal { code: 602, a: 1, b: 4 });
        story.assert_clean();
    }

    #[test]
    fn a_torn_tail_that_is_taken_for_damage_is_a_violation() {
        let mut story = Story::new();
        story.append(4);
        story.end(End::Power);
        let place = story.place();
        story.push(Kind::DamageReported { place, range: 0..4 });
        story.assert_guilty("damage", "no silent damage was done");
    }

    #[test]
    fn a_read_that_is_refused_without_damage_is_a_violation() {
        let mut story = Story::new();
        story.wrote(4, 0);
        story.read_refused(Some(2), Refusal { code: 602, a: 1, b: 4 });
        story.assert_guilty("damage", "no silent damage was done");
    }

    #[test]
    fn a_refusal_that_speaks_of_other_offsets_is_a_violation() {
        let mut story = Story::new();
        story.wrote(4, 0);
        story.strike("bit rot");
        story.read_refused(Some(3), Refusal { code: 602, a: 1, b: 3 });
        story.assert_guilty("damage", "refused for damage at 1..3");
    }

    #[test]
    fn damage_to_marks_alone_hides_no_records() {
        let mut story = Story::new();
        let place = story.place();
        story.push(Kind::DamageReported { place, range: 3..3 });
        story.assert_clean();
    }
}
