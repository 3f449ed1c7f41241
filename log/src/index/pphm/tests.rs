//! Maps against a model, against absent keys and against bytes that nobody wrote.

use hashbrown::HashMap;
use quickcheck::{Arbitrary, Gen, QuickCheck};

use super::*;
use crate::layout::FormatError;

const MODES: [Mode; 2] = [Mode::Exact, Mode::Fingerprint];

fn build(options: Options, entries: &[(u32, Vec<u8>, u64)]) -> Result<Vec<u8>, BuildError> {
    let mut builder = Builder::new(options);
    for (source, key, value) in entries {
        builder.push(*source, key, *value)?;
    }
    builder.finish()
}

/// `count` entries with different keys.
fn numbered(count: u64) -> Vec<(u32, Vec<u8>, u64)> {
    (0..count).map(|at| (0, format!("key {at}").into_bytes(), at * 3)).collect()
}

#[test]
fn a_map_answers_as_its_model_and_never_for_an_absent_key() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(entries: Vec<(u32, Vec<u8>, u64)>, absent: Vec<Vec<u8>>, partitions_min: u8) {
        let mut model: HashMap<&[u8], u64> = HashMap::new();
        for (_, key, value) in &entries {
            model.entry(key).and_modify(|kept| *kept = (*kept).max(*value)).or_insert(*value);
        }
        for mode in MODES {
            let partitions_min = u32::from(partitions_min);
            let options = Options { partitions_min, ..Options::new(mode) };
            let bytes = build(options, &entries).unwrap();
            let map = Map::open(&bytes).unwrap();
            assert_eq!(map.directory().keys(), model.len() as u64);
            for key in entries.iter().map(|entry| &entry.1).chain(&absent) {
                assert_eq!(map.get(key), Ok(model.get(key.as_slice()).copied()), "{mode:?}");
            }
            let mut listed: Vec<_> = map.entries().collect::<Result<_, _>>().unwrap();
            let named = model.iter().map(|(key, value)| match mode {
                Mode::Exact => (Key::Exact(key), *value),
                Mode::Fingerprint => (Key::Fingerprint(hash(0, key)), *value),
            });
            let mut expected: Vec<_> = named.collect();
            listed.sort_unstable();
            expected.sort_unstable();
            assert_eq!(listed, expected);
        }
    }
    QuickCheck::new().tests(300).quickcheck(property as fn(_, _, _));
}

