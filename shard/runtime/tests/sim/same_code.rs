//! What is written once runs in both worlds: the same futures under glommio and in a simulation.

use super::on_core;
use pyralog_runtime::buffer::BufferMut;
use pyralog_runtime::channel::bounded;
use pyralog_runtime::file::{self, DirectFile, Sync};
use pyralog_runtime::mesh::Mesh;
use pyralog_runtime::net::{ListenOptions, Listener, Stream, StreamOptions};
use pyralog_runtime::sim::Simulation;
use pyralog_runtime::{IoErrorKind, MachineConfig, spawn, spawn_blocking, time};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// A little of everything. Returns what it has seen.
async fn everything(directory: PathBuf, ip: IpAddr) -> Vec<String> {
    let mut seen = files(directory).await;
    seen.extend(sockets(ip).await);
    seen.extend(tasks().await);
    seen
}

async fn files(directory: PathBuf) -> Vec<String> {
    let mut seen = Vec::new();
    let folder = directory.join("a/b");
    file::create_dir_all(&folder).await.unwrap();
    file::write_small_atomic(folder.join("small"), b"content".to_vec()).await.unwrap();
    file::append(folder.join("journal"), b"one".to_vec(), Sync::Data).await.unwrap();
    file::append(folder.join("journal"), b"two".to_vec(), Sync::No).await.unwrap();
    file::rename(folder.join("journal"), folder.join("renamed")).await.unwrap();
    let listed = file::list_dir(&folder).await.unwrap();
    seen.push(format!("{:?}", listed.iter().map(|e| (&e.name, e.len)).collect::<Vec<_>>()));
    seen.push(format!("{:?}", file::read_small(folder.join("small"), 100).await.unwrap()));
    let too_large = file::read_small(folder.join("small"), 3).await.unwrap_err();
    seen.push(format!("{:?}", too_large.kind()));
    let missing = DirectFile::open(folder.join("missing")).await.unwrap_err();
    seen.push(format!("{:?}", missing.kind()));

    let direct = DirectFile::create_new(folder.join("direct"), 16_384).await.unwrap();
    let mut buffer = BufferMut::with_capacity(8192);
    buffer.extend_with(8192, 9);
    direct.write(4096, &buffer.freeze(), Sync::Data).await.unwrap();
    let read = direct.read(4000, 200).await.unwrap();
    seen.push(format!("{} {} {}", read.len(), read[0], read[199]));
    seen.push(format!(
        "{} {}",
        direct.len().unwrap(),
        direct.read(16_000, 4096).await.unwrap().len()
    ));
    direct.set_len(5000).await.unwrap();
    seen.push(format!("{}", direct.read(4096, 8192).await.unwrap().len()));
    direct.close().await.unwrap();
    let lock = file::lock_exclusive(folder.join("lock")).unwrap();
    let locked = file::lock_exclusive(folder.join("lock")).unwrap_err();
    assert_eq!(locked.kind(), IoErrorKind::Locked);
    drop(lock);
    file::lock_exclusive(folder.join("lock")).unwrap();
    file::remove_dir_all(directory.join("a")).await.unwrap();
    seen.push(format!("{}", file::exists(&folder).await.unwrap()));
    seen
}

async fn sockets(ip: IpAddr) -> Vec<String> {
    let mut seen = Vec::new();
    let listener = Listener::bind(SocketAddr::new(ip, 0), ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all_parts(&[b"you said ", &bytes]).await.unwrap();
        bytes
    });
    let mut stream = Stream::connect(address, StreamOptions::default()).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).await.unwrap();
    seen.push(String::from_utf8_lossy(&answer).into_owned());
    serving.await.unwrap();
    seen.push(format!("{}", stream.read(&mut answer).await.unwrap()));
    let late = stream.read_until(&mut [0], time::now()).await;
    seen.push(format!("{}", late.is_ok() || late.unwrap_err().kind() == IoErrorKind::TimedOut));
    seen
}

async fn tasks() -> Vec<String> {
    let mut seen = Vec::new();
    let (sender, mut receiver) = bounded(1);
    spawn(async move {
        for number in 0..3 {
            sender.send(number).await.unwrap();
        }
    })
    .detach(); // the receiver sees its end
    while let Some(number) = receiver.recv().await {
        seen.push(format!("{number}"));
    }
    seen.push(format!("{:?}", spawn_blocking(|| 6 * 7).await));
    let panicked = spawn(async { panic!("expected") }).await;
    seen.push(format!("{:?}", panicked.map_err(|panicked| panicked.message().to_owned())));
    let elapsed = time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
    seen.push(format!("{elapsed:?}"));
    seen
}

#[test]
fn the_same_code_sees_the_same_in_both_worlds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let (sender, receiver) = std::sync::mpsc::channel();
    let machine = pyralog_runtime::start(&MachineConfig::default(), move |_core| {
        let (path, sender) = (path.clone(), sender.clone());
        async move {
            let seen = everything(path, IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
            sender.send(seen).unwrap();
        }
    });
    machine.unwrap().join().unwrap();
    let real = receiver.recv().unwrap();

    let world = Simulation::new(11);
    let node = world.add_node("simulated");
    let ip = world.address(node);
    let simulated =
        on_core(&world, node, move || async move { everything(PathBuf::from("/data"), ip).await });
    assert_eq!(simulated, real);
}

#[test]
fn lanes_carry_messages_between_simulated_cores_in_order() {
    let world = Simulation::new(12);
    let node = world.add_node("lanes");
    let config = MachineConfig { shards: 2, ..MachineConfig::default() };
    let mesh = Mesh::<u32>::new(2, 4);
    let received = Rc::new(Cell::new(0));
    let counted = Rc::clone(&received);
    world.boot(node, &config, move |core| {
        let (lanes, mut inbox) = mesh.join(&core);
        let received = Rc::clone(&counted);
        async move {
            if core.shard == 0 {
                for number in 0..100 {
                    lanes.send(1, number).await.unwrap();
                }
                return;
            }
            let mut messages = Vec::new();
            while received.get() < 100 {
                inbox.recv_many(&mut messages).await;
                for (_, number) in messages.drain(..) {
                    assert_eq!(number, received.get());
                    received.set(number + 1);
                }
            }
        }
    });
    assert!(world.run_until(Duration::from_secs(10), || !world.is_running(node)));
    assert_eq!(received.get(), 100);
    assert_eq!(world.panics(), []);
}
