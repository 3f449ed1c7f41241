//! A node on a machine that is not a server's.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::Duration;

use pyralog_runtime::Machine;
use pyralog_runtime::sim::{Crash, Simulation};
use pyralog_shard::{DataDirError, Node, ServerConfig, StartError, Started};

use crate::support::*;

/// Runs a node until its start has come to an end.
fn run(config: ServerConfig) -> (Node, Machine, Result<Started, StartError>) {
    let mut node = Node::open(config).unwrap();
    let machine = pyralog_runtime::start(&node.machine_config(), node.main()).unwrap();
    loop {
        if let Some(outcome) = node.try_started() {
            return (node, machine, outcome);
        }
        thread::yield_now();
    }
}

#[test]
fn a_node_on_a_machine_of_its_callers_serves_and_stops_in_order() {
    let data = tempfile::tempdir().unwrap();
    let mut log = None;
    for round in 0..2 {
        let (mut node, machine, started) = run(durable_config(2, data.path()));
        let Started { addresses, recovery } = started.unwrap();
        assert_eq!((addresses.shards.len(), addresses.http), (2, None));
        assert_eq!(recovery, &[] as &[String], "the stop was clean");
        assert!(node.try_started().is_none(), "it is said once");
        let (mut peer, welcome) = Peer::greet(addresses.shards[1]);
        assert_eq!(welcome.node, node.identity().node_id);
        let id = *log.get_or_insert_with(|| peer.create("a", log_config(1)).id);
        peer.append(id, 0, &batch(&[b"value"])).unwrap();
        assert_eq!(peer.values(id, 0, 0), vec![b"value".to_vec(); round + 1]);
        machine.stopper().stop();
        machine.join().unwrap();
    }
}

#[test]
fn a_node_that_cannot_serve_says_why_and_ends_its_machine() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let config = ServerConfig { listen: taken.local_addr().unwrap(), ..memory_config(2) };
    let (_node, machine, started) = run(config);
    let error = started.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error:?}");
    machine.join().unwrap();
}

#[test]
fn a_node_whose_cores_end_without_a_word_has_not_started() {
    let mut node = Node::open(memory_config(1)).unwrap();
    assert!(node.try_started().is_none(), "nothing runs yet");
    drop(node.main());
    let error = node.try_started().unwrap().unwrap_err();
    assert!(matches!(error, StartError::Shard { shard: 0, .. }), "{error:?}");
    assert!(node.try_started().is_none(), "it is said once");
}

#[test]
#[should_panic(expected = "a node runs once")]
fn a_node_runs_once() {
    let mut node = Node::open(memory_config(1)).unwrap();
    drop(node.main());
    drop(node.main());
}

#[test]
fn a_node_holds_its_directory_from_its_opening_to_its_end() {
    let data = tempfile::tempdir().unwrap();
    let open = || Node::open(durable_config(1, data.path()));
    let node = open().unwrap();
    let refused = open().unwrap_err();
    assert!(matches!(refused, StartError::DataDir(DataDirError::Locked { .. })), "{refused:?}");
    let identity = node.identity();
    drop(node);
    assert_eq!(open().unwrap().identity(), identity);
}

#[test]
fn settings_are_checked_before_anything_is_touched() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("new");
    let config = ServerConfig { shards: 0, ..durable_config(1, &path) };
    assert!(matches!(Node::open(config), Err(StartError::Config(_))));
    assert!(!path.exists());
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let node = Node::open(ServerConfig { listen, ..durable_config(3, &path) }).unwrap();
    assert_eq!(node.machine_config().shards, 3);
    assert!(path.join("catalog").is_dir());
}

#[test]
fn a_node_starts_in_a_simulated_world_and_again_after_a_loss_of_power() {
    let world = Simulation::new(1);
    let place = world.add_node("node");
    let listen = SocketAddr::new(world.address(place), 7171);
    let mut identity = None;
    for _ in 0..2 {
        let config = ServerConfig { listen, ..durable_config(2, Path::new("/data")) };
        let mut node = world.on_node(place, || Node::open(config)).unwrap();
        assert_eq!(*identity.get_or_insert(node.identity()), node.identity());
        world.boot(place, &node.machine_config(), node.main());
        let mut started = None;
        world.run_until(Duration::from_mins(1), || {
            started = node.try_started();
            started.is_some()
        });
        let started = started.expect("it starts within a minute").unwrap();
        assert_eq!(started.addresses.listen, listen);
        world.crash(place, Crash::Power);
    }
    assert_eq!(world.panics(), []);
}
