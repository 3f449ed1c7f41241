//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use pyralog_sim::scenario::{Fault, Scenario};

/// Runs Pyralog's server, storage and client in simulated worlds, each from one seed, under faults, and judges what
/// came of it.
///
/// With --seed it runs one world and says what happened in it; with --seeds or --minutes it runs many. A world that
/// fails is made smaller, and its last line is the command that shows it again.
///
/// Exit codes: 0 nothing is wrong, 1 an oracle objects, 2 the command could not be carried out.
#[derive(Debug, Parser)]
#[command(name = "pyralog-sim", version, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    pyralog-sim --seeds 1000                     a thousand worlds from seed 0 on\n  \
    pyralog-sim --minutes 60 --from 1000000      an hour of them, from another seed on\n  \
    pyralog-sim --seed 42 --timeline 42.html     one world, to be looked at in a browser\n  \
    pyralog-sim --seed 42 --faults Kill,NetCut   the same world with these faults only")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Run this one world.
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "minutes", "from"])]
    seed: Option<u64>,
    /// Run so many worlds.
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    seeds: Option<u64>,
    /// Run worlds for so long.
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// The first seed of many.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) from: u64,
    /// Threads to run worlds on; each world has one. All cores unless given.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Stop after so many worlds that fail.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) failures: usize,
    /// Do not make what fails smaller.
    #[arg(long)]
    pub(crate) no_shrink: bool,
    /// Let only these faults strike, of those that the seed has; `none` for none.
    #[arg(long, value_name = "FAULT,…", value_delimiter = ',')]
    faults: Option<Vec<String>>,
    /// Let only these faults strike, whatever the seed has.
    #[arg(long, value_name = "FAULT,…", value_delimiter = ',', conflicts_with = "faults")]
    force_faults: Option<Vec<Fault>>,
    /// So many clients at most.
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// So many shards of the server's first life.
    #[arg(long, value_name = "N")]
    shards: Option<usize>,
    /// Only these of the seed's logs, by name, with so many partitions: log-0:1,log-2:3.
    #[arg(long, value_name = "LOG:N,…", value_delimiter = ',')]
    logs: Option<Vec<String>>,
    /// No creation, change and deletion of logs.
    #[arg(long)]
    no_churn: bool,
    /// No requests for ids.
    #[arg(long)]
    no_ids: bool,
    /// Only these of the seed's counters, by name; `none` for none.
    #[arg(long, value_name = "COUNTER,…", value_delimiter = ',')]
    counters: Option<Vec<String>>,
    /// So many milliseconds of faults.
    #[arg(long, value_name = "MS")]
    safety_ms: Option<u64>,
    /// Print everything that happened in the one world.
    #[arg(long, requires = "seed")]
    pub(crate) trace: bool,
    /// Print what the clients saw in the one world.
    #[arg(long, requires = "seed")]
    pub(crate) history: bool,
    /// Write a picture of the one world, to be opened in a browser.
    #[arg(long, value_name = "FILE", requires = "seed")]
    pub(crate) timeline: Option<PathBuf>,
}

impl Args {
    /// The one seed, if it is one.
    pub(crate) fn single(&self) -> Option<u64> {
        self.seed
    }

    /// How many worlds; `None` without a number.
    pub(crate) fn count(&self) -> Option<u64> {
        match (self.seeds, self.minutes) {
            (Some(seeds), _) => Some(seeds),
            (None, Some(_)) => None,
            (None, None) => Some(300),
        }
    }

    /// For how long.
    pub(crate) fn time(&self) -> Option<Duration> {
        self.minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)))
    }

    /// Threads.
    pub(crate) fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism();
        self.threads.map_or_else(|| all().map_or(1, NonZeroUsize::get), NonZeroUsize::get)
    }

    /// What `seed` means under these flags.
    ///
    /// # Errors
    /// A sentence, if a flag names what is not there.
    pub(crate) fn scenario(&self, seed: u64) -> Result<Scenario, String> {
        let mut scenario = Scenario::draw(seed);
        if let Some(names) = &self.faults {
            let wanted = names.iter().filter(|name| !name.eq_ignore_ascii_case("none"));
            let wanted = wanted.map(|name| name.parse()).collect::<Result<Vec<Fault>, _>>()?;
            scenario.faults.retain(|fault| wanted.contains(fault));
        }
        if let Some(faults) = &self.force_faults {
            scenario.faults = faults.iter().copied().collect();
        }
        if let Some(clients) = self.clients {
            scenario.clients = scenario.clients.min(clients.max(1));
        }
        if let Some(shards) = self.shards {
            scenario.shards = shards.clamp(1, 16);
        }
        if let Some(logs) = &self.logs {
            narrow_logs(&mut scenario, logs)?;
        }
        if self.no_churn {
            scenario.churn = false;
        }
        if self.no_ids {
            scenario.ids = false;
        }
        if let Some(names) = &self.counters {
            narrow_counters(&mut scenario, names)?;
        }
        if let Some(ms) = self.safety_ms {
            scenario.safety = Duration::from_millis(ms);
        }
        Ok(scenario)
    }
}

fn narrow_logs(scenario: &mut Scenario, wanted: &[String]) -> Result<(), String> {
    let mut logs = Vec::new();
    for text in wanted {
        let (name, partitions) = text.split_once(':').unwrap_or((text, ""));
        let Some(mut log) = scenario.logs.iter().find(|log| log.name == name).cloned() else {
            let there: Vec<_> = scenario.logs.iter().map(|log| log.name.as_str()).collect();
            return Err(format!("seed {} has no {name:?}, but {there:?}", scenario.seed));
        };
        if !partitions.is_empty() {
            log.config.partitions = partitions
                .parse()
                .map_err(|error| format!("{text:?}: {partitions:?} partitions: {error}"))?;
        }
        log.config.check().map_err(|error| error.to_string())?;
        logs.push(log);
    }
    scenario.logs = logs;
    Ok(())
}

fn narrow_counters(scenario: &mut Scenario, wanted: &[String]) -> Result<(), String> {
    let wanted = || wanted.iter().filter(|name| !name.eq_ignore_ascii_case("none"));
    let there: Vec<_> = scenario.counters.iter().map(|counter| counter.name.clone()).collect();
    if let Some(name) = wanted().find(|name| !there.contains(name)) {
        return Err(format!("seed {} has no {name:?}, but {there:?}", scenario.seed));
    }
    scenario.counters.retain(|counter| wanted().any(|name| *name == counter.name));
    Ok(())
}
