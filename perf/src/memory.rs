//! What a server may hold in memory: its settings, as it understands them itself, and a part that no setting says.
//!
//! The settings come from `config show` of the program that is started as the server, with the same overrides, so that
//! defaults and units are read in one place only.

use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::quantity::parse_bytes;
use crate::result::MemoryBudget;
use crate::scenario::{Scenario, Storage};

/// The process before it serves anybody, without its buffers: program, stacks, allocator, rings. 20 MB were seen.
const PROCESS_BYTES: u64 = 32 << 20;
/// Beside that for each executor: lanes, histograms, the catalog's replica.
const SHARD_BYTES: u64 = 8 << 20;
/// For each open partition: the buffer in which it gathers while it is small, sessions and index.
const PARTITION_BYTES: u64 = 128 << 10;
/// For each connection: a receive buffer at rest; what it grows by is part of the appends in flight.
const CONNECTION_BYTES: u64 = 64 << 10;
/// The tail of a partition keeps so much in any case: the group that was written last.
const TAIL_GROUP_BYTES: u64 = 64 << 10;

/// One line of `config show --json`.
#[derive(Deserialize)]
struct Line {
    key: String,
    value: String,
}

/// The budget of a server of `scenario` with these settings; `None` if the program that runs cannot say.
pub(crate) fn budget(scenario: &Scenario, settings: &[String]) -> Option<MemoryBudget> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(["config", "show", "--json"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    of(scenario, &String::from_utf8(output.stdout).ok()?)
}

/// The same from what `config show --json` prints.
fn of(scenario: &Scenario, shown: &str) -> Option<MemoryBudget> {
    let lines: Vec<Line> = serde_json::from_str(shown).ok()?;
    let bytes = |key: &str| {
        let line = lines.iter().find(|line| line.key == key)?;
        parse_bytes(line.value.trim_matches('"')).ok()
    };
    let (shards, partitions) = (u64::from(scenario.shards), u64::from(scenario.partitions));
    let of_all = |key: &str| Some(bytes(key)?.saturating_mul(shards));
    let records = match scenario.storage {
        Storage::Durable => 0,
        Storage::Memory => {
            let wanted = scenario.memory_bytes.saturating_mul(partitions);
            wanted.min(bytes("memory.memory_log_bytes_max")?)
        }
    };
    let connections = [scenario.clients(), scenario.consumers, scenario.idle_connections];
    let connections: u64 = connections.into_iter().map(u64::from).sum();
    Some(MemoryBudget {
        buffers: of_all("memory.io_bytes")?,
        in_flight: of_all("memory.in_flight_bytes_max")?,
        fetched: of_all("memory.fetched_bytes_max")?,
        tails: of_all("memory.tail_bytes")?.max(partitions * TAIL_GROUP_BYTES),
        records,
        fixed: PROCESS_BYTES
            + shards * SHARD_BYTES
            + partitions * PARTITION_BYTES
            + connections * CONNECTION_BYTES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = r#"[{"key":"server.shards","origin":"--set","value":"2"},
        {"key":"memory.io_bytes","origin":"default","value":"\"256MiB\""},
        {"key":"memory.in_flight_bytes_max","origin":"default","value":"\"128MiB\""},
        {"key":"memory.fetched_bytes_max","origin":"--set","value":"\"64MiB\""},
        {"key":"memory.tail_bytes","origin":"default","value":"\"128MiB\""},
        {"key":"memory.memory_log_bytes_max","origin":"default","value":"\"4GiB\""}]"#;

    fn budget_of(toml: &str) -> MemoryBudget {
        of(&Scenario::read(toml, toml::Table::new()).unwrap(), SHOWN).unwrap()
    }

    #[test]
    fn the_budget_is_that_of_all_executors_and_a_part_that_grows_with_what_is_open() {
        let one = budget_of("");
        assert_eq!((one.buffers, one.in_flight), (256 << 20, 128 << 20));
        assert_eq!((one.fetched, one.tails, one.records), (64 << 20, 128 << 20, 0));
        let two = budget_of("shards = 2");
        assert_eq!((two.buffers, two.tails), (512 << 20, 256 << 20));
        let many = budget_of("workload = 'idle'\npartitions = 1000\nidle_connections = 10000");
        assert_eq!(many.fixed - one.fixed, (999 * 128 + 10_000 * 64) << 10);
        assert_eq!(many.total() - many.fixed, one.total() - one.fixed);
    }

    #[test]
    fn records_of_logs_in_memory_count_up_to_what_all_of_them_may_hold() {
        let log = "storage = 'memory'\ndurability = 'memory'\nmemory_bytes = '1GiB'";
        assert_eq!(budget_of(log).records, 1 << 30);
        assert_eq!(budget_of(&format!("{log}\npartitions = 9")).records, 4 << 30);
    }

    #[test]
    fn a_program_that_says_something_else_has_no_budget() {
        for shown in ["", "{}", "[]", &SHOWN.replace("128MiB", "much")] {
            assert_eq!(of(&Scenario::default(), shown), None, "{shown}");
        }
    }
}
