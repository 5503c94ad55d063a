//! A member of a room, and what of it the member has.

use std::cell::Cell;
use std::rc::Rc;

use super::{Batch, Entries, Joined, Reach};
use crate::hub::{Keeping, Room};
use crate::shard::Shard;
use crate::shard::connection::Connection;
use crate::shard::queue::Class;
use crate::shard::session::Session;

/// A member of a room.
#[derive(Debug)]
pub(in crate::shard) struct Member {
    /// Its connection.
    pub(in crate::shard) connection: Rc<Connection>,
    /// In a durable room, the last entry it has been given.
    pub(in crate::shard) at: Cell<u64>,
}

impl Member {
    /// Somebody who has been given everything up to `at`.
    pub(in crate::shard) fn new(connection: Rc<Connection>, at: u64) -> Self {
        Self { connection, at: Cell::new(at) }
    }

    /// Writes what it lacks of a batch. Bytes written, or `None` if it got nothing.
    pub(in crate::shard) fn deliver(
        &self,
        shard: &Shard,
        room: &Room,
        batch: &mut Batch,
    ) -> Option<usize> {
        if batch.joined.entries.are_fleeting() {
            return self.deliver_fleeting(shard, batch);
        }
        let class = match room.keeping {
            Keeping::Plain | Keeping::Durable => Class::Kept,
            Keeping::Ephemeral => Class::Droppable,
        };
        let start = match batch.joined.entries.reach(self.at.get()) {
            Reach::Nothing => return None,
            // Not more than a page waits for a member: it reads the rest when it has read that.
            Reach::From(start)
                if room.keeping != Keeping::Durable || !self.connection.is_slow(shard) =>
            {
                start
            }
            Reach::From(_) | Reach::Behind => {
                self.connection.falls_behind();
                return None;
            }
        };
        let written = self.connection.deliver(shard, class, batch, start)?;
        self.at.set(self.at.get().max(batch.joined.entries.last()));
        Some(written)
    }

    /// Writes what is fleeting and not of the member's own user.
    fn deliver_fleeting(&self, shard: &Shard, batch: &mut Batch) -> Option<usize> {
        let Joined { bytes, entries } = &batch.joined;
        let user = self.connection.session().and_then(Session::user);
        let Some(user) = user.filter(|user| !entries.is_for(*user)) else {
            return self.connection.deliver(shard, Class::Fleeting, batch, 0);
        };
        let bytes = entries.only_for(user, bytes);
        if bytes.is_empty() {
            return None;
        }
        let mut theirs = Batch::new(Joined { bytes, entries: Entries::default() });
        self.connection.deliver(shard, Class::Fleeting, &mut theirs, 0)
    }
}
