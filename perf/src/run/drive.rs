//! One pass over a scenario: starts the threads, lets them begin together, watches until they end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;

use super::outcome::Outcome;
use super::{Setting, frames_load, worker};
use crate::clock::Clock;
use crate::driver::Progress;
use crate::driver::connection::Idle;
use crate::failure::Failure;
use crate::limits::RAMP_STEPS;
use crate::live::Live;
use crate::quantity::{nanoseconds, to_f64};
use crate::recorder::{Kind, Recorded, Recorder, Slice, merged};
use crate::result::{Latency, Second, Use};
use crate::scenario::{Arrivals, Driver, Scenario, Workload};
use crate::server::pin;
use crate::usage::Snapshot;

/// From the start signal to the beginning of a run: enough for every thread to see it.
const START_DELAY: Duration = Duration::from_millis(20);

/// How often the watching thread looks around.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) scenario: Scenario,
    pub(super) setting: Setting,
    pub(super) log: String,
    /// Time after the end for what is left.
    pub(super) drain: Duration,
}

/// What a thread tells the watching one.
pub(super) enum Event {
    /// It is connected and waits for the start.
    Ready,
    /// Seconds that it has finished.
    Slices(Vec<Slice>),
    /// It has ended.
    Done(Box<Recorded>),
    /// It cannot go on.
    Failed(Failure),
}

/// What a thread of the load is given.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) job: Arc<Job>,
    pub(super) events: UnboundedSender<Event>,
    /// The clock of the run, once it begins. Closed when the threads may end.
    pub(super) started: watch::Receiver<Option<Clock>>,
    pub(super) progress: Arc<Progress>,
}

impl Load {
    /// Tells the watching thread. If that is gone, the run is over anyway.
    pub(super) fn tell(&self, event: Event) {
        self.events.send(event).ok();
    }

    /// Waits for the start.
    pub(super) async fn start(&self) -> Result<Clock, Failure> {
        let mut started = self.started.clone();
        match started.wait_for(Option::is_some).await {
            Ok(clock) => clock.ok_or(Failure::Interrupted),
            Err(_closed) => Err(Failure::Interrupted),
        }
    }

    /// Waits until this thread may end: its processor time is looked at before.
    pub(super) async fn released(&self) -> Result<(), Failure> {
        let mut started = self.started.clone();
        while started.changed().await.is_ok() {}
        Ok(())
    }

    /// An empty recorder of this run.
    pub(super) fn recorder(&self) -> Recorder {
        let scenario = &self.job.scenario;
        let start_ns = nanoseconds(scenario.warm_up);
        let window = start_ns..start_ns + nanoseconds(scenario.measure);
        let ramp = scenario.appends() && matches!(scenario.arrivals, Arrivals::Ramp { .. });
        Recorder::new(window, shown(scenario), if ramp { RAMP_STEPS } else { 0 })
    }
}

/// The latency that a workload is about.
pub(super) fn shown(scenario: &Scenario) -> Kind {
    match scenario.workload {
        Workload::Append | Workload::Mixed | Workload::Idle => Kind::Ack,
        Workload::Tail => Kind::EndToEnd,
        Workload::CatchUp => Kind::Fetch,
    }
}

/// Does it.
pub(super) fn drive(job: &Job, live: &mut Live) -> Result<Outcome, Failure> {
    // The watching thread, and whatever starts from it, stays away from the server.
    pin(&job.setting.load_cpus)?;
    let idle =
        Idle::open(&job.setting.address, job.scenario.idle_connections, job.setting.server_pid)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (events, received) = unbounded_channel();
    let (start, started) = watch::channel(None);
    let producers = if job.scenario.appends() { job.scenario.producers } else { 0 };
    let progress = Progress::new(producers);
    let load =
        Load { job: Arc::new(job.clone()), events, started, progress: Arc::clone(&progress) };
    let threads = match job.scenario.driver {
        Driver::Client => worker::spawn(&load)?,
        Driver::Frames => frames_load::spawn(&load)?,
    };
    drop(load);
    let units = threads.len();
    let mut watching =
        Watching { job, live, progress, received, left: units, seen: Seen::default() };
    let outcome = runtime.block_on(watching.run(start));
    let seen = watching.seen;
    // The start signal is gone, so every thread ends.
    join(threads)?;
    outcome?;
    Ok(Outcome { idle: idle.cost(), ..seen.outcome(job) })
}

