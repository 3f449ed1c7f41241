//! Bytes of the formats around batches, kept for good. `UPDATE_GOLDEN=1 cargo test -p pyralog-log
//! golden` rewrites the files in `tests/golden`; read the diff.

use std::fmt::Write;
use std::path::PathBuf;

use crate::batch::Session;
use crate::checkpoint::{Checkpoint, Start, decode_damages, encode_damages};
use crate::compaction::{self, plan::Progress};
use crate::ids::{LogId, Offset, PartitionId, SessionId, Timestamp};
use crate::index::Index;
use crate::index::pphm::{Builder, Map, Mode, Options};
use crate::manifest::{Manifest, RemoteSegment, Swap};
use crate::mark::{Incarnation, Mark, MarkFlags, StampKey};
use crate::partition::Closed;
use crate::recovery::Damage;
use crate::recovery::scan::Opening;
use crate::segment::{FilePosition, SegmentHeader};
use crate::sessions::Sessions;
use crate::testing::{header, segment_header};

pub(crate) fn check(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.hex")].iter().collect();
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, kept, "{name}: the format changed");
    let digits: Vec<u8> = kept.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn golden_segment_header() {
    let header = segment_header(0x1122_3344_5566_7788, Offset::new(42));
    let kept = check("segment_header", &header.encode());
    assert_eq!(SegmentHeader::decode(&kept), Some(header));
}

#[test]
fn golden_mark() {
    let key = StampKey::new(0x1122_3344_5566_7788, LogId::new(7), PartitionId::new(1));
    let mark = Mark {
        position: FilePosition::new(4160),
        group_len: 1024,
        batches_crc: 0x0102_0304,
        base_offset: Offset::new(1000),
        synced_offset: Offset::new(990),
        incarnation: Incarnation::new(3),
        flags: MarkFlags::OPENING.with(MarkFlags::IDLE),
        time: Timestamp::new(1_753_000_000_000_000),
    };
    let kept = check("mark", &mark.encode(key));
    assert_eq!(Mark::decode(&kept, mark.position, key), Ok(mark));
}

#[test]
fn golden_index() {
    let mut index = Index::new(Offset::new(100));
    let mut position = FilePosition::new(4160);
    for (at, time) in [5, 9, 7, 20].into_iter().enumerate() {
        let header = header(Offset::new(100 + at as u64), 40_000, time);
        index.observe(&header, position);
        position = position.plus(header.total_len() as u64);
    }
    let kept = check("index", &index.encode(77));
    assert_eq!(Index::decode(&kept, 77, Offset::new(100)), Ok(index));
}

#[test]
fn golden_pphm() {
    for (name, mode) in [("pphm_exact", Mode::Exact), ("pphm_fingerprint", Mode::Fingerprint)] {
        let options = Options { partitions_min: 2, seed: 7, tag: [5; 32], ..Options::new(mode) };
        let mut builder = Builder::new(options);
        for (at, key) in ["", "a", "bc", "def", "ghij", "klmno", "a"].into_iter().enumerate() {
            builder.push(0, key.as_bytes(), 1000 + at as u64).unwrap();
        }
        let kept = check(name, &builder.finish().unwrap());
        assert_eq!(Map::open(&kept).unwrap().get(b"a"), Ok(Some(1006)));
    }
}

#[test]
fn golden_checkpoint() {
    let mut sessions = Sessions::default();
    for (id, base) in [(3, 10), (1, 15), (3, 20)] {
        let first_sequence = if base == 20 { 5 } else { 0 };
        let session = Session { id: SessionId::new(id), epoch: 1, first_sequence };
        sessions.record(&session, 5, Offset::new(base), Timestamp::new(7));
    }
    let closed = Closed {
        base: Offset::ZERO,
        generation: 77,
        end: Offset::new(10),
        end_position: FilePosition::new(8192),
        time_max: Timestamp::new(9),
        append_max: Timestamp::new(8),
    };
    let opening = Opening {
        segment: Offset::new(10),
        position: FilePosition::new(4096),
        incarnation: Incarnation::new(4),
    };
    let start = Start {
        segment: Offset::new(10),
        position: FilePosition::new(12_288),
        offset: Offset::new(25),
    };
    let checkpoint = Checkpoint {
        log: LogId::new(7),
        partition: PartitionId::new(1),
        incarnation: Incarnation::new(4),
        opening,
        clean: true,
        append_time: Timestamp::new(12),
        generation: 78,
        start,
        closed: vec![closed],
        sessions,
    };
    let kept = check("checkpoint", &checkpoint.encode());
    let decoded = Checkpoint::decode(&kept).unwrap();
    assert_eq!(decoded.encode(), kept);
}

#[test]
fn golden_manifest() {
    let remote = |base: u64, is_local| RemoteSegment {
        base: Offset::new(base),
        end: Offset::new(base + 50),
        generation: 70 + base,
        bytes: 4096,
        append_max: Timestamp::new(8),
        create_max: Timestamp::new(9),
        hash: [0xab; 32],
        is_local,
    };
    let manifest = Manifest {
        low: Offset::new(42),
        swap: Some(Swap { first: Offset::new(100), end: Offset::new(300), generation: 77 }),
        remote: vec![remote(0, false), remote(50, true)],
        ..Manifest::new(LogId::new(7), PartitionId::new(1))
    };
    let kept = check("manifest", &manifest.encode());
    assert_eq!(Manifest::decode(&kept).unwrap().manifest, manifest);
}

#[test]
fn golden_compaction() {
    let (log, partition) = (LogId::new(7), PartitionId::new(1));
    let progress = Progress {
        clean: Offset::new(1234),
        oldest_tombstone: Some(Timestamp::new(-5)),
        ran: Timestamp::new(1_753_000_000_000_000),
    };
    let kept = check("compaction", &compaction::encode(log, partition, &progress));
    assert_eq!(compaction::decode(&kept, log, partition), Ok(progress));
}

#[test]
fn golden_damaged() {
    let damages = vec![Damage {
        segment: Offset::new(10),
        positions: FilePosition::new(4096)..FilePosition::new(8192),
        offsets: Offset::new(12)..Offset::new(15),
    }];
    let kept = check("damaged", &encode_damages(&damages));
    assert_eq!(decode_damages(&kept), Ok(damages));
}
