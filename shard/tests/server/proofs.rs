//! Checkpoints and proofs of a whole server: what a client computes from what it fetched is what was published and signed.

use std::path::Path;
use std::time::Duration;

use pyralog_client::blocking::Client;
use pyralog_client::{ClientConfig, ClientError, TreeState};
use pyralog_log::batch::Items;
use pyralog_log::ids::{LogId, Offset, PartitionId};
use pyralog_log::merkle::{
    Frontier, Hash, InclusionProof, Node, Root, batch_hash, leaf, nodes_before,
};
use pyralog_log::proof::Checkpoint;
use pyralog_shard::{Server, ServerConfig};
use pyralog_wire::message::{FetchFrom, ProveRecord};
use pyralog_wire::{ErrorCode, Integrity, LogConfig, Response};

use crate::support::*;

fn serve(shards: usize, data: &Path) -> (Server, Client, Peer) {
    let interval = Duration::from_millis(10);
    let server =
        start(ServerConfig { checkpoint_interval: interval, ..durable_config(shards, data) });
    let address = server.addresses().listen.to_string();
    let client = Client::connect([address], ClientConfig::default()).unwrap();
    let peer = Peer::connect(&server);
    (server, client, peer)
}

fn provable(integrity: Integrity, partitions: u32) -> LogConfig {
    LogConfig { integrity, segment_bytes: 1 << 20, ..log_config(partitions) }
}

/// Asks until a checkpoint covers `end`.
fn covered(client: &Client, log: &str, partition: PartitionId, end: u64) -> TreeState {
    loop {
        let state = client.checkpoint(log, partition).unwrap();
        assert_eq!(state.fault, None);
        if state.checkpoint.is_some_and(|found| found.end_offset.get() >= end) {
            return state;
        }
        // Each question is a round trip: nothing is gained by waiting longer.
        std::thread::yield_now();
    }
}

fn root(checkpoint: &Checkpoint) -> Root {
    let (hash, records) = (Hash::new(checkpoint.root), checkpoint.end_offset.get());
    Root { size: checkpoint.tree_size, node: Node { hash, records } }
}

/// Hash and first offset of every batch of a partition, as fetched, with the tree over them.
fn fetched(
    peer: &mut Peer,
    log: LogId,
    partition: u32,
    end: u64,
) -> (Frontier, Vec<(Offset, Hash)>) {
    let (mut frontier, mut batches) = (Frontier::new(), Vec::new());
    while frontier.records() < end {
        let from = FetchFrom::Offset(Offset::new(frontier.records()));
        peer.send(fetch(log, partition, from), &[]);
        let stream = peer.receive().expect("an answer").payload;
        for batch in Items::new(&stream).batches() {
            let batch = batch.unwrap();
            let header = batch.header();
            let hash = batch_hash(batch.bytes()).unwrap();
            frontier.append(leaf(hash, u64::from(header.record_count)), &mut Vec::new());
            batches.push((header.owner.base_offset, hash));
        }
    }
    (frontier, batches)
}

fn append_some(peer: &mut Peer, log: LogId, partition: u32, count: usize) -> u64 {
    let mut end = 0;
    for number in 0..count {
        let value = vec![7; 3000 + number * 700];
        let values: Vec<&[u8]> = vec![&value; 1 + number % 4];
        end = peer.append(log, partition, &batch(&values)).unwrap().next_offset.get();
    }
    end
}

