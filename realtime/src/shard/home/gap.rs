//! Entries that were removed before this node had them.
//!
//! A node that hears nothing of Postgres for a day may find the log beginning behind what it has given on.
//! Its cursor goes on there, and everybody in the room is told `reset` when they ask for what they lack.

use std::sync::Arc;

use crate::hub::Room;
use crate::shard::Shard;
use crate::shard::link::Envelope;
use crate::shard::part::Part;

impl Shard {
    /// Tells all shards that a room's entries up to this place can be had no more.
    pub(super) fn tell_gap(&self, room: &Arc<Room>, up_to: u64) {
        self.shared.tell_all(|| Envelope::Gap { room: Arc::clone(room), up_to });
    }
}

impl Part {
    /// Entries up to this place can be had no more: who lacks them is behind, and learns it by asking. Frames
    /// that are on their way were ordered before, and who asks first gets none of them.
    pub(in crate::shard) fn skip(&self, up_to: u64) {
        self.given.set(self.given.get().max(up_to));
        for member in self.members.borrow().iter() {
            member.connection.falls_behind();
        }
    }
}
