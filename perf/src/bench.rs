//! The commands: from arguments to files and a summary.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::{BenchArgs, BenchCommand, PlaceArgs, RunArgs, cpu_list};
use crate::clock::unix_us;
use crate::driver::connection::raise_file_limit;
use crate::environment;
use crate::failure::Failure;
use crate::limits::SCENARIO_BYTES_MAX;
use crate::live::Live;
use crate::result::{Ceiling, FORMAT, ResultFile, Run};
use crate::run::{self, Setting};
use crate::scenario::{BuiltIn, Scenario, built_in, built_ins};
use crate::server::{self, Place, Server, cpus};
use crate::{life, memory, sequencers, suite, summary};

/// Exit code of a process that a second Ctrl-C ends.
const INTERRUPTED: i32 = 130;

/// For whom a command prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// People.
    Text,
    /// Programs: one JSON document on standard output, nothing on the way.
    Json,
}

/// Runs a command of `pyralog bench`.
///
/// # Errors
/// What went wrong, by what the caller can do about it. A run whose numbers must not be used is an error as well, after
/// its result was written.
pub fn run(args: &BenchArgs, form: Form) -> Result<(), Failure> {
    match &args.command {
        None => suite::run(&args.place, form),
        Some(BenchCommand::Run(args)) => one(args, form),
        Some(BenchCommand::List(_)) => list(form),
        Some(BenchCommand::Ceiling(args)) => suite::ceilings_alone(args, form),
        Some(BenchCommand::Seq(args)) => sequencers::run(args, form),
        Some(BenchCommand::Life(args)) => life::run(args, form),
        Some(BenchCommand::Compare(args)) => summary::compare(args, form),
        Some(BenchCommand::Report(args)) => summary::report(args, form),
    }
}

/// Where benchmarks run, once it has been decided.
pub(crate) struct Grounds {
    pub(crate) parent: PathBuf,
    pub(crate) load_cpus: Vec<u32>,
    server_cpus: Option<Vec<u32>>,
    all_cpus: Vec<u32>,
    load_given: bool,
    pub(crate) interrupted: Arc<AtomicBool>,
}

impl Grounds {
    /// Decides, takes signals, and binds this process to the CPUs of the load.
    pub(crate) fn new(place: &PlaceArgs, shards: u32) -> Result<Self, Failure> {
        let parent = server::parent(place.data_dir.as_deref(), place.allow_tmpfs)?;
        let all_cpus = cpus()?;
        let list = |flag, text: &Option<String>| {
            text.as_ref().map(|text| cpu_list(flag, text, &all_cpus)).transpose()
        };
        let server_cpus = list("server-cpus", &place.server_cpus)?;
        let load = list("load-cpus", &place.load_cpus)?;
        let load_given = load.is_some();
        let mut grounds = Self {
            parent,
            load_cpus: load.unwrap_or_default(),
            server_cpus,
            all_cpus,
            load_given,
            interrupted: take_signals()?,
        };
        grounds.share(shards);
        Ok(grounds)
    }

    /// CPUs of a server with so many executors.
    pub(crate) fn server_cpus(&self, shards: u32) -> Vec<u32> {
        let wanted = (shards as usize).clamp(1, self.all_cpus.len());
        self.server_cpus.clone().unwrap_or_else(|| self.all_cpus[..wanted].to_vec())
    }

    /// Gives the load what a server with so many executors leaves, or everything if that is nothing.
    pub(crate) fn share(&mut self, shards: u32) {
        if self.load_given {
            return;
        }
        let server = self.server_cpus(shards);
        let rest = self.all_cpus.iter().copied().filter(|cpu| !server.contains(cpu));
        self.load_cpus = rest.collect();
        if self.load_cpus.is_empty() {
            self.load_cpus.clone_from(&self.all_cpus);
        }
    }

    /// What a reader must know if server and load use the same CPUs.
    pub(crate) fn warning(&self, shards: u32) -> Option<String> {
        let server = self.server_cpus(shards);
        let shared: Vec<u32> =
            self.load_cpus.iter().copied().filter(|cpu| server.contains(cpu)).collect();
        (!shared.is_empty()).then(|| {
            format!("server and load share CPUs {shared:?}: rates and latencies are worse than they need be")
        })
    }

    /// All CPUs that this process may use.
    pub(crate) fn all_cpus(&self) -> &[u32] {
        &self.all_cpus
    }

    /// Ends what is going on if somebody asked for it.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Starts a server for a scenario.
    pub(crate) fn serve(&self, scenario: &Scenario) -> Result<Server, Failure> {
        self.serve_on(scenario, self.server_cpus(scenario.shards))
    }

    /// Starts one whose cores have the first CPUs, as any server's, and whose other threads have the rest of all CPUs,
    /// together with the load; unless its CPUs were given.
    pub(crate) fn serve_on_all(&self, scenario: &Scenario) -> Result<Server, Failure> {
        let cpus = self.server_cpus.clone().unwrap_or_else(|| self.all_cpus.clone());
        self.serve_on(scenario, cpus)
    }

    fn serve_on(&self, scenario: &Scenario, cpus: Vec<u32>) -> Result<Server, Failure> {
        let place = Place { parent: self.parent.clone(), cpus };
        if scenario.idle_connections > 0 {
            // The server inherits the limit.
            raise_file_limit(scenario.idle_connections)?;
        }
        Server::start(scenario, &place)
    }

