//! Random transfers, with and without faults, by tasks that go on only when they are woken.

use super::*;
use crate::rng::Rng;
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::net::Shutdown;
use std::rc::Rc;

/// What one end sends, and how it reads.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// All that it sends.
    total: usize,
    /// Bytes per write.
    write: usize,
    /// Bytes per read.
    read: usize,
    /// Sizes of its buffers.
    buffers: Option<usize>,
}

impl Arbitrary for Plan {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut below = |bound: usize| 1 + usize::arbitrary(g) % bound;
        let base = [30, 3_000, 100_000][below(3) - 1];
        Self {
            total: below(40) * base / 8,
            write: base / 8 + below(base),
            read: base / 8 + below(2 * base),
            buffers: [None, Some(base / 8 + below(base)), Some(1_000)][below(3) - 1],
        }
    }
}

/// Half of what an end does: it writes all of its plan and ends, or reads until the end.
struct Task {
    stream: StreamId,
    node: NodeId,
    plan: Plan,
    writes: bool,
    /// What is to be written, or read.
    bytes: Rc<[u8]>,
    /// Bytes so far.
    done: usize,
    /// How it ended.
    end: Option<Result<(), ErrorKind>>,
    woken: Arc<Count>,
    seen: usize,
}

fn peer(stream: StreamId) -> StreamId {
    StreamId { side: stream.side.other(), ..stream }
}

impl Task {
    fn new(stream: StreamId, node: NodeId, plan: Plan, bytes: Option<&Rc<[u8]>>) -> Self {
        let woken = Arc::new(Count(AtomicUsize::new(1)));
        let writes = bytes.is_none();
        let bytes = bytes.map_or_else(|| noise(stream, plan.total), Rc::clone);
        Self { stream, node, plan, writes, bytes, done: 0, end: None, woken, seen: 0 }
    }

    /// Goes on if it was woken; whether it was.
    fn go_on(&mut self, world: &mut World) -> bool {
        if self.end.is_some() || self.seen == self.woken.get() {
            return false;
        }
        self.seen = self.woken.get();
        while self.end.is_none() && if self.writes { self.write(world) } else { self.read(world) } {
        }
        true
    }

    fn write(&mut self, world: &mut World) -> bool {
        let len = self.plan.write.min(self.plan.total - self.done);
        if len == 0 {
            self.end = Some(
                world.net.shutdown(world.now, self.stream, Shutdown::Write).map_err(|e| e.kind()),
            );
            return false;
        }
        let bytes = &self.bytes[self.done..self.done + len];
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut context = Context::from_waker(&waker);
        let (first, second) = bytes.split_at(len / 3);
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        match world.net.poll_write(world.now, self.stream, &mut context, &parts) {
            Poll::Pending => return false,
            Poll::Ready(Ok(count)) => {
                assert!((1..=len).contains(&count));
                self.done += count;
            }
            Poll::Ready(Err(error)) => self.end = Some(Err(error.kind())),
        }
        true
    }

    fn read(&mut self, world: &mut World) -> bool {
        let mut bytes = vec![0; self.plan.read];
        let waker = Waker::from(Arc::clone(&self.woken));
        match world.net.poll_read(self.stream, &mut Context::from_waker(&waker), &mut bytes) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => self.end = Some(Ok(())),
            Poll::Ready(Ok(count)) => {
                // Compared as slices: this is most of what the tests do.
                let expected = self.bytes.get(self.done..self.done + count);
                assert!(expected == Some(&bytes[..count]), "other bytes than were written");
                self.done += count;
            }
            Poll::Ready(Err(error)) => self.end = Some(Err(error.kind())),
        }
        true
    }
}

/// Bytes that nothing else sends.
fn noise(stream: StreamId, len: usize) -> Rc<[u8]> {
    let mut bytes = vec![0; len];
    let side = u64::from(stream.side == super::super::Side::Server);
    Rng::with_seed(stream.connection * 2 + side).fill(&mut bytes);
    bytes.into()
}

/// Two tasks at each end of as many connections as there are pairs of plans.
fn transfers(world: &mut World, plans: &[(Plan, Plan)]) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (client_plan, server_plan) in plans {
        let (client, server) = world.pair();
        let ends = [(client, A, *client_plan), (server, B, *server_plan)];
        let writers = ends.map(|(stream, node, plan)| {
            world.net.set_buffers(stream, plan.buffers, plan.buffers);
            Task::new(stream, node, plan, None)
        });
        let [at_client, at_server] = [1, 0].map(|index| Rc::clone(&writers[index].bytes));
        tasks.extend(writers);
        tasks.push(Task::new(client, A, *client_plan, Some(&at_client)));
        tasks.push(Task::new(server, B, *server_plan, Some(&at_server)));
    }
    tasks
}

/// Lets time pass until `end`, tasks go on when they are woken.
fn run(world: &mut World, tasks: &mut [Task], end: u64) {
    loop {
        while tasks.iter_mut().fold(false, |any, task| task.go_on(world) | any) {}
        match world.net.next_event().filter(|at| *at <= end) {
            Some(at) => world.run(at.saturating_sub(world.now)),
            None => break,
        }
    }
    world.run(end.saturating_sub(world.now));
}

/// Bytes that the peer of a reader has written.
fn written(tasks: &[Task], reader: &Task) -> usize {
    let writer = tasks.iter().find(|task| task.writes && task.stream == peer(reader.stream));
    writer.unwrap().done
}

