//! Virtual time, scheduling, and the hash of it all.

use super::{boot, on_core};
use pyralog_runtime::sim::{Simulation, elapsed};
use pyralog_runtime::{MachineConfig, rng, spawn, time, yield_now};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

#[test]
fn an_idle_day_takes_no_time() {
    let world = Simulation::new(1);
    let node = world.add_node("idle");
    let slept = on_core(&world, node, || async {
        let before = time::now();
        for _ in 0..24 * 5 {
            time::sleep(Duration::from_secs(5)).await;
        }
        time::now().since(before)
    });
    assert!(slept >= Duration::from_mins(10));
    assert!(world.polls() < 1_000, "{} polls for 120 sleeps", world.polls());
}

#[test]
fn timers_come_in_order_and_never_early() {
    let world = Simulation::new(2);
    let node = world.add_node("timers");
    let order = on_core(&world, node, || async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [30_u64, 10, 20]
            .map(|ms| {
                let order = Rc::clone(&order);
                spawn(async move {
                    let before = time::now();
                    time::sleep(Duration::from_millis(ms)).await;
                    assert!(time::now().since(before) >= Duration::from_millis(ms));
                    order.borrow_mut().push(ms);
                })
            })
            .into();
        for task in tasks {
            task.await.unwrap();
        }
        Rc::try_unwrap(order).unwrap().into_inner()
    });
    assert_eq!(order, [10, 20, 30]);
}

/// The order in which ten tasks that are all runnable take ten turns each.
fn turns(seed: u64) -> (Vec<u32>, u64) {
    let world = Simulation::new(seed);
    let node = world.add_node("turns");
    let turns = on_core(&world, node, || async {
        let turns = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..10)
            .map(|number| {
                let turns = Rc::clone(&turns);
                spawn(async move {
                    for _ in 0..10 {
                        turns.borrow_mut().push(number);
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        turns.borrow().clone()
    });
    (turns, world.trace_hash())
}

#[test]
fn which_task_is_next_comes_of_the_seed() {
    assert_eq!(turns(7), turns(7));
    assert_ne!(turns(7).0, turns(8).0);
    assert_ne!(turns(7).1, turns(8).1);
}

#[test]
fn entropy_and_streams_repeat_with_the_seed() {
    let draw = |seed| {
        let world = Simulation::new(seed);
        let node = world.add_node("dice");
        on_core(&world, node, || async { (rng::entropy_u64(), rng::stream("x").next_u64()) })
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
}

#[test]
fn a_paused_node_stands_still_while_time_goes_on() {
    let world = Simulation::new(5);
    let node = world.add_node("paused");
    let ticks = Rc::new(Cell::new(0));
    let counted = Rc::clone(&ticks);
    boot(&world, node, move || {
        let ticks = Rc::clone(&counted);
        async move {
            loop {
                ticks.set(ticks.get() + 1);
                time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    world.run_for(Duration::from_millis(100));
    let before = ticks.get();
    assert!(before > 50);
    world.pause(node, Duration::from_secs(2));
    world.run_for(Duration::from_millis(1_999));
    assert!(ticks.get() <= before + 1, "it ran while it was paused");
    world.run_for(Duration::from_millis(100));
    assert!(ticks.get() > before + 50);
}

#[test]
fn wall_clocks_jump_and_drift_and_monotonic_time_does_not() {
    let world = Simulation::new(6);
    let (right, wrong) = (world.add_node("right"), world.add_node("wrong"));
    world.skew_clock(wrong, 1_000);
    world.jump_clock(wrong, -3_600_000_000);
    let clocks = || async {
        let (wall, now) = (time::unix_us(), time::now());
        time::sleep(Duration::from_secs(100)).await;
        (time::unix_us() - wall, time::now().since(now), wall)
    };
    let (wall, now, began) = on_core(&world, right, clocks);
    assert!((wall - i64::try_from(now.as_micros()).unwrap()).abs() < 10);
    let (wall, now, skewed) = on_core(&world, wrong, clocks);
    let ahead = wall - i64::try_from(now.as_micros()).unwrap();
    assert!((99_000..=101_000).contains(&ahead), "{ahead} us ahead after 100 s at 1000 ppm");
    assert!(skewed < began, "an hour behind, {began} and then {skewed}");
}

#[test]
fn a_machine_of_several_cores_stops_in_order() {
    let world = Simulation::new(9);
    let node = world.add_node("cores");
    let config = MachineConfig { shards: 3, ..MachineConfig::default() };
    let ended = Rc::new(Cell::new(0));
    let counted = Rc::clone(&ended);
    let stopper = world.boot(node, &config, move |core| {
        let ended = Rc::clone(&counted);
        async move {
            core.stopping().await;
            ended.set(ended.get() + 1);
        }
    });
    world.run_for(Duration::from_secs(1));
    assert!(world.is_running(node));
    stopper.stop();
    assert!(world.run_until(Duration::from_secs(1), || !world.is_running(node)));
    assert_eq!(ended.get(), 3);
}

#[test]
fn outside_a_simulation_there_is_no_virtual_time() {
    assert_eq!(elapsed(), None);
    drop(Simulation::new(1));
    assert_eq!(elapsed(), None);
}
