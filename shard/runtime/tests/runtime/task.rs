//! Tasks: containment, cancellation, classes.

use crate::harness::{Count, CountsDrop, run};
use pyralog_runtime::channel::oneshot;
use pyralog_runtime::{
    Class, spawn, spawn_blocking, spawn_durable, spawn_into, time, yield_if_needed, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn panic_ends_its_task_and_nothing_else() {
    run(|_| async {
        let other = spawn(async {
            for _ in 0..10 {
                yield_now().await;
            }
            5
        });
        let error = spawn(async { panic!("number {}", 7) }).await.map(|(): ()| ()).unwrap_err();
        assert_eq!(error.message(), "number 7");
        assert!(!error.is_cancelled());
        assert_eq!(other.await, Ok(5));
    });
}

#[test]
fn panic_after_an_await_and_in_a_destructor_are_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "boom");
        }
    }
    run(|_| async {
        let late = spawn(async {
            yield_now().await;
            panic!("late");
        });
        assert_eq!(late.await.map(|(): ()| ()).unwrap_err().message(), "late");
        let mut bomb = Some(Bomb);
        let finished = spawn(std::future::poll_fn(move |_| {
            assert!(bomb.is_some());
            let _keeps_it_captured = &mut bomb;
            std::task::Poll::Ready(())
        }));
        assert_eq!(finished.await.unwrap_err().message(), "boom");
        let cancelled = spawn(async {
            let bomb = Bomb;
            pending::<()>().await;
            drop(bomb);
        });
        yield_now().await;
        drop(cancelled);
        yield_now().await;
    });
}

#[test]
fn panic_in_a_blocking_call_answers_its_caller_and_spares_the_pool() {
    run(|_| async {
        for _ in 0..10 {
            let error =
                spawn_blocking(|| panic!("off the core")).await.map(|(): ()| ()).unwrap_err();
            assert_eq!(error.message(), "off the core");
        }
        assert_eq!(spawn_blocking(|| 5).await, Ok(5));
    });
}

#[test]
fn spawn_queues_and_never_runs_inside_the_call() {
    run(|_| async {
        let state = Rc::new(RefCell::new(0));
        let borrowed = state.borrow_mut();
        let inner = Rc::clone(&state);
        let task = spawn(async move { *inner.borrow_mut() += 1 });
        drop(borrowed);
        task.await.unwrap();
        assert_eq!(*state.borrow(), 1);
    });
}

#[test]
fn dropped_task_is_cancelled_and_detached_one_is_not() {
    let dropped = Count::default();
    let seen = dropped.clone();
    run(move |_| {
        let count = dropped.clone();
        async move {
            let guard = CountsDrop(count.clone());
            let task = spawn(async move {
                pending::<()>().await;
                drop(guard);
            });
            yield_now().await;
            drop(task);
            yield_now().await;
            assert_eq!(count.get(), 1);

            let (sender, receiver) = oneshot();
            spawn(async move {
                yield_now().await;
                sender.send(5).unwrap();
            })
            .detach();
            assert_eq!(receiver.await, Ok(5));
        }
    });
    assert_eq!(seen.get(), 1);
}

#[test]
fn task_dropped_by_itself_is_harmless() {
    run(|_| async {
        let own = Rc::new(RefCell::new(None));
        let inner = Rc::clone(&own);
        let task = spawn(async move {
            yield_now().await;
            drop(inner.borrow_mut().take());
            yield_now().await;
        });
        *own.borrow_mut() = Some(task);
        for _ in 0..4 {
            yield_now().await;
        }
        assert!(own.borrow().is_none());
    });
}

#[test]
fn finished_task_may_be_awaited_late_and_polled_by_reference() {
    run(|_| async {
        let mut task = spawn(async { 5 });
        while !task.is_finished() {
            yield_now().await;
        }
        assert_eq!((&mut task).await, Ok(5));
    });
}

#[test]
fn durable_task_returns_like_any_other() {
    run(|_| async {
        assert_eq!(spawn_durable("test", async { 5 }).await, Ok(5));
    });
}

#[test]
fn classes_run_and_children_inherit_them() {
    run(|_| async {
        for class in [Class::Foreground, Class::Replication, Class::Background] {
            let value = spawn_into(class, async { spawn(async { 5 }).await.unwrap() }).await;
            assert_eq!(value, Ok(5));
        }
    });
}

/// Spends time without an await.
fn burn(duration: Duration) {
    let until = time::now() + duration;
    while time::now() < until {
        std::hint::spin_loop();
    }
}

#[test]
fn background_gives_way_to_the_foreground() {
    run(|_| async {
        let stop = Rc::new(Cell::new(false));
        let work = [Rc::new(Cell::new(0u32)), Rc::new(Cell::new(0u32))];
        let classes = [Class::Foreground, Class::Background];
        let tasks: Vec<_> = classes
            .into_iter()
            .zip(&work)
            .map(|(class, done)| {
                let (stop, done) = (Rc::clone(&stop), Rc::clone(done));
                spawn_into(class, async move {
                    while !stop.get() {
                        burn(Duration::from_micros(100));
                        done.set(done.get() + 1);
                        yield_if_needed().await;
                    }
                })
            })
            .collect();
        time::sleep(Duration::from_millis(300)).await;
        stop.set(true);
        for task in tasks {
            task.await.unwrap();
        }
        let (foreground, background) = (work[0].get(), work[1].get());
        assert!(background > 0, "background never ran");
        assert!(foreground > 3 * background, "foreground {foreground}, background {background}");
    });
}