fn join(threads: Vec<JoinHandle<()>>) -> Result<(), Failure> {
    let mut panicked = false;
    for thread in threads {
        panicked |= thread.join().is_err();
    }
    if panicked { Err(anyhow::anyhow!("a thread of the load panicked").into()) } else { Ok(()) }
}

/// What has been seen of a run.
#[derive(Default)]
struct Seen {
    recorded: Recorded,
    seconds: BTreeMap<usize, (Second, Latency)>,
    generator: Used,
    server: Used,
    /// The server's process ended.
    server_ended: bool,
    /// Everybody had ended before the measured time was over.
    early: bool,
}

/// What a process used: snapshots at the beginning and the end of the measured part.
#[derive(Default)]
struct Used {
    before: Option<(u64, Snapshot)>,
    after: Option<(u64, Snapshot)>,
    rss_bytes_max: u64,
}

impl Used {
    fn sample(&mut self, pid: u32, now_ns: u64, (begun, over): (bool, bool)) {
        let Some(snapshot) = Snapshot::of(pid) else { return };
        self.rss_bytes_max = self.rss_bytes_max.max(snapshot.rss_bytes());
        if begun && self.before.is_none() {
            self.before = Some((now_ns, snapshot));
        } else if over && self.after.is_none() {
            self.after = Some((now_ns, snapshot));
        }
    }

    fn total(&self) -> Option<Use> {
        let ((from_ns, before), (to_ns, after)) = (self.before.as_ref()?, self.after.as_ref()?);
        let seconds = to_f64(to_ns.saturating_sub(*from_ns)) / 1e9;
        let used = before.until(after, seconds);
        Some(Use { rss_bytes_max: self.rss_bytes_max.max(used.rss_bytes_max), ..used })
    }
}

/// The watching thread.
struct Watching<'a> {
    job: &'a Job,
    live: &'a mut Live,
    progress: Arc<Progress>,
    received: UnboundedReceiver<Event>,
    /// Threads that have not ended.
    left: usize,
    seen: Seen,
}

