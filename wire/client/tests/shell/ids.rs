//! Ids from a fleet.

use std::collections::BTreeSet;

use super::*;
use fake::Fault;
use pyralog_client::{ClientError, ErrorCode, IdConfig, IdSource, ScarabId, Slot};

/// Small blocks and short delays.
fn config() -> IdConfig {
    IdConfig {
        block: 100,
        low_water: 100,
        wait: Duration::from_secs(20),
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        ..IdConfig::default()
    }
}

/// Node `number`, which deals from the slot of the same number.
fn manners(number: u16) -> Manners {
    Manners { node: 100 + u64::from(number), slot: number, ..Manners::default() }
}

async fn fleet(nodes: impl IntoIterator<Item = Manners>) -> Vec<Fake> {
    let mut fleet = Vec::new();
    for manners in nodes {
        fleet.push(Fake::start(manners).await);
    }
    fleet
}

fn addresses(fleet: &[Fake]) -> Vec<String> {
    fleet.iter().map(|fake| fake.address.clone()).collect()
}

/// Waits until so many ids lie ready.
async fn filled(ids: &IdSource, count: u64) {
    while ids.leased() < count {
        tokio::task::yield_now().await;
    }
}

fn all_differ(ids: &[ScarabId]) {
    let set: BTreeSet<ScarabId> = ids.iter().copied().collect();
    assert_eq!(set.len(), ids.len());
}

#[test]
fn ids_of_many_handles_differ_and_are_dealt_without_waiting() {
    run(async {
        let fleet = fleet([manners(1), manners(2), manners(3)]).await;
        let mut ids = IdSource::connect(addresses(&fleet), config()).await.unwrap();
        assert!(ids.try_next().is_some(), "a block is there from the start");
        filled(&ids, 150).await;
        let mut all = Vec::new();
        let mut other = ids.clone();
        for _ in 0..500 {
            all.push(ids.next().await.unwrap());
            all.push(other.next().await.unwrap());
        }
        let many = ids.next_many(1234).await.unwrap();
        assert_eq!(many.len(), 1234);
        all.extend(many);
        all_differ(&all);
        assert!(all.iter().all(|id| (1..=3).contains(&id.slot().get())));
    });
}

#[test]
fn a_call_for_many_ids_leases_them_at_once_instead_of_block_by_block() {
    run(async {
        let fleet = fleet([manners(1)]).await;
        let mut ids = IdSource::connect(addresses(&fleet), config()).await.unwrap();
        assert_eq!(ids.next_many(100_000).await.unwrap().len(), 100_000);
        let deals = fleet[0].deals().await;
        assert!(deals < 20, "{deals} requests, where 1000 blocks are needed");
    });
}

#[test]
fn a_handle_that_goes_gives_its_ids_back() {
    run(async {
        let fleet = fleet([manners(1)]).await;
        let ids = IdSource::connect(addresses(&fleet), config()).await.unwrap();
        filled(&ids, 200).await;
        fleet[0].down().await;
        let mut other = ids.clone();
        other.next_many(50).await.unwrap();
        assert_eq!(other.leased(), 50, "of the block that lay ready");
        drop(other);
        assert_eq!(ids.leased(), 150);
    });
}

