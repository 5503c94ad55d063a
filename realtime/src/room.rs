//! A durable room on its home shard: one cursor through its log, however an entry came.

mod cursor;
mod tail;

pub(crate) use cursor::{Cursor, Head, Missed};

use bytes::Bytes;

/// An entry of a log: its place, and the JSON that is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its place, from 1.
    pub(crate) seq: u64,
    /// What is pushed.
    pub(crate) json: Bytes,
}
