//! One value, once.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The sender went away without a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender was dropped without a value")
    }
}

impl std::error::Error for Dropped {}

#[derive(Debug)]
enum State<T> {
    Empty(Option<Waker>),
    Full(T),
    SenderGone,
    ReceiverGone,
}

/// A channel for one value.
pub fn oneshot<T>() -> (OnceSender<T>, OnceReceiver<T>) {
    let state = Rc::new(RefCell::new(State::Empty(None)));
    (OnceSender { state: Rc::clone(&state) }, OnceReceiver { state })
}

/// The end that sends.
#[derive(Debug)]
pub struct OnceSender<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> OnceSender<T> {
    /// Sends.
    ///
    /// # Errors
    /// Hands the value back if nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut state = self.state.borrow_mut();
        match &mut *state {
            State::Empty(waker) => {
                let waker = waker.take();
                *state = State::Full(value);
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
                Ok(())
            }
            _ => Err(value),
        }
    }

    /// Whether the receiver is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(&*self.state.borrow(), State::ReceiverGone)
    }
}

impl<T> Drop for OnceSender<T> {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        if let State::Empty(waker) = &mut *state {
            let waker = waker.take();
            *state = State::SenderGone;
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// The end that receives: a future of the value.
#[derive(Debug)]
#[must_use = "a receiver does nothing until it is awaited"]
pub struct OnceReceiver<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> Future for OnceReceiver<T> {
    type Output = Result<T, Dropped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.state.borrow_mut();
        match std::mem::replace(&mut *state, State::SenderGone) {
            State::Full(value) => Poll::Ready(Ok(value)),
            State::SenderGone | State::ReceiverGone => Poll::Ready(Err(Dropped)),
            State::Empty(_) => {
                *state = State::Empty(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for OnceReceiver<T> {
    fn drop(&mut self) {
        // Taken out before it is dropped: a value's destructor may look at this channel.
        let old = std::mem::replace(&mut *self.state.borrow_mut(), State::ReceiverGone);
        drop(old);
    }
}
