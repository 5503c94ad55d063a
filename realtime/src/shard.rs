//! One shard: a thread with a runtime of its own, and all that its connections share.
//!
//! Nothing here is locked. Other threads reach a shard only by its inbox, and what shards know of
//! each other is in [`Shared`].

#![expect(clippy::future_not_send, reason = "a shard's futures stay on its thread")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;
use uuid::Uuid;

use crate::hub::{self, Room, RoomId, Shared};
use crate::presence::Presence;

mod away;
pub(crate) mod client;
mod connection;
mod flush;
pub(crate) mod home;
pub(crate) mod link;
mod members;
mod memory;
mod part;
mod patience;
pub(crate) mod presence;
mod queue;
mod revocation;
mod session;
mod time;
mod upkeep;
mod wheel;

use connection::{Connection, Speech, Task};
use flush::Flush;
use link::{Envelope, Joining, Sender};
use members::Members;
use memory::Account;
use part::Part;
use session::Session;
use wheel::Wheel;

/// Bytes read from a socket at once.
const READ_BYTES: usize = 64 * 1024;

/// What the connections of one thread share.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Which of the shards it is.
    index: usize,
    /// What it shares with the others.
    shared: Arc<Shared>,
    /// What other threads tell it.
    inbox: RefCell<UnboundedReceiver<Envelope>>,
    /// Told that the node is gone.
    stopped: Notify,
    /// Every connection, those that are ending included. Its place is its key in the wheel.
    connections: RefCell<Members<Rc<Connection>>>,
    /// What each room has here.
    parts: RefCell<HashMap<RoomId, Rc<Part>>>,
    /// The connections of each user who is signed in.
    users: RefCell<HashMap<Uuid, Vec<Rc<Connection>>>>,
    /// Who is in the rooms whose home it is.
    presence: RefCell<Presence>,
    /// Rooms with something to write.
    flush: Flush,
    /// When to look at which connection again.
    wheel: RefCell<Wheel>,
    /// Wakes who keeps the time.
    clock: RefCell<Option<Waker>>,
    /// Connections that hold a message until there is relief.
    holding: RefCell<Vec<Rc<Connection>>>,
    /// Connections for which publishers wait, or waited at the last review.
    pausing: RefCell<Vec<Rc<Connection>>>,
    /// When it is looked for whom they wait still.
    review_at: Cell<Option<Instant>>,
    /// How many have held a message so far: what gives each its turn.
    turns: Cell<u64>,
    /// What connections here make the node hold.
    memory: Rc<Account>,
    /// Where sockets are read into.
    read_buffer: RefCell<Box<[u8]>>,
}

/// Starts a shard.
///
/// # Errors
/// If its thread or its runtime cannot be had.
pub(crate) fn start(
    index: usize,
    shared: Arc<Shared>,
    inbox: UnboundedReceiver<Envelope>,
) -> io::Result<()> {
    let (ready, started) = std::sync::mpsc::channel();
    let run = move || {
        // A local runtime stays on the thread that made it.
        let runtime =
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
        drop(ready.send(Ok(())));
        let node = Arc::clone(&shared);
        runtime.block_on(run(Rc::new(Shard::new(index, shared, inbox))));
        // With the runtime go the tasks, and with the last of them the shard's inbox.
        drop(runtime);
        node.ended.notify_waiters();
    };
    thread::Builder::new().name(format!("shard {index}")).spawn(run)?;
    started.recv().map_err(io::Error::other)?
}

/// Runs until the node is gone, or something here panicked.
async fn run(shard: Rc<Shard>) {
    let inbox = spawn_local(Rc::clone(&shard).listen());
    let time = spawn_local(time::keep(Rc::clone(&shard)));
    let flush = spawn_local(flush::run(Rc::clone(&shard)));
    let upkeep = spawn_local(upkeep::run(Rc::clone(&shard)));
    tokio::select! {
        biased;
        () = shard.stopped.notified() => return,
        _ = inbox => {}
        _ = time => {}
        _ = flush => {}
        _ = upkeep => {}
    }
    tracing::error!(shard = shard.index, "a shard ended by a fault; its sockets are cut");
}

