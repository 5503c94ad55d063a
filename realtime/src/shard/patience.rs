//! Who waits for whom: publishers whose message found no room, and readers they wait for.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::connection::{Connection, Speech};
use super::part::Part;
use super::{Shard, time};

impl Shard {
    /// Keeps a connection's message waiting until there is relief. Whoever does that asks once more
    /// whether it must wait: the relief may have come just before.
    pub(super) fn hold(&self, connection: &Rc<Connection>) {
        if connection.turn.get().is_none() {
            self.turns.update(|turns| turns + 1);
            connection.turn.set(Some(self.turns.get()));
        }
        if !connection.is_holding.replace(true) {
            self.holding.borrow_mut().push(Rc::clone(connection));
        }
        self.shared.shards[self.index].waiting.store(true, Ordering::SeqCst);
    }

    /// What waits may be tried again: messages that connections hold, and what other shards sent.
    pub(super) fn relieve(&self) {
        let mut holding = self.holding.take();
        // Who has waited longest goes first. One that got its message through and holds the next is
        // behind those who got nothing through, though it asked again before them.
        holding.sort_by_key(|connection| connection.turn.get());
        for connection in holding {
            connection.is_holding.set(false);
            connection.wake();
        }
        self.flush.relieve();
    }

    /// Publishers wait for a plain client, until it has taken enough or its time is over. A member of a
    /// durable room is waited for by nobody: it reads from the log what it could not take.
    pub(super) fn pause_for(&self, connection: &Rc<Connection>, part: &Rc<Part>, until: Instant) {
        if !connection.pausing.replace(true) {
            part.room.pausing.fetch_add(1, Ordering::SeqCst);
            part.pausing.update(|pausing| pausing + 1);
            // It may be there still, from the last time.
            if !connection.is_reviewed.replace(true) {
                self.pausing.borrow_mut().push(Rc::clone(connection));
            }
            self.review_by(until);
        }
    }

    /// Publishers need not wait for a connection any more.
    pub(super) fn resume_from(&self, connection: &Connection) {
        let Speech::Plain(part, ..) = &connection.speech else { return };
        if !connection.pausing.replace(false) {
            return;
        }
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
    pub(super) fn review_by(&self, until: Instant) {
        if self.review_at.get().is_none_or(|at| at > until) {
            self.review_at.set(Some(self.look(time::REVIEW, until, Duration::ZERO)));
        }
    }

    /// Looks again for whom publishers still wait.
    pub(super) fn review(&self, now: Instant) {
        self.review_at.set(self.review_at.get().filter(|at| *at > now));
        // What waits for the relay is tried again at a time, not at a ring.
        self.relieve();
        let mut next: Option<Instant> = None;
        for connection in self.pausing.take() {
            let until = connection.pauses_until(self.shared.rules(), now);
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
}
