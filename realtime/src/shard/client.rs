//! A connection that speaks `keywire.v1`, as its commands see it.
//!
//! Everything happens on the connection's shard. What takes time runs beside the connection's task, and
//! finds it open or ended when it comes back.

#![expect(clippy::future_not_send, reason = "a shard's futures stay on its thread")]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shared::db::members::Role;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use uuid::Uuid;

use super::Shard;
use super::connection::Connection;
use super::home::{Answer, Asking};
use super::link::Envelope;
use super::memory::Frames;
use super::part::{Busy, Member, Part};
use super::queue::Class;
use super::session::{Session, Subscription};
use crate::auth::Identity;
use crate::close::CloseCode;
use crate::frame::{Opcode, encode};
use crate::hub::{Keeping, Room, Shared, SignIn};
use crate::limits::Counted;
use crate::protocol::{Push, Reset, Since};
use crate::publication::Kind;

/// Publishes of one connection whose outcome is awaited at once; reading waits when there are more.
pub(crate) const IN_FLIGHT: u32 = 32;

/// How long after a page could not be had it is asked for again.
const PAGE_RETRY: Duration = Duration::from_secs(1);

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

    /// Who it is.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.session().identity()
    }

    /// How the handshake signed it in; told once.
    pub(crate) fn take_sign_in(&self) -> Option<SignIn> {
        self.session().sign_in.take()
    }

    /// It is signed in, or its sign-in is renewed. `counted` is its place among the user's connections.
    pub(crate) fn signed_in(&self, identity: Identity, counted: Option<Counted<Uuid>>) {
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
        if self.connection.waiting() > self.shard.shared.rules().cap / 4 {
            session.is_choked.set(true);
            return Err(Busy);
        }
        Ok(())
    }

    /// Runs a command that must be alone: what the client says meanwhile is not read.
    pub(crate) fn run(&self, command: impl Future<Output = ()> + 'static) {
        self.session().is_running.set(true);
        let client = self.clone();
        // Boxed: what waits for Postgres is larger than a task need be.
        let command = Box::pin(command);
        spawn_local(async move {
            command.await;
            client.session().is_running.set(false);
            client.connection.wake();
        });
    }

    /// Runs what is left of a publish, of which several are under way at once.
    pub(crate) fn follow(&self, publish: impl Future<Output = ()> + 'static) {
        self.session().in_flight.update(|in_flight| in_flight + 1);
        let client = self.clone();
        spawn_local(async move {
            publish.await;
            client.session().in_flight.update(|in_flight| in_flight - 1);
            // Else it is not waited for.
            if client.session().in_flight.get() + 1 == IN_FLIGHT {
                client.connection.wake();
            }
        });
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

    /// Whether whoever publishes in a room must wait, because it is told more than it can carry on.
    ///
    /// # Errors
    /// [`Wait`], until there is relief.
    pub(crate) fn may_publish(&self, room: &Arc<Room>) -> Result<(), Wait> {
        let part = self.shard.part(room);
        if part.has_backlog(&self.shard) {
            self.shard.hold(&self.connection);
            // The relief may have come just before.
            if part.has_backlog(&self.shard) {
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

    /// Subscribes it to a room, from the end or from `since` on; `reply` is said before anything that
    /// follows. Whether that was possible: the log may not be readable now.
    pub(crate) async fn subscribe(
        &self,
        room: Arc<Room>,
        role: Option<Role>,
        since: Option<Since>,
        reply: impl FnOnce(Option<&Answer>) -> Vec<u8>,
    ) -> bool {
        self.unsubscribe(&room.name);
        // Before it asks: what is ordered after the answer comes here.
        let seat = Seat::take(Arc::clone(&room), self.shard.index);
        let answer = match room.keeping {
            Keeping::Durable => match self.ask(&room, since).await {
                Some(answer) => Some(answer),
                None => return false,
            },
            Keeping::Ephemeral | Keeping::Plain => None,
        };
        // From here on nothing is awaited: no frame of the room comes between.
        if self.session().is_over.get() {
            return true;
        }
        seat.keep();
        let part = self.shard.part(&room);
        let member = Member::new(Rc::clone(&self.connection), 0);
        let place = part.members.borrow_mut().insert(member);
        let mut subscription = Subscription::new(Rc::clone(&part), place, role);
        if let Some(answer) = &answer {
            subscription.answered(answer);
        }
        self.session().subscriptions.borrow_mut().push(subscription);
        self.say(&reply(answer.as_ref()));
        if let Some(answer) = answer {
            self.go_on(&part, answer);
        }
        true
    }

    /// Tells it what follows in a room.
    fn go_on(&self, part: &Part, Answer { head, is_reset, at, frames }: Answer) {
        if is_reset {
            let reset = Reset {
                room: &part.room.name,
                epoch: head.epoch.to_string(),
                first_seq: head.first_seq,
                last_seq: head.last_seq,
            };
            self.say(&Push::Reset(reset).encode());
        }
        if !frames.is_empty() {
            self.enqueue(frames);
        }
        // More is there, or went by while it was read.
        if at < head.last_seq.max(part.given.get()) {
            self.connection.falls_behind();
        }
    }

    async fn ask(&self, room: &Arc<Room>, since: Option<Since>) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        let asking = Asking { since, answer: sender };
        let home = &self.shard.shared.shards[room.home].inbox;
        home.send(Envelope::Ask { room: Arc::clone(room), asking }).ok()?;
        answer.await.ok()
    }

    /// Ends a subscription; whether there was one.
    pub(crate) fn unsubscribe(&self, name: &str) -> bool {
        self.session().leave(&self.shard, |subscription| subscription.is_of(name))
    }

    /// It has read everything: what waited for that goes on.
    pub(super) fn catch_up(&self) {
        let session = self.session();
        if session.is_choked.replace(false) {
            self.connection.wake();
        }
        if !session.is_behind.replace(false) {
            return;
        }
        for subscription in &mut *session.subscriptions.borrow_mut() {
            let behind = subscription.is_behind().filter(|_| !subscription.is_asking);
            if let Some(since) = behind {
                subscription.is_asking = true;
                let (part, place) = (Rc::clone(&subscription.part), subscription.place);
                spawn_local(self.clone().turn_page(part, place, since));
            }
        }
    }

    /// Asks for the next entries of a room in which it is behind.
    async fn turn_page(self, part: Rc<Part>, place: u32, since: Since) {
        let answer = self.ask(&part.room, Some(since)).await;
        if answer.is_none() {
            tokio::time::sleep(PAGE_RETRY).await;
        }
        // From here on nothing is awaited.
        let mut subscriptions = self.session().subscriptions.borrow_mut();
        // It may have unsubscribed meanwhile, and subscribed again.
        let subscription = subscriptions.iter_mut().find(|one| {
            Rc::ptr_eq(&one.part, &part)
                && one.place == place
                && one.is_asking
                && one.at() == since.seq
        });
        let Some(subscription) = subscription else { return };
        subscription.is_asking = false;
        let Some(answer) = answer else { return self.connection.falls_behind() };
        subscription.answered(&answer);
        drop(subscriptions);
        self.go_on(&part, answer);
    }

    /// The user's role in a room is another one; `None`: no member. A private room is then closed to them.
    pub(super) fn role_changed(&self, part: &Rc<Part>, role: Option<Role>, is_private: bool) {
        if role.is_none() && is_private {
            if self.unsubscribe(&part.room.name) {
                self.say(&Push::Unsubscribed { room: &part.room.name }.encode());
            }
            return;
        }
        for subscription in &mut *self.session().subscriptions.borrow_mut() {
            if Rc::ptr_eq(&subscription.part, part) {
                subscription.role = role;
            }
        }
    }
}

/// A member that is counted before it is one, and no longer if it does not become one.
struct Seat {
    room: Arc<Room>,
    shard: usize,
    is_kept: Cell<bool>,
}

impl Seat {
    fn take(room: Arc<Room>, shard: usize) -> Self {
        room.members[shard].fetch_add(1, Ordering::SeqCst);
        Self { room, shard, is_kept: Cell::new(false) }
    }

    fn keep(self) {
        self.is_kept.set(true);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.is_kept.get() {
            self.room.members[self.shard].fetch_sub(1, Ordering::SeqCst);
        }
    }
}
