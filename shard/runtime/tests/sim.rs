//! The simulated world, seen from outside: what code on a simulated core can rely on, and what is done to it.
#![expect(clippy::unwrap_used, reason = "helpers of tests; an unwrap that fails is a failed test")]

#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/same_code.rs"]
mod same_code;
#[path = "sim/time.rs"]
mod world_time;

use pyralog_runtime::MachineConfig;
use pyralog_runtime::sim::{NodeId, Simulation};
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

/// Boots a node of one core that runs `main`.
fn boot<F: Future<Output = ()> + 'static>(
    world: &Simulation,
    node: NodeId,
    main: impl Fn() -> F + 'static,
) {
    world.boot(node, &MachineConfig::default(), move |_core| main());
}

/// Runs `main` on a node of its own to its end and returns what it gave.
fn on_core<T: 'static, F: Future<Output = T> + 'static>(
    world: &Simulation,
    node: NodeId,
    main: impl FnOnce() -> F + 'static,
) -> T {
    let slot = Rc::new(RefCell::new(None));
    let (filled, main) = (Rc::clone(&slot), RefCell::new(Some(main)));
    boot(world, node, move || {
        let main = main.borrow_mut().take().expect("one core");
        let filled = Rc::clone(&filled);
        async move {
            let value = main().await;
            *filled.borrow_mut() = Some(value);
        }
    });
    assert!(world.run_until(Duration::from_mins(20), || !world.is_running(node)), "it hangs");
    let value = slot.borrow_mut().take();
    value.expect("the core came to its end")
}
