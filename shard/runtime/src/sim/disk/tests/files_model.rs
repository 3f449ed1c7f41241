//! Random operations on files, compared with a model that knows of each sector only what was written to it, and when.

use super::*;
use quickcheck::{Arbitrary, Gen, quickcheck};
use std::collections::BTreeSet;

/// Sectors of the largest file of the model: a few pages.
const SECTORS: usize = 40;
const FILES: [&str; 2] = ["/f", "/g"];

/// What one step does, to a file, at a sector, over some sectors.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write { sync: bool },
    Begin { sync: bool },
    Finish,
    Append,
    BeginSync,
    FinishSync,
    SyncNow,
    SetLen,
    Preallocate,
    Crash(Crash),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    act: Act,
    file: usize,
    at: usize,
    count: usize,
    zeros: bool,
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        let sync = bool::arbitrary(g);
        let acts = [
            (12, Act::Write { sync }),
            (8, Act::Begin { sync }),
            (8, Act::Finish),
            (4, Act::Append),
            (4, Act::BeginSync),
            (4, Act::FinishSync),
            (3, Act::SyncNow),
            (3, Act::SetLen),
            (3, Act::Preallocate),
            (1, Act::Crash(Crash::Process)),
            (2, Act::Crash(Crash::Power)),
        ];
        let weighted: Vec<Act> =
            acts.iter().flat_map(|(weight, act)| vec![*act; *weight]).collect();
        let at = usize::arbitrary(g) % SECTORS;
        let count = 1 + usize::arbitrary(g) % (SECTORS - at).min(20);
        let act = *g.choose(&weighted).unwrap();
        Self { act, file: usize::arbitrary(g) % 2, at, count, zeros: u8::arbitrary(g) < 40 }
    }
}

/// A value that a sector or a length has had.
#[derive(Clone, Copy, Debug)]
struct Moment {
    seq: u64,
    value: u64,
    /// Whether it was there for certain once it was written; after an error it may be.
    certain: bool,
    /// A sync that covered it has failed.
    forsaken: bool,
    /// That does not matter: it is a page that was cut off.
    journalled: bool,
}

/// All values that something has had since the one that is durable, which is the first.
#[derive(Clone, Debug)]
struct Past(Vec<Moment>);

impl Past {
    fn new(value: u64) -> Self {
        Self(vec![Moment { seq: 0, value, certain: true, forsaken: false, journalled: false }])
    }

    fn push(&mut self, seq: u64, value: u64, certain: bool, forsaken: bool) {
        self.0.push(Moment { seq, value, certain, forsaken, journalled: false });
    }

    /// What of it a reader may see.
    fn visible(&self) -> BTreeSet<u64> {
        let newest = self.0.iter().rposition(|value| value.certain).unwrap();
        self.0[newest..].iter().map(|value| value.value).collect()
    }

    fn synced(&mut self, seq: u64) {
        let covered = |value: &Moment| value.seq <= seq && value.certain && !value.forsaken;
        let newest = self.0.iter().rposition(covered).unwrap_or(0);
        self.0.drain(..newest);
    }

    fn sync_failed(&mut self, seq: u64) {
        let covered = self.0[1..].iter_mut().filter(|value| value.seq <= seq);
        covered.for_each(|value| value.forsaken = !value.journalled);
    }

    /// Whether it may be `found` after a loss of power.
    fn settle(&mut self, found: u64, in_flight: &[u64]) -> bool {
        let allowed = self.0.iter().any(|v| v.value == found) || in_flight.contains(&found);
        *self = Self::new(found);
        allowed
    }
}

struct ModelFile {
    handle: Handle,
    sectors: Vec<Past>,
    /// In sectors.
    len: Past,
    flying: Vec<(WriteId, Step, u64)>,
    syncing: Vec<(SyncId, u64)>,
}

struct Model {
    disk: Disk,
    files: Vec<ModelFile>,
    seq: u64,
}

/// What a step writes to a sector: never the same twice, so that it can be told where it came from.
fn text(tag: u64, step: Step) -> Vec<u8> {
    let tag = if step.zeros { 0 } else { tag };
    let sector = tag.to_le_bytes().repeat(SECTOR / 8);
    sector.repeat(step.count)
}

fn tag_of(sector: &[u8]) -> Option<u64> {
    let tag = u64::from_le_bytes(sector[..8].try_into().unwrap());
    // The same eight bytes throughout.
    (sector[8..] == sector[..SECTOR - 8]).then_some(tag)
}