    /// How runs on a server of ours are set.
    pub(crate) fn setting(&self, server: &Server) -> Setting {
        Setting {
            address: server.address().to_owned(),
            server_pid: Some(server.pid()),
            load_cpus: self.load_cpus.clone(),
            interrupted: Arc::clone(&self.interrupted),
        }
    }
}

/// The first signal ends the run in order; the second ends the process.
fn take_signals() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: at the first signal the flag is not yet set when this looks at it.
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .context("cannot handle signals")?;
    }
    Ok(flag)
}

/// `bench run`.
fn one(args: &RunArgs, form: Form) -> Result<(), Failure> {
    let scenario = read_scenario(args)?;
    if args.print {
        return summary::print(&scenario.to_toml());
    }
    let grounds = Grounds::new(&args.place, scenario.shards)?;
    let mut live = Live::new(form == Form::Json);
    live.title(&scenario.name);
    let own = args.address.is_none();
    if let Some(warning) = grounds.warning(scenario.shards).filter(|_| own) {
        live.note(&warning);
    }
    let began_us = unix_us();
    let ceilings =
        if args.ceilings { suite::ceilings(&grounds, suite::CEILINGS)? } else { Vec::new() };
    let runs = match &args.address {
        Some(address) => {
            let setting = Setting {
                address: address.clone(),
                server_pid: args.server_pid,
                load_cpus: grounds.load_cpus.clone(),
                interrupted: Arc::clone(&grounds.interrupted),
            };
            repeat(&scenario, &setting, &mut live)?
        }
        None => on_own_server(&scenario, &grounds, &mut live)?,
    };
    let server_cpus = if own { grounds.server_cpus(scenario.shards) } else { Vec::new() };
    let file = file((began_us, ceilings, runs), &grounds, &server_cpus);
    summary::write(&file, &args.place, form)
}

/// Every repetition of a scenario on a server of its own.
pub(crate) fn on_own_server(
    scenario: &Scenario,
    grounds: &Grounds,
    live: &mut Live,
) -> Result<Vec<Run>, Failure> {
    let mut server = grounds.serve(scenario)?;
    let setting = grounds.setting(&server);
    let mut runs = repeat(scenario, &setting, live);
    if let Some(ended) = server.ended() {
        live.note(&ended);
        if let Ok(runs) = &mut runs {
            for run in runs.iter_mut() {
                run.invalid.get_or_insert_with(|| ended.clone());
            }
        }
        return runs;
    }
    server.stop()?;
    let budget = memory::budget(scenario, &server::settings(scenario));
    for run in runs.iter_mut().flatten() {
        run.memory.clone_from(&budget);
    }
    runs
}

fn repeat(scenario: &Scenario, setting: &Setting, live: &mut Live) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for repetition in 0..scenario.repetitions {
        let again = if scenario.repetitions > 1 {
            format!(" {}/{}", repetition + 1, scenario.repetitions)
        } else {
            String::new()
        };
        live.title(&format!("{}{again}", scenario.name));
        runs.push(run::scenario(scenario, repetition, setting, live)?);
    }
    Ok(runs)
}

/// What is written: with the shares of the ceilings.
pub(crate) fn file(
    (began_us, ceilings, mut runs): (i64, Vec<Ceiling>, Vec<Run>),
    grounds: &Grounds,
    server_cpus: &[u32],
) -> ResultFile {
    for run in &mut runs {
        run.shares = crate::share::shares(run, &ceilings);
    }
    let environment = environment::gather(&grounds.parent, server_cpus, &grounds.load_cpus);
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    ResultFile { format: FORMAT.to_owned(), began_us, command, environment, ceilings, runs }
}

/// The scenario that the arguments name, with their flags over it.
fn read_scenario(args: &RunArgs) -> Result<Scenario, Failure> {
    let Some(name) = &args.scenario else { return Scenario::read("", args.keys.table()) };
    if let Some(BuiltIn { text, .. }) = built_ins().iter().find(|built_in| built_in.name == name) {
        return Scenario::read(text, args.keys.table());
    }
    let path = Path::new(name);
    if !path.exists() {
        let names: Vec<&str> = built_ins().iter().map(|built_in| built_in.name).collect();
        return Err(Failure::Usage(format!(
            "there is no scenario and no file {name}; scenarios are {}",
            names.join(", ")
        )));
    }
    let unreadable = |error: std::io::Error| Failure::Usage(format!("cannot read {name}: {error}"));
    if std::fs::metadata(path).map_err(unreadable)?.len() > SCENARIO_BYTES_MAX {
        return Err(Failure::Usage(format!("{name} is too large to be a scenario")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Scenario::read(&text, args.keys.table())
}

/// `bench list`.
fn list(form: Form) -> Result<(), Failure> {
    let mut scenarios = Vec::new();
    for BuiltIn { name, .. } in built_ins() {
        scenarios.extend(built_in(name).transpose()?);
    }
    if form == Form::Json {
        let list: Vec<_> = scenarios
            .iter()
            .map(|s| serde_json::json!({ "name": s.name, "about": s.about }))
            .collect();
        return summary::print(&serde_json::Value::from(list).to_string());
    }
    let lines: Vec<String> =
        scenarios.iter().map(|s| format!("{:<24} {}", s.name, s.about)).collect();
    summary::print(&lines.join("\n"))
}