#[test]
fn ten_thousand_keys_in_sixteen_partitions_take_the_bytes_that_the_page_says() {
    let entries = numbered(10_000);
    let keys: usize = entries.iter().map(|entry| entry.1.len()).sum();
    for (mode, per_key, of_keys) in [(Mode::Fingerprint, 8.57, 0), (Mode::Exact, 4.57, keys)] {
        let bytes = build(Options::new(mode), &entries).unwrap();
        let map = Map::open(&bytes).unwrap();
        assert_eq!(map.directory().header().partitions(), 16);
        for (_, key, value) in &entries {
            assert_eq!(map.get(key), Ok(Some(*value)));
        }
        let absent = (0..50_000).map(|at| format!("absent {at}"));
        assert!(absent.into_iter().all(|key| map.get(key.as_bytes()) == Ok(None)));
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let found = (bytes.len() - of_keys) as f64 / 10_000.0;
        // Values up to 30,000 take 2 bytes.
        assert!(found <= per_key + 2.01, "{mode:?}: {found} bytes per key");
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_order_in_which_sources_take_turns() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(entries: Vec<(u8, u8, u64)>, turns: Vec<u8>) {
        let sources: Vec<Vec<_>> = (0..3)
            .map(|source| {
                let ours = entries.iter().filter(|entry| entry.0 % 3 == source);
                ours.map(|entry| (u32::from(source), vec![entry.1], entry.2 >> 8)).collect()
            })
            .collect();
        let in_order: Vec<_> = sources.concat();
        let mut queues: Vec<_> = sources.into_iter().map(Vec::into_iter).collect();
        let mut mixed = Vec::new();
        for turn in turns {
            mixed.extend(queues[usize::from(turn % 3)].next());
        }
        queues.into_iter().rev().for_each(|queue| mixed.extend(queue));
        let last = |_: u64, second: u64| second;
        let reducers = [Reducer::First, Reducer::Last, Reducer::Sum, Reducer::Custom(last)];
        for (mode, reducer) in MODES.into_iter().flat_map(|mode| reducers.map(|one| (mode, one))) {
            let options = Options { reducer, seed: 5, ..Options::new(mode) };
            assert_eq!(build(options, &in_order), build(options, &mixed), "{reducer:?}");
        }
    }
    QuickCheck::new().tests(200).quickcheck(property as fn(_, _));
}

#[test]
fn reducers_fold_from_the_left_by_source_and_position() {
    let entries: Vec<_> = [(1, 7), (0, 9), (1, 2), (0, 4)]
        .map(|(source, value)| (source, b"key".to_vec(), value))
        .to_vec();
    // In order: 9, 4, 7, 2.
    let minus: fn(u64, u64) -> u64 = u64::saturating_sub;
    for (reducer, expected) in [
        (Reducer::First, Ok(9)),
        (Reducer::Last, Ok(2)),
        (Reducer::Max, Ok(9)),
        (Reducer::Min, Ok(2)),
        (Reducer::Sum, Ok(22)),
        (Reducer::Custom(minus), Ok(0)),
        (Reducer::Custom(|first, second| first * 10 + second), Ok(9472)),
    ] {
        for mode in MODES {
            let built = build(Options { reducer, ..Options::new(mode) }, &entries);
            let found = built.map(|bytes| Map::open(&bytes).unwrap().get(b"key").unwrap().unwrap());
            assert_eq!(found, expected, "{reducer:?}");
        }
    }
    let once = Options { reducer: Reducer::ErrorOnDuplicate, ..Options::new(Mode::Exact) };
    assert!(matches!(build(once, &entries), Err(BuildError::Duplicate { .. })));
    let huge = [(0, Vec::new(), u64::MAX), (0, Vec::new(), 1)];
    let sum = Options { reducer: Reducer::Sum, ..Options::new(Mode::Exact) };
    assert_eq!(build(sum, &huge), Err(BuildError::Overflow));
}

#[test]
fn a_builder_holds_no_more_than_it_may_and_goes_on_after_a_refusal() {
    let options = Options { bytes_max: 100, ..Options::new(Mode::Exact) };
    let mut builder = Builder::new(options);
    assert_eq!(builder.push(0, b"0123456789", 1), Ok(()));
    let full = Err(BuildError::Full { bytes_max: 100 });
    assert_eq!(builder.push(0, b"01234567890", 2), full);
    let max = crate::limits::KEY_BYTES_MAX;
    let found = max + 1;
    let long = builder.push(0, &vec![0; found], 2);
    assert_eq!(long, Err(BuildError::KeyTooLong { max, found }));
    assert_eq!(builder.push(0, b"0123456780", 3), Ok(()));
    let bytes = builder.finish().unwrap();
    let map = Map::open(&bytes).unwrap();
    assert_eq!((map.get(b"0123456789"), map.get(b"0123456780")), (Ok(Some(1)), Ok(Some(3))));
    assert_eq!(map.get(b"01234567890"), Ok(None));
}

#[test]
fn keys_that_share_the_high_bits_by_design_are_refused_and_not_searched_for_ever() {
    let header = Header { mode: Mode::Fingerprint, partition_bits: 1, seed: 0, tag: [0; 32] };
    let mut out = Vec::new();
    let mut writer = Writer::begin(header, &mut out);
    let entries: Vec<_> =
        (0..=PARTITION_KEYS_MAX as u64).map(|hash| Entry { hash, key: &[], value: 0 }).collect();
    let found = entries.len();
    assert_eq!(writer.partition(&entries, &mut out), Err(BuildError::Crowded { found }));
    // One fewer is a partition, however badly the hashes are chosen.
    assert_eq!(writer.partition(&entries[1..], &mut out), Ok(()));
    assert_eq!(writer.partition(&[], &mut out), Ok(()));
    writer.finish(&mut out);
    assert_eq!(Map::open(&out).unwrap().directory().keys(), PARTITION_KEYS_MAX as u64);
}

#[test]
fn a_partition_is_found_in_a_file_that_is_not_in_memory_and_rot_in_it_is_said() {
    for mode in MODES {
        let (entries, tag) = (numbered(5000), [9; 32]);
        let mut bytes = build(Options { tag, seed: 77, ..Options::new(mode) }, &entries).unwrap();
        let len = bytes.len() as u64;
        let header = Header::decode(&bytes[..HEADER_BYTES]).unwrap();
        assert_eq!((header.tag, header.seed, header.mode), (tag, 77, mode));
        let range = |range: std::ops::Range<u64>| {
            usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
        };
        let tail = range(header.tail(len).unwrap());
        let directory = Directory::decode(header, &bytes[tail], len).unwrap();
        for (_, key, value) in &entries {
            let place = directory.place(key);
            let bytes = &bytes[range(place.bytes.clone())];
            assert!(bytes.len() < 64 << 10, "a partition is a short read");
            assert_eq!(directory.get(&place, bytes), Ok(Some(*value)));
        }
        for key in (0..5000).map(|at| format!("absent {at}")) {
            let place = directory.place(key.as_bytes());
            let bytes = &bytes[range(place.bytes.clone())];
            assert_eq!(directory.get(&place, bytes), Ok(None));
        }
        let place = directory.place(b"key 1");
        let bytes = &mut bytes[range(place.bytes.clone())];
        bytes[100] ^= 1;
        assert_eq!(directory.get(&place, bytes), Err(FormatError::Checksum));
        assert_eq!(directory.get(&place, &bytes[1..]), Err(FormatError::Length));
    }
}

/// What befalls the bytes of a file.
#[derive(Clone, Debug)]
enum Blow {
    Flip(u16, u8),
    Cut(u16),
    Insert(u16, u8),
    Copy(u16, u16, u8),
    Write(u16, u64),
}

impl Arbitrary for Blow {
    fn arbitrary(random: &mut Gen) -> Self {
        let (at, to, byte) =
            (u16::arbitrary(random), u16::arbitrary(random), u8::arbitrary(random));
        match u8::arbitrary(random) % 5 {
            0 => Self::Flip(at, byte % 8),
            1 => Self::Cut(at),
            2 => Self::Insert(at, byte),
            3 => Self::Copy(at, to, byte),
            _ => Self::Write(at, u64::arbitrary(random)),
        }
    }
}

impl Blow {
    fn strike(&self, bytes: &mut Vec<u8>) {
        let place = |at: &u16| usize::from(*at) % bytes.len();
        match self {
            Self::Flip(at, bit) => {
                let at = place(at);
                bytes[at] ^= 1 << bit;
            }
            Self::Cut(at) => bytes.truncate(place(at).max(1)),
            Self::Insert(at, byte) => bytes.insert(place(at), *byte),
            Self::Copy(from, to, len) => {
                let (from, to) = (place(from), place(to));
                let len = usize::from(*len).min(bytes.len() - from.max(to));
                bytes.copy_within(from..from + len, to);
            }
            Self::Write(at, value) => {
                let at = place(at).min(bytes.len().saturating_sub(8));
                let raw = value.to_le_bytes();
                let len = raw.len().min(bytes.len());
                bytes[at..at + len].copy_from_slice(&raw[..len]);
            }
        }
    }
}

/// Makes every checksum of a file of one partition right, as somebody does who means harm.
fn forge(bytes: &mut [u8]) {
    use xxhash_rust::xxh3::xxh3_64;
    let len = bytes.len();
    if len < HEADER_BYTES + 16 + 48 {
        return;
    }
    let header = xxh3_64(&bytes[..HEADER_BYTES - 8]);
    bytes[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&header.to_le_bytes());
    let blob = xxh3_64(&bytes[HEADER_BYTES..len - 64]);
    bytes[len - 56..len - 48].copy_from_slice(&blob.to_le_bytes());
    let file = *blake3::hash(&bytes[..len - 40]).as_bytes();
    bytes[len - 40..len - 8].copy_from_slice(&file);
    let tail = xxh3_64(&bytes[len - 64..len - 8]);
    bytes[len - 8..].copy_from_slice(&tail.to_le_bytes());
}

#[test]
fn no_bytes_make_the_decoder_panic_and_changed_ones_are_refused() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(entries: Vec<(u32, Vec<u8>, u64)>, blows: Vec<Blow>, exact: bool, forged: bool) {
        let mode = if exact { Mode::Exact } else { Mode::Fingerprint };
        let original = build(Options::new(mode), &entries).unwrap();
        let mut bytes = original.clone();
        for blow in &blows {
            blow.strike(&mut bytes);
        }
        if forged {
            forge(&mut bytes);
        }
        match Map::open(&bytes) {
            Ok(map) => {
                assert!(forged || bytes == original, "changed bytes are refused");
                // Whatever it says, it says it.
                for key in entries.iter().map(|entry| entry.1.as_slice()).chain([&b"absent"[..]]) {
                    std::hint::black_box(map.get(key).is_ok());
                }
                std::hint::black_box(map.entries().count());
            }
            Err(_) => assert_ne!(bytes, original, "a file that is whole opens"),
        }
    }
    QuickCheck::new().tests(3000).quickcheck(property as fn(_, _, _, _));
}

