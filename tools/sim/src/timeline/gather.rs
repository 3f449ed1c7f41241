//! From events to tables, one for each kind of symbol.
//!
//! The columns of each table are named in the table's comment here, and again in `model.js`, which reads them.

use std::collections::BTreeSet;
use std::path::Path;

use pyralog_runtime::sim::{DiskFault, NetFault, NodeId, TraceEvent, TraceKind};

use super::lives::{Lives, Span};
use super::messages::{Fate, Message, Messages};
use super::table::{Rows, Table, Texts, cell, put, string, strings};
use super::{Answer, Mark, MarkKind};

/// Rows at most of tables whose rows are many and alike. With some 40 bytes a row, and 150 for one with a text of its
/// own, the page stays below 8 MiB, whatever there was in the run.
const MESSAGES_MAX: usize = 50_000;
const BARS_MAX: usize = 40_000;
const TICKS_MAX: usize = 15_000;
const LINKS_MAX: usize = 15_000;
const FAULTS_MAX: usize = 10_000;
const NOTES_MAX: usize = 5_000;
const REQUESTS_MAX: usize = 15_000;
/// Violations that are shown: the first are the ones to look at.
const VIOLATIONS_MAX: usize = 100;
/// Characters of a note or a panic that are shown.
const TEXT_CHARS_MAX: usize = 600;
/// Whatever is so near to a violation or what shows it is the last to be thinned: that is where somebody will look.
const NEAR_NANOS: u64 = 100_000_000;
/// Rows for what a core does to its disk at one time, and for the requests of a client.
const DISK_ROWS_MAX: usize = 6;
const REQUEST_ROWS_MAX: usize = 8;

