//! Proofs of one record among a trillion, in a tree of a billion batches of which one is there.
//!
//! The others are equal, so every complete subtree of equal batches is known by its height alone: the tree takes 62 nodes,
//! and one path of its own for the batch that is real. What is measured is what a client does with a proof: read it, check
//! the slice of the batch against its hash, lead that to the root, and read the record; and the signature of the root.

use std::hint::black_box;
use std::ops::Range;

use criterion::{BenchmarkId, Criterion, Throughput};
use pyralog_log::batch::{BuilderConfig, Codec, Owner, Record, RowsBuilder, seal};
use pyralog_log::ids::{Epoch, LogId, Offset, PartitionId, Timestamp};
use pyralog_log::limits::BATCH_BYTES_MAX;
use pyralog_log::merkle::{
    ConsistencyProof, Descent, Hash, InclusionProof, Node, NodeId, Root, bag, batch_hash,
    consistency_ranges, cover, join, leaf,
};
use pyralog_log::proof::{Checkpoint, NodeKey, RecordProof, SignedCheckpoint};

const BATCHES: u64 = 1_000_000_000;
const RECORDS: u64 = 1000;
const VALUE_BYTES: usize = 1 << 10;
/// The batch that is there.
const REAL: u64 = BATCHES / 3;
/// Its record that is proven.
const OFFSET: Offset = Offset::new(REAL * RECORDS + 617);

/// A tree of equal batches but one.
struct Tree {
    /// The node of every height over equal ones.
    levels: Vec<Node>,
    real: Node,
}

impl Tree {
    fn new(real: Hash) -> Self {
        let mut levels = vec![leaf(Hash::default(), RECORDS)];
        for height in 0..30 {
            levels.push(join(levels[height], levels[height]));
        }
        Self { levels, real: leaf(real, RECORDS) }
    }

    fn node(&self, id: NodeId) -> Node {
        if !id.leaves().contains(&REAL) {
            return self.levels[id.height as usize];
        }
        if id.height == 0 {
            return self.real;
        }
        let [left, right] = id.children();
        join(self.node(left), self.node(right))
    }

    fn over(&self, leaves: Range<u64>) -> Node {
        let nodes: Vec<Node> = cover(leaves).into_iter().map(|id| self.node(id)).collect();
        bag(&nodes)
    }

    fn root(&self, size: u64) -> Root {
        Root { size, node: self.over(0..size) }
    }

    fn way(&self) -> InclusionProof {
        let mut descent = Descent::new(BATCHES, OFFSET).unwrap();
        while !descent.wanted().is_empty() {
            let nodes: Vec<Node> = descent.wanted().iter().map(|id| self.node(*id)).collect();
            descent.take(&nodes).unwrap();
        }
        descent.finish().unwrap().proof
    }
}

/// The batch, sealed where it is in the log. Half of each value is random.
fn sealed(codec: Codec) -> Vec<u8> {
    let config =
        BuilderConfig { codec, batch_bytes_max: BATCH_BYTES_MAX, ..BuilderConfig::default() };
    let (mut builder, mut rng) = (RowsBuilder::new(config), fastrand::Rng::with_seed(1));
    for _ in 0..RECORDS {
        let mut value = vec![b'.'; VALUE_BYTES];
        rng.fill(&mut value[..VALUE_BYTES / 2]);
        let create_time = Timestamp::new(1_700_000_000_000_000);
        let record = Record { key: None, value: Some(&value), create_time, headers: &[] };
        builder.push(&record).unwrap();
    }
    let mut batch = builder.finish(None).unwrap();
    let owner = Owner {
        base_offset: Offset::new(REAL * RECORDS),
        epoch: Epoch::ZERO,
        append_time: Timestamp::ZERO,
        scarab_base: 0,
    };
    seal(&mut batch, owner);
    batch
}

fn signed(root: &Root) -> SignedCheckpoint {
    let checkpoint = Checkpoint {
        cluster: 1,
        log: LogId::new(2),
        partition: PartitionId::new(3),
        epoch: Epoch::ZERO,
        tree_size: root.size,
        end_offset: Offset::new(root.node.records),
        root: *root.node.hash.as_bytes(),
        time: Timestamp::ZERO,
        previous: [0; 32],
    };
    checkpoint.sign(&NodeKey::from_seed(&[7; 32]))
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("proof among 10^12 records");
    group.throughput(Throughput::Elements(1));
    for codec in Codec::ALL {
        let batch = sealed(codec);
        let tree = Tree::new(batch_hash(&batch).unwrap());
        let proof = RecordProof::new(&batch, OFFSET, tree.way()).unwrap().encode();
        let checkpoint = signed(&tree.root(BATCHES)).encode();
        println!("proof/{}: {} bytes", codec.name(), proof.len());
        group.bench_function(BenchmarkId::new("record and signature", codec.name()), |bencher| {
            bencher.iter(|| {
                let signed = SignedCheckpoint::decode(black_box(&checkpoint)).unwrap();
                let proof = RecordProof::decode(black_box(&proof)).unwrap();
                black_box(proof.verify(signed.checkpoint(), OFFSET).unwrap());
            });
        });
        let signed = SignedCheckpoint::decode(&checkpoint).unwrap();
        group.bench_function(BenchmarkId::new("record", codec.name()), |bencher| {
            bencher.iter(|| {
                let proof = RecordProof::decode(black_box(&proof)).unwrap();
                black_box(proof.verify(signed.checkpoint(), OFFSET).unwrap());
            });
        });
    }
    let tree = Tree::new(Hash::default());
    let (old, new) = (tree.root(BATCHES / 7), tree.root(BATCHES));
    let ranges = consistency_ranges(BATCHES / 7, BATCHES);
    let nodes = ranges.into_iter().map(|range| tree.over(range)).collect();
    let proof = ConsistencyProof { nodes };
    group.bench_function("consistency", |bencher| {
        bencher.iter(|| black_box(&proof).verify(black_box(&old), black_box(&new)).unwrap());
    });
    group.finish();
}
