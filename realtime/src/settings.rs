//! The node's settings.

mod binary;
mod groups;

use shared::settings::{Reader, Value};

pub use binary::Binary;
pub use groups::{Accept, Drain, Heartbeat, Limits, Queues, Redis};

/// Which process reads the settings; a few defaults differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// `cargo run`: everything in one process, stopped with Ctrl-C.
    Local,
    /// The `realtime` binary, behind a load balancer.
    Node,
}

/// Who may use plain mode, setting `REALTIME_PLAIN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// Anybody, without a token.
    On,
    /// Only with a valid access token of a live session.
    Auth,
    /// Nobody.
    Off,
}

impl Value for Plain {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "on" => Ok(Self::On),
            "auth" => Ok(Self::Auth),
            "off" => Ok(Self::Off),
            _ => Err("`on`, `auth` or `off`".to_owned()),
        }
    }
}

/// All settings of a node but its addresses, which the process that listens knows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `REALTIME_PLAIN`: who may use plain mode.
    pub plain: Plain,
    /// How long a new connection may take to say what it wants.
    pub accept: Accept,
    /// When silent clients are pinged and cut.
    pub heartbeat: Heartbeat,
    /// How large messages and queues may be.
    pub queues: Queues,
    /// How many connections there may be and how fast each may send.
    pub limits: Limits,
    /// How the node goes away.
    pub drain: Drain,
    /// How nodes reach each other; `None` is one node alone.
    pub redis: Option<Redis>,
}

impl Settings {
    /// Reads them; whatever contradicts itself is refused with the other wrong values.
    pub fn read(reader: &mut Reader, process: Process) -> Self {
        let settings = Self {
            plain: reader.get(
                "REALTIME_PLAIN",
                "on",
                "Who may connect to `/ws` in plain mode: `on` anybody, `auth` only with a valid access token, `off` nobody.",
            ),
            accept: Accept::read(reader),
            heartbeat: Heartbeat::read(reader),
            queues: Queues::read(reader),
            limits: Limits::read(reader),
            drain: Drain::read(reader, process),
            redis: Redis::read(reader),
        };
        settings.check(reader);
        settings
    }

    fn check(&self, reader: &mut Reader) {
        let Queues { message, connection, total, .. } = self.queues;
        if message.0.saturating_mul(4) > connection.0 {
            reader.refuse("MESSAGE_BYTES must be at most a quarter of QUEUE_BYTES, or one message could cut a healthy reader");
        }
        if message.0 == 0 {
            reader.refuse("MESSAGE_BYTES must not be 0");
        }
        if connection > total {
            reader.refuse("QUEUE_TOTAL must be at least QUEUE_BYTES");
        }
        if let (Some(address), Some(all)) = (self.limits.per_address, self.limits.connections)
            && address as usize > all
        {
            reader.refuse("CONNECTIONS_PER_ADDRESS must be at most MAX_CONNECTIONS");
        }
        let mut waits = vec![
            ("FIRST_BYTE_TIMEOUT", self.accept.first_byte),
            ("HEADER_TIMEOUT", self.accept.header),
            ("PING_INTERVAL", self.heartbeat.interval),
            ("PING_TIMEOUT", self.heartbeat.timeout),
        ];
        if let Some(redis) = &self.redis {
            redis.check(message, reader);
            waits.push(("REDIS_CONNECT_TIMEOUT", redis.connect_timeout));
            waits.push(("REDIS_TIMEOUT", redis.timeout));
            waits.push(("REDIS_PROBE_INTERVAL", redis.probe_interval));
        }
        for (name, _) in waits.into_iter().filter(|(_, wait)| wait.is_zero()) {
            reader.refuse(format!("{name} must not be 0"));
        }
    }
}

#[cfg(test)]
mod tests;
