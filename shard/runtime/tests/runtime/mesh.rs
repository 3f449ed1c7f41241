//! Lanes between cores.

use crate::harness::{Count, run_on};
use pyralog_runtime::mesh::{Mesh, Origin, Refused};
use pyralog_runtime::{Core, spawn, time, yield_now};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Runs `main` on `shards` cores that share a mesh.
fn run_mesh<M, N, F>(shards: usize, capacity: usize, main: N)
where
    M: Send + 'static,
    N: Fn(Core, Mesh<M>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let mesh = Mesh::new(shards, capacity);
    run_on(shards, move |core| main(core, mesh.clone()));
}

#[test]
fn full_lane_hands_the_message_back_and_keeps_order() {
    run_mesh(1, 2, |core, mesh: Mesh<Box<u32>>| async move {
        let (lanes, mut inbox) = mesh.join(&core);
        lanes.try_send(0, Box::new(1)).unwrap();
        lanes.try_send(0, Box::new(2)).unwrap();
        let back = lanes.try_send(0, Box::new(3)).unwrap_err();
        assert!(back.is_full());
        assert_eq!(*back.into_message(), 3);
        let mut messages = Vec::new();
        inbox.recv_many(&mut messages).await;
        let numbers: Vec<_> = messages.iter().map(|(origin, n)| (*origin, **n)).collect();
        assert_eq!(numbers, [(Origin::Shard(0), 1), (Origin::Shard(0), 2)]);
    });
}

#[test]
fn what_was_sent_before_the_core_joined_is_waiting() {
    let mesh = Mesh::new(1, 4);
    mesh.outside().post(0, 5).unwrap();
    run_on(1, move |core| {
        let mesh = mesh.clone();
        async move {
            let (_lanes, mut inbox) = mesh.join(&core);
            let mut messages = Vec::new();
            inbox.recv_many(&mut messages).await;
            assert_eq!(messages, [(Origin::Outside, 5)]);
        }
    });
}

#[test]
fn all_to_all_with_tiny_lanes_delivers_everything_in_order() {
    const SHARDS: usize = 3;
    const EACH: u32 = 2000;
    run_mesh(SHARDS, 1, |core, mesh: Mesh<u32>| async move {
        let (lanes, mut inbox) = mesh.join(&core);
        for to in 0..SHARDS {
            let lanes = lanes.clone();
            spawn(async move {
                for number in 0..EACH {
                    lanes.send(to, number).await.unwrap();
                }
            })
            .detach();
        }
        let mut next = [0; SHARDS];
        let mut messages = Vec::new();
        while next.iter().any(|next| *next < EACH) {
            inbox.recv_many(&mut messages).await;
            assert!(!messages.is_empty());
            for (origin, number) in messages.drain(..) {
                let Origin::Shard(from) = origin else { panic!("nobody is outside") };
                assert_eq!(number, next[from], "from {from}");
                next[from] += 1;
            }
        }
        // The peers may still wait for room in our lanes' opposite; stay until all are done.
        lanes_done(&core).await;
    });
}

/// Ends the machine when every core has come here.
async fn lanes_done(core: &Core) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static DONE: AtomicUsize = AtomicUsize::new(0);
    if DONE.fetch_add(1, Ordering::SeqCst) + 1 == core.shards {
        core.stopper().stop();
    }
    core.stopping().await;
}