#[test]
fn without_faults_everything_arrives_and_ends() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(seed: u64, plans: Vec<(Plan, Plan)>, faults: (u8, bool)) {
        let short = u32::from(faults.0) * 2_000;
        let delayed = if faults.1 { 100_000 } else { 0 };
        let (short_read, short_write) = (short, short);
        let faults = NetFaults {
            short_read,
            short_write,
            delayed,
            delayed_max: 50 * MS,
            ..NetFaults::default()
        };
        let mut world = World::new(seed);
        let plans = &plans[..plans.len().min(4)];
        let mut tasks = transfers(&mut world, plans);
        world.net.set_faults(faults);
        run(&mut world, &mut tasks, u64::MAX / 2);
        for task in &tasks {
            assert_eq!(task.end, Some(Ok(())));
            assert_eq!(
                task.done,
                if task.writes { task.plan.total } else { written(&tasks, task) }
            );
        }
        for task in &tasks {
            world.net.close(world.now, task.stream);
        }
        world.assert_forgotten();
    }
    QuickCheck::new().tests(40).quickcheck(property as fn(_, _, _));
}

/// What somebody does to the network.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Cut(NodeId, NodeId),
    Heal(NodeId, NodeId),
    Crash(NodeId, bool),
    Up(NodeId),
    /// Closes the stream of a task.
    Close(usize),
    /// Resets happen or do not.
    Resets(bool),
    Pass(u64),
}

impl Arbitrary for Blow {
    fn arbitrary(g: &mut Gen) -> Self {
        let (from, to) = if bool::arbitrary(g) { (A, B) } else { (B, A) };
        match u32::arbitrary(g) % 16 {
            0 | 1 => Self::Cut(from, to),
            2..=4 => Self::Heal(from, to),
            5 => Self::Crash(from, bool::arbitrary(g)),
            6 | 7 => Self::Up(from),
            8 => Self::Close(usize::arbitrary(g)),
            9 => Self::Resets(bool::arbitrary(g)),
            10 => Self::Pass(u64::arbitrary(g) % (100 * S)),
            _ => Self::Pass(u64::arbitrary(g) % (2 * MS)),
        }
    }
}

/// What the application of an end has gone through.
#[derive(Default)]
struct Fates {
    /// Streams that were closed or whose process or host died.
    ended: Vec<StreamId>,
}

fn strike(world: &mut World, tasks: &mut Vec<Task>, fates: &mut Fates, blow: Blow) {
    let now = world.now;
    let end = |tasks: &mut Vec<Task>, fates: &mut Fates, stream: StreamId| {
        fates.ended.push(stream);
        for task in tasks.iter_mut().filter(|task| task.stream == stream) {
            task.end.get_or_insert(Err(ErrorKind::Other));
        }
    };
    match blow {
        Blow::Cut(from, to) => world.net.cut(now, from, to),
        Blow::Heal(from, to) => world.net.heal(now, from, to),
        Blow::Crash(node, power) => {
            world.net.crash(now, node, power);
            let dead: Vec<_> = tasks.iter().filter(|t| t.node == node).map(|t| t.stream).collect();
            for stream in dead {
                end(tasks, fates, stream);
            }
        }
        Blow::Up(node) => world.net.up(node),
        Blow::Close(index) => {
            if let Some(index) = index.checked_rem(tasks.len()) {
                let stream = tasks[index].stream;
                world.net.close(now, stream);
                end(tasks, fates, stream);
            }
        }
        Blow::Resets(on) => {
            let reset = if on { 50_000 } else { 0 };
            world.net.set_faults(NetFaults { reset, ..NetFaults::default() });
        }
        Blow::Pass(nanos) => run(world, tasks, now + nanos),
    }
}

#[test]
fn under_faults_readers_see_a_prefix_and_nobody_waits_for_nothing() {
    #[expect(clippy::needless_pass_by_value, reason = "quickcheck passes values")]
    fn property(seed: u64, plans: Vec<(Plan, Plan)>, blows: Vec<Blow>) {
        let mut world = World::new(seed);
        let mut tasks = transfers(&mut world, &plans[..plans.len().min(4)]);
        let mut fates = Fates::default();
        for blow in blows {
            strike(&mut world, &mut tasks, &mut fates, blow);
        }
        // Faults stop.
        let calm =
            [Blow::Resets(false), Blow::Up(A), Blow::Up(B), Blow::Heal(A, B), Blow::Heal(B, A)];
        for blow in calm.into_iter().chain([Blow::Pass(1_000 * S)]) {
            strike(&mut world, &mut tasks, &mut fates, blow);
        }
        for task in &tasks {
            judge(&world, task, &tasks, &fates);
        }
        for task in &tasks {
            world.net.close(world.now, task.stream);
        }
        world.assert_forgotten();
    }
    QuickCheck::new().tests(250).quickcheck(property as fn(_, _, _));
}

fn judge(world: &World, task: &Task, tasks: &[Task], fates: &Fates) {
    let mine = || tasks.iter().filter(|other| other.stream == task.stream);
    let broke = |task: &Task| matches!(task.end, Some(Err(_)));
    if task.writes {
        // It hears of everything, because it speaks.
        assert!(task.end.is_some());
        return;
    }
    assert!(task.done <= written(tasks, task));
    match task.end {
        // Half open: the other end is gone, and could not say so.
        None => {
            let forgotten = TraceKind::Reset { connection: task.stream.connection };
            let node = if task.node == A { B } else { A };
            let is_gone = world.events.contains(&(Some(node), forgotten));
            assert!(is_gone || fates.ended.contains(&peer(task.stream)));
        }
        // A whole end, unless the writer of this end took the error.
        Some(Ok(())) if !mine().any(broke) => assert_eq!(task.done, written(tasks, task)),
        Some(_) => {}
    }
}
