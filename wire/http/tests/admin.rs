//! The admin listener as a scraper, a probe and a careless client see it.
#![expect(clippy::unwrap_used, reason = "helpers of a test binary")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use pyralog_http::{AdminSource, HttpServer, METRICS_CONTENT_TYPE, Readiness, Unavailable};

struct Fixed {
    metrics: Result<String, Unavailable>,
    readiness: Readiness,
}

impl AdminSource for Fixed {
    async fn metrics(&self) -> Result<String, Unavailable> {
        self.metrics.clone()
    }

    async fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    async fn status(&self) -> Result<String, Unavailable> {
        Ok("{\"node\":7}".into())
    }
}

fn healthy() -> Fixed {
    Fixed { metrics: Ok("# EOF\n".into()), readiness: Readiness::Ready }
}

fn start(source: impl AdminSource) -> HttpServer {
    HttpServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), source).unwrap()
}

/// Status line and headers as one string, and the body.
fn get(server: &HttpServer, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_string(), body.to_string())
}

#[test]
fn metrics_come_with_the_openmetrics_content_type() {
    let server = start(healthy());
    let (head, body) = get(&server, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains(METRICS_CONTENT_TYPE), "{head}");
    assert_eq!(body, "# EOF\n");
}

#[test]
fn silent_cores_make_metrics_unavailable_and_leave_health_alone() {
    let source = Fixed { metrics: Err(Unavailable("shard 1 did not answer".into())), ..healthy() };
    let server = start(source);
    let (head, body) = get(&server, "/metrics");
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(body, "shard 1 did not answer\n");
    assert!(get(&server, "/healthz").0.starts_with("HTTP/1.1 200"));
}

#[test]
fn readiness_lists_every_reason() {
    let reasons = vec!["log 3 partition 1: failed".to_string(), "draining".to_string()];
    let server = start(Fixed { readiness: Readiness::NotReady(reasons), ..healthy() });
    let (head, body) = get(&server, "/readyz");
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(body, "log 3 partition 1: failed\ndraining\n");
    assert!(get(&start(healthy()), "/readyz").0.starts_with("HTTP/1.1 200"));
}

#[test]
fn status_is_json_and_unknown_paths_say_which_exist() {
    let server = start(healthy());
    let (head, body) = get(&server, "/status");
    assert!(head.contains("application/json"), "{head}");
    assert_eq!(body, "{\"node\":7}");
    let (head, body) = get(&server, "/metrcis");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert!(body.contains("/metrics"), "{body}");
}

#[test]
fn rubbish_costs_its_own_connection_only() {
    let server = start(healthy());
    let mut rubbish = TcpStream::connect(server.address()).unwrap();
    rubbish.write_all(&[0xff; 4096]).unwrap();
    assert!(get(&server, "/healthz").0.starts_with("HTTP/1.1 200"));
}

#[test]
fn stop_does_not_wait_for_an_idle_connection() {
    let server = start(healthy());
    let address = server.address();
    let idle = TcpStream::connect(address).unwrap();
    server.stop();
    drop(idle);
    assert!(TcpStream::connect(address).is_err(), "nobody listens after a stop");
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let server = start(healthy());
    let error = HttpServer::start(server.address(), healthy()).unwrap_err();
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
}
