//! The session table against the plain list of everything ever appended.

use quickcheck::QuickCheck;

use super::*;

const SESSION: SessionId = SessionId::new(7);

fn session(epoch: u32, first_sequence: u64) -> Session {
    Session { id: SESSION, epoch, first_sequence }
}

/// Checks one batch as an append of its own and records it if it is new.
fn append(
    sessions: &mut Sessions,
    session: &Session,
    count: u32,
    base: u64,
) -> Result<Verdict, SessionError> {
    sessions.begin();
    let verdict = sessions.check(session, count)?;
    if verdict == Verdict::New {
        sessions.record(session, count, Offset::new(base), Timestamp::new(5));
    }
    Ok(verdict)
}

/// A table that took batches of ten records each, at offsets 1000, 1010, ...
fn with_batches(batches: u64) -> Sessions {
    let mut sessions = Sessions::default();
    for batch in 0..batches {
        let taken = append(&mut sessions, &session(1, batch * 10), 10, 1000 + batch * 10);
        assert_eq!(taken, Ok(Verdict::New));
    }
    sessions
}

fn encoded(sessions: &Sessions) -> Vec<u8> {
    let mut builder = Builder::new(*b"PYTEST01", 1);
    sessions.encode(&mut builder);
    builder.finish()
}

#[test]
fn an_unknown_session_starts_at_zero_or_not_at_all() {
    let mut sessions = Sessions::default();
    assert_eq!(append(&mut sessions, &session(1, 5), 10, 0), Err(SessionError::Unknown));
    assert!(sessions.is_empty());
    assert_eq!(append(&mut sessions, &session(1, 0), 10, 0), Ok(Verdict::New));
}

#[test]
fn a_repeat_gets_its_original_offset_within_the_window_and_a_refusal_below_it() {
    let mut sessions = with_batches(20);
    for batch in 4..20 {
        let repeat = append(&mut sessions, &session(1, batch * 10), 10, 9999);
        let base_offset = Offset::new(1000 + batch * 10);
        let append_time = Timestamp::new(5);
        assert_eq!(repeat, Ok(Verdict::Repeat { base_offset, append_time }));
    }
    let too_old = Err(SessionError::TooOld { expected: 200 });
    assert_eq!(append(&mut sessions, &session(1, 30), 10, 9999), too_old);
    assert_eq!(append(&mut sessions, &session(1, 190), 9, 9999), too_old, "another count");
    assert_eq!(append(&mut sessions, &session(1, 195), 5, 9999), too_old, "not a batch start");
}

#[test]
fn a_gap_names_what_comes_next() {
    let mut sessions = with_batches(2);
    let gap = append(&mut sessions, &session(1, 30), 10, 9999);
    assert_eq!(gap, Err(SessionError::Gap { expected: 20 }));
}

#[test]
fn a_higher_epoch_restarts_and_fences_the_lower() {
    let mut sessions = with_batches(2);
    let skipping = append(&mut sessions, &session(2, 20), 10, 9999);
    assert_eq!(skipping, Err(SessionError::Gap { expected: 0 }));
    assert_eq!(append(&mut sessions, &session(2, 0), 5, 2000), Ok(Verdict::New));
    let fenced = append(&mut sessions, &session(1, 20), 10, 9999);
    assert_eq!(fenced, Err(SessionError::Fenced { epoch: 2 }));
}

#[test]
fn batches_of_one_append_chain_and_a_refusal_leaves_nothing_behind() {
    let mut sessions = with_batches(1);
    sessions.begin();
    assert_eq!(sessions.check(&session(1, 10), 5), Ok(Verdict::New));
    assert_eq!(sessions.check(&session(1, 15), 5), Ok(Verdict::New));
    assert_eq!(sessions.check(&session(1, 25), 5), Err(SessionError::Gap { expected: 20 }));
    sessions.begin();
    assert_eq!(sessions.check(&session(1, 10), 5), Ok(Verdict::New), "nothing was recorded");
}

#[test]
fn the_least_recently_used_sessions_are_forgotten_and_no_others() {
    let mut sessions = Sessions::default();
    let nth =
        |id: u64, first_sequence| Session { id: SessionId::new(id), epoch: 0, first_sequence };
    for id in 1..=SESSIONS_MAX as u64 {
        append(&mut sessions, &nth(id, 0), 1, id).unwrap();
    }
    append(&mut sessions, &nth(1, 1), 1, 5000).unwrap();
    append(&mut sessions, &nth(9999, 0), 1, 5001).unwrap();
    assert!(sessions.len() <= SESSIONS_MAX);
    assert_eq!(append(&mut sessions, &nth(1, 2), 1, 5002), Ok(Verdict::New), "just used");
    assert_eq!(append(&mut sessions, &nth(2, 1), 1, 5003), Err(SessionError::Unknown));
    assert_eq!(append(&mut sessions, &nth(4096, 1), 1, 5004), Ok(Verdict::New));
}

#[test]
fn a_table_that_is_cut_equals_one_that_never_saw_the_rest() {
    fn property(counts: Vec<u8>, cut: u8) {
        let (mut all, mut kept) = (Sessions::default(), Sessions::default());
        let (mut sequence, mut offset) = (0, 0);
        let counts: Vec<_> = counts.into_iter().take(SESSION_WINDOW_BATCHES).collect();
        for count in counts {
            let count = u32::from(count) + 1;
            append(&mut all, &session(1, sequence), count, offset).unwrap();
            if offset < u64::from(cut) {
                append(&mut kept, &session(1, sequence), count, offset).unwrap();
            }
            sequence += u64::from(count);
            offset += u64::from(count);
        }
        all.roll_back(Offset::new(u64::from(cut)));
        for first in 0..sequence {
            for count in [1, 7, 30] {
                let found = append(&mut all.clone(), &session(1, first), count, 9999);
                let expected = append(&mut kept.clone(), &session(1, first), count, 9999);
                // A session of which nothing is left expects 0, as an unknown one does.
                let same = found == expected
                    || (kept.is_empty() && found == Err(SessionError::Gap { expected: 0 }));
                assert!(same, "{first}+{count}: {found:?}, not {expected:?}");
            }
        }
    }
    QuickCheck::new().tests(300).quickcheck(property as fn(_, _));
}

#[test]
fn restoring_twice_changes_nothing() {
    let mut sessions = with_batches(20);
    let before = encoded(&sessions);
    for batch in 0..20 {
        let mut header = crate::testing::header(Offset::new(1000 + batch * 10), 0, 0);
        (header.session, header.record_count) = (Some(session(1, batch * 10)), 10);
        sessions.restore(&header);
    }
    assert_eq!(encoded(&sessions), before);
}

#[test]
fn a_table_comes_back_from_its_bytes() {
    let mut sessions = with_batches(20);
    append(&mut sessions, &Session { id: SessionId::new(8), epoch: 3, first_sequence: 0 }, 4, 1)
        .unwrap();
    let bytes = encoded(&sessions);
    let mut fields = Fields::open(&bytes, *b"PYTEST01", 1).unwrap();
    let decoded = Sessions::decode(&mut fields).unwrap();
    assert_eq!(encoded(&decoded), bytes);
    assert_eq!(fields.end(), Ok(()));
}