impl Watching<'_> {
    async fn run(&mut self, start: watch::Sender<Option<Clock>>) -> Result<(), Failure> {
        self.ready().await?;
        let clock = Clock::start().later(START_DELAY);
        // Nobody listens if all have failed: they say so.
        start.send(Some(clock)).ok();
        let mut failure = None;
        let end_ns = nanoseconds(self.job.scenario.warm_up + self.job.scenario.measure);
        while self.left > 0 {
            let wait = self.wait(clock);
            match timeout(wait, self.received.recv()).await {
                Ok(Some(Event::Slices(slices))) => self.seen.slices(slices),
                Ok(Some(Event::Done(recorded))) => {
                    self.left -= 1;
                    self.seen.recorded.add(*recorded);
                }
                Ok(Some(Event::Failed(error))) => {
                    self.left -= 1;
                    failure.get_or_insert(error);
                    self.progress.stop();
                }
                Ok(Some(Event::Ready)) | Err(_) => {}
                Ok(None) => break,
            }
            self.look_around(clock);
        }
        self.seen.early = clock.now_ns() < end_ns;
        self.sample(clock, true);
        let slices = std::mem::take(&mut self.seen.recorded.slices);
        self.seen.slices(slices);
        self.live.end();
        drop(start);
        failure.map_or(Ok(()), Err)
    }

    /// Waits until every thread is connected.
    async fn ready(&mut self) -> Result<(), Failure> {
        let mut waiting = self.left;
        while waiting > 0 {
            match self.received.recv().await {
                Some(Event::Ready) => waiting -= 1,
                Some(Event::Failed(error)) => return Err(error),
                Some(_) => {}
                None => return Err(anyhow::anyhow!("a thread of the load ended").into()),
            }
        }
        Ok(())
    }

    /// Until the next thing to look at.
    fn wait(&self, clock: Clock) -> Duration {
        let now_ns = clock.now_ns();
        let start_ns = nanoseconds(self.job.scenario.warm_up);
        let end_ns = start_ns + nanoseconds(self.job.scenario.measure);
        let next_ns = [start_ns, end_ns].into_iter().filter(|at| *at > now_ns).min();
        let until = next_ns.map_or(LOOK_AROUND, |at| Duration::from_nanos(at - now_ns));
        until.min(LOOK_AROUND)
    }

    fn look_around(&mut self, clock: Clock) {
        if self.job.setting.interrupted.load(Ordering::Relaxed) {
            self.progress.stop();
        }
        self.sample(clock, false);
        let gone = |pid| Snapshot::of(pid).is_none();
        if self.job.setting.server_pid.is_some_and(gone) {
            self.seen.server_ended = true;
            self.progress.stop();
        }
        let start_ns = nanoseconds(self.job.scenario.warm_up);
        self.live.second(clock.now_ns(), start_ns, &self.seen.seconds);
    }

    fn sample(&mut self, clock: Clock, all_done: bool) {
        let (now_ns, scenario) = (clock.now_ns(), &self.job.scenario);
        let begun = now_ns >= nanoseconds(scenario.warm_up);
        let over = all_done || now_ns >= nanoseconds(scenario.warm_up + scenario.measure);
        self.seen.generator.sample(std::process::id(), now_ns, (begun, over));
        if let Some(pid) = self.job.setting.server_pid {
            self.seen.server.sample(pid, now_ns, (begun, over));
        }
    }
}

impl Seen {
    fn slices(&mut self, slices: Vec<Slice>) {
        for slice in slices {
            let (counts, latency) = self.seconds.entry(slice.second).or_default();
            counts.records += slice.counts.records;
            counts.bytes += slice.counts.bytes;
            counts.errors += slice.counts.errors;
            *latency = merged(latency, &slice.latency);
        }
    }

    fn outcome(mut self, job: &Job) -> Outcome {
        let start_ns = nanoseconds(job.scenario.warm_up);
        let whole = job.scenario.measure.as_secs_f64();
        let until_last = to_f64(self.recorded.last_ns.saturating_sub(start_ns)) / 1e9;
        let ended_itself = self.early && until_last > 0.0;
        let measured_seconds = if ended_itself { until_last } else { whole };
        Outcome {
            shown: shown(&job.scenario),
            measured_seconds,
            series: series(&mut self.seconds, &self.recorded.offered, measured_seconds),
            generator: self.generator.total().unwrap_or_default(),
            server: self.server.total(),
            server_ended: self.server_ended,
            recorded: self.recorded,
            steps: Vec::new(),
            idle: None,
            invalid: None,
        }
    }
}

/// One entry for every second, also for those in which nothing was done.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most a day of seconds"
)]
fn series(
    seconds: &mut BTreeMap<usize, (Second, Latency)>,
    offered: &[u64],
    measured_seconds: f64,
) -> Vec<Second> {
    let count = measured_seconds.ceil() as usize;
    let second = |index| {
        let (mut counts, latency) = seconds.remove(&index).unwrap_or_default();
        counts.offered_records = offered.get(index).copied().unwrap_or(0);
        (counts.p50, counts.p99) = (latency.at(0.5), latency.at(0.99));
        counts.max = latency.max;
        counts
    };
    (0..count).map(second).collect()
}
