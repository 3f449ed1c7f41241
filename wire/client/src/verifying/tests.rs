//! Dishonest servers: each sends or states something else than an honest one would, and each is refused by name.

use std::ops::Range;

use pyralog_log::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
use pyralog_log::merkle::{Descent, Frontier, Hash, Node, bag, consistency_ranges, cover};
use pyralog_log::proof::{Checkpoint, CheckpointError, NodeKey, PublicKey, Subject};
use quickcheck::{TestResult, quickcheck};

use super::*;

const SUBJECT: Subject = Subject { cluster: 1, log: LogId::new(2), partition: PartitionId::ZERO };

/// A server: the batches that it sends, and the tree that it states.
#[derive(Clone)]
struct Server {
    sends: Vec<Received>,
    /// Where its log begins.
    low: usize,
    nodes: Vec<Node>,
    stated: Option<Stated>,
    key: Option<u8>,
    time: i64,
    /// How often each thing was asked.
    asked: Vec<&'static str>,
    fault: Option<String>,
}

/// A batch of so many records at an offset; `mark` is its content.
fn batch(start: u64, records: u64, mark: u64) -> Received {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&start.to_le_bytes());
    hash[8..16].copy_from_slice(&mark.to_le_bytes());
    Received { offsets: Offset::new(start)..Offset::new(start + records), hash: Hash::new(hash) }
}

impl Server {
    /// An honest one with a batch of each size.
    fn of(records: &[u64]) -> Self {
        let mut server = Self {
            sends: Vec::new(),
            low: 0,
            nodes: Vec::new(),
            stated: None,
            key: Some(1),
            time: 0,
            asked: Vec::new(),
            fault: None,
        };
        server.append(records);
        server.state();
        server
    }

    fn append(&mut self, records: &[u64]) {
        for count in records {
            let start = self.sends.last().map_or(0, |batch| batch.offsets.end.get());
            self.sends.push(batch(start, *count, 0));
        }
    }

    /// States the tree of what it sends.
    fn state(&mut self) {
        let mut frontier = Frontier::new();
        self.nodes.clear();
        for batch in &self.sends {
            frontier.append(batch.leaf(), &mut self.nodes);
        }
        let root = frontier.root();
        self.time += 1;
        let checkpoint = Checkpoint {
            cluster: SUBJECT.cluster,
            log: SUBJECT.log,
            partition: SUBJECT.partition,
            epoch: Epoch::ZERO,
            tree_size: root.size,
            end_offset: Offset::new(root.node.records),
            root: *root.node.hash.as_bytes(),
            time: Timestamp::new(self.time),
            previous: [0; 32],
        };
        self.stated = Some(match self.key {
            Some(seed) => checkpoint.sign(&NodeKey::from_seed(&[seed; 32])).into(),
            None => checkpoint.into(),
        });
    }

    fn node(&self, id: pyralog_log::merkle::NodeId) -> Option<Node> {
        self.nodes.get(usize::try_from(id.number()).unwrap()).copied()
    }

    fn over(&self, leaves: Range<u64>) -> Option<Node> {
        let nodes: Option<Vec<Node>> = cover(leaves).into_iter().map(|id| self.node(id)).collect();
        Some(bag(&nodes?))
    }

    fn tell(&mut self, ask: &Ask) -> Told {
        let (word, told) = match *ask {
            Ask::Checkpoint => {
                let bytes = self.stated.as_ref().map(Stated::encode).unwrap_or_default();
                ("checkpoint", Some(Told::Checkpoint(bytes, self.fault.clone())))
            }
            Ask::Record { offset, size } => ("record", self.prove(offset, size)),
            Ask::Consistency { first, second } => {
                let ranges = consistency_ranges(first, second).into_iter();
                let nodes: Option<Vec<Node>> = ranges.map(|range| self.over(range)).collect();
                let proof = nodes.map(|nodes| Told::Proof(ConsistencyProof { nodes }.encode()));
                ("consistency", proof)
            }
            Ask::Leaves(ref leaves) => {
                let leaf = |index| self.over(index..index + 1);
                ("leaves", Some(Told::Leaves(leaves.clone().map_while(leaf).collect())))
            }
        };
        self.asked.push(word);
        told.unwrap_or_else(|| Told::Refused("no such tree".to_owned()))
    }

