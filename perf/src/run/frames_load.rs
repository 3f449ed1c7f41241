//! Threads of the load that use bare frames: one for each producer, two in an open loop.

#![expect(
    clippy::disallowed_types,
    reason = "ordinary threads of the generator, which block anyway"
)]

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle, scope};

use super::administer;
use super::drive::{Event, Load};
use crate::clock::Clock;
use crate::driver::frames::{Frames, Run};
use crate::failure::Failure;
use crate::quantity::nanoseconds;
use crate::recorder::{Recorded, Slice};
use crate::scenario::Arrivals;
use crate::schedule::{Part, Schedule};
use crate::server::pin;

/// Starts one for each producer, on the CPUs of the load in turn.
pub(super) fn spawn(load: &Load) -> Result<Vec<JoinHandle<()>>, Failure> {
    let cpus = &load.job.setting.load_cpus;
    let thread = |index: u32| {
        let (load, cpu) = (load.clone(), cpus[index as usize % cpus.len()]);
        let body = move || {
            let outcome = pin(&[cpu]).map_err(Failure::from).and_then(|()| work(&load, index));
            match outcome {
                Ok(recorded) => load.tell(Event::Done(Box::new(recorded))),
                Err(failure) => load.tell(Event::Failed(failure)),
            }
            load.progress.producer_ended(0);
            // Without a runtime there is nothing to wait with; the thread then ends at once.
            administer(load.released()).ok();
        };
        Builder::new().name(format!("frames-{index}")).spawn(body)
    };
    (0..load.job.scenario.producers).map(thread).collect::<Result<_, _>>().map_err(Failure::from)
}

fn work(load: &Load, index: u32) -> Result<Recorded, Failure> {
    let scenario = &load.job.scenario;
    let frames = Frames::open(&load.job.setting.address, &load.job.log, (scenario, index))
        .map_err(|error| Failure::Unavailable(format!("{error:#}")))?;
    load.tell(Event::Ready);
    let clock = administer(load.start())?;
    let mut tell = |slices: Vec<Slice>| load.tell(Event::Slices(slices));
    let run = run_of(load, clock, &mut tell);
    if let Arrivals::Closed { in_flight } = scenario.arrivals {
        return Ok(frames.closed(in_flight, run)?.finish());
    }
    let part = Part { index, of: scenario.producers };
    let over = scenario.warm_up + scenario.measure;
    let schedule =
        Schedule::new(scenario.arrivals, scenario.per_arrival, (part, over), scenario.seed);
    let schedule = schedule.expect("an open loop has a schedule");
    let (sending, answering) = frames.split()?;
    let (waiting, due) = sync_channel(answering.in_flight_max());
    scope(|threads| {
        let receiving = threads.spawn(move || receive(load, answering, (clock, due)));
        let sent = sending.send(schedule, &waiting, run);
        drop(waiting);
        let received =
            receiving.join().map_err(|_| anyhow::anyhow!("a receiving thread panicked"))??;
        let mut recorded = sent?.finish();
        recorded.add(received);
        Ok(recorded)
    })
}

fn run_of<'a>(load: &'a Load, clock: Clock, tell: &'a mut dyn FnMut(Vec<Slice>)) -> Run<'a> {
    let recorder = load.recorder();
    let give_up_ns = recorder.window().end + nanoseconds(load.job.drain);
    let scenario = &load.job.scenario;
    let bytes_max = scenario.measure_bytes.div_ceil(scenario.producers.into());
    Run { clock, recorder, progress: &load.progress, tell, give_up_ns, bytes_max }
}

/// Receives an answer for everything that was sent.
fn receive(
    load: &Load,
    mut frames: Frames,
    (clock, due): (Clock, Receiver<(u64, u64)>),
) -> anyhow::Result<Recorded> {
    let mut tell = |slices: Vec<Slice>| load.tell(Event::Slices(slices));
    let mut run = run_of(load, clock, &mut tell);
    while let Ok(entry) = due.recv() {
        frames.receive(&mut run, entry)?;
    }
    Ok(run.recorder.finish())
}
