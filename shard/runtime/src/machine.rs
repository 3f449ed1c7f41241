//! A machine: the cores of one node in this process, from start to join.

use crate::bell::Bell;
use crate::glommio_body::{self, CoreThread, Launch, Pulse, Verdict};
use crate::limits::{MEMLOCK_BYTES_MIN, SHARDS_MAX};
use crate::{probe, rng, world};
use rustix::process::{Resource, Rlimit};
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

/// Which cpus the cores are bound to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Pin {
    /// Shard *i* on the *i*-th cpu that the process may use; no binding if there are more shards.
    #[default]
    Auto,
    /// No binding.
    None,
    /// Shard *i* on the *i*-th cpu of this list.
    List(Vec<usize>),
}

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// Number of cores, `1..=SHARDS_MAX`.
    pub shards: usize,
    /// Their cpus.
    pub pin: Pin,
    /// How long an idle core looks for work before it sleeps. Saves the 30 us that waking a blocked
    /// thread costs on a virtual machine and pays with cpu time; zero sleeps at once. Not used by
    /// cores of [`Pin::Auto`] that outnumber the cpus.
    pub spin: Duration,
    /// Memory per core in bytes for direct I/O, registered with the kernel and touched at start.
    pub buffer_bytes: usize,
    /// Name of the machine's threads, followed by `-<shard>`. The kernel shows 15 bytes.
    pub name: String,
    /// Seed of every [`rng::stream`]; drawn from entropy if `None`.
    pub seed: Option<u64>,
}

impl Default for MachineConfig {
    /// One unpinned core that does not spin, with 16 MiB of buffers: what a test wants.
    fn default() -> Self {
        Self {
            shards: 1,
            pin: Pin::None,
            spin: Duration::ZERO,
            buffer_bytes: 16 * 1024 * 1024,
            name: "pyralog".to_owned(),
            seed: None,
        }
    }
}

/// Why a machine did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The number of shards is not in `1..=SHARDS_MAX`.
    Shards {
        /// What was asked for.
        found: usize,
    },
    /// The kernel has no usable `io_uring`: too old, or switched off.
    IoUring {
        /// What is missing and what to do.
        reason: String,
    },
    /// `RLIMIT_MEMLOCK` is below what any executor needs and could not be raised.
    Memlock {
        /// The limit in bytes.
        found: u64,
        /// The least that works, in bytes.
        needed: u64,
    },
    /// The cpus of [`Pin::List`] do not do.
    Pin(io::Error),
    /// A core could not be made.
    Core {
        /// Which.
        shard: usize,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shards { found } => write!(f, "{found} shards; at least 1, at most {SHARDS_MAX}"),
            Self::IoUring { reason } => write!(f, "no usable io_uring: {reason}"),
            Self::Memlock { found, needed } => write!(
                f,
                "the limit of locked memory is {found} bytes, at least {needed} are needed: raise it \
                 with `ulimit -l` or LimitMEMLOCK="
            ),
            Self::Pin(source) => write!(f, "cannot pin the cores: {source}"),
            Self::Core { shard, source } => write!(f, "cannot start core {shard}: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pin(source) | Self::Core { source, .. } => Some(source),
            Self::Shards { .. } | Self::IoUring { .. } | Self::Memlock { .. } => None,
        }
    }
}

/// A core ended by a panic instead of returning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JoinError {
    /// Which; the first of them if there were more.
    pub shard: usize,
    /// What the panic said.
    pub message: String,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {} panicked: {}", self.shard, self.message)
    }
}

impl std::error::Error for JoinError {}

/// The limit of locked memory as found and as it is now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemlockReport {
    /// Soft limit at the start in bytes; `None` is unlimited.
    pub before: Option<u64>,
    /// Soft limit now.
    pub after: Option<u64>,
    /// What the registered buffers of all cores need.
    pub needed: u64,
}

impl MemlockReport {
    /// Whether the buffers fit. If not, and the process has no `CAP_IPC_LOCK`, they are used all the
    /// same but not registered, which costs some speed per write.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.after.is_none_or(|limit| limit >= self.needed)
    }
}

/// The request to stop, and the bells to ring with it.
#[derive(Debug)]
pub(crate) struct Stop {
    requested: AtomicBool,
    bells: Vec<Arc<Bell>>,
}

impl Stop {
    pub(crate) fn new(bells: Vec<Arc<Bell>>) -> Self {
        Self { requested: AtomicBool::new(false), bells }
    }

