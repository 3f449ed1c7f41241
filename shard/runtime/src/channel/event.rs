//! Something happened: wakes every listener that was there before it.

use super::Waiters;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A signal without content. Take a [`Listener`], look at the state, then await the listener: a
/// notification between the two is not lost. Clones are the same event.
#[derive(Clone, Debug, Default)]
pub struct Event {
    inner: Rc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many notifications there were.
    count: Cell<u64>,
    waiters: RefCell<Waiters>,
}

impl Event {
    /// An event that nobody listens to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every listener that exists now ready.
    pub fn notify_all(&self) {
        self.inner.count.set(self.inner.count.get() + 1);
        let wakers = self.inner.waiters.borrow_mut().take_all();
        for waker in wakers {
            waker.wake();
        }
    }

    /// A future that is ready after the next notification from now on.
    #[must_use = "a listener does nothing until it is awaited"]
    pub fn listen(&self) -> Listener {
        Listener { inner: Rc::clone(&self.inner), seen: self.inner.count.get(), key: None }
    }
}

/// Waits for the first notification after it was made. May be dropped at any time.
#[derive(Debug)]
#[must_use = "a listener does nothing until it is awaited"]
pub struct Listener {
    inner: Rc<Inner>,
    seen: u64,
    key: Option<usize>,
}

impl Future for Listener {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.inner.count.get() != this.seen {
            return Poll::Ready(());
        }
        this.inner.waiters.borrow_mut().park(&mut this.key, context.waker());
        Poll::Pending
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.inner.waiters.borrow_mut().leave(self.key);
    }
}
