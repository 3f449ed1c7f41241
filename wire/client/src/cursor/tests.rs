//! What a cursor does after each kind of answer.

use quickcheck::quickcheck;

use super::*;

const BACKOFF: Backoff =
    Backoff { min: Duration::from_millis(10), max: Duration::from_millis(100) };

fn cursor(at: StartFrom) -> Cursor {
    Cursor::new(at, Stop::Never, OnOutOfRange::Error, BACKOFF)
}

fn offset(number: u64) -> Offset {
    Offset::new(number)
}

fn fetched(first: u64, next: u64, high: u64) -> Fetched {
    Fetched {
        first_offset: offset(first),
        next_offset: offset(next),
        low: Offset::ZERO,
        high: offset(high),
    }
}

#[test]
fn it_follows_the_next_offset() {
    let mut cursor = cursor(StartFrom::Earliest);
    assert_eq!(cursor.fetched(&fetched(0, 10, 20)), Next::Go);
    assert_eq!(cursor.from(), FetchFrom::Offset(offset(10)));
    assert_eq!(cursor.fetched(&fetched(10, 20, 20)), Next::Go);
    assert_eq!(cursor.fetched(&fetched(20, 20, 20)), Next::Go);
    assert_eq!(cursor.offset(), Some(offset(20)));
}

#[test]
fn an_answer_that_leads_back_is_nonsense() {
    let mut cursor = cursor(StartFrom::Offset(offset(10)));
    assert_eq!(cursor.fetched(&fetched(0, 9, 20)), Next::Nonsense);
    assert_eq!(cursor.offset(), Some(offset(10)));
}

#[test]
fn batches_before_the_position_are_not_wanted() {
    let by_offset = cursor(StartFrom::Offset(offset(10)));
    assert!(!by_offset.wants((offset(0), offset(10))));
    assert!(by_offset.wants((offset(5), offset(11))));
    assert!(by_offset.begins_with(Timestamp::ZERO));
    let by_time = cursor(StartFrom::Time(Timestamp::new(50)));
    assert!(!by_time.begins_with(Timestamp::new(49)));
    assert!(by_time.begins_with(Timestamp::new(50)));
}

#[test]
fn a_time_in_the_future_is_waited_for() {
    let mut cursor = cursor(StartFrom::Time(Timestamp::new(50)));
    assert_eq!(cursor.fetched(&fetched(7, 7, 7)), Next::Go);
    assert_eq!(cursor.from(), FetchFrom::Time(Timestamp::new(50)));
    assert_eq!(cursor.fetched(&fetched(7, 9, 9)), Next::Go);
    assert_eq!(cursor.from(), FetchFrom::Time(Timestamp::new(50)), "these were created before");
    cursor.begun(offset(10));
    assert!(!cursor.wants((offset(9), offset(10))) && cursor.wants((offset(10), offset(11))));
    assert!(cursor.begins_with(Timestamp::ZERO), "whatever came later is read");
    assert_eq!(cursor.fetched(&fetched(9, 12, 12)), Next::Go);
    assert_eq!(cursor.from(), FetchFrom::Offset(offset(12)));
}

#[test]
fn the_end_is_that_of_the_first_answer() {
    let mut cursor = Cursor::new(StartFrom::Earliest, Stop::AtEnd, OnOutOfRange::Error, BACKOFF);
    assert_eq!(cursor.fetched(&fetched(0, 10, 20)), Next::Go);
    cursor.note_end(&fetched(10, 30, 30));
    assert!(cursor.wants((offset(10), offset(20))));
    assert!(!cursor.wants((offset(20), offset(30))));
    assert_eq!(cursor.fetched(&fetched(10, 30, 30)), Next::Finish);
    // An empty partition ends at once.
    let mut empty = Cursor::new(StartFrom::Latest, Stop::AtEnd, OnOutOfRange::Error, BACKOFF);
    assert_eq!(empty.fetched(&fetched(0, 0, 0)), Next::Finish);
}

#[test]
fn what_is_asked_ahead_starts_where_the_answer_ends() {
    let earliest = cursor(StartFrom::Earliest);
    assert_eq!(earliest.ahead(&fetched(0, 10, 20)), Some(FetchFrom::Offset(offset(10))));
    assert_eq!(earliest.ahead(&fetched(0, 20, 20)), Some(FetchFrom::Offset(offset(20))), "waits");
    assert_eq!(earliest.ahead(&fetched(20, 20, 20)), None, "empty");
    let inside = cursor(StartFrom::Offset(offset(10)));
    assert_eq!(inside.ahead(&fetched(5, 11, 20)), Some(FetchFrom::Offset(offset(11))));
    assert_eq!(inside.ahead(&fetched(5, 10, 20)), None, "it does not reach the position");
    let time = cursor(StartFrom::Time(Timestamp::new(50)));
    assert_eq!(time.ahead(&fetched(7, 9, 9)), None, "the time is still waited for");
}

