//! From when to when a node does not run, stands still, or is cut off.

use std::collections::BTreeMap;

use super::table::{Table, cell};

/// What a span of a node's time is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Span {
    /// It has not been started yet.
    Unborn = 0,
    /// It was killed.
    Killed = 1,
    /// Its machine has no power.
    Dark = 2,
    /// It has ended in order.
    Ended = 3,
    /// It stands still.
    Paused = 4,
}

/// A node as it is now.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Why it does not run, and since when; `None` if it runs.
    down: Option<(Span, u64)>,
    paused: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lives {
    nodes: Vec<Node>,
    cuts: BTreeMap<(usize, usize), u64>,
    /// Node, kind, length.
    pub(super) spans: Table<3>,
    /// Sender, receiver, length.
    pub(super) cut: Table<3>,
}

impl Lives {
    pub(super) fn new(nodes: usize) -> Self {
        let mut lives = Self {
            nodes: Vec::new(),
            cuts: BTreeMap::new(),
            spans: Table::default(),
            cut: Table::default(),
        };
        for _ in 0..nodes {
            lives.add();
        }
        lives
    }

    /// There is one more node.
    pub(super) fn add(&mut self) {
        self.nodes.push(Node { down: Some((Span::Unborn, 0)), paused: None });
    }

    pub(super) fn booted(&mut self, at: u64, node: usize) {
        if let Some((why, since)) = self.nodes[node].down.take() {
            self.span(node, why, since..at);
        }
    }

    /// It does not run any more, or for another reason than before.
    pub(super) fn ended(&mut self, at: u64, node: usize, why: Span) {
        self.resumed(at, node);
        if let Some((why, since)) = self.nodes[node].down.replace((why, at)) {
            self.span(node, why, since..at);
        }
    }

    pub(super) fn paused(&mut self, at: u64, node: usize) {
        self.nodes[node].paused.get_or_insert(at);
    }

    pub(super) fn resumed(&mut self, at: u64, node: usize) {
        if let Some(since) = self.nodes[node].paused.take() {
            self.span(node, Span::Paused, since..at);
        }
    }

    pub(super) fn cut(&mut self, at: u64, from: usize, to: usize) {
        self.cuts.entry((from, to)).or_insert(at);
    }

    pub(super) fn healed(&mut self, at: u64, from: usize, to: usize) {
        if let Some(since) = self.cuts.remove(&(from, to)) {
            self.cut.push(since, [cell(from), cell(to), cell(at - since)]);
        }
    }

    /// Ends what goes on at the end of the trace.
    pub(super) fn finish(&mut self, end: u64) {
        for node in 0..self.nodes.len() {
            self.resumed(end, node);
            self.booted(end, node);
        }
        while let Some(((from, to), _)) = self.cuts.first_key_value() {
            let (from, to) = (*from, *to);
            self.healed(end, from, to);
        }
        self.spans.sort();
        self.cut.sort();
    }

    fn span(&mut self, node: usize, kind: Span, time: std::ops::Range<u64>) {
        if !time.is_empty() {
            let length = cell(time.end - time.start);
            self.spans.push(time.start, [cell(node), kind as i64, length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_a_death_and_the_next_start_is_dead() {
        let mut lives = Lives::new(2);
        lives.booted(5, 1);
        lives.ended(10, 1, Span::Killed);
        lives.ended(12, 1, Span::Dark);
        lives.booted(20, 1);
        lives.finish(30);
        let expected = [
            (0, [0, Span::Unborn as i64, 30]),
            (0, [1, Span::Unborn as i64, 5]),
            (10, [1, Span::Killed as i64, 2]),
            (12, [1, Span::Dark as i64, 8]),
        ];
        let mut spans = lives.spans.rows().to_vec();
        spans.sort_unstable();
        assert_eq!(spans, expected);
    }

    #[test]
    fn a_pause_ends_with_the_process_at_the_latest() {
        let mut lives = Lives::new(1);
        lives.booted(0, 0);
        lives.paused(1, 0);
        lives.paused(2, 0);
        lives.resumed(4, 0);
        lives.paused(5, 0);
        lives.ended(7, 0, Span::Ended);
        lives.finish(9);
        let paused = Span::Paused as i64;
        let expected = [(1, [0, paused, 3]), (5, [0, paused, 2]), (7, [0, Span::Ended as i64, 2])];
        assert_eq!(lives.spans.rows(), expected);
    }

    #[test]
    fn each_direction_is_cut_by_itself() {
        let mut lives = Lives::new(2);
        lives.cut(1, 0, 1);
        lives.cut(2, 1, 0);
        lives.cut(3, 0, 1);
        lives.healed(5, 0, 1);
        lives.healed(6, 0, 1);
        lives.finish(9);
        assert_eq!(lives.cut.rows(), [(1, [0, 1, 4]), (2, [1, 0, 7])]);
    }
}
