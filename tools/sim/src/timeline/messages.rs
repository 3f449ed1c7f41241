//! Which bytes that were sent are the bytes that were received.
//!
//! The trace says how many bytes left a node, and how many reached one. A direction of a connection keeps their order,
//! so the oldest that are under way are the next to arrive; the expected time of arrival only decides between the two
//! directions of a connection that a node has with itself.

use std::collections::{BTreeMap, VecDeque};

use pyralog_runtime::sim::NodeId;

/// How late an arrival may be without having been held: the world looks between two polls for what has arrived.
const LATE_NANOS: u64 = 20_000;

/// How a message ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It arrived when it was expected to.
    Delivered = 0,
    /// The network held it back; it arrived later.
    Held = 1,
    /// It did not arrive, or in part.
    Lost = 2,
    /// It is under way.
    Pending = 3,
}

/// Bytes that left one node for another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Message {
    pub(super) sent: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) shard: Option<usize>,
    pub(super) connection: u64,
    pub(super) bytes: usize,
    /// When it was expected; `None` if the network held it from the beginning.
    pub(super) expected: Option<u64>,
    /// When it arrived or was lost; meaningless while it is under way.
    pub(super) ended: u64,
    pub(super) fate: Fate,
    /// How much of it has not arrived.
    pub(super) left: usize,
}

impl Message {
    /// Bytes that left `from` for `to` at `sent`.
    pub(super) fn new(
        sent: u64,
        (from, to): (NodeId, NodeId),
        connection: u64,
        bytes: usize,
    ) -> Self {
        Self {
            sent,
            from: from.0,
            to: to.0,
            shard: None,
            connection,
            bytes,
            expected: None,
            ended: sent,
            fate: Fate::Pending,
            left: bytes,
        }
    }
}

/// A direction of a connection.
type Lane = (u64, usize, usize);

/// All messages, and which of them are under way.
#[derive(Debug, Default)]
pub(super) struct Messages {
    all: Vec<Message>,
    under_way: BTreeMap<Lane, VecDeque<usize>>,
}

impl Messages {
    /// Bytes left a node.
    pub(super) fn sent(&mut self, message: Message) {
        let lane = (message.connection, message.from, message.to);
        self.under_way.entry(lane).or_default().push_back(self.all.len());
        self.all.push(message);
    }

    /// `bytes` arrived at a node.
    pub(super) fn received(&mut self, at: u64, (connection, from, to): Lane, mut bytes: usize) {
        let Some(queue) = self.under_way.get_mut(&(connection, from, to)) else { return };
        if from == to {
            let expected = |index: &usize| {
                let message = &self.all[*index];
                message.expected == Some(at) && message.left == bytes
            };
            if let Some(index) = queue.iter().position(expected).and_then(|at| queue.remove(at)) {
                queue.push_front(index);
            }
        }
        while bytes > 0
            && let Some(index) = queue.front()
        {
            let message = &mut self.all[*index];
            let part = bytes.min(message.left);
            bytes -= part;
            message.left -= part;
            message.ended = at;
            if message.left == 0 {
                let due = |expected: u64| expected.saturating_add(LATE_NANOS);
                let on_time = message.expected.is_some_and(|expected| at <= due(expected));
                message.fate = if on_time { Fate::Delivered } else { Fate::Held };
                queue.pop_front();
            }
        }
    }

    /// A node learned that a connection is broken: what was on its way to it over that will not be read.
    pub(super) fn reset(&mut self, at: u64, connection: u64, node: usize) {
        let lanes =
            self.under_way.range_mut((connection, 0, 0)..=(connection, usize::MAX, usize::MAX));
        for (lane, queue) in lanes {
            if lane.2 == node {
                lose(&mut self.all, queue, at);
            }
        }
    }

    /// A node died: nothing that is on its way to it will be read. What it sent itself may arrive.
    pub(super) fn died(&mut self, at: u64, node: usize) {
        for (lane, queue) in &mut self.under_way {
            if lane.2 == node {
                lose(&mut self.all, queue, at);
            }
        }
        // Once per death, so that a long trace with many connections does not search them all again.
        self.under_way.retain(|_, queue| !queue.is_empty());
    }