    fn prove(&self, offset: Offset, size: u64) -> Option<Told> {
        let mut descent = Descent::new(size, offset).ok()?;
        while !descent.wanted().is_empty() {
            let ids = descent.wanted().to_vec();
            let nodes: Option<Vec<Node>> = ids.into_iter().map(|id| self.node(id)).collect();
            descent.take(&nodes?).ok()?;
        }
        Some(Told::Proof(descent.finish()?.proof.encode()))
    }

    /// An answer to a fetch of at most `window` batches.
    fn fetch(&self, asked: Option<Offset>, window: usize) -> Answer {
        let from = asked.unwrap_or_default();
        let there = self.sends[self.low..].iter();
        let batches: Vec<Received> =
            there.filter(|batch| batch.offsets.end > from).take(window).cloned().collect();
        let next = batches.last().map(|batch| batch.offsets.end).or(asked);
        let high = self.sends.last().map_or(Offset::ZERO, |batch| batch.offsets.end);
        Answer { asked, next, end: None, high, batches }
    }
}

fn key(seed: u8) -> PublicKey {
    NodeKey::from_seed(&[seed; 32]).public()
}

fn every() -> Verifier {
    Verifier::new(Trust::new(SUBJECT, vec![key(1)]), Choice::Every)
}

fn sampled(one_of: u32) -> Verifier {
    let choice = Choice::Sampled { one_of, secret: Hash::new([3; 32]) };
    Verifier::new(Trust::new(SUBJECT, vec![key(1)]), choice)
}

/// Asks until nothing is due. Where a checkpoint has to be waited for, the server makes one.
fn settle(verifier: &mut Verifier, server: &mut Server) -> Result<(), Failure> {
    loop {
        match verifier.step()? {
            Step::Done => return Ok(()),
            Step::Wait => {
                server.state();
                verifier.again();
            }
            Step::Ask(ask) => verifier.told(server.tell(&ask))?,
        }
    }
}

/// Reads to the end in steps of `window` batches; what was proven, and how it ended.
fn read(
    verifier: &mut Verifier,
    server: &mut Server,
    (from, window): (Option<u64>, usize),
) -> (Vec<Received>, Result<(), Failure>) {
    let (mut asked, mut proven) = (from.map(Offset::new), Vec::new());
    let ended = settle(verifier, server);
    if ended.is_err() {
        return (proven, ended);
    }
    loop {
        let (answer, floor) = (server.fetch(asked, window), verifier.end());
        let (batches, next) = (answer.batches.clone(), answer.next);
        let ended = verifier.received(answer, floor).and_then(|()| settle(verifier, server));
        let due = verifier.due_from();
        let is_proven = |batch: &Received| due.is_none_or(|due| batch.offsets.start < due);
        if ended.is_ok() {
            proven.extend(batches.iter().filter(|batch| is_proven(batch)).cloned());
        }
        if ended.is_err() || batches.is_empty() {
            return (proven, ended);
        }
        asked = next;
    }
}

/// How reading everything is refused, in few words.
fn refused(verifier: &mut Verifier, server: &mut Server) -> (String, Range<u64>) {
    let (_, ended) = read(verifier, server, (None, 3));
    let Failure { offsets, why } = ended.expect_err("a lie is refused");
    let word = match why {
        Unverified::Changed(change) => change.word(),
        Unverified::Distrust(Distrust::Rollback { .. }) | Unverified::Withdrawn => "rolled back",
        Unverified::Distrust(Distrust::Fork { .. } | Distrust::Inconsistent { .. }) => "forked",
        Unverified::Distrust(Distrust::Key { .. }) => "key",
        Unverified::Distrust(Distrust::Unsigned) => "unsigned",
        Unverified::Distrust(Distrust::Foreign { .. }) => "foreign",
        Unverified::Proof(_) => "proof",
        Unverified::Withheld { .. } => "withheld",
        Unverified::StandsStill { .. } => "stands still",
        Unverified::Checkpoint(_) => "checkpoint",
        Unverified::Distrust(other) => panic!("{other}"),
    };
    (word.to_owned(), offsets.start.get()..offsets.end.get())
}

