//! A durable room on its home shard: one cursor through its log, however an entry came.

mod cursor;
mod tail;

pub(crate) use cursor::{Cursor, Head, Missed};

use bytes::Bytes;
use shared::db::members::Role;
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
