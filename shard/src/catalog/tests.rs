//! The catalog against a model, and the bytes of its commands.

use std::collections::BTreeMap;

use pyralog_log::durability::Durability;
use pyralog_wire::{Compaction, Integrity, LogStorage, Retention};
use quickcheck::{Arbitrary, Gen, QuickCheck};

use super::*;

fn create(name: &str) -> Command {
    Command::Create { name: name.into(), config: LogConfig::default(), created: Timestamp::new(9) }
}

fn created(catalog: &mut Catalog, name: &str) -> LogId {
    match catalog.apply(&create(name)) {
        Ok(Applied::Created(entry)) => entry.id,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_deleted_name_comes_back_with_another_id() {
    let mut catalog = Catalog::default();
    let first = created(&mut catalog, "a");
    assert_eq!(first, LogId::new(1), "0 is the catalog itself");
    assert_eq!(catalog.apply(&create("a")), Err(Refusal::NameTaken { id: first }));
    assert!(matches!(catalog.apply(&Command::Delete { id: first }), Ok(Applied::Deleted(_))));
    assert_eq!(catalog.by_name("a"), None);
    assert_eq!(created(&mut catalog, "a"), LogId::new(2));
    assert_eq!(catalog.version(), 4, "a refused command counts as well");
}

#[test]
fn partitions_and_storage_are_fixed() {
    let mut catalog = Catalog::default();
    let id = created(&mut catalog, "a");
    let alter = |config| Command::Alter { id, config };
    let more = LogConfig { partitions: 2, ..LogConfig::default() };
    let fixed = |field| Err(Refusal::Fixed { field });
    assert_eq!(catalog.apply(&alter(more)), fixed("partitions"));
    assert_eq!(catalog.apply(&alter(LogConfig::memory())), fixed("storage"));
    let written = LogConfig { durability: Durability::Written, ..LogConfig::default() };
    catalog.apply(&alter(written)).unwrap();
    assert_eq!(catalog.get(id).map(|entry| entry.config), Some(written));
}

#[test]
fn bad_names_and_configurations_are_refused() {
    let mut catalog = Catalog::default();
    assert!(matches!(catalog.apply(&create("../etc")), Err(Refusal::Name(_))));
    let config = LogConfig { partitions: 0, ..LogConfig::default() };
    let command = Command::Create { name: "a".into(), config, created: Timestamp::ZERO };
    assert!(matches!(catalog.apply(&command), Err(Refusal::Config(_))));
    let unknown = LogId::new(5);
    assert_eq!(
        catalog.apply(&Command::Delete { id: unknown }),
        Err(Refusal::UnknownLog { id: unknown })
    );
    assert!(catalog.is_empty());
}

#[test]
fn the_node_does_not_take_more_partitions_than_it_may() {
    let mut catalog = Catalog::default();
    let config = LogConfig { partitions: wire::PARTITIONS_MAX, ..LogConfig::default() };
    let logs = PARTITIONS_TOTAL_MAX / u64::from(wire::PARTITIONS_MAX);
    for index in 0..logs {
        let name = format!("l{index}");
        catalog.apply(&Command::Create { name, config, created: Timestamp::ZERO }).unwrap();
    }
    let free = PARTITIONS_TOTAL_MAX - catalog.partitions();
    let last = Command::Create { name: "last".into(), config, created: Timestamp::ZERO };
    assert_eq!(catalog.apply(&last), Err(Refusal::TooManyPartitions { free }));
}

#[test]
fn pages_join_to_the_whole_listing() {
    let mut catalog = Catalog::default();
    for name in ["b2", "a1", "b1", "c", "b3", "b"] {
        created(&mut catalog, name);
    }
    let names = |prefix: &str, after: &str, limit| {
        let (page, more) = catalog.page(prefix, after, limit);
        (page.into_iter().map(|entry| entry.name.clone()).collect::<Vec<_>>(), more)
    };
    assert_eq!(names("b", "", 2), (vec!["b".into(), "b1".into()], true));
    assert_eq!(names("b", "b1", 2), (vec!["b2".into(), "b3".into()], false));
    assert_eq!(names("b", "a", 1), (vec!["b".into()], true), "`after` before the prefix");
    assert_eq!(names("b", "c", 9), (vec![], false));
    assert_eq!(names("", "", 100).0.len(), 6);
}

/// A command over a handful of names and ids, most of them sensible.
#[derive(Debug, Clone)]
struct AnyCommand(Command);

impl Arbitrary for AnyCommand {
    fn arbitrary(g: &mut Gen) -> Self {
        let id = LogId::new(u64::from(u8::arbitrary(g) % 12));
        let config = LogConfig {
            partitions: u32::from(u8::arbitrary(g) % 5),
            durability: *g.choose(&Durability::ALL).unwrap(),
            ttl_ms: u64::arbitrary(g) % 1000,
            storage: *g.choose(&[LogStorage::Durable, LogStorage::Memory]).unwrap(),
            key_index: bool::arbitrary(g),
            segment_age_ms: u64::arbitrary(g) % 2000,
            retention: Retention {
                age_ms: u64::arbitrary(g) % 1000,
                local_bytes: u64::arbitrary(g) % 2,
                ..Retention::default()
            },
            compaction: Compaction { is_on: bool::arbitrary(g), ..Compaction::default() },
            is_tiered: bool::arbitrary(g),
            integrity: *g.choose(&Integrity::ALL).unwrap(),
            ..LogConfig::default()
        };
        let name = *g.choose(&["a", "b", "c", "d", ".bad"]).unwrap();
        Self(match u8::arbitrary(g) % 4 {
            0 | 1 => Command::Create {
                name: name.into(),
                config,
                created: Timestamp::new(i64::arbitrary(g)),
            },
            2 => Command::Alter { id, config },
            _ => Command::Delete { id },
        })
    }
}

#[test]
fn replicas_fed_with_stored_commands_agree_with_a_model() {
    fn property(commands: Vec<AnyCommand>) -> bool {
        let (mut here, mut there) = (Catalog::default(), Catalog::default());
        let mut model: BTreeMap<String, (LogId, LogConfig)> = BTreeMap::new();
        let mut ids = std::collections::BTreeSet::new();
        for AnyCommand(command) in commands {
            let stored = decode(&encode(&command).unwrap()).unwrap();
            assert_eq!(stored, command);
            let expected = here.check(&command);
            let applied = here.apply(&command);
            assert_eq!(applied.as_ref().err(), expected.as_ref().err(), "check foretells apply");
            assert_eq!(applied, there.apply(&stored));
            match applied {
                Ok(Applied::Created(entry)) => {
                    assert!(ids.insert(entry.id), "id {} was dealt twice", entry.id);
                    let before = model.insert(entry.name, (entry.id, entry.config));
                    assert!(before.is_none());
                }
                Ok(Applied::Altered(entry)) => {
                    let known = model.get_mut(&entry.name).unwrap();
                    assert_eq!(known.0, entry.id);
                    known.1 = entry.config;
                }
                Ok(Applied::Deleted(entry)) => assert!(model.remove(&entry.name).is_some()),
                Err(_) => {}
            }
        }
        let sum: u64 = model.values().map(|(_, config)| u64::from(config.partitions)).sum();
        let same = here
            .page("", "", 1000)
            .0
            .into_iter()
            .map(|entry| (entry.name.clone(), (entry.id, entry.config)))
            .eq(model);
        same && here == there && here.partitions() == sum
    }
    QuickCheck::new().tests(500).quickcheck(property as fn(Vec<AnyCommand>) -> bool);
}

#[test]
fn rubbish_is_never_a_command_and_never_a_panic() {
    fn property(mut bytes: Vec<u8>, flip: usize, AnyCommand(command): AnyCommand) -> bool {
        let of_rubbish = decode(&bytes).is_err();
        bytes.insert(0, 1);
        let behind_version = decode(&bytes).is_err() || bytes.len() > 8;
        // A flipped bit gives another command or an error; both are fine, a panic is not.
        let mut mutated = encode(&command).unwrap();
        let at = flip % mutated.len();
        mutated[at] ^= 1 << (flip % 8);
        decode(&mutated).ok();
        decode(&mutated[..at]).ok();
        (of_rubbish || bytes.get(1) == Some(&1)) && behind_version
    }
    QuickCheck::new().tests(3000).quickcheck(property as fn(Vec<u8>, usize, AnyCommand) -> bool);
}

#[test]
fn commands_of_another_version_say_so() {
    let error = decode(&[4, 0, 0]).unwrap_err().to_string();
    assert!(error.contains("version Some(4)"), "{error}");
    assert!(matches!(decode(&[]), Err(MalformedCommand::UnknownVersion { found: None })));
}

fn golden_commands() -> [Command; 3] {
    [
        create("access-log"),
        Command::Alter { id: LogId::new(3), config: LogConfig::memory() },
        Command::Delete { id: LogId::new(0x0102) },
    ]
}

/// Rewritten by hand only, together with a new version: old catalogs must stay readable.
#[test]
fn stored_commands_keep_their_bytes() {
    let hex = |command: &Command| {
        use std::fmt::Write as _;
        encode(command).unwrap().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    let golden = include_str!("golden.txt").lines().collect::<Vec<_>>();
    let found = golden_commands().iter().map(hex).collect::<Vec<_>>();
    assert_eq!(found, golden);
}

#[test]
fn commands_of_earlier_versions_are_still_read() {
    let bytes = |line: &str| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
        (0..line.len()).step_by(2).map(byte).collect()
    };
    for stored in [include_str!("golden-1.txt"), include_str!("golden-2.txt")] {
        let found: Vec<Command> =
            stored.lines().map(|line| decode(&bytes(line)).unwrap()).collect();
        assert_eq!(found, golden_commands());
    }
}
