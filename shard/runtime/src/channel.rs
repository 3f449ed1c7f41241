//! Messages and signals between the tasks of one core: plain values, no atomics, no executor.
//!
//! They know nothing but [`std::task::Waker`], so both bodies of the runtime share them.

mod event;
mod gate;
mod once;
mod queue;

pub use event::{Event, Listener};
pub use gate::{Gate, Pass};
pub use once::{Dropped, OnceReceiver, OnceSender, oneshot};
pub use queue::{Closed, Receiver, Sender, TrySendError, bounded};

use std::collections::VecDeque;
use std::task::Waker;

/// Wakers of waiting futures, each under a key that its future gives back when it is dropped.
#[derive(Debug, Default)]
struct Waiters {
    slots: Vec<Slot>,
    vacant: Vec<usize>,
    /// Keys and turns in the order in which they began to wait. Entries whose turn is over stay
    /// until they come up or until they outnumber the slots.
    order: VecDeque<(usize, u64)>,
    turns: u64,
}

#[derive(Debug)]
enum Slot {
    Vacant,
    /// Its waker was taken to be woken.
    Woken,
    Waiting {
        waker: Waker,
        turn: u64,
    },
}

impl Waiters {
    /// Puts `waker` under `key`, taking a key if there is none yet. Who waits already keeps its turn.
    fn park(&mut self, key: &mut Option<usize>, waker: &Waker) {
        let index = *key.get_or_insert_with(|| {
            self.vacant.pop().unwrap_or_else(|| {
                self.slots.push(Slot::Vacant);
                self.slots.len() - 1
            })
        });
        if let Slot::Waiting { waker: old, .. } = &mut self.slots[index] {
            old.clone_from(waker);
            return;
        }
        self.turns += 1;
        self.slots[index] = Slot::Waiting { waker: waker.clone(), turn: self.turns };
        self.order.push_back((index, self.turns));
    }

    /// Gives `key` back. Returns whether its waker had been taken to be woken.
    fn leave(&mut self, key: Option<usize>) -> bool {
        let Some(index) = key else { return false };
        self.vacant.push(index);
        let slot = std::mem::replace(&mut self.slots[index], Slot::Vacant);
        if self.order.len() > 2 * self.slots.len() {
            let slots = &self.slots;
            self.order.retain(|(index, turn)| slots[*index].has_turn(*turn));
        }
        matches!(slot, Slot::Woken)
    }

    /// The waker that has waited longest.
    fn take_one(&mut self) -> Option<Waker> {
        while let Some((index, turn)) = self.order.pop_front() {
            if self.slots[index].has_turn(turn)
                && let Slot::Waiting { waker, .. } =
                    std::mem::replace(&mut self.slots[index], Slot::Woken)
            {
                return Some(waker);
            }
        }
        None
    }

    /// All wakers, who has waited longest first.
    fn take_all(&mut self) -> Vec<Waker> {
        std::iter::from_fn(|| self.take_one()).collect()
    }
}

impl Slot {
    fn has_turn(&self, expected: u64) -> bool {
        matches!(self, Self::Waiting { turn, .. } if *turn == expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_that_come_and_go_unwoken_leave_no_trace() {
        let mut waiters = Waiters::default();
        for _ in 0..1000 {
            let mut key = None;
            waiters.park(&mut key, Waker::noop());
            waiters.park(&mut key, Waker::noop());
            assert!(!waiters.leave(key));
        }
        assert_eq!(waiters.slots.len(), 1);
        assert!(waiters.order.len() <= 3, "{} turns kept", waiters.order.len());
        assert!(waiters.take_one().is_none());
    }

    #[test]
    fn woken_waiter_says_so_when_it_leaves() {
        let mut waiters = Waiters::default();
        let (mut first, mut second) = (None, None);
        waiters.park(&mut first, Waker::noop());
        waiters.park(&mut second, Waker::noop());
        assert!(waiters.take_one().is_some());
        assert!(waiters.leave(first));
        assert!(!waiters.leave(second));
        assert!(waiters.take_one().is_none());
    }
}
