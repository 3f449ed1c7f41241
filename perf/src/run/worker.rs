//! A thread of the load that uses the client: its share of the connections, producers and consumers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use pyralog_client::{Client, Consumer};
use tokio::task::{LocalSet, spawn_local};

use super::drive::{Event, Load};
use crate::clock::Timer;
use crate::driver::Local;
use crate::driver::client::{ClientTarget, connect};
use crate::driver::consumer::{at_tail, catch_up, tail};
use crate::driver::producer::{Plan, Producer, Route};
use crate::failure::Failure;
use crate::limits::DRAIN_MAX;
use crate::payload::Records;
use crate::quantity::nanoseconds;
use crate::recorder::{Recorded, Recorder};
use crate::scenario::{Arrivals, Scenario};
use crate::schedule::{Part, Schedule};
use crate::server::pin;

/// Starts one for each CPU of the load.
pub(super) fn spawn(load: &Load) -> Result<Vec<JoinHandle<()>>, Failure> {
    let cpus = load.job.setting.load_cpus.clone();
    let of = u32::try_from(cpus.len()).unwrap_or(u32::MAX);
    let thread = |(index, cpu): (u32, u32)| {
        let load = load.clone();
        let body = move || {
            let outcome =
                pin(&[cpu]).map_err(Failure::from).and_then(|()| work(&load, Part { index, of }));
            if let Err(failure) = outcome {
                load.tell(Event::Failed(failure));
            }
        };
        Builder::new().name(format!("load-{index}")).spawn(body)
    };
    (0..).zip(cpus).map(thread).collect::<Result<_, _>>().map_err(Failure::from)
}

fn work(load: &Load, part: Part) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let share = Share::connect(load, part).await?;
        load.tell(Event::Ready);
        let recorded = share.run(load, part).await?;
        load.tell(Event::Done(Box::new(recorded)));
        load.released().await
    })
}

/// What one thread drives.
struct Share {
    producers: Vec<(u32, ClientTarget, Route)>,
    tailers: Vec<Consumer>,
    readers: Vec<Client>,
    /// Kept open for the producers.
    _clients: Vec<Client>,
}

impl Share {
    /// Connects. Connection c belongs to thread c modulo their number, producer i uses connection i modulo theirs;
    /// consumers are dealt from the last thread on, with a connection each.
    async fn connect(load: &Load, part: Part) -> Result<Self, Failure> {
        let (scenario, address) = (&load.job.scenario, &load.job.setting.address);
        let log = &load.job.log;
        let (mut clients, mut producers) = (Vec::new(), Vec::new());
        if scenario.appends() {
            for _ in (part.index..scenario.clients()).step_by(part.of as usize) {
                clients.push(connect(address).await?);
            }
        }
        for index in 0..if scenario.appends() { scenario.producers } else { 0 } {
            let connection = index % scenario.clients();
            if connection % part.of == part.index {
                let client = &clients[(connection / part.of) as usize];
                let (target, route) = ClientTarget::new(client, log, (scenario, index)).await?;
                producers.push((index, target, route));
            }
        }
        let ours = |index: &u32| part.of - 1 - index % part.of == part.index;
        let (mut tailers, mut readers) = (Vec::new(), Vec::new());
        for _ in (0..scenario.tailers()).filter(ours) {
            tailers.push(at_tail(&connect(address).await?, log, scenario).await?);
        }
        for _ in (0..scenario.readers()).filter(ours) {
            readers.push(connect(address).await?);
        }
        Ok(Self { producers, tailers, readers, _clients: clients })
    }

    /// Waits for the start, does everything, and returns what was recorded.
    async fn run(self, load: &Load, part: Part) -> Result<Recorded, Failure> {
        let scenario = Rc::new(load.job.scenario.clone());
        let clock = load.start().await?;
        let progress = Arc::clone(&load.progress);
        let drain_ns = nanoseconds(load.job.drain.min(DRAIN_MAX));
        let local = Local::new(load.recorder(), clock, progress, drain_ns);
        let mut tasks = Vec::new();
        for (index, target, route) in self.producers {
            let producer = Producer {
                target,
                pacer: Timer::new()?,
                records: Records::new(&scenario, index),
                route,
                bytes_max: scenario.measure_bytes.div_ceil(scenario.producers.into()),
                local: Rc::clone(&local),
            };
            tasks.push(spawn_local(producer.run(plan(&scenario, index))));
        }
        for consumer in self.tailers {
            tasks.push(spawn_local(tail(consumer, Rc::clone(&local))));
        }
        for client in self.readers {
            let what = (Rc::from(load.job.log.as_str()), Rc::clone(&scenario));
            tasks.push(spawn_local(catch_up(client, what, Rc::clone(&local))));
        }
        if tasks.is_empty() && part.index == 0 {
            tasks.push(spawn_local(nothing(Rc::clone(&local))));
        }
        let ticker = spawn_local(tick(Rc::clone(&local), load.clone()));
        for task in tasks {
            task.await.map_err(|error| anyhow::anyhow!("a task of the load failed: {error}"))?;
        }
        ticker.abort();
        let empty = RefCell::new(load.recorder());
        let recorder: Recorder = local.recorder.replace(empty.into_inner());
        Ok(recorder.finish())
    }
}

/// When producer `index` sends.
fn plan(scenario: &Scenario, index: u32) -> Plan {
    let part = Part { index, of: scenario.producers };
    let over = scenario.warm_up + scenario.measure;
    let arrivals = match scenario.arrivals {
        Arrivals::Closed { in_flight } => {
            return Plan::Closed { in_flight, per_arrival: scenario.per_arrival };
        }
        open => open,
    };
    let schedule = Schedule::new(arrivals, scenario.per_arrival, (part, over), scenario.seed);
    Plan::Open(schedule.expect("an open loop has a schedule"))
}

/// A server that nobody talks to is watched for as long.
async fn nothing(local: Rc<Local>) {
    while local.clock.now_ns() < local.end_ns() && !local.progress.stopped() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Hands out every second when it is over.
async fn tick(local: Rc<Local>, load: Load) {
    let start_ns = local.recorder.borrow().window().start;
    for second in 1.. {
        tokio::time::sleep_until(local.clock.at(start_ns + second * 1_000_000_000)).await;
        let slices = {
            let mut recorder = local.recorder.borrow_mut();
            recorder.roll(local.clock.now_ns());
            recorder.take_slices()
        };
        load.tell(Event::Slices(slices));
    }
}
