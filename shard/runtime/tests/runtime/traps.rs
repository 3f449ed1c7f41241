//! The traps of glommio 0.9 that are not about files, sockets or lanes.

use crate::harness::{Count, config, run};
use pyralog_runtime::{
    Class, limits, spawn, spawn_blocking, spawn_into, start, time, yield_if_needed, yield_now,
};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Tries of a test that measures: the machine may be busy with something else in one of them.
const TRIES: usize = 10;

#[test]
fn yield_reaches_the_reactor() {
    // With glommio's own yields a due timer waits for the preemption timer, 10 ms away.
    run(|_| async {
        let mut best = Duration::MAX;
        for _ in 0..TRIES {
            let done = Rc::new(Cell::new(false));
            let seen = Rc::clone(&done);
            let started = time::now();
            let timer = spawn(async move {
                time::sleep(Duration::from_micros(100)).await;
                seen.set(true);
            });
            while !done.get() {
                yield_now().await;
            }
            best = best.min(time::now().since(started));
            timer.await.unwrap();
        }
        assert!(best < limits::PREEMPT_TIMER / 2, "{best:?} for a timer of 100 us");
    });
}

#[test]
fn a_long_task_gives_way_by_elapsed_time() {
    run(|_| async {
        let ticks = Rc::new(Cell::new(0u32));
        let counted = Rc::clone(&ticks);
        let ticker = spawn(async move {
            loop {
                time::sleep(Duration::from_micros(500)).await;
                counted.set(counted.get() + 1);
            }
        });
        let mut best = 0;
        for _ in 0..TRIES {
            let before = ticks.get();
            let until = time::now() + Duration::from_millis(50);
            while time::now() < until {
                yield_if_needed().await;
            }
            best = best.max(ticks.get() - before);
        }
        drop(ticker);
        // 50 is what giving way every half a millisecond allows, 5 what the preemption timer does.
        assert!(best > 15, "{best} ticks in 50 ms");
    });
}

#[test]
fn core_with_runnable_tasks_never_sleeps_for_long() {
    // Many yielding tasks in several queues: the pattern that hangs stock glommio with a short
    // preemption timer. No silence may exceed a few pulses.
    run(|_| async {
        let mut best = Duration::MAX;
        for _ in 0..TRIES {
            best = best.min(longest_silence().await);
            if best < Duration::from_millis(300) {
                return;
            }
        }
        panic!("silent for {best:?}");
    });
}

/// The longest time that one of some yielding tasks waited for its turn.
async fn longest_silence() -> Duration {
    let until = time::now() + Duration::from_millis(500);
    let worst = Rc::new(Cell::new(Duration::ZERO));
    let tasks: Vec<_> = [Class::Foreground, Class::Replication]
        .into_iter()
        .map(|class| {
            let worst = Rc::clone(&worst);
            spawn_into(class, async move {
                let mut last = time::now();
                while last < until {
                    yield_now().await;
                    let now = time::now();
                    worst.set(worst.get().max(now.since(last)));
                    last = now;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    worst.get()
}

#[test]
fn first_timer_of_main_is_not_late() {
    let late = || {
        let worst = Count::default();
        let seen = worst.clone();
        run(move |_| {
            let worst = worst.clone();
            async move {
                let started = time::now();
                time::sleep(Duration::from_millis(1)).await;
                let late = time::now().since(started).saturating_sub(Duration::from_millis(1));
                worst.add(usize::try_from(late.as_micros()).unwrap());
            }
        });
        seen.get()
    };
    let tries: Vec<usize> = (0..TRIES).map(|_| late()).collect();
    assert!(tries.iter().any(|late_us| *late_us < 25_000), "{tries:?} us late");
}

#[test]
fn one_slow_blocking_call_does_not_hold_up_the_next() {
    run(|_| async {
        let gate = Count::default();
        let (waits, opens) = (gate.clone(), gate.clone());
        // The first call ends only when the second has run: with one thread, never.
        let slow = spawn(spawn_blocking(move || {
            while waits.get() == 0 {
                std::thread::yield_now();
            }
        }));
        yield_now().await;
        spawn_blocking(move || opens.add(1)).await.unwrap();
        slow.await.unwrap().unwrap();
    });
}

#[test]
fn many_machines_in_a_row_leave_no_descriptors_behind() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // The other tests of this process open and close descriptors too: look at the growth over many.
    let before = open();
    for _ in 0..60 {
        start(&config(2), |_| async {}).unwrap().join().unwrap();
    }
    let grown = open().saturating_sub(before);
    // glommio itself keeps one descriptor of every executor that ever was, its eventfd.
    assert!(grown < 120 + 60, "{grown} more descriptors after 120 cores");
}
