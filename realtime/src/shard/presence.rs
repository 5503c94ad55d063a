//! Presence between shards: a room's home is told who comes and goes, and tells everybody.
//!
//! What a room is told goes the way of its messages, home to shard, in order. So does the answer to who
//! asks: whatever changed before it is in it, and whatever changes later comes behind it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::Shard;
use super::client::Client;
use super::link::{Envelope, Sender};
use super::time::PRESENCE;
use crate::hub::Room;
use crate::presence::{Change, User};
use crate::protocol::{Here, Reply, reply_ok};

/// How many are told to be absent before everybody else has a turn: all of a node's users may go at once.
const TOGETHER: usize = 256;

/// What shards tell each other of who is in a room.
#[derive(Debug)]
pub(crate) enum Word {
    /// To the room's home: a subscription of the user has begun.
    Came(Arc<Room>, User),
    /// To the room's home: one has ended.
    Went(Arc<Room>, Uuid),
    /// To the room's home: the user types.
    Types(Arc<Room>, User, Sender),
    /// To the room's home: who is there, behind this user?
    Asks(Arc<Room>, Option<Uuid>, Box<Asker>),
    /// To who asked.
    Answer(Box<(Here, Asker)>),
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Asker {
    /// The shard.
    pub(crate) shard: usize,
    /// The connection there.
    pub(crate) connection: (u32, u64),
    /// The command's number.
    pub(crate) id: u64,
    /// Told when the answer was said. Dropped: there is none.
    pub(crate) said: oneshot::Sender<()>,
}

impl Shard {
    /// A shard is told something.
    pub(super) fn word(&self, to: usize, word: Word) {
        if self.shared.shards[to].inbox.send(Envelope::Presence(word)).is_err() {
            tracing::debug!(shard = to, "presence for a shard that has ended");
        }
    }

    /// Does what it is told.
    pub(super) fn hear_word(self: &Rc<Self>, word: Word) {
        match word {
            Word::Came(room, user) => {
                let change = self.presence.borrow_mut().came(&room, &user);
                self.tell_change(change);
            }
            Word::Went(room, user) => {
                let at = self.presence.borrow_mut().went(room.id, user, Instant::now());
                self.see_off_at(at);
            }
            Word::Types(room, user, from) => self.part(&room).heard_types(self, &user, from),
            Word::Asks(room, after, asker) => {
                let here = self.presence.borrow().here(&room, after);
                self.word(asker.shard, Word::Answer(Box::new((here, *asker))));
            }
            Word::Answer(answer) => self.answer(*answer),
        }
    }

    /// Says it now: behind it in the inbox may be a change that it does not know.
    fn answer(self: &Rc<Self>, (here, asker): (Here, Asker)) {
        let (place, id) = asker.connection;
        let found = self.connections.borrow().get(place).cloned();
        if let Some(connection) = found.filter(|connection| connection.key() == (place, id)) {
            Client::new(Rc::clone(self), connection).say(&reply_ok(asker.id, &Reply::Here(here)));
        }
        // Its connection may have ended.
        if asker.said.send(()).is_err() {
            tracing::debug!("who asked for a room's presence has gone");
        }
    }

    /// Whoever has stayed away is absent now.
    pub(super) fn see_off(&self, now: Instant) {
        let changes = self.presence.borrow_mut().expire(now, TOGETHER);
        for change in changes {
            self.tell_change(Some(change));
        }
        let next = self.presence.borrow().next();
        self.see_off_at(next);
    }

    fn see_off_at(&self, at: Option<Instant>) {
        if let Some(at) = at {
            self.look(PRESENCE, at.max(Instant::now()), Duration::ZERO);
        }
    }

    fn tell_change(&self, change: Option<Change>) {
        if let Some(change) = change {
            self.part(&change.room).pass(self, &change.encode(), change.user());
        }
    }
}
