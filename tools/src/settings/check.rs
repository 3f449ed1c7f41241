//! Checks between settings that a single key cannot see.
//!
//! What depends on the machine comes in as [`Machine`], so that the checks are a plain function.

use pyralog_seq::limits::STRIDE_MIN;
use pyralog_seq::pharaoh::SlotSet;
use pyralog_shard::DataConfig;

use super::Settings;
use crate::quantity::{bytes_human, size_exact};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The server would not start, or would lose data.
    Error,
    /// It would start, and somebody would be surprised.
    Warning,
}

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// How serious it is.
    pub(crate) severity: Severity,
    /// What it is and what to do.
    pub(crate) message: String,
}

/// What the checks need to know about the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Processors this process may use; 0 = unknown.
    pub(crate) processors: usize,
    /// Bytes of memory of the machine; 0 = unknown.
    pub(crate) memory_bytes: u64,
    /// Largest file this process may write (`RLIMIT_FSIZE`); 0 = unknown or unlimited.
    pub(crate) file_bytes_max: u64,
}

/// Everything that is wrong with `settings` on `machine`, errors first.
pub(crate) fn check(settings: &Settings, machine: Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(refused) = settings.server.validate() {
        error(&mut findings, refused.to_string());
    }
    if let Err(refused) = settings.log_defaults.check() {
        error(&mut findings, format!("logs: {refused}"));
    }
    ports(settings, machine, &mut findings);
    memory(settings, machine, &mut findings);
    files(settings, machine, &mut findings);
    ids(settings, &mut findings);
    exposure(settings, &mut findings);
    findings.sort_by_key(|finding| finding.severity == Severity::Warning);
    findings
}

fn error(findings: &mut Vec<Finding>, message: String) {
    findings.push(Finding { severity: Severity::Error, message });
}

fn warning(findings: &mut Vec<Finding>, message: String) {
    findings.push(Finding { severity: Severity::Warning, message });
}

fn ports(settings: &Settings, machine: Machine, findings: &mut Vec<Finding>) {
    let server = &settings.server;
    if machine.processors != 0 && server.shards > machine.processors {
        warning(
            findings,
            format!(
                "server.shards is {} on {} processors: shards that share one wait for each other",
                server.shards, machine.processors
            ),
        );
    }
    if server.listen.port() != 0 && server.http.is_some_and(|http| http == server.listen) {
        error(findings, format!("http.listen is server.listen, {}: choose another", server.listen));
    }
}

