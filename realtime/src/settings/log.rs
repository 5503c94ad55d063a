//! How durable rooms are stored.

use std::time::Duration;

use shared::db::log::KEPT_AT_LEAST;
use shared::settings::Reader;

/// The longest retention that is not `off`: times before the first year cannot be reckoned with.
const KEPT_AT_MOST: Duration = Duration::from_hours(24 * 36_500);

/// How durable rooms are stored.
#[derive(Debug, Clone)]
pub struct Log {
    /// `LOG_LANES`: connections that append.
    pub lanes: u32,
    /// `LOG_DURABLE`: whether a server that would lose what it has acknowledged is refused.
    pub durable: bool,
    /// `MESSAGE_RETENTION`: how long entries are kept; `None` for ever.
    pub retention: Option<Duration>,
}

impl Log {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let log = Self {
            lanes: reader.get_in(
                "LOG_LANES",
                "4",
                ("1", "64"),
                "Connections of a node that append to the logs of durable rooms, beside DATABASE_POOL; each carries the rooms that fall to it, in batches. More let more batches be committed at once.",
            ),
            durable: reader.get(
                "LOG_DURABLE",
                "on",
                "`off`: take a Postgres with `fsync` or `synchronous_commit` off, which forgets messages it has acknowledged when it crashes. For tests.",
            ),
            retention: reader.get(
                "MESSAGE_RETENTION",
                "off",
                "How long what is said in durable rooms is kept, at least 24h; then it is removed for good. `off`: for ever. The same on all nodes, or the shortest counts.",
            ),
        };
        if log.retention.is_some_and(|keep| keep < KEPT_AT_LEAST || keep > KEPT_AT_MOST) {
            reader.refuse("MESSAGE_RETENTION: 24h to 36500d, or `off`; for a day a message that is sent again is known by its key");
        }
        log
    }
}
