//! A client written from `docs/PROTOCOL.md` alone, without rkyv and without our structs: if it
//! agrees with us byte for byte, the page is complete.

use std::mem::size_of;

use pyralog_wire::config::{ArchivedLogChanges, ArchivedLogConfig};
use pyralog_wire::message::counters::{
    ArchivedCounterConfig, ArchivedCounterInfo, ArchivedCounterPage,
};
use pyralog_wire::message::data::{
    ArchivedAppend, ArchivedAppended, ArchivedFetch, ArchivedFetched, ArchivedFindOffset,
};
use pyralog_wire::message::handshake::{ArchivedHello, ArchivedShardAddress, ArchivedWelcome};
use pyralog_wire::message::ids::ArchivedIdsDealt;
use pyralog_wire::message::keys::{ArchivedFetchKey, ArchivedKeyFetched};
use pyralog_wire::message::logs::{
    ArchivedCompactionInfo, ArchivedLogDescription, ArchivedLogPage, ArchivedLogRoute,
    ArchivedPartitionInfo, ArchivedRoutes, ArchivedStoreInfo, ArchivedTreeInfo,
};
use pyralog_wire::message::node::{ArchivedNodeStats, ArchivedShardStats};
use pyralog_wire::message::proofs::{
    ArchivedCheckpointGot, ArchivedGetCheckpoint, ArchivedProveConsistency, ArchivedProveRecord,
    ArchivedReadTree,
};
use pyralog_wire::message::scrub::{ArchivedDamagedRange, ArchivedScrub, ArchivedScrubbed};
use pyralog_wire::message::{CreateLog, DescribeLog, Ping};
use pyralog_wire::{Correlation, Kind, Request, encode_request, encode_response};

use crate::samples;

/// Writes a body as section 3 says: what is pointed to first, then the struct.
#[derive(Default)]
struct Body {
    early: Vec<u8>,
    fields: Vec<u8>,
    /// Where in `fields` a pointer belongs, and where in `early` it points.
    pointers: Vec<(usize, usize)>,
}

impl Body {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.fields.extend_from_slice(bytes);
        self
    }

    fn text(mut self, text: &str) -> Self {
        if text.len() <= 8 {
            let mut inline = [0xff; 8];
            inline[..text.len()].copy_from_slice(text.as_bytes());
            return self.raw(&inline);
        }
        let len = u32::try_from(text.len()).unwrap();
        let spread = (len & 0x3f) | 0x80 | ((len & !0x3f) << 2);
        self.fields.extend_from_slice(&spread.to_le_bytes());
        self.pointers.push((self.fields.len(), self.early.len()));
        self.early.extend_from_slice(text.as_bytes());
        self.raw(&[0; 4])
    }

    fn frame(mut self, kind: u16, correlation: u64) -> Vec<u8> {
        for (at, target) in self.pointers {
            // The pointer is the second half of its field and relative to the first.
            let here = self.early.len() + at - 4;
            let pointer = i32::try_from(target).unwrap() - i32::try_from(here).unwrap();
            self.fields[at..at + 4].copy_from_slice(&pointer.to_le_bytes());
        }
        let body = [self.early, self.fields].concat();
        let mut frame = b"PYRW\x01\0".to_vec();
        frame.extend_from_slice(&kind.to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        frame.extend_from_slice(&[0; 8]);
        frame.extend_from_slice(&correlation.to_le_bytes());
        let crc = crc32c::crc32c(&[&frame[..20], &frame[24..], &body].concat());
        frame[20..24].copy_from_slice(&crc.to_le_bytes());
        [frame, body].concat()
    }
}

fn ours(request: impl Into<Request>) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_request(&mut frame, Correlation::new(9), &request.into(), 0).unwrap();
    frame
}

#[test]
fn hello_and_create_log_by_hand_are_ours_byte_for_byte() {
    let hello = Body::default()
        .raw(&[1, 0, 1, 0, 0, 0, 0, 0])
        .text("pyralog-rust")
        .text("0.1.0")
        .frame(1, 9);
    assert_eq!(hello, ours(samples::hello(1, 1)));
    let long = "a-long-name.".repeat(20);
    let create = Body::default()
        .text(&long)
        .raw(&4_u32.to_le_bytes())
        .raw(&[2, 0])
        .raw(&(1_u64 << 30).to_le_bytes())
        .raw(&(256_u64 << 20).to_le_bytes())
        .raw(&0_u64.to_le_bytes())
        .raw(&[0])
        .raw(&(7 * 24 * 3600 * 1000_u64).to_le_bytes())
        .raw(&[0; 4 * 8])
        .raw(&[0])
        .raw(&0_u64.to_le_bytes())
        .raw(&(24 * 3600 * 1000_u64).to_le_bytes())
        .raw(&[0, 0])
        .frame(33, 9);
    let config = pyralog_wire::LogConfig { partitions: 4, ..Default::default() };
    assert_eq!(create, ours(CreateLog { name: long, config }));
    let ping = Body::default().raw(&7_u64.to_le_bytes()).frame(2, 9);
    assert_eq!(ping, ours(Ping { token: 7 }));
}

