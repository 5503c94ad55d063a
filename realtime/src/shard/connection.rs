//! One WebSocket: what others may do to it, and its task.
//!
//! [`Connection`] is what the flush and the clock see; [`Task`] reads, pings and ends. Both are on
//! one thread, so nothing is locked; and nobody but the two writes to the socket.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Instant;

use tokio::net::TcpStream;
use uuid::Uuid;

use super::Shard;
use super::memory::Frames;
use super::part::{Batch, Member, Part};
use super::queue::{Class, Full};
use super::session::Session;
use crate::auth::Identity;
use crate::close::CloseCode;
use crate::pressure::{ENTRY_BYTES, Rules};

mod ending;
mod heartbeat;
mod outbox;
mod reading;
mod socket;
mod task;

use outbox::Outbox;
pub(super) use task::Task;

/// A connection, as far as others know it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Names it in logs; unique on a node.
    id: u64,
    /// What it speaks, and the rooms it is in.
    pub(super) speech: Speech,
    /// Its place among the shard's connections.
    place: Cell<u32>,
    /// Whether it is a plain client in its room still.
    pub(super) is_member: Cell<bool>,
    /// The socket, once it has arrived.
    stream: OnceCell<TcpStream>,
    /// What waits for the socket.
    outbox: RefCell<Outbox>,
    /// Why the node closes it; the first reason stays.
    ending: Cell<Option<CloseCode>>,
    /// Whether writing failed: the peer is gone.
    is_broken: Cell<bool>,
    /// Whether publishers wait for it.
    pub(super) pausing: Cell<bool>,
    /// Whether the next review looks at it.
    pub(super) is_reviewed: Cell<bool>,
    /// Whether it is woken when there is relief.
    pub(super) is_holding: Cell<bool>,
    /// Its turn among those who hold a message: kept until that message is through.
    pub(super) turn: Cell<Option<u64>>,
    /// Bytes that were read from it and are kept: a message that waits or is not whole yet.
    pub(super) unread: Cell<usize>,
    /// Its task's.
    waker: RefCell<Option<Waker>>,
}

/// What a connection speaks.
#[derive(Debug)]
pub(super) enum Speech {
    /// Plain mode: the room, its place among the members there, and who it is, if that was asked.
    Plain(Rc<Part>, Cell<u32>, Option<Box<Identity>>),
    /// `keywire.v1`.
    V1(Box<Session>),
}

impl Connection {
    /// A connection that is in no list and has no socket.
    pub(super) fn new(id: u64, speech: Speech) -> Self {
        Self {
            id,
            speech,
            place: Cell::new(0),
            is_member: Cell::new(false),
            stream: OnceCell::new(),
            outbox: RefCell::default(),
            ending: Cell::new(None),
            is_broken: Cell::new(false),
            pausing: Cell::new(false),
            is_reviewed: Cell::new(false),
            is_holding: Cell::new(false),
            turn: Cell::new(None),
            unread: Cell::new(0),
            waker: RefCell::new(None),
        }
    }

    /// Its place among the shard's connections, and its name: others had the place before it.
    pub(super) fn key(&self) -> (u32, u64) {
        (self.place.get(), self.id)
    }

    /// Becomes one of the shard's connections and, as a plain client, a member of its room.
    pub(super) fn enter(self: &Rc<Self>, shard: &Shard) {
        self.place.set(shard.connections.borrow_mut().insert(Rc::clone(self)));
        if let Speech::Plain(part, place, identity) = &self.speech {
            if let Some(identity) = identity {
                shard.signed_in(self, identity);
            }
            place.set(part.members.borrow_mut().insert(Member::new(Rc::clone(self), 0)));
            self.is_member.set(true);
        }
    }

    /// Gets nothing more from now on.
    fn leave_rooms(&self, shard: &Shard) {
        if let Some((user, _)) = self.whose() {
            shard.signed_out(self, user);
        }
        match &self.speech {
            Speech::Plain(part, place, _) => {
                if self.is_member.replace(false) {
                    part.members.borrow_mut().remove(place.get());
                    part.room.members[shard.index].fetch_sub(1, Ordering::SeqCst);
                }
                shard.resume_from(self);
            }
            Speech::V1(session) => session.leave_all(shard),
        }
    }

    /// Is in no list any more.
    fn leave(&self, shard: &Shard) {
        self.leave_rooms(shard);
        let outbox = self.outbox.take();
        shard.memory.change(outbox.queue.entry_bytes() + self.unread.take(), 0);
        shard.connections.borrow_mut().remove(self.place.get());
        shard.shared.shards[shard.index].load.fetch_sub(1, Ordering::Relaxed);
    }

    /// What it keeps for `keywire.v1`, if it speaks that.
    pub(super) fn session(&self) -> Option<&Session> {
        if let Speech::V1(session) = &self.speech { Some(session) } else { None }
    }

    /// The user whose it is, and the session on which it rests.
    pub(super) fn whose(&self) -> Option<(Uuid, Uuid)> {
        match &self.speech {
            Speech::Plain(_, _, identity) => {
                identity.as_ref().map(|identity| (identity.user, identity.session))
            }
            Speech::V1(session) => session.whose(),
        }
    }

