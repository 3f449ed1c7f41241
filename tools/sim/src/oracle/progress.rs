//! Once nothing is broken any more, everything comes to serve again.
//!
//! Safety alone is easily had by refusing everything. So each run ends with a phase without faults
//! ([`Kind::FaultsStopped`]), and then
//!
//! - whatever is tried works ([`Kind::Probed`]), and something is;
//! - the server starts. It may refuse to if files were silently damaged that it cannot do without: the catalog, the
//!   identity of the node. Then nothing more is asked of it;
//! - every append of a session whose first batch begins in this phase and has an outcome is acknowledged, unless it was
//!   wrong in itself, its log may be gone, or the process ended meanwhile. (A client may give up without an outcome; that
//!   all clients come to an end is something to be tried.) An older session may have lost an earlier batch to what was
//!   broken before; its producer then gives up what follows in that partition without sending it, so what was never sent
//!   is not asked for if its client had lost something there before. And once a disk was replaced a producer may find its
//!   log gone and give up by itself;
//! - every partition of every log that certainly exists is read to its end.
//!
//! A history without that phase is not judged: it was not a run.

use std::collections::BTreeSet;

use super::evidence::{Append, Evidence, Window};
use super::{Violation, violation};
use crate::history::{CatalogAsk, Kind, Outcome, Place, Target};

pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Violation> {
    let stopped = evidence.numbered().find(|(_, entry)| entry.kind == Kind::FaultsStopped);
    let Some((stopped, _)) = stopped else { return Vec::new() };
    let mut violations = Vec::new();
    let mut tried = false;
    for (event, entry) in evidence.numbered().skip(stopped) {
        match &entry.kind {
            Kind::BootFailed { .. } if needs_an_operator(evidence, event) => return violations,
            Kind::BootFailed { reason } => {
                let what = format!("the server does not start: {reason}");
                violations.push(violation("progress", evidence, [stopped, event], what));
            }
            Kind::Probed { what, result } => {
                tried = true;
                if let Err(wrong) = result {
                    let what = format!("{what}: {wrong}");
                    violations.push(violation("progress", evidence, [stopped, event], what));
                }
            }
            _ => {}
        }
    }
    if !tried {
        let what = "nothing was tried after faults had stopped";
        violations.push(violation("progress", evidence, [stopped], what));
    }
    unanswered(evidence, stopped, &mut violations);
    if violations.is_empty() {
        unread(evidence, stopped, &mut violations);
    }
    violations
}

/// Whether silent damage was done to files that a server cannot start without.
fn needs_an_operator(evidence: &Evidence<'_>, event: usize) -> bool {
    let life = evidence.life_at(event);
    let span = life.map_or(Window { since: 0, until: event }, |life| evidence.span_of(life));
    evidence.numbered().take(event).any(|(at, entry)| {
        let needed =
            matches!(entry.kind, Kind::Struck { target: Target::Catalog | Target::Other, .. });
        needed && span.contains(at)
    })
}

/// Whether silent damage was done to the catalog in a life.
fn catalog_struck(evidence: &Evidence<'_>, life: usize) -> bool {
    let mut events = evidence.of_life(life);
    events.any(|(_, entry)| matches!(entry.kind, Kind::Struck { target: Target::Catalog, .. }))
}

