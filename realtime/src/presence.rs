//! Who is in which room: users with a subscription there, in the rooms whose home a shard is.
//!
//! Nothing of it is stored. A plain struct, which is told the time, and tells what the room is to be told.
//! Two doors lead in, [`Presence::came`] and [`Presence::went`]: through them come the subscriptions of
//! this node, and through them would come what other nodes announce.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::auth::Identity;
use crate::hub::{Room, RoomId};
use crate::protocol::{Here, InRoom, Push, Sender};
use crate::settings;

/// Users in one answer at most.
const PAGE: usize = 100;

/// Who is in which room.
#[derive(Debug)]
pub(crate) struct Presence {
    settings: settings::Presence,
    /// One list for all rooms: most have few users, and a map for each would cost more than they do.
    stays: BTreeMap<(RoomId, Uuid), Stay>,
    crowds: HashMap<RoomId, Crowd>,
    /// Who is absent at that time unless they come back, each once.
    leaving: BTreeSet<(Instant, RoomId, Uuid)>,
    /// Whether the node goes away: then nobody is told.
    is_over: bool,
}

/// Who is in a room, or was there a moment ago.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// The user.
    pub(crate) id: Uuid,
    /// The user's name.
    pub(crate) username: Arc<str>,
}

/// A user in a room.
#[derive(Debug)]
struct Stay {
    username: Arc<str>,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// With so many subscriptions.
    There(u32),
    /// With none, and absent from then on.
    LeavesAt(Instant),
}

/// All users in a room.
#[derive(Debug)]
struct Crowd {
    room: Arc<Room>,
    count: u32,
    /// Whether the room is told who comes and goes.
    is_told: bool,
}

/// What a room is to be told.
#[derive(Debug)]
pub(crate) struct Change {
    /// The room.
    pub(crate) room: Arc<Room>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Present(User),
    Absent(User),
    /// There are so many that changes are not told any more.
    Crowded,
    /// They are told again.
    Thinned,
}

impl Presence {
    /// Nobody is anywhere.
    pub(crate) fn new(settings: settings::Presence) -> Self {
        Self {
            settings,
            stays: BTreeMap::new(),
            crowds: HashMap::new(),
            leaving: BTreeSet::new(),
            is_over: false,
        }
    }

    /// A subscription of the user in the room has begun.
    pub(crate) fn came(&mut self, room: &Arc<Room>, user: &User) -> Option<Change> {
        match self.stays.entry((room.id, user.id)) {
            Entry::Occupied(mut stay) => {
                let state = &mut stay.get_mut().state;
                *state = match *state {
                    State::There(count) => State::There(count.saturating_add(1)),
                    State::LeavesAt(at) => {
                        self.leaving.remove(&(at, room.id, user.id));
                        State::There(1)
                    }
                };
                return None;
            }
            Entry::Vacant(place) => {
                place.insert(Stay { username: Arc::clone(&user.username), state: State::There(1) });
            }
        }
        let new = || Crowd { room: Arc::clone(room), count: 0, is_told: true };
        let crowd = self.crowds.entry(room.id).or_insert_with(new);
        crowd.count += 1;
        if !crowd.is_told {
            return None;
        }
        crowd.is_told = crowd.count <= self.settings.limit;
        let what = if crowd.is_told { What::Present(user.clone()) } else { What::Crowded };
        (!self.is_over).then(|| Change { room: Arc::clone(room), what })
    }

    /// A subscription of the user in the room has ended. When to look for who is absent, if not before.
    pub(crate) fn went(&mut self, room: RoomId, user: Uuid, now: Instant) -> Option<Instant> {
        let stay = self.stays.get_mut(&(room, user))?;
        let State::There(count) = stay.state else { return None };
        if count > 1 {
            stay.state = State::There(count - 1);
            return None;
        }
        let at = now + self.settings.grace;
        stay.state = State::LeavesAt(at);
        let is_first = self.leaving.is_empty();
        self.leaving.insert((at, room, user));
        is_first.then_some(at)
    }

    /// Who has stayed away for the time of grace is absent, so many at most.
    pub(crate) fn expire(&mut self, now: Instant, most: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..most {
            let Some((_, room, user)) = self.leaving.first().copied().filter(|one| one.0 <= now)
            else {
                break;
            };
            self.leaving.pop_first();
            changes.extend(self.is_absent(room, user));
        }
        changes
    }

    fn is_absent(&mut self, room: RoomId, user: Uuid) -> Option<Change> {
        let Stay { username, .. } = self.stays.remove(&(room, user))?;
        let crowd = self.crowds.get_mut(&room)?;
        crowd.count -= 1;
        let (limit, count) = (self.settings.limit, crowd.count);
        if count == 0 {
            // Nobody is there to be told.
            self.crowds.remove(&room);
            return None;
        }
        let what = if crowd.is_told {
            What::Absent(User { id: user, username })
        } else if count <= limit - limit / 4 {
            // Not at once: all would ask again each time that one more comes or goes.
            crowd.is_told = true;
            What::Thinned
        } else {
            return None;
        };
        (!self.is_over).then(|| Change { room: Arc::clone(&crowd.room), what })
    }

    /// When somebody is absent next, unless they come back.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.leaving.first().map(|(at, ..)| *at)
    }

    /// The node goes away, and with it everybody: nobody is told.
    pub(crate) fn end(&mut self) {
        self.is_over = true;
    }

    /// Who is in the room, by id, from behind a user on.
    pub(crate) fn here(&self, room: &Room, after: Option<Uuid>) -> Here {
        let start = match after {
            Some(after) => Bound::Excluded((room.id, after)),
            None => Bound::Included((room.id, Uuid::nil())),
        };
        let mut stays = self.stays.range((start, Bound::Included((room.id, Uuid::max()))));
        let users = stays.by_ref().take(PAGE);
        let users = users.map(|((_, id), stay)| sender(*id, &stay.username)).collect();
        let crowd = self.crowds.get(&room.id);
        Here {
            room: (*room.name).to_owned(),
            count: crowd.map_or(0, |crowd| crowd.count),
            told: crowd.is_none_or(|crowd| crowd.is_told),
            users,
            more: stays.next().is_some(),
        }
    }
}

impl Change {
    /// Whom it is about: they know.
    pub(crate) fn user(&self) -> Option<Uuid> {
        match &self.what {
            What::Present(user) | What::Absent(user) => Some(user.id),
            What::Crowded | What::Thinned => None,
        }
    }

    /// What the room is told.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let room = &*self.room.name;
        match &self.what {
            What::Present(user) => {
                Push::Present(InRoom { room, user: &sender(user.id, &user.username) }).encode()
            }
            What::Absent(user) => {
                Push::Absent(InRoom { room, user: &sender(user.id, &user.username) }).encode()
            }
            What::Crowded => Push::Presence { room, told: false }.encode(),
            What::Thinned => Push::Presence { room, told: true }.encode(),
        }
    }
}

impl User {
    /// Whose identity it is.
    pub(crate) fn of(identity: &Identity) -> Self {
        Self { id: identity.user, username: Arc::clone(&identity.username) }
    }

    /// What others are told when the user types.
    pub(crate) fn types(&self, room: &Room) -> Vec<u8> {
        let user = &sender(self.id, &self.username);
        Push::Typing(InRoom { room: &room.name, user }).encode()
    }
}

fn sender(id: Uuid, username: &str) -> Sender {
    Sender { id, username: username.to_owned() }
}

#[cfg(test)]
mod tests;
