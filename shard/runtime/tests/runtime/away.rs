//! Work on bytes of a core by a thread of its pool.

use crate::harness::{config, run};
use pyralog_runtime::away;
use pyralog_runtime::buffer::{BufferMut, Slice, in_use_bytes};
use pyralog_runtime::{Pin, spawn, start, yield_now};
use std::cell::Cell;
use std::rc::Rc;

fn slice(len: usize, value: u8) -> Slice {
    let mut buffer = BufferMut::with_capacity(len);
    buffer.extend_with(len, value);
    buffer.freeze().into()
}

#[test]
fn a_thread_reads_what_the_core_keeps() {
    run(|_| async {
        let before = in_use_bytes();
        let core = std::thread::current().id();
        let turn = away::turn().await;
        let read = turn.read(vec![slice(9000, 1), slice(7, 2)], move |pieces| {
            assert_ne!(std::thread::current().id(), core);
            pieces.iter().map(|piece| piece.iter().map(|byte| u64::from(*byte)).sum()).collect()
        });
        let sums: Vec<u64> = read.await.unwrap();
        assert_eq!((sums, in_use_bytes()), (vec![9000, 14], before));
    });
}

#[test]
fn a_panic_away_is_told_and_gives_memory_and_turn_back() {
    run(|_| async {
        let before = in_use_bytes();
        let turn = away::turn().await;
        let read = turn.read(vec![slice(9000, 1)], |_| panic!("as a test"));
        let panicked: Result<(), _> = read.await;
        assert!(panicked.unwrap_err().message().contains("as a test"));
        drop(turn);
        let _next = away::turn().await;
        assert_eq!(in_use_bytes(), before);
    });
}

#[test]
fn one_has_the_turn_at_a_time() {
    run(|_| async {
        let (turn, taken) = (away::turn().await, Rc::new(Cell::new(0)));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let taken = Rc::clone(&taken);
                spawn(async move {
                    let turn = away::turn().await;
                    taken.set(taken.get() + 1);
                    let before = taken.get();
                    yield_now().await;
                    assert_eq!(taken.get(), before, "nobody else had it meanwhile");
                    drop(turn);
                })
            })
            .collect();
        yield_now().await;
        assert_eq!(taken.get(), 0);
        drop(turn);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(taken.get(), 3);
    });
}

#[test]
fn a_cpu_is_spare_if_there_are_more_than_cores() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let machine = start(
        &pyralog_runtime::MachineConfig { pin: Pin::Auto, ..config(1) },
        move |_| async move {
            assert_eq!(away::has_spare_cpu(), cpus > 1);
        },
    );
    machine.unwrap().join().unwrap();
    let machine = start(&config(cpus), |_| async { assert!(!away::has_spare_cpu()) });
    machine.unwrap().join().unwrap();
}