impl Model {
    fn new(seed: u64, faults: DiskFaults) -> Self {
        let mut disk = Disk::new(seed);
        let files = FILES.map(|path| ModelFile {
            handle: disk.make(path),
            sectors: vec![Past::new(0); SECTORS],
            len: Past::new(0),
            flying: Vec::new(),
            syncing: Vec::new(),
        });
        disk.set_faults(faults);
        Self { disk, files: files.into(), seq: 0 }
    }

    fn file_len(&self, file: usize) -> usize {
        usize::try_from(self.disk.len(self.files[file].handle).unwrap()).unwrap() / SECTOR
    }

    /// Notes what a write that ended has done. One that syncs and fails is seen whole or in part, and forsaken.
    fn landed(&mut self, step: Step, tag: u64, sync: bool, result: io::Result<usize>) {
        self.seq += 1;
        let (seq, tag) = (self.seq, if step.zeros { 0 } else { tag });
        let grown = self.file_len(step.file) as u64;
        let file = &mut self.files[step.file];
        let (taken, ok) = match result {
            Ok(taken) => (taken / SECTOR, true),
            Err(error) => {
                assert_eq!(Errno::from_io_error(&error), Some(Errno::IO));
                (step.count, false)
            }
        };
        for past in &mut file.sectors[step.at..step.at + taken] {
            past.push(seq, tag, ok, !ok && sync);
            if ok && sync {
                past.synced(seq);
            }
        }
        file.len.push(seq, grown, true, false);
        if ok && sync {
            // Shorter than what is durable it cannot be.
            let end = (step.at + taken) as u64;
            let durable = file.len.0[0].value.max(end);
            let since = file.len.0[1..].iter().filter(|len| len.value >= end).copied();
            file.len.0 = since.collect();
            file.len.0.insert(0, Past::new(durable).0[0]);
        }
    }

    fn step(&mut self, step: Step) -> bool {
        let (at, len) = ((step.at * SECTOR) as u64, (step.count * SECTOR) as u64);
        self.seq += 1;
        let tag = self.seq;
        let handle = self.files[step.file].handle;
        match step.act {
            Act::Write { sync } => {
                let result = self.disk.write(handle, at, &text(tag, step), sync);
                self.landed(step, tag, sync, result);
            }
            Act::Begin { sync } => {
                let id = self.disk.begin_write(handle, at, &text(tag, step), sync);
                self.files[step.file].flying.push((id, step, tag));
            }
            Act::Finish => {
                let flying = &mut self.files[step.file].flying;
                if !flying.is_empty() {
                    let (id, begun, tag) = flying.remove(step.at % flying.len());
                    let Act::Begin { sync } = begun.act else { unreachable!("it was begun") };
                    let result = self.disk.finish_write(id);
                    self.landed(begun, tag, sync, result);
                }
            }
            Act::Append => {
                let end = self.file_len(step.file);
                let count = step.count.min(SECTORS - end);
                let step = Step { at: end, count, ..step };
                let result = self.disk.append_bytes(handle, &text(tag, step));
                self.landed(step, tag, false, result);
            }
            Act::BeginSync => {
                let id = self.disk.begin_sync(handle);
                self.files[step.file].syncing.push((id, tag));
            }
            Act::FinishSync => {
                let syncing = &mut self.files[step.file].syncing;
                if !syncing.is_empty() {
                    let (id, seq) = syncing.remove(step.at % syncing.len());
                    let result = self.disk.finish_sync(id);
                    self.synced(step.file, seq, &result);
                }
            }
            Act::SyncNow => {
                let result = self.disk.sync_now(handle);
                self.synced(step.file, tag, &result);
            }
            Act::SetLen => {
                let before = self.file_len(step.file);
                self.disk.set_len(handle, at).unwrap();
                let file = &mut self.files[step.file];
                file.len.push(tag, step.at as u64, true, false);
                let cut = if step.at < before { &mut file.sectors[step.at..] } else { &mut [] };
                let first_page = step.at.next_multiple_of(BLOCK / SECTOR) - step.at;
                for (at, past) in cut.iter_mut().enumerate() {
                    past.push(tag, 0, true, false);
                    past.0.last_mut().unwrap().journalled = at >= first_page;
                }
            }
            Act::Preallocate => {
                self.disk.preallocate(handle, at + len).unwrap();
                let len = self.file_len(step.file) as u64;
                self.files[step.file].len.push(tag, len, true, false);
            }
            Act::Crash(crash) => return self.crash(crash),
        }
        self.is_seen(step.file)
    }

    fn synced(&mut self, file: usize, seq: u64, result: &io::Result<()>) {
        let file = &mut self.files[file];
        for past in &mut file.sectors {
            match result {
                Ok(()) => past.synced(seq),
                Err(_) => past.sync_failed(seq),
            }
        }
        if result.is_ok() {
            file.len.synced(seq);
        }
    }

