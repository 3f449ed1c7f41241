//! Messages from core to core, through the lanes that the server's cores talk over.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use pyralog_runtime::mesh::{Inbox, Lanes, Mesh};
use pyralog_runtime::{MachineConfig, Pin, limits, spawn_blocking, start, time};

use super::{Plan, Sample, per_second};
use crate::server::on_cpus;

/// A message: 64 bytes, one line of cache. The first word says whether it is the last one.
type Message = [u64; 8];

/// Messages that a lane holds: as many as between the server's cores.
pub(super) const LANE_MESSAGES: usize = 512;
/// Messages between two looks at the clock.
const STRIDE: u32 = 1024;

const MORE: Message = [0; 8];
const LAST: Message = [1; 8];

/// Messages a second, between two cores of a machine of their own.
pub(super) async fn messages(plan: &Plan, slice: Duration) -> anyhow::Result<Sample> {
    let config = MachineConfig {
        shards: 2,
        pin: Pin::List(vec![plan.load_cpu, plan.server_cpu]),
        spin: plan.spin,
        buffer_bytes: limits::BUFFER_BYTES_MIN,
        name: "ceiling-lane".to_owned(),
        ..MachineConfig::default()
    };
    let cpus = [plan.load_cpu, plan.server_cpu].map(|cpu| u32::try_from(cpu).unwrap_or(u32::MAX));
    // The threads of the pool keep off the CPUs of cores, and this one starts two.
    let rate = spawn_blocking(move || on_cpus(&cpus, || two_cores(&config, slice))).await???;
    Ok(Sample::rate(rate))
}

fn two_cores(config: &MachineConfig, slice: Duration) -> anyhow::Result<f64> {
    let mesh = Mesh::new(2, LANE_MESSAGES);
    let (sender, receiver) = mpsc::channel();
    let machine = start(config, move |core| {
        let ((lanes, inbox), sender) = (mesh.join(&core), sender.clone());
        async move {
            if core.shard == 0 {
                // It keeps its own inbox until the other core has heard everything.
                send(&lanes, slice).await;
                core.stopping().await;
            } else {
                // Err: nobody waits for the result any more.
                sender.send(receive(inbox).await).ok();
                core.stopper().stop();
            }
        }
    })?;
    machine.join()?;
    receiver.try_recv().context("the cores ended without a result")
}

async fn send(lanes: &Lanes<Message>, slice: Duration) {
    let deadline = time::now() + slice;
    while time::now() < deadline {
        for _ in 0..STRIDE {
            if lanes.send(1, MORE).await.is_err() {
                return; // The other core has ended, and says why.
            }
        }
    }
    // Err: as above.
    lanes.send(1, LAST).await.ok();
}

async fn receive(mut inbox: Inbox<Message>) -> f64 {
    let mut messages = Vec::new();
    inbox.recv_many(&mut messages).await;
    let (began, mut total) = (time::now(), 0);
    while messages.last().is_none_or(|(_, message)| *message != LAST) {
        messages.clear();
        inbox.recv_many(&mut messages).await;
        total += messages.len() as u64;
    }
    per_second(total, time::now().since(began))
}