fn memory(settings: &Settings, machine: Machine, findings: &mut Vec<Finding>) {
    let total_bytes = machine.memory_bytes;
    if total_bytes == 0 {
        return;
    }
    let (server, budget) = (&settings.server, &settings.server.memory);
    let shards = u64::try_from(server.shards).unwrap_or(u64::MAX);
    let per_shard = u64::try_from(budget.io_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(budget.in_flight_bytes_max)
        .saturating_add(budget.fetched_bytes_max)
        .saturating_add(budget.tail_bytes);
    let records = match server.data {
        DataConfig::MemoryOnly { max_memory } => max_memory,
        DataConfig::Dir(_) => 0,
    };
    let sum = per_shard.saturating_mul(shards).saturating_add(records);
    let parts = format!(
        "{shards} shards with [memory] budgets of {} and {} of records",
        bytes_human(per_shard),
        bytes_human(records)
    );
    let machine_has = bytes_human(total_bytes);
    if sum > total_bytes {
        error(findings, format!("{parts} exceed the {machine_has} of this machine"));
    } else if sum > total_bytes / 4 * 3 {
        warning(findings, format!("{parts} use most of the {machine_has} of this machine"));
    } else if records == 0 && sum.saturating_add(budget.memory_log_bytes_max) > total_bytes {
        warning(
            findings,
            format!(
                "memory.memory_log_bytes_max and {parts} exceed the {machine_has} of this machine"
            ),
        );
    }
}

fn files(settings: &Settings, machine: Machine, findings: &mut Vec<Finding>) {
    let on_disk = matches!(settings.server.data, DataConfig::Dir(_));
    let segment_bytes = settings.log_defaults.segment_bytes;
    if on_disk && machine.file_bytes_max != 0 && segment_bytes > machine.file_bytes_max {
        error(
            findings,
            format!(
                "logs.segment_bytes {} exceeds the file size limit {} of this process: raise \
                 `ulimit -f` or choose smaller segments",
                size_exact(segment_bytes),
                size_exact(machine.file_bytes_max)
            ),
        );
    }
    if on_disk && machine.file_bytes_max != 0 && machine.file_bytes_max < STRIDE_MIN {
        error(
            findings,
            format!(
                "the file size limit {} of this process is below {}: without longer sparse files there are \
                 no ids, so no records, and no counters: raise `ulimit -f`",
                size_exact(machine.file_bytes_max),
                size_exact(STRIDE_MIN)
            ),
        );
    }
    if on_disk && settings.max_memory_set {
        warning(findings, "server.max_memory has no effect without server.memory_only".to_owned());
    }
}

fn ids(settings: &Settings, findings: &mut Vec<Finding>) {
    let server = &settings.server;
    let in_memory = matches!(server.data, DataConfig::MemoryOnly { .. });
    if server.ids.slots != SlotSet::ALL && server.cluster_id.is_none() {
        warning(
            findings,
            "ids.slots leaves slots to other servers, and server.cluster_id is 0: give all of them the \
             same cluster, or clients refuse to mix their ids"
                .to_owned(),
        );
    }
    if in_memory && server.cluster_id.is_some() {
        warning(
            findings,
            "server.cluster_id with server.memory_only: nothing remembers the ids of earlier starts, so \
             they repeat if the clock goes back; leave it 0, then each start is a cluster of its own"
                .to_owned(),
        );
    }
    if server.ids.accept_clock {
        warning(
            findings,
            "ids.accept_clock believes any clock, also one that leapt ahead for years: take it back \
             after this start"
                .to_owned(),
        );
    }
}

fn exposure(settings: &Settings, findings: &mut Vec<Finding>) {
    let server = &settings.server;
    let listeners = [("server.listen", Some(server.listen)), ("http.listen", server.http)];
    for (name, address) in listeners {
        if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
            warning(
                findings,
                format!(
                    "{name} {address} is reachable from other machines, and there is no \
                     authentication yet: keep it behind a firewall"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layers;
    use super::*;

    const MACHINE: Machine =
        Machine { processors: 4, memory_bytes: 16 << 30, file_bytes_max: 16 << 40 };

    fn found(assignments: &[&str], machine: Machine) -> Vec<(Severity, String)> {
        let mut layers = Layers::default();
        layers.assignment("server.shards=4");
        for assignment in assignments {
            layers.assignment(assignment);
        }
        assert_eq!(layers.problems(), []);
        let findings = check(&Settings::from_layers(&layers), machine);
        findings.into_iter().map(|finding| (finding.severity, finding.message)).collect()
    }

    fn one(severity: Severity, assignments: &[&str], machine: Machine) -> String {
        let mut findings = found(assignments, machine);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let (found, message) = findings.remove(0);
        assert_eq!(found, severity, "{message}");
        message
    }

    #[test]
    fn the_defaults_have_no_findings() {
        assert_eq!(found(&[], MACHINE), []);
    }

    #[test]
    fn http_among_the_shard_ports_is_an_error() {
        let message = one(Severity::Error, &["http.listen=127.0.0.1:7402"], MACHINE);
        assert!(message.starts_with("http.listen = 127.0.0.1:7402: "), "{message}");
        assert_eq!(found(&["http.listen=127.0.0.1:7405"], MACHINE), []);
    }

    #[test]
    fn what_the_server_would_refuse_is_an_error() {
        let message = one(Severity::Error, &["server.listen=127.0.0.1:65533"], MACHINE);
        assert!(message.starts_with("server.listen = "), "{message}");
        let message = one(Severity::Error, &["logs.segment_bytes=1048577"], MACHINE);
        assert!(message.starts_with("logs: segment_bytes"), "{message}");
    }

    #[test]
    fn budgets_beyond_the_memory_are_an_error_and_close_to_it_a_warning() {
        one(Severity::Error, &["memory.tail_bytes=4GiB"], MACHINE);
        one(Severity::Warning, &["memory.tail_bytes=3GiB"], MACHINE);
        let only = "server.memory_only=true";
        one(Severity::Error, &[only, "server.max_memory=16GiB"], MACHINE);
        one(Severity::Warning, &[only, "server.max_memory=12GiB"], MACHINE);
        one(Severity::Warning, &["memory.memory_log_bytes_max=15GiB"], MACHINE);
        assert_eq!(found(&[only, "server.max_memory=8GiB"], MACHINE), []);
    }

    #[test]
    fn a_memory_limit_without_memory_only_is_a_warning() {
        one(Severity::Warning, &["server.max_memory=2GiB"], MACHINE);
    }

    #[test]
    fn a_segment_above_the_file_size_limit_is_an_error() {
        let small = Machine { file_bytes_max: 5 << 30, ..MACHINE };
        one(Severity::Error, &["logs.segment_bytes=8GiB"], small);
        assert_eq!(found(&["server.memory_only=true", "logs.segment_bytes=8GiB"], small), []);
    }

    #[test]
    fn a_file_size_limit_that_leaves_no_ids_is_an_error() {
        let small = Machine { file_bytes_max: 2 << 30, ..MACHINE };
        let message = one(Severity::Error, &[], small);
        assert!(message.contains("ulimit -f"), "{message}");
        assert_eq!(found(&["server.memory_only=true"], small), []);
    }

    #[test]
    fn ids_that_others_refuse_or_that_may_repeat_are_a_warning() {
        let message = one(Severity::Warning, &["ids.slots=0-511"], MACHINE);
        assert!(message.contains("server.cluster_id"), "{message}");
        assert_eq!(found(&["ids.slots=0-511", "server.cluster_id=7"], MACHINE), []);
        one(Severity::Warning, &["server.memory_only=true", "server.cluster_id=7"], MACHINE);
        one(Severity::Warning, &["ids.accept_clock=true"], MACHINE);
        let message = one(Severity::Error, &["ids.slots=0-2", "server.cluster_id=7"], MACHINE);
        assert!(message.starts_with("ids.slots = 0-2: "), "{message}");
    }

    #[test]
    fn listening_to_the_world_is_a_warning() {
        one(Severity::Warning, &["server.listen=0.0.0.0:7400"], MACHINE);
    }

    #[test]
    fn more_shards_than_processors_is_a_warning() {
        one(Severity::Warning, &["server.shards=5"], MACHINE);
    }
}
