//! What is believed of an answer, and what is done about a refusal.

use pyralog_log::batch::{BuilderConfig, Owner, Record, RowsBuilder, seal};
use pyralog_log::ids::Epoch;

use super::*;

/// A sealed batch from offset 10 on, whose records have these keys.
fn batch(keys: &[&[u8]]) -> Vec<u8> {
    let mut builder = RowsBuilder::new(BuilderConfig::default());
    for key in keys {
        let record = Record { key: Some(key), value: Some(b"value"), ..Record::default() };
        builder.push(&record).unwrap();
    }
    let mut batch = builder.finish(None).unwrap();
    let owner = Owner {
        base_offset: Offset::new(10),
        epoch: Epoch::new(1),
        append_time: Timestamp::new(1),
        scarab_base: 0,
    };
    seal(&mut batch, owner);
    batch
}

fn at(offset: u64) -> KeyFetched {
    let (low, high) = (Offset::new(5), Offset::new(20));
    KeyFetched { found: true, offset: Offset::new(offset), low, high }
}

/// The verdict about an answer to a request for `a`.
fn judged(fetched: KeyFetched, payload: Vec<u8>) -> Judged {
    let payload = (!payload.is_empty()).then(|| Buffer::from(payload));
    let reply = Reply::Done(Response::FetchKey(fetched));
    let asked = (PartitionId::ZERO, &b"a"[..]);
    judge(asked, Answered { reply, payload }, &mut Decoder::new())
}

fn is_wrong(judged: &Judged) -> bool {
    matches!(judged, Judged::Failed(ClientError::Unexpected { .. }))
}

#[test]
fn the_record_is_handed_out_alone_with_where_it_lies() {
    let Judged::Found(Some(found)) = judged(at(11), batch(&[b"b", b"a", b"b"])) else {
        panic!("not found");
    };
    let record = found.record();
    assert_eq!(
        (record.offset.get(), record.key, record.value),
        (11, Some(&b"a"[..]), Some(&b"value"[..]))
    );
    assert_eq!(record.scarab(), None, "it was appended without");
    assert_eq!((found.partition(), found.high_watermark().get()), (PartitionId::ZERO, 20));
}

#[test]
fn nothing_is_nothing_only_without_a_batch() {
    let none = KeyFetched { found: false, ..at(0) };
    assert!(matches!(judged(none, Vec::new()), Judged::Found(None)));
    assert!(is_wrong(&judged(none, batch(&[b"a"]))));
}

#[test]
fn a_record_that_is_not_the_newest_with_the_key_is_not_believed() {
    let whole = [batch(&[b"a"]), batch(&[b"a"])].concat();
    let wrong = [
        ("an older one of the batch", judged(at(10), batch(&[b"a", b"b", b"a"]))),
        ("another key", judged(at(10), batch(&[b"b"]))),
        ("an offset that the batch has not", judged(at(11), batch(&[b"a"]))),
        (
            "an offset that is not committed",
            judged(KeyFetched { high: Offset::new(10), ..at(10) }, batch(&[b"a"])),
        ),
        (
            "an offset that is gone",
            judged(KeyFetched { low: Offset::new(11), ..at(10) }, batch(&[b"a"])),
        ),
        ("no batch", judged(at(10), Vec::new())),
        ("two batches", judged(at(10), whole)),
    ];
    for (what, judged) in wrong {
        assert!(is_wrong(&judged), "{what}: {judged:?}");
    }
}

#[test]
fn a_batch_that_is_damaged_is_told_apart_from_a_wrong_one() {
    let mut damaged = batch(&[b"a"]);
    damaged[150] ^= 1;
    assert!(
        matches!(judged(at(10), damaged), Judged::Corrupt { offset, .. } if offset.get() == 10)
    );
    let mut short = batch(&[b"a"]);
    short.truncate(128);
    assert!(matches!(judged(at(10), short), Judged::Corrupt { .. }));
}

#[test]
fn refusals_are_sorted_by_what_helps() {
    let refuse = |code: ErrorCode| refused(PartitionId::ZERO, ErrorReply::from(code));
    assert!(matches!(refuse(ErrorCode::NotOwner), Judged::Reroute));
    assert!(matches!(refuse(ErrorCode::UnknownLog), Judged::Reroute));
    assert!(matches!(refuse(ErrorCode::Busy), Judged::Later(_)));
    for code in [ErrorCode::KeysNotIndexed, ErrorCode::WrongRole, ErrorCode::Internal] {
        assert!(matches!(refuse(code), Judged::Failed(ClientError::Server(_))), "{code}");
    }
    let long = ErrorDetail::RetryAfter { ms: u64::MAX };
    let busy = ErrorReply::from(ErrorCode::Busy).with_detail(long);
    assert!(matches!(refused(PartitionId::ZERO, busy), Judged::Later(RETRY_AFTER_MAX)));
    let (first, next) = (Offset::new(3), Offset::new(9));
    let damage = ErrorDetail::DataDamaged { first, next };
    let damaged = ErrorReply::from(ErrorCode::DataDamaged).with_detail(damage);
    let judged = refused(PartitionId::ZERO, damaged);
    let told = matches!(&judged, Judged::Failed(ClientError::Damaged { offsets, .. }) if *offsets == (first..next));
    assert!(told, "{judged:?}");
}