/// Appends that were not acknowledged although nothing stood in their way.
fn unanswered(evidence: &Evidence<'_>, stopped: usize, violations: &mut Vec<Violation>) {
    if catalog_struck(evidence, evidence.lives() - 1) {
        return; // A log may have gone with the end of the catalog.
    }
    if evidence.lives() > 1 {
        return; // A producer may be one of a log that went with its disk, and the new log may have its id.
    }
    let ends = evidence.ends();
    let sessions = |append: &Append<'_>| -> Vec<u64> {
        append.sent.iter().filter_map(|sent| sent.session.map(|session| session.id)).collect()
    };
    let earlier = evidence.appends.iter().filter(|append| append.begun < stopped);
    let old: BTreeSet<u64> = earlier.clone().flat_map(sessions).collect();
    let lost: BTreeSet<(Place, u32)> = earlier
        .filter(|append| append.idempotent && append.acked().is_none())
        .filter_map(|append| Some((append.place, append.client()?)))
        .collect();
    let given_up = |append: &Append<'_>| {
        append.sent.is_empty()
            && append.client().is_some_and(|client| lost.contains(&(append.place, client)))
    };
    for (at, append) in evidence.appends.iter().enumerate() {
        let of_old = sessions(append).iter().any(|session| old.contains(session));
        if append.begun < stopped || !append.idempotent || of_old || given_up(append) {
            continue;
        }
        let (end, wrong) = match append.end {
            Some((end, Outcome::Refused(refusal))) => (end, (200..300).contains(&refusal.code)),
            Some((end, Outcome::Unknown)) => (end, false),
            Some((_, Outcome::Acked { .. })) | None => continue,
        };
        let window = Window { since: append.begun, until: end };
        let ended = ends.iter().any(|(event, _)| window.contains(*event));
        if !wrong && !ended && !may_be_deleted(evidence, append.place.log, end) {
            let what = format!(
                "{} was not acknowledged in {}, although nothing was broken",
                evidence.name(at),
                append.place
            );
            violations.push(violation("progress", evidence, [append.begun, end], what));
        }
    }
}

/// Whether a log may be gone at an event: its name is not known, or somebody asked to delete it.
fn may_be_deleted(evidence: &Evidence<'_>, log: u64, event: usize) -> bool {
    let Some(life) = evidence.life_at(event) else { return true };
    let Some(name) = evidence.logs.name((life, log)) else { return true };
    evidence.logs.asks.iter().any(|ask| {
        let deletes = matches!(ask.what, CatalogAsk::Delete { .. }) && !ask.is_refused();
        let it = ask.done().is_none_or(|(_, done)| done == log);
        deletes && it && ask.asked < event && ask.what.name() == name
    })
}

