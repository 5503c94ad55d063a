//! How many connections there may be, and how fast each may send.

use rustix::process::{Resource, getrlimit};
use shared::settings::{Bytes, Rate, Reader, Value};

use super::{Accept, Heartbeat, Shards};
use crate::limits::refill;

/// File descriptors kept free for everything that is not a client: Postgres, Redis, logs, listeners.
const RESERVED_FILES: usize = 128;
/// File descriptors of one shard: what its runtime waits and is woken by.
const SHARD_FILES: usize = 4;

/// How many connections there may be and how fast each may send.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `LIMIT_MESSAGES`: messages from one connection.
    pub messages: Option<Rate>,
    /// `LIMIT_BYTES`: bytes from one connection.
    pub bytes: Option<Rate>,
    /// `MAX_CONNECTIONS`: open connections, HTTP included.
    pub connections: Option<usize>,
    /// `CONNECTIONS_PER_ADDRESS`: connections from one address.
    pub per_address: Option<u32>,
    /// `CONNECTIONS_PER_USER`: sockets of one user.
    pub per_user: Option<u32>,
    /// `SUBSCRIPTIONS_PER_CONNECTION`: rooms that one socket is subscribed to.
    pub subscriptions: Option<u32>,
    /// `ROOMS_PER_USER`: rooms that one user owns.
    pub rooms: Option<u32>,
}

impl Limits {
    pub(super) fn read(reader: &mut Reader, accept: &Accept, shards: &Shards) -> Self {
        let messages = reader.get(
            "LIMIT_MESSAGES",
            "1000/s burst 2000",
            "Messages a connection may send; over it the node reads more slowly, and nothing is lost; keywire.v1 refuses the command instead. `off` lifts it.",
        );
        let bytes = reader.get(
            "LIMIT_BYTES",
            "4 MiB/s burst 8 MiB",
            "Bytes a connection may send; over it the node reads more slowly, and nothing is lost; keywire.v1 refuses the command instead. `off` lifts it.",
        );
        Self {
            messages,
            bytes,
            connections: max_connections(reader, accept, shards),
            per_address: reader.get(
                "CONNECTIONS_PER_ADDRESS",
                "off",
                "Connections at most from one client address (an IPv6 /64 counts as one), HTTP included, or sockets alone with CLIENT_ADDRESS=cloudfront; further ones get 503. Set it wherever strangers connect directly.",
            ),
            per_user: reader.get(
                "CONNECTIONS_PER_USER",
                "50",
                "Signed-in sockets at most of one user on a node; further ones get 503. `off` lifts it.",
            ),
            subscriptions: reader.get(
                "SUBSCRIPTIONS_PER_CONNECTION",
                "200",
                "Rooms at most that a socket of keywire.v1 is subscribed to at once. `off` lifts it.",
            ),
            rooms: reader.get(
                "ROOMS_PER_USER",
                "1000",
                "Rooms at most that a user makes and owns; who owns so many makes no other. `off` lifts it.",
            ),
        }
    }

    pub(super) fn check(&self, message: Bytes, heartbeat: &Heartbeat, reader: &mut Reader) {
        if let (Some(address), Some(all)) = (self.per_address, self.connections)
            && address as usize > all
        {
            reader.refuse("CONNECTIONS_PER_ADDRESS must be at most MAX_CONNECTIONS");
        }
        // A client that is not read for longer would be taken for silent, and take us for gone.
        let silence = heartbeat.silence();
        if self.messages.is_some_and(|rate| refill(rate, 1) > silence) {
            reader.refuse(
                "LIMIT_MESSAGES must allow a message in PING_INTERVAL and PING_TIMEOUT together",
            );
        }
        if self.bytes.is_some_and(|rate| refill(rate, message.0 as u64) > silence) {
            reader.refuse(
                "LIMIT_BYTES must allow MESSAGE_BYTES in PING_INTERVAL and PING_TIMEOUT together",
            );
        }
    }
}

/// `MAX_CONNECTIONS`, refused when the process may not open so many files.
fn max_connections(reader: &mut Reader, accept: &Accept, shards: &Shards) -> Option<usize> {
    let connections: Option<MaxConnections> = reader.get(
        "MAX_CONNECTIONS",
        "auto",
        "Open connections at most; further ones get 503. `auto` is the process's file limit less 128, twice SPARE_CONNECTIONS and four times SHARDS; `off` lifts it.",
    );
    // Clients' ports and ADMIN_PORT have spare connections each.
    let reserved = RESERVED_FILES + 2 * accept.spare + SHARD_FILES * shards.count.resolve();
    let files = file_limit().saturating_sub(reserved);
    if let Some(MaxConnections::Number(n)) = connections
        && n > files
    {
        reader.refuse(format!("MAX_CONNECTIONS: at most {files} with this process's file limit"));
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
            Self::Auto => files.max(1),
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
