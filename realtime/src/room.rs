//! A durable room on its home shard: one cursor through its log, however an entry came.

mod cursor;
mod tail;

pub(crate) use cursor::{Cursor, Head, Missed};

use bytes::Bytes;
use shared::db::members::Role;
use time::OffsetDateTime;
use uuid::Uuid;

/// An entry of a log: its place, and the JSON that is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its place, from 1.
    pub(crate) seq: u64,
    /// What is pushed.
    pub(crate) json: Bytes,
    /// What else it means.
    pub(crate) effect: Effect,
}

/// What a user is in a room from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoleChange {
    /// The user.
    pub(crate) user: Uuid,
    /// The role; `None`: no member.
    pub(crate) role: Option<Role>,
    /// Where no log is kept, its number among the room's changes: they may be told in another order. A log's
    /// are told in its own.
    pub(crate) version: Option<i64>,
}

/// Until when a user may say nothing in a room from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MuteChange {
    /// The user.
    pub(crate) user: Uuid,
    /// Until when; `None`: may speak.
    pub(crate) until: Option<OffsetDateTime>,
    /// Where no log is kept, its number among the room's changes: they may be told in another order. Where
    /// one is, each append asks the database.
    pub(crate) version: Option<i64>,
}

/// What an entry means beside what it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    #[default]
    None,
    /// The user has this role in the room; `None`: is no member any more.
    Member(Uuid, Option<Role>),
    /// An earlier entry has no text any more.
    Hides,
}
