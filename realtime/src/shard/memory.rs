//! The account of what connections make the node hold: what waits for them, and what was read from
//! them but cannot be carried out yet.
//!
//! Each shard has an equal share of `QUEUE_TOTAL` and keeps within it alone, so no reader is closed for
//! what those of another shard hold.

use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::Shard;
use super::connection::Connection;
use crate::close::CloseCode;

impl Shard {
    /// What a connection makes the node hold has changed from `before` bytes to `after`.
    pub(super) fn account(&self, before: usize, after: usize) {
        if after != before {
            self.held_bytes.update(|held| held + after - before);
            // For the metrics only.
            let door = &self.shared.shards[self.index];
            door.held_bytes.store(self.held_bytes.get(), Ordering::Relaxed);
        }
    }

    /// Whether so many bytes more may be held. If not, the connections that hold most are closed
    /// first, until nine tenths are left: so it is not due again at the next message.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let share = self.shared.settings.queues.total.0 / self.shared.shards.len();
        if self.held_bytes.get() + bytes > share {
            self.shed(share / 10 * 9);
        }
        self.held_bytes.get() + bytes <= share
    }

    fn shed(&self, goal: usize) {
        let connections = self.connections.borrow();
        let mut holders: Vec<_> =
            connections.iter().filter(|holder| holder.held_bytes() > 0).collect();
        holders.sort_unstable_by_key(|holder| Reverse(holder.held_bytes()));
        for holder in holders {
            if self.held_bytes.get() <= goal {
                break;
            }
            holder.end(CloseCode::Slow);
            holder.clear(self);
        }
    }

    /// What was read from a connection and is kept has changed to so many bytes.
    pub(super) fn keep_unread(&self, connection: &Rc<Connection>, bytes: usize) {
        let before = connection.unread.replace(bytes);
        self.account(before, bytes);
        if bytes > before && !self.has_room_for(0) {
            connection.end(CloseCode::Slow);
        }
    }
}
