//! A queue to one task of the same core: plain values and a waker.
//!
//! It has no limit of its own, because what goes through it has one: answers to requests that are in
//! flight, notices that were asked for, batches within the budget of their producer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The queue. Clones are the same queue.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    inner: Rc<RefCell<Inner<T>>>,
}

#[derive(Debug)]
struct Inner<T> {
    queue: VecDeque<T>,
    waker: Option<Waker>,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<T> Inbox<T> {
    pub(super) fn new() -> Self {
        Self { inner: Rc::new(RefCell::new(Inner { queue: VecDeque::new(), waker: None })) }
    }

    /// Appends a value and wakes the task.
    pub(super) fn push(&self, value: T) {
        let waker = {
            let mut inner = self.inner.borrow_mut();
            inner.queue.push_back(value);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The oldest value, or the promise to wake the one task that asks.
    pub(super) fn poll_next(&self, context: &Context<'_>) -> Poll<T> {
        let mut inner = self.inner.borrow_mut();
        if let Some(value) = inner.queue.pop_front() {
            return Poll::Ready(value);
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
