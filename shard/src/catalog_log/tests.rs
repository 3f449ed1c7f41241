//! A core that does not answer, and what is told about changes meanwhile: real cores' state in a simulated world.

use std::cell::{Cell, RefCell};

use futures_util::future::LocalBoxFuture;
use pyralog_runtime::mesh::{Inbox, Mesh};
use pyralog_runtime::sim::Simulation;
use pyralog_runtime::{MachineConfig, spawn};
use pyralog_wire::message::DeleteLog;

use super::*;
use crate::config::ServerConfig;
use crate::data_dir::Identity;
use crate::inbox;
use crate::limits::LANE_MESSAGES;
use crate::message::Message;

/// The core that follows shard 0.
#[derive(Default)]
struct Follower {
    /// It takes no messages.
    deaf: Cell<bool>,
    shard: RefCell<Option<Rc<Shard>>>,
}

impl Follower {
    fn shard(&self) -> Rc<Shard> {
        self.shard.borrow().clone().expect("it runs")
    }

    async fn run(&self, shard: Rc<Shard>, mut inbox: Inbox<Message>) {
        *self.shard.borrow_mut() = Some(Rc::clone(&shard));
        let mut messages = Vec::new();
        loop {
            inbox.recv_many(&mut messages).await;
            for (origin, message) in messages.drain(..) {
                while self.deaf.get() {
                    time::sleep(Duration::from_millis(1)).await;
                }
                inbox::receive(&shard, origin, message);
            }
        }
    }
}

/// Runs a test on shard 0 of a node with two cores that keeps nothing.
fn with_two_cores(test: fn(Rc<Shard>, Rc<Follower>) -> LocalBoxFuture<'static, ()>) {
    let world = Simulation::new(7);
    let node = world.add_node("node");
    let mesh = Mesh::new(2, LANE_MESSAGES);
    let done = Rc::new(Cell::new(false));
    let (follower, ended) = (Rc::new(Follower::default()), Rc::clone(&done));
    let config = MachineConfig { shards: 2, ..MachineConfig::default() };
    world.boot(node, &config, move |core| {
        let (lanes, inbox) = mesh.join(&core);
        let data = DataConfig::MemoryOnly { max_memory: 1 << 30 };
        let config = ServerConfig { shards: 2, data, ..ServerConfig::default() };
        let identity = Identity { node_id: 1, cluster_id: 1, created_us: 0 };
        let who = (identity, crate::node_key::draw());
        let shard = Rc::new(Shard::new(lanes, (config, None), who));
        let (follower, ended) = (Rc::clone(&follower), Rc::clone(&ended));
        async move {
            if core.shard == 1 {
                return follower.run(shard, inbox).await;
            }
            spawn(inbox::run(Rc::clone(&shard), inbox)).detach(); // ends with the world
            test(shard, follower).await;
            ended.set(true);
        }
    });
    assert!(world.run_until(Duration::from_mins(10), || done.get()), "{:?}", world.panics());
    assert_eq!(world.panics(), []);
}

fn create(name: &str) -> Request {
    let config = LogConfig { partitions: 2, ..LogConfig::default() };
    CreateLog { name: name.into(), config }.into()
}

#[test]
fn a_deletion_is_acknowledged_only_when_every_core_has_made_it() {
    with_two_cores(|shard, follower| {
        Box::pin(async move {
            let (log, mut behind) = (CatalogLog { partition: None }, Behind::default());
            change(&shard, (&log, &mut behind), create("a")).await.unwrap();
            let id = shard.catalog.borrow().by_name("a").unwrap().id;
            assert_eq!(follower.shard().partitions.of_log(id).len(), 1, "a partition each");

            follower.deaf.set(true);
            let delete = DeleteLog { name: "a".into() };
            let refused = change(&shard, (&log, &mut behind), delete.into()).await.unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::DeadlineExceeded), "{refused}");
            assert_eq!(follower.shard().partitions.of_log(id).len(), 1, "it still serves");

            // It would miss the next change, or take it before this one.
            let refused = change(&shard, (&log, &mut behind), create("b")).await.unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::Busy), "{refused}");
            assert_eq!(shard.catalog.borrow().by_name("b"), None);

            follower.deaf.set(false);
            while let Err(refused) = change(&shard, (&log, &mut behind), create("b")).await {
                assert_eq!(refused.code(), Some(ErrorCode::Busy), "{refused}");
                time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(follower.shard().partitions.of_log(id).len(), 0, "it has made it");
            assert_eq!(*follower.shard().catalog.borrow(), *shard.catalog.borrow());
        })
    });
}

#[test]
fn a_creation_that_a_core_does_not_make_in_time_is_made_once_by_it_later() {
    with_two_cores(|shard, follower| {
        Box::pin(async move {
            let (log, mut behind) = (CatalogLog { partition: None }, Behind::default());
            follower.deaf.set(true);
            let refused = change(&shard, (&log, &mut behind), create("a")).await.unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::DeadlineExceeded), "{refused}");
            follower.deaf.set(false);
            loop {
                match change(&shard, (&log, &mut behind), create("a")).await {
                    Err(refused) if refused.is(ErrorCode::LogExists) => break,
                    Err(refused) if refused.is(ErrorCode::Busy) => {}
                    other => panic!("{other:?}"),
                }
                time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(follower.shard().partitions.len(), 1);
            assert_eq!(*follower.shard().catalog.borrow(), *shard.catalog.borrow());
        })
    });
}

#[test]
fn a_log_that_some_cores_have_removed_is_not_described_without_their_partitions() {
    with_two_cores(|shard, follower| {
        Box::pin(async move {
            let (log, mut behind) = (CatalogLog { partition: None }, Behind::default());
            change(&shard, (&log, &mut behind), create("a")).await.unwrap();
            let entry = shard.catalog.borrow().by_name("a").unwrap().clone();
            assert_eq!(full_description(&shard, &entry).await.unwrap().partitions.len(), 2);

            assert_eq!(follower.shard().partitions.remove_log(entry.id).len(), 1);
            let refused = full_description(&shard, &entry).await.unwrap_err();
            assert!(refused.is(ErrorCode::DeadlineExceeded), "{refused}");
        })
    });
}
