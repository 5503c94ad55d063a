//! `keywire.v1`: everything that is said on the socket, as it is on the wire.
//!
//! Each message is one JSON object in a text frame. A client sends commands, and gets exactly one reply to
//! each, with the command's `id`, or a Close in its place; whatever else the node says is a push:
//!
//! ```text
//! -> {"id":1,"command":"subscribe","room":"general"}
//! <- {"id":1,"ok":{"room":"general","durable":true,"epoch":"-82","seq":41,"first_seq":1,"last_seq":41}}
//! -> {"id":2,"command":"publish","room":"general","text":"hello"}
//! <- {"id":2,"ok":{"seq":42,"key":"5f0c0f6e-…"}}
//! <- {"push":"message","room":"general","seq":42,"at":"2026-11-25T10:00:00Z","user":{…},"key":"5f0c0f6e-…","text":"hello"}
//! <- {"id":3,"error":{"code":"room_not_found","detail":"There is no such room, or it is not open to you."}}
//! ```
//!
//! So that it can grow: either side ignores fields that it does not know; a command that the node does not
//! know is answered `unknown_command`; a client ignores a push that it does not know. `docs/protocol.md`
//! tells the same to people.

mod command;
mod entry;
mod error;
mod parse;
mod push;
mod reply;

#[cfg(test)]
mod tests;

pub use command::{Command, Content, Create, History, Name, Parsed, Since, Until};
pub use entry::{Entry, Sender, encode as encode_entry};
pub use error::{ErrorCode, Refusal};
pub use parse::parse;
pub use push::{Bye, InRoom, Limits, Push, Rate, Reset, Welcome};
pub use reply::{
    Created, Here, Invitation, Invitations, Invited, Log, Member, Members, Muted, Page, Reply,
    Room, Rooms, SignedIn, Start, Stored, Subscribed, Taken, reply_error, reply_ok,
};

/// The longest `id`: the largest whole number that JavaScript keeps exactly (2^53 - 1).
pub const MAX_ID: u64 = (1 << 53) - 1;

/// Characters at most of a room's name.
pub const ROOM_CHARS: usize = 64;

/// Characters at most of a title, of what is searched for, and of a user's name.
pub const TEXT_CHARS: usize = 100;

/// The longest that somebody is muted for: ten years.
pub const MUTE_SECONDS: i64 = 10 * 365 * 24 * 3_600;

/// Entries at most in an answer to `history`.
pub const HISTORY_ENTRIES: u32 = 100;
/// Arrays and objects of `data` within each other at most. Many readers of JSON take 128 and no more, and a
/// reply puts what it tells into some of its own.
pub const DATA_DEPTH: usize = 64;