#[test]
fn a_forged_value_beyond_the_range_is_an_error() {
    let entries = [(0, b"a".to_vec(), 0), (0, b"b".to_vec(), 5)];
    let mut bytes = build(Options::new(Mode::Exact), &entries).unwrap();
    bytes[HEADER_BYTES + 8..HEADER_BYTES + 16].fill(0xff);
    forge(&mut bytes);
    let map = Map::open(&bytes).unwrap();
    assert_eq!(map.get(b"a"), Ok(Some(u64::MAX)));
    assert_eq!(map.get(b"b"), Err(FormatError::Field { field: "value" }));
}

#[test]
fn every_byte_of_a_file_is_protected() {
    for mode in MODES {
        let bytes = build(Options::new(mode), &numbered(40)).unwrap();
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x20;
            assert!(Map::open(&broken).is_err(), "byte {at}");
            assert!(Map::open(&bytes[..at]).is_err(), "{at} bytes");
        }
    }
}

#[test]
fn partitions_are_chosen_for_a_thousand_keys_each() {
    for (keys, bits) in [(0, 0), (1, 0), (1024, 0), (1025, 1), (2048, 1), (2049, 2), (1 << 20, 10)]
    {
        assert_eq!(partition_bits(keys), bits, "{keys}");
    }
    assert_eq!(partition_bits(u64::MAX), PARTITION_BITS_MAX);
    assert_eq!((partition_of(u64::MAX, 0), partition_of(u64::MAX, 3)), (0, 7));
}
