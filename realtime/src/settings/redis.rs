//! How nodes reach each other.

use std::time::Duration;

use secrecy::SecretString;
use shared::settings::{Bytes, Reader};

use super::WAIT;

/// How nodes reach each other.
#[derive(Debug, Clone)]
pub struct Redis {
    /// `REDIS_URL`: its password included.
    pub url: SecretString,
    /// `REDIS_PREFIX`: what every channel's name starts with.
    pub prefix: String,
    /// `REDIS_CONNECT_TIMEOUT`: the wait for a connection.
    pub connect_timeout: Duration,
    /// `REDIS_TIMEOUT`: the wait for an answer, and for a probe to come round.
    pub timeout: Duration,
    /// `REDIS_PROBE_INTERVAL`: how often the way round is tried.
    pub probe_interval: Duration,
    /// `REDIS_RETRY_MAX`: the longest wait before a broken link is built anew.
    pub retry_max: Duration,
    /// `REDIS_QUEUE_BYTES`: what may wait in each direction.
    pub queue: Bytes,
}

impl Redis {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let url = reader.optional::<String>(
            "REDIS_URL",
            "Address of Redis, such as `redis://host` or `rediss://user:password@host`; nodes with the same one relay to each other. Without it a node is alone.",
        );
        let redis = Self {
            url: url.clone().unwrap_or_default().into(),
            prefix: reader.get("REDIS_PREFIX", "kw", "What every Redis channel's name starts with; nodes must agree."),
            connect_timeout: reader.get_in("REDIS_CONNECT_TIMEOUT", "2s", WAIT, "Longest wait for a connection to Redis."),
            timeout: reader.get_in(
                "REDIS_TIMEOUT",
                "5s",
                WAIT,
                "Longest wait for an answer of Redis, and for a probe to come round; then the link is built anew.",
            ),
            probe_interval: reader.get_in("REDIS_PROBE_INTERVAL", "2s", WAIT, "How often a node tries whether its own messages come round."),
            retry_max: reader.get_in(
                "REDIS_RETRY_MAX",
                "2s",
                ("100ms", "1h"),
                "Longest wait before a broken link to Redis is built anew; the first is 100ms, and each doubles the last.",
            ),
            queue: reader.get("REDIS_QUEUE_BYTES", "16 MiB", "What may wait for Redis, and from it, on a node; beyond it relayed messages are dropped and counted."),
        };
        url.map(|url| {
            let known = ["redis://", "rediss://", "redis+unix://", "unix://"];
            let shaped = url::Url::parse(&url).is_ok();
            if !shaped || !known.iter().any(|scheme| url.starts_with(scheme)) {
                reader.refuse("REDIS_URL: an address like `redis://host:6379`, `rediss://…` or `unix:///path`");
            }
            redis
        })
    }

    pub(super) fn check(&self, message: Bytes, reader: &mut Reader) {
        if message.0.saturating_mul(4) > self.queue.0 {
            reader.refuse("REDIS_QUEUE_BYTES must be at least four times MESSAGE_BYTES");
        }
        if self.probe_interval >= self.timeout {
            reader.refuse("REDIS_PROBE_INTERVAL must be shorter than REDIS_TIMEOUT");
        }
    }
}
