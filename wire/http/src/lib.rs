//! The admin listener: metrics, health, readiness and status over HTTP.
//!
//! One ordinary thread runs a small Tokio runtime with axum on it; the cores never see it. What is answered comes from
//! an [`AdminSource`], which the server implements by asking its cores with messages, under a deadline. So a stuck core
//! makes `/metrics` late or `503`, and a storm of scrapes costs a core one snapshot each, never a lock.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | Prometheus/OpenMetrics text; `503` while the cores do not answer |
//! | `/healthz` | `200 ok` while the process answers at all |
//! | `/readyz` | `200` when the node serves all it should, else `503` and one reason a line |
//! | `/status` | one JSON object for people and programs |

#![forbid(unsafe_code)]

mod admission;
pub mod limits;
mod routes;
mod server;

pub use routes::{AdminSource, METRICS_CONTENT_TYPE, Readiness, Unavailable};
pub use server::{HttpError, HttpServer};
