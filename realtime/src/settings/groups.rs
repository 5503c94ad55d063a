//! The node's settings by subject.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use secrecy::SecretString;
use shared::settings::{Bytes, Rate, Reader, Value};

use super::Process;
use crate::queue::Patience;

/// File descriptors kept free for everything that is not a client: Postgres, Redis, logs, listeners.
const RESERVED_FILES: usize = 256;

/// How long a new connection may take to say what it wants.
#[derive(Debug, Clone)]
pub struct Accept {
    /// `FIRST_BYTE_TIMEOUT`: until the first byte.
    pub first_byte: Duration,
    /// `HEADER_TIMEOUT`: until a request's headers are whole.
    pub header: Duration,
}

/// When silent clients are pinged and cut.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// `PING_INTERVAL`: silence before a Ping.
    pub interval: Duration,
    /// `PING_TIMEOUT`: further silence before the cut.
    pub timeout: Duration,
}

/// How large messages and queues may be.
#[derive(Debug, Clone)]
pub struct Queues {
    /// `MESSAGE_BYTES`: the largest message taken.
    pub message: Bytes,
    /// `QUEUE_BYTES`: what may wait for one connection.
    pub connection: Bytes,
    /// `QUEUE_TOTAL`: what may wait on the node.
    pub total: Bytes,
    /// `STALL_TIMEOUT` and `PAUSE_LIMIT`: how long publishers wait for slow readers.
    pub patience: Patience,
}

/// How many connections there may be and how fast each may send.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `LIMIT_MESSAGES`: messages from one connection.
    pub messages: Option<Rate>,
    /// `LIMIT_BYTES`: bytes from one connection.
    pub bytes: Option<Rate>,
    /// `MAX_CONNECTIONS`: open connections, HTTP included.
    pub connections: Option<usize>,
    /// `CONNECTIONS_PER_ADDRESS`: sockets from one address.
    pub per_address: Option<u32>,
    /// `CONNECTIONS_PER_USER`: sockets of one user.
    pub per_user: Option<u32>,
}

/// How the node goes away.
#[derive(Debug, Clone)]
pub struct Drain {
    /// `DRAIN_DELAY`: accepting goes on after readiness failed.
    pub delay: Duration,
    /// `DRAIN_WINDOW`: the time over which clients are sent away.
    pub window: Duration,
}

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
    /// `REDIS_QUEUE_BYTES`: what may wait in each direction.
    pub queue: Bytes,
}

impl Accept {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            first_byte: reader.get(
                "FIRST_BYTE_TIMEOUT",
                "5s",
                "How long a new connection may stay silent before it is cut.",
            ),
            header: reader.get(
                "HEADER_TIMEOUT",
                "10s",
                "How long a request's headers may take; also how long an idle HTTP connection is kept.",
            ),
        }
    }
}

impl Heartbeat {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            interval: reader.get(
                "PING_INTERVAL",
                "25s",
                "How long a socket may be silent before it is pinged. Keep it under the idle time-outs of proxies on the way, often 60s.",
            ),
            timeout: reader.get(
                "PING_TIMEOUT",
                "10s",
                "How long a pinged socket may stay silent before it is cut.",
            ),
        }
    }
}

impl Queues {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            message: reader.get(
                "MESSAGE_BYTES",
                "64 KiB",
                "The largest message a client may send; a larger one closes 1009.",
            ),
            connection: reader.get(
                "QUEUE_BYTES",
                "256 KiB",
                "What may wait for a slow reader; beyond it the reader is closed 4008. At least four times MESSAGE_BYTES.",
            ),
            total: reader.get(
                "QUEUE_TOTAL",
                "512 MiB",
                "What may wait for all slow readers of a node; beyond it the longest queues are closed.",
            ),
            patience: Patience {
                stall: reader.get(
                    "STALL_TIMEOUT",
                    "200ms",
                    "How long senders wait for a reader whose queue is half full and who takes nothing; then only that reader suffers. Raise it for readers far away.",
                ),
                pause: reader.get(
                    "PAUSE_LIMIT",
                    "2s",
                    "How long one slow reader may make senders wait; each half of QUEUE_BYTES it takes earns it as long again. Divided into that half it is the slowest pace senders adapt to.",
                ),
            },
        }
    }
}

impl Limits {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let messages = reader.get(
            "LIMIT_MESSAGES",
            "1000/s burst 2000",
            "Messages a connection may send; over it the node reads more slowly, nothing is lost. `off` lifts it.",
        );
        let bytes = reader.get(
            "LIMIT_BYTES",
            "4 MiB/s burst 8 MiB",
            "Bytes a connection may send; over it the node reads more slowly, nothing is lost. `off` lifts it.",
        );
        Self {
            messages,
            bytes,
            connections: max_connections(reader),
            per_address: reader.get(
                "CONNECTIONS_PER_ADDRESS",
                "off",
                "Sockets at most from one client address (an IPv6 /64 counts as one); further ones get 503. Set it wherever strangers connect.",
            ),
            per_user: reader.get(
                "CONNECTIONS_PER_USER",
                "50",
                "Signed-in sockets at most of one user on a node; further ones get 503. `off` lifts it.",
            ),
        }
    }
}

impl Drain {
    pub(super) fn read(reader: &mut Reader, process: Process) -> Self {
        let delay = if process == Process::Local { "0" } else { "5s" };
        Self {
            delay: reader.get(
                "DRAIN_DELAY",
                delay,
                "How long a stopped node goes on accepting, so that load balancers see its readiness fail first. `5s` for a node, `0` under `cargo run`.",
            ),
            window: reader.get(
                "DRAIN_WINDOW",
                "20s",
                "The longest time over which a stopped node sends its clients away; few clients go sooner.",
            ),
        }
    }
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
            connect_timeout: reader.get("REDIS_CONNECT_TIMEOUT", "2s", "Longest wait for a connection to Redis."),
            timeout: reader.get(
                "REDIS_TIMEOUT",
                "5s",
                "Longest wait for an answer of Redis, and for a probe to come round; then the link is built anew.",
            ),
            probe_interval: reader.get("REDIS_PROBE_INTERVAL", "2s", "How often a node tries whether its own messages come round."),
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

/// `MAX_CONNECTIONS`, refused when the process may not open so many files.
fn max_connections(reader: &mut Reader) -> Option<usize> {
    let connections: Option<MaxConnections> = reader.get(
        "MAX_CONNECTIONS",
        "auto",
        "Open connections at most; further ones get 503. `auto` is the process's file limit less 256; `off` lifts it.",
    );
    let files = file_limit();
    if let Some(MaxConnections::Number(n)) = connections
        && n + RESERVED_FILES > files
    {
        reader.refuse(format!(
            "MAX_CONNECTIONS: at most {} with this process's file limit",
            files.saturating_sub(RESERVED_FILES)
        ));
    }
    connections.map(|max| max.resolve(files))
}

/// A number of connections, or as many as the file limit allows.
enum MaxConnections {
    Auto,
    Number(usize),
}

impl MaxConnections {
    fn resolve(&self, files: usize) -> usize {
        match self {
            Self::Auto => files.saturating_sub(RESERVED_FILES).max(1),
            Self::Number(n) => *n,
        }
    }
}

impl Value for MaxConnections {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => match text.parse() {
                Ok(n) if n > 0 => Ok(Self::Number(n)),
                _ => Err("a whole number from 1 on, `auto` or `off`".to_owned()),
            },
        }
    }
}

/// Files this process may have open once [`crate::serve::raise_file_limit`] has run.
fn file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum;
    limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}
