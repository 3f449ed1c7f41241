//! The pulse: a plain thread that wakes every executor a hundred times a second.
//!
//! glommio 0.9 takes "the preemption timer fired before I ran anything" for "there is nothing to
//! run" and sleeps with runnable tasks (glommio/glommio#53). A timer of the same executor does not
//! help, its task may itself be among the runnable ones; a wake-up from another thread does.

use crate::bell::Bell;
use crate::limits::PULSE_PERIOD;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The running thread; stops when told to or dropped.
#[derive(Debug)]
pub(crate) struct Pulse {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    pub(crate) fn start(name: &str, bells: Vec<Arc<Bell>>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name(format!("{name}-pulse")).spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    std::thread::park_timeout(PULSE_PERIOD);
                    for bell in &bells {
                        bell.pulse();
                    }
                }
            })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the pulse thread panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Wake, Waker};

    /// A core's bell task that is woken and never run: the state that the pulse is there for.
    struct Woken {
        count: AtomicUsize,
        waiting: std::thread::Thread,
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.count.fetch_add(1, Ordering::SeqCst);
            self.waiting.unpark();
        }
    }

    #[test]
    fn pulse_goes_on_waking_a_task_that_was_woken_and_did_not_run() {
        let bell = Arc::new(Bell::new());
        let waiting = std::thread::current();
        let woken = Arc::new(Woken { count: AtomicUsize::new(0), waiting });
        let waker = Waker::from(Arc::clone(&woken));
        assert!(!bell.poll(&Context::from_waker(&waker)));
        bell.ring();
        bell.ring();
        assert_eq!(woken.count.load(Ordering::SeqCst), 1, "rings are coalesced");
        let pulse = Pulse::start("test", vec![Arc::clone(&bell)]).unwrap();
        while woken.count.load(Ordering::SeqCst) < 4 {
            std::thread::park();
        }
        bell.retire();
        drop(pulse);
        drop(waker);
        assert_eq!(Arc::strong_count(&woken), 1, "no waker is left behind");
    }
}
