//! Obelisks as their users see them: in the simulated world, on a real disk, and in processes that are killed.
#![expect(clippy::unwrap_used, reason = "helpers of tests; an unwrap that fails is a failed test")]

#[path = "obelisk/children.rs"]
mod children;
#[path = "obelisk/disk.rs"]
mod disk;
#[path = "obelisk/files.rs"]
mod files;
#[path = "obelisk/world.rs"]
mod world;

use pyralog_runtime::MachineConfig;
use pyralog_runtime::sim::{NodeId, Simulation};
use pyralog_seq::obelisk::Mode;
use pyralog_seq::obelisk_file::Options;
use std::cell::RefCell;
use std::future::Future;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Duration;

const DIRECTORY: &str = "/data/counters";

fn count(count: u64) -> NonZeroU64 {
    NonZeroU64::new(count).unwrap()
}

fn options(mode: Mode, stride_max: u64) -> Options {
    Options { mode, stride_max }
}

/// Boots a node of one core that runs `main` once.
fn boot<F: Future<Output = ()> + 'static>(
    world: &Simulation,
    node: NodeId,
    main: impl FnOnce() -> F + 'static,
) {
    let main = RefCell::new(Some(main));
    world.boot(node, &MachineConfig::default(), move |_core| {
        let main = main.borrow_mut().take().expect("one core");
        main()
    });
}

/// Runs `main` on a node until it ends; what it gave, unless the node died before.
fn try_on_core<T: 'static, F: Future<Output = T> + 'static>(
    world: &Simulation,
    node: NodeId,
    main: impl FnOnce() -> F + 'static,
) -> Option<T> {
    let slot = Rc::new(RefCell::new(None));
    let filled = Rc::clone(&slot);
    boot(world, node, move || async move {
        let value = main().await;
        *filled.borrow_mut() = Some(value);
    });
    assert!(world.run_until(Duration::from_mins(20), || !world.is_running(node)), "it hangs");
    slot.take()
}

/// Same, of a node that does not die.
fn on_core<T: 'static, F: Future<Output = T> + 'static>(
    world: &Simulation,
    node: NodeId,
    main: impl FnOnce() -> F + 'static,
) -> T {
    try_on_core(world, node, main).expect("the core came to its end")
}
