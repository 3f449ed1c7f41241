//! Dishonest servers: each alters what an honest one would serve, and each is found, with the offsets.

use crate::batch::{Batch, BuilderConfig, Owner, Record, RowsBuilder, seal};
use crate::ids::{Epoch, LogId, PartitionId, Timestamp};
use crate::merkle::{bag, batch_hash, consistency_ranges, cover, leaf};
use crate::proof::{Checkpoint, Misdeed, NodeKey, Subject};

use super::*;

/// A server: what it stores, the nodes of the tree that it shows, and the checkpoint that it signed last.
#[derive(Clone)]
struct Server {
    batches: Vec<Vec<u8>>,
    nodes: Vec<Node>,
    signed: Option<SignedCheckpoint>,
    low: Offset,
    time: i64,
}

/// A batch of these values at `base`.
fn batch(base: u64, values: &[&str]) -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    for value in values {
        builder.push(&Record { value: Some(value.as_bytes()), ..Record::default() }).unwrap();
    }
    let mut bytes = builder.finish(None).unwrap();
    seal(&mut bytes, Owner { base_offset: Offset::new(base), ..Owner::default() });
    bytes
}

impl Server {
    /// A server with these batches in one log, signed.
    fn of(batches: &[&[&str]]) -> Self {
        let mut server = Self {
            batches: Vec::new(),
            nodes: Vec::new(),
            signed: None,
            low: Offset::ZERO,
            time: 0,
        };
        for values in batches {
            server.append(values);
        }
        server.sign();
        server
    }

    fn append(&mut self, values: &[&str]) {
        let base = self.batches.last().map_or(0, |last| end_of(last));
        self.batches.push(batch(base, values));
    }

    /// Makes the tree of what is stored, and signs it.
    fn sign(&mut self) {
        let mut frontier = Frontier::new();
        self.nodes.clear();
        for bytes in &self.batches {
            let header = *Batch::parse(bytes).unwrap().header();
            let hashed = leaf(batch_hash(bytes).unwrap(), header.record_count.into());
            frontier.append(hashed, &mut self.nodes);
        }
        let root = frontier.root();
        self.time += 1;
        let checkpoint = Checkpoint {
            cluster: 1,
            log: LogId::new(2),
            partition: PartitionId::ZERO,
            epoch: Epoch::ZERO,
            tree_size: root.size,
            end_offset: Offset::new(root.node.records),
            root: *root.node.hash.as_bytes(),
            time: Timestamp::new(self.time),
            previous: [0; 32],
        };
        self.signed = Some(checkpoint.sign(&NodeKey::from_seed(&[1; 32])));
    }

    fn node(&self, range: Range<u64>) -> Node {
        let part = |number: u64| self.nodes[usize::try_from(number).unwrap()];
        bag(&cover(range).into_iter().map(|id| part(id.number())).collect::<Vec<_>>())
    }
}

fn end_of(bytes: &[u8]) -> u64 {
    Batch::parse(bytes).unwrap().header().next_offset().get()
}

impl Source for Server {
    type Error = std::convert::Infallible;

    fn checkpoint(&mut self) -> Result<Option<SignedCheckpoint>, Self::Error> {
        Ok(self.signed)
    }

    fn read(&mut self, from: Offset) -> Result<Read, Self::Error> {
        if from < self.low {
            return Ok(Read::Removed { low: self.low });
        }
        // Two at a time, so that a difference is not always within one answer.
        let here = self.batches.iter().filter(|bytes| end_of(bytes) > from.get()).take(2);
        let bytes: Vec<u8> = here.flatten().copied().collect();
        Ok(if bytes.is_empty() { Read::End } else { Read::Batches(bytes) })
    }

    fn leaves(&mut self, range: Range<u64>) -> Result<Vec<Node>, Self::Error> {
        let size = self.batches.len() as u64;
        Ok((range.start..range.end.min(size)).map(|index| self.node(index..index + 1)).collect())
    }

    fn consistency(
        &mut self,
        first: u64,
        second: u64,
    ) -> Result<Option<ConsistencyProof>, Self::Error> {
        let nodes = consistency_ranges(first, second).into_iter().map(|range| self.node(range));
        Ok(Some(ConsistencyProof { nodes: nodes.collect() }))
    }
}