#[test]
fn nothing_is_asked_behind_the_end() {
    let mut cursor = Cursor::new(StartFrom::Earliest, Stop::AtEnd, OnOutOfRange::Error, BACKOFF);
    assert_eq!(cursor.ahead(&fetched(0, 20, 20)), None, "the first answer fixes the end");
    assert_eq!(cursor.ahead(&fetched(0, 10, 20)), Some(FetchFrom::Offset(offset(10))));
    assert_eq!(cursor.fetched(&fetched(0, 10, 20)), Next::Go);
    assert_eq!(cursor.ahead(&fetched(10, 20, 30)), None);
    assert_eq!(cursor.ahead(&fetched(10, 19, 30)), Some(FetchFrom::Offset(offset(19))));
}

quickcheck! {
    /// Whatever a server answers: what is asked ahead is what is asked then, and whoever is to go on
    /// with records had something to ask.
    fn what_is_asked_ahead_is_what_is_asked_next(at: u8, stops: bool, answers: Vec<(u8, u8, u8)>) -> bool {
        let stop = if stops { Stop::AtEnd } else { Stop::Never };
        let from = match at {
            0 => StartFrom::Earliest,
            1 => StartFrom::Latest,
            2 => StartFrom::Time(Timestamp::new(50)),
            at => StartFrom::Offset(offset(at.into())),
        };
        let mut cursor = Cursor::new(from, stop, OnOutOfRange::Error, BACKOFF);
        answers.into_iter().all(|(first, more, high)| {
            let next = u64::from(first) + u64::from(more);
            let fetched = fetched(first.into(), next, next.max(high.into()));
            let (before, ahead) = (cursor.from(), cursor.ahead(&fetched));
            let went_on = cursor.fetched(&fetched) == Next::Go;
            let moved = cursor.from() != before && more > 0;
            ahead.is_none_or(|ahead| went_on && cursor.from() == ahead) && ahead.is_some() == (went_on && moved)
        })
    }
}

#[test]
fn out_of_range_follows_the_policy() {
    let range = ErrorDetail::OffsetOutOfRange { low: offset(5), high: offset(9) };
    let reply = ErrorReply::from(ErrorCode::OffsetOutOfRange).with_detail(range);
    let mut rng = Rng::with_seed(1);
    let mut told = cursor(StartFrom::Offset(offset(3)));
    let expected = Next::OutOfRange { low: offset(5), high: offset(9) };
    assert_eq!(told.refused(reply.clone(), &mut rng), expected);
    assert_eq!(told.offset(), Some(offset(3)));
    for (policy, from) in
        [(OnOutOfRange::Earliest, FetchFrom::Earliest), (OnOutOfRange::Latest, FetchFrom::Latest)]
    {
        let mut moved = Cursor::new(StartFrom::Offset(offset(3)), Stop::Never, policy, BACKOFF);
        assert_eq!(moved.refused(reply.clone(), &mut rng), Next::Retry(Duration::ZERO));
        assert_eq!(moved.from(), from);
        let Next::Retry(delay) = moved.refused(reply.clone(), &mut rng) else { panic!("retry") };
        assert!(delay > Duration::ZERO, "it does not spin");
    }
}

/// One that has read up to offset 4 of the 7 that there were, when the log was cut before offset `low`.
fn overtaken(policy: OnOutOfRange, stop: Stop, low: u64) -> (Cursor, Next) {
    let mut cursor = Cursor::new(StartFrom::Earliest, stop, policy, BACKOFF);
    assert_eq!(cursor.fetched(&fetched(0, 4, 7)), Next::Go);
    let range = ErrorDetail::OffsetOutOfRange { low: offset(low), high: offset(12) };
    let reply = ErrorReply::from(ErrorCode::OffsetOutOfRange).with_detail(range);
    let next = cursor.refused(reply, &mut Rng::with_seed(1));
    (cursor, next)
}

#[test]
fn a_reader_that_retention_overtakes_gets_the_range_and_can_go_on_at_its_beginning() {
    let (mut cursor, next) = overtaken(OnOutOfRange::Error, Stop::Never, 6);
    assert_eq!(next, Next::OutOfRange { low: offset(6), high: offset(12) });
    assert_eq!(
        cursor.offset(),
        Some(offset(4)),
        "it stays where it was until it is told otherwise"
    );
    cursor.seek(StartFrom::Offset(offset(6)));
    assert!(!cursor.wants((offset(4), offset(6))));
    assert!(cursor.wants((offset(5), offset(8))), "the first batch may begin before the range");
    assert_eq!(cursor.fetched(&fetched(5, 8, 12)), Next::Go);
    assert_eq!(cursor.offset(), Some(offset(8)));
}

