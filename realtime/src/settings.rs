//! The node's settings.

mod accept;
mod binary;
mod groups;
mod limits;
mod log;
mod redis;
mod shards;

use shared::settings::{Reader, Value};

pub use accept::Accept;
pub use binary::Binary;
pub use groups::{Drain, Heartbeat, Presence, Queues};
pub use limits::Limits;
pub use log::Log;
pub use redis::Redis;
pub use shards::{Count, Shards};

/// The range of waits that must not be 0.
const WAIT: (&str, &str) = ("1ms", "1d");
/// The range of waits that 0 turns off.
const WAIT_OR_NONE: (&str, &str) = ("0", "1d");

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
    /// How a new connection is taken in, or turned away.
    pub accept: Accept,
    /// When silent clients are pinged and cut, and closed ones cut.
    pub heartbeat: Heartbeat,
    /// How large messages and queues may be.
    pub queues: Queues,
    /// The threads that carry the sockets.
    pub shards: Shards,
    /// How many connections there may be and how fast each may send.
    pub limits: Limits,
    /// How durable rooms are stored.
    pub log: Log,
    /// Who is told of whom in a room.
    pub presence: Presence,
    /// How the node goes away.
    pub drain: Drain,
    /// How nodes reach each other; `None` is one node alone.
    pub redis: Option<Redis>,
}

impl Settings {
    /// Reads them; whatever contradicts itself is refused with the other wrong values.
    pub fn read(reader: &mut Reader, process: Process) -> Self {
        let plain = reader.get(
            "REALTIME_PLAIN",
            "on",
            "Who may connect to `/ws` in plain mode: `on` anybody, `auth` only with a valid access token, `off` nobody.",
        );
        let heartbeat = Heartbeat::read(reader);
        let accept = Accept::read(reader, &heartbeat);
        let shards = Shards::read(reader);
        let settings = Self {
            plain,
            queues: Queues::read(reader),
            limits: Limits::read(reader, &accept, &shards),
            shards,
            log: Log::read(reader),
            presence: Presence::read(reader),
            drain: Drain::read(reader, process),
            redis: Redis::read(reader),
            accept,
            heartbeat,
        };
        settings.check(reader);
        settings
    }

    fn check(&self, reader: &mut Reader) {
        let Queues { message, connection, total, .. } = self.queues;
        if message.0.saturating_mul(4) > connection.0 {
            reader.refuse("MESSAGE_BYTES must be at most a quarter of QUEUE_BYTES, or one message could cut a healthy reader");
        }
        if connection.0.saturating_mul(self.shards.count.resolve()) > total.0 {
            reader.refuse("QUEUE_TOTAL must be at least QUEUE_BYTES for each of the SHARDS");
        }
        self.shards.check(message, reader);
        self.limits.check(message, &self.heartbeat, reader);
        if let Some(redis) = &self.redis {
            redis.check(message, reader);
        }
    }
}

#[cfg(test)]
mod tests;