    /// Whether its user moderates every room now.
    pub(super) fn may_moderate(&self, moderates: bool) {
        if let Some(session) = self.session() {
            session.may_moderate(moderates);
        }
    }

    /// A room goes on without it: it reads what it lacks from the log when it has read what waits.
    pub(super) fn falls_behind(&self) {
        if let Some(session) = self.session()
            && !session.is_behind.replace(true)
        {
            self.wake();
        }
    }

    /// Whether messages were dropped for it since this was asked last.
    pub(super) fn take_dropped(&self) -> bool {
        std::mem::take(&mut self.outbox.borrow_mut().has_dropped)
    }

    /// Whether so much waits for its socket that no more is to be said that can wait.
    pub(super) fn is_slow(&self, shard: &Shard) -> bool {
        self.outbox.borrow().queue.bytes() > shard.shared.rules().cap / 4
    }

    /// Wakes its task.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn register(&self, waker: &Waker) {
        let mut registered = self.waker.borrow_mut();
        if !registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            *registered = Some(waker.clone());
        }
    }

    /// Asks it to close. Nothing is delivered to it from now on, unless it is sent away; then what it
    /// cannot take makes it a slow one, which gets nothing behind what it missed.
    pub(super) fn end(&self, code: CloseCode) {
        let before = self.ending.get();
        if before.is_none() || (before == Some(CloseCode::Restart) && code == CloseCode::Slow) {
            self.ending.set(Some(code));
            self.wake();
        }
    }

    /// Until when publishers wait for it, at most.
    pub(super) fn pauses_until(&self, rules: &Rules, now: Instant) -> Option<Instant> {
        self.outbox.borrow().queue.pauses_until(rules, now)
    }

    /// Bytes the node holds on its account: what waits for it, and what was read from it.
    pub(super) fn held_bytes(&self) -> usize {
        self.outbox.borrow().queue.bytes() + self.unread.get()
    }

    /// Writes a batch from this byte on, and queues what the socket does not take. Bytes written, or `None`
    /// if it got nothing because it is closing.
    pub(super) fn deliver(
        self: &Rc<Self>,
        shard: &Shard,
        class: Class,
        batch: &mut Batch,
        start: usize,
    ) -> Option<usize> {
        if self.misses() || self.is_broken.get() {
            return None;
        }
        let mut written = 0;
        if let Some(stream) = self.stream.get()
            && self.outbox.borrow().is_empty()
        {
            let bytes = &batch.joined.bytes[start..];
            match socket::write(stream, bytes) {
                Ok(all) if all == bytes.len() => return Some(all),
                Ok(some) => written = some,
                Err(_) => {
                    self.is_broken.set(true);
                    self.wake();
                    return None;
                }
            }
            self.enqueue(shard, class, batch.shared(shard), start + written);
            self.outbox.borrow_mut().queue.refused(Instant::now());
            if self.misses() && written > 0 {
                // The rest of a frame is lost: no Close can follow.
                self.is_broken.set(true);
            }
            // It waits for the socket from here on.
            self.wake();
        } else {
            let frames = batch.shared(shard);
            let frames = if start > 0 { frames.copy(start..frames.len()) } else { frames };
            self.enqueue(shard, class, frames, 0);
        }
        (!self.misses()).then_some(written)
    }

    /// Whether it is closed for a reason that lets it miss messages. Nothing follows what it missed: it
    /// would see a hole before its Close. Who is sent away gets everything up to its Close.
    fn misses(&self) -> bool {
        self.ending.get().is_some_and(|code| code != CloseCode::Restart)
    }

    /// Queues frames of which `written` bytes went out; closes it if they do not fit.
    pub(super) fn enqueue(
        self: &Rc<Self>,
        shard: &Shard,
        class: Class,
        frames: Frames,
        written: usize,
    ) {
        let now = Instant::now();
        if !shard.has_room_for(ENTRY_BYTES) {
            self.end(CloseCode::Slow);
        }
        // Nothing follows its Close, either.
        if self.misses() || self.outbox.borrow().is_closing() {
            return;
        }
        let rules = shard.shared.rules();
        let mut outbox = self.outbox.borrow_mut();
        let before = outbox.queue.entry_bytes();
        let pushed = outbox.queue.push(class, frames, written, rules, now);
        outbox.has_dropped |= pushed.is_ok_and(|dropped| dropped > 0);
        shard.memory.change(before, outbox.queue.entry_bytes());
        let pauses = outbox.queue.pauses_until(rules, now);
        drop(outbox);
        if let Err(Full) = pushed {
            self.end(CloseCode::Slow);
        } else if let (Some(until), Speech::Plain(part, ..)) = (pauses, &self.speech) {
            shard.pause_for(self, part, until);
        }
    }

    /// Drops what waits, but for the rest of a frame under way. What was read from it is its task's to
    /// drop, and off the account already.
    pub(super) fn clear(&self, shard: &Shard) {
        let mut outbox = self.outbox.borrow_mut();
        let before = outbox.queue.entry_bytes() + self.unread.take();
        outbox.queue.clear();
        shard.memory.change(before, outbox.queue.entry_bytes());
    }
}
