//! Start, stop, join, and the order of a core's end.

use crate::harness::{Count, CountsDrop, config, outcome, run, run_on};
use pyralog_runtime::net::{ListenOptions, Listener, Stream, StreamOptions};
use pyralog_runtime::{
    IoErrorKind, MachineConfig, Pin, StartError, probe, rng, spawn, spawn_blocking, start, time,
};
use std::future::pending;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn every_core_runs_its_main_once_and_knows_its_number() {
    let seen = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&seen);
    run_on(3, move |core| {
        let seen = Arc::clone(&shared);
        async move {
            assert_eq!(core.shards, 3);
            assert_eq!(core.seed, 7);
            let bit = 1 << core.shard;
            assert_eq!(seen.fetch_or(bit, Ordering::SeqCst) & bit, 0, "core {} twice", core.shard);
        }
    });
    assert_eq!(seen.load(Ordering::SeqCst), 0b111);
}

#[test]
fn stop_reaches_every_core_from_an_ordinary_thread() {
    let machine = start(&config(2), |core| async move { core.stopping().await }).unwrap();
    machine.stopper().stop();
    assert!(machine.stopper().is_stopping());
    machine.join().unwrap();
}

#[test]
fn one_core_can_stop_the_machine() {
    run_on(2, |core| async move {
        if core.shard == 1 {
            core.stopper().stop();
        }
        core.stopping().await;
    });
}

#[test]
fn panic_of_one_core_stops_the_others_and_is_reported() {
    let result = outcome(2, |core| async move {
        assert_ne!(core.shard, 1, "core one falls");
        core.stopping().await;
    });
    let error = result.unwrap_err();
    assert_eq!(error.shard, 1);
    assert!(error.message.contains("core one falls"), "{error}");
}

#[test]
fn end_of_main_cancels_what_still_runs_youngest_first() {
    let order = Arc::new(std::sync::OnceLock::new());
    let (dropped, told) = (Count::default(), Arc::clone(&order));
    let counted = dropped.clone();
    run(move |_| {
        let (count, order) = (counted.clone(), Arc::clone(&told));
        async move {
            for name in ["old", "young"] {
                let (guard, order) = (CountsDrop(count.clone()), Arc::clone(&order));
                spawn(async move {
                    let tell = TellsDrop(name, order);
                    pending::<()>().await;
                    drop((guard, tell));
                })
                .detach();
            }
            // Let them start, so that they are dropped at an await and not before their first run.
            pyralog_runtime::yield_now().await;
        }
    });
    assert_eq!(dropped.get(), 2);
    assert_eq!(order.get(), Some(&"young"));
}

/// Tells its name when dropped, if it is the first.
struct TellsDrop(&'static str, Arc<std::sync::OnceLock<&'static str>>);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        // Err: another was first.
        self.1.set(self.0).ok();
    }
}

#[test]
fn tasks_spawned_by_dying_tasks_die_too() {
    struct Spawns(Count);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let guard = CountsDrop(self.0.clone());
            spawn(async move {
                pending::<()>().await;
                drop(guard);
            })
            .detach();
        }
    }
    let count = Count::default();
    let counted = count.clone();
    run(move |_| {
        let spawns = Spawns(counted.clone());
        async move {
            spawn(async move {
                pending::<()>().await;
                drop(spawns);
            })
            .detach();
        }
    });
    assert_eq!(count.get(), 1);
}

#[test]
fn core_waits_for_blocking_calls_whose_caller_is_gone() {
    let (started, finished) = (Count::default(), Count::default());
    let counts = (started.clone(), finished.clone());
    run(move |_| {
        let (started, finished) = counts.clone();
        async move {
            let (in_call, done) = (started.clone(), finished.clone());
            let task = spawn(async move {
                let call = move || {
                    in_call.add(1);
                    // A call that takes a while, without a clock: a quarter of a second of work.
                    let mut sum = 0u64;
                    for i in 0..50_000_000u64 {
                        sum = std::hint::black_box(sum.wrapping_add(i));
                    }
                    done.add(1);
                };
                spawn_blocking(call).await.unwrap();
            });
            while started.get() == 0 {
                pyralog_runtime::yield_now().await;
            }
            drop(task);
        }
    });
    assert_eq!(finished.get(), 1);
}

#[test]
fn listener_of_a_dead_core_is_closed() {
    let address = Arc::new(std::sync::OnceLock::<SocketAddr>::new());
    let told = Arc::clone(&address);
    run(move |_| {
        let told = Arc::clone(&told);
        async move {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = Listener::bind(any, ListenOptions::default()).unwrap();
            told.set(listener.local_addr().unwrap()).unwrap();
            spawn(async move { while listener.accept().await.is_ok() {} }).detach();
            pyralog_runtime::yield_now().await;
        }
    });
    let address = *address.get().unwrap();
    run(move |_| async move {
        let error = Stream::connect(address, StreamOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), IoErrorKind::ConnectionRefused);
    });
}