const LOG: [u64; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

#[test]
fn an_honest_server_is_believed_from_wherever_reading_begins() {
    for window in 1..=10 {
        for from in [None, Some(0), Some(2), Some(3), Some(13), Some(35)] {
            let mut server = Server::of(&LOG);
            let (proven, ended) = read(&mut every(), &mut server, (from, window));
            assert_eq!(ended, Ok(()), "from {from:?} by {window}");
            let first = server.sends.iter().position(|b| b.offsets.end.get() > from.unwrap_or(0));
            assert_eq!(proven, server.sends[first.unwrap()..], "from {from:?} by {window}");
        }
    }
}

#[test]
fn a_window_of_batches_costs_one_proof() {
    let mut server = Server::of(&[10; 100]);
    read(&mut every(), &mut server, (None, 25)).1.unwrap();
    let count = |what| server.asked.iter().filter(|asked| **asked == what).count();
    // The last window ends the tree, which needs none.
    assert_eq!((count("checkpoint"), count("record"), count("consistency")), (1, 1, 4 - 1));
}

#[test]
fn what_is_below_the_low_watermark_is_not_missed() {
    let mut server = Server::of(&LOG);
    server.low = 4;
    let mut verifier = every();
    let (proven, ended) = read(&mut verifier, &mut server, (None, 2));
    assert_eq!((ended, proven.as_slice()), (Ok(()), &server.sends[4..]));
    // It moves on while a reader is behind it, who then goes on at the oldest record.
    let mut verifier = every();
    settle(&mut verifier, &mut server).unwrap();
    verifier.received(server.fetch(None, 1), Offset::ZERO).unwrap();
    settle(&mut verifier, &mut server).unwrap();
    server.low = 7;
    verifier.received(server.fetch(None, 9), verifier.end()).unwrap();
    assert_eq!(settle(&mut verifier, &mut server), Ok(()));
}

#[test]
fn what_no_checkpoint_covers_is_held_back_until_one_does() {
    let mut server = Server::of(&[2, 3]);
    server.append(&[4, 5]);
    let mut verifier = every();
    settle(&mut verifier, &mut server).unwrap();
    verifier.received(server.fetch(None, 9), verifier.end()).unwrap();
    let mut step = verifier.step().unwrap();
    while let Step::Ask(ask) = step {
        verifier.told(server.tell(&ask)).unwrap();
        step = verifier.step().unwrap();
    }
    assert_eq!((step, verifier.due_from()), (Step::Wait, Some(Offset::new(5))));
    assert_eq!(verifier.step(), Ok(Step::Wait), "it does not ask again by itself");
    server.state();
    verifier.again();
    assert_eq!(settle(&mut verifier, &mut server), Ok(()));
    assert_eq!((verifier.due_from(), verifier.end()), (None, Offset::new(14)));
}

#[test]
fn a_tree_that_stands_still_is_no_reason_to_wait() {
    let mut server = Server::of(&[2, 3]);
    server.append(&[4]);
    server.fault = Some("records were altered".to_owned());
    assert_eq!(refused(&mut every(), &mut server), ("stands still".to_owned(), 5..9));
}

#[test]
fn altered_dropped_and_reordered_records_are_named_with_their_offsets() {
    for at in 0..LOG.len() {
        let mut server = Server::of(&LOG);
        let offsets = server.sends[at].offsets.clone();
        let range = offsets.start.get()..offsets.end.get();
        let mut altered = server.clone();
        altered.sends[at].hash = Hash::new([9; 32]);
        let found = refused(&mut every(), &mut altered);
        assert_eq!(found, ("altered".to_owned(), range.clone()), "at {at}");

        // A record less, and everything behind it moved up.
        let mut shorter = server.clone();
        let mut start = offsets.start.get();
        for batch in &mut shorter.sends[at..] {
            let len = batch.offsets.end.since(batch.offsets.start);
            let len = if start == offsets.start.get() { len + 1 } else { len };
            batch.offsets = Offset::new(start)..Offset::new(start + len);
            start += len;
        }
        assert_eq!(refused(&mut every(), &mut shorter).0, "altered", "at {at}");

        if at > 0 && at + 1 < LOG.len() {
            let mut dropped = server.clone();
            dropped.sends.remove(at);
            let found = refused(&mut every(), &mut dropped);
            assert_eq!(found, ("dropped".to_owned(), range), "at {at}");
        }
        if at == 1 || at == 4 {
            server.sends.swap(at, at + 1);
            assert_eq!(refused(&mut every(), &mut server).0, "reordered", "at {at}");
        }
    }
}

#[test]
fn a_log_that_ends_before_its_checkpoint_has_lost_records() {
    let mut server = Server::of(&LOG);
    server.sends.truncate(7);
    assert_eq!(refused(&mut every(), &mut server), ("dropped".to_owned(), 25..36));
}

#[test]
fn what_a_server_says_of_the_end_does_not_hide_what_it_left_out() {
    let server = Server::of(&LOG);
    let mut answer = server.fetch(Some(Offset::ZERO), 3);
    answer.next = Some(Offset::new(14));
    let found = every().received(answer, Offset::ZERO).unwrap_err();
    assert_eq!(found, Failure::changed(Offset::new(8)..Offset::new(14), Change::Dropped));
    let mut empty = server.fetch(Some(Offset::new(36)), 3);
    empty.next = Some(Offset::new(40));
    let found = every().received(empty, Offset::ZERO).unwrap_err();
    assert_eq!(found, Failure::changed(Offset::new(36)..Offset::new(40), Change::Dropped));
}

/// A verifier that has read all of an honest log.
fn acquainted(server: &mut Server) -> Verifier {
    let mut verifier = every();
    read(&mut verifier, server, (None, 4)).1.unwrap();
    verifier.moved();
    verifier
}

#[test]
fn a_log_that_was_rolled_back_or_forked_since_is_refused_before_anything_is_read() {
    let mut server = Server::of(&LOG);
    let verifier = acquainted(&mut server);
    let rolled_back = &mut Server::of(&LOG[..5]);
    assert_eq!(refused(&mut verifier.clone(), rolled_back), ("rolled back".to_owned(), 14..36));
    let nothing = &mut Server::of(&[]);
    nothing.stated = None;
    assert_eq!(refused(&mut verifier.clone(), nothing), ("rolled back".to_owned(), 0..36));

    let mut forked = server.clone();
    forked.sends[4].hash = Hash::new([9; 32]);
    forked.state();
    assert_eq!(refused(&mut verifier.clone(), &mut forked), ("forked".to_owned(), 0..36));
    forked.append(&[3, 3]);
    forked.state();
    assert_eq!(refused(&mut verifier.clone(), &mut forked), ("forked".to_owned(), 0..36));

    let mut grown = server.clone();
    grown.append(&[3, 3]);
    grown.state();
    assert_eq!(read(&mut verifier.clone(), &mut grown, (Some(36), 9)).1, Ok(()));
}

#[test]
fn a_log_that_is_rolled_back_while_it_is_read_is_refused() {
    let mut server = Server::of(&LOG);
    let mut verifier = every();
    settle(&mut verifier, &mut server).unwrap();
    verifier.received(server.fetch(None, 4), verifier.end()).unwrap();
    // The server has come back with an older tree, and knows nothing of the one that it is asked about.
    let mut older = Server::of(&LOG[..6]);
    let failure = settle(&mut verifier, &mut older).unwrap_err();
    let is_rollback = matches!(failure.why, Unverified::Distrust(Distrust::Rollback { known, .. }) if known.get() == 36);
    assert!(is_rollback, "{failure:?}");
}

#[test]
fn a_server_that_does_not_prove_its_checkpoint_is_refused() {
    let mut server = Server::of(&LOG);
    let mut verifier = every();
    settle(&mut verifier, &mut server).unwrap();
    server.nodes.clear();
    assert_eq!(refused(&mut verifier, &mut server).0, "withheld");

    // Proofs of another tree than the one that it signed.
    let mut server = Server::of(&LOG);
    let mut other = server.clone();
    other.sends.iter_mut().for_each(|batch| batch.hash = Hash::new([9; 32]));
    other.state();
    server.nodes = other.nodes;
    assert_eq!(refused(&mut every(), &mut server), ("proof".to_owned(), 0..8));
}

#[test]
fn only_a_pinned_key_is_believed_and_without_one_the_first() {
    let mut stranger = Server::of(&LOG);
    stranger.key = Some(2);
    stranger.state();
    assert_eq!(refused(&mut every(), &mut stranger), ("key".to_owned(), 0..36));
    let mut unsigned = Server::of(&LOG);
    unsigned.key = None;
    unsigned.state();
    assert_eq!(refused(&mut every(), &mut unsigned), ("unsigned".to_owned(), 0..36));

    let open = || Verifier::new(Trust::new(SUBJECT, Vec::new()), Choice::Every);
    let mut first = open();
    assert_eq!(read(&mut first, &mut stranger, (None, 4)).1, Ok(()));
    first.moved();
    assert_eq!(refused(&mut first, &mut Server::of(&LOG)).0, "key");
    first.moved();
    assert_eq!(refused(&mut first, &mut unsigned).0, "unsigned");
    // A log without signatures is held to what it stated before.
    let mut plain = open();
    assert_eq!(read(&mut plain, &mut unsigned, (None, 4)).1, Ok(()));
    plain.moved();
    unsigned.sends.truncate(4);
    unsigned.state();
    assert_eq!(refused(&mut plain, &mut unsigned).0, "rolled back");
}

#[test]
fn a_checkpoint_with_a_false_signature_is_none() {
    let mut server = Server::of(&LOG);
    let mut verifier = every();
    let Told::Checkpoint(mut bytes, _) = server.tell(&Ask::Checkpoint) else { panic!() };
    bytes[60] ^= 1;
    let failure = verifier.told(Told::Checkpoint(bytes, None)).unwrap_err();
    assert_eq!(failure.why, Unverified::Checkpoint(CheckpointError::Signature));
}

#[test]
fn samples_are_proven_after_the_fact_and_never_held_back() {
    let mut server = Server::of(&[2; 50]);
    server.append(&[2; 50]);
    let mut verifier = sampled(4);
    assert!(!verifier.holds_back());
    settle(&mut verifier, &mut server).unwrap();
    verifier.received(server.fetch(None, 100), verifier.end()).unwrap();
    let due = verifier.due.len();
    assert!((10..=45).contains(&due), "{due} of 100 are one of four");
    settle(&mut verifier, &mut server).unwrap();
    assert_eq!(server.asked.iter().filter(|asked| **asked == "record").count(), due);

    // All are one of one; a batch that was altered is found and named.
    let mut altered = Server::of(&LOG);
    altered.sends[5].hash = Hash::new([9; 32]);
    assert_eq!(refused(&mut sampled(1), &mut altered), ("altered".to_owned(), 14..23));
    // Holes are seen without a proof.
    let mut dropped = Server::of(&LOG);
    dropped.sends.remove(5);
    assert_eq!(refused(&mut sampled(1_000_000), &mut dropped), ("dropped".to_owned(), 14..23));
}

#[test]
fn what_is_behind_the_end_of_reading_is_not_waited_for() {
    let mut server = Server::of(&[2, 3]);
    server.append(&[4]);
    let mut verifier = every();
    let mut answer = server.fetch(None, 9);
    answer.end = Some(Offset::new(5));
    verifier.received(answer, verifier.end()).unwrap();
    assert_eq!(settle(&mut verifier, &mut server), Ok(()));
    assert_eq!(verifier.end(), Offset::new(5), "no other checkpoint was asked for");
}

quickcheck! {
    fn whatever_the_shapes_an_honest_log_that_grows_is_proven_whole(
        first: Vec<u8>, more: Vec<u8>, window: u8, from: u16
    ) -> TestResult {
        let sizes = |sizes: &[u8]| sizes.iter().map(|size| u64::from(size % 9) + 1).collect::<Vec<_>>();
        let mut server = Server::of(&sizes(&first));
        server.append(&sizes(&more));
        let end = server.sends.last().map_or(0, |batch| batch.offsets.end.get());
        if end == 0 {
            return TestResult::discard();
        }
        let (from, window) = (u64::from(from) % end, usize::from(window % 7) + 1);
        let (proven, ended) = read(&mut every(), &mut server, (Some(from), window));
        let first = server.sends.iter().position(|batch| batch.offsets.end.get() > from).unwrap();
        TestResult::from_bool(ended.is_ok() && proven == server.sends[first..])
    }

    fn whatever_is_done_to_a_stated_log_only_what_was_stated_is_proven(
        sizes: Vec<u8>, deeds: Vec<(u8, u16)>, window: u8
    ) -> TestResult {
        let sizes: Vec<u64> = sizes.iter().map(|size| u64::from(size % 9) + 1).collect();
        let honest = Server::of(&sizes);
        if sizes.is_empty() || deeds.is_empty() {
            return TestResult::discard();
        }
        let mut server = honest.clone();
        for (deed, at) in deeds {
            let at = usize::from(at) % server.sends.len();
            match deed % 5 {
                0 => server.sends[at].hash = Hash::new([9; 32]),
                1 if server.sends.len() > 1 => drop(server.sends.remove(at)),
                2 => server.sends.swap(at, 0),
                3 => server.sends.insert(at, server.sends[at].clone()),
                _ => {
                    let node = usize::from(deed) * 7 % server.nodes.len();
                    server.nodes[node].hash = Hash::new([8; 32]);
                }
            }
        }
        let (proven, _) = read(&mut every(), &mut server, (None, usize::from(window % 7) + 1));
        // A run of what was stated, without a hole; it may begin later, as after retention.
        let Some(first) = proven.first() else { return TestResult::passed() };
        let start = honest.sends.iter().position(|batch| batch == first);
        let is_run = start.is_some_and(|start| honest.sends[start..].starts_with(&proven));
        TestResult::from_bool(is_run)
    }
}
