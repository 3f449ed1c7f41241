//! Records proven from trees that a test builds, and 10,000 liars.

use super::*;
use crate::batch::{BuilderConfig, Owner, Record, RowsBuilder, seal};
use crate::ids::{LogId, PartitionId};
use crate::merkle::{Descent, Frontier, Node, NodeId, batch_hash, leaf};

/// A log in memory: its batches, the nodes of its tree, a checkpoint over all of it.
struct Log {
    batches: Vec<Vec<u8>>,
    nodes: Vec<Node>,
    checkpoint: Checkpoint,
}

/// A log of `batches` batches of `records` records of `bytes` bytes, some with keys and headers.
fn log(batches: u64, records: u64, bytes: usize, codec: Codec) -> Log {
    let mut builder = RowsBuilder::new(BuilderConfig { codec, ..BuilderConfig::default() });
    let (mut frontier, mut log) = (Frontier::new(), (Vec::new(), Vec::new()));
    for number in 0..batches {
        let base = number * records;
        for offset in base..base + records {
            let value = value(offset, bytes);
            let key = offset.to_string();
            let headers = [("kind", Some(&b"test"[..])), ("none", None)];
            let record = Record {
                key: (offset % 3 > 0).then_some(key.as_bytes()),
                value: (offset % 7 > 0).then_some(&value),
                create_time: Timestamp::new(i64::try_from(1000 + offset % 5).unwrap()),
                headers: if offset % 2 == 0 { &headers } else { &[] },
            };
            builder.push(&record).unwrap();
        }
        let mut batch = builder.finish(None).unwrap();
        let append_time = Timestamp::new(9000);
        let owner = Owner {
            base_offset: Offset::new(base),
            epoch: Epoch::new(1),
            append_time,
            scarab_base: 4711,
        };
        seal(&mut batch, owner);
        frontier.append(leaf(batch_hash(&batch).unwrap(), records), &mut log.1);
        log.0.push(batch);
    }
    let root = frontier.root();
    let checkpoint = Checkpoint {
        cluster: 1,
        log: LogId::new(2),
        partition: PartitionId::new(3),
        epoch: Epoch::new(1),
        tree_size: root.size,
        end_offset: Offset::new(root.node.records),
        root: *root.node.hash.as_bytes(),
        time: Timestamp::new(10_000),
        previous: [0; 32],
    };
    Log { batches: log.0, nodes: log.1, checkpoint }
}

/// The value of the record at `offset`.
fn value(offset: u64, bytes: usize) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(offset);
    (0..bytes).map(|_| dice.u8(..)).collect()
}

impl Log {
    /// The way to the batch that holds `offset`, and the number of the batch.
    fn way(&self, offset: u64) -> (InclusionProof, usize) {
        let mut descent = Descent::new(self.checkpoint.tree_size, Offset::new(offset)).unwrap();
        while !descent.wanted().is_empty() {
            let at = |id: &NodeId| self.nodes[usize::try_from(id.number()).unwrap()];
            let nodes: Vec<Node> = descent.wanted().iter().map(at).collect();
            descent.take(&nodes).unwrap();
        }
        let located = descent.finish().unwrap();
        (located.proof, usize::try_from(located.place.index).unwrap())
    }

    fn prove(&self, offset: u64) -> RecordProof {
        let (way, number) = self.way(offset);
        RecordProof::new(&self.batches[number], Offset::new(offset), way).unwrap()
    }
}

