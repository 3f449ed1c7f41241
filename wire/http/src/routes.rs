//! The paths, and what a server must be able to say to fill them.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::limits::ANSWER_MAX;

/// Content type of `/metrics`: the `OpenMetrics` text format, which Prometheus has read since 2.5.
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The cores did not answer; the message says which and why, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// Whether the node serves everything that it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All of it.
    Ready,
    /// Not all of it; one reason a line, each a sentence a person can act on.
    NotReady(Vec<String>),
}

/// Where the answers come from. Called on the admin listener's thread; several calls may overlap.
pub trait AdminSource: Send + Sync + 'static {
    /// All metrics in the `OpenMetrics` text format.
    ///
    /// # Errors
    /// [`Unavailable`] if the cores did not answer in time. Dropping the future leaves nothing behind.
    fn metrics(&self) -> impl Future<Output = Result<String, Unavailable>> + Send;

    /// Whether the node is ready. Dropping the future leaves nothing behind.
    fn readiness(&self) -> impl Future<Output = Readiness> + Send;

    /// The state of the node as one JSON object.
    ///
    /// # Errors
    /// [`Unavailable`] if the cores did not answer in time. Dropping the future leaves nothing behind.
    fn status(&self) -> impl Future<Output = Result<String, Unavailable>> + Send;
}

pub(crate) fn router<S: AdminSource>(source: Arc<S>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(|| async { plain(StatusCode::OK, "ok\n".into()) }))
        .route("/readyz", get(readyz::<S>))
        .route("/metrics", get(metrics::<S>))
        .route("/status", get(status::<S>))
        .fallback(unknown)
        .with_state(source)
}

async fn index() -> Response {
    plain(StatusCode::OK, "pyralog admin: /metrics /healthz /readyz /status\n".into())
}

async fn unknown() -> Response {
    plain(
        StatusCode::NOT_FOUND,
        "no such path; try /metrics, /healthz, /readyz or /status\n".into(),
    )
}

async fn readyz<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    match within(source.readiness()).await {
        Ok(Readiness::Ready) => plain(StatusCode::OK, "ready\n".into()),
        Ok(Readiness::NotReady(reasons)) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
        }
        Err(unavailable) => refuse(unavailable),
    }
}

async fn metrics<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    answer(METRICS_CONTENT_TYPE, within(source.metrics()).await)
}

async fn status<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    answer(JSON, within(source.status()).await)
}

/// The second line of defence: the source has a deadline of its own, and a source that forgets it must not pile up
/// requests.
async fn within<T>(answer: impl Future<Output = T>) -> Result<T, Unavailable> {
    tokio::time::timeout(ANSWER_MAX, answer).await.map_err(|_elapsed| {
        Unavailable(format!("the cores did not answer within {} s", ANSWER_MAX.as_secs()))
    })
}

fn answer(
    content_type: &'static str,
    body: Result<Result<String, Unavailable>, Unavailable>,
) -> Response {
    match body.and_then(|inner| inner) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(unavailable) => refuse(unavailable),
    }
}

fn refuse(Unavailable(reason): Unavailable) -> Response {
    plain(StatusCode::SERVICE_UNAVAILABLE, reason + "\n")
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], text).into_response()
}
