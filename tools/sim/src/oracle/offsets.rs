//! Offsets are dealt in order, and each to one record.
//!
//! Three demands, all between two ends of the process; across one, what a recovery cut is dealt again, and whether it may
//! have cut is `durability`'s business:
//!
//! - **One record per offset.** Two observations of one offset name the same record, whether they are acknowledgements or
//!   reads. So a record is where its acknowledgement says it is, and two reads agree.
//! - **Order of time.** What was certainly there before an append was first sent lies before it. "Certainly there" is
//!   all below an acknowledged or visible append: the log is dense.
//! - **Order of a session.** Of two appends of one session the one with the lower sequence lies before the other
//!   (docs/PROTOCOL.md: appends to one partition on one connection keep their order; a session refuses gaps).
//!
//! Exact for the first two: an append is taken at one moment, at the offset that comes next then. If moments can be
//! chosen that explain the observations, nothing is said. The third only looks at acknowledgements, because only these
//! say which session it was.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Partition, Window};
use super::{Violation, violation};
use crate::history::{Outcome, Place, SessionUse};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for partition in evidence.partitions.values() {
        two_at_one_offset(evidence, partition, &mut violations);
        out_of_time(evidence, partition, &mut violations);
    }
    out_of_sequence(evidence, &mut violations);
    violations
}

fn two_at_one_offset(
    evidence: &Evidence<'_>,
    partition: &Partition,
    violations: &mut Vec<Violation>,
) {
    for (one, other) in partition.conflicts() {
        if partition.ended_between(&one, &other) {
            continue;
        }
        let what = format!(
            "{} and {} are both at {} of {}",
            evidence.name(one.append),
            evidence.name(other.append),
            one.base.max(other.base),
            partition.place
        );
        let events = [one.event(), other.event()];
        violations.push(violation("offsets", evidence, events, what));
    }
}

fn out_of_time(evidence: &Evidence<'_>, partition: &Partition, violations: &mut Vec<Violation>) {
    for fact in &partition.facts {
        let sent = evidence.appends[fact.append].first_sent();
        let window = Window { since: sent, until: fact.event() };
        let taken = partition.certain.least(window, &partition.cuts);
        if fact.base < taken {
            let what = format!(
                "{} is at {} of {}, but when it was first sent everything below {taken} was taken",
                evidence.name(fact.append),
                fact.base,
                partition.place
            );
            violations.push(violation("offsets", evidence, [sent, fact.event()], what));
        }
    }
}

/// An acknowledged append of a session.
struct Member {
    append: usize,
    window: Window,
    base: u64,
}

fn out_of_sequence(evidence: &Evidence<'_>, violations: &mut Vec<Violation>) {
    let mut sessions: BTreeMap<(Place, u64, u32), BTreeMap<u64, Member>> = BTreeMap::new();
    for (at, append) in evidence.appends.iter().enumerate() {
        let Some((event, Outcome::Acked { attempt, base_offset, .. })) = append.end else {
            continue;
        };
        let sent = append.sent.iter().find(|sent| sent.attempt == attempt);
        let Some(SessionUse { id, epoch, sequence }) = sent.and_then(|sent| sent.session) else {
            continue;
        };
        let window = append.window(attempt, event);
        let member = Member { append: at, window, base: base_offset };
        sessions.entry((append.place, id, epoch)).or_default().insert(sequence, member);
    }
    for ((place, ..), session) in &sessions {
        for (one, next) in session.values().zip(session.values().skip(1)) {
            let end = one.base + evidence.appends[one.append].len();
            let both = Window {
                since: one.window.since.min(next.window.since),
                until: one.window.until.max(next.window.until),
            };
            let life = evidence.life_of(both).and_then(|life| {
                let partition = evidence.partitions.get(&(life, *place))?;
                partition.cuts_in(both).is_empty().then_some(())
            });
            if life.is_some() && next.base < end {
                let what = format!(
                    "{} is at {} of {place}, before the end of {} at {end}, which comes before it in their session",
                    evidence.name(next.append),
                    next.base,
                    evidence.name(one.append),
                );
                let events = [one.window.until, next.window.until];
                violations.push(violation("offsets", evidence, events, what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{End, Level};
    use crate::oracle::story::Story;

    #[test]
    fn two_acknowledgements_of_one_offset_are_a_violation() {
        let mut story = Story::new();
        let (one, other) = (story.append(2), story.append(2));
        story.acked(one, 0);
        story.acked(other, 1);
        story.assert_guilty("offsets", "both at 1");
    }

    #[test]
    fn a_read_that_has_another_record_than_acknowledged_is_a_violation() {
        let mut story = Story::new();
        let (one, other) = (story.append(1), story.append(1));
        story.acked(one, 0);
        story.read(&[(other, 0)]);
        story.assert_guilty("offsets", "both at 0");
    }

    #[test]
    fn two_reads_that_disagree_are_a_violation() {
        let mut story = Story::new();
        let (one, other) = (story.append(1), story.append(1));
        story.read(&[(one, 0)]);
        story.read(&[(other, 0)]);
        story.assert_guilty("offsets", "both at 0");
    }

    #[test]
    fn appends_in_flight_together_may_land_in_any_order() {
        let mut story = Story::new();
        let (one, other) = (story.append(2), story.append(3));
        story.acked(one, 3);
        story.acked(other, 0);
        story.read(&[(other, 0), (one, 3)]);
        story.assert_clean();
    }

    #[test]
    fn an_append_before_what_was_acknowledged_earlier_is_a_violation() {
        let mut story = Story::new();
        story.wrote(2, 5);
        story.wrote(2, 2);
        story.assert_guilty("offsets", "everything below 7 was taken");
    }

    #[test]
    fn an_append_before_what_was_visible_earlier_is_a_violation() {
        let mut story = Story::new();
        let flying = story.append(2);
        story.read(&[(flying, 4)]);
        story.wrote(2, 2);
        story.assert_guilty("offsets", "everything below 6 was taken");
    }

    #[test]
    fn what_a_recovery_cut_is_dealt_again() {
        let mut story = Story::of(Level::Memory);
        let one = story.wrote(2, 0);
        story.wrote(2, 2);
        story.end(End::Process);
        let other = story.wrote(3, 2);
        story.read(&[(one, 0), (other, 2)]);
        story.assert_clean();
    }

    #[test]
    fn a_session_out_of_order_is_a_violation() {
        let mut story = Story::new();
        let (one, other) = (story.begun(2), story.begun(2));
        story.sent_in(one, 5, 0);
        story.sent_in(other, 5, 2);
        story.acked(one, 2);
        story.acked(other, 0);
        story.assert_guilty("offsets", "in their session");
    }

    #[test]
    fn two_sessions_have_no_order() {
        let mut story = Story::new();
        let (one, other) = (story.begun(2), story.begun(2));
        story.sent_in(one, 5, 0);
        story.sent_in(other, 6, 2);
        story.acked(one, 2);
        story.acked(other, 0);
        story.assert_clean();
    }
}