#[test]
fn ordinary_threads_reach_a_sleeping_core() {
    const THREADS: usize = 4;
    const EACH: usize = 500;
    let mesh = Mesh::new(1, 8);
    let outside = mesh.outside();
    let total = Count::default();
    let counted = total.clone();
    let machine = pyralog_runtime::start(&crate::harness::config(1), move |core| {
        let (mesh, total) = (mesh.clone(), counted.clone());
        async move {
            let (_lanes, mut inbox) = mesh.join(&core);
            let mut messages = Vec::new();
            while total.get() < THREADS * EACH {
                inbox.recv_many(&mut messages).await;
                total.add(messages.len());
                assert!(messages.drain(..).all(|(origin, ())| origin == Origin::Outside));
            }
        }
    });
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let outside = outside.clone();
            std::thread::spawn(move || {
                for _ in 0..EACH {
                    while outside.post(0, ()).is_err() {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    machine.unwrap().join().unwrap();
    assert_eq!(total.get(), THREADS * EACH);
}

#[test]
fn burst_is_received_in_one_batch() {
    run_mesh(1, 100, |core, mesh: Mesh<u32>| async move {
        let (lanes, mut inbox) = mesh.join(&core);
        let receiver = spawn(async move {
            let mut messages = Vec::new();
            inbox.recv_many(&mut messages).await;
            messages.len()
        });
        yield_now().await;
        for number in 0..100 {
            lanes.try_send(0, number).unwrap();
        }
        assert_eq!(receiver.await, Ok(100));
    });
}

#[test]
fn dropped_receive_loses_nothing() {
    run_mesh(1, 4, |core, mesh: Mesh<u32>| async move {
        let (lanes, mut inbox) = mesh.join(&core);
        let mut messages = Vec::new();
        let wait = Duration::from_micros(50);
        assert!(time::timeout(wait, inbox.recv_many(&mut messages)).await.is_err());
        lanes.try_send(0, 5).unwrap();
        inbox.recv_many(&mut messages).await;
        assert_eq!(messages, [(Origin::Shard(0), 5)]);
    });
}

#[test]
fn ended_receiver_refuses_and_frees_what_waited() {
    run_mesh(1, 1, |core, mesh: Mesh<Arc<()>>| async move {
        let (lanes, inbox) = mesh.join(&core);
        let token = Arc::new(());
        lanes.try_send(0, Arc::clone(&token)).unwrap();
        let (sender, late) = (lanes.clone(), Arc::clone(&token));
        let waiting = spawn(async move { sender.send(0, late).await });
        yield_now().await;
        drop(inbox);
        assert!(matches!(waiting.await.unwrap(), Err(Refused::Closed(_))));
        assert_eq!(Arc::strong_count(&token), 1);
        assert!(matches!(lanes.try_send(0, token), Err(Refused::Closed(_))));
    });
}

#[test]
fn forty_thousand_waiting_senders_do_not_wear_out_a_waker() {
    // glommio counts the wakers of a task in 16 bits and aborts the process beyond 32767.
    run_mesh(1, 1, |core, mesh: Mesh<u32>| async move {
        let (lanes, mut inbox) = mesh.join(&core);
        for number in 0..40_000 {
            let lanes = lanes.clone();
            spawn(async move { lanes.send(0, number).await.unwrap() }).detach();
        }
        yield_now().await;
        let mut messages = Vec::new();
        for _ in 0..3 {
            inbox.recv_many(&mut messages).await;
        }
        assert_eq!(messages.len(), 3);
    });
}

#[test]
fn round_trips_between_two_cores_complete_under_load() {
    run_mesh(2, 16, |core, mesh: Mesh<u64>| async move {
        const TRIPS: u64 = 5000;
        let (lanes, mut inbox) = mesh.join(&core);
        let peer = 1 - core.shard;
        let mut messages = Vec::new();
        let started = time::now();
        if core.shard == 0 {
            lanes.send(peer, 0).await.unwrap();
        }
        'trips: loop {
            inbox.recv_many(&mut messages).await;
            for (_, number) in messages.drain(..) {
                if number < TRIPS {
                    lanes.send(peer, number + 1).await.unwrap();
                }
                if number + 1 >= TRIPS {
                    break 'trips;
                }
            }
        }
        if core.shard == 0 {
            let trip = time::now().since(started) / u32::try_from(TRIPS / 2).unwrap();
            println!("round trip between two cores: {trip:?}");
        }
    });
}