#[test]
fn every_record_of_a_log_is_proven_with_all_that_it_says() {
    for codec in Codec::ALL {
        let log = log(5, 13, 300, codec);
        for offset in 0..65 {
            let proof = log.prove(offset);
            assert_eq!(RecordProof::decode(&proof.encode()), Ok(proof.clone()));
            let proven = proof.verify(&log.checkpoint, Offset::new(offset)).unwrap();
            assert_eq!(proven.offset, Offset::new(offset));
            assert_eq!(proven.value, (offset % 7 > 0).then(|| value(offset, 300)));
            assert_eq!(proven.key, (offset % 3 > 0).then(|| offset.to_string().into_bytes()));
            let headers =
                vec![("kind".to_owned(), Some(b"test".to_vec())), ("none".to_owned(), None)];
            assert_eq!(proven.headers, if offset % 2 == 0 { headers } else { Vec::new() });
            assert_eq!(proven.create_time.get(), i64::try_from(1000 + offset % 5).unwrap());
            assert_eq!((proven.append_time.get(), proven.scarab_base), (9000, 4711));
            assert_eq!(u64::from(proven.index), offset % 13);
        }
    }
}

#[test]
fn a_record_of_100_bytes_of_a_mebibyte_is_proven_with_few_chunks() {
    let log = log(3, 8000, 100, Codec::None);
    let batch = log.batches[1].len();
    let proof = log.prove(12_001).encode();
    assert!(batch > 800_000 && proof.len() < 14_000, "{} bytes of {batch}", proof.len());
}

#[test]
fn a_proof_of_one_record_is_not_a_proof_of_another() {
    let log = log(5, 13, 50, Codec::None);
    let proof = log.prove(20);
    for offset in 0..65 {
        let proven = proof.verify(&log.checkpoint, Offset::new(offset));
        // A neighbour in the same chunks is disclosed too, and then it is the neighbour.
        match proven {
            Ok(proven) => assert_eq!(proven.value, (offset % 7 > 0).then(|| value(offset, 50))),
            Err(_) => assert_ne!(offset, 20),
        }
        assert!(
            (13..26).contains(&offset)
                || proof.verify(&log.checkpoint, Offset::new(offset)).is_err()
        );
    }
    assert!(proof.verify(&log.checkpoint, Offset::MAX).is_err());
}

#[test]
fn a_batch_that_lies_about_its_offsets_is_refused() {
    // The owner put a batch into the tree whose header has other offsets than its place.
    let mut log = log(2, 4, 50, Codec::None);
    let owner = Owner { base_offset: Offset::new(8), ..Owner::default() };
    seal(&mut log.batches[1], owner);
    let mut frontier = Frontier::new();
    log.nodes.clear();
    for batch in &log.batches {
        frontier.append(leaf(batch_hash(batch).unwrap(), 4), &mut log.nodes);
    }
    log.checkpoint.root = *frontier.root().node.hash.as_bytes();
    let (way, number) = log.way(5);
    let proof = RecordProof::new(&log.batches[number], Offset::new(9), way).unwrap();
    let refused = proof.verify(&log.checkpoint, Offset::new(5)).unwrap_err();
    let pair = |from, to| (Offset::new(from), Offset::new(to));
    assert_eq!(refused, RecordProofError::Place { tree: pair(4, 8), header: pair(8, 12) });
}

#[test]
fn none_of_ten_thousand_mutations_of_a_proof_proves_anything_else() {
    let mut dice = fastrand::Rng::with_seed(9);
    for codec in [Codec::None, Codec::Zstd] {
        let log = log(6, 40, 200, codec);
        let proof = log.prove(101);
        let bytes = proof.encode();
        let truth = proof.verify(&log.checkpoint, Offset::new(101)).unwrap();
        for round in 0..10_000 {
            let mut other = bytes.clone();
            match dice.u8(..8) {
                0 => other.truncate(dice.usize(..other.len())),
                1 => other.insert(dice.usize(..=other.len()), dice.u8(..)),
                2 => drop(other.remove(dice.usize(..other.len()))),
                3 => {
                    let at = dice.usize(8..60);
                    other[at] = dice.u8(..);
                }
                _ => {
                    let at = dice.usize(..other.len());
                    other[at] ^= 1 << dice.u8(..8);
                }
            }
            if other == bytes {
                continue;
            }
            let Ok(decoded) = RecordProof::decode(&other) else { continue };
            // The offset in the proof is a label: the caller says which one is to be proven.
            let is_label = other[16..] == bytes[16..];
            match decoded.verify(&log.checkpoint, Offset::new(101)) {
                Ok(proven) => assert!(is_label && proven == truth, "round {round}"),
                Err(_) => assert!(!is_label, "round {round}"),
            }
        }
    }
}