/// Reads fields as section 3 says.
struct Fields<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Fields<'b> {
    /// The message of a frame: the last bytes of its body.
    fn of_message(frame: &'b [u8], struct_bytes: usize) -> Self {
        let body = &frame[32..];
        Self { body, at: body.len() - struct_bytes }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.at += N;
        self.body[self.at - N..self.at].try_into().unwrap()
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn pointed(&mut self, field: usize) -> usize {
        let pointer = i32::from_le_bytes(self.take());
        field.checked_add_signed(isize::try_from(pointer).unwrap()).unwrap()
    }

    fn text(&mut self) -> String {
        let field = self.at;
        let inline: [u8; 8] = self.take();
        let bytes = if inline[0] & 0xc0 == 0x80 {
            self.at = field;
            let spread = self.u32();
            let len = ((spread & 0x3f) | ((spread & !0xff) >> 2)) as usize;
            let start = self.pointed(field);
            &self.body[start..start + len]
        } else {
            let len = inline.iter().position(|&byte| byte == 0xff).unwrap_or(8);
            &self.body[field..field + len]
        };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn list<T>(&mut self, element: impl Fn(&mut Self) -> T) -> Vec<T> {
        let field = self.at;
        let start = self.pointed(field);
        let len = self.u32();
        let mut elements = Self { body: self.body, at: start };
        (0..len).map(|_| element(&mut elements)).collect()
    }
}

#[test]
fn routes_are_read_by_hand() {
    let (_, response, _) = samples::responses().swap_remove(7);
    let mut frame = Vec::new();
    encode_response(&mut frame, Correlation::new(9), &response, 0).unwrap();
    let mut fields = Fields::of_message(&frame, 32);
    assert_eq!(fields.u64(), 42);
    let shards = fields.list(|shard| (shard.u16(), shard.u16(), shard.text()));
    assert_eq!(shards, [(0, 7401, String::new()), (1, 7402, String::new())]);
    let logs = fields.list(|log| {
        let (id, name) = (log.u64(), log.text());
        let (partitions, [durability, storage]) = (log.u32(), log.take());
        let sizes = [log.u64(), log.u64(), log.u64()];
        assert_eq!(log.take(), [0], "key_index");
        assert_eq!(log.u64(), 7 * 24 * 3600 * 1000, "segment_age_ms");
        assert_eq!([log.u64(), log.u64(), log.u64(), log.u64()], [0; 4], "retention");
        assert_eq!(log.take(), [0], "compaction");
        assert_eq!([log.u64(), log.u64()], [0, 24 * 3600 * 1000], "its lag and tombstones");
        assert_eq!(log.take(), [0, 0], "tiered, integrity");
        let shards = log.list(Fields::u16);
        (id, name, partitions, [durability, storage], sizes, shards)
    });
    let sizes = [1 << 30, 256 << 20, 0];
    let expected = (7, "access-log".to_owned(), 4, [2, 0], sizes, vec![0, 1, 0, 1]);
    assert_eq!(logs, [expected]);
    assert_eq!(fields.list(Fields::text), ["a"]);
}

#[test]
fn texts_of_every_length_come_back_by_hand() {
    for len in [0, 1, 7, 8, 9, 63, 64, 65, 249, 1000, 20_000] {
        let name = "n".repeat(len);
        let frame = ours(DescribeLog { name: name.clone() });
        assert_eq!(Fields::of_message(&frame, 8).text(), name);
        assert_eq!(Body::default().text(&name).frame(Kind::DescribeLog.number(), 9), frame);
    }
}

#[test]
fn structs_have_the_documented_sizes() {
    let page = crate::golden::page();
    for (name, bytes) in [
        ("**Hello**", size_of::<ArchivedHello>()),
        ("**Welcome**", size_of::<ArchivedWelcome>()),
        ("**ShardAddress**", size_of::<ArchivedShardAddress>()),
        ("### Append", size_of::<ArchivedAppend>()),
        ("**Appended**", size_of::<ArchivedAppended>()),
        ("### Fetch", size_of::<ArchivedFetch>()),
        ("**Fetched**", size_of::<ArchivedFetched>()),
        ("### FindOffset", size_of::<ArchivedFindOffset>()),
        ("### FetchKey", size_of::<ArchivedFetchKey>()),
        ("**KeyFetched**", size_of::<ArchivedKeyFetched>()),
        ("**GetCheckpoint**", size_of::<ArchivedGetCheckpoint>()),
        ("**CheckpointGot**", size_of::<ArchivedCheckpointGot>()),
        ("**ProveRecord**", size_of::<ArchivedProveRecord>()),
        ("**ProveConsistency**", size_of::<ArchivedProveConsistency>()),
        ("**ReadTree**", size_of::<ArchivedReadTree>()),
        ("**Scrub**", size_of::<ArchivedScrub>()),
        ("**Scrubbed**", size_of::<ArchivedScrubbed>()),
        ("**DamagedRange**", size_of::<ArchivedDamagedRange>()),
        ("**IdsDealt**", size_of::<ArchivedIdsDealt>()),
        ("**CounterConfig**", size_of::<ArchivedCounterConfig>()),
        ("**CounterInfo**", size_of::<ArchivedCounterInfo>()),
        ("**CounterPage**", size_of::<ArchivedCounterPage>()),
        ("**LogConfig**", size_of::<ArchivedLogConfig>()),
        ("**LogChanges**", size_of::<ArchivedLogChanges>()),
        ("**LogDescription**", size_of::<ArchivedLogDescription>()),
        ("**PartitionInfo**", size_of::<ArchivedPartitionInfo>()),
        ("**CompactionInfo**", size_of::<ArchivedCompactionInfo>()),
        ("**StoreInfo**", size_of::<ArchivedStoreInfo>()),
        ("**TreeInfo**", size_of::<ArchivedTreeInfo>()),
        ("**LogPage**", size_of::<ArchivedLogPage>()),
        ("**Routes**", size_of::<ArchivedRoutes>()),
        ("**LogRoute**", size_of::<ArchivedLogRoute>()),
        ("### NodeStats", size_of::<ArchivedNodeStats>()),
        ("**ShardStats**", size_of::<ArchivedShardStats>()),
    ] {
        let text = format!("{name} ({bytes} bytes");
        assert!(page.contains(&text), "docs/PROTOCOL.md lacks {text}");
    }
}
