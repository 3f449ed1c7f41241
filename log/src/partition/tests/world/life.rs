//! The end of one life of the world's machine and the beginning of the next.

use super::*;
use crate::mark::{Mark, MarkFlags};
use crate::recovery::adoption::{Adoption, Piece};
use crate::recovery::scan::{End, Event, Scan, Subject};

impl World {
    /// A kill or a power cut, then recovery. Everything acknowledged at the level that survives it is
    /// there, as is everything readers of such a log saw; nothing is there that was not appended. What
    /// is there now is promised, whatever was acknowledged.
    pub(in super::super) fn crash(&mut self, seed: u8, argument: u16) {
        let mut random = Random(u64::from(seed) << 16 | u64::from(argument) | 1 << 40);
        let power = seed % 2 == 1;
        let head = self.machine.head().segment;
        let file = self.files.get_mut(&head).expect("the head is there");
        if let Some(write) = self.flight.take() {
            let at = usize::try_from(write.position.get()).unwrap();
            file.tear(at, &write.buffer, &mut random);
        }
        if power {
            self.files.values_mut().for_each(|file| file.lose_power(&mut random));
        }
        let kept = |level: Durability| {
            let acknowledged = self.acknowledged[usize::from(level.code())];
            let is_seen = self.settings.durability >= level;
            if is_seen { acknowledged.max(self.seen) } else { acknowledged }
        };
        let mut survived = kept(if power { Durability::Synced } else { Durability::Written });
        while random.next().is_multiple_of(4) {
            // The power fails while a recovery writes the end of the log again.
            let pieces = self.pieces();
            let file = self.files.get_mut(&head).expect("the head is there");
            for Piece { position, bytes } in pieces {
                file.tear(usize::try_from(position.get()).unwrap(), &bytes, &mut random);
            }
            self.files.values_mut().for_each(|file| file.lose_power(&mut random));
            survived = kept(Durability::Synced);
        }
        self.sync = None;
        let incarnation = self.machine.incarnation().next();
        self.recover(incarnation);
        let end = self.machine.watermarks().end;
        assert!(end >= survived, "{survived} was promised, the log ends at {end}");
        self.log.retain(|batch| batch.end <= end);
        self.pending.clear();
        self.acknowledged = [end; 3];
        self.seen = self.seen.min(end);
    }

    /// What a recovery that begins now would write again.
    fn pieces(&self) -> Vec<Piece> {
        let (base, file) = self.files.last_key_value().expect("there is a segment");
        let content = file.content();
        let subject = subject_of(*base, (file.generation, &content), None);
        let end = scan(subject, &content, &mut Vec::new());
        adopted(subject, &end, &content)
    }

    fn recover(&mut self, incarnation: Incarnation) {
        let (mut sessions, mut closed, mut batches) = (Sessions::default(), Vec::new(), Vec::new());
        let bases: Vec<Offset> = self.files.keys().copied().collect();
        let mut head = None;
        for (at, base) in bases.iter().enumerate() {
            let next = bases.get(at + 1).copied();
            let file = self.files.get_mut(base).expect("it is listed");
            let content = file.content();
            let subject = subject_of(*base, (file.generation, &content), next);
            let (mut index, mut events) = (Index::new(*base), Vec::new());
            let end = scan(subject, &content, &mut events);
            if next.is_none() {
                let vouched = usize::try_from(end.vouched.position.get()).unwrap();
                assert!(file.is_stable(vouched), "vouched for up to {vouched} and not stable");
                for Piece { position, bytes } in adopted(subject, &end, &content) {
                    file.write_synced(usize::try_from(position.get()).unwrap(), &bytes);
                }
            }
            let generation = file.generation;
            for event in events {
                match event {
                    Event::Batch { header, position } => {
                        index.observe(&header, position);
                        sessions.restore(&header);
                        let start = usize::try_from(position.get()).unwrap();
                        let bytes = &content[start + 64..start + header.total_len()];
                        batches.push((header.owner.base_offset, bytes.to_vec()));
                    }
                    Event::Damaged(damage) => panic!("nothing rotted: {damage}"),
                    Event::Cut(_) => {}
                }
            }
            assert!(!end.lost);
            if next.is_some() {
                closed.push(Closed {
                    base: *base,
                    generation,
                    end: end.offset,
                    end_position: end.position,
                    time_max: index.time_max(),
                    append_max: self.machine.append_time(),
                });
            } else {
                head = Some((end, index));
            }
        }
        for (number, (base, body)) in batches.iter().enumerate() {
            let expected = &self.log[number];
            assert_eq!((expected.base, &expected.body), (*base, body), "what was appended");
        }
        let (end, index) = head.expect("there is a segment");
        self.resume(end, index, (sessions, closed), incarnation);
    }