/// Partitions that nobody has read to their end.
fn unread(evidence: &Evidence<'_>, stopped: usize, violations: &mut Vec<Violation>) {
    let last = evidence.events().len();
    let life = evidence.lives() - 1;
    if catalog_struck(evidence, life) || evidence.span_of(life).since > stopped {
        return;
    }
    let read: BTreeSet<Place> = evidence
        .partitions
        .iter()
        .filter(|((of, _), partition)| {
            *of == life && partition.finals.iter().any(|at| *at > stopped)
        })
        .map(|((_, place), _)| *place)
        .collect();
    for ((of, log), name) in evidence.logs.all() {
        let settings = evidence.logs.settings((of, log)).filter(|_| of == life);
        let Some(settings) = settings.filter(|_| !may_be_deleted(evidence, log, last)) else {
            continue;
        };
        for partition in (0..settings.partitions).map(|partition| Place { log, partition }) {
            if !read.contains(&partition) {
                let what = format!("partition {partition} of {name} was not read to its end");
                violations.push(violation("progress", evidence, [stopped], what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{CatalogAnswer, CatalogAsk, End, Kind, Target};
    use crate::oracle::story::Story;

    /// A story whose faults have stopped, and in which everything works.
    fn calm() -> Story {
        let mut story = Story::new();
        let append = story.wrote(2, 0);
        story.push(Kind::FaultsStopped);
        story.end(End::Stopped);
        story.push(Kind::Booted { shards: 1, lines: Vec::new() });
        story.probe(Ok(()));
        story.final_read(&[(append, 0)]);
        story
    }

    #[test]
    fn everything_that_works_is_clean() {
        let mut story = calm();
        story.assert_clean();
        story.wrote(2, 2);
        story.assert_clean();
    }

    #[test]
    fn a_probe_that_fails_is_a_violation() {
        let mut story = calm();
        story.probe(Err("it does not answer".to_owned()));
        story.assert_guilty("progress", "it does not answer");
    }

    #[test]
    fn a_run_that_tries_nothing_is_a_violation() {
        let mut story = Story::new();
        story.push(Kind::FaultsStopped);
        story.assert_guilty("progress", "nothing was tried");
        story.assert_guilty_only("progress");
    }

    #[test]
    fn a_server_that_does_not_start_is_a_violation() {
        let mut story = calm();
        story.push(Kind::BootFailed { reason: "the lock is taken".to_owned() });
        story.assert_guilty("progress", "does not start: the lock is taken");
    }

    #[test]
    fn a_server_may_refuse_to_start_with_a_damaged_catalog() {
        let mut story = Story::new();
        story.push(Kind::Struck { target: Target::Catalog, fault: "bit rot" });
        story.push(Kind::FaultsStopped);
        story.push(Kind::BootFailed { reason: "the catalog is damaged".to_owned() });
        story.probe(Err("it does not start".to_owned()));
        story.assert_clean();
    }

    #[test]
    fn an_append_that_is_not_acknowledged_is_a_violation() {
        for end in [Story::unknown, |story: &mut Story, append| story.refused(append, 500)] {
            let mut story = calm();
            let append = story.append(1);
            end(&mut story, append);
            story.assert_guilty("progress", "was not acknowledged");
        }
        let mut story = calm();
        story.append(1);
        story.assert_clean();
    }

    #[test]
    fn an_append_may_fail_if_it_is_wrong_or_its_log_is_gone_or_the_process_ends() {
        let mut story = calm();
        let wrong = story.append(1);
        story.refused(wrong, 207);
        let cut_off = story.append(1);
        story.end(End::Process);
        story.unknown(cut_off);
        let gone = story.append(1);
        story.ask(CatalogAsk::Delete { name: "log".to_owned() }, CatalogAnswer::Unknown);
        story.refused(gone, 300);
        story.assert_clean();
        let mut story = calm();
        story.push(Kind::Struck { target: Target::Catalog, fault: "lost write" });
        let of_a_lost_log = story.append(1);
        story.refused(of_a_lost_log, 0);
        story.assert_clean();
        let mut story = calm();
        story.wipe();
        story.create();
        let of_the_old_disk = story.append(1);
        story.refused(of_the_old_disk, 0);
        story.assert_clean();
    }

    #[test]
    fn a_read_before_faults_have_stopped_is_none() {
        let mut story = Story::new();
        let append = story.wrote(2, 0);
        story.final_read(&[(append, 0)]);
        story.push(Kind::FaultsStopped);
        story.probe(Ok(()));
        story.assert_guilty("progress", "partition 7/0 of log was not read");
        // Neither what is gone nor what nobody can know of has to be read.
        let mut damaged = story.clone();
        damaged.push(Kind::Struck { target: Target::Catalog, fault: "bit rot" });
        damaged.assert_clean();
        story.wipe();
        story.create();
        story.assert_clean();
    }

    #[test]
    fn an_older_session_may_have_lost_something() {
        for before in [false, true] {
            let mut story = Story::new();
            let other = story.begun(1);
            story.sent_in(other, if before { 5 } else { 6 }, 0);
            story.push(Kind::FaultsStopped);
            let append = story.begun(1);
            story.sent_in(append, 5, 1);
            story.unknown(append);
            story.probe(Ok(()));
            story.final_read(&[]);
            let complaints = story.judge("progress");
            assert_eq!(complaints.is_empty(), before, "{complaints:?}");
        }
    }

    #[test]
    fn a_producer_that_has_lost_something_may_give_up_what_follows_without_sending_it() {
        for (before, after, clean) in [(1, 1, true), (1, 2, false), (2, 1, false)] {
            let mut story = Story::new();
            for client in 1..=2 {
                let append = story.begun_by(client, 1);
                story.sent(append);
                if client == before {
                    story.unknown(append);
                } else {
                    story.acked(append, 0);
                }
            }
            story.push(Kind::FaultsStopped);
            let given_up = story.begun_by(after, 1);
            story.refused(given_up, 0);
            let other = story.begun_by(3 - before, 1);
            story.sent(other);
            story.acked(other, 1);
            story.probe(Ok(()));
            story.final_read(&[]);
            let complaints = story.judge("progress");
            assert_eq!(complaints.is_empty(), clean, "{before} {after}: {complaints:?}");
        }
        // What is sent all the same has to be answered.
        let mut story = Story::new();
        let lost = story.append(1);
        story.unknown(lost);
        story.push(Kind::FaultsStopped);
        let sent = story.append(1);
        story.refused(sent, 0);
        story.probe(Ok(()));
        story.final_read(&[]);
        assert_eq!(story.judge("progress").len(), 1);
    }

    #[test]
    fn a_partition_that_nobody_reads_is_a_violation() {
        let mut story = calm();
        story.create_as("other", 8);
        story.assert_guilty("progress", "partition 8/0 of other was not read");
    }
}
