//! How durable rooms are stored.

use shared::settings::Reader;

/// How durable rooms are stored.
#[derive(Debug, Clone)]
pub struct Log {
    /// `LOG_LANES`: connections that append.
    pub lanes: u32,
    /// `LOG_DURABLE`: whether a server that would lose what it has acknowledged is refused.
    pub durable: bool,
}

impl Log {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
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
        }
    }
}