/// See the module.
pub(super) struct Gather<'a> {
    names: Vec<String>,
    marks: &'a [Mark],
    end: u64,
    events: usize,
    thinned: usize,
    texts: Texts,
    messages: Messages,
    lives: Lives,
    /// Tracks that something happens on, as node and core counted from one; 0 is the process before it has cores.
    tracks: BTreeSet<(i64, i64)>,
    /// Writes and syncs: node, core, row, kind (0 write, 1 write that syncs, 2 sync), length in time, success, path,
    /// position, bytes.
    bars: Table<9>,
    /// Reads and calls on names: node, core, kind (0 read, 1 call), success, path, position or call, bytes.
    ticks: Table<7>,
    /// Connections over which bytes went.
    used: BTreeSet<u64>,
    /// Connections: node, core, kind (0 asked for, 1 closed, 2 reset, 3 never made), number, other node counted from one.
    links: Table<5>,
    /// Points of a node's life: node, kind (0 boot, 1 kill, 2 power loss, 3 end in order, 4 wipe, 5 clock jump, 6 pause,
    /// 7 its end), and cores of a boot, microseconds of a jump, nanoseconds of a pause.
    life: Table<3>,
    /// Node counted from one, core, device (0 disk, 1 network), name, gravity, path or connection counted from one.
    faults: Table<6>,
    /// Node counted from one, core, level (0 note, 1 information, 2 warning, 3 error, 4 panic), text: until the end the
    /// index in `note_texts`, since only those that stay go into the page.
    notes: Table<4>,
    note_texts: Vec<String>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(nodes: &[String], marks: &'a [Mark]) -> Self {
        Self {
            names: nodes.to_vec(),
            marks,
            end: 0,
            events: 0,
            thinned: 0,
            texts: Texts::default(),
            messages: Messages::default(),
            lives: Lives::new(nodes.len()),
            tracks: BTreeSet::new(),
            bars: Table::default(),
            ticks: Table::default(),
            used: BTreeSet::new(),
            links: Table::default(),
            life: Table::default(),
            faults: Table::default(),
            notes: Table::default(),
            note_texts: Vec::new(),
        }
    }

    /// Takes over an event; they come in order.
    pub(super) fn add(&mut self, event: &TraceEvent) {
        self.events += 1;
        self.end = self.end.max(event.at);
        match &event.kind {
            TraceKind::Boot { .. }
            | TraceKind::Crash { .. }
            | TraceKind::Ended
            | TraceKind::Wiped
            | TraceKind::Paused { .. }
            | TraceKind::Resumed
            | TraceKind::ClockJumped { .. } => self.add_life(event),
            TraceKind::Connect { .. }
            | TraceKind::Send { .. }
            | TraceKind::Receive { .. }
            | TraceKind::Closed { .. }
            | TraceKind::Reset { .. }
            | TraceKind::Cut { .. }
            | TraceKind::Healed { .. } => self.add_net(event),
            TraceKind::Write { .. }
            | TraceKind::Sync { .. }
            | TraceKind::Read { .. }
            | TraceKind::File { .. } => self.add_disk(event),
            TraceKind::DiskFault { fault, path } => {
                let (name, detail) = (self.texts.number(&fault.to_string()), self.path(path));
                self.fault(event, [0, name, disk_gravity(*fault), detail]);
            }
            TraceKind::NetFault { fault, connection } => {
                let name = self.texts.number(&fault.to_string());
                let connection = connection.map_or(0, |number| cell(number.saturating_add(1)));
                self.fault(event, [1, name, net_gravity(*fault), connection]);
            }
            TraceKind::Panicked { message, durable } => {
                let text = match durable {
                    Some(task) => {
                        format!("task {task} panicked, which ends the process: {message}")
                    }
                    None => format!("a task panicked: {message}"),
                };
                self.note(event, 4, &text);
            }
            TraceKind::Note(text) => self.note(event, level(text), text),
            // A kind that is newer than this picture: better a flag than nothing.
            other => self.note(event, 0, &format!("{other:?}")),
        }
    }

    /// The index of a node in the picture, which gets a lane if it was not named.
    fn node(&mut self, node: NodeId) -> usize {
        while self.names.len() <= node.0 {
            self.names.push(NodeId(self.names.len()).to_string());
            self.lives.add();
        }
        node.0
    }

    /// The node of an event that has one by its kind.
    fn here(&mut self, event: &TraceEvent) -> usize {
        self.node(event.node.unwrap_or_default())
    }

    fn path(&mut self, path: &Path) -> i64 {
        self.texts.number(&path.to_string_lossy())
    }

    fn add_life(&mut self, event: &TraceEvent) {
        let (at, node) = (event.at, self.here(event));
        let (kind, value) = match &event.kind {
            TraceKind::Boot { shards } => {
                self.lives.booted(at, node);
                (0, cell(*shards))
            }
            TraceKind::Crash { power } => {
                self.lives.ended(at, node, if *power { Span::Dark } else { Span::Killed });
                self.messages.died(at, node);
                (if *power { 2 } else { 1 }, 0)
            }
            TraceKind::Ended => {
                self.lives.ended(at, node, Span::Ended);
                (3, 0)
            }
            TraceKind::Wiped => (4, 0),
            TraceKind::ClockJumped { by_us } => (5, *by_us),
            TraceKind::Paused { until } => {
                self.lives.paused(at, node);
                (6, cell(until.saturating_sub(at)))
            }
            _ => {
                self.lives.resumed(at, node);
                (7, 0)
            }
        };
        self.life.push(at, [cell(node), kind, value]);
    }

    fn add_net(&mut self, event: &TraceEvent) {
        let (at, here) = (event.at, event.node.unwrap_or_default());
        let node = self.node(here);
        match &event.kind {
            TraceKind::Send { connection, to, bytes, arrives } => {
                self.node(*to);
                self.used.insert(*connection);
                self.messages.sent(Message {
                    expected: *arrives,
                    shard: event.shard,
                    ..Message::new(at, (here, *to), *connection, *bytes)
                });
            }
            TraceKind::Receive { connection, from, bytes } => {
                self.messages.received(at, (*connection, from.0, node), *bytes);
            }
            TraceKind::Cut { from, to } => {
                let (from, to) = (self.node(*from), self.node(*to));
                self.lives.cut(at, from, to);
            }
            TraceKind::Healed { from, to } => {
                let (from, to) = (self.node(*from), self.node(*to));
                self.lives.healed(at, from, to);
            }
            TraceKind::Connect { connection, to } => {
                let to = cell(self.node(*to) + 1);
                self.link(event, [0, cell(*connection), to]);
            }
            TraceKind::Closed { connection } => self.link(event, [1, cell(*connection), 0]),
            TraceKind::Reset { connection } => {
                self.messages.reset(at, *connection, node);
                // One that nobody listened for: usual while a server is down, and not worth a cross.
                let kind = if self.used.contains(connection) { 2 } else { 3 };
                self.link(event, [kind, cell(*connection), 0]);
            }
            _ => {}
        }
    }

    fn link(&mut self, event: &TraceEvent, [kind, connection, to]: [i64; 3]) {
        let node = cell(self.here(event));
        self.links.push(event.at, [node, core(event), kind, connection, to]);
    }

    fn add_disk(&mut self, event: &TraceEvent) {
        let node = cell(self.here(event));
        let core = core(event);
        self.tracks.insert((node, core));
        match &event.kind {
            TraceKind::Write { path, position, len, sync, took, ok } => {
                let path = self.path(path);
                let what = [path, cell(*position), cell(*len)];
                self.bar(event, *took, [i64::from(*sync), i64::from(*ok)], what);
            }
            TraceKind::Sync { path, took, ok } => {
                let path = self.path(path);
                self.bar(event, *took, [2, i64::from(*ok)], [path, 0, 0]);
            }
            TraceKind::Read { path, position, len, ok } => {
                let (path, ok) = (self.path(path), i64::from(*ok));
                self.ticks.push(event.at, [node, core, 0, ok, path, cell(*position), cell(*len)]);
            }
            TraceKind::File { call, path, ok } => {
                let (path, call) = (self.path(path), self.texts.number(call));
                self.ticks.push(event.at, [node, core, 1, i64::from(*ok), path, call, 0]);
            }
            _ => {}
        }
    }

    /// A bar, which begins `took` before the event that says that it ended. Rows are given when all are known.
    fn bar(&mut self, event: &TraceEvent, took: u64, [kind, ok]: [i64; 2], what: [i64; 3]) {
        let took = took.min(event.at);
        let [path, position, len] = what;
        let node = cell(self.here(event));
        let cells = [node, core(event), 0, kind, cell(took), ok, path, position, len];
        self.bars.push(event.at - took, cells);
    }

    fn fault(&mut self, event: &TraceEvent, [device, name, gravity, detail]: [i64; 4]) {
        let node = event.node.map_or(0, |node| cell(self.node(node) + 1));
        self.faults.push(event.at, [node, core(event), device, name, gravity, detail]);
    }

    fn note(&mut self, event: &TraceEvent, level: i64, text: &str) {
        let node = event.node.map_or(0, |node| cell(self.node(node) + 1));
        self.notes.push(event.at, [node, core(event), level, cell(self.note_texts.len())]);
        self.note_texts.push(shortened(text));
    }

    /// The script's data, when all events are in.
    pub(super) fn json(mut self) -> String {
        for mark in self.marks {
            let until = match &mark.kind {
                MarkKind::Request { until, .. } => until.unwrap_or(mark.at),
                _ => mark.at,
            };
            self.end = self.end.max(until);
        }
        self.lives.finish(self.end);
        let (requests, request_rows) = self.requests();
        let mut messages = self.message_table();
        self.place_bars();
        let tracks = self.tracks_json();
        self.thin(&mut messages);
        let mut json = String::from("{");
        put(&mut json, format_args!("\"end\":{},\"events\":{},", self.end, self.events));
        put(&mut json, format_args!("\"thinned\":{},", self.thinned));
        for (name, list) in [
            ("nodes", strings(&self.names)),
            ("texts", self.texts.json()),
            ("tracks", tracks),
            ("requestRows", format!("{request_rows:?}")),
            ("messages", messages.json()),
            ("bars", self.bars.json()),
            ("ticks", self.ticks.json()),
            ("links", self.links.json()),
            ("life", self.life.json()),
            ("spans", self.lives.spans.json()),
            ("cuts", self.lives.cut.json()),
            ("faults", self.faults.json()),
            ("notes", self.notes.json()),
            ("requests", requests.json()),
            ("violations", self.violations()),
            ("phases", self.phases()),
        ] {
            put(&mut json, format_args!("\"{name}\":{list},\n"));
        }
        put(&mut json, format_args!("\"violationsInAll\":{}}}", self.violation_marks().count()));
        json
    }

    /// Sender, receiver, core, connection, bytes, length in time, fate, expected length in time or -1.
    fn message_table(&mut self) -> Table<8> {
        let mut table = Table::default();
        for message in std::mem::take(&mut self.messages).finish(self.end) {
            let expected = message.expected.map_or(-1, |at| cell(at.saturating_sub(message.sent)));
            let cells = [
                cell(message.from),
                cell(message.to),
                message.shard.map_or(0, |shard| cell(shard + 1)),
                cell(message.connection),
                cell(message.bytes),
                cell(message.ended.saturating_sub(message.sent)),
                message.fate as i64,
                expected,
            ];
            table.push(message.sent, cells);
        }
        table
    }

    /// Gives each bar a row of its track.
    fn place_bars(&mut self) {
        self.bars.sort();
        let mut rows = Rows::new(DISK_ROWS_MAX);
        for (at, cells) in self.bars.rows_mut() {
            let until = at.saturating_add(cells[4].unsigned_abs());
            cells[2] = cell(rows.place((cells[0], cells[1]), *at, until));
        }
    }

    /// For each node its tracks, as core and number of rows.
    fn tracks_json(&self) -> String {
        let nodes: Vec<_> = (0..self.names.len())
            .map(|node| {
                let of_node = self.tracks.iter().filter(|track| track.0 == cell(node));
                let rows = of_node.map(|track| {
                    let bars = self.bars.rows().iter().map(|(_, cells)| cells);
                    let here = bars.filter(|cells| (cells[0], cells[1]) == *track);
                    (track.1, here.map(|cells| cells[2] + 1).max().unwrap_or(0))
                });
                let rows: Vec<_> = rows.map(|(core, rows)| format!("[{core},{rows}]")).collect();
                format!("[{}]", rows.join(","))
            })
            .collect();
        format!("[{}]", nodes.join(","))
    }

    /// Requests (node, row, length in time, answer, text), and how many rows each node has.
    fn requests(&mut self) -> (Table<5>, Vec<usize>) {
        let mut table = Table::default();
        for (index, mark) in self.marks.iter().enumerate() {
            if let MarkKind::Request { node, until, answer } = &mark.kind {
                let node = self.node(NodeId(*node));
                let until = until.unwrap_or(self.end).max(mark.at);
                let answer = match answer {
                    Answer::Done => 0,
                    Answer::Refused => 1,
                    Answer::Unknown => 2,
                };
                table.push(mark.at, [cell(node), 0, cell(until - mark.at), answer, cell(index)]);
            }
        }
        table.sort();
        let mut rows = Rows::new(REQUEST_ROWS_MAX);
        let mut counts = vec![0; self.names.len()];
        for (at, cells) in table.rows_mut() {
            let until = at.saturating_add(cells[2].unsigned_abs());
            cells[1] = cell(rows.place((cells[0], 0), *at, until));
            let node = usize::try_from(cells[0]).unwrap_or(0);
            counts[node] = rows.count((cells[0], 0));
        }
        self.thinned += table.thin(REQUESTS_MAX, |_, cells| cells[3] > 0);
        for (_, cells) in table.rows_mut() {
            let mark = usize::try_from(cells[4]).ok().and_then(|index| self.marks.get(index));
            cells[4] = self.texts.number(&mark.map_or(String::new(), |mark| shortened(&mark.text)));
        }
        (table, counts)
    }

    fn thin(&mut self, messages: &mut Table<8>) {
        let mut places: Vec<u64> = Vec::new();
        for mark in self.violation_marks() {
            places.push(mark.at);
            if let MarkKind::Violation { evidence } = &mark.kind {
                places.extend(evidence.iter().map(|(at, _)| *at));
            }
        }
        places.sort_unstable();
        let near = |at: u64| {
            let next = places.partition_point(|place| place.saturating_add(NEAR_NANOS) < at);
            places.get(next).is_some_and(|place| *place <= at.saturating_add(NEAR_NANOS))
        };
        let on_time = Fate::Delivered as i64;
        self.thinned += messages.thin(MESSAGES_MAX, |at, cells| cells[6] != on_time || near(at))
            + self.bars.thin(BARS_MAX, |at, cells| cells[5] == 0 || near(at))
            + self.ticks.thin(TICKS_MAX, |at, cells| cells[3] == 0 || near(at))
            + self.links.thin(LINKS_MAX, |at, cells| cells[2] == 2 || near(at))
            + self.faults.thin(FAULTS_MAX, |at, cells| cells[4] > 0 || near(at))
            + self.notes.thin(NOTES_MAX, |at, cells| cells[2] > 1 || near(at));
        for (_, cells) in self.notes.rows_mut() {
            let text = usize::try_from(cells[3]).ok().and_then(|index| self.note_texts.get(index));
            cells[3] = self.texts.number(text.map_or("", String::as_str));
        }
    }

    fn violation_marks(&self) -> impl Iterator<Item = &'a Mark> {
        self.marks.iter().filter(|mark| matches!(mark.kind, MarkKind::Violation { .. }))
    }

    fn violations(&self) -> String {
        let one = |mark: &Mark| {
            let evidence = match &mark.kind {
                MarkKind::Violation { evidence } => evidence.as_slice(),
                _ => &[],
            };
            let evidence: Vec<_> =
                evidence.iter().map(|(at, text)| format!("[{at},{}]", string(text))).collect();
            format!("[{},{},[{}]]", mark.at, string(&mark.text), evidence.join(","))
        };
        let all: Vec<_> = self.violation_marks().take(VIOLATIONS_MAX).map(one).collect();
        format!("[{}]", all.join(","))
    }

    fn phases(&self) -> String {
        let phases = self.marks.iter().filter(|mark| mark.kind == MarkKind::Phase);
        let phases: Vec<_> =
            phases.map(|mark| format!("[{},{}]", mark.at, string(&mark.text))).collect();
        format!("[{}]", phases.join(","))
    }
}

