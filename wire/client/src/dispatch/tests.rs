//! What the machine commands after each event, whole lists compared.

use super::*;
use crate::backoff::Backoff;

const MS: Duration = Duration::from_millis(1);
const P0: PartitionId = PartitionId::ZERO;
const P1: PartitionId = PartitionId::new(1);

fn policy() -> Policy {
    Policy {
        in_flight_max: 3,
        linger: MS,
        delivery_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(3),
        backoff: Backoff { min: 10 * MS, max: 100 * MS },
    }
}

/// A machine and a clock.
struct Bench {
    machine: Dispatcher,
    now: Duration,
}

impl Bench {
    fn new(shards: &[u16]) -> Self {
        Self::with(policy(), shards)
    }

    fn with(policy: Policy, shards: &[u16]) -> Self {
        Self { machine: Dispatcher::new(policy, shards, Rng::with_seed(7)), now: Duration::ZERO }
    }

    fn on(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        self.machine.handle(self.now, event, &mut commands);
        commands
    }

    fn wait(&mut self, time: Duration) -> Vec<Command> {
        self.now += time;
        self.on(Event::Tick)
    }

    /// Goes to the machine's next timer.
    fn wait_due(&mut self) -> Vec<Command> {
        self.now = self.machine.due().expect("it waits for something");
        self.on(Event::Tick)
    }

    /// Seals a batch of ten records.
    fn seal(&mut self, partition: PartitionId, ordinal: u64) -> Vec<Command> {
        let batch = Sealed { ordinal: Ordinal(ordinal), records: 10, opened: self.now };
        self.on(Event::Sealed { partition, batch })
    }

    fn answer(&mut self, ordinal: u64, attempt: u64, answer: Answer) -> Vec<Command> {
        let (ordinal, attempt) = (Ordinal(ordinal), Attempt(attempt));
        self.on(Event::Answered { partition: P0, ordinal, attempt, answer })
    }
}

fn appended(base_offset: u64) -> Answer {
    Answer::Appended(appended_at(base_offset))
}

fn appended_at(base_offset: u64) -> Appended {
    let base_offset = Offset::new(base_offset);
    Appended { base_offset, append_time: Timestamp::ZERO, duplicate: false }
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(refusal)
}

fn resolved(ordinal: u64, outcome: Outcome) -> Command {
    Command::Resolve { partition: P0, ordinal: Ordinal(ordinal), outcome }
}

fn done(ordinal: u64, base_offset: u64) -> Command {
    resolved(ordinal, Outcome::Appended(appended_at(base_offset)))
}

fn failed(ordinal: u64, failure: Failure) -> Command {
    resolved(ordinal, Outcome::Failed(failure))
}

/// Sends of partition 0 as (ordinal, attempt, first sequence if stamped anew).
fn sends(commands: &[Command]) -> Vec<(u64, u64, Option<u64>)> {
    let send = |command: &Command| match command {
        Command::Send { partition: P0, ordinal, attempt, shard: 5, stamp } => {
            (ordinal.0, attempt.0, stamp.map(|session| session.first_sequence))
        }
        other => panic!("{other:?}"),
    };
    commands.iter().map(send).collect()
}