#[test]
fn a_proof_holds_for_its_checkpoint_only() {
    let (log, longer) = (log(5, 13, 50, Codec::None), log(6, 13, 50, Codec::None));
    let proof = log.prove(20);
    assert!(proof.verify(&longer.checkpoint, Offset::new(20)).is_err());
    let wrong_size = Checkpoint { tree_size: 4, ..log.checkpoint };
    assert!(proof.verify(&wrong_size, Offset::new(20)).is_err());
    let wrong_end = Checkpoint { end_offset: Offset::new(66), ..log.checkpoint };
    assert!(proof.verify(&wrong_end, Offset::new(20)).is_err());
}

#[test]
fn a_table_of_arrow_has_no_single_records() {
    let log = log(1, 4, 50, Codec::None);
    let mut batch = log.batches[0].clone();
    batch[70] = BodyKind::Arrow.code();
    let body_len = u32_at(&batch, 72) as usize;
    let crc = crc32c::crc32c(&batch[68..HEADER_BYTES + body_len]);
    batch[64..68].copy_from_slice(&crc.to_le_bytes());
    seal(&mut batch, Owner::default());
    let refused = RecordProof::new(&batch, Offset::ZERO, InclusionProof::default());
    assert_eq!(refused, Err(RecordProofError::NotRows));
}

/// Changes a batch somewhere, mostly near its beginning, where lengths are.
fn distort(batch: &mut [u8], dice: &mut fastrand::Rng) {
    for _ in 0..dice.usize(1..4) {
        let end = if dice.bool() { batch.len().min(600) } else { batch.len() };
        // Behind the magic; the owner's part is written again.
        let at = dice.usize(64..end);
        match dice.u8(..3) {
            0 => batch[at] ^= 1 << dice.u8(..8),
            1 => batch[at] = dice.u8(..),
            _ => {
                let word = dice.choice([0_u32, 1, 0x7fff_ffff, u32::MAX, 65_536]).unwrap();
                let at = (at & !3).min(batch.len() - 4);
                batch[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
    }
}

#[test]
fn a_signer_of_ten_thousand_batches_of_nonsense_makes_nobody_panic() {
    let mut dice = fastrand::Rng::with_seed(12);
    let mut opened = [0; 2];
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        let log = log(1, 13, 40, codec);
        for _ in 0..4_000 {
            let mut batch = log.batches[0].clone();
            distort(&mut batch, &mut dice);
            let owner = Owner { epoch: Epoch::new(1), ..Owner::default() };
            seal(&mut batch, owner);
            let Ok(header) = BatchHeader::parse(&batch) else { continue };
            let Some(content) = batch.get(..HEADER_BYTES + header.body_len as usize) else {
                continue;
            };
            let (hash, records) =
                (Hash::new(*blake3::hash(content).as_bytes()), header.offset_count());
            let node = leaf(hash, records.into());
            let checkpoint = Checkpoint {
                tree_size: 1,
                end_offset: Offset::new(records.into()),
                root: *node.hash.as_bytes(),
                ..log.checkpoint
            };
            let whole = 0..content.len();
            opened[0] += 1;
            for offset in [0, 6, u64::from(records) - 1] {
                let proof = RecordProof {
                    offset: Offset::new(offset),
                    inclusion: InclusionProof::default(),
                    slice: slice::disclose(content, std::slice::from_ref(&whole)),
                };
                opened[1] += usize::from(proof.verify(&checkpoint, Offset::new(offset)).is_ok());
            }
        }
    }
    assert!(opened[0] > 5_000 && opened[1] > 1_000, "{opened:?} were read");
}
