//! The trace as lines: time, node, core, what.

use std::fmt::{self, Display, Formatter};

use pyralog_runtime::sim::{NodeId, TraceEvent, TraceKind};

/// Events as lines, aligned. `nodes` are their names in order.
pub(super) fn lines<'a>(
    nodes: &'a [String],
    trace: &'a [TraceEvent],
) -> impl Iterator<Item = String> + use<'a> {
    let longest = nodes.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    trace.iter().map(move |event| {
        let node = event.node.map_or_else(|| "world".to_owned(), |node| name(nodes, node));
        let core = event.shard.map_or_else(String::new, |shard| format!("core {shard}"));
        let what = Words { nodes, kind: &event.kind };
        format!("{:>14} {node:<longest$} {core:<7} {what}", super::millis(event.at))
    })
}

fn name(nodes: &[String], node: NodeId) -> String {
    nodes.get(node.0).cloned().unwrap_or_else(|| node.to_string())
}

/// A sentence about an event.
struct Words<'a> {
    nodes: &'a [String],
    kind: &'a TraceKind,
}

impl Words<'_> {
    fn name(&self, node: NodeId) -> String {
        name(self.nodes, node)
    }

    fn node(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind {
            TraceKind::Boot { shards } => write!(f, "boots on {}", super::counted(*shards, "core")),
            TraceKind::Crash { power: true } => f.write_str("LOSES POWER"),
            TraceKind::Crash { power: false } => f.write_str("IS KILLED"),
            TraceKind::Ended => f.write_str("has ended in order"),
            TraceKind::Wiped => f.write_str("has an EMPTY DISK"),
            TraceKind::Paused { until } => write!(f, "PAUSED until {}", super::millis(*until)),
            TraceKind::Resumed => f.write_str("goes on"),
            TraceKind::ClockJumped { by_us } => write!(f, "clock JUMPS by {by_us} us"),
            other => write!(f, "{other:?}"),
        }
    }

    fn network(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind {
            TraceKind::Connect { connection, to } => {
                write!(f, "c{connection} connect to {}", self.name(*to))
            }
            TraceKind::Send { connection, to, bytes, arrives } => {
                write!(f, "c{connection} send {bytes} bytes to {}, ", self.name(*to))?;
                match arrives {
                    Some(at) => write!(f, "there at {}", super::millis(*at)),
                    None => f.write_str("HELD"),
                }
            }
            TraceKind::Receive { connection, from, bytes } => {
                write!(f, "c{connection} receive {bytes} bytes from {}", self.name(*from))
            }
            TraceKind::Closed { connection } => write!(f, "c{connection} closed"),
            TraceKind::Reset { connection } => write!(f, "c{connection} RESET"),
            TraceKind::Cut { from, to } => {
                write!(f, "CUT from {} to {}", self.name(*from), self.name(*to))
            }
            TraceKind::Healed { from, to } => {
                write!(f, "healed from {} to {}", self.name(*from), self.name(*to))
            }
            other => Words { nodes: self.nodes, kind: other }.node(f),
        }
    }

    fn disk(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind {
            TraceKind::Write { path, position, len, sync, took, ok } => {
                let synced = if *sync { " synced" } else { "" };
                write!(f, "write{synced} {} {len} bytes at {position}", path.display())?;
                write!(f, "{}{}", Took(*took), Failed(*ok))
            }
            TraceKind::Sync { path, took, ok } => {
                write!(f, "sync {}{}{}", path.display(), Took(*took), Failed(*ok))
            }
            TraceKind::Read { path, position, len, ok } => {
                write!(f, "read {} {len} bytes at {position}{}", path.display(), Failed(*ok))
            }
            TraceKind::File { call, path, ok } => {
                write!(f, "{call} {}{}", path.display(), if *ok { "" } else { " failed" })
            }
            other => Words { nodes: self.nodes, kind: other }.network(f),
        }
    }
}

impl Display for Words<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.kind {
            TraceKind::DiskFault { fault, path } => {
                write!(f, "FAULT of the disk: {fault} {}", path.display())
            }
            TraceKind::NetFault { fault, connection } => {
                write!(f, "FAULT of the network: {fault}")?;
                connection.map_or(Ok(()), |connection| write!(f, " c{connection}"))
            }
            TraceKind::Panicked { message, durable } => {
                write!(f, "PANIC")?;
                if let Some(task) = durable {
                    write!(f, " of {task}, which ends the process")?;
                }
                write!(f, ": {}", OneLine(message))
            }
            TraceKind::Note(text) => write!(f, "note: {}", OneLine(text)),
            _ => self.disk(f),
        }
    }
}

/// How long something took; nothing if it took no time.
struct Took(u64);

impl Display for Took {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            took => write!(f, " in {}.{:03} us", took / 1_000, took % 1_000),
        }
    }
}

/// Says so unless it worked.
struct Failed(bool);

impl Display for Failed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "" } else { " FAILED" })
    }
}

/// A text without line breaks: a line is an event.
pub(super) struct OneLine<'a>(pub(super) &'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.lines().enumerate() {
            let between = if index == 0 { "" } else { " | " };
            write!(f, "{between}{line}")?;
        }
        Ok(())
    }
}