const LOG: [&[&str]; 4] = [&["a", "b"], &["c", "d", "e"], &["f", "g"], &["h"]];

fn auditor() -> Auditor {
    let subject = Subject { cluster: 1, log: LogId::new(2), partition: PartitionId::ZERO };
    Auditor::new(Trust::new(subject, vec![NodeKey::from_seed(&[1; 32]).public()]), Vec::new())
}

/// An auditor that has seen the honest log.
fn informed() -> Auditor {
    let mut auditor = auditor();
    auditor.round(&mut Server::of(&LOG)).unwrap();
    assert_eq!(auditor.alarms, []);
    assert_eq!(auditor.entries().len(), 4);
    auditor
}

/// The alarms as words and offsets.
fn told(auditor: &Auditor) -> Vec<(&'static str, Range<u64>)> {
    let tell =
        |alarm: &Alarm| (alarm.kind.word(), alarm.offsets.start.get()..alarm.offsets.end.get());
    auditor.alarms.iter().map(tell).collect()
}

#[test]
fn an_honest_log_that_grows_raises_nothing_and_is_read_once() {
    let mut auditor = informed();
    let mut server = Server::of(&LOG);
    server.append(&["i", "j"]);
    server.sign();
    auditor.round(&mut server).unwrap();
    auditor.round(&mut server).unwrap();
    assert_eq!((told(&auditor), auditor.coverage.batches), (vec![], 5));
    auditor.reread(&mut server).unwrap();
    assert_eq!((told(&auditor), auditor.coverage.batches), (vec![], 10));
    // Another life that remembers.
    let mut trust = auditor.trust.clone();
    trust.resume(*auditor.last().unwrap()).unwrap();
    let mut next = Auditor::new(trust, auditor.entries().to_vec());
    server.append(&["k"]);
    server.sign();
    next.round(&mut server).unwrap();
    assert_eq!((told(&next), next.coverage.batches), (vec![], 1));
}

#[test]
fn records_that_were_removed_before_the_first_audit_are_in_the_root_all_the_same() {
    let mut server = Server::of(&LOG);
    server.low = Offset::new(5);
    let mut auditor = auditor();
    auditor.round(&mut server).unwrap();
    assert_eq!((told(&auditor), auditor.coverage.batches), (vec![], 2));
    auditor.reread(&mut server).unwrap();
    assert_eq!(told(&auditor), []);
}

#[test]
fn a_record_that_was_altered_is_found_by_who_reads_it_first_and_by_who_reads_it_again() {
    let mut server = Server::of(&LOG);
    server.batches[1] = batch(2, &["c", "X", "e"]);
    let mut first = auditor();
    first.round(&mut server).unwrap();
    assert_eq!(told(&first), [("altered_record", 2..5)]);
    assert!(first.last().is_none() && first.entries().is_empty(), "nothing was believed");
    let mut again = informed();
    again.round(&mut server).unwrap();
    assert_eq!(told(&again), [], "what was read is not read again unasked");
    again.reread(&mut server).unwrap();
    assert_eq!(told(&again), [("altered_record", 2..5)]);
}

#[test]
fn a_flipped_byte_without_a_checksum_is_an_alteration_too() {
    let mut server = Server::of(&LOG);
    let last = server.batches[2].len() - 70;
    server.batches[2][last] ^= 1;
    let mut again = informed();
    again.reread(&mut server).unwrap();
    assert_eq!(told(&again)[0], ("altered_record", 5..7));
}

#[test]
fn a_record_replaced_and_a_tree_computed_again_is_a_fork_with_evidence() {
    let mut server = Server::of(&LOG);
    server.batches[1] = batch(2, &["c", "X", "e"]);
    server.time = 10;
    server.sign();
    let mut same_size = informed();
    same_size.round(&mut server).unwrap();
    assert_eq!(told(&same_size), [("forked_history", 2..5)]);
    let evidence = same_size.alarms[0].evidence.as_ref().unwrap();
    assert_eq!(evidence.verify(), Ok(Misdeed::Fork));
    // Hidden behind new records.
    server.append(&["i"]);
    server.sign();
    let mut grown = informed();
    grown.round(&mut server).unwrap();
    assert_eq!(told(&grown), [("forked_history", 2..5)]);
    let evidence = grown.alarms[0].evidence.as_ref().unwrap();
    assert_eq!(Equivocation::decode(&evidence.encode()).unwrap().verify(), Ok(Misdeed::Fork));
    grown.alarms.clear();
    grown.reread(&mut server).unwrap();
    assert_eq!(told(&grown), [("altered_record", 2..5)]);
}

