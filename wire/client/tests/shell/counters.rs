//! Named counters.

use super::*;
use fake::Fault;
use pyralog_client::{ClientError, CounterConfig, CounterLease, CounterMode, ErrorCode, Gaps};

/// A server with a counter `orders` of this mode, and a client.
async fn start(mode: CounterMode, take_faults: &'static [Fault]) -> (Fake, Client) {
    let fake = Fake::start(Manners { take_faults, ..Manners::default() }).await;
    let client = Client::connect([&fake.address], config()).await.unwrap();
    let config = CounterConfig { mode, ..CounterConfig::default() };
    client.create_counter("orders", config).await.unwrap();
    (fake, client)
}

fn of(block: u32) -> CounterLease {
    CounterLease { block: Some(block), ..CounterLease::default() }
}

#[test]
fn counters_are_created_once_described_listed_raised_and_taken_from() {
    run(async {
        let (_fake, client) = start(CounterMode::Reserve, &[]).await;
        let again = client.create_counter("orders", CounterConfig::default()).await.unwrap();
        assert_eq!(again.last, 0);
        let other = CounterConfig { mode: CounterMode::Always, ..CounterConfig::default() };
        let error = client.create_counter("orders", other).await.unwrap_err();
        assert!(error.reply().is_some_and(|reply| reply.is(ErrorCode::CounterExists)), "{error}");
        assert_eq!(client.counter_take("orders", 10).await.unwrap(), 1..11);
        assert_eq!(client.raise_counter("orders", 100).await.unwrap().last, 100);
        assert_eq!(client.raise_counter("orders", 50).await.unwrap().last, 100);
        assert_eq!(client.counter_take("orders", 1).await.unwrap(), 101..102);
        assert_eq!(client.describe_counter("orders").await.unwrap().last, 101);
        client.create_counter("invoices", other).await.unwrap();
        let listed = client.list_counters("").await.unwrap();
        let names: Vec<&str> = listed.iter().map(|counter| counter.name.as_str()).collect();
        assert_eq!(names, ["invoices", "orders"]);
        assert_eq!(client.list_counters("o").await.unwrap().len(), 1);
        let error = client.counter_take("nothing", 1).await.unwrap_err();
        assert!(error.reply().is_some_and(|reply| reply.is(ErrorCode::UnknownCounter)), "{error}");
        let error = client.counter_take("orders", 0).await.unwrap_err();
        assert!(matches!(error, ClientError::Config { setting: "count", .. }), "{error}");
        assert!(matches!(client.counter_take("a b", 1).await, Err(ClientError::Name(_))));
    });
}

#[test]
fn a_lost_answer_is_not_asked_for_again_and_says_how_many_are_skipped() {
    run(async {
        let (_fake, client) = start(CounterMode::Always, &[Fault::CloseAfter]).await;
        let error = client.counter_take("orders", 5).await.unwrap_err();
        let lost = matches!(&error, ClientError::NumbersLost { counter, at_most: 5, .. } if counter == "orders");
        assert!(lost && error.is_outcome_unknown(), "{error}");
        assert_eq!(client.counter_take("orders", 1).await.unwrap(), 6..7, "skipped, not repeated");
    });
}

#[test]
fn a_handle_deals_a_range_without_the_server_and_goes_on_with_the_next() {
    run(async {
        let (_fake, client) = start(CounterMode::Reserve, &[]).await;
        let mut counter = client.counter("orders", of(3)).await.unwrap();
        assert_eq!(counter.try_next(), None);
        assert_eq!(counter.next().await.unwrap(), 1);
        assert_eq!((counter.try_next(), counter.left()), (Some(2), 1));
        client.counter_take("orders", 10).await.unwrap();
        assert_eq!(counter.next().await.unwrap(), 3);
        assert_eq!(counter.next().await.unwrap(), 14);
        assert_eq!(counter.lost(), 0);
    });
}

#[test]
fn a_handle_passes_over_lost_numbers_where_the_counter_has_gaps_anyway() {
    run(async {
        let faults = &[Fault::CloseAfter, Fault::Busy(1), Fault::CloseAfter];
        let (_fake, client) = start(CounterMode::Reserve, faults).await;
        let mut counter = client.counter("orders", of(10)).await.unwrap();
        assert_eq!(counter.next().await.unwrap(), 21);
        assert_eq!(counter.lost(), 20);
    });
}

#[test]
fn a_handle_tells_of_lost_numbers_where_the_counter_has_no_other_gaps() {
    run(async {
        let (_fake, client) = start(CounterMode::Group, &[Fault::CloseAfter]).await;
        let mut counter = client.counter("orders", CounterLease::default()).await.unwrap();
        let error = counter.next().await.unwrap_err();
        assert!(matches!(error, ClientError::NumbersLost { at_most: 1, .. }), "{error}");
        assert_eq!((counter.next().await.unwrap(), counter.left(), counter.lost()), (2, 0, 1));

        let (_fake, client) = start(CounterMode::Always, &[Fault::CloseAfter]).await;
        let accept = CounterLease { gaps: Gaps::Accept, ..CounterLease::default() };
        let mut counter = client.counter("orders", accept).await.unwrap();
        assert_eq!(counter.next().await.unwrap(), 2, "if that is what is asked for");
    });
}

#[test]
fn numbers_that_came_before_are_not_dealt_again() {
    run(async {
        for (mode, repeats) in [(CounterMode::Reserve, false), (CounterMode::Memory, true)] {
            let (fake, client) = start(mode, &[]).await;
            let mut counter = client.counter("orders", of(5)).await.unwrap();
            counter.next().await.unwrap();
            while counter.try_next().is_some() {}
            fake.forget_counters().await;
            let again = counter.next().await;
            assert_eq!(again.is_ok(), repeats, "{again:?}");
        }
    });
}
