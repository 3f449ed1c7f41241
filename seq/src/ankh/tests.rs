//! Tests of the Ankh ring.

use std::collections::{BTreeMap, BTreeSet};

use quickcheck::{TestResult, quickcheck};

use super::*;

const KEYS: u64 = 20_000;

fn ring(ids: impl IntoIterator<Item = u64>) -> AnkhRing {
    AnkhRing::new(&ids.into_iter().map(Member::new).collect::<Vec<_>>()).unwrap()
}

fn owners(ring: &AnkhRing) -> Vec<u64> {
    (0..KEYS).map(|key| ring.locate(&key.to_le_bytes(), 1)[0]).collect()
}

fn in_rack(id: u64, rack: &str) -> Member {
    Member { rack: Some(rack.to_owned()), ..Member::new(id) }
}

#[test]
fn keys_belong_to_the_same_members_in_every_release() {
    let weighted = Member { weight: 3, ..Member::new(u64::MAX) };
    let members = [in_rack(1, "a"), in_rack(2, "a"), in_rack(3, "b"), Member::new(4), weighted];
    let ring = AnkhRing::new(&members).unwrap();
    let located = |key: &str| ring.locate(key.as_bytes(), 5);
    let last = u64::MAX;
    assert_eq!(place_of_point(1, 0), 10_992_643_300_146_378_438);
    assert_eq!(located(""), [1, last, 3, 4, 2]);
    assert_eq!(located("orders"), [4, last, 1, 3, 2]);
    assert_eq!(located("payments"), [last, 2, 4, 3, 1]);
    assert_eq!(located("the quick brown fox jumps over the lazy dog"), [1, 4, 3, last, 2]);
}

#[test]
fn the_order_of_the_members_does_not_matter() {
    let members: Vec<_> = (0..9).map(Member::new).collect();
    let turned: Vec<_> = members.iter().rev().cloned().collect();
    let (one, other) = (AnkhRing::new(&members).unwrap(), AnkhRing::new(&turned).unwrap());
    for key in 0..1_000_u64 {
        let key = key.to_le_bytes();
        assert_eq!(one.locate(&key, 9), other.locate(&key, 9));
    }
}

#[test]
fn what_is_no_ring_is_refused() {
    let weighing = |id, weight| Member { weight, ..Member::new(id) };
    let refused = |members: &[Member]| AnkhRing::new(members).unwrap_err();
    assert_eq!(refused(&[]), RingError::Empty);
    assert_eq!(refused(&[weighing(1, 0)]), RingError::Empty);
    assert_eq!(refused(&[Member::new(1), weighing(1, 0)]), RingError::Twice { id: 1 });
    let heavy = [weighing(1, 4096), weighing(2, 1)];
    assert_eq!(refused(&heavy), RingError::TooHeavy { weight: 4097 });
    assert_eq!(
        refused(&[weighing(1, u32::MAX), weighing(2, u32::MAX)]),
        RingError::TooHeavy { weight: 2 * u64::from(u32::MAX) }
    );
    assert!(AnkhRing::new(&heavy[..1]).is_ok());
}

#[test]
fn a_key_belongs_to_as_many_members_as_there_are_at_most() {
    let ring = ring([7, 8]);
    assert_eq!(ring.locate(b"k", 0), [0; 0]);
    assert_eq!(ring.locate(b"k", 3).len(), 2);
}

/// N members, then N + 1: read forwards one joins, read backwards one leaves.
#[test]
fn a_member_that_comes_or_goes_moves_its_own_share_and_nothing_else() {
    for members in 1..=32 {
        let (few, more) = (owners(&ring(0..members)), owners(&ring(0..=members)));
        let moved: Vec<_> =
            few.iter().zip(&more).filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(_, after)| **after == members), "only to the new one");
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let share = moved.len() as f64 * (members + 1) as f64 / KEYS as f64;
        assert!(share <= 1.3, "{share} of its share moved to the last of {}", members + 1);
        assert!(share >= 0.7, "{share} of its share moved to the last of {}", members + 1);
    }
}

#[test]
fn shares_of_equal_members_deviate_by_a_twelfth() {
    let mut count = BTreeMap::new();
    for owner in owners(&ring(0..64)) {
        *count.entry(owner).or_insert(0_u32) += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let mean = KEYS as f64 / 64.0;
    let squares: f64 = count.values().map(|owned| (f64::from(*owned) / mean - 1.0).powi(2)).sum();
    let deviation = (squares / 64.0).sqrt();
    // The square root of 1/160 by the points, and of 64/20000 by the number of keys: 0.097 together.
    assert!(count.len() == 64 && (0.05..0.13).contains(&deviation), "{deviation}");
}

#[test]
fn a_member_owns_by_its_weight() {
    let members: Vec<_> =
        (0..4).map(|id| Member { weight: [1, 2, 5, 0][id], ..Member::new(id as u64) }).collect();
    let mut count = [0_u32; 4];
    for owner in owners(&AnkhRing::new(&members).unwrap()) {
        count[usize::try_from(owner).unwrap()] += 1;
    }
    for (owned, weight) in count.into_iter().zip([1.0, 2.0, 5.0]) {
        let share = f64::from(owned) / 20_000.0 * 8.0 / weight;
        assert!((0.8..1.2).contains(&share), "{share} of its share by weight {weight}");
    }
    assert_eq!(count[3], 0, "a member that is being drained");
}

#[test]
fn copies_go_to_as_many_racks_as_there_are() {
    let racks = ["a", "a", "a", "a", "a", "a", "b", "b", "c"];
    let members: Vec<_> = racks.iter().zip(0..).map(|(rack, id)| in_rack(id, rack)).collect();
    let ring = AnkhRing::new(&members).unwrap();
    let rack = |id: &u64| racks[usize::try_from(*id).unwrap()];
    for key in 0..1_000_u64 {
        let located = ring.locate(&key.to_le_bytes(), 9);
        assert_eq!(located.iter().collect::<BTreeSet<_>>().len(), 9);
        let racks: Vec<_> = located.iter().map(rack).collect();
        assert_eq!(racks[..3].iter().collect::<BTreeSet<_>>().len(), 3, "{racks:?}");
        assert_eq!(racks[3..5].iter().collect::<BTreeSet<_>>().len(), 2, "{racks:?}");
        assert_eq!(racks[5..], ["a"; 4]);
        for copies in 0..9 {
            assert_eq!(ring.locate(&key.to_le_bytes(), copies), located[..copies]);
        }
    }
}

quickcheck! {
    fn a_member_that_goes_is_replaced_by_one_other(ids: BTreeSet<u64>, key: u64, copies: u8) -> TestResult {
        if ids.len() < 2 {
            return TestResult::discard();
        }
        let copies = usize::from(copies) % ids.len() + 1;
        let gone = *ids.iter().next().unwrap();
        let before = ring(ids.iter().copied()).locate(&key.to_le_bytes(), copies);
        let after = ring(ids.iter().copied().filter(|id| *id != gone)).locate(&key.to_le_bytes(), copies);
        let stayed: Vec<_> = before.iter().copied().filter(|id| *id != gone).collect();
        TestResult::from_bool(after.starts_with(&stayed))
    }
}
