//! What a server takes from and grants to each connection.

use crate::config::ConfigError;
use crate::limits::{
    BATCH_BYTES_MAX, BODY_BYTES_MAX, CREDIT_BYTES, CREDIT_REQUESTS, CREDIT_REQUESTS_MAX,
    FETCH_BYTES_MAX, FRAME_BYTES_MAX, IDLE_TIMEOUT_MS, OUTBOX_BYTES_MAX, PAYLOAD_BYTES_MAX,
    SMALL_REPLY_BYTES_MAX, WAIT_MS_MAX,
};
use crate::message::ConnectionLimits;

/// What a server takes from and grants to each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// What the client is told.
    pub limits: ConnectionLimits,
    /// Bytes of replies that may wait for the client to read them.
    pub outbox_bytes_max: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            limits: ConnectionLimits {
                body_bytes_max: BODY_BYTES_MAX,
                payload_bytes_max: PAYLOAD_BYTES_MAX,
                batch_bytes_max: u32::try_from(BATCH_BYTES_MAX).unwrap_or(PAYLOAD_BYTES_MAX),
                fetch_bytes_max: FETCH_BYTES_MAX,
                wait_ms_max: WAIT_MS_MAX,
                idle_ms_max: IDLE_TIMEOUT_MS,
                credit_requests: CREDIT_REQUESTS,
                credit_bytes: CREDIT_BYTES,
            },
            outbox_bytes_max: OUTBOX_BYTES_MAX,
        }
    }
}

impl ServerConfig {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        // Room for the largest reply beside the small replies that all other requests keep, so that
        // fetches waiting at the tail never keep another from its payload.
        let small = u64::from(limits.credit_requests) * u64::from(SMALL_REPLY_BYTES_MAX);
        let outbox_bytes_min = u64::from(FRAME_BYTES_MAX) + small;
        for (field, value, min, max) in [
            ("body_bytes_max", limits.body_bytes_max.into(), 4096, BODY_BYTES_MAX.into()),
            ("payload_bytes_max", limits.payload_bytes_max.into(), 4096, PAYLOAD_BYTES_MAX.into()),
            ("batch_bytes_max", limits.batch_bytes_max.into(), 4096, BATCH_BYTES_MAX as u64),
            ("fetch_bytes_max", limits.fetch_bytes_max.into(), 4096, FETCH_BYTES_MAX.into()),
            ("credit_requests", limits.credit_requests.into(), 1, CREDIT_REQUESTS_MAX.into()),
            ("credit_bytes", limits.credit_bytes, 4096, u64::MAX),
            ("outbox_bytes_max", self.outbox_bytes_max, outbox_bytes_min, u64::MAX),
        ] {
            if !(min..=max).contains(&value) {
                return Err(ConfigError::OutOfRange { field, value, min, max });
            }
        }
        Ok(())
    }
}
