//! A connection that speaks `keywire.v1`, as its commands see it.
//!
//! Everything happens on the connection's shard. What takes time runs beside the connection's task, and
//! finds it open or ended when it comes back.

mod presence;
mod subscribing;

pub(crate) use subscribing::Subscribed;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use shared::db::members::Role;
use tokio::task::spawn_local;
use uuid::Uuid;

use super::Shard;
use super::connection::Connection;
use super::memory::Frames;
use super::part::Busy;
use super::queue::Class;
use super::session::Session;
use crate::auth::Identity;
use crate::close::CloseCode;
use crate::frame::{Opcode, encode};
use crate::hub::{Room, Shared, SignIn};
use crate::limits::Counted;
use crate::protocol::Push;
use crate::publication::Kind;
use crate::room::{MuteChange, RoleChange};
use crate::store::Store;

/// Publishes of one connection whose outcome is awaited at once; reading waits when there are more.
pub(crate) const IN_FLIGHT: u32 = 32;

/// A handle on a connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    shard: Rc<Shard>,
    connection: Rc<Connection>,
}

/// The command must wait; the connection is woken when it may be tried again.
pub(crate) type Wait = Busy;

impl Client {
    /// The connection, which must speak `keywire.v1`.
    pub(super) fn new(shard: Rc<Shard>, connection: Rc<Connection>) -> Self {
        Self { shard, connection }
    }

    fn session(&self) -> &Session {
        self.connection.session().expect("only connections of keywire.v1 have clients")
    }

    /// The node.
    pub(crate) fn node(&self) -> &Arc<Shared> {
        &self.shard.shared
    }

    /// Its database.
    pub(crate) fn store(&self) -> &Store {
        let store = self.shard.shared.store.as_ref();
        store.expect("a node without a database takes no handshake for keywire.v1")
    }

