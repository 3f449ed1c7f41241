//! Readers get the bytes that were sent, of records that were sent there.
//!
//! Every value says which record it is and cannot be changed unnoticed (`record`). A reader may be refused, but what it
//! gets is a record that a client had sent to this partition before the answer. Damage on disk is no excuse: batches have
//! checksums, and a batch that fails its own is reported, not served. Neither is a replaced disk: an append that had its
//! answer before that is on the old one, or nowhere.
//!
//! Exact, because a client says what it sends before it sends it, and nothing else writes to its logs.

use super::evidence::Evidence;
use super::{Violation, violation};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let strange = evidence.strange.iter();
    strange
        .map(|strange| {
            let events = strange.begun.into_iter().chain([strange.event]);
            violation("content", evidence, events, strange.what.as_str())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::history::{Kind, Place, Proven, RecordId, Seen};
    use crate::oracle::story::Story;

    #[test]
    fn changed_bytes_are_a_violation() {
        let mut story = Story::new();
        let append = story.wrote(2, 0);
        story.read(&[(append, 0)]);
        story.assert_clean();
        let begun = story.mark();
        story.read_seen(begun, 0, vec![Err("wrong from byte 12 on".to_owned())]);
        story.assert_guilty("content", "wrong from byte 12 on");
    }

    #[test]
    fn a_record_that_nobody_sent_is_a_violation() {
        let mut story = Story::new();
        let begun = story.mark();
        story.read_seen(begun, 0, vec![Ok(RecordId { client: 9, sequence: 77 })]);
        story.assert_guilty("content", "never appended");
    }

    #[test]
    fn a_record_of_another_partition_is_a_violation() {
        let mut story = Story::new();
        let append = story.at(Place { log: 7, partition: 1 }, |story| story.wrote(2, 0));
        story.read(&[(append, 0)]);
        story.assert_guilty("content", "another partition");
    }

    #[test]
    fn a_record_that_is_not_sent_yet_is_a_violation() {
        let mut story = Story::new();
        let append = story.begun(1);
        story.read(&[(append, 0)]);
        story.sent(append);
        story.acked(append, 0);
        story.assert_guilty("content", "not been sent yet");
    }

    #[test]
    fn a_replaced_disk_has_nothing_of_the_old_one_but_what_was_on_its_way() {
        let mut story = Story::new();
        let old = story.wrote(1, 0);
        let flying = story.append(1);
        story.wipe();
        story.create();
        story.acked(flying, 0);
        story.read(&[(flying, 0)]);
        story.assert_clean();
        let begun = story.mark();
        let ids = [flying, old].map(|append| Ok(story.records(append)[0]));
        story.read_seen(begun, 0, ids.to_vec());
        story.assert_guilty("content", "before the disk was replaced");
    }

    #[test]
    fn a_record_that_is_proven_and_was_never_sent_is_a_violation() {
        let mut story = Story::new();
        let append = story.wrote(2, 0);
        let place = story.place();
        let proven = |story: &mut Story, offset, content| {
            let (begun, seen) = (story.mark(), Seen { offset, content });
            story.push(Kind::Proven(Proven { begun, place, seen }));
        };
        let second = story.records(append)[1];
        proven(&mut story, 1, Ok(second));
        story.assert_clean();
        let mut wrong = story.clone();
        proven(&mut wrong, 0, Err("wrong from byte 12 on".to_owned()));
        wrong.assert_guilty("content", "wrong from byte 12 on");
        let mut elsewhere = story.clone();
        proven(&mut elsewhere, 0, Ok(second));
        elsewhere.assert_guilty("content", "too near zero");
        proven(&mut story, 0, Ok(RecordId { client: 9, sequence: 77 }));
        story.assert_guilty("content", "never appended");
    }
}
