//! Connections that do not come about.

use super::*;
use fake::Greeting;
use pyralog_client::{ClientError, ErrorCode};

async fn refused(greeting: Greeting) -> ClientError {
    let fake = Fake::start(Manners { greeting, ..Manners::default() }).await;
    let config = ClientConfig { connect_timeout: Duration::from_millis(200), ..config() };
    Client::connect([&fake.address], config).await.unwrap_err()
}

#[test]
fn a_version_that_was_not_offered_is_an_error_with_its_number() {
    let error = run(refused(Greeting::Version(99)));
    assert!(error.to_string().contains("version 99"), "{error}");
    assert!(!error.is_retryable());
}

#[test]
fn a_refused_handshake_keeps_the_words_of_the_server() {
    let error = run(refused(Greeting::Refuse(ErrorCode::TooManyConnections)));
    assert!(error.reply().is_some_and(|reply| reply.is(ErrorCode::TooManyConnections)), "{error}");
    assert!(error.is_retryable() && error.is_unavailable());
    let error = run(refused(Greeting::Refuse(ErrorCode::UnsupportedVersion)));
    assert!(!error.is_retryable(), "{error}");
}

#[test]
fn another_protocol_is_recognised() {
    let error = run(refused(Greeting::Http));
    assert!(matches!(error, ClientError::Connection { .. }), "{error}");
    assert!(error.to_string().contains("check address and port"), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let error = run(refused(Greeting::Silent));
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    assert!(error.is_unavailable());
}

#[test]
fn nobody_there_is_an_error_with_the_address() {
    run(async {
        // A port that was just free.
        let address = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let error = Client::connect([&address], config()).await.unwrap_err();
        assert!(error.is_unavailable() && error.to_string().contains(&address), "{error}");
    });
}

#[test]
fn the_next_address_is_tried() {
    run(async {
        let silent = Fake::start(Manners { greeting: Greeting::Http, ..Manners::default() }).await;
        let fake = Fake::start(Manners::default()).await;
        let client = Client::connect([&silent.address, &fake.address], config()).await.unwrap();
        assert_eq!(client.server().address, fake.address);
    });
}

#[test]
fn settings_are_checked_before_anything_is_sent() {
    run(async {
        let none: [String; 0] = [];
        let error = Client::connect(none, config()).await.unwrap_err();
        assert!(matches!(error, ClientError::Config { setting: "addresses", .. }), "{error}");
        let (_fake, client) = start(Manners::default(), 1).await;
        let error = client.producer("events", eager(0)).await.unwrap_err();
        assert!(matches!(error, ClientError::Config { setting: "records_max", .. }), "{error}");
    });
}
