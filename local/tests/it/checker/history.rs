//! What a client of the checker did and saw, and what the log has in the end.

use std::collections::BTreeMap;

/// What one client did and saw, in order.
#[derive(Debug, Clone)]
pub(super) struct History {
    /// Who it is.
    pub(super) user: String,
    /// What it did and saw.
    pub(super) events: Vec<Event>,
}

/// What a client did or saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A connection began: nothing of the one before holds.
    Connected,
    /// It published, for the first time or again.
    Sent {
        /// Where.
        room: String,
        /// Its name for the message.
        key: String,
        /// The message.
        text: String,
    },
    /// A publish was acknowledged.
    Acked {
        /// The message.
        key: String,
        /// Its place.
        seq: u64,
        /// Whether the node said that it was there before.
        duplicate: bool,
    },
    /// A publish has no outcome: it is to be sent again.
    Unknown,
    /// A command was refused for a reason that never holds here.
    Refused(String),
    /// A subscription began.
    Subscribed {
        /// Where.
        room: String,
        /// From where on it was asked for.
        since: Option<(String, u64)>,
        /// The log.
        epoch: String,
        /// Behind which place it begins.
        seq: u64,
    },
    /// A subscription ended.
    Unsubscribed {
        /// Where.
        room: String,
    },
    /// An entry came.
    Entry {
        /// Where.
        room: String,
        /// The entry.
        entry: Entry,
    },
    /// It was told to forget what it had.
    Reset {
        /// Where.
        room: String,
    },
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its place.
    pub(super) seq: u64,
    /// What it is.
    pub(super) kind: String,
    /// Whose it is.
    pub(super) user: String,
    /// Its sender's name for it.
    pub(super) key: String,
    /// Of a message, what was said.
    pub(super) text: Option<String>,
}

/// The entries of each room, as the database has them.
pub(super) type Logs = BTreeMap<String, Vec<Entry>>;
