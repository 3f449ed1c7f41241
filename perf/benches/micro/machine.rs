//! A core of the runtime that carries out what a benchmark gives it.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::time::Duration;

use pyralog_runtime::mesh::{Inbox, Mesh, Outside};
use pyralog_runtime::{Machine, MachineConfig, Pin as Cpus, start};

/// What a server's core does by default before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A core on the first processor. Ends when it is dropped.
pub(crate) struct OnCore {
    /// `None` is the last one.
    jobs: Outside<Option<Job>>,
    machine: Option<Machine>,
}

impl OnCore {
    pub(crate) fn new() -> Self {
        let config = MachineConfig { pin: Cpus::Auto, spin: SPIN, ..MachineConfig::default() };
        let mesh = Mesh::new(1, 1);
        let jobs = mesh.outside();
        let machine = start(&config, move |core| carry_out(mesh.join(&core).1));
        Self { jobs, machine: Some(machine.unwrap()) }
    }

    /// Runs `job` on the core and waits for its result.
    pub(crate) fn run<R, F>(&self, job: impl FnOnce() -> F + Send + 'static) -> R
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        let boxed: Job = Box::new(move || {
            let work = job();
            Box::pin(async move { sender.send(work.await).unwrap() })
        });
        self.jobs.post(0, Some(boxed)).unwrap();
        receiver.recv().expect("the job panicked: see above")
    }
}

impl Drop for OnCore {
    fn drop(&mut self) {
        // Err: the core has ended, by a panic that is reported already.
        self.jobs.post(0, None).ok();
        if let Some(Err(error)) = self.machine.take().map(Machine::join) {
            eprintln!("{error}");
        }
    }
}

async fn carry_out(mut inbox: Inbox<Option<Job>>) {
    let mut jobs = Vec::new();
    loop {
        inbox.recv_many(&mut jobs).await;
        for (_, job) in jobs.drain(..) {
            let Some(job) = job else { return };
            job().await;
        }
    }
}