    fn found(&mut self, file: usize) -> Option<Vec<u64>> {
        let handle = self.files[file].handle;
        let (len, half) = (self.file_len(file), SECTORS / 2);
        // In two pieces, one of them not at a page.
        let mut bytes = self.disk.read(handle, 0, half * SECTOR).unwrap();
        bytes.extend(self.disk.read(handle, (half * SECTOR) as u64, SECTORS * SECTOR).unwrap());
        assert_eq!(bytes.len(), len * SECTOR);
        bytes.chunks(SECTOR).map(tag_of).collect()
    }

    /// Whether a reader sees the newest values.
    fn is_seen(&mut self, file: usize) -> bool {
        let Some(found) = self.found(file) else { return false };
        let file = &self.files[file];
        let len = file.len.0.last().unwrap().value == found.len() as u64;
        len && found.iter().zip(&file.sectors).all(|(tag, past)| past.visible().contains(tag))
    }

    fn crash(&mut self, crash: Crash) -> bool {
        self.disk.crash(crash);
        self.seq += 1;
        for (file, path) in self.files.iter_mut().zip(FILES) {
            file.handle = self.disk.reopen(path);
        }
        let mut allowed = true;
        for file in 0..FILES.len() {
            let found = self.found(file);
            let file = &mut self.files[file];
            file.syncing.clear();
            let flying = std::mem::take(&mut file.flying);
            let Some(found) = found else { return false };
            allowed &= file.settle(&found, &flying, (crash, self.seq));
        }
        allowed
    }
}

impl ModelFile {
    /// Whether a crash may leave `found`. From then on that is what the file holds.
    fn settle(
        &mut self,
        found: &[u64],
        flying: &[(WriteId, Step, u64)],
        (crash, seq): (Crash, u64),
    ) -> bool {
        let settle = |past: &mut Past, found: u64, in_flight: Vec<u64>| {
            if crash == Crash::Power {
                return past.settle(found, &in_flight);
            }
            let allowed = past.visible().contains(&found) || in_flight.contains(&found);
            // Any of those in flight may have been there for a moment.
            for value in in_flight {
                past.push(seq, value, false, false);
            }
            // What a failed sync has forsaken stays so: the system has not died.
            let forsaken = past.0.iter().any(|value| value.forsaken);
            past.push(seq, found, true, forsaken);
            allowed
        };
        let mut allowed = true;
        for (at, past) in self.sectors.iter_mut().enumerate() {
            let over = |step: &Step| (step.at..step.at + step.count).contains(&at);
            let over = flying.iter().filter(|(_, step, _)| over(step));
            let mut tags: Vec<u64> =
                over.map(|(_, step, tag)| if step.zeros { 0 } else { *tag }).collect();
            if at >= found.len() {
                tags.push(0);
            }
            allowed &= settle(past, found.get(at).copied().unwrap_or(0), tags);
        }
        let before = self.len.0.last().unwrap().value;
        let ends = flying.iter().map(|(_, step, _)| (step.at + step.count) as u64);
        let ends = ends.filter(|end| *end > before).collect();
        settle(&mut self.len, found.len() as u64, ends) && allowed
    }
}

fn holds(seed: u64, steps: Vec<Step>, faults: DiskFaults) -> bool {
    let mut model = Model::new(seed, faults);
    steps.into_iter().all(|step| model.step(step)) && model.crash(Crash::Power)
}

quickcheck! {
    fn a_faultless_disk_keeps_its_promises(seed: u64, steps: Vec<Step>) -> bool {
        holds(seed, steps, DiskFaults::default())
    }

    fn a_disk_that_fails_and_says_so_keeps_its_promises(seed: u64, steps: Vec<Step>) -> bool {
        let faults = DiskFaults {
            write_error: 100_000,
            sync_error: 200_000,
            ..DiskFaults::default()
        };
        holds(seed, steps, faults)
    }

    fn a_disk_that_lies_still_gives_only_what_was_written_to_the_file(
        seed: u64,
        steps: Vec<Step>
    ) -> bool {
        let mut model = Model::new(seed, DiskFaults {
            misdirected: 200_000,
            lost_write: 200_000,
            write_error: 50_000,
            ..DiskFaults::default()
        });
        let mut written = vec![BTreeSet::from([0]); FILES.len()];
        steps.into_iter().all(|step| {
            written[step.file].insert(model.seq + 1);
            model.step(step);
            written.iter().enumerate().all(|(file, written)| {
                model.found(file).is_some_and(|found| found.iter().all(|tag| written.contains(tag)))
            })
        })
    }
}
