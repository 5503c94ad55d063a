//! The rooms that are open on this node.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// With fewer rooms it is not looked for those that are closed.
const SWEPT: usize = 1_024;

/// A room, by number: that of its row, or 0 for the lobby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub i64);

impl RoomId {
    /// The room of all plain clients.
    pub const LOBBY: Self = Self(0);
}

/// What becomes of what is said in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// Plain mode: it is relayed as it came.
    Plain,
    /// It reaches who is there, and is not kept.
    Ephemeral,
    /// It is in the log, and each entry has its place.
    Durable,
}

/// What all shards know of a room.
#[derive(Debug)]
pub struct Room {
    /// Its number.
    pub(crate) id: RoomId,
    /// Its name; empty for plain clients.
    pub(crate) name: Box<str>,
    /// What becomes of what is said in it.
    pub(crate) keeping: Keeping,
    /// Whether who is no member may read.
    pub(crate) is_public: bool,
    /// The shard that orders what is published in it.
    pub(crate) home: usize,
    /// Members on each shard. Counted before a member's shard hears of it, so that whatever is
    /// published afterwards goes there.
    pub(crate) members: Box<[AtomicUsize]>,
    /// Members for which publishers wait, on all shards.
    pub(crate) pausing: AtomicUsize,
}

/// The rooms that anybody holds.
#[derive(Debug)]
pub(crate) struct Rooms {
    shards: usize,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    rooms: HashMap<RoomId, Weak<Room>>,
    /// At so many, those that nobody holds any more are let go.
    sweep_at: usize,
}

impl Rooms {
    /// None yet.
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards, open: Mutex::new(Open { rooms: HashMap::new(), sweep_at: SWEPT }) }
    }

    /// A room, opened if need be. There is never more than one of a number.
    pub(crate) fn open(
        &self,
        id: RoomId,
        name: &str,
        keeping: Keeping,
        is_public: bool,
    ) -> Arc<Room> {
        // Nothing panics while it is held.
        let Open { rooms, sweep_at } =
            &mut *self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(&id).and_then(Weak::upgrade) {
            return room;
        }
        if rooms.len() >= *sweep_at {
            rooms.retain(|_, room| room.strong_count() > 0);
            *sweep_at = SWEPT.max(rooms.len() * 2);
        }
        let room = Arc::new(Room {
            id,
            name: name.into(),
            keeping,
            is_public,
            home: usize::try_from(id.0.unsigned_abs()).unwrap_or(0) % self.shards,
            members: (0..self.shards).map(|_| AtomicUsize::new(0)).collect(),
            pausing: AtomicUsize::new(0),
        });
        rooms.insert(id, Arc::downgrade(&room));
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_one_for_as_long_as_anybody_holds_it_and_leaves_nothing_for_ever() {
        let rooms = Rooms::new(2);
        let room = rooms.open(RoomId(5), "five", Keeping::Durable, true);
        let again = rooms.open(RoomId(5), "five", Keeping::Durable, true);
        assert!(Arc::ptr_eq(&room, &again));
        assert_eq!(room.home, 1);
        for id in 10..10_000 {
            rooms.open(RoomId(id), "passing", Keeping::Ephemeral, true);
        }
        assert!(rooms.open.lock().unwrap().rooms.len() <= SWEPT);
        assert!(Arc::ptr_eq(&room, &rooms.open(RoomId(5), "five", Keeping::Durable, true)));
    }
}