#[test]
fn what_is_fetched_has_the_root_that_was_signed_and_restarts_change_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut before: Vec<Option<Checkpoint>> = vec![None; 2];
    for shards in [2, 1, 2] {
        let (server, client, mut peer) = serve(shards, data.path());
        let log = match peer.describe("ledger") {
            Ok(description) => description.id,
            Err(_) => peer.create("ledger", provable(Integrity::Signed, 2)).id,
        };
        for number in 0..2 {
            let partition = PartitionId::new(number);
            let end = append_some(&mut peer, log, number, 40);
            let state = covered(&client, "ledger", partition, end);
            let (checkpoint, signed) = (state.checkpoint.unwrap(), state.signed.unwrap());
            assert_eq!(*signed.checkpoint(), checkpoint);
            assert_eq!((checkpoint.log, checkpoint.partition), (log, partition));
            let (frontier, batches) = fetched(&mut peer, log, number, end);
            assert_eq!(root(&checkpoint), frontier.root(), "of what was fetched");
            for (offset, hash) in batches {
                let proof =
                    client.prove("ledger", (partition, offset), checkpoint.tree_size).unwrap();
                let place = proof.verify(&root(&checkpoint), offset, hash).unwrap();
                assert_eq!(place.offsets.start, offset);
            }
            if let Some(old) = &before[number as usize] {
                let sizes = (old.tree_size, checkpoint.tree_size);
                let proof = client.prove_consistency("ledger", partition, sizes).unwrap();
                assert_eq!(proof.verify(&root(old), &root(&checkpoint)), Ok(()));
                assert!(old.time < checkpoint.time);
            }
            let nodes = client.read_tree("ledger", partition, (0, 10_000)).unwrap();
            assert_eq!(nodes.nodes.len() as u64, nodes_before(nodes.tree_size));
            before[number as usize] = Some(checkpoint);
        }
        server.shutdown().unwrap();
    }
}

#[test]
fn any_shard_answers_for_all_of_them() {
    let data = tempfile::tempdir().unwrap();
    let (server, client, mut peer) = serve(2, data.path());
    let log = peer.create("ledger", provable(Integrity::Hash, 2)).id;
    for number in 0..2 {
        let partition = PartitionId::new(number);
        let end = append_some(&mut peer, log, number, 5);
        let state = covered(&client, "ledger", partition, end);
        assert_eq!(state.signed, None, "it is hashed, not signed");
        let tree_size = state.checkpoint.unwrap().tree_size;
        let offset = Offset::new(3);
        let ask = ProveRecord { log, partition, offset, tree_size };
        let answers =
            [0, 1].map(|shard| match Peer::connect_to(&server, shard).ask(ask, &[]).unwrap() {
                Response::ProveRecord(proven) => InclusionProof::decode(&proven.proof).unwrap(),
                other => panic!("{other:?} to ProveRecord"),
            });
        assert_eq!(answers[0], answers[1]);
    }
    server.shutdown().unwrap();
}

#[test]
fn what_cannot_be_proven_is_refused_with_the_reason() {
    let data = tempfile::tempdir().unwrap();
    let (server, client, mut peer) = serve(1, data.path());
    peer.create("plain", log_config(1));
    let log = peer.create("ledger", provable(Integrity::Signed, 1)).id;
    let zero = PartitionId::ZERO;
    let code = |error: ClientError| error.reply().and_then(pyralog_wire::ErrorReply::code);
    let refused = client.checkpoint("plain", zero).map_err(code);
    assert_eq!(refused, Err(Some(ErrorCode::NotProvable)));
    assert_eq!(client.checkpoint("ledger", zero).unwrap().checkpoint, None, "nothing there yet");
    let refused = client.prove("ledger", (zero, Offset::ZERO), 1).map_err(code);
    assert_eq!(refused, Err(Some(ErrorCode::NotInTree)));
    let end = append_some(&mut peer, log, 0, 3);
    let size = covered(&client, "ledger", zero, end).checkpoint.unwrap().tree_size;
    let beyond = client.prove("ledger", (zero, Offset::new(end)), size).map_err(code);
    assert_eq!(beyond, Err(Some(ErrorCode::NotInTree)));
    let backwards = client.prove_consistency("ledger", zero, (size, size - 1)).map_err(code);
    assert_eq!(backwards, Err(Some(ErrorCode::NotInTree)));
    let many = client.read_tree("ledger", zero, (0, 16_385)).map_err(code);
    assert_eq!(many, Err(Some(ErrorCode::InvalidRequest)));
    server.shutdown().unwrap();
}