    pub(crate) fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
        for bell in &self.bells {
            bell.ring();
        }
    }
}

/// Asks a machine to stop. From any thread, also from a signal's thread; clones are the same.
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: Arc<Stop>,
}

impl Stopper {
    pub(crate) fn new(stop: Arc<Stop>) -> Self {
        Self { stop }
    }

    /// Resolves every core's [`Core::stopping`]. Nothing is stopped by force.
    pub fn stop(&self) {
        self.stop.request();
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.requested.load(Ordering::SeqCst)
    }
}

/// One core, as its `shard_main` gets to know it.
#[derive(Clone, Debug)]
pub struct Core {
    /// Which, `0..shards`.
    pub shard: usize,
    /// How many there are.
    pub shards: usize,
    /// The machine's seed.
    pub seed: u64,
    stopper: Stopper,
    bell: Arc<Bell>,
}

impl Core {
    pub(crate) fn new(
        shard: usize,
        shards: usize,
        seed: u64,
        stopper: Stopper,
        bell: Arc<Bell>,
    ) -> Self {
        Self { shard, shards, seed, stopper, bell }
    }

    /// Resolves when the machine is asked to stop. On this core only.
    ///
    /// # Panics
    /// On a thread that is not a core.
    pub async fn stopping(&self) {
        let world = world::current();
        loop {
            let rung = world.rung.listen();
            if self.stopper.is_stopping() {
                return;
            }
            rung.await;
        }
    }

    /// The handle that stops the whole machine.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }
}

/// The running cores. Dropping it asks them to stop without waiting.
#[derive(Debug)]
pub struct Machine {
    threads: Vec<CoreThread>,
    stopper: Stopper,
    memlock: MemlockReport,
    /// Outlives the cores: it is what keeps them from sleeping through their own end.
    pulse: Option<Pulse>,
}

impl Machine {
    /// The handle that asks it to stop.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// What became of the limit of locked memory.
    #[must_use]
    pub fn memlock(&self) -> MemlockReport {
        self.memlock
    }

    /// Waits until every core's `shard_main` has returned and its tasks have ended.
    ///
    /// # Errors
    /// If a `shard_main` panicked; the machine was then asked to stop, and has.
    pub fn join(mut self) -> Result<(), JoinError> {
        let mut first = None;
        for (shard, thread) in self.threads.drain(..).enumerate() {
            let message = match thread.join() {
                Ok(None) => continue,
                Ok(Some(panicked)) => panicked.message().to_owned(),
                Err(_) => "the thread itself panicked".to_owned(),
            };
            first.get_or_insert(JoinError { shard, message });
        }
        self.pulse = None;
        first.map_or(Ok(()), Err)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        self.stopper.stop();
        let (threads, pulse) = (std::mem::take(&mut self.threads), self.pulse.take());
        let janitor = std::thread::Builder::new().name("pyralog-end".to_owned()).spawn(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a core's thread panicked");
                }
            }
            drop(pulse);
        });
        if janitor.is_err() {
            tracing::error!("no thread to wait for the cores: their pulse stops now");
        }
    }
}