impl Shard {
    fn new(index: usize, shared: Arc<Shared>, inbox: UnboundedReceiver<Envelope>) -> Self {
        let wheel = Wheel::new(shared.settings.heartbeat.interval, Instant::now());
        let told = Arc::clone(&shared.shards[index].held_bytes);
        let presence = Presence::new(shared.settings.presence.clone());
        Self {
            index,
            shared,
            inbox: RefCell::new(inbox),
            stopped: Notify::new(),
            connections: RefCell::default(),
            parts: RefCell::default(),
            users: RefCell::default(),
            presence: RefCell::new(presence),
            flush: Flush::default(),
            wheel: RefCell::new(wheel),
            clock: RefCell::default(),
            holding: RefCell::default(),
            pausing: RefCell::default(),
            review_at: Cell::new(None),
            turns: Cell::new(0),
            memory: Account::new(told),
            read_buffer: RefCell::new(vec![0; READ_BYTES].into()),
        }
    }

    /// Does what it is told, for as long as the node is there.
    async fn listen(self: Rc<Self>) {
        while let Some(envelope) = poll_fn(|cx| self.inbox.borrow_mut().poll_recv(cx)).await {
            self.open(envelope);
        }
    }

    /// Does at once whatever it has been told by now. Before each flush: a client that has seen its
    /// 101 gets what is published after that, so its joining must not wait in the inbox meanwhile.
    fn catch_up(self: &Rc<Self>) {
        loop {
            let Ok(envelope) = self.inbox.borrow_mut().try_recv() else { return };
            self.open(envelope);
        }
    }

    fn open(self: &Rc<Self>, envelope: Envelope) {
        match envelope {
            Envelope::Join(joining) => self.join(*joining),
            Envelope::Publish { room, kind, payload, from } => {
                let message = part::Waiting::Publish { kind, payload, seq: 0, from };
                self.part(&room).arrived(self, message);
            }
            Envelope::Deliver { room, frames, entries, from } => {
                let frames = part::Waiting::Deliver { frames, entries, from };
                self.part(&room).arrived(self, frames);
            }
            Envelope::Log { room, news, bytes } => {
                self.shared.arrived(Sender::Log, self.index, bytes);
                match self.known(&room) {
                    Some(part) => part.hear(self, news),
                    // Nobody here follows it.
                    None => self.tell_members(&room, news.rows()),
                }
            }
            Envelope::Ask { room, asking } => self.part(&room).ask(self, asking),
            Envelope::Renew { room } => {
                if let Some(part) = self.known(&room) {
                    part.renew(self);
                }
            }
            Envelope::Gap { room, up_to } => {
                if let Some(part) = self.known(&room) {
                    part.skip(up_to);
                }
            }
            Envelope::Member { room, change } => self.member_changed(&room, change),
            Envelope::Muted { room, change, done } => {
                for client in self.clients_of(change.user) {
                    client.mute_changed(&room, change);
                }
                drop(done);
            }
            Envelope::Presence(word) => self.hear_word(word),
            Envelope::Sessions { which, answer } => drop(answer.send(self.sessions(&which))),
            Envelope::Judged(verdicts) => self.judged(&verdicts),
            Envelope::Relief => self.relieve(),
            Envelope::Review => self.review(Instant::now()),
            Envelope::SendAway { window, done } => {
                self.presence.borrow_mut().end();
                spawn_local(away::send_away(Rc::clone(self), window, done));
            }
            Envelope::Stop => self.stopped.notify_one(),
        }
    }

    fn join(self: &Rc<Self>, mut joining: Joining) {
        let speech = match joining.speech {
            hub::Speech::Plain(room) => {
                let identity = joining.guest.identity.take();
                Speech::Plain(self.part(&room), Cell::new(0), identity)
            }
            hub::Speech::V1(sign_in) => {
                let time = self.shared.settings.accept.sign_in;
                Speech::V1(Box::new(Session::new(sign_in, time, Instant::now())))
            }
        };
        let connection = Rc::new(Connection::new(joining.id, speech));
        connection.enter(self);
        spawn_local(Task::new(Rc::clone(self), connection, joining.guest, joining.arrival));
    }

    /// What a room has here.
    fn part(&self, room: &Arc<Room>) -> Rc<Part> {
        let mut parts = self.parts.borrow_mut();
        let part = parts.entry(room.id).or_insert_with(|| Part::new(Arc::clone(room), self.index));
        Rc::clone(part)
    }

    /// What a room has here, if it has anything.
    fn known(&self, room: &Room) -> Option<Rc<Part>> {
        self.parts.borrow().get(&room.id).cloned()
    }

    /// Who this shard is to the others.
    fn sender(&self) -> Sender {
        Sender::Shard(self.index)
    }

    /// Asks for a look at a connection at `due`, or up to `late` after it.
    fn look(&self, key: u32, due: Instant, late: Duration) -> Instant {
        let (at, first) = self.wheel.borrow_mut().add(key, due, late);
        if first && let Some(clock) = self.clock.take() {
            clock.wake();
        }
        at
    }
}