/// The core of an event counted from one; 0 for none.
fn core(event: &TraceEvent) -> i64 {
    event.shard.map_or(0, |shard| cell(shard + 1))
}

/// The level of a note, by the word that it begins with if a log line was made a note.
fn level(text: &str) -> i64 {
    match text.split(' ').next() {
        Some("INFO") => 1,
        Some("WARN") => 2,
        Some("ERROR") => 3,
        _ => 0,
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= TEXT_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(TEXT_CHARS_MAX).chain(['…']).collect()
}

/// 0 for what only takes longer, 1 for what a crash did to what nobody was promised, 2 for what fails or lies.
fn disk_gravity(fault: DiskFault) -> i64 {
    match fault {
        DiskFault::ShortWrite | DiskFault::ShortRead | DiskFault::Slow => 0,
        DiskFault::Torn
        | DiskFault::Reordered
        | DiskFault::Forgotten
        | DiskFault::NameLost
        | DiskFault::LengthLost => 1,
        _ => 2,
    }
}

/// The same for the network, where 1 is silence.
fn net_gravity(fault: NetFault) -> i64 {
    match fault {
        NetFault::ShortRead | NetFault::ShortWrite | NetFault::Delayed => 0,
        NetFault::Held | NetFault::HalfOpen => 1,
        _ => 2,
    }
}
