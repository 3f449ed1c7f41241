//! A bounded queue from many tasks to one, on one core.

use super::Waiters;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The other end is gone.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Closed<T>(pub T);

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the receiver is gone")
    }
}

impl<T> std::error::Error for Closed<T> {}

/// Why a message was handed back.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum TrySendError<T> {
    /// The queue is at its maximum.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The message.
    pub fn into_message(self) -> T {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Closed(_) => "the receiver is gone",
        })
    }
}

impl<T> std::error::Error for TrySendError<T> {}

/// Invariant: `queue.len() <= capacity`.
struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver_gone: bool,
    receiver: Option<Waker>,
    waiting: Waiters,
}

/// A queue of at most `capacity` messages.
///
/// # Panics
/// If `capacity` is zero.
#[must_use]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a queue holds at least one message");
    let state = Rc::new(RefCell::new(State {
        queue: VecDeque::new(),
        capacity,
        senders: 1,
        receiver_gone: false,
        receiver: None,
        waiting: Waiters::default(),
    }));
    (Sender { state: Rc::clone(&state) }, Receiver { state })
}

/// The end that sends; clones share the queue.
pub struct Sender<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> Sender<T> {
    /// Puts `message` at the end, at once.
    ///
    /// # Errors
    /// Hands the message back if the queue is full or the receiver gone.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let mut state = self.state.borrow_mut();
        if state.receiver_gone {
            return Err(TrySendError::Closed(message));
        }
        if state.queue.len() == state.capacity {
            return Err(TrySendError::Full(message));
        }
        state.queue.push_back(message);
        let waker = state.receiver.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Puts `message` at the end as soon as there is room; resolves when it is queued. Dropped
    /// before that, the message is dropped too. Who waits longest is woken first.
    ///
    /// # Errors
    /// Hands the message back if the receiver is gone.
    pub async fn send(&self, message: T) -> Result<(), Closed<T>> {
        let mut waiting = Waiting { state: &self.state, key: None };
        let mut message = Some(message);
        poll_fn(|context| {
            let Some(unsent) = message.take() else { return Poll::Ready(Ok(())) };
            match self.try_send(unsent) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(TrySendError::Closed(unsent)) => Poll::Ready(Err(Closed(unsent))),
                Err(TrySendError::Full(unsent)) => {
                    message = Some(unsent);
                    waiting.park(context);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// How many messages wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.borrow().queue.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the receiver is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.borrow().receiver_gone
    }
}

/// A sender's place among the waiting; passes its wake-up on when it is dropped.
struct Waiting<'a, T> {
    state: &'a Rc<RefCell<State<T>>>,
    key: Option<usize>,
}

impl<T> Waiting<'_, T> {
    fn park(&mut self, context: &Context<'_>) {
        self.state.borrow_mut().waiting.park(&mut self.key, context.waker());
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        let woken = state.waiting.leave(self.key);
        // Room that this sender was woken for and may not have used goes to the next.
        let next = (woken && state.queue.len() < state.capacity)
            .then(|| state.waiting.take_one())
            .flatten();
        drop(state);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.state.borrow_mut().senders += 1;
        Self { state: Rc::clone(&self.state) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        state.senders -= 1;
        let waker = if state.senders == 0 { state.receiver.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The end that receives.
pub struct Receiver<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> Receiver<T> {
    /// The first message, or `None` when the queue is empty and every sender gone. May be dropped
    /// at any time without losing one.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The first message if there is one now.
    pub fn try_recv(&mut self) -> Option<T> {
        let mut state = self.state.borrow_mut();
        let message = state.queue.pop_front()?;
        let waker = state.waiting.take_one();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(message)
    }

    /// Polls for the first message; what [`Receiver::recv`] awaits.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(message) = self.try_recv() {
            return Poll::Ready(Some(message));
        }
        let mut state = self.state.borrow_mut();
        if state.senders == 0 {
            return Poll::Ready(None);
        }
        state.receiver = Some(context.waker().clone());
        Poll::Pending
    }

    /// How many messages wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.borrow().queue.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        state.receiver_gone = true;
        let unread = std::mem::take(&mut state.queue);
        let wakers = state.waiting.take_all();
        drop(state);
        drop(unread);
        for waker in wakers {
            waker.wake();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).finish_non_exhaustive()
    }
}
