//! What the node says by itself: pushes that are no entries of a log.

use serde::Serialize;

use super::Sender;

/// A push.
#[derive(Debug, Serialize)]
#[serde(tag = "push", rename_all = "snake_case")]
pub enum Push<'a> {
    /// The first message on a connection.
    Welcome(Welcome),
    /// What follows in a room does not join what the client has: it must forget that.
    Reset(Reset<'a>),
    /// The subscription has ended: the user is no longer a member of this private room.
    Unsubscribed {
        /// The room.
        room: &'a str,
    },
    /// Somebody is in the room who was not.
    Present(InRoom<'a>),
    /// Somebody is not in the room any more.
    Absent(InRoom<'a>),
    /// Somebody is typing there.
    Typing(InRoom<'a>),
    /// Whether `present` and `absent` are told in the room from here on; if so, who is there must be asked for.
    Presence {
        /// The room.
        room: &'a str,
        /// Whether they are told.
        told: bool,
    },
    /// The client read too slowly: pushes were dropped, of presence, of typing or of ephemeral rooms.
    Missed,
    /// The node goes away; a Close follows.
    Bye(Bye),
}

/// What a client must know of the node.
#[derive(Debug, Serialize)]
pub struct Welcome {
    /// Who is signed in by the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Sender>,
    /// Without a sign-in: the time to send `auth`, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_in_ms: Option<u64>,
    /// The node's limits for each connection.
    pub limits: Limits,
}

/// The node's limits for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes of a message.
    pub message_bytes: u64,
    /// Rooms subscribed to at once; null: no limit.
    pub subscriptions: Option<u32>,
    /// Publishes without a reply at once.
    pub publishes_in_flight: u32,
    /// How fast commands may come; null: no limit.
    pub messages: Option<Rate>,
    /// The same, in bytes of messages.
    pub bytes: Option<Rate>,
    /// After so many milliseconds of silence the node sends a Ping.
    pub ping_interval_ms: u64,
    /// After so many more it gives the connection up.
    pub ping_timeout_ms: u64,
}

/// How fast something may come: `{"count":1000,"period_ms":1000,"burst":2000}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// So many in each period.
    pub count: u64,
    /// A second, a minute, an hour or a day, in milliseconds.
    pub period_ms: u64,
    /// So many at once after a rest.
    pub burst: u64,
}

/// The log no longer reaches back to where the client left off, or it is another one.
#[derive(Debug, Serialize)]
pub struct Reset<'a> {
    /// The room.
    pub room: &'a str,
    /// The log's epoch.
    pub epoch: String,
    /// Its first entry.
    pub first_seq: u64,
    /// Its last entry, behind which the client goes on.
    pub last_seq: u64,
}

/// A user in a room.
#[derive(Debug, Serialize)]
pub struct InRoom<'a> {
    /// The room.
    pub room: &'a str,
    /// The user.
    pub user: &'a Sender,
}

/// The node goes away.
#[derive(Debug, Serialize)]
pub struct Bye {
    /// The code of the Close that follows.
    pub code: u16,
    /// Connect again after a random time up to this many milliseconds.
    pub retry_ms: u64,
}

impl Push<'_> {
    /// Its JSON.
    ///
    /// # Panics
    /// Never: pushes can be written as JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("pushes are texts and numbers")
    }
}
