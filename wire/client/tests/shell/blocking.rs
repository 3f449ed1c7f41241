//! The blocking facade.

use super::*;
use pyralog_client::{ClientError, blocking};

/// A server in a runtime of its own, and its address.
fn server() -> (tokio::runtime::Runtime, String) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let address = runtime.block_on(async { start(Manners::default(), 2).await.0.address });
    (runtime, address)
}

#[test]
fn a_plain_thread_produces_and_consumes() {
    let (_runtime, address) = server();
    let client = blocking::Client::connect([address], config()).unwrap();
    let mut producer = client.producer("events", eager(10)).unwrap();
    for number in 0..200 {
        producer.send_detached(Record::new(number.to_string().as_bytes())).unwrap();
    }
    let last = producer.send(Record::new(b"200")).unwrap();
    assert!(!last.wait().unwrap().duplicate);
    producer.close().unwrap();

    let mut consumer = client.consumer("events", to_the_end()).unwrap();
    let mut all = Vec::new();
    while let Some(batch) = consumer.next().unwrap() {
        all.extend(values(&batch));
    }
    all.sort_unstable_by_key(|value| value.parse::<u32>().unwrap());
    assert_eq!(all, numbers(0..201));
    assert_eq!(client.list_logs("").unwrap().len(), 1);
    client.ping().unwrap();
}

#[test]
fn waiting_for_a_batch_can_be_limited() {
    let (_runtime, address) = server();
    let client = blocking::Client::connect([address], config()).unwrap();
    let mut consumer = client.consumer("events", ConsumerConfig::default()).unwrap();
    let error = consumer.next_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { operation: "next", .. }), "{error}");
    let mut producer = client.producer("events", eager(1)).unwrap();
    producer.send(Record::new(b"late")).unwrap().wait().unwrap();
    let batch = consumer.next_timeout(Duration::from_secs(30)).unwrap().unwrap();
    assert_eq!(values(&batch), ["late"]);
}

#[test]
fn inside_a_runtime_it_refuses_to_block() {
    let (_runtime, address) = server();
    let client = blocking::Client::connect([address.clone()], config()).unwrap();
    run(async move {
        let error = blocking::Client::connect([address], config()).unwrap_err();
        assert!(matches!(error, ClientError::InsideRuntime), "{error}");
        let error = client.ping().unwrap_err();
        assert!(matches!(error, ClientError::InsideRuntime), "{error}");
        // The last handle goes here, which must not panic.
        drop(client);
    });
}