#[test]
fn it_goes_on_while_every_node_is_down_until_its_blocks_run_out_and_then_says_so() {
    run(async {
        let fleet = fleet([manners(1), manners(2)]).await;
        let config = IdConfig { wait: Duration::from_millis(50), block: 1000, ..config() };
        let mut ids = IdSource::connect(addresses(&fleet), config).await.unwrap();
        filled(&ids, 1100).await;
        for fake in &fleet {
            fake.down().await;
        }
        let mut all = Vec::new();
        while let Some(id) = ids.try_next() {
            all.push(id);
        }
        assert!(all.len() >= 1100, "only {}", all.len());
        let error = ids.next().await.unwrap_err();
        assert!(matches!(error, ClientError::NoIds { last: Some(_), .. }), "{error}");
        assert!(error.is_retryable() && error.is_unavailable(), "{error}");
        assert!(ids.timestamps(1).await.is_err());
        assert_eq!(ids.leased(), 0);
        fleet[1].up();
        let id = loop {
            match ids.next().await {
                Ok(id) => break id,
                Err(ClientError::NoIds { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        all.push(id);
        assert_eq!(id.slot(), Slot::new(2).unwrap());
        all_differ(&all);
    });
}

#[test]
fn nodes_that_refuse_are_passed_over() {
    run(async {
        for code in [ErrorCode::WrongRole, ErrorCode::ClockAstray, ErrorCode::ShuttingDown] {
            let refusing: &'static [Fault] = Box::leak(vec![Fault::Refuse(code); 100].into());
            let bad = Manners { deal_faults: refusing, ..manners(1) };
            let fleet = fleet([bad, manners(2)]).await;
            let mut ids = IdSource::connect(addresses(&fleet), config()).await.unwrap();
            let many: Vec<_> = ids.next_many(1000).await.unwrap().collect();
            assert!(many.iter().all(|id| id.slot().get() == 2), "{code}");
        }
    });
}

#[test]
fn a_fleet_of_the_wrong_role_says_so() {
    run(async {
        let wrong = &[Fault::Refuse(ErrorCode::WrongRole); 9];
        let fleet = fleet([Manners { deal_faults: wrong, ..manners(1) }]).await;
        let config = IdConfig { wait: Duration::from_millis(100), ..config() };
        let error = IdSource::connect(addresses(&fleet), config).await.unwrap_err();
        assert!(error.reply().is_some_and(|reply| reply.is(ErrorCode::WrongRole)), "{error}");
    });
}

#[test]
fn a_lost_answer_costs_ids_and_makes_no_duplicate() {
    run(async {
        let faults = &[Fault::CloseAfter, Fault::Busy(5), Fault::CloseBefore, Fault::CloseAfter];
        let fleet = fleet([Manners { deal_faults: faults, ..manners(1) }]).await;
        let mut ids = IdSource::connect(addresses(&fleet), config()).await.unwrap();
        let all: Vec<_> = ids.next_many(500).await.unwrap().collect();
        all_differ(&all);
        assert!(all[0].tick().get() >= (5 << 13) + 100, "the first block was lost");
    });
}

#[test]
fn a_node_that_hangs_is_hedged() {
    run(async {
        let fleet = fleet([manners(1), manners(2)]).await;
        let config = IdConfig { lease_timeout: Duration::from_mins(2), ..config() };
        let mut ids = IdSource::connect(addresses(&fleet), config).await.unwrap();
        for _ in 0..50 {
            fleet[0].deal_fault(Fault::Swallow).await;
        }
        // Without hedges this would wait for two minutes, which is over the limit of the test.
        for _ in 0..20 {
            ids.next_many(300).await.unwrap();
        }
    });
}

#[test]
fn a_node_that_hangs_alone_is_connected_to_again() {
    run(async {
        let hung = Manners { deal_faults: &[Fault::Swallow], ..manners(1) };
        let fleet = fleet([hung]).await;
        let config = IdConfig { lease_timeout: Duration::from_millis(50), ..config() };
        let mut ids = IdSource::connect(addresses(&fleet), config).await.unwrap();
        ids.next().await.unwrap();
    });
}

#[test]
fn a_call_that_is_given_up_loses_nothing() {
    run(async {
        let fleet = fleet([manners(1)]).await;
        let mut ids = IdSource::connect(addresses(&fleet), config()).await.unwrap();
        filled(&ids, 200).await;
        fleet[0].down().await;
        let leased = ids.leased();
        let short = tokio::time::timeout(Duration::from_millis(20), ids.next_many(10_000)).await;
        assert!(short.is_err(), "there are not so many");
        assert_eq!(ids.leased(), leased);
        fleet[0].up();
        assert_eq!(ids.next_many(10_000).await.unwrap().len(), 10_000);
    });
}

#[test]
fn timestamps_are_fresh_and_rise_within_a_slot() {
    run(async {
        let fleet = fleet([manners(1)]).await;
        let ids = IdSource::connect(addresses(&fleet), config()).await.unwrap();
        filled(&ids, 200).await;
        let mut last = None;
        for _ in 0..10 {
            let times = ids.timestamps(50).await.unwrap();
            assert_eq!((times.len(), times.slot().get()), (50, 1));
            for tick in times {
                assert!(Some(tick) > last, "{tick:?} after {last:?}");
                last = Some(tick);
            }
        }
        // Leased blocks were left alone, and are older.
        let mut ids = ids;
        assert!(ids.try_next().is_some_and(|id| Some(id.tick()) < last));
        assert!(matches!(ids.timestamps(0).await, Err(ClientError::Config { .. })));
    });
}

#[test]
fn two_nodes_with_one_slot_are_refused_by_name() {
    run(async {
        let fleet = fleet([manners(3), Manners { node: 200, ..manners(3) }]).await;
        let config = IdConfig { wait: Duration::from_secs(20), ..config() };
        let mut ids = match IdSource::connect(addresses(&fleet), config).await {
            Ok(ids) => ids,
            Err(error) => return assert_names(&error),
        };
        let error = loop {
            match ids.next_many(90).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert_names(&error);
        assert_eq!(ids.try_next(), None, "nothing is dealt any more");
        assert_names(&ids.timestamps(1).await.unwrap_err());
    });
}

#[test]
fn nodes_of_two_clusters_are_refused_by_name() {
    run(async {
        let fleet = fleet([manners(1), Manners { cluster: 8, ..manners(2) }]).await;
        let error = match IdSource::connect(addresses(&fleet), config()).await {
            Err(error) => error,
            Ok(mut ids) => loop {
                match ids.next_many(90).await {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(error) => break error,
                }
            },
        };
        let ClientError::MixedClusters { clusters } = &error else { panic!("{error}") };
        let found: BTreeSet<u64> = clusters.iter().map(|(cluster, _)| *cluster).collect();
        assert_eq!(found, BTreeSet::from([8, 9]));
    });
}

#[test]
fn settings_of_a_source_are_checked_before_anything_is_sent() {
    run(async {
        let wrong = IdConfig { low_water: 6401, ..config() };
        let error = IdSource::connect(["127.0.0.1:1"], wrong).await.unwrap_err();
        assert!(matches!(error, ClientError::Config { setting: "low_water", .. }), "{error}");
        let none: [String; 0] = [];
        let error = IdSource::connect(none, config()).await.unwrap_err();
        assert!(matches!(error, ClientError::Config { setting: "addresses", .. }), "{error}");
    });
}

fn assert_names(error: &ClientError) {
    let ClientError::SlotConflict { slot: 3, nodes } = error else { panic!("{error}") };
    let nodes: BTreeSet<u64> = nodes.iter().map(|(node, _)| *node).collect();
    assert_eq!(nodes, BTreeSet::from([103, 200]));
    assert!(!error.is_retryable() && error.to_string().contains("slots of its own"), "{error}");
}