#[test]
fn impossible_configurations_are_errors() {
    let none = MachineConfig { shards: 0, ..config(1) };
    assert!(matches!(start(&none, |_| async {}), Err(StartError::Shards { found: 0 })));
    let many = MachineConfig { shards: 1 << 20, ..config(1) };
    assert!(matches!(start(&many, |_| async {}), Err(StartError::Shards { .. })));
    let absent = MachineConfig { pin: Pin::List(vec![100_000]), ..config(1) };
    let error = start(&absent, |_| async {}).unwrap_err();
    assert!(matches!(error, StartError::Pin(_)), "{error}");
    assert!(error.to_string().contains("cpu 100000"), "{error}");
}

#[test]
fn pinned_core_runs_on_its_cpu_and_its_blocking_pool_does_not() {
    let cpus = probe::cpus();
    let cpu = *cpus.last().unwrap();
    let pinned = MachineConfig { pin: Pin::List(vec![cpu]), ..config(1) };
    // All of them only if there is no other.
    let others: Vec<usize> = cpus.iter().copied().filter(|other| *other != cpu).collect();
    let pool = if others.is_empty() { cpus } else { others };
    let machine = start(&pinned, move |_| {
        let pool = pool.clone();
        async move {
            assert_eq!(probe::cpus(), vec![cpu]);
            assert_eq!(spawn_blocking(probe::cpus).await.unwrap(), pool);
        }
    });
    machine.unwrap().join().unwrap();
}

#[test]
fn memlock_is_reported_with_what_the_buffers_need() {
    let machine = start(&config(2), |_| async {}).unwrap();
    let report = machine.memlock();
    assert_eq!(report.needed, 2 * (4 << 20));
    assert_eq!(report.after, probe::memlock_limit().soft);
    if let (Some(before), Some(after)) = (report.before, report.after) {
        assert!(after >= before);
    }
    machine.join().unwrap();
}

#[test]
fn streams_repeat_per_seed_core_and_name() {
    let draw = || {
        let numbers = Arc::new([const { AtomicU64::new(0) }; 4]);
        let shared = Arc::clone(&numbers);
        run_on(2, move |core| {
            let numbers = Arc::clone(&shared);
            async move {
                for (index, name) in ["a", "b"].into_iter().enumerate() {
                    let number = rng::stream(name).next_u64();
                    numbers[core.shard * 2 + index].store(number, Ordering::SeqCst);
                }
            }
        });
        let numbers: Vec<_> = numbers.iter().map(|number| number.load(Ordering::SeqCst)).collect();
        numbers
    };
    let numbers = draw();
    assert_eq!(numbers, draw());
    let mut distinct = numbers.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 4, "{numbers:?}");
}

#[test]
fn entropy_does_not_repeat_and_below_is_below() {
    assert_ne!(rng::entropy_u64(), rng::entropy_u64());
    let mut rng = rng::Rng::with_seed(1);
    assert!((0..1000).all(|_| rng.below(3) < 3));
}

#[test]
fn sleep_is_never_short_and_timeouts_end() {
    run(|_| async {
        let before = time::now();
        time::sleep(Duration::from_millis(5)).await;
        assert!(time::now().since(before) >= Duration::from_millis(5));
        let late = time::timeout(Duration::from_millis(1), pending::<()>()).await;
        assert_eq!(late, Err(time::Elapsed));
        let early = time::timeout(Duration::from_hours(1), async { 5 }).await;
        assert_eq!(early, Ok(5));
        time::sleep_until(before).await;
        drop(time::sleep(Duration::MAX));
        assert!(time::unix_us() > 1_700_000_000_000_000);
    });
}

#[test]
fn values_of_one_core_need_not_be_send() {
    run(|_| async {
        let value = Rc::new(5);
        let inner = Rc::clone(&value);
        assert_eq!(spawn(async move { *inner }).await, Ok(5));
    });
}

#[test]
fn a_dropped_machine_stops_by_itself() {
    let ended = Count::default();
    let guard = ended.clone();
    let machine = start(&config(1), move |core| {
        let guard = CountsDrop(guard.clone());
        async move {
            core.stopping().await;
            drop(guard);
        }
    });
    drop(machine.unwrap());
    while ended.get() == 0 {
        std::thread::yield_now();
    }
}