    /// All of them, in the order in which they were sent, when nothing more happens.
    pub(super) fn finish(mut self, end: u64) -> Vec<Message> {
        for queue in self.under_way.values_mut() {
            for index in queue.drain(..) {
                let message = &mut self.all[index];
                message.ended = message.expected.unwrap_or(end).max(message.sent);
                // Overdue and nobody reset it: its receiver had gone, or its sender lost it with its power.
                let overdue = message.expected.is_some_and(|expected| expected < end);
                message.fate = if overdue { Fate::Lost } else { Fate::Pending };
            }
        }
        self.all
    }
}

fn lose(all: &mut [Message], queue: &mut VecDeque<usize>, at: u64) {
    for index in queue.drain(..) {
        let message = &mut all[index];
        message.fate = Fate::Lost;
        message.ended = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn send(messages: &mut Messages, sent: u64, bytes: usize, expected: Option<u64>) {
        messages.sent(Message { expected, ..Message::new(sent, (A, B), 7, bytes) });
    }

    fn fates(messages: Messages, end: u64) -> Vec<(Fate, u64)> {
        messages.finish(end).iter().map(|message| (message.fate, message.ended)).collect()
    }

    #[test]
    fn bytes_arrive_in_the_order_in_which_they_were_sent() {
        let mut messages = Messages::default();
        send(&mut messages, 1, 10, Some(5));
        send(&mut messages, 2, 20, Some(6));
        messages.received(5, (7, 0, 1), 10);
        messages.received(6, (7, 0, 1), 20);
        assert_eq!(fates(messages, 9), [(Fate::Delivered, 5), (Fate::Delivered, 6)]);
    }

    #[test]
    fn one_arrival_may_end_several_and_several_may_end_one() {
        let mut messages = Messages::default();
        send(&mut messages, 1, 10, Some(5));
        send(&mut messages, 2, 20, Some(6));
        messages.received(5, (7, 0, 1), 12);
        messages.received(6, (7, 0, 1), 18);
        assert_eq!(fates(messages, 9), [(Fate::Delivered, 5), (Fate::Delivered, 6)]);
    }

    #[test]
    fn what_comes_late_or_was_held_was_held() {
        let mut messages = Messages::default();
        send(&mut messages, 1, 10, Some(5));
        send(&mut messages, 2, 20, None);
        send(&mut messages, 3, 30, Some(9));
        messages.received(5 + LATE_NANOS, (7, 0, 1), 0);
        messages.received(6 + LATE_NANOS, (7, 0, 1), 60);
        let late = 6 + LATE_NANOS;
        let expected = [(Fate::Held, late), (Fate::Held, late), (Fate::Delivered, late)];
        assert_eq!(fates(messages, 90_000), expected);
    }

    #[test]
    fn what_is_under_way_to_an_end_that_breaks_is_lost() {
        let mut messages = Messages::default();
        send(&mut messages, 1, 10, Some(5));
        messages.received(3, (7, 0, 1), 4);
        messages.reset(4, 7, 0);
        messages.reset(4, 8, 1);
        assert_eq!(messages.all[0].fate, Fate::Pending, "another end, another connection");
        messages.reset(4, 7, 1);
        assert_eq!(fates(messages, 90), [(Fate::Lost, 4)]);
    }

    #[test]
    fn what_is_under_way_to_a_node_that_dies_is_lost() {
        let mut messages = Messages::default();
        send(&mut messages, 1, 10, None);
        messages.died(3, 0);
        assert_eq!(messages.all[0].fate, Fate::Pending, "the dead one's own");
        messages.died(4, 1);
        assert_eq!(fates(messages, 90), [(Fate::Lost, 4)]);
    }

    #[test]
    fn the_end_finds_some_under_way_and_some_that_nobody_took() {
        let mut messages = Messages::default();
        send(&mut messages, 1, 10, Some(5));
        send(&mut messages, 2, 10, Some(12));
        send(&mut messages, 3, 10, None);
        let expected = [(Fate::Lost, 5), (Fate::Pending, 12), (Fate::Pending, 10)];
        assert_eq!(fates(messages, 10), expected);
    }

    #[test]
    fn two_directions_within_one_node_are_told_apart_by_time() {
        let mut messages = Messages::default();
        let mut to_itself = |sent, bytes, expected| {
            messages.sent(Message { expected, ..Message::new(sent, (A, A), 7, bytes) });
        };
        to_itself(1, 10, Some(9));
        to_itself(2, 10, Some(5));
        messages.received(5, (7, 0, 0), 10);
        messages.received(9, (7, 0, 0), 10);
        assert_eq!(fates(messages, 10), [(Fate::Delivered, 9), (Fate::Delivered, 5)]);
    }
}