fn session(command: &Command) -> u64 {
    match command {
        Command::Send { stamp: Some(session), .. } => session.id.get(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn batches_are_numbered_in_records_and_sent_up_to_the_window() {
    let mut bench = Bench::new(&[5]);
    assert_eq!(sends(&bench.seal(P0, 0)), [(0, 0, Some(0))]);
    assert_eq!(sends(&bench.seal(P0, 1)), [(1, 1, Some(10))]);
    assert_eq!(sends(&bench.seal(P0, 2)), [(2, 2, Some(20))]);
    assert_eq!(bench.seal(P0, 3), []);
    let commands = bench.answer(0, 0, appended(100));
    assert_eq!(commands[0], done(0, 100));
    assert_eq!(sends(&commands[1..]), [(3, 3, Some(30))]);
}

#[test]
fn partitions_share_the_session_and_nothing_else() {
    let mut bench = Bench::new(&[5, 6]);
    let first = bench.seal(P0, 0);
    let second = bench.seal(P1, 0);
    assert_eq!(session(&first[0]), session(&second[0]));
    assert!(matches!(second[..], [Command::Send { partition: P1, shard: 6, .. }]));
    bench.answer(0, 0, Answer::Lost);
    assert!(matches!(bench.seal(P1, 1)[..], [Command::Send { partition: P1, .. }]));
}

#[test]
fn batches_that_arrive_out_of_order_are_sent_in_order() {
    let mut bench = Bench::new(&[5]);
    assert_eq!(bench.seal(P0, 1), []);
    assert_eq!(sends(&bench.seal(P0, 0)), [(0, 0, Some(0)), (1, 1, Some(10))]);
}

#[test]
fn an_open_batch_is_collected_after_the_linger_and_once() {
    let mut bench = Bench::new(&[5]);
    let opened = Event::Opened { partition: P0, ordinal: Ordinal(0), since: bench.now };
    assert_eq!(bench.on(opened), []);
    assert_eq!(bench.machine.due(), Some(MS));
    let collect = Command::Collect { partition: P0, ordinal: Ordinal(0) };
    assert_eq!(bench.wait(MS), [collect]);
    assert_eq!(bench.wait(MS), []);
}

#[test]
fn without_linger_a_batch_goes_at_once_or_when_the_flight_is_over() {
    let mut bench = Bench::with(Policy { linger: Duration::ZERO, ..policy() }, &[5]);
    let open = |ordinal, since| Event::Opened { partition: P0, ordinal: Ordinal(ordinal), since };
    let collect = |ordinal| Command::Collect { partition: P0, ordinal: Ordinal(ordinal) };
    assert_eq!(bench.on(open(0, Duration::ZERO)), [collect(0)]);
    bench.seal(P0, 0);
    assert_eq!(bench.on(open(1, Duration::ZERO)), []);
    assert_eq!(bench.answer(0, 0, appended(0)), [done(0, 0), collect(1)]);
}

#[test]
fn a_full_window_lets_the_open_batch_grow() {
    let mut bench = Bench::new(&[5]);
    for ordinal in 0..3 {
        bench.seal(P0, ordinal);
    }
    let opened = Event::Opened { partition: P0, ordinal: Ordinal(3), since: bench.now };
    bench.on(opened);
    assert_eq!(bench.wait(5 * MS), []);
    let collect = Command::Collect { partition: P0, ordinal: Ordinal(3) };
    assert_eq!(bench.answer(0, 0, appended(0)), [done(0, 0), collect]);
}

#[test]
fn a_flush_collects_at_once() {
    let mut bench = Bench::new(&[5]);
    bench.on(Event::Opened { partition: P0, ordinal: Ordinal(0), since: bench.now });
    let collect = Command::Collect { partition: P0, ordinal: Ordinal(0) };
    assert_eq!(bench.on(Event::Flush), [collect]);
    assert!(!bench.machine.is_idle());
    bench.seal(P0, 0);
    bench.answer(0, 0, appended(0));
    assert!(bench.machine.is_idle());
}

#[test]
fn busy_drains_the_window_and_sends_everything_again_in_order() {
    let mut bench = Bench::new(&[5]);
    for ordinal in 0..3 {
        bench.seal(P0, ordinal);
    }
    let after = 50 * MS;
    assert_eq!(bench.answer(0, 0, refused(Refusal::Later { after })), []);
    assert_eq!(bench.answer(1, 1, refused(Refusal::Gap { expected: 0 })), []);
    assert_eq!(bench.seal(P0, 3), []);
    assert_eq!(bench.answer(2, 2, refused(Refusal::Gap { expected: 0 })), []);
    assert!(bench.machine.due().is_some_and(|due| due >= after / 2 && due <= after));
    let again = bench.wait_due();
    assert_eq!(sends(&again), [(0, 3, None), (1, 4, None), (2, 5, None)]);
}

#[test]
fn a_lost_connection_is_followed_by_a_new_route_and_the_same_bytes() {
    let mut bench = Bench::new(&[4]);
    bench.seal(P0, 0);
    bench.seal(P0, 1);
    assert_eq!(bench.answer(0, 0, Answer::Lost), [Command::Refresh]);
    assert_eq!(bench.answer(1, 1, Answer::Lost), []);
    assert_eq!(bench.wait(20 * MS), [], "the route is not known yet");
    let again = bench.on(Event::Routed { shards: vec![5] });
    assert_eq!(sends(&again), [(0, 2, None), (1, 3, None)]);
    assert_eq!(bench.answer(0, 2, appended(0)), [done(0, 0)]);
}

#[test]
fn a_failed_refresh_is_repeated_after_a_delay() {
    let mut bench = Bench::new(&[5]);
    bench.seal(P0, 0);
    assert_eq!(bench.answer(0, 0, Answer::Unsent), [Command::Refresh]);
    assert_eq!(bench.on(Event::Unrouted), []);
    let mut refreshes = Vec::new();
    while refreshes.is_empty() {
        refreshes = bench.wait_due();
    }
    assert_eq!(refreshes, [Command::Refresh]);
}

#[test]
fn a_gap_before_the_first_batch_begins_a_new_session() {
    let mut bench = Bench::new(&[5]);
    let old = session(&bench.seal(P0, 0)[0]);
    bench.answer(0, 0, appended(0));
    assert_eq!(sends(&bench.seal(P0, 1)), [(1, 1, Some(10))]);
    let again = bench.answer(1, 1, refused(Refusal::Gap { expected: 0 }));
    assert_eq!(sends(&again), [(1, 2, Some(0))]);
    assert_ne!(session(&again[0]), old);
}

#[test]
fn a_gap_behind_an_unresolved_batch_is_a_matter_of_order_only() {
    let mut bench = Bench::new(&[5]);
    bench.seal(P0, 0);
    bench.seal(P0, 1);
    bench.answer(1, 1, refused(Refusal::Gap { expected: 0 }));
    let commands = bench.answer(0, 0, appended(0));
    assert_eq!(commands[0], done(0, 0));
    assert_eq!(sends(&commands[1..]), [(1, 2, None)]);
}

#[test]
fn a_lost_session_fails_what_may_be_appended_and_renumbers_the_rest() {
    let mut bench = Bench::new(&[5]);
    for ordinal in 0..3 {
        bench.seal(P0, ordinal);
    }
    bench.answer(0, 0, Answer::Lost);
    bench.answer(1, 1, Answer::Unsent);
    bench.answer(2, 2, Answer::Unsent);
    bench.on(Event::Routed { shards: vec![5] });
    assert_eq!(sends(&bench.wait_due()), [(0, 3, None), (1, 4, None), (2, 5, None)]);
    assert_eq!(bench.answer(0, 3, refused(Refusal::SessionLost)), []);
    assert_eq!(bench.answer(1, 4, refused(Refusal::SessionLost)), []);
    let commands = bench.answer(2, 5, refused(Refusal::SessionLost));
    assert_eq!(commands[0], failed(0, Failure::OutcomeUnknown { attempts: 2 }));
    let again = if commands.len() > 1 { commands[1..].to_vec() } else { bench.wait_due() };
    assert_eq!(sends(&again), [(1, 6, Some(0)), (2, 7, Some(10))]);
}

#[test]
fn a_final_refusal_fails_its_batch_and_those_behind_go_on() {
    let mut bench = Bench::new(&[5]);
    bench.seal(P0, 0);
    bench.seal(P0, 1);
    let reply = ErrorReply::from(ErrorCode::InvalidBatch);
    let commands = bench.answer(0, 0, refused(Refusal::from(reply.clone())));
    assert_eq!(commands, [failed(0, Failure::Refused(reply))]);
    // The hole it leaves: refused twice, because the first time another was before it.
    let mut commands = bench.answer(1, 1, refused(Refusal::Gap { expected: 0 }));
    assert_eq!(sends(&commands), [(1, 2, None)]);
    commands = bench.answer(1, 2, refused(Refusal::Gap { expected: 0 }));
    commands.extend(if commands.is_empty() { bench.wait_due() } else { Vec::new() });
    assert_eq!(sends(&commands), [(1, 3, Some(0))]);
}

#[test]
fn deadlines_end_batches_and_say_whether_they_may_be_in_the_log() {
    let mut bench = Bench::with(Policy { in_flight_max: 1, ..policy() }, &[5]);
    bench.seal(P0, 0);
    bench.seal(P0, 1);
    assert_eq!(bench.wait(Duration::from_secs(3)), [Command::Reset { shard: 5 }]);
    let timed_out =
        |attempts, maybe_appended| Failure::TimedOut { attempts, maybe_appended, refusal: None };
    let expected = [failed(0, timed_out(1, true)), failed(1, timed_out(0, false))];
    assert_eq!(bench.wait(Duration::from_secs(7)), expected);
    assert!(bench.machine.is_idle());
    assert_eq!(bench.answer(0, 0, appended(0)), [], "too late");
}

#[test]
fn an_open_batch_has_a_deadline_too() {
    let mut bench = Bench::new(&[5]);
    bench.seal(P0, 0);
    bench.answer(0, 0, Answer::Lost);
    bench.on(Event::Opened { partition: P0, ordinal: Ordinal(1), since: Duration::ZERO });
    let mut all = Vec::new();
    while bench.now < Duration::from_secs(10) {
        all.extend(bench.wait_due());
    }
    let collect = Command::Collect { partition: P0, ordinal: Ordinal(1) };
    assert!(all.contains(&collect), "{all:?}");
}

#[test]
fn answers_to_abandoned_attempts_are_ignored() {
    let mut bench = Bench::new(&[5]);
    bench.seal(P0, 0);
    bench.answer(0, 0, refused(Refusal::Elsewhere));
    bench.on(Event::Routed { shards: vec![5] });
    assert_eq!(bench.answer(0, 0, appended(7)), [], "that attempt was refused");
    assert_eq!(bench.answer(0, 1, appended(9)), [done(0, 9)]);
}

#[test]
fn a_deleted_log_fails_everything_now_and_later() {
    let mut bench = Bench::with(Policy { in_flight_max: 1, ..policy() }, &[5]);
    bench.seal(P0, 0);
    bench.seal(P0, 1);
    bench.answer(0, 0, refused(Refusal::Elsewhere));
    let gone = |ordinal| failed(ordinal, Failure::LogGone);
    assert_eq!(bench.on(Event::LogGone), [gone(0), gone(1)]);
    assert_eq!(bench.seal(P0, 2), [gone(2)]);
    assert!(bench.machine.is_idle());
    let (partition, ordinal, since) = (P0, Ordinal(3), bench.now);
    let opened = bench.on(Event::Opened { partition, ordinal, since });
    assert_eq!(opened, [Command::Collect { partition, ordinal }], "it does not linger");
}

#[test]
fn a_replaced_log_fails_everything_and_tells_what_may_be_in_the_former_one() {
    let mut bench = Bench::with(Policy { in_flight_max: 1, ..policy() }, &[5]);
    bench.seal(P0, 0);
    bench.seal(P0, 1);
    bench.answer(0, 0, Answer::Lost);
    let unknown = failed(0, Failure::OutcomeUnknown { attempts: 1 });
    let replaced = failed(1, Failure::LogReplaced);
    assert_eq!(bench.on(Event::LogReplaced), [unknown, replaced]);
    assert!(bench.machine.is_idle());
}

#[test]
fn delays_grow_with_failures_in_a_row_and_a_success_ends_the_row() {
    let mut bench = Bench::new(&[5]);
    let mut attempt = 0;
    bench.seal(P0, 0);
    let mut delays = Vec::new();
    for _ in 0..6 {
        let sent = bench.now;
        bench.answer(0, attempt, refused(Refusal::Later { after: Duration::ZERO }));
        bench.wait_due();
        delays.push(bench.now.saturating_sub(sent));
        attempt += 1;
    }
    assert!(delays[0] <= 10 * MS && delays[5] >= 50 * MS, "{delays:?}");
    bench.answer(0, attempt, appended(0));
    bench.seal(P0, 1);
    let sent = bench.now;
    bench.answer(1, attempt + 1, refused(Refusal::Later { after: Duration::ZERO }));
    bench.wait_due();
    assert!(bench.now.saturating_sub(sent) <= 10 * MS);
}

#[test]
fn every_code_of_the_wire_is_sorted() {
    for code in ErrorCode::ALL {
        let refusal = Refusal::from(ErrorReply::from(*code));
        let may_be_in_the_log = matches!(refusal, Refusal::MaybeAppended(_));
        assert_eq!(may_be_in_the_log, code.retryability() == Retry::UnknownOutcome, "{code}");
        if matches!(refusal, Refusal::Final(_)) {
            assert_eq!(code.retryability(), Retry::Never, "{code}");
        }
    }
    let busy = ErrorReply::from(ErrorCode::Busy).with_detail(ErrorDetail::RetryAfter { ms: 5 });
    assert_eq!(Refusal::from(busy), Refusal::Later { after: 5 * MS });
}

#[test]
fn a_full_disk_is_tried_again_and_called_by_its_name() {
    let full = ErrorReply::from(ErrorCode::NoSpace).with_detail(ErrorDetail::RetryAfter { ms: 5 });
    let refusal = Refusal::from(full.clone());
    assert_eq!(refusal, Refusal::NoSpace(full.clone()));
    assert_eq!(refusal.to_string(), full.to_string(), "the server's words reach the user");
}