#[test]
fn records_that_were_swapped_are_reordered_within_a_batch_and_between_batches() {
    let mut server = Server::of(&LOG);
    server.batches[1] = batch(2, &["c", "e", "d"]);
    let mut auditor = informed();
    auditor.reread(&mut server).unwrap();
    assert_eq!(told(&auditor), [("reordered_records", 2..5)]);
    let mut server = Server::of(&LOG);
    server.batches[1] = batch(2, &["c", "f", "e"]);
    server.batches[2] = batch(5, &["d", "g"]);
    let mut auditor = informed();
    auditor.reread(&mut server).unwrap();
    assert_eq!(told(&auditor), [("reordered_records", 2..7)]);
}

#[test]
fn a_tail_that_was_cut_off_behind_a_signed_checkpoint_is_found() {
    // The checkpoint is still there: records are missing.
    let mut server = Server::of(&LOG);
    server.batches.truncate(2);
    let mut first = auditor();
    first.round(&mut server).unwrap();
    assert_eq!(told(&first), [("dropped_record", 5..8)]);
    let mut again = informed();
    again.reread(&mut server).unwrap();
    assert_eq!(told(&again), [("dropped_record", 5..8)]);
    // The checkpoint was made again: the log was rolled back.
    server.time = 10;
    server.sign();
    let mut again = informed();
    again.round(&mut server).unwrap();
    assert_eq!(told(&again), [("rolled_back_log", 5..8)]);
    let evidence = again.alarms[0].evidence.as_ref().unwrap();
    assert_eq!(evidence.verify(), Ok(Misdeed::Rollback));
    // No checkpoint at all.
    server.signed = None;
    let mut again = informed();
    again.round(&mut server).unwrap();
    assert_eq!(told(&again), [("rolled_back_log", 0..8)]);
}

#[test]
fn a_batch_and_a_record_that_were_dropped_are_found() {
    let mut server = Server::of(&LOG);
    server.batches.remove(1);
    let mut gap = informed();
    gap.reread(&mut server).unwrap();
    assert_eq!(told(&gap), [("dropped_record", 2..5)]);
    let mut server = Server::of(&LOG);
    server.batches[1] = batch(2, &["c", "e"]);
    server.batches[2] = batch(4, &["f", "g"]);
    server.batches[3] = batch(6, &["h"]);
    let mut moved = informed();
    moved.reread(&mut server).unwrap();
    assert_eq!(told(&moved)[0], ("dropped_record", 2..5));
}

#[test]
fn two_clients_with_different_tails_hold_a_fork_as_soon_as_one_hears_of_the_other() {
    let (mut ours, mut theirs) = (Server::of(&LOG), Server::of(&LOG));
    ours.append(&["for us"]);
    ours.sign();
    theirs.append(&["for them"]);
    theirs.sign();
    let mut auditor = informed();
    auditor.round(&mut ours).unwrap();
    auditor.round(&mut theirs).unwrap();
    assert_eq!(told(&auditor), [("forked_history", 8..9)]);
    let evidence = auditor.alarms[0].evidence.as_ref().unwrap();
    assert_eq!(evidence.verify(), Ok(Misdeed::Fork));
}

#[test]
fn a_checkpoint_of_another_key_is_not_believed() {
    let mut server = Server::of(&LOG);
    let forged = server.signed.unwrap().checkpoint().sign(&NodeKey::from_seed(&[9; 32]));
    server.signed = Some(forged);
    let mut auditor = auditor();
    auditor.round(&mut server).unwrap();
    assert_eq!(told(&auditor), [("bad_signature", 0..8)]);
}