    /// Who it is.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.session().identity()
    }

    /// How the handshake signed it in; told once.
    pub(crate) fn take_sign_in(&self) -> Option<SignIn> {
        self.session().take_sign_in()
    }

    /// It is signed in, or its sign-in is renewed. `counted` is its place among the user's connections.
    pub(crate) fn signed_in(&self, identity: Identity, counted: Option<Counted<Uuid>>) {
        if !self.session().is_over.get() {
            self.shard.signed_in(&self.connection, &identity);
        }
        self.session().signed_in(identity);
        if let Some(counted) = counted {
            self.session().counted.replace(Some(counted));
        }
        // It looks again when it is to end.
        self.connection.wake();
    }

    /// Says something to it.
    pub(crate) fn say(&self, json: &[u8]) {
        let mut frame = Vec::with_capacity(encode::size(json.len()));
        encode::append(&mut frame, Opcode::Text, json);
        self.enqueue(frame.into());
    }

    fn enqueue(&self, frames: Bytes) {
        let frames = Frames::new(frames, &self.shard.memory);
        self.connection.enqueue(&self.shard, Class::Kept, frames, 0);
        self.connection.wake();
    }

    /// Closes it.
    pub(crate) fn close(&self, code: CloseCode) {
        self.connection.end(code);
    }

    /// Counts a command over the rate, and closes it at one too many.
    pub(crate) fn strike(&self) {
        if self.session().strike(Instant::now()) {
            self.close(CloseCode::RateLimited);
        }
    }

    /// Whether a command may begin.
    ///
    /// # Errors
    /// [`Wait`] while one runs that must be alone, or while it does not read what it was told.
    pub(crate) fn may_begin(&self) -> Result<(), Wait> {
        let session = self.session();
        if session.is_running.get() || session.in_flight.get() >= IN_FLIGHT {
            return Err(Busy);
        }
        if self.connection.is_slow(&self.shard) {
            session.is_choked.set(true);
            return Err(Busy);
        }
        Ok(())
    }

    /// Runs a command that must be alone: what the client says meanwhile is not read.
    pub(crate) fn run(&self, command: impl Future<Output = ()> + 'static) {
        self.session().is_running.set(true);
        let ended = Ended { client: self.clone(), is_alone: true };
        // Boxed: what waits for Postgres is larger than a task need be.
        let command = Box::pin(command);
        spawn_local(async move {
            command.await;
            drop(ended);
        });
    }

    /// Runs what is left of a publish, of which several are under way at once.
    pub(crate) fn follow(&self, publish: impl Future<Output = ()> + 'static) {
        self.session().in_flight.update(|in_flight| in_flight + 1);
        let ended = Ended { client: self.clone(), is_alone: false };
        spawn_local(async move {
            publish.await;
            drop(ended);
        });
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.session().is_over.get()
    }

    /// Rooms it is subscribed to.
    pub(crate) fn subscriptions(&self) -> usize {
        self.session().subscriptions.borrow().len()
    }

    /// The room of this name, and the user's role there, if it is subscribed to it.
    pub(crate) fn subscribed(&self, name: &str) -> Option<(Arc<Room>, Option<Role>)> {
        let subscriptions = self.session().subscriptions.borrow();
        let found = subscriptions.iter().find(|subscription| subscription.is_of(name));
        found.map(|found| (Arc::clone(&found.part.room), found.role))
    }

    /// Whether the user may say nothing now in a room that it is subscribed to, as far as its log does not
    /// judge.
    pub(crate) fn is_muted(&self, room: &Room) -> bool {
        let subscriptions = self.session().subscriptions.borrow();
        let found = subscriptions.iter().find(|one| one.part.room.id == room.id);
        let until = found.and_then(|found| found.muted_until);
        until.is_some_and(|until| until > self.store().clock.now())
    }

    /// Whether a user may publish in a durable room, or must wait because it is told more than it can carry
    /// on, or because much of the room's lane is full, or full of theirs.
    ///
    /// # Errors
    /// [`Wait`], until there is relief.
    pub(crate) fn may_publish(&self, room: &Arc<Room>, user: Uuid) -> Result<(), Wait> {
        let (part, store) = (self.shard.part(room), self.store());
        let must_wait = || part.has_backlog(&self.shard) || !store.has_room(room, user);
        if must_wait() {
            self.shard.hold(&self.connection);
            // The relief may have come just before.
            if must_wait() {
                return Err(Busy);
            }
        }
        Ok(())
    }

    /// Publishes in an ephemeral room.
    ///
    /// # Errors
    /// [`Wait`], until there is relief.
    pub(crate) fn publish(&self, room: &Arc<Room>, json: &[u8]) -> Result<(), Wait> {
        let (part, now) = (self.shard.part(room), Instant::now());
        part.publish(&self.shard, Kind::Text, json, now).or_else(|Busy| {
            self.shard.hold(&self.connection);
            part.publish(&self.shard, Kind::Text, json, now)
        })
    }

    /// The user's role in a room is another one; `None`: no member. A private room is then closed to them.
    pub(super) fn role_changed(&self, room: &Room, change: RoleChange) {
        // A subscription that is just being made rests on what was before.
        self.session().is_stale.set(true);
        let mut subscriptions = self.session().subscriptions.borrow_mut();
        let found = subscriptions.iter_mut().find(|one| one.part.room.id == room.id);
        let is_news = found.is_some_and(|subscription| subscription.changed(change));
        drop(subscriptions);
        if is_news && change.role.is_none() && !room.is_public && self.unsubscribe(&room.name) {
            self.say(&Push::Unsubscribed { room: &room.name }.encode());
        }
    }

    /// The user may say nothing in a room until then, or may speak.
    pub(super) fn mute_changed(&self, room: &Room, change: MuteChange) {
        // A subscription that is just being made rests on what was before.
        self.session().is_stale.set(true);
        for subscription in &mut *self.session().subscriptions.borrow_mut() {
            if subscription.part.room.id == room.id {
                subscription.muted(change);
            }
        }
    }
}

/// Lets the connection go on when a command has ended, also by a fault of ours.
struct Ended {
    client: Client,
    is_alone: bool,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let session = self.client.session();
        if self.is_alone {
            session.is_running.set(false);
            self.client.connection.wake();
            return;
        }
        session.in_flight.update(|in_flight| in_flight - 1);
        // Else it is not waited for, neither for the next nor for the end.
        if session.in_flight.get() + 1 == IN_FLIGHT || !session.is_answering() {
            self.client.connection.wake();
        }
    }
}
