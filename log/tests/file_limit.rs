//! A partition that may not grow: refuses, says so, loses nothing, and goes on when it may.
//!
//! Alone in its process, because the limit of file sizes belongs to the process.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};

use pyralog_log::batch::{BuilderConfig, Items, Record, RowsBuilder, Session};
use pyralog_log::durability::Durability;
use pyralog_log::ids::{LogId, Offset, PartitionId, SessionId, Timestamp};
use pyralog_log::partition::{
    AppendError, AppendNow, Appended, Completions, PartitionConfig, Storage, Ticket,
};
use pyralog_log::partition_file::Partition;
use pyralog_runtime::channel::{OnceSender, oneshot};
use pyralog_runtime::{IoErrorKind, MachineConfig, start, yield_now};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

type Outcome = Result<Appended, AppendError>;

#[derive(Default)]
struct Sink(RefCell<Option<OnceSender<Outcome>>>);

impl Completions for Sink {
    fn completed(&self, _ticket: Ticket, outcome: Outcome) {
        self.0.take().unwrap().send(outcome).unwrap();
    }
}

async fn append(partition: &Partition, sink: &Sink, bytes: &[u8]) -> Outcome {
    let (sender, receiver) = oneshot();
    sink.0.replace(Some(sender));
    match partition.append(bytes, Durability::Synced, Ticket::default()) {
        AppendNow::Pending => receiver.await.unwrap(),
        AppendNow::Done(appended) => Ok(appended),
        AppendNow::Refused(error) => Err(error),
    }
}

fn batch(number: u64) -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    let value = vec![u8::try_from(number % 251).unwrap(); 100_000];
    let create_time = Timestamp::new(i64::try_from(number).unwrap());
    builder.push(&Record { key: None, value: Some(&value), create_time, headers: &[] }).unwrap();
    let session = Session { id: SessionId::new(5), epoch: 0, first_sequence: number };
    builder.finish(Some(session)).unwrap()
}

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

#[test]
fn a_partition_without_space_refuses_loses_nothing_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    let passed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&passed);
    let machine = start(&MachineConfig::default(), move |_core| {
        let (root, flag) = (root.clone(), Arc::clone(&flag));
        async move {
            let storage =
                Storage::Durable { dir: root.join("partition"), recycle: root.join("recycle") };
            run(PartitionConfig::new(LogId::new(1), PartitionId::new(0), storage)).await;
            flag.store(true, Ordering::SeqCst);
        }
    });
    machine.unwrap().join().unwrap();
    assert!(passed.load(Ordering::SeqCst));
}

async fn run(config: PartitionConfig) {
    let sink = Rc::new(Sink::default());
    let (partition, _) = Partition::open(config.clone(), sink.clone()).await.unwrap();
    limit_files(Some(3 << 20));
    let mut number = 0;
    let refused = loop {
        match append(&partition, &sink, &batch(number)).await {
            Ok(appended) => assert_eq!(appended.base_offset.get(), number),
            Err(error) => break error,
        }
        number += 1;
    };
    let AppendError::NoSpace(fault) = refused else { panic!("{refused}") };
    assert_eq!(fault.kind, IoErrorKind::FileTooLarge);
    assert!(number > 20, "three megabytes hold more than {number}");
    assert!(partition.stats().no_space);
    assert_eq!(partition.watermarks().end.get(), number, "the refused batch took no offset");
    assert_eq!(read_all(&partition).await, number);
    // What the refused batch was is sent again, once there is space, with the same sequence.
    limit_files(None);
    while let Err(error) = append(&partition, &sink, &batch(number)).await {
        assert!(matches!(error, AppendError::NoSpace(_)), "{error}");
        yield_now().await;
    }
    assert_eq!(read_all(&partition).await, number + 1);
    partition.close().await;
    let (partition, report) = Partition::open(config, sink.clone()).await.unwrap();
    assert!(report.clean && report.end.get() == number + 1, "{report:?}");
    assert_eq!(read_all(&partition).await, number + 1);
    partition.close().await;
}

/// Reads and verifies everything; returns how many records there are.
async fn read_all(partition: &Partition) -> u64 {
    let (mut next, high) = (Offset::ZERO, partition.watermarks().high);
    while next < high {
        let read = partition.read(next, 1 << 20).await.unwrap();
        for slice in &read.slices {
            for batch in Items::new(slice).batches() {
                let batch = batch.unwrap().verify().unwrap();
                assert_eq!(batch.header().owner.base_offset, next);
                next = batch.header().next_offset();
            }
        }
    }
    next.get()
}
