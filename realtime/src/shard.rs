//! One shard: a thread with a runtime of its own, and all that its connections share.
//!
//! Nothing here is locked. Other threads reach a shard only by its inbox, and what shards know of
//! each other is in [`Shared`].

#![expect(clippy::future_not_send, reason = "a shard's futures stay on its thread")]

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;

use crate::close::CloseCode;
use crate::hub::{Room, RoomId, Shared};

mod away;
mod connection;
mod flush;
pub(crate) mod link;
mod members;
mod part;
mod queue;
mod time;
mod wheel;

use connection::{Connection, Task};
use flush::Flush;
use link::{Envelope, Joining, Sender};
use members::Members;
use part::Part;
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
    /// Bytes in the queues of the connections here.
    queued: Cell<usize>,
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
        runtime.block_on(run(Rc::new(Shard::new(index, shared, inbox))));
    };
    thread::Builder::new().name(format!("shard {index}")).spawn(run)?;
    started.recv().map_err(io::Error::other)?
}

/// Runs until the node is gone, or something here panicked.
async fn run(shard: Rc<Shard>) {
    let inbox = spawn_local(Rc::clone(&shard).listen());
    let time = spawn_local(time::keep(Rc::clone(&shard)));
    let flush = spawn_local(flush::run(Rc::clone(&shard)));
    tokio::select! {
        biased;
        () = shard.stopped.notified() => return,
        _ = inbox => {}
        _ = time => {}
        _ = flush => {}
    }
    tracing::error!(shard = shard.index, "a shard ended by a fault; its sockets are cut");
}

impl Shard {
    fn new(index: usize, shared: Arc<Shared>, inbox: UnboundedReceiver<Envelope>) -> Self {
        let wheel = Wheel::new(shared.settings.heartbeat.interval, Instant::now());
        Self {
            index,
            shared,
            inbox: RefCell::new(inbox),
            stopped: Notify::new(),
            connections: RefCell::default(),
            parts: RefCell::default(),
            flush: Flush::default(),
            wheel: RefCell::new(wheel),
            clock: RefCell::default(),
            holding: RefCell::default(),
            pausing: RefCell::default(),
            review_at: Cell::new(None),
            queued: Cell::new(0),
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
                self.part(&room).arrived(self, part::Waiting::Publish { kind, payload, from });
            }
            Envelope::Deliver { room, frames, messages, from } => {
                let frames = part::Waiting::Deliver { frames, messages, from };
                self.part(&room).arrived(self, frames);
            }
            Envelope::Relief => self.relieve(),
            Envelope::SendAway { window, done } => {
                spawn_local(away::send_away(Rc::clone(self), window, done));
            }
            Envelope::Stop => self.stopped.notify_one(),
        }
    }

    fn join(self: &Rc<Self>, joining: Joining) {
        let part = self.part(&joining.room);
        let connection = Rc::new(Connection::new(joining.id, part));
        connection.enter(self);
        spawn_local(Task::new(Rc::clone(self), connection, joining.guest, joining.arrival));
    }

    /// What a room has here.
    fn part(&self, room: &Arc<Room>) -> Rc<Part> {
        let mut parts = self.parts.borrow_mut();
        let part = parts.entry(room.id).or_insert_with(|| Part::new(Arc::clone(room), self.index));
        Rc::clone(part)
    }

    /// Who this shard is to the others.
    fn sender(&self) -> Sender {
        Sender::Shard(self.index)
    }

    /// Keeps a connection's message waiting until there is relief. Whoever does that asks once more
    /// whether it must wait: the relief may have come just before.
    fn hold(&self, connection: &Rc<Connection>) {
        if !connection.is_holding.replace(true) {
            self.holding.borrow_mut().push(Rc::clone(connection));
        }
        self.shared.shards[self.index].waiting.store(true, Ordering::SeqCst);
    }

    /// What waits may be tried again: messages that connections hold, and what other shards sent.
    fn relieve(&self) {
        for connection in self.holding.take() {
            connection.is_holding.set(false);
            connection.wake();
        }
        self.flush.relieve();
    }

    /// A queue has changed from `before` bytes to `after`.
    fn account(&self, before: usize, after: usize) {
        if after == before {
            return;
        }
        if after > before {
            self.queued.update(|queued| queued + (after - before));
            self.shared.queued.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.queued.update(|queued| queued - (before - after));
            self.shared.queued.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Whether the node's total lets so many bytes wait. If not, the longest queues here are closed
    /// first, as far as this shard has more than its share: then nine tenths of the total remain,
    /// so that it is not due again at the next message.
    fn has_room_for(&self, bytes: usize) -> bool {
        let total = self.shared.settings.queues.total.0;
        let is_full = || self.shared.queued.load(Ordering::Relaxed) + bytes > total;
        if is_full() {
            self.shed(total / 10 * 9);
        }
        !is_full()
    }

    fn shed(&self, total: usize) {
        let share = total / self.shared.shards.len();
        let mut longest: Vec<_> = self.connections.borrow().iter().cloned().collect();
        longest.sort_unstable_by_key(|connection| Reverse(connection.queued()));
        for connection in longest {
            if self.shared.queued.load(Ordering::Relaxed) <= total || self.queued.get() <= share {
                break;
            }
            connection.end(CloseCode::Slow);
            connection.clear(self);
        }
    }

    /// Publishers wait for a connection, until it has taken enough or its time is over.
    fn pause_for(&self, connection: &Rc<Connection>, until: Instant) {
        if !connection.pausing.replace(true) {
            connection.part.room.pausing.fetch_add(1, Ordering::SeqCst);
            connection.part.pausing.update(|pausing| pausing + 1);
            // It may be there still, from the last time.
            if !connection.is_reviewed.replace(true) {
                self.pausing.borrow_mut().push(Rc::clone(connection));
            }
            self.review_by(until);
        }
    }

    /// Publishers need not wait for a connection any more.
    fn resume_from(&self, connection: &Connection) {
        if !connection.pausing.replace(false) {
            return;
        }
        let part = &connection.part;
        part.pausing.update(|pausing| pausing - 1);
        if part.pausing.get() == 0 {
            self.flush.due(part);
        }
        if part.room.pausing.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.relieve();
            self.shared.relieve_all();
        }
    }

    /// Sees to it that those who wait are looked at again by then.
    fn review_by(&self, until: Instant) {
        if self.review_at.get().is_none_or(|at| at > until) {
            self.review_at.set(Some(self.look(time::REVIEW, until, Duration::ZERO)));
        }
    }

    /// Looks again for whom publishers still wait.
    fn review(&self, now: Instant) {
        self.review_at.set(self.review_at.get().filter(|at| *at > now));
        // What waits for the relay is tried again at a time, not at a ring.
        self.relieve();
        let mut next: Option<Instant> = None;
        for connection in self.pausing.take() {
            let until = connection.pauses_until(&self.shared.rules, now);
            if let Some(until) = until.filter(|_| connection.pausing.get()) {
                next = Some(next.map_or(until, |next| next.min(until)));
                self.pausing.borrow_mut().push(connection);
            } else {
                connection.is_reviewed.set(false);
                self.resume_from(&connection);
            }
        }
        if let Some(next) = next {
            self.review_by(next);
        }
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
