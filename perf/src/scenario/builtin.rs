//! Scenarios that come with the program: one for each number of the performance page.

use super::Scenario;
use crate::failure::Failure;

/// A scenario that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// Its text, as in `perf/scenarios`.
    pub text: &'static str,
}

macro_rules! scenarios {
    ($($name:literal,)+) => {
        /// All of them, in the order of the performance page.
        const BUILT_INS: &[BuiltIn] = &[$(BuiltIn {
            name: $name,
            text: include_str!(concat!("../../scenarios/", $name, ".toml")),
        },)+];
    };
}

scenarios! {
    "ingest-1k-synced",
    "ingest-1k-memory",
    "ingest-100b-synced",
    "ingest-1k-signed",
    "single-synced",
    "single-memory",
    "half-rate-synced",
    "rate-latency-synced",
    "tail",
    "catch-up",
    "catch-up-memory",
    "mixed",
    "partitions-1000",
    "two-shards",
    "idle-server",
    "idle-connections-10000",
    "ingest-1k-synced-frames",
    "single-synced-frames",
}

/// All of them, in the order of the performance page.
#[must_use]
pub fn built_ins() -> &'static [BuiltIn] {
    BUILT_INS
}

/// The one of that name, read.
///
/// # Errors
/// None for a released program: a test reads them all.
#[must_use]
pub fn built_in(name: &str) -> Option<Result<Scenario, Failure>> {
    let found = BUILT_INS.iter().find(|built_in| built_in.name == name)?;
    Some(Scenario::read(found.text, toml::Table::new()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_paced_load_lasts_the_minute_that_its_aim_names() {
        let scenario = built_in("half-rate-synced").unwrap().unwrap();
        assert!(scenario.open_loop());
        assert_eq!(scenario.measure, Duration::from_mins(1));
    }

    #[test]
    fn every_built_in_is_sound_named_as_its_file_and_says_what_it_shows() {
        for BuiltIn { name, .. } in built_ins() {
            let scenario = built_in(name).unwrap().unwrap();
            assert_eq!(scenario.name, *name);
            assert!(scenario.about.ends_with('.') && scenario.about.len() < 200, "{name}");
        }
    }
}
