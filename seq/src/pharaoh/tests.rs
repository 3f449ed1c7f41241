//! Tests of slots, roles and blocks.

use std::iter;

use quickcheck::quickcheck;

use super::*;

fn slots(text: &str) -> SlotSet {
    text.parse().unwrap()
}

fn block(first: u64, count: u32) -> Option<Block> {
    Block::new(Slot::new(3).unwrap(), Tick::new(first).unwrap(), count)
}

#[test]
fn text_of_slots_is_read_and_written_in_ranges() {
    for (given, kept) in [
        ("0-1023", "0-1023"),
        ("0-15,32", "0-15,32"),
        ("7", "7"),
        ("5,3,4,1023", "3-5,1023"),
        (" 1 - 2 , 4 ", "1-2,4"),
    ] {
        assert_eq!(slots(given).to_string(), kept);
    }
    assert_eq!(slots("0-1023"), SlotSet::ALL);
    for wrong in ["", ",", "1,", "1024", "0-1024", "5-3", "1,1", "1-4,4", "-1", "a", "1-2-3"] {
        assert!(wrong.parse::<SlotSet>().is_err(), "{wrong:?}");
    }
    let error = "0-3,9-8".parse::<SlotSet>().unwrap_err();
    assert!(error.to_string().contains("\"9-8\""), "{error}");
}

#[test]
fn fewer_slots_than_shards_are_refused() {
    let error = TooFewSlots { slots: 3, shards: 4 };
    assert_eq!(slots("1-3").split(4), Err(error));
    assert_eq!(slots("1-3").split(3), Ok(vec![slots("1"), slots("2"), slots("3")]));
    assert_eq!(slots("0-4").split(2), Ok(vec![slots("0-2"), slots("3-4")]));
}

#[test]
fn roles_say_what_a_node_does() {
    for (text, stores, serves) in
        [("pyramid", true, false), ("obelisk", false, true), ("all", true, true)]
    {
        let role: Role = text.parse().unwrap();
        assert_eq!((role.stores_records(), role.serves_ids()), (stores, serves), "{role}");
        assert_eq!(role.to_string(), text);
    }
    assert_eq!("sphinx".parse::<Role>(), Err(ParseRoleError));
    assert_eq!(Role::default(), Role::All);
}

#[test]
fn a_block_mints_each_of_its_ids_once() {
    let mut whole = block(8190, 5).unwrap();
    let mut part = whole.cut(2).unwrap();
    assert_eq!((whole.count(), part.count()), (3, 2));
    assert_eq!(whole.cut(4), None, "more than is left");
    let minted: Vec<_> = iter::from_fn(|| part.next().or_else(|| whole.next())).collect();
    let first = ScarabId::new(Slot::new(3).unwrap(), Tick::new(8190).unwrap());
    let expected: Vec<_> = (0..5).map(|n| first.nth(n).unwrap()).collect();
    assert_eq!(minted, expected);
    assert_eq!((part.next(), whole.next()), (None, None));
}

#[test]
fn a_block_may_end_with_the_last_tick_and_not_after_it() {
    let last = Tick::MAX.get();
    assert_eq!(block(last, 2), None);
    assert_eq!(block(last - 1, 3), None);
    let mut ids = block(last - 1, 2).unwrap();
    let ticks = [ids.next(), ids.next()].map(|id| id.unwrap().tick().get());
    assert_eq!(ticks, [last - 1, last]);
    assert_eq!((ids.count(), ids.next()), (0, None));
}

quickcheck! {
    fn slots_are_read_back(numbers: Vec<u16>) -> bool {
        let set: SlotSet = numbers.iter().filter_map(|number| Slot::new(number % SLOTS)).collect();
        set.is_empty() || set.to_string().parse() == Ok(set)
    }

    fn shards_share_all_slots_evenly(numbers: Vec<u16>, shards: u8) -> bool {
        let set: SlotSet = numbers.iter().filter_map(|number| Slot::new(number % SLOTS)).collect();
        let shards = usize::from(shards) % 16 + 1;
        let Ok(parts) = set.split(shards) else { return set.len() < shards };
        let sizes: Vec<_> = parts.iter().map(SlotSet::len).collect();
        // In order of the shards the parts are the whole, so they are disjoint and neighbours.
        parts.len() == shards
            && parts.iter().flat_map(SlotSet::iter).eq(set.iter())
            && sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1
    }
}