#[test]
fn a_reader_that_retention_overtakes_goes_on_by_itself_if_it_may_and_keeps_its_end() {
    let (mut cursor, next) = overtaken(OnOutOfRange::Earliest, Stop::AtEnd, 6);
    assert_eq!((next, cursor.from()), (Next::Retry(Duration::ZERO), FetchFrom::Earliest));
    assert!(cursor.wants((offset(6), offset(8))), "what is left before its end");
    assert_eq!(cursor.fetched(&fetched(6, 8, 12)), Next::Finish, "the end is that of its start");
    let (mut cursor, _) = overtaken(OnOutOfRange::Earliest, Stop::AtEnd, 9);
    assert!(!cursor.wants((offset(9), offset(12))), "all that it was to read is gone");
    assert_eq!(cursor.fetched(&fetched(9, 12, 12)), Next::Finish);
    let (mut cursor, next) = overtaken(OnOutOfRange::Latest, Stop::Never, 9);
    assert_eq!((next, cursor.from()), (Next::Retry(Duration::ZERO), FetchFrom::Latest));
    assert_eq!(cursor.fetched(&fetched(12, 12, 12)), Next::Go);
    assert_eq!(cursor.offset(), Some(offset(12)));
}

#[test]
fn refusals_are_sorted_by_what_helps() {
    let mut rng = Rng::with_seed(1);
    let mut ask = |code: ErrorCode, detail| {
        let reply = ErrorReply::from(code).with_detail(detail);
        cursor(StartFrom::Earliest).refused(reply, &mut rng)
    };
    let busy = ask(ErrorCode::Busy, ErrorDetail::RetryAfter { ms: 77 });
    assert_eq!(busy, Next::Retry(Duration::from_millis(77)));
    assert!(matches!(ask(ErrorCode::ReadFailed, ErrorDetail::None), Next::Retry(_)));
    let owner = ErrorDetail::NotOwner { shard: 1 };
    assert!(matches!(ask(ErrorCode::NotOwner, owner), Next::Reroute(_)));
    assert!(matches!(ask(ErrorCode::ShuttingDown, ErrorDetail::None), Next::Reroute(_)));
    assert!(matches!(ask(ErrorCode::InvalidRequest, ErrorDetail::None), Next::Refused(_)));
    let damaged = ErrorDetail::DataDamaged { first: offset(3), next: offset(8) };
    let expected = Next::Damaged { first: offset(3), next: offset(8) };
    assert_eq!(ask(ErrorCode::DataDamaged, damaged), expected);
}

#[test]
fn who_reads_to_the_end_hears_of_reads_that_fail_and_who_follows_waits() {
    let mut rng = Rng::with_seed(1);
    let backoff = Backoff { min: Duration::from_millis(10), max: Duration::from_secs(1) };
    for (stop, gives_up) in [(Stop::AtEnd, true), (Stop::Never, false)] {
        let from = StartFrom::Earliest;
        let mut cursor = Cursor::new(from, stop, OnOutOfRange::Error, backoff);
        let mut ask = || cursor.refused(ErrorReply::from(ErrorCode::ReadFailed), &mut rng);
        for _ in 0..READ_FAILURES_MAX {
            assert!(matches!(ask(), Next::Retry(_)));
        }
        assert_eq!(matches!(ask(), Next::Refused(_)), gives_up);
        // An answer is a new beginning.
        cursor.fetched(&fetched(0, 1, 9));
        let next = cursor.refused(ErrorReply::from(ErrorCode::ReadFailed), &mut rng);
        assert!(matches!(next, Next::Retry(_)));
    }
}

#[test]
fn delays_grow_until_something_arrives() {
    let (mut cursor, mut rng) = (cursor(StartFrom::Earliest), Rng::with_seed(1));
    let mut last = || match cursor.failed(&mut rng) {
        Next::Reroute(delay) => delay,
        other => panic!("{other:?}"),
    };
    let delays: Vec<_> = (0..5).map(|_| last()).collect();
    assert!(delays[4] >= Duration::from_millis(50), "{delays:?}");
    cursor.fetched(&fetched(0, 1, 1));
    let Next::Reroute(delay) = cursor.failed(&mut rng) else { panic!("reroute") };
    assert!(delay <= Duration::from_millis(10));
}
