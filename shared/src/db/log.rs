//! The log of each durable room: what is appended to it, and how it is read.
//!
//! An entry has a number, its `seq`, from 1 and without holes, and is about a message or a member. With
//! the room's `epoch` beside it, a number is a position that holds on every node.

mod append;
mod epochs;
mod read;
mod retention;
mod writer;

use time::OffsetDateTime;
use uuid::Uuid;

pub use append::{Append, NewEntry, Outcome, append};
pub use epochs::renew_epochs;
pub use read::{From, HEADS, ROW_BYTES, Replay, heads, page, since};
pub use retention::{KEPT_AT_LEAST, Retention, aged, remove_ended, trim};
pub use writer::{Durability, LOCK_TIMEOUT, STATEMENT_TIMEOUT, connect, durability};

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody said something.
    Message,
    /// Somebody said it otherwise.
    Edited,
    /// It was taken back, and its texts are gone.
    Deleted,
    /// Somebody became a member.
    Joined,
    /// Somebody is no longer a member.
    Left,
    /// A member's role changed.
    Role,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Message, Self::Edited, Self::Deleted, Self::Joined, Self::Left, Self::Role];

    /// The name in the database and on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Edited => "edited",
            Self::Deleted => "deleted",
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Role => "role",
        }
    }

    /// The kind of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Where a log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Random; another one when the log is no longer the one that clients have seen.
    pub epoch: i64,
    /// The first entry that is still there; `last_seq + 1` when none is.
    pub first_seq: i64,
    /// The newest entry; 0 before the first.
    pub last_seq: i64,
}

/// An entry, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub seq: i64,
    /// What it says.
    pub kind: Kind,
    /// Who said or did it; `None` once the account is deleted.
    pub user: Option<Author>,
    /// The sender's name for it.
    pub key: Uuid,
    /// The message that an `edited` or `deleted` is about.
    pub of: Option<i64>,
    /// The JSON text that is delivered: of a message what was sent, of `joined`, `left` and `role` the
    /// member, like `{"user":"<uuid>","username":"bob","role":"member"}` with the name of now, null once the
    /// account is deleted. `None` of a `deleted`, and of a message and its `edited` once that is deleted.
    pub body: Option<String>,
    /// When it was appended.
    pub at: OffsetDateTime,
}

/// Who said or did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The account.
    pub id: Uuid,
    /// Its username now.
    pub username: String,
}