    /// Writes the mark that opens the incarnation, as the shell does, and starts the machine.
    fn resume(
        &mut self,
        end: End,
        index: Index,
        (sessions, closed): (Sessions, Vec<Closed>),
        incarnation: Incarnation,
    ) {
        let segment = index.base();
        let file = self.files.get_mut(&segment).unwrap();
        let key = segment_header(file.generation, segment).key();
        let incarnation = incarnation.max(end.incarnation.next());
        let mark = Mark {
            position: end.position,
            group_len: 0,
            batches_crc: 0,
            base_offset: end.offset,
            synced_offset: end.offset,
            incarnation,
            flags: MarkFlags::OPENING,
            time: Timestamp::ZERO,
        };
        let at = usize::try_from(end.position.get()).unwrap();
        let mut block = vec![0; 4096];
        let (start, lead) = (at - at % 4096, at % 4096);
        let content = file.content();
        block[..lead].copy_from_slice(&content.get(start..at).unwrap_or_default()[..lead]);
        block[lead..lead + 64].copy_from_slice(&mark.encode(key));
        file.write_synced(start, &block);
        self.opening = Opening { segment, position: end.position, incarnation };
        let position = end.position.plus(64);
        let carry = block[..position.in_block()].to_vec();
        let recovered = Recovered {
            head: Head { segment, position, index, opens: false, times: None },
            generation: file.generation,
            key,
            end: end.offset,
            carry,
            closed,
            damages: Vec::new(),
            sessions,
            incarnation,
            append_time: self.machine.append_time(),
            clean: false,
            low: Offset::ZERO,
        };
        self.machine = Machine::new(self.settings, recovered);
    }
}

/// What a recovery knows of a segment without a checkpoint.
fn subject_of(base: Offset, (generation, content): (u64, &[u8]), next: Option<Offset>) -> Subject {
    Subject {
        segment: base,
        key: segment_header(generation, base).key(),
        file_len: content.len() as u64,
        last: next.is_none(),
        promised: next.unwrap_or(base),
        start: FilePosition::STREAM_START,
        start_offset: base,
        incarnation: Incarnation::default(),
        opening: None,
    }
}

fn part(content: &[u8], position: FilePosition, len: usize) -> &[u8] {
    let start = usize::try_from(position.get()).unwrap().min(content.len());
    &content[start..(start + len).min(content.len())]
}

fn scan(subject: Subject, content: &[u8], events: &mut Vec<Event>) -> End {
    let mut scan = Scan::new(subject);
    loop {
        match scan.need() {
            Ok(need) => scan.supply(part(content, need.position, need.len), events),
            Err(end) => return end,
        }
    }
}

/// What the adoption writes again.
fn adopted(subject: Subject, end: &End, content: &[u8]) -> Vec<Piece> {
    let Some(mut adoption) = Adoption::new(subject, end) else { return Vec::new() };
    let mut pieces = Vec::new();
    while let Some(need) = adoption.need() {
        adoption.supply(part(content, need.position, need.len)).expect("the same bytes");
        pieces.extend(adoption.piece());
    }
    let len = usize::try_from(end.position.block_end().get()).unwrap();
    let mut again = content.to_vec();
    again.resize(again.len().max(len), 0);
    for Piece { position, bytes } in &pieces {
        let at = usize::try_from(position.get()).unwrap();
        again[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let end = usize::try_from(end.position.get()).unwrap();
    assert!(again[..end] == content[..end], "the log is what it was");
    pieces
}
