//! Local channels, events and gates.

use crate::harness::run;
use pyralog_runtime::channel::{Closed, Dropped, Event, Gate, TrySendError, bounded, oneshot};
use pyralog_runtime::{spawn, yield_now};
use quickcheck::quickcheck;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

#[test]
fn full_queue_hands_the_message_back_and_room_lets_it_in() {
    let (sender, mut receiver) = bounded(2);
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!(receiver.try_recv(), Some(1));
    sender.try_send(3).unwrap();
    assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some(2), Some(3)));
    assert_eq!(receiver.try_recv(), None);
}

#[test]
fn ends_notice_that_the_other_is_gone() {
    run(|_| async {
        let (sender, receiver) = bounded(1);
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.try_send(1), Err(TrySendError::Closed(1)));
        assert_eq!(sender.send(1).await, Err(Closed(1)));

        let (sender, mut receiver) = bounded(1);
        sender.try_send(1).unwrap();
        drop(sender);
        assert_eq!(receiver.recv().await, Some(1));
        assert_eq!(receiver.recv().await, None);
    });
}

#[test]
fn waiting_sender_and_receiver_are_woken_by_the_other_end_going_away() {
    run(|_| async {
        let (sender, receiver) = bounded(1);
        sender.try_send(1).unwrap();
        let waiting = spawn(async move { sender.send(2).await });
        yield_now().await;
        drop(receiver);
        assert_eq!(waiting.await.unwrap(), Err(Closed(2)));

        let (sender, mut receiver) = bounded::<u8>(1);
        let waiting = spawn(async move { receiver.recv().await });
        yield_now().await;
        drop(sender);
        assert_eq!(waiting.await, Ok(None));
    });
}

#[test]
fn every_message_of_many_waiting_senders_arrives_in_the_order_of_each() {
    run(|_| async {
        let (sender, mut receiver) = bounded(2);
        for name in 0..5u32 {
            let sender = sender.clone();
            spawn(async move {
                for number in 0..100u32 {
                    sender.send((name, number)).await.unwrap();
                }
            })
            .detach();
        }
        drop(sender);
        let mut next = [0u32; 5];
        while let Some((name, number)) = receiver.recv().await {
            assert_eq!(next[name as usize], number);
            next[name as usize] += 1;
        }
        assert_eq!(next, [100; 5]);
    });
}

#[test]
fn busy_sender_does_not_starve_another() {
    run(|_| async {
        let (sender, mut receiver) = bounded(1);
        for name in 0..2u32 {
            let sender = sender.clone();
            spawn(async move { while sender.send(name).await.is_ok() {} }).detach();
        }
        let mut counts = [0u32; 2];
        for _ in 0..1000 {
            counts[receiver.recv().await.unwrap() as usize] += 1;
        }
        assert!(counts.iter().all(|count| *count > 300), "{counts:?}");
    });
}

#[test]
fn cancelled_sender_passes_its_turn_on() {
    run(|_| async {
        let (sender, mut receiver) = bounded(1);
        sender.try_send(0).unwrap();
        let (first, second) = (sender.clone(), sender.clone());
        let first = spawn(async move { first.send(1).await });
        yield_now().await;
        let second = spawn(async move { second.send(2).await });
        yield_now().await;
        // Wakes the first sender, which is gone before it runs.
        assert_eq!(receiver.try_recv(), Some(0));
        drop(first);
        second.await.unwrap().unwrap();
        assert_eq!(receiver.recv().await, Some(2));
    });
}

#[derive(Clone, Debug)]
enum Step {
    Send(u8),
    Receive,
}

impl quickcheck::Arbitrary for Step {
    fn arbitrary(g: &mut quickcheck::Gen) -> Self {
        if bool::arbitrary(g) { Self::Send(u8::arbitrary(g)) } else { Self::Receive }
    }
}

quickcheck! {
    fn queue_behaves_like_a_bounded_deque(capacity: u8, steps: Vec<Step>) -> bool {
        let capacity = usize::from(capacity % 8) + 1;
        let (sender, mut receiver) = bounded(capacity);
        let mut model = VecDeque::new();
        steps.into_iter().all(|step| match step {
            Step::Send(value) if model.len() < capacity => {
                model.push_back(value);
                sender.try_send(value) == Ok(())
            }
            Step::Send(value) => sender.try_send(value) == Err(TrySendError::Full(value)),
            Step::Receive => receiver.try_recv() == model.pop_front(),
        } && sender.len() == model.len())
    }
}

#[test]
fn oneshot_delivers_once_or_says_that_it_will_not() {
    run(|_| async {
        let (sender, receiver) = oneshot();
        let waiting = spawn(receiver);
        yield_now().await;
        sender.send(5).unwrap();
        assert_eq!(waiting.await, Ok(Ok(5)));

        let (sender, receiver) = oneshot::<u8>();
        let waiting = spawn(receiver);
        yield_now().await;
        drop(sender);
        assert_eq!(waiting.await, Ok(Err(Dropped)));

        let (sender, receiver) = oneshot();
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(5), Err(5));
    });
}

#[test]
fn notification_between_listen_and_await_is_not_lost() {
    run(|_| async {
        let event = Event::new();
        let listener = event.listen();
        event.notify_all();
        listener.await;
        // The next listener waits for the next one.
        let woken = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let (listener, woken) = (event.listen(), Rc::clone(&woken));
            spawn(async move {
                listener.await;
                woken.set(woken.get() + 1);
            })
            .detach();
        }
        yield_now().await;
        assert_eq!(woken.get(), 0);
        event.notify_all();
        yield_now().await;
        assert_eq!(woken.get(), 3);
    });
}

#[test]
fn gate_waits_for_all_inside_and_lets_nobody_in() {
    run(|_| async {
        let gate = Gate::new();
        let log = Rc::new(RefCell::new(Vec::new()));
        for name in 0..3 {
            let (pass, log) = (gate.enter().unwrap(), Rc::clone(&log));
            spawn(async move {
                for _ in 0..name {
                    yield_now().await;
                }
                log.borrow_mut().push(name);
                drop(pass);
            })
            .detach();
        }
        assert_eq!(gate.inside(), 3);
        gate.close().await;
        assert_eq!(*log.borrow(), [0, 1, 2]);
        assert!(gate.is_closed());
        assert!(gate.enter().is_none());
        gate.close().await;
    });
}
