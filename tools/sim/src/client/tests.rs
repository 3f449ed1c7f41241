//! The client against a real server on this machine, and against one that lies.
//!
//! Both on glommio: a core of the test is the client's, those of the server are the server's. So it
//! is seen to work where nothing is simulated.

use std::cell::RefCell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use pyralog_client::{ClientConfig, LogConfig, LogStorage, PartitionId};
use pyralog_runtime::{MachineConfig, time};
use pyralog_shard::{DataConfig, Server, ServerConfig};

use super::{Identity, SimClient};
use crate::history::{Event, FinalRead, History, Kind, Outcome, RecordId};

mod liar;
mod serving;

/// Longest that a test may take: it hangs then.
const HANG: Duration = Duration::from_mins(1);

/// Runs a test on a core of its own.
fn on_core<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F + Clone + Send + 'static) {
    let main = move |_| {
        let test = test.clone();
        async move { time::timeout(HANG, test()).await.expect("the test hangs") }
    };
    pyralog_runtime::start(&MachineConfig::default(), main).unwrap().join().unwrap();
}

/// Runs a test with a client of a server of two shards that keeps its records in memory.
fn with_server<F: Future<Output = ()> + 'static>(
    test: impl FnOnce(SimClient, Rc<RefCell<History>>) -> F + Clone + Send + 'static,
) {
    let mut config = ServerConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        shards: 2,
        pin: false,
        data: DataConfig::MemoryOnly { max_memory: 1 << 30 },
        http: None,
        ..ServerConfig::default()
    };
    config.memory.io_bytes = 8 << 20;
    serve(config, test);
}

/// The same with a server that keeps its records on disk.
fn with_disk<F: Future<Output = ()> + 'static>(
    test: impl FnOnce(SimClient, Rc<RefCell<History>>) -> F + Clone + Send + 'static,
) {
    let data = tempfile::tempdir().unwrap();
    let mut config = ServerConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        shards: 2,
        pin: false,
        data: DataConfig::Dir(data.path().into()),
        http: None,
        ..ServerConfig::default()
    };
    config.memory.io_bytes = 8 << 20;
    serve(config, test);
}

fn serve<F: Future<Output = ()> + 'static>(
    config: ServerConfig,
    test: impl FnOnce(SimClient, Rc<RefCell<History>>) -> F + Clone + Send + 'static,
) {
    let server = Server::start(config).unwrap();
    let address = server.addresses().listen;
    on_core(move || async move {
        let history = Rc::new(RefCell::new(History::new()));
        test(client_of(address, 1, &history), history).await;
    });
    server.shutdown().unwrap();
}

fn client_of(address: SocketAddr, number: u32, history: &Rc<RefCell<History>>) -> SimClient {
    let config = ClientConfig {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        ..ClientConfig::default()
    };
    let identity = Identity { number, seed: u64::from(number) };
    SimClient::new(&[address], config, identity, Rc::clone(history))
}

/// A log in memory.
fn in_memory(partitions: u32) -> LogConfig {
    LogConfig { partitions, memory_bytes_max: 64 << 20, ..LogConfig::memory() }
}

/// A log on disk with small segments.
fn on_disk(partitions: u32) -> LogConfig {
    LogConfig {
        partitions,
        storage: LogStorage::Durable,
        segment_bytes: 4 << 20,
        ..LogConfig::default()
    }
}

fn events(history: &Rc<RefCell<History>>) -> Vec<Event> {
    history.borrow().events().to_vec()
}

/// The outcomes of all appends, in order of their ends.
fn outcomes(history: &Rc<RefCell<History>>) -> Vec<Outcome> {
    let outcome = |event: Event| match event.kind {
        Kind::AppendEnded { outcome, .. } => Some(outcome),
        _ => None,
    };
    events(history).into_iter().filter_map(outcome).collect()
}

/// The records of a whole partition, in order, all of them sound.
async fn records(client: &SimClient, log: &str, partition: u32) -> Vec<RecordId> {
    let read: FinalRead = client.read_all(log, PartitionId::new(partition)).await.unwrap();
    assert_eq!(read.damaged, []);
    let offsets: Vec<u64> = read.records.iter().map(|seen| seen.offset).collect();
    assert_eq!(offsets, (read.low..read.high).collect::<Vec<_>>(), "dense and in order");
    read.records.into_iter().map(|seen| seen.content.unwrap()).collect()
}