#[test]
fn a_log_that_was_truncated_within_a_batch_or_to_its_end_raises_nothing() {
    for low in [1, 3, 7, 8] {
        let mut server = Server::of(&LOG);
        server.low = Offset::new(low);
        let mut first = auditor();
        first.round(&mut server).unwrap();
        assert_eq!(told(&first), [], "truncated before offset {low}");
        assert_eq!(first.entries().len(), 4);
        first.reread(&mut server).unwrap();
        assert_eq!(told(&first), [], "truncated before offset {low}");
        // It grows, and whoever audits it goes on.
        server.append(&["i"]);
        server.sign();
        first.round(&mut server).unwrap();
        assert_eq!(told(&first), [], "truncated before offset {low}");
        let mut late = informed();
        late.round(&mut server).unwrap();
        assert_eq!(told(&late), [], "truncated before offset {low}");
    }
}

/// A server that shows no nodes of its tree, or nodes of its invention.
struct Secretive(Server, Result<Vec<Node>, ()>);

impl Source for Secretive {
    type Error = ();

    fn checkpoint(&mut self) -> Result<Option<SignedCheckpoint>, ()> {
        Ok(self.0.signed)
    }

    fn read(&mut self, from: Offset) -> Result<Read, ()> {
        self.0.read(from).map_err(|never| match never {})
    }

    fn leaves(&mut self, range: Range<u64>) -> Result<Vec<Node>, ()> {
        let wanted = usize::try_from(range.end - range.start).unwrap();
        self.1.clone().map(|nodes| nodes.into_iter().cycle().take(wanted).collect())
    }

    fn consistency(&mut self, _: u64, _: u64) -> Result<Option<ConsistencyProof>, ()> {
        Err(())
    }
}

#[test]
fn a_server_that_refuses_to_show_its_tree_does_not_silence_the_alarm() {
    let mut server = Server::of(&LOG);
    server.batches[1] = batch(2, &["c", "X", "e"]);
    let mut altered = auditor();
    assert_eq!(altered.round(&mut Secretive(server.clone(), Err(()))), Ok(()));
    assert_eq!(told(&altered), [("forked_history", 0..8)]);
    server.append(&["i"]);
    server.time = 10;
    server.sign();
    let nodes = server.nodes.clone();
    let mut forked = informed();
    assert_eq!(forked.round(&mut Secretive(server.clone(), Err(()))), Ok(()));
    assert_eq!(told(&forked), [("forked_history", 8..9)]);
    let mut forked = informed();
    assert_eq!(forked.round(&mut Secretive(server, Ok(nodes))), Ok(()));
    assert_eq!(told(&forked), [("forked_history", 2..5)]);
}

#[test]
fn leaves_that_no_tree_has_are_an_alarm_and_no_overflow() {
    for records in [0, 1 << 63, u64::MAX] {
        let mut server = Server::of(&LOG);
        server.low = Offset::new(u64::MAX);
        let node = Node { records, ..server.nodes[0] };
        let mut removed = auditor();
        assert_eq!(removed.round(&mut Secretive(server, Ok(vec![node]))), Ok(()));
        assert_eq!(removed.alarms.len(), 1, "{records} records");
        let mut server = Server::of(&LOG);
        server.batches[1] = batch(2, &["c", "X", "e"]);
        let mut read = auditor();
        assert_eq!(read.round(&mut Secretive(server, Ok(vec![node]))), Ok(()));
        assert_eq!(read.alarms.len(), 1, "{records} records");
    }
}

/// A server that answers so often.
struct Mortal(Server, usize);

impl Source for Mortal {
    type Error = ();

    fn checkpoint(&mut self) -> Result<Option<SignedCheckpoint>, ()> {
        Ok(self.0.signed)
    }

    fn read(&mut self, from: Offset) -> Result<Read, ()> {
        self.1 = self.1.checked_sub(1).ok_or(())?;
        self.0.read(from).map_err(|never| match never {})
    }

    fn leaves(&mut self, _: Range<u64>) -> Result<Vec<Node>, ()> {
        Err(())
    }

    fn consistency(&mut self, _: u64, _: u64) -> Result<Option<ConsistencyProof>, ()> {
        Err(())
    }
}

#[test]
fn what_was_read_before_the_server_went_is_forgotten() {
    let mut auditor = auditor();
    assert_eq!(auditor.round(&mut Mortal(Server::of(&LOG), 1)), Err(()));
    assert!(auditor.is_sound() && auditor.entries().is_empty() && auditor.frontier.size() == 0);
    assert_eq!(auditor.round(&mut Mortal(Server::of(&LOG), 2)), Ok(()));
    assert_eq!((told(&auditor), auditor.entries().len()), (vec![], 4));
}
