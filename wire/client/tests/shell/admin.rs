//! Administration.

use super::*;
use pyralog_client::{ClientError, ErrorCode, Offset, PartitionId, StartFrom, Timestamp};

#[test]
fn logs_are_created_described_listed_and_deleted() {
    run(async {
        let (_fake, client) = start(Manners::default(), 3).await;
        let described = client.describe_log("events").await.unwrap();
        assert_eq!((described.name.as_str(), described.partitions.len()), ("events", 3));
        client.create_log("others", LogConfig::default()).await.unwrap();
        let names = |logs: Vec<pyralog_client::LogDescription>| -> Vec<String> {
            logs.into_iter().map(|log| log.name).collect()
        };
        assert_eq!(names(client.list_logs("").await.unwrap()), ["events", "others"]);
        assert_eq!(names(client.list_logs("o").await.unwrap()), ["others"]);
        assert_eq!(client.delete_log("events").await.unwrap(), described.id);
        let gone = client.describe_log("events").await.unwrap_err();
        assert!(matches!(gone, ClientError::UnknownLog { name } if name == "events"));
    });
}

#[test]
fn refusals_keep_the_words_of_the_server() {
    run(async {
        let (_fake, client) = start(Manners::default(), 1).await;
        let again = client.create_log("events", LogConfig::default()).await.unwrap_err();
        assert!(again.reply().is_some_and(|reply| reply.is(ErrorCode::LogExists)), "{again}");
        assert!(!again.is_retryable() && !again.is_unavailable());
        let name = client.create_log("no spaces", LogConfig::default()).await.unwrap_err();
        assert!(matches!(name, ClientError::Name(_)), "{name}");
        let unknown = client.producer("nothing", ProducerConfig::default()).await.unwrap_err();
        assert!(matches!(unknown, ClientError::UnknownLog { .. }), "{unknown}");
    });
}

#[test]
fn pings_stats_and_offsets_come_back() {
    run(async {
        let (_fake, client) = start(Manners::default(), 2).await;
        assert!(client.ping().await.unwrap() > Duration::ZERO);
        assert_eq!(client.stats().await.unwrap().logs, 1);
        assert_eq!(client.server().cluster, 9);
        assert!(client.now() >= Timestamp::new(1_000_000));
        produce(&client, ProducerConfig::default(), 10).await;
        let mut high = 0;
        for partition in 0..2 {
            let at = StartFrom::Latest;
            let found =
                client.find_offset("events", PartitionId::new(partition), at).await.unwrap();
            assert_eq!(found.low, Offset::ZERO);
            high += found.high.get();
        }
        assert_eq!(high, 10);
        let beyond = client.find_offset("events", PartitionId::new(2), StartFrom::Latest).await;
        assert!(matches!(beyond, Err(ClientError::Partition { partitions: 2, .. })));
    });
}

#[test]
fn a_connection_that_does_not_answer_in_time_is_given_up() {
    run(async {
        let fake = Fake::start(Manners { deaf_after: 1, ..Manners::default() }).await;
        let config = ClientConfig { request_timeout: Duration::from_millis(100), ..config() };
        let client = Client::connect([&fake.address], config).await.unwrap();
        client.create_log("events", LogConfig::default()).await.unwrap();
        let silence = client.list_logs("").await.unwrap_err();
        assert!(matches!(silence, ClientError::Timeout { .. }), "{silence}");
        assert_eq!(client.list_logs("").await.unwrap().len(), 1, "over another connection");
    });
}

#[test]
fn answers_that_come_a_byte_at_a_time_are_answers() {
    run(async {
        let (_fake, client) = start(Manners { dribble: true, ..Manners::default() }, 1).await;
        produce(&client, eager(10), 100).await;
        assert_eq!(consume(&client, to_the_end()).await, numbers(0..100));
    });
}