/// Starts a machine and returns when all its cores run. From an ordinary thread; more than one
/// machine may live in a process.
///
/// `shard_main` is called once on every core. When it returns, the tasks that the core still has
/// are cancelled, youngest first, and the core ends. If it panics, the machine is asked to stop.
///
/// Also raises `RLIMIT_MEMLOCK` as far as it may and takes SIGXFSZ, so that a write beyond the limit
/// of file sizes is an error ([`IoErrorKind::FileTooLarge`](crate::IoErrorKind::FileTooLarge)) and
/// not the end of the process.
///
/// # Errors
/// If the kernel, the limits or the cpus do not do; nothing runs then.
pub fn start<M, F>(config: &MachineConfig, shard_main: M) -> Result<Machine, StartError>
where
    M: Fn(Core) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    if config.shards == 0 || config.shards > SHARDS_MAX {
        return Err(StartError::Shards { found: config.shards });
    }
    probe::require_io_uring().map_err(|reason| StartError::IoUring { reason })?;
    let memlock = raise_memlock(config)?;
    take_file_size_signal();
    let cpus = probe::cpus();
    let seats = glommio_body::seats(&config.pin, config.shards, &cpus, config.spin)
        .map_err(StartError::Pin)?;

    let bells: Vec<_> = (0..config.shards).map(|_| Arc::new(Bell::new())).collect();
    let stop = Arc::new(Stop::new(bells.clone()));
    let stopper = Stopper::new(Arc::clone(&stop));
    let seed = config.seed.unwrap_or_else(rng::entropy_u64);
    let verdict = Arc::new(Verdict::default());
    let mut cores = Vec::with_capacity(config.shards);
    let spare_cpus = glommio_body::spare(&seats, &cpus);
    for (shard, seat) in seats.into_iter().enumerate() {
        let bell = Arc::clone(&bells[shard]);
        let core = Core::new(shard, config.shards, seed, stopper.clone(), bell);
        let launch = Launch {
            name: format!("{}-{shard}", config.name),
            shard,
            seed,
            seat,
            spin: config.spin,
            buffer_bytes: config.buffer_bytes,
            bell: Arc::clone(&bells[shard]),
            stop: Arc::clone(&stop),
            spare_cpus: spare_cpus.clone(),
            has_spare_cpu: cpus.len() > config.shards,
            verdict: Arc::clone(&verdict),
        };
        cores.push((launch, core));
    }
    let pulse = Pulse::start(&config.name, bells)
        .map_err(|source| StartError::Core { shard: 0, source })?;
    let threads = launch_all(cores, &verdict, &shard_main)?;
    Ok(Machine { threads, stopper, memlock, pulse: Some(pulse) })
}

/// Makes every core; all of them run, or none.
fn launch_all<M, F>(
    cores: Vec<(Launch, Core)>,
    verdict: &Verdict,
    shard_main: &M,
) -> Result<Vec<CoreThread>, StartError>
where
    M: Fn(Core) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut threads = Vec::with_capacity(cores.len());
    let mut failure = None;
    for (launch, core) in cores {
        let shard = core.shard;
        let sender = sender.clone();
        let ready = move |made: io::Result<()>| {
            // Err: start has failed on another core and no longer listens.
            sender.send((shard, made)).ok();
        };
        let main = shard_main.clone();
        match glommio_body::launch(launch, ready, move || main(core)) {
            Ok(thread) => threads.push(thread),
            Err(source) => failure = Some(StartError::Core { shard, source }),
        }
    }
    drop(sender);
    for _ in 0..threads.len() {
        match receiver.recv() {
            Ok((_, Ok(()))) => {}
            Ok((shard, Err(source))) => failure = Some(StartError::Core { shard, source }),
            // Every thread that has not answered has ended.
            Err(_) => break,
        }
    }
    verdict.set(failure.is_none());
    for thread in &threads {
        thread.thread().unpark();
    }
    match failure {
        None => Ok(threads),
        Some(error) => {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a core's thread panicked at start");
                }
            }
            Err(error)
        }
    }
}

/// Raises the soft limit of locked memory to the hard one, or both if the process may.
fn raise_memlock(config: &MachineConfig) -> Result<MemlockReport, StartError> {
    let before = rustix::process::getrlimit(Resource::Memlock);
    if before.current.is_some() {
        let unlimited = Rlimit { current: None, maximum: None };
        let hard = Rlimit { current: before.maximum, maximum: before.maximum };
        if rustix::process::setrlimit(Resource::Memlock, unlimited).is_err()
            && let Err(error) = rustix::process::setrlimit(Resource::Memlock, hard)
        {
            tracing::warn!(%error, "cannot raise the limit of locked memory");
        }
    }
    let after = rustix::process::getrlimit(Resource::Memlock);
    let needed = (config.buffer_bytes as u64).saturating_mul(config.shards as u64);
    let report = MemlockReport { before: before.current, after: after.current, needed };
    if let Some(limit) = after.current
        && limit < MEMLOCK_BYTES_MIN
    {
        return Err(StartError::Memlock { found: limit, needed: MEMLOCK_BYTES_MIN });
    }
    if !report.is_enough() {
        tracing::warn!(limit = ?report.after, needed, "buffers may stay unregistered");
    }
    Ok(report)
}

/// Makes exceeding the limit of file sizes an error of the write; by default it ends the process. [`start`] does it, too; a
/// process calls it before it writes anything, for standard error may be a file that has reached the limit.
pub fn take_file_size_signal() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ignored = Arc::new(AtomicBool::new(false));
        if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, ignored) {
            tracing::warn!(%error, "cannot take SIGXFSZ: a file-size limit would end the process");
        }
    });
}
