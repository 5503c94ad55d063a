//! Writes what rooms received in a turn of the run queue: one write a member.
//!
//! The flush is a task like every other. The first frame wakes it, so it runs after everything that
//! was ready then, and what all of those publish is joined: there is no time window, and a lone
//! message goes at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::yield_now;

use super::Shard;
use super::part::Part;

/// Sockets written before everybody else has a turn.
const SOCKETS: u32 = 512;
/// How long writing may take before everybody else has a turn.
const TIME: Duration = Duration::from_millis(2);
/// Sockets written between two looks at the clock.
const LOOK: u32 = 32;

/// The rooms of a shard with something to write.
#[derive(Debug, Default)]
pub(super) struct Flush {
    due: RefCell<VecDeque<Rc<Part>>>,
    /// Rooms in which something waits that others sent.
    stuck: RefCell<Vec<Rc<Part>>>,
    /// Whether they may be tried again.
    relief: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What is left of a turn.
struct Turn {
    sockets: u32,
    end: Instant,
}

impl Flush {
    /// A room has something to write.
    pub(super) fn due(&self, part: &Rc<Part>) {
        if !part.is_due.replace(true) {
            self.due.borrow_mut().push_back(Rc::clone(part));
            self.wake();
        }
    }

    /// Something that others sent waits in a room.
    pub(super) fn stuck(&self, part: &Rc<Part>) {
        if !part.is_stuck.replace(true) {
            self.stuck.borrow_mut().push(Rc::clone(part));
        }
    }

    /// What others sent may be tried again.
    pub(super) fn relieve(&self) {
        if !self.stuck.borrow().is_empty() {
            self.relief.set(true);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until there is something to do.
    async fn wait(&self) {
        poll_fn(|cx| {
            if self.relief.get() || !self.due.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Flushes for as long as the shard lives.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        shard.flush.wait().await;
        shard.catch_up();
        if shard.flush.relief.take() {
            for part in shard.flush.stuck.take() {
                part.is_stuck.set(false);
                part.retry(&shard);
            }
        }
        turn(&shard);
        if shard.flush.relief.get() || !shard.flush.due.borrow().is_empty() {
            // Behind whatever the sockets have for us by now, which a plain wake-up would not ask.
            yield_now().await;
        }
    }
}

/// Writes until nothing is due or the turn is over.
fn turn(shard: &Shard) {
    let mut turn = Turn { sockets: SOCKETS, end: Instant::now() + TIME };
    while turn.goes_on() {
        let Some(part) = shard.flush.due.borrow_mut().pop_front() else { return };
        if part.flush(shard, &mut turn) {
            part.is_due.set(false);
        } else {
            // Other rooms first: one with many members must not keep a small one waiting.
            shard.flush.due.borrow_mut().push_back(part);
        }
    }
}

impl Turn {
    fn goes_on(&self) -> bool {
        self.sockets > 0
            && (!self.sockets.is_multiple_of(LOOK)
                || self.sockets == SOCKETS
                || Instant::now() < self.end)
    }
}

impl Part {
    /// Writes to members until the turn is over; whether everything is written.
    fn flush(&self, shard: &Shard, turn: &mut Turn) -> bool {
        let mut out = self.out.borrow_mut();
        self.begin_batch(&mut out, shard);
        let Some(batch) = &mut out.batch else { return true };
        let members = self.members.borrow();
        let (mut served, mut bytes) = (0, 0);
        while batch.place < members.places() && turn.goes_on() {
            if let Some(member) = members.get(batch.place) {
                turn.sockets -= 1;
                if let Some(written) = member.deliver(shard, &self.room, batch) {
                    served += 1;
                    bytes += written as u64;
                }
            }
            batch.place += 1;
        }
        shard.shared.metrics.deliveries.increment(served * batch.joined.entries.messages);
        shard.shared.metrics.bytes_sent.increment(bytes);
        if batch.place < members.places() {
            return false;
        }
        out.end_batch();
        !out.is_joined() || self.pausing.get() > 0
    }
}
